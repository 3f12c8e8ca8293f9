//! The auditor looks at a hub from outside: what the hub claims is what is seen.
//! (ISVS-4.1.1, ISVS-4.1.2, ISVS-4.2.2, ISVS-4.2.3, CSA-COM-01, CSA-CRD-11)

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, net::SocketAddr, time::Duration};

use portreeve_assurance::{
    Verdict,
    checks::{
        mqtt::{mqtt_acl_matrix, mqtt_anon, mqtt_identity, mqtt_limits, mqtt_malformed, mqtt_password},
        mutual::tls_mutual,
        ports::port_scan,
        replay::replay_probe,
        tls::{tls_cert, tls_pqc, tls_suites, tls_versions},
        vulns::tls_vulns,
    },
    evidence::{
        Seen,
        attacks::TlsAttacks,
        mqtt::{MqttQuota, Operation},
        mutual::Credential,
        ports::{DeclaredServices, Service, Transport},
        tls::TlsPolicy,
    },
};
use portreeve_probe::{
    Dialer, Limits,
    mqtt::{self, Broker, Load, Wish},
    mutual::{Application, mutual},
    ports, tls,
};
use portreeve_tests::{
    Hub,
    hub::Identity,
    pki::{self, Forgery},
};
use portreeve_tls::{Credentials, certificates_from_pem};
use rustls_pki_types::{ServerName, UnixTime};

fn limits() -> Limits {
    Limits { connection_time: Duration::from_secs(20), total_time: Duration::from_secs(300), ..Limits::default() }
}

