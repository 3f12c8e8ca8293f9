//! The entries of the ledger that belong to a case, each with its proof, for the case's export.

use std::collections::BTreeMap;

use portreeve_ledger::{BundleId, EntryProof, Reader, TILE_WIDTH, VerifierKey, inclusion_proof};
use portreeve_ledger_files::{PageError, Snapshot};
use portreeve_respond::LedgerRange;

use crate::{
    Hub,
    ledger::{KEY_FILE, LedgerPlace},
};

/// Entries in one export; further ones are in the ledger only, and the case has their numbers.
const ENTRIES_MAX: usize = 200;

/// What goes with a case: the entries as they stand in the ledger, one a line behind its number; a proof of each, which
/// `portreeve ledger verify` and other readers of tlog-proof check with nothing but the key; and that key.
#[derive(Debug, Default)]
pub(super) struct Extract {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Entries that no signed head covers yet, were let go, cannot be proved, or have no room.
    pub(super) missing: u64,
}

impl Hub {
    /// Takes the entries of these ranges out of the signed part of the ledger (CSA-IMT-02).
    pub(super) fn extract(&self, ranges: &[LedgerRange]) -> Extract {
        let place = LedgerPlace::of_hub(self.data());
        let wanted: u64 = ranges.iter().map(|range| range.last.saturating_sub(range.first).saturating_add(1)).sum();
        let read = place.key().map_err(PageError::from).and_then(|key| read(&place, &key, ranges));
        let mut extract = read.unwrap_or_else(|error| {
            // A case without its entries is still a case, and says what it lacks.
            tracing::error!(%error, "the ledger's entries of a case could not be read");
            Extract::default()
        });
        extract.missing = wanted.saturating_sub(extract.missing);
        extract
    }
}

/// `missing` is, until it is taken from those that are wanted, how many were found.
fn read(place: &LedgerPlace, key: &VerifierKey, ranges: &[LedgerRange]) -> Result<Extract, PageError> {
    let ledger = Snapshot::take(place.files(), key)?;
    let reader = Reader::open(&ledger, ledger.head())?;
    let signed = String::from_utf8_lossy(ledger.signed()).into_owned();
    let (size, first) = (ledger.head().size, ledger.first());
    let mut lines = Vec::new();
    let mut files = BTreeMap::from([(KEY_FILE.to_owned(), format!("{key}\n").into_bytes())]);
    let mut found = 0;
    let numbers = ranges.iter().flat_map(|range| range.first.max(first)..=range.last.min(size.saturating_sub(1)));
    let mut bundle: Option<(BundleId, Vec<Vec<u8>>)> = None;
    for number in numbers.take(ENTRIES_MAX) {
        let Some(id) = BundleId::of_tree(number / TILE_WIDTH, size) else { continue };
        if bundle.as_ref().is_none_or(|(read, _)| *read != id) {
            bundle = Some((id, reader.entries(id)?));
        }
        let at = usize::try_from(number - id.start()).unwrap_or(usize::MAX);
        let Some(entry) = bundle.as_ref().and_then(|(_, entries)| entries.get(at)) else { continue };
        lines.extend_from_slice(format!("{number} ").as_bytes());
        lines.extend_from_slice(entry);
        lines.push(b'\n');
        let path = inclusion_proof(&reader, number, size)?;
        let proof = EntryProof { extra: Some(entry.clone()), index: number, path, checkpoint: signed.clone() };
        files.insert(format!("{number}.tlog-proof"), proof.to_string().into_bytes());
        found += 1;
    }
    files.insert("entries.txt".to_owned(), lines);
    Ok(Extract { files, missing: found })
}
