//! Reduces a batch to its net effect, so that what came and went within one group commit never reaches the disk.
//!
//! The last operation on a key decides what the key holds, whatever was there before. The two exceptions:
//! [`SessionOp::DeleteSession`] also decides for all earlier operations on that session's rows, and
//! [`SessionOp::Release`] changes a row instead of replacing it, so it is folded into an `Enqueue` of the same batch.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use crate::rows::{MessageId, SessionId, SessionOp};

/// An operation that still has to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folded<'a> {
    pub(crate) op: &'a SessionOp,
    /// An [`SessionOp::Enqueue`] that a later operation released.
    pub(crate) released: bool,
}

#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Message(MessageId),
    Session(SessionId),
    Subscription(SessionId, &'a str),
    Queue(SessionId, u64),
    Inbound(SessionId, u16),
    Will(SessionId),
    Retained(&'a str),
}

/// What the operations behind this one do to a key.
#[derive(Clone, Copy)]
enum Later {
    Replace,
    /// The place of the `Release`.
    Release(usize),
}

/// The operations of `ops` that matter, in order.
pub(crate) fn fold(ops: &[SessionOp]) -> Vec<Folded<'_>> {
    let mut kept: Vec<Option<Folded<'_>>> = vec![None; ops.len()];
    let mut later: HashMap<Key<'_>, Later> = HashMap::with_capacity(ops.len());
    let mut deleted: HashSet<SessionId> = HashSet::new();
    for (index, op) in ops.iter().enumerate().rev() {
        let (key, session) = address(op);
        if session.is_some_and(|id| deleted.contains(&id)) {
            continue;
        }
        if let SessionOp::DeleteSession { id } = op {
            // Kept also when the session is put again behind it: it clears the session's other rows.
            deleted.insert(*id);
            kept[index] = Some(Folded { op, released: false });
            continue;
        }
        match (later.entry(key), op) {
            (Entry::Vacant(entry), SessionOp::Release { .. }) => {
                entry.insert(Later::Release(index));
                kept[index] = Some(Folded { op, released: false });
            }
            (Entry::Vacant(entry), _) => {
                entry.insert(Later::Replace);
                kept[index] = Some(Folded { op, released: false });
            }
            (Entry::Occupied(mut entry), SessionOp::Enqueue { .. } | SessionOp::Dequeue { .. }) => {
                if let Later::Release(place) = *entry.get() {
                    entry.insert(Later::Replace);
                    kept[place] = None;
                    kept[index] = Some(Folded { op, released: true });
                }
            }
            (Entry::Occupied(_), _) => {}
        }
    }
    kept.into_iter().flatten().collect()
}

/// The key an operation writes, and the session it belongs to.
fn address(op: &SessionOp) -> (Key<'_>, Option<SessionId>) {
    match op {
        SessionOp::PutMessage { id, .. } | SessionOp::DeleteMessage { id } => (Key::Message(*id), None),
        SessionOp::PutSession { id, .. } | SessionOp::DeleteSession { id } => (Key::Session(*id), Some(*id)),
        SessionOp::PutSubscription { session, row } => {
            (Key::Subscription(*session, row.filter.as_str()), Some(*session))
        }
        SessionOp::DeleteSubscription { session, filter } => {
            (Key::Subscription(*session, filter.as_str()), Some(*session))
        }
        SessionOp::Enqueue { session, seq, .. }
        | SessionOp::Release { session, seq }
        | SessionOp::Dequeue { session, seq } => (Key::Queue(*session, *seq), Some(*session)),
        SessionOp::PutInbound { session, packet_id, .. } | SessionOp::DeleteInbound { session, packet_id } => {
            (Key::Inbound(*session, *packet_id), Some(*session))
        }
        SessionOp::PutWill { session, .. } | SessionOp::DeleteWill { session } => (Key::Will(*session), Some(*session)),
        SessionOp::PutRetained { topic, .. } | SessionOp::DeleteRetained { topic } => {
            (Key::Retained(topic.as_str()), None)
        }
    }
}
