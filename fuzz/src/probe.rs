//! What targets of the auditor send: they may be as hostile as any client.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS};
use portreeve_assurance::evidence::{
    LINE_CHARS_MAX,
    attacks::Fault,
    coap::{CoapMethod, LINKS_MAX},
    ssh::SshAlgorithms,
};
use portreeve_probe::{
    Dialer, Limits,
    certificate::{NAMES_MAX, certificate_facts},
    coap::message::{Reply, Request, links},
    discovery::answers::{LINES_MAX, mapping_services, mdns, place, ssdp, ws_discovery},
    http::{Place, Site},
    login::{Screen, hidden_fields, is_snmp_answer, rtsp_answer},
    page::{cookie, digest, headers},
    ports::{recognise, recognise_datagram},
    rogue::{offer, said},
    snmp,
    ssh::{Greeting, find_banner, key_exchange},
    tls::{
        client::{ClientEvent, ClientReader, PROTOCOLS_MAX},
        datagrams::DatagramReader,
        flight::CHAIN_CERTIFICATES_MAX,
        premaster::RsaKey,
        records::{FlightReader, Progress},
        words::Words,
    },
};
use rustls_pki_types::UnixTime;

/// A server's first flight over TCP. In whatever portions it arrives, it means the same.
pub fn server_flight(bytes: &[u8]) {
    let (mut whole, mut portions) = (FlightReader::default(), FlightReader::default());
    let at_once = whole.push(bytes);
    let mut in_parts = Ok(Progress::More);
    for byte in bytes.chunks(7) {
        in_parts = portions.push(byte);
        if in_parts != Ok(Progress::More) {
            break;
        }
    }
    assert!(bytes.is_empty() || at_once == in_parts, "{at_once:?} at once, {in_parts:?} in parts");
    let flight = whole.into_flight();
    assert!(flight.certificates.len() <= CHAIN_CERTIFICATES_MAX);
    assert!(at_once != Ok(Progress::Complete) || flight.hello.is_some());
}

/// The same over UDP: each datagram behind its length of two bytes.
pub fn server_datagrams(mut bytes: &[u8]) {
    let mut reader = DatagramReader::new(0);
    while let Some((&[high, low], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        bytes = rest;
        match reader.push(datagram) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete) => {
                let is_cookie = reader.cookie().is_some();
                assert!(is_cookie || reader.into_flight().hello.is_some());
                return;
            }
            Ok(Progress::Refused(_)) | Err(_) => return,
        }
    }
}

/// What a server says behind its flight: it makes one line, and no record goes beyond what came.
pub fn server_words(bytes: &[u8]) {
    let words = Words { bytes: bytes.to_vec(), is_ended: bytes.len().is_multiple_of(2) };
    check_line(&words.describe());
    assert!(words.records().map(|(_, body)| body.len() + 5).sum::<usize>() <= bytes.len());
}

/// A server's certificate. What is kept of it prints, and is bounded; what is encrypted with its key is as long as the key.
pub fn server_certificate(bytes: &[u8]) {
    if let Ok(key) = RsaKey::of(bytes) {
        let lengths = Fault::ALL.map(|fault| key.encrypted(fault, 0x0303).len());
        assert!(lengths.iter().all(|length| (64..=2048).contains(length) && *length == lengths[0]));
    }
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
    let Ok(facts) = certificate_facts(bytes, now) else { return };
    assert!(facts.names.len() <= NAMES_MAX);
    let lines = [&facts.subject, &facts.issuer, &facts.serial, &facts.key.algorithm, &facts.signature.algorithm];
    lines.into_iter().chain(&facts.names).chain(&facts.extended_key_usages).for_each(|line| check_line(line));
}

/// Greetings: SSH's banner and lists, and what tells protocols apart.
pub fn service_greeting(bytes: &[u8]) {
    let _ = recognise(bytes);
    for port in [69, 161, 1900, 5683] {
        let _ = recognise_datagram(port, bytes);
    }
    let Ok(Some(Greeting { banner, rest })) = find_banner(bytes) else { return };
    assert!(banner.starts_with(b"SSH-"));
    let Ok(Some(found)) = key_exchange(rest) else { return };
    let SshAlgorithms { key_exchange, host_keys, encryption, macs, compression } = &found;
    [key_exchange, host_keys, encryption, macs, compression].into_iter().flatten().for_each(|line| check_line(line));
}

