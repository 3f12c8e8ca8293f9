//! PUBLISH and PUBREL: from a client to the hub.

use std::sync::Arc;

use hashbrown::HashMap;
use portreeve_events::Kind as EventKind;
use portreeve_mqtt::{Ack, AckKind, Deliverable as _, Publish, Reason, Taken, Version};
use portreeve_policy::{Action, Denial, DenialReason};
use portreeve_store::{MessageRow, SessionOp, Ticket};
use portreeve_types::{Qos, TopicName, UnixMillis};

use super::{End, Now, Open, Owed, TOPICS_MAX, Topic};
use crate::{
    Hub,
    broker::{
        Tally,
        message::Message,
        session::{Incoming, Session},
        subscribe::refusal,
    },
    limits::mark,
};

impl Open {
    pub(super) fn publish(&mut self, hub: &Hub, now: Now, publish: &Publish<'_>, tally: &mut Tally) -> Result<(), End> {
        tally.messages_received += 1;
        if !self.messages.take(1, now.mono_ms) {
            return Err(End::Cut(
                Reason::MESSAGE_RATE_TOO_HIGH,
                EventKind::RateExceeded,
                "too many messages a second".into(),
            ));
        }
        let held = self.is_held(publish);
        let topic = self.aliases.resolve(publish)?;
        if !held {
            self.quota.receive(publish.qos)?;
        }
        let config = hub.config();
        check_user_properties(hub, publish, config.limits.user_properties)?;
        if !hub.admit_message(publish.payload.len(), now) {
            return self.deny(
                hub,
                publish,
                Reason::QUOTA_EXCEEDED,
                EventKind::RateExceeded,
                "the hub's message rate is used up",
            );
        }
        let cached = match topic_entry(&mut self.topics, hub, &self.session, topic, publish, now.wall) {
            Ok(cached) => cached,
            Err(Barred::TooLong) => {
                let why = "topic has too many levels or bytes";
                return self.deny(hub, publish, Reason::TOPIC_NAME_INVALID, EventKind::LimitReached, why);
            }
            Err(Barred::Policy(denial)) => {
                tally.publish_denied += 1;
                let why = format!("{topic}: {denial}");
                return self.deny(hub, publish, refusal(&denial), EventKind::PublishDenied, &why);
            }
        };
        let message = Message::new(row(hub, &self.session, cached.name.clone(), publish, now.wall), &hub.journal);
        let route = Arc::clone(&cached.route);
        if !held && hub.must_ask_first(&message) && hub.would_refuse(&message, &route) {
            let why = "a queue, the retained messages or the store have no room";
            return self.deny(hub, publish, Reason::QUOTA_EXCEEDED, EventKind::LimitReached, why);
        }
        if publish.qos == Qos::ExactlyOnce {
            return self.hold(hub, publish, &message);
        }
        let published = hub.publish(&message, &route, now.wall, Vec::new(), &mut self.wakes);
        if publish.qos == Qos::AtMostOnce {
            return Ok(());
        }
        if published.refused {
            return self.deny(
                hub,
                publish,
                Reason::QUOTA_EXCEEDED,
                EventKind::LimitReached,
                "a queue or the store had no room",
            );
        }
        self.quota.give_back();
        let reason = if route.is_empty() && self.version == Version::V5 {
            Reason::NO_MATCHING_SUBSCRIBERS
        } else {
            Reason::SUCCESS
        };
        self.owed.push_back((published.ticket, Owed::Ack(AckKind::PubAck, publish.packet_id, reason)));
        Ok(())
    }

