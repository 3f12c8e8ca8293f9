//! Discovery without authentication: SSDP, UPnP gateways, mDNS, WS-Discovery (IOTSF-2.4.7.6, IOTSF-2.4.7.18, IIITA-N7, CSA-SCN-11,
//! GLOSSARY-P3). Nothing is changed: of a gateway, only what it shows is asked for.

pub mod answers;

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures_util::future::join4;
use portreeve_assurance::evidence::discovery::{
    ANSWERS_MAX, DiscoveryAnswer, DiscoveryProtocol, DiscoveryScan, ProtocolAnswers,
};
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE};

use self::answers::{MappingService, mapping_services, mdns, place, ssdp, ws_discovery};
use crate::{Dialer, Gap, Reach, Received, mqtt::seen, wire::Malformed};

/// How long answers are gathered: SSDP may wait for MX, which is one second here.
const GATHER_WAIT: Duration = Duration::from_millis(2500);
/// What is read of a device's description, or of its answer to an action, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Descriptions that are fetched of one target.
const DESCRIPTIONS_MAX: usize = 4;

/// Where discovery is asked. The default is where it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoveryPorts {
    /// SSDP.
    pub ssdp: u16,
    /// Multicast DNS.
    pub mdns: u16,
    /// WS-Discovery.
    pub ws_discovery: u16,
}

impl Default for DiscoveryPorts {
    fn default() -> Self {
        Self { ssdp: 1900, mdns: 5353, ws_discovery: 3702 }
    }
}

/// What one protocol brought: who said what; and where a device describes itself, by SSDP.
type Found = Result<Vec<DiscoveryAnswer>, Gap>;

/// Asks the dialer's target; or, by the interface with an address, everybody on its network too.
pub async fn scan(dialer: &Dialer, ports: DiscoveryPorts, multicast: Option<Ipv4Addr>) -> DiscoveryScan {
    let seeker = Seeker { dialer, ports, multicast };
    let ((ssdp, locations), mdns, ws_discovery, is_alive) =
        join4(seeker.ssdp(), seeker.mdns(), seeker.ws_discovery(), seeker.is_alive()).await;
    let igd = seeker.igd(&locations).await;
    let found = [
        (DiscoveryProtocol::Ssdp, ssdp),
        (DiscoveryProtocol::Igd, igd),
        (DiscoveryProtocol::Mdns, mdns),
        (DiscoveryProtocol::WsDiscovery, ws_discovery),
    ];
    let is_answered = found.iter().any(|(_, found)| found.as_ref().is_ok_and(|answers| !answers.is_empty()));
    let protocols = found.map(|(protocol, found)| ProtocolAnswers { protocol, answers: seen(found.map(bounded)) });
    DiscoveryScan {
        protocols: protocols.into(),
        is_multicast: multicast.is_some(),
        is_alive: is_alive || is_answered,
        effort: dialer.effort(),
    }
}

/// Each answer once, in order, and not too many.
fn bounded(answers: Vec<DiscoveryAnswer>) -> Vec<DiscoveryAnswer> {
    let distinct: BTreeSet<DiscoveryAnswer> = answers.into_iter().collect();
    distinct.into_iter().take(ANSWERS_MAX).collect()
}

struct Seeker<'a> {
    dialer: &'a Dialer,
    ports: DiscoveryPorts,
    multicast: Option<Ipv4Addr>,
}

