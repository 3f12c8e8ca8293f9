//! What a server owes one client: queued and in-flight messages, in order, inside the client's limits.
//!
//! [`Outbound`] is the session's half and outlives connections; [`Link`] is the connection's half.
//!
//! *Invariants*
//! - The packet identifier of an entry follows from its sequence number ([`packet_id`]), so a session that is read
//!   back after a crash retransmits every message under the identifier it first had. That is what makes QoS 2 exact
//!   across a `kill -9`.
//! - In flight are never more than the client's Receive Maximum [MQTT-3.3.4-9], nor a span of 65,535 sequence numbers.
//! - Messages leave in the order in which they came; only QoS 0 may overtake a full in-flight window (§4.9).

use std::collections::{HashMap, VecDeque};

use portreeve_types::{Qos, UnixMillis};
use smallvec::SmallVec;

use crate::{Reason, Version, encode};

/// A message as the outbound side needs to see it. Implemented by shared handles: cloning must be cheap.
pub trait Deliverable {
    /// Topic name.
    fn topic(&self) -> &str;
    /// Encoded properties that every receiver gets unaltered, without their length prefix.
    fn forwarded(&self) -> &[u8];
    /// Application message.
    fn payload(&self) -> &[u8];
    /// When the message expires, if it does [MQTT-3.3.2-5].
    fn expires(&self) -> Option<UnixMillis>;
    /// Whether it may go out now. A message for a persistent session waits here for the store.
    fn is_ready(&self, qos: Qos) -> bool;
    /// What it counts against queue limits, bytes.
    fn cost_bytes(&self) -> usize {
        self.topic().len() + self.forwarded().len() + self.payload().len()
    }
}

impl<T: Deliverable> Deliverable for std::sync::Arc<T> {
    fn topic(&self) -> &str {
        T::topic(self)
    }

    fn forwarded(&self) -> &[u8] {
        T::forwarded(self)
    }

    fn payload(&self) -> &[u8] {
        T::payload(self)
    }

    fn expires(&self) -> Option<UnixMillis> {
        T::expires(self)
    }

    fn is_ready(&self, qos: Qos) -> bool {
        T::is_ready(self, qos)
    }
}

/// One delivery: a shared message and this receiver's view of it.
#[derive(Clone, Debug)]
pub struct Delivery<M> {
    /// The message.
    pub message: M,
    /// The lower of the publisher's and the subscription's QoS.
    pub qos: Qos,
    /// RETAIN flag to send.
    pub retain: bool,
    /// Identifiers of the matching subscriptions [MQTT-3.3.4-3].
    pub subscription_ids: SmallVec<[u32; 1]>,
}

#[derive(Debug)]
struct Entry<M> {
    delivery: Delivery<M>,
    /// Arrival order across both queues.
    order: u64,
    /// Position in the session's QoS > 0 stream; unused for QoS 0.
    seq: u64,
    /// Sent before on an earlier connection.
    dup: bool,
}

#[derive(Debug)]
struct InFlight<M> {
    entry: Entry<M>,
    /// PUBREC arrived: only PUBREL and PUBCOMP remain.
    released: bool,
}

/// How much may wait for one session.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Queued and in-flight messages.
    pub messages_max: usize,
    /// Their cost in bytes.
    pub bytes_max: usize,
    /// What happens when full.
    pub overflow: Overflow,
}

/// The decision for a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest message not yet sent makes room.
    DropOldest,
    /// The new message is refused.
    Reject,
}

/// What became of a delivery.
#[derive(Debug)]
pub struct Queued<M> {
    /// The sequence number under which it waits (0 at QoS 0), the store's key; `None` if the queue is full.
    pub accepted: Option<u64>,
    /// What made room, oldest first.
    pub dropped: Vec<Removed<M>>,
}

/// A delivery that left the queue. Its message is handed out, so that whoever stored it can delete the row that names it
/// before the message itself goes.
#[derive(Debug)]
pub struct Removed<M> {
    /// Sequence number, the store's key; `None` at QoS 0, which has none.
    pub seq: Option<u64>,
    /// The message.
    pub message: M,
}

impl<M> From<Entry<M>> for Removed<M> {
    fn from(entry: Entry<M>) -> Self {
        let seq = (entry.delivery.qos != Qos::AtMostOnce).then_some(entry.seq);
        Self { seq, message: entry.delivery.message }
    }
}

