//! Avahi, MiniUPnPd and wsdd on a network segment of their own: IOTSF-2.4.7.6, IOTSF-2.4.7.18, IIITA-N7, CSA-SCN-11, GLOSSARY-P3.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use portreeve_assurance::{
    Verdict,
    checks::discovery::ssdp_upnp,
    evidence::{
        Seen,
        coap::{CoapAnswer, Way},
        discovery::{DeclaredDiscovery, DiscoveryProtocol, DiscoveryScan},
    },
};
use portreeve_probe::{
    Dialer, coap,
    discovery::{DiscoveryPorts, scan},
};

use crate::support::{free_port, limits, survives};

const NOTHING: DeclaredDiscovery = DeclaredDiscovery { protocols: Vec::new() };
/// The responders' address on the segment.
const RESPONDERS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Makes a segment and a network outside, and starts one responder of each sort; then goes on with the command.
const SEGMENT: &str = r#"
set -e
cd "$1"; shift
ip link set lo up
ip link add seg0 type veth peer name seg1; ip addr add 10.77.0.1/24 dev seg0; ip link set seg0 up; ip link set seg1 up
ip link add ext0 type veth peer name ext1; ip addr add 203.0.113.9/24 dev ext0; ip link set ext0 up; ip link set ext1 up
ip route add default via 203.0.113.1 dev ext0
printf '[server]\nenable-dbus=no\nallow-interfaces=seg0\nuse-ipv6=no\n[publish]\npublish-workstation=yes\n' > avahi.conf
mount -t tmpfs tmpfs /run
printf 'ext_ifname=ext0\next_ip=1.2.3.4\nlistening_ip=seg0\nenable_upnp=yes\nenable_natpmp=no\nsecure_mode=yes\nuuid=11111111-2222-3333-4444-555555555555\n' > igd.conf
/usr/sbin/avahi-daemon -f avahi.conf --no-drop-root --no-chroot --no-rlimits > avahi.log 2>&1 &
/usr/sbin/miniupnpd -d -f igd.conf -P "$PWD/igd.pid" > igd.log 2>&1 &
/usr/sbin/wsdd -i seg0 -4 > wsdd.log 2>&1 &
coap-server-notls -g 224.0.1.187 -G seg0 > coap.log 2>&1 &
trap 'kill %1 %2 %3 %4' EXIT
"$@"
"#;
const INSIDE: &str = "PORTREEVE_TEST_INSIDE_SEGMENT";

fn answers(facts: &DiscoveryScan, protocol: DiscoveryProtocol) -> Vec<String> {
    let found = facts.protocols.iter().find(|found| found.protocol == protocol).unwrap();
    match &found.answers {
        Seen::Known(answers) => answers.iter().map(|answer| format!("{} {}", answer.from, answer.what)).collect(),
        other => panic!("{protocol:?}: {other:?}"),
    }
}

