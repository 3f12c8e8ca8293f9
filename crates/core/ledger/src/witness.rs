//! A witness: remembers the last head of each ledger, and signs a new one only if it continues that. Whoever rewrites a
//! ledger, or shows one to some and another to others, finds no signature for it.

use crate::{Checkpoint, CheckpointError, Hash, NoteError, VerifierKey, checkpoint::decimal, is_consistent};

/// Most lines of a proof.
const PROOF_MAX: usize = 63;

/// A head that was signed, which the next has to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// What a ledger asks a witness for, the body of `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint<'a> {
    /// The size that the ledger believes the witness to know.
    pub old: u64,
    /// That the new head continues it.
    pub proof: Vec<Hash>,
    /// The new head, signed by the ledger.
    pub checkpoint: &'a str,
}

/// Why a witness does not sign. The statuses are those of the specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: not understood.
    #[error("the request is malformed")]
    Malformed,
    /// 404: not a ledger that it watches.
    #[error("the ledger {0:?} is not watched here")]
    UnknownOrigin(String),
    /// 403: not signed by the ledger.
    #[error("the checkpoint is not signed by the ledger")]
    Unsigned,
    /// 409: the ledger does not know what the witness saw last. It may ask again from there.
    #[error("the last checkpoint seen has {size} entries")]
    Conflict {
        /// Entries of the last head.
        size: u64,
    },
    /// 409: two heads of one size: the ledger shows two histories.
    #[error("another checkpoint of {size} entries was seen")]
    Fork {
        /// Entries of both.
        size: u64,
    },
    /// 422: the new head does not continue the last one.
    #[error("the checkpoint does not continue the last one")]
    Inconsistent,
}

impl Refusal {
    /// The HTTP status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unsigned => 403,
            Self::UnknownOrigin(_) => 404,
            Self::Conflict { .. } | Self::Fork { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

impl<'a> AddCheckpoint<'a> {
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(body: &'a str) -> Result<Self, Refusal> {
        let (head, checkpoint) = body.split_once("\n\n").ok_or(Refusal::Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let proof = lines.take(PROOF_MAX + 1).map(str::parse).collect::<Result<Vec<_>, _>>();
        let proof = proof.ok().filter(|proof| proof.len() <= PROOF_MAX).ok_or(Refusal::Malformed)?;
        Ok(Self { old: old.ok_or(Refusal::Malformed)?, proof, checkpoint })
    }

    /// The body, as a ledger sends it.
    #[must_use]
    pub fn to_body(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| format!("{hash}\n")).collect();
        format!("old {}\n{proof}\n{}", self.old, self.checkpoint)
    }

    /// The origin line, which tells whose key to take; not to be believed.
    #[must_use]
    pub fn origin(&self) -> &'a str {
        self.checkpoint.split('\n').next().unwrap_or_default()
    }

    /// The head that a witness has to remember before it signs its text. `key` is that of the ledger named by
    /// [`Self::origin`], if it is watched; `last` what was signed last of it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn consider(&self, key: Option<&VerifierKey>, last: Option<Head>) -> Result<Checkpoint, Refusal> {
        let key = key.ok_or_else(|| Refusal::UnknownOrigin(self.origin().to_owned()))?;
        let new = Checkpoint::open(self.checkpoint.as_bytes(), key).map_err(|error| match error {
            CheckpointError::Note(NoteError::BadSignature(_) | NoteError::Unsigned(_)) => Refusal::Unsigned,
            CheckpointError::OtherOrigin(origin) => Refusal::UnknownOrigin(origin),
            CheckpointError::Note(_) | CheckpointError::Malformed => Refusal::Malformed,
        })?;
        if self.old > new.size {
            return Err(Refusal::Malformed);
        }
        let last = last.unwrap_or(Head { size: 0, root: Hash::of_nothing() });
        if self.old != last.size {
            return Err(Refusal::Conflict { size: last.size });
        }
        if new.size == last.size && new.root != last.root {
            return Err(Refusal::Fork { size: last.size });
        }
        match is_consistent(last.size, last.root, new.size, new.root, &self.proof) {
            true => Ok(new),
            false => Err(Refusal::Inconsistent),
        }
    }
}
