//! One client's connection, without the socket: bytes in, bytes out, and a deadline.

use std::{collections::VecDeque, sync::Arc, task::Waker, time::Duration};

use hashbrown::HashMap;
use portreeve_events::Kind as EventKind;
use portreeve_mqtt::{
    Ack, AckKind, Acked, Answer, ConnAck, Connect, Disconnect, InboundAliases, Link, Packet, Publish, Reason,
    ReceiveQuota, Sender, Taken, Version, Violation, encode,
};
use portreeve_policy::Action;
use portreeve_store::{MessageRow, SessionOp, Ticket};
use portreeve_types::{Bucket, Kind, Qos, TopicError, TopicFilter, TopicName, UnixMillis};

use super::{
    Close, Peer, Tally,
    attach::{Attached, Departure, Refused},
    message::Message,
    publish::Route,
    session::Session,
    subscribe::refusal,
};
use crate::{DeviceIdentity, Hub, limits::mark};

/// The two clocks: what the world calls the time, and one that never goes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// For expiry and records.
    pub wall: UnixMillis,
    /// Milliseconds since an arbitrary start, for deadlines and rates.
    pub mono_ms: u64,
}

/// The connection is over. What `out` holds is still to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether the peer broke the protocol or was refused; such peers get a lingering close, so that they can read why.
    pub linger: bool,
}

/// What [`Connection::transmit`] left to do.
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    /// More is ready than `out` may hold: call again when it is written.
    pub more: bool,
    /// Call [`Connection::transmit`] again at this [`Now::mono_ms`] even if nothing happens.
    pub deadline_ms: u64,
}

/// Acknowledgements that may wait for the store; above it the client is not read from.
const ACKS_MAX: usize = 4096;
/// Topics a connection remembers the decision and route of.
const TOPICS_MAX: usize = 512;

/// The server's end of one connection. Give it an authenticated identity, feed it bytes, send what it writes.
#[derive(Debug)]
pub struct Connection {
    hub: Arc<Hub>,
    identity: DeviceIdentity,
    peer: Peer,
    opened: Now,
    open: Option<Box<Open>>,
    ended: Option<Ended>,
    tally: Tally,
}

/// What exists once CONNECT was accepted.
#[derive(Debug)]
struct Open {
    session: Arc<Session>,
    connection: u64,
    version: Version,
    link: Link,
    aliases: InboundAliases,
    quota: ReceiveQuota,
    /// Acknowledgements in the order of what they acknowledge [MQTT-4.6.0-2], each with when it may go out.
    owed: VecDeque<(Ticket, Owed)>,
    topics: HashMap<Box<str>, Topic>,
    keep_alive_ms: u64,
    last_packet_ms: u64,
    /// What CONNECT was granted, for the rule on DISCONNECT [MQTT-3.14.2-2].
    expiry_s: u32,
    messages: Bucket,
    bytes: Bucket,
    wakes: Vec<Waker>,
    departure: Departure,
    departure_expiry_s: Option<u32>,
}

/// What is decided once for a topic, and asked again when policy, identity or subscriptions change.
#[derive(Debug)]
struct Topic {
    name: TopicName,
    generation: u64,
    route: Arc<Route>,
}

#[derive(Debug)]
enum Owed {
    Ack(AckKind, u16, Reason),
    SubAck(u16, Vec<Reason>),
    UnsubAck(u16, Vec<Reason>),
    Pong,
}

/// Why a packet ends the connection.
enum End {
    Violation(Violation),
    /// DISCONNECT came.
    Departed,
    /// The hub ends it.
    Cut(Reason, EventKind, String),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Connection {
    /// A connection whose TLS handshake and registry check succeeded, waiting for CONNECT.
    #[must_use]
    pub fn new(hub: Arc<Hub>, identity: DeviceIdentity, peer: Peer, now: Now) -> Self {
        Self { hub, identity, peer, opened: now, open: None, ended: None, tally: Tally::default() }
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// Whether it is over; then flush and close.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Whether the client sent CONNECT and was let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes the whole packets at the start of `input` and returns their length; the rest is for the next call.
    /// Answers go to `out` here (CONNACK, the last word) or with the next [`Self::transmit`].
    pub fn receive(&mut self, now: Now, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut used = 0;
        while self.ended.is_none() {
            if self.open.as_ref().is_some_and(|open| open.owed.len() >= ACKS_MAX) {
                break;
            }
            let rest = &input[used..];
            let packet_bytes_max = self.packet_bytes_max();
            match portreeve_mqtt::frame(rest, packet_bytes_max) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    used += length;
                    self.tally.bytes_received += length as u64;
                    self.packet(now, &rest[..length], out);
                }
                Err(violation) => self.end(End::Violation(violation), now, out),
            }
        }
        self.wake_others();
        self.hub.counters.fold(&mut self.tally);
        self.mark_rates();
        used
    }

