//! Alerts on a virtual clock: what raises them, who reads them on a topic, and what a restart leaves of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::time::Duration;

use common::{Bench, Client, Got, SubscriptionOptions, connect};
use portreeve_config::Role;
use portreeve_events::{Event, Kind as EventKind};
use portreeve_hub::{Actor, AdminError, AdminRequest, Fields};
use portreeve_types::{Kind, Qos, UnixMillis};
use serde_json::Value;

const TOPIC: &str = "$SYS/portreeve/alerts";
/// An application reads alerts, and one may read and write everything else.
const POLICY: &str = r#"
    @id("t.panel") permit (principal == Identity::"panel", action == Action::"subscribe", resource in Topic::"$SYS/portreeve/#");
    @id("t.all") permit (principal == Identity::"other", action in [Action::"publish", Action::"subscribe"], resource);
"#;

fn settings(reviewed: &str) -> String {
    format!(
        "[[channel]]\nname = \"panel\"\nkind = \"mqtt\"\ntopic = \"{TOPIC}\"\n\
         [[contact]]\nname = \"room\"\nchannels = [\"panel\"]\nreviewed = {reviewed}\n\
         [[contact]]\nname = \"plant\"\nchannels = [\"panel\"]\nreviewed = {reviewed}\n\
         [[route]]\ngroups = [\"plant-7\"]\ncontacts = [\"plant\"]\n[[route]]\ncontacts = [\"room\"]\n"
    )
}

fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

fn bench() -> Bench {
    Bench::with(|config| config.canary.every_s = 0)
}

fn apply(bench: &Bench, text: &str) -> Value {
    let request = AdminRequest::AlertApply { file: "alerts.toml".into(), text: text.into(), dry_run: false };
    bench.administer(request).unwrap().result
}

/// A few rounds of the thread that tends alerts.
fn tend(bench: &Bench) {
    for _ in 0..3 {
        bench.hub.tend_watch(bench.now);
        bench.hub.tend_alerts(bench.now);
    }
}

fn panel(bench: &Bench) -> Client {
    let leaf = bench.add("panel", Kind::Application);
    bench.policy(POLICY);
    let identity = bench.identity(&leaf);
    let mut panel = bench.connect(&identity, connect("panel"));
    panel.subscribed(bench, TOPIC, Qos::AtLeastOnce);
    panel
}

fn read(client: &mut Client, bench: &Bench) -> Vec<Value> {
    let got = client.recv(bench);
    let alert = |got: &Got| match got {
        Got::Publish { topic, payload, .. } => {
            assert_eq!(topic, TOPIC);
            Some(serde_json::from_slice(payload).unwrap())
        }
        _ => None,
    };
    got.iter().filter_map(alert).collect()
}

fn list(bench: &Bench) -> Vec<Value> {
    let listed = bench.administer(AdminRequest::AlertList { all: true }).unwrap().result;
    listed["alerts"].as_array().unwrap().clone()
}

fn fail(bench: &Bench) {
    bench.hub.tell(&Event::new(EventKind::LedgerFailed, format_args!("no space left")));
}

/// CSA-BCN-01: what breaks is told, to whom the group's route leads, and over when it is over.
#[test]
fn failures_are_told_by_route_and_end() {
    let bench = bench();
    let mut panel = panel(&bench);
    apply(&bench, &settings(&today()));
    fail(&bench);
    fail(&bench);
    tend(&bench);
    let told = read(&mut panel, &bench);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["contact"], &told[0]["alert"]["severity"]), (&"room".into(), &"high".into()));
    assert!(told[0]["alert"]["text"].as_str().unwrap().contains("no space left"));
    let fields = Fields { group: Some("plant-7".into()), ..Fields::default() };
    bench
        .administer(AdminRequest::DeviceAdd {
            name: "gate-1".parse().unwrap(),
            kind: Kind::Gateway,
            fields,
            bundle: false,
            days: None,
        })
        .unwrap();
    bench.hub.tell(&Event::new(EventKind::CloneSuspected, format_args!("")).about("gate-1"));
    tend(&bench);
    let told = read(&mut panel, &bench);
    assert_eq!(told.len(), 1, "the detector tells, and the event does not tell as well: {told:?}");
    assert_eq!(told[0]["alert"]["kind"], "duplicate_identity");
    assert_eq!((&told[0]["contact"], &told[0]["alert"]["subject"]), (&"plant".into(), &"identity gate-1".into()));
    assert_eq!(list(&bench).len(), 2);
    bench.hub.tell(&Event::new(EventKind::LedgerRecovered, format_args!("")));
    tend(&bench);
    assert_eq!(list(&bench).len(), 1);
    assert_eq!((bench.count(EventKind::AlertSent), bench.count(EventKind::AlertFailed)), (2, 0));
    assert_eq!(bench.hub.alert_latency().buckets().map(|(_, count)| count).sum::<u64>(), 2);
}

