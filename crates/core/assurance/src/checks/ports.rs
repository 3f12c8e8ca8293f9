//! `plaintext.ports`, `port.scan`.

use super::{Inputs, Rules, claims, imported::with_import, of_one, tls::Weighed};
use crate::{
    Facts, Judgement,
    evidence::{
        import::PortsImport,
        ports::{DeclaredServices, PortFacts, PortScan, PortState, Service, Transport},
    },
};

pub(super) const RULES: Rules = &[
    ("plaintext.ports", |inputs| {
        let own = |inputs: &Inputs<'_>| of_one(inputs, plaintext_ports);
        let judged =
            with_import(inputs, own, PortScan::KIND, |import: &PortsImport| Ok(plaintext_ports(&import.as_scan())));
        claims::of_host(inputs, judged, claims::sealed)
    }),
    // Without a list, nothing is said of what is open.
    ("port.scan", |inputs| {
        let own = |inputs: &Inputs<'_>| match inputs.one().and_then(|facts| Ok((facts, inputs.one()?))) {
            Ok((facts, declared)) => port_scan(&facts, &declared),
            Err(judgement) => judgement,
        };
        let judged = with_import(inputs, own, PortScan::KIND, |import: &PortsImport| {
            Ok(port_scan(&import.as_scan(), &inputs.one()?))
        });
        claims::of_host(inputs, judged, claims::open)
    }),
];

/// Where protocols in clear live by convention; `plaintext.ports` needs word of each.
pub const CLEAR_PORTS: [(Transport, u16); 10] = [
    (Transport::Tcp, 21),
    (Transport::Tcp, 23),
    (Transport::Tcp, 80),
    (Transport::Tcp, 1883),
    (Transport::Tcp, 5672),
    (Transport::Tcp, 8080),
    (Transport::Udp, 69),
    (Transport::Udp, 161),
    (Transport::Udp, 1900),
    (Transport::Udp, 5683),
];

fn place(facts: &PortFacts) -> String {
    let transport = if facts.transport == Transport::Tcp { "tcp" } else { "udp" };
    format!("{}/{transport}", facts.port)
}

/// `plaintext.ports`: no protocol in clear is spoken on the ports where such protocols live, nor on any other that was looked at
/// (ISVS-4.1.1, CSA-COM-02).
#[must_use]
pub fn plaintext_ports(facts: &PortScan) -> Judgement {
    let mut weighed = Weighed::default();
    for (transport, port) in CLEAR_PORTS {
        if !facts.ports.iter().any(|found| (found.transport, found.port) == (transport, port)) {
            weighed.gaps.push(format!("{port} was not looked at"));
        }
    }
    for found in &facts.ports {
        let place = place(found);
        match (found.state, found.service) {
            (PortState::Open, Some(service)) if service.is_clear() => {
                weighed.offences.push(format!("{place}: {service:?} in clear"));
            }
            (PortState::Open, Some(Service::Unrecognized) | None) => {
                weighed.gaps.push(format!("{place} is open and speaks nothing known"));
            }
            (PortState::Unknown, _) => weighed.gaps.push(format!("{place}: {}", found.detail)),
            // A UDP service may be silent to this question and speak in clear to its own clients.
            (PortState::Silent, _) if found.transport == Transport::Udp => {
                weighed.gaps.push(format!("{place} is silent"))
            }
            _ => {}
        }
    }
    weighed.fine.push(format!("{} ports looked at, nothing in clear", facts.ports.len()));
    weighed.judge("closed, or encrypted, or a redirect to HTTPS")
}

/// `port.scan`: what is open was declared (IOTSF-2.4.7.6, IOTSF-2.4.7.18).
#[must_use]
pub fn port_scan(facts: &PortScan, declared: &DeclaredServices) -> Judgement {
    let mut weighed = Weighed::default();
    for found in &facts.ports {
        let is_declared = declared.has(found.transport, found.port);
        match found.state {
            PortState::Open if !is_declared => {
                let service = found.service.map_or(String::new(), |service| format!(" ({service:?})"));
                weighed.offences.push(format!("{}{service} is open and not declared", place(found)));
            }
            PortState::Open => weighed.fine.push(format!("{} is declared", place(found))),
            PortState::Unknown => weighed.gaps.push(format!("{}: {}", place(found), found.detail)),
            PortState::Silent if found.transport == Transport::Udp && !is_declared => {
                weighed.gaps.push(format!("{} is silent", place(found)));
            }
            PortState::Silent | PortState::Closed => {}
        }
    }
    if !facts.ports.is_empty() {
        weighed.fine.push(format!("{} ports looked at", facts.ports.len()));
    }
    weighed.judge("what is open was declared")
}
