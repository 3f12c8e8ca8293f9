//! `hub.sessions` (ISVS-4.2.3, CSA-TSP-03, CSA-COM-03, CSA-SCN-01, IIITA-J7, IIITA-J9).

use super::offend;
use crate::{
    Judgement,
    checks::tls::Weighed,
    evidence::hub::{HubSessions, Placed},
};

/// What a client shows that has a certificate.
const CERTIFICATE: &str = "client-certificate";

/// `hub.sessions`: nobody is in two places, and everybody came with a certificate.
#[must_use]
pub fn hub_sessions(facts: &HubSessions) -> Judgement {
    let mut weighed = Weighed::default();
    if !facts.is_running {
        weighed.gaps.push("the hub does not run".into());
    }
    for Placed { name, addresses } in &facts.places {
        weighed.offences.push(format!("{name} is connected from {}", addresses.join(" and ")));
    }
    if facts.places_more > 0 {
        weighed.offences.push(format!("{} more are connected from two places", facts.places_more));
    }
    offend(&mut weighed, "devices have more than one connection", &facts.many);
    for (method, count) in facts.methods.iter().filter(|(method, _)| *method != CERTIFICATE) {
        weighed.offences.push(format!("{count} came by {method}"));
    }
    let connected: u64 = facts.methods.values().sum();
    if connected == 0 && facts.is_running {
        weighed.gaps.push("nobody is connected".into());
    }
    let transports: Vec<String> = facts.transports.iter().map(|(word, count)| format!("{count} {word}")).collect();
    weighed.fine.push(format!(
        "{connected} connections ({}) from {} addresses, all by client certificate, each identity in one place",
        transports.join(", "),
        facts.addresses
    ));
    weighed.judge("no identity twice; who connects, connects with a certificate")
}
