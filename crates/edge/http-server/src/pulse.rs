use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Whether the hub's clockwork still turns, and whether it is being stopped. The ticker beats it; `/livez` looks at it.
#[derive(Debug)]
pub struct Pulse {
    since: Instant,
    beat_ms: AtomicU64,
    stopping: AtomicBool,
}

/// Longest time between two beats of a hub that lives.
const SILENCE_MAX: Duration = Duration::from_secs(10);

impl Default for Pulse {
    fn default() -> Self {
        Self { since: Instant::now(), beat_ms: AtomicU64::new(0), stopping: AtomicBool::new(false) }
    }
}

impl Pulse {
    /// The ticker ran.
    pub fn beat(&self) {
        self.beat_ms.store(self.elapsed_ms(), Relaxed);
    }

    /// The hub drains its clients and will be gone: no more ready.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether the ticker ran lately.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        u128::from(self.elapsed_ms().saturating_sub(self.beat_ms.load(Relaxed))) < SILENCE_MAX.as_millis()
    }

    /// Whether [`Pulse::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_that_hangs_is_noticed() {
        let long_ago = Instant::now().checked_sub(SILENCE_MAX * 2).unwrap();
        let pulse = Pulse { since: long_ago, ..Pulse::default() };
        assert!(!pulse.is_alive());
        pulse.beat();
        assert!(pulse.is_alive());
    }
}
