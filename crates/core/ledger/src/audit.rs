//! A whole ledger against its head: every entry, every tile, with nothing but the files and the key.

use crate::{BundleError, BundleId, Checkpoint, FullTile, Hash, RightEdge, TileId, Truncation, entries};

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
    /// The hashes are not those of the entries, or not as many.
    #[error("{0} is not what follows from the entries")]
    Tile(String),
    /// The entries are not those of the hashes.
    #[error("{0} has other entries than those that the checkpoint was signed for")]
    Entries(String),
    /// The ledger has no such entries.
    #[error("the checkpoint is of {size} entries only")]
    Beyond {
        /// Entries of the head.
        size: u64,
    },
    /// The entries that were let go are not those that the truncation was signed for.
    #[error("the truncation before entry {first} is not one of this ledger")]
    Truncation {
        /// The first entry that it keeps.
        first: u64,
    },
    /// All files agree with each other, and not with the head.
    #[error("the entries are not those that the checkpoint of {size} was signed for")]
    Root {
        /// Entries of the head.
        size: u64,
    },
}

/// Reads every file of a ledger of this head, and calls `seen` with each entry that its own tile agrees with, in order. What was
/// seen is proved only when this returns. Entries may be missing only as far as the ledger's own `truncation` let them go; their
/// hashes are checked all the same.
///
/// # Errors
/// [`AuditError`]: the first thing that is wrong.
pub fn audit<R: Resources>(
    files: &R,
    head: &Checkpoint,
    truncation: Option<&Truncation>,
    mut seen: impl FnMut(u64, &[u8]),
) -> Result<(), AuditError<R::Error>> {
    let first = truncation.map_or(0, |truncation| truncation.first);
    if first > head.size {
        return Err(AuditError::Truncation { first });
    }
    let mut edge = RightEdge::default();
    for bundle in BundleId::all_of_tree(head.size) {
        check_cut(&edge, truncation)?;
        let path = bundle.to_string();
        let bytes = files.read(&path).map_err(|source| AuditError::Read { path: path.clone(), source })?;
        match bytes {
            Some(bytes) => {
                let entries = read_bundle(bundle, &bytes)?;
                append(files, &mut edge, entries.iter().map(|entry| Hash::of_leaf(entry)))?;
                (bundle.start()..).zip(&entries).for_each(|(number, entry)| seen(number, entry));
            }
            None if bundle.start() < first => {
                let hashes = read_tile(files, bundle.leaves())?;
                append(files, &mut edge, hashes.into_iter())?;
            }
            None => return Err(AuditError::Missing(path)),
        }
    }
    check_cut(&edge, truncation)?;
    for (id, hashes) in edge.partial_tiles() {
        compare(files, id, hashes)?;
    }
    if edge.root() == head.root { Ok(()) } else { Err(AuditError::Root { size: head.size }) }
}

/// Appends what follows, and compares the tiles that are full by it.
fn append<R: Resources>(
    files: &R,
    edge: &mut RightEdge,
    leaves: impl Iterator<Item = Hash>,
) -> Result<(), AuditError<R::Error>> {
    let mut full = Vec::new();
    leaves.for_each(|leaf| edge.append(leaf, &mut full));
    full.iter().try_for_each(|FullTile { id, hashes }| compare(files, *id, hashes))
}

/// Where the entries that are kept begin, those before have the root that the truncation was signed for.
fn check_cut<E>(edge: &RightEdge, truncation: Option<&Truncation>) -> Result<(), AuditError<E>> {
    match truncation {
        Some(Truncation { first, root, .. }) if edge.size() == *first && edge.root() != *root => {
            Err(AuditError::Truncation { first: *first })
        }
        _ => Ok(()),
    }
}

fn compare<R: Resources>(files: &R, tile: TileId, hashes: &[Hash]) -> Result<(), AuditError<R::Error>> {
    if read_tile(files, tile)? == hashes { Ok(()) } else { Err(AuditError::Tile(tile.to_string())) }
}

/// The hashes of a tile, as many as it must have.
pub(crate) fn read_tile<R: Resources>(files: &R, tile: TileId) -> Result<Vec<Hash>, AuditError<R::Error>> {
    let path = tile.to_string();
    let hashes = Hash::list(&read(files, &path)?).filter(|hashes| hashes.len() as u64 == tile.width());
    hashes.ok_or(AuditError::Tile(path))
}

/// The entries of a bundle, as many as it must have.
pub(crate) fn read_bundle<E>(bundle: BundleId, bytes: &[u8]) -> Result<Vec<&[u8]>, AuditError<E>> {
    let path = bundle.to_string();
    let entries = entries(bytes).map_err(|source| AuditError::Bundle { path: path.clone(), source })?;
    match entries.len() as u64 {
        found if found == bundle.width() => Ok(entries),
        found => Err(AuditError::Count { path, found, expected: bundle.width() }),
    }
}

pub(crate) fn read<R: Resources>(files: &R, path: &str) -> Result<Vec<u8>, AuditError<R::Error>> {
    let bytes = files.read(path).map_err(|source| AuditError::Read { path: path.to_owned(), source })?;
    bytes.ok_or_else(|| AuditError::Missing(path.to_owned()))
}
