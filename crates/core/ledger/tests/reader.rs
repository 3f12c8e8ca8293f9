//! Parts of a ledger, and ledgers whose old entries were let go: nothing is given out that does not follow from the head.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ledger, ORIGIN, Signer, ledger_key, naive_root};
use portreeve_ledger::{
    AuditError, BundleId, Checkpoint, Hash, NoteError, Reader, Recorded, Resources, SignatureKind, TileId, Truncation,
    TruncationError, audit, consistency_proof, inclusion_proof, is_consistent, is_included,
};
use proptest::prelude::*;

fn at(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// What was read of these bundles, or nothing if any of it was refused.
fn read(ledger: &impl Resources, head: &Checkpoint, bundles: &[u64]) -> Option<Vec<Vec<u8>>> {
    let reader = Reader::open(ledger, head).ok()?;
    let read = |&index: &u64| reader.entries(BundleId::of_tree(index, head.size)?).ok();
    bundles.iter().map(read).collect::<Option<Vec<_>>>().map(|bundles| bundles.concat())
}

/// Its hashes stay.
fn let_go(ledger: &Ledger, first: u64) -> (Ledger, Truncation) {
    let mut rest = ledger.clone();
    for bundle in BundleId::all_of_tree(first) {
        rest.files.remove(&bundle.to_string()).unwrap();
    }
    let root = naive_root(&ledger.entries[..at(first)]);
    (rest, Truncation { origin: ORIGIN.into(), first, root, at_ms: 1_893_456_000_000 })
}

#[test]
fn a_part_is_read_with_few_files() {
    for size in [1, 255, 256, 257, 512, 65_535, 65_536, 65_537, 70_000] {
        let (ledger, head) = (Ledger::numbered(size), Ledger::numbered(size).head());
        for number in [0, size / 2, size - 1] {
            let recorded = Recorded::new(&ledger);
            let start = number / 256 * 256;
            let expected = &ledger.entries[at(start)..at((start + 256).min(size))];
            assert_eq!(read(&recorded, &head, &[number / 256]).as_deref(), Some(expected));
            let files = recorded.into_files();
            assert!(files.len() <= 6, "{:?}", files.keys());
            assert_eq!(read(&files, &head, &[number / 256]).as_deref(), Some(expected), "these files are enough");
            let reader = Reader::open(&ledger, &head).unwrap();
            assert!(reader.is_entry(number, &ledger.entries[at(number)]).unwrap());
            assert!(!reader.is_entry(number, b"forged").unwrap());
            assert_eq!(reader.root_of(number).unwrap(), naive_root(&ledger.entries[..at(number)]));
            let path = inclusion_proof(&reader, number, size).unwrap();
            assert!(is_included(Hash::of_leaf(&ledger.entries[at(number)]), number, size, head.root, &path));
            let path = consistency_proof(&reader, number, size).unwrap();
            assert!(is_consistent(number, reader.root_of(number).unwrap(), size, head.root, &path));
        }
        let reader = Reader::open(&ledger, &head).unwrap();
        assert!(!reader.is_entry(size, b"x").unwrap());
        assert_eq!(reader.root_of(size + 1), Err(AuditError::Beyond { size }));
        let beyond = BundleId::of_tree(size / 256 + 1, size + 512).unwrap();
        assert!(reader.entries(beyond).is_err());
    }
    let empty = Ledger::default();
    assert!(read(&empty, &empty.head(), &[]).is_some());
}

/// Each byte of each file flipped, each file cut, longer, missing or another: what is read is what was written, or nothing.
#[test]
fn a_part_of_a_changed_ledger_is_refused() {
    let ledger = Ledger::numbered(259);
    let head = ledger.head();
    let bundles = [0, 1];
    assert_eq!(read(&ledger, &head, &bundles).as_ref(), Some(&ledger.entries));
    // A tile that a read does not need may be anything; these two bundles need all.
    for (path, bytes) in &ledger.files {
        let refuses = |changed: Option<Vec<u8>>| {
            let mut ledger = ledger.clone();
            ledger.files.remove(path);
            ledger.files.extend(changed.map(|bytes| (path.clone(), bytes)));
            read(&ledger, &head, &bundles).is_none()
        };
        assert!(refuses(None) && refuses(Some([bytes, &[0][..]].concat())), "{path}");
        assert!(refuses(Some([bytes.as_slice(), bytes].concat())), "{path} twice");
        for at in 0..bytes.len() {
            assert!(refuses(Some(bytes[..at].to_vec())), "{path} cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(refuses(Some(flipped)), "{path}, byte {at}");
        }
        for (other, foreign) in ledger.files.iter().filter(|(other, _)| *other != path) {
            assert!(refuses(Some(foreign.clone())), "{other} as {path}");
        }
    }
    let forged = Ledger::of((0..259).map(|number| format!("other {number}").into_bytes()));
    assert!(read(&forged, &head, &[0]).is_none(), "a whole ledger of somebody else");
}

#[test]
fn what_was_let_go_is_known_and_the_rest_is_as_it_was() {
    let ledger = Ledger::numbered(70_000);
    let head = ledger.head();
    for first in [256, 512, 65_536, 65_536 + 256, 69_888] {
        let (rest, truncation) = let_go(&ledger, first);
        let mut seen = Vec::new();
        audit(&rest, &head, Some(&truncation), |number, _| seen.push(number)).unwrap();
        assert_eq!((seen.first(), seen.len() as u64), (Some(&first), 70_000 - first));
        assert!(matches!(audit(&rest, &head, None, |_, _| ()), Err(AuditError::Missing(_))), "it is not signed for");
        // All proofs are as before, also of what was let go.
        let reader = Reader::open(&rest, &head).unwrap();
        let path = inclusion_proof(&reader, 7, 70_000).unwrap();
        assert!(is_included(Hash::of_leaf(&ledger.entries[7]), 7, 70_000, head.root, &path));
        let path = consistency_proof(&reader, 100, 70_000).unwrap();
        assert!(is_consistent(100, naive_root(&ledger.entries[..100]), 70_000, head.root, &path));
        // A bundle that is there although it need not be is held to its hashes.
        let mut stale = rest.clone();
        stale.files.insert("tile/entries/000".into(), ledger.files["tile/entries/000"].clone());
        audit(&stale, &head, Some(&truncation), |_, _| ()).unwrap();
        stale.files.insert("tile/entries/000".into(), b"forged".to_vec());
        assert!(audit(&stale, &head, Some(&truncation), |_, _| ()).is_err());
        let other = Truncation { root: Hash::of_leaf(b"other"), ..truncation.clone() };
        assert_eq!(audit(&rest, &head, Some(&other), |_, _| ()), Err(AuditError::Truncation { first }));
        let shorter = Ledger::numbered(first - 1);
        let too_far = audit(&shorter, &shorter.head(), Some(&truncation), |_, _| ());
        assert_eq!(too_far, Err(AuditError::Truncation { first }));
    }
    let all = Ledger::numbered(512);
    let (rest, truncation) = let_go(&all, 512);
    audit(&rest, &all.head(), Some(&truncation), |_, _| panic!("there is no entry")).unwrap();
    let (_, other) = let_go(&all, 256);
    assert!(matches!(audit(&rest, &all.head(), Some(&other), |_, _| ()), Err(AuditError::Missing(_))));
}

/// As of a whole ledger, with what was let go missing.
#[test]
fn every_change_of_a_small_truncated_ledger_is_found() {
    let ledger = Ledger::numbered(259);
    let head = ledger.head();
    let (rest, truncation) = let_go(&ledger, 256);
    let is_whole = |ledger: &Ledger| audit(ledger, &head, Some(&truncation), |_, _| ()).is_ok();
    assert!(is_whole(&rest));
    for (path, bytes) in &rest.files {
        let mut changed = rest.clone();
        let mut with = |bytes: Option<Vec<u8>>| {
            changed.files.remove(path);
            changed.files.extend(bytes.map(|bytes| (path.clone(), bytes)));
            is_whole(&changed)
        };
        assert!(!with(None) && !with(Some([bytes, &[0][..]].concat())), "{path}");
        for at in 0..bytes.len() {
            // Cuts at a whole hash or entry are the ones that could pass for something.
            assert!(at % 8 != 0 || !with(Some(bytes[..at].to_vec())), "{path} cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(!with(Some(flipped)), "{path}, byte {at}");
        }
        for foreign in ledger.files.iter().filter(|(other, _)| *other != path).map(|(_, bytes)| bytes) {
            assert!(!with(Some(foreign.clone())), "{path}");
        }
    }
}

#[test]
fn a_truncation_is_its_ledgers_alone_and_no_checkpoint() {
    let (signer, ledger) = (ledger_key(), Ledger::numbered(515));
    let (_, truncation) = let_go(&ledger, 256);
    let text = truncation.to_string();
    let open = |note: String| Truncation::open(note.as_bytes(), &signer.key);
    assert_eq!(open(signer.note(&text)).unwrap(), truncation);
    for bad in [
        text.replace("v1", "v2"),
        text.replace("\n256\n", "\n255\n"),
        text.replace("\n256\n", "\n0\n"),
        text.replace("\n256\n", "\n0256\n"),
        text.replace("\n256\n", "\n18446744073709551616\n"),
        text.replace(ORIGIN, ""),
        text.replacen('=', "", 1),
        text.replace("1893456000000", "-1"),
        format!("{text}more\n"),
        text.lines().take(4).map(|line| format!("{line}\n")).collect(),
        ledger.head().to_string(),
    ] {
        assert_eq!(open(signer.note(&bad)), Err(TruncationError::Malformed), "{bad:?}");
    }
    assert!(Checkpoint::open(signer.note(&text).as_bytes(), &signer.key).is_err(), "it is no checkpoint");
    let stranger = Signer::new(ORIGIN, SignatureKind::Ed25519, 8);
    assert_eq!(open(stranger.note(&text)), Err(TruncationError::Note(NoteError::Unsigned(ORIGIN.into()))));
    let other = Truncation { origin: "other.example".into(), ..truncation };
    assert_eq!(open(signer.note(&other.to_string())), Err(TruncationError::OtherOrigin("other.example".into())));
    let note = signer.note(&text).into_bytes();
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut flipped = note.clone();
            flipped[at] ^= 1 << bit;
            assert!(Truncation::open(&flipped, &signer.key).is_err(), "byte {at}, bit {bit}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A flip anywhere is in a file that a read needs, and refused, or in one that it does not, and without effect.
    #[test]
    fn what_is_read_of_a_large_changed_ledger_is_true(
        size in 1u64..70_000, number in 0u64..70_000, file: prop::sample::Index, byte: prop::sample::Index, bit in 0u8..8,
    ) {
        let mut ledger = Ledger::numbered(size);
        let (head, index) = (ledger.head(), number % size / 256);
        let expected = read(&ledger, &head, &[index]);
        prop_assert!(expected.is_some());
        let tiles: Vec<_> = TileId::all_of_tree(size).map(|tile| tile.to_string()).collect();
        let bytes = ledger.files.get_mut(file.get(&tiles)).unwrap();
        let at = byte.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let found = read(&ledger, &head, &[index]);
        prop_assert!(found.is_none() || found == expected);
    }
}
