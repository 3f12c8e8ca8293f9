//! Which ports of a target are open, and what is spoken there.

use std::{io::ErrorKind, time::Duration};

use futures_util::future::join_all;
use portreeve_assurance::evidence::{
    ports::{PortFacts, PortScan, PortState, Service, Transport},
    printable,
    tls::Version,
};

use crate::{Dialer, Gap, Received, tls::hello::Hello};

/// How long a service may think about one question, at most.
const ANSWER_WAIT: Duration = Duration::from_millis(1500);
/// How long to wait for whoever speaks first.
const BANNER_WAIT: Duration = Duration::from_millis(400);
/// What is looked at of an answer, bytes.
const ANSWER_BYTES_MAX: usize = 4096;

/// Looks at ports of the dialer's target.
pub async fn scan(dialer: &Dialer, ports: &[(Transport, u16)]) -> PortScan {
    let each = ports.iter().map(|(transport, port)| async move {
        match transport {
            Transport::Tcp => tcp(dialer, *port).await,
            Transport::Udp => udp(dialer, *port).await,
        }
    });
    let mut ports = join_all(each).await;
    ports.sort_by_key(|facts| (facts.transport, facts.port));
    PortScan { ports, effort: dialer.effort() }
}

fn state(gap: &Gap) -> PortState {
    match gap {
        Gap::Unreachable(ErrorKind::ConnectionRefused) => PortState::Closed,
        Gap::Silent(_) | Gap::Unreachable(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            PortState::Silent
        }
        _ => PortState::Unknown,
    }
}

/// A question that one protocol understands.
#[derive(Clone, Copy)]
enum Question {
    Banner,
    Tls,
    Mqtt,
    Http,
    Amqp,
}

/// Those of its own port first.
fn questions(port: u16) -> Vec<Question> {
    use Question::{Amqp, Banner, Http, Mqtt, Tls};
    let mut all = vec![Banner, Tls, Http, Mqtt, Amqp];
    let own = match port {
        1883 => Some(3),
        80 | 8080 => Some(2),
        443 | 8443 | 8883 => Some(1),
        5672 => Some(4),
        _ => None,
    };
    if let Some(own) = own {
        let question = all.remove(own);
        all.insert(0, question);
    }
    all
}

impl Question {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Banner => Vec::new(),
            Self::Tls => {
                let (suites, groups) = ([0xc02b, 0xc02f, 0x009c, 0x002f], [0x001d, 0x0017]);
                let signatures = [0x0403, 0x0804, 0x0401];
                Hello {
                    version: Version::Tls12,
                    suites: &suites,
                    groups: &groups,
                    signatures: &signatures,
                    server_name: None,
                    compression: false,
                    random: [7; 32],
                }
                .to_record()
            }
            // MQTT 3.1.1 CONNECT, clean session, keep-alive 10 s, client id "probe".
            Self::Mqtt => b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05probe".to_vec(),
            Self::Http => b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
            Self::Amqp => b"AMQP\x00\x00\x09\x01".to_vec(),
        }
    }
}

async fn tcp(dialer: &Dialer, port: u16) -> PortFacts {
    let facts = |state, service, detail| PortFacts { transport: Transport::Tcp, port, state, service, detail };
    let (mut is_open, mut said) = (false, String::new());
    for question in questions(port) {
        let answer = match ask(dialer, port, question, &mut is_open).await {
            Ok(answer) => answer,
            Err(gap) if !is_open => return facts(state(&gap), None, gap.to_string()),
            Err(Gap::Silent(_)) => continue,
            Err(gap) => {
                said = gap.to_string();
                continue;
            }
        };
        if let Some(service) = recognise(&answer) {
            return facts(PortState::Open, Some(service), printable(first_line(&answer)));
        }
        if !answer.is_empty() {
            said = printable(first_line(&answer));
        }
    }
    facts(PortState::Open, Some(Service::Unrecognized), said)
}

