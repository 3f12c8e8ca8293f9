//! Whether a report is what its evidence says, and nobody touched either.

use std::collections::{BTreeMap, BTreeSet};

use super::{Format, JsonProblem, MANIFEST, Report, SIGNATURE, manifest::Manifest};
use crate::{
    Catalogue, CheckId, CheckResult, EvidenceError, Outcome, Scope, Selection, Sha256, Store, Verdict, conclude,
    evidence::file::{FilePart, FileRead},
    judge_one, missing, text,
};

/// Where evidence lies.
const EVIDENCE: &str = "evidence/";
/// Most problems that are told.
const PROBLEMS_MAX: usize = 100;

/// The name of a piece of evidence among the files.
#[must_use]
pub fn evidence_file(hash: &Sha256) -> String {
    format!("{EVIDENCE}{hash}.json")
}

/// What is right about a report that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The report.
    pub report: Report,
    /// The Ed25519 key that signed. Whose it is, only who gave a key to compare with knows.
    pub key: [u8; 32],
    /// Pieces of evidence.
    pub evidence: usize,
    /// Whether the evidence holds the scope, so that nothing that it asks for was left out.
    pub is_scoped: bool,
    /// Whether the forms for people and tools were made again and compared, which only the version that made them can do.
    pub forms_compared: bool,
}

/// Something that is wrong with a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file that has to be there is not.
    #[error("{0} is missing")]
    Missing(String),
    /// A file that the manifest does not have.
    #[error("{0} was added")]
    Added(String),
    /// A file that is not what the manifest has.
    #[error("{0} was changed")]
    Changed(String),
    /// A file that is no JSON of its format.
    #[error("{file}, {problem}")]
    Json {
        /// The file.
        file: String,
        /// Where and what.
        problem: JsonProblem,
    },
    /// The manifest was changed, or signed by another key than it says.
    #[error("{SIGNATURE} is not a signature on {MANIFEST}")]
    Signature,
    /// Somebody else signed.
    #[error("signed by the key {0}, not by the one that was given")]
    Key(Sha256),
    /// A piece of evidence that cannot be.
    #[error("{file}: {problem}")]
    Evidence {
        /// The file.
        file: String,
        /// Why.
        problem: String,
    },
    /// The rules were others.
    #[error("decided by another catalogue ({0}); verify it with the version of portreeve that made it")]
    Catalogue(Sha256),
    /// The selection is none.
    #[error("the selection of rows cannot be: {0}")]
    Selection(String),
    /// The same check at the same target twice, or not in order.
    #[error("the checks are not in order from {0} on")]
    Order(CheckId),
    /// The catalogue has no such check.
    #[error("there is no check {0}")]
    NoCheck(CheckId),
    /// The rule was another.
    #[error("{check} was decided by version {was} of its rule; this program has version {is}")]
    Version {
        /// The check.
        check: CheckId,
        /// In the report.
        was: u32,
        /// Here.
        is: u32,
    },
    /// The evidence says something else.
    #[error("{check} at {target} is said to be {said} ({said_why}); the evidence says {is} ({why})")]
    Check {
        /// The check.
        check: CheckId,
        /// The target.
        target: String,
        /// In the report.
        said: Verdict,
        /// In the report.
        said_why: String,
        /// By the rule.
        is: Verdict,
        /// By the rule.
        why: String,
    },
    /// The checks say something else.
    #[error("{row} is said to be {said}; its checks say {is}")]
    Row {
        /// The row.
        row: String,
        /// In the report.
        said: String,
        /// By the rule.
        is: String,
    },
    /// A row that was selected is not there, or one that was not is.
    #[error("the rows are not those that were selected")]
    Rows,
    /// The statements are not those among the evidence.
    #[error("the statements are not those among the evidence")]
    Statements,
    /// The scope asks for something that the report does not have.
    #[error("{check} at {target} was to be made by the scope, and the report does not have it")]
    LeftOut {
        /// The check.
        check: CheckId,
        /// The target.
        target: String,
    },
    /// The scope declares a file, and the evidence does not say what was read from it.
    #[error("the scope declares the file {0}, and the evidence does not say once what was read from it")]
    FileLeftOut(String),
    /// A part of a declared file is not among the evidence, or was not judged.
    #[error("{evidence}, which was read from {file}, is not among what {check} judged at {target}")]
    FilePartLeftOut {
        /// The file.
        file: String,
        /// The piece of evidence.
        evidence: Sha256,
        /// The check.
        check: CheckId,
        /// The target.
        target: String,
    },
    /// There is more than one declaration among the evidence.
    #[error("there are {0} scopes; a report has one")]
    Scopes(usize),
    /// A form of the report says something else than the report.
    #[error("{0} is not what report.json gives")]
    Form(&'static str),
}

impl Problem {
    /// Whether a file is no JSON at all, or of another format, so that nothing can be said about the report.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Json { .. })
    }
}

