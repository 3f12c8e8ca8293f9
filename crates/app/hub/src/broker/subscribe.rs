//! SUBSCRIBE and UNSUBSCRIBE, and what a policy change does to subscriptions that exist.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::MutexGuard;
use portreeve_events::Kind;
use portreeve_mqtt::{Reason, RetainHandling, SubscriptionOptions};
use portreeve_policy::{Action, Denial, DenialReason, Permit};
use portreeve_store::{SessionOp, Ticket};
use portreeve_types::{LifecycleState, TopicFilter, TopicName, UnixMillis};

use super::{
    retained::Scan,
    session::{Close, Outgoing, RetainedScan, Session},
    subscription::{Grant, Subscription},
};
use crate::Hub;

/// One answered SUBSCRIBE or UNSUBSCRIBE: a reason a filter, and when the answer may go out.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reasons: Vec<Reason>,
    pub(crate) ticket: Ticket,
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
    pub(crate) fn subscribe(
        &self,
        session: &Arc<Session>,
        requests: &[(TopicFilter, SubscriptionOptions)],
        id: Option<u32>,
        now: UnixMillis,
    ) -> Answered {
        let mut ops = Vec::new();
        let mut scans = Vec::new();
        let reasons = requests.iter().map(|(filter, options)| {
            match self.subscribe_one(session, filter, *options, id, now, &mut ops) {
                Ok(scan) => {
                    scans.extend(scan);
                    Reason(options.qos as u8)
                }
                Err(reason) => reason,
            }
        });
        let reasons = reasons.collect();
        let ticket = self.journal.submit(&mut ops);
        let mut outgoing = session.outgoing.lock();
        let after = if outgoing.stored { ticket } else { Ticket::default() };
        if !outgoing.ended {
            outgoing.scans.extend(scans.into_iter().map(|subscription: Arc<Subscription>| RetainedScan {
                scan: Scan::new(subscription.filter.clone()),
                subscription,
                after,
            }));
        }
        drop(outgoing);
        Answered { reasons, ticket: after }
    }

    /// Adds one subscription; returns it if its retained messages are to be sent (§3.8.3.1).
    fn subscribe_one(
        &self,
        session: &Arc<Session>,
        filter: &TopicFilter,
        options: SubscriptionOptions,
        id: Option<u32>,
        now: UnixMillis,
        ops: &mut Vec<SessionOp>,
    ) -> Result<Option<Arc<Subscription>>, Reason> {
        let config = self.config();
        let limits = &config.limits;
        if filter.plain().split('/').count() > limits.topic_levels || filter.as_str().len() > limits.topic_bytes {
            self.emit_for(session, Kind::LimitReached, format_args!("filter has too many levels or bytes"));
            return Err(Reason::TOPIC_FILTER_INVALID);
        }
        let (grant, mut outgoing) = self.grant(session, filter, now).map_err(|denial| {
            self.emit_for(session, Kind::SubscribeDenied, format_args!("{filter}: {denial}"));
            refusal(&denial)
        })?;
        let exists = outgoing.subscriptions.contains_key(filter.as_str());
        let full = outgoing.subscriptions.len() >= limits.subscriptions_per_session
            || self.gauges.subscriptions.load(Relaxed) >= limits.subscriptions_total;
        let disk_refuses = outgoing.stored && !self.accepts_work();
        if (full && !exists) || disk_refuses || outgoing.ended {
            drop(outgoing);
            let why = if disk_refuses { "the store takes no work" } else { "too many subscriptions" };
            self.emit_for(session, Kind::LimitReached, format_args!("{why}"));
            return Err(Reason::QUOTA_EXCEEDED);
        }
        let grant = ArcSwap::from_pointee(grant);
        let subscription =
            Arc::new(Subscription { session: Arc::clone(session), filter: filter.clone(), options, id, grant });
        outgoing.scans.retain(|item| item.scan.filter != *filter);
        self.install(&mut outgoing, &subscription);
        if outgoing.stored {
            ops.push(SessionOp::PutSubscription { session: session.id, row: subscription.row() });
        }
        let send = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !exists,
            RetainHandling::DoNotSend => false,
        };
        Ok((send && filter.share_group().is_none()).then_some(subscription))
    }

    /// Decides under a generation that is still current once the session is locked: a policy that changes meanwhile
    /// either is the one decided by, or finds the subscription when it looks through the session.
    fn grant<'s>(
        &self,
        session: &'s Arc<Session>,
        filter: &TopicFilter,
        now: UnixMillis,
    ) -> Result<(Grant, MutexGuard<'s, Outgoing>), Denial> {
        loop {
            let generation = self.generation_of(session);
            let permit = self.permit_filter(session, filter, now)?;
            let outgoing = session.outgoing.lock();
            if self.generation_of(session) == generation {
                return Ok((Grant { generation, permit: Some(permit) }, outgoing));
            }
        }
    }

    pub(crate) fn permit_filter(
        &self,
        session: &Arc<Session>,
        filter: &TopicFilter,
        now: UnixMillis,
    ) -> Result<Permit, Denial> {
        self.decide(session, Action::Subscribe, filter.plain(), None, false, now).verdict
    }

    /// Makes a subscription effective, in place of an earlier one with the same filter [MQTT-3.8.4-3].
    pub(crate) fn install(&self, outgoing: &mut Outgoing, subscription: &Arc<Subscription>) {
        let old = outgoing.subscriptions.insert(subscription.filter.as_str().into(), Arc::clone(subscription));
        if old.is_none() {
            self.gauges.subscriptions.fetch_add(1, Relaxed);
        }
        self.trie.write().insert(subscription);
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
        let ticket = if ops.is_empty() { Ticket::default() } else { self.journal.submit(&mut ops) };
        Answered { reasons, ticket }
    }

    /// Policy or an identity changed: every subscription of these sessions is decided anew. What is no longer allowed
    /// ends at once, and its connection with it: MQTT has no other way for a server to say so (ISVS-4.2.2).
    pub(crate) fn reauthorize(&self, sessions: &[Arc<Session>], now: UnixMillis) -> usize {
        sessions.iter().map(|session| self.reauthorize_one(session, now)).sum()
    }

    fn reauthorize_one(&self, session: &Arc<Session>, now: UnixMillis) -> usize {
        if self.registry.state_of(session.key.identity) != Some(LifecycleState::Active) {
            return 0; // Nothing is granted to it now, and what it had is decided when it is active again.
        }
        let generation = self.generation_of(session);
        let subscriptions: Vec<_> = session.outgoing.lock().subscriptions.values().cloned().collect();
        let mut withdrawn = 0;
        for subscription in subscriptions {
            match self.permit_filter(session, &subscription.filter, now) {
                Ok(permit) => subscription.grant.store(Arc::new(Grant { generation, permit: Some(permit) })),
                Err(denial) => {
                    self.withdraw(session, &subscription, &denial);
                    withdrawn += 1;
                }
            }
        }
        self.drop_unreceivable(session, now);
        let may_connect = self.decide(session, Action::Connect, "", None, false, now).is_allowed();
        if withdrawn > 0 || !may_connect {
            let close = Close { reason: Reason::NOT_AUTHORIZED, why: "policy no longer allows it" };
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

    /// A client is back, perhaps from elsewhere: what policy reads of a connection may have changed. A subscription
    /// that is not granted from here stays without a permit, so that each message is asked about.
    ///
    /// No lock is held meanwhile: until a subscription has its new grant, each message is asked about.
    pub(crate) fn regrant(&self, session: &Arc<Session>, now: UnixMillis) {
        let generation = self.generation_of(session);
        let is_old = |subscription: &&Arc<Subscription>| subscription.grant.load().generation != generation;
        let old: Vec<_> = session.outgoing.lock().subscriptions.values().filter(is_old).cloned().collect();
        for subscription in old {
            let permit = self.permit_filter(session, &subscription.filter, now).ok();
            subscription.grant.store(Arc::new(Grant { generation, permit }));
        }
    }

    fn withdraw(&self, session: &Arc<Session>, subscription: &Arc<Subscription>, denial: &Denial) {
        let mut outgoing = session.outgoing.lock();
        let filter = &subscription.filter;
        if outgoing.subscriptions.get(filter.as_str()).is_none_or(|current| !Arc::ptr_eq(current, subscription)) {
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
