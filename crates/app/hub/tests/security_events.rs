//! What devices report of their own security, and what is missing of it (CSA-MSU-05, CSA-SOP-03).

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::time::Duration;

use common::{Bench, Client, connect};
use portreeve_events::Kind as EventKind;
use portreeve_hub::AdminRequest;
use portreeve_types::{Kind, Qos};

const KINDS: [EventKind; 4] =
    [EventKind::SecurityReported, EventKind::SecurityGap, EventKind::SecurityReplayed, EventKind::ReportRefused];

fn counts(bench: &Bench) -> [u64; 4] {
    KINDS.map(|kind| bench.count(kind))
}

/// What was found of broken numbers.
fn findings(bench: &Bench) -> usize {
    bench.hub.tend_watch(bench.now);
    let listed = bench.administer(AdminRequest::FindingList { open: false, count: 100 }).unwrap().result;
    listed.as_array().unwrap().iter().filter(|finding| finding["kind"] == "numbers_broken").count()
}

fn say(bench: &Bench, client: &mut Client, epoch: u64, seq: u64) {
    let event = format!(r#"{{"epoch":{epoch},"seq":{seq},"kind":"tamper_switch","detail":"lid open"}}"#);
    client.publish(bench, "devices/gate-1/security", event.as_bytes(), Qos::AtLeastOnce);
}

#[test]
fn gaps_and_repetitions_show_also_after_a_restart() {
    let bench = Bench::new();
    let leaf = bench.add("gate-1", Kind::Gateway);
    let identity = bench.identity(&leaf);
    let mut gate = bench.connect(&identity, connect("gate-1"));
    for seq in [5, 6, 7] {
        say(&bench, &mut gate, 1, seq);
    }
    assert_eq!(counts(&bench), [3, 0, 0, 0], "where it begins is its own affair");
    assert_eq!(findings(&bench), 0);
    say(&bench, &mut gate, 1, 9);
    assert_eq!(counts(&bench), [4, 1, 0, 0]);
    assert_eq!(findings(&bench), 1);
    say(&bench, &mut gate, 1, 9);
    say(&bench, &mut gate, 1, 3);
    assert_eq!(counts(&bench), [6, 1, 2, 0]);
    assert_eq!(findings(&bench), 1, "an episode is one finding");
    say(&bench, &mut gate, 2, 1);
    assert_eq!(counts(&bench), [7, 1, 2, 0], "a new epoch");
    gate.disconnect(&bench);
    assert!(bench.hub.finish(Duration::from_secs(5)));

    let bench = bench.reopen();
    let identity = bench.identity(&leaf);
    let mut gate = bench.connect(&identity, connect("gate-1"));
    say(&bench, &mut gate, 2, 1);
    say(&bench, &mut gate, 2, 2);
    say(&bench, &mut gate, 2, 4);
    assert_eq!(counts(&bench), [3, 1, 1, 0], "the numbers are known from before");
}

/// CSA-COM-04: who floods is told so, and what is no event is none; nobody speaks for another.
#[test]
fn what_a_device_says_is_bounded_and_its_own() {
    let mut bench = Bench::new();
    let identity = bench.device("gate-1");
    let mut gate = bench.connect(&identity, connect("gate-1"));
    for seq in 0..100 {
        say(&bench, &mut gate, 0, seq);
    }
    let [reported, _, _, refused] = counts(&bench);
    assert!((20..=22).contains(&reported) && reported + refused == 100, "{reported} and {refused}");
    bench.advance(Duration::from_secs(60));
    gate.publish(&bench, "devices/gate-1/security", b"not JSON", Qos::AtLeastOnce);
    assert_eq!(counts(&bench)[3], refused + 1);

    bench.policy(r#"permit (principal, action, resource);"#);
    let app = bench.application("app");
    let mut app = bench.connect(&app, connect("app"));
    say(&bench, &mut app, 0, 1000);
    assert_eq!(counts(&bench)[0], reported, "an application is not the gate");
}
