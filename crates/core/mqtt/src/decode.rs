//! Framing, and every packet but CONNECT.
//!
//! §4.13 obliges the receiver to close and leaves it to its judgement what it says. Where a fault can be called
//! malformed as well as forbidden (a topic name with a wildcard, an empty list of filters, a QoS of 3 in an option),
//! the code is the one that the public recorded sequences which brokers are compared by expect.

use portreeve_types::Qos;
use smallvec::SmallVec;

use crate::{
    Ack, Auth, ConnAck, Connect, Disconnect, MessageProperties, Packet, Publish, Reason, RetainHandling, SubAck,
    Subscribe, SubscriptionOptions, SubscriptionRequest, Unsubscribe, Version, Violation, connect,
    packet::Kind,
    properties::{Permitted, Property, id, visit},
    wire::{self, Reader, TOO_LARGE},
};

/// Which end of the connection a packet comes from. Some packets, properties and codes are one end's only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The peer of a server.
    Client,
    /// The peer of a client.
    Server,
}

/// Finds the first whole packet: its length, or `None` if more bytes are needed.
///
/// `packet_bytes_max` bounds the whole packet, header included. What is wrong with the fixed header is said as soon as
/// it can be known; before the CONNECT is accepted the server closes without answering, whatever is wrong.
///
/// # Errors
/// A [`Violation`] if no further byte can make `buf` the start of an acceptable packet.
pub fn frame(buf: &[u8], packet_bytes_max: u32) -> Result<Option<usize>, Violation> {
    let Some((&first, rest)) = buf.split_first() else { return Ok(None) };
    check_first_byte(first)?;
    // A peer whose lengths cannot be read is not told so: there is no packet that an answer would belong to.
    let Some((remaining, used)) = wire::varint(rest).map_err(Violation::silent)? else { return Ok(None) };
    let header = 1 + used;
    let total = u64::from(remaining) + header as u64;
    if total > u64::from(packet_bytes_max) {
        return Err(TOO_LARGE);
    }
    Ok(usize::try_from(total).ok().filter(|&total| buf.len() >= total))
}

/// §2.1.2, §2.1.3: the packet type and its flags.
fn check_first_byte(first: u8) -> Result<Kind, Violation> {
    let kind = Kind::of(first).ok_or(Violation::protocol("", "packet type 0 is reserved"))?;
    let flags = first & 0x0f;
    match kind {
        // [MQTT-3.3.1-4]: QoS 3 does not exist.
        Kind::Publish if flags & 0b0110 == 0b0110 => Err(Violation::malformed("MQTT-3.3.1-4", "PUBLISH with QoS 3")),
        // [MQTT-3.3.1-2]
        Kind::Publish if flags & 0b1110 == 0b1000 => {
            Err(Violation::malformed("MQTT-3.3.1-2", "PUBLISH with DUP and QoS 0"))
        }
        Kind::Publish => Ok(kind),
        // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
        Kind::PubRel if flags != 2 => Err(Violation::malformed("MQTT-3.6.1-1", "PUBREL with wrong flags")),
        Kind::Subscribe if flags != 2 => Err(Violation::malformed("MQTT-3.8.1-1", "SUBSCRIBE with wrong flags")),
        Kind::Unsubscribe if flags != 2 => Err(Violation::malformed("MQTT-3.10.1-1", "UNSUBSCRIBE with wrong flags")),
        Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe => Ok(kind),
        // A server has no use for either packet whatever its flags (AUTH: no method is ever negotiated), so the
        // protocol error comes first. [MQTT-3.15.1-1]
        Kind::Auth if flags != 0 => Err(Violation::protocol("MQTT-3.15.1-1", "AUTH with reserved flags set")),
        Kind::ConnAck if flags != 0 => Err(Violation::protocol("MQTT-2.1.3-1", "CONNACK with reserved flags set")),
        // [MQTT-3.14.1-1]
        Kind::Disconnect if flags != 0 => {
            Err(Violation::malformed("MQTT-3.14.1-1", "DISCONNECT with reserved flags set"))
        }
        // [MQTT-2.1.3-1], [MQTT-2.2.2-1] and [MQTT-2.2.2-2] of 3.1.1
        _ if flags != 0 => Err(Violation::malformed("MQTT-2.1.3-1", "reserved header flags set")),
        _ => Ok(kind),
    }
}

