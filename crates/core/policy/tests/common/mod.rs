#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "test helpers; each test binary uses a part")]

use portreeve_policy::{Action, Context, Decision, Epoch, PolicySet, PolicySource, Posture, Subject};
use portreeve_types::{IdentityId, Kind, LifecycleState, Qos, UnixMillis};
use uuid::Uuid;

pub fn subject(name: &str) -> Subject {
    Subject {
        id: IdentityId(Uuid::nil()),
        name: name.parse().unwrap(),
        kind: Kind::Device,
        group: String::new(),
        owner: "facilities".into(),
        location: "hall-2".into(),
        model: "L1".into(),
        firmware: "1.0.0".into(),
        posture: Posture::Current,
        state: LifecycleState::Active,
    }
}

pub fn member(name: &str, group: &str) -> Subject {
    Subject { group: group.into(), ..subject(name) }
}

pub fn source(text: &str) -> PolicySource {
    PolicySource { file: "user.cedar".into(), text: text.into() }
}

pub fn compile(text: &str) -> PolicySet {
    match PolicySet::compile(&[source(text)], Epoch(7)) {
        Ok(set) => set,
        Err(problems) => panic!("{text}: {problems:#?}"),
    }
}

/// 2030-01-01T08:30:00Z.
pub const MORNING: UnixMillis = UnixMillis(1_893_486_600_000);

pub const CONTEXT: Context<'static> = Context {
    now: MORNING,
    source: None,
    transport: "mqtt",
    client_id: "lamp-1",
    qos: Some(Qos::AtMostOnce),
    retain: false,
};

pub fn decide(set: &PolicySet, subject: &Subject, action: Action, resource: &str) -> Decision {
    set.slice(subject).decide(action, resource, &CONTEXT)
}

pub fn allows(set: &PolicySet, subject: &Subject, action: Action, resource: &str) -> bool {
    decide(set, subject, action, resource).is_allowed()
}
