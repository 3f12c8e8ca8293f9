use crate::{
    deployment::{Deployment, GOOD, free_port},
    results, rows_follow, with,
};

/// ISVS-4.1.1, ISVS-4.1.2, ISVS-4.2.2, ISVS-4.2.3, IOTSF-2.4.7.14, CSA-COM-01, CSA-COM-07: the same software, set up as it should be, passes
/// where the weak deployment fails.
#[test]
fn what_is_set_up_well_passes() {
    let plant = Deployment::new();
    let good = plant.server("good", |_| {});
    let states =
        [("expired", "expired"), ("early", "not-yet-valid"), ("server", "wrong-usage"), ("revoked", "revoked")];
    plant.client("lamp-1");
    plant.client("lamp-2");
    plant.bad_clients();
    let mut scope = String::from("[deployment]\nname = \"strong\"\nowner = \"Ada\"\n");
    for name in ["lamp-1", "lamp-2"] {
        scope.push_str(&format!("[[identity]]\nname = \"{name}\"\nbundle = \"{name}\"\n"));
    }
    for (name, state) in states {
        scope.push_str(&format!("[[identity]]\nname = \"{name}\"\nbundle = \"{name}\"\nstate = \"{state}\"\n"));
    }
    let mut expected: Vec<(String, Vec<&str>, Vec<&str>)> = Vec::new();
    let mut declare = |url: String, more: &str, passing: &[&'static str], failing: &[&'static str]| {
        scope.push_str(&format!("[[endpoint]]\nurl = \"{url}\"\nca = \"ca.pem\"\n{more}"));
        expected.push((url, passing.to_vec(), failing.to_vec()));
    };

    let port = plant.openssl(&good, GOOD);
    let all_of_tls = ["tls.cert", "tls.pqc", "tls.suites", "tls.versions", "tls.vulns"];
    declare(format!("tls://localhost:{port}"), "", &all_of_tls, &[]);

    let port = free_port();
    plant.write("acl", "pattern readwrite devices/%u/#\n");
    plant.mosquitto(
        ([127, 0, 0, 1], port).into(),
        &format!(
            "certfile {}\nkeyfile {}\ncafile {}\ncrlfile {}\nrequire_certificate true\nuse_identity_as_username true\n\
             acl_file {}\ntls_version tlsv1.3\nciphers_tls1.3 TLS_AES_256_GCM_SHA384\n",
            good.0,
            good.1,
            plant.path("ca.pem"),
            plant.path("crl.pem"),
            plant.path("acl"),
        ),
    );
    let cell = |who: &str, does: &str, topic: &str, allowed: bool| {
        format!(
            "[[endpoint.cell]]\nidentity = \"{who}\"\noperation = \"{does}\"\ntopic = \"{topic}\"\nallowed = {allowed}\n"
        )
    };
    let cells = [
        cell("lamp-1", "publish", "devices/lamp-1/state", true),
        cell("lamp-1", "subscribe", "devices/lamp-1/#", true),
        cell("lamp-1", "subscribe", "devices/lamp-2/#", false),
        cell("lamp-2", "publish", "devices/lamp-2/state", true),
        cell("lamp-2", "publish", "devices/lamp-1/state", false),
    ];
    let who = "identities = [\"lamp-1\", \"lamp-2\", \"expired\", \"early\", \"server\", \"revoked\"]\n";
    declare(
        format!("mqtts://localhost:{port}"),
        &format!("{who}{}", cells.concat()),
        &["mqtt.acl.matrix", "mqtt.anon", "mqtt.password", "tls.cert", "tls.mutual", "tls.versions"],
        // What Mosquitto has no setting for: a certificate bound to its client id, groups of TLS, and tickets that are not taken up again.
        &["mqtt.identity", "tls.suites", "tls.vulns"],
    );

    let coap = plant.libcoap(&["-c", &good.0, "-j", &good.1, "-C", &plant.path("ca.pem")]);
    declare(
        format!("coaps://localhost:{}", coap + 1),
        "identities = [\"lamp-1\"]\n",
        &["dtls.cookie", "dtls.versions"],
        &["dtls.suites"],
    );

    let sshd = plant.sshd(
        "KexAlgorithms curve25519-sha256\nCiphers aes256-gcm@openssh.com\nMACs hmac-sha2-512-etm@openssh.com\n\
         HostKeyAlgorithms ssh-ed25519\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
    );
    declare(format!("ssh://localhost:{sshd}"), "", &["ssh.algos"], &[]);

    let report = plant.audited(&scope);
    for (target, passing, failing) in expected {
        assert_eq!(with(&report, &target, "fail"), failing, "{target}: {:#?}", results(&report));
        let passed = with(&report, &target, "pass");
        for check in passing {
            assert!(passed.iter().any(|passed| passed == check), "{check} at {target}: {:#?}", results(&report));
        }
    }
    rows_follow(&report);
}
