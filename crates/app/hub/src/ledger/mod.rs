//! What happens becomes entries of the ledger: at once for what operators do, soon for what peers do.
//!
//! [`Recorder`] has two threads. One appends: whatever waits goes to the disk together. One has the head signed, at most a second
//! after an entry came, however long the key takes.
//!
//! *Invariants*
//! - What [`Recorder::record`] has returned for is on the disk (CSA-CLS-13). What cannot be recorded is refused by whoever asked.
//! - Of what peers cause, an entry is made for the first of a kind and subject, and one with a number for its repetitions
//!   ([`repeats`]): no flood fills memory or disk, nor hides the first of another kind.
//! - What is lost is counted, and the count is an entry as soon as there can be one.
//! - Nobody waits for a signature.

mod cosigner;
mod openings;
mod read;
mod repeats;
mod retention;
mod witness;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Condvar, Mutex};
use portreeve_events::{Datum, Entry, Event, Kind, Opening, Recording};
use portreeve_keys::SigningKey;
use portreeve_ledger::{SignatureKind, VerifierKey};
use portreeve_ledger_files::{Folder, LedgerFiles, OpenError};
use portreeve_types::UnixMillis;

pub use cosigner::CosignerError;
pub(crate) use cosigner::{Cosigner, watched};
pub(crate) use openings::Openings;
pub use read::{Erasure, Extract, LedgerPlace, commitments};
pub(crate) use witness::Witnesses;
pub use witness::{Cosigning, WitnessAnswer};

use repeats::{Repeated, Repeats};

/// The ledger's files, within the data directory.
pub(crate) const FOLDER: &str = "ledger";
/// What opens the personal values of its entries; apart, so that the ledger can be copied without.
pub(crate) const OPENINGS_FOLDER: &str = "ledger-personal";
/// The text of the key that its heads are signed with, within [`FOLDER`].
pub(crate) const KEY_FILE: &str = "verifier.key";
/// Entries that wait for the disk; more are counted.
const PENDING_ENTRIES_MAX: usize = 16_384;
/// How long entries that nobody waits for are gathered, milliseconds.
const GATHER_MS: u64 = 100;
/// The longest that an entry waits for a signed head, if the key answers, milliseconds.
const SEAL_EVERY_MS: u64 = 1000;
/// How long a hub that ends waits for the last signature, milliseconds.
const LAST_SEAL_MS: u64 = 2000;

/// Why something could not be recorded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the ledger cannot be written, and what is not recorded is not done: {0}")]
pub(crate) struct Unrecorded(String);

/// Where the ledger stands.
#[derive(Clone, Debug, Default)]
pub struct LedgerState {
    /// Entries that are on the disk.
    pub entries: u64,
    /// Of these, those that a signed head covers.
    pub sealed: u64,
    /// Entries that wait for the disk.
    pub pending: usize,
    /// Events that have no entry since the start.
    pub unrecorded: u64,
    /// Why it cannot be written or signed, while it cannot.
    pub trouble: Option<String>,
}

impl LedgerState {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "entries": self.entries,
            "sealed": self.sealed,
            "pending": self.pending,
            "unrecorded": self.unrecorded,
            "trouble": self.trouble,
        })
    }
}

/// Makes entries of events. Dropped, it writes what waits.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    queue: Mutex<Queue>,
    /// The writer has something to do.
    work: Condvar,
    ledger: Mutex<LedgerFiles<Folder>>,
    openings: Mutex<Openings>,
    sealing: Mutex<Sealing>,
    /// The sealer has something to do, or is done.
    unsealed: Condvar,
    /// A head was signed, or could not be.
    signed: Condvar,
    entries: AtomicU64,
    sealed: AtomicU64,
    unrecorded: AtomicU64,
    /// There is little room: what peers cause is counted only.
    is_frugal: AtomicBool,
    write_trouble: Mutex<Option<String>>,
    seal_trouble: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Vec<Pending>,
    repeats: Repeats,
    lost: Lost,
    /// Somebody waits for the disk.
    is_urgent: bool,
    is_closing: bool,
}

