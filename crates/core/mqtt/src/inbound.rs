//! What a server remembers of the packets one client sends it: topic aliases, receive maximum, QoS 2 identifiers.

use std::collections::HashMap;

use portreeve_types::Qos;

use crate::{Publish, Reason, Violation};

/// The receiving half of QoS 2 that outlives a connection: messages whose PUBREL is outstanding, method A of §4.3.3.
#[derive(Debug)]
pub struct Received<M> {
    held: HashMap<u16, Held<M>>,
}

#[derive(Debug)]
struct Held<M> {
    message: M,
    /// Identical copies that came on this connection.
    repeats: u8,
}

/// What became of a QoS 2 PUBLISH.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<M> {
    /// Its identifier was free.
    New,
    /// The same message came again: acknowledge, do not take it twice [MQTT-4.3.3-10].
    Repeated,
    /// The client gave the identifier to another message before PUBREL; the earlier one is returned.
    Replaced(M),
}

/// Identical copies of one unreleased message that a connection may send before it counts as a protocol error:
/// a client re-sends on a new connection only [MQTT-4.4.0-1].
pub const REPEATS_MAX: u8 = 1;

impl<M> Default for Received<M> {
    fn default() -> Self {
        Self { held: HashMap::new() }
    }
}

impl<M> Received<M> {
    /// Puts back what a store kept.
    pub fn restore(&mut self, packet_id: u16, message: M) {
        self.held.insert(packet_id, Held { message, repeats: 0 });
    }

    /// A new connection resumes the session: re-sending is legitimate again.
    pub fn resume(&mut self) {
        self.held.values_mut().for_each(|held| held.repeats = 0);
    }

    /// The message held under an identifier.
    #[must_use]
    pub fn get(&self, packet_id: u16) -> Option<&M> {
        self.held.get(&packet_id).map(|held| &held.message)
    }

    /// Takes a message; `same` says whether it equals the one that is held.
    ///
    /// # Errors
    /// 0x82 for more than [`REPEATS_MAX`] identical copies on one connection.
    pub fn take(&mut self, packet_id: u16, message: M, same: impl Fn(&M, &M) -> bool) -> Result<Taken<M>, Violation> {
        let Some(held) = self.held.get_mut(&packet_id) else {
            self.held.insert(packet_id, Held { message, repeats: 0 });
            return Ok(Taken::New);
        };
        if !same(&held.message, &message) {
            held.repeats = 0;
            return Ok(Taken::Replaced(std::mem::replace(&mut held.message, message)));
        }
        if held.repeats >= REPEATS_MAX {
            return Err(Violation::new(
                Reason::PROTOCOL_ERROR,
                "MQTT-4.4.0-1",
                "a QoS 2 message was sent again and again on one connection",
            ));
        }
        held.repeats += 1;
        Ok(Taken::Repeated)
    }

    /// PUBREL arrived: the message may go on. `None` if the identifier is unknown.
    pub fn release(&mut self, packet_id: u16) -> Option<M> {
        self.held.remove(&packet_id).map(|held| held.message)
    }

    /// Everything held, when the session ends.
    pub fn drain(&mut self) -> impl Iterator<Item = M> + '_ {
        self.held.drain().map(|(_, held)| held.message)
    }

    /// Messages held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// The topic aliases a client has set on this connection (§3.3.2.3.4); they die with it [MQTT-3.3.2-7].
#[derive(Debug)]
pub struct InboundAliases {
    topics: Vec<Option<Box<str>>>,
    max: u16,
}

impl InboundAliases {
    /// `max` is what CONNACK announced.
    #[must_use]
    pub fn new(max: u16) -> Self {
        Self { topics: Vec::new(), max }
    }

    /// The topic this PUBLISH is for.
    ///
    /// # Errors
    /// 0x94 for an alias above the maximum [MQTT-3.3.2-9], 0x82 for one that was never set (§3.3.4).
    pub fn resolve<'a>(&'a mut self, publish: &Publish<'a>) -> Result<&'a str, Violation> {
        let Some(alias) = publish.topic_alias else { return Ok(publish.topic) };
        if alias == 0 || alias > self.max {
            return Err(Violation::new(
                Reason::TOPIC_ALIAS_INVALID,
                "MQTT-3.3.2-9",
                "topic alias above the announced maximum",
            ));
        }
        let index = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            return self.topics.get(index).and_then(|slot| slot.as_deref()).ok_or(Violation::new(
                Reason::PROTOCOL_ERROR,
                "MQTT-3.3.2-12",
                "topic alias used before it was set",
            ));
        }
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        if self.topics[index].as_deref() != Some(publish.topic) {
            self.topics[index] = Some(publish.topic.into());
        }
        Ok(publish.topic)
    }
}

