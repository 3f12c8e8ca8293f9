//! The desk on a clock that the test moves, its settings, and how deliveries look.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod render;
mod restart;
mod settings;

use std::{collections::BTreeMap, time::Duration};

use portreeve_alert::{AlertSettings, Delivery, Desk, Failure, Line, Occurrence, Raised, Severity};
use portreeve_types::UnixMillis;

/// Two contacts on call with a channel each and one in common; whatever is about the group `plant` goes to a third.
pub(crate) const SETTINGS: &str = r#"
[[channel]]
name = "hook"
kind = "webhook"
url = "https://hook.example.org/in"
secret_file = "/etc/portreeve/hook.secret"
per_minute = 4

[[channel]]
name = "mail"
kind = "smtp"
server = "mail.example.org"
security = "tls"
from = "hub@example.org"

[[channel]]
name = "log"
kind = "syslog"
server = "log.example.org"

[[contact]]
name = "ann"
channels = ["hook", "mail"]
mail = "ann@example.org"
reviewed = 2026-11-01

[[contact]]
name = "bob"
channels = ["mail"]
mail = "bob@example.org"
reviewed = 2026-11-01

[[contact]]
name = "plant"
channels = ["log"]
reviewed = 2026-11-01

[[route]]
groups = ["plant"]
contacts = ["plant"]

[[route]]
contacts = ["ann", "bob"]
acknowledge_within_s = 300
rounds = 2
repeat_s = 600
"#;

pub(crate) const KINDS: &[&str] = &["auth_failures", "device_silent"];

pub(crate) fn settings(text: &str) -> AlertSettings {
    AlertSettings::parse("alerts.toml", text, KINDS).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn occurrence(kind: &str, severity: Severity, subject: &str) -> Occurrence {
    Occurrence::new(kind.parse().unwrap(), severity, subject, "something happened")
}

/// A desk, its clock, and what a store would hold of it.
pub(crate) struct Office {
    pub(crate) desk: Desk,
    pub(crate) now: UnixMillis,
    pub(crate) store: BTreeMap<String, Vec<u8>>,
}

impl Office {
    pub(crate) fn new() -> Self {
        Self::with(SETTINGS)
    }

    pub(crate) fn with(text: &str) -> Self {
        let now = UnixMillis(1_800_000_000_000);
        let desk = Desk::restore(settings(text), [], 7, now).unwrap();
        Self { desk, now, store: BTreeMap::new() }
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    pub(crate) fn raise(&mut self, kind: &str, severity: Severity, subject: &str) -> Raised {
        self.desk.raise(occurrence(kind, severity, subject), self.now)
    }

    /// What is due, after a commit.
    pub(crate) fn poll(&mut self) -> Vec<Delivery> {
        let due = self.desk.poll(self.now);
        self.commit();
        due
    }

    pub(crate) fn commit(&mut self) {
        for change in self.desk.take_changes() {
            match change.value {
                Some(value) => _ = self.store.insert(change.key, value),
                None => _ = self.store.remove(&change.key),
            }
        }
    }

    /// As after a power cut: what was committed, and nothing else.
    pub(crate) fn restart(&mut self, text: &str) {
        let records = self.store.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.desk = Desk::restore(settings(text), records, 7, self.now).unwrap();
    }

    /// Delivers all that is due until nothing is, and tells to whom what went: `contact channel notice subject`.
    pub(crate) fn deliver(&mut self) -> Vec<String> {
        self.deliver_but(|_| None)
    }

    /// The same; what `fails` names fails for this reason.
    pub(crate) fn deliver_but(&mut self, fails: impl Fn(&Delivery) -> Option<Failure>) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let due = self.poll();
            if due.is_empty() {
                return told;
            }
            for delivery in due {
                match fails(&delivery) {
                    Some(failure) => self.desk.failed(delivery.id, &failure, self.now).unwrap(),
                    None => {
                        self.desk.delivered(delivery.id, self.now).unwrap();
                        told.push(shown(&delivery));
                    }
                }
            }
        }
    }

    /// Moves the clock to whatever is due next, again and again, for so long, and tells what was delivered when.
    pub(crate) fn run(&mut self, seconds: u64, fails: impl Fn(&Delivery) -> Option<Failure>) -> Vec<(u64, String)> {
        let (start, end) = (self.now, self.now.plus(Duration::from_secs(seconds)));
        let mut told = Vec::new();
        loop {
            let after_s = self.now.since(start).as_secs();
            told.extend(self.deliver_but(&fails).into_iter().map(|line| (after_s, line)));
            match self.desk.next_due() {
                Some(due) if due <= end => self.now = self.now.max(due),
                _ => break,
            }
        }
        self.now = end;
        told
    }
}

pub(crate) fn shown(delivery: &Delivery) -> String {
    let what = match &delivery.notice {
        portreeve_alert::Notice::Alert { why, alert } => format!("{} {}", why.as_str(), alert.subject),
        portreeve_alert::Notice::Digest(digest) => format!("digest {} of {} kinds", digest.total(), digest.kinds.len()),
    };
    format!("{} {} {what}", delivery.contact, delivery.channel)
}

pub(crate) fn transient() -> Option<Failure> {
    Some(Failure::Transient(Line::new("no answer")))
}

pub(crate) fn permanent() -> Option<Failure> {
    Some(Failure::Permanent(Line::new("refused")))
}
