//! What rules do: to whom, for how long, and to whom not.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{HOUR_MS, Hub, START, device, is_act, measure, now, settings, wall};
use portreeve_respond::{
    BLOCKS_MAX, Change, Facts, Finding, Held, LiftError, MEASURES_MAX, Now, Responder, Severity, Step, Subject,
    TextError, Verdict,
};
use portreeve_types::UnixMillis;

const OPEN_BRAKE: &str = "[brake]\ninterrupt = { share_percent_per_hour = 100, at_least = 1 }\n\
    confine = { share_percent_per_hour = 100, at_least = 1 }\nstrangers_per_hour = 100000\nquarantined_percent = 100\n";

fn rule(action: &str) -> String {
    format!("{OPEN_BRAKE}[[rule]]\nfindings = [\"flood\"]\nmode = \"act\"\naction = {action}\n")
}

fn block_for(for_s: u64) -> String {
    rule(&format!("\"block-source\"\nfor_s = {for_s}"))
}

fn quarantine_for(for_s: u64) -> String {
    rule(&format!("\"quarantine\"\nfor_s = {for_s}"))
}

#[test]
fn without_rules_what_is_grave_alerts_and_nothing_is_cut() {
    let mut hub = Hub::new("", 10);
    let subject = Subject::Hub;
    for (severity, alert) in [(Severity::Info, false), (Severity::Medium, true), (Severity::High, true)] {
        let finding = Finding { id: "f", kind: "flood", severity, subject: &subject, text: "" };
        let decision = hub.responder.decide(&finding, &Facts::default(), 10, now(0));
        assert_eq!((decision.verdict, decision.alert, decision.rule), (Verdict::None, alert, None));
    }
    assert_eq!(hub.responder.take_changes(), []);
}

#[test]
fn the_first_rule_that_fits_decides_and_is_named() {
    let text = format!(
        "{OPEN_BRAKE}[[rule]]\nfindings = [\"flood\"]\ngroups = [\"pumps\"]\naction = \"alert\"\n\
         [[rule]]\nfindings = [\"flood\"]\nmode = \"act\"\naction = \"disconnect\"\n"
    );
    let mut hub = Hub::new(&text, 10);
    let lamp = device(1);
    let facts = Facts { identity: Some(lamp.identity()), ..Facts::default() };
    let decision = hub.find("flood", &facts, now(0));
    assert_eq!(decision.rule.as_deref(), Some("r.toml:10"));
    assert_eq!(decision.why, "r.toml:10: disconnect lamp-1, because of flood");
    let step = Step::Disconnect { identity: lamp.id(), name: lamp.name.clone() };
    assert_eq!(decision.verdict, Verdict::Act { step, measure: None });
    let mut pump = device(2);
    pump.group = "pumps".to_owned();
    assert_eq!(hub.about("flood", &pump, now(0)), Verdict::None);
    assert_eq!(hub.about("beaconing", &pump, now(0)), Verdict::None);
}

#[test]
fn a_rule_that_has_nothing_to_act_on_leaves_it_to_the_next() {
    let text = format!("{}[[rule]]\nfindings = [\"flood\"]\naction = \"disconnect\"\n", block_for(60));
    let mut hub = Hub::new(&text, 10);
    assert!(matches!(hub.about("flood", &device(1), now(0)), Verdict::DryRun { step: Step::Disconnect { .. }, .. }));
    assert_eq!(hub.find("flood", &Facts::default(), now(0)).rule, None);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let text = "[[rule]]\nfindings = [\"flood\"]\naction = \"quarantine\"\n";
    let mut hub = Hub::new(text, 100);
    let verdicts: Vec<_> = (0..3).map(|number| hub.about("flood", &device(number), now(0))).collect();
    assert!(matches!(verdicts[0], Verdict::DryRun { step: Step::Quarantine { .. }, held: None }));
    // One percent of a hundred: the rehearsal says when the brake would have held.
    assert!(matches!(verdicts[1], Verdict::DryRun { held: Some(Held::ConfineShare), .. }));
    assert_eq!(hub.standing(), [] as [u64; 0]);
    assert!(hub.store.0.is_empty(), "{:?}", hub.store);
}

#[test]
fn one_line_stops_every_rule() {
    let text = format!("mode = \"dry-run\"\n{}", rule("\"disconnect\""));
    let mut hub = Hub::new(&text, 10);
    assert!(matches!(hub.about("flood", &device(1), now(0)), Verdict::DryRun { .. }));
}

