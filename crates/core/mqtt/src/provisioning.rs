//! A server's end of a session in which a device asks for its certificate, and for nothing else.
//!
//! The client connects, subscribes to what it wants to hear ([`CERTIFICATE_TOPIC`], [`REFUSED_TOPIC`], [`NAME_TOPIC`], or
//! all of [`EVERYTHING_FILTER`]) and publishes a request to [`REQUEST_TOPIC`]; it may ask again as often as [`Bounds`] let
//! it. User name and password, if there are any, are a registered name and what was typed for it. The session is about
//! these topics and reaches no others: it has no will, retains nothing, and ends with its connection. Sessions do not
//! know of each other, so that a client identifier is nobody's to take over.
//!
//! *Invariants*
//! - One request at a time: until [`Session::answer`], no further packet is looked at. The acknowledgement of a request
//!   goes out with its answer, so that it promises what has been decided.
//! - Whatever is refused is answered with its reason code where the version has a packet for it; else the session ends.
//! - An answer goes out only to who has subscribed to it, with QoS 0: nothing is kept for a client that may be gone.

use std::collections::VecDeque;

use portreeve_types::{Qos, TopicError};
use zeroize::Zeroizing;

use crate::{
    AckKind, Answer as Owed, ConnAck, Connect, Disconnect, InboundAliases, MessageProperties, Packet, Publish,
    PublishHeader, Reason, Sender, SubAck, Subscribe, SubscriptionRequest, Unsubscribe, UserProperties, Version,
    Violation, decode, decode_connect, encode, frame, is_connect,
};

/// Where requests go: PKCS #10, in PEM or DER.
pub const REQUEST_TOPIC: &str = "$provisioning/request";
/// Where certificates come from: the leaf and the CA that issued it, in PEM.
pub const CERTIFICATE_TOPIC: &str = "$provisioning/certificate";
/// Where the name comes from that the certificate stands for, before the certificate itself.
pub const NAME_TOPIC: &str = "$provisioning/name";
/// Where refusals come from: one word, and the seconds to wait where there are any.
pub const REFUSED_TOPIC: &str = "$provisioning/refused";
/// All that can be heard.
pub const EVERYTHING_FILTER: &str = "$provisioning/#";
/// The user property of a certificate that holds its name, MQTT 5.0.
pub const NAME_PROPERTY: &str = "portreeve-name";

/// Largest packet after CONNECT: a request, with room for properties. CONNACK announces it.
pub const PACKET_BYTES_MAX: u32 = 12 * 1024;
/// What a client must be able to take in one packet: two certificates. To one that could not be given what it asks for,
/// its code would be lost.
pub const ANSWER_BYTES_MIN: u32 = 4096;
/// Longest user name, and longest password: a name and a code are far shorter.
pub const LOGIN_BYTES_MAX: usize = 256;
/// Longest Correlation Data that is given back (§4.10).
const CORRELATION_BYTES_MAX: usize = 256;

/// How much a session may take, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest CONNECT.
    pub connect_bytes_max: u32,
    /// Time for it to arrive.
    pub connect_timeout_ms: u64,
    /// Time until the session is ended.
    pub lifetime_ms: u64,
    /// Packets of the client.
    pub packets_max: u32,
    /// Bytes of the client.
    pub bytes_max: u64,
    /// Requests for a certificate.
    pub requests_max: u32,
}

/// What a session has taken of its [`Bounds`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Packets of the client.
    pub packets: u32,
    /// Bytes of the client.
    pub bytes: u64,
    /// Requests for a certificate.
    pub requests: u32,
}

/// What a client logged in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User name: a registered name, if it is one.
    pub name: String,
    /// Password: a one-time code, if it is one.
    pub code: Zeroizing<String>,
}

/// A request for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What its client logged in with, if it did.
    pub login: Option<Login>,
    /// The payload.
    pub csr: Vec<u8>,
}

