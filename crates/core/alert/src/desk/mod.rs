//! The desk: what is open, who was told, and what has to happen when.

mod canary;
mod delivery;
mod lane;
mod record;
mod retry;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

pub use canary::{CANARY_AGE_MAX, CANARY_INTERVAL};
pub use delivery::{
    DeadLetter, Delivered, Delivery, DeliveryId, Digest, DigestLine, Failure, Notice, Outcome, Timing, Why,
};
pub use lane::DELIVERIES_PER_CHANNEL_MAX;
pub use record::{Change, RecordError};
pub use retry::{ATTEMPTS_MAX, CHANNEL_FAILURES_TOLD, DEAD_LETTERS_MAX, DELIVERY_AGE_MAX};

use self::{
    delivery::Pending,
    lane::Lane,
    record::{Counts, RecordKey},
};
use crate::{Acknowledged, Alert, AlertId, AlertSettings, Line, Occurrence, Severity, Subject, Word};

/// Kinds that are told apart at a time; what comes beyond is [`OTHER_KIND`], with its kind in its subject.
pub const KINDS_MAX: usize = 64;
/// Open alerts of one kind. The subject that comes next makes room for itself if it is more urgent than another; if it is not, it is
/// counted in a digest.
pub const OPEN_PER_KIND_MAX: usize = 64;
/// The first of a kind and severity is told whatever the rate is; after so long there is a first one again.
pub const FIRST_AGAIN: Duration = Duration::from_secs(15 * 60);
/// From the first notice that was suppressed to the digest that tells of it.
pub const DIGEST_AFTER: Duration = Duration::from_secs(60);
/// The kind of what [`Desk::canary`] raises.
pub const CANARY_KIND: &str = "alert_test";
/// The kind of what a failing channel raises, through the others.
pub const CHANNEL_FAILED_KIND: &str = "alert_channel_failed";
/// What stands for kinds beyond [`KINDS_MAX`].
pub const OTHER_KIND: &str = "other";

/// The kinds that the desk itself makes, beside [`KINDS_MAX`].
const OWN_KINDS: [&str; 3] = [CANARY_KIND, CHANNEL_FAILED_KIND, OTHER_KIND];

/// What came of an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// It opened an alert.
    Opened(AlertId),
    /// It is one more of an open alert.
    Repeated(AlertId),
    /// Too much of its kind is open: it is counted in a digest.
    Folded,
}

/// What the desk is asked for and cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// It was closed, or never was.
    #[error("there is no such open alert")]
    NoSuchAlert,
    /// It was done or given up before, or never was.
    #[error("there is no such delivery")]
    NoSuchDelivery,
    /// The settings do not have the channel or contact any more.
    #[error("the settings no longer lead there")]
    NoWay,
    /// The channel's queue is full.
    #[error("too much waits for that channel")]
    Full,
    /// A test so soon after another.
    #[error("the channels were tested less than {} s ago", CANARY_INTERVAL.as_secs())]
    TooSoon,
}

/// An open alert, and how far telling it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    alert: Alert,
    /// Whose turn it is: counts on through the rounds.
    step: usize,
    /// When it is the next one's turn, unless somebody acknowledges.
    escalate_at: Option<UnixMillis>,
    told_at: UnixMillis,
    /// How often it had been raised then.
    told_count: u64,
    told: Vec<Told>,
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    channel: Word,
    contact: Word,
    after_ms: u64,
    /// What it failed with; it was delivered, if there is nothing.
    failed: Option<Line<400>>,
}

/// When the last notice of each severity was let through as the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct KindState(BTreeMap<Severity, UnixMillis>);

impl KindState {
    fn take_first(&mut self, severity: Severity, now: UnixMillis) -> bool {
        let is_first = self.0.get(&severity).is_none_or(|at| now.since(*at) >= FIRST_AGAIN);
        if is_first {
            self.0.insert(severity, now);
        }
        is_first
    }

