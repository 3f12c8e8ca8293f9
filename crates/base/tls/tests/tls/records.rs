//! [`Records`] against itself and against rustls's own buffers: bytes in every portion, and bytes that are wrong.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use portreeve_tls::{Flow, PARTIAL_BYTES_MAX, Records, Side};
use rustls::{
    AlertDescription, ClientConnection, Error,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    version::{TLS12, TLS13},
};

use crate::support::World;

type Client = Records<UnbufferedClientConnection>;
type Server = Records<UnbufferedServerConnection>;

fn server(world: &World) -> Server {
    Records::new(UnbufferedServerConnection::new(world.server.config()).unwrap())
}

fn client(world: &World, version: &'static rustls::SupportedProtocolVersion) -> Client {
    let config = world.client(version, Some(world.device()));
    Records::new(UnbufferedClientConnection::new(config, "localhost".try_into().unwrap()).unwrap())
}

/// Gives `bytes` to `to` in portions; what it says in answer, and the plaintext.
fn give<S: Side>(
    to: &mut Records<S>,
    bytes: &[u8],
    portion: usize,
    plain: &mut Vec<u8>,
) -> (Vec<u8>, Result<Flow, Error>) {
    let (mut answer, mut flow) = (Vec::new(), Flow::Open);
    let mut buffer = vec![0; PARTIAL_BYTES_MAX + portion];
    for part in bytes.chunks(portion) {
        let kept = to.fill(&mut buffer);
        buffer[kept..kept + part.len()].copy_from_slice(part);
        let received = to.receive(&mut buffer[..kept + part.len()], &mut answer, &mut |record| plain.extend(record));
        match received {
            Ok(now) => flow = now,
            Err(error) => return (answer, Err(error)),
        }
    }
    (answer, Ok(flow))
}

/// Handshakes in portions of some size.
fn establish(client: &mut Client, server: &mut Server, portion: usize) {
    let mut to_server = Vec::new();
    client.start(&mut to_server).unwrap();
    while !to_server.is_empty() {
        let (to_client, result) = give(server, &to_server, portion, &mut Vec::new());
        result.unwrap();
        (to_server, _) = give(client, &to_client, portion, &mut Vec::new());
    }
    assert!(!client.common().is_handshaking() && !server.common().is_handshaking());
}

#[test]
fn every_portion_of_bytes_comes_to_the_same() {
    let payload: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for version in [&TLS12, &TLS13] {
        for portion in [1, 7, 1000, 100_000] {
            let world = World::new();
            let (mut client, mut server) = (client(&world, version), server(&world));
            establish(&mut client, &mut server, portion);
            assert!(server.common().peer_certificates().is_some());
            let (mut sealed, mut plain) = (Vec::new(), Vec::new());
            client.seal(&payload, &mut sealed).unwrap();
            let (answer, flow) = give(&mut server, &sealed, portion, &mut plain);
            assert_eq!((answer.len(), flow), (0, Ok(Flow::Open)));
            assert_eq!(plain, payload);
            // The other way, while half a record of ours waits.
            let mut first = Vec::new();
            client.seal(b"ping", &mut first).unwrap();
            give(&mut server, &first[..10], portion, &mut plain).1.unwrap();
            let (mut reply, mut heard) = (Vec::new(), Vec::new());
            server.seal(b"pong", &mut reply).unwrap();
            give(&mut client, &reply, portion, &mut heard).1.unwrap();
            assert_eq!(heard, b"pong");
            plain.clear();
            give(&mut server, &first[10..], portion, &mut plain).1.unwrap();
            assert_eq!(plain, b"ping");
        }
    }
}

/// RFC 8446 §6.1, RFC 5246 §7.2.1.
#[test]
fn close_notify_ends_the_peers_half_and_is_said_in_turn() {
    for version in [&TLS12, &TLS13] {
        let world = World::new();
        let (mut client, mut server) = (client(&world, version), server(&world));
        establish(&mut client, &mut server, 4096);
        let (mut bytes, mut plain) = (Vec::new(), Vec::new());
        client.seal(b"last", &mut bytes).unwrap();
        client.close(&mut bytes).unwrap();
        bytes.extend(b"what follows is nobody's");
        assert_eq!(give(&mut server, &bytes, 4096, &mut plain).1, Ok(Flow::Closed));
        assert_eq!(plain, b"last");
        let mut farewell = Vec::new();
        server.close(&mut farewell).unwrap();
        assert_eq!(give(&mut client, &farewell, 4096, &mut plain).1, Ok(Flow::Closed));
    }
}

/// Against the other implementation of the same protocol: rustls with its own buffers, and a key update in the middle.
#[test]
fn a_key_update_is_answered_before_what_is_sent_next() {
    let world = World::new();
    let mut server = server(&world);
    let config = world.client(&TLS13, Some(world.device()));
    let mut client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut plain = Vec::new();
    let mut exchange = |client: &mut ClientConnection, server: &mut Server, sealed: &[u8]| {
        let mut incoming = sealed;
        while !incoming.is_empty() {
            client.read_tls(&mut incoming).unwrap();
            client.process_new_packets().unwrap();
        }
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let (answer, result) = give(server, &bytes, 11, &mut plain);
        result.unwrap();
        answer
    };
    let mut answer = Vec::new();
    for _ in 0..4 {
        answer = exchange(&mut client, &mut server, &answer);
    }
    assert!(!server.common().is_handshaking());
    for round in 0..3 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"new key").unwrap();
        let mut reply = exchange(&mut client, &mut server, &answer);
        server.seal(b"heard", &mut reply).unwrap();
        answer = exchange(&mut client, &mut server, &reply);
        let mut heard = [0; 5];
        client.reader().read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"heard", "round {round}");
    }
    assert_eq!(plain, b"new key".repeat(3));
}

