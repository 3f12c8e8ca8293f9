//! What witnesses, auditors and foreign ledgers show, `portreeve-ledger`.

use portreeve_ledger::{
    Checkpoint, EntryProof, Note, SignatureKind, VerifierKey, entries, push_entry, witness::AddCheckpoint,
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
