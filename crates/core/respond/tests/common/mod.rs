//! A hub without a world: registry, store and both clocks are values.
#![allow(dead_code, clippy::unwrap_used, reason = "not every test file needs all of it")]

use std::{collections::BTreeMap, net::IpAddr};

use portreeve_respond::{
    Change, Decision, Facts, Finding, Identity, Now, Responder, ResponseSettings, Severity, Subject, Verdict,
};
use portreeve_types::{IdentityId, IdentityName, Kind, UnixMillis};
use uuid::Uuid;

/// 2030-01-01T00:00:00Z.
pub(crate) const START: u64 = 1_893_456_000_000;
pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const KINDS: [&str; 4] = ["auth_failures", "beaconing", "flood", "bad_list"];

pub(crate) fn settings(text: &str) -> ResponseSettings {
    ResponseSettings::parse("r.toml", text, &KINDS).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub(crate) fn now(ms: u64) -> Now {
    // The running clock began two hours before.
    Now { wall: UnixMillis(START + ms), running_ms: 2 * HOUR_MS + ms }
}

pub(crate) fn wall(ms: u64) -> UnixMillis {
    UnixMillis(START + ms)
}

/// A store of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Store(pub(crate) BTreeMap<String, Vec<u8>>);

impl Store {
    pub(crate) fn write(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put { key, bytes } => drop(self.0.insert(key, bytes)),
                Change::Delete { key } => drop(self.0.remove(&key)),
            }
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice()))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) name: IdentityName,
    pub(crate) group: String,
    pub(crate) confined: bool,
    pub(crate) number: u128,
}

pub(crate) fn device(number: u128) -> Device {
    Device { name: format!("lamp-{number}").parse().unwrap(), group: "lamps".to_owned(), confined: false, number }
}

impl Device {
    pub(crate) fn id(&self) -> IdentityId {
        IdentityId(Uuid::from_u128(self.number))
    }

    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity { id: self.id(), name: &self.name, group: &self.group, kind: Kind::Device, confined: self.confined }
    }
}

/// A hub with its rules and store.
pub(crate) struct Hub {
    pub(crate) responder: Responder,
    pub(crate) store: Store,
    pub(crate) fleet: u64,
}

impl Hub {
    pub(crate) fn new(text: &str, fleet: u64) -> Self {
        let (responder, damaged) = Responder::rebuild(settings(text), [], now(0));
        assert_eq!(damaged, []);
        Self { responder, store: Store::default(), fleet }
    }

    pub(crate) fn find(&mut self, kind: &str, facts: &Facts<'_>, now: Now) -> Decision {
        let subject = match (&facts.identity, facts.source) {
            (Some(identity), _) => Subject::Identity(identity.name.clone()),
            (None, Some(source)) => Subject::Source(source),
            (None, None) => Subject::Hub,
        };
        let finding = Finding { id: "f-1", kind, severity: Severity::Medium, subject: &subject, text: "something" };
        let decision = self.responder.decide(&finding, facts, self.fleet, now);
        self.store.write(self.responder.take_changes());
        decision
    }

    /// A finding about a device.
    pub(crate) fn about(&mut self, kind: &str, device: &Device, now: Now) -> Verdict {
        self.find(kind, &Facts { identity: Some(device.identity()), ..Facts::default() }, now).verdict
    }

    /// A finding about an address.
    pub(crate) fn from(&mut self, kind: &str, address: &str, now: Now) -> Verdict {
        let source: Option<IpAddr> = Some(address.parse().unwrap());
        self.find(kind, &Facts { source, ..Facts::default() }, now).verdict
    }

    pub(crate) fn tick(&mut self, now: Now) -> Vec<u64> {
        let lifts = self.responder.tick(now);
        self.store.write(self.responder.take_changes());
        lifts.into_iter().map(|lift| lift.measure.id).collect()
    }

    pub(crate) fn lift(&mut self, id: u64, now: Now) {
        self.responder.lift(id, "alice", "a false alarm", now).unwrap();
        self.store.write(self.responder.take_changes());
    }

    /// What a restart makes of what is stored.
    pub(crate) fn restart(&mut self, now: Now) {
        let settings = self.responder.settings().clone();
        let (responder, damaged) = Responder::rebuild(settings, self.store.records(), now);
        assert_eq!(damaged, []);
        self.responder = responder;
        self.store.write(self.responder.take_changes());
    }

    pub(crate) fn standing(&self) -> Vec<u64> {
        self.responder.measures().map(|measure| measure.id).collect()
    }

    pub(crate) fn is_blocked(&self, address: &str, now: Now) -> bool {
        self.responder.blocks().is_blocked(address.parse().unwrap(), now.running_ms)
    }
}

pub(crate) fn is_act(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Act { .. })
}

/// The measure that an act made.
pub(crate) fn measure(verdict: &Verdict) -> u64 {
    match verdict {
        Verdict::Act { measure: Some(measure), .. } => *measure,
        other => panic!("{other:?}"),
    }
}
