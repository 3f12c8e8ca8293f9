//! A CycloneDX document becomes components, or it is said what is wrong with it.
//!
//! Three fields of a component are of use here, so they are read with types of our own. The crate `cyclonedx-bom` knows no
//! version behind 1.5, refuses whole documents for fields that play no part here, and brings an XML parser along.

use serde::{Deserialize, de::IgnoredAny};

use super::component::{Component, TEXT_BYTES_MAX, is_text};

/// Most components of one SBOM.
pub const COMPONENTS_MAX: usize = 50_000;
/// How deep components may stand in components.
pub const NESTING_MAX: usize = 16;
/// The versions of the specification that are read.
const SPEC_VERSIONS: [&str; 3] = ["1.4", "1.5", "1.6"];
/// What is told of a text from the document, characters.
const CHARS_TOLD: usize = 120;

/// Why a document is no SBOM that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SbomError {
    /// No JSON, or of another shape.
    #[error("this is not CycloneDX in JSON: {0}")]
    Json(String),
    /// Another format altogether.
    #[error(
        "this is an SPDX document; CycloneDX in JSON is wanted, such as `syft convert FILE -o cyclonedx-json` makes"
    )]
    Spdx,
    /// The right format in the wrong writing.
    #[error("this is XML; CycloneDX in JSON is wanted, such as `cyclonedx convert --output-format json` makes")]
    Xml,
    /// Some other JSON.
    #[error("this is not CycloneDX: `bomFormat` is not \"CycloneDX\"")]
    NotCycloneDx,
    /// A version that nobody here has read the specification of.
    #[error("this is CycloneDX {0}; {versions} are read", versions = SPEC_VERSIONS.join(", "))]
    SpecVersion(String),
    /// More components than [`COMPONENTS_MAX`].
    #[error("it has more than {COMPONENTS_MAX} components")]
    TooMany,
    /// Components stand deeper in each other than [`NESTING_MAX`].
    #[error("components stand in components more than {NESTING_MAX} deep")]
    TooDeep,
    /// A text that is too long or would move a terminal's cursor.
    #[error("the component `{name}` has a {field} of more than {TEXT_BYTES_MAX} bytes, or with control characters")]
    Text {
        /// Which component, as far as it can be told.
        name: String,
        /// `name`, `version` or `purl`.
        field: &'static str,
    },
}

/// What an SBOM says that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its version; empty for none.
    pub version: String,
}

/// What a CycloneDX document holds. Only [`Sbom::read`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sbom {
    spec_version: String,
    subject: Option<Subject>,
    components: Vec<Component>,
}

/// The parts of the schema that matter here; whatever else stands there is passed over.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "bomFormat")]
    format: Option<String>,
    #[serde(rename = "specVersion")]
    spec_version: Option<String>,
    #[serde(rename = "spdxVersion")]
    spdx_version: Option<IgnoredAny>,
    #[serde(rename = "@graph")]
    spdx_graph: Option<IgnoredAny>,
    metadata: Option<Metadata>,
    #[serde(default)]
    components: Vec<Part>,
}

#[derive(Deserialize)]
struct Metadata {
    component: Option<Part>,
}

/// A component; only its name must be there. In it stand those that it is made of.
#[derive(Deserialize)]
struct Part {
    name: String,
    group: Option<String>,
    version: Option<String>,
    purl: Option<String>,
    #[serde(default)]
    components: Vec<Part>,
}

impl Sbom {
    /// Reads CycloneDX 1.4 to 1.6 in JSON. What memory it takes is a multiple of the text's length.
    ///
    /// # Errors
    /// [`SbomError`], whose text is for the operator.
    pub fn read(text: &str) -> Result<Self, SbomError> {
        let begin = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
        if begin.starts_with('<') {
            return Err(SbomError::Xml);
        }
        if begin.starts_with("SPDXVersion:") {
            return Err(SbomError::Spdx);
        }
        let document: Document =
            serde_json::from_str(text).map_err(|error| SbomError::Json(told(&error.to_string())))?;
        if document.spdx_version.is_some() || document.spdx_graph.is_some() {
            return Err(SbomError::Spdx);
        }
        if document.format.as_deref() != Some("CycloneDX") {
            return Err(SbomError::NotCycloneDx);
        }
        let spec_version = document.spec_version.unwrap_or_default();
        if !SPEC_VERSIONS.contains(&spec_version.as_str()) {
            return Err(SbomError::SpecVersion(told(&spec_version)));
        }
        let mut components = Vec::new();
        let mut subject = None;
        if let Some(mut part) = document.metadata.and_then(|metadata| metadata.component) {
            gather(std::mem::take(&mut part.components), 1, &mut components)?;
            let Component { name, version, .. } = checked(part)?;
            subject = Some(Subject { name, version });
        }
        gather(document.components, 1, &mut components)?;
        components.sort_unstable();
        components.dedup();
        Ok(Self { spec_version, subject, components })
    }

    /// The version of the specification that it follows.
    #[must_use]
    pub fn spec_version(&self) -> &str {
        &self.spec_version
    }

    /// What it says that it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Its components, in order, each once, whatever they stand in.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }
}

fn gather(parts: Vec<Part>, depth: usize, into: &mut Vec<Component>) -> Result<(), SbomError> {
    if depth > NESTING_MAX && !parts.is_empty() {
        return Err(SbomError::TooDeep);
    }
    for mut part in parts {
        if into.len() >= COMPONENTS_MAX {
            return Err(SbomError::TooMany);
        }
        let inner = std::mem::take(&mut part.components);
        into.push(checked(part)?);
        gather(inner, depth + 1, into)?;
    }
    Ok(())
}

