//! What policy costs: making a slice, deciding anew, and through the hub with the decision remembered and not.

use std::{fmt::Write, hint::black_box};

use portreeve_policy::{Action, Context, Epoch, PolicySet, PolicySource, Posture, Subject};
use portreeve_types::{IdentityId, Kind, LifecycleState, Qos, UnixMillis};

use crate::{
    Workload, measured_operations,
    paths::{Client, PUBLISHER, hub_for_many},
};

const OPERATIONS: u32 = 200;
const SIZES: [(usize, &str); 2] = [(10, "10 rules"), (10_000, "10,000 rules")];
/// So many rules of every set concern the one who asks; the others name other identities.
const OWN_RULES: usize = 5;
const CONTEXT: Context<'static> = Context {
    now: UnixMillis(1_893_486_600_000),
    source: None,
    transport: "mqtt",
    client_id: PUBLISHER,
    qos: None,
    retain: false,
};

pub(crate) fn workloads() -> Vec<Workload> {
    SIZES.into_iter().flat_map(|(count, words)| [of_policy(count, words), of_hub(count, words)]).flatten().collect()
}

/// Rules for the publisher and for others; `count` of them.
fn rules(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let who = if number < OWN_RULES { PUBLISHER.to_owned() } else { format!("other-{number}") };
        let scope = format!(r#"principal == Identity::"{who}", action == Action::"publish""#);
        writeln!(text, r#"permit ({scope}, resource in Topic::"plant/{number}/+/#");"#).unwrap();
    }
    text
}

fn of_policy(count: usize, words: &str) -> Vec<Workload> {
    let source = PolicySource { file: "instructions.cedar".into(), text: rules(count) };
    let set = PolicySet::compile(&[source], Epoch(1)).unwrap();
    let slice = set.slice(&subject());
    let decide = move |action: Action, resource: &str, wanted: bool| {
        measured_operations(&mut || {
            for _ in 0..OPERATIONS {
                let decision = black_box(slice.decide(action, black_box(resource), &CONTEXT));
                assert_eq!(decision.is_allowed(), wanted);
            }
        });
    };
    let row = |kind: &str, action, resource: &'static str, wanted| {
        let decide = decide.clone();
        Workload::new(format!("decide {kind}, {words}"), OPERATIONS, move || decide(action, resource, wanted))
    };
    let mut workloads = vec![
        row("publish, permitted", Action::Publish, "plant/3/hall/temperature", true),
        row("publish, refused", Action::Publish, "plant/7/hall/temperature", false),
        row("subscribe, permitted", Action::Subscribe, "devices/lamp-0/commands/#", true),
        row("receive, permitted", Action::Receive, "devices/lamp-0/commands/on", true),
    ];
    workloads.push(Workload::new(format!("slice for one identity, {words}"), OPERATIONS, move || {
        let subject = subject();
        measured_operations(&mut || {
            for _ in 0..OPERATIONS {
                black_box(set.slice(black_box(&subject)));
            }
        });
    }));
    workloads
}

fn subject() -> Subject {
    Subject {
        id: IdentityId(uuid::Uuid::nil()),
        name: PUBLISHER.parse().unwrap(),
        kind: Kind::Device,
        group: String::new(),
        owner: String::new(),
        location: String::new(),
        model: String::new(),
        firmware: String::new(),
        posture: Posture::Current,
        state: LifecycleState::Active,
    }
}

/// A PUBLISH that nobody receives: first on topics never seen before, then on one whose decision is remembered.
fn of_hub(count: usize, words: &str) -> Vec<Workload> {
    let mut bench = hub_for_many();
    let device = bench.device(PUBLISHER);
    bench.policy(&rules(count));
    let mut publisher = Client::open(&bench, &device, PUBLISHER);
    let mut number = 0;
    let publish = move |is_new: bool| {
        for _ in 0..OPERATIONS {
            number += u32::from(is_new);
            let topic = format!("plant/3/hall/{}", if is_new { 1_000_000 + number } else { 1_000_000 });
            let packet = Client::publish_packet(&topic, 64, Qos::AtMostOnce, 0);
            bench.now.mono_ms += 1;
            publisher.measured_receive(&bench, &packet);
        }
    };
    // One hub for both rows: the second alone would pay for another ten thousand rules.
    let shared = std::rc::Rc::new(std::cell::RefCell::new(publish));
    let row = |kind: &str, is_new: bool| {
        let publish = std::rc::Rc::clone(&shared);
        Workload::new(format!("receive PUBLISH, {kind}, {words}"), OPERATIONS, move || (publish.borrow_mut())(is_new))
    };
    vec![row("decided anew", true), row("decision remembered", false)]
}
