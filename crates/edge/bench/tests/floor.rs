//! The load generator against the floor relay, on loopback, for fractions of a second.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use portreeve_bench::{
    BenchError, Files, Group, Pattern, Plan, Report, Scenario, TlsVersion,
    floor::{Floor, Shape},
    run,
};
use portreeve_mqtt::Version;
use portreeve_types::Qos;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A CA with bundles `hub`, `client` and, of another CA, `stranger`.
fn bundles() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (names, ca) in [(&["hub", "client"][..], "bench CA"), (&["stranger"][..], "another CA")] {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, ca);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        for name in names {
            let key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
            let leaf = leaf.signed_by(&key, &issuer).unwrap();
            let bundle = folder.path().join(name);
            fs::create_dir(&bundle).unwrap();
            fs::write(bundle.join("ca.pem"), issuer.pem()).unwrap();
            fs::write(bundle.join("cert.pem"), leaf.pem()).unwrap();
            fs::write(bundle.join("key.pem"), key.serialize_pem()).unwrap();
        }
    }
    folder
}

struct Relay {
    folder: TempDir,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(shape: Shape) -> Self {
        let folder = bundles();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let floor = Floor::bind(loopback, &folder.path().join("hub"), shape).unwrap();
        let address = floor.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || floor.run(&stopped).unwrap());
        Self { folder, address, stop, thread: Some(thread) }
    }

    fn plan(&self, scenario: Scenario, count: u32) -> Plan {
        Plan {
            count,
            duration: Duration::from_millis(300),
            warm_up: Duration::from_millis(100),
            window: Some(50),
            ..Plan::new(scenario, &self.address.to_string(), files(&self.folder.path().join("client")))
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn files(bundle: &Path) -> Files {
    let file = |name| Pattern::new(bundle.join(name).to_str().unwrap()).unwrap();
    Files { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") }
}

fn intact(plan: &Plan) -> Report {
    let report = run(plan, &mut |_| {}).unwrap();
    assert!(report.is_intact(), "{}", report.table());
    assert_eq!((report.complaint(), report.integrity.lost), (String::new(), 0));
    report
}

#[test]
fn pairs_at_every_quality_of_service_and_in_both_versions() {
    let relay = Relay::start(Shape::Pairs);
    for version in [Version::V311, Version::V5] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let report = intact(&Plan { version, qos, ..relay.plan(Scenario::Publish, 3) });
            assert!(report.delivered > 100, "{}", report.table());
            assert_eq!((report.clients, report.message_latency.unwrap().count > 0), (6, true));
        }
    }
}

#[test]
fn without_a_window_tcp_holds_the_publisher_back_and_nothing_is_lost() {
    let relay = Relay::start(Shape::Pairs);
    intact(&Plan { window: None, payload_bytes: 4000, ..relay.plan(Scenario::Publish, 2) });
}

#[test]
fn a_fan_out_delivers_to_everyone() {
    let relay = Relay::start(Shape::Fanout);
    let report = intact(&Plan { rate_per_s: Some(200), ..relay.plan(Scenario::Fanout, 20) });
    assert_eq!(report.receivers_each, 20);
    assert!((40..=80).contains(&report.sent) && report.delivered > 500, "{}", report.table());
}

#[test]
fn a_paced_fan_in_keeps_its_rate_on_two_threads() {
    let relay = Relay::start(Shape::Fanin);
    let plan = relay.plan(Scenario::Fanin, 30);
    let report = intact(&Plan { rate_per_s: Some(3000), threads: 2, qos: Qos::AtLeastOnce, ..plan });
    assert!((700..=1100).contains(&report.sent), "{}", report.table());
    assert_eq!((report.unsent, report.publishers), (0, 30));
}

#[test]
fn handshakes_are_full_and_of_the_kind_asked_for() {
    let relay = Relay::start(Shape::Pairs);
    for (tls, group, version, name) in [
        (TlsVersion::Tls13, None, "TLSv1_3", "X25519MLKEM768"),
        (TlsVersion::Tls13, Some(Group::P256), "TLSv1_3", "secp256r1"),
        (TlsVersion::Tls12, Some(Group::P384), "TLSv1_2", "secp384r1"),
    ] {
        let report = intact(&Plan { tls, group, concurrency: 4, ..relay.plan(Scenario::Connect, 4) });
        let negotiated = report.tls.unwrap();
        assert_eq!((negotiated.version.as_str(), negotiated.group.as_str()), (version, name));
        assert!(report.connected > 5 && report.connect_latency.is_some(), "{} connections", report.connected);
    }
}

#[test]
fn paced_connections_keep_their_rate() {
    let relay = Relay::start(Shape::Pairs);
    let report = intact(&Plan { rate_per_s: Some(50), ..relay.plan(Scenario::Connect, 20) });
    assert!((10..=20).contains(&report.connected), "{}", report.table());
}

#[test]
fn idle_sessions_are_weighed() {
    let relay = Relay::start(Shape::Pairs);
    let report = intact(&Plan { pid: Some(std::process::id()), ..relay.plan(Scenario::Idle, 40) });
    let process = report.process.unwrap();
    // Both ends of every connection live in this process.
    assert!(process.resident_bytes_per_session.unwrap() > 1000.0, "{process:?}");
    let json = serde_json::to_value(process).unwrap();
    assert_eq!(json["pid"], std::process::id());
}

#[test]
fn what_does_not_arrive_is_missed() {
    // A relay that knows only one of three receivers.
    let relay = Relay::start(Shape::Pairs);
    let plan = Plan {
        rate_per_s: Some(200),
        window: None,
        drain: Duration::from_millis(500),
        ..relay.plan(Scenario::Fanout, 3)
    };
    let report = run(&plan, &mut |_| {}).unwrap();
    assert!(!report.is_intact());
    assert!(report.integrity.lost > 100 && report.integrity.lost.is_multiple_of(2), "{}", report.table());
    assert!(report.complaint().contains("deliveries lost"));
    assert!(run(&Plan { loss_is_ok: true, ..plan }, &mut |_| {}).unwrap().is_intact());
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let relay = Relay::start(Shape::Pairs);
    let plan = relay.plan(Scenario::Publish, 1);
    let refused = |plan: &Plan| run(plan, &mut |_| {}).unwrap_err();

    let bundle = |name: &str| files(&relay.folder.path().join(name));
    let stranger = Files { ca: bundle("client").ca, ..bundle("stranger") };
    let error = refused(&Plan { files: stranger, ..plan.clone() });
    assert!(matches!(error, BenchError::Refused(_)), "{error}");
    let error = refused(&Plan { files: bundle("stranger"), ..plan.clone() });
    assert!(matches!(error, BenchError::Unreachable(_)) && error.to_string().contains("--ca"), "{error}");
    let error = refused(&Plan { server_name: Some("elsewhere.example".into()), ..plan.clone() });
    assert!(error.to_string().contains("--server-name"), "{error}");
    let error = refused(&Plan { files: bundle("nobody"), ..plan.clone() });
    assert!(matches!(error, BenchError::Usage(_)) && error.to_string().contains("device add"), "{error}");

    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(&Plan { broker: unused.to_string(), ..plan });
    assert_eq!((error.exit_status(), error.to_string().contains("--broker")), (3, true), "{error}");
}

#[test]
fn the_relay_does_not_listen_to_other_machines() {
    let folder = bundles();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    assert!(Floor::bind(everywhere, &folder.path().join("hub"), Shape::Pairs).is_err());
}
