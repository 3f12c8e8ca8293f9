//! What becomes of a device in the course of its life: what it says of itself, and its end (CSA-EOL-01).

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::time::Duration;

use common::{Bench, Client, Got, SubscriptionOptions, connect, payloads};
use portreeve_config::Role;
use portreeve_events::Kind as EventKind;
use portreeve_hub::{Actor, AdminError, AdminRequest};
use portreeve_mqtt::Reason;
use portreeve_types::{IdentityName, LifecycleState, Qos};
use serde_json::Value;

fn name() -> IdentityName {
    "lamp".parse().unwrap()
}

fn ask(bench: &Bench, actor: &str, role: Role, request: AdminRequest) -> Result<Value, AdminError> {
    bench.hub.administer(&Actor { name: actor.into(), role }, request).map(|outcome| outcome.result)
}

fn report(bench: &mut Bench, client: &mut Client, topic: &str, payload: &[u8], qos: Qos) -> Vec<Got> {
    let got = client.publish(bench, topic, payload, qos);
    bench.advance(Duration::from_secs(2));
    bench.hub.tick(bench.now);
    got
}

fn firmware(bench: &Bench) -> String {
    bench.hub.registry().find(&name()).unwrap().firmware.clone()
}

/// `field before→after by actor`, of everything but the registration.
fn history(bench: &Bench) -> Vec<String> {
    let rows = ask(bench, "vera", Role::Viewer, AdminRequest::DeviceHistory { name: name() }).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let [field, before, after, actor] = ["field", "before", "after", "actor"].map(|key| text(row, key));
            format!("{field} {before}→{after} by {actor}")
        })
        .filter(|row| !row.contains(" →") || row.starts_with("wipe") || row.starts_with("disposal"))
        .collect()
}

