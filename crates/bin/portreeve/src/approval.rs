//! `portreeve approval`.

use clap::Subcommand;
use portreeve_hub::AdminRequest;
use serde_json::Value;

use crate::{
    admin::Administration,
    cli::Global,
    failure::Failure,
    output::{cell, instant, rows, show, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalCommand {
    /// What waits, and what was answered
    List,
    /// Consent; whoever asked cannot
    Grant {
        /// The number in the list
        number: u64,
        /// Why; kept with the answer
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Do not consent
    Refuse {
        /// The number in the list
        number: u64,
        /// Why; kept with the answer
        #[arg(long, default_value = "")]
        reason: String,
    },
}

pub(crate) fn run(global: &Global, command: ApprovalCommand) -> Result<(), Failure> {
    let hub = Administration::new(global)?;
    let answer = |number, granted, reason| {
        let request = AdminRequest::ApprovalAnswer { number, granted, reason };
        let verdict = if granted { "granted" } else { "refused" };
        show(global, &hub.request(request)?.result, |_| format!("{number} is {verdict}"))
    };
    match command {
        ApprovalCommand::List => show(global, &hub.request(AdminRequest::ApprovalList)?.result, waiting),
        ApprovalCommand::Grant { number, reason } => answer(number, true, reason),
        ApprovalCommand::Refuse { number, reason } => answer(number, false, reason),
    }
}

fn waiting(result: &Value) -> String {
    let row = |row: &Value| {
        let mut cells: Vec<String> =
            ["number", "state", "subject", "what", "asked_by"].iter().map(|key| cell(&row[*key])).collect();
        cells.extend([instant(&row["asked_ms"]), instant(&row["expires_ms"])]);
        cells
    };
    table(&["NUMBER", "STATE", "FOR", "WHAT", "ASKED BY", "ASKED", "UNTIL"], &rows(result, row))
}
