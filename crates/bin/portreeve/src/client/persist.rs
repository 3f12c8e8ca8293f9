//! What ends a connection, and when to try again.

use std::time::Duration;

use portreeve_mqtt::Reason;
use portreeve_types::Backoff;

use crate::failure::Failure;

/// Between two attempts to come back.
const BACKOFF: Backoff = Backoff { shortest: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// The longest that a hub may put off a client. It promises 600 s at most.
const TOLD_MAX: Duration = Duration::from_secs(900);
/// A connection that stood for so long was a success: the pauses begin anew. A shorter one was not, or a client that is
/// thrown out as soon as it is in would come back every second for ever.
const STOOD: Duration = BACKOFF.longest;

/// A connection failed or ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Trying again may help; the hub may have said when.
    ForNow(Failure, Option<Duration>),
    /// It does not.
    ForGood(Failure),
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        if matches!(failure, Failure::Unreachable(_)) { Self::ForNow(failure, None) } else { Self::ForGood(failure) }
    }
}

impl From<Ending> for Failure {
    fn from(ending: Ending) -> Self {
        let (Ending::ForNow(failure, _) | Ending::ForGood(failure)) = ending;
        failure
    }
}

/// Whether what a hub gives as its reason is over some time by itself.
pub(super) fn may_pass(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SERVER_UNAVAILABLE
            | Reason::SERVER_BUSY
            | Reason::SERVER_SHUTTING_DOWN
            | Reason::KEEP_ALIVE_TIMEOUT
            | Reason::QUOTA_EXCEEDED
            | Reason::CONNECTION_RATE_EXCEEDED
            | Reason::MAXIMUM_CONNECT_TIME
    )
}

/// Attempts that failed one after the other.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: u32,
}

impl Attempts {
    /// How long to pause after an attempt that lasted for `lasted`: as long as the hub said, else with growing bounds and
    /// full jitter (IOTSF-2.4.7.25). `random` is any number.
    pub(super) fn pause(&mut self, lasted: Duration, told: Option<Duration>, random: u64) -> Duration {
        self.failures = if lasted >= STOOD { 1 } else { self.failures.saturating_add(1) };
        match told {
            Some(told) => told.min(TOLD_MAX),
            None => BACKOFF.pause(self.failures, random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn pauses_grow_until_a_connection_stood() {
        let mut attempts = Attempts::default();
        let pauses: Vec<_> = (0..8).map(|_| attempts.pause(AT_ONCE, None, u64::MAX).as_secs()).collect();
        assert_eq!(pauses, [1, 3, 7, 15, 31, 59, 59, 59]);
        assert_eq!(attempts.pause(STOOD, None, u64::MAX).as_secs(), 1);
    }

    #[test]
    fn what_the_hub_says_goes_before_within_a_bound() {
        let mut attempts = Attempts::default();
        let told = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(attempts.pause(AT_ONCE, told(7), 0).as_secs(), 7);
        assert_eq!(attempts.pause(AT_ONCE, told(u64::MAX), 0), TOLD_MAX);
        assert_eq!(attempts.pause(AT_ONCE, None, u64::MAX).as_secs(), 7, "those were failures, too");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(may_pass(Reason::SERVER_BUSY) && may_pass(Reason::SERVER_SHUTTING_DOWN));
        // Of two clients that take each other's session over and over, neither would have it.
        assert!(!may_pass(Reason::SESSION_TAKEN_OVER) && !may_pass(Reason::NOT_AUTHORIZED));
        assert!(matches!(Ending::from(Failure::Unreachable(String::new())), Ending::ForNow(_, None)));
        assert!(matches!(Ending::from(Failure::Usage(String::new())), Ending::ForGood(_)));
    }
}
