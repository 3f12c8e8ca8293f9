//! The MQTT codec, `portreeve-mqtt`.

use portreeve_mqtt::{
    Answer, Connect, MessageProperties, Packet, Reason, Sender, Version, Violation, decode, decode_connect,
    decode_publish, encode, frame,
    provisioning::{self, Bounds, Event, Session},
};

/// A packet cap that inputs can exceed.
const PACKET_BYTES_MAX: u32 = 512;

/// A 3.1.1 connection's bytes, read as a server does and as a client does.
pub fn mqtt_packet_v4(data: &[u8]) {
    stream(Version::V311, data);
}

/// A 5.0 connection's bytes, read as a server does and as a client does.
pub fn mqtt_packet_v5(data: &[u8]) {
    stream(Version::V5, data);
}

/// The first packet of a connection.
pub fn mqtt_connect(data: &[u8]) {
    match decode_connect(data) {
        Ok(connect) => {
            let wire = encoded(connect.version, &Packet::Connect(connect.clone()));
            assert_eq!(decode_connect(&wire).as_ref(), Ok(&connect), "{wire:02x?}");
            connect_invariants(&connect);
        }
        Err(violation) => {
            check_violation(&violation);
            let refused_by_code = violation.reason == Reason::UNSUPPORTED_PROTOCOL_VERSION;
            assert!(violation.answer != Answer::ReturnCode || refused_by_code, "{violation}");
        }
    }
}

/// What the documentation of the type promises.
fn connect_invariants(connect: &Connect<'_>) {
    assert_ne!(connect.receive_maximum, Some(0));
    assert_ne!(connect.maximum_packet_bytes, Some(0));
    assert!(connect.authentication_data.is_none() || connect.authentication_method.is_some());
    if let Some(will) = &connect.will {
        assert!(portreeve_types::TopicName::check(will.topic).is_ok(), "{:?}", will.topic);
    }
}

/// A stranger's provisioning session. However the bytes are cut up, they come to the same; what is said is what a server
/// may say, and what is asked for is within the bounds.
pub fn provisioning_session(data: &[u8]) {
    let whole = provision([data].into_iter());
    assert_eq!(provision(data.chunks(1)), whole);
    let version = connect_version(data);
    let mut rest = &whole.0[..];
    while let Ok(Some(bytes)) = frame(rest, u32::MAX) {
        // A refusal of another protocol level comes in the words of either version.
        let decoded = decode(version, Sender::Server, &rest[..bytes]);
        assert!(rest[0] == 0x20 || decoded.is_ok(), "{:02x?}: {decoded:?}", &rest[..bytes]);
        rest = &rest[bytes..];
    }
    assert!(rest.is_empty(), "half a packet: {rest:02x?}");
}

/// The version of the CONNECT that the bytes begin with.
fn connect_version(data: &[u8]) -> Version {
    let connect =
        frame(data, PROVISIONING.connect_bytes_max).ok().flatten().map(|bytes| decode_connect(&data[..bytes]));
    connect.and_then(Result::ok).map_or(Version::V311, |connect| connect.version)
}

/// Bounds that inputs can exceed.
const PROVISIONING: Bounds = Bounds {
    connect_bytes_max: PACKET_BYTES_MAX,
    connect_timeout_ms: 10,
    lifetime_ms: 100,
    packets_max: 8,
    bytes_max: 1024,
    requests_max: 2,
};

/// What a session writes, the requests it hands over, and how much it used.
fn provision<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<provisioning::Request>, provisioning::Used) {
    let mut session = Session::new(PROVISIONING, "fuzz".to_owned(), 0);
    let (mut out, mut requests, mut input) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            let used = session.receive(0, &input, &mut out);
            input.drain(..used);
            let events = std::iter::from_fn(|| session.poll_event());
            let asked = events.filter_map(|event| match event {
                Event::Requested(request) => Some(request),
                Event::Refused { why, .. } => {
                    assert!(!why.is_empty());
                    None
                }
            });
            let before = requests.len();
            requests.extend(asked);
            if requests.len() == before {
                break;
            }
            assert_eq!((requests.len() - before, session.deadline_ms()), (1, u64::MAX), "one at a time");
            let issued = provisioning::Answer::Issued { chain_pem: "PEM", name: "fuzz" };
            session.answer(0, if before == 0 { issued } else { provisioning::Answer::Refused }, &mut out);
        }
    }
    let used = session.used();
    assert!(used.packets <= PROVISIONING.packets_max && used.bytes <= PROVISIONING.bytes_max);
    assert!(requests.len() == used.requests as usize && used.requests <= PROVISIONING.requests_max);
    (out, requests, used)
}

fn stream(version: Version, data: &[u8]) {
    for from in [Sender::Client, Sender::Server] {
        let mut rest = data;
        while let Some(packet) = next_frame(rest) {
            one_packet(version, from, packet);
            rest = &rest[packet.len()..];
        }
    }
}

/// The first frame, which must be found at its last byte and not before.
fn next_frame(data: &[u8]) -> Option<&[u8]> {
    match frame(data, PACKET_BYTES_MAX) {
        Ok(Some(bytes)) => {
            assert!(bytes >= 2 && bytes <= data.len() && bytes <= PACKET_BYTES_MAX as usize, "{bytes}");
            assert_eq!(frame(&data[..bytes - 1], PACKET_BYTES_MAX), Ok(None));
            Some(&data[..bytes])
        }
        Ok(None) => None,
        Err(violation) => {
            check_violation(&violation);
            // Waiting for more bytes would not have helped.
            let longer = [data, &[0; 8]].concat();
            assert_eq!(frame(&longer, PACKET_BYTES_MAX), Err(violation));
            None
        }
    }
}

fn one_packet(version: Version, from: Sender, bytes: &[u8]) {
    let packet = match decode(version, from, bytes) {
        Ok(packet) => packet,
        Err(violation) => {
            check_violation(&violation);
            assert!(version == Version::V5 || violation.answer == Answer::Nothing, "{violation}");
            return;
        }
    };
    if let Packet::Publish(publish) = &packet {
        assert_eq!(decode_publish(version, from, bytes).as_ref(), Ok(publish));
        message_properties(&publish.properties);
    }
    let version = match &packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let wire = encoded(version, &packet);
    assert_eq!(frame(&wire, u32::MAX), Ok(Some(wire.len())), "{packet:?}");
    assert_eq!(decode(version, from, &wire).as_ref(), Ok(&packet), "{wire:02x?}");
}

/// What is stored of a message reads back as it was.
fn message_properties(properties: &MessageProperties<'_>) {
    let mut stored = Vec::new();
    properties.encode_forwarded(&mut stored);
    let kept = MessageProperties { expiry_s: None, ..properties.clone() };
    assert_eq!(MessageProperties::decode_forwarded(&stored), Ok(kept), "{stored:02x?}");
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(encode::any(&mut out, version, packet), Ok(()), "{packet:?}");
    out
}

fn check_violation(violation: &Violation) {
    assert!(violation.reason.is_error() && !violation.detail.is_empty(), "{violation:?}");
}
