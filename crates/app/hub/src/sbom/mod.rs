//! Which libraries run where: a CycloneDX SBOM for each firmware version, and what devices say of themselves (CSA-ACT-01).
//!
//! [`Sbom::read`] makes sorted [`Component`]s of a document, and a [`Query`] finds some among them; both work on text and
//! nothing else. The documents lie in the store, byte for byte as they came, and are read when somebody asks: in memory is
//! one [`Entry`](catalogue::Entry) for each.
//!
//! *Invariants*
//! - An SBOM is an operator's word for a whole [`Release`]; a device speaks for itself alone. What it reports never changes
//!   an SBOM: where the two differ, an event says so.
//! - What is exported has the hash that it was attached with.

mod admin;
mod catalogue;
mod compare;
mod find;
mod reported;

use serde::{Deserialize, Serialize};

pub(crate) use catalogue::Catalogue;
pub(crate) use find::parse_query;
pub use portreeve_intake::sbom::{
    COMPONENTS_MAX, Component, NESTING_MAX, Query, QueryError, Sbom, SbomError, Subject, TEXT_BYTES_MAX,
};
pub(crate) use reported::Reported;
pub use reported::{LIBRARIES_MAX, Libraries};

/// What `limits.sbom_bytes` can be at most, bytes.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// A firmware version of a model: what devices of that model say that they run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The model.
    pub model: String,
    /// The version of its firmware.
    pub firmware: String,
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.model, self.firmware)
    }
}