/// Verifies a report: every file is there, is what it was, and none was added; the manifest is signed, by `trusted` if that is given;
/// and every verdict follows from the evidence by the rules, computed anew.
///
/// # Errors
/// Everything that is wrong, the first 100 of it; what could not be looked at because of it is not told.
pub fn verify(
    files: &BTreeMap<String, Vec<u8>>,
    catalogue: &Catalogue,
    trusted: Option<[u8; 32]>,
) -> Result<Verified, Vec<Problem>> {
    let manifest = signed_manifest(files, trusted).map_err(|problem| vec![problem])?;
    let mut problems = listed(files, &manifest);
    // What is not as it was signed is not worth a closer look.
    stop_at(&mut problems)?;
    let report = report(files).map_err(|problem| vec![problem])?;
    let store = evidence(files, &mut problems);
    stop_at(&mut problems)?;
    if report.tool.catalogue != catalogue.digest() {
        return Err(vec![Problem::Catalogue(report.tool.catalogue)]);
    }
    verdicts(&report, catalogue, &store, &mut problems);
    let scopes = store.scopes();
    match scopes.as_slice() {
        [] => {}
        [(_, scope)] => {
            problems.extend(left_out(scope, &report, catalogue));
            problems.extend(files_left_out(scope, &report, &store));
        }
        more => problems.push(Problem::Scopes(more.len())),
    }
    let forms_compared = report.tool.version == env!("CARGO_PKG_VERSION");
    if forms_compared {
        problems.extend(forms(files, &report, catalogue));
    }
    stop_at(&mut problems)?;
    Ok(Verified {
        report,
        key: manifest.key(),
        evidence: store.files().count(),
        is_scoped: !scopes.is_empty(),
        forms_compared,
    })
}

fn stop_at(problems: &mut Vec<Problem>) -> Result<(), Vec<Problem>> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.truncate(PROBLEMS_MAX);
    Err(std::mem::take(problems))
}

fn file<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a Vec<u8>, Problem> {
    files.get(name).ok_or_else(|| Problem::Missing(name.to_owned()))
}

fn signed_manifest(files: &BTreeMap<String, Vec<u8>>, trusted: Option<[u8; 32]>) -> Result<Manifest, Problem> {
    let (bytes, signature) = (file(files, MANIFEST)?, file(files, SIGNATURE)?);
    let unreadable = |problem| Problem::Json { file: MANIFEST.to_owned(), problem };
    let manifest = Manifest::from_json(bytes).map_err(unreadable)?;
    if !manifest.is_signed(bytes, signature) {
        return Err(Problem::Signature);
    }
    match trusted {
        Some(key) if key != manifest.key() => Err(Problem::Key(Sha256(manifest.key()))),
        _ => Ok(manifest),
    }
}

/// Every file is on the list, as it is, and nothing else is there.
fn listed(files: &BTreeMap<String, Vec<u8>>, manifest: &Manifest) -> Vec<Problem> {
    let look = |listed: &super::manifest::Listed| match files.get(&listed.name) {
        None => Some(Problem::Missing(listed.name.clone())),
        Some(bytes) if bytes.len() != listed.bytes || Sha256::of(bytes) != listed.sha256 => {
            Some(Problem::Changed(listed.name.clone()))
        }
        Some(_) => None,
    };
    let names: BTreeSet<&str> =
        manifest.files.iter().map(|listed| listed.name.as_str()).chain([MANIFEST, SIGNATURE]).collect();
    let added = files.keys().filter(|name| !names.contains(name.as_str())).map(|name| Problem::Added(name.clone()));
    manifest.files.iter().filter_map(look).chain(added).collect()
}

fn report(files: &BTreeMap<String, Vec<u8>>) -> Result<Report, Problem> {
    let name = Format::Json.file_name();
    Report::from_json(file(files, name)?).map_err(|problem| Problem::Json { file: name.to_owned(), problem })
}

/// The evidence, each under the name of its hash.
fn evidence(files: &BTreeMap<String, Vec<u8>>, problems: &mut Vec<Problem>) -> Store {
    let mut store = Store::default();
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with(EVIDENCE)) {
        let wrong = |problem: String| Problem::Evidence { file: name.clone(), problem };
        match store.add_bytes(bytes.clone()) {
            Ok(hash) if evidence_file(&hash) == *name => {}
            Ok(hash) => problems.push(wrong(format!("its hash is {hash}"))),
            Err(EvidenceError::Json(problem)) => problems.push(Problem::Json { file: name.clone(), problem }),
            Err(error) => problems.push(wrong(error.to_string())),
        }
    }
    store
}