/// The packet identifier that belongs to a sequence number.
#[must_use]
pub fn packet_id(seq: u64) -> u16 {
    // proof: a remainder of 65,535 plus one lies in 1..=65,535.
    #[allow(clippy::cast_possible_truncation)]
    let id = (seq % 65_535) as u16 + 1;
    id
}

/// What an acknowledgement did.
#[derive(Debug)]
pub enum Acked<M> {
    /// This delivery is complete.
    Complete(Removed<M>),
    /// PUBREC: send PUBREL once this release is durable.
    Release(u64),
    /// A repeated PUBREC: send PUBREL again.
    AlreadyReleased,
    /// No such identifier in that state.
    Unknown,
}

/// The session's half of delivery.
#[derive(Debug)]
pub struct Outbound<M> {
    /// QoS > 0, not in flight, ascending `seq`.
    waiting: VecDeque<Entry<M>>,
    /// QoS 0.
    waiting_qos0: VecDeque<Entry<M>>,
    /// Ascending `seq`.
    in_flight: VecDeque<InFlight<M>>,
    next_seq: u64,
    next_order: u64,
    bytes: usize,
    /// Of these, what was sent on this or an earlier connection and cannot make room for others.
    sent_bytes: usize,
    sent_count: usize,
}

impl<M> Default for Outbound<M> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_qos0: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_seq: 0,
            next_order: 0,
            bytes: 0,
            sent_bytes: 0,
            sent_count: 0,
        }
    }
}

/// What one [`Outbound::pump`] did besides writing bytes.
#[derive(Debug)]
pub struct Pumped<M> {
    /// Messages written.
    pub sent: usize,
    /// Messages that ended without being sent: expired, or larger than the client takes.
    pub ended: Vec<Removed<M>>,
    /// Expired messages, QoS 0 included.
    pub expired: usize,
    /// Messages larger than the client's Maximum Packet Size [MQTT-3.1.2-25].
    pub oversize: usize,
    /// Stopped because the output was full, not for want of messages.
    pub more: bool,
}

impl<M> Default for Pumped<M> {
    fn default() -> Self {
        Self { sent: 0, ended: Vec::new(), expired: 0, oversize: 0, more: false }
    }
}

