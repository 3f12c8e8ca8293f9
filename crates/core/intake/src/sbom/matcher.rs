//! An SBOM against a snapshot of advisories.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_assurance::evidence::config::sbom::{
    Affected, FeedFacts, SbomMatches, Vex, VexStatus, VulnerabilityMatch,
};
use portreeve_types::UnixMillis;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Component, Purl, Sbom, SbomError, csaf, osv, spdx,
    vex::{self, Statement},
};
use crate::{FILE_BYTES_MAX, IntakeError, LIST_MAX, Piece, lines};

/// Components that are told as unknown.
const UNKNOWN_MAX: usize = 100;
/// Statements that are kept.
const STATEMENTS_MAX: usize = 100_000;

/// Kinds of package URLs, and the ecosystems of OSV for them. Those of distributions have their name as namespace.
const ECOSYSTEMS: [(&str, &str); 11] = [
    ("cargo", "crates.io"),
    ("npm", "npm"),
    ("pypi", "PyPI"),
    ("golang", "Go"),
    ("maven", "Maven"),
    ("nuget", "NuGet"),
    ("gem", "RubyGems"),
    ("composer", "Packagist"),
    ("hex", "Hex"),
    ("pub", "Pub"),
    ("swift", "SwiftURL"),
];

/// A component as advisories speak of it.
struct Known {
    component: String,
    purl: String,
    /// The release of a distribution, such as "12"; empty, if it is not said.
    release: String,
    version: String,
}

/// Holds an SBOM against advisories, one after the other.
pub struct Matcher {
    facts: SbomMatches,
    /// By ecosystem and name.
    known: BTreeMap<(String, String), Vec<Known>>,
    covered: BTreeSet<String>,
    statements: Vec<Statement>,
}

