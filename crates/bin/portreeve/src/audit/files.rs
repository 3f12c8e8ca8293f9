//! Files that a scope names: configurations, software lists, secrets, records, other scanners' results.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use portreeve_assurance::{
    Attempt, Attestation, Catalogue, CheckId, EVIDENCE_BYTES_MAX, Envelope, Facts, File, Outcome, Scope, Sha256,
    evidence::{
        file::{FilePart, FileRead},
        ports::DeclaredServices,
        tls::TlsPolicy,
    },
};
use portreeve_intake::{FILE_BYTES_MAX, Format, Piece, read, sbom, secrets, subjects};
use portreeve_probe::certificate::certificate_facts;
use portreeve_types::UnixMillis;
use rustls_pki_types::UnixTime;

use super::{TOOL, now};
use crate::failure::Failure;

/// Files of one folder that are looked through.
const FOLDER_FILES_MAX: usize = 100_000;
/// Folders within each other that are looked into.
const FOLDER_DEPTH_MAX: usize = 64;

/// What files brought.
pub(super) struct Files {
    /// When the run began.
    started: UnixMillis,
    pub(super) attempts: Vec<Attempt>,
    pub(super) evidence: Vec<Envelope>,
    /// What came of each declared file.
    parts: BTreeMap<String, Vec<FilePart>>,
}

/// Reads every file of a scope. What cannot be read is told before anything is looked at.
pub(super) fn files(scope: &Scope, base: &Path, started: UnixMillis) -> Result<Files, Failure> {
    let mut files = Files { started, attempts: Vec::new(), evidence: Vec::new(), parts: BTreeMap::new() };
    let mut pieces = Vec::new();
    for file in &scope.files {
        let (path, name) = (base.join(&file.path), shown(&file.path));
        let mut found = match file.format.as_deref() {
            Some("secrets") => vec![secrets_of(&path, &name)?],
            Some("sbom") => vec![matches_of(file, &path, base)?],
            Some("records") => {
                files.records(&path, &name)?;
                continue;
            }
            named => {
                let format = named.map(str::parse::<Format>).transpose();
                let format = format.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
                let reader = |der: &[u8]| certificate_facts(der, UnixTime::now()).ok();
                let found = read(&name, &bounded(&path, FILE_BYTES_MAX as u64)?, format, &reader);
                found.map_err(|error| Failure::Usage(error.to_string()))?
            }
        };
        found.iter_mut().for_each(|piece| piece.file.clone_from(&name));
        match &file.of {
            Some(of) => files.judged(scope, found, Some(of))?,
            None => pieces.extend(found),
        }
    }
    files.judged(scope, pieces, None)?;
    for (path, parts) in std::mem::take(&mut files.parts) {
        let read = Envelope::of(&FileRead { path, parts }, None, started, TOOL);
        files.evidence.push(read.map_err(|error| Failure::Usage(error.to_string()))?);
    }
    Ok(files)
}

impl Files {
    /// Each subject of some pieces, as an attempt at each of its checks.
    fn judged(&mut self, scope: &Scope, pieces: Vec<Piece>, of: Option<&str>) -> Result<(), Failure> {
        for subject in subjects(pieces) {
            let target = of.unwrap_or(&subject.target);
            let mut envelopes: Vec<Envelope> =
                subject.pieces.iter().map(|piece| piece.envelope(target, now(), TOOL)).collect();
            let checks: Vec<CheckId> = subject.checks.iter().filter_map(|check| check.parse().ok()).collect();
            for (piece, envelope) in subject.pieces.iter().zip(&envelopes) {
                self.came_of(&piece.file, envelope, &checks, target)?;
            }
            envelopes.extend(scope.declarations(self.started, TOOL));
            envelopes.extend(declared_of(scope, target, self.started)?);
            for check in checks {
                self.attempts.push(Attempt { check, target: target.to_owned(), outcome: evidence(&envelopes)? });
            }
            self.evidence.extend(envelopes);
        }
        Ok(())
    }

    /// Keeps which file a piece came of, so that it cannot be left out of the report.
    fn came_of(&mut self, file: &str, envelope: &Envelope, checks: &[CheckId], target: &str) -> Result<(), Failure> {
        let evidence = hash(envelope)?;
        let part = |check: &CheckId| FilePart { evidence, check: check.clone(), target: target.to_owned() };
        self.parts.entry(file.to_owned()).or_default().extend(checks.iter().map(part));
        Ok(())
    }

