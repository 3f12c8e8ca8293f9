//! From a permitted publication to the queues of everyone who subscribed.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Waker,
};

use portreeve_events::Kind;
use portreeve_mqtt::{Deliverable as _, Delivery, Overflow, QueueLimits, Queued};
use portreeve_policy::Action;
use portreeve_store::{MessageId, QueueRow, SessionOp, Ticket};
use portreeve_types::{Qos, TopicName, UnixMillis};
use smallvec::SmallVec;

use super::{
    message::Message,
    session::{Outgoing, Session},
    subscription::Subscription,
    trie::{Match, ShareGroup},
};
use crate::Hub;

/// One receiver of a topic.
#[derive(Debug)]
pub(crate) struct Target {
    session: Arc<Session>,
    qos: Qos,
    retain_as_published: bool,
    ids: SmallVec<[u32; 1]>,
    /// Its policies read what changes between two messages: ask again for each.
    volatile: bool,
}

/// Everyone who receives one topic from one publisher, as of one version of the trie and one access generation.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) version: u64,
    pub(crate) generation: u64,
    targets: Vec<Target>,
    groups: Vec<Arc<ShareGroup>>,
}

impl Route {
    /// Whether anybody subscribed: if not, a 5.0 publisher is told 0x10.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }
}

/// What became of a publication.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    /// The acknowledgement may go out once this is durable.
    pub(crate) ticket: Ticket,
    /// Some receiver's queue, or the disk, had no room.
    pub(crate) refused: bool,
}

enum Delivered {
    Queued,
    /// Nobody is there and nothing is kept for them.
    Away,
    Full,
}

impl Hub {
    /// Looks up who receives `topic`. `publisher` is left out where a subscription says No Local [MQTT-3.8.3-3].
    pub(crate) fn route(&self, topic: &TopicName, publisher: Option<&Arc<Session>>, now: UnixMillis) -> Route {
        let version = self.trie_version.load(std::sync::atomic::Ordering::Acquire);
        let generation = self.generation();
        let mut route = Route { version, generation, ..Route::default() };
        let mut found: Vec<Arc<Subscription>> = Vec::new();
        self.trie.read().matches(topic, &mut |matched| match matched {
            Match::Single(subscription) => found.push(Arc::clone(subscription)),
            Match::Shared(group) => route.groups.push(Arc::clone(group)),
        });
        found.retain(|subscription| {
            let own = publisher.is_some_and(|session| session.id == subscription.session.id);
            !(subscription.options.no_local && own) && self.may_receive(subscription, topic, now)
        });
        found.sort_unstable_by_key(|subscription| subscription.session.id);
        for overlapping in found.chunk_by(|a, b| a.session.id == b.session.id) {
            self.add_targets(&mut route.targets, overlapping, topic);
        }
        route
    }

    /// Overlapping subscriptions of one session, MQTT 5.0 §3.3.4: one copy with the highest QoS and every identifier
    /// where an exact filter is among them or the client speaks 3.1.1; else one copy a subscription, as clients that
    /// dispatch by identifier expect. The specification leaves the choice.
    fn add_targets(&self, targets: &mut Vec<Target>, overlapping: &[Arc<Subscription>], topic: &TopicName) {
        let session = &overlapping[0].session;
        let access = self.access(session);
        let target = |subscriptions: &[Arc<Subscription>]| Target {
            session: Arc::clone(session),
            qos: subscriptions.iter().map(|s| s.options.qos).max().unwrap_or_default(),
            retain_as_published: subscriptions.iter().any(|s| s.options.retain_as_published),
            ids: subscriptions.iter().filter_map(|s| s.id).collect(),
            volatile: access.slice.is_volatile(),
        };
        let exact = overlapping.iter().any(|s| s.filter.plain() == topic.as_str());
        if overlapping.len() == 1 || exact || !session.outgoing.lock().v5 {
            targets.push(target(overlapping));
        } else {
            targets.extend(overlapping.chunks(1).map(target));
        }
    }

    /// Whether policy lets this subscription see `topic`. Proven once for most subscriptions, asked for the rest.
    pub(crate) fn may_receive(&self, subscription: &Subscription, topic: &TopicName, now: UnixMillis) -> bool {
        subscription.proves(self.generation_of(&subscription.session), topic)
            || self.may_receive_now(&subscription.session, topic, now)
    }