    fn is_stale(&self, now: UnixMillis) -> bool {
        self.0.values().all(|at| now.since(*at) >= FIRST_AGAIN)
    }

    fn clamp(&mut self, now: UnixMillis) {
        self.0.values_mut().for_each(|at| *at = (*at).min(now));
    }
}

/// Open alerts, deliveries and dead letters. Times are those of one clock; when it was set back, [`clamp`](Self::clamp) comes
/// first.
///
/// A turn is: [`raise`](Self::raise) and the reports of senders, [`poll`](Self::poll), [`take_changes`](Self::take_changes), a
/// commit of these, sending; the next turn is due at [`next_due`](Self::next_due) or when something happens.
#[derive(Clone, Debug)]
pub struct Desk {
    settings: AlertSettings,
    entropy: u64,
    counts: Counts,
    open: BTreeMap<AlertId, Open>,
    by_subject: BTreeMap<(Word, Subject), AlertId>,
    kinds: BTreeMap<Word, KindState>,
    lanes: BTreeMap<Word, Lane>,
    /// By contact.
    digests: BTreeMap<Word, Digest>,
    dead: BTreeMap<DeliveryId, DeadLetter>,
    dirty: BTreeSet<RecordKey>,
}

impl Desk {
    /// A desk without a past. See [`Self::restore`] for `entropy`.
    #[must_use]
    pub fn new(settings: AlertSettings, entropy: u64) -> Self {
        let mut desk = Self::empty(settings.clone(), entropy);
        desk.apply(settings, UnixMillis::default());
        desk
    }

    fn empty(settings: AlertSettings, entropy: u64) -> Self {
        Self {
            settings,
            entropy,
            counts: Counts::default(),
            open: BTreeMap::new(),
            by_subject: BTreeMap::new(),
            kinds: BTreeMap::new(),
            lanes: BTreeMap::new(),
            digests: BTreeMap::new(),
            dead: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Something was found.
    pub fn raise(&mut self, occurrence: Occurrence, now: UnixMillis) -> Raised {
        let occurrence = self.known_kind(occurrence, now);
        let Occurrence { kind, severity, subject, .. } = &occurrence;
        let (kind, severity) = (kind.clone(), *severity);
        if let Some(&id) = self.by_subject.get(&(kind.clone(), subject.clone())) {
            self.repeat(id, occurrence, now);
            return Raised::Repeated(id);
        }
        if !self.has_room(&kind, severity) {
            // Its number is not used: the alert only asks for its route.
            let alert = Alert::open(AlertId(0), occurrence, now);
            if let Some(contact) = self.settings.route(&alert).contacts.first().cloned() {
                self.suppress(&contact, &kind, severity, 1, now);
            }
            return Raised::Folded;
        }
        let id = AlertId(self.number());
        self.insert(Alert::open(id, occurrence, now));
        let first = self.take_first(&kind, severity, now);
        self.tell(id, Why::Opened, first, now);
        Raised::Opened(id)
    }

    /// Somebody takes an alert on: nobody else is told, until it becomes more urgent, or goes on a long time later.
    ///
    /// # Errors
    /// [`DeskError::NoSuchAlert`].
    pub fn acknowledge(&mut self, id: AlertId, by: &str, now: UnixMillis) -> Result<(), DeskError> {
        let open = self.open.get_mut(&id).ok_or(DeskError::NoSuchAlert)?;
        open.alert.acknowledged = Some(Acknowledged { by: Line::new(by), at: now });
        open.escalate_at = None;
        self.dirty.insert(RecordKey::Alert(id));
        Ok(())
    }

    /// It is over: the next occurrence opens another. Deliveries that are due are still made.
    ///
    /// # Errors
    /// [`DeskError::NoSuchAlert`].
    pub fn close(&mut self, id: AlertId) -> Result<Alert, DeskError> {
        let Open { alert, .. } = self.open.remove(&id).ok_or(DeskError::NoSuchAlert)?;
        self.by_subject.remove(&(alert.kind.clone(), alert.subject.clone()));
        self.dirty.insert(RecordKey::Alert(id));
        Ok(alert)
    }

    /// What is to be sent now; at most one delivery through each channel is under way at a time. Each is to be reported
    /// back as [`delivered`](Self::delivered) or [`failed`](Self::failed), within a deadline of the sender's.
    pub fn poll(&mut self, now: UnixMillis) -> Vec<Delivery> {
        self.escalate_due(now);
        self.remind_due(now);
        self.close_quiet(now);
        self.tell_digests(now);
        self.expire(now);
        let begun: Vec<Pending> = self.lanes.values_mut().filter_map(|lane| lane.begin(now).cloned()).collect();
        begun.iter().map(|pending| self.outgoing(pending)).collect()
    }

    /// When [`poll`](Self::poll) has something to do next, if nothing happens before. A time that is over means now.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        let lanes = self.lanes.values().filter_map(Lane::due);
        let waiting = self.lanes.values().flat_map(|lane| {
            let waits = |pending: &&Pending| Some(pending.id) != lane.under_way;
            lane.pending.values().filter(waits).map(Self::expires)
        });
        let open = self.open.values().flat_map(|open| [open.escalate_at, self.remind_at(open), self.quiet_at(open)]);
        let digests = self.digests.values().map(|digest| digest.since.plus(DIGEST_AFTER));
        lanes.chain(waiting).chain(open.flatten()).chain(digests).min()
    }

    /// Every open alert, the oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.open.values().map(|open| &open.alert)
    }

