//! CSAF 2.0: advisories and VEX (OASIS, sections 3.2.2 and 3.2.3).

use std::collections::BTreeMap;

use portreeve_assurance::evidence::config::sbom::{Vex, VexStatus};
use serde::Deserialize;

use super::{score, vex::Statement};
use crate::lines::shown;

/// How deep branches may stand in branches.
const BRANCHES_MAX: usize = 32;

#[derive(Deserialize)]
pub(super) struct Document {
    pub(super) document: Head,
    #[serde(default)]
    product_tree: Tree,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) csaf_version: String,
    pub(super) tracking: Tracking,
}

#[derive(Deserialize)]
pub(super) struct Tracking {
    pub(super) id: String,
    pub(super) current_release_date: String,
}

#[derive(Default, Deserialize)]
struct Tree {
    #[serde(default)]
    branches: Vec<Branch>,
    #[serde(default)]
    full_product_names: Vec<Product>,
    #[serde(default)]
    relationships: Vec<Relationship>,
}

#[derive(Deserialize)]
struct Branch {
    #[serde(default)]
    branches: Vec<Branch>,
    product: Option<Product>,
}

#[derive(Deserialize)]
struct Product {
    name: String,
    product_id: String,
    product_identification_helper: Option<Helper>,
}

#[derive(Deserialize)]
struct Helper {
    purl: Option<String>,
}

#[derive(Deserialize)]
struct Relationship {
    full_product_name: Product,
    product_reference: String,
    relates_to_product_reference: String,
}

#[derive(Deserialize)]
struct Vulnerability {
    cve: Option<String>,
    #[serde(default)]
    ids: Vec<Id>,
    #[serde(default)]
    scores: Vec<Score>,
    #[serde(default)]
    product_status: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    flags: Vec<Flag>,
}

#[derive(Deserialize)]
struct Id {
    text: String,
}

#[derive(Deserialize)]
struct Score {
    cvss_v3: Option<Cvss>,
    cvss_v2: Option<Cvss>,
}

#[derive(Deserialize)]
struct Cvss {
    #[serde(rename = "baseScore")]
    base: f64,
}

#[derive(Deserialize)]
struct Flag {
    label: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

/// A package, and the product in which it is meant; `None`: wherever it is.
struct Meant<'a> {
    purl: &'a str,
    within: Option<&'a str>,
}

/// What a document says of packages: in themselves, or in the product of this name.
pub(super) fn statements(document: &Document, subject: &str) -> Vec<Statement> {
    let products = products(&document.product_tree);
    let mut found = Vec::new();
    for vulnerability in &document.vulnerabilities {
        let mut ids: Vec<String> = vulnerability.cve.iter().map(|cve| shown(cve)).collect();
        ids.extend(vulnerability.ids.iter().take(16).map(|id| shown(&id.text)));
        if ids.is_empty() {
            ids.push(shown(&document.document.tracking.id));
        }
        let scores = vulnerability.scores.iter().flat_map(|score| score.cvss_v3.iter().chain(&score.cvss_v2));
        let score_tenths = scores.filter_map(|score| score::of_number(score.base)).max();
        for (group, product_ids) in &vulnerability.product_status {
            let Some(status) = status_of(group) else { continue };
            for id in product_ids {
                let Some(meant) = products.get(id.as_str()).filter(|meant| is_here(meant, subject)) else { continue };
                let flag = vulnerability.flags.iter().find(|flag| flag.product_ids.contains(id));
                let justification = flag.map_or(String::new(), |flag| shown(&flag.label));
                let vex = Vex { document: shown(&document.document.tracking.id), status, justification };
                found.push(Statement { purl: meant.purl.to_owned(), ids: ids.clone(), vex, score_tenths });
            }
        }
    }
    found
}

/// Section 3.2.3.9; what is only recommended is no status.
fn status_of(group: &str) -> Option<VexStatus> {
    match group {
        "known_affected" | "first_affected" | "last_affected" => Some(VexStatus::Affected),
        "known_not_affected" => Some(VexStatus::NotAffected),
        "fixed" | "first_fixed" => Some(VexStatus::Fixed),
        "under_investigation" => Some(VexStatus::UnderInvestigation),
        _ => None,
    }
}

/// What is said of a part of another product says nothing of this one.
fn is_here(meant: &Meant<'_>, subject: &str) -> bool {
    let Some(within) = meant.within else { return true };
    !subject.is_empty() && within.to_ascii_lowercase().contains(&subject.to_ascii_lowercase())
}

fn products(tree: &Tree) -> BTreeMap<&str, Meant<'_>> {
    let mut all: BTreeMap<&str, &Product> =
        tree.full_product_names.iter().map(|product| (product.product_id.as_str(), product)).collect();
    gather(&tree.branches, 0, &mut all);
    let mut found: BTreeMap<&str, Meant<'_>> = BTreeMap::new();
    for (id, product) in &all {
        if let Some(helper) = &product.product_identification_helper
            && let Some(purl) = &helper.purl
        {
            found.insert(id, Meant { purl, within: None });
        }
    }
    for relationship in &tree.relationships {
        let part = all
            .get(relationship.product_reference.as_str())
            .and_then(|part| part.product_identification_helper.as_ref()?.purl.as_deref());
        let whole = all.get(relationship.relates_to_product_reference.as_str()).map(|whole| whole.name.as_str());
        if let (Some(purl), Some(whole)) = (part, whole) {
            found.insert(&relationship.full_product_name.product_id, Meant { purl, within: Some(whole) });
        }
    }
    found
}

fn gather<'a>(branches: &'a [Branch], depth: usize, into: &mut BTreeMap<&'a str, &'a Product>) {
    if depth > BRANCHES_MAX {
        return;
    }
    for branch in branches {
        if let Some(product) = &branch.product {
            into.insert(&product.product_id, product);
        }
        gather(&branch.branches, depth + 1, into);
    }
}
