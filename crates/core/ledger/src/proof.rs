//! That an entry is in a ledger, for somebody who has the entry, the ledger's key, and nothing else.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{Checkpoint, CheckpointError, Hash, VerifierKey, checkpoint::decimal, is_included};

const MAGIC: &str = "c2sp.org/tlog-proof@v1";
/// Longest way from a leaf to a root.
const PATH_MAX: usize = 64;

/// A proof; in text, a file `.tlog-proof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryProof {
    /// What its maker gave along; nobody vouches for it.
    pub extra: Option<Vec<u8>>,
    /// The number of the entry.
    pub index: u64,
    /// Hashes from the leaf's sibling up.
    pub path: Vec<Hash>,
    /// The signed head.
    pub checkpoint: String,
}

/// Why something is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the format.
    #[error("not a proof: {0}")]
    Malformed(&'static str),
    /// The head is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not the one that the head commits to under this number.
    #[error("the entry is not number {index} of this ledger of {size}")]
    NotIncluded {
        /// Its number, as the proof says.
        index: u64,
        /// The ledger's entries.
        size: u64,
    },
}

impl EntryProof {
    /// The head that commits to the entry.
    ///
    /// # Errors
    /// [`ProofError::Checkpoint`], [`ProofError::NotIncluded`].
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, ProofError> {
        let head = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        let leaf = Hash::of_leaf(entry);
        match is_included(leaf, self.index, head.size, head.root, &self.path) {
            true => Ok(head),
            false => Err(ProofError::NotIncluded { index: self.index, size: head.size }),
        }
    }
}

impl fmt::Display for EntryProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for EntryProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofError::Malformed("there is no checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(MAGIC) {
            return Err(ProofError::Malformed("it does not begin with c2sp.org/tlog-proof@v1"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.and_then(|line| line.strip_prefix("extra ")).map(|text| STANDARD.decode(text)).transpose();
        let extra = extra.map_err(|_| ProofError::Malformed("its extra data is not base64"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(ProofError::Malformed("there is no index"))?;
        let path: Vec<Hash> = lines
            .take(PATH_MAX + 1)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| ProofError::Malformed("a line of the path is no hash"))?;
        if path.len() > PATH_MAX {
            return Err(ProofError::Malformed("its path is too long"));
        }
        Ok(Self { extra, index, path, checkpoint: checkpoint.to_owned() })
    }
}
