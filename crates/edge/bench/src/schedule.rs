//! When each message of an open loop is due.

const SECOND_NS: u128 = 1_000_000_000;

/// A fixed rate, shared by publishers in turn: message `k` of publisher `p` is due at `start + (k · publishers + p) / rate`.
///
/// It is a pure function of time, so a publisher that was held up knows when its message should have left and the
/// latency counts from there. A load generator that waits for a slow server and measures from the late sending forgets
/// exactly the messages that suffered (coordinated omission).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When message 0 of publisher 0 is due.
    pub start_ns: u64,
    /// Messages per second of all publishers together; at least 1.
    pub rate_per_s: u64,
    /// How many share the rate; at least 1.
    pub publishers: u64,
}

impl Schedule {
    /// When message `sequence` of `publisher` is due.
    #[must_use]
    pub fn due_ns(&self, publisher: u64, sequence: u64) -> u64 {
        let position = u128::from(sequence) * u128::from(self.publishers) + u128::from(publisher);
        let after_ns = position * SECOND_NS / u128::from(self.rate_per_s.max(1));
        self.start_ns.saturating_add(u64::try_from(after_ns).unwrap_or(u64::MAX))
    }

    /// How many messages of `publisher` are due at `now_ns`.
    #[must_use]
    pub fn due_count(&self, publisher: u64, now_ns: u64) -> u64 {
        let Some(elapsed_ns) = now_ns.checked_sub(self.start_ns) else { return 0 };
        // Positions 0..due of all publishers together lie in the past: those with position · 1 s / rate ≤ elapsed.
        let due = ((u128::from(elapsed_ns) + 1) * u128::from(self.rate_per_s)).div_ceil(SECOND_NS);
        let publishers = u128::from(self.publishers.max(1));
        let mine = (due + publishers - 1).saturating_sub(u128::from(publisher)) / publishers;
        u64::try_from(mine).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;

    #[test]
    fn counts_and_times_agree() {
        for (rate_per_s, publishers) in [(1, 1), (3, 2), (10_000, 20), (7, 1000), (1_000_000, 3)] {
            let schedule = Schedule { start_ns: 500, rate_per_s, publishers };
            for publisher in [0, publishers / 2, publishers - 1] {
                for sequence in [0, 1, 2, 99, 12_345] {
                    let due_ns = schedule.due_ns(publisher, sequence);
                    assert_eq!(
                        schedule.due_count(publisher, due_ns),
                        sequence + 1,
                        "{schedule:?} {publisher} {sequence}"
                    );
                    assert_eq!(
                        schedule.due_count(publisher, due_ns - 1),
                        sequence,
                        "{schedule:?} {publisher} {sequence}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        let schedule = Schedule { start_ns: 1000, rate_per_s: 1_000_000_000, publishers: 1 };
        assert_eq!((schedule.due_count(0, 999), schedule.due_count(0, 1000)), (0, 1));
    }

    /// Ten seconds of virtual time against a server that answers in 1 ms, but not at all during one second.
    #[test]
    fn a_stall_of_the_server_is_not_omitted() {
        let schedule = Schedule { start_ns: 0, rate_per_s: 1000, publishers: 1 };
        let (mut since_due, mut since_sent) = (Histogram::default(), Histogram::default());
        let mut sent = 0;
        for now_ms in 0..10_000_u64 {
            let now_ns = now_ms * 1_000_000;
            if (4000..5000).contains(&now_ms) {
                continue; // back-pressure: nothing can be sent
            }
            while sent < schedule.due_count(0, now_ns) {
                let answered_ns = now_ns + 1_000_000;
                since_due.record(answered_ns - schedule.due_ns(0, sent));
                since_sent.record(answered_ns - now_ns);
                sent += 1;
            }
        }
        assert_eq!(since_due.total(), 10_000);
        assert_eq!(since_sent.per_mille_ns(999), 1_000_000, "the naive figure sees no stall");
        // A tenth of the messages waited, evenly spread over 0 to 1 s: the 99th percentile is near 0.9 s.
        let p99_ms = since_due.per_mille_ns(990) / 1_000_000;
        assert!((890..=920).contains(&p99_ms), "{p99_ms} ms");
        assert_eq!(since_due.max_ns(), 1_001_000_000);
        assert!(since_due.per_mille_ns(500) < 1_100_000);
    }
}
