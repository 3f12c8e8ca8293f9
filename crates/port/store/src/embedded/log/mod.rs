//! The session store: a write-ahead log in front of a tree.
//!
//! A commit is one record, appended to the log with one write and one sync. The tree follows in large steps, in which
//! most of what came is already gone again.
//!
//! Two files take turns. The one that is appended to is *sealed* when it is full: its last record says so, and commits go
//! on in the other. A thread reads the sealed one back, brings the net effect into the tree in one transaction together
//! with the number of the generation, and prepares the file for the generation after the next. While both are full,
//! commits wait for it. After a second without a commit, and at the end, the rest is sealed and applied too.
//!
//! *Invariants*, with A the generation up to which the tree says that it has everything:
//! - The file of A + 1 is whole. If it is sealed, the file of A + 2 is whole too, and not sealed; if not, that holds nothing.
//! - A record is begun when the one before it is durable, at the place where the one before it ends. So only the last
//!   record of the newest generation can be half there, and a commit that failed is overwritten by the next.
//! - No lock that a commit needs is held while the tree works, except by one that waits for room.

mod applier;
mod file;
mod record;
mod recover;
mod replay;
#[cfg(test)]
pub(super) mod testing;

use std::{
    mem,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use applier::Handover;
use file::{End, LogFile};
use parking_lot::Mutex;
use record::{Generation, Record};
use replay::Replay;

use super::sessions::{Applied, Tree};
use crate::{
    SessionStore, StoreError,
    rows::{SessionContents, SessionOp},
};

/// When a file of the log is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLimits {
    /// Above this length a file is sealed.
    pub(super) file_bytes: u64,
    /// Above this many operations a file is sealed: the pages that they change are in memory while they are applied.
    pub(super) file_ops: u64,
    /// So many operations, and at most those of one commit more, are applied at a time: they are in memory then.
    pub(super) step_ops: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { file_bytes: 8 << 20, file_ops: 1 << 16, step_ops: 1 << 13 }
    }
}

/// The embedded session store.
pub struct RedbSessions {
    log: Arc<Logged>,
    applier: Option<JoinHandle<()>>,
}

/// What commits and the applying thread share.
struct Logged {
    tree: Tree,
    /// A generation is in the file of its remainder by two.
    files: [LogFile; 2],
    limits: LogLimits,
    tail: Mutex<Tail>,
    handover: Handover,
}

/// Where the next record goes.
struct Tail {
    generation: Generation,
    end: End,
    record: Record,
}

impl RedbSessions {
    /// Opens the tree and its logs, verifying all; gives a tree from before there were logs its own.
    pub(super) fn open(tree: &Path, logs: [&Path; 2], cache_bytes: usize) -> Result<Self, StoreError> {
        let tree = Tree::open(tree, cache_bytes)?;
        let applied = match tree.applied()? {
            Some(applied) => applied,
            None => recover::upgrade(&tree, logs)?,
        };
        let files = [LogFile::open(logs[0])?, LogFile::open(logs[1])?];
        Self::over(tree, files, applied, LogLimits::default())
    }

    /// Makes a tree and its logs.
    pub(super) fn create(tree: &Path, logs: [&Path; 2]) -> Result<(), StoreError> {
        let store = recover::new_store_number();
        Tree::create(tree, store)?;
        recover::create_logs(logs, store, LogLimits::default().file_bytes)
    }

    fn over(tree: Tree, files: [LogFile; 2], applied: Applied, limits: LogLimits) -> Result<Self, StoreError> {
        let [even, odd] = files;
        let files = [even.belonging_to(applied.store, 0)?, odd.belonging_to(applied.store, 1)?];
        let (tail, other) = recover::recover(&files, applied.generation)?;
        let handover = Handover::new(other, tail.end.records);
        let log = Arc::new(Logged { tree, files, limits, tail: Mutex::new(tail), handover });
        let shared = Arc::clone(&log);
        let thread = thread::Builder::new().name("store".into()).spawn(move || applier::run(&shared));
        let applier = thread.map_err(|error| log.files[0].failed(error))?;
        Ok(Self { log, applier: Some(applier) })
    }
}

