//! When a CA gives way to its successor. Pure arithmetic: the caller has the clock.

use std::time::Duration;

use portreeve_types::UnixMillis;

/// The life of a CA and the terms on which it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationTerms {
    /// The end of the CA's certificate.
    pub not_after: UnixMillis,
    /// The longest life of its leaves.
    pub leaf_lifetime: Duration,
    /// How long a successor is known before it issues: until everybody who has to trust it has heard of it. Zero is
    /// enough for the devices' CA, which only the hub has to know.
    pub overlap: Duration,
}

/// When a CA is replaced, unless somebody replaces it sooner: it issues to the last moment at which its leaves still live
/// their full life, it signs lists until the last of them is gone, and its successor is known for the overlap before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPlan {
    terms: RotationTerms,
    /// When the successor has to exist and be trusted.
    pub introduce_at: UnixMillis,
    /// When the successor issues instead.
    pub switch_at: UnixMillis,
}

/// What is to be done about a CA at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// Nothing, until then.
    Wait {
        /// When to make a successor.
        until: UnixMillis,
    },
    /// Make a successor and have it trusted, now.
    Introduce,
    /// Both are trusted, the old one issues.
    Distribute {
        /// When the successor starts to issue.
        until: UnixMillis,
    },
    /// Both are trusted, the successor issues. The old one signs revocation lists and answers.
    RevokeOnly {
        /// When the last leaf of the old CA ends.
        until: UnixMillis,
    },
    /// No leaf of the old CA lives: it is no longer trusted and its key can be destroyed.
    Retire,
}

impl RotationStep {
    /// Whether the successor is the one that issues.
    #[must_use]
    pub fn successor_issues(self) -> bool {
        matches!(self, Self::RevokeOnly { .. } | Self::Retire)
    }

    /// Whether certificates of the old CA are still accepted.
    #[must_use]
    pub fn old_is_trusted(self) -> bool {
        self != Self::Retire
    }
}

impl RotationPlan {
    /// The plan for a CA. Times that would lie before 1970 are 1970: a successor is due at once.
    #[must_use]
    pub fn new(terms: RotationTerms) -> Self {
        let switch_at = before(terms.not_after, terms.leaf_lifetime);
        Self { terms, switch_at, introduce_at: before(switch_at, terms.overlap) }
    }

    /// What to do now, given when a successor was introduced, if it was.
    #[must_use]
    pub fn step(&self, now: UnixMillis, introduced: Option<UnixMillis>) -> RotationStep {
        let Some(introduced) = introduced else {
            let early = now < self.introduce_at;
            return if early { RotationStep::Wait { until: self.introduce_at } } else { RotationStep::Introduce };
        };
        // A successor gets its overlap whenever it came, but not beyond the end of the old one, whose last leaves then live
        // shorter. One that came before its time was wanted then.
        let switch_at = introduced.plus(self.terms.overlap).min(self.terms.not_after);
        let last_leaf_ends = switch_at.plus(self.terms.leaf_lifetime).min(self.terms.not_after);
        if now < switch_at {
            RotationStep::Distribute { until: switch_at }
        } else if now < last_leaf_ends {
            RotationStep::RevokeOnly { until: last_leaf_ends }
        } else {
            RotationStep::Retire
        }
    }
}

fn before(time: UnixMillis, duration: Duration) -> UnixMillis {
    UnixMillis(time.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn day(number: u64) -> UnixMillis {
        UnixMillis(number * DAY_MS)
    }

    fn days(number: u64) -> Duration {
        Duration::from_millis(number * DAY_MS)
    }

    fn plan() -> RotationPlan {
        RotationPlan::new(RotationTerms { not_after: day(1000), leaf_lifetime: days(7), overlap: days(30) })
    }

    #[test]
    fn step_table() {
        use RotationStep::{Distribute, Introduce, Retire, RevokeOnly, Wait};
        assert_eq!((plan().introduce_at, plan().switch_at), (day(963), day(993)));
        // now, successor introduced at, what to do
        for (now, introduced, expected) in [
            (0, None, Wait { until: day(963) }),
            (962, None, Wait { until: day(963) }),
            (963, None, Introduce),
            (1001, None, Introduce),
            (963, Some(963), Distribute { until: day(993) }),
            // One that somebody wanted early is early all the way.
            (100, Some(100), Distribute { until: day(130) }),
            (130, Some(100), RevokeOnly { until: day(137) }),
            (137, Some(100), Retire),
            (992, Some(963), Distribute { until: day(993) }),
            (993, Some(963), RevokeOnly { until: day(1000) }),
            (999, Some(963), RevokeOnly { until: day(1000) }),
            (1000, Some(963), Retire),
            // A successor that came late gets its overlap as far as the old one lasts.
            (990, Some(968), Distribute { until: day(998) }),
            (998, Some(968), RevokeOnly { until: day(1000) }),
            (999, Some(990), Distribute { until: day(1000) }),
            (1000, Some(990), Retire),
        ] {
            let step = plan().step(day(now), introduced.map(day));
            assert_eq!(step, expected, "day {now}, introduced {introduced:?}");
        }
    }

    /// While any leaf of the old CA lives, the old CA is trusted; and somebody can issue at any time.
    #[test]
    fn no_leaf_is_orphaned() {
        for introduced in (900..1000).map(day) {
            let mut last_leaf_ends = UnixMillis(0);
            for hour in 900 * 24..1010 * 24 {
                let now = UnixMillis(hour * 3_600_000);
                if now < introduced {
                    continue;
                }
                let step = plan().step(now, Some(introduced));
                if !step.successor_issues() {
                    assert!(now < day(1000), "the old CA issues after its end");
                    last_leaf_ends = now.plus(days(7)).min(day(1000));
                }
                assert!(step.old_is_trusted() || now >= last_leaf_ends, "{now:?}");
            }
        }
    }

    #[test]
    fn a_ca_that_lives_shorter_than_its_leaves_is_replaced_at_once() {
        let terms = RotationTerms { not_after: day(3), leaf_lifetime: days(7), overlap: days(30) };
        assert_eq!(RotationPlan::new(terms).step(day(0), None), RotationStep::Introduce);
    }
}
