use std::collections::BTreeSet;

use portreeve_alert::{Desk, Severity};
use portreeve_types::UnixMillis;
use proptest::prelude::*;

use crate::{Office, SETTINGS, permanent, settings, shown, transient};

/// What happens to a desk.
#[derive(Clone, Debug)]
enum Step {
    Raise(u8, u8, u8),
    Send { fails: u8 },
    Pass(u16),
    Acknowledge,
    Close,
    Canary,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5u8, 0..5u8, 0..12u8).prop_map(|(kind, severity, subject)| Step::Raise(kind, severity, subject)),
        4 => (0..6u8).prop_map(|fails| Step::Send { fails }),
        3 => (0..900u16).prop_map(Step::Pass),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Close),
        1 => Just(Step::Canary),
    ]
}

/// Does one step and tells what it delivered: key and content.
fn act(office: &mut Office, step: &Step) -> Vec<(String, String)> {
    let mut told = Vec::new();
    match step {
        Step::Raise(kind, severity, subject) => {
            let severity = Severity::ALL[usize::from(*severity)];
            office.raise(&format!("kind-{kind}"), severity, &format!("lamp-{subject}"));
        }
        Step::Send { fails } => {
            for delivery in office.poll() {
                let is_hook = delivery.channel.as_str() == "hook";
                match fails {
                    0 | 1 if is_hook => office.desk.failed(delivery.id, &transient().unwrap(), office.now).unwrap(),
                    2 if !is_hook => office.desk.failed(delivery.id, &permanent().unwrap(), office.now).unwrap(),
                    _ => {
                        office.desk.delivered(delivery.id, office.now).unwrap();
                        told.push((delivery.idempotency_key.clone(), shown(&delivery)));
                    }
                }
            }
        }
        Step::Pass(seconds) => office.pass((*seconds).into()),
        Step::Acknowledge => {
            let id = office.desk.open().next().map(|alert| alert.id);
            id.into_iter().for_each(|id| office.desk.acknowledge(id, "ann", office.now).unwrap());
        }
        Step::Close => {
            let id = office.desk.open().next().map(|alert| alert.id);
            id.into_iter().for_each(|id| _ = office.desk.close(id).unwrap());
        }
        Step::Canary => _ = office.desk.canary(office.now),
    }
    office.commit();
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A desk that is rebuilt after every step delivers what one does that never was, under the same keys, and ends the same.
    #[test]
    fn a_restart_at_any_step_changes_no_delivery(steps in prop::collection::vec(step(), 1..60)) {
        let (mut steady, mut restarted) = (Office::new(), Office::new());
        for step in &steps {
            let told = act(&mut steady, step);
            prop_assert_eq!(act(&mut restarted, step), told);
            restarted.restart(SETTINGS);
            prop_assert_eq!(restarted.desk.next_due(), steady.desk.next_due());
        }
        prop_assert_eq!(restarted.store, steady.store);
    }
}

#[test]
fn what_was_under_way_is_sent_again_under_the_same_key() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    let [before] = office.poll().try_into().unwrap();
    office.restart(SETTINGS);
    let [again] = office.poll().try_into().unwrap();
    assert_eq!(again, before);
    office.desk.delivered(again.id, office.now).unwrap();
    office.commit();
    office.restart(SETTINGS);
    assert!(office.poll().is_empty());
}

#[test]
fn keys_differ_between_deliveries_and_after_an_older_copy_was_put_back() {
    let mut keys = BTreeSet::new();
    let mut office = Office::new();
    for entropy in 0..20 {
        let records = office.store.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        // Always the same store, as a backup is, with the entropy of another start.
        let mut desk = Desk::restore(settings(SETTINGS), records, entropy, office.now).unwrap();
        desk.raise(crate::occurrence("auth_failures", Severity::High, "lamp-1"), office.now);
        keys.extend(desk.poll(office.now).into_iter().map(|delivery| delivery.idempotency_key));
    }
    assert_eq!(keys.len(), 20);
    office.commit();
}

#[test]
fn a_clock_that_was_years_ahead_delays_no_escalation() {
    let mut office = Office::new();
    let right = office.now;
    office.pass(10 * 365 * 24 * 3600);
    office.raise("auth_failures", Severity::High, "lamp-1");
    assert_eq!(office.deliver(), ["ann hook opened lamp-1"]);
    office.now = right;
    office.commit();
    office.restart(SETTINGS);
    let told: Vec<_> = office.run(300, |_| None).into_iter().map(|(_, line)| line).collect();
    assert_eq!(told, ["bob mail escalated lamp-1"]);
}

#[test]
fn damaged_records_are_told_and_not_passed_over() {
    let mut office = Office::new();
    office.raise("auth_failures", Severity::High, "lamp-1");
    for number in 0..9 {
        office.raise("device_silent", Severity::Low, &format!("lamp-{number}"));
    }
    office.deliver_but(|delivery| if delivery.channel.as_str() == "hook" { permanent() } else { None });
    office.commit();
    let restore = |records: &[(&str, &[u8])]| {
        Desk::restore(settings(SETTINGS), records.iter().copied(), 7, UnixMillis(1_800_000_000_000)).map(|_| ())
    };
    let sound: Vec<(&str, &[u8])> = office.store.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
    restore(&sound).unwrap();
    for at in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[at].1 = b"{}";
        // A channel's or a kind's record of nothing is nothing; whatever else is empty is damaged.
        let is_map = damaged[at].0.starts_with("kind/");
        assert_eq!(restore(&damaged).is_ok(), is_map, "{}", damaged[at].0);
        damaged[at] = ("unknown/1", sound[at].1);
        assert!(restore(&damaged).is_err());
    }
    for key in ["", "desk/x", "alert/", "alert/01", "alert/x", "delivery/hook", "delivery/../1", "dead/-1", "kind/a b"]
    {
        let mut strange = sound.clone();
        strange.push((key, b"{}"));
        let error = restore(&strange).unwrap_err();
        assert_eq!(error.key.as_str(), key);
    }
    // A turn that no route has.
    let text = office.store.iter().find(|(key, _)| key.starts_with("alert/")).unwrap();
    let far = String::from_utf8(text.1.clone()).unwrap().replace("\"step\":0", "\"step\":18446744073709551615");
    let mut damaged = sound.clone();
    damaged.iter_mut().filter(|(key, _)| *key == text.0).for_each(|record| record.1 = far.as_bytes());
    assert!(far.contains("551615") && restore(&damaged).is_err());
    // Numbers that were not given out, and an alert under another's number.
    let without: Vec<_> = sound.iter().copied().filter(|(key, _)| *key != "desk").collect();
    assert!(restore(&without).is_err());
    let alert = sound.iter().find(|(key, _)| key.starts_with("alert/")).unwrap().1;
    assert!(restore(&[("alert/77", alert)]).is_err());
}
