/// A token bucket on a millisecond clock: `rate_per_s` on average, `burst` at once.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate_per_s: u64,
    /// In thousandths, so that slow rates refill too.
    level_milli: u64,
    burst_milli: u64,
    filled_ms: u64,
}

impl Bucket {
    /// A full bucket. A burst below one is one.
    #[must_use]
    pub fn new(rate_per_s: u64, burst: u64, now_ms: u64) -> Self {
        let burst_milli = burst.max(1).saturating_mul(1000);
        Self { rate_per_s, level_milli: burst_milli, burst_milli, filled_ms: now_ms }
    }

    /// Goes on with another rate and burst, as a changed configuration asks for.
    pub fn adjust(&mut self, rate_per_s: u64, burst: u64) {
        self.rate_per_s = rate_per_s;
        self.burst_milli = burst.max(1).saturating_mul(1000);
        self.level_milli = self.level_milli.min(self.burst_milli);
    }

    /// Takes `tokens`; `false`, taking nothing, if there are fewer.
    pub fn take(&mut self, tokens: u64, now_ms: u64) -> bool {
        self.refill(now_ms);
        let cost = tokens.saturating_mul(1000);
        if cost > self.level_milli {
            return false;
        }
        self.level_milli -= cost;
        true
    }

    fn refill(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = self.filled_ms.max(now_ms);
        let refill = elapsed_ms.saturating_mul(self.rate_per_s);
        self.level_milli = self.level_milli.saturating_add(refill).min(self.burst_milli);
    }

    /// Whether everything that was taken is refilled.
    #[must_use]
    pub fn is_full(&self, now_ms: u64) -> bool {
        let mut later = *self;
        later.refill(now_ms);
        later.level_milli == later.burst_milli
    }

    /// The one of two that has less, at the time up to which either was filled.
    #[must_use]
    pub fn emptier(mut self, mut other: Self) -> Self {
        let now_ms = self.filled_ms.max(other.filled_ms);
        self.refill(now_ms);
        other.refill(now_ms);
        if other.level_milli < self.level_milli { other } else { self }
    }

    /// Tokens taken and not yet refilled.
    #[must_use]
    pub fn used(&self) -> u64 {
        (self.burst_milli - self.level_milli) / 1000
    }

    /// Milliseconds until `tokens` could be taken, at least one.
    #[must_use]
    pub fn wait_ms(&self, tokens: u64) -> u64 {
        let missing = tokens.saturating_mul(1000).saturating_sub(self.level_milli);
        missing.div_ceil(self.rate_per_s.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::new(10, 5, 0);
        assert_eq!((0..10).filter(|_| bucket.take(1, 0)).count(), 5);
        assert_eq!((0..10).filter(|_| bucket.take(1, 500)).count(), 5);
        assert_eq!((0..10).filter(|_| bucket.take(1, 600)).count(), 1);
    }

    #[test]
    fn the_emptier_one_at_the_same_time_counts() {
        let (mut early, mut late) = (Bucket::new(10, 100, 0), Bucket::new(10, 100, 0));
        assert!(early.take(100, 0) && late.take(60, 9_000));
        // Since then the first has got ninety of its hundred back.
        assert_eq!(early.emptier(late).used(), 60);
        assert_eq!(late.emptier(early).used(), 60);
        assert!(!early.is_full(9_999) && early.is_full(10_000));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let mut bucket = Bucket::new(10, 1, 1000);
        assert!(bucket.take(1, 1000));
        assert!(!bucket.take(1, 0));
        assert!(bucket.take(1, 1100));
    }
}