#[test]
fn a_revocation_is_only_asked_for() {
    let mut hub = Hub::new(&rule("\"revoke\""), 10);
    let lamp = device(1);
    let step = Step::Revoke { identity: lamp.id(), name: lamp.name.clone() };
    assert_eq!(hub.about("flood", &lamp, now(0)), Verdict::AskTwoPersons { step });
    assert_eq!(hub.standing(), [] as [u64; 0]);
    let mut rehearsal = Hub::new(&rule("\"revoke\"").replace("\"act\"", "\"dry-run\""), 10);
    assert!(matches!(rehearsal.about("flood", &lamp, now(0)), Verdict::DryRun { step: Step::Revoke { .. }, .. }));
}

#[test]
fn whoever_is_exempt_is_left_alone() {
    let exempt = "[exempt]\nidentities = [\"lamp-1\"]\ngroups = [\"plant\"]\nnetworks = [\"10.7.0.0/16\"]\n";
    let mut hub = Hub::new(&format!("{exempt}{}", quarantine_for(60)), 10);
    let (named, mut grouped, plain) = (device(1), device(2), device(3));
    grouped.group = "plant".to_owned();
    assert!(matches!(hub.about("flood", &named, now(0)), Verdict::Exempt { .. }));
    assert!(matches!(hub.about("flood", &grouped, now(0)), Verdict::Exempt { .. }));
    let there = Facts { identity: Some(plain.identity()), source: "10.7.3.4".parse().ok(), behind: &[] };
    assert!(matches!(hub.find("flood", &there, now(0)).verdict, Verdict::Exempt { .. }));
    assert!(is_act(&hub.about("flood", &plain, now(0))));
    // The hub's own machine is never blocked, but what misbehaves on it may be confined.
    let other = device(4);
    let local = Facts { identity: Some(other.identity()), source: "127.0.0.1".parse().ok(), behind: &[] };
    assert!(is_act(&hub.find("flood", &local, now(0)).verdict));
}

#[test]
fn a_block_meets_nobody_who_is_exempt() {
    let exempt = "[exempt]\nidentities = [\"lamp-1\"]\nnetworks = [\"2001:db8::7/128\", \"192.0.2.9\"]\n";
    let mut hub = Hub::new(&format!("{exempt}{}", block_for(60)), 10);
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.9", "2001:db8::7"] {
        assert!(matches!(hub.from("flood", address, now(0)), Verdict::Exempt { .. }), "{address}");
    }
    let gateway = device(1);
    let behind = [device(2), gateway];
    let behind: Vec<_> = behind.iter().map(|device| device.identity()).collect();
    let facts = Facts { source: "192.0.2.1".parse().ok(), behind: &behind, identity: None };
    assert!(matches!(hub.find("flood", &facts, now(0)).verdict, Verdict::Exempt { .. }));
    // A neighbour in the same /64 is blocked; the exempt address in it is not.
    assert!(is_act(&hub.from("flood", "2001:db8::8", now(0))));
    assert!(hub.is_blocked("2001:db8::9", now(0)) && !hub.is_blocked("2001:db8::7", now(0)));
    // And who becomes exempt is let in at once.
    hub.responder.apply(settings("[exempt]\nnetworks = [\"2001:db8::/32\"]\n"));
    assert!(!hub.is_blocked("2001:db8::9", now(0)));
}

#[test]
fn a_block_covers_an_address_or_a_prefix_for_its_time() {
    let mut hub = Hub::new(&block_for(60), 10);
    let first = measure(&hub.from("flood", "192.0.2.1", now(0)));
    let second = measure(&hub.from("flood", "2001:db8::1", now(1_000)));
    for (address, at_ms, expected) in [
        ("192.0.2.1", 59_999, true),
        ("::ffff:192.0.2.1", 0, true),
        ("192.0.2.1", 60_000, false),
        ("192.0.2.2", 0, false),
        ("2001:db8::ffff", 60_999, true),
        ("2001:db8:0:1::1", 0, false),
        ("2001:db8::1", 61_000, false),
    ] {
        assert_eq!(hub.is_blocked(address, now(at_ms)), expected, "{address} at {at_ms}");
    }
    assert_eq!(hub.tick(now(59_999)), [] as [u64; 0]);
    assert_eq!(hub.tick(now(60_000)), [first]);
    assert_eq!(hub.responder.blocks().len(), 1);
    assert_eq!(hub.tick(now(61_000)), [second]);
    assert!(hub.responder.blocks().is_empty());
}

#[test]
fn another_prefix_length_leaves_earlier_blocks_as_they_are() {
    let mut hub = Hub::new(&block_for(60), 10);
    assert!(is_act(&hub.from("flood", "2001:db8::1", now(0))));
    hub.responder.apply(settings(&format!("block_ipv6_prefix = 48\n{}", block_for(60))));
    assert!(is_act(&hub.from("flood", "2001:db9::1", now(0))));
    for (address, expected) in [("2001:db8::2", true), ("2001:db8:0:1::", false), ("2001:db9:0:1::", true)] {
        assert_eq!(hub.is_blocked(address, now(1)), expected, "{address}");
    }
}