    /// Attestations, each in an envelope of its own, as `attest export` writes them.
    fn records(&mut self, folder: &Path, name: &str) -> Result<(), Failure> {
        let paths = walk(folder)?;
        if paths.is_empty() {
            return Err(unreadable(folder, &"there is no record in it"));
        }
        for path in paths {
            let envelope = Envelope::from_bytes(&bounded(&path, EVIDENCE_BYTES_MAX as u64)?)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
            let record: Attestation = serde_json::from_value(envelope.data.clone())
                .ok()
                .filter(|_| envelope.kind == Attestation::KIND)
                .ok_or_else(|| Failure::Usage(format!("{} is no attestation", path.display())))?;
            if Catalogue::embedded().check(&record.check).is_none() {
                let problem = format!("{}: the catalogue has no check {}", path.display(), record.check);
                return Err(Failure::Usage(problem));
            }
            let row = record.requirement.to_string();
            self.came_of(name, &envelope, std::slice::from_ref(&record.check), &row)?;
            let outcome = evidence(std::slice::from_ref(&envelope))?;
            self.attempts.push(Attempt { check: record.check, target: row, outcome });
            self.evidence.push(envelope);
        }
        Ok(())
    }

    /// Attestations that a hub keeps.
    pub(super) fn vouched(&mut self, records: &[Attestation]) -> Result<(), Failure> {
        for record in records {
            let row = record.requirement.to_string();
            let envelope = Envelope::of(record, Some(&row), self.started, TOOL)
                .map_err(|error| Failure::Usage(error.to_string()))?;
            let outcome = evidence(std::slice::from_ref(&envelope))?;
            self.attempts.push(Attempt { check: record.check.clone(), target: row, outcome });
            self.evidence.push(envelope);
        }
        Ok(())
    }
}

/// What the scope says of a target that another scanner looked at.
fn declared_of(scope: &Scope, target: &str, started: UnixMillis) -> Result<Vec<Envelope>, Failure> {
    let failed = |error: portreeve_assurance::EvidenceError| Failure::Usage(error.to_string());
    let mut declared = Vec::new();
    if let Some(host) = scope.hosts.iter().find(|host| host.address.as_str() == target)
        && let Some(services) = host.declared()
    {
        let services = DeclaredServices { services: services.collect() };
        declared.push(Envelope::of(&services, None, started, TOOL).map_err(failed)?);
    }
    if scope.endpoints.iter().any(|endpoint| endpoint.url.to_string() == target) {
        declared.push(Envelope::of::<TlsPolicy>(&scope.tls, None, started, TOOL).map_err(failed)?);
    }
    Ok(declared)
}

fn evidence(envelopes: &[Envelope]) -> Result<Outcome, Failure> {
    envelopes.iter().map(hash).collect::<Result<_, _>>().map(Outcome::Evidence)
}

fn hash(envelope: &Envelope) -> Result<Sha256, Failure> {
    envelope.to_bytes().map(|bytes| Sha256::of(&bytes)).map_err(|error| Failure::Usage(error.to_string()))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("cannot read {}: {error}", path.display()))
}

fn bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.len() > bytes_max || !metadata.is_file() {
        return Err(unreadable(path, &format!("not a file of at most {bytes_max} bytes")));
    }
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// Every file below a folder, in order; links are not followed.
fn walk(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries: io::Result<Vec<fs::DirEntry>> = fs::read_dir(&folder).and_then(Iterator::collect);
        for entry in entries.map_err(|error| unreadable(&folder, &error))? {
            let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?;
            if kind.is_dir() && depth < FOLDER_DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                found.push(entry.path());
            }
            if found.len() > FOLDER_FILES_MAX {
                return Err(unreadable(&folder, &format!("more than {FOLDER_FILES_MAX} files")));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Secrets in every file of a folder.
fn secrets_of(folder: &Path, about: &str) -> Result<Piece, Failure> {
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| Failure::Refused("there is no randomness".into()))?;
    let mut scanner = secrets::Scanner::new(&random);
    for path in walk(folder)? {
        let name = shown(path.strip_prefix(folder).unwrap_or(&path));
        match bounded(&path, secrets::SCANNED_BYTES_MAX as u64) {
            Ok(bytes) => scanner.file(&name, &bytes),
            Err(_) => scanner.skip(&name, "it cannot be read, or is too large"),
        }
    }
    Ok(scanner.finish(about))
}

/// What is known of the components of a software list.
fn matches_of(file: &File, path: &Path, base: &Path) -> Result<Piece, Failure> {
    let name = shown(&file.path);
    let failed = |error: portreeve_intake::IntakeError| Failure::Usage(error.to_string());
    let mut matcher = sbom::Matcher::new(&name, &bounded(path, FILE_BYTES_MAX as u64)?).map_err(failed)?;
    let feed = file.feed.as_ref().ok_or_else(|| {
        Failure::Usage(format!("{name}: a software list needs a feed: the folder with OSV records and CSAF documents"))
    })?;
    for path in walk(&base.join(feed))? {
        matcher.advisory(&shown(&path), &bounded(&path, FILE_BYTES_MAX as u64)?).map_err(failed)?;
    }
    Ok(matcher.finish())
}
