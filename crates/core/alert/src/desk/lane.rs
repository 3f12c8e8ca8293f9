//! One channel's queue.

use std::{collections::BTreeMap, time::Duration};

use portreeve_types::{Backoff, UnixMillis};
use serde::{Deserialize, Serialize};

use super::delivery::{DeliveryId, Pending};
use crate::Severity;

/// Deliveries that wait for one channel. When there are more, notices go into digests; the first of a kind makes room for
/// itself, and what made room is a dead letter.
pub const DELIVERIES_PER_CHANNEL_MAX: usize = 256;

/// Deliveries are counted by this span.
const WINDOW: Duration = Duration::from_secs(60);

/// Between attempts through one channel, with full jitter.
const BACKOFF: Backoff = Backoff { shortest: Duration::from_millis(500), longest: Duration::from_secs(300) };

/// A channel's queue, and how the channel does. One delivery is under way at a time, so a channel that hangs
/// holds up itself alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    pub(super) health: Health,
    pub(super) pending: BTreeMap<DeliveryId, Pending>,
    pub(super) under_way: Option<DeliveryId>,
}

/// What outlives a restart of how a channel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    window_start: UnixMillis,
    window_used: u32,
    /// Attempts that failed since one was good.
    pub(super) failures: u32,
    not_before: UnixMillis,
}

impl Health {
    /// Whether the last attempt was good.
    pub(super) fn is_good(&self) -> bool {
        self.failures == 0
    }

    /// Counts a notice, and says whether it is within the rate. The lesser half of urgencies has half of the rate, so that
    /// it cannot use up what the other needs.
    pub(super) fn admit(&mut self, severity: Severity, per_minute: u32, now: UnixMillis) -> bool {
        if now.since(self.window_start) >= WINDOW {
            (self.window_start, self.window_used) = (now, 0);
        }
        let share = if severity >= Severity::High { per_minute } else { per_minute.div_ceil(2) };
        let admitted = self.window_used < share;
        self.window_used = self.window_used.saturating_add(u32::from(admitted));
        admitted
    }

    pub(super) fn succeed(&mut self) {
        (self.failures, self.not_before) = (0, UnixMillis::default());
    }

    pub(super) fn fail(&mut self, now: UnixMillis, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.plus(BACKOFF.pause(self.failures, random));
    }

    /// Whatever failed before, the next attempt is due.
    pub(super) fn retry_at_once(&mut self) {
        self.not_before = UnixMillis::default();
    }

    /// After a restart with a clock that is behind, nothing waits for longer than it would have.
    pub(super) fn clamp(&mut self, now: UnixMillis) {
        self.window_start = self.window_start.min(now);
        self.not_before = self.not_before.min(now.plus(BACKOFF.longest));
    }
}

impl Lane {
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= DELIVERIES_PER_CHANNEL_MAX
    }

    /// When the next delivery is due, if one waits.
    pub(super) fn due(&self) -> Option<UnixMillis> {
        (self.under_way.is_none() && !self.pending.is_empty()).then_some(self.health.not_before)
    }

    /// Begins the next delivery: what failed less often before the rest, then the more urgent, then the older.
    pub(super) fn begin(&mut self, now: UnixMillis) -> Option<&Pending> {
        if self.due()? > now {
            return None;
        }
        let rank = |pending: &&Pending| (pending.attempts, std::cmp::Reverse(pending.notice.severity()), pending.id);
        let id = self.pending.values().min_by_key(rank)?.id;
        self.under_way = Some(id);
        self.pending.get(&id)
    }

    /// What has to make room for the first of a kind: rather what is none, then the less urgent, then the newer.
    pub(super) fn least(&self) -> Option<DeliveryId> {
        let waits = |pending: &&Pending| Some(pending.id) != self.under_way;
        let rank = |pending: &&Pending| (pending.first, pending.notice.severity(), std::cmp::Reverse(pending.id));
        self.pending.values().filter(waits).min_by_key(rank).map(|pending| pending.id)
    }
}
