//! What the hub does upon findings by itself, on the real message path (IIITA-N6, CSA-SNT-03, CSA-OPA-04, IOTSF-2.4.7.5).

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::time::Duration;

use common::{Bench, Client, Got, connect, resume};
use portreeve_config::Role;
use portreeve_events::Kind as EventKind;
use portreeve_hub::{Actor, AdminError, AdminRequest, DeviceIdentity, Now};
use portreeve_mqtt::Reason;
use portreeve_types::{LifecycleState, Qos};
use serde_json::Value;

/// Thresholds that a test reaches quickly.
const DETECT: &str = r#"
[message_rate]
absolute = 50.0
[policy_denials]
denials = 5
[auth_failures]
failures = 5
[known_bad]
topics = ["devices/+/telemetry/c2"]
"#;

/// A brake that stays out of the way.
const OFF: &str = "[brake]\ninterrupt = { share_percent_per_hour = 100, at_least = 100 }\nconfine = { share_percent_per_hour = 100, at_least = 100 }\nquarantined_percent = 100\n";

fn rule(finding: &str, action: &str, more: &str) -> String {
    format!("[[rule]]\nfindings = [\"{finding}\"]\naction = \"{action}\"\n{more}\n")
}

fn actor(name: &str, role: Role) -> Actor {
    Actor { name: name.into(), role }
}

/// A hub with rules.
struct World {
    bench: Bench,
}

impl World {
    fn new(rules: &str) -> Self {
        Self::of(Bench::with(|config| config.limits.device_messages_per_s = 1000), rules)
    }

    fn of(bench: Bench, rules: &str) -> Self {
        let world = Self { bench };
        world.ask(AdminRequest::DetectApply { file: "d".into(), text: DETECT.into(), dry_run: false }).unwrap();
        world.apply(rules).unwrap();
        // The clock of responses begins.
        world.bench.hub.tend_watch(world.bench.now);
        world
    }

    fn apply(&self, rules: &str) -> Result<Value, AdminError> {
        self.ask(AdminRequest::ResponseApply { file: "rules.toml".into(), text: rules.into(), dry_run: false })
    }

    fn ask(&self, request: AdminRequest) -> Result<Value, AdminError> {
        self.bench.administer(request).map(|outcome| outcome.result)
    }

    fn ask_as(&self, name: &str, role: Role, request: AdminRequest) -> Result<Value, AdminError> {
        self.bench.hub.administer(&actor(name, role), request).map(|outcome| outcome.result)
    }

    fn pass(&mut self, seconds: u64) {
        self.bench.advance(Duration::from_secs(seconds));
        self.bench.hub.tend_watch(self.bench.now);
    }

    fn measures(&self) -> Vec<Value> {
        self.ask(AdminRequest::ResponseList).unwrap().as_array().unwrap().clone()
    }

    fn cases(&self) -> Vec<Value> {
        self.ask(AdminRequest::CaseList { closed: false }).unwrap().as_array().unwrap().clone()
    }

    fn state(&self, name: &str) -> String {
        let shown = self.ask(AdminRequest::DeviceShow { name: name.parse().unwrap() }).unwrap();
        shown["state"].as_str().unwrap().to_owned()
    }

    fn lift(&self, id: &Value) -> Result<Value, AdminError> {
        self.ask(AdminRequest::ResponseLift { id: id.as_u64().unwrap(), reason: "a test".into() })
    }

    /// Is refused by policy often enough to be found.
    fn storm(&self, client: &mut Client) {
        for _ in 0..6 {
            client.publish(&self.bench, "somebody/else", b"x", Qos::AtLeastOnce);
        }
        self.bench.hub.tend_watch(self.bench.now);
    }

    /// A source is refused often enough to be found.
    fn knock(&self, address: &str) {
        for _ in 0..6 {
            let (kind, source) = (EventKind::HandshakeRefused, address.parse().ok());
            self.bench.hub.emit(kind, None, None, source, format_args!("no certificate"));
        }
        self.bench.hub.tend_watch(self.bench.now);
    }

    fn device(&self, name: &str) -> (DeviceIdentity, Client) {
        let identity = self.bench.device(name);
        let client = self.bench.connect(&identity, connect(name));
        (identity, client)
    }