    /// Goes on under other settings. What waits for a channel or contact that they do not have becomes a dead letter; what
    /// stands open since nobody could be told is told now.
    pub fn apply(&mut self, settings: AlertSettings, now: UnixMillis) {
        let told_nobody = !self.settings.reach_somebody();
        self.settings = settings;
        let leads = |pending: &Pending| {
            let contact = self.settings.contact(&pending.contact);
            contact.is_some_and(|contact| contact.channels.contains(&pending.channel))
        };
        let lost: Vec<(Word, DeliveryId)> = self
            .lanes
            .iter()
            .flat_map(|(channel, lane)| lane.pending.values().map(move |pending| (channel, pending)))
            .filter(|(_, pending)| !leads(pending))
            .map(|(channel, pending)| (channel.clone(), pending.id))
            .collect();
        for (channel, id) in lost {
            self.bury(&channel, id, &Line::new("the settings no longer lead there"), now);
        }
        let is_kept = |channel: &Word| self.settings.channels().iter().any(|kept| kept.name == *channel);
        for channel in self.lanes.keys().filter(|channel| !is_kept(channel)) {
            self.dirty.insert(RecordKey::Channel(channel.clone()));
        }
        self.lanes.retain(|channel, _| is_kept(channel));
        for channel in self.settings.channels() {
            self.lanes.entry(channel.name.clone()).or_default();
        }
        let lost: Vec<Word> =
            self.digests.keys().filter(|contact| self.settings.contact(contact).is_none()).cloned().collect();
        for contact in lost {
            self.move_digest(&contact, now);
        }
        if told_nobody && self.settings.reach_somebody() {
            let waits = |open: &&Open| open.alert.acknowledged.is_none() && !open.alert.canary;
            let waiting: Vec<AlertId> = self.open.values().filter(waits).map(|open| open.alert.id).collect();
            for id in waiting {
                self.tell(id, Why::Opened, false, now);
            }
        }
    }

    /// Under which settings it works.
    #[must_use]
    pub fn settings(&self) -> &AlertSettings {
        &self.settings
    }

    fn move_digest(&mut self, contact: &Word, now: UnixMillis) {
        self.dirty.insert(RecordKey::Digest(contact.clone()));
        let Some(digest) = self.digests.remove(contact) else { return };
        let Some(heir) = self.settings.default_route().contacts.first().cloned() else { return };
        for (kind, line) in &digest.kinds {
            self.suppress(&heir, kind, line.severity, line.count, now);
        }
    }