    fn mark_rates(&self) {
        let Some(open) = &self.open else { return };
        let limits = &self.hub.limits;
        let (messages, bytes) = match self.identity.kind() {
            Kind::Application => (&limits.application_messages_burst, &limits.application_bytes_per_s),
            _ => (&limits.device_messages_burst, &limits.device_bytes_per_s),
        };
        mark(messages, usize::try_from(open.messages.used()).unwrap_or(usize::MAX));
        mark(bytes, usize::try_from(open.bytes.used()).unwrap_or(usize::MAX));
    }

    fn packet_bytes_max(&self) -> u32 {
        let config = self.hub.config();
        let limit = if self.open.is_some() { config.limits.packet_bytes } else { config.limits.connect_bytes };
        u32::try_from(limit).unwrap_or(u32::MAX)
    }

    fn wake_others(&mut self) {
        if let Some(open) = &mut self.open {
            open.wakes.drain(..).for_each(Waker::wake);
        }
    }

    fn packet(&mut self, now: Now, packet: &[u8], out: &mut Vec<u8>) {
        let result = match &mut self.open {
            None => return self.connect(now, packet, out),
            Some(open) => open.packet(&self.hub, now, packet, &mut self.tally),
        };
        if let Err(end) = result {
            self.end(end, now, out);
        }
    }

    fn connect(&mut self, now: Now, packet: &[u8], out: &mut Vec<u8>) {
        let request = match portreeve_mqtt::decode_connect(packet) {
            Ok(request) => request,
            Err(violation) => return self.end(End::Violation(violation), now, out),
        };
        match self.hub.attach(&self.identity, &request, self.peer, now.wall) {
            Ok(attached) => {
                mark(&self.hub.limits.connect_bytes, packet.len());
                mark(&self.hub.limits.client_id_bytes, attached.session.key.client_id.as_str().len());
                self.accept(now, &request, attached, out);
            }
            Err(refused) => self.refuse(now, &request, &refused, out),
        }
    }

    fn refuse(&mut self, now: Now, request: &Connect<'_>, refused: &Refused, out: &mut Vec<u8>) {
        let client_id = Some(request.client_id).filter(|id| !id.is_empty());
        let name = Some(self.identity.name().as_str());
        self.hub.emit(refused.kind, name, client_id, Some(self.peer.address), format_args!("{}", refused.why));
        let start = out.len();
        encode::connack(out, request.version, &ConnAck { reason: refused.reason, ..ConnAck::default() });
        if request.maximum_packet_bytes.is_some_and(|max| out.len() - start > max as usize) {
            out.truncate(start);
        }
        self.finish(now, true);
    }

