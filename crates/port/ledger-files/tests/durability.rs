//! Whatever stops a hub: what was acknowledged is there, in order, and the ledger goes on from it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Disk, Signer, append, audited, create, open, seal, try_audit};
use portreeve_ledger_files::{
    Folder, LedgerFiles, OpenError, SealError, UNSEALED_BYTES_MAX, UNSEALED_ENTRIES_MAX, Volume,
};
use proptest::prelude::*;

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

fn numbered(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(entry).collect()
}

/// Appends of these many entries, with a seal after each third; how many were acknowledged.
fn work<V: Volume>(ledger: &mut LedgerFiles<V>, groups: &[u64]) -> (u64, Result<(), SealError>) {
    let mut acknowledged = ledger.size();
    for (number, count) in groups.iter().enumerate() {
        if let Err(error) = append(ledger, &numbered(acknowledged, *count)) {
            return (acknowledged, Err(error));
        }
        acknowledged += count;
        if number % 3 == 2
            && let Err(error) = seal(ledger)
        {
            return (acknowledged, Err(error));
        }
    }
    (acknowledged, Ok(()))
}

#[test]
fn what_was_written_is_found_again() {
    let work_folder = tempfile::tempdir().unwrap();
    let root = work_folder.path().join("a/ledger");
    assert!(matches!(open(Folder::new(&root)), Err(OpenError::Empty)));
    assert!(!root.exists(), "a look leaves nothing");
    create(Folder::new(&root)).unwrap();
    let mut ledger = open(Folder::new(&root)).unwrap();
    assert_eq!((ledger.size(), ledger.sealed()), (0, 0));
    let groups = [1, 254, 1, 1, 255, 512, 3, 70, 66];
    let (count, done) = work(&mut ledger, &groups);
    done.unwrap();
    drop(ledger);
    let mut ledger = open(Folder::new(&root)).unwrap();
    assert_eq!((ledger.size(), ledger.sealed()), (count, count));
    append(&mut ledger, &numbered(count, 10)).unwrap();
    drop(ledger);
    let mut ledger = open(Folder::new(&root)).unwrap();
    assert_eq!((ledger.size(), ledger.sealed()), (count + 10, count), "unsealed, and not lost");
    seal(&mut ledger).unwrap();
    assert_eq!(audited(ledger.volume()), numbered(0, count + 10));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(""), mode("checkpoint"), mode("tile/0/000")], [0o700, 0o600, 0o600]);
    let partial = std::fs::read_dir(root.join("tile/0")).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".p")
    });
    let widths = partial.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count());
    assert_eq!(widths.sum::<usize>(), 1, "of the partial tiles one is left, the present one's");
}

/// The power fails in each operation in turn, with nothing, a part or all of it done.
#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let groups = [3, 200, 60, 1, 300, 2, 5];
    let dry = Disk::with_ledger();
    let _ = work(&mut open(dry.clone()).unwrap(), &groups);
    let operations = dry.operations();
    assert!(operations > 20);
    // The first begins the ledger.
    for operation in 0..operations - 1 {
        for extent in [0, 1, 2, 59, 60, 61, 100, 101, usize::MAX / 2] {
            let disk = Disk::with_ledger();
            disk.fail_at(operation, extent);
            let (acknowledged, done) = work(&mut open(disk.clone()).unwrap(), &groups);
            assert!(disk.has_failed() && (done.is_err() || acknowledged == 571), "{operation}");
            let disk = disk.restart();
            let sealed = audited(&disk).len() as u64;
            let mut ledger = open(disk.clone()).unwrap();
            let found = ledger.size();
            assert!(found >= acknowledged && ledger.sealed() == sealed, "{operation}, {extent}");
            work(&mut ledger, &[2, 300, 4]).1.unwrap();
            assert_eq!(audited(&disk), numbered(0, found + 306), "{operation}, {extent}");
        }
    }
}

