//! From the three data files to a [`Catalogue`], or to the line that is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use serde::Deserialize;

use super::{
    Applicability, Catalogue, Check, CheckId, Method, QUESTION_BYTES_MAX, QUESTIONS_MAX, QUESTIONS_MIN, Reference,
    Requirement, RequirementId,
};
use crate::Sha256;

/// What is wrong with the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {problem}")]
pub struct CatalogueError {
    /// The file.
    pub file: &'static str,
    /// From 1; the header is the first.
    pub line: u64,
    /// What.
    pub problem: String,
}

const REQUIREMENTS: &str = "requirements.csv";
const CHECKS: &str = "checks.csv";
const QUESTIONS: &str = "questions.csv";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    framework: String,
    id: String,
    level_class: String,
    paraphrase: String,
    kind: String,
    hub_mechanism: String,
    automated_check: String,
    evidence: String,
    maps_to: String,
    kind_secondary: String,
    automation: String,
    subject: String,
    check_ids: String,
    related: String,
    concepts: String,
    external_refs: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckRow {
    check_id: String,
    version: u32,
    method: String,
    class: String,
    does: String,
    passes_when: String,
    needs: String,
    used_by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionRow {
    framework: String,
    id: String,
    check: String,
    question: String,
}

pub(super) fn catalogue(requirements: &str, checks: &str, questions: &str) -> Result<Catalogue, CatalogueError> {
    let digest = Sha256::of(format!("{requirements}\0{checks}\0{questions}").as_bytes());
    let mut requirements = read(REQUIREMENTS, requirements, requirement)?;
    let checks = read(CHECKS, checks, check)?;
    let by_id = unique(REQUIREMENTS, requirements.iter().map(|(line, row)| (*line, row.id.clone())))?;
    let check_by_id = unique(CHECKS, checks.iter().map(|(line, check)| (*line, check.id.clone())))?;
    for (line, row) in &requirements {
        let wrong = |problem: String| CatalogueError { file: REQUIREMENTS, line: *line, problem };
        if let Some(id) = row.maps_to.iter().chain(&row.related).find(|id| !by_id.contains_key(id)) {
            return Err(wrong(format!("there is no row {id}")));
        }
        if let Some(id) = row.checks.iter().find(|id| !check_by_id.contains_key(id)) {
            return Err(wrong(format!("there is no check {id}")));
        }
    }
    for (line, check) in &checks {
        let users = requirements.iter().filter(|(_, row)| row.checks.contains(&check.id)).map(|(_, row)| &row.id);
        if !users.eq(&check.used_by) {
            let problem = format!("{} is not used by just these rows, in this order", check.id);
            return Err(CatalogueError { file: CHECKS, line: *line, problem });
        }
    }
    let is_record = |id: &CheckId| checks.iter().any(|(_, check)| check.id == *id && check.method == Method::Attest);
    ask(&mut requirements, &by_id, read(QUESTIONS, questions, question)?, is_record)?;
    let mut requirements: Vec<Requirement> = requirements.into_iter().map(|(_, row)| row).collect();
    make_symmetric(&mut requirements, &by_id, |row| &mut row.maps_to);
    make_symmetric(&mut requirements, &by_id, |row| &mut row.related);
    let checks = checks.into_iter().map(|(_, check)| check).collect();
    Ok(Catalogue { requirements, checks, by_id, check_by_id, digest })
}

/// Gives each row the questions to its records: each record has some, and nothing else has any.
fn ask(
    rows: &mut [(u64, Requirement)],
    by_id: &BTreeMap<RequirementId, usize>,
    questions: Vec<(u64, Question)>,
    is_record: impl Fn(&CheckId) -> bool,
) -> Result<(), CatalogueError> {
    for (line, Question { row, check, text }) in questions {
        let wrong = |problem: String| CatalogueError { file: QUESTIONS, line, problem };
        let found = by_id.get(&row).and_then(|at| rows.get_mut(*at)).map(|(_, row)| row);
        let found = found.filter(|row| row.checks.contains(&check) && is_record(&check));
        let asked = found.ok_or_else(|| wrong(format!("no record {check} decides {row}")))?;
        if asked.questions.values().flatten().any(|other| *other == text) {
            return Err(wrong(format!("{row} asks this twice")));
        }
        asked.questions.entry(check).or_default().push(text);
    }
    for (line, row) in rows {
        let wrong = |problem: String| CatalogueError { file: REQUIREMENTS, line: *line, problem };
        for check in row.checks.iter().filter(|check| is_record(check)) {
            let count = row.questions.get(check).map_or(0, Vec::len);
            if !(QUESTIONS_MIN..=QUESTIONS_MAX).contains(&count) {
                let bounds = format!("{QUESTIONS_MIN} to {QUESTIONS_MAX}");
                return Err(wrong(format!("{check} has {count} questions; a record has {bounds}")));
            }
        }
    }
    Ok(())
}

/// Every record of a file, each with its line.
fn read<R: for<'de> Deserialize<'de>, T>(
    file: &'static str,
    text: &str,
    convert: impl Fn(R) -> Result<T, String>,
) -> Result<Vec<(u64, T)>, CatalogueError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut records = Vec::new();
    for (record, line) in reader.deserialize().zip(2..) {
        let wrong = |problem: String| CatalogueError { file, line, problem };
        records.push((line, convert(record.map_err(|error| wrong(error.to_string()))?).map_err(wrong)?));
    }
    Ok(records)
}

