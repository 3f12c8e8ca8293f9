//! Retained messages: the last known good value of each topic (§3.3.1.3).

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use portreeve_mqtt::Deliverable as _;
use portreeve_types::{TopicFilter, TopicName, UnixMillis};

use super::message::Message;

/// Topics looked at in one step of a [`Scan`], so that nobody waits behind a search of a million.
pub(crate) const SCAN_STEP_TOPICS: usize = 128;

/// All retained messages, ordered by topic, so that a filter's literal prefix is a range.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    topics: BTreeMap<TopicName, Arc<Message>>,
    bytes: usize,
}

/// A search for the retained messages that match a new subscription, resumed step by step.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) filter: TopicFilter,
    from: Position,
}

/// Where a scan goes on.
#[derive(Debug)]
enum Position {
    Start,
    After(TopicName),
    At(TopicName),
}

impl Scan {
    pub(crate) fn new(filter: TopicFilter) -> Self {
        Self { filter, from: Position::Start }
    }

    /// The last step's matches from `topic` on could not be used: the next step begins with it again.
    pub(crate) fn continue_before(&mut self, topic: &TopicName) {
        self.from = Position::At(topic.clone());
    }
}

impl Retained {
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, topic: &str) -> Option<&Arc<Message>> {
        self.topics.get(topic)
    }

    /// Makes `message` its topic's retained one; returns the one it replaces.
    pub(crate) fn set(&mut self, message: Arc<Message>) -> Option<Arc<Message>> {
        self.bytes += message.cost_bytes();
        let old = self.topics.insert(message.envelope.topic.clone(), message);
        self.bytes -= old.as_ref().map_or(0, |old| old.cost_bytes());
        old
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<Arc<Message>> {
        let old = self.topics.remove(topic)?;
        self.bytes -= old.cost_bytes();
        Some(old)
    }

    /// Takes out what has expired among the next `topics_max` topics behind `after`; returns where to go on.
    pub(crate) fn sweep(
        &mut self,
        after: Option<&TopicName>,
        topics_max: usize,
        now: UnixMillis,
    ) -> (Option<TopicName>, Vec<Arc<Message>>) {
        let from = after.map_or(Unbounded, Excluded);
        let mut last = None;
        let mut expired = Vec::new();
        let mut seen = 0;
        for (topic, message) in self.topics.range::<TopicName, _>((from, Unbounded)).take(topics_max) {
            seen += 1;
            if message.envelope.expires.is_some_and(|at| at <= now) {
                expired.push(topic.clone());
            }
            last = Some(topic.clone());
        }
        let removed = expired.iter().filter_map(|topic| self.remove(topic)).collect();
        (last.filter(|_| seen == topics_max), removed)
    }

    /// The next matching messages of a scan; `true` when it is finished.
    pub(crate) fn step(&self, scan: &mut Scan, now: UnixMillis, found: &mut Vec<Arc<Message>>) -> bool {
        let filter = scan.filter.plain();
        let Some(wildcard) = filter.find(['+', '#']) else {
            found.extend(self.live(filter, now).cloned());
            return true;
        };
        // `a/#` matches `a` as well, so the range begins without the slash before the wildcard.
        let prefix = filter[..wildcard].trim_end_matches('/');
        let from = match &scan.from {
            Position::Start => Included(prefix),
            Position::After(topic) => Excluded(topic.as_str()),
            Position::At(topic) => Included(topic.as_str()),
        };
        let mut looked = 0;
        for (topic, message) in self.topics.range::<str, _>((from, Unbounded)) {
            if !topic.starts_with(prefix) {
                return true;
            }
            if scan.filter.matches(topic) && message.envelope.expires.is_none_or(|at| at > now) {
                found.push(Arc::clone(message));
            }
            looked += 1;
            if looked == SCAN_STEP_TOPICS {
                scan.from = Position::After(topic.clone());
                return false;
            }
        }
        true
    }

    fn live(&self, topic: &str, now: UnixMillis) -> Option<&Arc<Message>> {
        self.topics.get(topic).filter(|message| message.envelope.expires.is_none_or(|at| at > now))
    }
}
