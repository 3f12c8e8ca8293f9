//! `portreeve alert` and `portreeve canary`.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clap::Subcommand;
use portreeve_alert::SETTINGS_BYTES_MAX;
use portreeve_hub::AdminRequest;
use portreeve_types::UnixMillis;
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{Global, Output, duration},
    failure::Failure,
    output::{cell, instant, rows, say, say_json, show, table},
};

/// Time between two looks at how a test goes: at first, and once it takes long. Who asks too often is found out.
const POLL: Duration = Duration::from_millis(100);
const POLL_LATER: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Say who is told of what, over which channels; takes the place of all that was applied before
    #[command(after_help = "Example:\n  portreeve alert apply alerts.toml --dry-run")]
    Apply {
        /// TOML, as OPERATIONS.md shows
        file: PathBuf,
        /// Only check it
        #[arg(long)]
        dry_run: bool,
    },
    /// The settings that are applied
    Show,
    /// Open alerts that nobody has taken on
    List {
        /// Also those that somebody has taken on, and tests
        #[arg(long)]
        all: bool,
    },
    /// Take an alert on: nobody else is told of it
    Ack {
        /// Its number in the list
        id: u64,
    },
    /// Send a test through every channel, and say how long each took
    Test {
        /// How long to wait for all of them
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
        wait: Duration,
    },
    /// Deliveries that were given up
    Dead {
        /// Try this one again
        #[arg(long, value_name = "ID")]
        resend: Option<u64>,
    },
    /// Each channel: where it leads, and how it does
    Channels,
}

pub(crate) fn run(global: &Global, command: AlertCommand) -> Result<(), Failure> {
    let hub = Administration::new(global)?;
    let ask = |request| hub.request(request).map(|outcome| outcome.result);
    match command {
        AlertCommand::Apply { file, dry_run } => {
            let name = file.display().to_string();
            let request = AdminRequest::AlertApply { file: name, text: read(&file)?, dry_run };
            show(global, &ask(request)?, applied)
        }
        AlertCommand::Show => show(global, &ask(AdminRequest::AlertShow)?, |result| match cell(&result["settings"]) {
            empty if empty.is_empty() => "alerts reach nobody: portreeve alert apply FILE".into(),
            text => text,
        }),
        AlertCommand::List { all } => show(global, &ask(AdminRequest::AlertList { all })?, open),
        AlertCommand::Ack { id } => {
            show(global, &ask(AdminRequest::AlertAck { id })?, |_| format!("alert {id} is yours"))
        }
        AlertCommand::Test { wait } => {
            let since = since(&hub.live(&AdminRequest::AlertTest)?.result);
            tested(global, json!({}), &await_test(&hub, since, wait)?, false)
        }
        AlertCommand::Dead { resend: Some(id) } => {
            show(global, &ask(AdminRequest::AlertResend { id })?, |_| format!("delivery {id} is tried again"))
        }
        AlertCommand::Dead { resend: None } => show(global, &ask(AdminRequest::AlertDead)?, dead),
        AlertCommand::Channels => show(global, &ask(AdminRequest::AlertChannels)?, channels),
    }
}

/// Has every detector find something, and times the test that comes of it.
pub(crate) fn canary(global: &Global, wait: Duration) -> Result<(), Failure> {
    let hub = Administration::new(global)?;
    let injected = hub.live(&AdminRequest::Canary)?;
    let wait = if injected.result["reach_somebody"] == true { wait } else { Duration::ZERO };
    let timings = await_test(&hub, since(&injected.result), wait)?;
    tested(global, injected.result, &timings, injected.failed)
}

fn since(result: &Value) -> UnixMillis {
    UnixMillis(result["since_ms"].as_u64().unwrap_or_default())
}

/// How the test's deliveries stand once all are over, or the time is.
fn await_test(hub: &Administration, since: UnixMillis, wait: Duration) -> Result<Value, Failure> {
    let started = Instant::now();
    loop {
        let timings = hub.live(&AdminRequest::AlertTimings { since })?.result;
        if timings["done"] == true || started.elapsed() >= wait {
            return Ok(timings);
        }
        thread::sleep(if started.elapsed() < POLL_LATER { POLL } else { POLL_LATER });
    }
}

/// What a test showed; it fails with one detector or delivery.
fn tested(global: &Global, mut result: Value, timings: &Value, blind: bool) -> Result<(), Failure> {
    result["alert"] = timings["alert"].clone();
    result["deliveries"] = timings["deliveries"].clone();
    match global.output {
        Output::Json => say_json(&result)?,
        Output::Table => say(&report(&result))?,
    }
    verdict(&result, blind)
}

