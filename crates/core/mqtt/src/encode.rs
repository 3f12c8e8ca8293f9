//! Packets to bytes. Everything is appended to a buffer, so that a batch of packets is one write.
//!
//! No argument makes these functions panic or write a malformed length. Those that a client calls with its user's
//! values ([`connect`], [`try_publish`], [`subscribe`], [`unsubscribe`], [`auth`]) return an [`EncodeError`] and write
//! nothing if a field is too long. Those that carry what a server made of valid values are infallible: an optional
//! text of more than 65535 bytes is left out, and a packet that cannot exist (a topic or an acknowledgement longer
//! than any receivable packet) writes nothing.
//!
//! They do not check again what types or the decoder checked already: a topic is a topic name, text holds no U+0000.

use portreeve_types::Qos;

use crate::{
    Auth, ConnAck, Connect, Disconnect, MessageProperties, Packet, Reason, SubAck, Subscribe, SubscriptionOptions,
    Unsubscribe, Version,
    packet::Kind,
    properties::{UserProperties, id, put_binary, put_text},
    wire::{VARINT_MAX, put_varint, varint_len},
};

/// Why a packet cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text or binary field has more than 65535 bytes, §1.5.4, §1.5.6.
    #[error("a field of an MQTT packet has at most 65535 bytes")]
    FieldTooLong,
    /// The packet would have more than 268,435,455 bytes, §1.5.5.
    #[error("an MQTT packet has at most 268435455 bytes behind its header")]
    PacketTooLong,
    /// A text holds U+0000 or a control character, §1.5.4.
    #[error("text in an MQTT packet holds no control characters")]
    Text,
}

/// Which acknowledgement to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// §3.4
    PubAck,
    /// §3.5
    PubRec,
    /// §3.6
    PubRel,
    /// §3.7
    PubComp,
}

/// A PUBLISH without its payload. `Default` is a QoS 0 message without properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishHeader<'a> {
    /// DUP, which QoS 0 never has [MQTT-3.3.1-2].
    pub dup: bool,
    /// Delivery guarantee.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Written if QoS > 0; must not be 0 then.
    pub packet_id: u16,
    /// Empty if the alias stands for it.
    pub topic: &'a str,
    /// 5.0 only.
    pub topic_alias: Option<u16>,
    /// 5.0 only.
    pub subscription_ids: &'a [u32],
    /// Message Expiry Interval still left, seconds; 5.0 only.
    pub expiry_s: Option<u32>,
    /// What [`MessageProperties::encode_forwarded`] wrote; 5.0 only.
    pub forwarded: &'a [u8],
}

/// Writes a length, then what it counts.
fn with_length(
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    // Most lengths take one byte; a longer one makes room for itself.
    out.push(0);
    fill(out)?;
    let length = out.len() - start - 1;
    if length > VARINT_MAX {
        return Err(EncodeError::PacketTooLong);
    }
    let mut encoded = Vec::with_capacity(4);
    put_varint(&mut encoded, length);
    out.splice(start..=start, encoded);
    Ok(())
}

