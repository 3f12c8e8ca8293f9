//! Components of products: what an SBOM holds, and what advisories say of it.
//!
//! [`Sbom::read`] makes sorted [`Component`]s of a document, and a [`Query`] finds some among them. A [`Matcher`] holds an SBOM against a
//! snapshot of advisories (OSV records, CSAF documents), one file after the other, so that a snapshot of any size can be used.

mod component;
mod csaf;
mod matcher;
mod osv;
mod read;
mod score;
mod spdx;
mod version;
mod vex;

pub use component::{Component, Purl, Query, QueryError, TEXT_BYTES_MAX, bare, short};
pub use matcher::Matcher;
pub use read::{COMPONENTS_MAX, NESTING_MAX, Sbom, SbomError, Subject};
