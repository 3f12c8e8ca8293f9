//! Which devices are out of date or silent: they are told of, and policies can confine them (CSA-TSP-02, CSA-ACT-02).

use std::{
    cmp::Ordering,
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use portreeve_config::Lifecycle;
use portreeve_events::Kind as EventKind;
use portreeve_policy::{Posture, Subject};
use portreeve_store::IdentityRow;
use portreeve_types::{IdentityId, LifecycleState, UnixMillis};

use crate::{Hub, registry::subject_of};

/// Whom an event told of, since the start.
#[derive(Debug, Default)]
pub(crate) struct Told {
    outdated: HashSet<IdentityId>,
    silent: HashSet<IdentityId>,
}

/// How many there were when they were last looked for.
#[derive(Debug, Default)]
pub struct Postures {
    /// Whose firmware is below their group's minimum, or not known.
    pub outdated: AtomicU64,
    /// Who has not been heard of for longer than their group's heartbeat.
    pub silent: AtomicU64,
}

impl Hub {
    /// What policies are told of an identity.
    pub(crate) fn subject(&self, row: &IdentityRow) -> Subject {
        Subject { posture: posture(row, &self.config().lifecycle), ..subject_of(row) }
    }

    /// Whether an identity's firmware is what its group demands.
    pub(crate) fn posture_of(&self, row: &IdentityRow) -> Posture {
        posture(row, &self.config().lifecycle)
    }

    /// Whether an identity has not been heard of for longer than its group's heartbeat.
    pub(crate) fn is_silent(&self, row: &IdentityRow, now: UnixMillis) -> bool {
        let config = self.config();
        let Some(&heartbeat_s) = config.lifecycle.heartbeat_max_s.get(&row.group) else { return false };
        // While the hub was down nobody could be heard.
        let last = self.registry.last_seen(row).unwrap_or(row.created).max(self.started);
        row.state == LifecycleState::Active
            && now.since(last) > Duration::from_secs(heartbeat_s)
            && !self.is_connected(row.id)
    }

    /// What the last look found, for metrics.
    #[must_use]
    pub fn postures(&self) -> &Postures {
        &self.postures
    }

    /// Tells of those who are out of date or silent, once as long as they are.
    pub(crate) fn look_at_postures(&self, told: &mut Told, now: UnixMillis) {
        let lifecycle = self.config().lifecycle.clone();
        let (mut outdated, mut silent) = (HashSet::new(), HashSet::new());
        if !lifecycle.firmware_min.is_empty() || !lifecycle.heartbeat_max_s.is_empty() {
            for row in self.registry.active() {
                if posture(&row, &lifecycle) != Posture::Current {
                    outdated.insert(row.id);
                    if told.outdated.insert(row.id) {
                        let minimum = lifecycle.firmware_min.get(&row.group).map_or("", String::as_str);
                        let has = if row.firmware.is_empty() { "none is known" } else { &row.firmware };
                        let detail = format_args!("firmware {has}; the group {} needs {minimum}", row.group);
                        self.emit(EventKind::FirmwareOutdated, Some(row.name.as_str()), None, None, detail);
                    }
                }
                if self.is_silent(&row, now) {
                    silent.insert(row.id);
                    if told.silent.insert(row.id) {
                        let last = self.registry.last_seen(&row).map_or(0, |last| now.since(last).as_secs());
                        let detail = format_args!("last heard of {last} s ago");
                        self.emit(EventKind::HeartbeatMissed, Some(row.name.as_str()), None, None, detail);
                    }
                }
            }
        }
        self.postures.outdated.store(outdated.len() as u64, Relaxed);
        self.postures.silent.store(silent.len() as u64, Relaxed);
        // Whoever is in order again is told of anew another time.
        told.outdated.retain(|id| outdated.contains(id));
        told.silent.retain(|id| silent.contains(id));
    }
}

fn posture(row: &IdentityRow, lifecycle: &Lifecycle) -> Posture {
    let Some(minimum) = lifecycle.firmware_min.get(&row.group) else { return Posture::Current };
    if row.firmware.is_empty() {
        return Posture::Unknown;
    }
    if compare(&row.firmware, minimum) == Ordering::Less { Posture::Outdated } else { Posture::Current }
}

/// Compares two versions part by part: numbers by value, other words by their text, and a part that is missing counts as 0.
/// What stands behind a hyphen comes before the same without it, as `2.1.0-rc1` before `2.1.0`; what stands behind a plus
/// does not count.
fn compare(one: &str, other: &str) -> Ordering {
    let split = |version: &str| {
        let version = version.trim().trim_start_matches(['v', 'V']);
        let version = version.split('+').next().unwrap_or_default().to_owned();
        match version.split_once('-') {
            Some((main, rest)) => (main.to_owned(), Some(rest.to_owned())),
            None => (version, None),
        }
    };
    let ((one, one_rest), (other, other_rest)) = (split(one), split(other));
    compare_parts(&one, &other).then_with(|| match (&one_rest, &other_rest) {
        (Some(one), Some(other)) => compare_parts(one, other),
        // None before some is the other way round here.
        (one, other) => other.is_some().cmp(&one.is_some()),
    })
}

fn compare_parts(one: &str, other: &str) -> Ordering {
    let (mut ones, mut others) = (one.split(['.', '_', '-']), other.split(['.', '_', '-']));
    loop {
        let order = match (ones.next(), others.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => compare_part(one.unwrap_or("0"), other.unwrap_or("0")),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn compare_part(one: &str, other: &str) -> Ordering {
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        _ => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_that_people_mean() {
        let rising = ["1", "1.9", "1.10", "v1.10.1", "2.0.0-alpha", "2.0.0-rc1", "2.0", "2.0.1+build7", "2024.11"];
        for (at, one) in rising.iter().enumerate() {
            for (other_at, other) in rising.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&other_at), "{one} {other}");
            }
        }
        for (one, other) in [("2.0", "2.0.0"), ("v3", "3"), ("1.2+a", "1.2+b"), (" 1.2 ", "1.2")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }
}
