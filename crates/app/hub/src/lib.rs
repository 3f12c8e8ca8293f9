//! The hub's use-cases: the one place that asks policy, changes the registry, emits events and moves messages.
//!
//! [`Hub`] is the application without its sockets. The edge gives it authenticated connections ([`Hub::authenticate`]
//! makes the [`DeviceIdentity`], [`Connection`] drives it) and administration requests ([`Hub::administer`]).
//!
//! *Invariants*
//! - A publication needs a [`DeviceIdentity`], which only the registry makes, and a permit, which only the policy
//!   engine makes (ISVS-4.2.2).
//! - An acknowledgement goes out after what it promises is durable: every one waits in its connection's queue for its
//!   journal ticket, which it has when the turn that made it ends.
//! - The hub's own bounds on rates and queue bytes are exact within a turn and from turn to turn; turns on several
//!   threads exceed them by at most what one turn of every other thread brings in. All other bounds are exact.
//! - A change of policy or identity raises the access generation; what was decided before is decided again before the
//!   next message, and live sessions are looked at before the change is acknowledged.
//! - Lock order: session table, then a session's `outgoing`, then trie and share groups, then retained, then the journal.
//!   No lock is held while another session's connection is woken.

mod admin;
mod alerts;
mod approvals;
mod attestations;
mod audit;
mod bootstrap;
mod broker;
mod ca_files;
mod custody;
mod disposal;
mod enrol;
mod guests;
pub mod inventory;
mod key_duties;
mod ledger;
mod limits;
mod listener;
mod policies;
mod posture;
mod registry;
mod reports;
mod response;
mod revocation;
mod roots;
pub mod sbom;
mod security;
mod strays;
mod succession;
mod superseded;
mod trust;
mod watch;
mod withdrawal;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    task::Waker,
    time::SystemTime,
};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock};
use portreeve_config::Config;
use portreeve_events::{Datum, Event, Events, Kind as EventKind};
use portreeve_pki::Authority;
use portreeve_policy::{Action, Context, Decision, PolicySet};
use portreeve_store::{Journal, SessionId};
use portreeve_tls::{LeafGate, Refusal, ServerTls};
use portreeve_types::{IdentityName, LifecycleState, Qos, UnixMillis};

pub use admin::{Actor, AdminError, AdminRequest, Bundle, Lane, Outcome, Reloader, RoleOf, Source};
pub use alerts::{AlertLatency, AlertSummary, ChannelSummary, Reach};
pub use attestations::{DocumentSeal, RecordDraft, RecordFilter, RecordState};
pub use bootstrap::{OpenError, Prepared};
pub use broker::{Close, Connection, Counters, CutLatency, Ended, Gauges, Now, Peer, Tally, Transmit};
pub use custody::{CustodyError, ProtectionChange, RootExport, change_protection, export_root};
pub use enrol::{Claim, EnrolRefusal, EnrolRequest, Enrolled, GroupSettings, Presented, ProofSettings};
pub use guests::Guest;
pub use ledger::{
    CosignerError, Cosigning, Erasure, Extract as LedgerExtract, LedgerPlace, LedgerState, WitnessAnswer, commitments,
};
pub use limits::{Admissions, LimitUse};
pub use posture::Postures;
pub use registry::{DeviceIdentity, Fields, NamingError, Registry, RegistryError};
pub use response::Responses;
pub use revocation::PublicationError;
pub use succession::IssuingCa;
pub use watch::Watched;

use broker::{Access, Changes, Retained, Session, SessionTable, Trie, UsedRates};

