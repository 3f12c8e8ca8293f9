//! What one client may say a second, also across its connections.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portreeve_config::Config;
use portreeve_types::{Bucket, IdentityId, Kind};

/// The rates of one connection (CSA-COM-04).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) messages: Bucket,
    pub(crate) bytes: Bucket,
}

impl Rates {
    fn unused(kind: Kind, config: &Config, cap: Option<u32>, now_ms: u64) -> Self {
        let [messages, bytes] =
            Self::bounds(kind, config, cap).map(|(rate_per_s, burst)| Bucket::new(rate_per_s, burst, now_ms));
        Self { messages, bytes }
    }

    /// The same use under the bounds that are in force now.
    fn under(mut self, kind: Kind, config: &Config, cap: Option<u32>) -> Self {
        let [messages, bytes] = Self::bounds(kind, config, cap);
        self.messages.adjust(messages.0, messages.1);
        self.bytes.adjust(bytes.0, bytes.1);
        self
    }

    /// Rate a second and burst, of messages and of bytes. Who is held to a rate has no burst beyond it.
    fn bounds(kind: Kind, config: &Config, cap: Option<u32>) -> [(u64, u64); 2] {
        let limits = &config.limits;
        let (messages_per_s, burst, bytes_per_s) = match kind {
            Kind::Device => (limits.device_messages_per_s, limits.device_messages_burst, limits.device_bytes_per_s),
            Kind::Gateway | Kind::Application => {
                (limits.application_messages_per_s, limits.application_messages_burst, limits.application_bytes_per_s)
            }
        };
        let capped = |bound: u32| cap.map_or(bound, |cap| bound.min(cap));
        let (messages_per_s, burst) = (capped(messages_per_s), capped(burst));
        // The largest packet must pass, however low the rate.
        [(messages_per_s.into(), burst.into()), (bytes_per_s, bytes_per_s.max(limits.packet_bytes as u64))]
    }

    fn emptier(self, other: Self) -> Self {
        Self { messages: self.messages.emptier(other.messages), bytes: self.bytes.emptier(other.bytes) }
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.messages.is_full(now_ms) && self.bytes.is_full(now_ms)
    }
}

/// Who is held to fewer messages a second than the configuration grants.
pub(crate) type Caps = HashMap<IdentityId, u32>;

/// What identities had used of their rates when they last left, so that coming back renews nothing. An entry lasts until
/// it would be full again, which is seconds, and there is one for an identity at most.
#[derive(Debug, Default)]
pub(crate) struct UsedRates {
    kept: Mutex<HashMap<IdentityId, Rates>>,
    caps: ArcSwap<Caps>,
    /// Raised by every change of the caps, for connections to see that there was one.
    revision: AtomicU64,
}

impl UsedRates {
    /// The rates that a new connection begins with.
    pub(crate) fn begin(&self, identity: IdentityId, kind: Kind, config: &Config, now_ms: u64) -> Rates {
        let cap = self.cap(identity);
        match self.kept.lock().get(&identity) {
            Some(used) => used.under(kind, config, cap),
            None => Rates::unused(kind, config, cap, now_ms),
        }
    }

    /// The rates of a connection after the caps were changed.
    pub(crate) fn renew(&self, rates: Rates, identity: IdentityId, kind: Kind, config: &Config) -> Rates {
        rates.under(kind, config, self.cap(identity))
    }

    fn cap(&self, identity: IdentityId) -> Option<u32> {
        self.caps.load().get(&identity).copied()
    }

    /// Holds these identities to rates, and no others.
    pub(crate) fn set_caps(&self, caps: Caps) {
        self.caps.store(Arc::new(caps));
        self.revision.fetch_add(1, Release);
    }

    /// Which caps a connection looks at.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Acquire)
    }

    /// A connection is over.
    pub(crate) fn keep(&self, identity: IdentityId, rates: Rates) {
        let mut kept = self.kept.lock();
        let rates = match kept.remove(&identity) {
            Some(other) => rates.emptier(other),
            None => rates,
        };
        kept.insert(identity, rates);
    }

    /// Forgets what is full again.
    pub(crate) fn prune(&self, now_ms: u64) {
        let mut kept = self.kept.lock();
        kept.retain(|_, rates| !rates.is_unused(now_ms));
        if kept.is_empty() {
            kept.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CSA-OPA-04.
    #[test]
    fn a_cap_holds_until_it_is_gone() {
        let config = Config::default();
        let (used, id) = (UsedRates::default(), IdentityId(uuid::Uuid::new_v4()));
        let free = used.begin(id, Kind::Device, &config, 0);
        used.set_caps(Caps::from([(id, 2)]));
        let renew = |rates: Rates| used.renew(rates, id, Kind::Device, &config);
        for mut capped in [renew(free), used.begin(id, Kind::Device, &config, 0)] {
            assert!(capped.messages.take(2, 0) && !capped.messages.take(1, 0));
            assert!(capped.messages.take(2, 1000) && !capped.messages.take(1, 1000));
        }
        let other = IdentityId(uuid::Uuid::new_v4());
        assert!(used.begin(other, Kind::Device, &config, 0).messages.take(3, 0));
        let revision = used.revision();
        used.set_caps(Caps::new());
        assert_ne!(used.revision(), revision);
        assert!(renew(free).messages.take(3, 0));
        used.set_caps(Caps::from([(id, u32::MAX)]));
        let burst = u64::from(config.limits.device_messages_burst);
        assert!(!renew(free).messages.take(burst + 1, 0), "never more than the configuration grants");
    }

    #[test]
    fn coming_back_renews_nothing_and_time_does() {
        let mut config = Config::default();
        (config.limits.device_messages_per_s, config.limits.device_messages_burst) = (10, 100);
        let (used, id) = (UsedRates::default(), IdentityId(uuid::Uuid::new_v4()));
        let begin = |now_ms| used.begin(id, Kind::Device, &config, now_ms);
        let (mut greedy, modest) = (begin(0), begin(0));
        assert!(greedy.messages.take(100, 0));
        // In whichever order they end.
        used.keep(id, greedy);
        used.keep(id, modest);
        assert!(!begin(0).messages.take(1, 0), "nothing is left");
        assert!(begin(1000).messages.take(10, 1000));
        assert!(!begin(1000).messages.take(11, 1000));
        let mut raised = config.clone();
        raised.limits.device_messages_per_s = 50;
        let mut rates = used.begin(id, Kind::Device, &raised, 1000);
        assert!(rates.messages.take(50, 1000), "a changed configuration counts at once");
        let stranger = IdentityId(uuid::Uuid::new_v4());
        assert!(used.begin(stranger, Kind::Device, &config, 0).messages.take(100, 0));
        used.prune(9_999);
        assert_eq!(used.kept.lock().len(), 1);
        used.prune(10_000);
        assert_eq!(used.kept.lock().len(), 0, "full again");
    }
}
