//! `portreeve policy`.

use std::{collections::BTreeSet, fs, path::PathBuf};

use portreeve_hub::{AdminRequest, Outcome, Source};
use portreeve_policy::{Epoch, PolicySet, PolicySource};
use portreeve_prover::{Answer, Finding, Prover};
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{Global, Output, PolicyCommand},
    failure::Failure,
    output::{cell, remark, say, say_json, table},
};

/// Bytes of one policy or test file; a larger one is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn run(global: &Global, command: PolicyCommand) -> Result<(), Failure> {
    let ask = |request| Administration::new(global)?.request(request);
    match command {
        PolicyCommand::Check { files } => check(global, &files),
        PolicyCommand::Apply { files, default: _, dry_run } => {
            let outcome = ask(AdminRequest::PolicyApply { sources: read_all(&files)?, dry_run })?;
            show(global, &outcome, applied)
        }
        PolicyCommand::Show => show(global, &ask(AdminRequest::PolicyShow)?, in_force),
        PolicyCommand::Test { file, policies } => {
            let sources = if policies.is_empty() { None } else { Some(read_all(&policies)?) };
            let tests = read(&file)?;
            let outcome = ask(AdminRequest::PolicyTest { file: tests.file, tests: tests.text, sources })?;
            show(global, &outcome, tested)?;
            if outcome.failed { Err(Failure::CheckFailed(String::new())) } else { Ok(()) }
        }
        PolicyCommand::Prove { ceiling, files } => prove(global, &ceiling, &files),
        PolicyCommand::Explain { identity, action, topic } => {
            let outcome = ask(AdminRequest::PolicyExplain { identity, action, topic })?;
            show(global, &outcome, |result| cell(&result["text"]))
        }
    }
}

fn show(global: &Global, outcome: &Outcome, render: impl Fn(&Value) -> String) -> Result<(), Failure> {
    match global.output {
        Output::Json => say_json(&outcome.result),
        Output::Table => say(&render(&outcome.result)),
    }
}

/// Compiles here: the compiler is the hub's own, and policies are checked where there is no hub.
fn check(global: &Global, files: &[PathBuf]) -> Result<(), Failure> {
    let set = compile(read_all(files)?)?;
    let warnings: Vec<String> = set.warnings().iter().map(ToString::to_string).collect();
    if global.output == Output::Json {
        return say_json(&json!({ "valid": true, "policies": set.len(), "warnings": warnings }));
    }
    warnings.iter().for_each(|warning| remark(&format!("warning: {warning}")));
    say(&format!("{} files are valid; with the built-in ones they make {} policies", files.len(), set.len()))
}