#[test]
fn who_goes_on_is_held_for_longer_and_never_twice() {
    let mut hub = Hub::new(&rule("\"throttle\"\nmessages_per_s = 5\nfor_s = 60"), 10);
    let lamp = device(1);
    let id = measure(&hub.about("flood", &lamp, now(0)));
    hub.responder.apply(settings(&rule("\"throttle\"\nmessages_per_s = 50\nfor_s = 60")));
    assert_eq!(measure(&hub.about("flood", &lamp, now(30_000))), id);
    let standing: Vec<_> = hub.responder.measures().cloned().collect();
    assert_eq!((standing.len(), standing[0].until), (1, Some(wall(90_000))));
    // The lower of two rates holds.
    assert!(matches!(standing[0].step, Step::Throttle { messages_per_s: 5, .. }));
    assert_eq!((hub.tick(now(60_000)), hub.tick(now(90_000))), (vec![], vec![id]));
}

#[test]
fn what_a_person_confined_is_not_taken_over() {
    let mut hub = Hub::new(&quarantine_for(60), 10);
    let mut lamp = device(1);
    lamp.confined = true;
    assert_eq!(hub.about("flood", &lamp, now(0)), Verdict::None);
    // What a rule confined is held on, though the registry says by now that it is confined.
    let mut other = device(2);
    let id = measure(&hub.about("flood", &other, now(0)));
    other.confined = true;
    assert_eq!(measure(&hub.about("flood", &other, now(10))), id);
}

#[test]
fn lifting_needs_a_name_and_a_reason_and_happens_once() {
    let mut hub = Hub::new(&rule("\"quarantine\""), 10);
    let id = measure(&hub.about("flood", &device(1), now(0)));
    assert_eq!(hub.tick(now(400 * 24 * HOUR_MS)), [] as [u64; 0], "until it is lifted");
    let lift = |hub: &mut Hub, who, why| hub.responder.lift(id, who, why, now(5)).map(|lift| lift.measure.id);
    assert_eq!(lift(&mut hub, "alice", " "), Err(LiftError::Text(TextError::Empty)));
    assert_eq!(lift(&mut hub, "ali\nce", "ok"), Err(LiftError::Text(TextError::Control)));
    assert_eq!(lift(&mut hub, "alice", "replaced"), Ok(id));
    assert_eq!(lift(&mut hub, "alice", "replaced"), Err(LiftError::Unknown(id)));
    hub.store.write(hub.responder.take_changes());
    hub.restart(now(10));
    assert_eq!(hub.standing(), [] as [u64; 0]);
    // Its number is not given out again.
    assert!(measure(&hub.about("flood", &device(2), now(20))) > id);
}

#[test]
fn as_many_blocks_and_measures_stand_as_may_and_one_more_alerts_once_an_hour() {
    let text =
        format!("{}[[rule]]\nfindings = [\"beaconing\"]\nmode = \"act\"\naction = \"quarantine\"\n", block_for(86_400));
    let mut hub = Hub::new(&text, 1_000_000);
    let address = |number: usize| format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
    for number in 0..BLOCKS_MAX {
        assert!(is_act(&hub.from("flood", &address(number), now(0))), "{number}");
    }
    let beyond = hub.from("flood", &address(BLOCKS_MAX), now(1));
    assert!(matches!(beyond, Verdict::Braked { held: Held::Blocks, first: true, .. }), "{beyond:?}");
    let again = hub.from("flood", &address(BLOCKS_MAX), now(HOUR_MS));
    assert!(matches!(again, Verdict::Braked { held: Held::Blocks, first: false, .. }), "{again:?}");
    let later = hub.from("flood", &address(BLOCKS_MAX), now(2 * HOUR_MS));
    assert!(matches!(later, Verdict::Braked { first: true, .. }), "{later:?}");
    // Those that stand were not given up, and the one that went too far is not blocked.
    assert!(hub.is_blocked(&address(0), now(1)) && !hub.is_blocked(&address(BLOCKS_MAX), now(1)));
    for number in BLOCKS_MAX..MEASURES_MAX {
        assert!(is_act(&hub.about("beaconing", &device(number as u128), now(0))), "{number}");
    }
    let beyond = hub.about("beaconing", &device(7), now(1));
    assert!(matches!(beyond, Verdict::Braked { held: Held::Measures, first: true, .. }), "{beyond:?}");
}

