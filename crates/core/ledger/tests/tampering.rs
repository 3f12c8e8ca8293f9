//! Whatever is done to a ledger's files is found: on a small one exhaustively, on large ones by chance.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ledger, ledger_key};
use portreeve_ledger::{AuditError, Checkpoint, audit};
use proptest::prelude::*;

fn is_whole(ledger: &Ledger, head: &Checkpoint) -> bool {
    audit(ledger, head, None, |_, _| ()).is_ok()
}

#[test]
fn a_ledger_as_it_was_written_is_whole() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537] {
        let ledger = Ledger::numbered(size);
        let mut seen = 0;
        let audited = audit(&ledger, &ledger.head(), None, |number, entry| {
            assert_eq!((number, entry), (seen, ledger.entries[usize::try_from(number).unwrap()].as_slice()));
            seen += 1;
        });
        assert_eq!((audited, seen), (Ok(()), size));
    }
}

/// Each byte of each file with each of its bits flipped, each file missing, cut at each place and longer by a byte, each two
/// files exchanged.
#[test]
fn every_change_of_a_small_ledger_is_found() {
    let ledger = Ledger::numbered(259);
    let head = ledger.head();
    for (path, bytes) in &ledger.files {
        let with = |changed: Option<Vec<u8>>| {
            let mut ledger = ledger.clone();
            ledger.files.remove(path);
            ledger.files.extend(changed.map(|bytes| (path.clone(), bytes)));
            is_whole(&ledger, &head)
        };
        assert!(!with(None), "{path} missing");
        assert!(!with(Some([bytes, &[0][..]].concat())), "{path} longer");
        for at in 0..bytes.len() {
            assert!(!with(Some(bytes[..at].to_vec())), "{path} cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(!with(Some(flipped)), "{path}, byte {at}");
        }
        for (other, foreign) in ledger.files.iter().filter(|(other, _)| *other != path) {
            assert!(!with(Some(foreign.clone())), "{other} as {path}");
        }
    }
}

/// Entries and hashes that agree with each other and not with the head.
#[test]
fn a_consistent_forgery_is_found_by_the_head() {
    let ledger = Ledger::numbered(1000);
    for at in [0, 255, 256, 999] {
        let mut entries = ledger.entries.clone();
        entries[at] = b"forged".to_vec();
        let forged = Ledger::of(entries);
        assert_eq!(audit(&forged, &ledger.head(), None, |_, _| ()), Err(AuditError::Root { size: 1000 }));
        let mut entries = ledger.entries.clone();
        entries.swap(at, 500);
        assert!(!is_whole(&Ledger::of(entries), &ledger.head()));
        let mut entries = ledger.entries.clone();
        entries.remove(at);
        assert!(!is_whole(&Ledger::of(entries), &ledger.head()));
    }
    // A ledger that went on is that of an older head as well, when the partial files of then are there.
    let [older, newer] = [700, 1000].map(Ledger::numbered);
    let mut both = newer.clone();
    both.files.extend(older.files.clone());
    assert!(is_whole(&both, &older.head()) && is_whole(&both, &newer.head()));
}

/// Each byte of the signed head.
#[test]
fn every_change_of_the_head_is_found() {
    let (signer, ledger) = (ledger_key(), Ledger::numbered(300));
    let note = signer.note(&ledger.head().to_string()).into_bytes();
    assert_eq!(Checkpoint::open(&note, &signer.key).unwrap(), ledger.head());
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut flipped = note.clone();
            flipped[at] ^= 1 << bit;
            assert!(Checkpoint::open(&flipped, &signer.key).is_err(), "byte {at}, bit {bit}");
        }
        assert!(Checkpoint::open(&note[..at], &signer.key).is_err(), "cut at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_change_of_a_large_ledger_is_found(size in 1u64..70_000, file: prop::sample::Index, byte: prop::sample::Index, bit in 0u8..8) {
        let mut ledger = Ledger::numbered(size);
        let head = ledger.head();
        let paths: Vec<_> = ledger.files.keys().cloned().collect();
        let bytes = ledger.files.get_mut(file.get(&paths)).unwrap();
        let at = byte.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(!is_whole(&ledger, &head));
    }
}
