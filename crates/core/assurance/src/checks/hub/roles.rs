//! `hub.rbac` (CSA-SCN-07, CSA-SCN-08, CSA-SCN-09, CSA-CRD-03, CSA-GVN-04, CSA-CLS-09, IIITA-I2).

use super::{limit, partly};
use crate::{
    Judgement,
    checks::tls::{Weighed, said_in_one},
    evidence::{
        Seen,
        hub::{HubExpectations, HubRoles, Operator},
    },
};

/// `hub.rbac`: duties are apart, nobody's account is idle, and whoever may do much shows a second factor.
#[must_use]
pub fn hub_rbac(facts: &HubRoles, demands: &HubExpectations) -> Judgement {
    let mut weighed = Weighed::default();
    if demands.keys_apart && !facts.keys_apart {
        weighed.offences.push("administrators handle keys, too".into());
    }
    if demands.two_persons && !facts.two_persons {
        weighed.offences.push("one person alone may operate on CAs".into());
    }
    let has = |role: &str| facts.operators.iter().any(|operator| operator.role == role);
    if facts.operators_more > 0 {
        weighed.gaps.push(format!("{} operators were not looked at", facts.operators_more));
    } else {
        if !has("auditor") {
            weighed.offences.push("nobody is an auditor: who runs the hub audits it".into());
        }
        if facts.keys_apart && !has("key-manager") {
            weighed.offences.push("keys are apart, and nobody is their manager".into());
        }
    }
    let mut open = weigh_idle(&mut weighed, facts, demands);
    match &facts.second_factor {
        Seen::Known(true) => weighed.fine.push("operators show a second factor".into()),
        Seen::Known(false) => weighed.offences.push("operators show no second factor".into()),
        unknown => open.push(format!("second factor: {}", unknown.gap().unwrap_or_default())),
    }
    let named = |operator: &Operator| format!("{} {}", operator.role, operator.name);
    let named: Vec<String> = facts.operators.iter().map(named).collect();
    weighed.fine.push(format!("{} operators: {}", facts.operators.len(), said_in_one(&named, ", ")));
    partly(weighed.judge("no conflict of duties, no idle account, a second factor for all"), &open)
}

/// Whose account is idle. Returns of whom that is not known.
fn weigh_idle(weighed: &mut Weighed, facts: &HubRoles, demands: &HubExpectations) -> Vec<String> {
    let days_max = demands.operator_idle_days_max;
    let mut open = Vec::new();
    for operator in &facts.operators {
        match operator.idle_days {
            Some(days) if days <= days_max => {}
            Some(days) => weighed.offences.push(format!("{} did nothing for {days} days", operator.name)),
            // The part of the ledger that was read is older than what may be: nothing in it is idleness.
            None if limit(facts.looked_back_days) > limit(days_max) => {
                let days = facts.looked_back_days;
                weighed.offences.push(format!("{} did nothing for {days} days or longer", operator.name));
            }
            // An account is no older than the ledger as far as anybody knows.
            None if facts.whole_ledger => {}
            None => open.push(format!("when {} last did something", operator.name)),
        }
    }
    open
}