impl Drop for RedbSessions {
    /// Applies the log, so that it is empty after an orderly end. What cannot be applied stays in it.
    fn drop(&mut self) {
        self.log.handover.stop();
        if self.applier.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that applies the log panicked");
        }
    }
}

impl SessionStore for RedbSessions {
    fn load(&self) -> Result<SessionContents, StoreError> {
        self.log.drain()?;
        let (contents, strays) = self.log.tree.load()?;
        self.commit(&strays)?;
        Ok(contents)
    }

    fn commit(&self, ops: &[SessionOp]) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        let tail = &mut *self.log.tail.lock();
        tail.record.fill(ops);
        let end = tail.end.after(tail.record.len_bytes(), tail.record.ops(), false);
        let next = if self.log.limits.are_reached(tail.end) {
            Some(self.log.handover.wait_until_ready()?)
        } else if self.log.limits.are_reached(end) {
            self.log.handover.ready()
        } else {
            None
        };
        self.log.append(tail, next)
    }
}

impl LogLimits {
    fn are_reached(&self, end: End) -> bool {
        end.position_bytes >= self.file_bytes || end.ops >= self.file_ops
    }
}

impl Logged {
    fn file(&self, generation: &Generation) -> &LogFile {
        let [even, odd] = &self.files;
        if generation.number.is_multiple_of(2) { even } else { odd }
    }

    /// Appends the record that `tail` holds; with a `next` generation it is the last of this one.
    fn append(&self, tail: &mut Tail, next: Option<Generation>) -> Result<(), StoreError> {
        let record = tail.record.finish(&tail.generation, tail.end.records, next.is_some());
        self.file(&tail.generation).append(tail.end, record)?;
        match next {
            None => {
                tail.end = tail.end.after(tail.record.len_bytes(), tail.record.ops(), false);
                self.handover.appended();
            }
            Some(next) => {
                tail.end = End::START;
                self.handover.sealed(mem::replace(&mut tail.generation, next));
            }
        }
        Ok(())
    }

    /// Brings everything that was committed so far into the tree.
    fn drain(&self) -> Result<(), StoreError> {
        let tail = &mut *self.tail.lock();
        let next = self.handover.wait_until_ready()?;
        if tail.end == End::START {
            return Ok(());
        }
        tail.record.fill(&[]);
        self.append(tail, Some(next))?;
        self.handover.wait_until_ready().map(drop)
    }

    /// For the applying thread, which must never wait for somebody who waits for it.
    fn seal_if_idle(&self) -> Result<(), StoreError> {
        let Some(mut tail) = self.tail.try_lock() else { return Ok(()) };
        let Some(next) = self.handover.ready() else { return Ok(()) };
        if tail.end == End::START {
            return Ok(());
        }
        tail.record.fill(&[]);
        self.append(&mut tail, Some(next))
    }

    /// Brings a sealed generation into the tree in one transaction and prepares its file for the generation after the next.
    fn apply(&self, generation: &Generation) -> Result<Generation, StoreError> {
        let file = self.file(generation);
        let next = Generation::new(generation.number + 2);
        if self.tree.applied()?.is_some_and(|applied| applied.generation >= generation.number) {
            // An earlier attempt came so far; the file may not be whole any more.
            file.begin(&next)?;
            return Ok(next);
        }
        let mut replay = Replay::new(file, generation)?;
        self.tree.apply(generation.number, |ops| {
            while ops.len() < self.limits.step_ops && replay.read(ops)? {}
            let end = replay.end();
            if ops.is_empty() && !end.sealed {
                return Err(
                    file.corrupt(format!("generation {}, record {} is damaged", generation.number, end.records))
                );
            }
            Ok(())
        })?;
        file.begin(&next)?;
        Ok(next)
    }
}
