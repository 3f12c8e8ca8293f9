//! Who may begin a handshake: rates and caps, per source and in all, so that no peer can shut others out (CSA-COM-04).

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use parking_lot::Mutex;
use portreeve_events::Kind;
use portreeve_hub::{Hub, Now};
use portreeve_types::{Bucket, source_of};
use tokio_util::sync::CancellationToken;

/// Sources whose rate is remembered; beyond it the idle ones are forgotten.
const SOURCES_MAX: usize = 65_536;

/// Handshakes of a client that is told once to come again.
const HANDSHAKES_A_SESSION: u64 = 2;

/// What all listeners of a hub share, so that a peer cannot use one against another.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    hub: Arc<Hub>,
    state: Mutex<State>,
}

struct State {
    sources: HashMap<IpAddr, Source>,
    /// Sources with half-open connections; the last is the one that has to make room.
    ranks: BTreeSet<Rank>,
    half_open: usize,
    handshakes: Bucket,
    next_id: u64,
}

/// Half-open connections of a source, and the oldest of them: of two with as many, the one that came first ranks higher.
/// Its handshake has had the time it needs; a newcomer's has not.
type Rank = (usize, Reverse<u64>, IpAddr);

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
        let (sources, ranks) = (HashMap::new(), BTreeSet::new());
        let state = State { sources, ranks, half_open: 0, handshakes, next_id: 0 };
        Self(Arc::new(Shared { hub, state: state.into() }))
    }

    /// Milliseconds to wait before the next handshake, while the global rate is used up: peers wait in the system's
    /// queue. Asked only for connections that their own source's rate admitted, so that one source cannot use it up.
    pub(crate) fn handshake_delay_ms(&self, now: Now) -> Option<u64> {
        let rate = self.handshakes_per_s(now);
        let mut state = self.0.state.lock();
        state.handshakes.adjust(rate, rate);
        if state.handshakes.take(1, now.mono_ms) {
            self.0.hub.admissions().handshakes_this_s.store(state.handshakes.used(), Relaxed);
            return None;
        }
        Some(state.handshakes.wait_ms(1).min(1000))
    }

    /// Who is put off after its handshake has cost us one already, and will cost one more. So while clients are put off, no
    /// more are begun than the sessions that may be begun are worth, and the rest wait where they cost nothing. That they
    /// are heard at all is what fairness between identities takes: before its handshake nobody has one.
    fn handshakes_per_s(&self, now: Now) -> u64 {
        let config = self.0.hub.config();
        let limits = &config.limits;
        let most = u64::from(limits.handshakes_per_s);
        if now.mono_ms >= self.0.hub.admissions().connects_busy_until_ms.load(Relaxed) {
            return most;
        }
        most.min(HANDSHAKES_A_SESSION * u64::from(limits.connects_per_s))
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
        if hub.is_blocked(address, now.mono_ms) {
            return refuse("its source is blocked");
        }
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
        state.change(source_key, |half_open| half_open.push_back((id, evicted.clone())));
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
        if let Some((_, token)) = self.change(source, VecDeque::pop_front).flatten() {
            token.cancel();
        }
    }

    fn evict_heaviest(&mut self) {
        if let Some(&(_, _, address)) = self.ranks.last() {
            self.evict(address);
        }
    }

    /// Changes a source's half-open connections, and with them all that is counted of them.
    fn change<T>(
        &mut self,
        address: IpAddr,
        change: impl FnOnce(&mut VecDeque<(u64, CancellationToken)>) -> T,
    ) -> Option<T> {
        let half_open = &mut self.sources.get_mut(&address)?.half_open;
        let rank = |half_open: &VecDeque<(u64, _)>| {
            half_open.front().map(|&(oldest, _)| (half_open.len(), Reverse(oldest), address))
        };
        let (before, count) = (rank(half_open), half_open.len());
        let changed = change(half_open);
        self.half_open = self.half_open + half_open.len() - count;
        let after = rank(half_open);
        if let Some(before) = before {
            self.ranks.remove(&before);
        }
        self.ranks.extend(after);
        Some(changed)
    }
}

