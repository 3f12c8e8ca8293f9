//! Retained messages: the last known good value of each topic (§3.3.1.3).

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use portreeve_mqtt::Deliverable as _;
use portreeve_types::{IdentityId, TopicFilter, TopicName, UnixMillis};

use super::message::Message;

/// Topics looked at in one step of a [`Scan`], so that nobody waits behind a search of a million.
pub(crate) const SCAN_STEP_TOPICS: usize = 128;
/// What it costs to go on elsewhere in the tree, in topics that are looked at one behind the other.
const SKIP_TOPICS: usize = 8;

/// All retained messages, ordered by topic, so that a filter's literal prefix is a range.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    topics: BTreeMap<TopicName, Arc<Message>>,
    bytes: usize,
    /// What each identity has left here; `None` is the hub.
    shares: HashMap<Option<IdentityId>, Share>,
}

/// A number of retained messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Share {
    pub(crate) fn is_within(self, messages_max: usize, bytes_max: usize) -> bool {
        self.messages <= messages_max && self.bytes <= bytes_max
    }

    fn of(message: &Message) -> Self {
        Self { messages: 1, bytes: message.cost_bytes() }
    }

    fn plus(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes + other.bytes }
    }

    /// `other` is a part of `self`.
    fn minus(self, other: Self) -> Self {
        Self { messages: self.messages - other.messages, bytes: self.bytes - other.bytes }
    }
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
    /// At the first topic that is not less than this text.
    At(String),
}

impl Scan {
    pub(crate) fn new(filter: TopicFilter) -> Self {
        Self { filter, from: Position::Start }
    }

    /// The last step's matches from `topic` on could not be used: the next step begins with it again.
    pub(crate) fn continue_before(&mut self, topic: &TopicName) {
        self.from = Position::At(topic.as_str().to_owned());
    }
}

impl Retained {
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn holds(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes `message` its topic's retained one; returns the one it replaces.
    pub(crate) fn set(&mut self, message: Arc<Message>) -> Option<Arc<Message>> {
        self.bytes += message.cost_bytes();
        let share = self.shares.entry(message.envelope.publisher).or_default();
        *share = share.plus(Share::of(&message));
        let old = self.topics.insert(message.envelope.topic.clone(), message);
        if let Some(old) = &old {
            self.forget(old);
        }
        old
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<Arc<Message>> {
        let old = self.topics.remove(topic)?;
        self.forget(&old);
        Some(old)
    }

    fn forget(&mut self, old: &Message) {
        self.bytes -= old.cost_bytes();
        let Some(share) = self.shares.get_mut(&old.envelope.publisher) else { return };
        *share = share.minus(Share::of(old));
        if share.messages == 0 {
            self.shares.remove(&old.envelope.publisher);
        }
    }

    /// What all of it, and its publisher's share, would come to with `message`.
    pub(crate) fn with(&self, message: &Message) -> (Share, Share) {
        let publisher = message.envelope.publisher;
        let all = Share { messages: self.topics.len(), bytes: self.bytes };
        let own = self.shares.get(&publisher).copied().unwrap_or_default();
        let (mut all, mut own) = (all.plus(Share::of(message)), own.plus(Share::of(message)));
        if let Some(old) = self.topics.get(&message.envelope.topic) {
            all = all.minus(Share::of(old));
            if old.envelope.publisher == publisher {
                own = own.minus(Share::of(old));
            }
        }
        (all, own)
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
        let mut from = match &scan.from {
            Position::Start => Included(filter[..wildcard].trim_end_matches('/').to_owned()),
            Position::After(topic) => Excluded(topic.as_str().to_owned()),
            Position::At(text) => Included(text.clone()),
        };
        let mut looked = 0;
        loop {
            let mut skip = None;
            for (topic, message) in self.topics.range::<str, _>((from.as_ref().map(String::as_str), Unbounded)) {
                if !scan.filter.matches(topic) {
                    let Some(next) = next_candidate(filter, topic) else { return true };
                    skip = Some(next);
                } else if message.envelope.expires.is_none_or(|at| at > now) {
                    found.push(Arc::clone(message));
                }
                looked += if skip.is_some() { SKIP_TOPICS } else { 1 };
                if looked >= SCAN_STEP_TOPICS {
                    scan.from = skip.map_or_else(|| Position::After(topic.clone()), Position::At);
                    return false;
                }
                if skip.is_some() {
                    break;
                }
            }
            let Some(next) = skip else { return true };
            from = Included(next);
        }
    }

    fn live(&self, topic: &str, now: UnixMillis) -> Option<&Arc<Message>> {
        self.topics.get(topic).filter(|message| message.envelope.expires.is_none_or(|at| at > now))
    }
}

/// Behind a topic that does not match `filter`: the least text that a topic which does may begin at; `None` behind the
/// last. So a search looks at as many topics that do not match as it has places to go on at, not at all there are.
fn next_candidate(filter: &str, topic: &str) -> Option<String> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return Some("%".into()); // The character behind `$`.
    }
    // Where the level ends that the last `+` so far stands for: there is the next to choose from, if nothing else helps.
    let mut chosen = None;
    let mut start = Some(0);
    for level in filter.split('/') {
        let Some(at) = start else {
            // Too few levels. What a `+` stands for may be longer: `a!/b` comes between `a` and `a/b`.
            let literal = if matches!(level, "+" | "#") { "" } else { level };
            let is_open = chosen == Some(topic.len());
            return Some(if is_open { format!("{topic}\0") } else { format!("{topic}/{literal}") });
        };
        let end = topic[at..].find('/').map_or(topic.len(), |slash| at + slash);
        if level == "+" {
            chosen = Some(end);
        } else if topic[at..end] != *level {
            let wanted = format!("{}{level}", &topic[..at]);
            // `a` comes before `a!`, and `a!` before `a/`.
            let below = format!("{wanted}/");
            return [wanted, below].into_iter().find(|text| text.as_str() > topic).or_else(|| behind(topic, chosen));
        }
        start = (end < topic.len()).then_some(end + 1);
    }
    // Too many levels.
    behind(topic, chosen)
}

