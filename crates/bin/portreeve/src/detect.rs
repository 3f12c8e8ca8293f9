//! `portreeve detect`: what is found, by which numbers, and what is learnt.

use std::path::PathBuf;

use clap::Subcommand;
use portreeve_hub::AdminRequest;
use portreeve_types::IdentityName;
use serde_json::Value;

use crate::{
    admin::Administration,
    cli::Global,
    failure::Failure,
    output::{cell, instant, list, rows, say, show, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum DetectCommand {
    /// Whether it learns, how many it follows, and what is open
    Status,
    /// What was found, the newest first
    List {
        /// Only what is not over
        #[arg(long)]
        open: bool,
        /// How many
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        last: usize,
    },
    /// The numbers behind a finding: what was observed, what is usual, and the threshold
    #[command(after_help = "Example:\n  portreeve detect explain 19a8c5d2e40-2f")]
    Explain {
        /// Its identifier, as `detect list` shows it
        finding: String,
    },
    /// Take other thresholds, lists and switches: a TOML file, in place of the one before
    ///
    /// docs/DETECTION.md lists them all. An empty file restores the defaults. What was learnt stays.
    #[command(after_help = "Example:\n  portreeve detect apply detect.toml --dry-run")]
    Apply {
        /// The file
        file: PathBuf,
        /// Only check it
        #[arg(long)]
        dry_run: bool,
    },
    /// The settings that were applied
    Show,
    /// End learning: what was learnt is what is usual from now on
    Freeze,
    /// Learn again, on top of what was learnt
    Thaw,
    /// Forget what was learnt of an identity, and learn it anew
    Relearn {
        /// Which
        name: IdentityName,
    },
}

pub(crate) fn run(global: &Global, command: DetectCommand) -> Result<(), Failure> {
    let ask = |request| Ok::<_, Failure>(Administration::new(global)?.request(request)?.result);
    match command {
        DetectCommand::Status => show(global, &ask(AdminRequest::DetectStatus)?, status),
        DetectCommand::List { open, last } => {
            show(global, &ask(AdminRequest::FindingList { open, count: last })?, findings)
        }
        DetectCommand::Explain { finding } => show(global, &ask(AdminRequest::FindingShow { id: finding })?, explained),
        DetectCommand::Apply { file, dry_run } => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
            let file = file.display().to_string();
            let result = ask(AdminRequest::DetectApply { file, text, dry_run })?;
            show(global, &result, |result| match result["applied"] == true {
                true => "the settings of detection are in force".into(),
                false => "these settings would be taken; nothing was changed".into(),
            })
        }
        DetectCommand::Show => {
            let status = ask(AdminRequest::DetectStatus)?;
            match status["settings"].as_str() {
                None | Some("") => say("no settings were applied: the defaults are in force (docs/DETECTION.md)"),
                Some(text) => say(text),
            }
        }
        DetectCommand::Freeze => show(global, &ask(AdminRequest::DetectFreeze)?, |_| {
            "baselines are frozen: what is new from now on is found; identities that are new are learnt for a time of their own"
                .into()
        }),
        DetectCommand::Thaw => show(global, &ask(AdminRequest::DetectThaw)?, |_| {
            "learning: until `portreeve detect freeze`, what is compared with what is usual is not found".into()
        }),
        DetectCommand::Relearn { name } => {
            show(global, &ask(AdminRequest::DetectRelearn { name })?, |result| match result["was_followed"] == true {
                true => format!("{} is learnt anew", cell(&result["name"])),
                false => format!("{} was not followed yet: there is nothing to forget", cell(&result["name"])),
            })
        }
    }
}

fn status(status: &Value) -> String {
    let learning = match status["learning"] == true {
        true => "yes: `portreeve detect freeze` ends it, after some days of what is usual",
        false => "no, baselines are frozen",
    };
    let open = status["open"].as_array().map_or(0, Vec::len);
    list(&[
        ("learning", learning.into()),
        ("follows", format!("{} identities, {} sources", status["identities"], status["sources"])),
        ("open findings", open.to_string()),
    ])
}

/// Whom a finding is about.
fn subject(finding: &Value) -> String {
    match finding["name"].as_str() {
        Some(name) => format!("{} {name}", cell(&finding["of"])),
        None => cell(&finding["of"]),
    }
}

fn findings(findings: &Value) -> String {
    let all = rows(findings, |row| {
        let state = if row["closed"].is_null() { "open".into() } else { format!("over, {} times", row["count"]) };
        vec![
            cell(&row["id"]),
            instant(&row["opened"]),
            cell(&row["kind"]),
            cell(&row["severity"]),
            subject(row),
            if row["canary"] == true { "rehearsal".into() } else { state },
        ]
    });
    table(&["FINDING", "FOUND", "KIND", "SEVERITY", "ABOUT", "STATE"], &all)
}

fn explained(finding: &Value) -> String {
    let over = match finding["closed"].is_null() {
        true => "not yet".into(),
        false => format!("{}, observed {} times", instant(&finding["closed"]), finding["count"]),
    };
    let head = list(&[
        ("finding", cell(&finding["id"])),
        ("kind", cell(&finding["kind"])),
        ("severity", cell(&finding["severity"])),
        ("about", subject(finding)),
        ("found", instant(&finding["opened"])),
        ("over", over),
        ("what", cell(&finding["text"])),
        ("asked for by", rows(&finding["requirements"], |row| vec![cell(row)]).concat().join(", ")),
    ]);
    let numbers = rows(&finding["numbers"], |row| vec![cell(&row["name"]), number(&row["value"]), cell(&row["unit"])]);
    format!("{head}\n{}", table(&["NUMBER", "VALUE", "UNIT"], &numbers))
}

/// A figure with as many digits as somebody wants to read.
fn number(value: &Value) -> String {
    value.as_f64().map_or_else(
        || cell(value),
        |value| format!("{:.3}", value).trim_end_matches('0').trim_end_matches('.').to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_finding_shows_its_numbers() {
        let finding = json!({
            "id": "19a-1", "kind": "auth_failures", "severity": "high", "of": "source", "name": "192.0.2.1",
            "opened": 0, "text": "five times", "requirements": ["CSA-MSU-04"], "canary": false, "closed": null, "count": 1,
            "numbers": [{ "name": "threshold", "value": 5.0, "unit": "failures" }, { "name": "mean", "value": 0.25, "unit": "s" }],
        });
        let text = explained(&finding);
        assert!(text.contains("source 192.0.2.1") && text.contains("CSA-MSU-04"), "{text}");
        assert!(text.contains("threshold  5 ") || text.contains("threshold      5"), "{text}");
        assert!(text.contains("0.25"), "{text}");
        assert!(findings(&json!([finding])).contains("open"));
    }
}