    fn is_blocked(&self, address: &str) -> bool {
        self.bench.hub.is_blocked(address.parse().unwrap(), self.bench.now.mono_ms)
    }

    fn reopen(self) -> Self {
        let bench = self.bench.reopen();
        bench.hub.tend_watch(bench.now);
        Self { bench }
    }
}

/// How many of these messages, sent at once, are taken.
fn burst(bench: &Bench, client: &mut Client, name: &str, count: usize) -> usize {
    let topic = format!("devices/{name}/telemetry/t");
    let taken = |got: &[Got]| got.iter().any(|got| matches!(got, Got::PubAck(_, reason) if reason.0 < 0x80));
    (0..count)
        .take_while(|_| !client.is_over() && taken(&client.publish(bench, &topic, b"1", Qos::AtLeastOnce)))
        .count()
}

/// CSA-OPA-04: a device that floods is held to a rate for a time, its neighbours are not, and a restart lets it off nothing.
#[test]
fn a_flooding_device_is_throttled_and_others_are_not() {
    let rules = rule("message_rate", "throttle", "messages_per_s = 2\nfor_s = 600\nmode = \"act\"");
    let mut world = World::new(&rules);
    let (flooder, mut flood) = world.device("lamp-1");
    let (_, mut calm) = world.device("lamp-2");
    assert_eq!(burst(&world.bench, &mut flood, "lamp-1", 60), 60);
    world.pass(11);
    assert_eq!(burst(&world.bench, &mut flood, "lamp-1", 1), 1);
    world.pass(1);
    let measures = world.measures();
    assert_eq!(
        (measures.len(), &measures[0]["action"], &measures[0]["whom"]),
        (1, &"throttle".into(), &"lamp-1".into())
    );
    assert_eq!(world.cases().len(), 1);
    assert_eq!(world.bench.count(EventKind::ResponseTaken), 1);
    assert_eq!(burst(&world.bench, &mut flood, "lamp-1", 10), 2, "also on the connection that it has");
    assert!(flood.is_over());
    assert_eq!(burst(&world.bench, &mut calm, "lamp-2", 40), 40);
    drop((flood, calm, flooder));

    let mut world = world.reopen();
    let lamp = world.bench.hub.registry().find(&"lamp-1".parse().unwrap()).unwrap();
    assert_eq!(world.measures(), measures, "and with it {}", lamp.name);
    assert_eq!(world.cases().len(), 1);
    world.pass(601);
    assert!(world.measures().is_empty());
    assert_eq!(world.bench.count(EventKind::ResponseLifted), 1);
}

/// CSA-SNT-03: the same rule says what it would do, or does it; whoever lifts it frees the device, but not one that a person
/// confined meanwhile.
#[test]
fn a_denial_storm_quarantines_unless_it_is_a_rehearsal() {
    let mut world = World::new(&rule("policy_denials", "quarantine", ""));
    let (identity, mut client) = world.device("lamp-1");
    world.storm(&mut client);
    assert_eq!((world.bench.count(EventKind::ResponseWouldBe), world.bench.count(EventKind::ResponseTaken)), (1, 0));
    assert!(world.state("lamp-1") == "active" && !client.is_over() && world.measures().is_empty());
    assert_eq!(world.ask(AdminRequest::Status).unwrap()["responses"]["dry_run"], 1);

    world.apply(&rule("policy_denials", "quarantine", "mode = \"act\"")).unwrap();
    let (_, mut other) = world.device("lamp-2");
    world.storm(&mut other);
    other.recv(&world.bench);
    assert!(world.state("lamp-2") == "quarantined" && other.is_over());
    // At most one of so small a fleet at a time.
    let (_, mut third) = world.device("lamp-3");
    world.storm(&mut third);
    assert!(world.state("lamp-3") == "active" && world.bench.count(EventKind::ResponseWithheld) == 1);
    let measure = &world.measures()[0]["measure"];
    world.lift(measure).unwrap();
    assert!(world.state("lamp-2") == "active" && world.measures().is_empty());
    assert!(matches!(world.lift(measure), Err(AdminError::Refused(_))), "once");

    world.apply(&format!("{OFF}{}", rule("policy_denials", "quarantine", "for_s = 60\nmode = \"act\""))).unwrap();
    for name in ["lamp-4", "lamp-5", "lamp-6"] {
        let (_, mut client) = world.device(name);
        world.storm(&mut client);
        assert_eq!(world.state(name), "quarantined");
    }
    // A person makes it his own quarantine, frees another, and leaves the third to its time.
    world.bench.set_state("lamp-4", LifecycleState::Quarantined).unwrap();
    world.bench.set_state("lamp-5", LifecycleState::Active).unwrap();
    world.bench.set_state("lamp-5", LifecycleState::Quarantined).unwrap();
    assert_eq!(world.measures().len(), 1);
    world.pass(61);
    let states = ["lamp-4", "lamp-5", "lamp-6"].map(|name| world.state(name));
    assert_eq!(states, ["quarantined", "quarantined", "active"]);
    drop((identity, client));
}