    pub(crate) fn may_receive_now(&self, session: &Arc<Session>, topic: &TopicName, now: UnixMillis) -> bool {
        self.decide(session, Action::Receive, topic, None, false, now).is_allowed()
    }

    /// Hands a message to everyone on its route, keeps it if it is retained, and submits all that to the store at once
    /// with `ops` (what the publisher's own session must remember in the same commit).
    ///
    /// `wakes` gets the connections to wake once no lock is held.
    pub(crate) fn publish(
        &self,
        message: &Arc<Message>,
        route: &Route,
        now: UnixMillis,
        mut ops: Vec<SessionOp>,
        wakes: &mut Vec<Waker>,
    ) -> Published {
        let mut refused = false;
        if message.row.retain {
            refused |= !self.retain(message);
        }
        for target in &route.targets {
            if target.volatile && !self.may_receive_now(&target.session, &message.row.topic, now) {
                continue;
            }
            let retain = target.retain_as_published && message.row.retain;
            let delivered = self.deliver(&target.session, message, target.qos, retain, &target.ids, &mut ops, wakes);
            refused |= matches!(delivered, Delivered::Full);
        }
        for group in &route.groups {
            refused |= matches!(self.deliver_shared(group, message, now, &mut ops, wakes), Delivered::Full);
        }
        Published { ticket: self.submit_for(message, &mut ops), refused }
    }

    /// Whether a refusal has to be known before anybody gets the message: who is told "refused" sends it again. At QoS 2
    /// always, since PUBCOMP knows no refusal.
    pub(crate) fn must_ask_first(&self, message: &Message) -> bool {
        let rejects = || self.config().mqtt.queue_overflow == portreeve_config::QueueOverflow::Reject;
        match message.row.qos {
            Qos::AtMostOnce => false,
            Qos::AtLeastOnce => message.row.retain || !self.accepts_work() || rejects(),
            Qos::ExactlyOnce => true,
        }
    }

    /// Whether [`Self::publish`] would find no room somewhere now.
    pub(crate) fn would_refuse(&self, message: &Arc<Message>, route: &Route) -> bool {
        let accepts_work = self.accepts_work();
        if message.row.retain && !message.row.payload.is_empty() {
            let room = self.has_retained_room(&self.retained.read(), message);
            if !room || !accepts_work {
                return true;
            }
        }
        let cost = message.cost_bytes();
        route.targets.iter().any(|target| {
            let outgoing = target.session.outgoing.lock();
            let limits = self.queue_limits(outgoing.outbound.bytes());
            let stored = outgoing.stored && target.qos.min(message.row.qos) != Qos::AtMostOnce;
            let refuses = limits.overflow == Overflow::Reject && !outgoing.outbound.has_room(cost, &limits);
            (stored && !accepts_work) || ((stored || outgoing.is_online()) && refuses)
        })
    }

    fn submit_for(&self, message: &Message, ops: &mut Vec<SessionOp>) -> Ticket {
        if ops.is_empty() && !message.is_held() {
            return message.ticket();
        }
        let ticket = self.journal.submit(ops);
        message.submitted(ticket);
        ticket
    }

    /// One member of a share group: the next that is connected, else the next whose session keeps messages (§4.8.2).
    fn deliver_shared(
        &self,
        group: &ShareGroup,
        message: &Arc<Message>,
        now: UnixMillis,
        ops: &mut Vec<SessionOp>,
        wakes: &mut Vec<Waker>,
    ) -> Delivered {
        let mut rota = group.rota();
        rota.retain(|member| self.may_receive(member, &message.row.topic, now));
        let (online, away): (Vec<_>, Vec<_>) = rota.into_iter().partition(|m| m.session.outgoing.lock().is_online());
        let mut outcome = Delivered::Away;
        for member in online.iter().chain(&away) {
            let retain = member.options.retain_as_published && message.row.retain;
            let ids: SmallVec<[u32; 1]> = member.id.into_iter().collect();
            match self.deliver(&member.session, message, member.options.qos, retain, &ids, ops, wakes) {
                Delivered::Queued => return Delivered::Queued,
                Delivered::Full => outcome = Delivered::Full,
                Delivered::Away => {}
            }
        }
        outcome
    }