/// What came of a request. A refusal says as little as this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A certificate.
    Issued {
        /// The leaf and the CA that issued it.
        chain_pem: &'a str,
        /// What it stands for.
        name: &'a str,
    },
    /// The applicant has not shown to be entitled.
    NotEntitled,
    /// It asks for something that is not certified.
    Refused,
    /// Somebody has to consent; the same request may be made again then.
    Waiting {
        /// Seconds to wait.
        retry_after_s: u32,
    },
    /// Nothing is wrong with the request that can be said now.
    Busy {
        /// Seconds to wait.
        retry_after_s: u32,
    },
}

/// What the session tells its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Decide this, and call [`Session::answer`].
    Requested(Request),
    /// For the log: the client was refused something.
    Refused {
        /// What.
        what: Refused,
        /// Why, precisely.
        why: String,
    },
}

/// What a client was refused, or what ended its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// CONNECT.
    Connect,
    /// CONNECT, because of its will.
    Will,
    /// A publication elsewhere, or in a way that this session does not know.
    Publish,
    /// A subscription elsewhere.
    Subscribe,
    /// What breaks the specification. The session is over.
    Violation,
    /// To go on beyond its [`Bounds`]. The session is over.
    Limit,
    /// To go on although it was silent for one and a half keep-alive periods. The session is over.
    Silence,
}

/// A provisioning session, from CONNECT to its end.
#[derive(Debug)]
pub struct Session {
    opened_ms: u64,
    /// The client identifier for a client that has none.
    assigned: String,
    account: Account,
    open: Option<Open>,
    is_over: bool,
}

/// What the session may take, has taken, and has to tell.
#[derive(Debug)]
struct Account {
    bounds: Bounds,
    used: Used,
    events: VecDeque<Event>,
}

/// What exists once CONNECT was accepted.
#[derive(Debug)]
struct Open {
    version: Version,
    login: Option<Login>,
    heard: Heard,
    /// The client's Maximum Packet Size [MQTT-3.1.2-24].
    packet_bytes_max: u32,
    keep_alive_ms: u64,
    last_packet_ms: u64,
    asked: Option<Asked>,
}

/// What the client has subscribed to.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    certificate: bool,
    name: bool,
    refused: bool,
    everything: bool,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Asked {
    /// Of a QoS 1 request.
    packet_id: Option<u16>,
    correlation_data: Option<Vec<u8>>,
}

/// Why a packet ends the session.
struct End {
    /// What the client is told, if there are words for it.
    reason: Option<Reason>,
    refused: Option<(Refused, String)>,
}

impl End {
    fn new(reason: Reason, what: Refused, why: impl Into<String>) -> Self {
        Self { reason: Some(reason), refused: Some((what, why.into())) }
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        let reason = Some(violation.reason).filter(|_| violation.answer != Owed::Nothing);
        Self { reason, refused: Some((Refused::Violation, violation.to_string())) }
    }
}

impl Session {
    /// A connection that has sent nothing yet. `assigned` is the client identifier for a client that brings none: one
    /// that no other client has [MQTT-3.1.3-6].
    #[must_use]
    pub fn new(bounds: Bounds, assigned: String, now_ms: u64) -> Self {
        let account = Account { bounds, used: Used::default(), events: VecDeque::new() };
        Self { opened_ms: now_ms, assigned, account, open: None, is_over: false }
    }

    /// Whether it is over. Then write what there is to write, and close.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What it has taken so far.
    #[must_use]
    pub fn used(&self) -> Used {
        self.account.used
    }