/// A full disk is not the end: what was not acknowledged is not there, and it goes on when there is room again.
#[test]
fn a_disk_that_refuses_and_takes_again_is_gone_on_with() {
    struct Full(Disk, std::rc::Rc<std::cell::Cell<bool>>);
    impl Volume for Full {
        fn read(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
            self.0.read(path)
        }
        fn list(&self, folder: &str) -> std::io::Result<Vec<String>> {
            self.0.list(folder)
        }
        fn append(&mut self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
            if self.1.get() && self.0.read(path)?.is_none() {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            let fits = if self.1.get() { bytes.len() / 2 } else { bytes.len() };
            self.0.append(path, &bytes[..fits])?;
            if self.1.get() { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
        fn write(&mut self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
            if self.1.get() { Err(std::io::ErrorKind::StorageFull.into()) } else { self.0.write(path, bytes) }
        }
        fn truncate(&mut self, path: &str, bytes: u64) -> std::io::Result<()> {
            self.0.truncate(path, bytes)
        }
        fn remove(&mut self, path: &str) -> std::io::Result<()> {
            self.0.remove(path)
        }
    }
    let (disk, is_full) = (Disk::with_ledger(), std::rc::Rc::new(std::cell::Cell::new(false)));
    let mut ledger = open(Full(disk.clone(), is_full.clone())).unwrap();
    is_full.set(true);
    assert!(append(&mut ledger, &numbered(0, 300)).is_err(), "before there is a tail");
    is_full.set(false);
    append(&mut ledger, &numbered(0, 300)).unwrap();
    is_full.set(true);
    for _ in 0..3 {
        assert!(matches!(append(&mut ledger, &numbered(300, 5)), Err(SealError::Io(_))));
        assert!(matches!(seal(&mut ledger), Err(SealError::Io(_))));
    }
    assert_eq!(open(disk.restart()).unwrap().size(), 300);
    is_full.set(false);
    append(&mut ledger, &numbered(300, 5)).unwrap();
    seal(&mut ledger).unwrap();
    assert_eq!(audited(&disk.restart()), numbered(0, 305));
}

/// Signing takes as long as a token likes; what is appended meanwhile is for the next head, and no tail goes before one covers it.
#[test]
fn entries_may_come_while_a_head_is_signed() {
    let disk = Disk::with_ledger();
    let mut ledger = open(disk.clone()).unwrap();
    let mut size = 0;
    for count in [3, 300, 256, 1, 2000] {
        append(&mut ledger, &numbered(size, count)).unwrap();
        size += count;
        let head = ledger.next_head().unwrap();
        assert_eq!(head.size(), size);
        // Larger than a tail may be.
        let long = vec![b'x'; 60_000];
        for _ in 0..100 {
            ledger.append(&[&long]).unwrap();
        }
        let signature = Signer::new(7).sign(head.message()).unwrap();
        ledger.seal_as(head, &signature).unwrap();
        assert_eq!(ledger.sealed(), size);
        size += 100;
        assert_eq!(open(disk.restart()).unwrap().size(), size, "nothing goes that no head covers");
        assert_eq!(audited(&disk).len() as u64, size - 100);
    }
    seal(&mut ledger).unwrap();
    seal(&mut ledger).unwrap();
    assert!(ledger.next_head().is_none());
    assert_eq!(audited(&disk).len() as u64, size);
    let tails = disk.paths().into_iter().filter(|path| path.starts_with("tail/")).count();
    assert!(tails <= 1, "{tails}");
    let stale = ledger.seal_as(
        open(Disk::with_ledger())
            .map(|mut other| {
                append(&mut other, &numbered(0, 1)).unwrap();
                other.next_head().unwrap()
            })
            .unwrap(),
        &[0; 64],
    );
    assert!(stale.is_ok() && ledger.sealed() == size, "an older head is no head");
}

/// Whatever is changed in a ledger at rest stops its opening or is found by an audit; the tail's sealed part is nobody's.
#[test]
fn a_damaged_ledger_is_not_gone_on_with() {
    let disk = Disk::with_ledger();
    let mut ledger = open(disk.clone()).unwrap();
    work(&mut ledger, &[300, 100, 100]).1.unwrap();
    append(&mut ledger, &numbered(500, 3)).unwrap();
    append(&mut ledger, &numbered(503, 1)).unwrap();
    drop(ledger);
    assert_eq!(open(disk.restart()).unwrap().size(), 504);
    let is_found = |disk: &Disk| {
        let reopened = open(disk.clone());
        let is_short = reopened.as_ref().is_ok_and(|ledger| ledger.size() < 503);
        assert!(!is_short, "entries are gone, and nobody says so");
        reopened.is_err() || try_audit(disk).is_err()
    };
    for path in disk.paths() {
        let length = disk.read(&path).unwrap().unwrap().len();
        let is_tail = path.starts_with("tail/");
        // Of the last record it cannot be told whether it was whole once.
        let last = if is_tail { length - 60 - 11 } else { length };
        // Each byte of small files; core/ledger does it with each of all.
        for at in (0..last).step_by(if length > 1000 { 13 } else { 1 }) {
            let disk = disk.restart();
            disk.change(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            assert!(is_found(&disk), "{path}, byte {at}");
        }
        let disk = disk.restart();
        disk.delete(&path);
        assert!(is_tail || is_found(&disk), "{path} missing");
    }
    let other = LedgerFiles::open(disk.restart(), Signer::new(8).key());
    assert!(matches!(other, Err(OpenError::Checkpoint(_))), "another's");
}

#[test]
fn what_waits_for_a_signature_is_bounded() {
    let mut ledger = open(Disk::with_ledger()).unwrap();
    assert!(LedgerFiles::create(Disk::default(), &Signer::new(7).key(), |m| Signer::new(8).sign(m)).is_err());
    let all = numbered(0, UNSEALED_ENTRIES_MAX);
    append(&mut ledger, &all).unwrap();
    assert!(matches!(append(&mut ledger, &numbered(0, 1)), Err(SealError::Unsealed)));
    assert!(matches!(ledger.seal(|_| Err("no".into())), Err(SealError::Signer(_))));
    assert!(matches!(ledger.seal(|message| Signer::new(8).sign(message)), Err(SealError::Signer(_))), "another's key");
    assert_eq!(ledger.sealed(), 0);
    seal(&mut ledger).unwrap();
    append(&mut ledger, &numbered(0, 1)).unwrap();
    assert!(matches!(append(&mut ledger, &[vec![0; 65_536]]), Err(SealError::Entry(_))));
    append(&mut ledger, &[vec![0; 65_535]]).unwrap();
    assert_eq!(ledger.size(), UNSEALED_ENTRIES_MAX + 2);
}

/// So are their bytes, which are in memory until then.
#[test]
fn bytes_that_wait_for_a_signature_are_bounded() {
    let mut ledger = open(Disk::with_ledger()).unwrap();
    let long = vec![b'x'; 1 << 15];
    let half = vec![&long[..]; usize::try_from(UNSEALED_BYTES_MAX / 2).unwrap() / long.len()];
    ledger.append(&half).unwrap();
    let head = ledger.next_head().unwrap();
    ledger.append(&half).unwrap();
    assert!(matches!(ledger.append(&[b"x"]), Err(SealError::Unsealed)));
    // What came while the head was signed still waits.
    let signature = Signer::new(7).sign(head.message()).unwrap();
    ledger.seal_as(head, &signature).unwrap();
    ledger.append(&half).unwrap();
    assert!(matches!(ledger.append(&[b"x"]), Err(SealError::Unsealed)));
    seal(&mut ledger).unwrap();
    ledger.append(&[b"x"]).unwrap();
}

/// A tail that ends in a part of a record is not set aside: with another behind it that would be damage.
#[test]
fn a_torn_tail_is_mended_before_another_begins() {
    /// Which tears what is appended, when told to, and never removes a tail.
    struct Stubborn(Disk, std::rc::Rc<std::cell::Cell<bool>>);
    impl Volume for Stubborn {
        fn read(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
            self.0.read(path)
        }
        fn list(&self, folder: &str) -> std::io::Result<Vec<String>> {
            self.0.list(folder)
        }
        fn append(&mut self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
            let tears = self.1.get();
            self.0.append(path, if tears { &bytes[..bytes.len() / 2] } else { bytes })?;
            if tears { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
        fn write(&mut self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
            self.0.write(path, bytes)
        }
        fn truncate(&mut self, path: &str, bytes: u64) -> std::io::Result<()> {
            self.0.truncate(path, bytes)
        }
        fn remove(&mut self, path: &str) -> std::io::Result<()> {
            if path.starts_with("tail/") { Err(std::io::ErrorKind::Other.into()) } else { self.0.remove(path) }
        }
    }
    let (disk, tears) = (Disk::with_ledger(), std::rc::Rc::new(std::cell::Cell::new(false)));
    let mut ledger = open(Stubborn(disk.clone(), tears.clone())).unwrap();
    let long = vec![1; 60_000];
    for _ in 0..80 {
        ledger.append(&[&long]).unwrap();
    }
    tears.set(true);
    assert!(ledger.append(&[&long]).is_err());
    seal(&mut ledger).unwrap();
    tears.set(false);
    ledger.append(&[&long]).unwrap();
    assert_eq!(open(disk.restart()).unwrap().size(), 81);
    seal(&mut ledger).unwrap();
    ledger.append(&[&long]).unwrap();
    assert_eq!(disk.list("tail").unwrap().len(), 2);
    assert_eq!(open(disk.restart()).unwrap().size(), 82);
}

/// Tails do not grow for ever.
#[test]
fn a_long_tail_is_replaced() {
    let disk = Disk::with_ledger();
    let mut ledger = open(disk.clone()).unwrap();
    for _ in 0..100 {
        append(&mut ledger, &[vec![1; 60_000]]).unwrap();
        seal(&mut ledger).unwrap();
    }
    let tails = disk.list("tail").unwrap();
    assert!(tails.len() <= 1, "{tails:?}");
    assert_eq!(open(disk.restart()).unwrap().size(), 100);
    assert_eq!(audited(&disk.restart()).len(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_work_with_any_cut_is_gone_on_with(
        groups in prop::collection::vec(0u64..400, 1..12), operation in 0usize..60, extent in 0usize..500, more in 0u64..700,
    ) {
        let disk = Disk::with_ledger();
        disk.fail_at(operation, extent);
        let (acknowledged, _) = work(&mut open(disk.clone()).unwrap(), &groups);
        let disk = disk.restart();
        let mut ledger = open(disk.clone()).unwrap();
        prop_assert!(ledger.size() >= acknowledged);
        let found = ledger.size();
        append(&mut ledger, &numbered(found, more)).unwrap();
        seal(&mut ledger).unwrap();
        prop_assert_eq!(audited(&disk), numbered(0, found + more));
    }
}
