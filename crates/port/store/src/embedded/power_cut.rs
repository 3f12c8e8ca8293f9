//! A disk that loses power, fills up and fails on demand, from a seed.

use std::{collections::HashSet, fmt, io, mem, sync::Arc};

use parking_lot::Mutex;
use redb::{Builder, StorageBackend};

use super::{
    RedbSessions,
    file::{RedbFile, Role, initialise},
    log::testing::{self, LogLimits},
    sessions::Tree,
};
use crate::{
    MemorySessions, SessionContents, SessionOp, SessionStore, StoreError,
    conformance::{Rng, assert_same, random_ops},
};

const BLOCK_BYTES: u64 = 4096;
/// What a disk writes at once or not at all.
const SECTOR_BYTES: usize = 512;
/// The number that tree and logs share.
const STORE: u64 = 7;
/// A few commits fill a log.
const LIMITS: LogLimits = LogLimits { file_bytes: 6 * BLOCK_BYTES, file_ops: 60, step_ops: 20 };

#[derive(Clone)]
enum Change {
    Data { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// The content of a file.
#[derive(Clone, Default)]
struct Image {
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    unsynced: Vec<Change>,
}

/// A disk with the tree and its two logs.
#[derive(Default)]
struct State {
    files: [Image; 3],
    /// Changes and syncs until the power goes; `None` = never.
    calls_left: Option<u64>,
    /// Writes that fail before the next one succeeds.
    failing_writes: u32,
    /// Syncs that fail before the next one succeeds, and leave what was not synced to chance.
    failing_syncs: u32,
    /// Syncs of a log that was cut, and they only, that fail.
    failing_cuts: u32,
    /// Blocks that were ever written, and how many there may be.
    blocks: HashSet<(usize, u64)>,
    blocks_max: Option<usize>,
}

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

/// One of its files: 0 is the tree.
#[derive(Clone)]
struct DiskFile(Disk, usize);

impl fmt::Debug for DiskFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.1)
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.calls_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Image {
    fn of(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), seen: bytes, unsynced: Vec::new() }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        let changes = mem::take(&mut self.unsynced);
        changes.iter().for_each(|change| apply(&mut self.durable, change));
    }

    /// What is found when the power comes back: everything that was synced, and of the rest what chance decides,
    /// sector by sector.
    fn after_power_cut(&self, rng: &mut Rng) -> Vec<u8> {
        let mut image = self.durable.clone();
        for change in &self.unsynced {
            match (rng.below(3), change) {
                (0, _) => {}
                (1, Change::Data { offset, bytes }) => {
                    for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if rng.one_in(2) {
                            let offset = offset + index * SECTOR_BYTES;
                            apply(&mut image, &Change::Data { offset, bytes: sector.to_vec() });
                        }
                    }
                }
                (_, change) => apply(&mut image, change),
            }
        }
        image
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => image.resize(*length, 0),
        Change::Data { offset, bytes } => {
            let end = offset + bytes.len();
            image.resize(image.len().max(end), 0);
            image[*offset..end].copy_from_slice(bytes);
        }
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().files[self.1].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.0.lock();
        let start = usize::try_from(offset).unwrap();
        let bytes = state.files[self.1].seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.spend()?;
        state.files[self.1].change(Change::Length(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.spend()?;
        let is_cut = |change: &Change| matches!(change, Change::Length(_));
        let fails = if self.1 > 0 && state.failing_cuts > 0 && state.files[self.1].unsynced.iter().any(is_cut) {
            state.failing_cuts -= 1;
            true
        } else {
            let fails = state.failing_syncs > 0;
            state.failing_syncs = state.failing_syncs.saturating_sub(1);
            fails
        };
        if fails {
            // What a kernel does: it forgets that this was to be written.
            state.files[self.1].unsynced.clear();
            return Err(io::Error::other("a bad sector"));
        }
        state.files[self.1].sync();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.spend()?;
        if state.failing_writes > 0 {
            state.failing_writes -= 1;
            return Err(io::Error::other("a bad cable"));
        }
        let blocks = offset / BLOCK_BYTES..=(offset + data.len() as u64 - 1) / BLOCK_BYTES;
        let blocks = blocks.map(|block| (self.1, block));
        let full = state.blocks_max.is_some_and(|max| state.blocks.len() >= max);
        if full && !blocks.clone().all(|block| state.blocks.contains(&block)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.blocks.extend(blocks);
        state.files[self.1].change(Change::Data { offset: usize::try_from(offset).unwrap(), bytes: data.to_vec() });
        Ok(())
    }
}

impl Disk {
    /// A disk with an empty session store, all of it durable.
    fn formatted() -> Self {
        let disk = Self::default();
        let [tree, logs @ ..] = disk.files();
        let database = Builder::new().create_with_backend(tree).unwrap();
        assert!(initialise(&database, Role::Sessions, |transaction| Tree::tables(transaction, STORE)).is_ok());
        database.close().unwrap();
        testing::format(&logs, STORE, LIMITS.file_bytes);
        disk.0.lock().files.iter_mut().for_each(Image::sync);
        disk
    }

    fn with(files: [Vec<u8>; 3]) -> Self {
        Self(Arc::new(Mutex::new(State { files: files.map(Image::of), ..State::default() })))
    }

    fn files(&self) -> [DiskFile; 3] {
        [0, 1, 2].map(|index| DiskFile(self.clone(), index))
    }

    fn open(&self) -> Result<RedbSessions, StoreError> {
        let [tree, logs @ ..] = self.files();
        let opener = move |verify| {
            let mut builder = Builder::new();
            builder.set_cache_size(1 << 20).set_check_integrity_on_open(verify).create_with_backend(tree.clone())
        };
        let tree = RedbFile::open_with("disk".as_ref(), Role::Sessions, Box::new(opener)).map(Tree::over)?;
        testing::open(tree, logs, LIMITS)
    }

    fn after_power_cut(&self, rng: &mut Rng) -> Self {
        Self::with(self.0.lock().files.each_ref().map(|file| file.after_power_cut(rng)))
    }
}

fn model_after(batches: &[Vec<SessionOp>]) -> SessionContents {
    let model = MemorySessions::default();
    batches.iter().for_each(|batch| model.commit(batch).unwrap());
    model.load().unwrap()
}

fn same(found: &SessionContents, model: &SessionContents) -> bool {
    found.sessions == model.sessions && found.messages == model.messages && found.retained == model.retained
}

/// One life: some commits, a power cut anywhere, and a restart. Returns how many commits were acknowledged.
///
/// When `in_step`, the log is only applied between two commits, so that the same seed gives the same life.
fn live_and_die(seed: u64, in_step: bool, template: &[Vec<u8>; 3]) -> usize {
    let mut rng = Rng(seed);
    let disk = Disk::with(template.clone());
    let store = disk.open().unwrap();
    disk.0.lock().calls_left = Some(rng.below(300));
    let batches: Vec<_> = (0..40).map(|_| random_ops(&mut rng, 20)).collect();
    let commit = |batch: &Vec<SessionOp>| {
        let done = store.commit(batch).is_ok();
        if in_step {
            testing::settle(&store);
        }
        done
    };
    let acknowledged = batches.iter().take_while(|batch| commit(batch)).count();
    drop(store);

    let disk = disk.after_power_cut(&mut rng);
    let store = disk.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let found = store.load().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let ends = [acknowledged, batches.len().min(acknowledged + 1)];
    let matching = ends.into_iter().find(|&end| same(&found, &model_after(&batches[..end])));
    assert!(matching.is_some(), "seed {seed}: neither {acknowledged} nor one more commit is what was found");
    assert!(found.next_message >= model_after(&batches[..acknowledged]).next_message, "seed {seed}");

    // Life goes on: the journal commits the unacknowledged batch again.
    let rest = &batches[acknowledged..];
    rest.iter().for_each(|batch| store.commit(batch).unwrap());
    // The load above dropped orphans that these batches may refer to, so the model does the same.
    let model = MemorySessions::default();
    batches[..matching.unwrap_or_default()].iter().for_each(|batch| model.commit(batch).unwrap());
    model.load().unwrap();
    rest.iter().for_each(|batch| model.commit(batch).unwrap());
    assert_same(&store.load().unwrap(), &model.load().unwrap(), &format!("seed {seed}, after the restart"));
    acknowledged
}

/// Nothing acknowledged is lost and nothing is half there, wherever the power goes.
#[test]
fn a_power_cut_leaves_a_prefix_with_all_that_was_acknowledged() {
    let template = Disk::formatted().0.lock().files.each_ref().map(|file| file.durable.clone());
    for in_step in [true, false] {
        let lives: HashSet<usize> = (0..300).map(|seed| live_and_die(seed, in_step, &template)).collect();
        assert!(lives.len() > 10, "the cuts fell in many places: {lives:?}");
    }
}

/// As many commits as one needs for the log to turn over a few times.
fn some_batches(rng: &mut Rng) -> Vec<Vec<SessionOp>> {
    (0..20).map(|_| random_ops(rng, 20)).collect()
}

/// Power cuts in a row, each during or shortly after the recovery from the one before.
#[test]
fn recovery_itself_may_be_cut() {
    let template = Disk::formatted().0.lock().files.each_ref().map(|file| file.durable.clone());
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut disk = Disk::with(template.clone());
        let batches = some_batches(&mut rng);
        let store = disk.open().unwrap();
        batches.iter().for_each(|batch| store.commit(batch).unwrap());
        disk.0.lock().calls_left = Some(0);
        drop(store);
        let model = model_after(&batches);
        for _ in 0..6 {
            disk = disk.after_power_cut(&mut rng);
            disk.0.lock().calls_left = Some(rng.below(30));
            if let Ok(store) = disk.open()
                && let Ok(found) = store.load()
            {
                assert!(same(&found, &model), "seed {seed}");
            }
        }
        let found = disk.after_power_cut(&mut rng).open().unwrap().load().unwrap();
        assert!(same(&found, &model), "seed {seed}: at last");
    }
}

