//! What a decision costs: nanoseconds per `decide` for slices of 1, 6 and 100 policies, and the cost of compiling and
//! slicing 10,000. Run with `cargo run --release -p portreeve-policy --example decide_cost`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool: it stops at the first surprise")]

use std::{
    fmt::Write,
    hint::black_box,
    time::{Duration, Instant},
};

use portreeve_policy::{Action, Context, Epoch, PolicySet, PolicySource, Posture, Slice, Subject};
use portreeve_types::{IdentityId, Kind, LifecycleState, UnixMillis};
use uuid::Uuid;

const CONTEXT: Context<'static> = Context {
    now: UnixMillis(1_893_486_600_000),
    source: None,
    transport: "mqtt",
    client_id: "lamp-1",
    qos: None,
    retain: false,
};

fn subject(name: &str, group: &str) -> Subject {
    Subject {
        id: IdentityId(Uuid::nil()),
        name: name.parse().unwrap(),
        kind: Kind::Device,
        group: group.to_owned(),
        owner: String::new(),
        location: String::new(),
        model: String::new(),
        firmware: String::new(),
        posture: Posture::Current,
        state: LifecycleState::Active,
    }
}

fn compile(text: String) -> PolicySet {
    PolicySet::compile(&[PolicySource { file: "bench.cedar".into(), text }], Epoch(1)).unwrap()
}

/// The best of five batches, so that a busy machine says something too.
fn per_run(runs: u32, mut run: impl FnMut()) -> Duration {
    let mut batch = || {
        let start = Instant::now();
        (0..runs).for_each(|_| run());
        start.elapsed() / runs
    };
    (0..5).map(|_| batch()).min().unwrap_or_default()
}

fn cost(label: &str, slice: &Slice, action: Action, topic: &str) {
    let allowed = slice.decide(action, topic, &CONTEXT).is_allowed();
    let time = per_run(5_000, || drop(black_box(slice.decide(action, topic, &CONTEXT))));
    println!("{label:<44} {:>7} ns  ({action} {topic}: allowed {allowed})", time.as_nanos());
}

fn main() {
    for extra in [0, 5, 99] {
        let mut text = String::new();
        for number in 0..extra {
            let scope = r#"principal == Identity::"lamp-1", action in [Action::"publish", Action::"subscribe"]"#;
            writeln!(text, r#"permit ({scope}, resource in Topic::"plant/{number}/+/temp/#");"#).unwrap();
        }
        let slice = compile(text).slice(&subject("lamp-1", ""));
        let label = format!("decide, {} policies", slice.policies_for(Action::Publish));
        cost(&label, &slice, Action::Connect, "");
        cost(&label, &slice, Action::Publish, "devices/lamp-1/state");
        cost(&label, &slice, Action::Receive, "plant/0/a/temp/x");
        cost(&label, &slice, Action::Subscribe, "devices/lamp-1/commands/#");
    }

    let mut text = String::new();
    for number in 0..10_000 {
        let who = if number % 2 == 0 { "== Identity::\"lamp" } else { "in Group::\"hall" };
        writeln!(text, r#"permit (principal {who}-{number}", action, resource in Topic::"plant/{number}/#");"#)
            .unwrap();
    }
    let start = Instant::now();
    let set = compile(text);
    println!("compile {} policies: {:.2?}", set.len(), start.elapsed());
    for (label, subject) in [
        ("slice, only everyone's policies", subject("nobody", "")),
        ("slice, a group with policies", subject("nobody", "hall-4999")),
        ("slice, a name with policies", subject("lamp-5000", "")),
        ("slice, a name and a group with policies", subject("lamp-5000", "hall-4999")),
    ] {
        let time = per_run(2_000, || drop(black_box(set.slice(&subject))));
        println!("{label:<44} {:>7} ns", time.as_nanos());
    }
}