    fn accept(&mut self, now: Now, request: &Connect<'_>, attached: Attached, out: &mut Vec<u8>) {
        let config = self.hub.config();
        let (mqtt, limits) = (&config.mqtt, &config.limits);
        let keep_alive_s = match request.version {
            Version::V5 if request.keep_alive_s > 0 => request.keep_alive_s.min(mqtt.server_keep_alive_s),
            Version::V5 => 0,
            Version::V311 => request.keep_alive_s.min(mqtt.keep_alive_v311_max_s),
        };
        let start = out.len();
        encode::connack(out, request.version, &ConnAck {
            session_present: attached.present,
            session_expiry_s: Some(attached.expiry_s).filter(|&granted| granted != request.session_expiry_s.unwrap_or(0)),
            receive_maximum: Some(mqtt.receive_max),
            maximum_packet_bytes: u32::try_from(limits.packet_bytes).ok(),
            assigned_client_id: attached.assigned.as_ref().map(|id| id.as_str()),
            topic_alias_maximum: Some(mqtt.topic_alias_max).filter(|&max| max > 0),
            server_keep_alive_s: Some(keep_alive_s).filter(|&granted| granted != request.keep_alive_s),
            ..ConnAck::default()
        });
        if request.maximum_packet_bytes.is_some_and(|max| out.len() - start > max as usize) {
            out.truncate(start);
            self.hub.detach(&attached.session, attached.connection, Departure::Clean, Some(0), now.wall);
            return self.finish(now, false);
        }
        let receive_maximum = request.receive_maximum.unwrap_or(u16::MAX).min(limits.inflight_per_session);
        let alias_maximum = request.topic_alias_maximum.min(mqtt.topic_alias_out_max);
        let (messages_per_s, burst, bytes_per_s) = match self.identity.kind() {
            Kind::Application => {
                (limits.application_messages_per_s, limits.application_messages_burst, limits.application_bytes_per_s)
            }
            _ => (limits.device_messages_per_s, limits.device_messages_burst, limits.device_bytes_per_s),
        };
        self.hub.emit_for(&attached.session, EventKind::SessionStarted, format_args!(
            "MQTT {} over {}, session {}",
            if request.version == Version::V5 { "5.0" } else { "3.1.1" },
            self.peer.transport,
            if attached.present { "resumed" } else { "new" },
        ));
        self.tally.connects += 1;
        self.open = Some(Box::new(Open {
            version: request.version,
            link: Link::new(request.version, receive_maximum, request.maximum_packet_bytes, alias_maximum),
            aliases: InboundAliases::new(mqtt.topic_alias_max),
            quota: ReceiveQuota::new(match request.version {
                Version::V5 => mqtt.receive_max,
                Version::V311 => u16::MAX,
            }),
            owed: attached.releases.iter().map(|&id| (Ticket::default(), Owed::Ack(AckKind::PubRel, id, Reason::SUCCESS))).collect(),
            topics: HashMap::new(),
            keep_alive_ms: u64::from(keep_alive_s) * 1500,
            last_packet_ms: now.mono_ms,
            expiry_s: attached.expiry_s,
            messages: Bucket::new(messages_per_s.into(), burst.into(), now.mono_ms),
            bytes: Bucket::new(bytes_per_s, bytes_per_s.max(limits.packet_bytes as u64), now.mono_ms),
            wakes: Vec::new(),
            departure: Departure::WithWill,
            departure_expiry_s: None,
            session: attached.session,
            connection: attached.connection,
        }));
    }

    /// Writes what may go out now, up to about `out_bytes_max`, and sleeps under `waker` if nothing more is ready.
    pub fn transmit(&mut self, now: Now, waker: &Waker, out: &mut Vec<u8>, out_bytes_max: usize) -> Transmit {
        let before = out.len();
        let mut more = false;
        if self.ended.is_none() {
            match self.check_deadlines(now) {
                Some(end) => self.end(end, now, out),
                None => more = self.pump(now, waker, out, out_bytes_max),
            }
        }
        self.tally.bytes_sent += (out.len() - before) as u64;
        self.hub.counters.fold(&mut self.tally);
        Transmit { more, deadline_ms: self.deadline_ms(now) }
    }

    fn pump(&mut self, now: Now, waker: &Waker, out: &mut Vec<u8>, out_bytes_max: usize) -> bool {
        let Some(open) = &mut self.open else { return false };
        match open.transmit(&self.hub, now, waker, out, out_bytes_max, &mut self.tally) {
            Ok(more) => more,
            Err(close) => {
                self.end(End::Cut(close.reason, EventKind::SessionCut, close.why.into()), now, out);
                false
            }
        }
    }

    fn check_deadlines(&self, now: Now) -> Option<End> {
        let config = self.hub.config();
        let Some(open) = &self.open else {
            let late = now.mono_ms >= self.opened.mono_ms + config.mqtt.connect_timeout_s * 1000;
            let violation = Violation::protocol("MQTT-3.1.0-1", "no CONNECT in time").silent();
            return late.then_some(End::Violation(violation));
        };
        if open.keep_alive_ms > 0 && now.mono_ms >= open.last_packet_ms + open.keep_alive_ms {
            return Some(End::Cut(Reason::KEEP_ALIVE_TIMEOUT, EventKind::KeepAliveExpired, "keep alive expired".into()));
        }
        if now.wall >= self.identity.not_after() {
            let why = "the client's certificate expired".into();
            return Some(End::Cut(Reason::MAXIMUM_CONNECT_TIME, EventKind::SessionCut, why));
        }
        if now.mono_ms >= self.opened.mono_ms + config.limits.connection_age_max_s * 1000 {
            return Some(End::Cut(Reason::MAXIMUM_CONNECT_TIME, EventKind::SessionCut, "maximum connection age".into()));
        }
        None
    }