    /// What there is to decide and to log, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.account.events.pop_front()
    }

    /// When [`Self::tick`] has something to do. Never while a request waits for its answer: what is decided is told.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        let Some(open) = &self.open else {
            return self.opened_ms.saturating_add(self.account.bounds.connect_timeout_ms);
        };
        if open.asked.is_some() { u64::MAX } else { open.silent_ms().min(self.old_ms()) }
    }

    /// Ends the session if its time is over.
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<u8>) {
        if self.is_over || now_ms < self.deadline_ms() {
            return;
        }
        let end = match &self.open {
            None => Violation::protocol("MQTT-3.1.0-1", "no CONNECT in time").silent().into(),
            // [MQTT-3.1.2-22]
            Some(open) if now_ms >= open.silent_ms() => {
                End::new(Reason::KEEP_ALIVE_TIMEOUT, Refused::Silence, "keep alive expired")
            }
            Some(_) => End::new(Reason::MAXIMUM_CONNECT_TIME, Refused::Limit, "the session has lasted too long"),
        };
        self.end(end, out);
    }

    /// Ends the session for a reason of the server's own.
    pub fn close(&mut self, reason: Reason, out: &mut Vec<u8>) {
        self.end(End { reason: Some(reason), refused: None }, out);
    }

    /// Takes whole packets at the start of `input` and returns their length; the rest is for the next call. Stops at a
    /// request: answer it, then call again.
    pub fn receive(&mut self, now_ms: u64, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut used = 0;
        while !self.is_over && !self.is_waiting() {
            let rest = &input[used..];
            let length = match frame(rest, self.packet_bytes_max()) {
                Ok(None) => break,
                Ok(Some(length)) => length,
                Err(violation) => {
                    // Before CONNECT nobody knows whether the peer speaks MQTT at all.
                    let violation = if self.open.is_none() { violation.silent() } else { violation };
                    self.end(violation.into(), out);
                    break;
                }
            };
            used += length;
            if let Err(end) = self.packet(now_ms, &rest[..length], out) {
                self.end(end, out);
            }
        }
        used
    }

    /// Tells the client what came of its request.
    pub fn answer(&mut self, now_ms: u64, answer: Answer<'_>, out: &mut Vec<u8>) {
        let Some(open) = &mut self.open else { return };
        let Some(asked) = open.asked.take() else { return };
        // It could not be heard meanwhile.
        open.last_packet_ms = now_ms;
        if let Some(packet_id) = asked.packet_id {
            encode::ack(out, open.version, AckKind::PubAck, packet_id, Reason::SUCCESS, None);
        }
        if !open.tell(answer, asked.correlation_data.as_deref(), out) {
            let why = "the answer is larger than the client's maximum packet size";
            self.end(End::new(Reason::PACKET_TOO_LARGE, Refused::Limit, why), out);
        }
    }

    fn is_waiting(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.asked.is_some())
    }

    fn packet_bytes_max(&self) -> u32 {
        if self.open.is_some() { PACKET_BYTES_MAX } else { self.account.bounds.connect_bytes_max }
    }

    fn old_ms(&self) -> u64 {
        self.opened_ms.saturating_add(self.account.bounds.lifetime_ms)
    }

    fn packet(&mut self, now_ms: u64, packet: &[u8], out: &mut Vec<u8>) -> Result<(), End> {
        self.account.count(packet.len())?;
        let Some(open) = &mut self.open else {
            self.connect(now_ms, packet, out);
            return Ok(());
        };
        open.last_packet_ms = now_ms;
        if is_connect(packet) {
            return Err(Violation::protocol("MQTT-3.1.0-2", "a second CONNECT").into());
        }
        match decode(open.version, Sender::Client, packet)? {
            Packet::Publish(publish) => return open.publish(&mut self.account, &publish, out),
            Packet::Subscribe(subscribe) => return open.subscribe(&mut self.account, &subscribe, out),
            Packet::Unsubscribe(unsubscribe) => open.unsubscribe(&unsubscribe, out),
            Packet::PingReq => encode::pingresp(out),
            Packet::Disconnect(_) => return Err(End { reason: None, refused: None }),
            Packet::Auth(_) => {
                return Err(Violation::protocol("MQTT-4.12.0-6", "AUTH without an authentication method").into());
            }
            // Nothing is delivered here that would be acknowledged, and no QoS 2 message taken that would be released.
            _ => return Err(Violation::protocol("", "a packet that nothing here has asked for").into()),
        }
        Ok(())
    }

    fn connect(&mut self, now_ms: u64, packet: &[u8], out: &mut Vec<u8>) {
        let connect = match decode_connect(packet) {
            Ok(connect) => connect,
            Err(violation) => return self.turn_away(&violation, out),
        };
        let login = match admit(&connect) {
            Ok(login) => login,
            Err((reason, what, why)) => {
                self.account.note(what, why);
                put_connack(&connect, &ConnAck { reason, ..ConnAck::default() }, out);
                self.is_over = true;
                return;
            }
        };
        let connack = ConnAck {
            // Granted is what is kept: nothing (§3.2.2.3.2).
            session_expiry_s: connect.session_expiry_s.filter(|&seconds| seconds > 0).map(|_| 0),
            maximum_qos: Some(Qos::AtLeastOnce as u8),
            retain_available: Some(false),
            maximum_packet_bytes: Some(PACKET_BYTES_MAX),
            assigned_client_id: Some(self.assigned.as_str()).filter(|_| connect.client_id.is_empty()),
            subscription_ids_available: Some(false),
            shared_available: Some(false),
            ..ConnAck::default()
        };
        put_connack(&connect, &connack, out);
        self.open = Some(Open {
            version: connect.version,
            login,
            heard: Heard::default(),
            packet_bytes_max: connect.maximum_packet_bytes.unwrap_or(u32::MAX),
            keep_alive_ms: u64::from(connect.keep_alive_s) * 1500,
            last_packet_ms: now_ms,
            asked: None,
        });
    }

    /// A CONNECT that is none, §3.1.4.
    fn turn_away(&mut self, violation: &Violation, out: &mut Vec<u8>) {
        self.account.note(Refused::Violation, violation.to_string());
        self.is_over = true;
        let version = match violation.answer {
            Owed::Nothing => return,
            Owed::ReturnCode => Version::V311,
            Owed::ReasonCode => Version::V5,
        };
        encode::connack(out, version, &ConnAck { reason: violation.reason, ..ConnAck::default() });
    }

    fn end(&mut self, end: End, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        if let Some((what, why)) = end.refused {
            self.account.note(what, why);
        }
        // Nothing waits for an answer any more.
        let open = self.open.take().filter(|open| open.version == Version::V5);
        if let Some((_, reason)) = open.zip(end.reason) {
            encode::disconnect(out, Version::V5, &Disconnect { reason, ..Disconnect::default() });
        }
    }
}