/// Writes a whole packet, or nothing.
fn packet(
    out: &mut Vec<u8>,
    kind: Kind,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.push(kind.first_byte());
    let written = with_length(out, fill);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Writes a packet of which every part is bounded.
fn bounded(out: &mut Vec<u8>, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) {
    // Nothing is written if the bound does not hold after all; see the module's words on acknowledgements.
    let _ = packet(out, kind, |out| {
        fill(out);
        Ok(())
    });
}

/// A property block of which every part is bounded.
fn bounded_block(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let written = with_length(out, |out| {
        fill(out);
        Ok(())
    });
    if written.is_err() {
        out.truncate(start);
        out.push(0);
    }
}

fn byte(out: &mut Vec<u8>, identifier: u8, value: Option<u8>) {
    out.extend(value.map(|value| [identifier, value]).into_iter().flatten());
}

fn flag(out: &mut Vec<u8>, identifier: u8, value: Option<bool>) {
    byte(out, identifier, value.map(u8::from));
}

fn short(out: &mut Vec<u8>, identifier: u8, value: Option<u16>) {
    if let Some(value) = value {
        out.push(identifier);
        out.extend(value.to_be_bytes());
    }
}

fn long(out: &mut Vec<u8>, identifier: u8, value: Option<u32>) {
    if let Some(value) = value {
        out.push(identifier);
        out.extend(value.to_be_bytes());
    }
}

fn binary(out: &mut Vec<u8>, identifier: u8, value: Option<&[u8]>) -> Result<(), EncodeError> {
    let Some(value) = value else { return Ok(()) };
    out.push(identifier);
    put_binary(out, value)
}

fn text(out: &mut Vec<u8>, identifier: u8, value: Option<&str>) -> Result<(), EncodeError> {
    binary(out, identifier, value.map(str::as_bytes))
}

/// Leaves out what does not fit.
fn short_text(out: &mut Vec<u8>, identifier: u8, value: Option<&str>) {
    let start = out.len();
    if text(out, identifier, value).is_err() {
        out.truncate(start);
    }
}

fn user(out: &mut Vec<u8>, properties: &UserProperties<'_>) -> Result<(), EncodeError> {
    UserProperties::encode(out, properties.iter())
}

/// §3.1
///
/// # Errors
/// [`EncodeError`] if a field is too long.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) -> Result<(), EncodeError> {
    packet(out, Kind::Connect, |out| {
        put_text(out, "MQTT")?;
        out.extend([connect.version as u8, connect_flags(connect)]);
        out.extend(connect.keep_alive_s.to_be_bytes());
        if connect.version == Version::V5 {
            with_length(out, |out| connect_properties(out, connect))?;
        }
        put_text(out, connect.client_id)?;
        if let Some(will) = &connect.will {
            if connect.version == Version::V5 {
                with_length(out, |out| {
                    long(out, id::WILL_DELAY, Some(will.delay_s).filter(|&delay| delay > 0));
                    long(out, id::MESSAGE_EXPIRY, will.properties.expiry_s);
                    check_message(&will.properties)?;
                    will.properties.encode_forwarded(out);
                    Ok(())
                })?;
            }
            put_text(out, will.topic)?;
            put_binary(out, will.payload)?;
        }
        connect.username.map_or(Ok(()), |name| put_text(out, name))?;
        connect.password.map_or(Ok(()), |password| put_binary(out, password))
    })
}

/// What [`MessageProperties::encode_forwarded`] would leave out.
fn check_message(properties: &MessageProperties<'_>) -> Result<(), EncodeError> {
    let lengths = [
        properties.content_type.map_or(0, str::len),
        properties.response_topic.map_or(0, str::len),
        properties.correlation_data.map_or(0, <[u8]>::len),
    ];
    if lengths.iter().any(|&bytes| bytes > usize::from(u16::MAX)) { Err(EncodeError::FieldTooLong) } else { Ok(()) }
}

fn connect_flags(connect: &Connect<'_>) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| 4 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.username.is_some()) << 7
}

fn connect_properties(out: &mut Vec<u8>, connect: &Connect<'_>) -> Result<(), EncodeError> {
    long(out, id::SESSION_EXPIRY, connect.session_expiry_s);
    short(out, id::RECEIVE_MAXIMUM, connect.receive_maximum.filter(|&maximum| maximum > 0));
    long(out, id::MAXIMUM_PACKET_SIZE, connect.maximum_packet_bytes.filter(|&bytes| bytes > 0));
    short(out, id::TOPIC_ALIAS_MAXIMUM, Some(connect.topic_alias_maximum).filter(|&maximum| maximum > 0));
    flag(out, id::REQUEST_RESPONSE_INFORMATION, Some(true).filter(|_| connect.request_response_information));
    flag(out, id::REQUEST_PROBLEM_INFORMATION, Some(false).filter(|_| !connect.request_problem_information));
    user(out, &connect.user_properties)?;
    text(out, id::AUTHENTICATION_METHOD, connect.authentication_method)?;
    binary(out, id::AUTHENTICATION_DATA, connect.authentication_data)
}

/// §3.2. A refusal never says that a session is present [MQTT-3.2.2-6], [MQTT-3.2.2-4] of 3.1.1.
pub fn connack(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>) {
    let session_present = u8::from(connack.session_present && connack.reason == Reason::SUCCESS);
    bounded(out, Kind::ConnAck, |out| match version {
        Version::V311 => out.extend([session_present, connack.reason.connect_return_code()]),
        Version::V5 => {
            out.extend([session_present, connack.reason.0]);
            bounded_block(out, |out| connack_properties(out, connack));
        }
    });
}

