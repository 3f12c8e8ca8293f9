use std::collections::{BTreeMap, BTreeSet};

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Case, CaseError, Cases, Custody, CustodyProblem, Sha256, Use, case::Document};

/// Most extracts of the ledger, or other files, in one export.
pub const EXTRACTS_MAX: usize = 256;
/// Most bytes of all of them together: 64 MiB.
pub const EXTRACT_BYTES_MAX: usize = 64 << 20;

const MANIFEST: &str = "manifest.json";
const CASE: &str = "case.json";
const CUSTODY: &str = "custody.jsonl";
/// Where extracts lie.
const EXTRACTS: &str = "ledger/";
const FORMAT: &str = "portreeve-case-1";
/// Longest name of an extract, bytes.
const NAME_BYTES_MAX: usize = 64;

/// A case to take out (CSA-IMT-02).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Every file, by name: `manifest.json`, `case.json`, `custody.jsonl` and `ledger/…`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Of the manifest, which has the hash of every other file. In the hub's ledger it shows later that nobody made the whole
    /// export anew.
    pub sha256: Sha256,
}

/// What an export is, once it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The case.
    pub case: u64,
    /// Who exported it.
    pub by: String,
    /// When.
    pub exported: UnixMillis,
    /// Of the manifest: what the hub's ledger has, if this is what it exported.
    pub sha256: Sha256,
}

/// What is wrong with an export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportProblem {
    /// A file that has to be there is not.
    #[error("{0} is missing")]
    Missing(String),
    /// A file that the manifest does not have.
    #[error("{0} was added")]
    Added(String),
    /// A file that is not what the manifest has.
    #[error("{0} was changed")]
    Changed(String),
    /// What it says does not follow from the files.
    #[error("{MANIFEST} is not the one of these files")]
    Manifest,
    /// It cannot be read.
    #[error("{CASE} is not a case")]
    Case,
    /// The chain is broken.
    #[error(transparent)]
    Custody(#[from] CustodyProblem),
    /// The last line does not say that this was exported.
    #[error("{CUSTODY} does not end with this export")]
    End,
    /// It could be written somewhere else, or take another file's place.
    #[error("an extract's name is 1 to {NAME_BYTES_MAX} of a-z 0-9 . _ - and begins with a letter or digit")]
    Name,
    /// [`EXTRACTS_MAX`] or [`EXTRACT_BYTES_MAX`].
    #[error("at most {EXTRACTS_MAX} extracts of {EXTRACT_BYTES_MAX} bytes together are exported")]
    Large,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    case: u64,
    exported: UnixMillis,
    by: String,
    /// Of the list of all files but the custody log, in the form of `sha256sum`. The custody log's last line has it too.
    evidence_sha256: Sha256,
    custody_head: Sha256,
    files: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    bytes: usize,
    sha256: Sha256,
}

impl Manifest {
    /// What follows from the files: the same bytes for the same files. Nothing if the custody log does not end with an export.
    fn of(case: u64, custody: &Custody, files: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
        let last = custody.lines().last().filter(|line| line.what == Use::Exported)?;
        let list = |(name, bytes): (&String, &Vec<u8>)| Listed {
            name: name.clone(),
            bytes: bytes.len(),
            sha256: Sha256::of(bytes),
        };
        let manifest = Self {
            format: FORMAT.to_owned(),
            case,
            exported: last.when,
            by: last.who.clone(),
            evidence_sha256: last.sha256?,
            custody_head: custody.head(),
            files: files.iter().filter(|(name, _)| *name != MANIFEST).map(list).collect(),
        };
        serde_json::to_vec_pretty(&manifest).ok()
    }
}

/// The hash of everything that is handed out but the custody log, which has this hash in it.
fn evidence(files: &BTreeMap<String, Vec<u8>>) -> Sha256 {
    let is_evidence = |name: &str| name != MANIFEST && name != CUSTODY;
    let lines = files.iter().filter(|(name, _)| is_evidence(name));
    let list: String = lines.map(|(name, bytes)| format!("{}  {name}\n", Sha256::of(bytes))).collect();
    Sha256::of(list.as_bytes())
}

