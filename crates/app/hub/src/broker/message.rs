//! A message in the hub: one allocation of content, shared by every queue, retained slot and the store.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    time::Duration,
};

use bytes::Bytes;
use portreeve_config::Config;
use portreeve_mqtt::Deliverable;
use portreeve_store::{Journal, MessageId, MessageRow, SessionOp, Ticket};
use portreeve_types::{IdentityId, Qos, TopicName, UnixMillis};

/// To be stored, not yet submitted.
const UNSUBMITTED: u64 = u64::MAX;
/// Properties and payload up to this length lie in the message itself, so that most messages are one allocation.
const INLINE_BYTES: usize = 128;

/// Where a message comes from and how it is to go on: what is known of it beside its content.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) topic: TopicName,
    /// `None` for the hub itself.
    pub(crate) publisher: Option<IdentityId>,
    /// As published.
    pub(crate) qos: Qos,
    /// As published.
    pub(crate) retain: bool,
    pub(crate) expires: Option<UnixMillis>,
    pub(crate) received: UnixMillis,
}

/// When a message with this expiry interval, received now, expires. `mqtt.message_expiry_max_s` caps it.
pub(crate) fn expires(config: &Config, expiry_s: Option<u32>, now: UnixMillis) -> Option<UnixMillis> {
    let cap_s = Some(config.mqtt.message_expiry_max_s).filter(|&s| s > 0);
    let expiry_s = match (expiry_s, cap_s) {
        (Some(asked), Some(cap)) => Some(asked.min(cap)),
        (asked, cap) => asked.or(cap),
    };
    expiry_s.map(|s| now.plus(Duration::from_secs(s.into())))
}

/// The forwarded properties, encoded, then the payload.
#[derive(Clone)]
enum Content {
    /// In the message itself, so many bytes of it.
    Here([u8; INLINE_BYTES], u8),
    /// Shared by copies of the message.
    Apart(Bytes),
}

impl Content {
    fn new(forwarded: &[u8], payload: &[u8]) -> Self {
        let length = forwarded.len() + payload.len();
        match u8::try_from(length) {
            Ok(length_here) if length <= INLINE_BYTES => {
                let mut here = [0; INLINE_BYTES];
                here[..forwarded.len()].copy_from_slice(forwarded);
                here[forwarded.len()..length].copy_from_slice(payload);
                Self::Here(here, length_here)
            }
            _ if forwarded.is_empty() => Self::Apart(Bytes::copy_from_slice(payload)),
            _ => Self::Apart([forwarded, payload].concat().into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(bytes, length) => &bytes[..usize::from(*length)],
            Self::Apart(bytes) => bytes,
        }
    }
}

/// A published message. When the last holder lets go of a stored one, its body is deleted from the store.
pub(crate) struct Message {
    pub(crate) envelope: Envelope,
    content: Content,
    forwarded_bytes: usize,
    /// Asked for several times a delivery.
    cost_bytes: usize,
    /// Set once the message is to be stored; most never are.
    stored: OnceLock<Stored>,
}

/// What the store knows of a message.
struct Stored {
    id: MessageId,
    /// Journal position after which the body and its queue entries are durable.
    ticket: AtomicU64,
    journal: Arc<Journal>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("envelope", &self.envelope).finish_non_exhaustive()
    }
}

impl Message {
    pub(crate) fn new(envelope: Envelope, forwarded: &[u8], payload: &[u8]) -> Arc<Self> {
        let cost_bytes = envelope.topic.len() + forwarded.len() + payload.len();
        let (content, forwarded_bytes) = (Content::new(forwarded, payload), forwarded.len());
        Arc::new(Self { envelope, content, forwarded_bytes, cost_bytes, stored: OnceLock::new() })
    }

    /// A body read back at start.
    pub(crate) fn restored(id: MessageId, row: &MessageRow, journal: &Arc<Journal>) -> Arc<Self> {
        let envelope = Envelope {
            topic: row.topic.clone(),
            publisher: row.publisher,
            qos: row.qos,
            retain: row.retain,
            expires: row.expires,
            received: row.received,
        };
        let message = Self::new(envelope, &row.forwarded, &row.payload);
        message.stored.get_or_init(|| Stored { id, ticket: AtomicU64::new(0), journal: Arc::clone(journal) });
        message
    }