fn dialer(address: SocketAddr) -> Dialer {
    Dialer::new(address, limits())
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn credentials((chain, key): &(String, String)) -> Credentials {
    Credentials::from_pem("chain", chain.as_bytes(), "key", key.as_bytes()).unwrap()
}

fn test_identity(identity: &Identity) -> mqtt::Identity {
    let read = |name: &str| fs::read_to_string(identity.bundle.join(name)).unwrap();
    let credentials = Some(credentials(&(read("cert.pem"), read("key.pem"))));
    mqtt::Identity { name: identity.name.clone(), credentials }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn its_ports_speak_what_the_policy_allows() {
    let hub = Hub::start(&[]);
    let anchors = certificates_from_pem("root.pem", &fs::read(hub.data().join("pki/root.pem")).unwrap()).unwrap();
    let address = hub.mqtt();
    let target = tls::Target { address, name: Some(localhost()), anchors };
    let facts = run(tls::scan(&target, &dialer(address), [7; 32], UnixTime::now()));
    let policy = TlsPolicy { is_pqc_required: true, ..TlsPolicy::default() };
    for judge in [tls_versions, tls_suites, tls_cert, tls_pqc] {
        let judgement = judge(&facts, &policy);
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    }
    assert!(facts.effort.connections < 60, "{:?}", facts.effort);
    assert_eq!(tls_vulns(&facts, &TlsAttacks::default()).verdict, Verdict::Partial);
    let identity = test_identity(&hub.add("lamp-1", "device")).credentials;
    let attack = tls::Attack {
        target: &target,
        dialer: &dialer(address),
        scan: &facts,
        identity: identity.as_ref(),
        application: Application::Mqtt,
        is_intrusive: true,
        random: [9; 32],
    };
    let attacks = run(tls::attacks(&attack));
    let judgement = tls_vulns(&facts, &attacks);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    assert!(judgement.observed.contains("TLS 1.3: no resumption"), "{judgement:?}");

    let facts = run(ports::scan(&dialer(address), &[(Transport::Tcp, address.port())]));
    assert_eq!(facts.ports[0].service, Some(Service::Tls));
    assert_eq!(port_scan(&facts, &DeclaredServices::default()).verdict, Verdict::Fail);
}

#[test]
fn only_the_valid_certificate_gets_through() {
    let hub = Hub::start(&[]);
    let (valid, revoked) = (hub.add("lamp-1", "device"), hub.add("lamp-2", "device"));
    hub.device("revoke", "lamp-2");
    let forged = |forgery| credentials(&pki::forged_pem(&hub, forgery, None));
    let identities = [
        (Credential::Expired, forged(Forgery::EXPIRED)),
        (Credential::NotYetValid, forged(Forgery::NOT_YET_VALID)),
        (Credential::WrongCa, credentials(&pki::foreign_pem(None))),
        (Credential::WrongUsage, forged(Forgery::FOR_SERVERS)),
        (Credential::Revoked, test_identity(&revoked).credentials.unwrap()),
        (Credential::Valid, test_identity(&valid).credentials.unwrap()),
    ];
    let facts = run(mutual(&dialer(hub.mqtt()), &localhost(), Application::Mqtt, &identities));
    let judgement = tls_mutual(&facts);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
}

#[test]
fn mqtt_is_as_the_policy_says() {
    let hub = Hub::start(&[]);
    let (one, other) = (hub.add("lamp-1", "device"), hub.add("lamp-2", "device"));
    let identities = [test_identity(&one), test_identity(&other)];
    let address = hub.mqtt();
    let dialer = dialer(address);
    let broker = Broker { dialer: &dialer, tls: Some(localhost()) };

    let access = run(mqtt::access(&broker));
    for judgement in [mqtt_anon(&access), mqtt_password(&access)] {
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    }
    let judgement = mqtt_identity(&run(mqtt::identity(&broker, &identities[0], "lamp-2")));
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    let malformed = run(mqtt::malformed(&broker, Some(&identities[0])));
    assert!(malformed.is_inside);
    let judgement = mqtt_malformed(&malformed);
    assert_eq!(judgement.verdict, Verdict::Partial, "{judgement:?}");

    let wish = |identity: &str, operation, topic: &str, is_allowed| Wish {
        identity: identity.to_owned(),
        operation,
        topic: topic.to_owned(),
        is_allowed,
    };
    let wishes = [
        wish("lamp-1", Operation::Publish, "devices/lamp-1/state", true),
        wish("lamp-1", Operation::Publish, "devices/lamp-2/state", false),
        wish("lamp-1", Operation::Retain, "devices/lamp-2/state", false),
        wish("lamp-1", Operation::Will, "devices/lamp-1/gone", true),
        wish("lamp-1", Operation::Will, "devices/lamp-2/gone", false),
        wish("lamp-1", Operation::Subscribe, "devices/lamp-1/#", true),
        wish("lamp-1", Operation::Subscribe, "devices/#", false),
        wish("lamp-2", Operation::Subscribe, "#", false),
        wish("lamp-2", Operation::Subscribe, "$share/g/devices/lamp-1/#", false),
        wish("lamp-2", Operation::Subscribe, "$SYS/#", false),
    ];
    let facts = run(mqtt::access_matrix(&broker, &identities, &wishes));
    let judgement = mqtt_acl_matrix(&facts);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}\n{facts:#?}");
}

/// IOTSF-2.4.7.25, CSA-OPA-04, CSA-COM-04: what is above its limits is refused with the reason, and others are served meanwhile.
#[test]
fn its_limits_hold() {
    let hub = Hub::start(&[
        "limits.device_messages_per_s=100",
        "limits.device_messages_burst=200",
        "limits.connects_per_s=30",
        "limits.half_open_per_source=10",
    ]);
    let one = test_identity(&hub.add("lamp-1", "device"));
    let dialer = Dialer::new(hub.mqtt(), Limits { parallel_max: 30, ..limits() });
    let broker = Broker { dialer: &dialer, tls: Some(localhost()) };
    let facts = run(mqtt::limits(&broker, &one, &Load::small("devices/lamp-1/state")));
    let quota = MqttQuota { publishes_max: Some(500), connections_max: Some(40), half_open_max: Some(10) };
    let judgement = mqtt_limits(&facts, &quota);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?} {facts:?}");
    let refusal = &facts.publishes.known().unwrap().refusal;
    assert_eq!(refusal, "DISCONNECT message rate too high (0x96)");
}

/// ISVS-4.1.1: what was recorded is worth nothing.
#[test]
fn recordings_are_not_taken_twice() {
    let hub = Hub::start(&[]);
    let one = test_identity(&hub.add("lamp-1", "device"));
    let dialer = dialer(hub.mqtt());
    let broker = Broker { dialer: &dialer, tls: Some(localhost()) };
    let mut facts = run(mqtt::replay(&broker, &one, "devices/lamp-1/state"));
    let judgement = replay_probe(&facts);
    assert_eq!(judgement.verdict, Verdict::Partial, "{judgement:?}");
    facts.is_logged = Seen::Known(true);
    assert_eq!(replay_probe(&facts).verdict, Verdict::Pass);
}
