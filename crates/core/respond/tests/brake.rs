//! Rules touch no more of the fleet within an hour than the brake lets them, whatever they say and whatever happens meanwhile.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{HOUR_MS, Hub, device, is_act, measure, now};
use portreeve_respond::{BRAKE_ENTRIES_MAX, Facts, Held, Measure, Now, Share, Verdict};
use proptest::prelude::*;

/// Interruptions: 5 % of the fleet an hour, quarantine: 1 %; at least one.
const RULES: &str = "[brake]\nstrangers_per_hour = 3\n\
    [[rule]]\nfindings = [\"flood\"]\nmode = \"act\"\naction = \"throttle\"\nmessages_per_s = 1\nfor_s = 60\n\
    [[rule]]\nfindings = [\"beaconing\"]\nmode = \"act\"\naction = \"quarantine\"\nfor_s = 600\n\
    [[rule]]\nfindings = [\"auth_failures\"]\nmode = \"act\"\naction = \"block-source\"\nfor_s = 60\n\
    [[rule]]\nfindings = [\"bad_list\"]\nmode = \"act\"\naction = \"disconnect\"\n";

#[test]
fn a_share_is_of_the_fleet_and_at_least_what_is_said() {
    let share = Share { share_percent_per_hour: 5, at_least: 1 };
    assert_eq!([0, 10, 39, 40, 100_000].map(|fleet| share.of(fleet)), [1, 1, 1, 2, 5_000]);
    assert_eq!(Share { share_percent_per_hour: 100, at_least: 0 }.of(u64::MAX), u64::MAX);
}

#[test]
fn a_rule_that_meets_the_whole_fleet_touches_its_share_and_alerts_once() {
    let mut hub = Hub::new(RULES, 1_000);
    let verdicts: Vec<_> = (0..1_000).map(|number| hub.about("flood", &device(number), now(0))).collect();
    assert_eq!(verdicts.iter().filter(|verdict| is_act(verdict)).count(), 50);
    let loud = |verdict: &&Verdict| matches!(verdict, Verdict::Braked { held: Held::InterruptShare, first: true, .. });
    assert_eq!(verdicts.iter().filter(loud).count(), 1);
    assert!(verdicts[50..].iter().all(|verdict| matches!(verdict, Verdict::Braked { .. })));
    // Quarantines have a share of their own, which the others do not use up.
    assert_eq!((0..1_000).filter(|number| is_act(&hub.about("beaconing", &device(*number), now(0)))).count(), 10);
}

#[test]
fn a_fleet_of_ten_can_still_lose_one() {
    let mut hub = Hub::new(RULES, 10);
    assert!(is_act(&hub.about("bad_list", &device(1), now(0))));
    assert!(!is_act(&hub.about("bad_list", &device(2), now(HOUR_MS - 1))));
    assert!(is_act(&hub.about("bad_list", &device(2), now(HOUR_MS))));
}

#[test]
fn lifting_gives_nothing_back_within_the_hour() {
    let mut hub = Hub::new(RULES, 10);
    let id = measure(&hub.about("beaconing", &device(1), now(0)));
    hub.lift(id, now(1));
    assert!(!is_act(&hub.about("beaconing", &device(2), now(2))));
    // The same one again costs nothing, but counts for an hour from then.
    assert!(is_act(&hub.about("beaconing", &device(1), now(HOUR_MS / 2))));
    hub.tick(now(HOUR_MS));
    assert!(!is_act(&hub.about("beaconing", &device(2), now(HOUR_MS + 1))));
    assert!(is_act(&hub.about("beaconing", &device(2), now(HOUR_MS / 2 + HOUR_MS))));
}

