//! `hub.policy` (ISVS-4.2.2, CSA-COM-01, CSA-SCN-02, IIITA-I1, IIITA-J3).

use super::{offend, partly};
use crate::{
    Judgement,
    checks::tls::Weighed,
    evidence::{
        Seen,
        hub::{AccessPolicy, CeilingAnswer, Grant, PolicyCeiling},
    },
};

/// `hub.policy`: nothing is broader than it needs to be, nothing is there for nothing, and all of it stays within the ceiling, if one
/// was declared.
#[must_use]
pub fn hub_policy(facts: &AccessPolicy, ceiling: Option<&PolicyCeiling>) -> Judgement {
    let mut weighed = Weighed::default();
    let mut open = Vec::new();
    facts.wide.iter().for_each(|grant| weigh_grant(&mut weighed, &mut open, grant));
    if facts.wide_more > 0 {
        weighed.gaps.push(format!("{} more broad permissions were not looked at", facts.wide_more));
    }
    offend(&mut weighed, "policies are superfluous", &facts.shadowed);
    offend(&mut weighed, "policies are for nobody who is registered", &facts.idle);
    offend(&mut weighed, "warnings of the compiler", &facts.warnings);
    match &facts.never_used {
        Seen::Known(who) => offend(&mut weighed, "policies let nobody do anything", who),
        unknown => open.push(format!("which rights are used: {}", unknown.gap().unwrap_or_default())),
    }
    if let Some(ceiling) = ceiling {
        weigh_ceiling(&mut weighed, &mut open, facts, ceiling);
    }
    if facts.policies == 0 {
        weighed.gaps.push("no policy was seen".into());
    }
    weighed.fine.push(format!("{} policies, none broader than it has to be", facts.policies));
    partly(weighed.judge("no broad rule, and none that is not needed"), &open)
}

/// An application may need many topics, and is named for it; a device has topics of its own.
fn weigh_grant(weighed: &mut Weighed, open: &mut Vec<String>, grant: &Grant) {
    let topics = grant.topics.as_deref().unwrap_or("every topic");
    let Grant { id, to, .. } = grant;
    if grant.conditional && (grant.to_everyone || grant.devices > 0) {
        open.push(format!("how far its condition narrows {id}, which permits {topics} to {to}"));
    } else if grant.to_everyone {
        weighed.offences.push(format!("{id} permits {topics} to everyone"));
    } else if grant.devices > 0 {
        weighed.offences.push(format!("{id} permits {topics} to {to}, {} of them devices", grant.devices));
    } else if grant.topics.is_none() && grant.publishes && grant.identities > 1 && !grant.conditional {
        weighed.offences.push(format!("{id} lets {to} ({} identities) publish to every topic", grant.identities));
    } else {
        weighed.fine.push(format!("{id} permits {topics} to {to}"));
    }
}

/// What is not proven is open: nobody has shown that it is broader.
fn weigh_ceiling(weighed: &mut Weighed, open: &mut Vec<String>, facts: &AccessPolicy, ceiling: &PolicyCeiling) {
    if ceiling.policy_sha256 != facts.sha256 {
        return weighed.gaps.push("the ceiling was compared with another policy".into());
    }
    let prover = match &ceiling.prover {
        Seen::Known(prover) => prover,
        unknown => return open.push(format!("the ceiling: {}", unknown.gap().unwrap_or_default())),
    };
    if ceiling.findings.is_empty() {
        weighed.gaps.push("the ceiling was compared for no kind of request".into());
    }
    for finding in &ceiling.findings {
        let action = &finding.action;
        match &finding.answer {
            Seen::Known(CeilingAnswer::Within) => {
                weighed.fine.push(format!("{action}: within the ceiling, proven by {prover}"));
            }
            Seen::Known(CeilingAnswer::Beyond(example)) => {
                weighed.offences.push(format!("{action}: beyond the ceiling, such as {example}"));
            }
            unknown => open.push(format!("the ceiling for {action}: {}", unknown.gap().unwrap_or_default())),
        }
    }
}