/// The hub. Shared by all workers; see the crate's documentation.
pub struct Hub {
    data: PathBuf,
    started: UnixMillis,
    config: ArcSwap<Config>,
    events: Events,
    recorder: ledger::Recorder,
    witnesses: ledger::Witnesses,
    /// Cosigns other hubs' ledgers, if it is to.
    cosigner: Option<ledger::Cosigner>,
    watcher: watch::Watcher,
    response: response::Response,
    alerts: alerts::Alerts,
    registry: Arc<Registry>,
    authority: ArcSwap<Authority>,
    keys: custody::KeyRing,
    tls: ServerTls,
    policy: ArcSwap<PolicySet>,
    /// Raised by every change of policy or identity; 0 is never current.
    generation: AtomicU64,
    policy_change: Mutex<()>,
    /// Held while keys are opened and used to change what the hub runs with, for as long as a token takes.
    reconfiguring: Mutex<()>,
    /// Held while the authority is replaced or a CA is withdrawn, and never while a key is used. Inside `reconfiguring`.
    withdrawing: Mutex<()>,
    journal: Arc<Journal>,
    commits: Arc<CommitWatch>,
    trie: RwLock<Trie>,
    changes: Changes,
    retained: RwLock<Retained>,
    sessions: Mutex<SessionTable>,
    timers: Mutex<BTreeSet<(UnixMillis, SessionId)>>,
    next_message: AtomicU64,
    next_session: AtomicU64,
    counters: Counters,
    gauges: Gauges,
    cuts: CutLatency,
    limits: limits::Watermarks,
    rate: limits::RateWindow,
    used_rates: UsedRates,
    enrolment: enrol::EnrolmentRates,
    groups: enrol::Groups,
    approvals: approvals::Approvals,
    attestations: attestations::Attestations,
    reports: reports::Reports,
    sequences: security::Sequences,
    guests: guests::Guests,
    superseded: superseded::Superseded,
    sboms: sbom::Catalogue,
    /// Who is to be quarantined.
    suspects: Mutex<BTreeSet<IdentityName>>,
    postures: posture::Postures,
    publication: revocation::Publication,
    trust: trust::Trust,
    admissions: Admissions,
    reloader: OnceLock<Reloader>,
    role_of: OnceLock<RoleOf>,
    listeners: Mutex<Vec<(String, String)>>,
    upkeep: Mutex<Upkeep>,
    key_duties: key_duties::KeyDuties,
    /// The disk has less than `limits.disk_reserve_bytes` left.
    disk_low: AtomicBool,
    /// The hub stops: nobody is let in any more.
    draining: AtomicBool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("data", &self.data).finish_non_exhaustive()
    }
}

/// Connections that wait for the next commit, and what the store last said.
#[derive(Debug, Default)]
struct CommitWatch {
    /// One a session, however often it is looked at meanwhile.
    wakers: Mutex<hashbrown::HashMap<SessionId, Waker>>,
    trouble: Mutex<Option<String>>,
}

/// How often who did not come when told is forgotten.
const ARRIVALS_EVERY_MS: u64 = 10_000;
/// A step of the clock that is told, milliseconds. Clocks that are kept by NTP make none.
const CLOCK_STEP_MS: u128 = 60_000;
/// How often personal values are looked at for those that are too old.
const OPENINGS_EVERY_MS: u64 = 3_600_000;
/// How often the ledger is looked at for entries that are too old.
const RETENTION_EVERY_MS: u64 = 3_600_000;
/// How often all identities are looked at.
const STRAYS_EVERY_MS: u64 = 3_600_000;

/// How often it is looked which attestations are overdue.
const ATTESTATIONS_EVERY_MS: u64 = 60_000;
/// How often all identities are looked at for what is out of date or silent.
const POSTURES_EVERY_MS: u64 = 60_000;

/// When each periodic duty was last done.
#[derive(Debug, Default)]
struct Upkeep {
    seen_ms: u64,
    used_ms: u64,
    superseded_ms: u64,
    reports_ms: u64,
    arrivals_ms: u64,
    strays_ms: u64,
    attestations_ms: u64,
    postures_ms: u64,
    told: posture::Told,
    warned: strays::Warned,
    sys_ms: u64,
    sweep_ms: u64,
    sweep_after: Option<portreeve_types::TopicName>,
    told_trouble: Option<String>,
    told_ledger_trouble: bool,
    /// The two clocks when they were last compared.
    clocks: Option<Now>,
    openings_ms: u64,
    retention_ms: u64,
    keys_were_stuck: bool,
}

