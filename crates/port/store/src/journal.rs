//! Group commit: one thread that takes everything submitted so far and makes it durable as one batch.
//!
//! Submitting never waits for the disk. A [`Ticket`] says how far the stream reached with a submission, and
//! [`Journal::durable`] how far the disk has come: what a client is promised (PUBACK, PUBREC, SUBACK) waits until the
//! second reaches the first.
//!
//! A batch that fails is kept and tried again, unaltered and before anything later, so the store holds a prefix of the
//! stream at all times. Nothing submitted is ever refused; the hub asks [`Journal::accepts_work`] before it accepts new
//! work, and keeps submitting what relieves the store.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{SessionOp, SessionStore, StoreError};

#[cfg(test)]
mod tests;

/// A position in the stream of operations: how many were submitted up to here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// The position as a number, for an atomic.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The position that [`Self::raw`] gave.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// The bounds of a journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalLimits {
    /// Above this many bytes that are not yet durable, no new work is accepted.
    pub pending_bytes_max: u64,
    /// Above this many operations that are not yet durable, no new work is accepted.
    pub pending_ops_max: u64,
    /// A commit holds at most this many operations, unless one submission alone is larger.
    pub batch_ops_max: usize,
    /// Microseconds between the starts of two commits while more than one submits at a time, so that what they submit
    /// meanwhile shares the next. Who is alone does not wait.
    pub spacing_us: u64,
    /// Milliseconds between two attempts to commit a batch that failed.
    pub retry_ms: u64,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self {
            pending_bytes_max: 64 << 20,
            pending_ops_max: 1 << 20,
            batch_ops_max: 8192,
            spacing_us: 1000,
            retry_ms: 250,
        }
    }
}

/// How the store fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Ok,
    /// More is pending than the limits allow: the disk does not keep up.
    Backlogged,
    /// The disk is full. The journal tries again by itself.
    Full,
    /// The store fails for another reason, told here. The journal tries again by itself.
    Failed(String),
}

/// What the hub is told after each commit, and whenever an attempt fails.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How far the disk has come.
    pub durable: Ticket,
    /// How the store fares.
    pub health: Health,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Batches committed.
    pub commits: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Operations made durable.
    pub ops: u64,
    /// Operations submitted and not yet durable.
    pub pending_ops: u64,
    /// Their size in memory.
    pub pending_bytes: u64,
    /// Microseconds that the last commit took.
    pub last_commit_us: u64,
}

/// Whole submissions that are committed together.
#[derive(Default)]
struct Batch {
    ops: Vec<SessionOp>,
    submissions: usize,
    bytes: u64,
    /// The position behind the last operation.
    end: Ticket,
}

struct Queue {
    batches: VecDeque<Batch>,
    submitted: Ticket,
    /// Includes the batch that is being committed.
    pending_bytes: u64,
    failure: Option<Health>,
    stopping: bool,
    sealed: bool,
}

struct Shared {
    limits: JournalLimits,
    queue: Mutex<Queue>,
    /// Something was submitted, or the journal is to stop.
    work: Condvar,
    /// A batch became durable, or the committer ended.
    progress: Condvar,
    durable: AtomicU64,
    accepts_work: AtomicBool,
    commits: AtomicU64,
    failures: AtomicU64,
    last_commit_us: AtomicU64,
}