    fn deadline_ms(&self, now: Now) -> u64 {
        let config = self.hub.config();
        let Some(open) = &self.open else { return self.opened.mono_ms + config.mqtt.connect_timeout_s * 1000 };
        let alive = if open.keep_alive_ms > 0 { open.last_packet_ms + open.keep_alive_ms } else { u64::MAX };
        let aged = self.opened.mono_ms + config.limits.connection_age_max_s * 1000;
        let left_ms = self.identity.not_after().since(now.wall).as_millis();
        let expires = now.mono_ms.saturating_add(u64::try_from(left_ms).unwrap_or(u64::MAX));
        alive.min(aged).min(expires)
    }

    /// The socket is gone, or did not take bytes in time.
    pub fn lost(&mut self, now: Now, why: &str) {
        if self.ended.is_some() {
            return;
        }
        if let Some(open) = &self.open {
            self.hub.emit_for(&open.session, EventKind::SessionEnded, format_args!("{why}"));
        }
        self.finish(now, false);
    }

    /// A client that does not read; ends the connection.
    pub fn stalled(&mut self, now: Now) {
        if let Some(open) = self.open.as_ref().filter(|_| self.ended.is_none()) {
            self.hub.emit_for(&open.session, EventKind::SlowConsumer, format_args!("the client did not read in time"));
        }
        self.finish(now, false);
    }

    fn end(&mut self, end: End, now: Now, out: &mut Vec<u8>) {
        let (reason, kind, why, silent) = match end {
            End::Departed => {
                if let Some(open) = &self.open {
                    self.hub.emit_for(&open.session, EventKind::SessionEnded, format_args!("the client disconnected"));
                }
                return self.finish(now, false);
            }
            End::Violation(violation) => {
                let silent = violation.answer == Answer::Nothing;
                if self.open.is_none() {
                    return self.end_unopened(violation, now, out);
                }
                (violation.reason, EventKind::ProtocolViolation, violation.to_string(), silent)
            }
            End::Cut(reason, kind, why) => (reason, kind, why, false),
        };
        if let Some(open) = &mut self.open {
            self.hub.emit_for(&open.session, kind, format_args!("{why}"));
            if open.version == Version::V5 && !silent {
                encode::disconnect(out, Version::V5, &Disconnect { reason, ..Disconnect::default() });
            }
        }
        self.finish(now, true);
    }

    fn end_unopened(&mut self, violation: Violation, now: Now, out: &mut Vec<u8>) {
        let name = Some(self.identity.name().as_str());
        self.hub.emit(EventKind::ProtocolViolation, name, None, Some(self.peer.address), format_args!("{violation}"));
        let version = match violation.answer {
            Answer::Nothing => return self.finish(now, true),
            Answer::ReturnCode => Version::V311,
            Answer::ReasonCode => Version::V5,
        };
        encode::connack(out, version, &ConnAck { reason: violation.reason, ..ConnAck::default() });
        self.finish(now, true);
    }

    fn finish(&mut self, now: Now, linger: bool) {
        self.ended = Some(Ended { linger });
        self.wake_others();
        if let Some(open) = self.open.take() {
            self.hub.detach(&open.session, open.connection, open.departure, open.departure_expiry_s, now.wall);
        }
    }
}

impl Drop for Connection {
    /// A task that was cancelled must not leave its session connected.
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.hub.detach(&open.session, open.connection, open.departure, open.departure_expiry_s, self.hub.wall_clock());
        }
    }
}

