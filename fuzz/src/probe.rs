//! What targets of the auditor send: they may be as hostile as any client.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS};
use portreeve_assurance::evidence::{LINE_CHARS_MAX, ssh::SshAlgorithms};
use portreeve_probe::{
    Dialer, Limits,
    certificate::{NAMES_MAX, certificate_facts},
    http::{Place, Site},
    login::{Screen, is_snmp_answer, rtsp_answer},
    page::{cookie, digest, headers},
    ports::{recognise, recognise_datagram},
    ssh::{Greeting, find_banner, key_exchange},
    tls::{
        datagrams::DatagramReader,
        flight::CHAIN_CERTIFICATES_MAX,
        records::{FlightReader, Progress},
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

/// A server's certificate. What is kept of it prints, and is bounded.
pub fn server_certificate(bytes: &[u8]) {
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