impl Seeker<'_> {
    /// Whom to ask.
    fn reaches(&self, port: u16, group: Ipv4Addr) -> Vec<Reach> {
        let group = self.multicast.map(|interface| Reach::Group(interface.into(), SocketAddr::new(group.into(), port)));
        std::iter::once(Reach::Target(port)).chain(group).collect()
    }

    /// Asks, and reads every answer; what cannot be read is an answer all the same.
    async fn ask<T>(
        &self,
        reaches: Vec<Reach>,
        question: &[u8],
        read: impl Fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Vec<(IpAddr, Result<T, Malformed>)>, Gap> {
        let mut answers = Vec::new();
        for reach in reaches {
            let gathered = self.dialer.gather(reach, question, GATHER_WAIT, ANSWERS_MAX).await?;
            answers.extend(gathered.into_iter().map(|(from, bytes)| (from.ip(), read(&bytes))));
        }
        Ok(answers)
    }

    /// M-SEARCH for everything (UPnP Device Architecture 2.0 section 1.3.2).
    async fn ssdp(&self) -> (Found, BTreeSet<String>) {
        let group = Ipv4Addr::new(239, 255, 255, 250);
        let port = self.ports.ssdp;
        let search = format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: {group}:{port}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n"
        );
        let mut locations = BTreeSet::new();
        let answers = match self.ask(self.reaches(port, group), search.as_bytes(), ssdp).await {
            Ok(answers) => answers,
            Err(gap) => return (Err(gap), locations),
        };
        let mut lines = Vec::new();
        for (from, answer) in answers {
            let what = match answer {
                Ok(answer) => {
                    locations.extend(answer.location.filter(|_| locations.len() < ANSWERS_MAX));
                    answer.what
                }
                Err(error) => error.to_string(),
            };
            lines.push(DiscoveryAnswer { from: from.to_string(), what });
        }
        (Ok(lines), locations)
    }

    /// Which services there are (RFC 6763 section 9), with the wish for an answer to us alone (RFC 6762 section 5.4).
    async fn mdns(&self) -> Found {
        let reaches = self.reaches(self.ports.mdns, Ipv4Addr::new(224, 0, 0, 251));
        self.ask(reaches, &services_question()?, mdns).await.map(lines)
    }

    /// Probes for everything, and for devices: some answer to one of them only (OASIS WS-Discovery 1.1 section 5.2, in the namespaces
    /// of 2005, which devices and Windows speak).
    async fn ws_discovery(&self) -> Found {
        let mut answers = Vec::new();
        for types in ["", "<wsd:Types>wsdp:Device</wsd:Types>"] {
            let reaches = self.reaches(self.ports.ws_discovery, Ipv4Addr::new(239, 255, 255, 250));
            answers.extend(self.ask(reaches, probe(types).as_bytes(), ws_discovery).await?);
        }
        Ok(lines(answers))
    }

    /// Whether the target is there at all: a TCP port that is open or refused is enough.
    async fn is_alive(&self) -> bool {
        matches!(self.dialer.open().await, Ok(_) | Err(Gap::Unreachable(ErrorKind::ConnectionRefused)))
    }

    /// What the target, as a gateway, shows of its port mappings to anybody. Other hosts are not asked, whatever a location says.
    async fn igd(&self, locations: &BTreeSet<String>) -> Found {
        let target = self.dialer.address().ip();
        let mut lines = Vec::new();
        for (port, path) in locations.iter().filter_map(|url| place(url, target)).take(DESCRIPTIONS_MAX) {
            let description = self.http(port, &format!("GET {path} HTTP/1.0\r\nHost: {target}:{port}\r\n\r\n")).await?;
            let Ok(services) = mapping_services(body(&description)) else { continue };
            for service in services {
                lines.extend(self.mappings(port, &service).await?);
            }
        }
        Ok(lines)
    }

    /// Asks one service for two things that change nothing.
    async fn mappings(&self, port: u16, service: &MappingService) -> Result<Option<DiscoveryAnswer>, Gap> {
        let target = self.dialer.address().ip();
        let control = match place(&service.control, target) {
            Some((_, path)) => path,
            None => format!("/{}", service.control.trim_start_matches('/')),
        };
        let (mut shown, kind) = (Vec::new(), &service.kind);
        for (action, argument, what) in [
            ("GetExternalIPAddress", "", "its external address"),
            ("GetGenericPortMappingEntry", "<NewPortMappingIndex>0</NewPortMappingIndex>", "its port mappings"),
        ] {
            let soap = format!(
                r#"<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:{action} xmlns:u="{kind}">{argument}</u:{action}></s:Body></s:Envelope>"#
            );
            let request = format!(
                "POST {control} HTTP/1.0\r\nHost: {target}:{port}\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
                 SOAPAction: \"{kind}#{action}\"\r\nContent-Length: {}\r\n\r\n{soap}",
                soap.len()
            );
            let answer = self.http(port, &request).await?;
            // 713: there is no mapping with that index, which is an answer too (WANIPConnection:1 section 2.4.14).
            let is_shown = answer.starts_with(b"HTTP/1.") && contains(&answer, b"Response")
                || contains(&answer, b"<errorCode>713</errorCode>");
            if is_shown {
                shown.push(what);
            }
        }
        let name = kind.rsplit(':').nth(1).unwrap_or("a service").to_owned();
        Ok((!shown.is_empty()).then(|| DiscoveryAnswer {
            from: target.to_string(),
            what: format!("{name} shows {} to anybody", shown.join(" and ")),
        }))
    }

    /// One exchange of HTTP/1.0, whose answer ends with the connection.
    async fn http(&self, port: u16, request: &str) -> Result<Vec<u8>, Gap> {
        let mut connection = self.dialer.open_port(port).await?;
        connection.send(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while answer.len() < BODY_BYTES_MAX {
            match connection.receive().await {
                Ok(Received::Bytes(bytes)) => answer.extend(bytes),
                Ok(Received::End) => break,
                Err(Gap::Silent(_)) if !answer.is_empty() => break,
                Err(gap) => return Err(gap),
            }
        }
        Ok(answer)
    }
}

fn probe(types: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:wsd="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:wsdp="http://schemas.xmlsoap.org/ws/2006/02/devprof"><soap:Header><wsa:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</wsa:To><wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</wsa:Action><wsa:MessageID>urn:uuid:{}</wsa:MessageID></soap:Header><soap:Body><wsd:Probe>{types}</wsd:Probe></soap:Body></soap:Envelope>"#,
        uuid::Uuid::new_v4()
    )
}

fn services_question() -> Result<Vec<u8>, Gap> {
    let name = Name::new("_services._dns-sd._udp.local").map_err(|error| Gap::odd(&error))?;
    let mut packet = Packet::new_query(0);
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN), true));
    packet.build_bytes_vec().map_err(|error| Gap::odd(&error))
}

/// A line for each thing that was said; whoever answers says something, even if it cannot be read.
fn lines(answers: Vec<(IpAddr, Result<Vec<String>, Malformed>)>) -> Vec<DiscoveryAnswer> {
    let mut lines = Vec::new();
    for (from, said) in answers {
        let said = match said {
            Ok(said) if said.is_empty() => vec!["an empty answer".to_owned()],
            Ok(said) => said,
            Err(error) => vec![error.to_string()],
        };
        lines.extend(said.into_iter().map(|what| DiscoveryAnswer { from: from.to_string(), what }));
    }
    lines
}

/// What stands behind the head of an answer.
fn body(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
    head.and_then(|at| answer.get(at + 4..)).unwrap_or_default()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
