//! What the hub does upon findings by itself, and the cases that people work on (IIITA-N6).
//!
//! [`Hub::respond`] decides about one finding at a time: what is decided is an entry of the ledger, then it is stored, then it is
//! done. What cannot be recorded is not done, and what cannot be stored is taken back.
//!
//! *Invariants*
//! - A rehearsal is never responded to, and nothing that is not in the ledger is done.
//! - One turn at a time decides, lifts or applies settings: nothing is lifted between its entry and its doing.
//! - A quarantine is lifted only while it is the measure's own: what a person decided meanwhile stands.
//! - The administration socket knows no sources, and no rule reaches it.
//! - Lock order: the turn, then the book; with neither is a session or the registry's change lock held.

mod act;
mod admin;
mod case_work;
mod extract;
mod look;
mod seen;

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portreeve_detect::Detector;
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_respond::{
    BRAKE_WINDOW_MS, Blocks, Cases, Change, Damaged, Decision, Facts, Filed, LedgerRange, Lift, Measure, Now as Moment,
    Responder, ResponseSettings, Step, Verdict,
};
use portreeve_store::{RegistryOp, StoreError};
use portreeve_types::{IdentityId, UnixMillis};

use crate::{Hub, Now, ledger::Unrecorded};

use act::Stands;
use look::Found;
use seen::Seen;

/// The settings that are applied, among the registry's blobs; also the name that decisions call them by.
const SETTINGS_BLOB: &str = "watch/response.toml";
const SETTINGS_NAME: &str = "response.toml";
/// How often it is tried to free who could not be freed, milliseconds.
const FREE_EVERY_MS: u64 = 10_000;
/// Who acts, in entries and in the history of identities.
const ACTOR: &str = "the hub: a rule";

/// Rules, what stands of them, and cases.
#[derive(Debug)]
pub(crate) struct Response {
    /// Whoever has it decides, lifts or applies settings.
    turn: Mutex<()>,
    book: Mutex<Book>,
    /// For whoever accepts connections.
    blocks: ArcSwap<Blocks>,
    seen: Mutex<Seen>,
    clock: Clock,
    /// Stored records that cannot be used, until they were told of.
    damaged: Mutex<Vec<Damaged>>,
    /// Whose quarantine is over, and who could not be freed; when that is tried again.
    unfreed: Mutex<Vec<Lift>>,
    free_at_ms: AtomicU64,
}

#[derive(Debug)]
struct Book {
    responder: Responder,
    cases: Cases,
    /// The settings as they were applied; empty for the defaults.
    text: String,
}

/// The clock of measures. It begins with the first round of [`Hub::tend_watch`], an hour after its zero: so far back stored times can be.
#[derive(Debug)]
struct Clock {
    /// What the hub's running clock said then.
    origin_ms: AtomicU64,
    last: Mutex<Moment>,
}

impl Clock {
    const UNSET: u64 = u64::MAX;

    fn new(wall: UnixMillis) -> Self {
        let last = Moment { wall, running_ms: BRAKE_WINDOW_MS };
        Self { origin_ms: Self::UNSET.into(), last: Mutex::new(last) }
    }

    fn running_ms(&self, mono_ms: u64) -> u64 {
        let origin_ms = self.origin_ms.load(Relaxed).min(mono_ms);
        BRAKE_WINDOW_MS.saturating_add(mono_ms - origin_ms)
    }

    fn advance(&self, now: Now) -> Moment {
        // One thread advances it.
        if self.origin_ms.load(Relaxed) == Self::UNSET {
            self.origin_ms.store(now.mono_ms, Relaxed);
        }
        let moment = Moment { wall: now.wall, running_ms: self.running_ms(now.mono_ms) };
        *self.last.lock() = moment;
        moment
    }

    fn last(&self) -> Moment {
        *self.last.lock()
    }
}

/// The words of all detectors.
fn finding_kinds() -> Vec<&'static str> {
    Detector::ALL.iter().map(|kind| kind.as_str()).collect()
}

fn parse(file: &str, text: &str) -> Result<ResponseSettings, String> {
    let lines = |problems: Vec<portreeve_respond::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    ResponseSettings::parse(file, text, &finding_kinds()).map_err(lines)
}

