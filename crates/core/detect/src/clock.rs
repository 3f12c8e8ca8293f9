//! Time as the detectors count it: what passed, not what the wall clock says.

use portreeve_types::UnixMillis;

/// The longest step of the wall clock that counts as time that passed. A longer one is a clock that was set, or a machine
/// that slept: nothing passed, and silence is counted from its end. Whoever runs a watch ticks far more often than this.
pub(crate) const CLOCK_STEP_MS_MAX: u64 = 10 * 60 * 1000;

/// Observations of several threads may come this much out of order; a longer step back is a clock that was set back.
const CLOCK_JITTER_MS_MAX: u64 = 2_000;

/// *Invariant:* `elapsed_ms` never goes back, and whoever sets the wall clock cannot make it go on: counts of failures
/// are neither forgotten early nor kept for ever.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: Option<UnixMillis>,
    elapsed_ms: u64,
    steady_since_ms: u64,
}

impl Default for Clock {
    /// Begins above zero, so that zero can mean never.
    fn default() -> Self {
        Self { wall: None, elapsed_ms: 1, steady_since_ms: 1 }
    }
}

impl Clock {
    /// The time that has passed, in milliseconds, once the wall clock says `now`.
    pub(crate) fn advance(&mut self, now: UnixMillis) -> u64 {
        let last = *self.wall.get_or_insert(now);
        if now < last && last.0 - now.0 <= CLOCK_JITTER_MS_MAX {
            return self.elapsed_ms;
        }
        self.wall = Some(now);
        match now.0.checked_sub(last.0) {
            Some(step_ms) if step_ms <= CLOCK_STEP_MS_MAX => self.elapsed_ms += step_ms,
            _ => self.steady_since_ms = self.elapsed_ms,
        }
        self.elapsed_ms
    }

    pub(crate) const fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms
    }

    /// When the clock was last set or the machine woke: silence from before says nothing.
    pub(crate) const fn steady_since_ms(&self) -> u64 {
        self.steady_since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_pass_and_jumps_do_not() {
        let mut clock = Clock::default();
        let day_ms = 86_400_000;
        assert_eq!(clock.advance(UnixMillis(day_ms)), 1);
        assert_eq!(clock.advance(UnixMillis(day_ms + 500)), 501);
        assert_eq!(clock.advance(UnixMillis(day_ms + 400)), 501, "another thread's observation");
        assert_eq!(clock.advance(UnixMillis(day_ms + 600)), 601);
        assert_eq!(clock.advance(UnixMillis(3 * day_ms)), 601, "forwards");
        assert_eq!(clock.steady_since_ms(), 601);
        assert_eq!(clock.advance(UnixMillis(5)), 601, "backwards");
        assert_eq!(clock.advance(UnixMillis(15)), 611);
        assert_eq!(clock.advance(UnixMillis(u64::MAX)), 611);
    }

    #[test]
    fn threads_out_of_step_do_not_make_time() {
        let mut clock = Clock::default();
        for _ in 0..1000 {
            clock.advance(UnixMillis(1_001));
            clock.advance(UnixMillis(1_000));
        }
        assert_eq!(clock.elapsed_ms(), 1);
    }
}