#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let disk = Disk::formatted();
    let store = disk.open().unwrap();
    let mut rng = Rng(7);
    let mut batches = Vec::new();
    disk.0.lock().blocks_max = Some(60);
    let refused = loop {
        let ops: Vec<_> = (0..200)
            .map(|_| {
                let id = crate::SessionId(rng.bits() >> 1);
                SessionOp::PutSession { id, row: crate::conformance::session(id.0) }
            })
            .collect();
        match store.commit(&ops) {
            Ok(()) => batches.push(ops),
            Err(StoreError::Full { .. }) => break ops,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(batches.len() > 2, "something fitted, also into the tree");
    for _ in 0..3 {
        assert!(matches!(store.commit(&refused), Err(StoreError::Full { .. })));
        assert!(matches!(store.load(), Err(StoreError::Full { .. })));
    }
    drop(store);
    let disk = disk.after_power_cut(&mut rng);
    assert_same(&disk.open().unwrap().load().unwrap(), &model_after(&batches), "when it is full no more");
    let store = disk.open().unwrap();
    store.commit(&refused).unwrap();
    batches.push(refused);
    assert_same(&store.load().unwrap(), &model_after(&batches), "when there is room again");
    drop(store);
    assert_same(&disk.open().unwrap().load().unwrap(), &model_after(&batches), "after a restart");
}

#[test]
fn a_full_disk_passes_without_a_restart() {
    let disk = Disk::formatted();
    let store = disk.open().unwrap();
    let mut rng = Rng(8);
    let batches = some_batches(&mut rng);
    disk.0.lock().blocks_max = Some(20);
    for batch in &batches {
        while let Err(error) = store.commit(batch) {
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            *disk.0.lock().blocks_max.as_mut().unwrap() += 4;
        }
    }
    disk.0.lock().blocks_max = None;
    assert_same(&store.load().unwrap(), &model_after(&batches), "when there is room");
}

#[test]
fn an_io_error_passes_without_a_restart() {
    for seed in 0..30 {
        let disk = Disk::formatted();
        let store = disk.open().unwrap();
        let mut rng = Rng(seed);
        let batches = some_batches(&mut rng);
        let mut failures = 0;
        for batch in &batches {
            if rng.one_in(3) {
                let failing = 1 + u32::try_from(rng.below(5)).unwrap();
                let mut state = disk.0.lock();
                if rng.one_in(2) { state.failing_writes = failing } else { state.failing_syncs = failing }
            }
            while let Err(error) = store.commit(batch) {
                assert!(matches!(error, StoreError::Io { .. }), "{error}");
                failures += 1;
            }
        }
        assert!(failures > 0);
        testing::settle(&store);
        (disk.0.lock().failing_writes, disk.0.lock().failing_syncs) = (0, 0);
        // What a failed sync left behind was written again before it was relied on.
        disk.0.lock().calls_left = Some(0);
        drop(store);
        let found = disk.after_power_cut(&mut rng).open().unwrap().load().unwrap();
        assert_same(&found, &model_after(&batches), &format!("seed {seed}, after the errors and a power cut"));
    }
}

/// A commit that failed may be given up for another; of the first nothing remains, whatever of it had reached the disk.
#[test]
fn another_commit_may_follow_one_that_failed() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let disk = Disk::formatted();
        let store = disk.open().unwrap();
        let mut kept = Vec::new();
        for _ in 0..10 {
            let batch = random_ops(&mut rng, 60);
            disk.0.lock().failing_syncs = u32::from(rng.one_in(2));
            match store.commit(&batch) {
                Ok(()) => kept.push(batch),
                Err(_) => {
                    disk.0.lock().failing_syncs = 0;
                    let other = random_ops(&mut rng, 2);
                    store.commit(&other).unwrap();
                    kept.push(other);
                }
            }
            testing::settle(&store);
        }
        disk.0.lock().calls_left = Some(0);
        drop(store);
        let found = disk.after_power_cut(&mut rng).open().unwrap().load().unwrap();
        assert_same(&found, &model_after(&kept), &format!("seed {seed}"));
    }
}