impl Hub {
    /// The configuration in force.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The registry, for reading.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What every TLS listener is configured with.
    #[must_use]
    pub fn tls(&self) -> &ServerTls {
        &self.tls
    }

    /// Admission counters that the listeners share.
    #[must_use]
    pub fn admissions(&self) -> &Admissions {
        &self.admissions
    }

    /// Totals since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is in use now.
    #[must_use]
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// How long it took from an operator's word to the end of each connection that it ended.
    #[must_use]
    pub fn cuts(&self) -> &CutLatency {
        &self.cuts
    }

    /// Event counts, for metrics.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The journal's state, for metrics and readiness.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The world's time.
    #[must_use]
    pub fn wall_clock(&self) -> UnixMillis {
        SystemTime::now().into()
    }

    /// When this hub was opened.
    #[must_use]
    pub fn started(&self) -> UnixMillis {
        self.started
    }

    /// Certificate → registry row → life-cycle state, once more after the handshake and outside it.
    ///
    /// # Errors
    /// Why this certificate is not admitted.
    pub fn authenticate(&self, leaf_der: &[u8]) -> Result<DeviceIdentity, Refusal> {
        let facts = portreeve_pki::leaf_facts(leaf_der).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let identity = self.registry.authenticate(&facts)?;
        if self.registry.used(&identity) {
            self.superseded.note(identity.id());
        }
        Ok(identity)
    }

    /// The registered name of an identity, for logs.
    #[must_use]
    pub fn name_of(&self, id: portreeve_types::IdentityId) -> Option<portreeve_types::IdentityName> {
        self.registry.row(id).map(|row| row.name.clone())
    }

    /// Counts and logs an event, and makes it an entry of the ledger, soon.
    pub fn tell(&self, event: &Event<'_>) {
        let now = self.wall_clock();
        self.events.emit(now.seconds(), event);
        self.recorder.note(event, now);
        self.watch_event(event, now);
        self.alert_event(event, now);
    }

    /// The same, and it is on the disk when this returns.
    ///
    /// # Errors
    /// It is not: what it says is not to be done.
    fn record(&self, event: &Event<'_>) -> Result<u64, ledger::Unrecorded> {
        let now = self.wall_clock();
        self.events.emit(now.seconds(), event);
        self.watch_event(event, now);
        self.alert_event(event, now);
        self.recorder.record(event, now)
    }

    /// Where the ledger stands.
    #[must_use]
    pub fn ledger(&self) -> LedgerState {
        self.recorder.state()
    }

    /// Tells of an event that no operator's request caused.
    pub fn emit(
        &self,
        kind: EventKind,
        identity: Option<&str>,
        client_id: Option<&str>,
        source: Option<IpAddr>,
        detail: std::fmt::Arguments<'_>,
    ) {
        self.tell(&Event { identity, client_id, source, ..Event::new(kind, detail) });
    }

    fn emit_for(&self, session: &Session, kind: EventKind, detail: std::fmt::Arguments<'_>) {
        let peer = session.peer.load();
        let client_id = Some(session.key.client_id.as_str());
        self.emit(kind, Some(session.name.as_str()), client_id, Some(peer.address), detail);
    }

    fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// The generation in which decisions about this session are made: the hub's and its own. Never 0.
    fn generation_of(&self, session: &Session) -> u64 {
        (self.generation() << 32) | (session.epoch.load(Acquire) & u64::from(u32::MAX))
    }

    /// What was decided before this call, about anybody, is decided again.
    fn raise_generation(&self) {
        self.generation.fetch_add(1, AcqRel);
    }

    /// What was decided about this session is decided again, and so is who receives what.
    fn raise_epoch(&self, session: &Session) {
        session.epoch.fetch_add(1, AcqRel);
        let outgoing = session.outgoing.lock();
        outgoing.subscriptions.values().for_each(|subscription| self.changes.note(subscription.filter.plain()));
    }

