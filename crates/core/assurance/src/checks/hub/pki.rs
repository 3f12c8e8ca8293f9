//! `hub.pki` (IIITA-N4, CSA-TSP-03, CSA-TSP-07, CSA-CRD-02, CSA-CRD-09, CSA-CRD-10, CSA-ACT-05).

use super::{exceed, limit, offend};
use crate::{
    Judgement,
    checks::tls::Weighed,
    evidence::{
        Seen,
        hub::{HubCertificate, HubExpectations, HubPki},
    },
};

/// Algorithms of keys that may sign certificates.
const CA_ALGORITHMS: [&str; 2] = ["ECDSA P-256", "ECDSA P-384"];

/// `hub.pki`: lifetimes and keys within policy, no key of two holders, nothing revoked in use, and CAs whose keys are kept well.
#[must_use]
pub fn hub_pki(facts: &HubPki, demands: &HubExpectations) -> Judgement {
    let mut weighed = Weighed::default();
    for own in &facts.own {
        weigh_own(&mut weighed, own, demands);
    }
    if facts.own.is_empty() {
        weighed.gaps.push("no CA was seen".into());
    }
    if facts.own_more > 0 {
        weighed.gaps.push(format!("{} certificates of the hub's own were not looked at", facts.own_more));
    }
    offend(&mut weighed, "share a key with another", &facts.shared_keys);
    offend(&mut weighed, "are active and their newest certificate is over", &facts.over);
    let days_max = demands.certificate_days_max;
    let long = format!("certificates live longer than {days_max} days");
    exceed(&mut weighed, &long, &facts.lifetime_days, |days| days > limit(days_max));
    let late = format!("have not renewed, with less than {} % of the time left", demands.left_percent_min);
    exceed(&mut weighed, &late, &facts.left_percent, |percent| percent < limit(demands.left_percent_min));
    match &facts.used_though_void {
        Seen::Known(who) => offend(&mut weighed, "are connected with a certificate that is void", who),
        unknown => weighed.gaps.push(format!("connections: {}", unknown.gap().unwrap_or_default())),
    }
    for kind in facts.key_kinds.iter().filter(|kind| !demands.key_kinds.contains(kind)) {
        weighed.offences.push(format!("keys of the kind {kind} are certified"));
    }
    if demands.issuance_consent {
        if !facts.codes_need_consent {
            weighed.offences.push("a one-time code brings a certificate without consent".into());
        }
        offend(&mut weighed, "groups get certificates without consent", &facts.groups_without_consent);
    }
    weighed.fine.push(format!("{} certificates, {} revoked, none shared", facts.certificates, facts.revoked));
    weighed.fine.push(match (facts.codes_need_consent, facts.groups_without_consent.total) {
        (true, 0) => "each first certificate needs consent".into(),
        (codes, groups) => format!("consent by code: {codes}; groups without: {groups} of {}", facts.groups),
    });
    weighed.judge("within policy, no shared key, nothing void in use")
}

/// A CA that was withdrawn is past; what it issued is counted among what is void.
fn weigh_own(weighed: &mut Weighed, own: &HubCertificate, demands: &HubExpectations) {
    if own.withdrawn {
        return;
    }
    if own.days_left < 0 {
        weighed.offences.push(format!("{} is over for {} days", own.name, -own.days_left));
    }
    if let Some(algorithm) = own.algorithm.as_deref().filter(|algorithm| !CA_ALGORITHMS.contains(algorithm)) {
        weighed.offences.push(format!("the key of {} is {algorithm}", own.name));
    }
    match &own.protection {
        // A root that lies elsewhere is as it should be.
        None => weighed.fine.push(format!("the key of {} is not here", own.name)),
        Some(protection) if demands.ca_protections.contains(protection) => {
            weighed.fine.push(format!("the key of {}: {protection}", own.name));
        }
        Some(protection) => weighed.offences.push(format!("the key of {}: {protection}", own.name)),
    }
}
