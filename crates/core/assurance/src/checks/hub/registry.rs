//! `hub.registry` (CSA-ACT-01, CSA-ACT-04, CSA-TSP-07, IIITA-N4, IIITA-N8).

use super::{exceed, limit, offend, partly};
use crate::{
    Judgement,
    checks::tls::Weighed,
    evidence::hub::{Field, HubExpectations, HubRegistry, IdentityKind},
};

/// `hub.registry`: complete, unique, in the naming pattern, and fresh.
#[must_use]
pub fn hub_registry(facts: &HubRegistry, demands: &HubExpectations) -> Judgement {
    let mut weighed = Weighed::default();
    for kind in IdentityKind::ALL {
        let fields =
            if kind == IdentityKind::Application { &demands.application_fields } else { &demands.device_fields };
        fields.iter().for_each(|field| weigh_field(&mut weighed, facts, kind, *field));
    }
    offend(&mut weighed, "share a name", &facts.same_name);
    offend(&mut weighed, "do not match the naming pattern", &facts.off_pattern);
    offend(&mut weighed, "are not in the group that their name is reserved to", &facts.off_namespace);
    offend(&mut weighed, "have outdated or unknown firmware", &facts.outdated);
    offend(&mut weighed, "are silent for longer than their heartbeat", &facts.silent);
    let unused = format!("are active and unused for more than {} days", demands.unused_days_max);
    exceed(&mut weighed, &unused, &facts.unused_days, |days| days > limit(demands.unused_days_max));
    if facts.identities == 0 {
        weighed.gaps.push("nobody is registered".into());
    }
    weighed.fine.push(format!("{} identities, complete, unique and fresh", facts.identities));
    let mut open = Vec::new();
    match &facts.name_pattern {
        Some(pattern) => weighed.fine.push(format!("names match {pattern}")),
        None => open.push("whether names are as they should be: there is no pattern".to_owned()),
    }
    partly(weighed.judge("complete, unique, in pattern, fresh"), &open)
}

fn weigh_field(weighed: &mut Weighed, facts: &HubRegistry, kind: IdentityKind, field: Field) {
    let word = format!("{kind:?}s").to_lowercase();
    match facts.lacking.iter().find(|lacking| (lacking.kind, lacking.field) == (kind, field)) {
        Some(lacking) => offend(weighed, &format!("{word} without {}", field.as_str()), &lacking.who),
        None => weighed.gaps.push(format!("{} of {word} was not looked at", field.as_str())),
    }
}