#[test]
fn a_commit_may_be_larger_than_a_log() {
    let disk = Disk::formatted();
    let store = disk.open().unwrap();
    let log_bytes = || disk.0.lock().files[1..].iter().map(|file| file.seen.len() as u64).max().unwrap();
    let large: Vec<_> = (1..1000)
        .map(|id| SessionOp::PutSession { id: crate::SessionId(id), row: crate::conformance::session(id) })
        .collect();
    store.commit(&large).unwrap();
    assert!(log_bytes() > 2 * LIMITS.file_bytes);
    assert_same(&store.load().unwrap(), &model_after(std::slice::from_ref(&large)), "at once");
    let mut batches = vec![large];
    batches.extend(some_batches(&mut Rng(9)));
    batches[1..].iter().for_each(|batch| store.commit(batch).unwrap());
    assert_same(&store.load().unwrap(), &model_after(&batches), "with others behind it");
    assert_eq!(log_bytes(), LIMITS.file_bytes, "the file that grew is cut when it is used again");
}

#[test]
fn an_idle_store_and_one_that_was_stopped_have_empty_logs() {
    let disk = Disk::formatted();
    let store = disk.open().unwrap();
    let ops = random_ops(&mut Rng(10), 3);
    store.commit(&ops).unwrap();
    assert!(!testing::is_applied(&store));
    testing::wait_until_idle(&store);
    store.commit(&ops).unwrap();
    assert!(!testing::is_applied(&store));
    drop(store);
    let store = disk.open().unwrap();
    assert!(testing::is_applied(&store));
    assert_same(&store.load().unwrap(), &model_after(&[ops]), "after the stop");
}

