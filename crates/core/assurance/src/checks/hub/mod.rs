//! `hub.registry`, `hub.pki`, `hub.policy`, `hub.sessions`, `hub.ledger`, `hub.rbac`, `hub.queue`, `hub.metrics`, `hub.canary`,
//! `hub.quarantine`: what a hub says of itself, against what its deployment demands of it.
//!
//! `hub.data`, `hub.ota`, `hub.twin` and `hub.backup` have no rule: hubs of this version have nothing of which to judge them.

pub mod canary;
pub mod ledger;
pub mod metrics;
pub mod pki;
pub mod policy;
pub mod quarantine;
pub mod queue;
pub mod registry;
pub mod roles;
pub mod sessions;

use super::{
    Rules, of_declared, of_one, partly,
    tls::{Weighed, said_in_one},
};
use crate::evidence::hub::{Measured, NAMED_MAX, Offenders};

pub(super) const RULES: Rules = &[
    ("hub.registry", |inputs| of_declared(inputs, registry::hub_registry)),
    ("hub.pki", |inputs| of_declared(inputs, pki::hub_pki)),
    ("hub.policy", |inputs| match inputs.declared() {
        Ok(ceiling) => of_one(inputs, |facts| policy::hub_policy(facts, ceiling.as_ref())),
        Err(judgement) => judgement,
    }),
    ("hub.sessions", |inputs| of_one(inputs, sessions::hub_sessions)),
    ("hub.ledger", |inputs| match inputs.declared() {
        Ok(proof) => of_declared(inputs, |facts, demands| ledger::hub_ledger(facts, demands, proof.as_ref())),
        Err(judgement) => judgement,
    }),
    ("hub.rbac", |inputs| of_declared(inputs, roles::hub_rbac)),
    ("hub.queue", |inputs| of_declared(inputs, queue::hub_queue)),
    ("hub.metrics", |inputs| of_declared(inputs, metrics::hub_metrics)),
    ("hub.canary", |inputs| of_declared(inputs, canary::hub_canary)),
    ("hub.quarantine", |inputs| match inputs.declared() {
        Ok(seen) => of_declared(inputs, |facts, demands| quarantine::hub_quarantine(facts, demands, seen.as_ref())),
        Err(judgement) => judgement,
    }),
];

/// An offence, if there is anybody of whom it is so.
fn offend(weighed: &mut Weighed, what: &str, who: &Offenders) {
    if who.total > 0 {
        weighed.offences.push(format!("{what} ({}): {}", who.total, said_in_one(&who.named, ", ")));
    }
}

/// An offence, if somebody's number is beyond what may be. The lists are in order, so all that are beyond stand first.
fn exceed(weighed: &mut Weighed, what: &str, measured: &[Measured], is_beyond: impl Fn(i64) -> bool) {
    let beyond: Vec<String> = measured
        .iter()
        .filter(|measured| is_beyond(measured.value))
        .map(|measured| format!("{} {}", measured.name, measured.value))
        .collect();
    let Some(count) = Some(beyond.len()).filter(|count| *count > 0) else { return };
    let at_least = if count >= NAMED_MAX { "at least " } else { "" };
    weighed.offences.push(format!("{what} ({at_least}{count}): {}", said_in_one(&beyond, ", ")));
}

/// A limit as numbers in evidence are.
fn limit(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
