//! `portreeve report`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Subcommand, ValueEnum};
use portreeve_assurance::{
    Catalogue, Change, EVIDENCE_ITEMS_MAX, EVIDENCE_TOTAL_BYTES_MAX, Format, Framework, Problem, REPORT_BYTES_MAX,
    Report, RowVerdict, Verdict, Verified, component_definition, diff, verify,
};
use serde_json::json;

use crate::{
    cli::{Global, Output},
    failure::Failure,
    output::{list, say, say_json, table},
};

/// Files of a report: its evidence, its forms, the manifest and the signature.
const FILES_MAX: usize = EVIDENCE_ITEMS_MAX + Format::ALL.len() + 2;
/// Bytes of a report: its evidence, and as much for each form as a report that is read may have.
const BYTES_MAX: u64 = EVIDENCE_TOTAL_BYTES_MAX as u64 + (Format::ALL.len() * REPORT_BYTES_MAX) as u64;
/// How the SubjectPublicKeyInfo of an Ed25519 key begins in DER (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// Say what a report says, or write it in another form
    #[command(
        after_help = "Examples:\n  portreeve report show audit-1\n  portreeve report show audit-1/report.json --as html > report.html"
    )]
    Show {
        /// A report.json, or the directory that holds it
        report: PathBuf,
        /// The whole report in this form, to standard output
        #[arg(long = "as", value_enum, value_name = "FORM")]
        form: Option<Form>,
    },
    /// Verify a report, without a hub: no file was changed, removed or added, and every verdict follows from the evidence
    #[command(after_help = "Example:\n  portreeve report verify audit-1 --key auditor.pub.pem")]
    Verify {
        /// The directory that holds the report, or a file in it
        report: PathBuf,
        /// The Ed25519 public key that must have signed: PEM, or 64 hexadecimal digits. Without it, the key that signed is told
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Say what changed from one report to another; status 1 if anything is worse
    Diff {
        /// The first: a report.json, or the directory that holds it
        before: PathBuf,
        /// The second
        after: PathBuf,
    },
}

/// How a report is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Form {
    /// The report itself
    Json,
    /// For people
    Html,
    /// For spreadsheets
    Csv,
    /// For build servers
    Junit,
    /// For code scanning
    Sarif,
    /// OSCAL assessment results
    Oscal,
    /// OSCAL component definition: what is met
    OscalComponent,
}

pub(crate) fn run(global: &Global, command: ReportCommand) -> Result<(), Failure> {
    match command {
        ReportCommand::Show { report, form: Some(form) } => write(&read(&report)?, form),
        ReportCommand::Show { report, form: None } => show(global, &read(&report)?),
        ReportCommand::Verify { report, key } => verified(global, &report, key.as_deref()),
        ReportCommand::Diff { before, after } => compare(global, &read(&before)?, &read(&after)?),
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("cannot read {}: {error}", path.display()))
}

/// A report, by itself or by its directory.
fn read(path: &Path) -> Result<Report, Failure> {
    let inside = path.join(Format::Json.file_name());
    let path = if path.is_dir() { inside.as_path() } else { path };
    let bytes = bounded(path, REPORT_BYTES_MAX as u64)?;
    Report::from_json(&bytes).map_err(|problem| Failure::Usage(format!("{}, {problem}", path.display())))
}

fn bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.len() > bytes_max || !metadata.is_file() {
        return Err(Failure::Usage(format!("{} is not a file of at most {bytes_max} bytes", path.display())));
    }
    fs::read(path).map_err(|error| unreadable(path, &error))
}

fn write(report: &Report, form: Form) -> Result<(), Failure> {
    let catalogue = Catalogue::embedded();
    let bytes = match form {
        Form::Json => report.to_json(),
        Form::Html => Format::Html.render(report, catalogue),
        Form::Csv => Format::Csv.render(report, catalogue),
        Form::Junit => Format::Junit.render(report, catalogue),
        Form::Sarif => Format::Sarif.render(report, catalogue),
        Form::Oscal => Format::Oscal.render(report, catalogue),
        Form::OscalComponent => component_definition(report, catalogue),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::Refused(format!("cannot write to standard output: {error}")),
    })
}

fn show(global: &Global, report: &Report) -> Result<(), Failure> {
    if global.output == Output::Json {
        let totals: serde_json::Map<_, _> =
            Verdict::ALL.iter().map(|verdict| (verdict.to_string(), json!(report.rows_with(*verdict)))).collect();
        return say_json(&json!({ "targets": report.targets, "checks": report.checks.len(), "requirements": totals }));
    }
    let head = list(&[
        ("made by", format!("{} {}", report.tool.name, report.tool.version)),
        ("targets", report.targets.join(", ")),
        ("checks", report.checks.len().to_string()),
    ]);
    let needs_attention = |row: &&RowVerdict| {
        matches!(row.verdict, Verdict::Fail | Verdict::Inconclusive | Verdict::Exception | Verdict::Partial)
    };
    let mut open: Vec<&RowVerdict> = report.requirements.iter().filter(needs_attention).collect();
    open.sort_by_key(|row| Verdict::ALL.iter().position(|verdict| *verdict == row.verdict));
    let open: Vec<Vec<String>> = open
        .iter()
        .map(|row| vec![format!("{}-{}", row.framework, row.id), row.verdict.to_string(), row.reason.clone()])
        .collect();
    say(&format!("{}\n{}\n{}", head, counted(report), table(&["REQUIREMENT", "VERDICT", "WHY"], &open)))
}

/// How many rows of each framework have each verdict.
pub(crate) fn counted(report: &Report) -> String {
    let counts = Framework::ALL.map(|framework| counts(report, framework));
    let counts: Vec<Vec<String>> = counts.into_iter().flatten().collect();
    let heads: Vec<String> = ["framework"]
        .into_iter()
        .chain(Verdict::ALL.iter().map(|verdict| verdict.as_str()))
        .map(str::to_uppercase)
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    table(&heads, &counts)
}

