//! Which remembered routes a changed subscription may concern.
//!
//! A route stays right until a filter that may match its topic comes or goes. Changes are counted by the filter's
//! *stem*, its levels before the first wildcard: a filter matches only topics that begin with its stem. So a topic has
//! to look at the counts of as many stems as it has levels, and devices that come, subscribe and go do not disturb the
//! routes of others.

use std::{
    hash::BuildHasher,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire},
    },
};

use hashbrown::DefaultHashBuilder;
use smallvec::SmallVec;

/// Levels of a stem that count. Longer ones are counted by their first levels.
const STEM_LEVELS_MAX: usize = 6;
/// Stems that share a counter disturb each other's routes, and do no other harm.
const COUNTERS: usize = 4096;

/// Counts the changes of subscriptions by the stems of their filters. The hash is seeded, so that nobody can choose
/// whom to disturb.
#[derive(Debug)]
pub(crate) struct Changes {
    counters: Box<[AtomicU64]>,
    hasher: DefaultHashBuilder,
}

/// The counters that tell of changes to who receives one topic.
#[derive(Debug)]
pub(crate) struct Watch(SmallVec<[u16; 8]>);

impl Default for Changes {
    fn default() -> Self {
        Self { counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(), hasher: DefaultHashBuilder::default() }
    }
}

impl Changes {
    /// A subscription to `filter` (without its share group) came or went, or what it may receive changed. Called when
    /// that is done, so that a route made meanwhile is made again.
    pub(crate) fn note(&self, filter: &str) {
        self.counters[usize::from(self.counter(stem(filter)))].fetch_add(1, AcqRel);
    }

    /// What to watch for `topic`.
    pub(crate) fn watch(&self, topic: &str) -> Watch {
        let slashes = topic.match_indices('/').map(|(at, _)| at);
        let stems = slashes.chain([topic.len()]).take(STEM_LEVELS_MAX).map(|end| &topic[..end]);
        Watch([""].into_iter().chain(stems).map(|stem| self.counter(stem)).collect())
    }

    /// Grows when one of the watched counters does, and only then.
    pub(crate) fn count(&self, watch: &Watch) -> u64 {
        watch.0.iter().fold(0, |sum, &at| sum.wrapping_add(self.counters[usize::from(at)].load(Acquire)))
    }

    fn counter(&self, stem: &str) -> u16 {
        // proof: the remainder is below 4096.
        #[allow(clippy::cast_possible_truncation)]
        let at = (self.hasher.hash_one(stem) % COUNTERS as u64) as u16;
        at
    }
}

/// A filter's levels before its first wildcard, without the slash behind them.
fn stem(filter: &str) -> &str {
    let literal = match filter.find(['+', '#']) {
        Some(wildcard) => filter[..wildcard].strip_suffix('/').unwrap_or_default(),
        None => filter,
    };
    let end = literal.match_indices('/').nth(STEM_LEVELS_MAX - 1);
    end.map_or(literal, |(end, _)| &literal[..end])
}

#[cfg(test)]
mod tests {
    use portreeve_types::{TopicFilter, TopicName};
    use proptest::prelude::*;

    use super::*;

    fn levels(level: &'static str) -> impl Strategy<Value = String> {
        prop::collection::vec(level, 1..9).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        /// Whoever remembers the route of a topic hears of every filter that matches it.
        #[test]
        fn every_filter_that_matches_is_seen(topic in levels("[ab]?"), filter in levels("[ab]?|\\+"), tail: bool) {
            let filter = if tail { format!("{filter}/#") } else { filter };
            let (Ok(topic), Ok(parsed)) = (TopicName::new(&topic), TopicFilter::new(&filter)) else { return Ok(()) };
            let changes = Changes::default();
            let watch = changes.watch(&topic);
            changes.note(&filter);
            prop_assert!(!parsed.matches(&topic) || changes.count(&watch) > 0, "{filter} of {}", topic.as_str());
        }
    }

    #[test]
    fn changes_elsewhere_are_not_seen() {
        let changes = Changes::default();
        let watch = changes.watch("devices/lamp/state");
        let own = [0, 7, 12, 18].map(|end| changes.counter(&"devices/lamp/state"[..end]));
        for number in 0..100 {
            let filter = format!("devices/{number}/#");
            // Unless two stems happen to share a counter.
            if !own.contains(&changes.counter(stem(&filter))) {
                changes.note(&filter);
            }
        }
        assert_eq!(changes.count(&watch), 0);
        for (number, filter) in
            ["#", "+/lamp/state", "devices/+/x", "devices/lamp/#", "devices/lamp/state"].iter().enumerate()
        {
            changes.note(filter);
            assert_eq!(changes.count(&watch), number as u64 + 1, "{filter}");
        }
    }

    /// A hundred thousand others leave nearly every route alone.
    #[test]
    fn few_stems_share_a_counter() {
        let changes = Changes::default();
        let mut uses = vec![0; COUNTERS];
        for number in 0..COUNTERS {
            uses[usize::from(changes.counter(&format!("devices/{number}")))] += 1;
        }
        assert!(uses.iter().max() < Some(&16), "{uses:?}");
    }
}
