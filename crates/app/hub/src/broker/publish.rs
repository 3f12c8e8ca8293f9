//! From a permitted publication to the queues of everyone who subscribed.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use portreeve_config::QueueOverflow;
use portreeve_events::Kind;
use portreeve_mqtt::{Deliverable as _, Delivery, Overflow};
use portreeve_policy::Action;
use portreeve_store::{MessageId, QueueRow, SessionOp, Ticket};
use portreeve_types::{Qos, TopicName, UnixMillis};
use smallvec::SmallVec;

use super::{
    connection::Now,
    message::Message,
    session::{Outgoing, Session},
    subscription::Subscription,
    trie::{Match, ShareGroup},
    turn::Turn,
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

/// Everyone who receives one topic from one publisher.
#[derive(Debug, Default)]
pub(crate) struct Route {
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
    /// The acknowledgement may go out once this is durable; [`Turn::PENDING`] until the turn is submitted.
    pub(crate) ticket: Ticket,
    /// Some receiver's queue, or the disk, had no room.
    pub(crate) refused: bool,
}

/// How one receiver gets a message.
struct Terms<'a> {
    qos: Qos,
    retain: bool,
    ids: &'a [u32],
    when: When,
}

/// Whether a session gets a message depends on whether its client is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Online,
    Away,
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
        let mut route = Route::default();
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

    /// Hands a message to everyone on its route and keeps it if it is retained. What the store must know of that goes to
    /// the turn's operations, behind what is there already: one submission takes them all.
    pub(crate) fn publish(&self, turn: &mut Turn<'_>, message: &Arc<Message>, route: &Route) -> Published {
        let envelope = &message.envelope;
        let mut ticket = Ticket::default();
        let mut refused = false;
        if envelope.retain {
            match self.retain(turn, message) {
                Some(retained) => ticket = retained,
                None => refused = true,
            }
        }
        for target in &route.targets {
            if target.volatile && !self.may_receive_now(&target.session, &envelope.topic, turn.now.wall) {
                continue;
            }
            let terms = Terms {
                qos: target.qos.min(envelope.qos),
                retain: target.retain_as_published && envelope.retain,
                ids: &target.ids,
                when: When::Always,
            };
            refused |= matches!(self.deliver(turn, &target.session, message, &terms), Delivered::Full);
        }
        for group in &route.groups {
            refused |= matches!(self.deliver_shared(turn, group, message), Delivered::Full);
        }
        if message.is_held() {
            turn.hold(Arc::clone(message));
            ticket = Turn::PENDING;
        }
        Published { ticket, refused }
    }

    /// Whether a refusal has to be known before anybody gets the message: who is told "refused" sends it again. At QoS 2
    /// always, since PUBCOMP knows no refusal.
    pub(crate) fn must_ask_first(&self, turn: &Turn<'_>, message: &Message) -> bool {
        match message.envelope.qos {
            Qos::AtMostOnce => false,
            Qos::AtLeastOnce => {
                message.envelope.retain
                    || !self.accepts_work()
                    || turn.config.mqtt.queue_overflow == QueueOverflow::Reject
            }
            Qos::ExactlyOnce => true,
        }
    }

    /// Whether [`Self::publish`] would find no room somewhere now.
    pub(crate) fn would_refuse(&self, turn: &Turn<'_>, message: &Arc<Message>, route: &Route) -> bool {
        let accepts_work = self.accepts_work();
        if message.envelope.retain && !message.payload().is_empty() {
            let room = self.has_retained_room(turn, &self.retained.read(), message);
            if !room || !accepts_work {
                return true;
            }
        }
        let cost = message.cost_bytes();
        route.targets.iter().any(|target| {
            let outgoing = target.session.outgoing.lock();
            let limits = turn.queue_limits(outgoing.outbound.bytes());
            let stored = outgoing.stored && target.qos.min(message.envelope.qos) != Qos::AtMostOnce;
            let refuses = limits.overflow == Overflow::Reject && !outgoing.outbound.has_room(cost, &limits);
            (stored && !accepts_work) || ((stored || outgoing.is_online()) && refuses)
        })
    }

    /// One member of a share group: the next that is connected, else the next whose session keeps messages (§4.8.2).
    fn deliver_shared(&self, turn: &mut Turn<'_>, group: &ShareGroup, message: &Arc<Message>) -> Delivered {
        let envelope = &message.envelope;
        let rota = group.rota();
        let mut outcome = Delivered::Away;
        for when in [When::Online, When::Away] {
            for member in rota.iter() {
                if !self.may_receive(member, &envelope.topic, turn.now.wall) {
                    continue;
                }
                let terms = Terms {
                    qos: member.options.qos.min(envelope.qos),
                    retain: member.options.retain_as_published && envelope.retain,
                    ids: member.id.as_slice(),
                    when,
                };
                match self.deliver(turn, &member.session, message, &terms) {
                    Delivered::Queued => return Delivered::Queued,
                    Delivered::Full => outcome = Delivered::Full,
                    Delivered::Away => {}
                }
            }
        }
        outcome
    }

    /// Puts a message into one session's queue, within the session's and the hub's bounds.
    fn deliver(
        &self,
        turn: &mut Turn<'_>,
        session: &Arc<Session>,
        message: &Arc<Message>,
        terms: &Terms<'_>,
    ) -> Delivered {
        turn.charge(1);
        let mut outgoing = session.outgoing.lock();
        let wanted = match outgoing.is_online() {
            true => terms.when != When::Away,
            false => terms.when != When::Online && outgoing.stored && terms.qos != Qos::AtMostOnce,
        };
        if outgoing.ended || !wanted {
            return Delivered::Away;
        }
        let subscription_ids = if terms.ids.is_empty() { SmallVec::new() } else { terms.ids.into() };
        let delivery =
            Delivery { message: Arc::clone(message), qos: terms.qos, retain: terms.retain, subscription_ids };
        let delivered = self.enqueue(turn, session, &mut outgoing, delivery);
        if matches!(delivered, Delivered::Queued)
            && let Some(waker) = outgoing.link.as_mut().and_then(|link| link.waker.take())
        {
            turn.wakes.push(waker);
        }
        delivered
    }

    /// As [`Self::deliver`], with the lock held and the session known to take it.
    fn enqueue(
        &self,
        turn: &mut Turn<'_>,
        session: &Session,
        outgoing: &mut Outgoing,
        delivery: Delivery<Arc<Message>>,
    ) -> Delivered {
        let stored = outgoing.stored && delivery.qos != Qos::AtMostOnce;
        if stored && !self.accepts_work() {
            return Delivered::Full;
        }
        let before = outgoing.outbound.bytes();
        let limits = turn.queue_limits(before);
        if outgoing.stored && !outgoing.outbound.has_room(delivery.message.cost_bytes(), &limits) {
            // What this turn has queued itself cannot make room before it is in the stream.
            turn.submit(self);
        }
        let row = stored.then(|| QueueRow {
            message: self.store_body(&delivery.message, &mut turn.ops),
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids.to_vec(),
            released: false,
        });
        let queued = outgoing.outbound.push(delivery, &limits);
        turn.queue_changed(before, outgoing.outbound.bytes());
        let lost = queued.dropped.len() + usize::from(queued.accepted.is_none());
        if lost > 0 {
            self.counters.queue_dropped.fetch_add(lost as u64, Relaxed);
            for removed in queued.dropped {
                turn.dequeue(session.id, outgoing.stored, removed);
            }
        }
        let Some(seq) = queued.accepted else { return Delivered::Full };
        turn.ops.extend(row.map(|row| SessionOp::Enqueue { session: session.id, seq, row }));
        Delivered::Queued
    }

    /// The body's key in the store; the first call adds the body to `ops`.
    pub(crate) fn store_body(&self, message: &Arc<Message>, ops: &mut Vec<SessionOp>) -> MessageId {
        if let Some(id) = message.stored_id() {
            message.hold();
            return id;
        }
        let id = MessageId(self.next_message.fetch_add(1, Relaxed));
        message.assign(id, &self.journal);
        ops.push(SessionOp::PutMessage { id, row: Arc::new(message.row()) });
        id
    }

    /// Keeps a retained message, or with an empty payload forgets the topic's [MQTT-3.3.1-6]. Returns when that is
    /// durable, `None` if no room is left.
    ///
    /// Memory and op stream change under one lock, so that a restart finds the same winner of two concurrent publishers.
    fn retain(&self, turn: &Turn<'_>, message: &Arc<Message>) -> Option<Ticket> {
        let topic = &message.envelope.topic;
        let mut retained = self.retained.write();
        let (replaced, ticket);
        if message.payload().is_empty() {
            replaced = retained.remove(topic);
            ticket = match replaced {
                Some(_) => self.journal.submit(&mut vec![SessionOp::DeleteRetained { topic: topic.clone() }]),
                None => Ticket::default(),
            };
        } else {
            if !self.has_retained_room(turn, &retained, message) || !self.accepts_work() {
                drop(retained);
                self.emit(Kind::LimitReached, None, None, None, format_args!("no room to retain a message on {topic}"));
                return None;
            }
            let mut ops = Vec::with_capacity(2);
            let id = self.store_body(message, &mut ops);
            ops.push(SessionOp::PutRetained { topic: topic.clone(), message: id });
            crate::limits::mark(&self.limits.retained_message_bytes, message.payload().len());
            replaced = retained.set(Arc::clone(message));
            ticket = self.journal.submit(&mut ops);
            message.submitted(ticket);
        }
        drop(retained);
        // Only now: the last holder's drop submits the deletion of the old body, behind what replaced it.
        drop(replaced);
        Some(ticket)
    }

    fn has_retained_room(&self, turn: &Turn<'_>, retained: &super::retained::Retained, message: &Arc<Message>) -> bool {
        let limits = &turn.config.limits;
        let old = retained.get(&message.envelope.topic);
        let old_bytes = old.map_or(0, |old| old.cost_bytes());
        message.payload().len() <= limits.retained_message_bytes
            && retained.len() + usize::from(old.is_none()) <= limits.retained_messages
            && retained.bytes() - old_bytes + message.cost_bytes() <= limits.retained_bytes
    }

    /// Feeds the next retained messages of a session's scans into its queue, as many as it has room for. `true` if it
    /// got further and there may be more.
    pub(crate) fn scan_retained(&self, turn: &mut Turn<'_>, session: &Arc<Session>, outgoing: &mut Outgoing) -> bool {
        let Some(mut item) = outgoing.scans.pop_front_if(|item| self.journal.durable() >= item.after) else {
            return false;
        };
        let subscription = Arc::clone(&item.subscription);
        let mut found = Vec::new();
        let mut finished = self.retained.read().step(&mut item.scan, turn.now.wall, &mut found);
        let limits = turn.queue_limits(outgoing.outbound.bytes());
        let mut progressed = found.is_empty();
        for mut message in found {
            let waits = outgoing.stored && !self.accepts_work();
            if waits || !outgoing.outbound.has_room(message.cost_bytes(), &limits) {
                // The rest when there is room again.
                finished = false;
                item.scan.continue_before(&message.envelope.topic);
                break;
            }
            progressed = true;
            if !self.may_receive(&subscription, &message.envelope.topic, turn.now.wall) {
                continue;
            }
            let qos = subscription.qos(message.envelope.qos);
            let mut copy = None;
            if outgoing.stored && qos != Qos::AtMostOnce {
                // Its own copy, because each stored delivery waits for its own commit.
                message = message.copy();
                copy = Some(Arc::clone(&message));
            }
            let subscription_ids = subscription.id.into_iter().collect();
            self.enqueue(turn, session, outgoing, Delivery { message, qos, retain: true, subscription_ids });
            copy.into_iter().for_each(|copy| turn.hold(copy));
        }
        turn.submit(self);
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
        let topic = &message.envelope.topic;
        let route = self.route(topic, publisher, now);
        let config = self.config();
        let mut turn = Turn::new(self, &config, Now { wall: now, mono_ms: 0 });
        turn.ops = ops;
        let published = self.publish(&mut turn, message, &route);
        turn.finish(self);
        if published.refused {
            let what = format_args!("a queue had no room for a message on {topic}");
            self.emit(Kind::LimitReached, None, None, None, what);
        }
    }
}
