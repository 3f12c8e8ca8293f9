//! net-snmp's agent, weak and strong: IOTSF-2.4.7.4, IIITA-N7, CSA-SNT-10.

use std::{
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::Duration,
};

use portreeve_assurance::{
    Verdict,
    checks::snmp::snmp_version,
    evidence::{Seen, snmp::SnmpScan},
};
use portreeve_probe::{Dialer, snmp};

use crate::support::{Certificates, limits, short, survives};

struct Agent(Child, SocketAddr);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn agent(files: &Certificates, settings: &str) -> Agent {
    let (address, file) = (SocketAddr::from(([127, 0, 0, 1], free_port())), files.path("snmpd.conf"));
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new("/usr/sbin/snmpd");
    command.args(["-f", "-C", "-c", &file, "-p", &files.path("snmpd.pid"), &format!("udp:{address}")]);
    command.env("SNMP_PERSISTENT_DIR", files.path("state"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let agent = Agent(child.expect("snmpd"), address);
    // Its socket is there when nobody else can have the port.
    for _ in 0..400 {
        if UdpSocket::bind(address).is_err() {
            return agent;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("snmpd does not listen");
}

async fn scan(address: SocketAddr) -> SnmpScan {
    let facts = snmp::scan(&Dialer::new(address, limits())).await;
    survives(&facts);
    facts
}

#[tokio::test]
async fn an_agent_that_takes_a_common_community_fails_and_one_that_speaks_version_3_only_passes() {
    let files = Certificates::new();
    let weak = agent(&files, "rocommunity public\nrwcommunity private\nsysDescr a weak agent\n");
    let facts = scan(weak.1).await;
    let judgement = snmp_version(&facts);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(
        judgement.observed.contains("version 1 answers to 2 of 8 common communities: a weak agent"),
        "{judgement:?}"
    );
    assert!(judgement.observed.contains("version 2c answers to 2 of 8"), "{judgement:?}");
    let json = serde_json::to_string(&facts).unwrap();
    assert!(!json.contains("public") && !json.contains("private"), "{json}");

    let files = Certificates::new();
    let strong = "createUser audit SHA-256 \"a long passphrase\" AES \"another passphrase\"\nrouser audit priv\n";
    let strong = agent(&files, strong);
    let facts = scan(strong.1).await;
    assert_eq!(facts.v3, Seen::Known(true), "{facts:?}");
    assert_eq!(snmp_version(&facts).verdict, Verdict::Pass, "{facts:?}");
}

#[tokio::test]
async fn nobody_is_fine_and_silence_or_nonsense_is_open() {
    let closed = scan(([127, 0, 0, 1], free_port()).into()).await;
    assert_eq!((closed.v3.clone(), snmp_version(&closed).verdict), (Seen::Known(false), Verdict::Pass));

    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = scan(hole.local_addr().unwrap()).await;
    assert_eq!(snmp_version(&silent).verdict, Verdict::Inconclusive, "{silent:?}");

    for nonsense in [&b""[..], b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x09", &[0x30; 1400]] {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let echo = tokio::spawn(async move {
            let mut bytes = [0; 2048];
            while let Ok((_, from)) = socket.recv_from(&mut bytes).await {
                let _ = socket.send_to(nonsense, from).await;
            }
        });
        let facts = snmp::scan(&Dialer::new(address, short())).await;
        echo.abort();
        assert_eq!(snmp_version(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
    }
}
