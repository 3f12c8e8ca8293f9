//! PUBLISH and PUBREL: from a client to the hub.

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;
use portreeve_events::Kind as EventKind;
use portreeve_mqtt::{Ack, AckKind, Publish, Reason, Taken, Version};
use portreeve_policy::{Action, Denial, DenialReason};
use portreeve_store::{MessageRow, SessionOp, Ticket};
use portreeve_types::{Qos, TopicName, UnixMillis};

use super::{End, Now, Open, Owed, TOPICS_MAX, Topic};
use crate::{
    Hub,
    broker::{Tally, message::Message, session::Session, subscribe::refusal},
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
        let topic = self.aliases.resolve(publish)?;
        let repeats =
            publish.qos == Qos::ExactlyOnce && self.session.incoming.lock().received.get(publish.packet_id).is_some();
        if !repeats {
            self.quota.receive(publish.qos)?;
        }
        let config = hub.config();
        check_user_properties(hub, publish, config.limits.user_properties)?;
        if topic.len() > config.limits.topic_bytes || topic.split('/').count() > config.limits.topic_levels {
            return self.deny(
                hub,
                publish,
                Reason::TOPIC_NAME_INVALID,
                EventKind::LimitReached,
                "topic has too many levels or bytes",
            );
        }
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
            Err(denial) => {
                tally.publish_denied += 1;
                let why = format!("{topic}: {denial}");
                return self.deny(hub, publish, refusal(&denial), EventKind::PublishDenied, &why);
            }
        };
        let message = Message::new(row(&self.session, cached.name.clone(), publish, &config, now.wall), &hub.journal);
        if publish.qos == Qos::ExactlyOnce {
            return self.hold(hub, publish.packet_id, &message);
        }
        let route = Arc::clone(&cached.route);
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
    fn hold(&mut self, hub: &Hub, packet_id: u16, message: &Arc<Message>) -> Result<(), End> {
        let stored = self.session.outgoing.lock().stored;
        if stored && !hub.accepts_work() {
            return self.answer_denial(
                AckKind::PubRec,
                packet_id,
                Reason::QUOTA_EXCEEDED,
                EventKind::LimitReached,
                "the store takes no work",
            );
        }
        let same = |a: &Arc<Message>, b: &Arc<Message>| a.row.topic == b.row.topic && a.row.payload == b.row.payload;
        let taken = self.session.incoming.lock().received.take(packet_id, Arc::clone(message), same)?;
        let mut ticket = Ticket::default();
        if stored && !matches!(taken, Taken::Repeated) {
            let mut ops = Vec::with_capacity(2);
            let id = hub.store_body(message, &mut ops);
            ops.push(SessionOp::PutInbound { session: self.session.id, packet_id, message: id });
            ticket = hub.journal.submit(&mut ops);
            message.submitted(ticket);
        } else if stored {
            ticket = hub.journal.submit(&mut Vec::new());
        }
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubRec, packet_id, Reason::SUCCESS)));
        Ok(())
    }

    pub(super) fn pubrel(&mut self, hub: &Hub, now: Now, ack: &Ack<'_>) -> Result<(), End> {
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
        if self.version == Version::V5 {
            hub.emit_for(&self.session, kind, format_args!("{why}"));
        }
        self.answer_denial(ack, publish.packet_id, reason, kind, why)
    }

    fn answer_denial(
        &mut self,
        ack: AckKind,
        packet_id: u16,
        reason: Reason,
        kind: EventKind,
        why: &str,
    ) -> Result<(), End> {
        if self.version == Version::V311 {
            return Err(End::Cut(reason, kind, why.into()));
        }
        self.quota.give_back();
        self.owed.push_back((Ticket::default(), Owed::Ack(ack, packet_id, reason)));
        Ok(())
    }
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
) -> Result<&'a Topic, Denial> {
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
            return Err(Denial { reason: DenialReason::NoPermit, policies: Vec::new() });
        };
        mark(&hub.limits.topic_bytes, name.len());
        mark(&hub.limits.topic_levels, name.split('/').count());
        let route = Arc::new(hub.route(&name, Some(session), now));
        // An uncacheable decision is remembered under a generation that never is.
        let generation = if decision.cacheable { generation } else { 0 };
        topics.insert(topic.into(), Topic { name, generation, route });
    }
    let version = hub.trie_version();
    let stale =
        topics.get(topic).is_some_and(|entry| entry.route.version != version || entry.route.generation != generation);
    if stale && let Some(entry) = topics.get_mut(topic) {
        entry.route = Arc::new(hub.route(&entry.name, Some(session), now));
    }
    topics.get(topic).ok_or(Denial { reason: DenialReason::NoPermit, policies: Vec::new() })
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