    /// Puts a message into one session's queue, within the session's and the hub's bounds.
    #[expect(clippy::too_many_arguments, reason = "a delivery is these values; a struct would only rename them")]
    fn deliver(
        &self,
        session: &Arc<Session>,
        message: &Arc<Message>,
        granted: Qos,
        retain: bool,
        ids: &[u32],
        ops: &mut Vec<SessionOp>,
        wakes: &mut Vec<Waker>,
    ) -> Delivered {
        let qos = granted.min(message.row.qos);
        let mut outgoing = session.outgoing.lock();
        if outgoing.ended || (!outgoing.is_online() && (!outgoing.stored || qos == Qos::AtMostOnce)) {
            return Delivered::Away;
        }
        let delivery = Delivery { message: Arc::clone(message), qos, retain, subscription_ids: ids.into() };
        let delivered = self.enqueue(session, &mut outgoing, delivery, ops);
        if matches!(delivered, Delivered::Queued)
            && let Some(waker) = outgoing.link.as_mut().and_then(|link| link.waker.take())
        {
            wakes.push(waker);
        }
        delivered
    }

    /// As [`Self::deliver`], with the lock held and the session known to take it.
    fn enqueue(
        &self,
        session: &Session,
        outgoing: &mut Outgoing,
        delivery: Delivery<Arc<Message>>,
        ops: &mut Vec<SessionOp>,
    ) -> Delivered {
        let stored = outgoing.stored && delivery.qos != Qos::AtMostOnce;
        if stored && !self.accepts_work() {
            return Delivered::Full;
        }
        let row = stored.then(|| QueueRow {
            message: self.store_body(&delivery.message, ops),
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids.to_vec(),
            released: false,
        });
        let before = outgoing.outbound.bytes();
        let queued = outgoing.outbound.push(delivery, &self.queue_limits(before));
        self.gauges.queue_changed(before, outgoing.outbound.bytes());
        let Queued::Accepted { seq, dropped, dropped_count } = queued else {
            self.counters.queue_dropped.fetch_add(1, Relaxed);
            return Delivered::Full;
        };
        if dropped_count > 0 {
            self.counters.queue_dropped.fetch_add(dropped_count as u64, Relaxed);
        }
        if outgoing.stored {
            ops.extend(dropped.into_iter().map(|seq| SessionOp::Dequeue { session: session.id, seq }));
        }
        ops.extend(row.map(|row| SessionOp::Enqueue { session: session.id, seq, row }));
        Delivered::Queued
    }

    /// One session's bounds; when the hub's total is used up, a queue that holds `bytes` may not grow.
    pub(crate) fn queue_limits(&self, bytes: usize) -> QueueLimits {
        let config = self.config();
        let limits = &config.limits;
        let total_left = limits.queue_bytes_total.saturating_sub(self.gauges.queue_bytes.load(Relaxed));
        QueueLimits {
            messages_max: limits.queue_messages_per_session,
            bytes_max: limits.queue_bytes_per_session.min(bytes.saturating_add(total_left)),
            overflow: match config.mqtt.queue_overflow {
                portreeve_config::QueueOverflow::DropOldest => Overflow::DropOldest,
                portreeve_config::QueueOverflow::Reject => Overflow::Reject,
            },
        }
    }

    /// The body's key in the store; the first call adds the body to `ops`.
    pub(crate) fn store_body(&self, message: &Arc<Message>, ops: &mut Vec<SessionOp>) -> MessageId {
        if let Some(id) = message.stored_id() {
            message.hold();
            return id;
        }
        let id = MessageId(self.next_message.fetch_add(1, Relaxed));
        message.assign(id);
        ops.push(SessionOp::PutMessage { id, row: Arc::new(message.row.clone()) });
        id
    }