#[test]
fn setting_the_clock_moves_no_end_while_the_hub_runs() {
    let mut hub = Hub::new(&quarantine_for(600), 10);
    let id = measure(&hub.about("flood", &device(1), now(0)));
    for jump_ms in [-START.cast_signed(), -86_400_000, 86_400_000, 400 * 86_400_000] {
        let at = |ms: u64| Now { wall: UnixMillis(wall(ms).0.saturating_add_signed(jump_ms)), ..now(ms) };
        assert_eq!(hub.tick(at(599_999)), [] as [u64; 0], "{jump_ms}");
        // What is stored follows: a restart under the clock as it is now leaves the same end.
        hub.restart(at(599_999));
        assert_eq!(hub.tick(at(599_999)), [] as [u64; 0], "{jump_ms}");
        assert_eq!(hub.responder.measures().next().unwrap().until, Some(at(600_000).wall));
    }
    assert_eq!(hub.tick(now(600_000)), [id]);
}

#[test]
fn a_clock_that_is_set_while_the_hub_is_off_ends_nothing_silently_and_keeps_nothing_for_ever() {
    let mut hub = Hub::new(&quarantine_for(600), 10);
    let id = measure(&hub.about("flood", &device(1), now(0)));
    // A year back: what is left is at most the whole time, and further restarts do not grant it again.
    let back = |running_ms: u64| Now { wall: UnixMillis(START - 31_536_000_000 + running_ms), running_ms };
    hub.restart(back(0));
    assert_eq!(hub.tick(back(300_000)), [] as [u64; 0]);
    hub.restart(back(300_000));
    assert_eq!(hub.tick(back(599_999)), [] as [u64; 0]);
    assert_eq!(hub.tick(back(600_000)), [id]);
    // A year ahead: it is over, and that is told.
    let id = measure(&hub.about("flood", &device(2), back(600_000)));
    let ahead = Now { wall: wall(31_536_000_000), running_ms: 0 };
    hub.restart(ahead);
    let lifts = hub.responder.tick(ahead);
    assert_eq!((lifts.len(), lifts[0].measure.id, lifts[0].why.as_str()), (1, id, "its time is over"));
}

#[test]
fn changes_that_could_not_be_written_come_again() {
    let mut hub = Hub::new(&quarantine_for(600), 10);
    let lamp = device(1);
    let subject = Subject::Identity(lamp.name.clone());
    let finding = Finding { id: "f", kind: "flood", severity: Severity::High, subject: &subject, text: "" };
    let facts = Facts { identity: Some(lamp.identity()), ..Facts::default() };
    hub.responder.decide(&finding, &facts, 10, now(0));
    let failed = hub.responder.take_changes();
    hub.responder.give_back(failed.clone());
    assert_eq!(hub.responder.take_changes(), failed);
}

#[test]
fn records_that_cannot_be_used_are_told_and_the_rest_is_taken() {
    let mut hub = Hub::new(&quarantine_for(600), 10);
    let id = measure(&hub.about("flood", &device(1), now(0)));
    let good = hub.store.clone();
    let (key, bytes) = good.0.iter().find(|(key, _)| key.contains("measure")).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let hostile = [
        (key.as_str(), "{}".to_owned()),
        (key.as_str(), text.replace("\"quarantine\"", "\"disconnect\"")),
        (key.as_str(), text.replace("\"for_s\":600", "\"for_s\":999999999999")),
        (key.as_str(), text.replace("\"for_s\":600", "\"for_s\":null")),
        (key.as_str(), text.replace("\"id\":1", "\"id\":2")),
        ("respond/measure/1", text.clone()),
        ("respond/measure/18446744073709551615", text.clone()),
        ("respond/brake/confine/x", "{\"at\":1}".to_owned()),
        ("respond/brake/other/192.0.2.1", "{\"at\":1}".to_owned()),
        ("respond/brake/stranger/192.0.2.1", "{\"at\":-1}".to_owned()),
        ("respond/next", "18446744073709551615".to_owned()),
    ];
    for (key, text) in hostile {
        let records = [(key, text.as_bytes())];
        let (mut responder, damaged) = Responder::rebuild(settings(&quarantine_for(600)), records, now(0));
        assert_eq!(damaged.len(), 1, "{key} {text}");
        assert_eq!((responder.measures().count(), responder.take_changes()), (0, Vec::<Change>::new()), "{key}");
    }
    hub.store.write(vec![Change::Put { key: "respond/measure/x".into(), bytes: vec![1] }]);
    let (responder, damaged) = Responder::rebuild(settings(""), hub.store.records(), now(0));
    assert_eq!((responder.measures().next().unwrap().id, damaged.len()), (id, 1));
}