impl Response {
    /// What was applied, what stands and which cases there are. What cannot be read is told by the first round.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)], now: UnixMillis) -> Self {
        let stored = blobs.iter().find(|(name, _)| name == SETTINGS_BLOB);
        let text = stored.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let clock = Clock::new(now);
        let mut damaged = Vec::new();
        let settings = parse(SETTINGS_NAME, &text).unwrap_or_else(|problem| {
            damaged.push(Damaged { key: SETTINGS_BLOB.into(), problem: format!("no rule is in force: {problem}") });
            ResponseSettings::default()
        });
        let records = || blobs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let (responder, broken) = Responder::rebuild(settings, records(), clock.last());
        damaged.extend(broken);
        let (cases, broken) = Cases::rebuild(records());
        damaged.extend(broken);
        let blocks = ArcSwap::new(responder.blocks());
        let book = Mutex::new(Book { responder, cases, text });
        let (seen, damaged) = (Mutex::default(), Mutex::new(damaged));
        let (unfreed, free_at_ms) = (Mutex::default(), AtomicU64::new(0));
        Self { turn: Mutex::default(), book, blocks, seen, clock, damaged, unfreed, free_at_ms }
    }
}

/// How much of it is in use, for metrics and `status`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Responses {
    /// Rules in force.
    pub rules: u64,
    /// Of these, those that only say what they would do.
    pub dry_run: u64,
    /// Identities that are held to a rate.
    pub throttled: u64,
    /// Sources that are blocked.
    pub blocked: u64,
    /// Identities that rules have quarantined.
    pub quarantined: u64,
    /// Identities and sources that the brake counts within the hour.
    pub brake_used: u64,
    /// Cases that are not closed.
    pub cases_open: u64,
}

impl Book {
    /// Writes what changed, in one commit. What could not be written comes again with the next.
    fn keep(&mut self, hub: &Hub) -> Result<(), StoreError> {
        let (measures, cases) = (self.responder.take_changes(), self.cases.take_changes());
        let ops: Vec<RegistryOp> = measures.iter().chain(&cases).map(op_of).collect();
        if ops.is_empty() {
            return Ok(());
        }
        hub.registry.put_blobs(&ops).inspect_err(|_| {
            self.responder.give_back(measures);
            self.cases.give_back(cases);
        })
    }
}

fn op_of(change: &Change) -> RegistryOp {
    match change {
        Change::Put { key, bytes } => RegistryOp::PutBlob { name: key.clone(), bytes: bytes.clone() },
        Change::Delete { key } => RegistryOp::DeleteBlob { name: key.clone() },
    }
}

impl Hub {
    /// Whether a connection from this address is to be dropped. `mono_ms` is [`Now::mono_ms`].
    #[must_use]
    pub fn is_blocked(&self, address: IpAddr, mono_ms: u64) -> bool {
        let blocks = self.response.blocks.load();
        !blocks.is_empty() && blocks.is_blocked(address, self.response.clock.running_ms(mono_ms))
    }

    /// Somebody is, or was until now, connected from there.
    pub(crate) fn note_place(&self, identity: IdentityId, address: IpAddr) {
        let running_ms = self.response.clock.last().running_ms;
        self.response.seen.lock().note(identity, address, running_ms);
    }

    /// Lifts what is over, and says what of the stored could not be read.
    pub(crate) fn tend_responses(&self, now: Now) {
        let now = self.response.clock.advance(now);
        for Damaged { key, problem } in std::mem::take(&mut *self.response.damaged.lock()) {
            tracing::error!(key, problem, "a stored record of responses or cases cannot be used, and stays as it is");
            let detail = format_args!("a stored record cannot be used: {key}");
            self.tell(&Event::new(EventKind::ResponseWithheld, detail).by(ACTOR));
        }
        let _turn = self.response.turn.lock();
        if now.running_ms >= self.response.free_at_ms.load(Relaxed) {
            self.response.free_at_ms.store(now.running_ms + FREE_EVERY_MS, Relaxed);
            let unfreed = std::mem::take(&mut *self.response.unfreed.lock());
            self.free(unfreed, now.wall);
        }
        let over = self.response.book.lock().responder.tick(now);
        self.undo(over, now.wall);
    }

