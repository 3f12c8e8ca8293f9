//! What the registry and the places know of whom a finding is about.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use portreeve_detect::{Finding as Detected, Subject as DetectedSubject};
use portreeve_respond::{Facts, Finding, Identity, Severity, Source, Subject};
use portreeve_store::IdentityRow;
use portreeve_types::{IdentityId, IdentityName, LifecycleState};

use crate::Hub;

/// A finding and whom a response to it would meet.
#[derive(Debug)]
pub(super) struct Found {
    id: String,
    kind: &'static str,
    severity: Severity,
    subject: Subject,
    text: String,
    identity: Option<Arc<IdentityRow>>,
    source: Option<IpAddr>,
    behind: Vec<Arc<IdentityRow>>,
}

impl Found {
    pub(super) fn finding(&self) -> Finding<'_> {
        let Self { id, kind, severity, subject, text, .. } = self;
        Finding { id, kind, severity: *severity, subject, text }
    }

    pub(super) fn with_facts<T>(&self, work: impl FnOnce(&Facts<'_>) -> T) -> T {
        let behind: Vec<_> = self.behind.iter().map(|row| identity_of(row)).collect();
        let identity = self.identity.as_deref().map(identity_of);
        work(&Facts { identity, source: self.source, behind: &behind })
    }

    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.identity.as_ref().map(|row| row.name.as_str())
    }
}

fn identity_of(row: &IdentityRow) -> Identity<'_> {
    let confined = row.state != LifecycleState::Active;
    Identity { id: row.id, name: &row.name, group: &row.group, kind: row.kind, confined }
}

fn subject_of(detected: &DetectedSubject) -> Subject {
    let text = |text: &Arc<str>| text.to_string();
    match detected {
        DetectedSubject::Hub => Subject::Hub,
        DetectedSubject::Identity(name) => {
            name.parse::<IdentityName>().map_or_else(|_| Subject::Caller(text(name)), Subject::Identity)
        }
        DetectedSubject::Source(address) => Subject::Source(*address),
        DetectedSubject::Caller(name) => Subject::Caller(text(name)),
        DetectedSubject::Zone(name) => Subject::Zone(text(name)),
        DetectedSubject::Radio(name) => Subject::Zone(format!("radio {name}")),
    }
}

impl Hub {
    pub(super) fn look_up(&self, detected: &Detected, running_ms: u64) -> Found {
        let subject = subject_of(&detected.subject);
        let identity = match &subject {
            Subject::Identity(name) => self.registry.find(name).ok(),
            _ => None,
        };
        let source = match &subject {
            Subject::Source(address) => Some(*address),
            _ => identity.as_ref().and_then(|row| self.response.seen.lock().last_source(row.id)),
        };
        let behind = source.map(|source| self.behind(source, running_ms)).unwrap_or_default();
        Found {
            id: detected.id.to_string(),
            kind: detected.kind.as_str(),
            severity: detected.severity,
            subject,
            text: detected.text.clone(),
            identity,
            source,
            behind,
        }
    }

    /// Everybody whom a block of this source would meet.
    fn behind(&self, address: IpAddr, running_ms: u64) -> Vec<Arc<IdentityRow>> {
        let bits = self.response.book.lock().responder.settings().block_ipv6_prefix_bits;
        let places = self.response.seen.lock().behind(address, bits, running_ms);
        let source = Source::of(address, bits.min(64));
        let is_there = |id: &IdentityId| places.iter().any(|(seen, lately)| seen == id && *lately);
        let ids: BTreeSet<IdentityId> = places.iter().map(|(id, _)| *id).collect();
        let meant = ids.iter().filter(|id| is_there(id) || self.is_connected_from(**id, source));
        meant.filter_map(|id| self.registry.row(*id)).collect()
    }

    fn is_connected_from(&self, identity: IdentityId, source: Source) -> bool {
        let sessions = self.sessions.lock().by_identity.get(&identity).cloned().unwrap_or_default();
        sessions.iter().any(|session| {
            let address = session.peer.load().address.to_canonical();
            (source.first_address()..=source.last_address()).contains(&address) && session.outgoing.lock().is_online()
        })
    }
}