/// Counts the QoS 1 and 2 messages that the client may still send before an acknowledgement (§4.9).
#[derive(Debug)]
pub struct ReceiveQuota {
    left: u16,
    max: u16,
}

impl ReceiveQuota {
    /// `max` is the Receive Maximum that CONNACK announced.
    #[must_use]
    pub fn new(max: u16) -> Self {
        Self { left: max, max }
    }

    /// A new QoS 1 or 2 message arrived.
    ///
    /// # Errors
    /// 0x93 when the client sends more than was announced [MQTT-3.3.4-7].
    pub fn receive(&mut self, qos: Qos) -> Result<(), Violation> {
        if qos == Qos::AtMostOnce {
            return Ok(());
        }
        let left = self.left.checked_sub(1).ok_or(Violation::new(
            Reason::RECEIVE_MAXIMUM_EXCEEDED,
            "MQTT-3.3.4-7",
            "more unacknowledged messages than the receive maximum",
        ))?;
        self.left = left;
        Ok(())
    }

    /// PUBACK, PUBCOMP or a PUBREC with an error goes out.
    pub fn give_back(&mut self) {
        self.left = self.left.saturating_add(1).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(topic: &'static str, alias: Option<u16>) -> Publish<'static> {
        Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: 0,
            topic_alias: alias,
            properties: Default::default(),
            subscription_ids: Default::default(),
            payload: b"",
        }
    }

    #[test]
    fn a_qos_2_message_is_taken_once_and_released_once() {
        let mut received = Received::default();
        let same = |a: &&str, b: &&str| a == b;
        assert_eq!(received.take(7, "a", same).unwrap(), Taken::New);
        assert_eq!(received.take(7, "a", same).unwrap(), Taken::Repeated);
        assert_eq!(received.take(7, "a", same).unwrap_err().reason, Reason::PROTOCOL_ERROR);
        received.resume();
        assert_eq!(received.take(7, "a", same).unwrap(), Taken::Repeated);
        assert_eq!(received.take(7, "b", same).unwrap(), Taken::Replaced("a"));
        assert_eq!((received.release(7), received.release(7)), (Some("b"), None));
    }

    #[test]
    fn an_alias_is_set_used_and_replaced() {
        let mut aliases = InboundAliases::new(2);
        assert_eq!(aliases.resolve(&publish("a", Some(2))).unwrap(), "a");
        assert_eq!(aliases.resolve(&publish("", Some(2))).unwrap(), "a");
        assert_eq!(aliases.resolve(&publish("b", Some(2))).unwrap(), "b");
        assert_eq!(aliases.resolve(&publish("", Some(2))).unwrap(), "b");
    }

    #[test]
    fn an_alias_out_of_range_or_unset_is_refused() {
        let mut aliases = InboundAliases::new(2);
        assert_eq!(aliases.resolve(&publish("a", Some(3))).unwrap_err().reason, Reason::TOPIC_ALIAS_INVALID);
        assert_eq!(aliases.resolve(&publish("", Some(1))).unwrap_err().reason, Reason::PROTOCOL_ERROR);
        let mut none = InboundAliases::new(0);
        assert_eq!(none.resolve(&publish("a", Some(1))).unwrap_err().reason, Reason::TOPIC_ALIAS_INVALID);
    }

    #[test]
    fn the_receive_maximum_holds_and_acknowledgements_give_back() {
        let mut quota = ReceiveQuota::new(2);
        for _ in 0..10 {
            quota.receive(Qos::AtMostOnce).unwrap();
        }
        quota.receive(Qos::AtLeastOnce).unwrap();
        quota.receive(Qos::ExactlyOnce).unwrap();
        assert_eq!(quota.receive(Qos::AtLeastOnce).unwrap_err().reason, Reason::RECEIVE_MAXIMUM_EXCEEDED);
        quota.give_back();
        quota.receive(Qos::AtLeastOnce).unwrap();
    }
}
