use std::fmt;

use crate::{
    MessageProperties, Reason, Violation,
    encode::EncodeError,
    wire::{Reader, text},
};

/// Property identifiers, §2.2.2.2.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0b;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1a;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1c;
    pub(crate) const REASON_STRING: u8 = 0x1f;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_AVAILABLE: u8 = 0x2a;
}

/// One property, its value of the type that its identifier demands.
#[derive(Clone, Copy)]
pub(crate) enum Property<'a> {
    Byte(u8),
    Short(u16),
    Long(u32),
    Varint(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

/// Which properties a packet may carry, and what a property that is out of place is.
pub(crate) struct Permitted {
    identifiers: u64,
    repeatable: u64,
    misplaced: Reason,
}

const fn set(identifiers: &[u8]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < identifiers.len() {
        bits |= 1 << identifiers[at];
        at += 1;
    }
    bits
}

const FORWARDED_IDS: u64 =
    set(&[id::PAYLOAD_FORMAT, id::CONTENT_TYPE, id::RESPONSE_TOPIC, id::CORRELATION_DATA, id::USER_PROPERTY]);
const MESSAGE_IDS: u64 = FORWARDED_IDS | set(&[id::MESSAGE_EXPIRY]);
const USER: u64 = set(&[id::USER_PROPERTY]);
const PROBLEM_IDS: u64 = set(&[id::REASON_STRING, id::USER_PROPERTY]);

impl Permitted {
    const fn of(identifiers: u64) -> Self {
        Self { identifiers, repeatable: USER, misplaced: Reason::PROTOCOL_ERROR }
    }

    pub(crate) const CONNECT: Self = Self::of(
        USER | set(&[
            id::SESSION_EXPIRY,
            id::AUTHENTICATION_METHOD,
            id::AUTHENTICATION_DATA,
            id::REQUEST_PROBLEM_INFORMATION,
            id::REQUEST_RESPONSE_INFORMATION,
            id::RECEIVE_MAXIMUM,
            id::TOPIC_ALIAS_MAXIMUM,
            id::MAXIMUM_PACKET_SIZE,
        ]),
    );
    pub(crate) const WILL: Self = Self::of(MESSAGE_IDS | set(&[id::WILL_DELAY]));
    pub(crate) const CONNACK: Self = Self::of(
        PROBLEM_IDS
            | set(&[
                id::SESSION_EXPIRY,
                id::ASSIGNED_CLIENT_ID,
                id::SERVER_KEEP_ALIVE,
                id::AUTHENTICATION_METHOD,
                id::AUTHENTICATION_DATA,
                id::RESPONSE_INFORMATION,
                id::SERVER_REFERENCE,
                id::RECEIVE_MAXIMUM,
                id::TOPIC_ALIAS_MAXIMUM,
                id::MAXIMUM_QOS,
                id::RETAIN_AVAILABLE,
                id::MAXIMUM_PACKET_SIZE,
                id::WILDCARD_AVAILABLE,
                id::SUBSCRIPTION_IDS_AVAILABLE,
                id::SHARED_AVAILABLE,
            ]),
    );
    /// A client must not send subscription identifiers [MQTT-3.3.4-6].
    pub(crate) const PUBLISH_OF_CLIENT: Self = Self::of(MESSAGE_IDS | set(&[id::TOPIC_ALIAS]));
    /// A server sends one for each subscription that matched [MQTT-3.3.4-4].
    pub(crate) const PUBLISH_OF_SERVER: Self = Self {
        identifiers: Self::PUBLISH_OF_CLIENT.identifiers | set(&[id::SUBSCRIPTION_ID]),
        repeatable: USER | set(&[id::SUBSCRIPTION_ID]),
        misplaced: Reason::PROTOCOL_ERROR,
    };
    pub(crate) const PROBLEM: Self = Self::of(PROBLEM_IDS);
    /// §2.2.2.2 calls a property that is not valid for its packet type malformed; the recorded sequences that the
    /// hub is measured by want it so here and 0x82 everywhere else, which §2.2.2 allows too.
    pub(crate) const SUBSCRIBE: Self =
        Self { identifiers: USER | set(&[id::SUBSCRIPTION_ID]), repeatable: USER, misplaced: Reason::MALFORMED_PACKET };
    pub(crate) const UNSUBSCRIBE: Self =
        Self { identifiers: USER, repeatable: USER, misplaced: Reason::MALFORMED_PACKET };
    pub(crate) const DISCONNECT_OF_CLIENT: Self =
        Self::of(PROBLEM_IDS | set(&[id::SESSION_EXPIRY, id::SERVER_REFERENCE]));
    /// [MQTT-3.14.2-2]: a server must not send a session expiry.
    pub(crate) const DISCONNECT_OF_SERVER: Self = Self::of(PROBLEM_IDS | set(&[id::SERVER_REFERENCE]));
    pub(crate) const AUTH: Self = Self::of(PROBLEM_IDS | set(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA]));
    const FORWARDED: Self = Self::of(FORWARDED_IDS);
}

