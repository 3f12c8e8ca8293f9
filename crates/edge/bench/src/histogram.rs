//! Latencies in buckets of constant relative width.

/// Buckets per power of two: a percentile is at most 1/64 too high.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// What [`bucket`] yields for `u64::MAX`, and one more.
const BUCKETS: usize = (u64::BITS as usize - STEP_BITS as usize + 1) << STEP_BITS;

/// How often each latency occurred, in nanoseconds. Its size is fixed and recording allocates nothing.
///
/// It corrects nothing by itself: what keeps it free of coordinated omission is that the caller records the time since a
/// message *should* have been sent, as [`crate::Schedule`] says it.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    sum_ns: u128,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency_ns: u64) {
        self.counts[bucket(latency_ns)] += 1;
        self.total += 1;
        self.sum_ns += u128::from(latency_ns);
        self.max_ns = self.max_ns.max(latency_ns);
    }

    /// Adds what another thread recorded.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many were recorded.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest, exactly.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The arithmetic mean, exactly; 0 if nothing was recorded.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        let mean = self.sum_ns.checked_div(u128::from(self.total)).unwrap_or(0);
        u64::try_from(mean).unwrap_or(u64::MAX)
    }

    /// The latency that `per_mille` of 1000 recordings do not exceed, rounded up to its bucket; 0 if nothing was recorded.
    #[must_use]
    pub fn per_mille_ns(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0_u128;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += u128::from(count);
            if seen >= rank {
                return upper_ns(index).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

/// Exact below 128 ns; above, the leading seven bits choose.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let index = u64::from(shift) * STEPS + (value >> shift);
    usize::try_from(index).unwrap_or(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn upper_ns(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let leading = u128::from(index - shift * STEPS) + 1;
    u64::try_from((leading << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_at_most_a_64th_above_it() {
        let edges = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + (1 << bit) / 3]);
        for value in edges.chain([u64::MAX - 1, u64::MAX]) {
            let (index, upper) = (bucket(value), upper_ns(bucket(value)));
            assert!(index < BUCKETS && upper >= value, "{value} in {index} up to {upper}");
            assert!(upper - value <= value / 64, "{value} rounded to {upper}");
            assert!(index == 0 || upper_ns(index - 1) < value, "{value} belongs below {index}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut histogram = Histogram::default();
        (1..=10_000_u64).for_each(|us| histogram.record(us * 1000));
        for (per_mille, expected_us) in [(500, 5000), (990, 9900), (999, 9990)] {
            let found = histogram.per_mille_ns(per_mille);
            assert!((expected_us * 1000..=expected_us * 1016).contains(&found), "{per_mille}: {found}");
        }
        assert_eq!(histogram.per_mille_ns(1000), 10_000_000, "no percentile lies above the largest value");
        assert_eq!((histogram.max_ns(), histogram.mean_ns(), histogram.total()), (10_000_000, 5_000_500, 10_000));
    }

    #[test]
    fn nothing_recorded_is_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.per_mille_ns(500), empty.mean_ns(), empty.max_ns()), (0, 0, 0));
    }

    #[test]
    fn merging_is_recording_in_one_place() {
        let (mut one, mut other, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for value in [5, 70_000, 12] {
            one.record(value);
            both.record(value);
        }
        for value in [1_000_000, 3] {
            other.record(value);
            both.record(value);
        }
        one.merge(&other);
        let figures =
            |of: &Histogram| [of.total(), of.max_ns(), of.mean_ns(), of.per_mille_ns(500), of.per_mille_ns(999)];
        assert_eq!(figures(&one), figures(&both));
    }
}