impl Cases {
    /// Takes a case out, with extracts of the ledger given as name and content. The export is a line in the custody log.
    ///
    /// # Errors
    /// [`CaseError`]; nothing is noted then.
    pub fn export(
        &mut self,
        number: u64,
        who: &str,
        why: &str,
        extracts: BTreeMap<String, Vec<u8>>,
        now: UnixMillis,
    ) -> Result<Export, CaseError> {
        if extracts.len() > EXTRACTS_MAX || extracts.values().map(Vec::len).sum::<usize>() > EXTRACT_BYTES_MAX {
            return Err(ExportProblem::Large.into());
        }
        if !extracts.keys().all(|name| is_name(name)) {
            return Err(ExportProblem::Name.into());
        }
        let mut files: BTreeMap<String, Vec<u8>> =
            extracts.into_iter().map(|(name, bytes)| (format!("{EXTRACTS}{name}"), bytes)).collect();
        files.insert(CASE.to_owned(), self.json_of(number)?);
        let case: &Case = self.exported(number, who, why, evidence(&files), now)?;
        files.insert(CUSTODY.to_owned(), case.custody().to_jsonl().into_bytes());
        let manifest = Manifest::of(number, case.custody(), &files).ok_or(ExportProblem::Manifest)?;
        let sha256 = Sha256::of(&manifest);
        files.insert(MANIFEST.to_owned(), manifest);
        Ok(Export { files, sha256 })
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().all(|byte| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// Verifies an export: every file is there, is what it was, and none was added; the custody log is unbroken and ends with this
/// export. That the hub made it, and not somebody else from nothing, shows [`Verified::sha256`] in the hub's ledger.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_export(files: &BTreeMap<String, Vec<u8>>) -> Result<Verified, ExportProblem> {
    let file = |name: &str| files.get(name).ok_or_else(|| ExportProblem::Missing(name.to_owned()));
    let manifest_bytes = file(MANIFEST)?;
    let manifest: Manifest = serde_json::from_slice(manifest_bytes).map_err(|_| ExportProblem::Manifest)?;
    for listed in &manifest.files {
        let bytes = file(&listed.name)?;
        if Sha256::of(bytes) != listed.sha256 {
            return Err(ExportProblem::Changed(listed.name.clone()));
        }
    }
    check_names(&manifest, files)?;
    let case: Document = serde_json::from_slice(file(CASE)?).map_err(|_| ExportProblem::Case)?;
    let custody = verify_custody(&case, file(CUSTODY)?)?;
    if custody.lines().last().and_then(|line| line.sha256) != Some(evidence(files)) {
        return Err(ExportProblem::End);
    }
    let expected = Manifest::of(case.number, &custody, files).ok_or(ExportProblem::End)?;
    if expected != *manifest_bytes {
        return Err(ExportProblem::Manifest);
    }
    let Manifest { by, exported, .. } = manifest;
    Ok(Verified { case: case.number, by, exported, sha256: Sha256::of(manifest_bytes) })
}

/// Nothing was added, and nothing would be written elsewhere by who unpacks it.
fn check_names(manifest: &Manifest, files: &BTreeMap<String, Vec<u8>>) -> Result<(), ExportProblem> {
    let listed: BTreeSet<&str> = manifest.files.iter().map(|listed| listed.name.as_str()).collect();
    let is_extract = |name: &str| name.strip_prefix(EXTRACTS).is_some_and(is_name);
    for name in files.keys().filter(|name| *name != MANIFEST) {
        if !listed.contains(name.as_str()) {
            return Err(ExportProblem::Added(name.clone()));
        }
        if ![CASE, CUSTODY].contains(&name.as_str()) && !is_extract(name) {
            return Err(ExportProblem::Name);
        }
    }
    Ok(())
}

fn verify_custody(case: &Document, jsonl: &[u8]) -> Result<Custody, ExportProblem> {
    // Every line ends with a line feed, the last one too.
    let lines = jsonl.strip_suffix(b"\n").ok_or(ExportProblem::End)?.split(|byte| *byte == b'\n');
    Ok(Custody::verify(case.number, case.opened, lines)?)
}
