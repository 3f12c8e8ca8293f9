//! PUBLISH and PUBREL: from a client to the hub.

use std::sync::Arc;

use portreeve_events::Kind as EventKind;
use portreeve_mqtt::{Ack, AckKind, Deliverable as _, Publish, Reason, Taken, Version};
use portreeve_policy::Action;
use portreeve_store::{SessionOp, Ticket};
use portreeve_types::{Qos, TopicName};

use super::{End, Open, Owed, topics::Barred};
use crate::{
    Hub,
    broker::{
        Tally,
        message::{Envelope, Message, expires},
        session::{Incoming, Session},
        subscribe::refusal,
        turn::Turn,
    },
    limits::mark,
};

impl Open {
    pub(super) fn publish(
        &mut self,
        hub: &Hub,
        turn: &mut Turn<'_>,
        publish: &Publish<'_>,
        tally: &mut Tally,
    ) -> Result<(), End> {
        tally.messages_received += 1;
        if !self.rates.messages.take(1, turn.now.mono_ms) {
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
        check_user_properties(hub, publish, turn.config.limits.user_properties)?;
        if !turn.rate.admit(publish.payload.len() as u64) {
            return self.deny(
                hub,
                publish,
                Reason::QUOTA_EXCEEDED,
                EventKind::RateExceeded,
                "the hub's message rate is used up",
            );
        }
        let topic = match self.topics.resolve(hub, turn, &self.session, topic, publish) {
            Ok(topic) => topic,
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
        let (message, route) = (message(turn, &self.session, topic.name.clone(), publish), &topic.route);
        if !held && hub.must_ask_first(turn, &message) && hub.would_refuse(turn, &message, route) {
            let why = "a queue, the retained messages or the store have no room";
            return self.deny(hub, publish, Reason::QUOTA_EXCEEDED, EventKind::LimitReached, why);
        }
        if publish.qos == Qos::ExactlyOnce {
            return self.hold(hub, turn, publish, &message);
        }
        let published = hub.publish(turn, &message, route);
        let is_heard = !route.is_empty();
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
        let reason =
            if is_heard || self.version == Version::V311 { Reason::SUCCESS } else { Reason::NO_MATCHING_SUBSCRIBERS };
        self.pending += usize::from(published.ticket == Turn::PENDING);
        self.owed.push_back((published.ticket, Owed::Ack(AckKind::PubAck, publish.packet_id, reason)));
        Ok(())
    }

    /// QoS 2, first half: the message is ours now, and goes on when PUBREL comes (§4.3.3, method A).
    ///
    /// Submitted under the lock, with what the turn has so far: a connection that takes the session over and gets the
    /// message again acknowledges it no sooner.
    fn hold(
        &mut self,
        hub: &Hub,
        turn: &mut Turn<'_>,
        publish: &Publish<'_>,
        message: &Arc<Message>,
    ) -> Result<(), End> {
        let packet_id = publish.packet_id;
        let stored = self.session.outgoing.lock().stored;
        let session = Arc::clone(&self.session);
        let mut incoming = session.incoming.lock();
        if incoming.ended {
            return Err(End::Cut(Reason::SESSION_TAKEN_OVER, EventKind::SessionCut, "the session has ended".into()));
        }
        let known_bytes = incoming.received.get(packet_id).map(|held| held.cost_bytes());
        let room = has_room(turn, &incoming, known_bytes, message.cost_bytes());
        if !room || (stored && !hub.accepts_work()) {
            drop(incoming);
            let why = if room { "the store takes no work" } else { "too many QoS 2 messages without PUBREL" };
            return self.deny(hub, publish, Reason::QUOTA_EXCEEDED, EventKind::LimitReached, why);
        }
        let same = |a: &Arc<Message>, b: &Arc<Message>| a.topic() == b.topic() && a.payload() == b.payload();
        let taken = incoming.received.take(packet_id, Arc::clone(message), same)?;
        let repeated = matches!(taken, Taken::Repeated);
        let before = incoming.bytes;
        if !repeated {
            incoming.bytes = before + message.cost_bytes() - known_bytes.unwrap_or(0);
        }
        turn.queue_changed(before, incoming.bytes);
        let ticket = match (stored, repeated) {
            (false, _) => Ticket::default(),
            // A repetition is acknowledged no sooner than what it repeats is durable.
            (true, true) => hub.journal.submit(&mut Vec::new()),
            (true, false) => {
                let id = hub.store_body(message, &mut turn.ops);
                turn.ops.push(SessionOp::PutInbound { session: session.id, packet_id, message: id });
                turn.hold(Arc::clone(message));
                turn.submit(hub)
            }
        };
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubRec, packet_id, Reason::SUCCESS)));
        Ok(())
    }

    pub(super) fn pubrel(&mut self, hub: &Hub, turn: &mut Turn<'_>, ack: &Ack<'_>) -> Result<(), End> {
        let session = Arc::clone(&self.session);
        let _releasing = session.releasing.lock();
        let ticket = match release(turn, &session, ack.packet_id) {
            Some(message) => self.publish_released(hub, turn, ack.packet_id, &message),
            None => {
                self.charge(1, turn.now)?;
                // Said before, perhaps, by a connection that heard no answer: no sooner than that is durable.
                let stored = session.outgoing.lock().stored;
                if stored { hub.journal.submit(&mut Vec::new()) } else { Ticket::default() }
            }
        };
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubComp, ack.packet_id, Reason::SUCCESS)));
        Ok(())
    }

    /// QoS 2, second half. That the message is no longer held, and in whose queues it is, reaches the disk together.
    fn publish_released(&mut self, hub: &Hub, turn: &mut Turn<'_>, packet_id: u16, message: &Arc<Message>) -> Ticket {
        self.quota.give_back();
        let stored = message.stored_id().is_some();
        if stored {
            turn.begin_whole(hub);
            message.hold();
            turn.ops.push(SessionOp::DeleteInbound { session: self.session.id, packet_id });
        }
        // Between PUBLISH and PUBREL the policy may have changed.
        let Envelope { topic, qos, retain, .. } = &message.envelope;
        let decision = hub.decide(&self.session, Action::Publish, topic, Some(*qos), *retain, turn.now.wall);
        let ticket = match decision.verdict {
            Ok(_) => {
                let route = hub.route(topic, Some(&self.session), turn.now.wall);
                turn.charge(route.work());
                let published = hub.publish(turn, message, &route);
                if published.refused {
                    let why = format_args!("a queue or the store had no room");
                    hub.emit_for(&self.session, EventKind::LimitReached, why);
                }
                published.ticket
            }
            Err(denial) => {
                hub.emit_for(&self.session, EventKind::PublishDenied, format_args!("{topic}: {denial}"));
                Ticket::default()
            }
        };
        if stored || ticket == Turn::PENDING { turn.end_whole(hub) } else { ticket }
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
fn release(turn: &mut Turn<'_>, session: &Session, packet_id: u16) -> Option<Arc<Message>> {
    let mut incoming = session.incoming.lock();
    let message = incoming.received.release(packet_id)?;
    let before = incoming.bytes;
    incoming.bytes = before.saturating_sub(message.cost_bytes());
    turn.queue_changed(before, incoming.bytes);
    Some(message)
}

/// Whether a session may hold one more QoS 2 message, or one in place of another: within its own queue bounds and the
/// hub's.
fn has_room(turn: &Turn<'_>, incoming: &Incoming, known_bytes: Option<usize>, cost_bytes: usize) -> bool {
    let limits = turn.queue_limits(incoming.bytes);
    let fits = incoming.received.len() < limits.messages_max || known_bytes.is_some();
    let grows = cost_bytes > known_bytes.unwrap_or(0);
    fits && (!grows || incoming.bytes - known_bytes.unwrap_or(0) + cost_bytes <= limits.bytes_max)
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

fn message(turn: &Turn<'_>, session: &Session, topic: TopicName, publish: &Publish<'_>) -> Arc<Message> {
    let envelope = Envelope {
        topic,
        publisher: Some(session.key.identity),
        qos: publish.qos,
        retain: publish.retain,
        expires: expires(turn.config, publish.properties.expiry_s, turn.now.wall),
        received: turn.now.wall,
    };
    let mut forwarded = Vec::new();
    publish.properties.encode_forwarded(&mut forwarded);
    Message::new(envelope, &forwarded, publish.payload)
}
