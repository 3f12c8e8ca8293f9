//! What a run says at its end.

use portreeve_assurance::{CheckResult, Report, Verdict};

use super::{Options, key::AuditorKey};
use crate::{
    cli::{Global, Output},
    failure::Failure,
    output::{say, say_json, table},
    report::counted,
};

/// Most of what was observed that is said where a report says all of it, characters.
const OBSERVED_CHARS_MAX: usize = 100;

/// Checks, then rows by framework, then where the report is.
pub(super) fn say_summary(
    global: &Global,
    report: &Report,
    options: &Options,
    key: Option<&AuditorKey>,
) -> Result<(), Failure> {
    if global.output == Output::Json {
        let value = serde_json::from_slice(&report.to_json()).map_err(|error| Failure::Refused(error.to_string()))?;
        return say_json(&value);
    }
    let mut results: Vec<&CheckResult> = report.checks.iter().collect();
    results.sort_by_key(|result| Verdict::ALL.iter().position(|verdict| *verdict == result.verdict));
    // All of it stands in the report, if there is one.
    let observed = |text: &str| match (&options.out, text.char_indices().nth(OBSERVED_CHARS_MAX)) {
        (Some(_), Some((at, _))) => format!("{}…", &text[..at]),
        _ => text.to_owned(),
    };
    let row = |result: &&CheckResult| {
        vec![result.verdict.to_string(), result.id.to_string(), result.target.clone(), observed(&result.observed)]
    };
    let checks = table(&["VERDICT", "CHECK", "TARGET", "OBSERVED"], &results.iter().map(row).collect::<Vec<_>>());
    let mut text = format!("{checks}\n{}", counted(report));
    if let (Some(out), Some(key)) = (&options.out, key) {
        let (out, key) = (out.display(), key.public_file.display());
        text.push_str(&format!(
            "\nThe report is in {out}: report.html is for people, report.json for programs.\nWho doubts it: portreeve report verify {out} --key {key}\n"
        ));
    }
    say(&text)
}