/// The group-commit journal of a session store. Dropping it stops it.
pub struct Journal {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Starts the committer thread. `on_progress` is called on that thread after each attempt; it may submit, but must not
    /// block.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        store: Arc<dyn SessionStore>,
        limits: JournalLimits,
        on_progress: Box<dyn Fn(&Progress) + Send>,
    ) -> io::Result<Self> {
        let queue = Queue {
            batches: VecDeque::new(),
            submitted: Ticket::default(),
            pending_bytes: 0,
            failure: None,
            stopping: false,
            sealed: false,
        };
        let shared = Arc::new(Shared {
            limits,
            queue: Mutex::new(queue),
            work: Condvar::new(),
            progress: Condvar::new(),
            durable: AtomicU64::new(0),
            accepts_work: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_commit_us: AtomicU64::new(0),
        });
        let committer = Committer { shared: Arc::clone(&shared), store, on_progress };
        let thread = thread::Builder::new().name("journal".into()).spawn(move || committer.run())?;
        Ok(Self { shared, committer: Some(thread) })
    }

    /// Takes all of `ops`, which stay together in one commit, and returns the position behind them; `ops` is left empty
    /// with its capacity. Never waits for the disk. With nothing to submit, the position behind everything so far.
    pub fn submit(&self, ops: &mut Vec<SessionOp>) -> Ticket {
        let bytes = ops.iter().map(size_bytes).sum::<u64>();
        let mut queue = self.shared.queue.lock();
        if ops.is_empty() || queue.sealed {
            ops.clear();
            return queue.submitted;
        }
        let batches = queue.batches.len();
        queue.push(ops, bytes, self.shared.limits.batch_ops_max);
        let ticket = queue.submitted;
        self.shared.review(&queue);
        // What joins a batch that waits already changes nothing for the committer.
        let is_news = queue.batches.len() > batches;
        drop(queue);
        if is_news {
            self.shared.work.notify_one();
        }
        ticket
    }

    /// Ignores what is submitted from now on; what was submitted before is still committed. For the moment when the
    /// hub's memory is torn down, which must not look like the deletion of what it held.
    pub fn seal(&self) {
        self.shared.queue.lock().sealed = true;
    }

    /// How far the disk has come.
    #[must_use]
    pub fn durable(&self) -> Ticket {
        self.shared.durable()
    }

    /// Whether new work may be accepted: the store takes commits and keeps up. One atomic load.
    #[must_use]
    pub fn accepts_work(&self) -> bool {
        self.shared.accepts_work.load(Ordering::Acquire)
    }

    /// How the store fares, in words.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health(&self.shared.queue.lock())
    }

    /// Waits until everything submitted before the call is durable; `false` when `timeout` came first.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut queue = self.shared.queue.lock();
        let target = queue.submitted;
        while self.durable() < target {
            if self.shared.progress.wait_until(&mut queue, deadline).timed_out() {
                return self.durable() >= target;
            }
        }
        true
    }

    /// Commits what is pending and ends the thread; `false` when the store failed and something was left behind.
    #[must_use]
    pub fn stop(mut self) -> bool {
        self.end();
        self.durable() == self.shared.queue.lock().submitted
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let shared = &self.shared;
        let queue = shared.queue.lock();
        JournalStats {
            commits: shared.commits.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
            ops: self.durable().0,
            pending_ops: shared.pending_ops(&queue),
            pending_bytes: queue.pending_bytes,
            last_commit_us: shared.last_commit_us.load(Ordering::Relaxed),
        }
    }

    fn end(&mut self) {
        self.shared.queue.lock().stopping = true;
        self.shared.work.notify_one();
        let Some(thread) = self.committer.take() else { return };
        // The last owner may be `on_progress` itself: a thread cannot wait for its own end.
        if thread.thread().id() == thread::current().id() {
            return;
        }
        if thread.join().is_err() {
            tracing::error!("the journal's thread panicked");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end();
    }
}

impl Queue {
    fn push(&mut self, ops: &mut Vec<SessionOp>, bytes: u64, batch_ops_max: usize) {
        self.submitted = Ticket(self.submitted.0 + ops.len() as u64);
        self.pending_bytes += bytes;
        let end = self.submitted;
        match self.batches.back_mut() {
            Some(batch) if batch.ops.len() + ops.len() <= batch_ops_max => {
                batch.ops.append(ops);
                batch.submissions += 1;
                batch.bytes += bytes;
                batch.end = end;
            }
            _ => {
                let mut batch = Batch { ops: Vec::with_capacity(ops.len()), submissions: 1, bytes, end };
                batch.ops.append(ops);
                self.batches.push_back(batch);
            }
        }
    }
}

impl Shared {
    fn durable(&self) -> Ticket {
        Ticket(self.durable.load(Ordering::Acquire))
    }

    fn pending_ops(&self, queue: &Queue) -> u64 {
        queue.submitted.0 - self.durable().0
    }

    fn health(&self, queue: &Queue) -> Health {
        if let Some(failure) = &queue.failure {
            return failure.clone();
        }
        let backlogged = queue.pending_bytes > self.limits.pending_bytes_max
            || self.pending_ops(queue) > self.limits.pending_ops_max;
        if backlogged { Health::Backlogged } else { Health::Ok }
    }

    /// Brings the flag that the message path looks at up to date.
    fn review(&self, queue: &Queue) {
        self.accepts_work.store(self.health(queue) == Health::Ok, Ordering::Release);
    }
}

