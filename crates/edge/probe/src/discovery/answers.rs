//! What answers to discovery say, in one line each.

use portreeve_assurance::evidence::printable;
use roxmltree::{Document, Node, ParsingOptions};
use simple_dns::{Packet, rdata::RData};

use crate::wire::Malformed;

/// Header lines of an answer that are read.
const HEADERS_MAX: usize = 64;
/// Nodes of a document that are read.
const NODES_MAX: u32 = 4096;
/// Longest document that is read, bytes. Parsers go as deep as elements lie in each other, so it bounds that too.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Elements that lie in each other.
const DEPTH_MAX: usize = 64;
/// Lines that are kept of one answer.
pub const LINES_MAX: usize = 32;

/// An answer to M-SEARCH (UPnP Device Architecture 2.0 section 1.3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SsdpAnswer {
    /// What it is, and the product that says so.
    pub what: String,
    /// Where it describes itself.
    pub location: Option<String>,
}

/// Reads an answer to M-SEARCH.
///
/// # Errors
/// [`Malformed`], if it is none.
pub fn ssdp(datagram: &[u8]) -> Result<SsdpAnswer, Malformed> {
    const NO_SSDP: Malformed = Malformed("not SSDP");
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(datagram).map_err(|_| NO_SSDP)?;
    if response.code != Some(200) {
        return Err(NO_SSDP);
    }
    let field = |name: &str| {
        let mut fields = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.next().map(|field| printable(field.value))
    };
    let what = [field("st"), field("server")].into_iter().flatten().collect::<Vec<_>>().join(", ");
    Ok(SsdpAnswer { what: printable(what.as_bytes()), location: field("location") })
}

/// The services in an answer of mDNS (RFC 6763 section 9).
///
/// # Errors
/// [`Malformed`], if it is none.
pub fn mdns(datagram: &[u8]) -> Result<Vec<String>, Malformed> {
    let packet = Packet::parse(datagram).map_err(|_| Malformed("not DNS"))?;
    if !packet.has_flags(simple_dns::PacketFlag::RESPONSE) {
        return Err(Malformed("a question instead of an answer"));
    }
    let name = |record: &simple_dns::ResourceRecord<'_>| match &record.rdata {
        RData::PTR(pointer) => printable(pointer.0.to_string().as_bytes()),
        _ => printable(record.name.to_string().as_bytes()),
    };
    Ok(packet.answers.iter().take(LINES_MAX).map(name).collect())
}

/// A document, if it is no deeper and no larger than what devices write.
fn document(bytes: &[u8]) -> Result<Document<'_>, Malformed> {
    const NO_XML: Malformed = Malformed("not XML");
    if bytes.len() > DOCUMENT_BYTES_MAX || depth(bytes) > DEPTH_MAX {
        return Err(Malformed("a document that is too large or too deep"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NO_XML)?;
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|_| NO_XML)
}