/// A rule that fits everybody cuts off no more than the brake's share, and says of the rest that it was withheld (IIITA-N6).
#[test]
fn a_rule_that_fits_everybody_stops_at_the_brake() {
    let brake = "[brake]\ninterrupt = { share_percent_per_hour = 20, at_least = 1 }\n";
    let world = World::new(&format!("{brake}{}", rule("policy_denials", "disconnect", "mode = \"act\"")));
    let mut clients: Vec<_> = (0..10).map(|number| world.device(&format!("lamp-{number}")).1).collect();
    for client in &mut clients {
        world.storm(client);
        client.recv(&world.bench);
    }
    assert_eq!(clients.iter().filter(|client| client.is_over()).count(), 2);
    assert_eq!((world.bench.count(EventKind::ResponseTaken), world.bench.count(EventKind::ResponseWithheld)), (2, 8));
    assert_eq!(world.bench.hub.responses().brake_used, 2);
}

/// IOTSF-2.4.7.5: a source that is refused again and again is blocked, for whoever is there; by time or by hand it is lifted.
#[test]
fn a_blocked_source_is_cut_off_until_its_time_is_over() {
    let block = rule("auth_failures", "block-source", "for_s = 300\nmode = \"act\"");
    let mut world = World::new(&format!("{OFF}{block}"));
    let identity = world.bench.device("lamp-1");
    let come = |world: &World, address| {
        let (client, got) = world.bench.try_connect_from(&identity, address, resume("lamp-1"));
        let Got::ConnAck { reason, .. } = got[0] else { panic!("{got:?}") };
        (client, reason)
    };
    let (mut there, reason) = come(&world, "192.0.2.7");
    assert_eq!(reason, Reason::SUCCESS);
    world.knock("192.0.2.7");
    there.recv(&world.bench);
    assert!(there.is_over() && world.is_blocked("192.0.2.7") && !world.is_blocked("192.0.2.8"));
    assert_eq!(come(&world, "192.0.2.7").1, Reason::BANNED);
    assert_eq!(world.bench.hub.responses().brake_used, 1, "the one behind it counts");
    let (elsewhere, reason) = come(&world, "192.0.2.8");
    assert_eq!(reason, Reason::SUCCESS);
    drop((there, elsewhere));

    world.pass(299);
    assert!(world.is_blocked("192.0.2.7"));
    world.pass(2);
    assert!(!world.is_blocked("192.0.2.7") && world.bench.count(EventKind::ResponseLifted) == 1);

    world.knock("2001:db8::1");
    assert!(world.is_blocked("2001:db8::2") && !world.is_blocked("2001:db8:0:1::1"));
    world.lift(&world.measures()[0]["measure"]).unwrap();
    assert!(!world.is_blocked("2001:db8::2"));
    world.knock("127.0.0.1");
    assert!(
        !world.is_blocked("127.0.0.1") && world.bench.count(EventKind::ResponseWithheld) == 1,
        "the hub's own machine"
    );
    drop(identity);

    world.knock("198.51.100.1");
    let mut world = world.reopen();
    assert!(world.is_blocked("198.51.100.1"), "also after a restart");
    world.pass(301);
    assert!(!world.is_blocked("198.51.100.1"));
}

