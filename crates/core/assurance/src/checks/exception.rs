//! `cfg.exception` (CSA-RSM-01, CSA-TSP-01, ISVS-4.2.1).

use portreeve_types::UnixMillis;

use super::{Rules, of_one, tls::Weighed};
use crate::{Exemption, Judgement, Scope, evidence::same_person, moment};

pub(super) const RULES: Rules =
    &[("cfg.exception", |inputs| of_one(inputs, |scope: &Scope| cfg_exception(&scope.exceptions, inputs.at)))];

/// `cfg.exception`: each exception has an owner, a reason, somebody else who approved it, and an end that is not over.
#[must_use]
pub fn cfg_exception(exceptions: &[Exemption], at: UnixMillis) -> Judgement {
    let mut weighed = Weighed::default();
    exceptions.iter().for_each(|exception| weigh(&mut weighed, exception, at));
    if exceptions.is_empty() {
        weighed.fine.push("nothing is excepted".into());
    }
    weighed.judge("each in force, with owner, reason and the approval of a second person")
}

fn weigh(weighed: &mut Weighed, exemption: &Exemption, at: UnixMillis) {
    let place = format!("{} at {}", exemption.check, exemption.target);
    let (owner, reason) = (exemption.owner.trim(), exemption.reason.trim());
    if owner.is_empty() {
        weighed.offences.push(format!("{place} has no owner"));
    }
    if reason.is_empty() {
        weighed.offences.push(format!("{place} has no reason"));
    }
    if exemption.expires <= at {
        weighed.offences.push(format!("{place} is over since {}", moment::day(exemption.expires)));
    }
    match exemption.approver.as_deref().map(str::trim).filter(|approver| !approver.is_empty()) {
        Some(approver) if same_person(approver, owner) => {
            weighed.offences.push(format!("{place} is approved by its owner alone"));
        }
        Some(approver) => weighed.fine.push(format!("{place}: {owner}, approved by {approver}")),
        None => weighed.offences.push(format!("{place} is approved by nobody but its owner")),
    }
}