/// Recorded sequences compare CONNACK byte by byte and know the first four in this order.
fn connack_properties(out: &mut Vec<u8>, connack: &ConnAck<'_>) {
    short(out, id::TOPIC_ALIAS_MAXIMUM, connack.topic_alias_maximum);
    short_text(out, id::ASSIGNED_CLIENT_ID, connack.assigned_client_id);
    long(out, id::MAXIMUM_PACKET_SIZE, connack.maximum_packet_bytes.filter(|&bytes| bytes > 0));
    short(out, id::RECEIVE_MAXIMUM, connack.receive_maximum.filter(|&maximum| maximum > 0));
    long(out, id::SESSION_EXPIRY, connack.session_expiry_s);
    byte(out, id::MAXIMUM_QOS, connack.maximum_qos.filter(|&qos| qos < 2));
    flag(out, id::RETAIN_AVAILABLE, connack.retain_available);
    flag(out, id::WILDCARD_AVAILABLE, connack.wildcard_available);
    flag(out, id::SUBSCRIPTION_IDS_AVAILABLE, connack.subscription_ids_available);
    flag(out, id::SHARED_AVAILABLE, connack.shared_available);
    short(out, id::SERVER_KEEP_ALIVE, connack.server_keep_alive_s);
    short_text(out, id::RESPONSE_INFORMATION, connack.response_information);
    short_text(out, id::SERVER_REFERENCE, connack.server_reference);
    short_text(out, id::REASON_STRING, connack.reason_string);
    for &pair in &connack.user_properties {
        // A pair that cannot be said is left out like any other text.
        let _ = UserProperties::encode(out, [pair]);
    }
}

/// §3.3, for a topic that is a topic name and a message that arrived in a packet: neither can be too long.
pub fn publish(out: &mut Vec<u8>, version: Version, header: &PublishHeader<'_>, payload: &[u8]) {
    let _ = try_publish(out, version, header, payload);
}

