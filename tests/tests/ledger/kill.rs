//! SIGKILL at any moment: what operators were told is done is in the ledger, and the ledger is whole.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use portreeve_tests::{Hub, Identity, Login, V5};
use serde_json::Value;

use crate::{sealed, told};

const ROUNDS: u64 = 8;
const OPERATORS: usize = 2;

type Act = (String, String);

/// What an entry says was asked for, and of which identity.
fn request_and_subject(entry: &Value) -> Option<Act> {
    let parties = ["initiator", "receiver"].map(|party| entry[party]["name"].as_str());
    let names = parties.into_iter().chain([entry["data"]["identity"].as_str()]).flatten();
    let name = names.into_iter().find(|name| name.starts_with("lamp-"))?;
    Some((entry["data"]["request"].as_str()?.to_owned(), name.to_owned()))
}

/// One operator's requests until the hub is gone: what was acknowledged.
fn operate(hub: &Hub, round: u64, operator: usize, is_over: &AtomicBool) -> Vec<Act> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let name = format!("lamp-{round}-{operator}-{number}");
        for (verb, request) in [("add", "device-add"), ("disable", "device-state")] {
            if is_over.load(Relaxed) {
                return acknowledged;
            }
            if hub.run(&["device", verb, &name]).status.success() {
                acknowledged.push((request.to_owned(), name.clone()));
            }
        }
    }
    acknowledged
}

/// A device that does what it may not, so that the operators' entries are among others.
fn misbehave(hub: &Hub, device: &Identity, is_over: &AtomicBool) {
    let mut client = Login::new(V5, &device.name).open_as(hub, device);
    for number in 0_u64.. {
        if is_over.load(Relaxed) {
            return client.vanish();
        }
        let _ = client.try_publish(&format!("not/mine/{number}"), b"", 0, false, "");
        thread::sleep(Duration::from_millis(1));
    }
}

/// CSA-CLS-13, CSA-SCN-05, CSA-IMT-01
#[test]
fn a_kill_loses_no_acknowledged_act_of_an_operator() {
    let mut hub = Hub::start(&[]);
    let device = hub.add("gossip", "device");
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let operators: Vec<_> = (0..OPERATORS)
                .map(|operator| {
                    let (hub, is_over) = (&hub, &is_over);
                    scope.spawn(move || operate(hub, round, operator, is_over))
                })
                .collect();
            scope.spawn(|| misbehave(&hub, &device, &is_over));
            // Some requests long, and never the same part of one.
            thread::sleep(Duration::from_millis(300 + 37 * round));
            hub.signal("KILL");
            is_over.store(true, Relaxed);
            acknowledged.extend(operators.into_iter().flat_map(|operator| operator.join().unwrap()));
        });
        hub.kill();
        hub.launch();
    }
    assert!(acknowledged.len() > 10, "there was something to lose: {}", acknowledged.len());
    sealed(&hub);
    let (status, said) = told(&hub.run(&["ledger", "verify"]));
    assert_eq!(status, 0, "{said}");
    for kind in ["admin_requested", "admin_done"] {
        let shown = hub.json(&["ledger", "show", "--from", "0", "--kind", kind]);
        let recorded: BTreeSet<_> = shown.as_array().unwrap().iter().filter_map(request_and_subject).collect();
        for act in &acknowledged {
            assert!(recorded.contains(act), "{kind}: {act:?} is not in {recorded:?}");
        }
    }
}
