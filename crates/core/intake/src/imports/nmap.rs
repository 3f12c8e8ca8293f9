//! nmap 7: `-oX`.

use portreeve_assurance::evidence::{
    import::PortsImport,
    ports::{PortFacts, PortState, Service, Transport},
};
use roxmltree::{Document, Node, ParsingOptions};

use crate::{
    IntakeError, LIST_MAX, Piece, THINGS_MAX,
    lines::{File, shown},
};

/// Most elements, attributes and texts of a file.
const NODES_MAX: u32 = 1_000_000;

pub(crate) fn output(file: &File<'_>) -> Result<Vec<Piece>, IntakeError> {
    // nmap writes a document type without entities; the reader bounds what entities become, and fetches none.
    let options = ParsingOptions { allow_dtd: true, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(file.text, options).map_err(|error| {
        let place = error.pos();
        IntakeError::at(file.name, place.row, place.col, &error.to_string())
    })?;
    let run = document.root_element();
    if !run.has_tag_name("nmaprun") {
        return Err(file.error(1, "this is not what nmap writes"));
    }
    let scanner = shown(&format!("nmap {}", run.attribute("version").unwrap_or_default()));
    let hosts = run.children().filter(|node| node.has_tag_name("host")).take(THINGS_MAX);
    let found: Vec<Piece> = hosts
        .filter_map(|host| import(&scanner, host))
        .map(|facts| Piece::of(&facts, &facts.address, &["plaintext.ports", "port.scan"]))
        .collect();
    if found.is_empty() { Err(file.error(1, "no host in it was looked at")) } else { Ok(found) }
}

fn import(scanner: &str, host: Node<'_, '_>) -> Option<PortsImport> {
    let address =
        host.children().find(|node| node.has_tag_name("address") && node.attribute("addrtype") != Some("mac"))?;
    let ports = host.children().find(|node| node.has_tag_name("ports"))?;
    let mut found: Vec<PortFacts> =
        ports.children().filter(|node| node.has_tag_name("port")).take(LIST_MAX).filter_map(port).collect();
    found.sort_by_key(|facts| (facts.transport, facts.port));
    Some(PortsImport { scanner: scanner.to_owned(), address: shown(address.attribute("addr")?), ports: found })
}

fn port(node: Node<'_, '_>) -> Option<PortFacts> {
    let transport = match node.attribute("protocol")? {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    let said = node.children().find(|child| child.has_tag_name("state"))?.attribute("state")?;
    let state = match said {
        "open" => PortState::Open,
        "closed" => PortState::Closed,
        "filtered" | "open|filtered" | "closed|filtered" => PortState::Silent,
        _ => PortState::Unknown,
    };
    let service = node.children().find(|child| child.has_tag_name("service"));
    // Without `-sV` it names what is usual on a port, which nobody has asked.
    let probed = service.filter(|service| service.attribute("method") == Some("probed") && state == PortState::Open);
    let name = probed.and_then(|service| service.attribute("name")).unwrap_or_default();
    let product = probed.and_then(|service| service.attribute("product")).unwrap_or_default();
    let is_tls = probed.is_some_and(|service| service.attribute("tunnel") == Some("ssl"));
    Some(PortFacts {
        transport,
        port: node.attribute("portid")?.parse().ok()?,
        state,
        service: probed.map(|_| if is_tls { Service::Tls } else { service_of(name, transport) }),
        detail: shown(format!("{said} {name} {product}").trim_end()),
    })
}

/// By nmap's names of services.
fn service_of(name: &str, transport: Transport) -> Service {
    match (name, transport) {
        ("mqtt", _) => Service::Mqtt,
        ("http" | "http-proxy" | "upnp", Transport::Tcp) => Service::Http,
        ("ssl" | "https", _) => Service::Tls,
        ("telnet", _) => Service::Telnet,
        ("ftp", _) => Service::Ftp,
        ("ssh", _) => Service::Ssh,
        ("amqp", _) => Service::Amqp,
        ("coap", _) => Service::Coap,
        ("tftp", _) => Service::Tftp,
        ("snmp", _) => Service::SnmpCommunity,
        ("upnp", Transport::Udp) => Service::Ssdp,
        _ => Service::Unrecognized,
    }
}