/// The least text behind all topics that share the first `end` bytes and go on with a slash; `0` is the character behind it.
fn behind(topic: &str, end: Option<usize>) -> Option<String> {
    end.map(|end| format!("{}0", &topic[..end]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portreeve_types::Qos;
    use proptest::prelude::*;

    use super::*;
    use crate::broker::message::Envelope;

    fn retained<'a>(topics: impl IntoIterator<Item = &'a str>) -> Retained {
        let mut retained = Retained::default();
        for topic in topics {
            let topic = TopicName::new(topic).unwrap();
            let (qos, received) = (Qos::AtMostOnce, UnixMillis::default());
            let envelope = Envelope { topic, publisher: None, qos, retain: true, expires: None, received };
            retained.set(Message::new(envelope, &[], b"x"));
        }
        retained
    }

    /// What a scan finds, in order, and in how many steps.
    fn search(retained: &Retained, filter: &str) -> (Vec<String>, usize) {
        let mut scan = Scan::new(TopicFilter::new(filter).unwrap());
        let (mut found, mut steps) = (Vec::new(), 1);
        while !retained.step(&mut scan, UnixMillis::default(), &mut found) {
            steps += 1;
        }
        (found.iter().map(|message| message.envelope.topic.as_str().to_owned()).collect(), steps)
    }

    fn levels(level: &'static str) -> impl Strategy<Value = String> {
        prop::collection::vec(level, 1..4).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        /// Skipping finds what looking at every topic finds; among the levels are some that sort before a slash.
        #[test]
        fn nothing_is_skipped_that_matches(
            topics in prop::collection::btree_set(levels("\\$?[ab!.0]{0,2}"), 0..300),
            filter in levels("[ab!.0]{0,2}|\\+"),
            tail: bool,
        ) {
            let filter = if tail { format!("{filter}/#") } else { filter };
            let topics: BTreeSet<String> = topics.into_iter().filter(|topic| TopicName::new(topic).is_ok()).collect();
            prop_assume!(TopicFilter::new(&filter).is_ok());
            let expected: Vec<String> =
                topics.iter().filter(|topic| portreeve_types::matches(&filter, topic)).cloned().collect();
            let (found, _) = search(&retained(topics.iter().map(String::as_str)), &filter);
            prop_assert_eq!(found, expected);
        }
    }

    /// A filter that matches one topic of many thousands gets there in a few steps, wherever its wildcards stand. A step is
    /// 128 topics in a row, or sixteen places.
    #[test]
    fn a_search_costs_what_it_finds() {
        let topics: Vec<String> = (0..100)
            .flat_map(|area| (0..200).map(move |device| format!("area-{area}/device-{device}/state")))
            .chain((0..20_000).map(|device| format!("devices/dev-0{device}/state")))
            .chain(["devices/dev-0/state".into()])
            .collect();
        let retained = retained(topics.iter().map(String::as_str));
        for (filter, matches, steps_max) in [
            ("devices/dev-0/+", 1, 1),
            ("+/device-7/state", 100, 14),
            ("+/device-7/+", 100, 14),
            ("+/nobody/state", 0, 14),
            ("area-5/#", 200, 2),
            ("+/+", 0, 2560),
            ("nothing/+/state", 0, 1),
        ] {
            let (found, steps) = search(&retained, filter);
            assert_eq!(found.len(), matches, "{filter}");
            assert!(steps <= steps_max, "{filter}: {steps} steps");
        }
    }
}