/// Every verdict, computed anew.
fn verdicts(report: &Report, catalogue: &Catalogue, store: &Store, problems: &mut Vec<Problem>) {
    problems.extend(report.checks.iter().filter_map(|result| check(result, report, catalogue, store)));
    let place = |result: &CheckResult| (result.id.clone(), result.target.clone());
    if let Some(pair) = report.checks.windows(2).find(|pair| place(&pair[0]) >= place(&pair[1])) {
        problems.push(Problem::Order(pair[1].id.clone()));
    }
    let statements: BTreeSet<Sha256> = store
        .exemptions()
        .into_iter()
        .map(|(hash, _)| hash)
        .chain(store.not_applicable().into_iter().map(|(hash, _)| hash))
        .collect();
    if !statements.iter().eq(&report.statements) {
        problems.push(Problem::Statements);
    }
    match report.selection.clone().checked() {
        Ok(selection) => rows(report, &selection, catalogue, store, problems),
        Err(error) => problems.push(Problem::Selection(error.to_string())),
    }
}

/// What was declared beforehand is not left out afterwards.
fn left_out(scope: &Scope, report: &Report, catalogue: &Catalogue) -> Vec<Problem> {
    if scope.assess != report.selection {
        return vec![Problem::Selection("it is not the one of the scope".into())];
    }
    let missing = missing(scope, catalogue, &report.checks).into_iter();
    missing.map(|(check, target)| Problem::LeftOut { check, target }).collect()
}

/// Every declared file was read, and all that came of it is there and was judged.
fn files_left_out(scope: &Scope, report: &Report, store: &Store) -> Vec<Problem> {
    let mut reads: BTreeMap<String, Vec<FileRead>> = BTreeMap::new();
    store.file_reads().into_iter().for_each(|(_, read)| reads.entry(read.path.clone()).or_default().push(read));
    let judged: BTreeSet<(&CheckId, &str, &Sha256)> = report
        .checks
        .iter()
        .flat_map(|result| result.evidence.iter().map(|hash| (&result.id, result.target.as_str(), hash)))
        .collect();
    let look = |path: String| match reads.get(&path).map(Vec::as_slice) {
        Some([read]) if !read.parts.is_empty() => {
            let is_there = |part: &&FilePart| {
                let target = text::line(&part.target);
                store.envelope(&part.evidence).is_some()
                    && judged.contains(&(&part.check, target.as_str(), &part.evidence))
            };
            let missing = read.parts.iter().filter(|part| !is_there(part));
            missing
                .map(|part| Problem::FilePartLeftOut {
                    file: path.clone(),
                    evidence: part.evidence,
                    check: part.check.clone(),
                    target: part.target.clone(),
                })
                .collect()
        }
        _ => vec![Problem::FileLeftOut(path)],
    };
    scope.files.iter().flat_map(|file| look(file.path.display().to_string())).collect()
}

fn check(result: &CheckResult, report: &Report, catalogue: &Catalogue, store: &Store) -> Option<Problem> {
    let Some(check) = catalogue.check(&result.id) else { return Some(Problem::NoCheck(result.id.clone())) };
    if check.version != result.version {
        return Some(Problem::Version { check: check.id.clone(), was: result.version, is: check.version });
    }
    let outcome = match (result.evidence.is_empty(), result.verdict) {
        (true, Verdict::NotTested) => Outcome::NotTested(result.observed.clone()),
        // Whatever else is said without evidence says no more than this.
        (true, _) => Outcome::Inconclusive(result.observed.clone()),
        (false, _) => Outcome::Evidence(result.evidence.clone()),
    };
    let again = judge_one(check, &result.target, &outcome, store, report.started);
    (again != *result).then(|| Problem::Check {
        check: check.id.clone(),
        target: result.target.clone(),
        said: result.verdict,
        said_why: result.observed.clone(),
        is: again.verdict,
        why: again.observed,
    })
}

fn rows(report: &Report, selection: &Selection, catalogue: &Catalogue, store: &Store, problems: &mut Vec<Problem>) {
    let again = conclude(catalogue, &catalogue.select(selection), &report.checks, store, report.started);
    let is_same_row = |(one, other): (&crate::RowVerdict, &crate::RowVerdict)| {
        (one.framework, &one.id) == (other.framework, &other.id)
    };
    if again.len() != report.requirements.len() || !again.iter().zip(&report.requirements).all(is_same_row) {
        problems.push(Problem::Rows);
        return;
    }
    let differs = again.iter().zip(&report.requirements).filter(|(again, said)| again != said);
    problems.extend(differs.map(|(again, said)| Problem::Row {
        row: format!("{}-{}", said.framework, said.id),
        said: format!("{} ({})", said.verdict, said.reason),
        is: format!("{} ({})", again.verdict, again.reason),
    }));
}

/// A form could flatter where the report does not.
fn forms(files: &BTreeMap<String, Vec<u8>>, report: &Report, catalogue: &Catalogue) -> Vec<Problem> {
    let look = |form: Format| match files.get(form.file_name()) {
        None => Some(Problem::Missing(form.file_name().to_owned())),
        Some(bytes) if *bytes != form.render(report, catalogue) => Some(Problem::Form(form.file_name())),
        Some(_) => None,
    };
    Format::ALL.into_iter().filter_map(look).collect()
}

#[cfg(test)]
mod tests;
