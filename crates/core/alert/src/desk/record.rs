//! What a restart needs: small records under keys of their own, in JSON.

use std::{collections::BTreeMap, fmt};

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    DEAD_LETTERS_MAX, DELIVERIES_PER_CHANNEL_MAX, Desk, KINDS_MAX, KindState, OPEN_PER_KIND_MAX, OWN_KINDS, Open,
    delivery::{DeadLetter, Delivery, DeliveryId, Digest, Pending},
    lane::{Health, Lane},
};
use crate::{AlertId, AlertSettings, Word, settings::STEPS_MAX};

/// Longest record, bytes. The largest is an alert with the history of its deliveries.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// One change of what is kept: a new value, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The record's key.
    pub key: String,
    /// What to put there; to delete the record if nothing.
    pub value: Option<Vec<u8>>,
}

/// A record that this version did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record `{key}` of the alerts is damaged")]
pub struct RecordError {
    /// Its key.
    pub key: crate::Line<200>,
}

/// The key of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKey {
    Desk,
    Alert(AlertId),
    Delivery(Word, DeliveryId),
    Dead(DeliveryId),
    Kind(Word),
    Channel(Word),
    Digest(Word),
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Desk => f.write_str("desk"),
            Self::Alert(id) => write!(f, "alert/{id}"),
            Self::Delivery(channel, id) => write!(f, "delivery/{channel}/{id}"),
            Self::Dead(id) => write!(f, "dead/{id}"),
            Self::Kind(kind) => write!(f, "kind/{kind}"),
            Self::Channel(channel) => write!(f, "channel/{channel}"),
            Self::Digest(contact) => write!(f, "digest/{contact}"),
        }
    }
}

impl RecordKey {
    fn parse(text: &str) -> Option<Self> {
        let (table, rest) = text.split_once('/').unwrap_or((text, ""));
        let key = match table {
            "desk" => Self::Desk,
            "alert" => Self::Alert(AlertId(rest.parse().ok()?)),
            "delivery" => {
                let (channel, id) = rest.split_once('/')?;
                Self::Delivery(channel.parse().ok()?, DeliveryId(id.parse().ok()?))
            }
            "dead" => Self::Dead(DeliveryId(rest.parse().ok()?)),
            "kind" => Self::Kind(rest.parse().ok()?),
            "channel" => Self::Channel(rest.parse().ok()?),
            "digest" => Self::Digest(rest.parse().ok()?),
            _ => return None,
        };
        // One spelling for each: what is written again lands where it was.
        (key.to_string() == text).then_some(key)
    }
}

/// What is counted over the life of a hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) next: u64,
    pub(super) dead_letters_dropped: u64,
    pub(super) canary_at: Option<UnixMillis>,
}

