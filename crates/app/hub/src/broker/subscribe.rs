//! SUBSCRIBE and UNSUBSCRIBE, and what a policy change does to subscriptions that exist.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use hashbrown::{HashMap, HashSet};
use parking_lot::MutexGuard;
use portreeve_events::Kind;
use portreeve_mqtt::{Reason, RetainHandling, SubscriptionOptions};
use portreeve_policy::{Action, Denial, DenialReason};
use portreeve_store::{SessionOp, Ticket};
use portreeve_types::{LifecycleState, Qos, TopicFilter, TopicName, UnixMillis};

use super::{
    retained::Scan,
    session::{Close, Outgoing, RetainedScan, Session},
    subscription::{Grant, Subscription},
    turn::{FILTER_WORK, KNOWN_FILTER_WORK, Turn},
};
use crate::Hub;

/// One answered SUBSCRIBE or UNSUBSCRIBE: a reason a filter, and when the answer may go out.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reasons: Vec<Reason>,
    pub(crate) ticket: Ticket,
}

/// A SUBSCRIBE, and what it led to so far. It may take several turns: each filter is a decision of policy.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) packet_id: u16,
    id: Option<u32>,
    requests: Vec<(TopicFilter, SubscriptionOptions)>,
    /// One for each request that is dealt with.
    reasons: Vec<Reason>,
    /// Whose retained messages are to be sent.
    scans: Vec<Arc<Subscription>>,
}

impl Asked {
    pub(crate) fn new(packet_id: u16, id: Option<u32>, requests: Vec<(TopicFilter, SubscriptionOptions)>) -> Self {
        let reasons = Vec::with_capacity(requests.len());
        Self { packet_id, id, requests, reasons, scans: Vec::new() }
    }
}

/// A peer learns that it was refused. That an operator wrote a rule against it is not told (0x80), a missing grant is (0x87).
pub(crate) fn refusal(denial: &Denial) -> Reason {
    match denial.reason {
        DenialReason::Forbidden => Reason::UNSPECIFIED_ERROR,
        _ => Reason::NOT_AUTHORIZED,
    }
}

/// How long a change of policy waits for turns that have begun, milliseconds.
const TURN_MS_MAX: u64 = 100;

impl Hub {
    /// Goes on with a SUBSCRIBE until it is answered or the turn is over; then the rest is for the next turn.
    pub(crate) fn subscribe(&self, turn: &mut Turn<'_>, session: &Arc<Session>, asked: &mut Asked) -> Option<Answered> {
        while asked.reasons.len() < asked.requests.len() {
            if turn.is_over() {
                return None;
            }
            let reason = match self.subscribe_one(turn, session, asked) {
                Ok(granted) => Reason(granted as u8),
                Err(reason) => reason,
            };
            asked.reasons.push(reason);
        }
        Some(self.subscribed(session, asked))
    }

    /// Everything that a SUBSCRIBE asked for is decided: it is answered when what was granted is stored.
    fn subscribed(&self, session: &Session, asked: &mut Asked) -> Answered {
        let mut outgoing = session.outgoing.lock();
        // Behind everything submitted so far: also what was there already may be on its way to the disk only.
        let after = if outgoing.stored { self.journal.submit(&mut Vec::new()) } else { Ticket::default() };
        // A search that was begun for one of these filters begins anew, or is not wanted any more.
        let asked_again: HashSet<&str> = asked.requests.iter().map(|(filter, _)| filter.as_str()).collect();
        outgoing.scans.retain(|item| !asked_again.contains(item.subscription.filter.as_str()));
        asked.scans.retain(|subscription| outgoing.holds(subscription));
        outgoing.scans.extend(asked.scans.drain(..).map(|subscription| RetainedScan {
            scan: Scan::new(subscription.filter.clone()),
            subscription,
            after,
        }));
        drop(outgoing);
        Answered { reasons: std::mem::take(&mut asked.reasons), ticket: after }
    }