/// CSA-CRD-11: a rule never revokes: it asks, and two persons who may revoke have to consent.
#[test]
fn a_revocation_waits_for_two_persons() {
    let world = World::new(&rule("policy_denials", "revoke", "mode = \"act\""));
    // Who may do what is looked up again when it is done.
    let role_of = |_: &portreeve_hub::Hub, name: &str| (name != "eve").then_some(Role::KeyManager);
    world.bench.hub.set_role_of(Box::new(role_of));
    let (_, mut client) = world.device("lamp-1");
    world.storm(&mut client);
    let waiting = world.ask(AdminRequest::ApprovalList).unwrap();
    assert_eq!((waiting.as_array().unwrap().len(), &waiting[0]["subject"]), (1, &"lamp-1".into()));
    let number = waiting[0]["number"].as_u64().unwrap();
    let grant = |name, role| {
        let request = AdminRequest::ApprovalAnswer { number, granted: true, reason: String::new() };
        world.ask_as(name, role, request)
    };
    assert!(matches!(grant("otto", Role::Operator), Err(AdminError::Role { .. })));
    assert!(matches!(grant(Actor::OFFLINE, Role::Administrator), Err(AdminError::Refused(_))));
    assert_eq!(grant("alice", Role::KeyManager).unwrap()["waits_for_approval"], number);
    assert!(matches!(grant("alice", Role::KeyManager), Err(AdminError::Refused(_))), "she is one person");
    assert_eq!(world.state("lamp-1"), "active");
    grant("bob", Role::KeyManager).unwrap();
    assert_eq!(world.state("lamp-1"), "revoked");
}

/// What cannot be recorded is not done.
#[test]
fn without_a_ledger_nothing_is_done() {
    let rules = rule("policy_denials", "quarantine", "mode = \"act\"");
    let world = World::new(&format!("{OFF}{rules}"));
    let (_, mut client) = world.device("lamp-1");
    for _ in 0..6 {
        client.publish(&world.bench, "somebody/else", b"x", Qos::AtLeastOnce);
    }
    // The ledger takes no entries any more.
    assert!(world.bench.hub.finish(Duration::from_secs(5)));
    world.bench.hub.tend_watch(world.bench.now);
    let used = world.bench.hub.responses();
    assert_eq!((used.quarantined, used.brake_used, used.cases_open), (0, 0, 1), "but there is a case");
    assert_eq!(world.bench.count(EventKind::ResponseTaken), 0);
    let row = world.bench.hub.registry().find(&"lamp-1".parse().unwrap()).unwrap();
    assert!(row.state == LifecycleState::Active && !client.is_over());
}

/// A rehearsal of the detectors cuts off nobody and opens no case.
#[test]
fn canaries_are_not_responded_to() {
    let severe = "[[rule]]\nseverity = \"info\"\naction = \"block-source\"\nfor_s = 60\nmode = \"act\"\n";
    let world = World::new(&format!("{severe}{}", rule("message_rate", "disconnect", "mode = \"act\"")));
    world.ask(AdminRequest::Canary).unwrap();
    world.bench.hub.tend_watch(world.bench.now);
    assert!(world.measures().is_empty() && world.cases().is_empty());
    assert!(world.bench.count(EventKind::FindingOpened) > 10);
}

/// Who may decide, work and look; and what is wrong with rules is said with its place.
#[test]
fn roles_and_mistakes() {
    let world = World::new("");
    let (_, mut client) = world.device("lamp-1");
    world.storm(&mut client);
    let apply = || AdminRequest::ResponseApply { file: "r".into(), text: String::new(), dry_run: false };
    let lift = || AdminRequest::ResponseLift { id: 1, reason: "x".into() };
    let note = || AdminRequest::CaseNote { number: 1, text: "seen".into() };
    let export = || AdminRequest::CaseExport { number: 1, reason: "x".into() };
    let show = || AdminRequest::CaseShow { number: 1 };
    let may = |role, request| !matches!(world.ask_as("somebody", role, request), Err(AdminError::Role { .. }));
    let row = |role| [apply(), lift(), note(), export(), show()].map(|request| may(role, request));
    assert_eq!(row(Role::Administrator), [true; 5]);
    assert_eq!(row(Role::Operator), [false, true, true, true, true]);
    assert_eq!(row(Role::Auditor), [false, false, false, false, true]);
    assert_eq!(row(Role::Viewer), [false; 5]);

    let wrong = "\n[[rule]]\nfindings = [\"mesage_rate\"]\naction = \"throttle\"\n";
    let Err(AdminError::Invalid(told)) = world.apply(wrong) else { panic!("taken") };
    assert!(told.contains("rules.toml:3:13: `mesage_rate`") && told.contains("rules.toml:4:10"), "{told}");
    let Err(AdminError::Invalid(told)) = world.apply("what = 1") else { panic!("taken") };
    assert!(told.starts_with("rules.toml:1:1"), "{told}");
}