#[test]
fn neither_a_restart_nor_the_clock_gives_anything_back() {
    let mut hub = Hub::new(RULES, 10);
    assert!(is_act(&hub.about("bad_list", &device(1), now(0))));
    hub.restart(now(1_000));
    assert!(!is_act(&hub.about("bad_list", &device(2), now(1_000))));
    // A day ahead while it runs, and a restart then.
    let ahead = |ms: u64| Now { wall: common::wall(24 * HOUR_MS + ms), ..now(ms) };
    assert!(!is_act(&hub.about("bad_list", &device(2), ahead(2_000))));
    hub.restart(ahead(3_000));
    assert!(!is_act(&hub.about("bad_list", &device(2), ahead(3_000))));
    // A day back while it is off: it counts for an hour from then, and no longer after another restart.
    hub.restart(now(4_000));
    assert!(!is_act(&hub.about("bad_list", &device(2), now(HOUR_MS + 3_999))));
    hub.restart(now(HOUR_MS + 4_000));
    assert!(is_act(&hub.about("bad_list", &device(2), now(HOUR_MS + 4_000))));
}

#[test]
fn a_block_counts_everybody_behind_it_or_is_not_made() {
    let mut hub = Hub::new(RULES, 100);
    let devices: Vec<_> = (0..6).map(device).collect();
    let behind: Vec<_> = devices.iter().map(|device| device.identity()).collect();
    let from = |address: &str, behind| Facts { source: address.parse().ok(), behind, identity: None };
    let decision = hub.find("auth_failures", &from("192.0.2.1", &behind), now(0));
    assert!(matches!(decision.verdict, Verdict::Braked { held: Held::InterruptShare, .. }), "{decision:?}");
    assert!(is_act(&hub.find("auth_failures", &from("192.0.2.1", &behind[..5]), now(0)).verdict));
    assert!(!is_act(&hub.about("flood", &device(9), now(0))), "all five count");
    assert!(is_act(&hub.about("flood", &device(3), now(0))), "he is one of them");
}

#[test]
fn strangers_use_up_a_share_of_their_own() {
    let mut hub = Hub::new(RULES, 100);
    let blocked = (0..9).filter(|number| is_act(&hub.from("auth_failures", &format!("192.0.2.{number}"), now(0))));
    assert_eq!(blocked.count(), 3);
    assert!(is_act(&hub.about("flood", &device(1), now(0))));
}

#[test]
fn hour_after_hour_not_everybody_is_quarantined() {
    let rules = "[[rule]]\nfindings = [\"beaconing\"]\nmode = \"act\"\naction = \"quarantine\"\n";
    let mut hub = Hub::new(rules, 100);
    let acts =
        (0..100u64).filter(|hour| is_act(&hub.about("beaconing", &device(u128::from(*hour)), now(hour * HOUR_MS))));
    assert_eq!(acts.count(), 10);
    let last = hub.about("beaconing", &device(200), now(100 * HOUR_MS));
    assert!(matches!(last, Verdict::Braked { held: Held::Quarantined, .. }), "{last:?}");
}

#[test]
fn as_many_are_counted_as_may_whatever_the_share() {
    let mut hub = Hub::new(RULES, 10_000_000);
    let count = BRAKE_ENTRIES_MAX as u128;
    let devices: Vec<_> = (0..count).map(device).collect();
    let behind: Vec<_> = devices.iter().map(|device| device.identity()).collect();
    let facts = Facts { source: "192.0.2.1".parse().ok(), behind: &behind, identity: None };
    assert!(is_act(&hub.find("auth_failures", &facts, now(0)).verdict));
    assert!(!is_act(&hub.about("bad_list", &device(count), now(0))));
}

/// What happens to a hub.
#[derive(Clone, Debug)]
enum Event {
    Finding { kind: &'static str, device: u128 },
    Source { address: u8, behind: BTreeSet<u128> },
    Lift { at: usize },
    Wait { ms: u64 },
    SetClock { ms: i64 },
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let finding = (prop::sample::select(vec!["flood", "beaconing", "bad_list"]), 0..FLEET as u128);
    prop_oneof![
        8 => finding.prop_map(|(kind, device)| Event::Finding { kind, device }),
        2 => (0..4u8, prop::collection::btree_set(0..FLEET as u128, 0..4))
            .prop_map(|(address, behind)| Event::Source { address, behind }),
        2 => (0..8usize).prop_map(|at| Event::Lift { at }),
        3 => (1..HOUR_MS / 2).prop_map(|ms| Event::Wait { ms }),
        1 => (-100_000_000..100_000_000i64).prop_map(|ms| Event::SetClock { ms }),
        1 => Just(Event::Restart),
    ]
}

const FLEET: u64 = 60;
/// 5 % and 1 % of it.
const INTERRUPT: usize = 3;
const CONFINE: usize = 1;

/// Who was touched when, as the outside sees it.
#[derive(Default)]
struct Seen(BTreeMap<(bool, u128), u64>);

impl Seen {
    fn touch(&mut self, is_confined: bool, device: u128, now: Now) {
        self.0.insert((is_confined, device), now.running_ms);
    }