    /// QoS 2, first half: the message is ours now, and goes on when PUBREL comes (§4.3.3, method A).
    fn hold(&mut self, hub: &Hub, publish: &Publish<'_>, message: &Arc<Message>) -> Result<(), End> {
        let packet_id = publish.packet_id;
        let stored = self.session.outgoing.lock().stored;
        let session = Arc::clone(&self.session);
        let mut incoming = session.incoming.lock();
        let known_bytes = incoming.received.get(packet_id).map(|held| held.cost_bytes());
        let room = known_bytes.is_some() || has_room(hub, &incoming, message.cost_bytes());
        if !room || (stored && !hub.accepts_work()) {
            drop(incoming);
            let why = if room { "the store takes no work" } else { "too many QoS 2 messages without PUBREL" };
            return self.deny(hub, publish, Reason::QUOTA_EXCEEDED, EventKind::LimitReached, why);
        }
        let same = |a: &Arc<Message>, b: &Arc<Message>| a.row.topic == b.row.topic && a.row.payload == b.row.payload;
        let taken = incoming.received.take(packet_id, Arc::clone(message), same)?;
        let repeated = matches!(taken, Taken::Repeated);
        let before = incoming.bytes;
        if !repeated {
            incoming.bytes = before + message.cost_bytes() - known_bytes.unwrap_or(0);
        }
        hub.gauges.queue_changed(before, incoming.bytes);
        let mut ops = Vec::new();
        if stored && !repeated {
            let id = hub.store_body(message, &mut ops);
            ops.push(SessionOp::PutInbound { session: session.id, packet_id, message: id });
        }
        // A repetition is acknowledged no sooner than what it repeats is durable.
        let ticket = if stored { hub.journal.submit(&mut ops) } else { Ticket::default() };
        message.submitted(if repeated { Ticket::default() } else { ticket });
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubRec, packet_id, Reason::SUCCESS)));
        Ok(())
    }

    pub(super) fn pubrel(&mut self, hub: &Hub, now: Now, ack: &Ack<'_>) -> Result<(), End> {
        let Some(message) = release(hub, &self.session, ack.packet_id) else {
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
        let decision = hub.decide(
            &self.session,
            Action::Publish,
            &message.row.topic,
            Some(message.row.qos),
            message.row.retain,
            now.wall,
        );
        let ticket = match decision.verdict {
            Ok(_) => {
                let route = hub.route(&message.row.topic, Some(&self.session), now.wall);
                let published = hub.publish(&message, &route, now.wall, ops, &mut self.wakes);
                if published.refused {
                    hub.emit_for(
                        &self.session,
                        EventKind::LimitReached,
                        format_args!("a queue or the store had no room"),
                    );
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
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubComp, ack.packet_id, Reason::SUCCESS)));
        Ok(())
    }

    /// Refuses one PUBLISH. A 5.0 client is told in its acknowledgement; a 3.1.1 client, whom only a false promise could
    /// be sent, loses its connection [MQTT-3.3.5-2 of 3.1.1]. QoS 0 is dropped.
    fn deny(
        &mut self,
        hub: &Hub,
        publish: &Publish<'_>,
        reason: Reason,
        kind: EventKind,
        why: &str,
    ) -> Result<(), End> {
        let ack = match publish.qos {
            Qos::AtMostOnce => {
                hub.emit_for(&self.session, kind, format_args!("{why}"));
                return Ok(());
            }
            Qos::AtLeastOnce => AckKind::PubAck,
            Qos::ExactlyOnce => AckKind::PubRec,
        };
        if self.version == Version::V311 {
            return Err(End::Cut(reason, kind, why.into()));
        }
        hub.emit_for(&self.session, kind, format_args!("{why}"));
        if !self.is_held(publish) {
            self.quota.give_back();
        }
        self.owed.push_back((Ticket::default(), Owed::Ack(ack, publish.packet_id, reason)));
        Ok(())
    }

    /// Whether this is a QoS 2 message under an identifier whose PUBREL is outstanding.
    fn is_held(&self, publish: &Publish<'_>) -> bool {
        publish.qos == Qos::ExactlyOnce && self.session.incoming.lock().received.get(publish.packet_id).is_some()
    }
}

