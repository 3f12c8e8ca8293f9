//! One client's connection, without the socket: bytes in, bytes out, and a deadline.

mod acks;
mod open;
mod publish;
mod topics;

use std::{collections::VecDeque, sync::Arc, task::Waker};

use portreeve_config::Config;
use portreeve_detect::Ending;
use portreeve_events::Kind as EventKind;
use portreeve_mqtt::{
    AckKind, Answer, ConnAck, Connect, Disconnect, InboundAliases, Link, RETRY_AFTER, Reason, ReceiveQuota, Version,
    Violation, encode,
};
use portreeve_store::Ticket;
use portreeve_types::{Kind, UnixMillis};

pub(crate) use self::topics::Traffic;
use self::{open::send_owed, topics::Topics};
use super::{
    Close, Peer, Tally,
    attach::{Attached, Departure, Refused},
    rates::Rates,
    session::Session,
    subscribe::Asked,
    turn::{KeptWakes, PACKET_WORK, Turn},
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

/// The server's end of one connection. Give it an authenticated identity, feed it bytes, send what it writes.
#[derive(Debug)]
pub struct Connection {
    hub: Arc<Hub>,
    identity: DeviceIdentity,
    peer: Peer,
    opened: Now,
    open: Option<Box<Open>>,
    ended: Option<Ended>,
    /// For those who watch: who says nothing else is lost.
    ending: Ending,
    interrupted: bool,
    /// What the receivers of its messages have not been told while it was.
    kept: Option<Box<KeptWakes>>,
    searching: bool,
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
    /// How many of these bear [`Turn::PENDING`].
    pending: usize,
    topics: Topics,
    /// The packets behind it wait.
    subscribing: Option<Box<Asked>>,
    keep_alive_ms: u64,
    last_packet_ms: u64,
    /// What CONNECT was granted, for the rule on DISCONNECT [MQTT-3.14.2-2].
    expiry_s: u32,
    rates: Rates,
    /// The caps that `rates` obey.
    caps_revision: u64,
    /// The current second and the messages that came in it.
    second: (u64, u64),
    departure: Departure,
    departure_expiry_s: Option<u32>,
}

#[derive(Debug)]
enum Owed {
    Ack(AckKind, u16, Reason),
    SubAck(u16, Vec<Reason>),
    UnsubAck(u16, Vec<Reason>),
    Pong,
    /// Encoded; it waits where a stored session had to be ended for it.
    ConnAck(Box<[u8]>),
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

impl Open {
    /// When the client has been silent for too long.
    fn silent_ms(&self) -> u64 {
        if self.keep_alive_ms > 0 { self.last_packet_ms + self.keep_alive_ms } else { u64::MAX }
    }
}

impl Connection {
    /// A connection whose TLS handshake and registry check succeeded, waiting for CONNECT.
    #[must_use]
    pub fn new(hub: Arc<Hub>, identity: DeviceIdentity, peer: Peer, now: Now) -> Self {
        Self {
            hub,
            identity,
            peer,
            opened: now,
            open: None,
            ended: None,
            ending: Ending::Lost,
            interrupted: false,
            kept: None,
            searching: false,
            tally: Tally::default(),
        }
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

    /// Takes whole packets at the start of `input` and returns their length; the rest is for the next call. Takes them all,
    /// unless they are more than one turn's work ([`Self::is_interrupted`]), or acknowledgements wait for the store.
    ///
    /// Answers go to `out` here (CONNACK, the last word) or with the next [`Self::transmit`].
    pub fn receive(&mut self, now: Now, input: &[u8], out: &mut Vec<u8>) -> usize {
        let config = self.hub.config();
        let mut turn = Turn::new(&self.hub, &config, now);
        let mut used = 0;
        self.interrupted = false;
        self.obey_caps(&config);
        while self.ended.is_none() {
            if let Some(open) = &mut self.open {
                open.go_on(&self.hub, &mut turn);
            }
            if turn.is_over() {
                let subscribing = self.open.as_ref().is_some_and(|open| open.subscribing.is_some());
                self.interrupted = used < input.len() || subscribing;
                break;
            }
            if self.open.as_ref().is_some_and(|open| open.owed.len() >= ACKS_MAX) {
                break;
            }
            let rest = &input[used..];
            match portreeve_mqtt::frame(rest, self.packet_bytes_max(&config)) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    used += length;
                    turn.charge(PACKET_WORK);
                    self.tally.bytes_received += length as u64;
                    self.packet(&mut turn, &rest[..length], out);
                }
                Err(violation) => {
                    // Before CONNECT nobody knows whether the peer speaks MQTT at all.
                    let violation = if self.open.is_none() { violation.silent() } else { violation };
                    self.settle(&mut turn);
                    self.end(violation.into(), now, out);
                }
            }
            if turn.is_full() {
                self.settle(&mut turn);
            }
        }
        self.settle(&mut turn);
        if let Some(open) = &mut self.open {
            open.topics.tell_traffic(&self.hub, &open.session, now, false);
        }
        let kept = self.interrupted && self.kept.get_or_insert_default().keep(&mut turn);
        turn.finish(&self.hub);
        if !kept {
            self.kept = None;
        }
        self.mark_rates(now);
        self.hub.counters.fold(&mut self.tally);
        used
    }

    /// Whether the last [`Self::receive`] ended before its work was done: call it again, with whatever input is left, once
    /// others had their turn.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted && self.ended.is_none()
    }

    /// Whether the last [`Self::transmit`] searched for retained messages: that there is more to search is no reason to
    /// let others wait.
    #[must_use]
    pub fn is_searching(&self) -> bool {
        self.searching
    }

    /// When this connection is over by itself, as a [`Now::mono_ms`].
    #[must_use]
    pub fn ends_at_ms(&self, now: Now) -> u64 {
        self.deadline_ms(now)
    }

    /// Whether it is over, the hub ends it, or its time has come: that is not to wait until others had their turn.
    #[must_use]
    pub fn is_called_off(&self, now: Now) -> bool {
        self.ended.is_some()
            || now.mono_ms >= self.deadline_ms(now)
            || self.open.as_ref().is_some_and(|open| open.is_closed())
    }

    /// Tells the receivers of an interrupted connection's messages now: it goes on only when others had their turn.
    pub fn wake_receivers(&mut self) {
        self.kept = None;
    }

    /// The store learns what the turn has for it, before anybody is told of it.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        if let Some(open) = &mut self.open {
            open.settle(&self.hub, turn);
        }
    }

    /// Takes up a change of who is held to a rate.
    fn obey_caps(&mut self, config: &Config) {
        let revision = self.hub.used_rates.revision();
        let Some(open) = self.open.as_mut().filter(|open| open.caps_revision != revision) else { return };
        open.caps_revision = revision;
        open.rates = self.hub.used_rates.renew(open.rates, self.identity.id(), self.identity.kind(), config);
    }

    /// Raises the high-water marks of what one client may do.
    fn mark_rates(&mut self, now: Now) {
        let Some(open) = &mut self.open else { return };
        let second = now.mono_ms / 1000;
        if open.second.0 != second {
            open.second = (second, 0);
        }
        open.second.1 += self.tally.messages_received;
        let limits = &self.hub.limits;
        let (per_s, burst, bytes) = match self.identity.kind() {
            Kind::Device => (&limits.device_messages_per_s, &limits.device_messages_burst, &limits.device_bytes_per_s),
            Kind::Gateway | Kind::Application => (
                &limits.application_messages_per_s,
                &limits.application_messages_burst,
                &limits.application_bytes_per_s,
            ),
        };
        let age_s = now.mono_ms.saturating_sub(self.opened.mono_ms) / 1000;
        for (limit, used) in [
            (per_s, open.second.1),
            (burst, open.rates.messages.used()),
            (bytes, open.rates.bytes.used()),
            (&limits.connection_age_s, age_s),
        ] {
            mark(limit, usize::try_from(used).unwrap_or(usize::MAX));
        }
    }

    /// The largest packet that is taken, less before anybody is known (CSA-COM-06).
    fn packet_bytes_max(&self, config: &Config) -> u32 {
        let limit = if self.open.is_some() { config.limits.packet_bytes } else { config.limits.connect_bytes };
        u32::try_from(limit).unwrap_or(u32::MAX)
    }

    fn packet(&mut self, turn: &mut Turn<'_>, packet: &[u8], out: &mut Vec<u8>) {
        let result = match &mut self.open {
            None => return self.connect(turn, packet, out),
            Some(open) => open.packet(&self.hub, turn, packet, &mut self.tally),
        };
        if let Err(end) = result {
            self.settle(turn);
            self.end(end, turn.now, out);
        }
    }

    fn connect(&mut self, turn: &mut Turn<'_>, packet: &[u8], out: &mut Vec<u8>) {
        let now = turn.now;
        let request = match portreeve_mqtt::decode_connect(packet) {
            Ok(request) => request,
            Err(violation) => return self.end(violation.into(), now, out),
        };
        match self.hub.attach(&self.identity, &request, self.peer, now) {
            Ok(attached) => {
                mark(&self.hub.limits.connect_bytes, packet.len());
                mark(&self.hub.limits.client_id_bytes, attached.session.key.client_id.as_str().len());
                self.accept(turn, &request, attached);
            }
            Err(refused) => self.refuse(now, &request, &refused, out),
        }
    }

    fn refuse(&mut self, now: Now, request: &Connect<'_>, refused: &Refused, out: &mut Vec<u8>) {
        let client_id = Some(request.client_id).filter(|id| !id.is_empty());
        let name = Some(self.identity.name().as_str());
        self.hub.emit(refused.kind, name, client_id, Some(self.peer.address), format_args!("{}", refused.why));
        encode_refusal(request, refused, out);
        self.finish(now, true);
    }

    fn accept(&mut self, turn: &Turn<'_>, request: &Connect<'_>, attached: Attached) {
        let (config, now) = (turn.config, turn.now);
        let (mqtt, limits) = (&config.mqtt, &config.limits);
        let keep_alive_s = match request.version {
            Version::V5 if request.keep_alive_s > 0 => request.keep_alive_s.min(mqtt.server_keep_alive_s),
            Version::V5 => 0,
            Version::V311 => request.keep_alive_s.min(mqtt.keep_alive_v311_max_s),
        };
        let connack = encode_connack(request, &attached, keep_alive_s, config);
        if request.maximum_packet_bytes.is_some_and(|max| connack.len() > max as usize) {
            // The client cannot be told that it is connected; a session that it had stays.
            let expiry_s = if attached.present { None } else { Some(0) };
            self.hub.detach(&attached.session, attached.connection, Departure::Clean, expiry_s, now.wall);
            return self.finish(now, false);
        }
        let mut owed = VecDeque::from([(attached.accepted, Owed::ConnAck(connack.into()))]);
        // A release that is not durable yet must not be said again: the client could forget what the store does not know.
        let release = |&id| (attached.released, Owed::Ack(AckKind::PubRel, id, Reason::SUCCESS));
        owed.extend(attached.releases.iter().map(release));
        let receive_maximum = request.receive_maximum.unwrap_or(u16::MAX).min(limits.inflight_per_session);
        let alias_maximum = request.topic_alias_maximum.min(mqtt.topic_alias_out_max);
        self.hub.emit_for(
            &attached.session,
            EventKind::SessionStarted,
            format_args!(
                "MQTT {} over {}, session {}",
                if request.version == Version::V5 { "5.0" } else { "3.1.1" },
                self.peer.transport,
                if attached.present { "resumed" } else { "new" },
            ),
        );
        self.hub.watch_connected(&attached.session, request.keep_alive_s);
        self.tally.connects += 1;
        self.open = Some(Box::new(Open {
            version: request.version,
            link: Link::new(request.version, receive_maximum, request.maximum_packet_bytes, alias_maximum),
            aliases: InboundAliases::new(mqtt.topic_alias_max),
            quota: ReceiveQuota::new(match request.version {
                Version::V5 => mqtt.receive_max,
                Version::V311 => u16::MAX,
            }),
            owed,
            pending: 0,
            topics: Topics::new(self.identity.kind()),
            subscribing: None,
            keep_alive_ms: u64::from(keep_alive_s) * 1500,
            last_packet_ms: now.mono_ms,
            expiry_s: attached.expiry_s,
            // Read first: what changes meanwhile is seen at the next turn.
            caps_revision: self.hub.used_rates.revision(),
            rates: self.hub.used_rates.begin(self.identity.id(), self.identity.kind(), config, now.mono_ms),
            second: (0, 0),
            departure: Departure::WithWill,
            departure_expiry_s: None,
            session: attached.session,
            connection: attached.connection,
        }));
    }

    /// Writes what may go out now, up to about `out_bytes_max`, and sleeps under `waker` if nothing more is ready.
    pub fn transmit(&mut self, now: Now, waker: &Waker, out: &mut Vec<u8>, out_bytes_max: usize) -> Transmit {
        let before = out.len();
        let deadline_ms = self.deadline_ms(now);
        let mut more = false;
        self.searching = false;
        if now.mono_ms >= deadline_ms {
            self.expire(now, out);
        } else {
            more = self.pump(now, waker, out, out_bytes_max);
        }
        self.tally.bytes_sent += (out.len() - before) as u64;
        self.hub.counters.fold(&mut self.tally);
        Transmit { more, deadline_ms }
    }

    /// For a connection whose socket takes nothing: ends it if its time is over or the hub says so, and has `waker`
    /// called if the hub says so later. Returns when to look again, as [`Self::transmit`] does.
    pub fn attend(&mut self, now: Now, waker: &Waker, out: &mut Vec<u8>) -> u64 {
        let deadline_ms = self.deadline_ms(now);
        // Nobody knows when it goes on; others do not wait for that.
        self.kept = None;
        if now.mono_ms >= deadline_ms {
            self.expire(now, out);
        } else if let Some(close) = self.open.as_ref().and_then(|open| open.attend(waker).err()) {
            self.cut(close, now, out);
        }
        deadline_ms
    }

    fn pump(&mut self, now: Now, waker: &Waker, out: &mut Vec<u8>, out_bytes_max: usize) -> bool {
        let Some(open) = &mut self.open else { return false };
        match open.transmit(&self.hub, now, waker, out, out_bytes_max, &mut self.tally) {
            Ok(pumped) => {
                self.searching = pumped.scanned;
                pumped.more
            }
            Err(close) => {
                self.cut(close, now, out);
                false
            }
        }
    }

    /// Ends a connection whose deadline has come.
    fn expire(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.ended.is_some() {
            return;
        }
        let Some(open) = &self.open else {
            let violation = Violation::protocol("MQTT-3.1.0-1", "no CONNECT in time").silent();
            return self.end(violation.into(), now, out);
        };
        let (reason, kind, why) = if now.mono_ms >= open.silent_ms() {
            (Reason::KEEP_ALIVE_TIMEOUT, EventKind::KeepAliveExpired, "keep alive expired")
        } else if now.wall >= self.identity.not_after() {
            (Reason::MAXIMUM_CONNECT_TIME, EventKind::SessionCut, "the client's certificate expired")
        } else {
            (Reason::MAXIMUM_CONNECT_TIME, EventKind::SessionCut, "maximum connection age")
        };
        self.end(End::Cut(reason, kind, why.into()), now, out);
    }

    /// When this connection is over by itself, as a [`Now::mono_ms`].
    fn deadline_ms(&self, now: Now) -> u64 {
        let config = self.hub.config();
        let Some(open) = &self.open else { return self.opened.mono_ms + config.mqtt.connect_timeout_s * 1000 };
        let aged = self.opened.mono_ms + config.limits.connection_age_max_s * 1000;
        let left_ms = self.identity.not_after().0.saturating_sub(now.wall.0);
        open.silent_ms().min(aged).min(now.mono_ms.saturating_add(left_ms))
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
        self.ending = Ending::Cut;
        self.finish(now, false);
    }

    /// Ends the connection because the hub said so.
    fn cut(&mut self, close: Close, now: Now, out: &mut Vec<u8>) {
        self.end(End::Cut(close.reason, EventKind::SessionCut, close.why.into()), now, out);
        if let Some(asked) = close.asked {
            self.hub.cuts.observe(asked.elapsed());
        }
    }

    fn end(&mut self, end: End, now: Now, out: &mut Vec<u8>) {
        let (reason, kind, why, silent) = match end {
            End::Departed => {
                if let Some(open) = &self.open {
                    self.hub.emit_for(&open.session, EventKind::SessionEnded, format_args!("the client disconnected"));
                }
                self.ending = Ending::Clean;
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
        if kind != EventKind::KeepAliveExpired {
            self.ending = Ending::Cut;
        }
        if let Some(open) = &mut self.open {
            self.hub.emit_for(&open.session, kind, format_args!("{why}"));
            // What came before is answered before.
            send_owed(&mut open.owed, self.hub.journal.durable(), open.version, out, usize::MAX);
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
        self.kept = None;
        self.depart(now.wall, now.mono_ms);
    }

    fn depart(&mut self, now: UnixMillis, now_ms: u64) {
        let Some(open) = self.open.take() else { return };
        let Open { session, connection, departure, departure_expiry_s, rates, mut topics, last_packet_ms, .. } = *open;
        topics.tell_traffic(&self.hub, &session, Now { wall: now, mono_ms: now_ms.max(last_packet_ms) }, true);
        self.hub.watch_ended(&session, self.ending);
        self.hub.used_rates.keep(self.identity.id(), rates);
        self.hub.detach(&session, connection, departure, departure_expiry_s, now);
    }
}

impl Drop for Connection {
    /// A task that was cancelled must not leave its session connected.
    fn drop(&mut self) {
        self.depart(self.hub.wall_clock(), 0);
    }
}

/// The answer to a CONNECT that is refused; with when to come again, if the client wants to know and it fits. What is larger
/// than the client takes is not sent [MQTT-3.1.2-24], [MQTT-3.2.2-19], [MQTT-3.2.2-20].
fn encode_refusal(request: &Connect<'_>, refused: &Refused, out: &mut Vec<u8>) {
    let start = out.len();
    let bare = ConnAck { reason: refused.reason, ..ConnAck::default() };
    let fits = |out: &Vec<u8>| request.maximum_packet_bytes.is_none_or(|max| out.len() - start <= max as usize);
    if let Some(retry_after_ms) = refused.retry_after_ms.filter(|_| request.request_problem_information) {
        let retry_after_ms = retry_after_ms.to_string();
        let reason_string = Some("too many clients connect at once");
        let user_properties = vec![(RETRY_AFTER, retry_after_ms.as_str())];
        encode::connack(out, request.version, &ConnAck { reason_string, user_properties, ..bare.clone() });
        if fits(out) {
            return;
        }
        out.truncate(start);
    }
    encode::connack(out, request.version, &bare);
    if !fits(out) {
        out.truncate(start);
    }
}

/// The answer to a CONNECT that is let in: what the server limits, and what differs from the request.
fn encode_connack(request: &Connect<'_>, attached: &Attached, keep_alive_s: u16, config: &Config) -> Vec<u8> {
    let expiry_s = Some(attached.expiry_s).filter(|&granted| granted != request.session_expiry_s.unwrap_or(0));
    let mut packet = Vec::with_capacity(32);
    encode::connack(
        &mut packet,
        request.version,
        &ConnAck {
            session_present: attached.present,
            session_expiry_s: expiry_s,
            receive_maximum: Some(config.mqtt.receive_max),
            maximum_packet_bytes: u32::try_from(config.limits.packet_bytes).ok(),
            assigned_client_id: attached.assigned.as_ref().map(|id| id.as_str()),
            topic_alias_maximum: Some(config.mqtt.topic_alias_max).filter(|&max| max > 0),
            server_keep_alive_s: Some(keep_alive_s).filter(|&granted| granted != request.keep_alive_s),
            ..ConnAck::default()
        },
    );
    packet
}
