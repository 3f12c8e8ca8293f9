//! The entries of the ledger that belong to a case, for its export.

use std::{collections::BTreeMap, fs, path::Path};

use portreeve_ledger::{BundleId, TILE_WIDTH, entries};
use portreeve_respond::LedgerRange;

use crate::{
    Hub,
    ledger::{FOLDER, KEY_FILE},
};

/// Entries in one export; further ones are in the ledger only, and the case has their numbers.
const ENTRIES_MAX: usize = 16_384;

/// What goes with a case: the entries as they stand in the ledger, one a line behind its number, the signed head that they lie under,
/// and the key of that.
#[derive(Debug, Default)]
pub(super) struct Extract {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Entries that no signed head covers yet, cannot be read, or have no room.
    pub(super) missing: u64,
}

impl Hub {
    /// Takes the entries of these ranges out of the signed part of the ledger.
    pub(super) fn extract(&self, ranges: &[LedgerRange]) -> Extract {
        let folder = self.data.join(FOLDER);
        let sealed = self.ledger().sealed;
        let mut lines = Vec::new();
        let (mut found, mut missing) = (0, 0_u64);
        for range in ranges {
            let wanted = range.last.saturating_sub(range.first).saturating_add(1);
            let room = ENTRIES_MAX - found;
            let read = read_range(&folder, *range, sealed, room);
            missing += wanted.saturating_sub(read.len() as u64);
            found += read.len();
            for (number, entry) in read {
                lines.extend_from_slice(format!("{number} ").as_bytes());
                lines.extend_from_slice(&entry);
                lines.push(b'\n');
            }
        }
        let mut files = BTreeMap::from([("entries.txt".to_owned(), lines)]);
        for name in ["checkpoint", KEY_FILE] {
            // Without them the extract says less, and is still one.
            files.extend(fs::read(folder.join(name)).ok().map(|bytes| (name.to_owned(), bytes)));
        }
        Extract { files, missing }
    }
}

fn read_range(folder: &Path, range: LedgerRange, sealed: u64, room: usize) -> Vec<(u64, Vec<u8>)> {
    let bundles = range.first / TILE_WIDTH..=range.last / TILE_WIDTH;
    let of_bundle = |index: u64| {
        let Some(bundle) = BundleId::of_tree(index, sealed) else { return Vec::new() };
        let bytes = fs::read(folder.join(bundle.to_string())).unwrap_or_default();
        let entries = entries(&bytes).unwrap_or_default();
        let numbered = entries.into_iter().map(<[u8]>::to_vec).enumerate();
        numbered.map(|(at, entry)| (bundle.start() + at as u64, entry)).collect()
    };
    let is_meant = |(number, _): &(u64, Vec<u8>)| (range.first..=range.last).contains(number);
    bundles.take_while(|index| index * TILE_WIDTH < sealed).flat_map(of_bundle).filter(is_meant).take(room).collect()
}
