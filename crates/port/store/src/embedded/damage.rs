//! Torn, foreign, missing, locked and newer files.

use std::{fs, path::Path};

use redb::Database;

use super::{REGISTRY_FILE, RedbStore, SESSIONS_FILE, file::META};
use crate::{
    RegistryContents, RegistryOp, RegistryStore, SessionContents, SessionStore, StoreError,
    conformance::{Rng, credential, identity, random_ops},
};

const CACHE_BYTES: usize = 1 << 20;

fn open(dir: &Path) -> Result<RedbStore, StoreError> {
    RedbStore::open(dir, CACHE_BYTES)
}

fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut rng = Rng(3);
    for number in 0..30 {
        let (name, id) = (format!("lamp-{number}"), u128::from(number));
        let ops = [RegistryOp::PutIdentity(identity(id, &name)), RegistryOp::PutCredential(credential(number, id))];
        store.registry.commit(&ops).unwrap();
        store.sessions.commit(&random_ops(&mut rng, 40)).unwrap();
    }
    store.sessions.load().unwrap();
    dir
}

fn read(dir: &Path) -> Result<(RegistryContents, SessionContents), StoreError> {
    let store = open(dir)?;
    Ok((store.registry.load()?, store.sessions.load()?))
}

fn assert_corrupt<T>(result: Result<T, StoreError>, name: &str, what: &str) {
    match result {
        Err(StoreError::Corrupt { file, .. }) => assert!(file.ends_with(name), "{what}: {}", file.display()),
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: it was opened"),
    }
}

/// Damages one file and says whether the damage was found; what is read without complaint is what was written.
fn found_after(dir: &Path, name: &str, expected: &(RegistryContents, SessionContents), damaged: &[u8]) -> bool {
    fs::write(dir.join(name), damaged).unwrap();
    match read(dir) {
        Ok(found) => {
            assert_eq!(&found, expected, "{name}: damage went unnoticed");
            false
        }
        Err(StoreError::Corrupt { file, detail }) => {
            assert!(file.ends_with(name), "{name}: {detail}");
            true
        }
        Err(other) => panic!("{name}: {other}"),
    }
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let dir = filled();
    let expected = read(dir.path()).unwrap();
    for name in [REGISTRY_FILE, SESSIONS_FILE] {
        let whole = fs::read(dir.path().join(name)).unwrap();
        let used: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
        let mut rng = Rng(11);
        let mut found = 0;
        for _ in 0..150 {
            let at = used[usize::try_from(rng.below(used.len() as u64)).unwrap()];
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << rng.below(8);
            found += u32::from(found_after(dir.path(), name, &expected, &damaged));
        }
        assert!(found > 0, "{name}: no damage was found");
        fs::write(dir.path().join(name), &whole).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_the_header_is_found_or_harmless() {
    let dir = filled();
    let expected = read(dir.path()).unwrap();
    let whole = fs::read(dir.path().join(SESSIONS_FILE)).unwrap();
    let mut found = 0;
    for bit in (0..320 * 8).filter(|bit| bit < &(64 * 8) || bit % 5 == 0) {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        found += u32::from(found_after(dir.path(), SESSIONS_FILE, &expected, &damaged));
    }
    assert!(found > 100, "{found} were found");
}

#[test]
fn a_cut_or_foreign_file_is_refused_and_left_alone() {
    let dir = filled();
    for name in [REGISTRY_FILE, SESSIONS_FILE] {
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        let lengths = [0, 1, 100, 4095, 4096, whole.len() / 2, whole.len() - 4096];
        let mut images: Vec<_> = lengths.iter().map(|&length| whole[..length].to_vec()).collect();
        images.push(b"SQLite format 3\0".repeat(1000));
        images.push(vec![0; whole.len()]);
        for image in images {
            fs::write(&path, &image).unwrap();
            assert_corrupt(read(dir.path()), name, &format!("{} bytes of {name}", image.len()));
            assert_eq!(fs::read(&path).unwrap().len(), image.len(), "the evidence was altered");
        }
        fs::write(&path, whole).unwrap();
    }
    read(dir.path()).unwrap();
}

#[test]
fn a_missing_file_is_not_made_anew() {
    for name in [REGISTRY_FILE, SESSIONS_FILE] {
        let dir = filled();
        fs::remove_file(dir.path().join(name)).unwrap();
        assert_corrupt(open(dir.path()), name, "one file was removed");
        assert!(!dir.path().join(name).exists());
    }
}

#[test]
fn swapped_files_are_noticed() {
    let dir = filled();
    let at = |name: &str| dir.path().join(name);
    fs::rename(at(REGISTRY_FILE), at("aside")).unwrap();
    fs::rename(at(SESSIONS_FILE), at(REGISTRY_FILE)).unwrap();
    fs::rename(at("aside"), at(SESSIONS_FILE)).unwrap();
    assert_corrupt(open(dir.path()), REGISTRY_FILE, "swapped");
}

#[test]
fn a_first_start_that_was_interrupted_is_finished() {
    for stage in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let at = |name: &str| dir.path().join(name);
        fs::rename(at(REGISTRY_FILE), at("registry.redb.new")).unwrap();
        if stage < 2 {
            fs::rename(at(SESSIONS_FILE), at("sessions.redb.new")).unwrap();
        }
        if stage < 1 {
            fs::write(at("sessions.redb.new"), b"half").unwrap();
        }
        let (registry, sessions) = read(dir.path()).unwrap();
        assert!(registry.identities.is_empty() && sessions.sessions.is_empty(), "stage {stage}");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "stage {stage}: nothing half-made stays behind");
    }
}

#[test]
fn the_files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = filled();
    for name in [REGISTRY_FILE, SESSIONS_FILE] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}

#[test]
fn a_second_hub_is_locked_out() {
    let dir = filled();
    let first = open(dir.path()).unwrap();
    let second = open(dir.path());
    assert!(matches!(&second, Err(StoreError::Locked { file }) if file.ends_with(REGISTRY_FILE)));
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn a_newer_file_is_refused() {
    let dir = filled();
    let path = dir.path().join(SESSIONS_FILE);
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("schema", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = open(dir.path());
    assert!(matches!(&refused, Err(StoreError::Version { found: 2, expected: 1, .. })), "{:?}", refused.err());
}
