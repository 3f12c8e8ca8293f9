use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use portreeve_assurance::{
    Verdict,
    checks::{
        mqtt::{mqtt_acl_matrix, mqtt_anon, mqtt_identity, mqtt_limits, mqtt_malformed, mqtt_password},
        mutual::tls_mutual,
    },
    evidence::{
        Outcome, Seen,
        mqtt::{Burst, HalfOpen, MqttQuota, Operation, Twice},
        mutual::Credential,
    },
};
use portreeve_probe::{
    Dialer, Limits,
    mqtt::{self, Broker, Identity, Load, Wish},
    mutual::{Application, mutual},
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Authority, Certificates, Server, free_port, limits, scripted, short, start, survives};

/// Mosquitto with a listener in clear or, with `certfile`, of TLS; returns where its configuration is.
pub(crate) fn mosquitto(certificates: &Certificates, settings: &str) -> (Server, String) {
    let port = free_port();
    let path = certificates.path(&format!("mosquitto-{port}.conf"));
    fs::write(&path, format!("user root\nlistener {port} 127.0.0.1\n{settings}")).unwrap();
    (start("/usr/sbin/mosquitto", port, &["-c", &path]), path)
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// ISVS-4.2.2, CSA-SCN-01: an open broker fails, and one that only wants passwords fails differently.
#[tokio::test]
async fn open_brokers_are_found() {
    let certificates = Certificates::new();
    let (server, _) = mosquitto(&certificates, "allow_anonymous true\n");
    let dialer = Dialer::new(server.address, limits());
    let broker = Broker { dialer: &dialer, tls: None };
    let facts = mqtt::access(&broker).await;
    assert_eq!((mqtt_anon(&facts).verdict, mqtt_password(&facts).verdict), (Verdict::Fail, Verdict::Fail));

    let malformed = mqtt::malformed(&broker, Some(&Identity::nobody("probe"))).await;
    assert!(malformed.is_inside && malformed.cases.len() == 8);
    assert_eq!(mqtt_malformed(&malformed).verdict, Verdict::Partial, "{malformed:?}");

    let limits = mqtt::limits(&broker, &Identity::nobody("probe"), &Load::small("probe")).await;
    let judgement = mqtt_limits(&limits, &MqttQuota::default());
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.observed.contains("$SYS/broker"), "{judgement:?}");

    let (server, _) = mosquitto(&certificates, "allow_anonymous false\n");
    let dialer = Dialer::new(server.address, crate::support::limits());
    let broker = Broker { dialer: &dialer, tls: None };
    let facts = mqtt::access(&broker).await;
    assert_eq!(mqtt_anon(&facts).verdict, Verdict::Pass, "{facts:?}");
    let judgement = mqtt_password(&facts);
    assert_eq!((judgement.verdict, &*judgement.observed), (Verdict::Fail, "a listener in clear reads passwords"));
    let limits = mqtt::limits(&broker, &Identity::nobody("probe"), &Load::small("probe")).await;
    assert_eq!(mqtt_limits(&limits, &MqttQuota::default()).verdict, Verdict::Inconclusive);
}

fn broker<'a>(dialer: &'a Dialer) -> Broker<'a> {
    Broker { dialer, tls: None }
}

/// IOTSF-2.4.7.25, CSA-COM-04: Mosquitto holds what it announces, has no quota of messages or connections, and is found out where one
/// was declared.
#[tokio::test]
async fn limits_are_met_or_not() {
    let certificates = Certificates::new();
    let settings =
        "allow_anonymous true\nmax_packet_size 65536\nmax_keepalive 300\nsys_interval 0\nmax_inflight_messages 20\n";
    let acl = certificates.path("acl");
    fs::write(&acl, "topic readwrite probe/#\n").unwrap();
    let (server, _) = mosquitto(&certificates, &format!("{settings}acl_file {acl}\n"));
    let dialer = Dialer::new(server.address, Limits { parallel_max: 20, ..limits() });
    let facts = mqtt::limits(&broker(&dialer), &Identity::nobody("probe"), &Load::small("probe/x")).await;
    survives(&facts);
    assert!(facts.in_flight.known().is_some_and(|outcome| !outcome.accepted), "{facts:?}");
    assert!(facts.topic_alias.known().is_some_and(|outcome| !outcome.accepted), "{facts:?}");
    let Seen::Known(Burst { tried: 1000, taken: 1000, .. }) = facts.publishes else { panic!("{facts:?}") };
    let Seen::Known(Burst { tried: 50, taken: 50, .. }) = facts.connections else { panic!("{facts:?}") };
    let Seen::Known(HalfOpen { opened: 18, ended: 0, ref other, .. }) = facts.half_open else { panic!("{facts:?}") };
    assert!(other.accepted);
    let judgement = mqtt_limits(&facts, &MqttQuota::default());
    assert_eq!(judgement.verdict, Verdict::Partial, "{judgement:?}");
    let declared = [
        MqttQuota { publishes_max: Some(999), ..MqttQuota::default() },
        MqttQuota { connections_max: Some(49), ..MqttQuota::default() },
        MqttQuota { half_open_max: Some(17), ..MqttQuota::default() },
    ];
    for quota in declared {
        assert_eq!(mqtt_limits(&facts, &quota).verdict, Verdict::Fail, "{quota:?}");
    }
    // A topic that is not ours shows no quota.
    let facts = mqtt::limits(&broker(&dialer), &Identity::nobody("probe"), &Load::small("other")).await;
    assert!(facts.publishes.gap().is_some_and(|gap| gap.contains("not for us")), "{facts:?}");
    assert_eq!(mqtt_limits(&facts, &MqttQuota::default()).verdict, Verdict::Inconclusive);

    // The same broker behind a door that ends connections on which nothing is said, and all after the thirtieth.
    let (behind, count) = (server.address, Arc::new(AtomicU32::new(0)));
    let door = scripted(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let said = tokio::time::timeout(Duration::from_millis(300), stream.peek(&mut [0; 1])).await;
            let is_whole = said.is_ok() && count.fetch_add(1, Ordering::Relaxed) < 30;
            if is_whole && let Ok(mut inside) = tokio::net::TcpStream::connect(behind).await {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut inside).await;
            }
        }
    })
    .await;
    let dialer = Dialer::new(door, Limits { parallel_max: 20, ..limits() });
    let facts = mqtt::limits(&broker(&dialer), &Identity::nobody("probe"), &Load::small("probe/x")).await;
    assert!(facts.half_open.known().is_some_and(|found| found.ended == 18), "{facts:?}");
    let Seen::Known(Burst { tried: 50, taken, ref refusal, .. }) = facts.connections else { panic!("{facts:?}") };
    assert!((20..30).contains(&taken) && refusal == "closed the connection", "{facts:?}");
}