/// §3.3, for values that nobody has checked.
///
/// # Errors
/// [`EncodeError`] if the topic or the whole packet is too long.
pub fn try_publish(
    out: &mut Vec<u8>,
    version: Version,
    header: &PublishHeader<'_>,
    payload: &[u8],
) -> Result<(), EncodeError> {
    let topic_bytes = u16::try_from(header.topic.len()).map_err(|_| EncodeError::FieldTooLong)?;
    let properties = properties_len(header);
    let remaining = remaining_len(version, header, properties, payload.len());
    if remaining > VARINT_MAX {
        return Err(EncodeError::PacketTooLong);
    }
    out.reserve(1 + varint_len(remaining) + remaining);
    out.push(publish_first_byte(header));
    put_varint(out, remaining);
    out.extend_from_slice(&topic_bytes.to_be_bytes());
    out.extend_from_slice(header.topic.as_bytes());
    if header.qos != Qos::AtMostOnce {
        out.extend_from_slice(&header.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        put_varint(out, properties);
        if properties > 0 {
            publish_properties(out, header);
        }
    }
    out.extend_from_slice(payload);
    Ok(())
}

fn publish_first_byte(header: &PublishHeader<'_>) -> u8 {
    // [MQTT-3.3.1-2]
    let dup = header.dup && header.qos != Qos::AtMostOnce;
    Kind::Publish.first_byte() | u8::from(dup) << 3 | (header.qos as u8) << 1 | u8::from(header.retain)
}

fn publish_properties(out: &mut Vec<u8>, header: &PublishHeader<'_>) {
    for &subscription_id in header.subscription_ids {
        out.push(id::SUBSCRIPTION_ID);
        put_varint(out, subscription_id_value(subscription_id));
    }
    out.extend_from_slice(header.forwarded);
    long(out, id::MESSAGE_EXPIRY, header.expiry_s);
    short(out, id::TOPIC_ALIAS, header.topic_alias);
}

/// A subscription identifier is a variable byte integer; a server has only those that a SUBSCRIBE gave it.
fn subscription_id_value(subscription_id: u32) -> usize {
    usize::try_from(subscription_id).unwrap_or(VARINT_MAX).min(VARINT_MAX)
}

fn properties_len(header: &PublishHeader<'_>) -> usize {
    let id_len = |&subscription_id: &u32| 1 + varint_len(subscription_id_value(subscription_id));
    header.forwarded.len()
        + header.subscription_ids.iter().map(id_len).sum::<usize>()
        + header.expiry_s.map_or(0, |_| 5)
        + header.topic_alias.map_or(0, |_| 3)
}

fn remaining_len(version: Version, header: &PublishHeader<'_>, properties: usize, payload: usize) -> usize {
    let packet_id = if header.qos == Qos::AtMostOnce { 0 } else { 2 };
    let block = match version {
        Version::V311 => 0,
        Version::V5 => varint_len(properties) + properties,
    };
    2 + header.topic.len() + packet_id + block + payload
}

/// How long the packet that [`publish`] writes is, for the receiver's maximum packet size [MQTT-3.1.2-24].
#[must_use]
pub fn publish_len(version: Version, header: &PublishHeader<'_>, payload_bytes: usize) -> usize {
    let remaining = remaining_len(version, header, properties_len(header), payload_bytes);
    1 + varint_len(remaining) + remaining
}

/// §3.4 to §3.7, in the shortest form: 5.0 leaves out a success and an empty property block.
pub fn ack(
    out: &mut Vec<u8>,
    version: Version,
    kind: AckKind,
    packet_id: u16,
    reason: Reason,
    reason_string: Option<&str>,
) {
    let first = match kind {
        AckKind::PubAck => Kind::PubAck,
        AckKind::PubRec => Kind::PubRec,
        AckKind::PubRel => Kind::PubRel,
        AckKind::PubComp => Kind::PubComp,
    }
    .first_byte();
    let [high, low] = packet_id.to_be_bytes();
    let reason_string = reason_string.filter(|text| text.len() <= usize::from(u16::MAX));
    match (version, reason_string) {
        (Version::V311, _) => out.extend([first, 2, high, low]),
        (Version::V5, None) if reason == Reason::SUCCESS => out.extend([first, 2, high, low]),
        (Version::V5, None) => out.extend([first, 3, high, low, reason.0]),
        (Version::V5, Some(text)) => {
            let properties = 3 + text.len();
            out.push(first);
            put_varint(out, 3 + varint_len(properties) + properties);
            out.extend([high, low, reason.0]);
            put_varint(out, properties);
            short_text(out, id::REASON_STRING, Some(text));
        }
    }
}

/// §3.8
///
/// # Errors
/// [`EncodeError`] if a filter or the whole packet is too long.
pub fn subscribe(out: &mut Vec<u8>, version: Version, subscribe: &Subscribe<'_>) -> Result<(), EncodeError> {
    packet(out, Kind::Subscribe, |out| {
        out.extend(subscribe.packet_id.to_be_bytes());
        if version == Version::V5 {
            with_length(out, |out| {
                if let Some(subscription_id) = subscribe.subscription_id {
                    out.push(id::SUBSCRIPTION_ID);
                    put_varint(out, subscription_id_value(subscription_id));
                }
                Ok(())
            })?;
        }
        for request in &subscribe.requests {
            put_text(out, request.filter)?;
            out.push(options(version, request.options));
        }
        Ok(())
    })
}

fn options(version: Version, options: SubscriptionOptions) -> u8 {
    let qos = options.qos as u8;
    match version {
        Version::V311 => qos,
        Version::V5 => {
            qos | u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | (options.retain_handling as u8) << 4
        }
    }
}

/// §3.9. A failure is 0x80 in 3.1.1, whatever the reason.
pub fn suback(out: &mut Vec<u8>, version: Version, suback: &SubAck<'_>) {
    bounded(out, Kind::SubAck, |out| {
        out.extend(suback.packet_id.to_be_bytes());
        match version {
            Version::V311 => {
                let code = |reason: &Reason| if reason.is_error() { Reason::UNSPECIFIED_ERROR.0 } else { reason.0 };
                out.extend(suback.reasons.iter().map(code));
            }
            Version::V5 => suback_v5(out, suback),
        }
    });
}

fn suback_v5(out: &mut Vec<u8>, suback: &SubAck<'_>) {
    bounded_block(out, |out| short_text(out, id::REASON_STRING, suback.reason_string));
    out.extend(suback.reasons.iter().map(|reason| reason.0));
}

/// §3.10
///
/// # Errors
/// [`EncodeError`] if a filter or the whole packet is too long.
pub fn unsubscribe(out: &mut Vec<u8>, version: Version, unsubscribe: &Unsubscribe<'_>) -> Result<(), EncodeError> {
    packet(out, Kind::Unsubscribe, |out| {
        out.extend(unsubscribe.packet_id.to_be_bytes());
        if version == Version::V5 {
            out.push(0);
        }
        unsubscribe.filters.iter().try_for_each(|filter| put_text(out, filter))
    })
}

/// §3.11. 3.1.1 carries no reasons.
pub fn unsuback(out: &mut Vec<u8>, version: Version, unsuback: &SubAck<'_>) {
    bounded(out, Kind::UnsubAck, |out| {
        out.extend(unsuback.packet_id.to_be_bytes());
        if version == Version::V5 {
            suback_v5(out, unsuback);
        }
    });
}

/// §3.12
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend([Kind::PingReq.first_byte(), 0]);
}