    /// The policies that apply to a session's identity now.
    fn access(&self, session: &Session) -> Arc<Access> {
        let generation = self.generation_of(session);
        if let Some(access) = session.access.load_full().filter(|access| access.generation == generation) {
            return access;
        }
        let slice = match self.registry.row(session.key.identity).map(|row| self.subject(&row)) {
            Some(subject) => self.policy.load().slice(&subject),
            None => self.policy.load().slice(&portreeve_policy::Subject {
                id: session.key.identity,
                name: session.name.clone(),
                kind: portreeve_types::Kind::Device,
                group: String::new(),
                owner: String::new(),
                location: String::new(),
                model: String::new(),
                firmware: String::new(),
                posture: portreeve_policy::Posture::Unknown,
                state: LifecycleState::Retired,
            }),
        };
        let access = Arc::new(Access { generation, slice });
        session.access.store(Some(Arc::clone(&access)));
        access
    }

    /// Asks policy. Every decision about a session goes through here.
    fn decide(
        &self,
        session: &Session,
        action: Action,
        resource: &str,
        qos: Option<Qos>,
        retain: bool,
        now: UnixMillis,
    ) -> Decision {
        self.decide_from(session, **session.peer.load(), action, resource, qos, retain, now)
    }

    /// As [`Self::decide`], for a connection from `peer` that is not yet the session's.
    #[expect(clippy::too_many_arguments, reason = "a request is these values")]
    fn decide_from(
        &self,
        session: &Session,
        peer: Peer,
        action: Action,
        resource: &str,
        qos: Option<Qos>,
        retain: bool,
        now: UnixMillis,
    ) -> Decision {
        let context = Context {
            now,
            source: Some(peer.address),
            transport: peer.transport,
            client_id: session.key.client_id.as_str(),
            qos,
            retain,
        };
        self.access(session).slice.decide(action, resource, &context)
    }

    /// Has `waker`, that of the session's connection, called after the next commit.
    fn wake_on_commit(&self, session: &Session, waker: &Waker) {
        let mut wakers = self.commits.wakers.lock();
        wakers.entry(session.id).and_modify(|old| old.clone_from(waker)).or_insert_with(|| waker.clone());
    }

    /// Periodic duties: wills, session expiry, retained expiry, `$SYS`, last-seen. The shell calls this about ten times a second.
    pub fn tick(&self, now: Now) {
        self.run_timers(now.wall);
        let mut upkeep = self.upkeep.lock();
        let due = |last_ms: &mut u64, every_ms: u64| {
            let due = now.mono_ms.saturating_sub(*last_ms) >= every_ms;
            if due {
                *last_ms = now.mono_ms;
            }
            due
        };
        // The clock, with wills and expiry, does not wait for the commit of a large import.
        let is_idle = self.registry.is_idle();
        if is_idle
            && due(&mut upkeep.seen_ms, 30_000)
            && let Err(error) = self.registry.flush_seen()
        {
            tracing::warn!(%error, "last-seen times could not be written; they are kept for the next try");
        }
        if is_idle && due(&mut upkeep.strays_ms, STRAYS_EVERY_MS) {
            self.look_for_strays(&mut upkeep.warned, now.wall);
            self.forget_certificates(now.wall);
            self.withdraw_late_newcomers(now.wall);
        }
        if is_idle && due(&mut upkeep.attestations_ms, ATTESTATIONS_EVERY_MS) {
            self.look_at_attestations(now.wall);
        }
        if is_idle
            && due(&mut upkeep.used_ms, 1000)
            && let Err(error) = self.registry.flush_used(now.wall)
        {
            tracing::warn!(%error, "which certificates are in use could not be written; it is tried again");
        }
        if due(&mut upkeep.superseded_ms, 1000) {
            self.end_superseded(now);
        }
        if is_idle {
            self.quarantine_suspects(now.wall);
        }
        if is_idle && due(&mut upkeep.reports_ms, 1000) {
            self.flush_reports(now);
            self.flush_some_sequences();
            self.compare_reports();
        }
        let Upkeep { postures_ms, told, .. } = &mut *upkeep;
        if due(postures_ms, POSTURES_EVERY_MS) {
            self.look_at_postures(told, now.wall);
        }
        if due(&mut upkeep.arrivals_ms, ARRIVALS_EVERY_MS) {
            self.prune_arrivals(now);
        }
        let sys_every_ms = self.config().mqtt.sys_interval_s * 1000;
        if sys_every_ms > 0 && due(&mut upkeep.sys_ms, sys_every_ms) {
            self.publish_sys(now.wall);
        }
        if due(&mut upkeep.sweep_ms, 1000) {
            self.watch_disk();
            self.used_rates.prune(now.mono_ms);
            let after = upkeep.sweep_after.take();
            upkeep.sweep_after = self.sweep_retained(after.as_ref(), now.wall);
        }
        self.watch_keys(&mut upkeep.keys_were_stuck, now);
        self.tell_trouble(&mut upkeep);
        self.tell_ledger_trouble(&mut upkeep);
        self.watch_clock(&mut upkeep.clocks, now);
        if due(&mut upkeep.openings_ms, OPENINGS_EVERY_MS) {
            self.forget_openings(now.wall);
        }
        if due(&mut upkeep.retention_ms, RETENTION_EVERY_MS) {
            self.let_old_entries_go(now.wall);
        }
    }