/// Starts itself again inside the segment.
#[test]
fn real_responders_are_found_and_pass_only_if_they_were_declared() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", SEGMENT, "bash"])
        .arg(folder.path());
    command.arg(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "discovery::real_responders_are_found_and_pass_only_if_they_were_declared",
        "--nocapture",
    ]);
    let output = command.env(INSIDE, "yes").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn inside() {
    let look = async |multicast| {
        let dialer = Dialer::new(SocketAddr::from((RESPONDERS, 9)), limits());
        let facts = scan(&dialer, DiscoveryPorts::default(), multicast).await;
        survives(&facts);
        facts
    };
    // The responders take a moment to start.
    let until = Instant::now() + Duration::from_secs(40);
    let facts = loop {
        let facts = look(Some(RESPONDERS)).await;
        let is_whole = DiscoveryProtocol::ALL.into_iter().all(|protocol| {
            facts.protocols.iter().any(|found| {
                found.protocol == protocol && matches!(&found.answers, Seen::Known(some) if !some.is_empty())
            })
        });
        if is_whole {
            break facts;
        }
        assert!(Instant::now() < until, "{}", serde_json::to_string(&facts).unwrap());
    };
    assert!(facts.is_multicast);
    let has = |protocol, part: &str| answers(&facts, protocol).iter().any(|line| line.contains(part));
    assert!(has(DiscoveryProtocol::Ssdp, "10.77.0.1 urn:schemas-upnp-org:service:WANIPConnection:"));
    assert!(has(DiscoveryProtocol::Ssdp, "MiniUPnPd/"));
    assert!(has(DiscoveryProtocol::Igd, "shows its external address and its port mappings to anybody"));
    assert!(has(DiscoveryProtocol::Mdns, "_workstation._tcp.local"));
    assert!(has(DiscoveryProtocol::WsDiscovery, "Computer"));

    assert_eq!(ssdp_upnp(&facts, &NOTHING).verdict, Verdict::Fail);
    let all = DeclaredDiscovery { protocols: DiscoveryProtocol::ALL.to_vec() };
    assert_eq!(ssdp_upnp(&facts, &all).verdict, Verdict::Pass);
    let some = DeclaredDiscovery { protocols: vec![DiscoveryProtocol::Mdns] };
    let judgement = ssdp_upnp(&facts, &some);
    assert!(judgement.verdict == Verdict::Fail && !judgement.observed.contains("mDNS"), "{judgement:?}");

    // Asked alone, all answer but wsdd, which hears its group only.
    let alone = look(None).await;
    for protocol in [DiscoveryProtocol::Ssdp, DiscoveryProtocol::Igd, DiscoveryProtocol::Mdns] {
        assert!(!answers(&alone, protocol).is_empty(), "{alone:?}");
    }
    assert_eq!(answers(&alone, DiscoveryProtocol::WsDiscovery), [""; 0]);

    // libcoap answers to the group of all CoAP nodes.
    let dialer = Dialer::new(SocketAddr::from((RESPONDERS, 5683)), limits());
    let server = coap::Server { plain: Some(&dialer), secured: None, multicast: Some(RESPONDERS) };
    let facts = coap::discovery(&server, None).await;
    let by_group = facts.ways.iter().find(|found| found.way == Way::Multicast).unwrap();
    assert!(matches!(&by_group.answer, Seen::Known(CoapAnswer::Response { code, .. }) if code == "2.05"), "{facts:?}");
}

/// A responder on loopback that says one thing to whoever asks.
async fn saying(bytes: &'static [u8]) -> u16 {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut question = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut question).await {
            let _ = socket.send_to(bytes, from).await;
        }
    });
    port
}

async fn look(bytes: &'static [u8]) -> DiscoveryScan {
    let port = saying(bytes).await;
    let ports = DiscoveryPorts { ssdp: port, mdns: port, ws_discovery: port };
    let dialer = Dialer::new(SocketAddr::from(([127, 0, 0, 1], free_port())), limits());
    let facts = scan(&dialer, ports, None).await;
    survives(&facts);
    facts
}

#[tokio::test]
async fn whoever_answers_has_answered_and_silence_is_fine_if_somebody_is_there() {
    for nonsense in
        [&b"\xff\xff"[..], b"HTTP/1.1 200 OK\r\nST: \x1b[2J\r\nLOCATION: http://192.0.2.1/\r\n\r\n", &[b'<'; 1400]]
    {
        let facts = look(nonsense).await;
        assert_eq!(ssdp_upnp(&facts, &NOTHING).verdict, Verdict::Fail, "{facts:?}");
        // Nobody else is asked, whatever a location says.
        assert!(answers(&facts, DiscoveryProtocol::Igd).is_empty());
    }
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = port.local_addr().unwrap().port();
    let ports = DiscoveryPorts { ssdp: silent, mdns: silent, ws_discovery: silent };
    let dialer = Dialer::new(SocketAddr::from(([127, 0, 0, 1], free_port())), limits());
    let mut facts = scan(&dialer, ports, None).await;
    assert_eq!(ssdp_upnp(&facts, &NOTHING).verdict, Verdict::Pass, "{facts:?}");
    facts.is_alive = false;
    assert_eq!(ssdp_upnp(&facts, &NOTHING).verdict, Verdict::Inconclusive);
}