    /// The same message as another body, to be stored by itself.
    pub(crate) fn copy(&self) -> Arc<Self> {
        let (envelope, content) = (self.envelope.clone(), self.content.clone());
        let (forwarded_bytes, cost_bytes) = (self.forwarded_bytes, self.cost_bytes);
        Arc::new(Self { envelope, content, forwarded_bytes, cost_bytes, stored: OnceLock::new() })
    }

    /// The body as the store keeps it.
    pub(crate) fn row(&self) -> MessageRow {
        let Envelope { topic, publisher, qos, retain, expires, received } = self.envelope.clone();
        let (forwarded, payload) = (self.forwarded().into(), self.payload().into());
        MessageRow { topic, publisher, qos, retain, forwarded, payload, expires, received }
    }

    /// Key in the store.
    pub(crate) fn stored_id(&self) -> Option<MessageId> {
        self.stored.get().map(|stored| stored.id)
    }

    /// Marks the message as one that the store will hold. No persistent session sends it before [`Self::submitted`].
    pub(crate) fn assign(&self, id: MessageId, journal: &Arc<Journal>) {
        self.stored.get_or_init(|| Stored { id, ticket: AtomicU64::new(UNSUBMITTED), journal: Arc::clone(journal) });
    }

    /// A stored message is about to enter more queues.
    pub(crate) fn hold(&self) {
        self.set_ticket(UNSUBMITTED);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.stored.get().is_some_and(|stored| stored.ticket.load(Acquire) == UNSUBMITTED)
    }

    /// The ops that concern this message are in the stream up to `ticket`.
    pub(crate) fn submitted(&self, ticket: Ticket) {
        self.set_ticket(ticket.raw());
    }

    fn set_ticket(&self, ticket: u64) {
        if let Some(stored) = self.stored.get() {
            stored.ticket.store(ticket, Release);
        }
    }

    /// Lets go of a message; if that was the last hold on a stored one, the deletion of its body is added to `ops`, to
    /// be submitted behind what they delete already.
    pub(crate) fn release(self: Arc<Self>, ops: &mut Vec<SessionOp>) {
        let stored = Arc::into_inner(self).and_then(|mut message| message.stored.take());
        ops.extend(stored.map(|stored| SessionOp::DeleteMessage { id: stored.id }));
    }
}

impl Deliverable for Message {
    fn topic(&self) -> &str {
        &self.envelope.topic
    }

    fn forwarded(&self) -> &[u8] {
        // Looked at once a delivery: most messages have none.
        if self.forwarded_bytes == 0 { &[] } else { &self.content.bytes()[..self.forwarded_bytes] }
    }

    fn payload(&self) -> &[u8] {
        &self.content.bytes()[self.forwarded_bytes..]
    }

    fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    fn expires(&self) -> Option<UnixMillis> {
        self.envelope.expires
    }

    /// QoS 1 may go out once its entry is in the op stream: a crash before the commit makes the publisher repeat it.
    /// QoS 2 waits for the commit, for a repetition would be a duplicate.
    fn is_ready(&self, qos: Qos) -> bool {
        let Some(stored) = self.stored.get() else { return true };
        match stored.ticket.load(Acquire) {
            UNSUBMITTED => false,
            ticket => qos != Qos::ExactlyOnce || stored.journal.durable() >= Ticket::from_raw(ticket),
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if let Some(stored) = self.stored.take() {
            stored.journal.submit(&mut vec![SessionOp::DeleteMessage { id: stored.id }]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inside or apart, with properties or without: the same message.
    #[test]
    fn content_of_every_length_is_told_apart() {
        for forwarded in [0, 1, 100, INLINE_BYTES, 300] {
            for payload in [0, 1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 255, 256, 70_000] {
                let (forwarded, payload) = (vec![b'f'; forwarded], vec![b'p'; payload]);
                let envelope = Envelope {
                    topic: TopicName::new("t").unwrap(),
                    publisher: None,
                    qos: Qos::AtMostOnce,
                    retain: false,
                    expires: None,
                    received: UnixMillis::default(),
                };
                let message = Message::new(envelope, &forwarded, &payload);
                for message in [message.copy(), message] {
                    assert_eq!((message.forwarded(), message.payload()), (&forwarded[..], &payload[..]));
                    assert_eq!(message.cost_bytes(), 1 + forwarded.len() + payload.len());
                    assert_eq!(message.row().payload.len(), payload.len());
                }
            }
        }
    }
}