    fn sweep_retained(
        &self,
        after: Option<&portreeve_types::TopicName>,
        now: UnixMillis,
    ) -> Option<portreeve_types::TopicName> {
        const TOPICS_A_SWEEP: usize = 4096;
        let mut retained = self.retained.write();
        let (next, expired) = retained.sweep(after, TOPICS_A_SWEEP, now);
        let delete =
            |topic: &portreeve_types::TopicName| portreeve_store::SessionOp::DeleteRetained { topic: topic.clone() };
        if !expired.is_empty() {
            self.journal.submit(&mut expired.iter().map(|message| delete(&message.envelope.topic)).collect());
        }
        drop(retained);
        // Bodies go behind the slots that named them.
        drop(expired);
        next
    }

    /// Turns a change of the store's health into one event.
    fn tell_trouble(&self, upkeep: &mut Upkeep) {
        let trouble = self.commits.trouble.lock().clone();
        if trouble == upkeep.told_trouble {
            return;
        }
        let kind = match self.journal.health() {
            portreeve_store::Health::Full => EventKind::StoreFull,
            portreeve_store::Health::Failed(_) => EventKind::StoreFailed,
            _ => EventKind::StoreRecovered,
        };
        self.emit(kind, None, None, None, format_args!("{}", trouble.as_deref().unwrap_or("the store commits again")));
        upkeep.told_trouble = trouble;
    }

    /// Says once that the ledger cannot be written or signed. That it can again is an entry of its own.
    fn tell_ledger_trouble(&self, upkeep: &mut Upkeep) {
        let trouble = self.recorder.state().trouble;
        if let Some(trouble) = trouble.as_ref().filter(|_| !upkeep.told_ledger_trouble) {
            self.tell(&Event::new(EventKind::LedgerFailed, format_args!("{trouble}")));
        }
        upkeep.told_ledger_trouble = trouble.is_some();
    }

    /// Says when somebody has set the clock that entries, expiry and certificates go by.
    fn watch_clock(&self, last: &mut Option<Now>, now: Now) {
        let Some(before) = last.replace(now) else { return };
        let passed_ms = i128::from(now.mono_ms) - i128::from(before.mono_ms);
        let by_ms = i128::from(now.wall.0) - i128::from(before.wall.0) - passed_ms;
        if by_ms.unsigned_abs() >= CLOCK_STEP_MS {
            let data = [("by_ms", Datum::Plain(&by_ms))];
            self.tell(&Event::new(EventKind::ClockJumped, format_args!("")).with(&data));
        }
    }

    /// Personal values are kept for as long as the configuration says.
    fn forget_openings(&self, now: UnixMillis) {
        let days = self.config().ledger.personal_days;
        let before = UnixMillis(now.0.saturating_sub(days * 86_400_000));
        if let Err(error) = self.recorder.with_openings(|openings| openings.forget_before(before)) {
            tracing::warn!(%error, "old personal values of the ledger could not be deleted; it is tried again");
        }
    }

