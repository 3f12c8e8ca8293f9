//! Components and how they are looked for.

use std::{borrow::Cow, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name, version or package URL, bytes.
pub const TEXT_BYTES_MAX: usize = 2048;

/// One component: a library, a program, an operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Component {
    /// Its name; behind its group and a `/`, if it has one.
    pub name: String,
    /// Its version; empty if nobody says.
    #[serde(default)]
    pub version: String,
    /// Its package URL; empty if it has none.
    #[serde(default)]
    pub purl: String,
}

/// Whether a text can stand in a component.
pub(super) fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

/// What a package URL (ECMA-427) says of whose package it is; qualifiers and subpath say something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purl<'a> {
    /// Kind of package: `cargo`, `deb`, ….
    pub kind: &'a str,
    /// Namespace and name.
    pub name: Cow<'a, str>,
    /// Version; may be empty.
    pub version: Cow<'a, str>,
    qualifiers: &'a str,
}

impl<'a> Purl<'a> {
    /// Takes one apart.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("pkg:")?.trim_start_matches('/');
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (kind, path) = rest.get(..end)?.split_once('/')?;
        // An `@` at the begin belongs to a namespace that should have been encoded.
        let split = path.rsplit_once('@').filter(|(name, _)| !name.is_empty());
        let (name, version) = split.unwrap_or((path, ""));
        let (name, version) = (decoded(name.trim_matches('/')), decoded(version));
        let is_whole = !kind.is_empty() && !name.is_empty();
        let qualifiers = rest.get(end..).and_then(|behind| behind.strip_prefix('?')).unwrap_or_default();
        let qualifiers = qualifiers.split('#').next().unwrap_or_default();
        is_whole.then_some(Self { kind, name, version, qualifiers })
    }

    /// A qualifier, such as `distro`.
    #[must_use]
    pub fn qualifier(&self, key: &str) -> Option<Cow<'a, str>> {
        let mut pairs = self.qualifiers.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| decoded(value))
    }
}