/// What a device sends to the rogue server: its records, which in whatever portions mean the same; and its first words.
pub fn client_records(bytes: &[u8]) {
    let (mut whole, mut portions) = (ClientReader::default(), ClientReader::default());
    let at_once = whole.push(bytes);
    let mut in_parts = Ok(None);
    for part in bytes.chunks(7) {
        in_parts = portions.push(part);
        if in_parts != Ok(None) {
            break;
        }
    }
    assert_eq!(at_once, in_parts);
    if let Ok(Some(ClientEvent::Hello(hello))) = at_once {
        let offer = offer(&hello);
        assert!(offer.protocols.len() <= PROTOCOLS_MAX);
        offer.protocols.iter().chain(&offer.server_name).chain([&offer.shape]).for_each(|line| check_line(line));
    }
    let _ = said::read(bytes);
}

/// What a CoAP server answers, and its list of resources.
pub fn coap_message(bytes: &[u8]) {
    let request = Request::new(CoapMethod::Observe, ".well-known/core", 0x5072, *b"tokn");
    if let Some(Ok(Reply::Response(response, _))) = request.map(|request| request.reply(bytes)) {
        assert!(response.code < 800 && response.payload.len() <= bytes.len());
    }
    let links = links(bytes);
    assert!(links.len() <= LINKS_MAX);
    links.iter().for_each(|line| check_line(line));
}

/// What answers to questions that go to anybody: SSDP, mDNS, WS-Discovery, a gateway's description of itself, SNMP.
pub fn discovery_answer(bytes: &[u8]) {
    if let Ok(answer) = ssdp(bytes) {
        check_line(&answer.what);
        if let Some((_, path)) = answer.location.and_then(|url| place(&url, [10, 77, 0, 1].into())) {
            assert!(path.starts_with('/') && !path.contains(char::is_whitespace));
        }
    }
    for lines in [mdns(bytes), ws_discovery(bytes)].into_iter().flatten() {
        assert!(lines.len() <= LINES_MAX);
        lines.iter().for_each(|line| check_line(line));
    }
    for service in mapping_services(bytes).into_iter().flatten() {
        check_line(&service.kind);
        check_line(&service.control);
    }
    let _ = snmp::is_v3(bytes);
    if let Ok(Some(description)) = snmp::description(bytes, 0x7072_6f62) {
        check_line(&description);
    }
}

/// What logins and consoles say: prompts, in whatever portions; heads of RTSP; datagrams of SNMP; cookies, redirects and headers.
pub fn login_answers(bytes: &[u8]) {
    let (mut whole, mut portions) = (Screen::default(), Screen::default());
    let reply = whole.push(bytes);
    let in_parts: Vec<u8> = bytes.chunks(3).flat_map(|part| portions.push(part)).collect();
    assert_eq!(reply, in_parts);
    assert!(reply.len() <= 3 * bytes.len());
    for is_greeting in [true, false] {
        assert_eq!(whole.telling(is_greeting), portions.telling(is_greeting));
    }
    assert!(rtsp_answer(bytes).ok().flatten().is_none_or(|answer| (100..600).contains(&answer.status)));
    let _ = (is_snmp_answer(bytes), digest(bytes, &["admin"]));
    if let Some(cookie) = cookie(bytes) {
        check_line(&cookie.name);
        cookie.same_site.iter().for_each(|line| check_line(line));
    }
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let names = [CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS];
        let head: HeaderMap = names.into_iter().map(|name| (name, value.clone())).collect();
        headers(&head).script_policy.iter().for_each(|line| check_line(line));
    }
    redirect(&String::from_utf8_lossy(bytes));
    if let Ok(fields) = hidden_fields(bytes, "secret") {
        assert!(fields.len() <= 100 && fields.iter().all(|(name, _)| !name.is_empty()));
        assert!(fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 3 * bytes.len());
    }
}

/// Whatever a redirect says, it stays within the origin, or is told without a query and not followed.
fn redirect(location: &str) {
    let dialer = Dialer::new(([127, 0, 0, 1], 80).into(), Limits::default());
    let site = Site { dialer: &dialer, tls: None, host: "localhost".into() };
    match site.place("/a/b", location) {
        Place::Here(path) => assert!(path.starts_with('/'), "{path:?}"),
        Place::Elsewhere(there) => {
            check_line(&there);
            assert!(!there.contains('?'), "{there:?}");
        }
    }
}

fn check_line(line: &str) {
    assert!(line.len() <= LINE_CHARS_MAX && line.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{line:?}");
}