/// Reads one property, whether or not it is in place.
fn read<'a>(reader: &mut Reader<'a>) -> Result<(u8, Property<'a>), Violation> {
    // An identifier is a variable byte integer; all that exist take one byte, so a longer one is unknown.
    let identifier = reader.u8()?;
    let property = match identifier {
        id::PAYLOAD_FORMAT
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_AVAILABLE
        | id::SUBSCRIPTION_IDS_AVAILABLE
        | id::SHARED_AVAILABLE => Property::Byte(reader.u8()?),
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            Property::Short(reader.u16()?)
        }
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY | id::MAXIMUM_PACKET_SIZE => {
            Property::Long(reader.u32()?)
        }
        id::SUBSCRIPTION_ID => Property::Varint(reader.varint()?),
        id::CONTENT_TYPE
        | id::RESPONSE_TOPIC
        | id::ASSIGNED_CLIENT_ID
        | id::AUTHENTICATION_METHOD
        | id::RESPONSE_INFORMATION
        | id::SERVER_REFERENCE
        | id::REASON_STRING => Property::Text(reader.text()?),
        id::CORRELATION_DATA | id::AUTHENTICATION_DATA => Property::Binary(reader.binary()?),
        id::USER_PROPERTY => Property::Pair(reader.text()?, reader.text()?),
        _ => return Err(Violation::malformed("", "unknown property")),
    };
    Ok((identifier, property))
}

/// What a value may be, beyond its type.
fn check(identifier: u8, property: Property<'_>) -> Result<(), Violation> {
    let detail = match (identifier, property) {
        (id::TOPIC_ALIAS, Property::Short(0)) => {
            return Err(Violation::new(Reason::TOPIC_ALIAS_INVALID, "MQTT-3.3.2-8", "topic alias 0"));
        }
        (id::RESPONSE_TOPIC, Property::Text(topic)) if topic.is_empty() || topic.contains(['+', '#']) => {
            return Err(Violation::protocol("MQTT-3.3.2-14", "the response topic is not a topic name"));
        }
        // The only place where it may stand and be 0 is a SUBSCRIBE, of which everything wrong is malformed.
        (id::SUBSCRIPTION_ID, Property::Varint(0)) => {
            return Err(Violation::malformed("", "subscription identifier 0"));
        }
        (id::RECEIVE_MAXIMUM, Property::Short(0)) => "receive maximum 0",
        (id::MAXIMUM_PACKET_SIZE, Property::Long(0)) => "maximum packet size 0",
        // The payload format, maximum QoS, and the properties that are yes or no.
        (_, Property::Byte(2..)) => "a property that is 0 or 1 has another value",
        _ => return Ok(()),
    };
    Err(Violation::protocol("", detail))
}

/// Visits every property of a block, checked. Returns whether user properties are among them.
pub(crate) fn visit<'a>(
    block: &'a [u8],
    permitted: &Permitted,
    mut visitor: impl FnMut(u8, Property<'a>),
) -> Result<UserProperties<'a>, Violation> {
    let mut reader = Reader(block);
    let mut seen = 0_u64;
    while !reader.is_empty() {
        let (identifier, property) = read(&mut reader)?;
        let bit = 1 << identifier;
        if seen & bit & !permitted.repeatable != 0 {
            return Err(Violation::protocol("", "a property that may stand once stands twice"));
        }
        if permitted.identifiers & bit == 0 {
            return Err(Violation::new(permitted.misplaced, "", "a property that this packet must not carry"));
        }
        check(identifier, property)?;
        seen |= bit;
        visitor(identifier, property);
    }
    Ok(UserProperties { block, any: seen & USER != 0 })
}

/// The user properties of a packet, still in the validated property block they arrived in.
///
/// Two compare equal if they hold the same pairs in the same order.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    block: &'a [u8],
    any: bool,
}