/// §3.13
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend([Kind::PingResp.first_byte(), 0]);
}

/// §3.14, in the shortest form. In 3.1.1 only a client sends it, and it says nothing.
pub fn disconnect(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>) {
    let bare = Disconnect { reason: disconnect.reason, ..Disconnect::default() } == *disconnect;
    bounded(out, Kind::Disconnect, |out| {
        if version == Version::V311 || (bare && disconnect.reason == Reason::SUCCESS) {
            return;
        }
        out.push(disconnect.reason.0);
        if !bare {
            bounded_block(out, |out| {
                long(out, id::SESSION_EXPIRY, disconnect.session_expiry_s);
                short_text(out, id::REASON_STRING, disconnect.reason_string);
                short_text(out, id::SERVER_REFERENCE, disconnect.server_reference);
            });
        }
    });
}

/// §3.15, 5.0 only.
///
/// # Errors
/// [`EncodeError`] if a field is too long.
pub fn auth(out: &mut Vec<u8>, auth: &Auth<'_>) -> Result<(), EncodeError> {
    let bare = auth.method.is_none() && auth.data.is_none() && auth.reason_string.is_none();
    packet(out, Kind::Auth, |out| {
        if bare && auth.reason == Reason::SUCCESS {
            return Ok(());
        }
        out.push(auth.reason.0);
        with_length(out, |out| {
            text(out, id::AUTHENTICATION_METHOD, auth.method)?;
            binary(out, id::AUTHENTICATION_DATA, auth.data)?;
            text(out, id::REASON_STRING, auth.reason_string)
        })
    })
}

/// Any packet: for tools and tests, and for a client that queues packets of all kinds.
///
/// # Errors
/// [`EncodeError`] if a field or the whole packet is too long.
pub fn any(out: &mut Vec<u8>, version: Version, packet: &Packet<'_>) -> Result<(), EncodeError> {
    let acknowledge = |out: &mut Vec<u8>, kind, answer: &crate::Ack<'_>| {
        ack(out, version, kind, answer.packet_id, answer.reason, answer.reason_string);
    };
    match packet {
        Packet::Connect(packet) => return connect(out, packet),
        Packet::Publish(packet) => {
            check_message(&packet.properties)?;
            let mut forwarded = Vec::new();
            packet.properties.encode_forwarded(&mut forwarded);
            let header = PublishHeader {
                dup: packet.dup,
                qos: packet.qos,
                retain: packet.retain,
                packet_id: packet.packet_id,
                topic: packet.topic,
                topic_alias: packet.topic_alias,
                subscription_ids: &packet.subscription_ids,
                expiry_s: packet.properties.expiry_s,
                forwarded: &forwarded,
            };
            return try_publish(out, version, &header, packet.payload);
        }
        Packet::Subscribe(packet) => return subscribe(out, version, packet),
        Packet::Unsubscribe(packet) => return unsubscribe(out, version, packet),
        Packet::Auth(packet) => return auth(out, packet),
        Packet::ConnAck(packet) => connack(out, version, packet),
        Packet::PubAck(packet) => acknowledge(out, AckKind::PubAck, packet),
        Packet::PubRec(packet) => acknowledge(out, AckKind::PubRec, packet),
        Packet::PubRel(packet) => acknowledge(out, AckKind::PubRel, packet),
        Packet::PubComp(packet) => acknowledge(out, AckKind::PubComp, packet),
        Packet::SubAck(packet) => suback(out, version, packet),
        Packet::UnsubAck(packet) => unsuback(out, version, packet),
        Packet::PingReq => pingreq(out),
        Packet::PingResp => pingresp(out),
        Packet::Disconnect(packet) => disconnect(out, version, packet),
    }
    Ok(())
}
