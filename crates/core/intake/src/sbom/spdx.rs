//! SPDX 2.2 and 2.3 in JSON: packages with their package URLs.

use serde::Deserialize;

use super::{Component, component::is_text, read::COMPONENTS_MAX};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    spdx_version: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    name: String,
    #[serde(default)]
    version_info: String,
    #[serde(default)]
    external_refs: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default)]
    reference_type: String,
    #[serde(default)]
    reference_locator: String,
}

/// What is read of a document: its version, its name, its components. Packages without a package URL are components too.
pub(super) fn read(text: &str) -> Result<(String, String, Vec<Component>), serde_json::Error> {
    use serde::de::Error as _;
    let document: Document = serde_json::from_str(text)?;
    if !["SPDX-2.2", "SPDX-2.3"].contains(&document.spdx_version.as_str()) {
        return Err(serde_json::Error::custom("only SPDX 2.2 and 2.3 are read"));
    }
    if document.packages.len() > COMPONENTS_MAX {
        return Err(serde_json::Error::custom(format!("it has more than {COMPONENTS_MAX} packages")));
    }
    let mut components = Vec::new();
    for package in document.packages {
        let purl = package.external_refs.into_iter().find(|reference| reference.reference_type == "purl");
        let purl = purl.map(|reference| reference.reference_locator).unwrap_or_default();
        let component = Component { name: package.name, version: package.version_info, purl };
        if ![&component.name, &component.version, &component.purl].into_iter().all(|text| is_text(text)) {
            return Err(serde_json::Error::custom(
                "a package has a name, version or package URL that is too long or has control characters",
            ));
        }
        components.push(component);
    }
    components.sort_unstable();
    components.dedup();
    Ok((document.spdx_version, document.name, components))
}
