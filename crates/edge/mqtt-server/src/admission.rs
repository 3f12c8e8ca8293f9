//! Who may begin a handshake: rates and caps, per source and in all, so that no peer can shut others out (CSA-COM-04).

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use parking_lot::Mutex;
use portreeve_events::Kind;
use portreeve_hub::{Hub, Now};
use portreeve_types::Bucket;
use std::collections::HashMap;
use tokio_util::sync::CancellationToken;

/// Sources whose rate is remembered; beyond it the idle ones are forgotten.
const SOURCES_MAX: usize = 65_536;

/// A source of connections: an IPv4 address or an IPv6 /64, which is what one subscriber usually gets.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0))
        }
    }
}

/// What all listeners of a hub share, so that a peer cannot use one against another.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    hub: Arc<Hub>,
    state: Mutex<State>,
}

struct State {
    sources: HashMap<IpAddr, Source>,
    half_open: usize,
    handshakes: Bucket,
    next_id: u64,
}

struct Source {
    rate: Bucket,
    /// The current second and the connections begun in it.
    second: (u64, u64),
    /// Oldest first.
    half_open: VecDeque<(u64, CancellationToken)>,
}

/// A connection's slot; gives itself back.
pub struct Slot {
    admission: Admission,
    source: IpAddr,
    /// `None` once the handshake is over.
    half_open: Option<u64>,
    evicted: CancellationToken,
}

/// A connection was dropped before its handshake; the event says why.
#[derive(Debug)]
pub(crate) struct Dropped;

impl Admission {
    /// One for each hub.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        let (rate, now_ms) = (u64::from(hub.config().limits.handshakes_per_s), crate::now().mono_ms);
        let handshakes = Bucket::new(rate, rate, now_ms);
        let state = State { sources: HashMap::new(), half_open: 0, handshakes, next_id: 0 };
        Self(Arc::new(Shared { hub, state: state.into() }))
    }

    /// Milliseconds to wait before the next handshake, while the global rate is used up: peers wait in the system's
    /// queue. Asked only for connections that their own source's rate admitted, so that one source cannot use it up.
    pub(crate) fn handshake_delay_ms(&self, now: Now) -> Option<u64> {
        let rate = u64::from(self.0.hub.config().limits.handshakes_per_s);
        let mut state = self.0.state.lock();
        state.handshakes.adjust(rate, rate);
        if state.handshakes.take(1, now.mono_ms) {
            self.0.hub.admissions().handshakes_this_s.store(state.handshakes.used(), Relaxed);
            return None;
        }
        Some(state.handshakes.wait_ms(1).min(1000))
    }

    /// Gives a connection from `address` a slot, or drops it.
    pub(crate) fn admit(&self, address: IpAddr, now: Now) -> Result<Slot, Dropped> {
        let hub = &self.0.hub;
        let config = hub.config();
        let limits = &config.limits;
        let counts = hub.admissions();
        let source_key = source_of(address);
        let refuse = |why: &str| {
            hub.emit(Kind::AdmissionRefused, None, None, Some(address), format_args!("{why}"));
            Err(Dropped)
        };
        if counts.connections.load(Relaxed) >= limits.connections_total {
            return refuse("all connections are in use");
        }
        let mut state = self.0.state.lock();
        if state.sources.len() >= SOURCES_MAX {
            state.sources.retain(|_, source| !source.half_open.is_empty());
        }
        let (rate, burst) = (limits.connections_per_source_per_s, limits.connections_per_source_burst);
        let source = state.sources.entry(source_key).or_insert_with(|| Source {
            rate: Bucket::new(rate.into(), burst.into(), now.mono_ms),
            second: (0, 0),
            half_open: VecDeque::new(),
        });
        let second = now.mono_ms / 1000;
        source.second = if source.second.0 == second { (second, source.second.1 + 1) } else { (second, 1) };
        counts.connections_per_source_per_s.fetch_max(source.second.1, Relaxed);
        source.rate.adjust(rate.into(), burst.into());
        if !source.rate.take(1, now.mono_ms) {
            drop(state);
            return refuse("too many connections a second from this source");
        }
        counts.connections_per_source.fetch_max(source.rate.used(), Relaxed);
        if source.half_open.len() >= limits.half_open_per_source {
            state.evict(source_key);
        } else if state.half_open >= limits.half_open_connections {
            state.evict_heaviest();
        }
        let (id, evicted) = (state.next_id, CancellationToken::new());
        state.next_id += 1;
        state.half_open += 1;
        if let Some(source) = state.sources.get_mut(&source_key) {
            source.half_open.push_back((id, evicted.clone()));
        }
        counts.half_open.store(state.half_open, Relaxed);
        let heaviest = state.sources.get(&source_key).map_or(0, |source| source.half_open.len());
        counts.half_open_per_source.fetch_max(heaviest, Relaxed);
        counts.connections.fetch_add(1, Relaxed);
        Ok(Slot { admission: self.clone(), source: source_key, half_open: Some(id), evicted })
    }
}

impl State {
    /// The oldest half-open connection of a source makes room: an honest peer's is the youngest.
    fn evict(&mut self, source: IpAddr) {
        if let Some((_, token)) = self.sources.get_mut(&source).and_then(|source| source.half_open.pop_front()) {
            self.half_open -= 1;
            token.cancel();
        }
    }

    fn evict_heaviest(&mut self) {
        let heaviest = self.sources.iter().max_by_key(|(_, source)| source.half_open.len());
        if let Some((&address, _)) = heaviest {
            self.evict(address);
        }
    }
}

impl Slot {
    /// Resolves when this half-open connection has to make room.
    pub(crate) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// The handshake is over: the slot counts as a connection only.
    pub(crate) fn opened(&mut self) {
        let Some(id) = self.half_open.take() else { return };
        let mut state = self.admission.0.state.lock();
        let Some(source) = state.sources.get_mut(&self.source) else { return };
        let before = source.half_open.len();
        source.half_open.retain(|(other, _)| *other != id);
        if source.half_open.len() < before {
            state.half_open -= 1;
        }
        self.admission.0.hub.admissions().half_open.store(state.half_open, Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.opened();
        self.admission.0.hub.admissions().connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_source_is_its_network() {
        let key = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
