//! `snmp.version` (IOTSF-2.4.7.4, IIITA-N7, CSA-SNT-10).

use super::{Inputs, Rules, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{
        Seen,
        ports::{PortScan, PortState, Service, Transport},
        snmp::SnmpScan,
    },
};

pub(super) const RULES: Rules = &[("snmp.version", |inputs| rule(inputs).unwrap_or_else(|judgement| judgement))];

const EXPECTED: &str = "no answer to SNMP version 1 or 2c";

/// By the questions of its own, or else by what a scan of ports happened to see.
fn rule(inputs: &Inputs<'_>) -> Result<Judgement, Judgement> {
    match inputs.declared()? {
        Some(scan) => Ok(snmp_version(&scan)),
        None => inputs.one().map(|ports| of_ports(&ports)),
    }
}

/// `snmp.version`: no community is taken.
#[must_use]
pub fn snmp_version(facts: &SnmpScan) -> Judgement {
    let mut weighed = Weighed::default();
    for version in ["1", "2c"] {
        let found = facts.versions.iter().find(|found| found.version == version);
        match found.map_or(&Seen::NotTried, |found| &found.answered) {
            Seen::Known(0) => {
                weighed.fine.push(format!("version {version}: silent to {} communities", facts.communities))
            }
            Seen::Known(answered) => {
                let description = found.map_or("", |found| found.description.as_str());
                weighed.offences.push(format!(
                    "version {version} answers to {answered} of {} common communities: {description}",
                    facts.communities
                ));
            }
            unknown => weighed.gaps.push(format!("version {version}: {}", unknown.gap().unwrap_or_default())),
        }
    }
    match &facts.v3 {
        Seen::Known(true) => weighed.fine.push("an engine of version 3 answers".into()),
        Seen::Known(false) => weighed.fine.push("no engine of version 3 answers".into()),
        unknown => weighed.gaps.push(format!("version 3: {}", unknown.gap().unwrap_or_default())),
    }
    weighed.judge(EXPECTED)
}

/// The same by a scan of ports, which tries one community.
#[must_use]
pub fn of_ports(facts: &PortScan) -> Judgement {
    let mut weighed = Weighed::default();
    for found in facts.ports.iter().filter(|found| (found.transport, found.port) == (Transport::Udp, 161)) {
        match (found.state, found.service) {
            (_, Some(Service::SnmpCommunity)) => weighed.offences.push(format!("SNMP {}", found.detail)),
            (PortState::Closed, _) => weighed.fine.push("161/udp is closed".into()),
            (PortState::Open, Some(Service::Snmp3)) => weighed.fine.push("SNMPv3 answers".into()),
            _ => weighed.gaps.push(format!("161/udp: {}", found.detail)),
        }
    }
    let mut judgement = weighed.judge(EXPECTED);
    let is_open = facts.ports.iter().any(|found| found.service == Some(Service::Snmp3));
    if judgement.verdict == Verdict::Pass && is_open {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str("; one common community was tried");
    }
    judgement
}