impl Account {
    fn count(&mut self, bytes: usize) -> Result<(), End> {
        let packets = self.used.packets.saturating_add(1);
        let bytes = self.used.bytes.saturating_add(bytes as u64);
        if packets > self.bounds.packets_max || bytes > self.bounds.bytes_max {
            return Err(End::new(Reason::QUOTA_EXCEEDED, Refused::Limit, "too many packets or bytes in one session"));
        }
        self.used = Used { packets, bytes, ..self.used };
        Ok(())
    }

    fn ask(&mut self, request: Request) -> Result<(), End> {
        if self.used.requests >= self.bounds.requests_max {
            return Err(End::new(Reason::QUOTA_EXCEEDED, Refused::Limit, "too many requests in one session"));
        }
        self.used.requests += 1;
        self.events.push_back(Event::Requested(request));
        Ok(())
    }

    fn note(&mut self, what: Refused, why: impl Into<String>) {
        self.events.push_back(Event::Refused { what, why: why.into() });
    }
}

impl Open {
    fn silent_ms(&self) -> u64 {
        if self.keep_alive_ms > 0 { self.last_packet_ms.saturating_add(self.keep_alive_ms) } else { u64::MAX }
    }

    fn publish(&mut self, account: &mut Account, publish: &Publish<'_>, out: &mut Vec<u8>) -> Result<(), End> {
        // CONNACK offered none.
        let mut aliases = InboundAliases::new(0);
        let topic = aliases.resolve(publish)?;
        if publish.qos == Qos::ExactlyOnce {
            // [MQTT-3.2.2-11]
            return Err(End::new(Reason::QOS_NOT_SUPPORTED, Refused::Publish, "a publication with QoS 2"));
        }
        if publish.retain {
            // [MQTT-3.2.2-14]
            return Err(End::new(Reason::RETAIN_NOT_SUPPORTED, Refused::Publish, "a message to be retained"));
        }
        if topic != REQUEST_TOPIC {
            return self.deny(account, publish, Reason::NOT_AUTHORIZED, "a publication that is no request", out);
        }
        if !self.heard.hears(self.heard.certificate) {
            let why = "a request of a client that would not hear of its certificate";
            return self.deny(account, publish, Reason::IMPLEMENTATION_SPECIFIC_ERROR, why, out);
        }
        account.ask(Request { login: self.login.clone(), csr: publish.payload.to_vec() })?;
        let correlation = publish.properties.correlation_data;
        self.asked = Some(Asked {
            packet_id: Some(publish.packet_id).filter(|_| publish.qos == Qos::AtLeastOnce),
            correlation_data: correlation.filter(|data| data.len() <= CORRELATION_BYTES_MAX).map(<[u8]>::to_vec),
        });
        Ok(())
    }