#[derive(Debug)]
struct Pending {
    kind: Kind,
    entry: Vec<u8>,
    openings: Vec<Opening>,
    /// Who waits for it.
    answer: Option<SyncSender<Result<u64, Unrecorded>>>,
}

/// Events that have no entry, since the last entry that says so.
#[derive(Clone, Debug, Default)]
struct Lost {
    count: u64,
    kinds: Vec<Kind>,
}

impl Lost {
    fn add(&mut self, kind: Kind) {
        self.count += 1;
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        let new: Vec<_> = other.kinds.into_iter().filter(|kind| !self.kinds.contains(kind)).collect();
        self.kinds.extend(new);
    }
}

#[derive(Debug, Default)]
struct Sealing {
    has_unsealed: bool,
    /// Entries before this one are to be let go, said at this time.
    cut: Option<(u64, UnixMillis)>,
    /// What was let go may not be removed yet.
    has_removals: bool,
    is_closing: bool,
    is_done: bool,
}

impl Sealing {
    fn has_work(&self) -> bool {
        self.has_unsealed || self.has_removals || self.cut.is_some()
    }
}

/// The key of a ledger's heads, as its readers know it.
pub(crate) fn verifier_key(origin: &str, key: &dyn SigningKey) -> Option<VerifierKey> {
    let public = key.public().raw().try_into().ok()?;
    VerifierKey::new(origin, SignatureKind::Ed25519, public).ok()
}

/// Signs as the ledger wants it.
fn sign(key: &dyn SigningKey, message: &[u8]) -> Result<[u8; 64], String> {
    let signature = key.sign(message).map_err(|error| error.to_string())?;
    signature.try_into().map_err(|_| "the key is not an Ed25519 key".to_owned())
}

/// Begins the ledger of a new data directory.
pub(crate) fn create(data: &Path, origin: &str, key: &dyn SigningKey) -> io::Result<()> {
    let verifier = verifier_key(origin, key).ok_or(io::ErrorKind::InvalidInput)?;
    let folder = data.join(FOLDER);
    LedgerFiles::create(Folder::new(&folder), &verifier, |message| sign(key, message)).map_err(io::Error::other)?;
    std::fs::write(folder.join(KEY_FILE), format!("{verifier}\n"))
}

/// Opens the ledger of a data directory: its name is that in the key's text, its key the one in custody.
pub(crate) fn open(data: &Path, key: &dyn SigningKey) -> Result<LedgerFiles<Folder>, OpenError> {
    let folder = data.join(FOLDER);
    let text = std::fs::read_to_string(folder.join(KEY_FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::NoCheckpoint,
        _ => OpenError::Io(error),
    })?;
    let damaged = || OpenError::Damaged(KEY_FILE.into());
    let told: VerifierKey = text.trim_end().parse().map_err(|_| damaged())?;
    let verifier = verifier_key(told.name(), key).filter(|key| *key == told).ok_or_else(damaged)?;
    match LedgerFiles::open(Folder::new(&folder), verifier) {
        // It was begun with the directory.
        Err(OpenError::Empty) => Err(OpenError::NoCheckpoint),
        opened => opened,
    }
}