/// A process that is killed leaves in the kernel's memory what it wrote and could not sync; after a failed sync the kernel
/// does not even mean to write it. What the next process reads there and builds on must be on the disk first.
#[test]
fn what_only_the_kernel_remembers_is_written_again_by_the_next_start() {
    let template = Disk::formatted().0.lock().files.each_ref().map(|file| file.durable.clone());
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let disk = Disk::with(template.clone());
        // What comes behind is too little to be brought into the tree before the end.
        let doubtful = 1 + usize::try_from(rng.below(8)).unwrap();
        let batches: Vec<_> = (0..doubtful + 2).map(|_| random_ops(&mut rng, 3)).collect();
        let store = disk.open().unwrap();
        batches[..doubtful].iter().for_each(|batch| store.commit(batch).unwrap());
        // It is written, and its sync fails or never comes.
        if rng.one_in(2) {
            disk.0.lock().failing_syncs = 1
        } else {
            disk.0.lock().calls_left = Some(rng.below(4))
        }
        let acknowledged = store.commit(&batches[doubtful]).is_ok();
        disk.0.lock().calls_left = Some(0);
        drop(store);
        (disk.0.lock().calls_left, disk.0.lock().failing_syncs) = (None, 0);

        let store = disk.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        batches[doubtful + 1..].iter().for_each(|batch| store.commit(batch).unwrap());
        disk.0.lock().calls_left = Some(0);
        drop(store);
        let store = disk.after_power_cut(&mut rng).open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = store.load().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let mut without = batches.clone();
        without.remove(doubtful);
        let is_there = same(&found, &model_after(&batches));
        assert!(is_there || !acknowledged && same(&found, &model_after(&without)), "seed {seed}");
    }
}

/// A file that a large commit made long is cut when its next filling begins; if that fails, only that is tried again.
#[test]
fn a_failed_preparation_after_a_large_commit_passes() {
    let disk = Disk::formatted();
    let store = disk.open().unwrap();
    let mut rng = Rng(1);
    let mut batches = vec![random_ops(&mut rng, 4000)];
    store.commit(&batches[0]).unwrap();
    disk.0.lock().failing_cuts = 1;
    for _ in 0..40 {
        let batch = random_ops(&mut rng, 20);
        while let Err(error) = store.commit(&batch) {
            assert!(matches!(error, StoreError::Io { .. }), "{error}");
        }
        batches.push(batch);
    }
    assert_eq!(disk.0.lock().failing_cuts, 0, "it was cut, and that failed");
    assert_same(&store.load().unwrap(), &model_after(&batches), "after the failures");
    drop(store);
    assert_same(&disk.open().unwrap().load().unwrap(), &model_after(&batches), "after a restart");
}
