//! What senders report, and what becomes of what cannot be sent.

use std::{collections::BTreeSet, time::Duration};

use portreeve_types::UnixMillis;

use super::{
    CHANNEL_FAILED_KIND, Desk, DeskError, Told, Why,
    canary::CANARY_AGE_MAX,
    delivery::{DeadLetter, Delivered, DeliveryId, Failure, Outcome, Pending, Timing},
    mix,
    record::RecordKey,
};
use crate::{AlertId, Line, Occurrence, Severity, Subject, Word};

/// Attempts of one delivery; then it is a dead letter.
pub const ATTEMPTS_MAX: u32 = 20;
/// Age of one delivery; then it is a dead letter.
pub const DELIVERY_AGE_MAX: Duration = Duration::from_secs(4 * 60 * 60);
/// Dead letters; of more, the oldest go and are counted.
pub const DEAD_LETTERS_MAX: usize = 512;
/// Failures of a channel in a row after which that is an alert. One that will not help to repeat is so at once.
pub const CHANNEL_FAILURES_TOLD: u32 = 3;
/// Deliveries that an open alert remembers; older ones are forgotten.
const TOLD_MAX: usize = 256;

impl Desk {
    /// A delivery was done.
    ///
    /// # Errors
    /// [`DeskError::NoSuchDelivery`], for one that was given up meanwhile: nothing is to be done about it.
    pub fn delivered(&mut self, id: DeliveryId, now: UnixMillis) -> Result<Delivered, DeskError> {
        let channel = self.channel_of(id)?;
        let lane = self.lanes.get_mut(&channel).ok_or(DeskError::NoSuchDelivery)?;
        let was_failing = !lane.health.is_good();
        lane.health.succeed();
        let pending = self.take(&channel, id).ok_or(DeskError::NoSuchDelivery)?;
        let after = now.since(pending.created);
        self.note(&pending, after, None);
        if was_failing {
            self.dirty.insert(RecordKey::Channel(channel.clone()));
            self.close_channel_failed(&channel);
        }
        let alert = pending.notice.alert().map(|alert| alert.id);
        Ok(Delivered { alert, channel, after, attempts: pending.attempts.saturating_add(1) })
    }

    /// A delivery was not done. It is tried again or given up; contacts who wait for this channel are told through their
    /// next one.
    ///
    /// # Errors
    /// [`DeskError::NoSuchDelivery`], for one that was given up meanwhile: nothing is to be done about it.
    pub fn failed(&mut self, id: DeliveryId, failure: &Failure, now: UnixMillis) -> Result<(), DeskError> {
        let channel = self.channel_of(id)?;
        let lane = self.lanes.get_mut(&channel).ok_or(DeskError::NoSuchDelivery)?;
        let pending = lane.pending.get_mut(&id).ok_or(DeskError::NoSuchDelivery)?;
        lane.under_way = lane.under_way.filter(|under_way| *under_way != id);
        pending.attempts = pending.attempts.saturating_add(1);
        pending.why = Some(failure.why().clone());
        let (attempts, is_canary) = (pending.attempts, pending.notice.is_canary());
        lane.health.fail(now, mix(pending.nonce ^ u64::from(attempts)));
        let failures = lane.health.failures;
        self.dirty.insert(RecordKey::Channel(channel.clone()));
        self.dirty.insert(RecordKey::Delivery(channel.clone(), id));
        self.fall_back(&channel, now);
        let is_permanent = matches!(failure, Failure::Permanent(_));
        if is_permanent || attempts >= ATTEMPTS_MAX {
            self.bury(&channel, id, failure.why(), now);
        }
        // A test tells its own result.
        if !is_canary && (is_permanent || failures >= CHANNEL_FAILURES_TOLD) {
            self.raise_channel_failed(&channel, failure.why(), now);
        }
        Ok(())
    }