impl Matcher {
    /// Reads an SBOM: CycloneDX 1.4 to 1.6 or SPDX 2.2 and 2.3, in JSON.
    ///
    /// # Errors
    /// [`IntakeError`], with line and column.
    pub fn new(name: &str, bytes: &[u8]) -> Result<Self, IntakeError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(IntakeError::large(name));
        }
        let text = lines::text(name, bytes)?;
        let json = |error: serde_json::Error| IntakeError::json(name, &error);
        let (format, subject, components, statements) = match Sbom::read(text) {
            Ok(sbom) => {
                let subject = sbom.subject().map(|subject| subject.name.clone()).unwrap_or_default();
                let statements = vex::of_cyclonedx(name, text).map_err(json)?;
                (format!("CycloneDX {}", sbom.spec_version()), subject, sbom.components().to_vec(), statements)
            }
            Err(SbomError::Spdx) => {
                let (format, subject, components) = spdx::read(text).map_err(json)?;
                (format.replace('-', " "), subject, components, Vec::new())
            }
            Err(SbomError::Json(_)) => {
                let error = serde_json::from_str::<serde_json::Value>(text).err();
                return Err(error.map_or_else(|| IntakeError::at(name, 1, 1, "this is no SBOM"), json));
            }
            Err(error) => return Err(IntakeError::at(name, 1, 1, &error.to_string())),
        };
        let facts = SbomMatches {
            file: lines::shown(name),
            format: lines::shown(&format),
            subject: lines::shown(&subject),
            components: lines::number(components.len()),
            unknown: Vec::new(),
            unknown_count: 0,
            uncovered: Vec::new(),
            feed: FeedFacts::default(),
            matches: Vec::new(),
        };
        let mut matcher = Self { facts, known: BTreeMap::new(), covered: BTreeSet::new(), statements };
        components.iter().for_each(|component| matcher.know(component));
        Ok(matcher)
    }

    fn know(&mut self, component: &Component) {
        let purl = Purl::parse(&component.purl);
        let version = purl.as_ref().map(|purl| purl.version.to_string()).filter(|version| !version.is_empty());
        let version = version.unwrap_or_else(|| component.version.clone());
        let place = purl.as_ref().and_then(ecosystem);
        let Some(((ecosystem, names), purl)) = place.zip(purl).filter(|_| !version.is_empty()) else {
            self.facts.unknown_count += 1;
            if self.facts.unknown.len() < UNKNOWN_MAX {
                self.facts.unknown.push(lines::shown(&format!("{} {}", component.name, component.version)));
            }
            return;
        };
        let release = purl.qualifier("distro").map(|distro| distro.rsplit('-').next().unwrap_or_default().to_owned());
        for name in names {
            self.known.entry((ecosystem.clone(), name.to_ascii_lowercase())).or_default().push(Known {
                component: lines::shown(&format!("{} {version}", component.name)),
                purl: lines::shown(&component.purl),
                release: release.clone().unwrap_or_default(),
                version: version.clone(),
            });
        }
    }

    /// An advisory: an OSV record or a CSAF 2.0 document.
    ///
    /// # Errors
    /// [`IntakeError`], if it is neither; with line and column.
    pub fn advisory(&mut self, name: &str, bytes: &[u8]) -> Result<(), IntakeError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(IntakeError::large(name));
        }
        let text = lines::text(name, bytes)?;
        let json = |error: serde_json::Error| IntakeError::json(name, &error);
        if text.contains("\"csaf_version\"") {
            let document: csaf::Document = serde_json::from_str(text).map_err(json)?;
            if document.document.csaf_version != "2.0" {
                return Err(IntakeError::at(name, 1, 1, "only CSAF 2.0 is read"));
            }
            self.facts.feed.csaf_documents = self.facts.feed.csaf_documents.saturating_add(1);
            self.dated(&document.document.tracking.current_release_date);
            let found = csaf::statements(&document, &self.facts.subject);
            let room = STATEMENTS_MAX.saturating_sub(self.statements.len());
            self.statements.extend(
                found
                    .into_iter()
                    .filter(|statement| self.known.values().flatten().any(|known| is_meant(statement, known)))
                    .take(room),
            );
            return Ok(());
        }
        let record: osv::Record = serde_json::from_str(text).map_err(json)?;
        self.facts.feed.osv_records = self.facts.feed.osv_records.saturating_add(1);
        self.dated(&record.modified);
        if record.withdrawn.is_none() {
            self.take(&record);
        }
        Ok(())
    }

    fn dated(&mut self, text: &str) {
        let date = OffsetDateTime::parse(text, &Rfc3339).ok();
        let at = date.and_then(|date| u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()).map(UnixMillis);
        self.facts.feed.newest = self.facts.feed.newest.max(at);
    }

    fn take(&mut self, record: &osv::Record) {
        for part in &record.affected {
            let Some(package) = &part.package else { continue };
            let (base, release) = package.ecosystem.split_once(':').unwrap_or((&package.ecosystem, ""));
            self.covered.insert(base.to_owned());
            let Some(known) = self.known.get(&(base.to_owned(), package.name.to_ascii_lowercase())) else { continue };
            for known in
                known.iter().filter(|known| known.release.is_empty() || release.is_empty() || known.release == release)
            {
                let Some(is_affected) = part.affects(&package.ecosystem, &known.version) else { continue };
                if self.facts.matches.len() >= LIST_MAX {
                    return;
                }
                self.facts.matches.push(VulnerabilityMatch {
                    component: known.component.clone(),
                    purl: known.purl.clone(),
                    id: lines::shown(&record.id),
                    aliases: record.aliases.iter().take(16).map(|alias| lines::shown(alias)).collect(),
                    score_tenths: record.score_tenths(part),
                    is_affected,
                    fixed: part.fixed(),
                    vex: None,
                });
            }
        }
    }

    /// What follows, with the makers' words on it.
    #[must_use]
    pub fn finish(mut self) -> Piece {
        let statements = std::mem::take(&mut self.statements);
        for statement in &statements {
            let mut is_known = false;
            for found in self.facts.matches.iter_mut().filter(|found| is_about(statement, found)) {
                is_known = true;
                found.vex = Some(graver(found.vex.take(), &statement.vex));
                found.score_tenths = found.score_tenths.or(statement.score_tenths);
            }
            if !is_known && matches!(statement.vex.status, VexStatus::Affected | VexStatus::UnderInvestigation) {
                self.add(statement);
            }
        }
        let wanted: BTreeSet<&str> = self.known.keys().map(|(ecosystem, _)| ecosystem.as_str()).collect();
        let uncovered = wanted.into_iter().filter(|ecosystem| !self.covered.contains(*ecosystem));
        self.facts.uncovered = uncovered.map(str::to_owned).collect();
        let order = |found: &VulnerabilityMatch| (found.component.clone(), found.id.clone());
        self.facts.matches.sort_by_key(order);
        self.facts.matches.dedup_by_key(|found| order(found));
        Piece::of(&self.facts, &self.facts.file, &["cfg.sbom"])
    }

    /// What only the maker says.
    fn add(&mut self, statement: &Statement) {
        let component = self.known.values().flatten().find(|known| is_meant(statement, known));
        let Some(component) = component.filter(|_| self.facts.matches.len() < LIST_MAX) else { return };
        let mut ids = statement.ids.iter().cloned();
        self.facts.matches.push(VulnerabilityMatch {
            component: component.component.clone(),
            purl: component.purl.clone(),
            id: ids.next().unwrap_or_default(),
            aliases: ids.collect(),
            score_tenths: statement.score_tenths,
            is_affected: match statement.vex.status {
                VexStatus::Affected => Affected::Yes,
                _ => Affected::Open("its maker looks into it".into()),
            },
            fixed: Vec::new(),
            vex: Some(statement.vex.clone()),
        });
    }
}