pub(crate) fn compile(sources: Vec<Source>) -> Result<PolicySet, Failure> {
    let sources: Vec<PolicySource> = sources.into_iter().map(PolicySource::from).collect();
    PolicySet::compile(&sources, Epoch(1)).map_err(|diagnostics| {
        Failure::Usage(diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// The policies in force, without the built-in ones.
pub(crate) fn applied_sources(global: &Global) -> Result<Vec<Source>, Failure> {
    let shown = Administration::new(global)?.request(AdminRequest::PolicyShow)?.result;
    Ok(shown_sources(&shown))
}

/// What `policy show` shows, without the built-in ones.
pub(crate) fn shown_sources(shown: &Value) -> Vec<Source> {
    let files = shown["files"].as_array().into_iter().flatten();
    let source = |file: &Value| Source { file: cell(&file["file"]), text: cell(&file["text"]) };
    files.map(source).filter(|source| !source.file.starts_with("built-in/")).collect()
}

/// Asks the solver whether policies stay within a ceiling.
fn prove(global: &Global, ceiling: &[PathBuf], files: &[PathBuf]) -> Result<(), Failure> {
    let candidate = compile(if files.is_empty() { applied_sources(global)? } else { read_all(files)? })?;
    let ceiling = compile(read_all(ceiling)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Refused(format!("cannot start: {error}")))?;
    let Some((prover, findings)) = runtime.block_on(async {
        let prover = Prover::find().await?;
        let findings = prover.compare(&candidate, &ceiling).await;
        Some((prover, findings))
    }) else {
        candidate.warnings().iter().for_each(|warning| remark(&format!("warning: {warning}")));
        let text = "nothing is proven: there is no cvc5 here (Debian: apt install cvc5, or set CVC5 to its path)";
        return Err(Failure::CheckFailed(text.into()));
    };
    let row = |finding: &Finding| {
        let (answer, detail) = match &finding.answer {
            Answer::Within => ("within", ""),
            Answer::Beyond(example) => ("beyond", example.as_str()),
            Answer::Unknown(why) => ("unknown", why.as_str()),
        };
        [finding.action.clone(), answer.to_owned(), detail.to_owned()]
    };
    let rows: Vec<[String; 3]> = findings.iter().map(row).collect();
    match global.output {
        Output::Json => {
            let value = |[action, answer, detail]: &[String; 3]| json!({ "action": action, "answer": answer, "detail": detail });
            let findings: Vec<Value> = rows.iter().map(value).collect();
            say_json(&json!({ "prover": prover.version(), "findings": findings }))?;
        }
        Output::Table => {
            let rows: Vec<Vec<String>> = rows.iter().map(|row| row.to_vec()).collect();
            say(&format!("{}proven by {}", table(&["ACTION", "ANSWER", "EXAMPLE"], &rows), prover.version()))?;
        }
    }
    match findings.iter().filter(|finding| finding.answer != Answer::Within).count() {
        0 => Ok(()),
        _ => Err(Failure::CheckFailed("it is not proven that the policies stay within the ceiling".into())),
    }
}

fn applied(result: &Value) -> String {
    let warnings =
        result["warnings"].as_array().into_iter().flatten().map(|warning| format!("warning: {}\n", cell(warning)));
    let verb = if result["dry_run"] == true { "would be" } else { "are" };
    let mut text: String = warnings.collect();
    text += &format!("{} policies {verb} in force", result["policies"]);
    if let Some(ended) = result["subscriptions_ended"].as_u64().filter(|ended| *ended > 0) {
        text += &format!("; {ended} subscriptions that they no longer allow were ended");
    }
    text
}

fn in_force(result: &Value) -> String {
    let files = result["files"].as_array().into_iter().flatten();
    let files = files.map(|file| format!("// {}\n{}\n", cell(&file["file"]), cell(&file["text"]).trim_end()));
    format!("// {} policies in force, the built-in ones included\n{}", result["policies"], files.collect::<String>())
}

fn tested(result: &Value) -> String {
    let cases: Vec<&Value> = result["cases"].as_array().into_iter().flatten().collect();
    let failed = cases.iter().filter(|case| case["expected"] != case["actual"]);
    let failed = failed.map(|case| {
        let [identity, action, topic, expected, actual, reason] =
            ["identity", "action", "topic", "expected", "actual", "reason"].map(|key| cell(&case[key]));
        let file = cell(&result["file"]);
        format!("{file}:{}: {identity} {action} {topic}: expected {expected}, got {actual}: {reason}\n", case["line"])
    });
    format!("{}{} cases, {} failed", failed.collect::<String>(), cases.len(), result["failed"])
}

pub(crate) fn read_all(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let sources = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    match sources.iter().find(|source| !names.insert(&source.file)) {
        Some(twice) => {
            Err(Failure::Usage(format!("two policy files are called {}: give each its own name", twice.file)))
        }
        None => Ok(sources),
    }
}

/// The hub keeps a policy under its file name, without the folder it came from.
fn read(path: &PathBuf) -> Result<Source, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {why}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| failed(&error))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(failed(&format_args!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Source { file, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_refused_before_the_hub_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["a", "b"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
            fs::write(directory.path().join(folder).join("p.cedar"), "").unwrap();
        }
        let files = ["a/p.cedar", "b/p.cedar"].map(|file| directory.path().join(file));
        assert!(matches!(read_all(&files), Err(Failure::Usage(text)) if text.contains("p.cedar")));
        assert_eq!(read_all(&files[..1]).unwrap()[0].file, "p.cedar");
    }

    #[test]
    fn an_applied_policy_tells_what_it_ended() {
        let result = json!({ "policies": 3, "warnings": ["w"], "subscriptions_ended": 2, "dry_run": false });
        assert_eq!(
            applied(&result),
            "warning: w\n3 policies are in force; 2 subscriptions that they no longer allow were ended"
        );
    }
}
