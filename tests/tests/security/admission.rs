//! Slow and hostile peers before they are anybody.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use portreeve_mqtt::{Packet, Reason, Sender, decode};
use portreeve_tests::{Client, Hub, Login, V5, hub::PATIENCE, unique};

use crate::hub;

fn tcp() -> TcpStream {
    let socket = TcpStream::connect(hub().mqtt()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Reads to the end; how long that took.
fn closes(mut socket: TcpStream, started: Instant) -> Duration {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let ended = socket.read_to_end(&mut rest);
    if let Err(error) = ended {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    started.elapsed()
}

#[test]
fn silent_and_stalled_handshakes_are_closed_and_disturb_nobody() {
    let started = Instant::now();
    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(tcp());
        // A ClientHello that says how long it is and stops.
        let mut half = tcp();
        half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]).unwrap();
        sockets.push(half);
    }
    for _ in 0..5 {
        let asked = Instant::now();
        Client::connect(hub(), V5, &unique("honest")).alive();
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
    for socket in sockets {
        let lasted = closes(socket, started);
        assert!(lasted >= Duration::from_millis(1500) && lasted < Duration::from_secs(5), "{lasted:?}");
    }
}

#[test]
fn a_peer_that_trickles_its_handshake_is_closed_too() {
    let started = Instant::now();
    let mut socket = tcp();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for byte in [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc].into_iter().cycle() {
        if socket.write_all(&[byte]).is_err() || matches!(socket.read(&mut [0]), Ok(0)) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(6), "a byte now and then is no handshake");
    }
}

#[test]
fn what_is_no_tls_is_closed_at_once() {
    for hello in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test", &[0; 64]]
    {
        let started = Instant::now();
        let mut socket = tcp();
        socket.write_all(hello).unwrap();
        let lasted = closes(socket, started);
        assert!(lasted < Duration::from_millis(1500), "{lasted:?}");
    }
}

#[test]
fn a_peer_without_connect_is_closed() {
    let mut client = Client::new(hub().dial(hub().app()), V5);
    let started = Instant::now();
    client.closed_within(Duration::from_secs(5));
    assert!(started.elapsed() >= Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[test]
fn a_flood_of_refused_peers_disturbs_nobody() {
    let stranger = portreeve_tests::pki::foreign(hub(), None);
    let mut client = Client::connect(hub(), V5, &unique("honest"));
    let topic = unique("calm");
    client.subscribe(&topic, 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let refused = hub().try_dial(stranger.clone()).and_then(|mut stream| stream.read(&mut [0]));
                    assert!(refused.is_err(), "{refused:?}");
                }
            });
        }
        for number in 0..20 {
            let asked = Instant::now();
            client.publish(&topic, &number.to_string(), 1);
            assert_eq!(client.take().text(), number.to_string());
            assert!(asked.elapsed() < Duration::from_millis(800), "{:?}", asked.elapsed());
        }
    });
}

/// Connects until it is let in; how often it was told to come again, and did when it was told.
fn come_back(hub: &Hub, id: &str) -> usize {
    for refusals in 0.. {
        let mut client = Client::new(hub.dial(hub.app()), V5);
        client.send(&Login::new(V5, id).bytes());
        let connack = client.packet();
        let Ok(Packet::ConnAck(answer)) = decode(V5, Sender::Server, &connack) else { panic!("no CONNACK") };
        if answer.reason == Reason::SUCCESS {
            client.alive();
            return refusals;
        }
        assert_eq!((answer.reason, answer.session_present), (Reason::SERVER_BUSY, false));
        assert!(answer.reason_string.is_some());
        thread::sleep(Duration::from_millis(answer.retry_after_ms().expect("when to come again")));
        client.closed();
    }
    unreachable!("it goes on until it is let in")
}

/// IOTSF-2.4.7.25, CSA-COM-04: a crowd at the door of a hub that begins fifty sessions a second. Who comes when told is let
/// in, and who is in notices nothing.
#[test]
fn a_crowd_is_let_in_one_by_one_and_disturbs_nobody() {
    const CROWD: usize = 240;
    const THREADS: usize = 24;
    let hub = Hub::open(&["limits.connects_per_s=50"]);
    let mut established = Client::connect(&hub, V5, "established");
    established.subscribe("established", 1);
    let next = AtomicUsize::new(0);
    let refusals: Vec<usize> = thread::scope(|scope| {
        let come = || {
            let numbers = std::iter::repeat_with(|| next.fetch_add(1, Relaxed)).take_while(|number| *number < CROWD);
            numbers.map(|number| come_back(&hub, &format!("crowd-{number}"))).collect::<Vec<_>>()
        };
        let crowd: Vec<_> = (0..THREADS).map(|_| scope.spawn(come)).collect();
        let mut passed = 0;
        while crowd.iter().any(|thread| !thread.is_finished()) {
            established.publish("established", "on", 1);
            assert_eq!(established.take().text(), "on");
            passed += 1;
        }
        assert!(passed > 0);
        crowd.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(refusals.len(), CROWD);
    assert!(refusals.iter().all(|refusals| *refusals <= 1), "put off again although they came when told: {refusals:?}");
    assert!(refusals.contains(&1), "nobody was put off: {refusals:?}");
    assert_eq!(hub.metric("portreeve_connects_waiting_used"), Some(0.0));
    let deferred = hub.metric(r#"portreeve_events_total{kind="connect_deferred"}"#).unwrap();
    assert_eq!(deferred, refusals.iter().sum::<usize>() as f64);
}