impl Slot {
    /// Resolves when this half-open connection has to make room.
    #[must_use]
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// The handshake is over: the slot counts as a connection only.
    pub(crate) fn opened(&mut self) {
        let Some(id) = self.half_open.take() else { return };
        let mut state = self.admission.0.state.lock();
        state.change(self.source, |half_open| half_open.retain(|(other, _)| *other != id));
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
    use std::net::Ipv4Addr;

    use super::*;

    /// Strangers from thousands of addresses do not drive out whoever comes behind them.
    #[test]
    fn of_sources_with_as_many_connections_the_one_that_came_first_makes_room() {
        let data = tempfile::tempdir().unwrap();
        let mut config = portreeve_config::Config::default();
        config.limits.half_open_connections = 100;
        let now = crate::now();
        let hub = Hub::open(&data.path().join("hub"), config, now.wall).unwrap();
        let admission = Admission::new(Arc::clone(&hub));
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from(0x7f01_0000 + number));
        let slots: Vec<_> = (0..100).map(|number| admission.admit(address(number), now).ok().unwrap()).collect();
        let honest: Vec<_> = (1000..1010).map(|number| admission.admit(address(number), now).ok().unwrap()).collect();
        let evicted: Vec<_> = slots.iter().map(|slot| slot.evicted.is_cancelled()).collect();
        assert!(evicted[..10].iter().all(|evicted| *evicted) && !evicted[10..].contains(&true));
        assert!(honest.iter().all(|slot| !slot.evicted.is_cancelled()));
        // One with more than others gives way first, its oldest before its others.
        let greedy: Vec<_> = (0..3).map(|_| admission.admit(address(2000), now).ok().unwrap()).collect();
        let _next = admission.admit(address(3000), now).ok().unwrap();
        assert!(greedy[0].evicted.is_cancelled() && !greedy[2].evicted.is_cancelled());
        drop((slots, honest, greedy, _next));
        let state = admission.0.state.lock();
        assert_eq!((state.half_open, state.ranks.len()), (0, 0));
    }

    /// IOTSF-2.4.7.5, IIITA-N6: from a blocked source nothing is taken, whatever it wants, until the block is lifted.
    #[test]
    fn a_blocked_source_is_refused_before_its_handshake() {
        use portreeve_hub::{Actor, AdminRequest};
        let data = tempfile::tempdir().unwrap();
        let now = crate::now();
        let hub = Hub::open(&data.path().join("hub"), portreeve_config::Config::default(), now.wall).unwrap();
        let admission = Admission::new(Arc::clone(&hub));
        let actor = Actor { name: "test".into(), role: portreeve_config::Role::Administrator };
        let ask = |request| hub.administer(&actor, request).unwrap();
        let text = "[[rule]]\nfindings = [\"auth_failures\"]\naction = \"block-source\"\nfor_s = 60\nmode = \"act\"";
        ask(AdminRequest::ResponseApply { file: "rules".into(), text: text.into(), dry_run: false });
        let [bad, good] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        for _ in 0..10 {
            hub.emit(Kind::HandshakeRefused, None, None, Some(bad), format_args!("no certificate"));
        }
        hub.tend_watch(now);
        assert!(admission.admit(bad, now).is_err() && admission.admit(good, now).is_ok());
        ask(AdminRequest::ResponseLift { id: 1, reason: "a test".into() });
        assert!(admission.admit(bad, now).is_ok());
    }

    /// IOTSF-2.4.7.25: while clients are put off, what a handshake costs is not spent on more of them than can be let in.
    #[test]
    fn handshakes_keep_pace_with_the_sessions_that_may_begin() {
        let data = tempfile::tempdir().unwrap();
        let mut config = portreeve_config::Config::default();
        config.limits.connects_per_s = 5;
        let hub = Hub::open(&data.path().join("hub"), config, crate::now().wall).unwrap();
        let admission = Admission::new(Arc::clone(&hub));
        let start = crate::now();
        hub.admissions().connects_busy_until_ms.store(start.mono_ms + 5000, Relaxed);
        let begun = |after_ms| {
            let now = Now { mono_ms: start.mono_ms + after_ms, ..start };
            (0..100).filter(|_| admission.handshake_delay_ms(now).is_none()).count()
        };
        assert_eq!((begun(0), begun(500), begun(1000)), (10, 5, 5));
        assert_eq!(begun(5000), 100, "nobody is put off any more");
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        let key = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
