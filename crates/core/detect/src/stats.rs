//! The small statistics: a sliding count, a learnt baseline, a meter of fixed buckets, a cumulative sum, a rhythm.

use std::collections::VecDeque;

/// The last moments at which something happened; as many as the threshold, none older than the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window(VecDeque<u64>);

impl Window {
    /// Whether this is the `threshold`th time within `width_ms`. If it is, counting begins anew.
    pub(crate) fn hit(&mut self, clock_ms: u64, width_ms: u64, threshold: u32) -> bool {
        while self.0.front().is_some_and(|first| clock_ms.saturating_sub(*first) > width_ms) {
            self.0.pop_front();
        }
        self.0.push_back(clock_ms);
        let is_reached = self.0.len() >= threshold as usize;
        if is_reached {
            self.clear();
        }
        is_reached
    }

    /// Forgets, and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// No sample weighs less than this, so that a long learning time still follows what changes.
const LEAST_WEIGHT: f32 = 1.0 / 256.0;
/// A spread of less than this part of the mean is taken for this part: what never varied may vary a little.
const LEAST_SPREAD: f32 = 0.1;
/// After the first samples, one moves the mean as if it lay at most this many spreads above.
const CLIP_SPREADS: f32 = 6.0;
const UNCLIPPED_SAMPLES: u32 = 8;

/// What is usual for a number that is not negative: exponentially weighted mean and mean absolute deviation, and the
/// largest but one. *Invariant:* one outlier, however large, moves the limit by a bounded amount, because the mean clips it
/// and the largest value is believed only once there were two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Baseline {
    pub(crate) mean: f32,
    pub(crate) deviation: f32,
    pub(crate) largest: f32,
    pub(crate) second: f32,
    pub(crate) samples: u32,
}

impl Baseline {
    pub(crate) fn learn(&mut self, value: f32) {
        if value >= self.largest {
            (self.largest, self.second) = (value, self.largest);
        } else {
            self.second = self.second.max(value);
        }
        let is_first = self.samples == 0;
        self.samples = self.samples.saturating_add(1);
        if is_first {
            self.mean = value;
            return;
        }
        let ceiling = CLIP_SPREADS.mul_add(self.spread(), self.mean) + 1.0;
        let clipped = if self.samples > UNCLIPPED_SAMPLES { value.min(ceiling) } else { value };
        let weight = weight(self.samples);
        self.deviation += weight * ((clipped - self.mean).abs() - self.deviation);
        self.mean += weight * (clipped - self.mean);
    }

    /// The mean absolute deviation, or the least that is believed.
    pub(crate) fn spread(&self) -> f32 {
        self.deviation.max(LEAST_SPREAD * self.mean)
    }

    /// What is too much: above the floor, above `deviations` spreads from the mean, and above `factor` times what was seen twice.
    pub(crate) fn limit(&self, deviations: f32, factor: f32, floor: f32) -> f32 {
        floor.max(deviations.mul_add(self.spread(), self.mean)).max(factor * self.second)
    }
}

fn weight(samples: u32) -> f32 {
    (1.0 / samples as f32).max(LEAST_WEIGHT)
}

/// Counts in buckets of a fixed width, and what a bucket usually holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    started_ms: u64,
    count: f32,
    pub(crate) learnt: Baseline,
}

impl Meter {
    pub(crate) fn of(learnt: Baseline) -> Self {
        Self { learnt, ..Self::default() }
    }

    /// Adds to the present bucket and returns what it holds. A bucket that is over is learnt from, if this is the time to learn.
    pub(crate) fn add(&mut self, clock_ms: u64, count: f32, width_ms: u64, is_learning: bool) -> f32 {
        if clock_ms.saturating_sub(self.started_ms) >= width_ms {
            if is_learning && self.count > 0.0 {
                self.learnt.learn(self.count);
            }
            (self.started_ms, self.count) = (clock_ms, 0.0);
        }
        self.count += count;
        self.count
    }
}

/// A number that may be negative: its usual value, and the cumulative sums of how far it strays to either side (CUSUM,
/// Page 1954, in units of its spread).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Trend {
    pub(crate) mean: f32,
    pub(crate) deviation: f32,
    pub(crate) samples: u32,
    pub(crate) above: f32,
    pub(crate) below: f32,
}

/// One sample strays at most this many spreads: a single wild value is no trend.
const STRAY_SPREADS_MAX: f32 = 4.0;
/// The sums stop at this many times the limit, so that what is over is also seen to be over.
const SUM_LIMITS_MAX: f32 = 2.0;

impl Trend {
    pub(crate) fn learn(&mut self, value: f32) {
        let is_first = self.samples == 0;
        self.samples = self.samples.saturating_add(1);
        if is_first {
            self.mean = value;
            return;
        }
        let reach = CLIP_SPREADS.mul_add(self.spread(LEAST_SPREAD), 1.0);
        let off = value - self.mean;
        let off = if self.samples > UNCLIPPED_SAMPLES { off.clamp(-reach, reach) } else { off };
        let weight = weight(self.samples);
        self.deviation += weight * (off.abs() - self.deviation);
        self.mean += weight * off;
    }

    pub(crate) fn spread(&self, least: f32) -> f32 {
        self.deviation.max(least * self.mean.abs()).max(f32::MIN_POSITIVE)
    }

