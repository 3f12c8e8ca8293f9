//! `portreeve status` and `portreeve reload`.

use std::{
    thread,
    time::{Duration, Instant},
};

use portreeve_hub::AdminRequest;
use serde_json::Value;

use crate::{
    admin::Administration,
    cli::{Global, Output},
    failure::Failure,
    output::{cell, list, say, say_json, span, table},
};

/// Time between two looks while waiting.
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn run(global: &Global, wait: Option<Duration>) -> Result<(), Failure> {
    let hub = Administration::new(global)?;
    let until = wait.map(|wait| Instant::now() + wait);
    let status = loop {
        let answer = hub.live(&AdminRequest::Status).map(|outcome| outcome.result);
        let ready = answer.as_ref().is_ok_and(|status| status["ready"] == true);
        let waiting = until.is_some_and(|until| Instant::now() < until);
        let hopeless = answer.as_ref().is_err_and(|failure| !matches!(failure, Failure::Unreachable(_)));
        if ready || hopeless || !waiting {
            break answer?;
        }
        thread::sleep(POLL);
    };
    match global.output {
        Output::Json => say_json(&status)?,
        Output::Table => say(&render(&status))?,
    }
    if wait.is_some() && status["ready"] != true {
        return Err(Failure::CheckFailed("the hub runs, but it is not ready".into()));
    }
    Ok(())
}

pub(crate) fn reload(global: &Global) -> Result<(), Failure> {
    let outcome = Administration::new(global)?.live(&AdminRequest::Reload)?;
    if global.output == Output::Json {
        return say_json(&outcome.result);
    }
    let notes = outcome.result["notes"].as_array().cloned().unwrap_or_default();
    say(&std::iter::once("reloaded".to_owned()).chain(notes.iter().map(cell)).collect::<Vec<_>>().join("\n"))
}

fn render(status: &Value) -> String {
    let head = [
        ("ready", cell(&status["ready"])),
        ("version", cell(&status["version"])),
        ("uptime", span(status["uptime_s"].as_u64().unwrap_or(0))),
        ("data", cell(&status["data"])),
        ("clients", format!("{} connected", status["clients_connected"])),
        ("identities", format!("{} registered", status["identities"])),
        ("policies", format!("{} in force", status["policies"])),
        ("store", cell(&status["store"]["health"])),
        ("ledger", ledger(&status["ledger"])),
        ("responses", responses(&status["responses"])),
        ("alerts", alerts(&status["alerts"])),
    ];
    let rows = |key: &str, row: &dyn Fn(&Value) -> Vec<String>| -> Vec<Vec<String>> {
        status[key].as_array().map(|values| values.iter().map(row).collect()).unwrap_or_default()
    };
    let listeners = rows("listeners", &|row| vec![cell(&row["name"]), cell(&row["address"])]);
    let limits = rows("limits", &|row| {
        vec![cell(&row["name"]), cell(&row["used"]), cell(&row["limit"]), percent(&row["used"], &row["limit"])]
    });
    format!(
        "{}\n{}\n{}",
        list(&head),
        table(&["LISTENER", "ADDRESS"], &listeners),
        table(&["LIMIT", "USED", "OF", "PERCENT"], &limits)
    )
}

fn ledger(ledger: &Value) -> String {
    match ledger["trouble"].as_str() {
        Some(trouble) => trouble.to_owned(),
        None => format!("ok, {} entries, {} signed for", ledger["entries"], ledger["sealed"]),
    }
}

fn responses(used: &Value) -> String {
    let dry_run = match used["dry_run"].as_u64() {
        Some(0) | None => String::new(),
        Some(dry_run) => format!(", {dry_run} of them in dry run"),
    };
    format!("{} rules{dry_run}; {} cases not closed", used["rules"], used["cases_open"])
}

fn alerts(alerts: &Value) -> String {
    if alerts["reach_somebody"] == false {
        return format!("{} open; alerts reach nobody: portreeve alert apply FILE", alerts["open"]);
    }
    let mut text = format!("{} open, {} deliveries wait", alerts["open"], alerts["waiting"]);
    let failing: Vec<String> = alerts["failing"].as_array().into_iter().flatten().map(cell).collect();
    if !failing.is_empty() {
        text += &format!("; failing: {}", failing.join(", "));
    }
    if alerts["dead_letters"].as_u64().is_some_and(|dead| dead > 0) {
        text += &format!("; {} given up: portreeve alert dead", alerts["dead_letters"]);
    }
    text
}

fn percent(used: &Value, limit: &Value) -> String {
    match (used.as_u64(), limit.as_u64()) {
        (Some(used), Some(limit)) if limit > 0 => {
            let percent = u128::from(used) * 100 / u128::from(limit);
            // What is in use is never shown as nothing.
            if percent == 0 && used > 0 { "1%".into() } else { format!("{percent}%") }
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_reads_well() {
        let status = json!({
            "ready": true, "version": "0.1.0", "uptime_s": 61, "data": "/d", "clients_connected": 2, "identities": 3, "policies": 1,
            "store": { "health": "ok" },
            "alerts": { "reach_somebody": true, "open": 1, "waiting": 2, "failing": ["soc"], "dead_letters": 0 },
            "ledger": { "entries": 12, "sealed": 12, "trouble": null },
            "responses": { "rules": 3, "dry_run": 2, "cases_open": 1 },
            "listeners": [{ "name": "mqtt", "address": "0.0.0.0:8883" }],
            "limits": [{ "name": "sessions_total", "limit": 1000, "used": 250 }, { "name": "x", "limit": 1000, "used": 1 }],
        });
        let text = render(&status);
        for line in [
            "ready       yes",
            "uptime      1m 1s",
            "clients     2 connected",
            "responses   3 rules, 2 of them in dry run; 1 cases not closed",
            "alerts      1 open, 2 deliveries wait; failing: soc",
            "mqtt      0.0.0.0:8883",
            "sessions_total   250  1000      25%",
            "x                  1  1000       1%",
        ] {
            assert!(text.lines().any(|shown| shown == line), "`{line}` in\n{text}");
        }
    }
}