    fn within_the_hour(&self, is_confined: bool, now: Now) -> usize {
        let recent = |at_ms: &u64| now.running_ms - at_ms < HOUR_MS;
        self.0.iter().filter(|((confined, _), at_ms)| *confined == is_confined && recent(at_ms)).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn never_more_than_the_share_and_every_measure_stands_or_ended(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut hub = Hub::new(RULES, FLEET);
        let (mut clock, mut seen) = (now(0), Seen::default());
        let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            match event {
                Event::Finding { kind, device: number } => {
                    let verdict = hub.about(kind, &device(number), clock);
                    if let Verdict::Act { measure, .. } = verdict {
                        seen.touch(kind == "beaconing", number, clock);
                        begun.extend(measure);
                    }
                }
                Event::Source { address, behind } => {
                    let devices: Vec<_> = behind.iter().map(|number| device(*number)).collect();
                    let identities: Vec<_> = devices.iter().map(|device| device.identity()).collect();
                    let source = format!("192.0.2.{address}").parse().ok();
                    let facts = Facts { source, behind: &identities, identity: None };
                    if let Verdict::Act { measure, .. } = hub.find("auth_failures", &facts, clock).verdict {
                        behind.iter().for_each(|number| seen.touch(false, *number, clock));
                        begun.extend(measure);
                    }
                }
                Event::Lift { at } => {
                    if let Some(id) = hub.standing().get(at).copied() {
                        hub.lift(id, clock);
                        ended.insert(id);
                    }
                }
                Event::Wait { ms } => {
                    clock = Now { wall: portreeve_types::UnixMillis(clock.wall.0 + ms), running_ms: clock.running_ms + ms };
                    ended.extend(hub.tick(clock));
                }
                Event::SetClock { ms } => {
                    clock.wall = portreeve_types::UnixMillis(clock.wall.0.saturating_add_signed(ms));
                    ended.extend(hub.tick(clock));
                }
                Event::Restart => hub.restart(clock),
            }
            prop_assert!(seen.within_the_hour(false, clock) <= INTERRUPT);
            prop_assert!(seen.within_the_hour(true, clock) <= CONFINE);
            let standing: BTreeSet<u64> = hub.standing().into_iter().collect();
            prop_assert!(standing.is_disjoint(&ended));
            prop_assert_eq!(&(&standing | &ended), &begun);
            // What a restart would make of what is stored is what stands.
            let settings = hub.responder.settings().clone();
            let (rebuilt, damaged) = portreeve_respond::Responder::rebuild(settings, hub.store.records(), clock);
            prop_assert!(damaged.is_empty());
            // A clock that was set by less than a step leaves stored ends where they were.
            let shown = |measure: &Measure| (measure.id, measure.step.clone(), measure.rule.clone(), measure.since);
            let (left, right): (Vec<_>, Vec<_>) = (rebuilt.measures().map(shown).collect(), hub.responder.measures().map(shown).collect());
            prop_assert_eq!(left, right);
            let skew_ms = |(a, b): (&Measure, &Measure)| match (a.until, b.until) {
                (Some(a), Some(b)) => a.0.abs_diff(b.0),
                (a, b) => if a == b { 0 } else { u64::MAX },
            };
            let skew_ms = rebuilt.measures().zip(hub.responder.measures()).map(skew_ms).max();
            prop_assert!(skew_ms.unwrap_or_default() < 2 * portreeve_respond::CLOCK_STEP_MS);
        }
        // And with time all of them end.
        clock.running_ms += 10 * HOUR_MS;
        ended.extend(hub.tick(clock));
        prop_assert_eq!(ended, begun);
    }
}