    /// Files a finding and does what rules make of it. `entry` is its number in the ledger: without one nothing is done.
    pub(crate) fn respond(&self, finding: &portreeve_detect::Finding, entry: Option<u64>, fleet: u64) {
        let _turn = self.response.turn.lock();
        let now = self.response.clock.last();
        let found = self.look_up(finding, now.running_ms);
        let next = self.response.book.lock().responder.measures().last().map_or(1, |measure| measure.id + 1);
        let (decision, case) = self.decide_and_file(&found, entry, fleet, now);
        let noted = decision.and_then(|decision| self.carry_out(&decision, next, &found, now));
        if let (Some(case), Some(entry)) = (case, noted) {
            let entries = LedgerRange { first: entry, last: entry };
            // A case that was closed meanwhile needs no more.
            let _ = self.response.book.lock().cases.add_ledger(case, entries);
        }
        if let Err(error) = self.response.book.lock().keep(self) {
            tracing::error!(%error, "cases or the brake's count could not be stored; it is tried again");
        }
    }

    /// What rules make of it, and the number of the case that it is in.
    fn decide_and_file(
        &self,
        found: &Found,
        entry: Option<u64>,
        fleet: u64,
        now: Moment,
    ) -> (Option<Decision>, Option<u64>) {
        let finding = found.finding();
        let (decision, filed) = {
            let book = &mut *self.response.book.lock();
            let decide = |facts: &Facts<'_>| book.responder.decide(&finding, facts, fleet, now);
            let decision = entry.map(|_| found.with_facts(decide));
            let is_grave = finding.severity >= book.responder.settings().alert_from;
            let alerts = decision.as_ref().map_or(is_grave, |decision| decision.alert);
            (decision, alerts.then(|| book.cases.report(&finding, entry, now.wall)))
        };
        (decision, filed.map(|filed| self.tell_filed(filed)))
    }

    fn tell_filed(&self, filed: Filed) -> u64 {
        let tell = |number: u64, change: &str| {
            let data = [("case", Datum::Plain(&number)), ("change", Datum::Plain(&change))];
            self.tell(&Event::new(EventKind::CaseChanged, format_args!("")).by(ACTOR).with(&data));
        };
        match filed {
            Filed::Opened { number, left } => {
                tell(number, "opened");
                left.into_iter().for_each(|left| tell(left, "left to make room"));
                number
            }
            Filed::Overflow { number, is_new } => {
                if is_new {
                    tell(number, "opened for what no case has room for");
                }
                number
            }
            Filed::Joined { number } => number,
        }
    }

    /// Does what was decided; the number of its entry. Measures from `next` on are new.
    fn carry_out(&self, decision: &Decision, next: u64, found: &Found, now: Moment) -> Option<u64> {
        let record = |kind, step: &Step| self.record_decision(kind, step, None, decision, found).ok();
        match &decision.verdict {
            Verdict::None => None,
            Verdict::Act { step, measure } => {
                let stands = measure.map(|id| Stands { id, is_new: id >= next });
                self.take(step, stands, decision, found, now)
            }
            Verdict::AskTwoPersons { step } => self.ask_to_revoke(step, decision, found, now.wall),
            Verdict::DryRun { step, .. } => record(EventKind::ResponseWouldBe, step),
            Verdict::Braked { step, .. } | Verdict::Exempt { step } => record(EventKind::ResponseWithheld, step),
        }
    }

    /// Makes an entry of a decision.
    fn record_decision(
        &self,
        kind: EventKind,
        step: &Step,
        measure: Option<&Measure>,
        decision: &Decision,
        found: &Found,
    ) -> Result<u64, Unrecorded> {
        let (finding, action) = (found.finding(), step.action());
        let rule = decision.rule.as_deref().unwrap_or_default();
        let until_ms = measure.and_then(|measure| measure.until).map(|until| until.0);
        let mut data = vec![("action", Datum::Plain(&action)), ("finding", Datum::Plain(&finding.id))];
        data.push(("rule", Datum::Plain(&rule)));
        data.extend(measure.map(|measure| ("measure", Datum::Plain(&measure.id))));
        data.extend(until_ms.as_ref().map(|until_ms| ("until_ms", Datum::Plain(until_ms))));
        // No address stands in the reason: that is a person's, and the entry's source.
        let why = match (&decision.verdict, step) {
            (_, Step::BlockSource { .. }) => finding.kind.to_owned(),
            _ => decision.why.clone(),
        };
        let source = found.source().filter(|_| matches!(step, Step::BlockSource { .. }));
        let detail = format_args!("{why}");
        let event = Event { identity: found.name(), source, ..Event::new(kind, detail) };
        self.record(&event.by(ACTOR).with(&data)).inspect_err(|error| {
            tracing::error!(%error, action, "a response is not in the ledger, and is not made");
        })
    }
}