fn checked(part: Part) -> Result<Component, SbomError> {
    let Part { name, group, version, purl, .. } = part;
    let name = match group.filter(|group| !group.is_empty()) {
        Some(group) => format!("{group}/{name}"),
        None => name,
    };
    let component = Component { name, version: version.unwrap_or_default(), purl: purl.unwrap_or_default() };
    let fields = [("name", &component.name), ("version", &component.version), ("purl", &component.purl)];
    let bad = fields.into_iter().find(|(_, text)| !is_text(text)).map(|(field, _)| field);
    match bad {
        Some(field) => Err(SbomError::Text { name: told(&component.name), field }),
        None => Ok(component),
    }
}

/// As much of a text from the document as can be told on a terminal.
fn told(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(CHARS_TOLD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(components: &str) -> Result<Sbom, SbomError> {
        Sbom::read(&format!(r#"{{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": {components}}}"#))
    }

    fn names(sbom: &Sbom) -> Vec<String> {
        sbom.components().iter().map(|c| format!("{} {} {}", c.name, c.version, c.purl)).collect()
    }

    #[test]
    fn components_are_found_wherever_they_stand_and_told_once() {
        let sbom = Sbom::read(
            r#"{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": {
                   "type": "firmware", "name": "P30", "version": "2.1.0",
                   "components": [{"type": "application", "name": "main", "version": "2.1.0"}]}},
                "components": [
                   {"type": "library", "name": "zlib", "version": "1.3", "purl": "pkg:generic/zlib@1.3",
                    "components": [{"type": "library", "group": "org.a", "name": "b"}]},
                   {"type": "library", "name": "zlib", "version": "1.3", "purl": "pkg:generic/zlib@1.3", "licenses": [{}]}],
                "dependencies": [{"ref": "x"}], "future": {"a": [1, null]}}"#,
        )
        .unwrap();
        assert_eq!(names(&sbom), ["main 2.1.0 ", "org.a/b  ", "zlib 1.3 pkg:generic/zlib@1.3"]);
        assert_eq!(sbom.subject(), Some(&Subject { name: "P30".into(), version: "2.1.0".into() }));
        assert_eq!((sbom.spec_version(), names(&read("[]").unwrap()).len()), ("1.6", 0));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let head = |format: &str, version: &str| format!(r#"{{"bomFormat": "{format}", "specVersion": "{version}"}}"#);
        for (text, expected) in [
            (
                r#"{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": []}"#.to_owned(),
                SbomError::Spdx,
            ),
            (r#"{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}"#.into(), SbomError::Spdx),
            ("SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n".into(), SbomError::Spdx),
            ("\u{feff}<?xml version=\"1.0\"?><bom/>".into(), SbomError::Xml),
            ("{}".into(), SbomError::NotCycloneDx),
            (head("SPDX", "1.5"), SbomError::NotCycloneDx),
            (head("CycloneDX", "1.3"), SbomError::SpecVersion("1.3".into())),
            (head("CycloneDX", "1.\\u001b"), SbomError::SpecVersion("1.\u{fffd}".into())),
            (r#"{"bomFormat": "CycloneDX"}"#.into(), SbomError::SpecVersion(String::new())),
        ] {
            assert_eq!(Sbom::read(&text), Err(expected), "{text}");
        }
        for text in [
            "",
            "library",
            "[]",
            "{",
            "{\"bomFormat\": 1}",
            "{\"bomFormat\":\"CycloneDX\",\"bomFormat\":\"CycloneDX\"}",
        ] {
            assert!(matches!(Sbom::read(text), Err(SbomError::Json(_))), "{text}");
        }
        for components in ["{}", "[1]", "[{}]", r#"[{"name": 1}]"#, r#"[{"name": "a", "version": 3}]"#] {
            assert!(matches!(read(components), Err(SbomError::Json(_))), "{components}");
        }
    }

    #[test]
    fn what_is_told_of_a_document_is_bounded_and_clean() {
        let long = format!(r#"[{{"name": "{}\u0007", "version": "1"}}]"#, "x".repeat(1000));
        let Err(SbomError::Text { name, field: "name" }) = read(&long) else { panic!("taken") };
        assert_eq!(name.len(), CHARS_TOLD);
        let Err(SbomError::Json(why)) = read(&format!(r#""{}""#, "y".repeat(1000))) else { panic!("taken") };
        assert!(why.len() <= CHARS_TOLD, "{why}");
        let purl = format!(r#"[{{"name": "a", "purl": "pkg:{}"}}]"#, "z".repeat(TEXT_BYTES_MAX));
        assert_eq!(read(&purl), Err(SbomError::Text { name: "a".into(), field: "purl" }));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| {
            let open = r#"[{"name":"a","components":"#.repeat(depth - 1);
            read(&format!(r#"{open}[{{"name":"a"}}]{}"#, "}]".repeat(depth - 1)))
        };
        assert_eq!(nested(NESTING_MAX).map(|sbom| sbom.components().len()), Ok(1));
        assert_eq!(nested(NESTING_MAX + 1), Err(SbomError::TooDeep));
        assert!(matches!(nested(5000), Err(SbomError::Json(_))), "the stack is safe");
        let many = |count| read(&format!("[{}]", vec![r#"{"name":"a"}"#; count].join(",")));
        assert_eq!(many(COMPONENTS_MAX).map(|sbom| sbom.components().len()), Ok(1));
        assert_eq!(many(COMPONENTS_MAX + 1), Err(SbomError::TooMany));
    }
}
