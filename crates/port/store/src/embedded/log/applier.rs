//! The thread that brings the log into the tree, and what it shares with those who commit.

use std::{
    mem,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::{process::setpriority_process, thread::gettid};

use super::{Logged, record::Generation};
use crate::StoreError;

/// The log is applied when so long nothing was committed, and an application that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The file that is not being appended to.
#[derive(Clone, Copy)]
pub(super) enum Other {
    /// It is in the tree, and prepared for this generation.
    Ready(Generation),
    /// It is full and must be brought into the tree.
    Sealed(Generation),
}

struct State {
    other: Other,
    /// Records in the file that is being appended to.
    records: u64,
    /// The sealed generation shall be applied now.
    wanted: bool,
    /// Why the last attempt failed, for whoever waits.
    failure: Option<StoreError>,
    failing: bool,
    stopping: bool,
    /// The thread has ended.
    gone: bool,
}

/// How the log's two sides meet. Its lock is never held while a disk works.
pub(super) struct Handover {
    state: Mutex<State>,
    changed: Condvar,
}

enum Task {
    Apply(Generation),
    Seal,
    Stop,
}

impl Handover {
    pub(super) fn new(other: Other, records: u64) -> Self {
        let wanted = matches!(other, Other::Sealed(_));
        let state = State { other, records, wanted, failure: None, failing: false, stopping: false, gone: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The prepared generation, if the other file is not still to be applied.
    pub(super) fn ready(&self) -> Option<Generation> {
        match self.state.lock().other {
            Other::Ready(next) => Some(next),
            Other::Sealed(_) => None,
        }
    }

    /// Waits for the prepared generation.
    ///
    /// # Errors
    /// Why the other file cannot be applied. Each call has it tried again.
    pub(super) fn wait_until_ready(&self) -> Result<Generation, StoreError> {
        let mut state = self.state.lock();
        state.failure = None;
        loop {
            if let Other::Ready(next) = state.other {
                return Ok(next);
            }
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            if state.gone {
                return Err(StoreError::applier_gone());
            }
            state.wanted = true;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
    }

    /// A record was appended.
    pub(super) fn appended(&self) {
        let mut state = self.state.lock();
        state.records += 1;
        if state.records == 1 {
            self.changed.notify_all();
        }
    }

    /// The last record of a generation was appended; the file that was ready is appended to from now on.
    pub(super) fn sealed(&self, full: Generation) {
        let mut state = self.state.lock();
        state.other = Other::Sealed(full);
        state.records = 0;
        state.wanted = true;
        self.changed.notify_all();
    }

    /// Everything in the log is applied, if that works, and the thread ends.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.wanted = true;
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(super) fn settle(&self) {
        let mut state = self.state.lock();
        while matches!(state.other, Other::Sealed(_)) && state.wanted {
            self.changed.wait(&mut state);
        }
    }

    #[cfg(test)]
    pub(super) fn wait_until_idle(&self) {
        let mut state = self.state.lock();
        while state.records > 0 || matches!(state.other, Other::Sealed(_)) {
            self.changed.wait(&mut state);
        }
    }

    fn next_task(&self) -> Task {
        let mut state = self.state.lock();
        let mut seen = state.records;
        loop {
            match state.other {
                Other::Sealed(generation) if state.wanted => return Task::Apply(generation),
                Other::Ready(_) if state.stopping && state.records > 0 => return Task::Seal,
                _ if state.stopping => return Task::Stop,
                Other::Ready(_) if state.records == 0 => {
                    self.changed.wait(&mut state);
                    seen = state.records;
                    continue;
                }
                _ => {}
            }
            if !self.changed.wait_until(&mut state, Instant::now() + PAUSE).timed_out() {
                continue;
            }
            match state.other {
                Other::Sealed(_) => state.wanted = true,
                Other::Ready(_) if state.records == seen && seen > 0 => return Task::Seal,
                Other::Ready(_) => seen = state.records,
            }
        }
    }

    fn applied(&self, result: Result<Generation, StoreError>) {
        let (is_ok, failed) = (result.is_ok(), result.as_ref().err().map(ToString::to_string));
        let failed_before = {
            let mut state = self.state.lock();
            match result {
                Ok(next) => state.other = Other::Ready(next),
                Err(error) => {
                    state.wanted = false;
                    state.failure = Some(error);
                }
            }
            mem::replace(&mut state.failing, !is_ok)
        };
        self.changed.notify_all();
        // Told without the lock, for commits need that.
        match failed {
            None if failed_before => tracing::info!("the log of the session store is applied again"),
            Some(error) if !failed_before => {
                tracing::error!(%error, "the log of the session store cannot be applied; it is tried again");
            }
            _ => {}
        }
    }

    fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }
}

/// Tells those who wait that nobody applies any more, however the thread ended.
struct Farewell<'a>(&'a Handover);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        self.0.state.lock().gone = true;
        self.0.changed.notify_all();
    }
}

/// Messages come first: a thread this nice leaves nine tenths of a busy core to those who carry them.
const NICENESS: i32 = 10;

/// The thread's work.
pub(super) fn run(log: &Logged) {
    // Linux takes the number of a thread for that thread alone. Where it may not be asked, all is as fast as before.
    if let Err(error) = setpriority_process(Some(gettid()), NICENESS) {
        tracing::debug!(%error, "the thread that applies the log keeps its priority");
    }
    let handover = &log.handover;
    let _farewell = Farewell(handover);
    loop {
        match handover.next_task() {
            Task::Apply(generation) => handover.applied(log.apply(&generation)),
            Task::Seal => {
                // A failure is no news: the next commit meets it, or everything is tried again after a pause.
                if log.seal_if_idle().is_err() && handover.is_stopping() {
                    return;
                }
            }
            Task::Stop => return,
        }
    }
}
