//! What a hub says of itself: counts, and the first few by name, so that a large fleet makes no large answer.

mod access;
mod canary;
mod expectations;
mod ledger;
mod listeners;
mod metrics;
mod pki;
mod quarantine;
mod queue;
mod registry;
mod roles;
mod sessions;
mod subject;

use serde::{Deserialize, Serialize};

pub use access::{AccessPolicy, CeilingAnswer, CeilingFinding, Grant, PolicyCeiling};
pub use canary::{Delivery, HubCanary, Rehearsed, Told};
pub use expectations::{HubExpectations, Load, Objectives};
pub use ledger::{Cosigner, HubLedger, LedgerProof};
pub use listeners::{ClientCertificates, HubListener, HubListeners, Protocol};
pub use metrics::{HubMetrics, LimitFacts};
pub use pki::{HubCertificate, HubPki};
pub use quarantine::{QuarantineRehearsal, QuarantineSeen};
pub use queue::HubQueue;
pub use registry::{Field, HubRegistry, IdentityKind, Lacking};
pub use roles::{HubRoles, Operator};
pub use sessions::{HubSessions, Placed};
pub use subject::HubSubject;

use super::printable;

/// Of whom something is told, as many are named; the others are counted.
pub const NAMED_MAX: usize = 20;

/// Those of whom something is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offenders {
    /// How many.
    pub total: u64,
    /// The first [`NAMED_MAX`] of them.
    pub named: Vec<String>,
}

impl<S: AsRef<str>> FromIterator<S> for Offenders {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut offenders = Self::default();
        for name in names {
            offenders.total += 1;
            if offenders.named.len() < NAMED_MAX {
                offenders.named.push(printable(name.as_ref().as_bytes()));
            }
        }
        offenders
    }
}

/// Somebody, and a number of him.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Who.
    pub name: String,
    /// The number, in the unit that the field names in which it stands.
    pub value: i64,
}

/// The [`NAMED_MAX`] with the largest numbers, the largest first. Whatever limit is set, whoever exceeds it most is among them.
#[must_use]
pub fn largest<S: AsRef<str> + Ord>(all: impl IntoIterator<Item = (S, i64)>) -> Vec<Measured> {
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by(|(one, first), (other, second)| second.cmp(first).then_with(|| one.cmp(other)));
    all.truncate(NAMED_MAX);
    all.into_iter().map(|(name, value)| Measured { name: printable(name.as_ref().as_bytes()), value }).collect()
}

/// The same with the smallest numbers.
#[must_use]
pub fn smallest<S: AsRef<str> + Ord>(all: impl IntoIterator<Item = (S, i64)>) -> Vec<Measured> {
    let mut all = largest(all.into_iter().map(|(name, value)| (name, value.saturating_neg())));
    all.iter_mut().for_each(|measured| measured.value = measured.value.saturating_neg());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fleet of any size makes an answer of one size, and hides nobody who matters.
    #[test]
    fn answers_are_bounded_and_the_worst_are_told() {
        let names = || (0..100_000_i64).map(|number| (format!("lamp-{number:05}"), number));
        let offenders: Offenders = names().map(|(name, _)| name).collect();
        assert_eq!((offenders.total, offenders.named.len()), (100_000, NAMED_MAX));
        let (top, bottom) = (largest(names()), smallest(names()));
        assert_eq!((top.len(), top[0].value, bottom.len(), bottom[0].value), (NAMED_MAX, 99_999, NAMED_MAX, 0));
        assert_eq!(largest([("b", 1), ("a", 1)])[0].name, "a");
    }
}