impl<M: Deliverable> Outbound<M> {
    /// Messages queued or in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.waiting_qos0.len() + self.in_flight.len()
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages not yet sent on this connection.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.waiting_qos0.len()
    }

    /// Sent and not yet acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What is queued and in flight, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues a delivery, or decides what happens when there is no room.
    pub fn push(&mut self, delivery: Delivery<M>, limits: &QueueLimits) -> Queued<M> {
        let cost = delivery.message.cost_bytes();
        let mut dropped = Vec::new();
        // What cannot fit even beside what must stay drives nothing out.
        if self.sent_count >= limits.messages_max || self.sent_bytes + cost > limits.bytes_max {
            return Queued { accepted: None, dropped };
        }
        while self.len() >= limits.messages_max || self.bytes + cost > limits.bytes_max {
            let victim = if limits.overflow == Overflow::Reject { None } else { self.drop_oldest() };
            let Some(victim) = victim else { return Queued { accepted: None, dropped } };
            dropped.push(victim.into());
        }
        self.bytes += cost;
        let order = self.next_order;
        self.next_order += 1;
        if delivery.qos == Qos::AtMostOnce {
            self.waiting_qos0.push_back(Entry { delivery, order, seq: 0, dup: false });
            return Queued { accepted: Some(0), dropped };
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.waiting.push_back(Entry { delivery, order, seq, dup: false });
        Queued { accepted: Some(seq), dropped }
    }

    /// QoS 0 goes first: nobody was promised it. What was sent before stays, its identifier is in use.
    fn drop_oldest(&mut self) -> Option<Entry<M>> {
        let victim = self.waiting_qos0.pop_front().or_else(|| {
            // One that its publisher has not handed to the store yet stays: its removal would be stored before itself.
            let droppable = |entry: &Entry<M>| !entry.dup && entry.delivery.message.is_ready(Qos::AtLeastOnce);
            let index = self.waiting.iter().position(droppable)?;
            self.waiting.remove(index)
        })?;
        self.bytes -= victim.delivery.message.cost_bytes();
        Some(victim)
    }

    /// Puts back an entry read from the store; call in ascending `seq`. `maybe_sent` sets DUP on its next delivery.
    pub fn restore(&mut self, seq: u64, delivery: Delivery<M>, released: bool, maybe_sent: bool) {
        let cost = delivery.message.cost_bytes();
        self.bytes += cost;
        if maybe_sent || released {
            self.sent_bytes += cost;
            self.sent_count += 1;
        }
        let entry = Entry { delivery, order: self.next_order, seq, dup: maybe_sent };
        self.next_order += 1;
        self.next_seq = self.next_seq.max(seq + 1);
        if released {
            self.in_flight.push_back(InFlight { entry, released });
        } else {
            self.waiting.push_back(entry);
        }
    }

    /// A new connection resumes this session: everything unacknowledged is owed again, in its first order [MQTT-4.4.0-1].
    ///
    /// Returns the identifiers whose PUBREL must be sent again.
    pub fn resume(&mut self) -> Vec<u16> {
        let mut releases = Vec::new();
        let mut kept = VecDeque::new();
        while let Some(mut item) = self.in_flight.pop_back() {
            if item.released {
                releases.push(packet_id(item.entry.seq));
                kept.push_front(item);
            } else {
                item.entry.dup = true;
                self.waiting.push_front(item.entry);
            }
        }
        releases.reverse();
        self.in_flight = kept;
        releases
    }

    /// QoS 0 messages are not kept for a client that is away (§4.1 leaves it open).
    pub fn forget_qos0(&mut self) {
        for entry in self.waiting_qos0.drain(..) {
            self.bytes -= entry.delivery.message.cost_bytes();
        }
    }

    /// Takes out messages that were not sent yet and that `keep` no longer wants.
    pub fn retain_unsent(&mut self, mut keep: impl FnMut(&Delivery<M>) -> bool) -> Vec<Removed<M>> {
        let mut removed = Vec::new();
        for queue in [&mut self.waiting, &mut self.waiting_qos0] {
            let (kept, dropped): (VecDeque<_>, VecDeque<_>) =
                queue.drain(..).partition(|entry| entry.dup || keep(&entry.delivery));
            *queue = kept;
            removed.extend(dropped.into_iter().map(Removed::from));
        }
        self.bytes -= removed.iter().map(|removed| removed.message.cost_bytes()).sum::<usize>();
        removed
    }

    /// Whether another message of `cost_bytes` fits without driving one out. An empty queue takes any.
    #[must_use]
    pub fn has_room(&self, cost_bytes: usize, limits: &QueueLimits) -> bool {
        self.is_empty() || (self.len() < limits.messages_max && self.bytes + cost_bytes <= limits.bytes_max)
    }

    /// Whether [`Self::pump`] would send something now.
    #[must_use]
    pub fn is_sendable(&self, receive_maximum: u16) -> bool {
        !self.waiting_qos0.is_empty() || self.next_tracked(receive_maximum).is_some()
    }

    /// Every message that was ever sent, and is still owed, has a sequence number below this.
    #[must_use]
    pub fn sent_below(&self) -> u64 {
        let in_flight = self.in_flight.back().map_or(0, |item| item.entry.seq + 1);
        let again = self.waiting.iter().take_while(|entry| entry.dup).last().map_or(0, |entry| entry.seq + 1);
        in_flight.max(again)
    }

    /// Whether a delivery under this identifier is in flight, in whatever state.
    #[must_use]
    pub fn is_in_flight(&self, id: u16) -> bool {
        self.find(id).is_some()
    }

    /// Whether the next message could go but for its own readiness: somebody must wake this session when it is ready.
    #[must_use]
    pub fn is_gated(&self, receive_maximum: u16) -> bool {
        let window_open = self.in_flight.len() < usize::from(receive_maximum);
        window_open && self.waiting.front().is_some_and(|entry| !entry.delivery.message.is_ready(entry.delivery.qos))
    }

    /// Everything still owed, oldest first: for redistribution and for accounting when a session ends.
    pub fn drain(&mut self) -> impl Iterator<Item = Delivery<M>> + '_ {
        (self.bytes, self.sent_bytes, self.sent_count) = (0, 0, 0);
        let in_flight = self.in_flight.drain(..).filter(|item| !item.released).map(|item| item.entry.delivery);
        in_flight
            .chain(self.waiting.drain(..).map(|e| e.delivery))
            .chain(self.waiting_qos0.drain(..).map(|e| e.delivery))
    }

    /// Writes as many PUBLISH packets as the window, the gate and `out_bytes_max` allow.
    pub fn pump(&mut self, now: UnixMillis, link: &mut Link, out: &mut Vec<u8>, out_bytes_max: usize) -> Pumped<M> {
        let mut pumped = Pumped::default();
        loop {
            if out.len() >= out_bytes_max {
                pumped.more = true;
                return pumped;
            }
            let Some(entry) = self.take_next(link.receive_maximum) else { return pumped };
            let delivery = &entry.delivery;
            if !entry.dup && delivery.message.expires().is_some_and(|at| at <= now) {
                pumped.expired += 1;
                pumped.ended.push(self.end(entry));
                continue;
            }
            if !link.publish(now, &entry, out) {
                pumped.oversize += 1;
                pumped.ended.push(self.end(entry));
                continue;
            }
            pumped.sent += 1;
            if entry.delivery.qos == Qos::AtMostOnce {
                self.bytes -= entry.delivery.message.cost_bytes();
                continue;
            }
            if !entry.dup {
                self.sent_bytes += entry.delivery.message.cost_bytes();
                self.sent_count += 1;
            }
            self.fly(entry);
        }
    }

    /// Nearly always behind all others; what was released before a crash may have a later number.
    fn fly(&mut self, entry: Entry<M>) {
        let is_latest = self.in_flight.back().is_none_or(|last| last.entry.seq < entry.seq);
        let index = if is_latest {
            self.in_flight.len()
        } else {
            self.in_flight.partition_point(|item| item.entry.seq < entry.seq)
        };
        self.in_flight.insert(index, InFlight { entry, released: false });
    }

    fn end(&mut self, entry: Entry<M>) -> Removed<M> {
        let cost = entry.delivery.message.cost_bytes();
        self.bytes -= cost;
        if entry.dup {
            self.sent_bytes -= cost;
            self.sent_count -= 1;
        }
        entry.into()
    }

    /// The next message in order; a full window holds back QoS > 0 only.
    fn take_next(&mut self, receive_maximum: u16) -> Option<Entry<M>> {
        let tracked = self.next_tracked(receive_maximum).map(|entry| entry.order);
        let untracked = self.waiting_qos0.front().map(|entry| entry.order);
        match (tracked, untracked) {
            (Some(a), Some(b)) if a < b => self.waiting.pop_front(),
            (Some(_), None) => self.waiting.pop_front(),
            _ => self.waiting_qos0.pop_front(),
        }
    }

    /// The next QoS > 0 message, if the window, the span of identifiers and its own readiness let it go.
    fn next_tracked(&self, receive_maximum: u16) -> Option<&Entry<M>> {
        let window_open = self.in_flight.len() < usize::from(receive_maximum);
        self.waiting.front().filter(|entry| {
            let fits = self.in_flight.front().is_none_or(|oldest| entry.seq.abs_diff(oldest.entry.seq) < 65_535);
            window_open && fits && entry.delivery.message.is_ready(entry.delivery.qos)
        })
    }

    /// PUBACK for a QoS 1 message.
    pub fn puback(&mut self, id: u16) -> Acked<M> {
        self.complete(id, |item| item.entry.delivery.qos == Qos::AtLeastOnce)
    }

    /// PUBREC for a QoS 2 message; an error reason ends the delivery [MQTT-4.3.3-4].
    pub fn pubrec(&mut self, id: u16, reason: Reason) -> Acked<M> {
        let Some(index) = self.find(id) else { return Acked::Unknown };
        let item = &mut self.in_flight[index];
        if item.entry.delivery.qos != Qos::ExactlyOnce {
            return Acked::Unknown;
        }
        if item.released {
            return Acked::AlreadyReleased;
        }
        if reason.is_error() {
            return self.complete(id, |_| true);
        }
        item.released = true;
        Acked::Release(item.entry.seq)
    }

    /// PUBCOMP for a released QoS 2 message.
    pub fn pubcomp(&mut self, id: u16) -> Acked<M> {
        self.complete(id, |item| item.released)
    }

    fn complete(&mut self, id: u16, fits: impl Fn(&InFlight<M>) -> bool) -> Acked<M> {
        let Some(index) = self.find(id).filter(|&index| fits(&self.in_flight[index])) else { return Acked::Unknown };
        // Most clients acknowledge in order, for which there is a shorter way than `remove`.
        let item = if index == 0 { self.in_flight.pop_front() } else { self.in_flight.remove(index) };
        let Some(item) = item else { return Acked::Unknown };
        let cost = item.entry.delivery.message.cost_bytes();
        self.bytes -= cost;
        self.sent_bytes -= cost;
        self.sent_count -= 1;
        Acked::Complete(item.entry.into())
    }

    /// In flight spans fewer than 65,535 sequence numbers, so an identifier names at most one of them.
    fn find(&self, id: u16) -> Option<usize> {
        let base = self.in_flight.front()?.entry.seq;
        if packet_id(base) == id {
            return Some(0);
        }
        let offset = (65_535 + u64::from(id) - u64::from(packet_id(base))) % 65_535;
        self.in_flight.binary_search_by_key(&(base + offset), |item| item.entry.seq).ok()
    }
}

