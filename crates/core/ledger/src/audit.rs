//! A whole ledger against its head: every entry, every tile, with nothing but the files and the key.

use crate::{BundleError, BundleId, Checkpoint, FullTile, Hash, RightEdge, TileId, entries};

/// Where a ledger's files are.
pub trait Resources {
    /// Why a file cannot be read.
    type Error;

    /// A file's bytes; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// What is wrong with a ledger: the first file in which it shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError<E> {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: E,
    },
    /// A file that the head needs is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A file of entries is damaged.
    #[error("{path}: {source}")]
    Bundle {
        /// Which.
        path: String,
        /// How.
        source: BundleError,
    },
    /// A file of entries has more or fewer than it must.
    #[error("{path} has {found} entries instead of {expected}")]
    Count {
        /// Which.
        path: String,
        /// As many as there are.
        found: u64,
        /// As many as there must be.
        expected: u64,
    },
    /// The hashes are not those of the entries.
    #[error("{0} is not what follows from the entries")]
    Tile(String),
    /// All files agree with each other, and not with the head.
    #[error("the entries are not those that the checkpoint of {size} was signed for")]
    Root {
        /// Entries of the head.
        size: u64,
    },
}

/// Reads every file of a ledger of this head, and calls `seen` with each entry that its own tile agrees with, in order. What was
/// seen is proved only when this returns.
///
/// # Errors
/// [`AuditError`]: the first thing that is wrong.
pub fn audit<R: Resources>(
    files: &R,
    head: &Checkpoint,
    mut seen: impl FnMut(u64, &[u8]),
) -> Result<(), AuditError<R::Error>> {
    let mut edge = RightEdge::default();
    let mut full = Vec::new();
    for bundle in BundleId::all_of_tree(head.size) {
        let path = bundle.to_string();
        let bytes = read(files, &path)?;
        let entries = entries(&bytes).map_err(|source| AuditError::Bundle { path: path.clone(), source })?;
        if entries.len() as u64 != bundle.width() {
            return Err(AuditError::Count { path, found: entries.len() as u64, expected: bundle.width() });
        }
        for entry in &entries {
            edge.append(Hash::of_leaf(entry), &mut full);
        }
        for FullTile { id, hashes } in full.drain(..) {
            compare(files, id, &hashes)?;
        }
        (bundle.start()..).zip(&entries).for_each(|(number, entry)| seen(number, entry));
    }
    for (id, hashes) in edge.partial_tiles() {
        compare(files, id, hashes)?;
    }
    if edge.root() == head.root { Ok(()) } else { Err(AuditError::Root { size: head.size }) }
}

fn compare<R: Resources>(files: &R, tile: TileId, hashes: &[Hash]) -> Result<(), AuditError<R::Error>> {
    let path = tile.to_string();
    let bytes = read(files, &path)?;
    if Hash::list(&bytes).as_deref() == Some(hashes) { Ok(()) } else { Err(AuditError::Tile(path)) }
}

fn read<R: Resources>(files: &R, path: &str) -> Result<Vec<u8>, AuditError<R::Error>> {
    let bytes = files.read(path).map_err(|source| AuditError::Read { path: path.to_owned(), source })?;
    bytes.ok_or_else(|| AuditError::Missing(path.to_owned()))
}
