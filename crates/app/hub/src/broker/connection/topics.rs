//! What a connection remembers of the topics it publishes to.

use std::sync::Arc;

use hashbrown::HashMap;
use portreeve_mqtt::Publish;
use portreeve_policy::{Action, Denial, DenialReason};
use portreeve_types::{Kind, TopicName};

use crate::{
    Hub, Now,
    broker::{
        changes::Watch,
        publish::Route,
        session::Session,
        turn::{DECISION_WORK, Turn},
    },
    limits::mark,
};

/// Topics that a device's connection remembers.
const DEVICE_TOPICS_MAX: usize = 512;
/// Topics that others' connections remember: an application may command thousands of devices, and a decision costs
/// thirty times what the rest of a message does. A few hundred bytes each, once they are used.
const APPLICATION_TOPICS_MAX: usize = 16_384;

/// The mean weight of the topics that a connection remembers when it remembers as many as it may. With heavier ones, of
/// which thousands receive each or whose names are long, it remembers fewer.
const MEAN_WEIGHT_MAX: usize = 16;

/// How often those who watch are told what was published, milliseconds; of a topic that is new they are told at once.
const TRAFFIC_EVERY_MS: u64 = 10_000;
/// Topics that they are told of in one turn; the others have their time ten seconds later.
const TRAFFIC_TOPICS_MAX: usize = 512;

/// What was published to a topic since those who watch were told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) largest_bytes: usize,
    since_ms: u64,
}

impl Traffic {
    fn new(now_ms: u64) -> Self {
        Self { messages: 0, bytes: 0, largest_bytes: 0, since_ms: now_ms }
    }

    fn add(&mut self, payload_bytes: usize) {
        self.messages += 1;
        self.bytes += payload_bytes as u64;
        self.largest_bytes = self.largest_bytes.max(payload_bytes);
    }

    /// How long it took.
    pub(crate) fn window_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }
}

/// What is decided once for a topic, and asked again when policy, identity or subscriptions change.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) route: Route,
    traffic: Traffic,
    watch: Watch,
    /// In which access generation publishing was permitted; 0 if that is to be asked for each message.
    permitted: u64,
    /// In which access generation, and at which count of [`Self::watch`], the route was made.
    routed: (u64, u64),
}

/// The topics of one connection, each with its decision and route. Where there are too many, one makes room that is
/// chosen at random: so a client that goes round more topics than fit still finds most of those that do.
#[derive(Debug)]
pub(super) struct Topics {
    entries: Vec<Topic>,
    places: HashMap<TopicName, usize>,
    /// The place of the topic last published to, which most often is the next one as well.
    last: usize,
    max: usize,
    evicted: u64,
    /// Of all entries.
    weight: usize,
    /// When those who watch are told next, and of which first.
    tell_at_ms: u64,
    told: usize,
    /// What was published to topics that are not remembered any more: those of one turn at most.
    gone: Vec<(TopicName, Traffic)>,
}

impl Topic {
    /// What it holds, about: in units of a receiver, some fifty bytes.
    fn weight(&self) -> usize {
        self.route.len() + self.name.len() / 48
    }
}

/// Why a topic may not be published to.
pub(super) enum Barred {
    TooLong,
    Policy(Denial),
}

/// What the codec would have refused.
const NOT_A_TOPIC: Denial = Denial { reason: DenialReason::Malformed, policies: Vec::new() };

impl Topics {
    pub(super) fn new(kind: Kind) -> Self {
        let max = match kind {
            Kind::Device => DEVICE_TOPICS_MAX,
            Kind::Gateway | Kind::Application => APPLICATION_TOPICS_MAX,
        };
        Self {
            entries: Vec::new(),
            places: HashMap::new(),
            last: 0,
            max,
            evicted: 0,
            weight: 0,
            tell_at_ms: 0,
            told: 0,
            gone: Vec::new(),
        }
    }

    /// The topic last published to.
    pub(super) fn last(&self) -> Option<&TopicName> {
        self.entries.get(self.last).map(|entry| &entry.name)
    }

    /// The decision and route for a topic, made anew where either is out of date.
    pub(super) fn resolve(
        &mut self,
        hub: &Hub,
        turn: &mut Turn<'_>,
        session: &Arc<Session>,
        topic: &str,
        publish: &Publish<'_>,
    ) -> Result<&Topic, Barred> {
        let generation = hub.generation_of(session);
        let (mut place, mut is_new) = (self.find(topic), false);
        if place.is_none_or(|place| self.entries[place].permitted != generation) {
            turn.charge(DECISION_WORK);
            let is_lasting = may_publish(hub, turn, session, topic, publish)?;
            let at = match place {
                Some(place) => place,
                None => {
                    // The codec checked the text already; the second check costs nothing beside the decision.
                    let name = TopicName::new(topic).map_err(|_| Barred::Policy(NOT_A_TOPIC))?;
                    mark(&hub.limits.topic_bytes, name.len());
                    mark(&hub.limits.topic_levels, name.split('/').count());
                    is_new = true;
                    self.insert(hub, name, turn.now.mono_ms)
                }
            };
            self.entries[at].permitted = if is_lasting { generation } else { 0 };
            place = Some(at);
        }
        self.last = place.unwrap_or_default();
        let entry = &mut self.entries[self.last];
        // Read before the route is made: what changes meanwhile makes it be made again.
        let routed = (generation, hub.changes.count(&entry.watch));
        if entry.routed != routed {
            let before = entry.weight();
            entry.route = hub.route(&entry.name, Some(session), turn.now.wall);
            entry.routed = routed;
            turn.charge(entry.route.work());
            self.weight = self.weight - before + entry.weight();
            self.lighten();
        }
        let entry = &mut self.entries[self.last];
        entry.traffic.add(publish.payload.len());
        if is_new {
            hub.watch_traffic(session, &entry.name, &entry.traffic, turn.now);
            entry.traffic = Traffic::new(turn.now.mono_ms);
        }
        Ok(&self.entries[self.last])
    }

