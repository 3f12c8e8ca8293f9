//! Components of a product against what is known of vulnerabilities.

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{evidence::Facts, moment};

/// What a snapshot of advisories says of the components of an SBOM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SbomMatches {
    /// The name of the SBOM's file.
    pub file: String,
    /// Its format, such as "CycloneDX 1.6".
    pub format: String,
    /// What it says that it is about; may be empty.
    pub subject: String,
    /// Components in it.
    pub components: u32,
    /// Components without a package URL or version, with which nothing can be compared; the first 100.
    pub unknown: Vec<String>,
    /// How many these are.
    pub unknown_count: u32,
    /// Components of an ecosystem of which the snapshot has no record, by ecosystem.
    pub uncovered: Vec<String>,
    /// Of what the snapshot consists.
    pub feed: FeedFacts,
    /// What concerns a component, or may; at most 10,000.
    pub matches: Vec<VulnerabilityMatch>,
}

impl Facts for SbomMatches {
    const KIND: &'static str = "sbom-matches/1";
}

/// A snapshot of advisories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedFacts {
    /// OSV records that were read.
    pub osv_records: u32,
    /// CSAF documents that were read.
    pub csaf_documents: u32,
    /// When the newest of them changed last: the snapshot is at least so old as the time since then.
    #[serde(with = "newest")]
    pub newest: Option<UnixMillis>,
}

mod newest {
    use super::{UnixMillis, moment};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(at: &Option<UnixMillis>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => moment::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMillis>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        moment::parse(&text).map(Some).ok_or_else(|| D::Error::custom("not a time such as 2026-01-31T12:00:00Z"))
    }
}

/// A vulnerability of a component, or one that it may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VulnerabilityMatch {
    /// Name and version of the component.
    pub component: String,
    /// Its package URL.
    pub purl: String,
    /// The advisory.
    pub id: String,
    /// Its other names, such as CVE numbers; at most 16.
    pub aliases: Vec<String>,
    /// Its CVSS base score, tenths; `None`, if nobody rates it.
    pub score_tenths: Option<u32>,
    /// Whether the component has it, as far as versions tell.
    pub is_affected: Affected,
    /// Versions without it; at most 16.
    pub fixed: Vec<String>,
    /// What the maker says about it in this product.
    pub vex: Option<Vex>,
}

/// Whether a component has a vulnerability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Affected {
    /// Its version is among those affected.
    Yes,
    /// It cannot be told; why.
    Open(String),
}

/// What the maker says about a vulnerability: VEX.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vex {
    /// The document.
    pub document: String,
    /// The word.
    pub status: VexStatus,
    /// Why, if the document says it; one line.
    pub justification: String,
}

/// VEX's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VexStatus {
    /// It has it.
    Affected,
    /// It is looked at.
    UnderInvestigation,
    /// It had it.
    Fixed,
    /// It does not have it.
    NotAffected,
}

/// What an SBOM is held to; declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SbomPolicy {
    /// From which CVSS base score on a vulnerability fails, tenths. 7.0 is where "high" begins.
    pub score_tenths_min: u32,
    /// How old the newest record of the snapshot may be, days.
    pub feed_days_max: u32,
}

impl Default for SbomPolicy {
    fn default() -> Self {
        Self { score_tenths_min: 70, feed_days_max: 30 }
    }
}

impl Facts for SbomPolicy {
    const KIND: &'static str = "sbom-policy/1";
}
