//! Torn, foreign, missing, locked and newer files.

use std::{fs, os::unix::fs::FileExt, path::Path};

use redb::Database;

use super::{LOG_FILES, REGISTRY_FILE, RedbStore, SESSIONS_FILE, file::META, log::testing};
use crate::{
    MemorySessions, RegistryContents, RegistryOp, RegistryStore, SessionContents, SessionOp, SessionStore, StoreError,
    conformance::{Rng, assert_same, credential, identity, random_ops},
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

/// What was committed to the logs of [`killed`], in order.
fn logged() -> Vec<Vec<SessionOp>> {
    let mut rng = Rng(4);
    (0..12).map(|_| random_ops(&mut rng, 40)).collect()
}

/// A directory whose hub was killed: the tree is empty, one log is sealed, and the other holds the second half.
fn killed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    testing::stop_applying(&store.sessions);
    for (index, batch) in logged().iter().enumerate() {
        if index == 6 {
            testing::seal(&store.sessions);
        }
        store.sessions.commit(batch).unwrap();
    }
    dir
}

fn model(batches: &[Vec<SessionOp>]) -> SessionContents {
    let model = MemorySessions::default();
    batches.iter().for_each(|batch| model.commit(batch).unwrap());
    model.load().unwrap()
}

/// Puts the files of another directory back, without what a hub has made of them since.
fn restore(from: &Path, to: &Path) {
    for name in [REGISTRY_FILE, SESSIONS_FILE, LOG_FILES[0], LOG_FILES[1]] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

pub(super) fn assert_corrupt<T>(result: Result<T, StoreError>, name: &str, what: &str) {
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

/// Where records of a log start: on blocks that are not zero throughout, here one each.
fn records(log: &[u8]) -> Vec<usize> {
    let starts = (4096..log.len()).step_by(4096);
    starts.filter(|&at| log[at..at + 4096].iter().any(|&byte| byte != 0)).collect()
}

#[test]
fn what_a_killed_hub_left_in_the_logs_is_all_there() {
    let dir = killed();
    let (_, found) = read(dir.path()).unwrap();
    assert_same(&found, &model(&logged()), "after the kill");
    let logs = LOG_FILES.map(|name| records(&fs::read(dir.path().join(name)).unwrap()).len());
    assert!(logs[1] > 6 && logs[0] >= 6, "both logs were in use: {logs:?}");
}

#[test]
fn a_flipped_bit_in_a_log_is_found() {
    let (pristine, dir) = (killed(), killed());
    let (all, but_one) = (model(&logged()), model(&logged()[..11]));
    // The sealed log is the odd one: its generation is the first.
    for (name, newest) in [(LOG_FILES[1], false), (LOG_FILES[0], true)] {
        let whole = fs::read(pristine.path().join(name)).unwrap();
        let last = *records(&whole).last().unwrap();
        let used: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
        let mut rng = Rng(12);
        let (mut found, mut cut) = (0, 0);
        restore(pristine.path(), dir.path());
        for _ in 0..100 {
            let at = used[usize::try_from(rng.below(used.len() as u64)).unwrap()];
            let put = |byte: u8| {
                let file = fs::File::options().write(true).open(dir.path().join(name)).unwrap();
                file.write_all_at(&[byte], at as u64).unwrap();
            };
            put(whole[at] ^ 1 << rng.below(8));
            match read(dir.path()) {
                Err(StoreError::Corrupt { file, detail }) => {
                    assert!(LOG_FILES.iter().any(|name| file.ends_with(name)), "{detail}");
                    found += 1;
                    put(whole[at]);
                }
                // The last record of the newest log may be one that was never acknowledged.
                Ok((_, contents)) if newest && at >= last => {
                    assert_same(&contents, &but_one, "the last record is damaged");
                    cut += 1;
                    restore(pristine.path(), dir.path());
                }
                Ok(_) => panic!("{name}: a flipped bit in byte {at} went unnoticed"),
                Err(other) => panic!("{name}: {other}"),
            }
        }
        assert!(found > 50 && (cut > 0) == newest, "{name}: {found} were found, {cut} cut off");
    }
    restore(pristine.path(), dir.path());
    assert_same(&read(dir.path()).unwrap().1, &all, "without damage");
}

#[test]
fn a_record_that_is_lost_is_missed() {
    let (pristine, dir) = (killed(), killed());
    for (name, newest) in [(LOG_FILES[1], false), (LOG_FILES[0], true)] {
        let whole = fs::read(pristine.path().join(name)).unwrap();
        let starts = records(&whole);
        for (index, &at) in starts.iter().enumerate() {
            restore(pristine.path(), dir.path());
            let mut damaged = whole.clone();
            damaged[at..at + 4096].fill(0);
            fs::write(dir.path().join(name), &damaged).unwrap();
            if newest && index + 1 == starts.len() {
                continue;
            }
            assert_corrupt(read(dir.path()), name, &format!("block {index} of {name} is zeros"));
        }
        // Another record of the same generation in its place.
        restore(pristine.path(), dir.path());
        let mut damaged = whole.clone();
        damaged.copy_within(4096..8192, starts[1]);
        fs::write(dir.path().join(name), &damaged).unwrap();
        assert_corrupt(read(dir.path()), name, "a record twice");
    }
}

#[test]
fn logs_that_do_not_belong_to_the_tree_are_refused() {
    let (dir, other) = (killed(), killed());
    let at = |name: &str| dir.path().join(name);
    for name in LOG_FILES {
        let own = fs::read(at(name)).unwrap();
        fs::copy(other.path().join(name), at(name)).unwrap();
        assert_corrupt(read(dir.path()), name, "of another store");
        fs::write(at(name), own).unwrap();
    }
    let [even, odd] = LOG_FILES.map(|name| fs::read(at(name)).unwrap());
    fs::write(at(LOG_FILES[0]), &odd).unwrap();
    fs::write(at(LOG_FILES[1]), &even).unwrap();
    assert_corrupt(read(dir.path()), LOG_FILES[0], "swapped");
    fs::write(at(LOG_FILES[0]), &even).unwrap();
    fs::write(at(LOG_FILES[1]), &odd).unwrap();
    read(dir.path()).unwrap();
    // Both from a copy of the directory that is older than the tree.
    fs::write(at(LOG_FILES[0]), &even).unwrap();
    fs::write(at(LOG_FILES[1]), &odd).unwrap();
    assert_corrupt(read(dir.path()), LOG_FILES[0], "of another time");
}

#[test]
fn a_newer_log_is_refused() {
    let dir = filled();
    for name in LOG_FILES {
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        testing::make_newer(&path);
        let refused = open(dir.path());
        assert!(matches!(&refused, Err(StoreError::Version { found: 2, expected: 1, .. })), "{:?}", refused.err());
        fs::write(path, whole).unwrap();
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
    for name in [REGISTRY_FILE, SESSIONS_FILE, LOG_FILES[0], LOG_FILES[1]] {
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
    for name in [REGISTRY_FILE, SESSIONS_FILE, LOG_FILES[0], LOG_FILES[1]] {
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
fn logs_without_a_tree_are_not_made_anew() {
    let dir = killed();
    fs::remove_file(dir.path().join(REGISTRY_FILE)).unwrap();
    fs::remove_file(dir.path().join(SESSIONS_FILE)).unwrap();
    assert_corrupt(open(dir.path()), SESSIONS_FILE, "both trees were removed");
}

#[test]
fn a_first_start_that_was_interrupted_is_finished() {
    for stage in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let at = |name: &str| dir.path().join(name);
        // The order in which they get their names.
        let names = [SESSIONS_FILE, LOG_FILES[0], LOG_FILES[1], REGISTRY_FILE];
        for name in &names[stage..] {
            fs::rename(at(name), at(&format!("{name}.new"))).unwrap();
        }
        if stage == 0 {
            fs::write(at("sessions.redb.new"), b"half").unwrap();
        }
        let (registry, sessions) = read(dir.path()).unwrap();
        assert!(registry.identities.is_empty() && sessions.sessions.is_empty(), "stage {stage}");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 4, "stage {stage}: nothing half-made stays behind");
    }
}

#[test]
fn the_files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = filled();
    for name in [REGISTRY_FILE, SESSIONS_FILE, LOG_FILES[0], LOG_FILES[1]] {
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
    transaction.open_table(META).unwrap().insert("schema", 3).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = open(dir.path());
    assert!(matches!(&refused, Err(StoreError::Version { found: 3, expected: 2, .. })), "{:?}", refused.err());
}