impl Open {
    fn packet(&mut self, hub: &Hub, now: Now, packet: &[u8], tally: &mut Tally) -> Result<(), End> {
        self.last_packet_ms = now.mono_ms;
        mark(&hub.limits.packet_bytes, packet.len());
        if !self.bytes.take(packet.len() as u64, now.mono_ms) {
            return Err(End::Cut(Reason::MESSAGE_RATE_TOO_HIGH, EventKind::RateExceeded, "too many bytes a second".into()));
        }
        if packet[0] >> 4 == 3 {
            let publish = portreeve_mqtt::decode_publish(self.version, Sender::Client, packet)?;
            return self.publish(hub, now, &publish, tally);
        }
        match portreeve_mqtt::decode(self.version, Sender::Client, packet)? {
            Packet::PubAck(ack) => self.puback(hub, &ack),
            Packet::PubRec(ack) => self.pubrec(hub, &ack),
            Packet::PubRel(ack) => self.pubrel(hub, now, &ack),
            Packet::PubComp(ack) => self.pubcomp(hub, &ack),
            Packet::Subscribe(subscribe) => {
                let mut requests = Vec::with_capacity(subscribe.requests.len());
                for request in &subscribe.requests {
                    requests.push((request.parse().map_err(bad_filter)?, request.options));
                }
                self.check_filters(hub, requests.len())?;
                let answered = hub.subscribe(&self.session, &requests, subscribe.subscription_id, now.wall);
                self.owed.push_back((answered.ticket, Owed::SubAck(subscribe.packet_id, answered.reasons)));
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.filters.iter().map(|text| TopicFilter::new(text).map_err(bad_filter));
                let filters = filters.collect::<Result<Vec<_>, _>>()?;
                self.check_filters(hub, filters.len())?;
                let answered = hub.unsubscribe(&self.session, &filters);
                self.owed.push_back((answered.ticket, Owed::UnsubAck(unsubscribe.packet_id, answered.reasons)));
                Ok(())
            }
            Packet::PingReq => {
                self.owed.push_front((Ticket::default(), Owed::Pong));
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(&disconnect),
            Packet::Connect(_) => Err(Violation::protocol("MQTT-3.1.0-2", "a second CONNECT").into()),
            Packet::Auth(_) => Err(Violation::protocol("MQTT-4.12.0-6", "AUTH without an authentication method").into()),
            _ => Err(Violation::protocol("", "a packet that only a server sends").into()),
        }
    }

    fn check_filters(&self, hub: &Hub, filters: usize) -> Result<(), End> {
        if filters <= hub.config().limits.filters_per_packet {
            mark(&hub.limits.filters_per_packet, filters);
            return Ok(());
        }
        Err(End::Cut(Reason::QUOTA_EXCEEDED, EventKind::LimitReached, "too many filters in one packet".into()))
    }

    fn disconnect(&mut self, disconnect: &Disconnect<'_>) -> Result<(), End> {
        if self.expiry_s == 0 && disconnect.session_expiry_s.is_some_and(|expiry_s| expiry_s > 0) {
            let detail = "a session expiry above zero after one of zero";
            return Err(Violation::protocol("MQTT-3.14.2-2", detail).into());
        }
        if disconnect.reason == Reason::SUCCESS {
            self.departure = Departure::Clean;
        }
        self.departure_expiry_s = disconnect.session_expiry_s;
        Err(End::Departed)
    }

    fn publish(&mut self, hub: &Hub, now: Now, publish: &Publish<'_>, tally: &mut Tally) -> Result<(), End> {
        tally.messages_received += 1;
        if !self.messages.take(1, now.mono_ms) {
            return Err(End::Cut(Reason::MESSAGE_RATE_TOO_HIGH, EventKind::RateExceeded, "too many messages a second".into()));
        }
        let topic = self.aliases.resolve(publish)?;
        let repeats = publish.qos == Qos::ExactlyOnce && self.session.incoming.lock().received.get(publish.packet_id).is_some();
        if !repeats {
            self.quota.receive(publish.qos)?;
        }
        let config = hub.config();
        if !publish.properties.user_properties.is_empty() {
            let count = publish.properties.user_properties.iter().count();
            if count > config.limits.user_properties {
                return Err(End::Cut(Reason::QUOTA_EXCEEDED, EventKind::LimitReached, "too many user properties".into()));
            }
            mark(&hub.limits.user_properties, count);
        }
        if topic.len() > config.limits.topic_bytes || topic.split('/').count() > config.limits.topic_levels {
            return self.deny(hub, publish, Reason::TOPIC_NAME_INVALID, EventKind::LimitReached, "topic has too many levels or bytes");
        }
        if !hub.admit_message(publish.payload.len(), now) {
            return self.deny(hub, publish, Reason::QUOTA_EXCEEDED, EventKind::RateExceeded, "the hub's message rate is used up");
        }
        let cached = match topic_entry(&mut self.topics, hub, &self.session, topic, publish, now.wall) {
            Ok(cached) => cached,
            Err(denial) => {
                tally.publish_denied += 1;
                let why = format!("{topic}: {denial}");
                return self.deny(hub, publish, refusal(&denial), EventKind::PublishDenied, &why);
            }
        };
        let message = Message::new(row(&self.session, cached.name.clone(), publish, &config, now.wall), &hub.journal);
        if publish.qos == Qos::ExactlyOnce {
            return self.hold(hub, publish.packet_id, message);
        }
        let route = Arc::clone(&cached.route);
        let published = hub.publish(&message, &route, now.wall, Vec::new(), &mut self.wakes);
        if publish.qos == Qos::AtMostOnce {
            return Ok(());
        }
        if published.refused {
            return self.deny(hub, publish, Reason::QUOTA_EXCEEDED, EventKind::LimitReached, "a queue or the store had no room");
        }
        self.quota.give_back();
        let reason = if route.is_empty() && self.version == Version::V5 { Reason::NO_MATCHING_SUBSCRIBERS } else { Reason::SUCCESS };
        self.owed.push_back((published.ticket, Owed::Ack(AckKind::PubAck, publish.packet_id, reason)));
        Ok(())
    }

    /// QoS 2, first half: the message is ours now, and goes on when PUBREL comes (§4.3.3, method A).
    fn hold(&mut self, hub: &Hub, packet_id: u16, message: Arc<Message>) -> Result<(), End> {
        let stored = self.session.outgoing.lock().stored;
        if stored && !hub.accepts_work() {
            return self.answer_denial(AckKind::PubRec, packet_id, Reason::QUOTA_EXCEEDED, EventKind::LimitReached, "the store takes no work");
        }
        let same = |a: &Arc<Message>, b: &Arc<Message>| a.row.topic == b.row.topic && a.row.payload == b.row.payload;
        let taken = self.session.incoming.lock().received.take(packet_id, Arc::clone(&message), same)?;
        let mut ticket = Ticket::default();
        if stored && !matches!(taken, Taken::Repeated) {
            let mut ops = Vec::with_capacity(2);
            let id = hub.store_body(&message, &mut ops);
            ops.push(SessionOp::PutInbound { session: self.session.id, packet_id, message: id });
            ticket = hub.journal.submit(&mut ops);
            message.submitted(ticket);
        } else if stored {
            ticket = hub.journal.submit(&mut Vec::new());
        }
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubRec, packet_id, Reason::SUCCESS)));
        Ok(())
    }

    fn pubrel(&mut self, hub: &Hub, now: Now, ack: &Ack<'_>) -> Result<(), End> {
        let Some(message) = self.session.incoming.lock().received.release(ack.packet_id) else {
            self.owed.push_back((Ticket::default(), Owed::Ack(AckKind::PubComp, ack.packet_id, Reason::SUCCESS)));
            return Ok(());
        };
        self.quota.give_back();
        let stored = message.stored_id().is_some();
        let mut ops = Vec::new();
        if stored {
            message.hold();
            ops.push(SessionOp::DeleteInbound { session: self.session.id, packet_id: ack.packet_id });
        }
        // Between PUBLISH and PUBREL the policy may have changed.
        let decision = hub.decide(&self.session, Action::Publish, &message.row.topic, Some(message.row.qos), message.row.retain, now.wall);
        let ticket = match decision.verdict {
            Ok(_) => {
                let route = hub.route(&message.row.topic, Some(&self.session), now.wall);
                let published = hub.publish(&message, &route, now.wall, ops, &mut self.wakes);
                if published.refused {
                    hub.emit_for(&self.session, EventKind::LimitReached, format_args!("a queue or the store had no room"));
                }
                published.ticket
            }
            Err(denial) => {
                hub.emit_for(&self.session, EventKind::PublishDenied, format_args!("{}: {denial}", message.row.topic));
                let ticket = hub.journal.submit(&mut ops);
                message.submitted(ticket);
                ticket
            }
        };
        let ticket = if stored { ticket } else { Ticket::default().max(ticket) };
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubComp, ack.packet_id, Reason::SUCCESS)));
        Ok(())
    }

    fn puback(&mut self, hub: &Hub, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        match outgoing.outbound.puback(ack.packet_id) {
            Acked::Complete(seq) => complete(hub, &self.session, &outgoing, before, seq),
            _ if outgoing.outbound.is_in_flight(ack.packet_id) => return Err(wrong_ack()),
            _ => {}
        }
        Ok(())
    }

    fn pubrec(&mut self, hub: &Hub, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        let ticket = match outgoing.outbound.pubrec(ack.packet_id, ack.reason) {
            Acked::Complete(seq) => {
                complete(hub, &self.session, &outgoing, before, seq);
                return Ok(());
            }
            Acked::Release(seq) if outgoing.stored => {
                hub.journal.submit(&mut vec![SessionOp::Release { session: self.session.id, seq }])
            }
            Acked::AlreadyReleased if outgoing.stored => hub.journal.submit(&mut Vec::new()),
            Acked::Unknown if outgoing.outbound.is_in_flight(ack.packet_id) => return Err(wrong_ack()),
            Acked::Unknown if ack.reason.is_error() => return Ok(()),
            _ => Ticket::default(),
        };
        drop(outgoing);
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubRel, ack.packet_id, Reason::SUCCESS)));
        Ok(())
    }

    fn pubcomp(&mut self, hub: &Hub, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        match outgoing.outbound.pubcomp(ack.packet_id) {
            Acked::Complete(seq) => complete(hub, &self.session, &outgoing, before, seq),
            _ if outgoing.outbound.is_in_flight(ack.packet_id) => return Err(wrong_ack()),
            _ => {}
        }
        Ok(())
    }

    /// Refuses one PUBLISH. A 5.0 client is told in its acknowledgement; a 3.1.1 client, whom only a false promise could
    /// be sent, loses its connection [MQTT-3.3.5-2 of 3.1.1]. QoS 0 is dropped.
    fn deny(&mut self, hub: &Hub, publish: &Publish<'_>, reason: Reason, kind: EventKind, why: &str) -> Result<(), End> {
        let ack = match publish.qos {
            Qos::AtMostOnce => {
                hub.emit_for(&self.session, kind, format_args!("{why}"));
                return Ok(());
            }
            Qos::AtLeastOnce => AckKind::PubAck,
            Qos::ExactlyOnce => AckKind::PubRec,
        };
        if self.version == Version::V5 {
            hub.emit_for(&self.session, kind, format_args!("{why}"));
        }
        self.answer_denial(ack, publish.packet_id, reason, kind, why)
    }

    fn answer_denial(&mut self, ack: AckKind, packet_id: u16, reason: Reason, kind: EventKind, why: &str) -> Result<(), End> {
        if self.version == Version::V311 {
            return Err(End::Cut(reason, kind, why.into()));
        }
        self.quota.give_back();
        self.owed.push_back((Ticket::default(), Owed::Ack(ack, packet_id, reason)));
        Ok(())
    }

    /// Acknowledgements whose promise is kept, then deliveries.
    fn transmit(
        &mut self,
        hub: &Hub,
        now: Now,
        waker: &Waker,
        out: &mut Vec<u8>,
        out_bytes_max: usize,
        tally: &mut Tally,
    ) -> Result<bool, Close> {
        let session = Arc::clone(&self.session);
        let mut outgoing = session.outgoing.lock();
        if outgoing.connection != self.connection {
            return Err(Close { reason: Reason::SESSION_TAKEN_OVER, why: "session taken over" });
        }
        if let Some(close) = outgoing.link.as_ref().and_then(|link| link.close) {
            return Err(close);
        }
        if !self.send_owed(hub, out, out_bytes_max) {
            hub.wake_on_commit(waker);
            // The commit may have come between the two.
            self.send_owed(hub, out, out_bytes_max);
        }
        let before = outgoing.outbound.bytes();
        let mut more = false;
        if outgoing.outbound.waiting() < super::retained::SCAN_STEP_TOPICS {
            more = hub.scan_retained(&session, &mut outgoing, now.wall);
        }
        let after_scan = outgoing.outbound.bytes();
        let pumped = outgoing.outbound.pump(now.wall, &mut self.link, out, out_bytes_max);
        hub.gauges.queue_changed(after_scan, outgoing.outbound.bytes());
        let _ = before;
        tally.messages_sent += pumped.sent as u64;
        tally.messages_expired += pumped.expired as u64;
        tally.messages_oversize += pumped.oversize as u64;
        if outgoing.stored && !pumped.ended.is_empty() {
            let dequeue = |seq| SessionOp::Dequeue { session: session.id, seq };
            hub.journal.submit(&mut pumped.ended.into_iter().map(dequeue).collect());
        }
        more |= pumped.more || self.owed.front().is_some_and(|(ticket, _)| hub.journal.durable() >= *ticket);
        if !more {
            if outgoing.outbound.is_gated(self.link.receive_maximum()) || !outgoing.scans.is_empty() {
                hub.wake_on_commit(waker);
                more = !outgoing.outbound.is_gated(self.link.receive_maximum()) && outgoing.scans.is_empty();
            }
            if let Some(link) = outgoing.link.as_mut() {
                link.waker.get_or_insert_with(|| waker.clone()).clone_from(waker);
            }
        }
        Ok(more)
    }

    /// `false` if the first one left waits for the store.
    fn send_owed(&mut self, hub: &Hub, out: &mut Vec<u8>, out_bytes_max: usize) -> bool {
        let durable = hub.journal.durable();
        while out.len() < out_bytes_max {
            let Some((ticket, _)) = self.owed.front() else { return true };
            if *ticket > durable {
                return false;
            }
            let Some((_, owed)) = self.owed.pop_front() else { return true };
            owed.encode(self.version, out);
        }
        true
    }
}