/// Brokers that say nonsense, or nothing, have shown no limit.
#[tokio::test]
async fn hostile_brokers_have_no_limits_that_count() {
    let endless =
        scripted(
            |mut stream| async move { while stream.write_all(&b"\x40\x02\x00\x01".repeat(1000)).await.is_ok() {} },
        )
        .await;
    let connack_then = |bytes: &'static [u8]| {
        scripted(move |mut stream| async move {
            let mut connect = [0; 4096];
            let _ = stream.read(&mut connect).await;
            let _ = stream.write_all(&[b"\x20\x09\x00\x00\x06\x21\x00\x02\x22\x00\x01", bytes].concat()).await;
            while stream.read(&mut connect).await.is_ok_and(|read| read > 0) {}
        })
    };
    let reset = scripted(|stream| async move {
        let _ = stream.set_zero_linger();
    })
    .await;
    let targets = [
        ("silent", crate::support::saying(Vec::new()).await),
        ("endless", endless),
        ("reset", reset),
        ("a lying length", connack_then(b"\x40\xff\xff\xff\x7f").await),
        ("garbage", connack_then(b"\x00\x00\xff").await),
        ("acknowledges nothing", connack_then(b"").await),
    ];
    for (what, address) in targets {
        let dialer = Dialer::new(address, Limits { connection_time: Duration::from_millis(500), ..short() });
        let started = Instant::now();
        let facts = mqtt::limits(&broker(&dialer), &Identity::nobody("probe"), &Load::small("x")).await;
        assert_eq!((facts.publishes.known(), facts.in_flight.known()), (None, None), "{what}: {facts:?}");
        let judgement = mqtt_limits(&facts, &MqttQuota::default());
        assert!(!matches!(judgement.verdict, Verdict::Pass | Verdict::Partial), "{what}: {judgement:?}");
        assert!(started.elapsed() < Duration::from_secs(12), "{what}");
    }
}

