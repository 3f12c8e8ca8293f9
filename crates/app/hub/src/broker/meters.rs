//! What is counted. Counters are folded in once a batch, gauges where the thing they count changes.

use std::{
    sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {
        /// Totals since the start.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[doc = $doc])* pub $name: AtomicU64),+ }

        /// One connection's share of the totals, not yet folded in.
        #[derive(Debug, Default, Clone, Copy)]
        pub struct Tally { $($(#[doc = $doc])* pub $name: u64),+ }

        impl Counters {
            /// Adds a connection's share and empties it.
            pub fn fold(&self, tally: &mut Tally) {
                $(if tally.$name > 0 { self.$name.fetch_add(tally.$name, Relaxed); })+
                *tally = Tally::default();
            }

            /// Name, help and value of each.
            pub fn each(&self, mut visit: impl FnMut(&'static str, &'static str, u64)) {
                $(visit(stringify!($name), concat!($($doc),*), self.$name.load(Relaxed));)+
            }
        }
    };
}

counters! {
    /// Application messages received
    messages_received,
    /// Application messages delivered to clients
    messages_sent,
    /// Bytes of MQTT packets received
    bytes_received,
    /// Bytes of MQTT packets sent
    bytes_sent,
    /// Messages dropped because a queue was full
    queue_dropped,
    /// Messages that expired before delivery
    messages_expired,
    /// Messages larger than their receiver takes
    messages_oversize,
    /// Publications refused by policy
    publish_denied,
    /// Connections accepted up to CONNACK
    connects,
    /// Wills published
    wills_published,
}

/// What is in use now, each against its limit.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Queued and in-flight message bytes over all sessions. What is taken out may be counted before what was put in.
    queue_bytes: AtomicIsize,
    /// Subscriptions over all sessions.
    pub subscriptions: AtomicUsize,
    /// Clients connected at MQTT level.
    pub online: AtomicUsize,
}

impl Gauges {
    /// A session's queue went from `before` to `after` bytes.
    pub fn queue_changed(&self, before: usize, after: usize) {
        self.add_queue_bytes(after.wrapping_sub(before).cast_signed());
    }

    /// Some queues took this many bytes more than left them.
    pub fn add_queue_bytes(&self, bytes: isize) {
        if bytes != 0 {
            self.queue_bytes.fetch_add(bytes, Relaxed);
        }
    }

    /// Queued and in-flight message bytes over all sessions.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        usize::try_from(self.queue_bytes.load(Relaxed)).unwrap_or(0)
    }
}

/// How long it takes until a connection is cut off, over upper bounds of a millisecond to a second and beyond.
#[derive(Debug, Default)]
pub struct CutLatency {
    /// The first that holds it counts it; the last is for all that took longer.
    buckets: [AtomicU64; CutLatency::BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl CutLatency {
    /// Upper bounds, milliseconds. A second is what is promised.
    pub const BOUNDS_MS: [u32; 9] = [1, 5, 10, 25, 50, 100, 250, 500, 1000];

    pub(crate) fn observe(&self, took: Duration) {
        let place = Self::BOUNDS_MS.iter().position(|&bound_ms| took <= Duration::from_millis(bound_ms.into()));
        self.buckets[place.unwrap_or(Self::BOUNDS_MS.len())].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts by bucket, upper bounds in seconds, the last without one; not cumulative.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds_s = Self::BOUNDS_MS.iter().map(|&bound_ms| f64::from(bound_ms) / 1000.0).chain([f64::MAX]);
        bounds_s.zip(self.buckets.iter().map(|count| count.load(Relaxed)))
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_counted_where_it_belongs() {
        let cuts = CutLatency::default();
        for ms in [0, 1, 2, 1000, 1001, 60_000] {
            cuts.observe(Duration::from_millis(ms));
        }
        let counts: Vec<u64> = cuts.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(cuts.sum(), Duration::from_millis(62_004));
    }
}