impl Owed {
    fn encode(self, version: Version, out: &mut Vec<u8>) {
        let answer = |packet_id, reasons| portreeve_mqtt::SubAck { packet_id, reasons, reason_string: None };
        match self {
            Self::Ack(kind, packet_id, reason) => encode::ack(out, version, kind, packet_id, reason, None),
            Self::SubAck(packet_id, reasons) => encode::suback(out, version, &answer(packet_id, reasons)),
            Self::UnsubAck(packet_id, reasons) => encode::unsuback(out, version, &answer(packet_id, reasons)),
            Self::Pong => encode::pingresp(out),
        }
    }
}

/// The cached decision and route for a topic, made anew where either is out of date.
fn topic_entry<'a>(
    topics: &'a mut HashMap<Box<str>, Topic>,
    hub: &Hub,
    session: &Arc<Session>,
    topic: &str,
    publish: &Publish<'_>,
    now: UnixMillis,
) -> Result<&'a Topic, portreeve_policy::Denial> {
    let generation = hub.generation();
    let known = topics.get(topic).is_some_and(|entry| entry.generation == generation);
    if !known {
        let decision = hub.decide(session, Action::Publish, topic, Some(publish.qos), publish.retain, now);
        decision.verdict?;
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        // `decode` checked the text; a second check costs nothing beside the decision.
        let Ok(name) = TopicName::new(topic) else {
            return Err(portreeve_policy::Denial { reason: portreeve_policy::DenialReason::NoPermit, policies: Vec::new() });
        };
        mark(&hub.limits.topic_bytes, name.len());
        mark(&hub.limits.topic_levels, name.split('/').count());
        let route = Arc::new(hub.route(&name, Some(session), now));
        // An uncacheable decision is remembered under a generation that never is.
        let generation = if decision.cacheable { generation } else { 0 };
        topics.insert(topic.into(), Topic { name, generation, route });
    }
    let version = hub.trie_version();
    let stale = topics.get(topic).is_some_and(|entry| entry.route.version != version || entry.route.generation != generation);
    if stale && let Some(entry) = topics.get_mut(topic) {
        entry.route = Arc::new(hub.route(&entry.name, Some(session), now));
    }
    topics.get(topic).ok_or(portreeve_policy::Denial { reason: portreeve_policy::DenialReason::NoPermit, policies: Vec::new() })
}

