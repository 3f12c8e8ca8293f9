//! Connections with a certificate that was renewed. Handshakes refuse it as soon as the newer one is in use; connections
//! that it has opened end after `lifecycle.superseded_session_s`, in which a device may move them one by one.

use std::{collections::VecDeque, task::Waker};

use parking_lot::Mutex;
use portreeve_mqtt::Reason;
use portreeve_types::IdentityId;

use crate::{Close, Hub, Now};

/// Identities of which a newer certificate came into use. As many as certificates are issued in the time that their
/// connections have left: each needs one of its own.
#[derive(Debug, Default)]
pub(crate) struct Superseded(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// Since the clock last looked.
    fresh: Vec<IdentityId>,
    /// Since when, as a [`Now::mono_ms`], ascending.
    waiting: VecDeque<(u64, IdentityId)>,
}

impl Superseded {
    pub(crate) fn note(&self, id: IdentityId) {
        self.0.lock().fresh.push(id);
    }

    /// Those whose time is over.
    fn due(&self, grace_ms: u64, now_ms: u64) -> Vec<IdentityId> {
        let Queue { fresh, waiting } = &mut *self.0.lock();
        waiting.extend(fresh.drain(..).map(|id| (now_ms, id)));
        let count = waiting.partition_point(|(since_ms, _)| since_ms.saturating_add(grace_ms) <= now_ms);
        waiting.drain(..count).map(|(_, id)| id).collect()
    }
}

impl Hub {
    /// Ends what was opened with certificates that gave way to newer ones long enough ago.
    pub(crate) fn end_superseded(&self, now: Now) {
        let grace_ms = self.config().lifecycle.superseded_session_s * 1000;
        for id in self.superseded.due(grace_ms, now.mono_ms) {
            let close = Close::new(Reason::MAXIMUM_CONNECT_TIME, "a newer certificate of its is in use");
            let sessions = self.sessions.lock().by_identity.get(&id).cloned().unwrap_or_default();
            for session in sessions {
                let waker = {
                    let mut outgoing = session.outgoing.lock();
                    let link = outgoing.link.as_ref();
                    let is_old = link.is_some_and(|link| self.registry.has_newer_in_use(id, link.certificate));
                    if is_old { outgoing.close(close) } else { None }
                };
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }
}