/// A broker that takes everything fails; one that says nothing is not judged.
#[tokio::test]
async fn a_broker_that_swallows_everything_fails() {
    let polite = scripted(|mut stream| async move {
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes).await;
        let is_v5 = bytes[8] == 5;
        let _ = stream.write_all(if is_v5 { b"\x20\x03\x00\x00\x00" } else { b"\x20\x02\x00\x00" }).await;
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let dialer = Dialer::new(polite, limits());
    let broker = Broker { dialer: &dialer, tls: None };
    let judgement = mqtt_malformed(&mqtt::malformed(&broker, Some(&Identity::nobody("probe"))).await);
    assert_eq!(judgement.verdict, Verdict::Fail, "{judgement:?}");
    let facts = mqtt::identity(&broker, &Identity::nobody("a"), "b").await;
    assert_eq!(facts.twice, Seen::Known(Twice::Both));
    assert_eq!(mqtt_identity(&facts).verdict, Verdict::Fail);

    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\xff\xff\xff\x7f", b"\x30\x03\x00\x01a"] {
        let dialer = Dialer::new(crate::support::saying(answer.to_vec()).await, short());
        let broker = Broker { dialer: &dialer, tls: None };
        let facts = mqtt::access(&broker).await;
        assert_eq!(mqtt_anon(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
        let facts = mqtt::malformed(&broker, None).await;
        assert_eq!(facts.is_alive.known(), None);
        assert_ne!(mqtt_malformed(&facts).verdict, Verdict::Pass);
    }
}

fn wish(identity: &str, operation: Operation, topic: &str, is_allowed: bool) -> Wish {
    Wish { identity: identity.to_owned(), operation, topic: topic.to_owned(), is_allowed }
}

/// ISVS-4.2.2, CSA-COM-01: what an ACL file says is what is found, in both versions, though Mosquitto grants every subscription.
#[tokio::test]
async fn the_matrix_is_what_the_acl_file_says() {
    let certificates = Certificates::new();
    let authority = Authority::new();
    let acl = certificates.path("acl");
    fs::write(&acl, "pattern readwrite devices/%u/#\nuser b\ntopic read shared/#\nuser a\ntopic write shared/#\n")
        .unwrap();
    let settings = authority.mosquitto(&certificates);
    let (server, _) = mosquitto(&certificates, &format!("{settings}use_identity_as_username true\nacl_file {acl}\n"));
    let dialer = Dialer::new(server.address, limits());
    let broker = Broker { dialer: &dialer, tls: Some(localhost()) };
    let identity = |name: &str| Identity { name: name.to_owned(), credentials: Some(authority.client(name)) };
    let identities = [identity("a"), identity("b")];
    let wishes = [
        wish("a", Operation::Publish, "devices/a/state", true),
        wish("a", Operation::Publish, "devices/b/state", false),
        wish("a", Operation::Retain, "devices/b/kept", false),
        wish("a", Operation::Will, "devices/a/will", true),
        wish("a", Operation::Will, "devices/b/will", false),
        wish("a", Operation::Subscribe, "devices/a/#", true),
        wish("b", Operation::Subscribe, "$share/g/devices/b/+", true),
        // Granted, and never delivered.
        wish("a", Operation::Subscribe, "devices/b/#", false),
        wish("a", Operation::Subscribe, "$share/g/devices/b/+", false),
        wish("b", Operation::Subscribe, "shared/x", true),
        wish("b", Operation::Publish, "shared/x", false),
    ];
    let facts = mqtt::access_matrix(&broker, &identities, &wishes).await;
    let judgement = mqtt_acl_matrix(&facts);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}\n{facts:#?}");

    survives(&facts);
    let mut wrong = facts.clone();
    wrong.cells[1].is_declared = true;
    assert_eq!(mqtt_acl_matrix(&wrong).verdict, Verdict::Fail);
    let allowed =
        |facts: &mut portreeve_assurance::evidence::mqtt::MqttAccessMatrix| facts.cells.retain(|cell| cell.is_declared);
    let mut one_sided = facts;
    allowed(&mut one_sided);
    assert_eq!(mqtt_acl_matrix(&one_sided).verdict, Verdict::Inconclusive);
    let unknown = mqtt::access_matrix(&broker, &identities, &[wish("c", Operation::Publish, "x", false)]).await;
    assert_eq!(mqtt_acl_matrix(&unknown).verdict, Verdict::Inconclusive);
}

/// ISVS-4.2.3, CSA-CRD-11: only the valid certificate gets through Mosquitto with a CRL; all do where nobody looks.
#[tokio::test]
async fn certificates_of_all_sorts_knock_at_the_door() {
    let certificates = Certificates::new();
    let authority = Authority::new();
    let (server, _) = mosquitto(&certificates, &authority.mosquitto(&certificates));
    let identities = [
        (Credential::Expired, authority.expired()),
        (Credential::NotYetValid, authority.not_yet_valid()),
        (Credential::WrongCa, Authority::new().client("valid")),
        (Credential::WrongUsage, authority.for_servers()),
        (Credential::Revoked, authority.revoked()),
        (Credential::Valid, authority.client("valid")),
    ];
    let facts = mutual(&Dialer::new(server.address, limits()), &localhost(), Application::Mqtt, &identities).await;
    let judgement = tls_mutual(&facts);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");

    // Without the valid one nothing is shown; without the revoked one, not all.
    let mut some = facts.clone();
    some.attempts.retain(|attempt| attempt.credential != Credential::Revoked);
    assert_eq!(tls_mutual(&some).verdict, Verdict::Partial);
    some.attempts.last_mut().unwrap().outcome = Seen::Known(Outcome { accepted: false, how: "closed".into() });
    assert_eq!(tls_mutual(&some).verdict, Verdict::Inconclusive);

    let pair = certificates.server("open", crate::support::P256);
    let (server, _) =
        mosquitto(&certificates, &format!("certfile {}\nkeyfile {}\nallow_anonymous true\n", pair.0, pair.1));
    let facts = mutual(&Dialer::new(server.address, limits()), &localhost(), Application::Mqtt, &identities).await;
    let judgement = tls_mutual(&facts);
    assert_eq!((judgement.verdict, judgement.observed.matches("gets through").count()), (Verdict::Fail, 6));
    let silent = crate::support::saying(Vec::new()).await;
    let facts = mutual(&Dialer::new(silent, short()), &localhost(), Application::Http, &identities[..1]).await;
    assert_eq!(tls_mutual(&facts).verdict, Verdict::Inconclusive);
}