/// What comes in answer to one question, up to some bytes or until the service pauses.
async fn ask(dialer: &Dialer, port: u16, question: Question, is_open: &mut bool) -> Result<Vec<u8>, Gap> {
    let mut connection = dialer.open_port(port).await?;
    *is_open = true;
    let bytes = question.bytes();
    connection.hurry(if bytes.is_empty() { BANNER_WAIT } else { ANSWER_WAIT });
    connection.send(&bytes).await?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX {
        match connection.receive().await {
            Ok(Received::Bytes(bytes)) => answer.extend(bytes),
            Ok(Received::End) => break,
            Err(Gap::Silent(_)) if !answer.is_empty() => break,
            Err(gap) => return Err(gap),
        }
        if !matches!(question, Question::Http) || answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    Ok(answer)
}

fn first_line(answer: &[u8]) -> &[u8] {
    answer.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

/// Which protocol an answer belongs to.
#[must_use]
pub fn recognise(answer: &[u8]) -> Option<Service> {
    match answer {
        [21 | 22, 3, 0..=4, ..] => Some(Service::Tls),
        // CONNACK of two to five bytes and properties.
        [0x20, 2..=0xff, 0 | 1, ..] => Some(Service::Mqtt),
        [0xff, 0xfb..=0xfe, ..] => Some(Service::Telnet),
        _ if answer.starts_with(b"SSH-") => Some(Service::Ssh),
        _ if answer.starts_with(b"AMQP") => Some(Service::Amqp),
        // A method frame on channel 0: connection.start.
        [1, 0, 0, _, _, _, _, 0, 10, 0, 10, ..] => Some(Service::Amqp),
        _ if answer.starts_with(b"HTTP/1.") => Some(http(answer)),
        _ if answer.starts_with(b"220") => Some(Service::Ftp),
        _ => None,
    }
}

/// Whether HTTP does nothing but send its visitors to HTTPS (RFC 9110 section 15.4).
fn http(answer: &[u8]) -> Service {
    let head = String::from_utf8_lossy(&answer[..answer.len().min(ANSWER_BYTES_MAX)]).to_ascii_lowercase();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let is_sent_on = lines
        .take_while(|line| !line.is_empty())
        .any(|line| line.strip_prefix("location:").is_some_and(|place| place.trim_start().starts_with("https://")));
    if matches!(status, "301" | "302" | "303" | "307" | "308") && is_sent_on {
        Service::HttpRedirect
    } else {
        Service::Http
    }
}

/// A CoAP ping would do, but every server answers a GET of its resources (RFC 6690, RFC 7252 section 3).
const COAP_GET: &[u8] = b"\x41\x01\x50\x72\x07\xbb.well-known\x04core";
const SSDP_SEARCH: &[u8] =
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n";
/// A file that nobody has: the answer is an error, and says that TFTP is spoken (RFC 1350).
const TFTP_READ: &[u8] = b"\x00\x01no-such-file\x00octet\x00";

/// GetRequest for sysDescr.0 with the community "public" (RFC 1157, RFC 1901).
fn snmp_get(version: u8) -> Vec<u8> {
    let mut request = b"\x30\x29\x02\x01\x00\x04\x06public\xa0\x1c\x02\x04\x70\x72\x6f\x62\x02\x01\x00\x02\x01\x00\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00\x05\x00".to_vec();
    request[4] = version;
    request
}

/// Discovery of an SNMPv3 engine (RFC 3414 section 4): an empty request that asks for a report.
pub(crate) const SNMP3_DISCOVER: &[u8] = b"\x30\x3b\x02\x01\x03\x30\x10\x02\x03\x00\x70\x72\x02\x03\x00\xff\xe3\x04\x01\x04\x02\x01\x03\x04\x10\x30\x0e\x04\x00\x02\x01\x00\x02\x01\x00\x04\x00\x04\x00\x04\x00\x30\x12\x04\x00\x04\x00\xa0\x0c\x02\x02\x70\x72\x02\x01\x00\x02\x01\x00\x30\x00";

async fn udp(dialer: &Dialer, port: u16) -> PortFacts {
    let questions: Vec<Vec<u8>> = match port {
        69 => vec![TFTP_READ.to_vec()],
        161 => vec![snmp_get(0), snmp_get(1), SNMP3_DISCOVER.to_vec()],
        1900 => vec![SSDP_SEARCH.to_vec()],
        5683 => vec![COAP_GET.to_vec()],
        _ => vec![Vec::new(), COAP_GET.to_vec()],
    };
    let facts = |state, service, detail| PortFacts { transport: Transport::Udp, port, state, service, detail };
    let mut last = facts(PortState::Unknown, None, "not asked".into());
    for question in questions {
        let answer = match port {
            69 => ask_tftp(dialer, &question).await,
            _ => match dialer.socket(port).await {
                Ok(socket) => dialer.ask_datagram(&socket, &question, ANSWER_WAIT).await,
                Err(gap) => Err(gap),
            },
        };
        match answer {
            Ok(answer) => {
                let service = recognise_datagram(port, &answer);
                return facts(PortState::Open, Some(service), detail(service, &answer));
            }
            Err(gap) => last = facts(state(&gap), None, gap.to_string()),
        }
        if last.state == PortState::Closed {
            break;
        }
    }
    last
}

/// TFTP answers from another port (RFC 1350 section 4), so the question goes out of a socket that hears the whole target.
async fn ask_tftp(dialer: &Dialer, question: &[u8]) -> Result<Vec<u8>, Gap> {
    match dialer.ask_from_anywhere(69, question, ANSWER_WAIT).await {
        Err(Gap::Silent(_)) => {
            let socket = dialer.socket(69).await?;
            dialer.ask_datagram(&socket, question, BANNER_WAIT).await
        }
        answer => answer,
    }
}

fn detail(service: Service, answer: &[u8]) -> String {
    match (service, answer) {
        (Service::SnmpCommunity, [_, _, _, _, version, ..]) => {
            format!("version {} answers to the community \"public\"", if *version == 0 { "1" } else { "2c" })
        }
        _ => printable(first_line(answer)),
    }
}

/// Which protocol a datagram belongs to that came in answer to the question of a port.
#[must_use]
pub fn recognise_datagram(port: u16, answer: &[u8]) -> Service {
    match (port, answer) {
        (69, [0, 3 | 5, ..]) => Service::Tftp,
        (161, [0x30, _, 2, 1, 0 | 1, ..]) | (161, [0x30, 0x81, _, 2, 1, 0 | 1, ..]) => Service::SnmpCommunity,
        (161, [0x30, _, 2, 1, 3, ..]) | (161, [0x30, 0x81, _, 2, 1, 3, ..]) => Service::Snmp3,
        (1900, _) if answer.starts_with(b"HTTP/1.1 200") => Service::Ssdp,
        // Version 1, a message id that is ours or a reset.
        (_, [0x40..=0x78, _, 0x50, 0x72, ..]) => Service::Coap,
        _ => Service::Unrecognized,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_hand_made_requests_are_right() {
        for request in [snmp_get(1), SNMP3_DISCOVER.to_vec()] {
            assert_eq!(usize::from(request[1]), request.len() - 2);
        }
        let connect = Question::Mqtt.bytes();
        assert_eq!(usize::from(connect[1]), connect.len() - 2);
    }

    #[test]
    fn protocols_are_told_apart() {
        let cases: [(&[u8], Option<Service>); 11] = [
            (b"\x15\x03\x03\x00\x02\x02\x28", Some(Service::Tls)),
            (b"\x20\x02\x00\x05", Some(Service::Mqtt)),
            (b"SSH-2.0-OpenSSH_9.2", Some(Service::Ssh)),
            (b"\xff\xfd\x18", Some(Service::Telnet)),
            (b"220 ftp ready", Some(Service::Ftp)),
            (b"HTTP/1.1 200 OK\r\n\r\n", Some(Service::Http)),
            (b"HTTP/1.1 301 Moved\r\nLocation: https://hub/\r\n\r\n", Some(Service::HttpRedirect)),
            (b"HTTP/1.1 301 Moved\r\nLocation: http://hub/\r\n\r\n", Some(Service::Http)),
            (b"HTTP/1.1 200 OK\r\nLocation: https://hub/\r\n\r\n", Some(Service::Http)),
            (b"AMQP\x00\x00\x09\x01", Some(Service::Amqp)),
            (b"hello", None),
        ];
        for (answer, service) in cases {
            assert_eq!(recognise(answer), service, "{}", printable(answer));
        }
        assert_eq!(recognise_datagram(161, &[0x30, 0x81, 0x90, 2, 1, 1, 4]), Service::SnmpCommunity);
        assert_eq!(recognise_datagram(5683, &[0x61, 0x45, 0x50, 0x72]), Service::Coap);
        assert_eq!(recognise_datagram(69, &[0, 5, 0, 1]), Service::Tftp);
    }
}