/// The kind, first byte and body of exactly one packet.
pub(crate) fn split(packet: &[u8]) -> Result<(Kind, u8, Reader<'_>), Violation> {
    let (&first, rest) = packet.split_first().ok_or(Violation::malformed("", "no bytes"))?;
    let kind = check_first_byte(first)?;
    let (remaining, used) = wire::varint(rest)?.ok_or(Violation::malformed("", "the header is cut short"))?;
    let body = &rest[used..];
    if usize::try_from(remaining) != Ok(body.len()) {
        return Err(Violation::malformed("", "the remaining length is not the length of what remains"));
    }
    Ok((kind, first, Reader(body)))
}

/// Decodes exactly one packet, as [`frame`] measured it. `version` is the connection's; a CONNECT states its own.
///
/// # Errors
/// A [`Violation`] if the packet breaks the specification. In 3.1.1 it is answered by closing only.
pub fn decode(version: Version, from: Sender, packet: &[u8]) -> Result<Packet<'_>, Violation> {
    let decoded = split(packet).and_then(|(kind, first, body)| decode_body(version, from, kind, first, body));
    decoded.map_err(|violation| in_words_of(version, violation))
}

/// Decodes the packet that opens a connection. The violation's [`answer`](Violation::answer) says in which form, if
/// any, a CONNACK is owed.
///
/// # Errors
/// A [`Violation`] for anything but an acceptable CONNECT [MQTT-3.1.0-1].
pub fn decode_connect(packet: &[u8]) -> Result<Connect<'_>, Violation> {
    // Until the protocol name is read nobody knows whether the peer speaks MQTT.
    let (kind, _, body) = split(packet).map_err(Violation::silent)?;
    if kind != Kind::Connect {
        return Err(Violation::protocol("MQTT-3.1.0-1", "the first packet is not a CONNECT").silent());
    }
    connect::connect(body)
}

/// Whether this is a CONNECT, sound or not: behind the first it is a protocol error whatever is in it [MQTT-3.1.0-2], and
/// a code that refuses a first one may be none to disconnect with [MQTT-3.14.2-1].
#[must_use]
pub fn is_connect(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == Kind::Connect as u8)
}

/// Decodes a PUBLISH, the packet worth a shorter way than through [`decode`].
///
/// # Errors
/// As [`decode`], and for any other packet.
pub fn decode_publish(version: Version, from: Sender, packet: &[u8]) -> Result<Publish<'_>, Violation> {
    decode_publish_to(version, from, packet, "")
}

/// As [`decode_publish`], for a sender that is likely to name `known` again, a topic name that was checked before. Then
/// the result's topic *is* `known`, the same place in memory, and is not checked anew.
///
/// # Errors
/// As [`decode_publish`].
pub fn decode_publish_to<'a>(
    version: Version,
    from: Sender,
    packet: &'a [u8],
    known: &'a str,
) -> Result<Publish<'a>, Violation> {
    let decoded = split(packet).and_then(|(kind, first, body)| match kind {
        Kind::Publish => publish(version, from, first, body, known),
        _ => Err(Violation::protocol("", "not a PUBLISH")),
    });
    decoded.map_err(|violation| in_words_of(version, violation))
}

/// 3.1.1 has no packet to say a reason with.
fn in_words_of(version: Version, violation: Violation) -> Violation {
    match version {
        Version::V311 => violation.silent(),
        Version::V5 => violation,
    }
}

