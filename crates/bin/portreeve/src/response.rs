//! `portreeve response`.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use portreeve_hub::AdminRequest;
use serde_json::Value;

use crate::{
    admin::Administration,
    cli::Global,
    failure::Failure,
    output::{cell, instant, list, rows, show, table},
};

/// Bytes of a file of rules; a larger one is not one.
const FILE_BYTES_MAX: u64 = 256 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum ResponseCommand {
    /// Take rules into force, in place of those before
    #[command(
        after_help = "Examples:\n  portreeve response apply rules.toml --dry-run\n  portreeve response apply rules.toml\n  portreeve response apply /dev/null      no rules any more"
    )]
    Apply {
        /// Rules, TOML
        file: PathBuf,
        /// Only check them
        #[arg(long)]
        dry_run: bool,
    },
    /// The rules in force, and how much of the brake is used
    Show,
    /// What stands by rules: who is throttled, blocked or quarantined, and until when
    List,
    /// End what stands before its time
    #[command(after_help = "Example:\n  portreeve response lift 12 --reason 'a test of the plant'")]
    Lift {
        /// The measure's number, of `response list`
        id: u64,
        /// Why; it is kept
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(crate) fn run(global: &Global, command: ResponseCommand) -> Result<(), Failure> {
    let hub = Administration::new(global)?;
    match command {
        ResponseCommand::Apply { file, dry_run } => {
            let (name, text) = read(&file)?;
            let request = AdminRequest::ResponseApply { file: name, text, dry_run };
            show(global, &hub.request(request)?.result, applied)
        }
        ResponseCommand::Show => show(global, &hub.request(AdminRequest::ResponseShow)?.result, in_force),
        ResponseCommand::List => show(global, &hub.request(AdminRequest::ResponseList)?.result, standing),
        ResponseCommand::Lift { id, reason } => {
            let request = AdminRequest::ResponseLift { id, reason };
            show(global, &hub.request(request)?.result, |lifted| {
                format!("measure {id} is lifted: {} of {}", cell(&lifted["action"]), cell(&lifted["whom"]))
            })
        }
    }
}

fn read(path: &PathBuf) -> Result<(String, String), Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {why}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| failed(&error))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(failed(&format_args!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    Ok((path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(), text))
}

fn applied(result: &Value) -> String {
    let verb = if result["applied"] == true { "are" } else { "would be" };
    format!("{} rules {verb} in force, {} of them only say what they would do", result["rules"], result["dry_run"])
}

fn in_force(result: &Value) -> String {
    let number = |key: &str| cell(&result[key]);
    let head = list(&[
        ("rules", format!("{}, {} of them in dry run", number("rules"), number("dry_run"))),
        (
            "in force",
            format!(
                "{} throttled, {} blocked, {} quarantined",
                number("throttled"),
                number("blocked"),
                number("quarantined")
            ),
        ),
        ("brake", format!("{} counted within the hour", number("brake_used"))),
        ("cases", format!("{} not closed", number("cases_open"))),
    ]);
    format!("{head}\n{}", cell(&result["text"]))
}

fn standing(result: &Value) -> String {
    let row = |row: &Value| {
        let mut cells: Vec<String> =
            ["measure", "action", "whom", "rule", "finding"].iter().map(|key| cell(&row[*key])).collect();
        let until = if row["until_ms"].is_null() { "lifted".to_owned() } else { instant(&row["until_ms"]) };
        cells.extend([instant(&row["since_ms"]), until]);
        cells
    };
    table(&["MEASURE", "ACTION", "WHOM", "RULE", "FINDING", "SINCE", "UNTIL"], &rows(result, row))
}
