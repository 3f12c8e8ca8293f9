//! Whatever can be said is read back as it was said, in both versions; and what each packet looks like on the wire.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{CLIENT, SERVER, V4, V5, bytes, receive};
use portreeve_mqtt::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, EncodeError, MessageProperties, Packet, Publish, PublishHeader,
    Reason, RetainHandling, Sender, SubAck, Subscribe, SubscriptionOptions, SubscriptionRequest, Unsubscribe,
    UserProperties, Version, Will, encode,
};
use portreeve_types::Qos;
use proptest::{collection::vec, option, prelude::*, sample::select};

const NAME: &str = "[a-zA-Z0-9/$ äあ\u{feff}\u{1F600}]{1,12}";
const TEXT: &str = "[a-zA-Z0-9+#/ äあ\u{feff}\u{1F600}]{0,12}";

fn qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn version() -> impl Strategy<Value = Version> {
    select(vec![V4, V5])
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((TEXT, TEXT), 0..4)
}

fn user_block(pairs: &[(String, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    UserProperties::encode(&mut block, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap();
    block
}

/// The owned parts of a message's properties.
type Message = (Option<bool>, Option<u32>, Option<String>, Option<String>, Option<Vec<u8>>, Vec<(String, String)>);

fn message() -> impl Strategy<Value = Message> {
    (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(TEXT),
        option::of(NAME),
        option::of(data()),
        pairs(),
    )
}

fn properties<'a>(message: &'a Message, block: &'a [u8]) -> MessageProperties<'a> {
    MessageProperties {
        payload_is_utf8: message.0,
        expiry_s: message.1,
        content_type: message.2.as_deref(),
        response_topic: message.3.as_deref(),
        correlation_data: message.4.as_deref(),
        user_properties: UserProperties::decode(block).unwrap(),
    }
}

/// Encodes, decodes, compares.
fn assert_round_trip(version: Version, from: Sender, packet: &Packet<'_>) -> Result<(), TestCaseError> {
    let mut wire = vec![0xaa];
    encode::any(&mut wire, version, packet).unwrap();
    prop_assert_eq!(wire.remove(0), 0xaa, "what was in the buffer stays");
    let again = receive(version, from, &wire);
    prop_assert_eq!(again.as_ref(), Ok(packet));
    Ok(())
}

proptest! {
    #[test]
    fn connect(
        version in version(), clean_start: bool, keep_alive_s: u16, client_id in TEXT,
        will in option::of((qos(), any::<bool>(), NAME, data(), any::<u32>(), message())),
        username in option::of(TEXT), password in option::of(data()),
        limits in (option::of(any::<u32>()), option::of(1..=u16::MAX), option::of(1..=u32::MAX), any::<u16>()),
        requests: (bool, bool), pairs in pairs(), method in option::of((TEXT, option::of(data()))),
    ) {
        let block = user_block(&pairs);
        let will_block = will.as_ref().map(|will| user_block(&will.5.5)).unwrap_or_default();
        let v5 = version == V5;
        let connect = Connect {
            version,
            clean_start,
            keep_alive_s,
            client_id: &client_id,
            will: will.as_ref().map(|(qos, retain, topic, payload, delay_s, message)| Will {
                qos: *qos,
                retain: *retain,
                topic,
                payload,
                delay_s: if v5 { *delay_s } else { 0 },
                properties: if v5 { properties(message, &will_block) } else { MessageProperties::default() },
            }),
            username: username.as_deref(),
            // Only 5.0 has passwords without user names.
            password: password.as_deref().filter(|_| v5 || username.is_some()),
            session_expiry_s: limits.0.filter(|_| v5),
            receive_maximum: limits.1.filter(|_| v5),
            maximum_packet_bytes: limits.2.filter(|_| v5),
            topic_alias_maximum: if v5 { limits.3 } else { 0 },
            request_response_information: v5 && requests.0,
            request_problem_information: !v5 || requests.1,
            user_properties: if v5 { UserProperties::decode(&block).unwrap() } else { UserProperties::default() },
            authentication_method: method.as_ref().filter(|_| v5).map(|(method, _)| method.as_str()),
            authentication_data: method.as_ref().filter(|_| v5).and_then(|(_, data)| data.as_deref()),
        };
        assert_round_trip(version, CLIENT, &Packet::Connect(connect))?;
    }

    #[test]
    fn publish(
        from_server: bool, version in version(), flags: (bool, bool), qos in qos(), id in 1..=u16::MAX,
        topic in NAME, alias in option::of(1..=u16::MAX), message in message(),
        ids in vec(1..=268_435_455_u32, 0..4), payload in vec(any::<u8>(), 0..20_000),
    ) {
        let block = user_block(&message.5);
        let v5 = version == V5;
        let publish = Publish {
            dup: flags.0 && qos != Qos::AtMostOnce,
            qos,
            retain: flags.1,
            topic: if v5 && alias.is_some() && id % 2 == 0 { "" } else { &topic },
            packet_id: if qos == Qos::AtMostOnce { 0 } else { id },
            topic_alias: alias.filter(|_| v5),
            properties: if v5 { properties(&message, &block) } else { MessageProperties::default() },
            subscription_ids: if v5 && from_server { ids.into() } else { Default::default() },
            payload: &payload,
        };
        let mut forwarded = Vec::new();
        publish.properties.encode_forwarded(&mut forwarded);
        let header = PublishHeader {
            dup: publish.dup,
            qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic: publish.topic,
            topic_alias: publish.topic_alias,
            subscription_ids: &publish.subscription_ids,
            expiry_s: publish.properties.expiry_s,
            forwarded: &forwarded,
        };
        let mut wire = Vec::new();
        encode::publish(&mut wire, version, &header, publish.payload);
        prop_assert_eq!(wire.len(), encode::publish_len(version, &header, payload.len()));
        let from = if from_server { SERVER } else { CLIENT };
        assert_round_trip(version, from, &Packet::Publish(publish))?;
    }

    /// What a store keeps of a message is what its receivers get.
    #[test]
    fn forwarded_properties(message in message()) {
        let block = user_block(&message.5);
        let sent = MessageProperties { expiry_s: None, ..properties(&message, &block) };
        let mut stored = Vec::new();
        sent.encode_forwarded(&mut stored);
        let read = MessageProperties::decode_forwarded(&stored).unwrap();
        prop_assert_eq!(&read, &sent);
        let mut again = Vec::new();
        read.encode_forwarded(&mut again);
        prop_assert_eq!(again, stored);
    }

    #[test]
    fn acknowledgements(version in version(), packet_id in 1..=u16::MAX, text in option::of(TEXT), pick: (usize, usize)) {
        let v5 = version == V5;
        let delivery = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
        let reason = |codes: &[u8], at: usize| Reason(if v5 { codes[at % codes.len()] } else { 0 });
        let reason_string = text.as_deref().filter(|_| v5);
        let ack = |codes: &[u8], at| Ack { packet_id, reason: reason(codes, at), reason_string };
        for packet in [
            Packet::PubAck(ack(&delivery, pick.0)),
            Packet::PubRec(ack(&delivery, pick.1)),
            Packet::PubRel(ack(&[0x00, 0x92], pick.0)),
            Packet::PubComp(ack(&[0x00, 0x92], pick.1)),
        ] {
            assert_round_trip(version, CLIENT, &packet)?;
            assert_round_trip(version, SERVER, &packet)?;
        }
    }

    #[test]
    fn subscribe_and_unsubscribe(
        version in version(), packet_id in 1..=u16::MAX, id in option::of(1..=268_435_455_u32),
        requests in vec(("[a-z+#/$あ]{1,9}", qos(), any::<(bool, bool)>(), 0..3_usize), 1..5),
    ) {
        let v5 = version == V5;
        let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        let request = |(filter, qos, flags, at): &'_ (String, Qos, (bool, bool), usize)| SubscriptionOptions {
            qos: *qos,
            no_local: v5 && flags.0 && !filter.starts_with("$share/"),
            retain_as_published: v5 && flags.1,
            retain_handling: if v5 { handling[*at] } else { RetainHandling::Send },
        };
        let subscribe = Subscribe {
            packet_id,
            subscription_id: id.filter(|_| v5),
            requests: requests.iter().map(|row| SubscriptionRequest { filter: &row.0, options: request(row) }).collect(),
        };
        assert_round_trip(version, CLIENT, &Packet::Subscribe(subscribe))?;
        let filters = requests.iter().map(|row| row.0.as_str()).collect();
        assert_round_trip(version, CLIENT, &Packet::Unsubscribe(Unsubscribe { packet_id, filters }))?;
    }

    #[test]
    fn answers_to_subscriptions(version in version(), packet_id in 1..=u16::MAX, text in option::of(TEXT), picks in vec(any::<usize>(), 1..40)) {
        let v5 = version == V5;
        let grants: &[u8] = if v5 { &[0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2] } else { &[0, 1, 2, 0x80] };
        let ends = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
        let choose = |codes: &[u8]| picks.iter().map(|at| Reason(codes[at % codes.len()])).collect::<Vec<_>>();
        let reason_string = text.as_deref().filter(|_| v5);
        let suback = SubAck { packet_id, reasons: choose(grants), reason_string };
        assert_round_trip(version, SERVER, &Packet::SubAck(suback))?;
        let unsuback = SubAck { packet_id, reasons: if v5 { choose(&ends) } else { Vec::new() }, reason_string };
        assert_round_trip(version, SERVER, &Packet::UnsubAck(unsuback))?;
    }

    #[test]
    fn connack(
        present: bool, pick: usize, numbers in (option::of(any::<u32>()), option::of(1..=u16::MAX), option::of(0..2_u8), option::of(1..=u32::MAX), option::of(any::<u16>()), option::of(any::<u16>())),
        flags in vec(option::of(any::<bool>()), 4), texts in vec(option::of(TEXT), 4), pairs in pairs(),
    ) {
        let codes = [0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f];
        let reason = Reason(codes[pick % codes.len()]);
        let connack = ConnAck {
            session_present: present && reason == Reason::SUCCESS,
            reason,
            session_expiry_s: numbers.0,
            receive_maximum: numbers.1,
            maximum_qos: numbers.2,
            retain_available: flags[0],
            maximum_packet_bytes: numbers.3,
            assigned_client_id: texts[0].as_deref(),
            topic_alias_maximum: numbers.4,
            reason_string: texts[1].as_deref(),
            user_properties: pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            wildcard_available: flags[1],
            subscription_ids_available: flags[2],
            shared_available: flags[3],
            server_keep_alive_s: numbers.5,
            response_information: texts[2].as_deref(),
            server_reference: texts[3].as_deref(),
        };
        assert_round_trip(V5, SERVER, &Packet::ConnAck(connack))?;
        let codes = [Reason::SUCCESS, Reason::UNSUPPORTED_PROTOCOL_VERSION, Reason::CLIENT_IDENTIFIER_NOT_VALID,
            Reason::SERVER_UNAVAILABLE, Reason::BAD_USER_NAME_OR_PASSWORD, Reason::NOT_AUTHORIZED];
        let reason = codes[pick % codes.len()];
        let connack = ConnAck { session_present: present && reason == Reason::SUCCESS, reason, ..ConnAck::default() };
        assert_round_trip(V4, SERVER, &Packet::ConnAck(connack))?;
    }

    #[test]
    fn disconnect_and_auth(
        pick: usize, expiry in option::of(any::<u32>()), texts in vec(option::of(TEXT), 3), method in TEXT, data in option::of(data()),
    ) {
        let of_client = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
        let disconnect = Disconnect {
            reason: Reason(of_client[pick % of_client.len()]),
            session_expiry_s: expiry,
            reason_string: texts[0].as_deref(),
            server_reference: texts[1].as_deref(),
        };
        assert_round_trip(V5, CLIENT, &Packet::Disconnect(disconnect.clone()))?;
        let of_server = [0x00, 0x80, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x93, 0x95, 0x9a, 0x9d, 0xa2];
        let reason = Reason(of_server[pick % of_server.len()]);
        assert_round_trip(V5, SERVER, &Packet::Disconnect(Disconnect { reason, session_expiry_s: None, ..disconnect }))?;
        assert_round_trip(V4, CLIENT, &Packet::Disconnect(Disconnect::default()))?;
        let auth = |code| Auth { reason: Reason(code), method: Some(&method), data: data.as_deref(), reason_string: texts[2].as_deref() };
        assert_round_trip(V5, CLIENT, &Packet::Auth(auth([0x18, 0x19][pick % 2])))?;
        assert_round_trip(V5, SERVER, &Packet::Auth(auth([0x00, 0x18][pick % 2])))?;
    }
}

#[test]
fn pings_and_bare_authentication() {
    for (version, from, packet) in [
        (V4, CLIENT, Packet::PingReq),
        (V5, CLIENT, Packet::PingReq),
        (V4, SERVER, Packet::PingResp),
        (V5, SERVER, Packet::PingResp),
    ] {
        assert_round_trip(version, from, &packet).unwrap();
    }
    let success = Auth { reason: Reason::SUCCESS, method: None, data: None, reason_string: None };
    assert_round_trip(V5, SERVER, &Packet::Auth(success)).unwrap();
}

fn written(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut out);
    out
}

/// §3.4.2.1, §3.14.2.1: success and an empty property block are left out.
#[test]
fn the_shortest_form_is_chosen() {
    for (kind, first) in
        [(AckKind::PubAck, "40"), (AckKind::PubRec, "50"), (AckKind::PubRel, "62"), (AckKind::PubComp, "70")]
    {
        let ack = |version, reason, text| written(|out| encode::ack(out, version, kind, 0x1234, reason, text));
        assert_eq!(ack(V5, Reason::SUCCESS, None), bytes(&format!("{first} | 1234")));
        assert_eq!(ack(V5, Reason(0x92), None), bytes(&format!("{first} | 1234 92")));
        assert_eq!(ack(V5, Reason::SUCCESS, Some("x")), bytes(&format!("{first} | 1234 00 {{ 1f s'x' }}")));
        assert_eq!(ack(V4, Reason(0x92), Some("x")), bytes(&format!("{first} | 1234")));
    }
    let disconnect = |version, reason| {
        written(|out| encode::disconnect(out, version, &Disconnect { reason, ..Disconnect::default() }))
    };
    assert_eq!(disconnect(V5, Reason::SUCCESS), bytes("e0 |"));
    assert_eq!(disconnect(V5, Reason::SESSION_TAKEN_OVER), bytes("e0 | 8e"));
    assert_eq!(disconnect(V4, Reason::SESSION_TAKEN_OVER), bytes("e0 |"));
    let refused = ConnAck { reason: Reason::NOT_AUTHORIZED, session_present: true, ..ConnAck::default() };
    assert_eq!(written(|out| encode::connack(out, V5, &refused)), bytes("20 | 00 87 { }"), "[MQTT-3.2.2-6]");
    assert_eq!(written(|out| encode::connack(out, V4, &refused)), bytes("20 | 00 05"), "[MQTT-3.2.2-4] of 3.1.1");
}

#[test]
fn the_limits_of_a_server_come_in_the_order_of_the_recorded_sequences() {
    let connack = ConnAck {
        topic_alias_maximum: Some(10),
        assigned_client_id: Some("auto"),
        maximum_packet_bytes: Some(2_000_000),
        receive_maximum: Some(20),
        ..ConnAck::default()
    };
    let expected = bytes("20 | 00 00 { 22 000a 12 s'auto' 27 001e8480 21 0014 }");
    assert_eq!(written(|out| encode::connack(out, V5, &connack)), expected);
}

#[test]
fn a_failed_subscription_is_0x80_in_3_1_1() {
    let suback = SubAck { packet_id: 1, reasons: vec![Reason(2), Reason::NOT_AUTHORIZED], reason_string: Some("no") };
    assert_eq!(written(|out| encode::suback(out, V4, &suback)), bytes("90 | 0001 02 80"));
    assert_eq!(written(|out| encode::suback(out, V5, &suback)), bytes("90 | 0001 { 1f s'no' } 02 87"));
    assert_eq!(written(|out| encode::unsuback(out, V4, &suback)), bytes("b0 | 0001"));
}

#[test]
fn what_5_0_adds_is_left_out_of_3_1_1() {
    let forwarded = bytes("26 s'k' s'v'");
    let header = PublishHeader {
        qos: Qos::AtLeastOnce,
        packet_id: 1,
        topic: "a",
        topic_alias: Some(1),
        subscription_ids: &[300],
        expiry_s: Some(9),
        forwarded: &forwarded,
        ..PublishHeader::default()
    };
    assert_eq!(written(|out| encode::publish(out, V4, &header, b"x")), bytes("32 | s'a' 0001 'x'"));
    let expected = bytes("32 | s'a' 0001 { 0b ac02 26 s'k' s'v' 02 00000009 23 0001 } 'x'");
    assert_eq!(written(|out| encode::publish(out, V5, &header, b"x")), expected);
    for version in [V4, V5] {
        let wire = written(|out| encode::publish(out, version, &header, b"x"));
        assert_eq!(wire.len(), encode::publish_len(version, &header, 1));
    }
    // [MQTT-3.3.1-2]: a re-delivery flag never goes out with QoS 0.
    let header = PublishHeader { dup: true, topic: "a", ..PublishHeader::default() };
    assert_eq!(written(|out| encode::publish(out, V4, &header, b"")), bytes("30 | s'a'"));
}

/// A topic that is known is not copied or checked again, and nothing but that topic is taken for it.
#[test]
fn a_known_topic_is_recognized_and_no_other() {
    let known = "a/b";
    let to = |wire: &str| {
        let wire = bytes(wire);
        let topic =
            |publish: portreeve_mqtt::Publish<'_>| (publish.topic.to_owned(), std::ptr::eq(publish.topic, known));
        portreeve_mqtt::decode_publish_to(V5, CLIENT, &wire, known).map(topic)
    };
    assert_eq!(to("30 | s'a/b' { } 'x'"), Ok(("a/b".to_owned(), true)));
    for other in ["a/", "a/bc", "b"] {
        assert_eq!(to(&format!("30 | s'{other}' {{ }} 'x'")), Ok((other.to_owned(), false)));
    }
    assert_eq!(to("30 | s'' { 23 0001 } 'x'"), Ok((String::new(), false)));
    assert_eq!(to("30 | s'a/+' { } 'x'").unwrap_err().clause, "MQTT-3.3.2-2");
    assert!(to("30 | s'' { } 'x'").is_err());
}

/// [MQTT-3.3.2-17] [MQTT-3.3.2-18]: receivers get what was sent, in the order in which it was sent.
#[test]
fn forwarded_properties_keep_their_order() {
    let wire = bytes("30 | s'a' { 26 s'z' s'1' 09 s'id' 02 00000001 26 s'a' s'2' 01 01 23 0001 03 s'text' } 'x'");
    let publish = portreeve_mqtt::decode_publish(V5, CLIENT, &wire).unwrap();
    let forwarded = written(|out| publish.properties.encode_forwarded(out));
    assert_eq!(forwarded, bytes("26 s'z' s'1' 09 s'id' 26 s'a' s'2' 01 01 03 s'text'"));
    let pairs: Vec<_> = publish.properties.user_properties.iter().collect();
    assert_eq!(pairs, [("z", "1"), ("a", "2")]);
    // A field changed after decoding is forwarded as it is now.
    let changed = MessageProperties { content_type: Some("new"), correlation_data: None, ..publish.properties };
    let forwarded = written(|out| changed.encode_forwarded(out));
    assert_eq!(forwarded, bytes("26 s'z' s'1' 26 s'a' s'2' 01 01 03 s'new'"));
}

#[test]
fn a_stored_block_holds_forwarded_properties_only() {
    for block in ["02 00000001", "23 0001", "01", "01 01 01 01", "0b 01", "7f"] {
        assert!(MessageProperties::decode_forwarded(&bytes(block)).is_err(), "{block}");
    }
    assert!(UserProperties::decode(&bytes("01 01")).is_err());
}

#[test]
fn what_cannot_be_said_is_refused_and_nothing_is_written() {
    let long = "x".repeat(65_536);
    let request = SubscriptionRequest { filter: &long, options: SubscriptionOptions::default() };
    let mut out = b"kept".to_vec();
    for packet in [
        Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, requests: vec![request] }),
        Packet::Unsubscribe(Unsubscribe { packet_id: 1, filters: vec![&long] }),
        Packet::Auth(Auth { reason: Reason(0x18), method: Some(&long), data: None, reason_string: None }),
    ] {
        assert_eq!(encode::any(&mut out, V5, &packet), Err(EncodeError::FieldTooLong));
    }
    let wire = bytes("10 | s'MQTT' 05 c6 003c { } s'c' { } s'w' s'x' s'u' s'p'");
    let Packet::Connect(connect) = receive(V5, CLIENT, &wire).unwrap() else { panic!("not a CONNECT") };
    let will = connect.will.clone().unwrap();
    let big = long.as_bytes();
    for refused in [
        Connect { client_id: &long, ..connect.clone() },
        Connect { username: Some(&long), ..connect.clone() },
        Connect { password: Some(big), ..connect.clone() },
        Connect { authentication_method: Some(&long), ..connect.clone() },
        Connect { will: Some(Will { topic: &long, ..will.clone() }), ..connect.clone() },
        Connect { will: Some(Will { payload: big, ..will.clone() }), ..connect.clone() },
        Connect {
            will: Some(Will {
                properties: MessageProperties { correlation_data: Some(big), ..MessageProperties::default() },
                ..will
            }),
            ..connect.clone()
        },
    ] {
        assert_eq!(encode::connect(&mut out, &refused), Err(EncodeError::FieldTooLong));
    }
    let header = PublishHeader { topic: &long, ..PublishHeader::default() };
    assert_eq!(encode::try_publish(&mut out, V5, &header, b""), Err(EncodeError::FieldTooLong));
    assert_eq!(UserProperties::encode(&mut out, [("a", "b"), ("c\0", "d")]), Err(EncodeError::Text));
    assert_eq!(UserProperties::encode(&mut out, [("a", "b"), ("c", &long)]), Err(EncodeError::FieldTooLong));
    assert_eq!(out, b"kept");
    // What only explains is left out.
    encode::ack(&mut out, V5, AckKind::PubAck, 1, Reason(0x87), Some(&long));
    assert_eq!(out.split_off(4), bytes("40 | 0001 87"));
    let connack = ConnAck { reason_string: Some(&long), user_properties: vec![(&long, "")], ..ConnAck::default() };
    encode::connack(&mut out, V5, &connack);
    assert_eq!(out.split_off(4), bytes("20 | 00 00 { }"));
}