fn decode_body<'a>(
    version: Version,
    from: Sender,
    kind: Kind,
    first: u8,
    body: Reader<'a>,
) -> Result<Packet<'a>, Violation> {
    // A ping with a body is not answered, whoever sent it.
    let body = if matches!(kind, Kind::PingReq | Kind::PingResp) { ping(body)? } else { body };
    check_sender(version, from, kind)?;
    match kind {
        Kind::Connect => connect::connect(body).map(Packet::Connect),
        Kind::ConnAck => connack(version, body).map(Packet::ConnAck),
        Kind::Publish => publish(version, from, first, body, "").map(Packet::Publish),
        Kind::PubAck => ack(version, body, "MQTT-3.4.2-1", is_delivery_reason).map(Packet::PubAck),
        Kind::PubRec => ack(version, body, "MQTT-3.5.2-1", is_delivery_reason).map(Packet::PubRec),
        Kind::PubRel => ack(version, body, "MQTT-3.6.2-1", is_release_reason).map(Packet::PubRel),
        Kind::PubComp => ack(version, body, "MQTT-3.7.2-1", is_release_reason).map(Packet::PubComp),
        Kind::Subscribe => subscribe(version, body).map(Packet::Subscribe),
        Kind::SubAck => suback(version, body).map(Packet::SubAck),
        Kind::Unsubscribe => unsubscribe(version, body).map(Packet::Unsubscribe),
        Kind::UnsubAck => unsuback(version, body).map(Packet::UnsubAck),
        Kind::PingReq => Ok(Packet::PingReq),
        Kind::PingResp => Ok(Packet::PingResp),
        Kind::Disconnect => disconnect(version, from, body).map(Packet::Disconnect),
        Kind::Auth => auth(from, body).map(Packet::Auth),
    }
}

/// Table 2-1: which end may send which packet.
fn check_sender(version: Version, from: Sender, kind: Kind) -> Result<(), Violation> {
    let allowed = match kind {
        Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::PingReq => from == Sender::Client,
        Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => from == Sender::Server,
        // In 3.1.1 only a client disconnects with a packet, and type 15 is reserved.
        Kind::Disconnect => version == Version::V5 || from == Sender::Client,
        Kind::Auth => version == Version::V5,
        Kind::Publish | Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => true,
    };
    if allowed { Ok(()) } else { Err(Violation::protocol("", "a packet that this end must not send")) }
}

/// §3.12, §3.13: no body.
fn ping(body: Reader<'_>) -> Result<Reader<'_>, Violation> {
    // Not answered, like every packet whose length contradicts its type.
    body.finish().map_err(Violation::silent)?;
    Ok(Reader(&[]))
}

/// A packet identifier that must not be 0 [MQTT-2.2.1-3] [MQTT-2.2.1-4], [MQTT-2.3.1-1] of 3.1.1.
fn packet_id(body: &mut Reader<'_>, zero: Reason) -> Result<u16, Violation> {
    match body.u16()? {
        0 => Err(Violation::new(zero, "MQTT-2.2.1-3", "packet identifier 0")),
        id => Ok(id),
    }
}

fn publish<'a>(
    version: Version,
    from: Sender,
    first: u8,
    mut body: Reader<'a>,
    known: &'a str,
) -> Result<Publish<'a>, Violation> {
    // `check_first_byte` refused QoS 3.
    let qos = Qos::from_bits(first >> 1 & 3).unwrap_or_default();
    // [MQTT-3.3.2-1] [MQTT-3.3.2-2]
    let wildcard = Violation::malformed("MQTT-3.3.2-2", "the topic name holds a wildcard");
    let topic = match body.binary()? {
        same if same == known.as_bytes() => known,
        other => wire::topic(other, wildcard)?,
    };
    let packet_id = match qos {
        Qos::AtMostOnce => 0,
        _ => packet_id(&mut body, Reason::PROTOCOL_ERROR)?,
    };
    let mut publish = Publish {
        dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        topic_alias: None,
        properties: MessageProperties::default(),
        subscription_ids: SmallVec::new(),
        payload: &[],
    };
    if version == Version::V5 {
        let block = body.property_block()?;
        if !block.is_empty() {
            publish_properties(&mut publish, from, block)?;
        }
    }
    // [MQTT-4.7.3-1]; 5.0 lets an alias stand for the topic.
    if topic.is_empty() && publish.topic_alias.is_none() {
        return Err(Violation::malformed("MQTT-4.7.3-1", "neither topic name nor topic alias"));
    }
    publish.payload = body.rest();
    Ok(publish)
}

