//! CONNECT to session and connection's end: resume, take over, expire, publish wills.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Mutex, MutexGuard};
use portreeve_config::{Limits, TwoPlaces};
use portreeve_events::Kind;
use portreeve_mqtt::{Connect, Reason, Version};
use portreeve_policy::Action;
use portreeve_store::{SessionId, SessionOp, Ticket, WillRow};
use portreeve_types::{ClientId, IdentityId, Kind as IdentityKind, LifecycleState, TopicName, UnixMillis};
use uuid::Uuid;

use super::{
    Now,
    arrivals::{Arrivals, Caller},
    message::{Envelope, Message, expires},
    session::{Close, Incoming, LinkSlot, Outgoing, Peer, Session, SessionKey},
    turn::Turn,
};
use crate::{DeviceIdentity, Hub, registry::By};

/// Why a CONNECT was refused: a code for the peer, words for the log.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) kind: Kind,
    pub(crate) why: String,
    /// When it may come again, if that is all that is wrong.
    pub(crate) retry_after_ms: Option<u64>,
}

impl Refused {
    fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self::of(Kind::ConnectRefused, reason, why)
    }

    fn of(kind: Kind, reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, kind, why: why.into(), retry_after_ms: None }
    }

    fn for_now(retry_after_ms: u64) -> Self {
        let why = format!("too many connect at once; to come again in {retry_after_ms} ms");
        let retry_after_ms = Some(retry_after_ms);
        Self { retry_after_ms, ..Self::of(Kind::ConnectDeferred, Reason::SERVER_BUSY, why) }
    }
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) session: Arc<Session>,
    /// See [`Outgoing::connection`].
    pub(crate) connection: u64,
    pub(crate) present: bool,
    pub(crate) assigned: Option<ClientId>,
    /// The granted Session Expiry Interval, seconds.
    pub(crate) expiry_s: u32,
    /// QoS 2 deliveries whose PUBREL goes out again.
    pub(crate) releases: Vec<u16>,
    /// When everything that these PUBRELs rest on is durable.
    pub(crate) released: Ticket,
    /// When CONNACK may go out: with the end of the stored session that this one replaces, else at once.
    pub(crate) accepted: Ticket,
}

/// A CONNECT that policy lets in, as long as the table is locked.
struct Admitted<'a> {
    table: MutexGuard<'a, SessionTable>,
    /// The session of this name, or one that was not in the table yet.
    session: Arc<Session>,
    is_new: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// DISCONNECT 0x00: the will is void [MQTT-3.14.4-3].
    Clean,
    /// Anything else.
    WithWill,
}

/// The identity's sessions that must be looked after once no lock is held.
#[derive(Default)]
struct Aftermath {
    wakes: Vec<Waker>,
    taken_over: Option<Arc<Session>>,
    /// What ended sessions held. Bodies go after the rows that named them.
    owed: Vec<Arc<Message>>,
    /// Wills to publish, each with what the store must learn in the same commit.
    wills: Vec<(Arc<Session>, Arc<WillRow>, Vec<SessionOp>)>,
    /// A device that is connected from elsewhere as well, where it came from now, and from where else.
    elsewhere: Option<(DeviceIdentity, Peer, String)>,
}

impl Hub {
    pub(crate) fn attach(
        &self,
        identity: &DeviceIdentity,
        request: &Connect<'_>,
        peer: Peer,
        at: Now,
    ) -> Result<Attached, Refused> {
        let now = at.wall;
        if request.authentication_method.is_some() {
            return Err(Refused::new(Reason::BAD_AUTHENTICATION_METHOD, "enhanced authentication is not offered"));
        }
        let (client_id, assigned) = self.client_id(identity, request)?;
        let expiry_s = self.granted_expiry_s(request);
        let will = request.will.as_ref().map(|will| self.will_row(will)).transpose()?.map(Arc::new);
        let key = SessionKey { identity: identity.id(), client_id };

        let mut after = Aftermath::default();
        let admitted = self.admit(identity, &key, request.clean_start, peer, will.as_deref(), now)?;
        // Under the table's lock: whoever blocks a source looks through the table behind it.
        if self.is_blocked(peer.address, at.mono_ms) {
            return Err(Refused::new(Reason::BANNED, "its source is blocked"));
        }
        let attached = self.attach_locked(identity, request, admitted, peer, expiry_s, will, &mut after, at);
        self.see_to(after, now);
        let mut attached = attached?;
        if attached.accepted == Turn::PENDING {
            attached.accepted = self.journal.submit(&mut Vec::new());
        }
        Ok(Attached { assigned: assigned.then(|| attached.session.key.client_id.clone()), ..attached })
    }