    /// Keeps a retained message, or with an empty payload forgets the topic's [MQTT-3.3.1-6]. `false` if no room is left.
    ///
    /// Memory and op stream change under one lock, so that a restart finds the same winner of two concurrent publishers.
    fn retain(&self, message: &Arc<Message>) -> bool {
        let topic = &message.row.topic;
        let mut retained = self.retained.write();
        let replaced;
        if message.row.payload.is_empty() {
            replaced = retained.remove(topic);
            if replaced.is_some() {
                let ticket = self.journal.submit(&mut vec![SessionOp::DeleteRetained { topic: topic.clone() }]);
                message.submitted(ticket);
            }
        } else {
            if !self.has_retained_room(&retained, message) || !self.accepts_work() {
                drop(retained);
                self.emit(Kind::LimitReached, None, None, None, format_args!("no room to retain a message on {topic}"));
                return false;
            }
            let mut ops = Vec::with_capacity(2);
            let id = self.store_body(message, &mut ops);
            ops.push(SessionOp::PutRetained { topic: topic.clone(), message: id });
            crate::limits::mark(&self.limits.retained_message_bytes, message.row.payload.len());
            replaced = retained.set(Arc::clone(message));
            message.submitted(self.journal.submit(&mut ops));
        }
        drop(retained);
        // Only now: the last holder's drop submits the deletion of the old body, behind what replaced it.
        drop(replaced);
        true
    }

    fn has_retained_room(&self, retained: &super::retained::Retained, message: &Arc<Message>) -> bool {
        let config = self.config();
        let limits = &config.limits;
        let old_bytes = retained.get(&message.row.topic).map_or(0, |old| old.cost_bytes());
        let is_new = retained.get(&message.row.topic).is_none();
        let cost = message.cost_bytes();
        message.row.payload.len() <= limits.retained_message_bytes
            && retained.len() + usize::from(is_new) <= limits.retained_messages
            && retained.bytes() - old_bytes + cost <= limits.retained_bytes
    }

    /// Feeds the next retained messages of a session's scans into its queue, as many as it has room for. `true` if it
    /// got further and there may be more.
    pub(crate) fn scan_retained(&self, session: &Arc<Session>, outgoing: &mut Outgoing, now: UnixMillis) -> bool {
        let Some(mut item) = outgoing.scans.pop_front_if(|item| self.journal.durable() >= item.after) else {
            return false;
        };
        let subscription = Arc::clone(&item.subscription);
        let mut found = Vec::new();
        let mut finished = self.retained.read().step(&mut item.scan, now, &mut found);
        let limits = self.queue_limits(outgoing.outbound.bytes());
        let mut progressed = found.is_empty();
        let (mut ops, mut copies) = (Vec::new(), Vec::new());
        for mut message in found {
            let waits = outgoing.stored && !self.accepts_work();
            if waits || !outgoing.outbound.has_room(message.cost_bytes(), &limits) {
                // The rest when there is room again.
                finished = false;
                item.scan.continue_before(&message.row.topic);
                break;
            }
            progressed = true;
            if !self.may_receive(&subscription, &message.row.topic, now) {
                continue;
            }
            let qos = subscription.qos(message.row.qos);
            if outgoing.stored && qos != Qos::AtMostOnce {
                // Its own copy, because each stored delivery waits for its own commit.
                message = Message::new(message.row.clone(), &self.journal);
                copies.push(Arc::clone(&message));
            }
            let subscription_ids = subscription.id.into_iter().collect();
            self.enqueue(session, outgoing, Delivery { message, qos, retain: true, subscription_ids }, &mut ops);
        }
        let ticket = self.journal.submit(&mut ops);
        copies.iter().for_each(|copy| copy.submitted(ticket));
        if !finished {
            outgoing.scans.push_front(item);
        }
        progressed && !outgoing.scans.is_empty()
    }

    /// Publishes on behalf of the hub or of a session that is gone.
    /// `ops` go to the store in the same commit.
    pub(crate) fn publish_detached(
        &self,
        message: &Arc<Message>,
        publisher: Option<&Arc<Session>>,
        now: UnixMillis,
        ops: Vec<SessionOp>,
    ) {
        let route = self.route(&message.row.topic, publisher, now);
        let mut wakes = Vec::new();
        let published = self.publish(message, &route, now, ops, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
        if published.refused {
            let topic = &message.row.topic;
            self.emit(
                Kind::LimitReached,
                None,
                None,
                None,
                format_args!("a queue had no room for a message on {topic}"),
            );
        }
    }
}
