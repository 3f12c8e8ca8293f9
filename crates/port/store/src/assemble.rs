//! Puts the rows of a store together, and finds those that nothing refers to.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use portreeve_types::TopicName;

use crate::rows::{
    MessageId, MessageRow, QueueRow, SessionContents, SessionId, SessionOp, SessionRow, StoredSession, SubscriptionRow,
    WillRow,
};

/// Takes rows in any order of tables, but sessions before what belongs to them.
#[derive(Default)]
pub(crate) struct Assembly {
    messages: HashMap<MessageId, Arc<MessageRow>>,
    sessions: BTreeMap<SessionId, StoredSession>,
    retained: Vec<(TopicName, MessageId)>,
    strays: Vec<SessionOp>,
}

impl Assembly {
    /// Makes room for so many bodies at once.
    pub(crate) fn expect_messages(&mut self, count: u64) {
        self.messages.reserve(usize::try_from(count).unwrap_or_default());
    }

    pub(crate) fn message(&mut self, id: MessageId, row: Arc<MessageRow>) {
        self.messages.insert(id, row);
    }

    pub(crate) fn session(&mut self, id: SessionId, row: SessionRow) {
        let stored =
            StoredSession { id, row, subscriptions: Vec::new(), queue: Vec::new(), inbound: Vec::new(), will: None };
        self.sessions.insert(id, stored);
    }

    pub(crate) fn subscription(&mut self, session: SessionId, row: SubscriptionRow) {
        match self.sessions.get_mut(&session) {
            Some(stored) => stored.subscriptions.push(row),
            None => self.strays.push(SessionOp::DeleteSubscription { session, filter: row.filter }),
        }
    }

    pub(crate) fn queued(&mut self, session: SessionId, seq: u64, row: QueueRow) {
        match self.sessions.get_mut(&session) {
            Some(stored) => stored.queue.push((seq, row)),
            None => self.strays.push(SessionOp::Dequeue { session, seq }),
        }
    }

    pub(crate) fn inbound(&mut self, session: SessionId, packet_id: u16, message: MessageId) {
        match self.sessions.get_mut(&session) {
            Some(stored) => stored.inbound.push((packet_id, message)),
            None => self.strays.push(SessionOp::DeleteInbound { session, packet_id }),
        }
    }

    pub(crate) fn will(&mut self, session: SessionId, row: WillRow) {
        match self.sessions.get_mut(&session) {
            Some(stored) => stored.will = Some(row),
            None => self.strays.push(SessionOp::DeleteWill { session }),
        }
    }

    pub(crate) fn retained(&mut self, topic: TopicName, message: MessageId) {
        self.retained.push((topic, message));
    }

    /// The contents, and the operations that delete what is left over.
    pub(crate) fn finish(mut self, next_message: u64, next_session: u64) -> (SessionContents, Vec<SessionOp>) {
        self.drop_dangling();
        self.drop_unused_bodies();
        let contents = SessionContents {
            messages: self.messages,
            sessions: self.sessions.into_values().collect(),
            retained: self.retained,
            next_message,
            next_session,
            orphans_dropped: self.strays.len() as u64,
        };
        (contents, self.strays)
    }

    /// A body goes before the entries that refer to it when a message expires: the stream may have been cut between.
    fn drop_dangling(&mut self) {
        let (messages, strays) = (&self.messages, &mut self.strays);
        for stored in self.sessions.values_mut() {
            stored.queue.retain(|(seq, row)| {
                let keep = row.released || messages.contains_key(&row.message);
                if !keep {
                    strays.push(SessionOp::Dequeue { session: stored.id, seq: *seq });
                }
                keep
            });
            stored.inbound.retain(|(packet_id, message)| {
                let keep = messages.contains_key(message);
                if !keep {
                    strays.push(SessionOp::DeleteInbound { session: stored.id, packet_id: *packet_id });
                }
                keep
            });
        }
        self.retained.retain(|(topic, message)| {
            let keep = messages.contains_key(message);
            if !keep {
                strays.push(SessionOp::DeleteRetained { topic: topic.clone() });
            }
            keep
        });
    }

    fn drop_unused_bodies(&mut self) {
        let queued = self.sessions.values().flat_map(|stored| stored.queue.iter().map(|(_, row)| row.message));
        let held = self.sessions.values().flat_map(|stored| stored.inbound.iter().map(|(_, message)| *message));
        let retained = self.retained.iter().map(|(_, message)| *message);
        let used: HashSet<MessageId> = queued.chain(held).chain(retained).collect();
        let strays = &mut self.strays;
        self.messages.retain(|&id, _| {
            let keep = used.contains(&id);
            if !keep {
                strays.push(SessionOp::DeleteMessage { id });
            }
            keep
        });
    }
}