/// Takes a held message out of a session, for PUBREL.
fn release(hub: &Hub, session: &Session, packet_id: u16) -> Option<Arc<Message>> {
    let mut incoming = session.incoming.lock();
    let message = incoming.received.release(packet_id)?;
    let before = incoming.bytes;
    incoming.bytes = before.saturating_sub(message.cost_bytes());
    hub.gauges.queue_changed(before, incoming.bytes);
    Some(message)
}

/// Whether a session may hold one more QoS 2 message: within its own queue bounds and the hub's.
fn has_room(hub: &Hub, incoming: &Incoming, cost_bytes: usize) -> bool {
    let limits = hub.queue_limits(incoming.bytes);
    incoming.received.len() < limits.messages_max && incoming.bytes + cost_bytes <= limits.bytes_max
}

fn check_user_properties(hub: &Hub, publish: &Publish<'_>, max: usize) -> Result<(), End> {
    if publish.properties.user_properties.is_empty() {
        return Ok(());
    }
    let count = publish.properties.user_properties.iter().count();
    if count > max {
        return Err(End::Cut(Reason::QUOTA_EXCEEDED, EventKind::LimitReached, "too many user properties".into()));
    }
    mark(&hub.limits.user_properties, count);
    Ok(())
}

/// The cached decision and route for a topic, made anew where either is out of date.
fn topic_entry<'a>(
    topics: &'a mut HashMap<Box<str>, Topic>,
    hub: &Hub,
    session: &Arc<Session>,
    topic: &str,
    publish: &Publish<'_>,
    now: UnixMillis,
) -> Result<&'a Topic, Barred> {
    let generation = hub.generation_of(session);
    if topics.get(topic).is_none_or(|entry| entry.generation != generation) {
        let config = hub.config();
        if topic.len() > config.limits.topic_bytes || topic.split('/').count() > config.limits.topic_levels {
            return Err(Barred::TooLong);
        }
        if topic.starts_with("$share/") {
            // A name that no subscription could ever ask for by itself.
            return Err(Barred::Policy(Denial { reason: DenialReason::Reserved, policies: Vec::new() }));
        }
        let decision = hub.decide(session, Action::Publish, topic, Some(publish.qos), publish.retain, now);
        decision.verdict.map_err(Barred::Policy)?;
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        // The codec checked the text already; the second check costs nothing beside the decision.
        let name = TopicName::new(topic).map_err(|_| Barred::Policy(NOT_A_TOPIC))?;
        mark(&hub.limits.topic_bytes, name.len());
        mark(&hub.limits.topic_levels, name.split('/').count());
        let entry = topics.entry_ref(topic).or_insert_with(|| Topic { name, generation: 0, route: Arc::default() });
        // An uncacheable decision is remembered under a generation that never is.
        entry.generation = if decision.cacheable { generation } else { 0 };
    }
    let entry = topics.get_mut(topic).ok_or(Barred::Policy(NOT_A_TOPIC))?;
    if entry.route.version != hub.trie_version() || entry.route.generation != hub.generation() {
        entry.route = Arc::new(hub.route(&entry.name, Some(session), now));
    }
    Ok(entry)
}

/// Why a topic may not be published to.
enum Barred {
    TooLong,
    Policy(Denial),
}

/// What the codec would have refused.
const NOT_A_TOPIC: Denial = Denial { reason: DenialReason::Malformed, policies: Vec::new() };

fn row(hub: &Hub, session: &Session, topic: TopicName, publish: &Publish<'_>, now: UnixMillis) -> MessageRow {
    let mut forwarded = Vec::new();
    publish.properties.encode_forwarded(&mut forwarded);
    // Most messages have none, and share the one empty slice.
    let forwarded = if forwarded.is_empty() { Arc::default() } else { forwarded.into() };
    MessageRow {
        topic,
        publisher: Some(session.key.identity),
        qos: publish.qos,
        retain: publish.retain,
        forwarded,
        payload: publish.payload.into(),
        expires: hub.expires(publish.properties.expiry_s, now),
        received: now,
    }
}