fn verdict(result: &Value, blind: bool) -> Result<(), Failure> {
    let deliveries = result["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lost = deliveries.iter().filter(|delivery| delivery["state"] != "delivered").count();
    match (blind, lost, deliveries.is_empty()) {
        (true, ..) => Err(Failure::CheckFailed("a detector did not find what it must find".into())),
        (false, 0, true) => Err(Failure::CheckFailed("alerts reach nobody: portreeve alert apply FILE".into())),
        (false, 0, false) => Ok(()),
        (false, lost, _) => {
            Err(Failure::CheckFailed(format!("{lost} of {} deliveries did not arrive", deliveries.len())))
        }
    }
}

fn report(result: &Value) -> String {
    let detector = |row: &Value| vec![cell(&row["detector"]), cell(&row["found"])];
    let delivery = |row: &Value| {
        let took = row["after_ms"].as_u64().map(|ms| format!("{ms} ms")).unwrap_or_default();
        vec![cell(&row["channel"]), cell(&row["contact"]), cell(&row["state"]), took, cell(&row["why"])]
    };
    let deliveries = table(&["CHANNEL", "CONTACT", "STATE", "AFTER", "WHY"], &rows(&result["deliveries"], delivery));
    match result["detectors"].is_array() {
        true => format!("{}\n{deliveries}", table(&["DETECTOR", "FOUND"], &rows(&result["detectors"], detector))),
        false => deliveries,
    }
}

fn applied(result: &Value) -> String {
    let verb = if result["applied"] == true { "are" } else { "would be" };
    let mut text = format!("{} channels and {} contacts {verb} in force", result["channels"], result["contacts"]);
    let names = |key: &str| rows(&result[key], |name| vec![cell(name)]).concat().join(", ");
    let (far, overdue) = (names("after_restart"), names("overdue_contacts"));
    if !far.is_empty() {
        text += &format!("\nonly after a restart, for the hub confined itself without them: {far}");
    }
    if !overdue.is_empty() {
        text += &format!("\nto be reviewed: {overdue}");
    }
    text
}

fn open(result: &Value) -> String {
    let row = |alert: &Value| {
        let mut cells: Vec<String> =
            ["id", "severity", "kind", "subject", "count"].iter().map(|key| cell(&alert[*key])).collect();
        let taken = cell(&alert["acknowledged"]["by"]);
        cells.extend([instant(&alert["opened"]), instant(&alert["last"]), taken, cell(&alert["text"])]);
        cells
    };
    let head = ["ID", "SEVERITY", "KIND", "SUBJECT", "COUNT", "OPENED", "LAST", "TAKEN BY", "TEXT"];
    let text = table(&head, &rows(&result["alerts"], row));
    match result["reach_somebody"] == true {
        true => text,
        false => format!("{text}\nalerts reach nobody: portreeve alert apply FILE"),
    }
}

fn dead(result: &Value) -> String {
    let row = |letter: &Value| {
        let mut cells: Vec<String> =
            ["delivery", "channel", "contact", "severity", "what"].iter().map(|key| cell(&letter[*key])).collect();
        cells.extend([instant(&letter["given_up_ms"]), cell(&letter["why"])]);
        cells
    };
    let head = ["ID", "CHANNEL", "CONTACT", "SEVERITY", "WHAT", "GIVEN UP", "WHY"];
    let text = table(&head, &rows(&result["letters"], row));
    match result["dropped"].as_u64().unwrap_or_default() {
        0 => text,
        dropped => format!("{text}\n{dropped} more made room for these"),
    }
}

fn channels(result: &Value) -> String {
    let keys = ["name", "kind", "at", "state", "waiting", "failures"];
    let row = |channel: &Value| keys.map(|key| cell(&channel[key])).to_vec();
    table(&["CHANNEL", "KIND", "AT", "STATE", "WAITING", "FAILURES IN A ROW"], &rows(result, row))
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {why}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| failed(&error))?;
    if metadata.len() > SETTINGS_BYTES_MAX as u64 {
        return Err(failed(&format_args!("larger than {SETTINGS_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_says_what_is_left_to_do() {
        let result = json!({
            "applied": true, "channels": 2, "contacts": 1, "after_restart": ["soc", "mail"], "overdue_contacts": ["ann"],
        });
        assert_eq!(
            applied(&result),
            "2 channels and 1 contacts are in force\n\
             only after a restart, for the hub confined itself without them: soc, mail\nto be reviewed: ann"
        );
    }

    #[test]
    fn a_test_that_reaches_nobody_has_failed() {
        let outcome = |rows: Value, blind| {
            verdict(&json!({ "deliveries": rows }), blind).err().map(|failure| failure.exit_status())
        };
        let delivered = json!({ "state": "delivered" });
        assert_eq!(outcome(json!([delivered]), false), None);
        assert_eq!(outcome(json!([delivered]), true), Some(1));
        assert_eq!(outcome(json!([delivered, { "state": "waiting" }]), false), Some(1));
        assert_eq!(outcome(json!([]), false), Some(1));
    }
}