#[test]
fn a_device_reports_its_firmware_and_nobody_elses() {
    let mut bench = Bench::new();
    let (lamp, app) = (bench.device("lamp"), bench.application("app"));
    bench.policy(
        r#"permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);"#,
    );
    let mut client = bench.connect(&lamp, connect("lamp"));
    let topic = "devices/lamp/report/inventory";
    let got =
        report(&mut bench, &mut client, topic, br#"{"firmware": "2.1.0", "model": "L7", "more": 1}"#, Qos::AtLeastOnce);
    assert!(matches!(got[..], [Got::PubAck(_, Reason::SUCCESS)]), "it is heard: {got:?}");
    assert_eq!(firmware(&bench), "2.1.0");
    let _ = report(&mut bench, &mut client, topic, br#"{"firmware": "2.2.0"}"#, Qos::AtMostOnce);
    assert_eq!(firmware(&bench), "2.2.0");
    client.publish_exactly_once(&bench, topic, br#"{"firmware": "2.3.0"}"#);
    bench.advance(Duration::from_secs(2));
    bench.hub.tick(bench.now);
    assert_eq!(firmware(&bench), "2.3.0");
    let row = bench.hub.registry().find(&name()).unwrap();
    assert_eq!(row.model, "L7");
    let told = history(&bench);
    assert_eq!(told, ["firmware 2.1.0→2.2.0 by lamp", "firmware 2.2.0→2.3.0 by lamp"]);

    // What is no report changes nothing, and neither does somebody else's.
    let refused = || bench.hub.events().count(EventKind::ReportRefused);
    assert_eq!(refused(), 0);
    let long = format!(r#"{{"firmware": "{}"}}"#, "9".repeat(17_000));
    let text = format!(r#"{{"firmware": "{}"}}"#, "9".repeat(300));
    for (payload, count) in [(&b"2.4.0"[..], 1), (b"[]", 2), (b"{\"firmware\": 2}", 3), (b"", 4), (long.as_bytes(), 5)]
    {
        client.publish(&bench, topic, payload, Qos::AtLeastOnce);
        assert_eq!(refused(), count, "{}", String::from_utf8_lossy(payload));
    }
    let _ = report(&mut bench, &mut client, topic, text.as_bytes(), Qos::AtLeastOnce);
    let mut other = bench.connect(&app, connect("app"));
    let _ = report(&mut bench, &mut other, topic, br#"{"firmware": "6.6.6"}"#, Qos::AtLeastOnce);
    assert_eq!(firmware(&bench), "2.3.0");
}

/// Wiped, retired, and two persons who say what became of it.
#[test]
fn a_device_ends_in_good_order() {
    let mut bench = Bench::with(|config| {
        config.admin.operators = [("olga".to_owned(), Role::Operator)].into();
    });
    let lamp = bench.device("lamp");
    let mut client = bench.connect(&lamp, connect("lamp"));
    let told = history(&bench).len();
    let _ = report(&mut bench, &mut client, "devices/lamp/remediation/wiped", b"", Qos::AtLeastOnce);
    assert_eq!(history(&bench).len(), told, "nobody has asked for that");
    let operate = |bench: &Bench, request| ask(bench, "olga", Role::Operator, request);
    let wipe = || AdminRequest::DeviceWipe { name: name(), reason: "sold".into() };
    let dispose = |statement: &str| AdminRequest::DeviceDispose { name: name(), statement: statement.into() };
    assert!(matches!(ask(&bench, "vera", Role::Viewer, wipe()), Err(AdminError::Role { .. })));
    assert!(matches!(operate(&bench, dispose("shredded")), Err(AdminError::Refused(_))), "it is in service");
    let _ = operate(&bench, wipe()).unwrap();
    let _ = client.recv(&bench);
    assert!(client.is_over(), "it is confined");

    // It comes back, finds the command, and confirms.
    let mut client = bench.connect(&lamp, connect("lamp"));
    let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..Default::default() };
    let commands = payloads(&client.subscribe(&bench, "devices/lamp/remediation/wipe", options, None));
    assert!(commands.len() == 1 && commands[0].contains("\"wipe\":true"), "{commands:?}");
    let _ = report(&mut bench, &mut client, "devices/lamp/remediation/wiped", b"", Qos::AtLeastOnce);
    assert_eq!(history(&bench).last().unwrap(), "wipe asked→confirmed by lamp");

    bench.set_state("lamp", LifecycleState::Retired).unwrap();
    let status = ask(&bench, "vera", Role::Viewer, AdminRequest::Status).unwrap();
    let limits = status["limits"].as_array().unwrap();
    let retained = limits.iter().find(|row| row["name"] == "retained_messages").unwrap();
    assert_eq!(retained["used"], 0, "the command is withdrawn");
    assert!(matches!(operate(&bench, wipe()), Err(AdminError::Refused(_))), "it cannot hear it any more");
    assert!(matches!(operate(&bench, dispose(" ")), Err(AdminError::Invalid(_))));
    assert!(matches!(operate(&bench, dispose(&"x".repeat(257))), Err(AdminError::Invalid(_))));
    let asked = operate(&bench, dispose("shredded")).unwrap()["waits_for_approval"].as_u64().unwrap();
    let answer = |bench: &Bench, actor: &str, role| {
        let request = AdminRequest::ApprovalAnswer { number: asked, granted: true, reason: String::new() };
        ask(bench, actor, role, request)
    };
    assert!(matches!(answer(&bench, "olga", Role::Operator), Err(AdminError::Refused(_))), "two persons");
    assert!(matches!(answer(&bench, "vera", Role::Viewer), Err(AdminError::Role { .. })));
    let _ = answer(&bench, "otto", Role::Operator).unwrap();
    assert_eq!(history(&bench).last().unwrap(), "disposal →shredded by olga and otto");
}

/// CSA-TSP-02: what is out of date or silent is told of once, and policy can confine it until it is mended.
#[test]
fn outdated_and_silent_devices_are_told_of_and_confined() {
    let mut bench = Bench::with(|config| {
        config.lifecycle.firmware_min = [("lamps".to_owned(), "2.1".to_owned())].into();
        config.lifecycle.heartbeat_max_s = [("lamps".to_owned(), 3600)].into();
    });
    bench.policy(
        r#"forbid (principal, action == Action::"publish", resource)
               when { principal.posture != "current" && !(resource.path like "*/report/inventory") };"#,
    );
    let lamp = bench.device("lamp");
    let fields = portreeve_hub::Fields { group: Some("lamps".into()), ..Default::default() };
    bench.administer(AdminRequest::DeviceEdit { name: name(), fields }).unwrap();
    let count = |bench: &Bench, kind| bench.hub.events().count(kind);
    let look = |bench: &mut Bench, seconds| {
        bench.advance(Duration::from_secs(seconds));
        bench.hub.tick(bench.now);
    };
    let mut client = bench.connect(&lamp, connect("lamp"));
    let reason = |got: &[Got]| match got {
        [Got::PubAck(_, reason)] => *reason,
        other => panic!("{other:?}"),
    };
    look(&mut bench, 61);
    look(&mut bench, 61);
    assert_eq!(count(&bench, EventKind::FirmwareOutdated), 1, "nobody knows what it runs: told once");
    let topic = "devices/lamp/telemetry/t";
    assert_eq!(reason(&client.publish(&bench, topic, b"x", Qos::AtLeastOnce)), Reason::UNSPECIFIED_ERROR);
    let inventory = "devices/lamp/report/inventory";
    let _ = report(&mut bench, &mut client, inventory, br#"{"firmware": "2.0.9"}"#, Qos::AtLeastOnce);
    assert_eq!(reason(&client.publish(&bench, topic, b"x", Qos::AtLeastOnce)), Reason::UNSPECIFIED_ERROR);
    let _ = report(&mut bench, &mut client, inventory, br#"{"firmware": "2.1.0"}"#, Qos::AtLeastOnce);
    assert_eq!(reason(&client.publish(&bench, topic, b"x", Qos::AtLeastOnce)), Reason::NO_MATCHING_SUBSCRIBERS);
    look(&mut bench, 61);
    assert_eq!(bench.hub.postures().outdated.load(std::sync::atomic::Ordering::Relaxed), 0);

    // Connected, however quiet, is alive; away for too long is not.
    look(&mut bench, 7200);
    assert_eq!(count(&bench, EventKind::HeartbeatMissed), 0);
    client.lose(&bench);
    look(&mut bench, 3000);
    assert_eq!(count(&bench, EventKind::HeartbeatMissed), 0);
    look(&mut bench, 700);
    look(&mut bench, 700);
    assert_eq!(count(&bench, EventKind::HeartbeatMissed), 1, "told once");
    // While the hub was away nobody could be heard.
    bench.advance(Duration::from_secs(7200));
    let mut bench = bench.reopen();
    look(&mut bench, 100);
    assert_eq!(count(&bench, EventKind::HeartbeatMissed), 0);
}

/// A minimum that is raised counts at once, also for whoever is connected.
#[test]
fn a_new_minimum_confines_live_sessions() {
    let bench = Bench::new();
    bench.policy(
        r#"forbid (principal, action == Action::"connect", resource) when { principal.posture == "outdated" };"#,
    );
    let lamp = bench.device("lamp");
    let fields =
        portreeve_hub::Fields { group: Some("lamps".into()), firmware: Some("1.0".into()), ..Default::default() };
    bench.administer(AdminRequest::DeviceEdit { name: name(), fields }).unwrap();
    let mut client = bench.connect(&lamp, connect("lamp"));
    let mut config = bench.config.clone();
    config.lifecycle.firmware_min = [("lamps".to_owned(), "2.0".to_owned())].into();
    bench.hub.reconfigure(config, bench.wall()).unwrap();
    let _ = client.recv(&bench);
    assert!(client.is_over());
    let (_, got) = bench.try_connect(&lamp, connect("lamp"));
    assert!(
        matches!(got[..], [Got::ConnAck { reason: Reason::UNSPECIFIED_ERROR | Reason::NOT_AUTHORIZED, .. }]),
        "{got:?}"
    );
}

/// A device that reports something else each second does not fill its own history, in which operators' changes stand.
#[test]
fn a_device_cannot_write_its_history_full() {
    let mut bench = Bench::new();
    let lamp = bench.device("lamp");
    let mut client = bench.connect(&lamp, connect("lamp"));
    for number in 0..40 {
        let payload = format!(r#"{{"firmware": "{number}"}}"#);
        let _ = report(&mut bench, &mut client, "devices/lamp/report/inventory", payload.as_bytes(), Qos::AtMostOnce);
    }
    assert_eq!(
        history(&bench).iter().filter(|row| row.starts_with("firmware")).count(),
        9,
        "and the first, from nothing"
    );
    assert!(bench.hub.events().count(EventKind::ReportRefused) >= 29);
    // Nor with confirmations that nobody has asked for.
    let told = history(&bench).len();
    for number in 0..20 {
        let payload = format!(r#"{{"firmware": "again {number}"}}"#);
        let _ = client.publish(&bench, "devices/lamp/remediation/wiped", b"", Qos::AtMostOnce);
        let _ = report(&mut bench, &mut client, "devices/lamp/report/inventory", payload.as_bytes(), Qos::AtMostOnce);
    }
    assert_eq!(history(&bench).len(), told);
    // After an hour it is heard again.
    bench.advance(Duration::from_secs(3600));
    let _ = report(&mut bench, &mut client, "devices/lamp/report/inventory", br#"{"firmware": "x"}"#, Qos::AtMostOnce);
    assert_eq!(firmware(&bench), "x");
}