/// At most so many elements lie in each other: the start tags that are open at one time, by a count that may be too high.
fn depth(bytes: &[u8]) -> usize {
    let (mut open, mut deepest) = (0usize, 0);
    for pair in bytes.windows(2) {
        match pair {
            b"</" => open = open.saturating_sub(1),
            b"/>" => open = open.saturating_sub(1),
            [b'<', b'!' | b'?'] => {}
            [b'<', _] => open += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

fn text<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    node.descendants().find(|child| child.tag_name().name() == name)?.text().map(str::trim)
}

/// The probe matches in an answer of WS-Discovery (OASIS WS-Discovery 1.1 section 5.3): types and addresses.
///
/// # Errors
/// [`Malformed`], if it is none.
pub fn ws_discovery(datagram: &[u8]) -> Result<Vec<String>, Malformed> {
    let document = document(datagram)?;
    let matches = document.descendants().filter(|node| node.tag_name().name() == "ProbeMatch");
    let line = |found: Node<'_, '_>| {
        let parts = ["Types", "XAddrs"].map(|name| text(found, name).unwrap_or_default());
        printable(parts.join(" ").trim().as_bytes())
    };
    Ok(matches.take(LINES_MAX).map(line).collect())
}

/// A service of a gateway that maps ports (WANIPConnection:1, WANPPPConnection:1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingService {
    /// Its type.
    pub kind: String,
    /// Path at which it takes actions.
    pub control: String,
}

/// The services that map ports in a description of a device (UPnP Device Architecture 2.0 section 2.3).
///
/// # Errors
/// [`Malformed`], if it is none.
pub fn mapping_services(description: &[u8]) -> Result<Vec<MappingService>, Malformed> {
    const KINDS: [&str; 2] =
        ["urn:schemas-upnp-org:service:WANIPConnection:", "urn:schemas-upnp-org:service:WANPPPConnection:"];
    let document = document(description)?;
    let services = document.descendants().filter(|node| node.tag_name().name() == "service");
    let found = services.filter_map(|service| {
        let (kind, control) = (text(service, "serviceType")?, text(service, "controlURL")?);
        // What goes into a request is a type of the known form, and a path without a blank or a control character.
        let is_plain = |text: &str| {
            text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>&".contains(&byte))
        };
        let is_mapping = KINDS.iter().any(|start| kind.starts_with(start));
        (is_mapping && is_plain(kind) && is_plain(control))
            .then(|| MappingService { kind: kind.to_owned(), control: control.to_owned() })
    });
    Ok(found.take(LINES_MAX).collect())
}

/// The port and path of a URL of one host; nothing, if it is another host's or no HTTP.
#[must_use]
pub fn place(url: &str, host: std::net::IpAddr) -> Option<(u16, String)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = match authority.parse::<std::net::SocketAddr>() {
        Ok(address) if address.ip() == host => address.port(),
        Ok(_) => return None,
        Err(_) => (authority.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok()? == host).then_some(80)?,
    };
    path.bytes().all(|byte| byte.is_ascii_graphic()).then(|| (port, format!("/{path}")))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn documents_that_are_deep_or_large_are_not_parsed() {
        for (bytes, is_fine) in [
            (b"<a>".repeat(20_000), false),
            ([b"<a>".repeat(60), b"</a>".repeat(60)].concat(), true),
            ([b"<a>".repeat(70), b"</a>".repeat(70)].concat(), false),
            (vec![b' '; DOCUMENT_BYTES_MAX + 1], false),
            (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".to_vec(), false),
            (b"<a>\xff</a>".to_vec(), false),
        ] {
            assert_eq!(ws_discovery(&bytes).is_ok(), is_fine);
        }
    }

    #[test]
    fn a_gateway_is_asked_at_its_own_address_and_in_plain_words_only() {
        let host = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
        for (url, expected) in [
            ("http://10.77.0.1:5000/root.xml", Some((5000, "/root.xml".to_owned()))),
            ("http://10.77.0.1", Some((80, "/".to_owned()))),
            ("http://10.77.0.2:5000/root.xml", None),
            ("http://10.77.0.1@10.77.0.2/", None),
            ("http://10.77.0.1:5000/a b", None),
            ("https://10.77.0.1/", None),
            ("http://gateway/", None),
        ] {
            assert_eq!(place(url, host), expected, "{url}");
        }
        let service = |kind: &str, control: &str| {
            format!("<r><service><serviceType>{kind}</serviceType><controlURL>{control}</controlURL></service></r>")
        };
        let kind = "urn:schemas-upnp-org:service:WANIPConnection:1";
        assert_eq!(mapping_services(service(kind, "/ctl").as_bytes()).map(|found| found.len()), Ok(1));
        for (kind, control) in [
            (kind, "/&#13;&#10;X: y"),
            ("urn:schemas-upnp-org:service:WANIPConnection:1&#10;", "/a&lt;b"),
            ("other", "/"),
        ] {
            assert_eq!(mapping_services(service(kind, control).as_bytes()).map(|found| found.len()), Ok(0));
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_read_or_refused() {
        let answer = b"HTTP/1.1 200 OK\r\nST: a\r\nSERVER: b\r\nLOCATION: http://10.77.0.1/\r\n\r\n";
        assert_eq!(ssdp(answer).map(|answer| answer.what), Ok("a, b".into()));
        let dns = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x04_tcp\x05local\0\0\x0c\0\x01\0\0\0\n\0\x02\xc0\x0c";
        assert_eq!(mdns(dns), Ok(vec!["_tcp.local".into()]));
        for length in 0..dns.len() {
            assert!(mdns(&dns[..length]).is_err(), "{length}");
        }
        for length in 0..answer.len() {
            let _ = ssdp(&answer[..length]);
        }
    }
}
