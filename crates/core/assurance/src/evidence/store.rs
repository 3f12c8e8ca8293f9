use std::collections::BTreeMap;

use super::{Envelope, EvidenceError, Exemption, Facts, NotApplicable, file::FileRead};
use crate::{Scope, Sha256};

/// Most bytes of one piece of evidence: 16 MiB.
pub const EVIDENCE_BYTES_MAX: usize = 16 << 20;
/// Most pieces of evidence of one report.
pub const EVIDENCE_ITEMS_MAX: usize = 20_000;
/// Most bytes of all of them together: 512 MiB.
pub const EVIDENCE_TOTAL_BYTES_MAX: usize = 512 << 20;

/// The evidence of one report, each piece under the hash of its bytes.
#[derive(Clone, Debug, Default)]
pub struct Store {
    items: BTreeMap<Sha256, Item>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Item {
    bytes: Vec<u8>,
    envelope: Envelope,
}

impl Store {
    /// Adds a piece and returns its hash. The same bytes are kept once.
    ///
    /// # Errors
    /// [`EvidenceError`]; [`EvidenceError::Full`] beyond [`EVIDENCE_ITEMS_MAX`] or [`EVIDENCE_TOTAL_BYTES_MAX`].
    pub fn add(&mut self, envelope: Envelope) -> Result<Sha256, EvidenceError> {
        let bytes = envelope.to_bytes()?;
        self.insert(bytes, envelope)
    }

    /// Adds a file that was read.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_bytes(&mut self, bytes: Vec<u8>) -> Result<Sha256, EvidenceError> {
        let envelope = Envelope::from_bytes(&bytes)?;
        self.insert(bytes, envelope)
    }

    fn insert(&mut self, bytes: Vec<u8>, envelope: Envelope) -> Result<Sha256, EvidenceError> {
        let hash = Sha256::of(&bytes);
        if self.items.contains_key(&hash) {
            return Ok(hash);
        }
        if self.items.len() >= EVIDENCE_ITEMS_MAX || self.bytes + bytes.len() > EVIDENCE_TOTAL_BYTES_MAX {
            return Err(EvidenceError::Full);
        }
        self.bytes += bytes.len();
        self.items.insert(hash, Item { bytes, envelope });
        Ok(hash)
    }

    /// One piece.
    #[must_use]
    pub fn envelope(&self, hash: &Sha256) -> Option<&Envelope> {
        self.items.get(hash).map(|item| &item.envelope)
    }

    /// Every file, by the hash of its bytes.
    pub fn files(&self) -> impl Iterator<Item = (Sha256, &[u8])> {
        self.items.iter().map(|(hash, item)| (*hash, item.bytes.as_slice()))
    }

    /// Every exception, in the order of their hashes.
    pub(crate) fn exemptions(&self) -> Vec<(Sha256, Exemption)> {
        self.all()
    }

    /// Every word on what does not apply, in the order of their hashes.
    pub(crate) fn not_applicable(&self) -> Vec<(Sha256, NotApplicable)> {
        self.all()
    }

    /// What was read of declared files, in the order of their hashes.
    pub(crate) fn file_reads(&self) -> Vec<(Sha256, FileRead)> {
        self.all()
    }

    /// What was declared beforehand.
    pub(crate) fn scopes(&self) -> Vec<(Sha256, Scope)> {
        self.all()
    }

    /// Whatever is of a kind; what cannot be read says nothing.
    fn all<F: Facts>(&self) -> Vec<(Sha256, F)> {
        let read = |(hash, item): (&Sha256, &Item)| {
            let facts =
                (item.envelope.kind == F::KIND).then(|| serde_json::from_value(item.envelope.data.clone()).ok());
            Some((*hash, facts??))
        };
        self.items.iter().filter_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use portreeve_types::UnixMillis;
    use serde_json::json;

    use super::*;

    fn envelope(data: serde_json::Value) -> Envelope {
        Envelope { kind: "test/1".into(), target: None, taken: UnixMillis(1), tool: "t".into(), data }
    }

    #[test]
    fn a_piece_is_found_by_the_hash_of_its_bytes_and_kept_once() {
        let mut store = Store::default();
        let hash = store.add(envelope(json!({ "a": 1 }))).unwrap();
        let bytes = store.files().next().unwrap().1.to_vec();
        assert_eq!(hash, Sha256::of(&bytes));
        assert_eq!(store.add_bytes(bytes), Ok(hash));
        assert_eq!(store.files().count(), 1);
        assert_eq!(store.envelope(&hash), Some(&envelope(json!({ "a": 1 }))));
    }

    #[test]
    fn what_is_too_large_or_no_envelope_is_refused() {
        let mut store = Store::default();
        let large = envelope(json!("x".repeat(EVIDENCE_BYTES_MAX)));
        assert_eq!(store.add(large), Err(EvidenceError::Large));
        assert_eq!(store.add_bytes(vec![b' '; EVIDENCE_BYTES_MAX + 1]), Err(EvidenceError::Large));
        let text = b"{\n  \"kind\": \"test/1\",\n  \"colour\": 1 }";
        let Err(EvidenceError::Json(problem)) = store.add_bytes(text.to_vec()) else { panic!("taken") };
        assert_eq!((problem.line, problem.column), (3, 10));
        let deep = format!("{{\"data\":{}", "[".repeat(10_000));
        let Err(EvidenceError::Json(problem)) = store.add_bytes(deep.into_bytes()) else { panic!("taken") };
        assert!(problem.problem.contains("recursion"), "{problem}");
        assert_eq!(store.files().count(), 0);
    }

    #[test]
    fn a_full_store_takes_no_more() {
        let mut store = Store { bytes: EVIDENCE_TOTAL_BYTES_MAX - 10, ..Store::default() };
        assert_eq!(store.add(envelope(json!(1))), Err(EvidenceError::Full));
    }
}
