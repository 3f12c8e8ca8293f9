//! The test of every channel.

use std::time::Duration;

use portreeve_types::UnixMillis;

use super::{CANARY_KIND, Desk, DeskError, Notice, Why, record::RecordKey};
use crate::{Alert, AlertId, Occurrence, Severity, Word};

/// From one test to the next.
pub const CANARY_INTERVAL: Duration = Duration::from_secs(10);
/// How long a test's delivery is tried; nobody wants it later.
pub const CANARY_AGE_MAX: Duration = Duration::from_secs(60);

impl Desk {
    /// When the channels were tested last.
    #[must_use]
    pub fn tested_at(&self) -> Option<UnixMillis> {
        self.counts.canary_at
    }

    /// Sends a test through every channel to everybody who can be told through it (CSA-BCN-01), whatever the rates
    /// are; what failed before is tried at once. [`Desk::timings`] tells how long each took, and an acknowledgement can be
    /// practised on it. It takes the place of the test before, and escalates to nobody.
    ///
    /// # Errors
    /// [`DeskError::TooSoon`] within [`CANARY_INTERVAL`] of another.
    pub fn canary(&mut self, now: UnixMillis) -> Result<AlertId, DeskError> {
        if self.counts.canary_at.is_some_and(|at| now.since(at) < CANARY_INTERVAL) {
            return Err(DeskError::TooSoon);
        }
        self.counts.canary_at = Some(now);
        let before: Vec<AlertId> = self.open().filter(|alert| alert.canary).map(|alert| alert.id).collect();
        for id in before {
            _ = self.close(id);
        }
        let kind: Word = CANARY_KIND.parse().map_err(|_| DeskError::NoWay)?;
        self.kinds.entry(kind.clone()).or_default();
        self.dirty.insert(RecordKey::Kind(kind.clone()));
        let id = AlertId(self.number());
        let occurrence = Occurrence::new(kind, Severity::Info, "alerts", "This is a test: nothing has happened.");
        let alert = Alert { canary: true, ..Alert::open(id, occurrence, now) };
        self.insert(alert.clone());
        let notice = Notice::Alert { why: Why::Test, alert };
        for contact in self.settings.contacts().to_vec() {
            for channel in &contact.channels {
                if let Some(lane) = self.lanes.get_mut(channel) {
                    lane.health.retry_at_once();
                }
                self.enqueue(channel, &contact.name, &notice, true, true, now);
            }
        }
        Ok(id)
    }
}
