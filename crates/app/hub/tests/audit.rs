//! What a hub with clients tells an auditor, on the real message path (CSA-TSP-03, CSA-MSU-01, ISVS-4.2.3).

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::thread;

use common::{Bench, connect};
use portreeve_assurance::{Catalogue, Envelope, Inputs, Judgement, Sha256, Verdict, evidence::hub::HubSubject, rule};
use portreeve_config::{Role, TwoPlaces};
use portreeve_hub::{Actor, AdminError, AdminRequest};
use portreeve_types::LifecycleState;
use serde_json::Value;

fn judged(bench: &Bench, check: &str, told: &Value) -> Judgement {
    let envelope = Envelope {
        kind: told["kind"].as_str().unwrap().to_owned(),
        target: Some("hub".into()),
        taken: bench.wall(),
        tool: "test".into(),
        data: told["data"].clone(),
    };
    let check = Catalogue::embedded().check(&check.parse().unwrap()).unwrap();
    let evidence = [(Sha256::of(b"facts"), &envelope)];
    rule(check.id.as_str()).unwrap()(&Inputs { check, target: "hub", at: bench.wall(), evidence: &evidence })
}

fn sessions(bench: &Bench) -> Judgement {
    let told = bench.administer(AdminRequest::AuditFacts { about: HubSubject::Sessions }).unwrap().result;
    judged(bench, "hub.sessions", &told)
}

fn rehearse(bench: &Bench, name: &str) -> Result<Value, AdminError> {
    bench.administer(AdminRequest::QuarantineRehearse { name: name.parse().unwrap() }).map(|outcome| outcome.result)
}

/// CSA-TSP-03: who is connected, and how.
#[test]
fn sessions_are_told_as_they_are() {
    let bench = Bench::with(|config| config.lifecycle.on_two_places = TwoPlaces::Alert);
    assert_eq!(sessions(&bench).verdict, Verdict::Inconclusive, "it does not run");
    bench.hub.set_listeners(vec![("mqtt".into(), "127.0.0.1:8883".into())]);
    assert_eq!(sessions(&bench).verdict, Verdict::Inconclusive, "nobody is connected");
    let (one, two) = (bench.device("lamp-1"), bench.device("lamp-2"));
    let (first, _second) = (bench.connect(&one, connect("lamp-1")), bench.connect(&two, connect("lamp-2")));
    let judgement = sessions(&bench);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(judgement.observed.starts_with("2 connections (2 mqtt) from 1 addresses"), "{judgement:?}");
    first.disconnect(&bench);
    assert!(sessions(&bench).observed.starts_with("1 connections"));
}

/// Who may not audit is told nothing; whoever may not operate quarantines nobody.
#[test]
fn only_who_may_is_answered() {
    let bench = Bench::new();
    bench.device("lamp-1");
    let as_role = |role, request| bench.hub.administer(&Actor { name: "mallory".into(), role }, request);
    for about in HubSubject::JUDGED.into_iter().chain([HubSubject::Listeners]) {
        let request = || AdminRequest::AuditFacts { about };
        assert!(matches!(as_role(Role::Viewer, request()), Err(AdminError::Role { .. })), "{about:?}");
        assert!(as_role(Role::Auditor, request()).is_ok(), "{about:?}");
    }
    let rehearsal = || AdminRequest::QuarantineRehearse { name: "lamp-1".parse().unwrap() };
    assert!(matches!(as_role(Role::Auditor, rehearsal()), Err(AdminError::Role { .. })));
    assert!(matches!(as_role(Role::Viewer, rehearsal()), Err(AdminError::Role { .. })));
}

/// IIITA-N4, CSA-MSU-01, CSA-SNT-06: the connection ends, the certificate is on hold, and the device is in service again afterwards.
#[test]
fn a_quarantine_is_rehearsed_and_undone() {
    let bench = Bench::new();
    let identity = bench.device("lamp-9");
    let mut client = bench.connect(&identity, connect("lamp-9"));
    let told = thread::scope(|scope| {
        let asked = scope.spawn(|| rehearse(&bench, "lamp-9"));
        // Whoever carries its bytes notices that it is to end.
        while !client.is_over() {
            client.recv(&bench);
            thread::yield_now();
        }
        client.lose(&bench);
        asked.join().unwrap().unwrap()
    });
    assert_eq!((&told["data"]["connections"], &told["data"]["released"]), (&1.into(), &true.into()), "{told}");
    let judgement = judged(&bench, "hub.quarantine", &told);
    assert_eq!(judgement.verdict, Verdict::Partial, "the network, and what its client saw: {judgement:?}");
    bench.connect(&identity, connect("lamp-9"));

    // Nobody was connected: nothing is shown.
    bench.device("lamp-8");
    let told = rehearse(&bench, "lamp-8").unwrap();
    assert_eq!(judged(&bench, "hub.quarantine", &told).verdict, Verdict::Inconclusive);
    bench.set_state("lamp-8", LifecycleState::Disabled).unwrap();
    assert!(rehearse(&bench, "lamp-8").is_err(), "it is not active");
    assert!(rehearse(&bench, "lamp-7").is_err(), "there is none");
}
