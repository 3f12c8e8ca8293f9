use portreeve_assurance::{
    Verdict,
    checks::{
        ports::{CLEAR_PORTS, plaintext_ports, port_scan},
        snmp::of_ports as snmp_version,
    },
    evidence::ports::{DeclaredServices, PortFacts, PortScan, PortState, Service, Transport},
};
use portreeve_probe::{Dialer, ports};
use tokio::net::UdpSocket;

use crate::support::{Certificates, P256, free_port, limits, s_server, saying};

fn declared(services: &[(Transport, u16)]) -> DeclaredServices {
    services.iter().copied().collect()
}

/// Answers every datagram with the same.
async fn saying_udp(answer: &'static [u8]) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut bytes).await {
            let _ = socket.send_to(answer, from).await;
        }
    });
    port
}

async fn scan(asked: &[(Transport, u16)]) -> PortScan {
    ports::scan(&Dialer::new("127.0.0.1:1".parse().unwrap(), limits()), asked).await
}

fn of(facts: &PortScan, port: u16) -> &PortFacts {
    facts.ports.iter().find(|found| found.port == port).unwrap()
}

/// CSA-COM-02: what listens is recognised by what it says, wherever it listens.
#[tokio::test]
async fn services_are_recognised_and_judged() {
    let certificates = Certificates::new();
    let server = s_server(&certificates.server("ec", P256), &["-tls1_2"]);
    let (broker, _config) = crate::mqtt::mosquitto(&certificates, "allow_anonymous false\n");
    let redirect = saying(b"HTTP/1.1 301 Moved\r\nLocation: https://localhost/\r\n\r\n".to_vec()).await.port();
    let site = saying(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec()).await.port();
    let shell = saying(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await.port();
    let odd = saying(b"\x00\x01\x02".to_vec()).await.port();
    let telnet = saying(b"\xff\xfd\x18\xff\xfd\x20login: ".to_vec()).await.port();
    let coap = saying_udp(b"\x61\x45\x50\x72\x07").await;
    let closed = free_port();
    let expected = [
        (Transport::Tcp, server.address.port(), Some(Service::Tls)),
        (Transport::Tcp, broker.address.port(), Some(Service::Mqtt)),
        (Transport::Tcp, redirect, Some(Service::HttpRedirect)),
        (Transport::Tcp, site, Some(Service::Http)),
        (Transport::Tcp, shell, Some(Service::Ssh)),
        (Transport::Tcp, odd, Some(Service::Unrecognized)),
        (Transport::Tcp, telnet, Some(Service::Telnet)),
        (Transport::Udp, coap, Some(Service::Coap)),
    ];
    let asked: Vec<_> =
        expected.iter().map(|(transport, port, _)| (*transport, *port)).chain([(Transport::Tcp, closed)]).collect();
    let facts = scan(&asked).await;
    for (_, port, service) in expected {
        assert_eq!(
            (of(&facts, port).state, of(&facts, port).service),
            (PortState::Open, service),
            "{:?}",
            of(&facts, port)
        );
    }
    assert_eq!(of(&facts, closed).state, PortState::Closed);

    let judgement = plaintext_ports(&facts);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(judgement.observed.matches("in clear").count(), 4, "{judgement:?}");
    assert_eq!(port_scan(&facts, &declared(&asked)).verdict, Verdict::Pass);
    let judgement = port_scan(&facts, &declared(&asked[1..]));
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.observed.contains("(Tls) is open and not declared"));
}

/// Silence and what was not looked at are never a pass.
#[tokio::test]
async fn what_was_not_seen_is_not_claimed() {
    let hole = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let facts = scan(&[(Transport::Udp, hole.local_addr().unwrap().port())]).await;
    assert_eq!(facts.ports[0].state, PortState::Silent);
    assert_eq!(plaintext_ports(&facts).verdict, Verdict::Inconclusive);
    assert_eq!(port_scan(&facts, &declared(&[])).verdict, Verdict::Inconclusive);
    assert_eq!(snmp_version(&facts).verdict, Verdict::Inconclusive);
    assert_eq!(
        port_scan(&PortScan { ports: Vec::new(), ..facts.clone() }, &declared(&[])).verdict,
        Verdict::Inconclusive
    );

    let closed = CLEAR_PORTS.map(|(transport, port)| PortFacts {
        transport,
        port,
        state: PortState::Closed,
        service: None,
        detail: String::new(),
    });
    let mut facts = PortScan { ports: closed.to_vec(), ..facts };
    assert_eq!((plaintext_ports(&facts).verdict, snmp_version(&facts).verdict), (Verdict::Pass, Verdict::Pass));
    let snmp = facts.ports.iter_mut().find(|found| found.port == 161).unwrap();
    (snmp.state, snmp.service) = (PortState::Open, Some(Service::SnmpCommunity));
    assert_eq!((plaintext_ports(&facts).verdict, snmp_version(&facts).verdict), (Verdict::Fail, Verdict::Fail));
}