    /// Whether new work that must be stored is accepted: the store commits, keeps up, and has its reserve.
    #[must_use]
    pub fn accepts_work(&self) -> bool {
        self.journal.accepts_work() && !self.disk_low.load(Relaxed)
    }

    /// Looks at the disk before it is full, while there is still room to finish what was begun.
    fn watch_disk(&self) {
        let reserve = self.config().limits.disk_reserve_bytes;
        let Ok(disk) = rustix::fs::statvfs(&self.data) else { return };
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        let low = free_bytes < reserve;
        self.recorder.set_frugal(low);
        if self.disk_low.swap(low, Relaxed) != low {
            let kind = if low { EventKind::StoreFull } else { EventKind::StoreRecovered };
            self.emit(kind, None, None, None, format_args!("{free_bytes} bytes free, {reserve} kept in reserve"));
        }
    }

    /// How the store fares, in words for the operator.
    #[must_use]
    pub fn store_health(&self) -> String {
        if self.disk_low.load(Relaxed) {
            return "the disk is nearly full: new work that must be stored is refused; free some space".into();
        }
        match self.journal.health() {
            portreeve_store::Health::Ok => "ok".into(),
            portreeve_store::Health::Backlogged => {
                "the disk does not keep up: new work that must be stored is refused".into()
            }
            portreeve_store::Health::Full => {
                "the disk is full: new work that must be stored is refused; free some space".into()
            }
            portreeve_store::Health::Failed(why) => why,
        }
    }

    /// Tells every client that the hub stops (0x8B; 3.1.1 clients get a clean close).
    pub fn drain(&self) {
        self.emit(
            EventKind::HubStopping,
            None,
            None,
            None,
            format_args!("draining {} clients", self.gauges.online.load(Relaxed)),
        );
        self.draining.store(true, Relaxed);
        let reason = portreeve_mqtt::Reason::SERVER_SHUTTING_DOWN;
        self.close_all(Close::new(reason, "the hub shuts down"));
    }

    /// Writes what is pending. `false` if the store could not take it in time.
    #[must_use]
    pub fn finish(&self, timeout: std::time::Duration) -> bool {
        let now = self.wall_clock();
        self.write_reports(now);
        let sequences = self.flush_sequences(usize::MAX).is_ok();
        self.save_baselines();
        self.keep_alerts();
        self.recorder.close();
        let seen = self.registry.flush_seen().is_ok() && self.registry.flush_used(now).is_ok();
        self.journal.flush(timeout) && seen && sequences
    }

    /// What listens, for `status`.
    pub fn set_listeners(&self, listeners: Vec<(String, String)>) {
        *self.listeners.lock() = listeners;
    }

    /// How operators come to their roles; the shell knows the machine's users. Without it they are those whom
    /// `admin.operators` names.
    pub fn set_role_of(&self, role_of: RoleOf) {
        // A second call would be a bug of the shell; the first stands.
        let _ = self.role_of.set(role_of);
    }

    /// How `reload` is done; the shell knows where its configuration came from.
    pub fn set_reloader(&self, reloader: Reloader) {
        // A second call would be a bug of the shell; the first stands.
        let _ = self.reloader.set(reloader);
    }
}

impl Drop for Hub {
    /// Sessions and their subscriptions refer to each other; without this they would keep the store open.
    fn drop(&mut self) {
        self.journal.seal();
        let sessions: Vec<_> = self.sessions.lock().by_id.drain().map(|(_, session)| session).collect();
        for session in sessions {
            let subscriptions = {
                let mut outgoing = session.outgoing.lock();
                outgoing.scans.clear();
                std::mem::take(&mut outgoing.subscriptions)
            };
            drop(subscriptions);
        }
    }
}

fn gate_of(registry: &Arc<Registry>) -> Arc<dyn LeafGate> {
    Arc::new(registry::RegistryGate(Arc::clone(registry)))
}