fn row(
    session: &Session,
    topic: TopicName,
    publish: &Publish<'_>,
    config: &portreeve_config::Config,
    now: UnixMillis,
) -> MessageRow {
    let mut forwarded = Vec::new();
    publish.properties.encode_forwarded(&mut forwarded);
    let cap_s = Some(config.mqtt.message_expiry_max_s).filter(|&s| s > 0);
    let expiry_s = match (publish.properties.expiry_s, cap_s) {
        (Some(asked), Some(cap)) => Some(asked.min(cap)),
        (asked, cap) => asked.or(cap),
    };
    MessageRow {
        topic,
        publisher: Some(session.key.identity),
        qos: publish.qos,
        retain: publish.retain,
        forwarded: forwarded.into(),
        payload: publish.payload.into(),
        expires: expiry_s.map(|s| now.plus(Duration::from_secs(s.into()))),
        received: now,
    }
}

fn complete(hub: &Hub, session: &Session, outgoing: &super::session::Outgoing, bytes_before: usize, seq: u64) {
    hub.gauges.queue_changed(bytes_before, outgoing.outbound.bytes());
    if outgoing.stored {
        hub.journal.submit(&mut vec![SessionOp::Dequeue { session: session.id, seq }]);
    }
}

fn wrong_ack() -> End {
    Violation::protocol("MQTT-4.3.3-8", "an acknowledgement that does not fit the delivery's state").into()
}

/// A filter that is not well-formed ends the connection; one that is merely not granted is answered by code.
fn bad_filter(error: TopicError) -> End {
    match error {
        TopicError::Share => Violation::protocol("MQTT-4.8.2-1", "not a valid shared subscription").into(),
        _ => Violation::malformed("MQTT-4.7.1-1", "not a valid topic filter").into(),
    }
}