fn publish_properties<'a>(publish: &mut Publish<'a>, from: Sender, block: &'a [u8]) -> Result<(), Violation> {
    let permitted = match from {
        Sender::Client => &Permitted::PUBLISH_OF_CLIENT,
        Sender::Server => &Permitted::PUBLISH_OF_SERVER,
    };
    let mut message = MessageProperties::default();
    let user_properties = visit(block, permitted, |identifier, property| match (identifier, property) {
        (id::TOPIC_ALIAS, Property::Short(alias)) => publish.topic_alias = Some(alias),
        (id::SUBSCRIPTION_ID, Property::Varint(id)) => publish.subscription_ids.push(id),
        _ => message.take(identifier, property),
    })?;
    publish.properties = MessageProperties { user_properties, ..message };
    Ok(())
}

/// Table 3-4, table 3-5: what PUBACK and PUBREC may say [MQTT-3.4.2-1] [MQTT-3.5.2-1].
const fn is_delivery_reason(code: u8) -> bool {
    matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
}

/// Table 3-6, table 3-7: what PUBREL and PUBCOMP may say [MQTT-3.6.2-1] [MQTT-3.7.2-1].
const fn is_release_reason(code: u8) -> bool {
    matches!(code, 0x00 | 0x92)
}

/// Table 3-8 [MQTT-3.9.3-2], and of 3.1.1 [MQTT-3.9.3-2].
const fn is_subscribe_reason(version: Version, code: u8) -> bool {
    match version {
        Version::V311 => matches!(code, 0..=2 | 0x80),
        Version::V5 => {
            matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2)
        }
    }
}

/// Table 3-9 [MQTT-3.11.3-2].
const fn is_unsubscribe_reason(code: u8) -> bool {
    matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91)
}

/// Table 3-10 [MQTT-3.14.2-1], and 0x8c, which §2.4 gives to DISCONNECT too.
const fn is_disconnect_reason(from: Sender, code: u8) -> bool {
    match from {
        Sender::Client => matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99),
        Sender::Server => matches!(
            code,
            0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b..=0x90 | 0x93..=0x9f | 0xa0..=0xa2
        ),
    }
}

/// Table 3-11 [MQTT-3.15.2-1].
const fn is_auth_reason(from: Sender, code: u8) -> bool {
    match from {
        Sender::Client => matches!(code, 0x18 | 0x19),
        Sender::Server => matches!(code, 0x00 | 0x18),
    }
}

/// Table 3-1 [MQTT-3.2.2-8].
const fn is_connect_reason(code: u8) -> bool {
    matches!(code, 0x00 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f)
}

fn foreign_reason(clause: &'static str) -> Violation {
    Violation::protocol(clause, "a reason code that this packet must not carry")
}

/// Reason String and User Property; the latter is for people who debug, and is checked and let go.
fn problem<'a>(body: &mut Reader<'a>) -> Result<Option<&'a str>, Violation> {
    let mut reason_string = None;
    visit(body.property_block()?, &Permitted::PROBLEM, |_, property| {
        if let Property::Text(text) = property {
            reason_string = Some(text);
        }
    })?;
    Ok(reason_string)
}

fn ack<'a>(
    version: Version,
    mut body: Reader<'a>,
    clause: &'static str,
    may_say: fn(u8) -> bool,
) -> Result<Ack<'a>, Violation> {
    let mut ack =
        Ack { packet_id: packet_id(&mut body, Reason::PROTOCOL_ERROR)?, reason: Reason::SUCCESS, reason_string: None };
    // 3.1.1 ends here; in 5.0 reason and properties may be left out from the end, §3.4.2.1, §3.4.2.2.1.
    if version == Version::V5 && !body.is_empty() {
        ack.reason = Reason(body.u8()?);
        if !may_say(ack.reason.0) {
            return Err(foreign_reason(clause));
        }
        if !body.is_empty() {
            ack.reason_string = problem(&mut body)?;
        }
    }
    body.finish()?;
    Ok(ack)
}

