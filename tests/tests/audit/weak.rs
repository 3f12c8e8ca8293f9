use crate::{
    deployment::{Deployment, GOOD, free_port},
    results, rows_follow, with,
};

/// ISVS-4.1.1, ISVS-4.1.2, ISVS-4.2.2, ISVS-4.2.3, IOTSF-2.4.7.14, IOTSF-2.4.7.15, CSA-COM-01, CSA-COM-07, IIITA-N1: each of these is weak
/// in something that people do get wrong, and fails there and nowhere else.
#[test]
fn what_is_weak_fails_where_it_is_weak_and_nowhere_else() {
    let plant = Deployment::new();
    let good = plant.server("good", |_| {});
    plant.client("lamp-1");
    plant.client("lamp-2");
    let mut scope = String::from(
        "[deployment]\nname = \"weak\"\nowner = \"Ada\"\n[[identity]]\nname = \"lamp-1\"\nbundle = \"lamp-1\"\n\
         [[identity]]\nname = \"lamp-2\"\nbundle = \"lamp-2\"\n",
    );
    let mut expected: Vec<(String, Vec<&str>)> = Vec::new();
    let mut declare = |url: String, more: &str, failing: &[&'static str]| {
        scope.push_str(&format!("[[endpoint]]\nurl = \"{url}\"\n{more}"));
        expected.push((url, failing.to_vec()));
    };
    let ca = "ca = \"ca.pem\"\n";

    // TLS: old versions, weak suites, and one certificate after another.
    let tls = |port: u16| format!("tls://localhost:{port}");
    let old = plant.openssl(&good, "-tls1 -cipher ALL:@SECLEVEL=0");
    declare(tls(old), ca, &["tls.suites", "tls.versions"]);
    let cbc = plant.openssl(&good, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0");
    declare(tls(cbc), ca, &["tls.suites"]);
    let day = time::Duration::days(1);
    let expired = plant.server("expired", |params| params.not_after = time::OffsetDateTime::now_utc() - day);
    declare(tls(plant.openssl(&expired, GOOD)), ca, &["tls.cert"]);
    let early = plant.server("early", |params| params.not_before = time::OffsetDateTime::now_utc() + day);
    declare(tls(plant.openssl(&early, GOOD)), ca, &["tls.cert"]);
    let other = plant.server("other", |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("other.example".try_into().unwrap())];
    });
    declare(tls(plant.openssl(&other, GOOD)), ca, &["tls.cert"]);
    let own =
        plant.self_signed("own", "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -addext subjectAltName=DNS:localhost");
    declare(tls(plant.openssl(&own, GOOD)), ca, &["tls.cert"]);
    let short = plant.self_signed("short", "-newkey rsa:1024 -sha1 -addext subjectAltName=DNS:localhost");
    let lax = GOOD.replace("ECDHE+AESGCM", "ECDHE+AESGCM:@SECLEVEL=0");
    declare(tls(plant.openssl(&short, &lax)), ca, &["tls.cert"]);

    // Mosquitto, open in clear, and over TLS that anybody may use.
    let cells = "[[endpoint.cell]]\nidentity = \"lamp-1\"\noperation = \"subscribe\"\ntopic = \"devices/lamp-2/#\"\nallowed = false\n\
                 [[endpoint.cell]]\nidentity = \"lamp-1\"\noperation = \"publish\"\ntopic = \"devices/lamp-1/state\"\nallowed = true\n";
    let both = "identities = [\"lamp-1\", \"lamp-2\"]\n";
    let clear = free_port();
    plant.mosquitto(([127, 0, 0, 3], clear).into(), "allow_anonymous true\n");
    declare(
        format!("mqtt://127.0.0.3:{clear}"),
        &format!("{both}{cells}"),
        &["mqtt.acl.matrix", "mqtt.anon", "mqtt.password"],
    );
    let sealed = free_port();
    plant.mosquitto(
        ([127, 0, 0, 1], sealed).into(),
        &format!("certfile {}\nkeyfile {}\nallow_anonymous true\ntls_version tlsv1.2\nciphers ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0\n", own.0, own.1),
    );
    declare(
        format!("mqtts://localhost:{sealed}"),
        &format!("{ca}{both}{cells}"),
        &["mqtt.acl.matrix", "mqtt.anon", "mqtt.identity", "mqtt.password", "tls.cert", "tls.mutual", "tls.suites"],
    );

    // libcoap in clear, and over DTLS that takes any certificate.
    plant.client("coap");
    let coap = plant.libcoap(&["-n", "-c", &good.0, "-j", &good.1, "-C", &plant.path("ca.pem")]);
    declare(format!("coap://127.0.0.1:{coap}"), "", &["coap.discovery"]);
    declare(format!("coaps://localhost:{}", coap + 1), ca, &["coap.discovery", "dtls.suites"]);

    // SSH with what was good once.
    let sshd = plant.sshd(
        "KexAlgorithms +diffie-hellman-group1-sha1\nCiphers +aes128-cbc\nMACs +hmac-md5\nPasswordAuthentication yes\n",
    );
    declare(format!("ssh://127.0.0.1:{sshd}"), "", &["ssh.algos"]);
    declare(format!("ssh://localhost:{}", plant.dropbear("")), "", &["ssh.algos"]);

    // A console that shows everything to everybody.
    let console = free_port();
    plant.nginx(&format!(
        "server {{ listen 127.0.0.1:{console} ssl; ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; \
         ssl_ciphers ECDHE+AESGCM; ssl_ecdh_curve P-256; ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384; \
         ssl_conf_command SignatureAlgorithms ECDSA+SHA256:ECDSA+SHA384; add_header Set-Cookie \"sid=1\" always; location / {{ return 200 \"<h1>Settings</h1>\"; }} }}",
        good.0, good.1
    ));
    declare(format!("https://localhost:{console}"), ca, &["console.auth", "tls.mutual"]);

    // The host of the open broker declares another service.
    scope.push_str(&format!(
        "[[host]]\naddress = \"127.0.0.3\"\nservices = [\"tcp/8883\"]\nlook_at = [\"tcp/{clear}\"]\n"
    ));
    expected.push(("127.0.0.3".into(), vec!["plaintext.ports", "port.scan"]));
    // And what people wrote.
    plant.write("mosquitto.conf", "listener 1883\nallow_anonymous true\n");
    plant.write("sshd_config", "PermitRootLogin yes\nPasswordAuthentication yes\nCiphers aes128-cbc\n");
    scope.push_str("[[file]]\npath = \"mosquitto.conf\"\n[[file]]\npath = \"sshd_config\"\n");

    let report = plant.audited(&scope);
    for (target, failing) in expected {
        assert_eq!(with(&report, &target, "fail"), failing, "{target}: {:#?}", results(&report));
    }
    let files = ["mosquitto.conf", "sshd_config"].map(|file| with(&report, file, "fail"));
    assert_eq!(files, [["cfg.broker"], ["cfg.ssh"]]);
    // What is strong in a weak place is seen to be.
    let passed = |url: &str| with(&report, url, "pass");
    assert!(
        passed(&tls(old)).contains(&"tls.cert".to_owned()) && passed(&tls(cbc)).contains(&"tls.versions".to_owned())
    );
    rows_follow(&report);
}
