//! A disk that loses power, fills up and fails on demand, from a seed.

use std::{collections::HashSet, fmt, io, sync::Arc};

use parking_lot::Mutex;
use redb::{Builder, StorageBackend};

use super::{
    RedbSessions,
    file::{RedbFile, Role, initialise},
};
use crate::{
    MemorySessions, SessionContents, SessionOp, SessionStore, StoreError,
    conformance::{Rng, assert_same, random_ops},
};

const BLOCK_BYTES: u64 = 4096;
/// What a disk writes at once or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Clone)]
enum Change {
    Data { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Default)]
struct State {
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    unsynced: Vec<Change>,
    /// Changes and syncs until the power goes; `None` = never.
    calls_left: Option<u64>,
    /// Writes that fail before the next one succeeds.
    failing_writes: u32,
    /// Blocks that were ever written, and how many there may be.
    blocks: HashSet<u64>,
    blocks_max: Option<usize>,
}

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
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

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
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

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let start = usize::try_from(offset).unwrap();
        let bytes = state.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.spend()?;
        state.change(Change::Length(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.spend()?;
        let changes = std::mem::take(&mut state.unsynced);
        changes.iter().for_each(|change| apply(&mut state.durable, change));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.spend()?;
        if state.failing_writes > 0 {
            state.failing_writes -= 1;
            return Err(io::Error::other("a bad cable"));
        }
        let blocks = offset / BLOCK_BYTES..=(offset + data.len() as u64 - 1) / BLOCK_BYTES;
        let full = state.blocks_max.is_some_and(|max| state.blocks.len() >= max);
        if full && !blocks.clone().all(|block| state.blocks.contains(&block)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.blocks.extend(blocks);
        state.change(Change::Data { offset: usize::try_from(offset).unwrap(), bytes: data.to_vec() });
        Ok(())
    }
}

impl Disk {
    /// A disk with an empty session store, all of it durable.
    fn formatted() -> Self {
        let disk = Self::default();
        let database = Builder::new().create_with_backend(disk.clone()).unwrap();
        assert!(initialise(&database, Role::Sessions, RedbSessions::tables).is_ok());
        database.close().unwrap();
        disk.sync_data().unwrap();
        disk
    }

    fn open(&self) -> Result<RedbSessions, StoreError> {
        let disk = self.clone();
        let opener = move |verify| {
            let mut builder = Builder::new();
            builder.set_cache_size(1 << 20).set_check_integrity_on_open(verify).create_with_backend(disk.clone())
        };
        RedbFile::open_with("disk".as_ref(), Role::Sessions, Box::new(opener)).map(RedbSessions::over)
    }

    /// What is found when the power comes back: everything that was synced, and of the rest what chance decides,
    /// sector by sector.
    fn after_power_cut(&self, rng: &mut Rng) -> Self {
        let state = self.0.lock();
        let mut image = state.durable.clone();
        for change in &state.unsynced {
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
        let state = State { durable: image.clone(), seen: image, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
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
fn live_and_die(seed: u64, template: &[u8]) -> usize {
    let mut rng = Rng(seed);
    let state = State { durable: template.to_vec(), seen: template.to_vec(), ..State::default() };
    let disk = Disk(Arc::new(Mutex::new(state)));
    let store = disk.open().unwrap();
    disk.0.lock().calls_left = Some(rng.below(300));
    let batches: Vec<_> = (0..20).map(|_| random_ops(&mut rng, 20)).collect();
    let acknowledged = batches.iter().take_while(|batch| store.commit(batch).is_ok()).count();
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
    let template = Disk::formatted().0.lock().durable.clone();
    let lives: HashSet<usize> = (0..400).map(|seed| live_and_die(seed, &template)).collect();
    assert!(lives.len() > 10, "the cuts fell in many places: {lives:?}");
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
    assert!(!batches.is_empty(), "something fitted");
    for _ in 0..3 {
        assert!(matches!(store.commit(&refused), Err(StoreError::Full { .. })));
    }
    assert_same(&store.load().unwrap(), &model_after(&batches), "while it is full");
    disk.0.lock().blocks_max = None;
    store.commit(&refused).unwrap();
    batches.push(refused);
    assert_same(&store.load().unwrap(), &model_after(&batches), "when there is room again");
    drop(store);
    assert_same(&disk.open().unwrap().load().unwrap(), &model_after(&batches), "after a restart");
}

#[test]
fn an_io_error_passes_without_a_restart() {
    for failing_writes in [1, 2, 5] {
        let disk = Disk::formatted();
        let store = disk.open().unwrap();
        let mut rng = Rng(u64::from(failing_writes));
        let (first, second) = (random_ops(&mut rng, 40), random_ops(&mut rng, 40));
        store.commit(&first).unwrap();
        disk.0.lock().failing_writes = failing_writes;
        assert!(matches!(store.commit(&second), Err(StoreError::Io { .. })));
        disk.0.lock().failing_writes = 0;
        store.commit(&second).unwrap();
        assert_same(&store.load().unwrap(), &model_after(&[first, second]), "after the error");
    }
}