    // --- opening and repeating ---------------------------------------------------------------------------------------

    fn number(&mut self) -> u64 {
        self.dirty.insert(RecordKey::Desk);
        let number = self.counts.next;
        self.counts.next = number.saturating_add(1);
        number
    }

    /// The occurrence, under another kind if too many are in use.
    fn known_kind(&mut self, occurrence: Occurrence, now: UnixMillis) -> Occurrence {
        if self.kinds.contains_key(&occurrence.kind) {
            return occurrence;
        }
        if self.kinds.len() >= KINDS_MAX {
            self.forget_kinds(now);
        }
        let Ok(other) = OTHER_KIND.parse::<Word>() else { return occurrence };
        let is_known = OWN_KINDS.contains(&occurrence.kind.as_str()) || self.kinds.len() < KINDS_MAX;
        let kind = if is_known { occurrence.kind.clone() } else { other };
        self.kinds.entry(kind.clone()).or_default();
        if is_known {
            return occurrence;
        }
        let subject = Line::new(&format!("{} {}", occurrence.kind, occurrence.subject));
        Occurrence { kind, subject, ..occurrence }
    }

    fn forget_kinds(&mut self, now: UnixMillis) {
        let in_use: BTreeSet<&Word> = self.open.values().map(|open| &open.alert.kind).collect();
        let stale = |(kind, state): &(&Word, &KindState)| !in_use.contains(kind) && state.is_stale(now);
        let stale: Vec<Word> = self.kinds.iter().filter(stale).map(|(kind, _)| kind.clone()).collect();
        for kind in stale {
            self.kinds.remove(&kind);
            self.dirty.insert(RecordKey::Kind(kind));
        }
    }

    fn take_first(&mut self, kind: &Word, severity: Severity, now: UnixMillis) -> bool {
        let first = self.kinds.entry(kind.clone()).or_default().take_first(severity, now);
        // Also if it is not the first: a kind without a record could not have open alerts.
        self.dirty.insert(RecordKey::Kind(kind.clone()));
        first
    }

    fn insert(&mut self, alert: Alert) {
        let id = alert.id;
        self.by_subject.insert((alert.kind.clone(), alert.subject.clone()), id);
        let (told_at, told_count) = (alert.opened, alert.count);
        self.open.insert(id, Open { alert, step: 0, escalate_at: None, told_at, told_count, told: Vec::new() });
        self.dirty.insert(RecordKey::Alert(id));
    }

    /// Whether one more of the kind may be open; a less urgent one makes room.
    fn has_room(&mut self, kind: &Word, severity: Severity) -> bool {
        let from = (kind.clone(), Subject::default());
        let same = self.by_subject.range(from..).take_while(|((other, _), _)| other == kind);
        let ids: Vec<AlertId> = same.map(|(_, id)| *id).collect();
        if ids.len() < OPEN_PER_KIND_MAX {
            return true;
        }
        let open = ids.iter().filter_map(|id| self.open.get(id)).map(|open| &open.alert);
        let least = open.min_by_key(|alert| (alert.severity, alert.last)).filter(|alert| alert.severity < severity);
        least.map(|alert| alert.id).is_some_and(|id| self.close(id).is_ok())
    }

