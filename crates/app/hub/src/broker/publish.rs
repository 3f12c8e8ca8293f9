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
    retained::{Retained, Share},
    session::{Outgoing, Session},
    subscription::Subscription,
    trie::{Match, ShareGroup},
    turn::{DECISION_WORK, DELIVERY_WORK, FOUND_WORK, ROUTE_WORK, Turn},
};
use crate::{Hub, reports::Report};

/// One receiver of a topic.
#[derive(Debug)]
pub(crate) struct Target {
    session: Arc<Session>,
    qos: Qos,
    retain_as_published: bool,
    ids: SmallVec<[u32; 1]>,
    /// Its policies read what changes between two messages: ask again for each.
    volatile: bool,
    /// The access generation in which it was found that it may receive the topic.
    generation: u64,
}

/// A subscription that matches a topic and may receive it, and the access generation in which that was found.
struct Found {
    subscription: Arc<Subscription>,
    generation: u64,
}

/// Copies of a message that a 5.0 session gets for overlapping subscriptions; of more it gets one with all identifiers.
const COPIES_MAX: usize = 8;

/// Everyone who receives one topic from one publisher.
#[derive(Debug, Default)]
pub(crate) struct Route {
    targets: Vec<Target>,
    groups: Vec<Arc<ShareGroup>>,
    /// What its publisher says of itself on this topic, and who that is.
    report: Option<(Report, Arc<Session>)>,
    /// What it took to make it.
    work: usize,
}

impl Route {
    /// Whether anybody subscribed: if not, a 5.0 publisher is told 0x10.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty() && self.report.is_none()
    }

    /// What it took to look it up, in the units of [`Turn::charge`].
    pub(crate) fn work(&self) -> usize {
        self.work
    }

    /// How much it holds.
    pub(crate) fn len(&self) -> usize {
        self.targets.len() + self.groups.len()
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
    /// See [`Target::generation`].
    generation: u64,
}

