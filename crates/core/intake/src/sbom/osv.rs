//! OSV records (the Open Source Vulnerability format, 1.6).

use std::cmp::Ordering;

use portreeve_assurance::evidence::config::sbom::Affected;
use serde::Deserialize;
use serde_json::Value;

use super::{
    score::{self, Rating},
    version::compare,
};

#[derive(Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) modified: String,
    pub(super) withdrawn: Option<String>,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    #[serde(default)]
    severity: Vec<Rating>,
    #[serde(default)]
    pub(super) affected: Vec<Part>,
    #[serde(default)]
    database_specific: Value,
}

#[derive(Deserialize)]
pub(super) struct Part {
    pub(super) package: Option<Package>,
    #[serde(default)]
    severity: Vec<Rating>,
    #[serde(default)]
    ranges: Vec<Range>,
    #[serde(default)]
    versions: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) ecosystem: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
}

impl Record {
    /// Its rating, tenths: of this package, of the record, or a word of its database.
    pub(super) fn score_tenths(&self, part: &Part) -> Option<u32> {
        let word = || self.database_specific.get("severity").and_then(Value::as_str).and_then(score::of_word);
        score::highest(part.severity.iter()).or_else(|| score::highest(self.severity.iter())).or_else(word)
    }
}

impl Part {
    /// Whether a version is among those affected. `None`: it is not.
    pub(super) fn affects(&self, ecosystem: &str, version: &str) -> Option<Affected> {
        if self.versions.iter().any(|listed| listed == version) {
            return Some(Affected::Yes);
        }
        let ranges: Vec<&Range> = self.ranges.iter().filter(|range| range.kind != "GIT").collect();
        if ranges.is_empty() {
            let is_listed = !self.versions.is_empty();
            return (!is_listed).then(|| Affected::Open("the record names commits and no versions".into()));
        }
        let mut open = None;
        for range in ranges {
            match range.holds(ecosystem, version) {
                Some(true) => return Some(Affected::Yes),
                Some(false) => {}
                None => {
                    open = Some(Affected::Open(format!("versions such as {version} of {ecosystem} are not compared")))
                }
            }
        }
        open
    }

    /// Versions that are without it.
    pub(super) fn fixed(&self) -> Vec<String> {
        let events = self.ranges.iter().filter(|range| range.kind != "GIT").flat_map(|range| &range.events);
        events.filter_map(|event| event.fixed.as_deref()).take(16).map(crate::lines::shown).collect()
    }
}

impl Range {
    /// The events in the order of their versions: the last that does not lie behind the version decides. `None`: they cannot be compared.
    fn holds(&self, ecosystem: &str, version: &str) -> Option<bool> {
        let ecosystem = if self.kind == "SEMVER" { "SemVer" } else { ecosystem };
        let mut is_in = false;
        // The beginning comes first, whatever the scheme calls it.
        let mut last: Option<&str> = None;
        for event in &self.events {
            let (at, is_begin, is_last) = match event {
                Event { introduced: Some(at), .. } => (at, true, false),
                Event { fixed: Some(at), .. } => (at, false, false),
                Event { last_affected: Some(at), .. } => (at, false, true),
                _ => continue,
            };
            if at == "0" {
                is_in |= is_begin && last.is_none();
                continue;
            }
            let order = compare(ecosystem, version, at)?;
            let is_reached = order == Ordering::Greater || (order == Ordering::Equal && !is_last);
            // Events need not be in order: one that lies before what was reached already changes nothing.
            let is_later = match last {
                Some(last) => compare(ecosystem, at, last)? != Ordering::Less,
                None => true,
            };
            if is_reached && is_later {
                is_in = is_begin;
                last = Some(at);
            }
        }
        Some(is_in)
    }
}
