//! `portreeve case`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use portreeve_hub::AdminRequest;
use portreeve_respond::{EXTRACT_BYTES_MAX, EXTRACTS_MAX, Sha256, Verified, verify_export};
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{Global, Output},
    failure::Failure,
    output::{cell, instant, list, remark, rows, say, say_json, show, table},
};

/// Files of an export: the extracts, the case, its custody log and the manifest.
const FILES_MAX: usize = EXTRACTS_MAX + 3;
/// Bytes of an export: the extracts, and as much for the rest as no case fills.
const BYTES_MAX: u64 = EXTRACT_BYTES_MAX as u64 + (16 << 20);

#[derive(Debug, Subcommand)]
pub(crate) enum CaseCommand {
    /// Cases, the newest first
    List {
        /// Also those that are closed
        #[arg(long)]
        all: bool,
    },
    /// Read a case: its findings, notes, ledger entries and who had it in hand
    ///
    /// That you read it is a line of its custody log.
    Show {
        /// Its number
        number: u64,
    },
    /// Write a note into a case
    Note {
        /// Its number
        number: u64,
        /// What to note
        text: String,
    },
    /// Take a case on
    Ack {
        /// Its number
        number: u64,
    },
    /// Close a case
    Close {
        /// Its number
        number: u64,
        /// Why; it is kept
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Open a closed case again
    Reopen {
        /// Its number
        number: u64,
        /// Why; it is kept
        #[arg(long, value_name = "TEXT", default_value = "there is more to do")]
        reason: String,
    },
    /// Note that you give evidence to somebody
    #[command(after_help = "Example:\n  portreeve case handover 7 --to 'Police Bern, R. Moser' --export case-7")]
    Handover {
        /// Its number
        number: u64,
        /// To whom
        #[arg(long, value_name = "WHO")]
        to: String,
        /// The export that is handed over; without it, the case as it is now
        #[arg(long, value_name = "DIR")]
        export: Option<PathBuf>,
    },
    /// Write a case with its entries of the ledger and the hashes of all to a new directory
    #[command(after_help = "Example:\n  portreeve case export 7 --out case-7\n  portreeve case verify case-7")]
    Export {
        /// Its number
        number: u64,
        /// The directory to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Why; it is kept
        #[arg(long, value_name = "TEXT", default_value = "export")]
        reason: String,
    },
    /// Check an export, without a hub
    Verify {
        /// Its directory
        directory: PathBuf,
    },
}

pub(crate) fn run(global: &Global, command: CaseCommand) -> Result<(), Failure> {
    let ask = |request| Administration::new(global)?.request(request).map(|outcome| outcome.result);
    let done = |request, text: &str| show(global, &ask(request)?, |_| text.to_owned());
    match command {
        CaseCommand::List { all } => show(global, &ask(AdminRequest::CaseList { closed: all })?, heads),
        CaseCommand::Show { number } => show(global, &ask(AdminRequest::CaseShow { number })?, whole),
        CaseCommand::Note { number, text } => {
            done(AdminRequest::CaseNote { number, text }, &format!("noted in case {number}"))
        }
        CaseCommand::Ack { number } => {
            done(AdminRequest::CaseAcknowledge { number }, &format!("case {number} is acknowledged"))
        }
        CaseCommand::Close { number, reason } => {
            done(AdminRequest::CaseClose { number, reason }, &format!("case {number} is closed"))
        }
        CaseCommand::Reopen { number, reason } => {
            done(AdminRequest::CaseReopen { number, reason }, &format!("case {number} is open again"))
        }
        CaseCommand::Handover { number, to, export } => {
            let sha256 = export.map(|directory| manifest_of(&directory, number)).transpose()?;
            let told = ask(AdminRequest::CaseHandOver { number, to, sha256 })?;
            show(global, &told, |told| {
                format!("noted: handed over to {}, SHA-256 {}", cell(&told["to"]), cell(&told["sha256"]))
            })
        }
        CaseCommand::Export { number, out, reason } => {
            // Before the hub notes an export that cannot be written.
            fs::create_dir(&out).map_err(|error| unwritable(&out, &error))?;
            let told = ask(AdminRequest::CaseExport { number, reason }).inspect_err(|_| drop(fs::remove_dir(&out)))?;
            export(global, &told, &out)
        }
        CaseCommand::Verify { directory } => verify(global, &directory),
    }
}

fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("cannot write {}: {error}", path.display()))
}

fn heads(result: &Value) -> String {
    let row = |row: &Value| ["case", "state", "severity", "kind", "subject"].map(|key| cell(&row[key])).to_vec();
    table(&["CASE", "STATE", "SEVERITY", "KIND", "ABOUT"], &rows(result, row))
}

