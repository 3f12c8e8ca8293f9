//! Directories from before there were logs.

use std::{fs, path::Path};

use redb::Database;

use super::{LOG_FILES, REGISTRY_FILE, RedbStore, SESSIONS_FILE, damage::assert_corrupt, file::META, log::testing};
use crate::{
    SessionContents, SessionStore, StoreError,
    conformance::{Rng, random_ops},
};

/// A directory as the first version left it: no logs, and a tree that knows of none.
fn older() -> (tempfile::TempDir, SessionContents) {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path(), 1 << 20).unwrap();
    store.sessions.commit(&random_ops(&mut Rng(5), 200)).unwrap();
    let contents = store.sessions.load().unwrap();
    drop(store);
    LOG_FILES.iter().for_each(|name| fs::remove_file(dir.path().join(name)).unwrap());
    let database = Database::open(dir.path().join(SESSIONS_FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("schema", 1).unwrap();
        meta.remove("log").unwrap();
        meta.remove("applied").unwrap();
    }
    transaction.commit().unwrap();
    (dir, SessionContents { orphans_dropped: 0, ..contents })
}

fn load(dir: &Path) -> Result<SessionContents, StoreError> {
    RedbStore::open(dir, 1 << 20)?.sessions.load()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn schema(dir: &Path) -> u64 {
    let database = Database::open(dir.join(SESSIONS_FILE)).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let meta = transaction.open_table(META).unwrap();
    meta.get("schema").unwrap().unwrap().value()
}

#[test]
fn it_is_upgraded_in_place() {
    let (dir, before) = older();
    assert_eq!(schema(dir.path()), 1);
    for _ in 0..2 {
        assert_eq!(load(dir.path()).unwrap(), before);
        assert_eq!(schema(dir.path()), 2, "an older hub would not see the logs, so it must refuse");
        assert_eq!(names(dir.path()), [REGISTRY_FILE, LOG_FILES[0], LOG_FILES[1], SESSIONS_FILE]);
    }
}

#[test]
fn an_upgrade_that_was_interrupted_is_done_again() {
    for stage in 0..4 {
        let (dir, before) = older();
        let at = |name: &str| dir.path().join(name);
        let spare = tempfile::tempdir().unwrap();
        drop(RedbStore::open(spare.path(), 1 << 20).unwrap());
        let new = |name: &str| at(&format!("{name}.new"));
        let made = |name: &str, to: &Path| {
            fs::copy(spare.path().join(name), to).unwrap();
        };
        match stage {
            0 => fs::write(new(LOG_FILES[0]), b"half").unwrap(),
            1 => LOG_FILES.iter().for_each(|name| made(name, &new(name))),
            2 => {
                made(LOG_FILES[0], &at(LOG_FILES[0]));
                made(LOG_FILES[1], &new(LOG_FILES[1]));
            }
            _ => LOG_FILES.iter().for_each(|name| made(name, &at(name))),
        }
        assert_eq!(load(dir.path()).unwrap(), before, "stage {stage}");
        assert_eq!(names(dir.path()).len(), 4, "stage {stage}: nothing half-made stays behind");
    }
}

#[test]
fn a_log_that_holds_something_is_not_made_anew() {
    let (dir, _) = older();
    let spare = tempfile::tempdir().unwrap();
    let store = RedbStore::open(spare.path(), 1 << 20).unwrap();
    testing::stop_applying(&store.sessions);
    store.sessions.commit(&random_ops(&mut Rng(6), 20)).unwrap();
    drop(store);
    for name in LOG_FILES {
        fs::copy(spare.path().join(name), dir.path().join(name)).unwrap();
    }
    let image = || fs::read(dir.path().join(LOG_FILES[1])).unwrap();
    let before = image();
    assert_corrupt(load(dir.path()), LOG_FILES[1], "a log of another store beside an older tree");
    assert!(image() == before, "the evidence was altered");
}

#[test]
fn a_first_start_of_the_older_version_that_was_interrupted_is_finished() {
    let (dir, before) = older();
    fs::rename(dir.path().join(REGISTRY_FILE), dir.path().join("registry.redb.new")).unwrap();
    assert_eq!(load(dir.path()).unwrap(), before);
    assert_eq!(names(dir.path()).len(), 4);
}