    /// Tells those who watch what was published, if it is time; with `all`, whatever they have not been told.
    #[inline]
    pub(super) fn tell_traffic(&mut self, hub: &Hub, session: &Session, now: Now, all: bool) {
        // Nearly every turn ends here.
        if now.mono_ms >= self.tell_at_ms || all || !self.gone.is_empty() {
            self.tell_all_traffic(hub, session, now, all);
        }
    }

    fn tell_all_traffic(&mut self, hub: &Hub, session: &Session, now: Now, all: bool) {
        for (name, traffic) in self.gone.drain(..) {
            hub.watch_traffic(session, &name, &traffic, now);
        }
        if now.mono_ms < self.tell_at_ms && !all {
            return;
        }
        self.tell_at_ms = now.mono_ms + TRAFFIC_EVERY_MS;
        let count = if all { self.entries.len() } else { self.entries.len().min(TRAFFIC_TOPICS_MAX) };
        for _ in 0..count {
            self.told = (self.told + 1) % self.entries.len();
            let entry = &mut self.entries[self.told];
            if entry.traffic.messages > 0 {
                hub.watch_traffic(session, &entry.name, &entry.traffic, now);
            }
            entry.traffic = Traffic::new(now.mono_ms);
        }
    }

    /// Forgets topics until the rest is light enough, but not the one in use.
    fn lighten(&mut self) {
        while self.weight > self.max * MEAN_WEIGHT_MAX && self.entries.len() > 1 {
            let mut place = self.victim();
            if place == self.last {
                place = (place + 1) % self.entries.len();
            }
            let old = self.entries.swap_remove(place);
            self.forget(old);
            if let Some(moved) = self.entries.get(place) {
                self.places.insert(moved.name.clone(), place);
            }
            if self.last == self.entries.len() {
                self.last = place;
            }
        }
    }

    fn forget(&mut self, old: Topic) {
        self.weight -= old.weight();
        self.places.remove(&old.name);
        if old.traffic.messages > 0 {
            self.gone.push((old.name, old.traffic));
        }
    }

    fn find(&self, topic: &str) -> Option<usize> {
        // The decoder gave the very text that `last` holds, if it is the same.
        if self.last().is_some_and(|last| std::ptr::eq(last.as_str(), topic)) {
            return Some(self.last);
        }
        self.places.get(topic).copied()
    }

    fn insert(&mut self, hub: &Hub, name: TopicName, now_ms: u64) -> usize {
        let watch = hub.changes.watch(&name);
        let (route, traffic) = (Route::default(), Traffic::new(now_ms));
        let entry = Topic { name: name.clone(), route, traffic, watch, permitted: 0, routed: (0, 0) };
        self.weight += entry.weight();
        let place = if self.entries.len() < self.max {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let place = self.victim();
            let old = std::mem::replace(&mut self.entries[place], entry);
            self.forget(old);
            place
        };
        self.places.insert(name, place);
        place
    }

    /// Random enough to follow no client's order of topics.
    fn victim(&mut self) -> usize {
        self.evicted += 1;
        let scattered = self.evicted.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(scattered).unwrap_or_default() % self.entries.len()
    }
}

/// Whether the identity may publish there, and if so, whether that holds for later messages too.
fn may_publish(
    hub: &Hub,
    turn: &Turn<'_>,
    session: &Arc<Session>,
    topic: &str,
    publish: &Publish<'_>,
) -> Result<bool, Barred> {
    let limits = &turn.config.limits;
    if topic.len() > limits.topic_bytes || topic.split('/').count() > limits.topic_levels {
        return Err(Barred::TooLong);
    }
    if topic.starts_with("$share/") {
        // A name that no subscription could ever ask for by itself.
        return Err(Barred::Policy(Denial { reason: DenialReason::Reserved, policies: Vec::new() }));
    }
    let decision = hub.decide(session, Action::Publish, topic, Some(publish.qos), publish.retain, turn.now.wall);
    decision.verdict.map_err(Barred::Policy)?;
    Ok(decision.cacheable)
}

#[cfg(test)]
mod tests {
    use portreeve_types::UnixMillis;

    use super::*;

    /// What a connection remembers is bounded in memory, not only in number.
    #[test]
    fn heavy_topics_are_forgotten_sooner() {
        let data = tempfile::tempdir().unwrap();
        let hub =
            Hub::open(&data.path().join("hub"), portreeve_config::Config::default(), UnixMillis::default()).unwrap();
        let remembered = |name_bytes: usize| {
            let mut topics = Topics::new(Kind::Device);
            for number in 0..DEVICE_TOPICS_MAX {
                let name = TopicName::new(&format!("{number:0name_bytes$}")).unwrap();
                topics.last = topics.insert(&hub, name.clone(), 0);
                topics.lighten();
                assert_eq!(topics.last(), Some(&name), "the one in use stays");
            }
            let weight: usize = topics.entries.iter().map(Topic::weight).sum();
            assert_eq!(topics.weight, weight);
            assert!(weight <= DEVICE_TOPICS_MAX * MEAN_WEIGHT_MAX);
            assert_eq!(topics.places.len(), topics.entries.len());
            for (place, entry) in topics.entries.iter().enumerate() {
                assert_eq!(topics.places.get(&entry.name), Some(&place));
            }
            topics.entries.len()
        };
        assert_eq!(remembered(100), DEVICE_TOPICS_MAX);
        assert!((80..120).contains(&remembered(4096)), "8,192 in all, 85 each");
    }
}
