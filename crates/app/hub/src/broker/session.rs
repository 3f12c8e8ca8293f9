//! One client's session: what it subscribed to, what it is owed, and the connection that serves it now.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
    task::Waker,
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use portreeve_mqtt::{Outbound, Reason, Received};
use portreeve_pki::Generation;
use portreeve_policy::Slice;
use portreeve_store::{SessionId, SessionRow, WillRow};
use portreeve_types::{ClientId, IdentityId, IdentityName, UnixMillis};
use smallvec::SmallVec;

use super::{message::Message, retained::Scan, subscription::Subscription};

/// Sessions are keyed by identity and client id, so nobody can take over a stranger's (DESIGN, Sessions).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) identity: IdentityId,
    pub(crate) client_id: ClientId,
}

/// A session. Two locks, never held together by different owners: `outgoing` is shared with every publisher,
/// `incoming` belongs to the session's own connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) key: SessionKey,
    pub(crate) name: IdentityName,
    pub(crate) created: UnixMillis,
    /// Raised when what policies read of this session alone changes: its identity's fields, its address.
    pub(crate) epoch: AtomicU64,
    pub(crate) access: ArcSwapOption<Access>,
    /// Where its latest connection came from.
    pub(crate) peer: ArcSwap<Peer>,
    pub(crate) outgoing: Mutex<Outgoing>,
    pub(crate) incoming: Mutex<Incoming>,
    /// Held while a PUBREL is dealt with, before any other lock: a connection that takes the session over hears of what
    /// is released when that is in the stream.
    pub(crate) releasing: Mutex<()>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address; behind a listed balancer the one the PROXY header gave.
    pub address: IpAddr,
    /// `mqtt` or `websocket`.
    pub transport: &'static str,
}

impl Peer {
    /// A peer that the store remembers.
    pub(crate) fn stored(address: IpAddr, transport: &str) -> Self {
        let known = ["mqtt", "websocket"].into_iter().find(|known| *known == transport);
        Self { address, transport: known.unwrap_or("none") }
    }
}

/// The policies that apply to this session's identity, in one access generation.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) generation: u64,
    pub(crate) slice: Slice,
}

/// The receiving half of QoS 2.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) received: Received<Arc<Message>>,
    /// What it holds; counts against the session's and the hub's queue bounds.
    pub(crate) bytes: usize,
    /// The session is over: nothing may be added any more.
    pub(crate) ended: bool,
}

/// The delivering half.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) outbound: Outbound<Arc<Message>>,
    pub(crate) subscriptions: HashMap<Box<str>, Arc<Subscription>>,
    /// Retained messages still to be looked up for new subscriptions.
    pub(crate) scans: VecDeque<RetainedScan>,
    pub(crate) link: Option<LinkSlot>,
    /// Which connection is the current one; an older one that finds another number here has been replaced.
    pub(crate) connection: u64,
    pub(crate) v5: bool,
    /// Seconds; `u32::MAX` is never.
    pub(crate) expiry_s: u32,
    /// Whether its state is in the store: `expiry_s > 0` when it last connected.
    pub(crate) stored: bool,
    pub(crate) will: Option<Arc<WillRow>>,
    /// When the will is due, once the connection is gone.
    pub(crate) will_due: Option<UnixMillis>,
    pub(crate) disconnected: Option<UnixMillis>,
    /// Timers set for this session, taken back when its client returns.
    pub(crate) armed: SmallVec<[UnixMillis; 2]>,
    /// Removed from the table: nothing may be added any more.
    pub(crate) ended: bool,
}

#[derive(Debug)]
pub(crate) struct RetainedScan {
    pub(crate) scan: Scan,
    pub(crate) subscription: Arc<Subscription>,
    /// Starts once the SUBACK went out.
    pub(crate) after: portreeve_store::Ticket,
}

/// The live connection's mailbox.
#[derive(Debug, Default)]
pub(crate) struct LinkSlot {
    /// Set while the connection sleeps; taken by whoever wakes it.
    pub(crate) waker: Option<Waker>,
    pub(crate) close: Option<Close>,
    /// Which of its identity's certificates it came with.
    pub(crate) certificate: Generation,
}

/// Why the hub ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// What a 5.0 client is told.
    pub reason: Reason,
    /// What the log is told.
    pub why: &'static str,
    /// When somebody who waits for it asked for it; how long it takes is counted from there.
    pub asked: Option<Instant>,
}

impl Close {
    /// An end that nobody waits for.
    pub(crate) fn new(reason: Reason, why: &'static str) -> Self {
        Self { reason, why, asked: None }
    }
}

impl Outgoing {
    /// Asks the connection to end; the first reason stands. Returns the waker to call once no lock is held.
    pub(crate) fn close(&mut self, close: Close) -> Option<Waker> {
        let link = self.link.as_mut()?;
        link.close.get_or_insert(close);
        link.waker.take()
    }

    /// Whether this very subscription is in force.
    pub(crate) fn holds(&self, subscription: &Arc<Subscription>) -> bool {
        let current = self.subscriptions.get(subscription.filter.as_str());
        current.is_some_and(|current| Arc::ptr_eq(current, subscription))
    }

    pub(crate) fn is_online(&self) -> bool {
        self.link.is_some()
    }

    /// When the session ends, if nobody comes back: `None` while connected or for ever.
    pub(crate) fn expires(&self) -> Option<UnixMillis> {
        if self.is_online() || self.expiry_s == u32::MAX {
            return None;
        }
        Some(self.disconnected?.plus(std::time::Duration::from_secs(self.expiry_s.into())))
    }
}

impl Session {
    pub(crate) fn row(&self, outgoing: &Outgoing) -> SessionRow {
        let peer = self.peer.load();
        SessionRow {
            identity: self.key.identity,
            client_id: self.key.client_id.clone(),
            v5: outgoing.v5,
            expiry_s: outgoing.expiry_s,
            connected: outgoing.is_online(),
            disconnected_at: outgoing.disconnected,
            sent_below: outgoing.outbound.sent_below(),
            peer: Some((peer.address, peer.transport.into())),
            created: self.created,
        }
    }
}
