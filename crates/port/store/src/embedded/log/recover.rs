//! What the files say when the store is opened, and how they come to be.

use std::path::Path;

use uuid::Uuid;

use super::{
    LogLimits, Tail,
    applier::Other,
    file::{End, Identity, LogFile},
    record::{Generation, Record},
    replay::Replay,
};
use crate::{
    StoreError,
    embedded::{
        exists, remove_stale, rename,
        sessions::{Applied, Tree},
        sync_dir, temporary,
    },
};

/// Where to append, and what is to become of the other file, by the rules that the module's introduction gives. All
/// that is in the log and not in the tree is read and verified.
pub(super) fn recover(files: &[LogFile; 2], applied: u64) -> Result<(Tail, Other), StoreError> {
    let (oldest, newest) = if applied.is_multiple_of(2) { (&files[1], &files[0]) } else { (&files[0], &files[1]) };
    let generation = expect_generation(oldest, applied + 1)?;
    let end = verify(oldest, &generation)?;
    if end.sealed {
        let next = expect_generation(newest, applied + 2)?;
        let next_end = verify(newest, &next)?;
        if next_end.sealed {
            return Err(newest.corrupt("it is full although the one before it is not applied"));
        }
        oldest.rewrite(&generation, end)?;
        return Ok((tail(newest, next, next_end)?, Other::Sealed(generation)));
    }
    if let Some(found) = newest.generation()? {
        let (number, next) = (found.number, applied + 2);
        // The one that is applied, or the next; none at all is what an interrupted preparation leaves.
        if number != applied && number != next {
            return Err(newest.corrupt(format!("it holds generation {number}, not {applied} or {next}")));
        }
        if number == next && verify(newest, &found)? != End::START {
            let detail = format!("generation {} has no end, and another follows it", generation.number);
            return Err(oldest.corrupt(detail));
        }
    }
    // Also where it seems to be prepared: whether that has reached the disk, nobody knows.
    let next = Generation::new(applied + 2);
    newest.begin(&next)?;
    Ok((tail(oldest, generation, end)?, Other::Ready(next)))
}

fn tail(file: &LogFile, generation: Generation, end: End) -> Result<Tail, StoreError> {
    file.rewrite(&generation, end)?;
    Ok(Tail { generation, end, record: Record::default() })
}

fn expect_generation(file: &LogFile, number: u64) -> Result<Generation, StoreError> {
    match file.generation()? {
        Some(generation) if generation.number == number => Ok(generation),
        Some(other) => {
            Err(file.corrupt(format!("it holds generation {}, and generation {number} is missing", other.number)))
        }
        None => Err(file.corrupt(format!("it does not say what it holds; generation {number} is missing"))),
    }
}

fn verify(file: &LogFile, generation: &Generation) -> Result<End, StoreError> {
    let (mut replay, mut ops) = (Replay::new(file, generation)?, Vec::new());
    while replay.read(&mut ops)? {
        ops.clear();
    }
    Ok(replay.end())
}

pub(super) fn new_store_number() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}

pub(super) fn create_logs(logs: [&Path; 2], store: u64, file_bytes: u64) -> Result<(), StoreError> {
    LogFile::create(logs[0], Identity { store, slot: 0, file_bytes })?;
    LogFile::create(logs[1], Identity { store, slot: 1, file_bytes })
}

/// Gives a tree from before there were logs its own. Until the tree says so, logs beside it are what an interrupted
/// attempt left: they are empty, and made anew.
pub(super) fn upgrade(tree: &Tree, logs: [&Path; 2]) -> Result<Applied, StoreError> {
    let store = new_store_number();
    let new = logs.map(temporary);
    for (log, new) in logs.iter().zip(&new) {
        remove_stale(new)?;
        if exists(log)? {
            expect_empty(log)?;
            remove_stale(log)?;
        }
    }
    create_logs([&new[0], &new[1]], store, LogLimits::default().file_bytes)?;
    for (log, new) in logs.iter().zip(&new) {
        sync_dir(new)?;
        rename(new, log)?;
    }
    tree.adopt(store)?;
    tracing::info!("the session store has a log now");
    Ok(Applied { store, generation: 0 })
}

fn expect_empty(log: &Path) -> Result<(), StoreError> {
    let file = LogFile::open(log)?;
    if let Some(generation) = file.generation()?
        && verify(&file, &generation)? == End::START
    {
        return Ok(());
    }
    Err(file.corrupt("it holds what the session store beside it knows nothing of"))
}