impl<'a> UserProperties<'a> {
    /// Name and value of each, in the sender's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut reader = Reader(if self.any { self.block } else { &[] });
        // The block was validated, so reading ends only at its end.
        std::iter::from_fn(move || {
            while !reader.is_empty() {
                if let (_, Property::Pair(name, value)) = read(&mut reader).ok()? {
                    return Some((name, value));
                }
            }
            None
        })
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.any
    }

    /// Reads what [`UserProperties::encode`] wrote.
    ///
    /// # Errors
    /// A [`Violation`] unless the block holds user properties and nothing else.
    pub fn decode(block: &'a [u8]) -> Result<Self, Violation> {
        visit(block, &Permitted::UNSUBSCRIBE, |_, _| {})
    }

    /// Appends pairs as a property block without its length.
    ///
    /// # Errors
    /// [`EncodeError`] if a name or value is not text that MQTT can carry; then nothing is written.
    pub fn encode<'p>(
        out: &mut Vec<u8>,
        pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        for (name, value) in pairs {
            if text(name.as_bytes()).is_err() || text(value.as_bytes()).is_err() {
                out.truncate(start);
                return Err(EncodeError::Text);
            }
            out.push(id::USER_PROPERTY);
            if let Err(error) = put_text(out, name).and_then(|()| put_text(out, value)) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> MessageProperties<'a> {
    /// Takes a property in, if it is one of a message's.
    pub(crate) fn take(&mut self, identifier: u8, property: Property<'a>) {
        match (identifier, property) {
            (id::PAYLOAD_FORMAT, Property::Byte(byte)) => self.payload_is_utf8 = Some(byte == 1),
            (id::MESSAGE_EXPIRY, Property::Long(seconds)) => self.expiry_s = Some(seconds),
            (id::CONTENT_TYPE, Property::Text(text)) => self.content_type = Some(text),
            (id::RESPONSE_TOPIC, Property::Text(text)) => self.response_topic = Some(text),
            (id::CORRELATION_DATA, Property::Binary(data)) => self.correlation_data = Some(data),
            _ => {}
        }
    }

    /// Appends what receivers get unaltered [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17]
    /// [MQTT-3.3.2-20], as raw property bytes without their length: everything but the expiry, in the order in which
    /// it arrived.
    ///
    /// A field that no sender could have encoded (longer than 65535 bytes) is left out.
    pub fn encode_forwarded(&self, out: &mut Vec<u8>) {
        let is_bare = self.payload_is_utf8.is_none()
            && self.content_type.is_none()
            && self.response_topic.is_none()
            && self.correlation_data.is_none();
        // Most messages have none.
        if is_bare && self.user_properties.is_empty() {
            return;
        }
        // A copy whose fields are taken as they are written: first in the order of arrival, then what is left.
        let mut left = MessageProperties { user_properties: UserProperties::default(), ..self.clone() };
        let mut reader = Reader(self.user_properties.block);
        while let Ok((identifier, property)) = read(&mut reader) {
            match property {
                Property::Pair(name, value) if self.user_properties.any => put_pair(out, name, value),
                _ => left.put(out, identifier),
            }
        }
        for identifier in [id::PAYLOAD_FORMAT, id::CONTENT_TYPE, id::RESPONSE_TOPIC, id::CORRELATION_DATA] {
            left.put(out, identifier);
        }
    }

    /// Writes one field, once.
    fn put(&mut self, out: &mut Vec<u8>, identifier: u8) {
        let bytes = match identifier {
            id::PAYLOAD_FORMAT => {
                if let Some(flag) = self.payload_is_utf8.take() {
                    out.extend([identifier, u8::from(flag)]);
                }
                return;
            }
            id::CONTENT_TYPE => self.content_type.take().map(str::as_bytes),
            id::RESPONSE_TOPIC => self.response_topic.take().map(str::as_bytes),
            id::CORRELATION_DATA => self.correlation_data.take(),
            _ => None,
        };
        let Some((bytes, length)) = bytes.and_then(|bytes| Some((bytes, u16::try_from(bytes.len()).ok()?))) else {
            return;
        };
        out.push(identifier);
        out.extend(length.to_be_bytes());
        out.extend(bytes);
    }

    /// Reads what [`MessageProperties::encode_forwarded`] wrote.
    ///
    /// # Errors
    /// A [`Violation`] if the block holds anything else.
    pub fn decode_forwarded(block: &'a [u8]) -> Result<Self, Violation> {
        let mut properties = Self::default();
        properties.user_properties = visit(block, &Permitted::FORWARDED, |identifier, property| {
            properties.take(identifier, property);
        })?;
        Ok(properties)
    }
}

/// Both came out of a validated block, so they fit.
fn put_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    let start = out.len();
    out.push(id::USER_PROPERTY);
    if put_text(out, name).and_then(|()| put_text(out, value)).is_err() {
        out.truncate(start);
    }
}

/// §1.5.4
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    put_binary(out, text.as_bytes())
}

/// §1.5.6
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong)?;
    out.extend(length.to_be_bytes());
    out.extend(bytes);
    Ok(())
}
