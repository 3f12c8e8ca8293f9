//! What devices say that they are made of.

use portreeve_intake::sbom::{Component, Purl};
use serde::{Deserialize, Serialize};

use crate::registry::is_field;

/// Most libraries that one device can report.
pub const LIBRARIES_MAX: usize = 256;

/// Libraries as a device lists them: each a package URL, or an object with `name` and perhaps `version`. In order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Item>")]
pub struct Libraries(pub(crate) Vec<Component>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Purl(String),
    Named {
        name: String,
        #[serde(default)]
        version: String,
    },
}

impl Item {
    fn component(self) -> Option<Component> {
        let component = match self {
            Self::Named { name, version } => Component { name, version, purl: String::new() },
            Self::Purl(purl) => {
                let Purl { name, version, .. } = Purl::parse(&purl)?;
                Component { name: name.into_owned(), version: version.into_owned(), purl }
            }
        };
        let texts = [&component.name, &component.version, &component.purl];
        let is_good = !component.name.is_empty() && texts.into_iter().all(|text| is_field(text));
        is_good.then_some(component)
    }
}

impl TryFrom<Vec<Item>> for Libraries {
    type Error = &'static str;

    fn try_from(items: Vec<Item>) -> Result<Self, &'static str> {
        if items.len() > LIBRARIES_MAX {
            return Err("too many libraries");
        }
        let components: Option<Vec<_>> = items.into_iter().map(Item::component).collect();
        let mut components = components.ok_or("a library without a name, or with a text that is not clean")?;
        components.sort_unstable();
        components.dedup();
        Ok(Self(components))
    }
}

impl Libraries {
    /// The libraries.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.0
    }
}

/// What one device has last said, and of which firmware: with another, it says nothing any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reported {
    pub(crate) firmware: String,
    pub(crate) libraries: Vec<Component>,
}

impl Reported {
    /// How a history tells of it.
    pub(crate) fn summary(&self) -> String {
        match self.libraries.len() {
            0 => String::new(),
            count => format!("{count} of firmware {}", self.firmware),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Vec<String>> {
        let libraries: Libraries = serde_json::from_str(json).ok()?;
        Some(libraries.0.iter().map(|c| format!("{} {} {}", c.name, c.version, c.purl)).collect())
    }

    #[test]
    fn libraries_are_package_urls_or_names() {
        let json = r#"["pkg:generic/openssl@3.0.7", {"name": "zlib", "version": "1.3"}, {"name": "x", "more": 1}, {"name": "x"}]"#;
        assert_eq!(read(json).unwrap(), ["openssl 3.0.7 pkg:generic/openssl@3.0.7", "x  ", "zlib 1.3 "]);
        assert_eq!(read("[]").unwrap().len(), 0);
    }

    #[test]
    fn a_list_is_taken_as_a_whole_or_not_at_all() {
        let long = format!(r#"[{{"name": "{}"}}]"#, "x".repeat(257));
        let many = format!("[{}]", vec![r#"{"name": "a"}"#; LIBRARIES_MAX + 1].join(","));
        let bad = [r#"["openssl"]"#, r#"[{"name": ""}]"#, r#"[{"version": "1"}]"#, "[1]", "{}", "null", &long, &many];
        for json in bad.into_iter().chain([r#"[{"name": "a\u001b[2J"}]"#, r#"["pkg:generic/a%0Ab"]"#]) {
            assert_eq!(read(json), None, "{json:.60}");
        }
        let full = format!("[{}]", vec![r#"{"name": "a"}"#; LIBRARIES_MAX].join(","));
        assert_eq!(read(&full).unwrap().len(), 1);
    }
}
