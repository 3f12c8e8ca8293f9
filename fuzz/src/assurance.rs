//! Reports of audits, their evidence and their files, as somebody else may hand them out: `portreeve-assurance`.

use std::collections::BTreeMap;

use portreeve_assurance::{
    AnswersFile, Catalogue, CheckId, Envelope, Format, JsonProblem, LINE_BYTES_MAX, Outcome, Report, Scope, Store,
    answers_problem, diff, judge_one, missing, plan, verify,
};
use portreeve_types::UnixMillis;

fn is_placed(problem: &JsonProblem) {
    assert!(!problem.problem.is_empty() && problem.problem.len() <= LINE_BYTES_MAX && !problem.problem.contains('\n'));
}

/// A report: what is read is written again as it was, does not differ from itself, and whatever stands in it stays text in a page that
/// has one script, ours.
pub fn audit_report(bytes: &[u8]) {
    let report = match Report::from_json(bytes) {
        Ok(report) => report,
        Err(problem) => return is_placed(&problem),
    };
    assert_eq!(Report::from_json(&report.to_json()).as_ref(), Ok(&report));
    assert!(diff(&report, &report).is_empty());
    for form in Format::ALL {
        let text = String::from_utf8(form.render(&report, Catalogue::embedded())).unwrap_or_default();
        assert!(!text.is_empty(), "{}", form.file_name());
        assert_eq!(text.matches("<script").count(), usize::from(form == Format::Html) + hidden(form, &text));
        assert!(!text.contains('\u{1b}'), "{}", form.file_name());
    }
}

/// Markup is nothing special in JSON and CSV.
fn hidden(form: Format, text: &str) -> usize {
    if matches!(form, Format::Html | Format::Junit) { 0 } else { text.matches("<script").count() }
}

/// A piece of evidence, before the rule of a record: whatever it says, the verdict is one line, and the same each time.
pub fn audit_evidence(bytes: &[u8]) {
    let mut store = Store::default();
    let Ok(hash) = store.add_bytes(bytes.to_vec()) else { return };
    let Some(envelope) = store.envelope(&hash) else { panic!("what was added is there") };
    let again = envelope.to_bytes().map(|bytes| Envelope::from_bytes(&bytes));
    assert!(again.is_ok_and(|again| again.as_ref() == Ok(envelope)));
    let target = envelope.target.clone().unwrap_or_default();
    let Some(check) = "att.doc".parse::<CheckId>().ok().and_then(|id| Catalogue::embedded().check(&id)) else { return };
    let judge = || judge_one(check, &target, &Outcome::Evidence(vec![hash]), &store, UnixMillis(1_790_000_000_000));
    let result = judge();
    assert_eq!(result, judge());
    assert!(result.observed.len() <= LINE_BYTES_MAX && !result.observed.contains(char::is_control));
}

/// A declaration: what is wrong with it is told with its place; what is read says the same as evidence, and plans the same.
pub fn audit_scope(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let scope = match Scope::from_toml(text) {
        Ok(scope) => scope,
        Err(error) => {
            assert!(
                !error.problem.is_empty() && !error.problem.contains('\n') && error.line <= text.lines().count() + 1
            );
            return;
        }
    };
    let again: Option<Scope> = serde_json::to_vec(&scope).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    assert_eq!(again.as_ref(), Some(&scope));
    let visits = plan(&scope, Catalogue::embedded());
    let planned: usize = visits.iter().map(|visit| visit.checks.len()).sum();
    assert_eq!(missing(&scope, Catalogue::embedded(), &[]).len(), planned);
}

/// A file of answers to what a row asks: what is wrong with it is told with its place; of what is read it is known whether it answers every
/// question once.
pub fn audit_answers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = match AnswersFile::from_toml(text) {
        Ok(file) => file,
        Err(error) => {
            assert!(
                !error.problem.is_empty() && !error.problem.contains('\n') && error.line <= text.lines().count() + 1
            );
            return;
        }
    };
    let questions = Catalogue::embedded().questions(&file.requirement, &file.check);
    if answers_problem(questions, &file.answers).is_none() {
        assert_eq!(file.answers.len(), questions.len());
        assert!(questions.iter().all(|question| file.answers.iter().any(|answer| answer.question == *question)));
    }
}

/// The files of a report, each after a line `=== NAME`: verified, or refused with a reason.
pub fn audit_files(bytes: &[u8]) {
    let files = files(bytes);
    match verify(&files, Catalogue::embedded(), None) {
        Ok(verified) => assert_eq!(files.get("report.json"), Some(&verified.report.to_json())),
        Err(problems) => assert!((1..=100).contains(&problems.len())),
    }
}

/// A signature is given in hexadecimal, so that corpus files are text.
fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let text = format!("\n{}", String::from_utf8_lossy(bytes));
    let parts = text.strip_suffix('\n').unwrap_or(&text).split("\n=== ").filter_map(|part| part.split_once('\n'));
    parts.map(|(name, content)| (name.to_owned(), content_of(name, &format!("{content}\n")))).collect()
}

fn content_of(name: &str, content: &str) -> Vec<u8> {
    let digit = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    if name == "manifest.sig" {
        content.trim().as_bytes().chunks(2).filter_map(digit).collect()
    } else {
        content.as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    /// Else damages would only ever be tried on what is refused anyhow.
    #[test]
    fn the_whole_reports_of_the_corpus_are_signed_and_listed() {
        let corpora: [&[u8]; 2] =
            [include_bytes!("../corpus/audit_files/whole"), include_bytes!("../corpus/audit_files/declared-file")];
        for corpus in corpora {
            let files = super::files(corpus);
            let problems = super::verify(&files, super::Catalogue::embedded(), None).err().unwrap_or_default();
            let is_older = |problem: &portreeve_assurance::Problem| {
                matches!(problem, portreeve_assurance::Problem::Catalogue(_) | portreeve_assurance::Problem::Form(_))
            };
            assert!(problems.iter().all(is_older), "{problems:?}");
        }
    }
}
