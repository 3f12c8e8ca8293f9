//! What is to be told, from wherever it is noticed to the desk.

use std::collections::BTreeMap;

use portreeve_alert::{Occurrence, Severity, Subject, Word};
use portreeve_detect::{Closing, Finding, Notice};
use portreeve_events::{Event, Kind, Severity as Gravity};
use portreeve_types::UnixMillis;

use crate::Hub;

/// Subjects of one kind that wait; more open alerts of it the desk would not take. Those beyond are left out: the events are counted anyway.
const WAITING_PER_KIND_MAX: usize = portreeve_alert::OPEN_PER_KIND_MAX;

/// Something for the desk.
#[derive(Debug)]
pub(super) enum Said {
    Raise(Occurrence),
    /// Of this kind and subject nothing more is open; without a subject, of this kind.
    Over {
        kind: &'static str,
        subject: Option<Subject>,
    },
    /// Every channel is to be tested.
    Test,
}

/// What was said of each subject, as it came.
type BySubject = BTreeMap<String, Vec<(Said, UnixMillis)>>;

/// What waits for the desk, by kind, severity and subject. Whoever floods one kind takes no room of another.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: BTreeMap<(&'static str, Option<Severity>), BySubject>,
    left_out: u64,
}

impl Inbox {
    fn put(&mut self, kind: &'static str, subject: &str, said: Said, at: UnixMillis) {
        let severity = match &said {
            Said::Raise(occurrence) => Some(occurrence.severity()),
            Said::Over { .. } | Said::Test => None,
        };
        let subjects = self.waiting.entry((kind, severity)).or_default();
        if subjects.len() >= WAITING_PER_KIND_MAX && !subjects.contains_key(subject) {
            self.left_out += 1;
            return;
        }
        let said_of = subjects.entry(subject.to_owned()).or_default();
        // Beginning, end, and beginning again within a tenth of a second is enough to know.
        if said_of.len() < 3 { said_of.push((said, at)) } else { self.left_out += 1 }
    }

    /// All that waits, as it came.
    pub(super) fn drain(&mut self) -> Vec<(Said, UnixMillis)> {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            // The events behind them are counted where they were told.
            tracing::debug!(left_out, "more of what is alerted already was not taken one by one");
        }
        let all = std::mem::take(&mut self.waiting).into_values().flat_map(BTreeMap::into_values).flatten();
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(_, at)| *at);
        all
    }
}

/// How urgent an event is that is an alert by itself: what the hub cannot do as it should, and what no detector counts because one
/// is enough. That an alert could not be sent the desk tells.
pub(crate) const fn alerts_by_itself(kind: Kind) -> Option<Severity> {
    match kind {
        // The desk tells the one, a detector the other.
        Kind::AlertFailed | Kind::CloneSuspected => None,
        Kind::LedgerTampered => Some(Severity::Critical),
        Kind::CaWithdrawn => Some(Severity::High),
        // Somebody has to do something, and there is time: the row is undecided meanwhile.
        Kind::AttestationOverdue => Some(Severity::Medium),
        _ => match kind.severity() {
            Gravity::Error => Some(Severity::High),
            Gravity::Warning | Gravity::Info => None,
        },
    }
}

/// The alerts that an event ends.
const fn ended_by(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::StoreRecovered => &[Kind::StoreFull, Kind::StoreFailed],
        Kind::LedgerRecovered => &[Kind::LedgerFailed],
        _ => &[],
    }
}

/// A measure as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is never negative, and what is too large is the largest"
)]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

impl Hub {
    /// Takes an event for an alert, if it is one by itself. Costs the others a look at their kind.
    pub(crate) fn alert_event(&self, event: &Event<'_>, at: UnixMillis) {
        for ended in ended_by(event.kind) {
            let over = Said::Over { kind: ended.as_str(), subject: None };
            self.alerts.inbox.lock().put(ended.as_str(), "", over, at);
        }
        let Some(severity) = alerts_by_itself(event.kind) else { return };
        let kind = event.kind.as_str();
        let Ok(word) = kind.parse::<Word>() else { return };
        let detail = event.detail.to_string();
        let text = if detail.is_empty() {
            event.kind.describe().to_owned()
        } else {
            format!("{} {detail}", event.kind.describe())
        };
        let subject = event.identity.map_or_else(|| "hub".to_owned(), |name| format!("identity {name}"));
        let occurrence = Occurrence::new(word, severity, &subject, &text);
        let occurrence = self.grouped(occurrence, event.identity);
        self.alerts.inbox.lock().put(kind, &subject, Said::Raise(occurrence), at);
    }