/// CSA-BCN-01: without settings alerts stand, over a restart, until somebody can be told.
#[test]
fn what_nobody_was_told_waits_for_settings_over_a_restart() {
    let bench = bench();
    fail(&bench);
    tend(&bench);
    assert_eq!(bench.hub.alert_summary().open, 1);
    assert!(!bench.hub.alert_summary().reach_somebody);
    let bench = bench.reopen_after_crash();
    assert_eq!(list(&bench).len(), 1);
    let mut panel = panel(&bench);
    apply(&bench, &settings(&today()));
    tend(&bench);
    assert_eq!(read(&mut panel, &bench).len(), 1);
    let bench = {
        panel.disconnect(&bench);
        bench.reopen_after_crash()
    };
    tend(&bench);
    assert_eq!(bench.count(EventKind::AlertSent), 0, "what was delivered is not sent again");
    assert!(bench.hub.alert_summary().reach_somebody);
}

/// CSA-BCN-01: a topic that nobody reads is a channel that fails; what waits for it goes out after a restart, with its key.
#[test]
fn what_could_not_be_sent_is_sent_after_a_restart() {
    let bench = bench();
    apply(&bench, &settings(&today()));
    fail(&bench);
    tend(&bench);
    assert!(bench.count(EventKind::AlertFailed) >= 1);
    let summary = bench.hub.alert_summary();
    assert_eq!(summary.channels[0].waiting, 1, "{summary:?}");
    let mut bench = bench.reopen_after_crash();
    let mut panel = panel(&bench);
    bench.advance(Duration::from_secs(60));
    tend(&bench);
    let told = read(&mut panel, &bench);
    assert_eq!((told.len(), &told[0]["alert"]["kind"]), (1, &"ledger_failed".into()));
    assert!(told[0]["attempt"].as_u64().unwrap() > 1);
}

/// A clock that is set back delays nothing by what it was ahead.
#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut bench = bench();
    apply(&bench, &settings(&today()));
    bench.advance(Duration::from_secs(86_400));
    // Back-off: it is tried again a while later, by a clock that is a day ahead.
    for _ in 0..5 {
        fail(&bench);
        tend(&bench);
    }
    assert_eq!(bench.hub.alert_summary().channels[0].waiting, 1);
    let mut panel = panel(&bench);
    bench.now.wall = UnixMillis(bench.now.wall.0 - 86_400_000);
    tend(&bench);
    bench.advance(Duration::from_secs(300));
    tend(&bench);
    assert_eq!(read(&mut panel, &bench).len(), 1);
}

/// ISVS-4.2.2: nobody publishes alerts but the hub, and nobody reads them without a permit that names them.
#[test]
fn alerts_are_read_by_whom_policy_names_and_written_by_nobody() {
    let bench = bench();
    let mut panel = panel(&bench);
    apply(&bench, &settings(&today()));
    let leaf = bench.add("other", Kind::Application);
    let mut other = bench.connect(&bench.identity(&leaf), connect("other"));
    for filter in ["#", "$SYS/#", TOPIC] {
        other.subscribe(&bench, filter, SubscriptionOptions { qos: Qos::AtLeastOnce, ..Default::default() }, None);
    }
    other.publish(&bench, TOPIC, b"{}", Qos::AtLeastOnce);
    assert!(read(&mut panel, &bench).is_empty(), "a forged alert");
    fail(&bench);
    tend(&bench);
    assert_eq!(read(&mut panel, &bench).len(), 1);
    assert!(read(&mut other, &bench).is_empty());
}