/// The connection's half of delivery: what this client, on this connection, can take.
#[derive(Debug)]
pub struct Link {
    version: Version,
    receive_maximum: u16,
    packet_bytes_max: usize,
    aliases: OutboundAliases,
}

impl Link {
    /// From the values of CONNECT; `receive_maximum` may be lowered by the server's own limit.
    #[must_use]
    pub fn new(
        version: Version,
        receive_maximum: u16,
        packet_bytes_max: Option<u32>,
        topic_alias_maximum: u16,
    ) -> Self {
        Self {
            version,
            receive_maximum: receive_maximum.max(1),
            packet_bytes_max: packet_bytes_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX)),
            aliases: OutboundAliases { topics: HashMap::new(), max: topic_alias_maximum },
        }
    }

    /// Protocol level.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// QoS 1 and 2 messages that may be in flight at once.
    #[must_use]
    pub fn receive_maximum(&self) -> u16 {
        self.receive_maximum
    }

    /// Whether a packet of this many bytes may be sent to this client [MQTT-3.1.2-24].
    #[must_use]
    pub fn accepts_bytes(&self, packet_bytes: usize) -> bool {
        packet_bytes <= self.packet_bytes_max
    }

    /// Encodes one PUBLISH; `false` if it is larger than the client takes.
    fn publish<M: Deliverable>(&mut self, now: UnixMillis, entry: &Entry<M>, out: &mut Vec<u8>) -> bool {
        let (delivery, message) = (&entry.delivery, &entry.delivery.message);
        let expiry_s = message.expires().map(|at| {
            let left_s = at.since(now).as_millis().div_ceil(1000);
            u32::try_from(left_s).unwrap_or(u32::MAX).max(1)
        });
        let (topic, alias) = self.aliases.apply(message.topic());
        let header = encode::PublishHeader {
            dup: entry.dup && delivery.qos != Qos::AtMostOnce,
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id: packet_id(entry.seq),
            topic,
            topic_alias: alias,
            subscription_ids: &delivery.subscription_ids,
            expiry_s,
            forwarded: message.forwarded(),
        };
        if self.packet_bytes_max != usize::MAX
            && encode::publish_len(self.version, &header, message.payload().len()) > self.packet_bytes_max
        {
            self.aliases.undo(message.topic(), topic);
            return false;
        }
        encode::publish(out, self.version, &header, message.payload());
        true
    }
}

/// Aliases the server has set for this client: first come, first served, none ever replaced [MQTT-3.1.2-26].
#[derive(Debug)]
struct OutboundAliases {
    topics: HashMap<Box<str>, u16>,
    max: u16,
}

impl OutboundAliases {
    /// The topic text and alias to send.
    fn apply<'a>(&mut self, topic: &'a str) -> (&'a str, Option<u16>) {
        if self.max == 0 {
            return (topic, None);
        }
        if let Some(&alias) = self.topics.get(topic) {
            return ("", Some(alias));
        }
        let Ok(used) = u16::try_from(self.topics.len()) else { return (topic, None) };
        if used >= self.max {
            return (topic, None);
        }
        self.topics.insert(topic.into(), used + 1);
        (topic, Some(used + 1))
    }

    /// The packet that would have set the alias was not sent.
    fn undo(&mut self, topic: &str, sent_as: &str) {
        if !sent_as.is_empty() {
            self.topics.remove(topic);
        }
    }
}