fn whole(case: &Value) -> String {
    let ranges = case["ledger"].as_array().into_iter().flatten();
    let ranges = ranges.map(|range| format!("{}-{}", range["first"], range["last"])).collect::<Vec<_>>().join(", ");
    let mut head = vec![
        ("case", cell(&case["case"])),
        ("kind", cell(&case["kind"])),
        ("about", cell(&case["subject_text"])),
        ("severity", cell(&case["severity"])),
        ("state", cell(&case["state"])),
        ("opened", instant(&case["opened"])),
        ("findings", cell(&case["findings_counted"])),
        ("ledger", ranges),
    ];
    if !case["closing"].is_null() {
        head.push(("closed", format!("{}: {}", cell(&case["closing"]["who"]), cell(&case["closing"]["reason"]))));
    }
    let part = |key: &str, columns: &[&str], names: &[&str]| {
        let row = |row: &Value| {
            let text = |name: &&str| match *name {
                "at" | "when" => instant(&row[*name]),
                name => cell(&row[name]),
            };
            names.iter().map(text).collect()
        };
        table(columns, &rows(&case[key], row))
    };
    let findings =
        part("findings", &["AT", "SEVERITY", "KIND", "FINDING", "TEXT"], &["at", "severity", "kind", "id", "text"]);
    let notes = part("notes", &["AT", "WHO", "NOTE"], &["at", "who", "text"]);
    let custody = part("custody", &["LINE", "WHEN", "WHO", "WHAT", "TEXT"], &["line", "when", "who", "what", "text"]);
    format!("{}\n{findings}\n{notes}\n{custody}", list(&head))
}

fn export(global: &Global, told: &Value, out: &Path) -> Result<(), Failure> {
    let files = told["files"].as_object().into_iter().flatten();
    let files: BTreeMap<String, Vec<u8>> = files.map(|(name, text)| (name.clone(), cell(text).into_bytes())).collect();
    // What is written is what verifies; this also keeps every name within the directory.
    let verified = verify_export(&files).map_err(|problem| Failure::Refused(format!("the hub's export: {problem}")))?;
    for (name, bytes) in &files {
        let path = out.join(name);
        let folder = path.parent().unwrap_or(out);
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes)).map_err(|error| unwritable(&path, &error))?;
    }
    let missing = told["entries_missing"].as_u64().unwrap_or_default();
    if missing > 0 {
        remark(&format!("{missing} entries of the ledger are not in it: they are not signed for yet, or are too many"));
    }
    tell(global, &verified, &format!("case {} is in {}", verified.case, out.display()))
}

fn tell(global: &Global, verified: &Verified, text: &str) -> Result<(), Failure> {
    let Verified { case, by, exported, sha256 } = verified;
    match global.output {
        Output::Json => {
            say_json(&json!({ "case": case, "by": by, "exported_ms": exported.0, "sha256": sha256.to_string() }))
        }
        Output::Table => say(&format!("{text}\nSHA-256 of its manifest, as the hub's ledger has it: {sha256}")),
    }
}

fn verify(global: &Global, directory: &Path) -> Result<(), Failure> {
    let verified = verified(directory)?;
    let when = instant(&json!(verified.exported.0));
    tell(global, &verified, &format!("case {}, exported by {} at {when}, is whole", verified.case, verified.by))
}

fn verified(directory: &Path) -> Result<Verified, Failure> {
    let wrong = |problem: &dyn std::fmt::Display| Failure::CheckFailed(format!("{}: {problem}", directory.display()));
    verify_export(&read_all(directory)?).map_err(|problem| wrong(&problem))
}

/// The hash of an export of this case, if it verifies.
fn manifest_of(directory: &Path, number: u64) -> Result<Sha256, Failure> {
    let Verified { case, sha256, .. } = verified(directory)?;
    if case == number {
        return Ok(sha256);
    }
    Err(Failure::Usage(format!("{} is an export of case {case}", directory.display())))
}

/// Every file by its name within the directory, as many and as large as an export has.
fn read_all(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(directory.to_owned(), String::new())];
    let mut bytes_left = BYTES_MAX;
    while let Some((folder, prefix)) = folders.pop() {
        let failed =
            |error: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {error}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            // Links are not followed: an export has none.
            let metadata = entry.metadata().map_err(|error| failed(&error))?;
            if metadata.is_dir() && prefix.is_empty() {
                folders.push((entry.path(), format!("{name}/")));
                continue;
            }
            let too_much = files.len() >= FILES_MAX || metadata.len() > bytes_left;
            if too_much || !metadata.is_file() {
                return Err(Failure::CheckFailed(format!("{name}: no export has such a file, or so many")));
            }
            bytes_left -= metadata.len();
            files.insert(name, fs::read(entry.path()).map_err(|error| failed(&error))?);
        }
    }
    Ok(files)
}
