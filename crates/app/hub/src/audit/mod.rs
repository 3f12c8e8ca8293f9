//! What the hub tells an auditor of itself: facts, of which `portreeve_assurance` makes verdicts. Nothing is judged here.
//!
//! *Invariants*
//! - An answer has a bound that does not depend on the size of the fleet: counts, and a few names.
//! - No secret and no payload is among the facts.
//! - What the hub does not know is said to be unknown.

mod access;
mod ledger;
mod pki;
mod quarantine;
mod registry;
mod roles;
mod service;
mod sessions;
#[cfg(test)]
mod tests;

use portreeve_assurance::{Facts, evidence::hub::HubSubject};
use portreeve_types::UnixMillis;
use serde_json::json;

use crate::{Actor, AdminError, Hub, Outcome};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

impl Hub {
    /// Facts, as `kind` and `data` of a piece of evidence.
    pub(crate) fn audit_facts(&self, actor: &Actor, about: HubSubject, now: UnixMillis) -> Result<Outcome, AdminError> {
        match about {
            HubSubject::Registry => Ok(evidence(&self.registry_facts(now))),
            HubSubject::Pki => Ok(evidence(&self.pki_facts(now)?)),
            HubSubject::Policy => Ok(evidence(&self.access_facts())),
            HubSubject::Sessions => Ok(evidence(&self.session_facts())),
            HubSubject::Ledger => Ok(evidence(&self.ledger_facts(actor, now)?)),
            HubSubject::Roles => Ok(evidence(&self.role_facts(now)?)),
            HubSubject::Queue => Ok(evidence(&self.queue_facts())),
            HubSubject::Metrics => Ok(evidence(&self.metrics_facts(now))),
            HubSubject::Canary => Ok(evidence(&self.canary_facts(now))),
            HubSubject::Listeners => Ok(evidence(&self.listener_facts())),
        }
    }

    /// Whether listeners are open; else this is a data directory that somebody looks at.
    fn is_running(&self) -> bool {
        !self.listeners.lock().is_empty()
    }
}

fn evidence<F: Facts>(facts: &F) -> Outcome {
    Outcome::ok(json!({ "kind": F::KIND, "data": facts }))
}

/// Whole days from one time to a later one, rounded down; less than 0, if it is the earlier.
fn days(from: UnixMillis, to: UnixMillis) -> i64 {
    let apart = i128::from(to.0) - i128::from(from.0);
    i64::try_from(apart.div_euclid(i128::from(DAY_MS))).unwrap_or(i64::MAX)
}