    /// Adds one sample and returns the larger of both sums. Up to `slack` spreads from the mean are usual, and a sum above
    /// `limit` is too much.
    pub(crate) fn stray(&mut self, value: f32, slack: f32, limit: f32, least_spread: f32) -> f32 {
        let off = ((value - self.mean) / self.spread(least_spread)).clamp(-STRAY_SPREADS_MAX, STRAY_SPREADS_MAX);
        self.above = (self.above + off - slack).clamp(0.0, SUM_LIMITS_MAX * limit);
        self.below = (self.below - off - slack).clamp(0.0, SUM_LIMITS_MAX * limit);
        self.above.max(self.below)
    }
}

/// How evenly something recurs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rhythm {
    last_ms: u64,
    pub(crate) mean_ms: f32,
    deviation_ms: f32,
    gaps: u16,
}

/// A gap that is this many times longer or shorter than the mean begins another rhythm.
const RHYTHM_BREAK: f32 = 4.0;

impl Rhythm {
    /// Notes that it happened.
    pub(crate) fn beat(&mut self, clock_ms: u64) {
        let last_ms = std::mem::replace(&mut self.last_ms, clock_ms);
        if last_ms == 0 {
            return;
        }
        let gap_ms = clock_ms.saturating_sub(last_ms) as f32;
        if self.gaps == 0 || gap_ms > self.mean_ms * RHYTHM_BREAK || gap_ms * RHYTHM_BREAK < self.mean_ms {
            (self.mean_ms, self.deviation_ms, self.gaps) = (gap_ms, 0.0, 1);
            return;
        }
        self.gaps = self.gaps.saturating_add(1);
        let weight = weight(u32::from(self.gaps)).max(1.0 / 16.0);
        self.deviation_ms += weight * ((gap_ms - self.mean_ms).abs() - self.deviation_ms);
        self.mean_ms += weight * (gap_ms - self.mean_ms);
    }

    /// Whether the last `gaps` were alike: none strays much, and each is longer than `least_ms`.
    pub(crate) fn is_regular(&self, gaps: u32, jitter: f32, least_ms: f32) -> bool {
        u32::from(self.gaps) >= gaps && self.mean_ms >= least_ms && self.deviation_ms <= jitter * self.mean_ms
    }

    /// The part of the mean gap that gaps differ by.
    pub(crate) fn jitter(&self) -> f32 {
        self.deviation_ms / self.mean_ms.max(1.0)
    }

    /// The mean gap in whole milliseconds.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    pub(crate) const fn interval_ms(&self) -> u64 {
        self.mean_ms as u64
    }

    pub(crate) const fn gaps(&self) -> u16 {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides_and_counts_to_its_threshold_only() {
        let mut window = Window::default();
        let hits: Vec<bool> = (0..10).map(|second| window.hit(second * 1000, 4000, 5)).collect();
        assert_eq!(hits.iter().position(|hit| *hit), Some(4));
        assert_eq!(hits.iter().filter(|hit| **hit).count(), 2);
        let mut slow = Window::default();
        assert!((0..100).all(|second| !slow.hit(second * 1001, 4000, 5)));
        assert!(slow.len() < 5);
    }

    #[test]
    fn one_outlier_does_not_move_the_limit_much_and_two_do() {
        let mut baseline = Baseline::default();
        (0..200_u8).for_each(|at| baseline.learn(10.0 + f32::from(at % 3)));
        let before = baseline.limit(8.0, 3.0, 0.0);
        baseline.learn(1e9);
        assert!(baseline.limit(8.0, 3.0, 0.0) < before * 1.2, "{before} {baseline:?}");
        baseline.learn(1e6);
        assert!(baseline.limit(8.0, 3.0, 0.0) >= 3e6);
    }

    #[test]
    fn a_mean_of_zero_can_be_left() {
        let mut baseline = Baseline::default();
        (0..20).for_each(|_| baseline.learn(0.0));
        (0..2000).for_each(|_| baseline.learn(50.0));
        assert!(baseline.mean > 30.0, "{baseline:?}");
    }

    #[test]
    fn a_trend_is_a_shift_that_stays() {
        let mut trend = Trend::default();
        (0..100_u8).for_each(|at| trend.learn(20.0 + f32::from(at % 5)));
        let usual = (0..500_u16).map(|at| trend.stray(20.0 + f32::from(at % 5), 1.5, 50.0, 0.02)).fold(0.0, f32::max);
        assert!(usual < 2.0, "{usual}");
        assert!(trend.stray(1e30, 1.5, 50.0, 0.02) < 4.0, "one wild value");
        let shifted = (0..30).map(|_| trend.stray(15.0, 1.5, 50.0, 0.02)).fold(0.0, f32::max);
        assert!(shifted > 20.0, "{shifted}");
    }

    #[test]
    fn rhythm_is_evenness_over_several_gaps() {
        let (mut even, mut uneven) = (Rhythm::default(), Rhythm::default());
        let mut at_ms = 1;
        for step in 0..20 {
            at_ms += 60_000;
            even.beat(at_ms + step % 3 * 500);
            uneven.beat(at_ms + step * 7919 % 40_000);
        }
        assert!(even.is_regular(8, 0.1, 30_000.0), "{even:?}");
        assert!(!even.is_regular(8, 0.1, 90_000.0) && !uneven.is_regular(8, 0.1, 30_000.0), "{uneven:?}");
    }
}