    /// Adds the next subscription; its retained messages may be to be sent (§3.8.3.1). Returns its QoS.
    fn subscribe_one(&self, turn: &mut Turn<'_>, session: &Arc<Session>, asked: &mut Asked) -> Result<Qos, Reason> {
        let Some((filter, options)) = asked.requests.get(asked.reasons.len()) else { return Err(Reason::SUCCESS) };
        let (options, id) = (*options, asked.id);
        let limits = &turn.config.limits;
        if filter.plain().split('/').count() > limits.topic_levels || filter.as_str().len() > limits.topic_bytes {
            self.emit_for(session, Kind::LimitReached, format_args!("filter has too many levels or bytes"));
            return Err(Reason::TOPIC_FILTER_INVALID);
        }
        let (grant, mut outgoing) = self.grant(turn, session, filter).map_err(|denial| {
            self.emit_for(session, Kind::SubscribeDenied, format_args!("{filter}: {denial}"));
            refusal(&denial)
        })?;
        let known = outgoing.subscriptions.get(filter.as_str()).cloned();
        let exists = known.is_some();
        let full = outgoing.subscriptions.len() >= limits.subscriptions_per_session
            || self.gauges.subscriptions.load(Relaxed) >= limits.subscriptions_total;
        let disk_refuses = outgoing.stored && !self.accepts_work();
        if (full && !exists) || disk_refuses || outgoing.ended {
            drop(outgoing);
            let why = if disk_refuses { "the store takes no work" } else { "too many subscriptions" };
            self.emit_for(session, Kind::LimitReached, format_args!("{why}"));
            return Err(Reason::QUOTA_EXCEEDED);
        }
        // Clients that come back ask again for what they have: that changes nothing for anybody.
        let same = known.filter(|known| known.options == options && known.id == id);
        let subscription = match same {
            Some(same) => {
                // Storing waits for whoever is reading: not for what is there already.
                if !Arc::ptr_eq(&same.grant.load(), &grant) {
                    same.grant.store(grant);
                }
                same
            }
            None => {
                let (session, filter) = (Arc::clone(session), filter.clone());
                Arc::new(Subscription { session, filter, options, id, grant: ArcSwap::new(grant) })
            }
        };
        if !outgoing.holds(&subscription) {
            self.install(&mut outgoing, &subscription);
            if outgoing.stored {
                // Under the lock: whoever finds it here, to ask for it again or to withdraw it, comes behind this.
                let (session, row) = (session.id, subscription.row());
                self.journal.submit(&mut vec![SessionOp::PutSubscription { session, row }]);
            }
        }
        let send = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !exists,
            RetainHandling::DoNotSend => false,
        };
        if send && filter.share_group().is_none() {
            asked.scans.push(subscription);
        }
        Ok(options.qos)
    }

    /// Decides under a generation that is still current once the session is locked: a policy that changes meanwhile
    /// either is the one decided by, or finds the subscription when it looks through the session.
    fn grant<'s>(
        &self,
        turn: &mut Turn<'_>,
        session: &'s Arc<Session>,
        filter: &TopicFilter,
    ) -> Result<(Arc<Grant>, MutexGuard<'s, Outgoing>), Denial> {
        loop {
            let generation = self.generation_of(session);
            let outgoing = session.outgoing.lock();
            let known = outgoing.subscriptions.get(filter.as_str()).map(|known| known.grant.load_full());
            if let Some(known) = known.filter(|known| known.holds_in(generation)) {
                turn.charge(KNOWN_FILTER_WORK);
                return Ok((known, outgoing));
            }
            drop(outgoing);
            turn.charge(FILTER_WORK);
            let grant = self.grant_in(generation, session, filter, turn.now.wall)?;
            let outgoing = session.outgoing.lock();
            if self.generation_of(session) == generation {
                return Ok((Arc::new(grant), outgoing));
            }
        }
    }

    /// What policy says of a filter; `generation` was read before.
    fn grant_in(
        &self,
        generation: u64,
        session: &Arc<Session>,
        filter: &TopicFilter,
        now: UnixMillis,
    ) -> Result<Grant, Denial> {
        let decision = self.decide(session, Action::Subscribe, filter.plain(), None, false, now);
        Ok(Grant { generation, permit: Some(decision.verdict?), lasts: decision.cacheable })
    }

    /// Decides anew about a subscription that stays, granted or not.
    pub(crate) fn renew_grant(&self, subscription: &Subscription, generation: u64, now: UnixMillis) {
        let granted = self.grant_in(generation, &subscription.session, &subscription.filter, now);
        let grant = granted.unwrap_or(Grant { generation, permit: None, lasts: false });
        subscription.grant.store(Arc::new(grant));
    }

    /// Makes a subscription effective, in place of an earlier one with the same filter [MQTT-3.8.4-3].
    pub(crate) fn install(&self, outgoing: &mut Outgoing, subscription: &Arc<Subscription>) {
        let old = outgoing.subscriptions.insert(subscription.filter.as_str().into(), Arc::clone(subscription));
        if old.is_none() {
            self.gauges.subscriptions.fetch_add(1, Relaxed);
        }
        self.trie.write().insert(subscription, outgoing.is_online());
        self.changes.note(subscription.filter.plain());
    }

    /// Takes a subscription out of the trie; the caller has taken it out of its session.
    pub(crate) fn uninstall(&self, subscription: &Subscription) {
        self.trie.write().remove(subscription);
        self.changes.note(subscription.filter.plain());
        self.gauges.subscriptions.fetch_sub(1, Relaxed);
    }

    pub(crate) fn unsubscribe(&self, session: &Arc<Session>, filters: &[TopicFilter]) -> Answered {
        let mut outgoing = session.outgoing.lock();
        let mut ops = Vec::new();
        let mut reasons = Vec::with_capacity(filters.len());
        for filter in filters {
            let Some(subscription) = outgoing.subscriptions.remove(filter.as_str()) else {
                reasons.push(Reason::NO_SUBSCRIPTION_EXISTED);
                continue;
            };
            self.uninstall(&subscription);
            outgoing.scans.retain(|item| !Arc::ptr_eq(&item.subscription, &subscription));
            if outgoing.stored {
                ops.push(SessionOp::DeleteSubscription { session: session.id, filter: filter.clone() });
            }
            reasons.push(Reason::SUCCESS);
        }
        // Also where there was nothing: its end may have been asked for before and be on its way to the disk.
        let ticket = if outgoing.stored { self.journal.submit(&mut ops) } else { Ticket::default() };
        Answered { reasons, ticket }
    }

    /// Policy or an identity changed: every subscription of these sessions is decided anew. What is no longer allowed
    /// ends at once, and its connection with it: MQTT has no other way for a server to say so (ISVS-4.2.2).
    pub(crate) fn reauthorize(&self, sessions: &[Arc<Session>], now: UnixMillis) -> usize {
        sessions.iter().map(|session| self.reauthorize_one(session, now)).sum()
    }

    fn reauthorize_one(&self, session: &Arc<Session>, now: UnixMillis) -> usize {
        if !self.registry.state_of(session.key.identity).is_some_and(LifecycleState::may_connect) {
            return 0; // Nothing is granted to it now, and what it had is decided when it is in service again.
        }
        let generation = self.generation_of(session);
        let subscriptions: Vec<_> = session.outgoing.lock().subscriptions.values().cloned().collect();
        let mut withdrawn = 0;
        for subscription in subscriptions {
            match self.grant_in(generation, session, &subscription.filter, now) {
                Ok(grant) => subscription.grant.store(Arc::new(grant)),
                Err(denial) => {
                    self.withdraw(session, &subscription, &denial);
                    withdrawn += 1;
                }
            }
        }
        self.drop_unreceivable(session, now);
        let may_connect = self.decide(session, Action::Connect, "", None, false, now).is_allowed();
        if withdrawn > 0 || !may_connect {
            let close = Close::new(Reason::NOT_AUTHORIZED, "policy no longer allows it");
            let waker = session.outgoing.lock().close(close);
            waker.into_iter().for_each(std::task::Waker::wake);
        }
        withdrawn
    }

    /// Takes out of a session's queue what its identity may no longer receive.
    fn drop_unreceivable(&self, session: &Arc<Session>, now: UnixMillis) {
        let mut decided: HashMap<TopicName, bool> = HashMap::new();
        let mut outgoing = session.outgoing.lock();
        if outgoing.outbound.waiting() == 0 {
            return;
        }
        let before = outgoing.outbound.bytes();
        let removed = outgoing.outbound.retain_unsent(|delivery| {
            let topic = &delivery.message.envelope.topic;
            *decided.entry(topic.clone()).or_insert_with(|| self.may_receive_now(session, topic, now))
        });
        self.gauges.queue_changed(before, outgoing.outbound.bytes());
        let stored = outgoing.stored;
        drop(outgoing);
        if stored && !removed.is_empty() {
            // A turn that queued one of them may not have submitted it yet: its row would come after its deletion.
            // That takes it milliseconds.
            for _ in 0..TURN_MS_MAX {
                if !removed.iter().any(|removed| removed.message.is_held()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let dequeue = |seq| SessionOp::Dequeue { session: session.id, seq };
            self.journal.submit(&mut removed.iter().filter_map(|removed| removed.seq.map(dequeue)).collect());
        }
        // Bodies go behind the rows that named them.
        drop(removed);
    }

    fn withdraw(&self, session: &Arc<Session>, subscription: &Arc<Subscription>, denial: &Denial) {
        let mut outgoing = session.outgoing.lock();
        let filter = &subscription.filter;
        if !outgoing.holds(subscription) {
            return;
        }
        outgoing.subscriptions.remove(filter.as_str());
        outgoing.scans.retain(|item| !Arc::ptr_eq(&item.subscription, subscription));
        self.uninstall(subscription);
        if outgoing.stored {
            self.journal
                .submit(&mut vec![SessionOp::DeleteSubscription { session: session.id, filter: filter.clone() }]);
        }
        drop(outgoing);
        self.emit_for(session, Kind::SubscriptionWithdrawn, format_args!("{filter}: {denial}"));
    }
}
