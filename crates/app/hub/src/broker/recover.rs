//! From the store's contents to a running broker.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use portreeve_mqtt::{Deliverable as _, Delivery, SubscriptionOptions};
use portreeve_store::{MessageId, SessionContents, SessionOp, StoredSession};
use portreeve_types::UnixMillis;

use super::{
    message::Message,
    session::{Incoming, Outgoing, Peer, Session, SessionKey},
    subscription::{Grant, Subscription},
};
use crate::Hub;

/// Of a session that was stored without the address of its client.
const NOWHERE: Peer = Peer { address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), transport: "none" };

impl Hub {
    /// Rebuilds sessions, queues and retained messages. Sessions whose identity is gone are not taken over.
    pub(crate) fn recover(&self, contents: SessionContents, now: UnixMillis) {
        let restored =
            |(id, row): (MessageId, Arc<portreeve_store::MessageRow>)| (id, Message::restored(id, &row, &self.journal));
        let messages: HashMap<MessageId, Arc<Message>> = contents.messages.into_iter().map(restored).collect();
        for (topic, id) in contents.retained {
            let Some(message) = messages.get(&id) else { continue };
            if message.envelope.topic == topic {
                self.retained.write().set(Arc::clone(message));
            }
        }
        // A crash between the begin of a session and the end of the one that it replaced leaves both: the newer is it.
        let key = |stored: &StoredSession| (stored.row.identity, stored.row.client_id.clone());
        let mut newest = HashMap::new();
        for stored in &contents.sessions {
            let id = newest.entry(key(stored)).or_insert(stored.id);
            *id = stored.id.max(*id);
        }
        for stored in &contents.sessions {
            if newest.get(&key(stored)) == Some(&stored.id) {
                self.recover_session(stored, &messages, now);
            } else {
                self.journal.submit(&mut vec![SessionOp::DeleteSession { id: stored.id }]);
            }
        }
        // Bodies that only dropped sessions named are deleted here, when the map lets go of them.
    }

    fn recover_session(&self, stored: &StoredSession, messages: &HashMap<MessageId, Arc<Message>>, now: UnixMillis) {
        let row = &stored.row;
        let Some(identity) = self.registry.row(row.identity) else {
            self.journal.submit(&mut vec![SessionOp::DeleteSession { id: stored.id }]);
            return;
        };
        // A crash is the end of the connection; when it happened is not known, so the time of the restart counts.
        let disconnected = if row.connected { now } else { row.disconnected_at.unwrap_or(now) };
        let outgoing = Outgoing {
            v5: row.v5,
            expiry_s: row.expiry_s,
            stored: true,
            disconnected: Some(disconnected),
            ..Outgoing::default()
        };
        let peer = row.peer.as_ref().map_or(NOWHERE, |(address, transport)| Peer::stored(*address, transport));
        let session = Arc::new(Session {
            id: stored.id,
            key: SessionKey { identity: row.identity, client_id: row.client_id.clone() },
            name: identity.name.clone(),
            created: row.created,
            epoch: AtomicU64::new(0),
            access: ArcSwapOption::empty(),
            peer: ArcSwap::from_pointee(peer),
            outgoing: outgoing.into(),
            incoming: Incoming::default().into(),
            releasing: Mutex::default(),
        });
        self.recover_held(&session, stored, messages);
        self.recover_queue(&session, stored, messages);
        self.recover_subscriptions(&session, stored, now);
        self.recover_will(&session, stored, disconnected);
        {
            let mut outgoing = session.outgoing.lock();
            if let Some(at) = outgoing.expires() {
                self.arm(&session, &mut outgoing, at);
            }
        }
        self.sessions.lock().insert(session);
    }

    fn recover_held(&self, session: &Session, stored: &StoredSession, messages: &HashMap<MessageId, Arc<Message>>) {
        let mut incoming = session.incoming.lock();
        for (packet_id, id) in &stored.inbound {
            let Some(message) = messages.get(id) else { continue };
            incoming.bytes += message.cost_bytes();
            incoming.received.restore(*packet_id, Arc::clone(message));
        }
        self.gauges.queue_changed(0, incoming.bytes);
    }

    fn recover_queue(&self, session: &Session, stored: &StoredSession, messages: &HashMap<MessageId, Arc<Message>>) {
        let mut outgoing = session.outgoing.lock();
        // If the client was connected, the first of these may have gone out before the crash: DUP says so.
        let window = usize::from(self.config().limits.inflight_per_session);
        for (index, (seq, row)) in stored.queue.iter().enumerate() {
            let Some(message) = messages.get(&row.message) else {
                // Only a released entry can lack its body, and its body goes when PUBCOMP has come.
                self.journal.submit(&mut vec![SessionOp::Dequeue { session: session.id, seq: *seq }]);
                continue;
            };
            let delivery = Delivery {
                message: Arc::clone(message),
                qos: row.qos,
                retain: row.retain,
                subscription_ids: row.subscription_ids.iter().copied().collect(),
            };
            let maybe_sent = (stored.row.connected && index < window) || *seq < stored.row.sent_below;
            outgoing.outbound.restore(*seq, delivery, row.released, maybe_sent);
        }
        self.gauges.queue_changed(0, outgoing.outbound.bytes());
    }

    fn recover_subscriptions(&self, session: &Arc<Session>, stored: &StoredSession, now: UnixMillis) {
        for row in &stored.subscriptions {
            let Some(options) = SubscriptionOptions::from_byte(row.options) else { continue };
            let subscription = Arc::new(Subscription {
                session: Arc::clone(session),
                filter: row.filter.clone(),
                options,
                id: row.subscription_id,
                grant: ArcSwap::from_pointee(Grant::default()),
            });
            // What is not granted now may be again when its client is back.
            self.renew_grant(&subscription, self.generation_of(session), now);
            self.install(&mut session.outgoing.lock(), &subscription);
        }
    }

    fn recover_will(&self, session: &Session, stored: &StoredSession, disconnected: UnixMillis) {
        let Some(will) = &stored.will else { return };
        let due = will.due.unwrap_or_else(|| disconnected.plus(Duration::from_secs(will.delay_s.into())));
        let mut outgoing = session.outgoing.lock();
        outgoing.will = Some(Arc::new(will.clone()));
        outgoing.will_due = Some(due);
        self.arm(session, &mut outgoing, due);
    }

    /// Restored counters continue where the store's ended.
    pub(crate) fn continue_ids(&self, contents: &SessionContents) {
        self.next_message.store(contents.next_message.max(1), Relaxed);
        self.next_session.store(contents.next_session.max(1), Relaxed);
    }
}