/// Whether a session gets a message depends on whether its client is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Online,
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
        let report = publisher.and_then(|session| Some((Report::of(session, topic)?, Arc::clone(session))));
        let mut route = Route { work: ROUTE_WORK, report, ..Route::default() };
        let mut matched: Vec<Arc<Subscription>> = Vec::new();
        self.trie.read().matches(topic, &mut |hit| match hit {
            Match::Single(subscription) => matched.push(Arc::clone(subscription)),
            Match::Shared(group) => route.groups.push(Arc::clone(group)),
        });
        let mut found = Vec::with_capacity(matched.len());
        for subscription in matched {
            let own = publisher.is_some_and(|session| session.id == subscription.session.id);
            if subscription.options.no_local && own {
                continue;
            }
            let generation = self.generation_of(&subscription.session);
            let proven = self.is_proven(&subscription, generation, topic, now);
            route.work += if proven { FOUND_WORK } else { DECISION_WORK };
            // Where the answer may be another one for the next message, that is asked again for each.
            let is_volatile = || self.access(&subscription.session).slice.is_volatile();
            if proven || self.may_receive_now(&subscription.session, topic, now) || is_volatile() {
                found.push(Found { subscription, generation });
            }
        }
        found.sort_unstable_by_key(|found| found.subscription.session.id);
        for overlapping in found.chunk_by(|a, b| a.subscription.session.id == b.subscription.session.id) {
            self.add_targets(&mut route.targets, overlapping, topic);
        }
        route
    }

    /// Overlapping subscriptions of one session, MQTT 5.0 §3.3.4: one copy with the highest QoS and every identifier
    /// where an exact filter is among them or the client speaks 3.1.1; else one copy a subscription, as clients that
    /// dispatch by identifier expect, while they are few. The specification leaves the choice.
    fn add_targets(&self, targets: &mut Vec<Target>, overlapping: &[Found], topic: &TopicName) {
        let session = &overlapping[0].subscription.session;
        let access = self.access(session);
        let target = |found: &[Found]| {
            let subscriptions = || found.iter().map(|found| &found.subscription);
            Target {
                session: Arc::clone(session),
                qos: subscriptions().map(|s| s.options.qos).max().unwrap_or_default(),
                retain_as_published: subscriptions().any(|s| s.options.retain_as_published),
                ids: subscriptions().filter_map(|s| s.id).collect(),
                volatile: access.slice.is_volatile(),
                generation: found.iter().map(|found| found.generation).min().unwrap_or_default(),
            }
        };
        let exact = overlapping.iter().any(|found| found.subscription.filter.plain() == topic.as_str());
        if overlapping.len() == 1 || overlapping.len() > COPIES_MAX || exact || !session.outgoing.lock().v5 {
            targets.push(target(overlapping));
        } else {
            targets.extend(overlapping.chunks(1).map(target));
        }
    }

    /// Whether policy lets this subscription see `topic`, as of `generation`. Proven once for most subscriptions, asked
    /// for the rest.
    fn may_receive(&self, subscription: &Subscription, generation: u64, topic: &TopicName, now: UnixMillis) -> bool {
        self.is_proven(subscription, generation, topic, now) || self.may_receive_now(&subscription.session, topic, now)
    }

    fn is_proven(&self, subscription: &Subscription, generation: u64, topic: &TopicName, now: UnixMillis) -> bool {
        if subscription.grant.load().generation != generation {
            // Its client came back from elsewhere, perhaps.
            self.renew_grant(subscription, generation, now);
        }
        subscription.proves(generation, topic)
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
        if let Some((report, publisher)) = &route.report {
            self.take_report(publisher, *report, message.payload(), turn.now);
        }
        for target in &route.targets {
            let mut generation = target.generation;
            if target.volatile {
                generation = self.generation_of(&target.session);
                if !self.may_receive_now(&target.session, &envelope.topic, turn.now.wall) {
                    continue;
                }
            }
            let terms = Terms {
                qos: target.qos.min(envelope.qos),
                retain: target.retain_as_published && envelope.retain,
                ids: &target.ids,
                when: When::Always,
                generation,
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
        let rota = group.rota();
        let mut outcome = Delivered::Away;
        for member in rota.online() {
            match self.deliver_to_member(turn, member, message, When::Online) {
                Delivered::Queued => return Delivered::Queued,
                Delivered::Full => outcome = Delivered::Full,
                Delivered::Away => {}
            }
        }
        if message.envelope.qos == Qos::AtMostOnce {
            return outcome; // Nobody's session keeps it.
        }
        for member in rota.away_first() {
            // Its client may have come meanwhile.
            match self.deliver_to_member(turn, member, message, When::Always) {
                Delivered::Queued => return Delivered::Queued,
                Delivered::Full => outcome = Delivered::Full,
                Delivered::Away => {}
            }
        }
        outcome
    }

    fn deliver_to_member(
        &self,
        turn: &mut Turn<'_>,
        member: &Arc<Subscription>,
        message: &Arc<Message>,
        when: When,
    ) -> Delivered {
        let envelope = &message.envelope;
        let generation = self.generation_of(&member.session);
        if !self.may_receive(member, generation, &envelope.topic, turn.now.wall) {
            return Delivered::Away;
        }
        let terms = Terms {
            qos: member.options.qos.min(envelope.qos),
            retain: member.options.retain_as_published && envelope.retain,
            ids: member.id.as_slice(),
            when,
            generation,
        };
        self.deliver(turn, &member.session, message, &terms)
    }

    /// Puts a message into one session's queue, within the session's and the hub's bounds.
    fn deliver(
        &self,
        turn: &mut Turn<'_>,
        session: &Arc<Session>,
        message: &Arc<Message>,
        terms: &Terms<'_>,
    ) -> Delivered {
        turn.charge(DELIVERY_WORK);
        let mut outgoing = session.outgoing.lock();
        let wanted = match outgoing.is_online() {
            true => true,
            false => terms.when == When::Always && outgoing.stored && terms.qos != Qos::AtMostOnce,
        };
        if outgoing.ended || !wanted {
            return Delivered::Away;
        }
        // A change of policy looks through this queue under this lock: it either finds the message or is seen here.
        if terms.generation != self.generation_of(session)
            && !self.may_receive_now(session, &message.envelope.topic, turn.now.wall)
        {
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
            turn.make_droppable(self);
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

    /// Within the hub's bounds and its publisher's, so that nobody takes all the room.
    fn has_retained_room(&self, turn: &Turn<'_>, retained: &Retained, message: &Message) -> bool {
        let limits = &turn.config.limits;
        let (all, own) = retained.with(message);
        message.payload().len() <= limits.retained_message_bytes
            && all.is_within(limits.retained_messages, limits.retained_bytes)
            && self.is_own_share(turn, message, own)
    }

    fn is_own_share(&self, turn: &Turn<'_>, message: &Message, share: Share) -> bool {
        // The hub's own messages are few.
        let Some(publisher) = message.envelope.publisher else { return true };
        let (limits, marks) = (&turn.config.limits, &self.limits);
        let device = self.registry.row(publisher).is_none_or(|row| row.kind == portreeve_types::Kind::Device);
        let (messages_max, bytes_max, marks) = if device {
            let marks = (&marks.device_retained_messages, &marks.device_retained_bytes);
            (limits.device_retained_messages, limits.device_retained_bytes, marks)
        } else {
            let marks = (&marks.application_retained_messages, &marks.application_retained_bytes);
            (limits.application_retained_messages, limits.application_retained_bytes, marks)
        };
        let is_within = share.is_within(messages_max, bytes_max);
        if is_within {
            crate::limits::mark(marks.0, share.messages);
            crate::limits::mark(marks.1, share.bytes);
        }
        is_within
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
            let generation = self.generation_of(session);
            if !self.may_receive(&subscription, generation, &message.envelope.topic, turn.now.wall) {
                progressed = true;
                continue;
            }
            let qos = subscription.qos(message.envelope.qos);
            let (topic, cost_bytes) = (message.envelope.topic.clone(), message.cost_bytes());
            let mut copy = None;
            if outgoing.stored && qos != Qos::AtMostOnce {
                // Its own copy, because each stored delivery waits for its own commit.
                message = message.copy();
                copy = Some(Arc::clone(&message));
            }
            let subscription_ids = subscription.id.into_iter().collect();
            let delivery = Delivery { message, qos, retain: true, subscription_ids };
            let delivered = self.enqueue(turn, session, outgoing, delivery);
            copy.into_iter().for_each(|copy| turn.hold(copy));
            // The hub's total is used up by others. One that no queue may ever hold is passed over.
            if matches!(delivered, Delivered::Full) && cost_bytes <= turn.config.limits.queue_bytes_per_session {
                finished = false;
                item.scan.continue_before(&topic);
                break;
            }
            progressed = true;
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

#[cfg(test)]
mod tests {
    use portreeve_config::{Config, Role};
    use portreeve_mqtt::{Connect, Packet, SubscriptionRequest, Version, encode};
    use portreeve_types::Kind as IdentityKind;

    use super::*;
    use crate::{Actor, AdminRequest, Connection, Fields, Peer, broker::message::Envelope, registry::By};

    fn policy(hub: &Hub, text: &str) {
        let source = serde_json::from_value(serde_json::json!({ "file": "test.cedar", "text": text })).unwrap();
        let actor = Actor { name: "test".into(), role: Role::Administrator };
        hub.administer(&actor, AdminRequest::PolicyApply { sources: vec![source], dry_run: false }).unwrap();
    }

    /// ISVS-4.2.2: once a change of policy is answered, nothing reaches a queue by what was decided before, also not by a
    /// publisher who had looked up the receivers before.
    #[test]
    fn a_route_that_is_older_than_the_policy_delivers_nothing_that_is_forbidden_now() {
        let data = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::now().into();
        let hub = Hub::open(&data.path().join("hub"), Config::default(), now).unwrap();
        let (fields, by) = (Fields::default(), By { actor: "test", reason: "", at: now });
        let authority = hub.authority.load();
        let key = portreeve_pki::generate_key().unwrap();
        let mut leaf = None;
        hub.registry
            .add(&"app".parse().unwrap(), IdentityKind::Application, &fields, by, |row| {
                let issued =
                    authority.issue_device(row.id, &key.public, now, std::time::Duration::from_secs(3600)).unwrap();
                leaf = Some(issued.clone());
                Ok::<_, crate::RegistryError>(Some(issued))
            })
            .unwrap();
        let identity = hub.authenticate(&leaf.unwrap().chain_der[0]).unwrap();
        policy(&hub, r#"permit (principal, action, resource);"#);

        let peer = Peer { address: [127, 0, 0, 1].into(), transport: "mqtt" };
        let at = Now { wall: now, mono_ms: 1000 };
        let mut connection = Connection::new(Arc::clone(&hub), identity, peer, at);
        let mut bytes = Vec::new();
        let requests = vec![SubscriptionRequest { filter: "t", options: Default::default() }];
        let subscribe = portreeve_mqtt::Subscribe { packet_id: 1, subscription_id: None, requests };
        for packet in [Packet::Connect(Connect::new(Version::V5, "app")), Packet::Subscribe(subscribe)] {
            encode::any(&mut bytes, Version::V5, &packet).unwrap();
        }
        connection.receive(at, &bytes, &mut Vec::new());

        let topic = TopicName::new("t").unwrap();
        let envelope = Envelope {
            topic: topic.clone(),
            publisher: None,
            qos: Qos::AtMostOnce,
            retain: false,
            expires: None,
            received: now,
        };
        let config = hub.config();
        let route = hub.route(&topic, None, now);
        let deliver = || {
            let mut turn = Turn::new(&hub, &config, at);
            hub.publish(&mut turn, &Message::new(envelope.clone(), &[], b"x"), &route);
            turn.finish(&hub);
            route.targets[0].session.outgoing.lock().outbound.len()
        };
        assert_eq!(deliver(), 1);
        policy(&hub, r#"permit (principal, action == Action::"connect", resource);"#);
        assert_eq!(deliver(), 0, "the change emptied the queue, and nothing came in since");
    }
}
