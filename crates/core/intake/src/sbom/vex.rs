//! What makers say about vulnerabilities in their products: CycloneDX's `vulnerabilities`, and statements of CSAF documents.

use std::collections::BTreeMap;

use portreeve_assurance::evidence::config::sbom::{Vex, VexStatus};
use serde::Deserialize;

use super::score;
use crate::lines::shown;

/// A word on a vulnerability in a component.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// The package URL of the component.
    pub(super) purl: String,
    /// The vulnerability's names.
    pub(super) ids: Vec<String>,
    pub(super) vex: Vex,
    pub(super) score_tenths: Option<u32>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    components: Vec<Part>,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "bom-ref")]
    reference: Option<String>,
    purl: Option<String>,
    #[serde(default)]
    components: Vec<Part>,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(default)]
    id: String,
    #[serde(default)]
    ratings: Vec<Rating>,
    #[serde(default)]
    affects: Vec<Affected>,
    analysis: Option<Analysis>,
}

#[derive(Deserialize)]
struct Rating {
    score: Option<f64>,
}

#[derive(Deserialize)]
struct Affected {
    #[serde(rename = "ref")]
    reference: String,
}

#[derive(Deserialize)]
struct Analysis {
    #[serde(default)]
    state: String,
    #[serde(default)]
    justification: String,
    #[serde(default)]
    detail: String,
}

/// The statements of a CycloneDX document about its own components. A document that was read before has this form.
pub(super) fn of_cyclonedx(name: &str, text: &str) -> Result<Vec<Statement>, serde_json::Error> {
    let document: Document = serde_json::from_str(text)?;
    let mut purls = BTreeMap::new();
    document.components.iter().for_each(|part| gather(part, &mut purls));
    let mut found = Vec::new();
    for vulnerability in &document.vulnerabilities {
        let Some(analysis) = &vulnerability.analysis else { continue };
        let status = match analysis.state.as_str() {
            "not_affected" | "false_positive" => VexStatus::NotAffected,
            "resolved" | "resolved_with_pedigree" => VexStatus::Fixed,
            "exploitable" => VexStatus::Affected,
            _ => VexStatus::UnderInvestigation,
        };
        let justification = shown(format!("{} {}", analysis.justification, analysis.detail).trim());
        let score_tenths =
            vulnerability.ratings.iter().filter_map(|rating| rating.score.and_then(score::of_number)).max();
        for affected in &vulnerability.affects {
            let Some(purl) = purls.get(affected.reference.as_str()) else { continue };
            let vex = Vex { document: shown(name), status, justification: justification.clone() };
            found.push(Statement { purl: (*purl).to_owned(), ids: vec![shown(&vulnerability.id)], vex, score_tenths });
        }
    }
    Ok(found)
}

fn gather<'a>(part: &'a Part, into: &mut BTreeMap<&'a str, &'a str>) {
    if let Some(purl) = &part.purl {
        into.insert(part.reference.as_deref().unwrap_or(purl), purl);
    }
    part.components.iter().for_each(|inner| gather(inner, into));
}
