use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EVIDENCE_BYTES_MAX, Facts};
use crate::{moment, report::JsonProblem};

/// A piece of evidence as it is stored, hashed and handed on: JSON in a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What the data are: [`Facts::KIND`].
    pub kind: String,
    /// From where they come; `null` for what belongs to the whole run, such as a policy.
    pub target: Option<String>,
    /// When they were taken.
    #[serde(with = "moment")]
    pub taken: UnixMillis,
    /// With what, and in which version.
    pub tool: String,
    /// The data.
    pub data: Value,
}

/// Why a piece of evidence is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// More than a piece may have.
    #[error("a piece of evidence has at most {EVIDENCE_BYTES_MAX} bytes")]
    Large,
    /// More than a report may have.
    #[error("there is more evidence than one report can have")]
    Full,
    /// It is no envelope.
    #[error(transparent)]
    Json(#[from] JsonProblem),
    /// The data have no JSON form.
    #[error("the data cannot be written as JSON")]
    Data,
}

impl Envelope {
    /// Around facts.
    ///
    /// # Errors
    /// [`EvidenceError::Data`], which plain data never meet.
    pub fn of<F: Facts>(facts: &F, target: Option<&str>, taken: UnixMillis, tool: &str) -> Result<Self, EvidenceError> {
        let data = serde_json::to_value(facts).map_err(|_| EvidenceError::Data)?;
        Ok(Self { kind: F::KIND.to_owned(), target: target.map(str::to_owned), taken, tool: tool.to_owned(), data })
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`EvidenceError::Large`], above [`EVIDENCE_BYTES_MAX`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, EvidenceError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|_| EvidenceError::Data)?;
        bytes.push(b'\n');
        if bytes.len() > EVIDENCE_BYTES_MAX { Err(EvidenceError::Large) } else { Ok(bytes) }
    }

    /// From a file's bytes.
    ///
    /// # Errors
    /// [`EvidenceError::Large`] and [`EvidenceError::Json`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Err(EvidenceError::Large);
        }
        Ok(serde_json::from_slice(bytes).map_err(JsonProblem::from)?)
    }
}