    /// Refuses a publication [MQTT-3.3.5-2]. A client that cannot be told so, for its version or its QoS has no answer,
    /// would wait for nothing: its session ends.
    fn deny(
        &self,
        account: &mut Account,
        publish: &Publish<'_>,
        reason: Reason,
        why: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        if self.version == Version::V311 || publish.qos == Qos::AtMostOnce {
            return Err(End::new(reason, Refused::Publish, why));
        }
        encode::ack(out, self.version, AckKind::PubAck, publish.packet_id, reason, None);
        account.note(Refused::Publish, why);
        Ok(())
    }

    fn subscribe(&mut self, account: &mut Account, subscribe: &Subscribe<'_>, out: &mut Vec<u8>) -> Result<(), End> {
        if subscribe.subscription_id.is_some() {
            let detail = "a subscription identifier, which CONNACK did not offer";
            return Err(Violation::new(Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "", detail).into());
        }
        let reasons = subscribe.requests.iter().map(|request| self.grant(request)).collect::<Result<Vec<_>, _>>()?;
        let refused = reasons.iter().filter(|reason| reason.is_error()).count();
        encode::suback(out, self.version, &SubAck { packet_id: subscribe.packet_id, reasons, reason_string: None });
        if refused > 0 {
            account.note(Refused::Subscribe, format!("{refused} subscriptions to what is not for provisioning"));
        }
        Ok(())
    }

    /// What one filter of a SUBSCRIBE is answered. Deliveries have QoS 0, so nothing more is granted [MQTT-3.8.4-8].
    fn grant(&mut self, request: &SubscriptionRequest<'_>) -> Result<Reason, Violation> {
        request.parse().map_err(bad_filter)?;
        if request.filter.starts_with("$share/") {
            return Ok(Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        let Some(heard) = self.heard.of(request.filter) else { return Ok(Reason::NOT_AUTHORIZED) };
        *heard = true;
        Ok(Reason::SUCCESS)
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, out: &mut Vec<u8>) {
        let mut withdraw = |filter: &&str| {
            let existed = self.heard.of(filter).is_some_and(std::mem::take);
            if existed { Reason::SUCCESS } else { Reason::NO_SUBSCRIPTION_EXISTED }
        };
        let reasons = unsubscribe.filters.iter().map(&mut withdraw).collect();
        let unsuback = SubAck { packet_id: unsubscribe.packet_id, reasons, reason_string: None };
        encode::unsuback(out, self.version, &unsuback);
    }

    /// Publishes the answer to who has subscribed; `false` if it is too large for the client.
    fn tell(&self, answer: Answer<'_>, correlation_data: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        let refusal = match answer {
            Answer::Issued { chain_pem, name } => {
                let told = !self.heard.hears(self.heard.name) || self.deliver(NAME_TOPIC, name, None, None, out);
                return told && self.deliver(CERTIFICATE_TOPIC, chain_pem, Some(name), correlation_data, out);
            }
            Answer::NotEntitled => "not-entitled".to_owned(),
            Answer::Refused => "refused".to_owned(),
            Answer::Waiting { retry_after_s } => format!("waiting {retry_after_s}"),
            Answer::Busy { retry_after_s } => format!("busy {retry_after_s}"),
        };
        !self.heard.hears(self.heard.refused) || self.deliver(REFUSED_TOPIC, &refusal, None, correlation_data, out)
    }

    fn deliver(
        &self,
        topic: &str,
        payload: &str,
        name: Option<&str>,
        correlation_data: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut pair = Vec::new();
        // A registered name is text that MQTT can carry; one that were not would be left out.
        let named = UserProperties::encode(&mut pair, name.map(|name| (NAME_PROPERTY, name)));
        let user_properties = named.ok().and_then(|()| UserProperties::decode(&pair).ok()).unwrap_or_default();
        let properties = MessageProperties {
            payload_is_utf8: Some(true),
            correlation_data,
            user_properties,
            ..MessageProperties::default()
        };
        let mut forwarded = Vec::new();
        properties.encode_forwarded(&mut forwarded);
        let header = PublishHeader { topic, forwarded: &forwarded, ..PublishHeader::default() };
        let length = encode::publish_len(self.version, &header, payload.len());
        if u32::try_from(length).map_or(true, |length| length > self.packet_bytes_max) {
            return false;
        }
        encode::publish(out, self.version, &header, payload.as_bytes());
        true
    }
}

impl Heard {
    /// Where a subscription to `filter` is noted, if there may be one.
    fn of(&mut self, filter: &str) -> Option<&mut bool> {
        match filter {
            CERTIFICATE_TOPIC => Some(&mut self.certificate),
            NAME_TOPIC => Some(&mut self.name),
            REFUSED_TOPIC => Some(&mut self.refused),
            EVERYTHING_FILTER => Some(&mut self.everything),
            _ => None,
        }
    }