    /// What was given up, the oldest first.
    pub fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dead.values()
    }

    /// Dead letters that were dropped, because there were more than [`DEAD_LETTERS_MAX`].
    #[must_use]
    pub fn dead_letters_dropped(&self) -> u64 {
        self.counts.dead_letters_dropped
    }

    /// Deliveries that wait, and failures in a row, of each channel.
    pub fn channels(&self) -> impl Iterator<Item = (&Word, usize, u32)> {
        self.lanes.iter().map(|(channel, lane)| (channel, lane.pending.len(), lane.health.failures))
    }

    /// Queues a dead letter again, with the idempotency key that it had.
    ///
    /// # Errors
    /// [`DeskError::NoSuchDelivery`], [`DeskError::NoWay`], [`DeskError::Full`]; it stays a dead letter then.
    pub fn resend(&mut self, id: DeliveryId, now: UnixMillis) -> Result<(), DeskError> {
        let letter = self.dead.get(&id).ok_or(DeskError::NoSuchDelivery)?;
        let (channel, contact) = (letter.channel().clone(), self.settings.contact(letter.contact()));
        let lane = self.lanes.get_mut(&channel).ok_or(DeskError::NoWay)?;
        if !contact.is_some_and(|contact| contact.channels.contains(&channel)) {
            return Err(DeskError::NoWay);
        }
        if lane.is_full() {
            return Err(DeskError::Full);
        }
        let pending = Pending { created: now, attempts: 0, fell_back: true, why: None, ..letter.pending.clone() };
        lane.health.retry_at_once();
        lane.pending.insert(id, pending);
        self.dead.remove(&id);
        self.dirty.insert(RecordKey::Dead(id));
        self.dirty.insert(RecordKey::Delivery(channel.clone(), id));
        self.dirty.insert(RecordKey::Channel(channel));
        Ok(())
    }

    /// What became of the deliveries of an open alert: what was done or given up, then what is not done yet.
    ///
    /// # Errors
    /// [`DeskError::NoSuchAlert`].
    pub fn timings(&self, id: AlertId) -> Result<Vec<Timing>, DeskError> {
        let open = self.open.get(&id).ok_or(DeskError::NoSuchAlert)?;
        let told = open.told.iter().map(|Told { channel, contact, after_ms, failed }| {
            let done = || Outcome::Delivered(Duration::from_millis(*after_ms));
            let outcome = failed.clone().map_or_else(done, Outcome::Failed);
            Timing { channel: channel.clone(), contact: contact.clone(), outcome }
        });
        let concerns = |pending: &&Pending| pending.notice.alert().is_some_and(|alert| alert.id == id);
        let waiting = self.lanes.values().flat_map(|lane| lane.pending.values()).filter(concerns).map(|pending| {
            let outcome = Outcome::Waiting { attempts: pending.attempts, why: pending.why.clone() };
            Timing { channel: pending.channel.clone(), contact: pending.contact.clone(), outcome }
        });
        Ok(told.chain(waiting).collect())
    }

    /// The channel of a delivery that waits, and the alert that it is about.
    #[must_use]
    pub fn destination(&self, id: DeliveryId) -> Option<(Word, Option<AlertId>)> {
        let pending = self.lanes.values().find_map(|lane| lane.pending.get(&id))?;
        Some((pending.channel.clone(), pending.notice.alert().map(|alert| alert.id)))
    }

    fn channel_of(&self, id: DeliveryId) -> Result<Word, DeskError> {
        let mut lanes = self.lanes.iter();
        let lane = lanes.find(|(_, lane)| lane.pending.contains_key(&id));
        lane.map(|(channel, _)| channel.clone()).ok_or(DeskError::NoSuchDelivery)
    }

    /// Takes a delivery out of its queue.
    fn take(&mut self, channel: &Word, id: DeliveryId) -> Option<Pending> {
        let lane = self.lanes.get_mut(channel)?;
        lane.under_way = lane.under_way.filter(|under_way| *under_way != id);
        self.dirty.insert(RecordKey::Delivery(channel.clone(), id));
        lane.pending.remove(&id)
    }

    /// Remembers with its alert what became of a delivery.
    fn note(&mut self, pending: &Pending, after: Duration, failed: Option<Line<400>>) {
        let Some(id) = pending.notice.alert().map(|alert| alert.id) else { return };
        let Some(open) = self.open.get_mut(&id) else { return };
        if open.told.len() >= TOLD_MAX {
            open.told.remove(0);
        }
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let (channel, contact) = (pending.channel.clone(), pending.contact.clone());
        open.told.push(Told { channel, contact, after_ms, failed });
        self.dirty.insert(RecordKey::Alert(id));
    }

    /// Gives a delivery up. Of a test nothing is to be sent later.
    pub(super) fn bury(&mut self, channel: &Word, id: DeliveryId, why: &Line<400>, now: UnixMillis) {
        let Some(pending) = self.take(channel, id) else { return };
        self.note(&pending, now.since(pending.created), Some(why.clone()));
        if pending.notice.is_canary() {
            return;
        }
        self.dirty.insert(RecordKey::Dead(id));
        self.dead.insert(id, DeadLetter { pending, at: now, why: why.clone() });
        while self.dead.len() > DEAD_LETTERS_MAX {
            let Some((oldest, _)) = self.dead.pop_first() else { break };
            self.counts.dead_letters_dropped = self.counts.dead_letters_dropped.saturating_add(1);
            self.dirty.insert(RecordKey::Dead(oldest));
            self.dirty.insert(RecordKey::Desk);
        }
    }

    pub(super) fn expires(pending: &Pending) -> UnixMillis {
        let age_max = if pending.notice.is_canary() { CANARY_AGE_MAX } else { DELIVERY_AGE_MAX };
        pending.created.plus(age_max)
    }

    /// Gives up what is too old and not under way.
    pub(super) fn expire(&mut self, now: UnixMillis) {
        let mut old = Vec::new();
        for (channel, lane) in &self.lanes {
            let is_old = |pending: &&Pending| Some(pending.id) != lane.under_way && Self::expires(pending) <= now;
            let why = |pending: &Pending| pending.why.clone().unwrap_or_else(|| Line::new("it waited for too long"));
            old.extend(lane.pending.values().filter(is_old).map(|pending| (channel.clone(), pending.id, why(pending))));
        }
        for (channel, id, why) in old {
            self.bury(&channel, id, &why, now);
        }
    }

    /// Sends what waits for a failing channel through the contacts' next ones as well, once for each; where there is none, the
    /// next contact is told before the deadline.
    fn fall_back(&mut self, channel: &Word, now: UnixMillis) {
        let Some(lane) = self.lanes.get_mut(channel) else { return };
        let mut waiting = Vec::new();
        for pending in lane.pending.values_mut().filter(|pending| !pending.fell_back) {
            pending.fell_back = true;
            waiting.push(pending.clone());
        }
        let mut unreached = BTreeSet::new();
        for Pending { id, contact, notice, first, .. } in waiting {
            self.dirty.insert(RecordKey::Delivery(channel.clone(), id));
            if !self.send(&contact, &notice, Some(channel), first, now) {
                unreached.extend(notice.alert().map(|alert| (alert.id, contact)));
            }
        }
        for (id, contact) in unreached {
            self.pass_on(id, &contact, now);
        }
    }

    /// Tells the next of the first round, if it is the turn of one who cannot be reached.
    fn pass_on(&mut self, id: AlertId, unreached: &Word, now: UnixMillis) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let contacts = &self.settings.route(&open.alert).contacts;
        let is_turn = contacts.get(open.step) == Some(unreached);
        if !is_turn || open.step + 1 >= contacts.len() || open.alert.acknowledged.is_some() {
            return;
        }
        open.step += 1;
        self.tell(id, Why::Escalated, true, now);
    }

    fn raise_channel_failed(&mut self, channel: &Word, why: &Line<400>, now: UnixMillis) {
        let Ok(kind) = CHANNEL_FAILED_KIND.parse::<Word>() else { return };
        let text = format!("alerts cannot be sent through the channel {channel}: {why}");
        self.raise(Occurrence::new(kind, Severity::High, channel.as_str(), &text), now);
    }

    /// The channel works again.
    fn close_channel_failed(&mut self, channel: &Word) {
        let Ok(kind) = CHANNEL_FAILED_KIND.parse::<Word>() else { return };
        if let Some(&id) = self.by_subject.get(&(kind, Subject::new(channel.as_str()))) {
            _ = self.close(id);
        }
    }
}
