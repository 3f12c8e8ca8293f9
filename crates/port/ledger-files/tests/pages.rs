//! Reading a ledger that somebody writes: what is read is of one moment, and proved.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use common::{Signer, append, create, open, seal, truncate};
use portreeve_ledger::{Reader, audit, inclusion_proof};
use portreeve_ledger_files::{Copied, FILE_BYTES_MAX, Folder, PAGE_BUNDLES_MAX, Page, PageError, Snapshot};

fn numbered(from: u64, until: u64) -> Vec<Vec<u8>> {
    (from..until).map(|number| format!("entry {number}").into_bytes()).collect()
}

#[test]
fn a_page_has_all_that_proves_it() {
    let work = tempfile::tempdir().unwrap();
    let (files, key) = (Copied::at(work.path()), Signer::new(7).key());
    assert!(matches!(Page::read(&files, &key, None, 1), Err(PageError::NoCheckpoint)));
    create(Folder::new(work.path())).unwrap();
    let empty = Page::read(&files, &key, None, 1).unwrap().prove(&key).unwrap();
    assert_eq!((empty.head.size, empty.entries.len()), (0, 0));
    let mut ledger = open(Folder::new(work.path())).unwrap();
    append(&mut ledger, &numbered(0, 5000)).unwrap();
    seal(&mut ledger).unwrap();
    let page = |from, bundles| Page::read(&files, &key, from, bundles).unwrap();
    for (from, bundles, first, last) in [
        (Some(0), 1, 0, 256),
        (Some(300), 2, 256, 768),
        (None, 1, 4864, 5000),
        (Some(0), 99, 0, PAGE_BUNDLES_MAX * 256),
    ] {
        // As it goes over the socket.
        let json = serde_json::to_string(&page(from, bundles)).unwrap();
        let proved = serde_json::from_str::<Page>(&json).unwrap().prove(&key).unwrap();
        assert_eq!((proved.first, &proved.entries), (first, &numbered(first, last)));
        let reader = Reader::open(&proved.files, &proved.head).unwrap();
        inclusion_proof(&reader, first, proved.head.size).unwrap();
    }
    assert!(page(Some(u64::MAX), 1).prove(&key).unwrap().entries.is_empty());
    truncate(&mut ledger, 600).unwrap();
    let proved = page(Some(0), 1).prove(&key).unwrap();
    assert_eq!((proved.first, proved.truncation.unwrap().first), (512, 512));
    assert!(page(None, 1).prove(&Signer::new(8).key()).is_err());
    fs::write(work.path().join("checkpoint"), vec![b'a'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(matches!(Page::read(&files, &key, None, 1), Err(PageError::Io(_))));
}

/// Each character of what goes over the socket: nothing else is ever taken for an entry.
#[test]
fn a_changed_page_proves_nothing_else() {
    let work = tempfile::tempdir().unwrap();
    let (files, key) = (Copied::at(work.path()), Signer::new(7).key());
    create(Folder::new(work.path())).unwrap();
    let mut ledger = open(Folder::new(work.path())).unwrap();
    append(&mut ledger, &numbered(0, 20)).unwrap();
    seal(&mut ledger).unwrap();
    let json = serde_json::to_vec(&Page::read(&files, &key, None, 1).unwrap()).unwrap();
    for at in 0..json.len() {
        let mut changed = json.clone();
        changed[at] ^= 1;
        let Ok(page) = serde_json::from_slice::<Page>(&changed) else { continue };
        if let Ok(proved) = page.prove(&key) {
            assert!(proved.entries.is_empty() || proved.entries == numbered(0, 20), "byte {at}");
        }
    }
}

#[test]
fn a_reader_keeps_up_with_a_writer() {
    let work = tempfile::tempdir().unwrap();
    create(Folder::new(work.path())).unwrap();
    let (files, key, is_over) = (Copied::at(work.path()), Signer::new(7).key(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut ledger = open(Folder::new(work.path())).unwrap();
            for _ in 0..60 {
                let size = ledger.size();
                append(&mut ledger, &numbered(size, size + 37)).unwrap();
                seal(&mut ledger).unwrap();
                truncate(&mut ledger, size / 2).unwrap();
            }
            is_over.store(true, Relaxed);
        });
        let mut reads = 0;
        while !is_over.load(Relaxed) {
            let snapshot = Snapshot::take(&files, &key).unwrap();
            let entries = Page::read(&files, &key, None, 2).unwrap().prove(&key).unwrap();
            assert_eq!(entries.entries, numbered(entries.first, entries.head.size));
            let audited = audit(&snapshot, snapshot.head(), snapshot.truncation(), |_, _| ());
            // Only what was let go meanwhile may be missing.
            assert!(audited.is_ok() || Snapshot::take(&files, &key).unwrap().first() > snapshot.first(), "{audited:?}");
            reads += 1;
        }
        assert!(reads > 0);
    });
}
