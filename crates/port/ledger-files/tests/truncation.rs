//! Retention: what is let go is signed for first, what is younger stays, and no crash makes anything else missing.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Disk, Signer, append, audited, create, open, seal, truncate, try_audit};
use portreeve_ledger_files::{Folder, LedgerFiles, OpenError, REMOVED_BUNDLES_MAX, SealError, Volume};

fn numbered(from: u64, until: u64) -> Vec<Vec<u8>> {
    (from..until).map(|number| format!("entry {number}").into_bytes()).collect()
}

/// Sealed entries, and a few that are not.
fn ledger(sealed: u64) -> Disk {
    let disk = Disk::with_ledger();
    let mut ledger = open(disk.clone()).unwrap();
    append(&mut ledger, &numbered(0, sealed)).unwrap();
    seal(&mut ledger).unwrap();
    append(&mut ledger, &numbered(sealed, sealed + 5)).unwrap();
    disk.restart()
}

fn bundles(disk: &Disk) -> usize {
    disk.paths().iter().filter(|path| path.starts_with("tile/entries/")).count()
}

#[test]
fn old_entries_go_and_the_rest_is_gone_on_with() {
    let disk = ledger(1000);
    let mut files = open(disk.clone()).unwrap();
    assert!(truncate(&mut files, 255).unwrap(), "less than a bundle");
    assert_eq!((files.first(), bundles(&disk)), (0, 4));
    assert!(truncate(&mut files, 700).unwrap());
    assert_eq!((files.first(), files.size(), bundles(&disk)), (512, 1005, 2));
    assert_eq!(audited(&disk), numbered(512, 1000));
    let operations = disk.operations();
    assert!(truncate(&mut files, 700).unwrap() && truncate(&mut files, 0).unwrap());
    assert_eq!((files.first(), disk.operations()), (512, operations), "what is let go is let go");
    drop(files);
    let mut files = open(disk.restart()).unwrap();
    assert_eq!((files.first(), files.size()), (512, 1005));
    // Never further than the head goes.
    assert!(truncate(&mut files, u64::MAX).unwrap());
    assert_eq!(files.first(), 768);
    append(&mut files, &numbered(1005, 1030)).unwrap();
    seal(&mut files).unwrap();
    assert!(truncate(&mut files, u64::MAX).unwrap());
    assert_eq!(audited(files.volume()), numbered(1024, 1030));
}

/// The power fails in each operation in turn, with nothing or all of it done.
#[test]
fn a_power_cut_lets_nothing_else_go() {
    let whole = ledger(1500);
    let dry = whole.restart();
    assert!(truncate(&mut open(dry.clone()).unwrap(), 1100).unwrap());
    let operations = dry.operations();
    assert!(operations >= 5);
    for operation in 0..operations {
        for extent in [0, 1] {
            let disk = whole.restart();
            disk.fail_at(operation, extent);
            assert!(truncate(&mut open(disk.clone()).unwrap(), 1100).is_err() && disk.has_failed());
            let disk = disk.restart();
            let kept = audited(&disk);
            assert!(kept.ends_with(&numbered(1024, 1500)), "{operation}, {extent}");
            let mut files = open(disk.clone()).unwrap();
            assert_eq!(files.size(), 1505);
            assert!(truncate(&mut files, 1100).unwrap());
            assert_eq!((files.first(), bundles(&disk)), (1024, 2), "{operation}, {extent}");
            assert_eq!(audited(&disk), numbered(1024, 1500));
        }
    }
}

/// Who waits to append waits for a part of it.
#[test]
fn much_is_let_go_in_parts() {
    let count = REMOVED_BUNDLES_MAX * 256 * 5 / 2;
    let disk = ledger(count);
    let mut files = open(disk.clone()).unwrap();
    assert!(!truncate(&mut files, count).unwrap());
    drop(files);
    let mut files = open(disk.restart()).unwrap();
    assert!(!truncate(&mut files, 0).unwrap(), "a start goes on where the last one stopped");
    assert!(truncate(&mut files, 0).unwrap());
    assert_eq!(audited(files.volume()), numbered(count / 256 * 256, count));
}

#[test]
fn nobody_else_lets_anything_go() {
    let disk = ledger(600);
    let mut files = open(disk.clone()).unwrap();
    let cut = files.next_cut(512, 0).unwrap().unwrap();
    let stranger = Signer::new(8).sign(cut.message()).unwrap();
    assert!(matches!(files.cut_as(&cut, &stranger), Err(SealError::Signer(_))));
    assert!(files.remove().unwrap(), "nothing was let go");
    assert_eq!((files.first(), bundles(&disk)), (0, 3));
    drop(files);
    // A bundle that is missing without it is damage.
    let robbed = disk.restart();
    robbed.delete("tile/entries/000");
    assert!(try_audit(&robbed).is_err());
    let mut files = open(disk.clone()).unwrap();
    assert!(truncate(&mut files, 256).unwrap());
    drop(files);
    robbed.delete("tile/entries/001");
    let forged = disk.restart();
    forged.delete("tile/entries/001");
    assert!(try_audit(&forged).is_err(), "more than was signed for");
    let length = disk.read("truncation").unwrap().unwrap().len();
    for at in 0..length {
        let forged = disk.restart();
        forged.change("truncation", |bytes| bytes[at] ^= 1);
        assert!(matches!(open(forged.clone()), Err(OpenError::Truncation(_))), "byte {at}");
        assert!(try_audit(&forged).is_err());
    }
    // A head from before what was let go is an older one put back.
    let older = disk.restart();
    let empty = Disk::with_ledger().read("checkpoint").unwrap().unwrap();
    older.change("checkpoint", |bytes| *bytes = empty);
    assert!(matches!(open(older.clone()), Err(OpenError::Damaged(_))));
    assert!(try_audit(&older).is_err());
    // Damaged hashes are not signed again.
    let disk = ledger(600);
    let mut files = open(disk.clone()).unwrap();
    disk.change("tile/1/000.p/2", |bytes| bytes[3] ^= 1);
    assert!(matches!(truncate(&mut files, 512), Err(SealError::Damaged(_))));
}

#[test]
fn on_a_real_disk_the_files_are_gone() {
    let work = tempfile::tempdir().unwrap();
    create(Folder::new(work.path())).unwrap();
    let mut files: LedgerFiles<Folder> = open(Folder::new(work.path())).unwrap();
    append(&mut files, &numbered(0, 300)).unwrap();
    seal(&mut files).unwrap();
    assert!(truncate(&mut files, 256).unwrap());
    assert!(!work.path().join("tile/entries/000").exists() && work.path().join("tile/0/000").exists());
    assert_eq!(audited(files.volume()), numbered(256, 300));
}
