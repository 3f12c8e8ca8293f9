//! The control packets of MQTT 3.1.1 and 5.0, borrowed from the bytes they arrived in.

use portreeve_types::{Qos, TopicFilter};

use crate::{Reason, properties::UserProperties};

/// The protocol level of a connection. Level 3 (MQTT 3.1) is refused while decoding CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// §2.1.2: the control packet types, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect = 1,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
    Auth,
}

impl Kind {
    /// `None` for the reserved type 0.
    pub(crate) const fn of(first_byte: u8) -> Option<Self> {
        Some(match first_byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The fixed header's first byte, with the flags that this type must have [MQTT-2.1.3-1].
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 2,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}

/// Any control packet. A server receives the client's half, `portreeve client` and the bench the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// §3.1
    Connect(Connect<'a>),
    /// §3.2
    ConnAck(ConnAck<'a>),
    /// §3.3
    Publish(Publish<'a>),
    /// §3.4
    PubAck(Ack<'a>),
    /// §3.5
    PubRec(Ack<'a>),
    /// §3.6
    PubRel(Ack<'a>),
    /// §3.7
    PubComp(Ack<'a>),
    /// §3.8
    Subscribe(Subscribe<'a>),
    /// §3.9
    SubAck(SubAck<'a>),
    /// §3.10
    Unsubscribe(Unsubscribe<'a>),
    /// §3.11
    UnsubAck(SubAck<'a>),
    /// §3.12
    PingReq,
    /// §3.13
    PingResp,
    /// §3.14
    Disconnect(Disconnect<'a>),
    /// §3.15
    Auth(Auth<'a>),
}

/// §3.1 CONNECT. In 3.1.1 the properties hold their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Protocol level.
    pub version: Version,
    /// Clean Start (5.0) or Clean Session (3.1.1).
    pub clean_start: bool,
    /// Seconds; 0 switches keep-alive off.
    pub keep_alive_s: u16,
    /// May be empty: the server assigns one, or refuses.
    pub client_id: &'a str,
    /// The will, if its flag is set.
    pub will: Option<Will<'a>>,
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Session Expiry Interval, seconds; absent is 0, `u32::MAX` is never.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum, never 0; absent is 65535.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size the client accepts, never 0.
    pub maximum_packet_bytes: Option<u32>,
    /// Topic Alias Maximum the client accepts; absent is 0.
    pub topic_alias_maximum: u16,
    /// Request Response Information; absent is false.
    pub request_response_information: bool,
    /// Request Problem Information; absent is true.
    pub request_problem_information: bool,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> Connect<'a> {
    /// A clean start, without keep-alive and without anything that is optional.
    #[must_use]
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            session_expiry_s: None,
            receive_maximum: None,
            maximum_packet_bytes: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: UserProperties::default(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// §3.1.2.5, §3.1.3.2
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will QoS.
    pub qos: Qos,
    /// Will Retain.
    pub retain: bool,
    /// Will Topic: a valid topic name.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will Delay Interval, seconds; absent is 0.
    pub delay_s: u32,
    /// What travels with the message.
    pub properties: MessageProperties<'a>,
}

/// The properties that a PUBLISH and a will share and that receivers get unaltered (but for the expiry, which counts down).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties<'a> {
    /// Payload Format Indicator: `Some(true)` promises UTF-8.
    pub payload_is_utf8: Option<bool>,
    /// Message Expiry Interval, seconds.
    pub expiry_s: Option<u32>,
    /// Content Type.
    pub content_type: Option<&'a str>,
    /// Response Topic: a valid topic name.
    pub response_topic: Option<&'a str>,
    /// Correlation Data.
    pub correlation_data: Option<&'a [u8]>,
    /// User properties, in the sender's order [MQTT-3.3.2-18].
    pub user_properties: UserProperties<'a>,
}

/// §3.3 PUBLISH
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Set on a re-delivery.
    pub dup: bool,
    /// Delivery guarantee.
    pub qos: Qos,
    /// RETAIN flag.
    pub retain: bool,
    /// A valid topic name, or empty where an alias stands for it (5.0 only).
    pub topic: &'a str,
    /// Non-zero exactly when QoS > 0.
    pub packet_id: u16,
    /// Topic Alias, never 0.
    pub topic_alias: Option<u16>,
    /// What receivers get unaltered.
    pub properties: MessageProperties<'a>,
    /// Subscription Identifiers; only a server sends them [MQTT-3.3.4-6].
    pub subscription_ids: smallvec::SmallVec<[u32; 2]>,
    /// Application message.
    pub payload: &'a [u8],
}

/// §3.4–3.7: PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// `Reason::SUCCESS` in 3.1.1.
    pub reason: Reason,
    /// Reason String.
    pub reason_string: Option<&'a str>,
}

/// §3.8.3.1: one requested subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRequest<'a> {
    /// The text as sent. Not yet checked: a bad filter is answered per filter (0x8F), not by closing, where the
    /// specification allows it. It is valid UTF-8 without U+0000 and not empty.
    pub filter: &'a str,
    /// Options.
    pub options: SubscriptionOptions,
}

/// §3.8.3.1
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: Qos,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// The byte of the wire, §3.8.3.1.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// `None` for reserved bits [MQTT-3.8.3-5], QoS 3 and retain handling 3.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        };
        let Some(qos) = Qos::from_bits(byte & 3) else { return None };
        Some(Self { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling })
    }
}

/// §3.8.3.1, bits 4 and 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at the time of the subscribe.
    #[default]
    Send = 0,
    /// Send them only if the subscription did not exist.
    SendIfNew = 1,
    /// Do not send them.
    DoNotSend = 2,
}

/// §3.8 SUBSCRIBE: at least one request [MQTT-3.8.3-2].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// Subscription Identifier, 1..=268,435,455.
    pub subscription_id: Option<u32>,
    /// In the client's order.
    pub requests: Vec<SubscriptionRequest<'a>>,
}

/// §3.10 UNSUBSCRIBE: at least one filter [MQTT-3.10.3-2].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// As sent; see [`SubscriptionRequest::filter`].
    pub filters: Vec<&'a str>,
}

/// §3.9, §3.11: SUBACK, UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// One a request. Empty in a 3.1.1 UNSUBACK.
    pub reasons: Vec<Reason>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
}

/// The user property of a CONNACK 0x89 Server busy that says in how many milliseconds to come again. MQTT 5 has no property
/// of its own for that.
pub const RETRY_AFTER: &str = "retry-after-ms";

/// §3.2 CONNACK. Absent properties are left out on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConnAck<'a> {
    /// Session Present.
    pub session_present: bool,
    /// 5.0 reason code; encoded for 3.1.1 by [`Reason::connect_return_code`].
    pub reason: Reason,
    /// Session Expiry Interval in force, where it differs from the request.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum of the server.
    pub receive_maximum: Option<u16>,
    /// Maximum QoS: 0 or 1; absent means 2.
    pub maximum_qos: Option<u8>,
    /// Retain Available.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size of the server.
    pub maximum_packet_bytes: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<&'a str>,
    /// Topic Alias Maximum of the server.
    pub topic_alias_maximum: Option<u16>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties: name, value.
    pub user_properties: Vec<(&'a str, &'a str)>,
    /// Wildcard Subscription Available.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers Available.
    pub subscription_ids_available: Option<bool>,
    /// Shared Subscription Available.
    pub shared_available: Option<bool>,
    /// Server Keep Alive, seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Response Information.
    pub response_information: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
}

impl ConnAck<'_> {
    /// In how many milliseconds to come again, as [`RETRY_AFTER`] says it.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let (_, value) = self.user_properties.iter().find(|(name, _)| *name == RETRY_AFTER)?;
        value.parse().ok()
    }
}

/// §3.14 DISCONNECT
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Disconnect<'a> {
    /// Reason.
    pub reason: Reason,
    /// Session Expiry Interval, seconds; only a client sends it.
    pub session_expiry_s: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
}

/// §3.15 AUTH
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, Continue or Re-authenticate.
    pub reason: Reason,
    /// Authentication Method.
    pub method: Option<&'a str>,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
}

impl SubscriptionRequest<'_> {
    /// # Errors
    /// As [`TopicFilter::new`].
    pub fn parse(&self) -> Result<TopicFilter, portreeve_types::TopicError> {
        TopicFilter::new(self.filter)
    }
}