/// A framework's rows by verdict; nothing if there are none.
fn counts(report: &Report, framework: Framework) -> Option<Vec<String>> {
    let rows: Vec<&RowVerdict> = report.requirements.iter().filter(|row| row.framework == framework).collect();
    let count = |verdict: &Verdict| rows.iter().filter(|row| row.verdict == *verdict).count().to_string();
    let cells = || [framework.to_string()].into_iter().chain(Verdict::ALL.iter().map(count)).collect();
    (!rows.is_empty()).then(cells)
}

fn verified(global: &Global, path: &Path, key: Option<&Path>) -> Result<(), Failure> {
    let key = key.map(public_key).transpose()?;
    let directory = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    match verify(&read_all(directory)?, Catalogue::embedded(), key) {
        Ok(verified) => sound(global, &verified, key.is_some()),
        Err(problems) => unsound(global, directory, &problems),
    }
}

fn sound(global: &Global, verified: &Verified, is_given: bool) -> Result<(), Failure> {
    let Verified { report, key, evidence, is_scoped, forms_compared } = verified;
    let key = hex::encode(key);
    if global.output == Output::Json {
        return say_json(&json!({
            "verified": true,
            "key": key,
            "key_was_given": is_given,
            "checks": report.checks.len(),
            "requirements": report.requirements.len(),
            "evidence": evidence,
            "scoped": is_scoped,
            "forms_compared": forms_compared,
        }));
    }
    let mut text = format!(
        "verified: {} verdicts on checks and {} on requirements follow from {evidence} pieces of evidence\nsigned by {key}",
        report.checks.len(),
        report.requirements.len(),
    );
    if !is_given {
        text.push_str("\nWhose key that is, is for you to know: give it with --key, and no other is accepted");
    }
    if !is_scoped {
        text.push_str("\nIt holds no scope: whether something was left out of it, nobody can say");
    }
    if !forms_compared {
        text.push_str(
            "\nMade by another version: its other forms are as they were signed, and were not made again to compare",
        );
    }
    say(&text)
}

fn unsound(global: &Global, directory: &Path, problems: &[Problem]) -> Result<(), Failure> {
    let texts: Vec<String> = problems.iter().map(|problem| printable(&problem.to_string())).collect();
    if global.output == Output::Json {
        say_json(&json!({ "verified": false, "problems": texts }))?;
    }
    let text = format!("{}: {}", directory.display(), texts.join("\n"));
    if problems.iter().any(Problem::is_unreadable) {
        Err(Failure::Usage(text))
    } else {
        Err(Failure::CheckFailed(text))
    }
}

/// The name of a file may hold anything, and this goes to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// An Ed25519 public key.
fn public_key(path: &Path) -> Result<[u8; 32], Failure> {
    const KEY_BYTES_MAX: u64 = 4096;
    let bytes = bounded(path, KEY_BYTES_MAX)?;
    let from_pem = || {
        let spki = pem::parse(&bytes).ok().filter(|pem| pem.tag() == "PUBLIC KEY")?.into_contents();
        <[u8; 32]>::try_from(spki.strip_prefix(&ED25519_SPKI)?).ok()
    };
    let from_hex = || {
        let mut key = [0; 32];
        hex::decode_to_slice(bytes.trim_ascii(), &mut key).ok().map(|()| key)
    };
    from_pem()
        .or_else(from_hex)
        .ok_or_else(|| Failure::Usage(format!("{} holds no Ed25519 public key", path.display())))
}

/// Every file by its name within the directory, as many and as large as a report has.
fn read_all(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(directory.to_owned(), String::new())];
    let mut bytes_left = BYTES_MAX;
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
            let entry = entry.map_err(|error| unreadable(&folder, &error))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            // Links are not followed: a report has none.
            let metadata = entry.metadata().map_err(|error| unreadable(&entry.path(), &error))?;
            if metadata.is_dir() && prefix.is_empty() {
                folders.push((entry.path(), format!("{name}/")));
                continue;
            }
            if files.len() >= FILES_MAX || metadata.len() > bytes_left || !metadata.is_file() {
                return Err(Failure::CheckFailed(format!(
                    "{}: no report has such a file, or so many",
                    printable(&name)
                )));
            }
            bytes_left -= metadata.len();
            files.insert(name, fs::read(entry.path()).map_err(|error| unreadable(&entry.path(), &error))?);
        }
    }
    Ok(files)
}

fn compare(global: &Global, before: &Report, after: &Report) -> Result<(), Failure> {
    let diff = diff(before, after);
    let all = || diff.requirements.iter().chain(&diff.checks);
    match global.output {
        Output::Json => say_json(&json!(diff))?,
        Output::Table if diff.is_empty() => say("nothing changed")?,
        Output::Table => say(&table(&["WHAT", "BEFORE", "AFTER", "WHY"], &all().map(cells).collect::<Vec<_>>()))?,
    }
    if global.output == Output::Table && !diff.same_catalogue {
        crate::output::remark("they were decided by different catalogues: a difference may be one of the rules");
    }
    match all().filter(|change| change.is_worse()).count() {
        0 => Ok(()),
        worse => Err(Failure::CheckFailed(format!("{worse} verdicts are worse than before"))),
    }
}

fn cells(change: &Change) -> Vec<String> {
    let verdict = |verdict: Option<Verdict>| verdict.map_or("-", Verdict::as_str).to_owned();
    let rule = if change.other_version { "another version of the rule; " } else { "" };
    let why = format!("{rule}{}", change.reason);
    vec![change.what.clone(), verdict(change.before), verdict(change.after), why]
}