fn subscribe(version: Version, mut body: Reader<'_>) -> Result<Subscribe<'_>, Violation> {
    let packet_id = packet_id(&mut body, Reason::MALFORMED_PACKET)?;
    let mut subscription_id = None;
    if version == Version::V5 {
        visit(body.property_block()?, &Permitted::SUBSCRIBE, |_, property| {
            if let Property::Varint(id) = property {
                subscription_id = Some(id);
            }
        })?;
    }
    // [MQTT-3.8.3-2]
    if body.is_empty() {
        return Err(Violation::malformed("MQTT-3.8.3-2", "SUBSCRIBE without a topic filter"));
    }
    let mut requests = Vec::new();
    while !body.is_empty() {
        let filter = filter(&mut body)?;
        let options = match version {
            Version::V311 => options_v311(body.u8()?)?,
            Version::V5 => options_v5(body.u8()?)?,
        };
        // [MQTT-3.8.3-4]
        if options.no_local && filter.starts_with("$share/") {
            return Err(Violation::protocol("MQTT-3.8.3-4", "No Local on a shared subscription"));
        }
        requests.push(SubscriptionRequest { filter, options });
    }
    Ok(Subscribe { packet_id, subscription_id, requests })
}

/// [MQTT-3.8.3-1] [MQTT-3.10.3-1], not empty [MQTT-4.7.3-1]. Its wildcards are the session's to judge, per filter.
fn filter<'a>(body: &mut Reader<'a>) -> Result<&'a str, Violation> {
    match body.text()? {
        "" => Err(Violation::malformed("MQTT-4.7.3-1", "an empty topic filter")),
        filter => Ok(filter),
    }
}

/// §3.8.3 of 3.1.1: the upper six bits are reserved.
fn options_v311(byte: u8) -> Result<SubscriptionOptions, Violation> {
    match Qos::from_bits(byte) {
        Some(qos) => Ok(SubscriptionOptions { qos, ..SubscriptionOptions::default() }),
        // [MQTT-3.8.3-4] of 3.1.1
        None => Err(Violation::malformed("MQTT-3.8.3-4 of 3.1.1", "a requested QoS is not 0, 1 or 2")),
    }
}

/// §3.8.3.1
fn options_v5(byte: u8) -> Result<SubscriptionOptions, Violation> {
    // [MQTT-3.8.3-5]
    if byte & 0b1100_0000 != 0 {
        return Err(Violation::malformed("MQTT-3.8.3-5", "reserved subscription options set"));
    }
    let qos = Qos::from_bits(byte & 3).ok_or(Violation::malformed("", "a subscription with QoS 3"))?;
    let retain_handling = match byte >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(Violation::malformed("", "retain handling 3")),
    };
    Ok(SubscriptionOptions { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling })
}