/// Who is refused gets the alert, and one alert only (ISVS-4.2.3).
#[test]
fn a_refused_peer_is_told() {
    for version in [&TLS12, &TLS13] {
        let world = World::new();
        world.gate.refuse("revoked");
        let (mut client, mut server) = (client(&world, version), server(&world));
        let (mut to_server, mut alert) = (Vec::new(), Vec::new());
        client.start(&mut to_server).unwrap();
        let refused = loop {
            let (to_client, result) = give(&mut server, &to_server, 999, &mut Vec::new());
            if let Err(error) = result {
                alert = to_client;
                break error;
            }
            (to_server, _) = give(&mut client, &to_client, 999, &mut Vec::new());
            assert!(!to_server.is_empty(), "{alert:?}");
        };
        assert!(matches!(refused, Error::InvalidCertificate(_)), "{refused}");
        let heard = give(&mut client, &alert, 999, &mut Vec::new()).1;
        assert_eq!(heard, Err(Error::AlertReceived(AlertDescription::CertificateUnknown)));
    }
}

/// Foreign bytes at every stage: an error or more waiting, never a panic, never a buffer without bound.
#[test]
fn damaged_and_random_bytes_are_refused_calmly() {
    let world = World::new();
    let mut seed: u64 = 1;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let mut hello = Vec::new();
    client(&world, &TLS13).start(&mut hello).unwrap();
    for round in 0..300 {
        let mut bytes = hello.clone();
        for _ in 0..1 + round % 4 {
            let at = random() % bytes.len();
            bytes[at] = random().to_le_bytes()[0];
        }
        bytes.extend((0..random() % 40_000).map(|n| n.to_le_bytes()[0]));
        let mut server = server(&world);
        let _ = give(&mut server, &bytes, 1 + random() % 5000, &mut Vec::new());
        assert!(server.common().is_handshaking());
        assert!(server.seal(b"too early", &mut Vec::new()).is_err());
    }
    // Within the session as well: one damaged byte is bad_record_mac.
    let (mut client, mut server) = (client(&world, &TLS13), server(&world));
    establish(&mut client, &mut server, 4096);
    let mut sealed = Vec::new();
    client.seal(b"payload", &mut sealed).unwrap();
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    let (alert, result) = give(&mut server, &sealed, 4096, &mut Vec::new());
    assert_eq!(result, Err(Error::DecryptError));
    assert_eq!(
        give(&mut client, &alert, 4096, &mut Vec::new()).1,
        Err(Error::AlertReceived(AlertDescription::BadRecordMac))
    );
}

/// A handshake message that never ends: each fragment is whole, the message is not.
#[test]
fn a_handshake_message_without_end_is_cut_off() {
    let world = World::new();
    let mut server = server(&world);
    // ClientHello of 65,000 bytes announced, in records of one byte: 6 bytes each to keep.
    let mut fragments = vec![22, 3, 1, 0, 4, 1, 0, 0xfd, 0xe8];
    for _ in 0..60_000 {
        fragments.extend([22, 3, 1, 0, 1, 0]);
    }
    let (_, result) = give(&mut server, &fragments, 4096, &mut Vec::new());
    assert!(result.is_err());
}

#[test]
fn a_certificate_that_was_verified_before_still_expires() {
    let world = World::new();
    let own = world.device();
    let config = world.client(&TLS13, Some(own));
    for (days, admitted) in [(0, true), (0, true), (2, false)] {
        world.clock.advance(days * crate::support::DAY_S);
        let connection = crate::support::handshake(Arc::clone(&config), world.server.config());
        assert_eq!(connection.is_ok(), admitted);
    }
    // Nor does it outlive its anchor.
    let world = World::new();
    let config = world.client(&TLS13, Some(world.device()));
    crate::support::handshake(Arc::clone(&config), world.server.config()).unwrap();
    world.server.replace_anchors(&crate::support::Ca::new("another").anchors()).unwrap();
    crate::support::handshake(config, world.server.config()).unwrap_err();
}

/// New keys cost more than a message and count as nothing: however they are mixed with data, there is an end to them
/// (CSA-COM-04).
#[test]
fn a_flood_of_key_updates_is_cut_off() {
    let world = World::new();
    let mut server = server(&world);
    let config = world.client(&TLS13, Some(world.device()));
    let mut client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut answer = Vec::new();
    let mut outcome = Ok(Flow::Open);
    let (mut plain, mut updates) = (Vec::new(), 0);
    while outcome.is_ok() && updates < 5000 {
        let mut incoming = &answer[..];
        while !incoming.is_empty() {
            client.read_tls(&mut incoming).unwrap();
            client.process_new_packets().unwrap();
        }
        if !client.is_handshaking() {
            client.refresh_traffic_keys().unwrap();
            client.writer().write_all(b"data").unwrap();
            updates += 1;
        }
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        (answer, outcome) = give(&mut server, &bytes, 4096, &mut plain);
    }
    assert!(outcome.is_err());
    assert!((1000..1024).contains(&updates), "{updates} of 1,024 records in all");
    assert!(plain.len() >= 4 * 1000, "data in between is no reason");
}

/// Data is not what is counted, however small its records are and however they arrive.
#[test]
fn records_with_data_are_without_number() {
    let world = World::new();
    for portion in [7, 4096] {
        let (mut client, mut server) = (client(&world, &TLS13), server(&world));
        establish(&mut client, &mut server, portion);
        let mut plain = Vec::new();
        for _ in 0..30 {
            let mut sealed = Vec::new();
            (0..100).for_each(|_| client.seal(b"x", &mut sealed).unwrap());
            give(&mut server, &sealed, portion, &mut plain).1.unwrap();
        }
        assert_eq!(plain.len(), 3000);
    }
}