impl Desk {
    /// What changed since the last call. Commit it before what [`Desk::poll`] gave out is sent: then nothing that was
    /// sent is forgotten, and what is sent twice has the same idempotency key.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|key| Change { key: key.to_string(), value: self.record(&key) }).collect()
    }

    fn record(&self, key: &RecordKey) -> Option<Vec<u8>> {
        match key {
            RecordKey::Desk => json(&self.counts),
            RecordKey::Alert(id) => self.open.get(id).and_then(json),
            RecordKey::Delivery(channel, id) => self.lanes.get(channel)?.pending.get(id).and_then(json),
            RecordKey::Dead(id) => self.dead.get(id).and_then(json),
            RecordKey::Kind(kind) => self.kinds.get(kind).and_then(json),
            RecordKey::Channel(channel) => self.lanes.get(channel).and_then(|lane| json(&lane.health)),
            RecordKey::Digest(contact) => self.digests.get(contact).and_then(json),
        }
    }

    /// Rebuilds a desk from its records, under these settings; with none, a new one. `entropy` goes into the
    /// idempotency keys of new deliveries and into the jitter: a new random number at every start. After this
    /// [`Self::take_changes`] tells what the settings changed.
    ///
    /// # Errors
    /// [`RecordError`] for a record that is damaged, does not fit the others, or is beyond a bound. Nothing is passed over.
    pub fn restore<'r>(
        settings: AlertSettings,
        records: impl IntoIterator<Item = (&'r str, &'r [u8])>,
        entropy: u64,
        now: UnixMillis,
    ) -> Result<Self, RecordError> {
        let mut desk = Self::empty(settings.clone(), entropy);
        for (key, value) in records {
            desk.take_record(key, value).ok_or_else(|| RecordError { key: crate::Line::new(key) })?;
        }
        desk.check()?;
        desk.clamp(now);
        desk.apply(settings, now);
        Ok(desk)
    }

    fn take_record(&mut self, key: &str, value: &[u8]) -> Option<()> {
        match RecordKey::parse(key)? {
            RecordKey::Desk => self.counts = parse(value)?,
            RecordKey::Alert(id) => {
                let open: Open = parse(value)?;
                let subject = (open.alert.kind.clone(), open.alert.subject.clone());
                let is_sound = open.alert.id == id && open.step < STEPS_MAX;
                let is_new = is_sound && self.by_subject.insert(subject, id).is_none();
                is_new.then(|| self.open.insert(id, open))?;
            }
            RecordKey::Delivery(channel, id) => {
                let pending: Pending = parse(value)?;
                let fits = pending.id == id && pending.channel == channel;
                fits.then(|| self.lanes.entry(channel).or_default().pending.insert(id, pending))?;
            }
            RecordKey::Dead(id) => {
                let letter: DeadLetter = parse(value)?;
                (letter.id() == id).then(|| self.dead.insert(id, letter))?;
            }
            RecordKey::Kind(kind) => _ = self.kinds.insert(kind, parse::<KindState>(value)?),
            RecordKey::Channel(channel) => self.lanes.entry(channel).or_default().health = parse::<Health>(value)?,
            RecordKey::Digest(contact) => _ = self.digests.insert(contact, parse::<Digest>(value)?),
        }
        Some(())
    }

    /// What no single record shows: bounds, and numbers that were given out already.
    fn check(&self) -> Result<(), RecordError> {
        let refuse = |key: RecordKey| Err(RecordError { key: crate::Line::new(&key.to_string()) });
        let mut open_by_kind: BTreeMap<&Word, usize> = BTreeMap::new();
        for (id, open) in &self.open {
            let count = open_by_kind.entry(&open.alert.kind).or_default();
            *count += 1;
            if id.0 >= self.counts.next || *count > OPEN_PER_KIND_MAX || !self.kinds.contains_key(&open.alert.kind) {
                return refuse(RecordKey::Alert(*id));
            }
        }
        let deliveries = self.lanes.values().flat_map(|lane| lane.pending.keys());
        let mut numbers: Vec<&DeliveryId> = deliveries.chain(self.dead.keys()).collect();
        numbers.sort_unstable();
        let is_twice = numbers.windows(2).any(|pair| pair[0] == pair[1]);
        if is_twice || numbers.last().is_some_and(|last| last.0 >= self.counts.next) {
            return refuse(RecordKey::Desk);
        }
        let is_over = |lane: &Lane| lane.pending.len() > DELIVERIES_PER_CHANNEL_MAX;
        if let Some((channel, _)) = self.lanes.iter().find(|(_, lane)| is_over(lane)) {
            return refuse(RecordKey::Channel(channel.clone()));
        }
        let digests_fit = self.digests.values().all(|digest| digest.kinds.len() <= KINDS_MAX + OWN_KINDS.len());
        if self.kinds.len() > KINDS_MAX + OWN_KINDS.len() || self.dead.len() > DEAD_LETTERS_MAX || !digests_fit {
            return refuse(RecordKey::Desk);
        }
        Ok(())
    }

    /// A clock that was ahead, before a restart or until it was set back, delays nothing by its error.
    pub fn clamp(&mut self, now: UnixMillis) {
        for open in self.open.values_mut() {
            let within = self.settings.route(&open.alert).acknowledge_within;
            open.alert.opened = open.alert.opened.min(now);
            open.alert.last = open.alert.last.min(now);
            open.told_at = open.told_at.min(now);
            open.escalate_at = open.escalate_at.map(|at| at.min(now.plus(within)));
        }
        for lane in self.lanes.values_mut() {
            lane.health.clamp(now);
            lane.pending.values_mut().for_each(|pending| pending.created = pending.created.min(now));
        }
        self.digests.values_mut().for_each(|digest| digest.since = digest.since.min(now));
        self.kinds.values_mut().for_each(|kind| kind.clamp(now));
        self.counts.canary_at = self.counts.canary_at.map(|at| at.min(now));
    }

    /// As it is given to a sender.
    pub(super) fn outgoing(&self, pending: &Pending) -> Delivery {
        let Pending { id, nonce, channel, contact, notice, attempts, .. } = pending.clone();
        let mail = self.settings.contact(&contact).and_then(|contact| contact.mail.clone());
        let idempotency_key = format!("{id}-{nonce:016x}");
        Delivery { id, idempotency_key, channel, contact, mail, notice, attempt: attempts.saturating_add(1) }
    }
}

/// These types have nothing that JSON lacks.
fn json<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(value).ok()
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok().filter(|_| value.len() <= RECORD_BYTES_MAX)
}
