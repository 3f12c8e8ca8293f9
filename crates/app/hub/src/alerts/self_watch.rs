//! Whether what should be noticed still is, and reaches who should know: tests on a schedule, and contacts that nobody looked at.

use std::collections::BTreeSet;

use portreeve_alert::{AlertId, CANARY_AGE_MAX, Occurrence, Outcome, Severity, Word};
use portreeve_detect::{Detector, Notice};
use portreeve_events::{Event, Kind as EventKind};
use portreeve_types::UnixMillis;

use super::State;
use crate::Hub;

/// A detector or a channel did not do in a scheduled test what it should.
const CANARY_FAILED: &str = "canary_failed";
/// Nobody has reviewed a contact for longer than the settings say (CSA-BCN-01).
const CONTACT_OVERDUE: &str = "contact_overdue";
/// The kinds that are raised here.
pub(super) const KINDS: [&str; 2] = [CANARY_FAILED, CONTACT_OVERDUE];
/// How often contacts are looked at, milliseconds.
const CONTACTS_EVERY_MS: u64 = 3_600_000;
/// Who makes the tests that nobody asked for, as the ledger names a part of the hub.
const SCHEDULE: &str = "schedule";

/// When what was looked at, and what is awaited.
#[derive(Debug)]
pub(super) struct SelfWatch {
    /// From when on a test that was never made is due.
    since: UnixMillis,
    contacts_at: Option<UnixMillis>,
    /// Told of in this run: once is enough.
    overdue: BTreeSet<Word>,
    /// The scheduled test whose deliveries are awaited.
    injected: Option<UnixMillis>,
    /// When each detector was last tested, and which found what it had to.
    pub(super) rehearsed: Option<(UnixMillis, Vec<(Detector, bool)>)>,
}

impl SelfWatch {
    pub(super) const fn new(now: UnixMillis) -> Self {
        Self { since: now, contacts_at: None, overdue: BTreeSet::new(), injected: None, rehearsed: None }
    }

    /// With other settings all contacts are looked at again.
    pub(super) fn restart(&mut self, now: UnixMillis) {
        *self = Self { rehearsed: self.rehearsed.take(), ..Self::new(now) };
    }
}

impl Hub {
    /// Has every detector find what it must find, in a world of its own, and hands the findings on, marked: from there on they go
    /// the way of all findings, up to the channels (CSA-SNT-10). Which detectors found it.
    pub(crate) fn inject(&self, by: &str, at: UnixMillis) -> Vec<(Detector, bool)> {
        self.tell(&Event::new(EventKind::CanaryInjected, format_args!("")).by(by));
        let mut found = Vec::new();
        for &detector in Detector::ALL {
            let findings = self.watcher.rehearse(detector, at);
            found.push((detector, findings.len() == 1 && findings[0].canary));
            self.watcher.keep(findings.into_iter().map(Notice::Opened).collect());
        }
        self.alerts.state.lock().self_watch.rehearsed = Some((at, found.clone()));
        found
    }

    /// The test on its schedule.
    pub(super) fn inject_when_due(&self, now: UnixMillis) {
        let every_s = self.config().canary.every_s;
        if every_s == 0 {
            return;
        }
        {
            let mut state = self.alerts.state.lock();
            let last = state.desk.tested_at().unwrap_or_default().max(state.self_watch.since);
            let is_due = now.since(last).as_secs() >= every_s;
            if !is_due || !state.desk.settings().reach_somebody() || state.self_watch.injected.is_some() {
                return;
            }
            state.self_watch.injected = Some(now);
        }
        let rehearsed = self.inject(SCHEDULE, now);
        let mut state = self.alerts.state.lock();
        for (detector, found) in rehearsed {
            if !found {
                let text =
                    format!("the detector {} did not find what it must find in its rehearsal", detector.as_str());
                raise(&mut state, CANARY_FAILED, Severity::High, detector.as_str(), &text, now);
            }
        }
    }

    /// What came of the scheduled test, once it is over.
    pub(super) fn look_at_canary(&self, state: &mut State, now: UnixMillis) {
        let Some(injected) = state.self_watch.injected else { return };
        if now.since(injected) <= CANARY_AGE_MAX {
            return;
        }
        state.self_watch.injected = None;
        let Some(id) = test_since(state, injected) else {
            let text = "a test was made, and no alert came of it";
            return raise(state, CANARY_FAILED, Severity::High, "alerts", text, now);
        };
        for timing in state.desk.timings(id).unwrap_or_default() {
            if let Outcome::Failed(why) | Outcome::Waiting { why: Some(why), .. } = timing.outcome {
                let text =
                    format!("the test through the channel {} did not reach {}: {why}", timing.channel, timing.contact);
                raise(state, CANARY_FAILED, Severity::High, timing.channel.as_str(), &text, now);
            }
        }
    }

    /// Contacts of whom nobody knows whether they are still true are told of, once (CSA-BCN-01).
    pub(super) fn look_at_contacts(&self, state: &mut State, now: UnixMillis) {
        let rests = |at: UnixMillis| now.since(at).as_millis() < u128::from(CONTACTS_EVERY_MS);
        if state.self_watch.contacts_at.is_some_and(rests) {
            return;
        }
        state.self_watch.contacts_at = Some(now);
        let overdue: Vec<Word> =
            state.desk.settings().overdue_contacts(now).map(|contact| contact.name.clone()).collect();
        for name in overdue {
            let is_open = state
                .desk
                .open()
                .any(|alert| alert.kind.as_str() == CONTACT_OVERDUE && alert.subject.as_str() == name.as_str());
            if state.self_watch.overdue.insert(name.clone()) && !is_open {
                let text = format!("nobody has reviewed the contact {name} for longer than contact_review_days");
                raise(state, CONTACT_OVERDUE, Severity::Medium, name.as_str(), &text, now);
            }
        }
    }
}

/// The newest test since then, if it came as far as the desk.
pub(super) fn test_since(state: &State, since: UnixMillis) -> Option<AlertId> {
    let tests = state.desk.open().filter(|alert| alert.canary && alert.opened >= since);
    tests.map(|alert| alert.id).last()
}

fn raise(state: &mut State, kind: &str, severity: Severity, subject: &str, text: &str, now: UnixMillis) {
    // The kinds here are words.
    let Ok(kind) = kind.parse::<Word>() else { return };
    state.desk.raise(Occurrence::new(kind, severity, subject, text), now);
}