impl Recorder {
    /// Goes on with a ledger.
    pub(crate) fn start(ledger: LedgerFiles<Folder>, openings: Openings, key: Arc<dyn SigningKey>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            queue: Mutex::default(),
            work: Condvar::new(),
            entries: ledger.size().into(),
            sealed: ledger.sealed().into(),
            sealing: Mutex::new(Sealing {
                has_unsealed: ledger.size() > ledger.sealed(),
                // A crash may have left some.
                has_removals: ledger.first() > 0,
                ..Sealing::default()
            }),
            ledger: Mutex::new(ledger),
            openings: Mutex::new(openings),
            unsealed: Condvar::new(),
            signed: Condvar::new(),
            unrecorded: AtomicU64::new(0),
            is_frugal: AtomicBool::new(false),
            write_trouble: Mutex::default(),
            seal_trouble: Mutex::default(),
        });
        let spawn =
            |name: &str, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(run);
        let (writer, sealer) = (Arc::clone(&shared), Arc::clone(&shared));
        let writer = spawn("ledger", Box::new(move || writer.write_all()))?;
        let recorder = Self { shared, threads: Mutex::new(vec![writer]) };
        let sealer = spawn("ledger-seal", Box::new(move || sealer.seal_all(&*key)))?;
        recorder.threads.lock().push(sealer);
        Ok(recorder)
    }

    /// Makes an entry of an event, or counts it. Waits for nothing.
    pub(crate) fn note(&self, event: &Event<'_>, at: UnixMillis) {
        let shared = &*self.shared;
        let repeats = event.kind.recording() == Recording::Repeats;
        if repeats && shared.is_frugal.load(Relaxed) {
            return shared.lose(&mut shared.queue.lock(), event.kind);
        }
        if repeats && !shared.queue.lock().repeats.is_entry(event, at, shared.mono_ms()) {
            return;
        }
        let pending = Pending::new(event, at, None);
        shared.push(&mut shared.queue.lock(), pending);
    }

    /// Makes an entry of an event. It is on the disk when this returns its number.
    ///
    /// # Errors
    /// It is not, and what it says is not to be done.
    pub(crate) fn record(&self, event: &Event<'_>, at: UnixMillis) -> Result<u64, Unrecorded> {
        let (answer, answered) = sync_channel(1);
        let pending = Pending::new(event, at, Some(answer));
        {
            let mut queue = self.shared.queue.lock();
            if queue.is_closing {
                return Err(Unrecorded("the hub ends".into()));
            }
            queue.pending.push(pending);
            queue.is_urgent = true;
            self.shared.work.notify_one();
        }
        answered.recv().unwrap_or_else(|_| Err(Unrecorded("the hub ends".into())))
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> LedgerState {
        let shared = &*self.shared;
        let trouble = shared.write_trouble.lock().clone().or_else(|| shared.seal_trouble.lock().clone());
        LedgerState {
            entries: shared.entries.load(Relaxed),
            sealed: shared.sealed.load(Relaxed),
            pending: shared.queue.lock().pending.len(),
            unrecorded: shared.unrecorded.load(Relaxed),
            trouble,
        }
    }

    /// Waits until a signed head covers the entry of this number, but no longer than this.
    pub(crate) fn await_signed(&self, number: u64, within: Duration) {
        let deadline = Instant::now() + within;
        let mut sealing = self.shared.sealing.lock();
        while self.shared.sealed.load(Relaxed) <= number
            && !self.shared.signed.wait_until(&mut sealing, deadline).timed_out()
        {}
    }

    /// Whether what peers cause is counted only, because there is little room.
    pub(crate) fn set_frugal(&self, is_frugal: bool) {
        self.shared.is_frugal.store(is_frugal, Relaxed);
    }

    /// Lets entries before this one go as soon as the key answers. That it is so has to be an entry already.
    pub(crate) fn let_go(&self, first: u64, at: UnixMillis) {
        self.shared.sealing.lock().cut = Some((first, at));
        self.shared.unsealed.notify_all();
    }

    /// Does something with what opens personal values.
    pub(crate) fn with_openings<T>(&self, work: impl FnOnce(&mut Openings) -> T) -> T {
        work(&mut self.shared.openings.lock())
    }

    /// Writes what waits, and has it signed if the key answers in time. What comes later has no entry.
    pub(crate) fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        self.shared.queue.lock().is_closing = true;
        self.shared.work.notify_one();
        let mut threads = threads.into_iter();
        // A thread that panicked has said so.
        let _ = threads.next().map(JoinHandle::join);
        let mut sealing = self.shared.sealing.lock();
        sealing.is_closing = true;
        self.shared.unsealed.notify_all();
        let deadline = Instant::now() + Duration::from_millis(LAST_SEAL_MS);
        let is_there = threads.next().is_some();
        while is_there && !sealing.is_done && !self.shared.unsealed.wait_until(&mut sealing, deadline).timed_out() {}
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pending {
    fn new(event: &Event<'_>, at: UnixMillis, answer: Option<SyncSender<Result<u64, Unrecorded>>>) -> Self {
        let mut openings = Vec::new();
        let entry = Entry::new(event, at, |value| seal_value(value, &mut openings)).to_bytes();
        Self { kind: event.kind, entry, openings, answer }
    }

    fn of_repeated(repeated: &Repeated) -> Self {
        let event = Event {
            identity: repeated.identity.as_deref(),
            actor: repeated.actor.as_deref(),
            source: repeated.source,
            ..Event::new(repeated.kind, format_args!("again"))
        };
        let mut openings = Vec::new();
        let entry = Entry::new(&event, repeated.last, |value| seal_value(value, &mut openings));
        let entry = entry.repeated(repeated.count, repeated.first).to_bytes();
        Self { kind: repeated.kind, entry, openings, answer: None }
    }

    fn of_lost(lost: &Lost, at: UnixMillis) -> Self {
        let kinds: Vec<_> = lost.kinds.iter().map(|kind| kind.as_str()).collect();
        let kinds = kinds.join(" ");
        let data = [("unrecorded", Datum::Plain(&lost.count)), ("kinds", Datum::Plain(&kinds))];
        Self::new(&Event::new(Kind::LedgerRecovered, format_args!("")).with(&data), at, None)
    }
}

fn seal_value(value: &str, openings: &mut Vec<Opening>) -> portreeve_events::Commitment {
    let mut salt = [0; 16];
    // The library's generator does not fail once it is seeded, which the TLS configuration has seen to. Without entropy the
    // value would still not stand in the ledger.
    let _ = aws_lc_rs::rand::fill(&mut salt);
    let opening = Opening::new(value, salt);
    let commitment = opening.sha256.clone();
    openings.push(opening);
    commitment
}

impl Shared {
    fn mono_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn push(&self, queue: &mut Queue, pending: Pending) {
        if queue.pending.len() >= PENDING_ENTRIES_MAX || queue.is_closing {
            return self.lose(queue, pending.kind);
        }
        queue.pending.push(pending);
        self.work.notify_one();
    }

    fn lose(&self, queue: &mut Queue, kind: Kind) {
        queue.lost.add(kind);
        self.unrecorded.fetch_add(1, Relaxed);
    }

    /// The writer's thread.
    fn write_all(&self) {
        let mut is_closing = false;
        while !is_closing {
            let (batch, closing) = self.gather();
            is_closing = closing;
            self.write(batch);
        }
    }

    /// What is to be written next. Returns also whether it is the last.
    fn gather(&self) -> (Vec<Pending>, bool) {
        let mut queue = self.queue.lock();
        if queue.pending.is_empty() && !queue.is_closing {
            // Whatever repeated is looked at once in this time.
            let _ = self.work.wait_for(&mut queue, Duration::from_millis(SEAL_EVERY_MS));
        }
        let deadline = Instant::now() + Duration::from_millis(GATHER_MS);
        while !queue.is_urgent && !queue.is_closing && !queue.pending.is_empty() {
            if self.work.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.is_urgent = false;
        let is_closing = queue.is_closing;
        let mut batch = std::mem::take(&mut queue.pending);
        batch.extend(queue.repeats.due(self.mono_ms(), is_closing).iter().map(Pending::of_repeated));
        (batch, is_closing)
    }

    fn write(&self, mut batch: Vec<Pending>) {
        let lost = std::mem::take(&mut self.queue.lock().lost);
        // After trouble an attempt is made for its own sake: that it is over is to be known without anything happening.
        if batch.is_empty() && (lost.count == 0 || self.is_frugal.load(Relaxed)) {
            return self.queue.lock().lost.merge(lost);
        }
        if lost.count > 0 {
            batch.insert(0, Pending::of_lost(&lost, SystemTime::now().into()));
        }
        match self.append(&batch) {
            Ok(first) => {
                *self.write_trouble.lock() = None;
                for (number, pending) in (first..).zip(batch) {
                    // Whoever waited may have gone.
                    let _ = pending.answer.map(|answer| answer.send(Ok(number)));
                }
                self.sealing.lock().has_unsealed = true;
                self.unsealed.notify_all();
            }
            Err(error) => {
                *self.write_trouble.lock() = Some(error.0.clone());
                let mut queue = self.queue.lock();
                let own = usize::from(lost.count > 0);
                queue.lost.merge(lost);
                for pending in batch.into_iter().skip(own) {
                    match pending.answer {
                        Some(answer) => _ = answer.send(Err(error.clone())),
                        None => self.lose(&mut queue, pending.kind),
                    }
                }
            }
        }
    }

    fn append(&self, batch: &[Pending]) -> Result<u64, Unrecorded> {
        let unrecorded = |error: &dyn std::fmt::Display| Unrecorded(error.to_string());
        let openings: Vec<_> = batch.iter().flat_map(|pending| pending.openings.iter().cloned()).collect();
        self.openings.lock().keep(&openings, SystemTime::now().into()).map_err(|error| unrecorded(&error))?;
        let entries: Vec<_> = batch.iter().map(|pending| pending.entry.as_slice()).collect();
        let mut ledger = self.ledger.lock();
        let first = ledger.append(&entries).map_err(|error| unrecorded(&error))?;
        self.entries.store(ledger.size(), Relaxed);
        Ok(first)
    }

    /// The sealer's thread.
    fn seal_all(&self, key: &dyn SigningKey) {
        loop {
            let (is_closing, cut) = {
                let mut sealing = self.sealing.lock();
                while !sealing.has_work() && !sealing.is_closing {
                    self.unsealed.wait(&mut sealing);
                }
                sealing.has_unsealed = false;
                (sealing.is_closing, sealing.cut.take())
            };
            let sealed = self.seal(key);
            let failed = sealed.is_err();
            *self.seal_trouble.lock() = sealed.err();
            let has_removals = self.let_go(key, cut);
            let mut sealing = self.sealing.lock();
            sealing.has_unsealed |= failed;
            sealing.has_removals = has_removals;
            self.signed.notify_all();
            if is_closing {
                sealing.is_done = true;
                self.unsealed.notify_all();
                return;
            }
            let deadline = Instant::now() + Duration::from_millis(SEAL_EVERY_MS);
            while !sealing.is_closing && !self.unsealed.wait_until(&mut sealing, deadline).timed_out() {}
        }
    }

    /// Lets go of old entries, and removes some of what was let go; whether there is more. What fails is tried again.
    fn let_go(&self, key: &dyn SigningKey, cut: Option<(u64, UnixMillis)>) -> bool {
        let cut_off = cut.map_or(Ok(()), |(first, at)| self.cut(key, first, at));
        if let Err(error) = cut_off {
            tracing::warn!(%error, "old entries of the ledger were not let go; it is tried again");
        }
        match self.ledger.lock().remove() {
            Ok(is_all) => !is_all,
            Err(error) => {
                tracing::warn!(%error, "entries of the ledger that were let go are not removed; it is tried again");
                true
            }
        }
    }

    fn cut(&self, key: &dyn SigningKey, first: u64, at: UnixMillis) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let cut = self.ledger.lock().next_cut(first, at.0).map_err(|error| failed(&error))?;
        let Some(cut) = cut else { return Ok(()) };
        let signature = sign(key, cut.message())?;
        self.ledger.lock().cut_as(&cut, &signature).map_err(|error| failed(&error))
    }

    /// Has the head of all entries signed. The key is asked while others append.
    fn seal(&self, key: &dyn SigningKey) -> Result<(), String> {
        let Some(head) = self.ledger.lock().next_head() else { return Ok(()) };
        let signature = sign(key, head.message())?;
        let mut ledger = self.ledger.lock();
        ledger.seal_as(head, &signature).map_err(|error| error.to_string())?;
        self.sealed.store(ledger.sealed(), Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