/// Two words on one thing: the graver counts.
fn graver(before: Option<Vex>, new: &Vex) -> Vex {
    before.filter(|before| before.status <= new.status).unwrap_or_else(|| new.clone())
}

fn is_about(statement: &Statement, found: &VulnerabilityMatch) -> bool {
    let is_named = |id: &String| *id == found.id || found.aliases.contains(id);
    statement.ids.iter().any(is_named) && is_same_package(&statement.purl, &found.purl)
}

fn is_meant(statement: &Statement, known: &Known) -> bool {
    is_same_package(&statement.purl, &known.purl)
}

/// Kind, name and version; a package URL without a version means all of them.
fn is_same_package(meant: &str, purl: &str) -> bool {
    let (Some(meant), Some(purl)) = (Purl::parse(meant), Purl::parse(purl)) else { return false };
    meant.kind.eq_ignore_ascii_case(purl.kind)
        && meant.name.eq_ignore_ascii_case(&purl.name)
        && (meant.version.is_empty() || meant.version == purl.version)
}

/// The ecosystem of OSV for a package URL, and the names under which advisories speak of it.
fn ecosystem(purl: &Purl<'_>) -> Option<(String, Vec<String>)> {
    let kind = purl.kind.to_ascii_lowercase();
    let (namespace, name) = purl.name.rsplit_once('/').unwrap_or(("", &purl.name));
    let ecosystem = match (kind.as_str(), namespace.to_ascii_lowercase().as_str()) {
        ("deb", "debian") => "Debian",
        ("deb", "ubuntu") => "Ubuntu",
        ("apk", "alpine") => "Alpine",
        (kind, _) => ECOSYSTEMS.iter().find(|(known, _)| *known == kind).map(|(_, ecosystem)| *ecosystem)?,
    };
    let mut names = vec![match ecosystem {
        "Debian" | "Ubuntu" | "Alpine" => name.to_owned(),
        "Maven" => purl.name.replace('/', ":"),
        _ => purl.name.to_string(),
    }];
    // Advisories of Debian are about source packages.
    if let Some(source) = purl.qualifier("upstream") {
        names.push(source.split(['@', ' ']).next().unwrap_or_default().to_owned());
    }
    names.sort();
    names.dedup();
    Some((ecosystem.to_owned(), names))
}
