//! How alerts stand, for metrics and `status`.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How alerts stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertSummary {
    /// Open alerts.
    pub open: u64,
    /// Whether anybody is told.
    pub reach_somebody: bool,
    /// Deliveries that were given up and are kept.
    pub dead_letters: u64,
    /// Those that made room for others, over the life of the hub.
    pub dead_letters_dropped: u64,
    /// Records that could not be written yet.
    pub unsaved: u64,
    /// Each channel.
    pub channels: Vec<ChannelSummary>,
}

/// How a channel does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSummary {
    /// As the settings call it.
    pub name: String,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Attempts that failed since one was good.
    pub failures: u64,
}

/// How long deliveries took, over upper bounds of a quarter of a second to an hour and beyond.
#[derive(Debug, Default)]
pub struct AlertLatency {
    /// The first that holds it counts it; the last is for all that took longer.
    buckets: [AtomicU64; AlertLatency::BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl AlertLatency {
    /// Upper bounds, milliseconds. Two seconds is what is promised while a channel works.
    pub const BOUNDS_MS: [u32; 10] = [250, 500, 1000, 2000, 5000, 15_000, 60_000, 300_000, 900_000, 3_600_000];

    pub(super) fn observe(&self, took: Duration) {
        let place = Self::BOUNDS_MS.iter().position(|&bound_ms| took <= Duration::from_millis(bound_ms.into()));
        self.buckets[place.unwrap_or(Self::BOUNDS_MS.len())].fetch_add(1, Relaxed);
        self.sum_ms.fetch_add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts by bucket, upper bounds in seconds, the last without one; not cumulative.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds_s = Self::BOUNDS_MS.iter().map(|&bound_ms| f64::from(bound_ms) / 1000.0).chain([f64::MAX]);
        bounds_s.zip(self.buckets.iter().map(|count| count.load(Relaxed)))
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_millis(self.sum_ms.load(Relaxed))
    }
}