fn unsubscribe(version: Version, mut body: Reader<'_>) -> Result<Unsubscribe<'_>, Violation> {
    let packet_id = packet_id(&mut body, Reason::MALFORMED_PACKET)?;
    if version == Version::V5 {
        visit(body.property_block()?, &Permitted::UNSUBSCRIBE, |_, _| {})?;
    }
    // [MQTT-3.10.3-2]
    if body.is_empty() {
        return Err(Violation::malformed("MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter"));
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(filter(&mut body)?);
    }
    Ok(Unsubscribe { packet_id, filters })
}

fn suback(version: Version, mut body: Reader<'_>) -> Result<SubAck<'_>, Violation> {
    let packet_id = packet_id(&mut body, Reason::PROTOCOL_ERROR)?;
    let reason_string = if version == Version::V5 { problem(&mut body)? } else { None };
    let reasons = reasons(body, "MQTT-3.9.3-2", |code| is_subscribe_reason(version, code))?;
    Ok(SubAck { packet_id, reasons, reason_string })
}

fn unsuback(version: Version, mut body: Reader<'_>) -> Result<SubAck<'_>, Violation> {
    let packet_id = packet_id(&mut body, Reason::PROTOCOL_ERROR)?;
    if version == Version::V311 {
        // §3.11.3 of 3.1.1: no payload.
        body.finish()?;
        return Ok(SubAck { packet_id, reasons: Vec::new(), reason_string: None });
    }
    let reason_string = problem(&mut body)?;
    Ok(SubAck { packet_id, reasons: reasons(body, "MQTT-3.11.3-2", is_unsubscribe_reason)?, reason_string })
}

/// One code for each filter [MQTT-3.8.4-6] [MQTT-3.11.3-1], and requests hold at least one.
fn reasons(mut body: Reader<'_>, clause: &'static str, may_say: impl Fn(u8) -> bool) -> Result<Vec<Reason>, Violation> {
    let codes = body.rest();
    if codes.is_empty() {
        return Err(Violation::malformed("MQTT-3.8.4-6", "an acknowledgement without a reason code"));
    }
    if !codes.iter().all(|&code| may_say(code)) {
        return Err(foreign_reason(clause));
    }
    Ok(codes.iter().copied().map(Reason).collect())
}

fn connack(version: Version, mut body: Reader<'_>) -> Result<ConnAck<'_>, Violation> {
    let flags = body.u8()?;
    // [MQTT-3.2.2-1]
    if flags > 1 {
        return Err(Violation::malformed("MQTT-3.2.2-1", "reserved CONNACK flags set"));
    }
    let code = body.u8()?;
    let mut connack =
        ConnAck { session_present: flags == 1, reason: connack_reason(version, code)?, ..ConnAck::default() };
    // [MQTT-3.2.2-6], [MQTT-3.2.2-4] of 3.1.1
    if connack.session_present && connack.reason != Reason::SUCCESS {
        return Err(Violation::protocol("MQTT-3.2.2-6", "a refusal with session present"));
    }
    if version == Version::V5 {
        connack_properties(&mut connack, body.property_block()?)?;
    }
    body.finish()?;
    Ok(connack)
}

/// Table 3-1; §3.2.2.3 of 3.1.1, whose return codes are told in their 5.0 words.
fn connack_reason(version: Version, code: u8) -> Result<Reason, Violation> {
    match (version, code) {
        (Version::V311, 1) => Ok(Reason::UNSUPPORTED_PROTOCOL_VERSION),
        (Version::V311, 2) => Ok(Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Version::V311, 3) => Ok(Reason::SERVER_UNAVAILABLE),
        (Version::V311, 4) => Ok(Reason::BAD_USER_NAME_OR_PASSWORD),
        (Version::V311, 5) => Ok(Reason::NOT_AUTHORIZED),
        (_, 0) => Ok(Reason::SUCCESS),
        (Version::V5, code) if is_connect_reason(code) => Ok(Reason(code)),
        // [MQTT-3.2.2-8]
        _ => Err(foreign_reason("MQTT-3.2.2-8")),
    }
}

fn connack_properties<'a>(connack: &mut ConnAck<'a>, block: &'a [u8]) -> Result<(), Violation> {
    visit(block, &Permitted::CONNACK, |identifier, property| match (identifier, property) {
        (id::SESSION_EXPIRY, Property::Long(seconds)) => connack.session_expiry_s = Some(seconds),
        (id::RECEIVE_MAXIMUM, Property::Short(maximum)) => connack.receive_maximum = Some(maximum),
        (id::MAXIMUM_QOS, Property::Byte(qos)) => connack.maximum_qos = Some(qos),
        (id::RETAIN_AVAILABLE, Property::Byte(flag)) => connack.retain_available = Some(flag == 1),
        (id::MAXIMUM_PACKET_SIZE, Property::Long(bytes)) => connack.maximum_packet_bytes = Some(bytes),
        (id::ASSIGNED_CLIENT_ID, Property::Text(text)) => connack.assigned_client_id = Some(text),
        (id::TOPIC_ALIAS_MAXIMUM, Property::Short(maximum)) => connack.topic_alias_maximum = Some(maximum),
        (id::REASON_STRING, Property::Text(text)) => connack.reason_string = Some(text),
        (id::USER_PROPERTY, Property::Pair(name, value)) => connack.user_properties.push((name, value)),
        (id::WILDCARD_AVAILABLE, Property::Byte(flag)) => connack.wildcard_available = Some(flag == 1),
        (id::SUBSCRIPTION_IDS_AVAILABLE, Property::Byte(flag)) => {
            connack.subscription_ids_available = Some(flag == 1);
        }
        (id::SHARED_AVAILABLE, Property::Byte(flag)) => connack.shared_available = Some(flag == 1),
        (id::SERVER_KEEP_ALIVE, Property::Short(seconds)) => connack.server_keep_alive_s = Some(seconds),
        (id::RESPONSE_INFORMATION, Property::Text(text)) => connack.response_information = Some(text),
        (id::SERVER_REFERENCE, Property::Text(text)) => connack.server_reference = Some(text),
        // Authentication Method and Data: no enhanced authentication is spoken here.
        _ => {}
    })?;
    Ok(())
}

fn disconnect(version: Version, from: Sender, mut body: Reader<'_>) -> Result<Disconnect<'_>, Violation> {
    let mut disconnect = Disconnect::default();
    // 3.1.1 ends here; in 5.0 reason and properties may be left out from the end, §3.14.2.1, §3.14.2.2.1.
    if version == Version::V5 && !body.is_empty() {
        disconnect.reason = Reason(body.u8()?);
        // [MQTT-3.14.2-1]. Not answered: a peer that says goodbye does not wait for a reply.
        if !is_disconnect_reason(from, disconnect.reason.0) {
            return Err(foreign_reason("MQTT-3.14.2-1").silent());
        }
        if !body.is_empty() {
            disconnect_properties(&mut disconnect, from, body.property_block()?)?;
        }
    }
    body.finish()?;
    Ok(disconnect)
}

fn disconnect_properties<'a>(disconnect: &mut Disconnect<'a>, from: Sender, block: &'a [u8]) -> Result<(), Violation> {
    let permitted = match from {
        Sender::Client => &Permitted::DISCONNECT_OF_CLIENT,
        // [MQTT-3.14.2-2]
        Sender::Server => &Permitted::DISCONNECT_OF_SERVER,
    };
    visit(block, permitted, |identifier, property| match (identifier, property) {
        (id::SESSION_EXPIRY, Property::Long(seconds)) => disconnect.session_expiry_s = Some(seconds),
        (id::REASON_STRING, Property::Text(text)) => disconnect.reason_string = Some(text),
        (id::SERVER_REFERENCE, Property::Text(text)) => disconnect.server_reference = Some(text),
        _ => {}
    })?;
    Ok(())
}

fn auth(from: Sender, mut body: Reader<'_>) -> Result<Auth<'_>, Violation> {
    let mut auth = Auth { reason: Reason::SUCCESS, method: None, data: None, reason_string: None };
    let bare = body.is_empty();
    if !bare {
        auth.reason = Reason(body.u8()?);
    }
    if !is_auth_reason(from, auth.reason.0) {
        return Err(foreign_reason("MQTT-3.15.2-1"));
    }
    // §3.15.2.1: success without properties may be left out altogether, and only so.
    if bare {
        return Ok(auth);
    }
    visit(body.property_block()?, &Permitted::AUTH, |identifier, property| match (identifier, property) {
        (id::AUTHENTICATION_METHOD, Property::Text(text)) => auth.method = Some(text),
        (id::AUTHENTICATION_DATA, Property::Binary(data)) => auth.data = Some(data),
        (id::REASON_STRING, Property::Text(text)) => auth.reason_string = Some(text),
        _ => {}
    })?;
    body.finish()?;
    // §3.15.2.2.2
    if auth.method.is_none() {
        return Err(Violation::protocol("", "AUTH without an authentication method"));
    }
    Ok(auth)
}
