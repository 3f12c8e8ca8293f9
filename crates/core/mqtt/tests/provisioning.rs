//! A provisioning session and its client on a virtual clock, without sockets.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used)]

use portreeve_mqtt::{
    Connect, Packet, Publish, Reason, Sender, Subscribe, SubscriptionOptions, SubscriptionRequest, Version, Will,
    decode, encode, frame,
    provisioning::{
        Answer, Bounds, CERTIFICATE_TOPIC, EVERYTHING_FILTER, Event, NAME_PROPERTY, NAME_TOPIC, PACKET_BYTES_MAX,
        REFUSED_TOPIC, REQUEST_TOPIC, Refused, Session,
    },
};
use portreeve_types::Qos;
use zeroize::Zeroizing;

const V4: Version = Version::V311;
const V5: Version = Version::V5;
const BOUNDS: Bounds = Bounds {
    connect_bytes_max: 1024,
    connect_timeout_ms: 10_000,
    lifetime_ms: 600_000,
    packets_max: 100,
    bytes_max: 100_000,
    requests_max: 3,
};
const ISSUED: Answer<'_> = Answer::Issued { chain_pem: "PEM", name: "lamp-1" };

/// Both ends, and the time.
struct Pair {
    session: Session,
    version: Version,
    now_ms: u64,
    /// What the session has written and nobody has read.
    wire: Vec<u8>,
    /// What it could not look at yet.
    rest: Vec<u8>,
}

impl Pair {
    fn new(version: Version) -> Self {
        let session = Session::new(BOUNDS, "assigned-1".into(), 1000);
        Self { session, version, now_ms: 1000, wire: Vec::new(), rest: Vec::new() }
    }

    /// Connected, with a code.
    fn open(version: Version) -> Self {
        let mut pair = Self::new(version);
        let login = Connect { username: Some("lamp-1"), password: Some(b"CODE"), ..Connect::new(version, "x") };
        pair.say(&Packet::Connect(login));
        assert!(matches!(&pair.hear()[..], [Heard::ConnAck(Reason::SUCCESS)]));
        pair
    }

    /// The same, and all ears.
    fn listening(version: Version) -> Self {
        let mut pair = Self::open(version);
        assert_eq!(pair.subscribe(&[EVERYTHING_FILTER]), [Reason::SUCCESS]);
        pair
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::any(&mut bytes, self.version, packet).unwrap();
        self.send(&bytes);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        self.go_on();
    }

    fn go_on(&mut self) {
        let used = self.session.receive(self.now_ms, &self.rest, &mut self.wire);
        self.rest.drain(..used);
    }

    fn answer(&mut self, answer: Answer<'_>) {
        self.session.answer(self.now_ms, answer, &mut self.wire);
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.session.tick(self.now_ms, &mut self.wire);
    }

