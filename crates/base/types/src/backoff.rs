use std::time::Duration;

/// Pauses between attempts of a client that lost its hub. They have jitter over their full length, so that a fleet that
/// lost it at one moment does not come back in step (IOTSF-2.4.7.25).
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// No pause is shorter.
    pub shortest: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row: anything from the shortest up to a bound that doubles with each.
    /// `random` is any number; equal ones give equal pauses.
    #[must_use]
    pub fn pause(&self, failures: u32, random: u64) -> Duration {
        let bound = self.shortest.saturating_mul(1 << failures.min(16)).min(self.longest);
        let range_ms = bound.saturating_sub(self.shortest).as_millis();
        // The product of two 64-bit numbers, shifted back, is below the first.
        let part_ms = (range_ms * u128::from(random)) >> 64;
        self.shortest + Duration::from_millis(u64::try_from(part_ms).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IOTSF-2.4.7.25
    #[test]
    fn pauses_grow_are_bounded_and_are_not_in_step() {
        let backoff = Backoff { shortest: Duration::from_secs(5), longest: Duration::from_secs(3600) };
        assert_eq!(backoff.pause(1, u64::MAX).as_secs(), 9);
        assert_eq!(backoff.pause(3, u64::MAX).as_secs(), 39);
        assert_eq!(backoff.pause(40, u64::MAX).as_secs(), 3599);
        assert_eq!(backoff.pause(40, 0).as_secs(), 5);
        // Of a hundred clients no two pause equally long, the first time already.
        let mut pauses: Vec<_> = (0..100).map(|index| backoff.pause(1, u64::MAX / 100 * index)).collect();
        pauses.dedup();
        assert_eq!(pauses.len(), 100);
    }
}
