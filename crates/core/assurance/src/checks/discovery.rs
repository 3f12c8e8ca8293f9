//! `ssdp.upnp` (IOTSF-2.4.7.6, IOTSF-2.4.7.18, IIITA-N7, CSA-SCN-11, GLOSSARY-P3).

use std::collections::BTreeSet;

use super::{
    Rules, of_declared,
    tls::{Weighed, said_in_one},
};
use crate::{
    Judgement, Verdict,
    evidence::{
        Seen,
        discovery::{DeclaredDiscovery, DiscoveryAnswer, DiscoveryProtocol, DiscoveryScan},
    },
};

pub(super) const RULES: Rules = &[("ssdp.upnp", |inputs| of_declared(inputs, ssdp_upnp))];

/// `ssdp.upnp`: nobody answers to discovery that was not declared.
#[must_use]
pub fn ssdp_upnp(facts: &DiscoveryScan, declared: &DeclaredDiscovery) -> Judgement {
    let (mut weighed, mut untried) = (Weighed::default(), Vec::new());
    for protocol in DiscoveryProtocol::ALL {
        let name = protocol.name();
        let found = facts.protocols.iter().find(|found| found.protocol == protocol);
        match found.map_or(&Seen::NotTried, |found| &found.answers) {
            Seen::Known(answers) if answers.is_empty() => weighed.fine.push(format!("{name}: no answer")),
            Seen::Known(answers) if declared.protocols.contains(&protocol) => {
                weighed.fine.push(format!("{name}: {} answers, declared", answers.len()));
            }
            Seen::Known(answers) => weighed.offences.push(format!("{name}: {}", said(answers))),
            Seen::Unknown(why) => weighed.gaps.push(format!("{name}: {why}")),
            Seen::NotTried => untried.push(name),
        }
    }
    if !facts.is_alive {
        weighed.gaps.push("the target shows no sign of life".into());
    }
    let mut judgement = weighed.judge("no answer to discovery that is not declared");
    if judgement.verdict == Verdict::Pass && !untried.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str(&format!("; not tried: {}", untried.join(", ")));
    }
    judgement
}

/// Who answers, and what each of them says first.
fn said(answers: &[DiscoveryAnswer]) -> String {
    let mut seen = BTreeSet::new();
    let first = answers.iter().filter(|answer| seen.insert(&answer.from));
    let lines: Vec<String> = first.map(|answer| format!("{} ({})", answer.from, answer.what)).collect();
    said_in_one(&lines, ", ")
}