struct Committer {
    shared: Arc<Shared>,
    store: Arc<dyn SessionStore>,
    on_progress: Box<dyn Fn(&Progress) + Send>,
}

impl Committer {
    fn run(self) {
        let mut not_before = Instant::now();
        while let Some(batch) = self.next_batch(not_before) {
            let started = Instant::now();
            if !self.persist(&batch) {
                break;
            }
            let spacing_us = if batch.submissions > 1 { self.shared.limits.spacing_us } else { 0 };
            not_before = started + Duration::from_micros(spacing_us);
        }
        self.shared.progress.notify_all();
    }

    /// `None` when all is done and the journal is to stop. A batch that more may join waits until `not_before`.
    fn next_batch(&self, not_before: Instant) -> Option<Batch> {
        let mut queue = self.shared.queue.lock();
        loop {
            let is_due = queue.stopping || queue.batches.len() > 1 || Instant::now() >= not_before;
            if is_due && let Some(batch) = queue.batches.pop_front() {
                return Some(batch);
            }
            if queue.stopping {
                return None;
            }
            if queue.batches.is_empty() {
                self.shared.work.wait(&mut queue);
            } else {
                self.shared.work.wait_until(&mut queue, not_before);
            }
        }
    }

    /// Tries until the batch is durable; `false` when the journal is to stop and the store failed a last time.
    fn persist(&self, batch: &Batch) -> bool {
        let mut last_attempt = false;
        loop {
            let started = Instant::now();
            match self.store.commit(&batch.ops) {
                Ok(()) => {
                    self.done(batch, started.elapsed());
                    return true;
                }
                Err(error) => self.failed(&error),
            }
            if last_attempt {
                return false;
            }
            last_attempt = self.pause();
        }
    }

    fn done(&self, batch: &Batch, took: Duration) {
        let shared = &self.shared;
        shared.last_commit_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        shared.commits.fetch_add(1, Ordering::Relaxed);
        let mut queue = shared.queue.lock();
        // Under the lock, so that `flush` cannot miss it between its look and its wait.
        shared.durable.store(batch.end.0, Ordering::Release);
        queue.pending_bytes -= batch.bytes;
        if queue.failure.take().is_some() {
            tracing::info!("the session store works again");
        }
        self.tell(queue);
    }

    fn failed(&self, error: &StoreError) {
        let shared = &self.shared;
        shared.failures.fetch_add(1, Ordering::Relaxed);
        let failure = match error {
            StoreError::Full { .. } => Health::Full,
            other => Health::Failed(other.to_string()),
        };
        let mut queue = shared.queue.lock();
        if queue.failure.as_ref() != Some(&failure) {
            tracing::error!(%error, "the session store failed; no new work is accepted until it recovers");
        }
        queue.failure = Some(failure);
        self.tell(queue);
    }

    /// Tells everybody who waits; the hub without the lock, so that it may submit at once.
    fn tell(&self, queue: MutexGuard<'_, Queue>) {
        let shared = &self.shared;
        shared.review(&queue);
        let progress = Progress { durable: shared.durable(), health: shared.health(&queue) };
        drop(queue);
        shared.progress.notify_all();
        (self.on_progress)(&progress);
    }

    /// Waits before the next attempt; `true` when the journal is to stop.
    fn pause(&self) -> bool {
        let deadline = Instant::now() + Duration::from_millis(self.shared.limits.retry_ms);
        let mut queue = self.shared.queue.lock();
        while !queue.stopping {
            // A submission wakes this too: wait on.
            if self.shared.work.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.stopping
    }
}

/// What an operation costs in memory while it is pending.
fn size_bytes(op: &SessionOp) -> u64 {
    let outside = match op {
        SessionOp::PutMessage { row, .. } => row.topic.len() + row.forwarded.len() + row.payload.len(),
        SessionOp::PutWill { row, .. } => row.topic.len() + row.forwarded.len() + row.payload.len(),
        SessionOp::PutSubscription { row, .. } => row.filter.as_str().len(),
        SessionOp::DeleteSubscription { filter, .. } => filter.as_str().len(),
        SessionOp::Enqueue { row, .. } => row.subscription_ids.len() * size_of::<u32>(),
        SessionOp::PutRetained { topic, .. } | SessionOp::DeleteRetained { topic } => topic.len(),
        _ => 0,
    };
    (size_of::<SessionOp>() + outside) as u64
}
