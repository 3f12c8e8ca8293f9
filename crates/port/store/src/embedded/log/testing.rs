//! The store over other bytes than files, with small logs, in step, and stopped as if it had been killed.

use redb::StorageBackend;

pub(in crate::embedded) use super::LogLimits;
use super::{
    LogFile, RedbSessions,
    file::{self, End, Identity},
};
use crate::{StoreError, embedded::sessions::Tree};

/// Makes both logs of a new store.
pub(in crate::embedded) fn format<B: StorageBackend>(logs: &[B; 2], store: u64, file_bytes: u64) {
    for (bytes, slot) in logs.iter().zip(0..) {
        file::format(bytes, Identity { store, slot, file_bytes }).unwrap();
    }
}

pub(in crate::embedded) fn open<B: StorageBackend>(
    tree: Tree,
    [even, odd]: [B; 2],
    limits: LogLimits,
) -> Result<RedbSessions, StoreError> {
    let applied = tree.applied()?.unwrap_or_else(|| panic!("a tree without logs"));
    let files =
        [LogFile::open_with("log 0".as_ref(), Box::new(even))?, LogFile::open_with("log 1".as_ref(), Box::new(odd))?];
    RedbSessions::over(tree, files, applied, limits)
}

/// Waits until the applying thread has nothing to do or has failed.
pub(in crate::embedded) fn settle(store: &RedbSessions) {
    store.log.handover.settle();
}

/// From now on nothing is applied any more, as if the process were killed in the end.
pub(in crate::embedded) fn stop_applying(store: &RedbSessions) {
    store.log.drain().unwrap();
    store.log.handover.stop();
    while !store.applier.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
        std::thread::yield_now();
    }
}

/// Goes on in the other file.
pub(in crate::embedded) fn seal(store: &RedbSessions) {
    store.log.seal_if_idle().unwrap();
}

/// Makes an empty log what a newer version would leave.
pub(in crate::embedded) fn make_newer(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    file::set_schema(&mut bytes, 2);
    std::fs::write(path, bytes).unwrap();
}

/// Whether the logs are empty.
pub(in crate::embedded) fn is_applied(store: &RedbSessions) -> bool {
    store.log.handover.ready().is_some() && store.log.tail.lock().end == End::START
}

/// Waits until the logs are empty because nobody commits.
pub(in crate::embedded) fn wait_until_idle(store: &RedbSessions) {
    store.log.handover.wait_until_idle();
}