    /// All that the session said since the last time; each a packet that a server may send.
    fn hear(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        let wire = std::mem::take(&mut self.wire);
        let mut rest = &wire[..];
        while let Some(length) = frame(rest, u32::MAX).unwrap() {
            heard.push(Heard::from(decode(self.version, Sender::Server, &rest[..length]).unwrap()));
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "half a packet");
        heard
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// What the log is told, without the words.
    fn refusals(&mut self) -> Vec<Refused> {
        let what = |event| match event {
            Event::Refused { what, .. } => what,
            Event::Requested(request) => panic!("{request:?}"),
        };
        self.events().into_iter().map(what).collect()
    }

    fn subscribe(&mut self, filters: &[&str]) -> Vec<Reason> {
        let request = |filter| SubscriptionRequest { filter, options: SubscriptionOptions::default() };
        let requests = filters.iter().copied().map(request).collect();
        self.say(&Packet::Subscribe(Subscribe { packet_id: 5, subscription_id: None, requests }));
        match self.hear().pop() {
            Some(Heard::SubAck(reasons)) => reasons,
            other => panic!("{other:?}"),
        }
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        self.say(&Packet::Publish(publish.clone()));
    }

    fn ask(&mut self, csr: &[u8]) {
        self.publish(&request(Qos::AtLeastOnce, csr));
    }

    /// Asserts that the session was ended for this reason, and that the client was told where its version can.
    fn ended(&mut self, reason: Reason, what: Refused) {
        assert!(self.session.is_over());
        let told = if self.version == V5 { vec![Heard::Disconnect(reason)] } else { Vec::new() };
        assert_eq!(self.hear(), told);
        assert_eq!(self.refusals(), [what]);
        // Nothing more is looked at, or said.
        self.send(&[0xc0, 0]);
        self.wait(u64::MAX / 2);
        self.answer(ISSUED);
        assert_eq!((self.hear(), self.events(), self.rest.len()), (Vec::new(), Vec::new(), 2));
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    ConnAck(Reason),
    PubAck(u16, Reason),
    SubAck(Vec<Reason>),
    UnsubAck(Vec<Reason>),
    Pong,
    Disconnect(Reason),
    /// Topic, payload, user property, correlation data; QoS 0, not retained.
    Message(String, String, Option<String>, Option<Vec<u8>>),
}

impl From<Packet<'_>> for Heard {
    fn from(packet: Packet<'_>) -> Self {
        match packet {
            Packet::ConnAck(connack) => {
                assert!(!connack.session_present);
                Self::ConnAck(connack.reason)
            }
            Packet::PubAck(ack) => Self::PubAck(ack.packet_id, ack.reason),
            Packet::SubAck(suback) => Self::SubAck(suback.reasons),
            Packet::UnsubAck(unsuback) => Self::UnsubAck(unsuback.reasons),
            Packet::PingResp => Self::Pong,
            Packet::Disconnect(disconnect) => Self::Disconnect(disconnect.reason),
            Packet::Publish(publish) => {
                assert_eq!((publish.qos, publish.retain, publish.dup), (Qos::AtMostOnce, false, false));
                let properties = publish.properties;
                let named = properties.user_properties.iter().find(|(name, _)| *name == NAME_PROPERTY);
                let payload = std::str::from_utf8(publish.payload).unwrap();
                let correlation = properties.correlation_data.map(<[u8]>::to_vec);
                Self::Message(publish.topic.into(), payload.into(), named.map(|(_, name)| name.into()), correlation)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn message(topic: &str, payload: &str) -> Heard {
    Heard::Message(topic.into(), payload.into(), None, None)
}

fn request(qos: Qos, csr: &[u8]) -> Publish<'_> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: REQUEST_TOPIC,
        packet_id: if qos == Qos::AtMostOnce { 0 } else { 7 },
        topic_alias: None,
        properties: Default::default(),
        subscription_ids: Default::default(),
        payload: csr,
    }
}

/// CSA-CRD-04: the whole conversation, in either version.
#[test]
fn a_request_is_handed_over_and_answered() {
    for version in [V4, V5] {
        let mut pair = Pair::listening(version);
        pair.ask(b"CSR");
        let events = pair.events();
        let [Event::Requested(request)] = &events[..] else { panic!("{events:?}") };
        let login = request.login.as_ref().unwrap();
        assert_eq!((&request.csr[..], &login.name[..]), (&b"CSR"[..], "lamp-1"));
        assert_eq!(login.code, Zeroizing::new("CODE".to_owned()));
        assert!(pair.hear().is_empty(), "it is acknowledged when it is decided");
        pair.answer(ISSUED);
        let named = Some("lamp-1".to_owned()).filter(|_| version == V5);
        let certificate = Heard::Message(CERTIFICATE_TOPIC.into(), "PEM".into(), named, None);
        let told = [Heard::PubAck(7, Reason::SUCCESS), message(NAME_TOPIC, "lamp-1"), certificate];
        assert_eq!(pair.hear(), told);
        // It is the client's to go.
        assert!(!pair.session.is_over());
        pair.say(&Packet::Disconnect(Default::default()));
        assert!(pair.session.is_over() && pair.hear().is_empty() && pair.events().is_empty());
    }
}

#[test]
fn every_refusal_is_one_word_on_the_same_connection() {
    let mut pair = Pair::new(V5);
    pair.session = Session::new(Bounds { requests_max: 10, ..BOUNDS }, String::new(), 0);
    pair.say(&Packet::Connect(Connect::new(V5, "x")));
    assert_eq!(pair.subscribe(&[CERTIFICATE_TOPIC, REFUSED_TOPIC]), [Reason::SUCCESS; 2]);
    for (answer, word) in [
        (Answer::NotEntitled, "not-entitled"),
        (Answer::Refused, "refused"),
        (Answer::Waiting { retry_after_s: 30 }, "waiting 30"),
        (Answer::Busy { retry_after_s: 6 }, "busy 6"),
    ] {
        pair.publish(&request(Qos::AtMostOnce, b"CSR"));
        let events = pair.events();
        assert!(matches!(&events[..], [Event::Requested(request)] if request.login.is_none()), "{events:?}");
        pair.answer(answer);
        assert_eq!(pair.hear(), [message(REFUSED_TOPIC, word)]);
    }
    pair.publish(&request(Qos::AtMostOnce, b"CSR"));
    pair.answer(ISSUED);
    let named = Heard::Message(CERTIFICATE_TOPIC.into(), "PEM".into(), Some("lamp-1".into()), None);
    assert_eq!(pair.hear(), [named], "the name is for who has subscribed to it");
}

/// §4.10: a requester finds its answers by its own mark.
#[test]
fn correlation_data_comes_back() {
    let mut pair = Pair::listening(V5);
    let mut ask = request(Qos::AtMostOnce, b"CSR");
    ask.properties.correlation_data = Some(b"mark");
    pair.publish(&ask);
    pair.answer(Answer::Refused);
    let marked = Heard::Message(REFUSED_TOPIC.into(), "refused".into(), None, Some(b"mark".to_vec()));
    assert_eq!(pair.hear(), [marked]);
    let long = [0; 300];
    ask.properties.correlation_data = Some(&long);
    pair.publish(&ask);
    pair.answer(Answer::Refused);
    assert_eq!(pair.hear(), [message(REFUSED_TOPIC, "refused")]);
}

/// Nothing behind a request is looked at until it is answered, however it is cut up.
#[test]
fn packets_wait_behind_a_request() {
    let mut stream = Vec::new();
    let mut put = |packet: &Packet<'_>| encode::any(&mut stream, V5, packet).unwrap();
    put(&Packet::Publish(request(Qos::AtLeastOnce, b"one")));
    put(&Packet::PingReq);
    put(&Packet::Publish(request(Qos::AtLeastOnce, b"two")));
    for chunk in 1..stream.len() {
        let mut pair = Pair::listening(V5);
        stream.chunks(chunk).for_each(|bytes| pair.send(bytes));
        for (csr, told_before) in [(&b"one"[..], vec![]), (b"two", vec![Heard::Pong])] {
            let events = pair.events();
            assert!(matches!(&events[..], [Event::Requested(request)] if request.csr == csr), "{events:?}");
            assert_eq!(pair.hear(), told_before);
            pair.answer(Answer::Refused);
            assert_eq!(pair.hear(), [Heard::PubAck(7, Reason::SUCCESS), message(REFUSED_TOPIC, "refused")]);
            pair.go_on();
        }
        assert!(pair.rest.is_empty());
    }
}

/// MQTT-3.8.4: no filter reaches beyond provisioning.
#[test]
fn subscriptions_elsewhere_are_refused() {
    for (version, denied, shared) in [
        (V5, Reason::NOT_AUTHORIZED, Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
        (V4, Reason::UNSPECIFIED_ERROR, Reason::UNSPECIFIED_ERROR),
    ] {
        let mut pair = Pair::open(version);
        let elsewhere = ["#", "+/#", "$SYS/#", "$provisioning/request", "$provisioning/+", "devices/lamp-1/commands/#"];
        for filter in elsewhere {
            assert_eq!(pair.subscribe(&[filter]), [denied], "{filter}");
            assert_eq!(pair.refusals(), [Refused::Subscribe], "{filter}");
        }
        assert_eq!(pair.subscribe(&["$share/g/$provisioning/certificate"]), [shared]);
        assert_eq!(pair.subscribe(&["#", NAME_TOPIC, "x"]), [denied, Reason::SUCCESS, denied]);
        assert_eq!(pair.refusals(), [Refused::Subscribe; 2], "one a packet");
        // None of them counts as an ear for the certificate.
        pair.ask(b"CSR");
        match version {
            V5 => assert_eq!(pair.hear(), [Heard::PubAck(7, Reason::IMPLEMENTATION_SPECIFIC_ERROR)]),
            V4 => assert!(pair.session.is_over()),
        }
        assert_eq!(pair.refusals(), [Refused::Publish]);
    }
    let mut pair = Pair::open(V5);
    pair.send(b"\x82\x07\x00\x05\x00\x00\x01/\x03");
    pair.ended(Reason::MALFORMED_PACKET, Refused::Violation);
    let mut pair = Pair::open(V5);
    let requests = vec![SubscriptionRequest { filter: NAME_TOPIC, options: SubscriptionOptions::default() }];
    pair.say(&Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: Some(1), requests }));
    pair.ended(Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, Refused::Violation);
}

#[test]
fn a_withdrawn_subscription_hears_nothing() {
    let mut pair = Pair::listening(V5);
    assert_eq!(pair.subscribe(&[CERTIFICATE_TOPIC]), [Reason::SUCCESS]);
    let filters = vec![EVERYTHING_FILTER, EVERYTHING_FILTER, "x"];
    pair.say(&Packet::Unsubscribe(portreeve_mqtt::Unsubscribe { packet_id: 3, filters }));
    let none = Reason::NO_SUBSCRIPTION_EXISTED;
    assert_eq!(pair.hear(), [Heard::UnsubAck(vec![Reason::SUCCESS, none, none])]);
    pair.publish(&request(Qos::AtMostOnce, b"CSR"));
    pair.answer(Answer::NotEntitled);
    assert_eq!(pair.hear(), []);
}

/// [MQTT-3.3.5-2]: a code where there is one, else the end.
#[test]
fn publications_elsewhere_are_refused() {
    for topic in ["devices/lamp-1/telemetry/t", CERTIFICATE_TOPIC, "$SYS/x"] {
        let mut pair = Pair::listening(V5);
        pair.publish(&Publish { topic, ..request(Qos::AtLeastOnce, b"x") });
        assert_eq!(pair.hear(), [Heard::PubAck(7, Reason::NOT_AUTHORIZED)]);
        assert_eq!(pair.refusals(), [Refused::Publish]);
        pair.publish(&Publish { topic, ..request(Qos::AtMostOnce, b"x") });
        pair.ended(Reason::NOT_AUTHORIZED, Refused::Publish);
        let mut pair = Pair::listening(V4);
        pair.publish(&Publish { topic, ..request(Qos::AtLeastOnce, b"x") });
        pair.ended(Reason::NOT_AUTHORIZED, Refused::Publish);
    }
    for version in [V4, V5] {
        for (publish, reason, what) in [
            (request(Qos::ExactlyOnce, b"x"), Reason::QOS_NOT_SUPPORTED, Refused::Publish),
            (
                Publish { retain: true, ..request(Qos::AtLeastOnce, b"x") },
                Reason::RETAIN_NOT_SUPPORTED,
                Refused::Publish,
            ),
        ] {
            let mut pair = Pair::listening(version);
            pair.publish(&publish);
            pair.ended(reason, what);
        }
    }
    let mut pair = Pair::listening(V5);
    pair.publish(&Publish { topic_alias: Some(1), ..request(Qos::AtLeastOnce, b"x") });
    pair.ended(Reason::TOPIC_ALIAS_INVALID, Refused::Violation);
}

#[test]
fn connects_that_want_more_than_provisioning_are_refused() {
    let will = || Will {
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "x",
        payload: b"",
        delay_s: 0,
        properties: Default::default(),
    };
    let long = "x".repeat(300);
    for version in [V4, V5] {
        let plain = || Connect::new(version, "x");
        let mut cases = vec![
            (Connect { will: Some(will()), ..plain() }, Reason::NOT_AUTHORIZED, Refused::Will),
            (
                Connect { username: Some(&long), password: Some(b""), ..plain() },
                Reason::BAD_USER_NAME_OR_PASSWORD,
                Refused::Connect,
            ),
            (
                Connect { username: Some("lamp-1"), password: Some(&[0xff]), ..plain() },
                Reason::BAD_USER_NAME_OR_PASSWORD,
                Refused::Connect,
            ),
        ];
        match version {
            V4 => cases.push((Connect { clean_start: false, ..plain() }, Reason::NOT_AUTHORIZED, Refused::Connect)),
            V5 => cases.extend([
                (
                    Connect { authentication_method: Some("SCRAM"), ..plain() },
                    Reason::BAD_AUTHENTICATION_METHOD,
                    Refused::Connect,
                ),
                (Connect { maximum_packet_bytes: Some(1000), ..plain() }, Reason::PACKET_TOO_LARGE, Refused::Connect),
            ]),
        }
        for (connect, reason, what) in cases {
            let mut pair = Pair::new(version);
            pair.say(&Packet::Connect(connect));
            assert_eq!(pair.hear(), [Heard::ConnAck(reason)], "{version:?}");
            assert!(pair.session.is_over());
            assert_eq!(pair.refusals(), [what]);
        }
    }
}

/// What a session does not do, it says (§3.2.2.3).
#[test]
fn connack_says_what_there_is() {
    let mut pair = Pair::new(V5);
    pair.say(&Packet::Connect(Connect { session_expiry_s: Some(60), clean_start: false, ..Connect::new(V5, "") }));
    let Packet::ConnAck(connack) = decode(V5, Sender::Server, &pair.wire).unwrap() else { panic!() };
    assert_eq!((connack.reason, connack.session_present), (Reason::SUCCESS, false));
    assert_eq!((connack.session_expiry_s, connack.assigned_client_id), (Some(0), Some("assigned-1")));
    assert_eq!((connack.maximum_qos, connack.retain_available), (Some(1), Some(false)));
    assert_eq!((connack.maximum_packet_bytes, connack.topic_alias_maximum), (Some(PACKET_BYTES_MAX), None));
    assert_eq!((connack.subscription_ids_available, connack.shared_available), (Some(false), Some(false)));
}

#[test]
fn what_breaks_the_protocol_ends_the_session() {
    let mut pair = Pair::listening(V5);
    pair.say(&Packet::Connect(Connect::new(V5, "x")));
    pair.ended(Reason::PROTOCOL_ERROR, Refused::Violation);
    // Also if it would have been refused as a first one, for a reason that is none to disconnect with.
    let mut pair = Pair::listening(V5);
    pair.send(b"\x10\x0e\x00\x04MQTT\x63\x02\x00\x3c\x00\x00\x01x");
    pair.ended(Reason::PROTOCOL_ERROR, Refused::Violation);
    for packet in [&b"\x40\x02\x00\x01"[..], b"\x62\x02\x00\x01", b"\x20\x03\x00\x00\x00", b"\xf0\x00"] {
        let mut pair = Pair::listening(V5);
        pair.send(packet);
        pair.ended(Reason::PROTOCOL_ERROR, Refused::Violation);
    }
    let mut pair = Pair::listening(V5);
    // A length beyond the bound is refused before any of the body came.
    pair.rest = vec![0x30, 0xff, 0xff, 0x7f];
    pair.go_on();
    assert_eq!(pair.hear(), [Heard::Disconnect(Reason::PACKET_TOO_LARGE)]);
    // Before CONNECT nothing is said to who does not speak MQTT.
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x30\x02\x00\x01", b"\x10\xff\xff\x7f", b"\xc0\x00"] {
        let mut pair = Pair::new(V5);
        pair.send(bytes);
        assert!(pair.session.is_over() && pair.hear().is_empty());
        assert_eq!(pair.refusals(), [Refused::Violation]);
    }
    // MQTT 3.1 is told so.
    let mut pair = Pair::new(V4);
    pair.send(b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01x");
    assert_eq!(pair.hear(), [Heard::ConnAck(Reason::UNSUPPORTED_PROTOCOL_VERSION)]);
}

/// CSA-COM-04: packets, bytes and requests of one connection.
#[test]
fn a_session_has_bounds() {
    let mut pair = Pair::listening(V5);
    for _ in 0..BOUNDS.requests_max {
        pair.ask(b"CSR");
        pair.answer(Answer::Refused);
    }
    let _ = (pair.hear(), pair.events());
    pair.ask(b"CSR");
    pair.ended(Reason::QUOTA_EXCEEDED, Refused::Limit);
    assert_eq!(pair.session.used().requests, BOUNDS.requests_max);

    let mut pair = Pair::listening(V5);
    for _ in 2..BOUNDS.packets_max {
        pair.say(&Packet::PingReq);
        assert_eq!(pair.hear(), [Heard::Pong]);
    }
    assert_eq!(pair.session.used().packets, BOUNDS.packets_max);
    pair.say(&Packet::PingReq);
    pair.ended(Reason::QUOTA_EXCEEDED, Refused::Limit);

    let mut pair = Pair::open(V5);
    let before = pair.session.used().bytes;
    let large = vec![0; PACKET_BYTES_MAX as usize - 100];
    // Nobody subscribed: each is refused, and counts.
    while !pair.session.is_over() {
        pair.ask(&large);
    }
    let fitting = (BOUNDS.bytes_max - before) / (large.len() as u64 + 30);
    assert_eq!(pair.refusals().len() as u64, fitting + 1);
}

#[test]
fn a_session_ends_in_time_but_not_while_it_waits_for_the_hub() {
    let mut pair = Pair::new(V5);
    pair.wait(BOUNDS.connect_timeout_ms - 1);
    assert!(!pair.session.is_over());
    pair.wait(1);
    assert!(pair.session.is_over() && pair.hear().is_empty());

    // Keep alive 0: its lifetime is all there is.
    let mut pair = Pair::listening(V5);
    assert_eq!(pair.session.deadline_ms(), 1000 + BOUNDS.lifetime_ms);
    pair.wait(BOUNDS.lifetime_ms - 1);
    pair.ask(b"CSR");
    assert_eq!(pair.session.deadline_ms(), u64::MAX);
    pair.wait(3_600_000);
    assert!(!pair.session.is_over(), "what is decided is told");
    pair.answer(ISSUED);
    assert_eq!(pair.hear().len(), 3);
    let _ = pair.events();
    pair.wait(0);
    pair.ended(Reason::MAXIMUM_CONNECT_TIME, Refused::Limit);

    // [MQTT-3.1.2-22]
    let mut pair = Pair::new(V5);
    pair.say(&Packet::Connect(Connect { keep_alive_s: 10, ..Connect::new(V5, "x") }));
    let _ = pair.hear();
    pair.wait(14_999);
    pair.say(&Packet::PingReq);
    assert_eq!(pair.hear(), [Heard::Pong]);
    pair.wait(15_000);
    pair.ended(Reason::KEEP_ALIVE_TIMEOUT, Refused::Silence);
}

/// [MQTT-3.1.2-24]
#[test]
fn a_certificate_that_a_client_cannot_take_ends_its_session() {
    let mut pair = Pair::new(V5);
    pair.say(&Packet::Connect(Connect { maximum_packet_bytes: Some(5000), ..Connect::new(V5, "x") }));
    let _ = pair.hear();
    assert_eq!(pair.subscribe(&[CERTIFICATE_TOPIC]), [Reason::SUCCESS]);
    pair.publish(&request(Qos::AtMostOnce, b"CSR"));
    let _ = pair.events();
    pair.answer(Answer::Issued { chain_pem: &"x".repeat(5000), name: "lamp-1" });
    pair.ended(Reason::PACKET_TOO_LARGE, Refused::Limit);
}

#[test]
fn the_server_may_end_a_session() {
    let mut pair = Pair::listening(V5);
    pair.session.close(Reason::SERVER_BUSY, &mut pair.wire);
    assert_eq!(pair.hear(), [Heard::Disconnect(Reason::SERVER_BUSY)]);
    assert!(pair.session.is_over() && pair.events().is_empty());
}