/// Where each id stands; none twice.
fn unique<I: Ord + ToString>(
    file: &'static str,
    ids: impl Iterator<Item = (u64, I)>,
) -> Result<BTreeMap<I, usize>, CatalogueError> {
    let mut places = BTreeMap::new();
    for (at, (line, id)) in ids.enumerate() {
        let problem = format!("{} is there twice", id.to_string());
        if places.insert(id, at).is_some() {
            return Err(CatalogueError { file, line, problem });
        }
    }
    Ok(places)
}

/// The data name a pair from one side only where the other framework was written down first.
fn make_symmetric(
    rows: &mut [Requirement],
    by_id: &BTreeMap<RequirementId, usize>,
    links: impl Fn(&mut Requirement) -> &mut BTreeSet<RequirementId>,
) {
    let arrows: Vec<(RequirementId, RequirementId)> = rows
        .iter_mut()
        .flat_map(|row| links(row).clone().into_iter().map(|to| (to, row.id.clone())).collect::<Vec<_>>())
        .collect();
    for (to, from) in arrows {
        if let Some(row) = by_id.get(&to).and_then(|at| rows.get_mut(*at)) {
            links(row).insert(from);
        }
    }
}

fn requirement(row: Row) -> Result<Requirement, String> {
    let framework = row.framework.parse().map_err(|_| format!("`{}` is no framework", row.framework))?;
    let id = RequirementId::new(framework, &row.id).map_err(|error| error.to_string())?;
    let scope =
        Applicability::read(framework, &row.level_class).ok_or_else(|| format!("`{}` is no level", row.level_class))?;
    let checks: Vec<CheckId> = list(&row.check_ids)?;
    if checks.is_empty() {
        return Err("nothing decides it".into());
    }
    let secondary = (!row.kind_secondary.is_empty()).then(|| word(&row.kind_secondary)).transpose()?;
    // The checks in brackets stand in a column of their own too.
    let decision = row.automated_check.split(" [").next().unwrap_or_default().to_owned();
    let references = row.external_refs.split("; ").filter(|part| !part.is_empty());
    let references = references.map(|part| Reference::read(part).ok_or_else(|| format!("`{part}` is no reference")));
    Ok(Requirement {
        scope,
        kind: word(&row.kind)?,
        secondary,
        automation: word(&row.automation)?,
        checks,
        maps_to: list(&row.maps_to)?.into_iter().filter(|other| *other != id).collect(),
        related: list(&row.related)?.into_iter().filter(|other| *other != id).collect(),
        questions: BTreeMap::new(),
        concepts: row.concepts.split(';').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        references: references.collect::<Result<_, _>>()?,
        paraphrase: row.paraphrase,
        mechanism: row.hub_mechanism,
        decision,
        evidence: row.evidence,
        subject: row.subject,
        id,
    })
}

fn check(row: CheckRow) -> Result<Check, String> {
    if row.version == 0 {
        return Err("versions begin with 1".into());
    }
    Ok(Check {
        id: word(&row.check_id)?,
        version: row.version,
        method: word(&row.method)?,
        class: word(&row.class)?,
        does: row.does,
        passes_when: row.passes_when,
        needs: row.needs,
        used_by: list(&row.used_by)?,
    })
}

struct Question {
    row: RequirementId,
    check: CheckId,
    text: String,
}

fn question(row: QuestionRow) -> Result<Question, String> {
    let framework = row.framework.parse().map_err(|_| format!("`{}` is no framework", row.framework))?;
    let id = RequirementId::new(framework, &row.id).map_err(|error| error.to_string())?;
    let text = row.question;
    if text.len() > QUESTION_BYTES_MAX || !text.contains('?') || text.contains(char::is_control) {
        return Err(format!("a question has a question mark, one line, and at most {QUESTION_BYTES_MAX} bytes"));
    }
    Ok(Question { row: id, check: word(&row.check)?, text })
}

fn word<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not understood"))
}

/// Values between semicolons.
fn list<T: FromStr>(text: &str) -> Result<Vec<T>, String> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(word).collect()
}