/// CSA-IMT-02, CSA-MSU-03: each access to a case is a line of its custody log and an entry, and an export shows what was changed.
#[test]
fn a_case_is_worked_on_and_exported() {
    let mut world = World::new(&rule("policy_denials", "disconnect", ""));
    let (_, mut client) = world.device("lamp-1");
    world.storm(&mut client);
    client.disconnect(&world.bench);
    let number = world.cases()[0]["case"].as_u64().unwrap();
    let carol = |world: &World, request| world.ask_as("carol", Role::Operator, request);
    let before = world.bench.count(EventKind::CaseChanged);
    carol(&world, AdminRequest::CaseAcknowledge { number }).unwrap();
    carol(&world, AdminRequest::CaseNote { number, text: "a new firmware?".into() }).unwrap();
    assert!(matches!(
        carol(&world, AdminRequest::CaseNote { number, text: "\u{1b}[2J".into() }),
        Err(AdminError::Invalid(_))
    ));
    let shown = world.ask_as("anna", Role::Auditor, AdminRequest::CaseShow { number }).unwrap();
    assert_eq!((&shown["notes"][0]["who"], shown["findings"].as_array().unwrap().len()), (&"carol".into(), 1));
    let ranges = shown["ledger"].as_array().unwrap();
    assert!(!ranges.is_empty());
    let last = ranges.iter().map(|range| range["last"].as_u64().unwrap()).max().unwrap();
    let started = std::time::Instant::now();
    while world.bench.hub.ledger().sealed <= last {
        assert!(started.elapsed() < Duration::from_secs(10), "nothing is signed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let export = carol(&world, AdminRequest::CaseExport { number, reason: "for the insurer".into() }).unwrap();
    assert_eq!(export["entries_missing"], 0);
    let entries = export["files"]["ledger/entries.txt"].as_str().unwrap();
    assert!(entries.contains("finding_opened") && entries.contains("response_would_be"), "{entries}");
    carol(&world, AdminRequest::CaseHandOver { number, to: "insurer".into(), sha256: None }).unwrap();
    carol(&world, AdminRequest::CaseClose { number, reason: "new firmware".into() }).unwrap();
    assert!(matches!(carol(&world, AdminRequest::CaseNote { number, text: "x".into() }), Err(AdminError::Refused(_))));
    assert_eq!(world.bench.count(EventKind::CaseChanged) - before, 6);
    world.pass(1);
    let world = world.reopen();
    assert!(world.cases().is_empty());
    carol(&world, AdminRequest::CaseReopen { number, reason: "again".into() }).unwrap();
    let shown = carol(&world, AdminRequest::CaseShow { number }).unwrap();
    let custody: Vec<_> =
        shown["custody"].as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(custody, ["opened", "acknowledged", "read", "exported", "handed-over", "closed", "reopened", "read"]);
}

/// What docs/OPERATIONS.md shows is taken, with the words that detectors have.
#[test]
fn the_documented_rules_are_taken() {
    let guide = include_str!("../../../../docs/OPERATIONS.md");
    let section = guide.split("## What happens by itself\n").nth(1).unwrap();
    let text = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let taken = World::new("").apply(text).unwrap();
    assert_eq!((&taken["rules"], &taken["dry_run"]), (&5.into(), &2.into()));
}

/// Nobody is responded to before the clock of responses began, and one that does not begin at zero ends nothing early.
#[test]
fn a_clock_that_begins_late_ends_nothing_early() {
    let mut bench = Bench::new();
    bench.now = Now { mono_ms: 1 << 40, ..bench.now };
    let block = rule("auth_failures", "block-source", "for_s = 300\nmode = \"act\"");
    let mut world = World::of(bench, &block);
    world.knock("192.0.2.7");
    world.pass(299);
    assert!(world.is_blocked("192.0.2.7"));
    let mut world = world.reopen();
    world.bench.now.mono_ms = 5;
    assert!(world.is_blocked("192.0.2.7"));
}