    /// Takes what detectors found, or is over. Of a rehearsal one marked alert goes through every channel.
    pub(crate) fn alert_notice(&self, notice: &Notice) {
        match notice {
            Notice::Opened(finding) if finding.canary => {
                self.alerts.inbox.lock().put(portreeve_alert::CANARY_KIND, "", Said::Test, finding.opened);
            }
            Notice::Opened(finding) => self.alert_finding(finding),
            Notice::Closed(Closing { kind, subject, closed, .. }) => {
                let subject = subject.to_string();
                let over = Said::Over { kind: kind.as_str(), subject: Some(Subject::new(&subject)) };
                self.alerts.inbox.lock().put(kind.as_str(), &subject, over, *closed);
            }
        }
    }

    fn alert_finding(&self, finding: &Finding) {
        let kind = finding.kind.as_str();
        let Ok(word) = kind.parse::<Word>() else { return };
        let subject = finding.subject.to_string();
        let mut occurrence = Occurrence::new(word, finding.severity, &subject, &finding.text);
        for number in &finding.numbers {
            let Ok(name) = number.name.replace(' ', "_").parse::<Word>() else { continue };
            occurrence = occurrence.number(name, rounded(number.value));
        }
        let identity = match &finding.subject {
            portreeve_detect::Subject::Identity(name) => Some(name.as_ref()),
            _ => None,
        };
        let occurrence = self.grouped(occurrence, identity);
        self.alerts.inbox.lock().put(kind, &subject, Said::Raise(occurrence), finding.opened);
    }

    /// With the group of the identity, by which alerts can be routed.
    fn grouped(&self, occurrence: Occurrence, identity: Option<&str>) -> Occurrence {
        let row = identity.and_then(|name| self.registry.find(&name.parse().ok()?).ok());
        match row.filter(|row| !row.group.is_empty()) {
            Some(row) => occurrence.group(&row.group),
            None => occurrence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(inbox: &mut Inbox, kind: &'static str, subject: &str, at: u64) {
        let occurrence = Occurrence::new(kind.parse().unwrap(), Severity::High, subject, "");
        inbox.put(kind, subject, Said::Raise(occurrence), UnixMillis(at));
    }

    /// A flood of one kind hides no other.
    #[test]
    fn a_flood_of_one_kind_leaves_room_for_another() {
        let mut inbox = Inbox::default();
        for number in 0..10_000 {
            raise(&mut inbox, "security_gap", &format!("identity lamp-{number}"), number);
            raise(&mut inbox, "security_gap", "identity lamp-0", number);
        }
        raise(&mut inbox, "ledger_failed", "hub", 20_000);
        let all = inbox.drain();
        assert_eq!(all.len(), WAITING_PER_KIND_MAX - 1 + 3 + 1);
        assert!(matches!(all.last(), Some((_, at)) if at.0 == 20_000));
        assert!(inbox.drain().is_empty());
    }

    #[test]
    fn what_alerts_by_itself() {
        assert_eq!(alerts_by_itself(Kind::AlertFailed), None);
        for kind in [Kind::HandshakeRefused, Kind::CloneSuspected, Kind::SecurityGap] {
            assert_eq!(alerts_by_itself(kind), None, "a detector tells of it");
        }
        assert_eq!(alerts_by_itself(Kind::StoreFull), Some(Severity::High));
        assert_eq!(alerts_by_itself(Kind::AttestationOverdue), Some(Severity::Medium));
        for kind in Kind::ALL.iter().filter(|kind| alerts_by_itself(**kind).is_some()) {
            assert!(kind.as_str().parse::<Word>().is_ok(), "{}", kind.as_str());
        }
        let count = Kind::ALL.iter().filter(|kind| alerts_by_itself(**kind).is_some()).count();
        let all = count + portreeve_detect::Detector::ALL.len() + super::super::self_watch::KINDS.len();
        assert!(all <= portreeve_alert::KINDS_MAX, "{all}");
    }
}