/// CSA-BCN-01: contacts that nobody reviewed are told of once.
#[test]
fn contacts_without_review_are_told_of_once() {
    let mut bench = bench();
    let mut panel = panel(&bench);
    let applied = apply(&bench, &settings("2020-01-01"));
    assert_eq!(applied["overdue_contacts"].as_array().unwrap().len(), 2);
    tend(&bench);
    let told = read(&mut panel, &bench);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|told| told["alert"]["kind"] == "contact_overdue"));
    bench.advance(Duration::from_secs(7200));
    tend(&bench);
    let again = read(&mut panel, &bench);
    assert!(again.iter().all(|told| told["notice"] == "escalated"), "{again:?}");
}

/// CSA-SNT-10: on its schedule every detector is rehearsed, and one marked alert goes the whole way; one that gets lost is told.
#[test]
fn a_scheduled_canary_is_one_marked_alert() {
    let mut idle = Bench::with(|config| config.canary.every_s = 3600);
    idle.advance(Duration::from_secs(7200));
    tend(&idle);
    assert_eq!(idle.count(EventKind::CanaryInjected), 0, "with nobody to tell there is no test");
    let mut bench = Bench::with(|config| config.canary.every_s = 3600);
    let mut panel = panel(&bench);
    apply(&bench, &settings(&today()));
    bench.advance(Duration::from_secs(3599));
    tend(&bench);
    assert_eq!(bench.count(EventKind::CanaryInjected), 0);
    bench.advance(Duration::from_secs(2));
    tend(&bench);
    assert_eq!(bench.count(EventKind::CanaryInjected), 1);
    let told = read(&mut panel, &bench);
    assert!(!told.is_empty() && told.iter().all(|told| told["alert"]["canary"] == true), "{told:?}");
    panel.disconnect(&bench);
    bench.advance(Duration::from_secs(120));
    tend(&bench);
    assert!(list(&bench).iter().all(|alert| alert["kind"] != "canary_failed"), "it went well");
}

/// Who may do what with alerts (CSA-SCN-08).
#[test]
fn roles_are_asked() {
    let bench = bench();
    apply(&bench, &settings(&today()));
    fail(&bench);
    tend(&bench);
    let id = list(&bench)[0]["id"].as_u64().unwrap();
    let ask = |role, request: AdminRequest| bench.hub.administer(&Actor { name: "ann".into(), role }, request);
    let refused = |outcome| matches!(outcome, Err(AdminError::Role { .. }));
    assert!(ask(Role::Viewer, AdminRequest::AlertList { all: false }).is_ok());
    assert!(refused(ask(Role::Viewer, AdminRequest::AlertAck { id })));
    assert!(refused(ask(Role::Viewer, AdminRequest::AlertTest)));
    assert!(refused(ask(Role::Viewer, AdminRequest::AlertResend { id: 1 })));
    assert!(refused(ask(Role::Operator, AdminRequest::AlertShow)), "a webhook's address may be a secret");
    let apply = AdminRequest::AlertApply { file: "f".into(), text: settings(&today()), dry_run: false };
    assert!(refused(ask(Role::Operator, apply)));
    assert!(ask(Role::Operator, AdminRequest::AlertAck { id }).is_ok());
    assert!(matches!(ask(Role::Operator, AdminRequest::AlertAck { id: 99 }), Err(AdminError::Refused(_))));
    assert_eq!(bench.count(EventKind::AlertAcknowledged), 1);
    let taken = &list(&bench)[0]["acknowledged"];
    assert_eq!(taken["by"], "ann");
}

/// Settings with mistakes change nothing, and say where they are wrong.
#[test]
fn wrong_settings_are_refused_with_their_places() {
    let bench = bench();
    apply(&bench, &settings(&today()));
    let text = settings(&today()).replace("groups = [\"plant-7\"]", "kinds = [\"no_such\"]");
    let request = AdminRequest::AlertApply { file: "alerts.toml".into(), text, dry_run: false };
    let Err(AdminError::Invalid(why)) = bench.administer(request) else { panic!("it was taken") };
    assert!(why.contains("alerts.toml:14:10: "), "{why}");
    assert_eq!(bench.hub.alert_summary().channels.len(), 1);
    let mut text =
        settings(&today()).replace("groups = [\"plant-7\"]", "kinds = [\"auth_failures\", \"ledger_failed\"]");
    text += "# every kind that is raised can be named\n";
    apply(&bench, &text);
    let shown = bench.administer(AdminRequest::AlertShow).unwrap().result;
    assert_eq!(shown["settings"], text);
}
