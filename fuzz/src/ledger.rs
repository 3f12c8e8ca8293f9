//! What witnesses, auditors and foreign ledgers show, `portreeve-ledger`.

use std::{collections::BTreeMap, io, sync::LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use portreeve_events::{Entry, Opening};
use portreeve_ledger_files::{LedgerFiles, Page, Volume, Witness};

use portreeve_ledger::{
    Checkpoint, EntryProof, Note, SignatureKind, Truncation, VerifierKey, entries, push_entry, witness::AddCheckpoint,
};

/// Whatever is read has one form, and is written as it was.
pub fn ledger_texts(bytes: &[u8]) {
    let _ = Note::parse(bytes);
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(truncation) = text.parse::<Truncation>() {
        assert_eq!(truncation.to_string(), text);
        assert!(text.parse::<Checkpoint>().is_err(), "one is not taken for the other");
    }
    if let Ok(proof) = text.parse::<EntryProof>() {
        assert_eq!(proof.to_string(), text);
        assert!(stranger().is_none_or(|key| proof.verify(b"entry", &key).is_err()), "nobody signed that");
    }
    if let Ok(request) = AddCheckpoint::parse(text) {
        assert_eq!(request.to_body(), text);
        assert!(request.consider(stranger().as_ref(), None).is_err(), "nobody signed that");
    }
}

/// A key that signs nothing in the corpus.
fn stranger() -> Option<VerifierKey> {
    VerifierKey::new("hub.example/ledger", SignatureKind::Ed25519, [9; 32]).ok()
}

/// A file of entries, and its inverse.
pub fn ledger_bundle(bytes: &[u8]) {
    let Ok(entries) = entries(bytes) else { return };
    let mut again = Vec::new();
    let written = entries.iter().try_for_each(|entry| push_entry(&mut again, entry));
    assert!(written.is_ok() && again == bytes);
}

/// A ledger that was begun with a key that everybody has, and that key.
#[allow(clippy::expect_used)]
static BEGUN: LazyLock<(Files, VerifierKey)> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let public = pair.public_key().as_ref().try_into().expect("32 bytes");
    let key = VerifierKey::new("hub.example/ledger", SignatureKind::Ed25519, public).expect("a name");
    let mut files = Files::default();
    let sign = |message: &[u8]| pair.sign(message).as_ref().try_into().map_err(|_| String::new());
    LedgerFiles::create(&mut files, &key, sign).expect("a ledger");
    (files, key)
});

/// What a crash left behind the sealed entries: what is read of it is gone on with.
pub fn ledger_tail(bytes: &[u8]) {
    let (mut files, key) = BEGUN.clone();
    files.0.insert("tail/00000000000000000000".into(), bytes.to_vec());
    let Ok(mut ledger) = LedgerFiles::open(&mut files, key.clone()) else { return };
    let size = ledger.size();
    assert!(ledger.append(&[b"more"]).is_ok_and(|first| first == size));
    assert!(LedgerFiles::open(files, key).is_ok_and(|ledger| ledger.size() == size + 1));
}

/// What the hub answers to an auditor: nothing of it is an entry unless the ledger's key signed for it.
pub fn ledger_page(bytes: &[u8]) {
    let Ok(page) = serde_json::from_slice::<Page>(bytes) else { return };
    let (_, key) = &*BEGUN;
    if let Ok(proved) = page.prove(key) {
        assert!(proved.entries.is_empty() && proved.head.size == 0, "only the beginning was ever signed");
    }
}

/// A line of an export: an entry, or what opens one.
pub fn ledger_line(bytes: &[u8]) {
    if let Ok(entry) = Entry::from_bytes(bytes) {
        assert_eq!(Entry::from_bytes(&entry.to_bytes()).ok(), Some(entry));
    }
    if let Ok(opening) = serde_json::from_slice::<Opening>(bytes) {
        let _ = opening.is_true();
    }
}

/// What anybody posts to a witness: nothing is signed or remembered that the ledger has not signed.
pub fn witness_request(bytes: &[u8]) {
    let (_, log) = &*BEGUN;
    let Ok(own) = VerifierKey::new("witness", SignatureKind::Cosignature, [9; 32]) else { return };
    let mut files = Files::default();
    let Ok(mut witness) = Witness::open(&mut files, own, vec![log.clone()]) else { return };
    let added = witness.add(bytes, 1, |_| Ok([0; 64]));
    assert!(added.is_err() || witness.logs().all(|(_, size)| size == Some(0)), "only the beginning was ever signed");
    assert_eq!(files.0.is_empty(), added.is_err());
}

#[derive(Clone, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Volume for Files {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let in_folder = |path: &String| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        Ok(self.0.keys().filter_map(in_folder).collect())
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.entry(path.to_owned()).or_default().extend(bytes);
        Ok(())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        self.0.entry(path.to_owned()).or_default().truncate(length);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.0.remove(path);
        Ok(())
    }
}
