//! That old entries were let go: signed, so that what is missing is either this or damage.

use std::{fmt, str::FromStr};

use crate::{Hash, Note, NoteError, TILE_WIDTH, VerifierKey, checkpoint::decimal};

/// What the text begins with. No key has a name with spaces, so no checkpoint is taken for this, nor this for one.
const TITLE: &str = "portreeve ledger truncation v1";

/// Which entries of a ledger were let go. Their hashes stay: so the root over all, and all proofs that were ever given out, are
/// as good as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Which ledger: the name of the key that signs it.
    pub origin: String,
    /// The first entry that is kept, a multiple of [`TILE_WIDTH`]; as many were let go.
    pub first: u64,
    /// The root over those that were let go.
    pub root: Hash,
    /// When, in milliseconds of the Unix epoch.
    pub at_ms: u64,
}

/// Why bytes are no truncation of this ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TruncationError {
    /// It is not signed by whom it must be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// What is signed is something else.
    #[error("the text is not a truncation: title, origin, first kept entry, root hash and time, a line each")]
    Malformed,
    /// Another ledger's.
    #[error("it is a truncation of {0:?}")]
    OtherOrigin(String),
}

impl Truncation {
    /// Reads a signed truncation of the ledger that this key signs for.
    ///
    /// # Errors
    /// [`TruncationError`].
    pub fn open(signed: &[u8], key: &VerifierKey) -> Result<Self, TruncationError> {
        let note = Note::parse(signed)?;
        let truncation: Self = note.signed_by(key)?.0.parse()?;
        if truncation.origin == key.name() {
            Ok(truncation)
        } else {
            Err(TruncationError::OtherOrigin(truncation.origin))
        }
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, first, root, at_ms } = self;
        writeln!(f, "{TITLE}\n{origin}\n{first}\n{root}\n{at_ms}")
    }
}

impl FromStr for Truncation {
    type Err = TruncationError;

    fn from_str(text: &str) -> Result<Self, TruncationError> {
        let malformed = TruncationError::Malformed;
        let lines: Option<Vec<_>> = text.strip_suffix('\n').map(|text| text.split('\n').collect());
        let Some([TITLE, origin, first, root, at_ms]) = lines.as_deref() else { return Err(malformed) };
        let first = decimal(first).filter(|&first| first > 0 && first.is_multiple_of(TILE_WIDTH));
        let (Some(first), Ok(root), Some(at_ms)) = (first, root.parse(), decimal(at_ms)) else {
            return Err(malformed);
        };
        if origin.is_empty() {
            return Err(malformed);
        }
        Ok(Self { origin: (*origin).to_owned(), first, root, at_ms })
    }
}
