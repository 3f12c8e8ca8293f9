//! What became of a file that a scope declares.

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::{CheckId, Sha256};

/// What was read from one declared file or folder, so that a report from which a part of it was left out is found. One that cannot be
/// read has no such facts: the run ends before anything is looked at.
///
/// It has no hash of the file itself, by which short secrets in it could be guessed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRead {
    /// The path, as the scope has it.
    pub path: String,
    /// Evidence that came of it; at least one piece.
    pub parts: Vec<FilePart>,
}

/// A piece of evidence that came of a file, and what it was judged for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePart {
    /// The piece.
    pub evidence: Sha256,
    /// The check that judged it.
    pub check: CheckId,
    /// At which target.
    pub target: String,
}

impl Facts for FileRead {
    const KIND: &'static str = "file-read/1";
}
