//! What a hub says of its listeners, against what was seen of them from outside. Where the two differ, one of them is wrong, and no
//! check that rests on either passes. Only the hub's own endpoints have its word among their evidence.

use super::{Inputs, said_in_one};
use crate::{
    Facts, Judgement, Url, Verdict,
    evidence::{
        Seen,
        hub::{ClientCertificates, HubListener, HubListeners},
        mqtt::MqttLimits,
        mutual::{Credential, MutualTls},
        ports::{PortScan, PortState, Transport},
        tls::TlsScan,
    },
};

/// Compares what is said of a listener with what was seen: pairs of both, where they differ.
type Compare<F> = fn(&HubListeners, &HubListener, &F) -> Vec<(String, String)>;

/// A judgement of one port, in which what the hub says of it has its weight.
pub(super) fn of_port<F: Facts>(inputs: &Inputs<'_>, judgement: Judgement, compare: Compare<F>) -> Judgement {
    let Some(port) = inputs.target.parse::<Url>().ok().map(|url| url.port) else { return judgement };
    weigh(inputs, judgement, |listener| listener.port == port, compare)
}

/// A judgement of a host, in which what the hub says of all its listeners has its weight.
pub(super) fn of_host<F: Facts>(inputs: &Inputs<'_>, judgement: Judgement, compare: Compare<F>) -> Judgement {
    weigh(inputs, judgement, |_| true, compare)
}

/// What was not seen contradicts nothing.
fn weigh<F: Facts>(
    inputs: &Inputs<'_>,
    judgement: Judgement,
    is_meant: impl Fn(&HubListener) -> bool,
    compare: Compare<F>,
) -> Judgement {
    let (claims, seen) =
        match inputs.declared::<HubListeners>().and_then(|claims| Ok((claims, inputs.declared::<F>()?))) {
            Ok((Some(claims), Some(seen))) => (claims, seen),
            Ok(_) => return judgement,
            Err(unreadable) => return unreadable,
        };
    let differences: Vec<String> = claims
        .listeners
        .iter()
        .filter(|listener| is_meant(listener))
        .flat_map(|listener| {
            let place = format!("{}, port {}", listener.name, listener.port);
            let differences = compare(&claims, listener, &seen).into_iter();
            differences.map(move |(claimed, seen)| format!("{place}: the hub says {claimed}, seen: {seen}"))
        })
        .collect();
    if differences.is_empty() {
        return judgement;
    }
    let observed = format!("{}; {}", said_in_one(&differences, "; "), judgement.observed);
    Judgement { verdict: Verdict::Fail, observed, ..judgement }
}

/// Of `port.scan`: what the hub listens on is open. What is open besides is for the list of services.
pub(super) fn open(_: &HubListeners, listener: &HubListener, scan: &PortScan) -> Vec<(String, String)> {
    let is_closed = here(listener, scan).is_some_and(|port| port.state == PortState::Closed);
    (is_closed && !listener.is_local()).then(|| ("it listens".into(), "closed".into())).into_iter().collect()
}

/// Of `plaintext.ports`: what is said to be TLS is.
pub(super) fn sealed(_: &HubListeners, listener: &HubListener, scan: &PortScan) -> Vec<(String, String)> {
    let service = here(listener, scan).and_then(|port| port.service);
    let clear = service.filter(|service| service.is_clear() && !listener.versions.is_empty());
    clear.map(|service| ("TLS".into(), format!("{service:?} in clear"))).into_iter().collect()
}

fn here<'a>(listener: &HubListener, scan: &'a PortScan) -> Option<&'a crate::evidence::ports::PortFacts> {
    scan.ports.iter().find(|port| (port.transport, port.port) == (Transport::Tcp, listener.port))
}

/// Of `tls.versions`: exactly those are accepted that are said to be.
pub(super) fn versions(_: &HubListeners, listener: &HubListener, scan: &TlsScan) -> Vec<(String, String)> {
    let word = |is_accepted| if is_accepted { "accepted" } else { "refused" };
    let mut differences = Vec::new();
    for seen in &scan.versions {
        let is_claimed = listener.versions.contains(&seen.version);
        if let Seen::Known(is_accepted) = seen.accepted
            && is_accepted != is_claimed
        {
            differences.push((format!("{} {}", seen.version, word(is_claimed)), word(is_accepted).to_owned()));
        }
    }
    differences
}

/// Of `tls.mutual`: clients without certificates are treated as is said.
pub(super) fn clients(_: &HubListeners, listener: &HubListener, seen: &MutualTls) -> Vec<(String, String)> {
    let without = seen.attempts.iter().find(|attempt| attempt.credential == Credential::Nothing);
    let accepted = without.and_then(|attempt| attempt.outcome.known()).map(|outcome| outcome.accepted);
    let difference = match (listener.client_certificates, accepted) {
        (ClientCertificates::Required, Some(true)) => Some(("clients need certificates", "served without")),
        (ClientCertificates::None, Some(false)) => Some(("clients need no certificate", "refused without")),
        _ => None,
    };
    difference.map(|(claimed, seen)| (claimed.to_owned(), seen.to_owned())).into_iter().collect()
}

/// Of `mqtt.limits`: CONNACK announces the limits that are said to hold.
pub(super) fn limits(claims: &HubListeners, _: &HubListener, seen: &MqttLimits) -> Vec<(String, String)> {
    let packet = seen.packet_bytes_max.known().map(|bytes| bytes.map(u64::from));
    let numbers = [
        ("largest packet", u64::from(claims.packet_bytes_max), packet),
        ("receive maximum", claims.receive_maximum.into(), announced(&seen.receive_maximum)),
        ("topic alias maximum", claims.topic_alias_maximum.into(), announced(&seen.topic_alias_maximum)),
    ];
    let text = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
    let differs = |(what, claimed, seen): (&str, u64, Option<Option<u64>>)| {
        let seen = seen.filter(|seen| *seen != Some(claimed))?;
        Some((format!("{what} {claimed}"), text(seen)))
    };
    numbers.into_iter().filter_map(differs).collect()
}

fn announced(number: &Seen<u16>) -> Option<Option<u64>> {
    number.known().map(|number| Some(u64::from(*number)))
}

#[cfg(test)]
mod tests;