/// Percent-encoding undone (RFC 3986 §2.1).
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let mut byte = [first];
        let is_code =
            first == b'%' && behind.get(..2).is_some_and(|code| hex::decode_to_slice(code, &mut byte).is_ok());
        bytes.extend(byte);
        rest = behind.get(if is_code { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// What stands behind the group or namespace.
#[must_use]
pub fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Without the `v` that some put before the number.
#[must_use]
pub fn bare(version: &str) -> &str {
    let number = version.strip_prefix(['v', 'V']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    number.unwrap_or(version)
}

impl Component {
    /// Its names and versions: as they are said, and as its package URL says them.
    pub fn aliases(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let purl = Purl::parse(&self.purl).map(|purl| (purl.name, purl.version));
        let said = (Cow::from(self.name.as_str()), Cow::from(self.version.as_str()));
        std::iter::once(said).chain(purl)
    }
}

/// Why a text asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write NAME, NAME@VERSION or a package URL such as pkg:cargo/openssl@0.10")]
pub struct QueryError;

/// What is looked for: a name, perhaps with a version, or a package URL.
///
/// On the day of a vulnerability it is worse to miss a component than to show one too many. So case does not count; a name
/// is found behind any group; a version finds those that continue it, `3.0` also `3.0.7` and `1.1.1` also `1.1.1k`, but not
/// `3.01`; and a component of unknown version is always found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Kind of package, if only that kind is meant.
    kind: Option<String>,
    name: String,
    version: String,
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        if !is_text(text) {
            return Err(QueryError);
        }
        if text.starts_with("pkg:") {
            let Purl { kind, name, version, .. } = Purl::parse(text).ok_or(QueryError)?;
            return Ok(Self { kind: Some(kind.into()), name: name.into(), version: bare(&version).into() });
        }
        let split = text.rsplit_once('@').filter(|(name, _)| !name.is_empty());
        let (name, version) = split.unwrap_or((text, ""));
        if name.is_empty() {
            return Err(QueryError);
        }
        Ok(Self { kind: None, name: name.into(), version: bare(version).into() })
    }
}

impl Query {
    /// Whether it finds this component.
    #[must_use]
    pub fn finds(&self, component: &Component) -> bool {
        let Some(kind) = &self.kind else {
            return component.aliases().any(|(name, _)| self.names(&name)) && self.covers(component);
        };
        Purl::parse(&component.purl).is_some_and(|purl| {
            purl.kind.eq_ignore_ascii_case(kind) && self.names(&purl.name) && self.covers(component)
        })
    }

    fn names(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(&self.name) || short(name).eq_ignore_ascii_case(&self.name)
    }

    /// Whether one of its versions is meant, or it has none.
    fn covers(&self, component: &Component) -> bool {
        let mut versions =
            component.aliases().map(|(_, version)| version).filter(|version| !version.is_empty()).peekable();
        versions.peek().is_none() || versions.any(|version| self.continues(&version))
    }

    fn continues(&self, version: &str) -> bool {
        let (version, wanted) = (bare(version), self.version.as_str());
        let Some((begin, rest)) = version.split_at_checked(wanted.len()) else { return false };
        let goes_on = wanted.ends_with(|c: char| c.is_ascii_digit()) && rest.starts_with(|c: char| c.is_ascii_digit());
        begin.eq_ignore_ascii_case(wanted) && !goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, version: &str, purl: &str) -> Component {
        Component { name: name.into(), version: version.into(), purl: purl.into() }
    }

    fn finds(query: &str, component: &Component) -> bool {
        query.parse::<Query>().unwrap().finds(component)
    }

    #[test]
    fn package_urls_are_taken_apart() {
        let parts = |text| Purl::parse(text).map(|purl| format!("{} {} {}", purl.kind, purl.name, purl.version));
        for (text, expected) in [
            ("pkg:cargo/serde@1.0.219", "cargo serde 1.0.219"),
            ("pkg:deb/debian/libssl3@3.0.9-1?arch=arm64&upstream=openssl#x/y", "deb debian/libssl3 3.0.9-1"),
            ("pkg:npm/%40angular/core@12.3.1", "npm @angular/core 12.3.1"),
            ("pkg:npm/@angular/core@12.3.1", "npm @angular/core 12.3.1"),
            ("pkg:npm/@angular", "npm @angular "),
            ("pkg:generic/a%2", "generic a%2 "),
            ("pkg://golang/github.com/a/b@v1.2", "golang github.com/a/b v1.2"),
        ] {
            assert_eq!(parts(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "pkg:", "pkg:cargo", "pkg:cargo/", "pkg:/serde", "cargo/serde@1", "pkg:?/a"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn a_query_rather_finds_too_much() {
        let ssl = component("OpenSSL", "3.0.7", "");
        for query in ["openssl", "openssl@3", "openssl@3.0", "openssl@3.0.7", "OPENSSL@v3.0"] {
            assert!(finds(query, &ssl), "{query}");
        }
        for query in ["openss", "openssl@3.0.70", "openssl@3.1", "pkg:generic/openssl"] {
            assert!(!finds(query, &ssl), "{query}");
        }
        assert!(!finds("openssl@3.0", &component("openssl", "3.01", "")));
        assert!(finds("openssl@1.1.1", &component("openssl", "1.1.1k", "")));
        assert!(!finds("openssl@1.1.1k", &component("openssl", "1.1.1l", "")));
        assert!(finds("openssl@1.1.1", &component("openssl", "", "")), "nobody knows which it is");
        assert!(finds("b@1.2", &component("github.com/a/b", "v1.2.3", "")));
        assert!(finds("github.com/a/b", &component("github.com/a/b", "v1.2.3", "")));
        assert!(!finds("a", &component("github.com/a/b", "", "")));
        assert!(finds("@angular/core@12", &component("@angular/core", "12.3.1", "")));
        assert!(!finds("é@1", &component("e", "1é", "")));
    }

    #[test]
    fn a_package_url_finds_packages_of_its_kind() {
        let deb = component("libssl3", "3.0.9-1", "pkg:deb/debian/libssl3@3.0.9-1?arch=arm64");
        for query in ["pkg:deb/debian/libssl3@3.0.9", "pkg:deb/libssl3", "pkg:DEB/debian/LIBSSL3?arch=amd64"] {
            assert!(finds(query, &deb), "{query}");
        }
        for query in ["pkg:cargo/libssl3", "pkg:deb/ubuntu/libssl3", "pkg:deb/debian/libssl3@3.1"] {
            assert!(!finds(query, &deb), "{query}");
        }
        let only = component("a thing", "", "pkg:cargo/thing@2.1.0");
        assert!(
            finds("thing@2", &only) && !finds("thing@3", &only),
            "a name and version may stand in the package URL alone"
        );
    }

    #[test]
    fn what_asks_for_nothing_is_refused() {
        for text in ["", "pkg:", "pkg:cargo", "a\u{1b}b", &"x".repeat(TEXT_BYTES_MAX + 1)] {
            assert_eq!(text.parse::<Query>(), Err(QueryError), "{text:.20}");
        }
    }
}