    fn hears(self, one: bool) -> bool {
        one || self.everything
    }
}

/// What a well-formed CONNECT is let in with, or why it is not: a code, and words for the log.
fn admit(connect: &Connect<'_>) -> Result<Option<Login>, (Reason, Refused, &'static str)> {
    if connect.authentication_method.is_some() {
        return Err((Reason::BAD_AUTHENTICATION_METHOD, Refused::Connect, "enhanced authentication is not offered"));
    }
    if connect.will.is_some() {
        return Err((Reason::NOT_AUTHORIZED, Refused::Will, "a will in a provisioning session"));
    }
    if connect.version == Version::V311 && !connect.clean_start {
        // 3.1.1 has no word for a session that is not kept, and [MQTT-3.1.2-4 of 3.1.1] promises one that is.
        return Err((Reason::NOT_AUTHORIZED, Refused::Connect, "a provisioning session that is to be kept"));
    }
    if connect.maximum_packet_bytes.is_some_and(|max| max < ANSWER_BYTES_MIN) {
        return Err((Reason::PACKET_TOO_LARGE, Refused::Connect, "a client that a certificate is too large for"));
    }
    login(connect).map_err(|why| (Reason::BAD_USER_NAME_OR_PASSWORD, Refused::Connect, why))
}

/// User name and password; one without the other is nothing to be entitled by.
fn login(connect: &Connect<'_>) -> Result<Option<Login>, &'static str> {
    let Some((name, password)) = connect.username.zip(connect.password) else { return Ok(None) };
    if name.len() > LOGIN_BYTES_MAX || password.len() > LOGIN_BYTES_MAX {
        return Err("a user name or password that is too long");
    }
    let code = std::str::from_utf8(password).map_err(|_| "a password that is no text")?;
    Ok(Some(Login { name: name.to_owned(), code: Zeroizing::new(code.to_owned()) }))
}

/// Writes CONNACK, unless the client cannot take it [MQTT-3.1.2-24].
fn put_connack(connect: &Connect<'_>, connack: &ConnAck<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    encode::connack(out, connect.version, connack);
    if connect.maximum_packet_bytes.is_some_and(|max| out.len() - start > max as usize) {
        out.truncate(start);
    }
}

/// A filter that is not well-formed ends the session, as it does everywhere.
fn bad_filter(error: TopicError) -> Violation {
    match error {
        TopicError::Share => Violation::protocol("MQTT-4.8.2-1", "not a valid shared subscription"),
        _ => Violation::malformed("MQTT-4.7.1-1", "not a valid topic filter"),
    }
}