    /// Asks policy before the lock that all connections share is taken, and returns with that lock, under policies
    /// and an identity that are still those which were asked: what changes later finds the session in the table.
    fn admit(
        &self,
        identity: &DeviceIdentity,
        key: &SessionKey,
        clean_start: bool,
        peer: Peer,
        will: Option<&WillRow>,
        now: UnixMillis,
    ) -> Result<Admitted<'_>, Refused> {
        let basis = || (self.generation(), self.registry.row(identity.id()));
        loop {
            let (generation, row) = basis();
            self.check_active(identity)?;
            let known = self.sessions.lock().by_key.get(key).filter(|_| !clean_start).cloned();
            let is_new = known.is_none();
            let session = known.unwrap_or_else(|| self.new_session(identity, key.clone(), peer, now));
            self.check_connect_policy(&session, peer, will, now)?;
            let table = self.sessions.lock();
            let (generation_now, row_now) = basis();
            if generation_now == generation && row_now.as_ref().map(Arc::as_ptr) == row.as_ref().map(Arc::as_ptr) {
                return Ok(Admitted { table, session, is_new });
            }
        }
    }

    /// The other address that a device is connected from now (CSA-TSP-03). Gateways and applications may have several.
    fn is_elsewhere(&self, identity: &DeviceIdentity, table: &SessionTable, peer: Peer) -> Option<IpAddr> {
        if identity.kind() != IdentityKind::Device || self.config().lifecycle.on_two_places == TwoPlaces::Ignore {
            return None;
        }
        let sessions = table.by_identity.get(&identity.id())?;
        let online = sessions.iter().filter(|session| session.outgoing.lock().is_online());
        online.map(|session| session.peer.load().address).find(|address| *address != peer.address)
    }

    /// Tells that a device is in two places. What the configuration has done to it needs the disk, so the clock does it.
    fn respond_to_two_places(&self, identity: &DeviceIdentity, peer: Peer, why: &str) {
        self.emit(Kind::TwoPlaces, Some(identity.name().as_str()), None, Some(peer.address), format_args!("{why}"));
        if self.config().lifecycle.on_two_places == TwoPlaces::Quarantine {
            self.suspects.lock().insert(identity.name().clone());
        }
    }

    /// Quarantines whom [`Self::respond_to_two_places`] found since the last call; one of each identity, however often.
    pub(crate) fn quarantine_suspects(&self, now: UnixMillis) {
        for name in std::mem::take(&mut *self.suspects.lock()) {
            let by = By { actor: "the hub", reason: "it connected from two places at once", at: now };
            if let Err(error) = self.move_identity(&name, LifecycleState::Quarantined, by) {
                tracing::warn!(identity = name.as_str(), %error, "an identity in two places was not quarantined");
            }
        }
    }

    /// What is left to do once no lock is held.
    fn see_to(&self, after: Aftermath, now: UnixMillis) {
        after.wakes.into_iter().for_each(Waker::wake);
        if let Some((identity, peer, why)) = after.elsewhere {
            self.respond_to_two_places(&identity, peer, &why);
        }
        if let Some(session) = after.taken_over {
            self.emit_for(&session, Kind::SessionTakenOver, format_args!("a newer connection took the session"));
        }
        self.publish_wills(after.wills, now);
        let mut ops = Vec::new();
        after.owed.into_iter().for_each(|message| message.release(&mut ops));
        if !ops.is_empty() {
            self.journal.submit(&mut ops);
        }
    }

    fn client_id(&self, identity: &DeviceIdentity, request: &Connect<'_>) -> Result<(ClientId, bool), Refused> {
        let refuse = |why: &str| Err(Refused::new(Reason::CLIENT_IDENTIFIER_NOT_VALID, why));
        if request.client_id.is_empty() {
            if request.version == Version::V311 && !request.clean_start {
                return refuse("an empty client id needs a clean session [MQTT-3.1.3-8 of 3.1.1]");
            }
            let text = format!("{}:{}", identity.name(), Uuid::new_v4().simple());
            return ClientId::new(&text).map(|id| (id, true)).map_or_else(|| refuse("no client id could be made"), Ok);
        }
        if request.client_id.len() > self.config().limits.client_id_bytes {
            return refuse("client id is too long");
        }
        let Some(id) = ClientId::new(request.client_id) else { return refuse("client id holds a control character") };
        if !id.belongs_to(identity.kind(), identity.name()) {
            return refuse("client id is not this identity's");
        }
        Ok((id, false))
    }

    /// Seconds; 3.1.1 knows only clean (0) or not.
    fn granted_expiry_s(&self, request: &Connect<'_>) -> u32 {
        let config = self.config();
        match request.version {
            Version::V5 => request.session_expiry_s.unwrap_or(0).min(config.mqtt.session_expiry_max_s),
            Version::V311 if request.clean_start => 0,
            // A day or more (CSA-OPA-10).
            Version::V311 => config.mqtt.session_expiry_v311_s,
        }
    }

    fn will_row(&self, will: &portreeve_mqtt::Will<'_>) -> Result<WillRow, Refused> {
        let config = self.config();
        let limits = &config.limits;
        let invalid = |_| Refused::new(Reason::TOPIC_NAME_INVALID, "will topic is not a topic name");
        let topic = TopicName::new(will.topic).map_err(invalid)?;
        if topic.split('/').count() > limits.topic_levels || topic.len() > limits.topic_bytes {
            return Err(Refused::new(Reason::TOPIC_NAME_INVALID, "will topic has too many levels or bytes"));
        }
        let mut forwarded = Vec::new();
        will.properties.encode_forwarded(&mut forwarded);
        Ok(WillRow {
            topic,
            qos: will.qos,
            retain: will.retain,
            forwarded: forwarded.into(),
            payload: will.payload.into(),
            expiry_s: will.properties.expiry_s,
            delay_s: will.delay_s.min(config.mqtt.will_delay_max_s),
            due: None,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one CONNECT, already checked one by one")]
    fn attach_locked(
        &self,
        identity: &DeviceIdentity,
        request: &Connect<'_>,
        admitted: Admitted<'_>,
        peer: Peer,
        expiry_s: u32,
        will: Option<Arc<WillRow>>,
        after: &mut Aftermath,
        at: Now,
    ) -> Result<Attached, Refused> {
        let now = at.wall;
        let Admitted { mut table, session, is_new } = admitted;
        // A revocation writes the registry first and then closes the sessions it finds under this lock; so either it
        // finds this one or this one finds it (IIITA-N4).
        self.check_active(identity)?;
        if self.draining.load(Relaxed) {
            return Err(Refused::new(Reason::SERVER_SHUTTING_DOWN, "the hub shuts down"));
        }
        let elsewhere =
            self.is_elsewhere(identity, &table, peer).map(|other| format!("connected from {other} as well"));
        if let Some(why) = &elsewhere
            && self.config().lifecycle.on_two_places == TwoPlaces::Refuse
        {
            return Err(Refused::of(Kind::TwoPlaces, Reason::NOT_AUTHORIZED, why.clone()));
        }
        let existing = table.by_key.get(&session.key).cloned();
        let resumable = existing.as_ref().is_some_and(|session| {
            let outgoing = session.outgoing.lock();
            !request.clean_start && outgoing.expiry_s > 0 && outgoing.expires().is_none_or(|at| at > now)
        });
        let session = match &existing {
            Some(existing) if resumable => Arc::clone(existing),
            _ if is_new => session,
            // It ended meanwhile.
            _ => self.new_session(identity, session.key.clone(), peer, now),
        };
        if !resumable {
            if expiry_s > 0 && !self.accepts_work() {
                return Err(Refused::new(Reason::QUOTA_EXCEEDED, "the store takes no work: no new persistent session"));
            }
            let replaces = usize::from(existing.is_some());
            self.check_session_limits(&table, identity, replaces)?;
        }
        // Last, when nothing else is in the way: a session is begun for every place that is taken.
        self.take_place(&mut table.arrivals, identity, request, at)?;
        after.elsewhere = elsewhere.map(|why| (identity.clone(), peer, why));
        let mut accepted = Ticket::default();
        if let Some(old) = existing.filter(|_| !resumable) {
            accepted = self.end_session(&mut table, &old, after);
        }
        if !resumable {
            table.insert(Arc::clone(&session));
        }
        if resumable {
            self.move_to(&session, peer);
            session.incoming.lock().received.resume();
        }
        let (connection, releases, released) =
            self.link(&session, identity, request, expiry_s, will, resumable, now, after);
        drop(table);
        self.gauges.online.fetch_add(1, Relaxed);
        let present = resumable;
        Ok(Attached { session, connection, present, assigned: None, expiry_s, releases, released, accepted })
    }

    /// The session's client is at `peer` now. What was decided by its old address is decided again. (A policy that
    /// changes meanwhile has everything decided again.)
    fn move_to(&self, session: &Session, peer: Peer) {
        let old = session.peer.swap(Arc::new(peer));
        let moved = (old.address, old.transport) != (peer.address, peer.transport);
        if moved && self.access(session).slice.reads_peer() {
            self.raise_epoch(session);
        }
    }

    fn new_session(&self, identity: &DeviceIdentity, key: SessionKey, peer: Peer, now: UnixMillis) -> Arc<Session> {
        Arc::new(Session {
            id: SessionId(self.next_session.fetch_add(1, Relaxed)),
            key,
            name: identity.name().clone(),
            created: now,
            epoch: AtomicU64::new(0),
            access: ArcSwapOption::empty(),
            peer: ArcSwap::from_pointee(peer),
            outgoing: Outgoing::default().into(),
            incoming: Incoming::default().into(),
            releasing: Mutex::default(),
        })
    }

    fn check_active(&self, identity: &DeviceIdentity) -> Result<(), Refused> {
        let refuse = |why: &str| Err(Refused::of(Kind::IdentityRefused, Reason::NOT_AUTHORIZED, why));
        let is_trusted = self.registry.withdrawal_of(identity.issuer()).is_none();
        if !is_trusted || !self.registry.state_of(identity.id()).is_some_and(LifecycleState::may_connect) {
            return refuse("the identity is no longer active");
        }
        if self.registry.has_newer_in_use(identity.id(), identity.generation()) {
            return refuse("a newer certificate of its is in use");
        }
        Ok(())
    }

    fn check_connect_policy(
        &self,
        session: &Arc<Session>,
        peer: Peer,
        will: Option<&WillRow>,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        let connect = self.decide_from(session, peer, Action::Connect, "", None, false, now);
        connect.verdict.map_err(|denial| Refused::new(Reason::NOT_AUTHORIZED, denial.to_string()))?;
        let Some(will) = will else { return Ok(()) };
        let publish = self.decide_from(session, peer, Action::Publish, &will.topic, Some(will.qos), will.retain, now);
        publish.verdict.map(drop).map_err(|denial| {
            let why = format!("will to {}: {denial}", will.topic);
            Refused::of(Kind::WillDenied, Reason::NOT_AUTHORIZED, why)
        })
    }

    fn check_session_limits(
        &self,
        table: &SessionTable,
        identity: &DeviceIdentity,
        replaces: usize,
    ) -> Result<(), Refused> {
        let config = self.config();
        let limits = &config.limits;
        let per_identity = sessions_max(limits, identity.kind());
        let held = table.by_identity.get(&identity.id()).map_or(0, Vec::len);
        let refuse = |why: &str| Err(Refused::of(Kind::LimitReached, Reason::QUOTA_EXCEEDED, why));
        if held >= per_identity + replaces {
            return refuse("the identity holds all the sessions it may");
        }
        if table.by_id.len() >= limits.sessions_total + replaces {
            return refuse("the hub holds all the sessions it may");
        }
        Ok(())
    }

    /// One of the sessions that may be begun now, or when to come again (IOTSF-2.4.7.25).
    fn take_place(
        &self,
        arrivals: &mut Arrivals,
        identity: &DeviceIdentity,
        request: &Connect<'_>,
        now: Now,
    ) -> Result<(), Refused> {
        let config = self.config();
        let limits = &config.limits;
        let sessions_max = sessions_max(limits, identity.kind());
        let caller = Caller { identity: identity.id(), client_id: request.client_id, sessions_max };
        let taken = arrivals.begin(caller, limits, now.mono_ms);
        self.count_arrivals(arrivals, now);
        taken.map_err(Refused::for_now)
    }

    /// Forgets who was told to come again and did not.
    pub(crate) fn prune_arrivals(&self, now: Now) {
        let arrivals = &mut self.sessions.lock().arrivals;
        arrivals.prune(now.mono_ms);
        self.count_arrivals(arrivals, now);
    }

    fn count_arrivals(&self, arrivals: &Arrivals, now: Now) {
        let used = arrivals.used(&self.config().limits, now.mono_ms);
        self.admissions.connects_this_s.store(used, Relaxed);
        self.admissions.connects_waiting.store(arrivals.waiting(), Relaxed);
        self.admissions.connects_busy_until_ms.store(arrivals.busy_until_ms(), Relaxed);
    }

    /// Makes this connection the session's current one, ending an earlier one [MQTT-3.1.4-3].
    #[expect(clippy::too_many_arguments, reason = "as its only caller")]
    fn link(
        &self,
        session: &Arc<Session>,
        identity: &DeviceIdentity,
        request: &Connect<'_>,
        expiry_s: u32,
        will: Option<Arc<WillRow>>,
        resumed: bool,
        now: UnixMillis,
        after: &mut Aftermath,
    ) -> (u64, Vec<u16>, Ticket) {
        let mut outgoing = session.outgoing.lock();
        if outgoing.is_online() {
            after.taken_over = Some(Arc::clone(session));
            let close = Close::new(Reason::SESSION_TAKEN_OVER, "session taken over");
            after.wakes.extend(outgoing.close(close));
            self.gauges.online.fetch_sub(1, Relaxed);
            // The old connection ended without DISCONNECT. A delayed will is void, for the session goes on [MQTT-3.1.3-9].
            let old_will = outgoing.will.take().filter(|will| will.delay_s == 0);
            after.wills.extend(old_will.map(|will| (Arc::clone(session), will, Vec::new())));
        }
        outgoing.connection += 1;
        let (certificate, issuer) = (identity.generation(), identity.issuer());
        outgoing.link = Some(LinkSlot { certificate, issuer, ..LinkSlot::default() });
        self.mark_shared(&outgoing, true);
        outgoing.v5 = request.version == Version::V5;
        outgoing.expiry_s = expiry_s;
        outgoing.stored |= expiry_s > 0;
        outgoing.disconnected = None;
        outgoing.will_due = None;
        outgoing.will = will;
        self.disarm(session, &mut outgoing);
        let releases = if resumed { outgoing.outbound.resume() } else { Vec::new() };
        let mut ops = Vec::new();
        if outgoing.stored {
            ops.push(SessionOp::PutSession { id: session.id, row: session.row(&outgoing) });
            ops.push(match &outgoing.will {
                Some(will) => SessionOp::PutWill { session: session.id, row: Arc::clone(will) },
                None => SessionOp::DeleteWill { session: session.id },
            });
        }
        let ticket = self.journal.submit(&mut ops);
        self.registry.seen(session.key.identity, now);
        let released = if outgoing.stored { ticket } else { Ticket::default() };
        (outgoing.connection, releases, released)
    }

    /// Tells the share groups of a session whether its client is there.
    fn mark_shared(&self, outgoing: &Outgoing, online: bool) {
        for subscription in outgoing.subscriptions.values() {
            if subscription.filter.share_group().is_some() {
                self.trie.read().mark(subscription, online);
            }
        }
    }

    /// Sets a timer for a session; see [`Self::run_timers`].
    pub(crate) fn arm(&self, session: &Session, outgoing: &mut Outgoing, at: UnixMillis) {
        outgoing.armed.push(at);
        self.timers.lock().insert((at, session.id));
    }

    /// Takes back the timers of a session whose client returned, so that they do not pile up.
    fn disarm(&self, session: &Session, outgoing: &mut Outgoing) {
        let mut timers = self.timers.lock();
        for at in outgoing.armed.drain(..) {
            timers.remove(&(at, session.id));
        }
    }

    /// A connection is gone. `expiry_s` is what its DISCONNECT asked for.
    pub(crate) fn detach(
        &self,
        session: &Arc<Session>,
        connection: u64,
        how: Departure,
        expiry_s: Option<u32>,
        now: UnixMillis,
    ) {
        let mut after = Aftermath::default();
        let mut table = self.sessions.lock();
        let mut outgoing = session.outgoing.lock();
        if outgoing.connection != connection || outgoing.ended || !outgoing.is_online() {
            return; // A newer connection, or the session's end, has seen to everything.
        }
        outgoing.link = None;
        self.mark_shared(&outgoing, false);
        outgoing.disconnected = Some(now);
        self.gauges.online.fetch_sub(1, Relaxed);
        let before = outgoing.outbound.bytes();
        outgoing.outbound.forget_qos0();
        self.gauges.queue_changed(before, outgoing.outbound.bytes());
        if let Some(expiry_s) = expiry_s {
            outgoing.expiry_s = expiry_s.min(self.config().mqtt.session_expiry_max_s);
        }
        if how == Departure::Clean {
            outgoing.will = None;
        }
        self.registry.seen(session.key.identity, now);
        if outgoing.expiry_s == 0 {
            drop(outgoing);
            self.end_session(&mut table, session, &mut after);
        } else {
            self.leave(session, &mut outgoing, now, &mut after);
            drop(outgoing);
        }
        drop(table);
        self.see_to(after, now);
    }

    /// The session stays without a connection: note when its will is due and when it ends.
    fn leave(&self, session: &Arc<Session>, outgoing: &mut Outgoing, now: UnixMillis, after: &mut Aftermath) {
        if let Some(expires) = outgoing.expires() {
            self.arm(session, outgoing, expires);
        }
        let mut ops = Vec::with_capacity(2);
        ops.push(SessionOp::PutSession { id: session.id, row: session.row(outgoing) });
        match outgoing.will.take_if(|will| will.delay_s == 0) {
            Some(will) => {
                let delete = vec![SessionOp::DeleteWill { session: session.id }];
                after.wills.push((Arc::clone(session), will, delete));
            }
            None => ops.push(self.arm_will(session, outgoing, now)),
        }
        self.journal.submit(&mut ops);
    }

    fn arm_will(&self, session: &Session, outgoing: &mut Outgoing, now: UnixMillis) -> SessionOp {
        let Some(will) = &outgoing.will else { return SessionOp::DeleteWill { session: session.id } };
        let due = now.plus(Duration::from_secs(will.delay_s.into()));
        let row = Arc::new(WillRow { due: Some(due), ..(**will).clone() });
        outgoing.will_due = Some(due);
        self.arm(session, outgoing, due);
        SessionOp::PutWill { session: session.id, row }
    }

    /// Ends a session: nothing of it remains, and its will goes out [MQTT-3.1.2-10]. Returns when its end is durable;
    /// with a will, its end is committed together with that: [`Turn::PENDING`] until [`Self::see_to`].
    fn end_session(&self, table: &mut SessionTable, session: &Arc<Session>, after: &mut Aftermath) -> Ticket {
        let mut outgoing = session.outgoing.lock();
        if outgoing.ended {
            return Ticket::default();
        }
        outgoing.ended = true;
        if outgoing.is_online() {
            let close = Close::new(Reason::SESSION_TAKEN_OVER, "session taken over by a clean start");
            after.wakes.extend(outgoing.close(close));
            self.gauges.online.fetch_sub(1, Relaxed);
        }
        let subscriptions: Vec<_> = outgoing.subscriptions.drain().map(|(_, subscription)| subscription).collect();
        outgoing.scans.clear();
        let before = outgoing.outbound.bytes();
        after.owed.extend(outgoing.outbound.drain().map(|delivery| delivery.message));
        self.gauges.queue_changed(before, 0);
        self.disarm(session, &mut outgoing);
        let will = outgoing.will.take();
        let stored = outgoing.stored;
        drop(outgoing);
        let over = Incoming { ended: true, ..Incoming::default() };
        let mut held = std::mem::replace(&mut *session.incoming.lock(), over);
        self.gauges.queue_changed(held.bytes, 0);
        after.owed.extend(held.received.drain());
        subscriptions.iter().for_each(|subscription| self.uninstall(subscription));
        table.remove(session);
        let mut ops = if stored { vec![SessionOp::DeleteSession { id: session.id }] } else { Vec::new() };
        let mut ended = Ticket::default();
        match will {
            Some(will) => {
                after.wills.push((Arc::clone(session), will, ops));
                ended = if stored { Turn::PENDING } else { ended };
            }
            None if stored => ended = self.journal.submit(&mut ops),
            None => {}
        }
        ended
    }

    fn publish_wills(&self, wills: Vec<(Arc<Session>, Arc<WillRow>, Vec<SessionOp>)>, now: UnixMillis) {
        for (session, will, ops) in wills {
            self.publish_will(&session, &will, now, ops);
        }
    }

    /// Publishes a will, if policy still allows it.
    fn publish_will(&self, session: &Arc<Session>, will: &WillRow, now: UnixMillis, mut ops: Vec<SessionOp>) {
        let decision = self.decide(session, Action::Publish, &will.topic, Some(will.qos), will.retain, now);
        if let Err(denial) = decision.verdict {
            self.journal.submit(&mut ops);
            return self.emit_for(session, Kind::WillDenied, format_args!("will to {}: {denial}", will.topic));
        }
        let envelope = Envelope {
            topic: will.topic.clone(),
            publisher: Some(session.key.identity),
            qos: will.qos,
            retain: will.retain,
            expires: expires(&self.config(), will.expiry_s, now),
            received: now,
        };
        self.counters.wills_published.fetch_add(1, Relaxed);
        self.publish_detached(&Message::new(envelope, &will.forwarded, &will.payload), Some(session), now, ops);
    }

    /// Wills and sessions whose time has come. The shell calls this several times a second.
    pub(crate) fn run_timers(&self, now: UnixMillis) {
        loop {
            let due = {
                let mut timers = self.timers.lock();
                let Some(&(at, id)) = timers.first().filter(|(at, _)| *at <= now) else { return };
                timers.remove(&(at, id));
                id
            };
            let Some(session) = self.sessions.lock().by_id.get(&due).cloned() else { continue };
            self.session_due(&session, now);
        }
    }

    fn session_due(&self, session: &Arc<Session>, now: UnixMillis) {
        let mut after = Aftermath::default();
        let mut table = self.sessions.lock();
        let mut outgoing = session.outgoing.lock();
        if outgoing.is_online() || outgoing.ended {
            return;
        }
        if outgoing.expires().is_some_and(|at| at <= now) {
            drop(outgoing);
            self.end_session(&mut table, session, &mut after);
        } else if outgoing.will_due.is_some_and(|at| at <= now) {
            outgoing.will_due = None;
            let delete = vec![SessionOp::DeleteWill { session: session.id }];
            after.wills.extend(outgoing.will.take().map(|will| (Arc::clone(session), will, delete)));
            drop(outgoing);
        } else {
            drop(outgoing);
        }
        drop(table);
        self.see_to(after, now);
    }

    /// Ends the connections of an identity, those for provisioning among them, and with `forget` its sessions too.
    pub(crate) fn cut(&self, identity: IdentityId, close: Close, forget: bool) -> usize {
        let table = self.sessions.lock();
        let sessions = table.by_identity.get(&identity).cloned().unwrap_or_default();
        self.cut_sessions(table, &sessions, close, forget) + self.guests.close(identity, close)
    }

    /// Ends every connection whose client has shown a certificate of the CA of this number. Sessions stay for those who come
    /// back with another.
    pub(crate) fn cut_issued_by(&self, issuer: u32, close: Close) -> usize {
        let table = self.sessions.lock();
        let is_of =
            |session: &&Arc<Session>| session.outgoing.lock().link.as_ref().is_some_and(|link| link.issuer == issuer);
        let sessions: Vec<_> = table.by_id.values().filter(is_of).cloned().collect();
        self.cut_sessions(table, &sessions, close, false)
    }

    /// Ends every connection from addresses that are meant. Sessions stay.
    pub(crate) fn cut_from(&self, is_meant: impl Fn(IpAddr) -> bool, close: Close) -> usize {
        let table = self.sessions.lock();
        let is_there =
            |session: &&Arc<Session>| is_meant(session.peer.load().address) && session.outgoing.lock().is_online();
        let sessions: Vec<_> = table.by_id.values().filter(is_there).cloned().collect();
        self.cut_sessions(table, &sessions, close, false)
    }

    fn cut_sessions(
        &self,
        mut table: MutexGuard<'_, SessionTable>,
        sessions: &[Arc<Session>],
        close: Close,
        forget: bool,
    ) -> usize {
        let mut after = Aftermath::default();
        let mut cut = 0;
        for session in sessions {
            let waker = {
                let mut outgoing = session.outgoing.lock();
                // A connection tells of its end itself.
                if outgoing.is_online() {
                    cut += 1;
                } else {
                    self.emit_for(session, Kind::SessionCut, format_args!("{}", close.why));
                }
                // A will of somebody who was cut off is not published: policy denies it from now on anyway.
                if outgoing.will.take().is_some() && outgoing.stored {
                    self.journal.submit(&mut vec![SessionOp::DeleteWill { session: session.id }]);
                }
                outgoing.close(close)
            };
            after.wakes.extend(waker);
            if forget {
                self.end_session(&mut table, session, &mut after);
            }
        }
        drop(table);
        self.see_to(after, self.wall_clock());
        cut
    }

    /// Asks every connection to end: the hub stops.
    pub(crate) fn close_all(&self, close: Close) {
        let sessions: Vec<_> = self.sessions.lock().by_id.values().cloned().collect();
        for session in sessions {
            let waker = session.outgoing.lock().close(close);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

fn sessions_max(limits: &Limits, kind: IdentityKind) -> usize {
    match kind {
        IdentityKind::Device => limits.sessions_per_device,
        IdentityKind::Gateway | IdentityKind::Application => limits.sessions_per_application,
    }
}

/// Every session, by each of the keys it is asked for.
#[derive(Debug, Default)]
pub(crate) struct SessionTable {
    pub(crate) by_key: hashbrown::HashMap<SessionKey, Arc<Session>>,
    pub(crate) by_id: hashbrown::HashMap<SessionId, Arc<Session>>,
    pub(crate) by_identity: hashbrown::HashMap<IdentityId, Vec<Arc<Session>>>,
    /// Who may begin one, and when. Here, because whoever begins one holds this lock anyway.
    arrivals: Arrivals,
}

impl SessionTable {
    pub(crate) fn insert(&mut self, session: Arc<Session>) {
        self.by_identity.entry(session.key.identity).or_default().push(Arc::clone(&session));
        self.by_id.insert(session.id, Arc::clone(&session));
        self.by_key.insert(session.key.clone(), session);
    }

    pub(crate) fn remove(&mut self, session: &Session) {
        self.by_id.remove(&session.id);
        if self.by_key.get(&session.key).is_some_and(|current| current.id == session.id) {
            self.by_key.remove(&session.key);
        }
        if let Some(held) = self.by_identity.get_mut(&session.key.identity) {
            held.retain(|other| other.id != session.id);
            if held.is_empty() {
                self.by_identity.remove(&session.key.identity);
            }
        }
    }
}