    fn repeat(&mut self, id: AlertId, occurrence: Occurrence, now: UnixMillis) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Occurrence { kind, severity, group, text, numbers, .. } = occurrence;
        let alert = &mut open.alert;
        (alert.count, alert.last) = (alert.count.saturating_add(1), now.max(alert.last));
        (alert.text, alert.numbers) = (text, numbers);
        alert.group = group.or(alert.group.take());
        self.dirty.insert(RecordKey::Alert(id));
        if severity <= alert.severity {
            return;
        }
        (alert.severity, alert.acknowledged, open.step) = (severity, None, 0);
        let first = self.take_first(&kind, severity, now);
        self.tell(id, Why::Worse, first, now);
    }

    // --- telling -----------------------------------------------------------------------------------------------------

    /// Tells whose turn it is; while all channels of a contact fail, the next of the route's first round as well.
    fn tell(&mut self, id: AlertId, why: Why, first: bool, now: UnixMillis) {
        let Some(open) = self.open.get(&id) else { return };
        let (mut step, alert) = (open.step, open.alert.clone());
        let route = self.settings.route(&alert).clone();
        let (steps, contacts) = (route.contacts.len() * route.rounds as usize, &route.contacts);
        let notice = Notice::Alert { why, alert };
        // Without settings there is nobody.
        while !contacts.is_empty() {
            let reached = self.send(&contacts[step % contacts.len()], &notice, None, first, now);
            if reached || step + 1 >= contacts.len() {
                break;
            }
            step += 1;
        }
        // That nobody took care of it is between those on call.
        if why != Why::Escalated {
            for contact in &route.copies {
                let _ = self.send(contact, &notice, None, first, now);
            }
        }
        let Some(open) = self.open.get_mut(&id) else { return };
        (open.step, open.told_at, open.told_count) = (step, now, open.alert.count);
        let waits = open.alert.acknowledged.is_none() && step + 1 < steps;
        open.escalate_at = waits.then(|| now.plus(route.acknowledge_within));
        self.dirty.insert(RecordKey::Alert(id));
    }

    /// Sends through the contact's channels up to the first that works, from that after `after` on. Whether one works.
    fn send(&mut self, contact: &Word, notice: &Notice, after: Option<&Word>, first: bool, now: UnixMillis) -> bool {
        let Some(contact) = self.settings.contact(contact).cloned() else { return false };
        // That a channel fails is told through the others.
        let is_failing = |channel: &Word| {
            notice.alert().is_some_and(|alert| {
                alert.kind.as_str() == CHANNEL_FAILED_KIND && alert.subject.as_str() == channel.as_str()
            })
        };
        let from =
            after.and_then(|after| contact.channels.iter().position(|channel| channel == after)).map_or(0, |at| at + 1);
        for channel in contact.channels[from..].iter().filter(|channel| !is_failing(channel)) {
            let works = self.lanes.get(channel).is_some_and(|lane| lane.health.is_good());
            self.enqueue(channel, &contact.name, notice, first, !works, now);
            if works {
                return true;
            }
        }
        false
    }

    /// Queues a notice, or counts it in the contact's digest when the channel's rate or queue does not allow it.
    fn enqueue(
        &mut self,
        channel: &Word,
        contact: &Word,
        notice: &Notice,
        first: bool,
        fell_back: bool,
        now: UnixMillis,
    ) {
        let per_minute =
            self.settings.channels().iter().find(|known| known.name == *channel).map(|known| known.per_minute);
        let (Some(per_minute), Some(lane)) = (per_minute, self.lanes.get_mut(channel)) else { return };
        self.dirty.insert(RecordKey::Channel(channel.clone()));
        let admitted = lane.health.admit(notice.severity(), per_minute, now);
        // Digests come once a minute, and tests when somebody waits for them.
        let first = first || notice.alert().is_none_or(|alert| alert.canary);
        let least = if lane.is_full() { lane.least().filter(|_| first) } else { None };
        if let Some(least) = least {
            self.bury(channel, least, &Line::new("made room for the first of another kind"), now);
        }
        let is_full = self.lanes.get(channel).is_none_or(Lane::is_full);
        if is_full || !(admitted || first) {
            return self.suppress_notice(contact, notice, now);
        }
        let id = DeliveryId(self.number());
        let (channel, contact, notice) = (channel.clone(), contact.clone(), notice.clone());
        self.dirty.insert(RecordKey::Delivery(channel.clone(), id));
        let nonce = mix(self.entropy ^ id.0);
        let lane = self.lanes.entry(channel.clone()).or_default();
        let (created, attempts, why) = (now, 0, None);
        lane.pending
            .insert(id, Pending { id, nonce, channel, contact, notice, created, attempts, fell_back, first, why });
    }

    fn suppress_notice(&mut self, contact: &Word, notice: &Notice, now: UnixMillis) {
        match notice {
            Notice::Alert { alert, .. } => self.suppress(contact, &alert.kind, alert.severity, 1, now),
            Notice::Digest(digest) => {
                for (kind, line) in &digest.kinds {
                    self.suppress(contact, kind, line.severity, line.count, now);
                }
            }
        }
    }

    fn suppress(&mut self, contact: &Word, kind: &Word, severity: Severity, count: u64, now: UnixMillis) {
        self.dirty.insert(RecordKey::Digest(contact.clone()));
        let digest = self.digests.entry(contact.clone());
        let digest = digest.or_insert_with(|| Digest { since: now, kinds: BTreeMap::new() });
        let is_full = digest.kinds.len() >= KINDS_MAX && !digest.kinds.contains_key(kind);
        let other = OTHER_KIND.parse::<Word>().ok().filter(|_| is_full);
        digest.add(other.as_ref().unwrap_or(kind), severity, count);
    }

    // --- what the time brings ----------------------------------------------------------------------------------------

    fn escalate_due(&mut self, now: UnixMillis) {
        let is_due = |open: &&Open| open.escalate_at.is_some_and(|at| at <= now);
        let due: Vec<AlertId> = self.open.values().filter(is_due).map(|open| open.alert.id).collect();
        for id in due {
            if let Some(open) = self.open.get_mut(&id) {
                open.step += 1;
            }
            self.tell(id, Why::Escalated, false, now);
        }
    }

    /// When an alert that goes on is told again. An acknowledgement holds until an alert would be closed.
    fn remind_at(&self, open: &Open) -> Option<UnixMillis> {
        if open.alert.canary || open.alert.count <= open.told_count {
            return None;
        }
        let repeat = open.told_at.plus(self.settings.route(&open.alert).repeat);
        match &open.alert.acknowledged {
            Some(acknowledged) => (open.alert.last > acknowledged.at)
                .then(|| repeat.max(acknowledged.at.plus(self.settings.close_after()))),
            None => Some(repeat),
        }
    }

    fn remind_due(&mut self, now: UnixMillis) {
        let is_due = |open: &&Open| self.remind_at(open).is_some_and(|at| at <= now);
        let due: Vec<AlertId> = self.open.values().filter(is_due).map(|open| open.alert.id).collect();
        for id in due {
            let Some(open) = self.open.get_mut(&id) else { continue };
            if open.alert.acknowledged.take().is_some() {
                open.step = 0;
            }
            self.tell(id, Why::Repeated, false, now);
        }
    }

    /// When an alert is closed of itself: everybody was told, and it did not go on.
    fn quiet_at(&self, open: &Open) -> Option<UnixMillis> {
        open.escalate_at.is_none().then(|| open.alert.last.plus(self.settings.close_after()))
    }

    fn close_quiet(&mut self, now: UnixMillis) {
        let is_over = |open: &&Open| self.quiet_at(open).is_some_and(|at| at <= now);
        let over: Vec<AlertId> = self.open.values().filter(is_over).map(|open| open.alert.id).collect();
        for id in over {
            _ = self.close(id);
        }
    }

    fn tell_digests(&mut self, now: UnixMillis) {
        let is_due = |digest: &Digest| digest.since.plus(DIGEST_AFTER) <= now;
        let due: Vec<Word> =
            self.digests.iter().filter(|(_, digest)| is_due(digest)).map(|(contact, _)| contact.clone()).collect();
        for contact in due {
            let Some(digest) = self.digests.remove(&contact) else { continue };
            self.dirty.insert(RecordKey::Digest(contact.clone()));
            self.send(&contact, &Notice::Digest(digest), None, true, now);
        }
    }
}

/// SplitMix64's finish: spreads a number over all bits.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
