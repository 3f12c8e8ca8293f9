//! A message in the hub: one allocation of content, shared by every queue, retained slot and the store.

use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

use portreeve_mqtt::Deliverable;
use portreeve_store::{Journal, MessageId, MessageRow, SessionOp, Ticket};
use portreeve_types::{Qos, UnixMillis};

/// Not stored: nothing to wait for.
const VOLATILE: u64 = 0;
/// To be stored, not yet submitted.
const UNSUBMITTED: u64 = u64::MAX;

/// A published message. When the last holder lets go of a stored one, its body is deleted from the store.
pub(crate) struct Message {
    pub(crate) row: MessageRow,
    /// Key in the store; 0 while it is in none.
    stored: AtomicU64,
    /// Journal position after which the body and its queue entries are durable.
    ticket: AtomicU64,
    journal: Arc<Journal>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("row", &self.row).finish_non_exhaustive()
    }
}

impl Message {
    pub(crate) fn new(row: MessageRow, journal: &Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            row,
            stored: AtomicU64::new(0),
            ticket: AtomicU64::new(VOLATILE),
            journal: Arc::clone(journal),
        })
    }

    /// A body read back at start.
    pub(crate) fn restored(id: MessageId, row: MessageRow, journal: &Arc<Journal>) -> Arc<Self> {
        let message = Self::new(row, journal);
        message.stored.store(id.0, Release);
        message
    }

    pub(crate) fn stored_id(&self) -> Option<MessageId> {
        Some(self.stored.load(Acquire)).filter(|&id| id != 0).map(MessageId)
    }

    /// Marks the message as one that the store will hold. No persistent session sends it before [`Self::submitted`].
    pub(crate) fn assign(&self, id: MessageId) {
        self.ticket.store(UNSUBMITTED, Release);
        self.stored.store(id.0, Release);
    }

    /// A stored message is about to enter more queues.
    pub(crate) fn hold(&self) {
        self.ticket.store(UNSUBMITTED, Release);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.ticket.load(Acquire) == UNSUBMITTED
    }

    /// The ops that concern this message are in the stream up to `ticket`.
    pub(crate) fn submitted(&self, ticket: Ticket) {
        self.ticket.store(ticket.raw(), Release);
    }

    /// When what is stored of this message is durable; the beginning of time if nothing is.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket::from_raw(self.ticket.load(Acquire))
    }
}

impl Deliverable for Message {
    fn topic(&self) -> &str {
        &self.row.topic
    }

    fn forwarded(&self) -> &[u8] {
        &self.row.forwarded
    }

    fn payload(&self) -> &[u8] {
        &self.row.payload
    }

    fn expires(&self) -> Option<UnixMillis> {
        self.row.expires
    }

    /// QoS 1 may go out once its entry is in the op stream: a crash before the commit makes the publisher repeat it.
    /// QoS 2 waits for the commit, for a repetition would be a duplicate.
    fn is_ready(&self, qos: Qos) -> bool {
        match self.ticket.load(Acquire) {
            VOLATILE => true,
            UNSUBMITTED => false,
            ticket => qos != Qos::ExactlyOnce || self.journal.durable() >= Ticket::from_raw(ticket),
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if let Some(id) = self.stored_id() {
            self.journal.submit(&mut vec![SessionOp::DeleteMessage { id }]);
        }
    }
}
