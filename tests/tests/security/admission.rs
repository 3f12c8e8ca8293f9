//! Slow and hostile peers before they are anybody.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use portreeve_tests::{Client, V5, hub::PATIENCE, unique};

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
