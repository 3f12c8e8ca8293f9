//! The head of a ledger: whose it is, how long, and the one hash that all of it follows from.

use std::{fmt, str::FromStr};

use crate::{Hash, Note, NoteError, VerifierKey};

/// A tree head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger: the name of the key that signs it.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Further lines, which others' ledgers may have.
    pub extensions: Vec<String>,
}

/// Why bytes are no checkpoint of this ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is not signed by whom it must be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// What is signed is no tree head.
    #[error("the text is not a checkpoint: origin, size and root hash, a line each")]
    Malformed,
    /// Another ledger's.
    #[error("it is a checkpoint of {0:?}")]
    OtherOrigin(String),
}

impl Checkpoint {
    /// Reads a signed checkpoint of the ledger that this key signs for.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(signed: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(signed)?;
        let checkpoint: Self = note.signed_by(key)?.0.parse()?;
        if checkpoint.origin == key.name() {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::OtherOrigin(checkpoint.origin))
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let lines: Option<Vec<_>> = text.strip_suffix('\n').map(|text| text.split('\n').collect());
        let Some([origin, size, root, extensions @ ..]) = lines.as_deref() else {
            return Err(CheckpointError::Malformed);
        };
        let parsed = Self {
            origin: (*origin).to_owned(),
            size: decimal(size).ok_or(CheckpointError::Malformed)?,
            root: root.parse().map_err(|_| CheckpointError::Malformed)?,
            extensions: extensions.iter().map(|&line| line.to_owned()).collect(),
        };
        let is_whole = !origin.is_empty() && extensions.iter().all(|line| !line.is_empty());
        if is_whole { Ok(parsed) } else { Err(CheckpointError::Malformed) }
    }
}

/// A number in its one form: no sign, no leading zeroes.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
