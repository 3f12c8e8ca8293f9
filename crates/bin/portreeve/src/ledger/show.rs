//! `portreeve ledger show`.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use clap::Args;
use portreeve_events::{Commitment, Entry, Kind, Named, Opening, Participant};
use serde_json::{Value, json};

use crate::{
    cli::{Global, Output, duration},
    failure::Failure,
    output::{instant, say, say_json, table},
};

use super::source::Source;

/// What is shown of a personal value that nothing opens any more.
const ERASED: &str = "(erased)";
/// Entries that are shown unless told otherwise.
const LAST: usize = 20;
/// Most entries that one command shows: they are in memory.
const LAST_MAX: u64 = 100_000;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// From this entry on, instead of the last ones
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// As many of the last ones that fit; 20, without --from or --since
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=LAST_MAX))]
    last: Option<u64>,
    /// Only this kind of event, such as admin_denied
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Only what this identity did or what befell it
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Only what happened so long ago at most, such as 1h or 7d, by the hub's clock
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "from")]
    since: Option<Duration>,
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::find(word).ok_or_else(|| "no such kind of event".to_owned())
}

pub(crate) fn run(global: &Global, args: &Show) -> Result<(), Failure> {
    let source = Source::open(global)?;
    let since_ms = args.since.map(since);
    let from = begin(&source, args, since_ms)?;
    let bounded = args.last.or((args.from.is_none() && args.since.is_none()).then_some(LAST as u64));
    let most = usize::try_from(bounded.unwrap_or(LAST_MAX)).unwrap_or(usize::MAX);
    let mut shown = VecDeque::new();
    source.each_page(from, |page, openings| {
        let openings: HashMap<_, _> = openings.into_iter().map(|opening| (opening.sha256.clone(), opening)).collect();
        for (seq, bytes) in (page.first..).zip(&page.entries).filter(|(seq, _)| *seq >= from) {
            let Some(row) = row(args, since_ms, seq, bytes, &openings) else { continue };
            if shown.len() == most {
                // Those that are asked for from the beginning are shown from there.
                if bounded.is_none() {
                    return Ok(false);
                }
                shown.pop_front();
            }
            shown.push_back(row);
        }
        Ok(true)
    })?;
    match global.output {
        Output::Json => say_json(&Value::Array(shown.into())),
        Output::Table => say(&rendered(&shown)),
    }
}

/// The time that lies so long back, by this machine's clock.
pub(super) fn since(back: Duration) -> u64 {
    let back_ms = u64::try_from(back.as_millis()).unwrap_or(u64::MAX);
    portreeve_mqtt_server::now().wall.0.saturating_sub(back_ms)
}

/// Whether an entry is from before a time; one that cannot be read is from no time.
pub(super) fn is_before(bytes: &[u8], at_ms: u64) -> bool {
    Entry::from_bytes(bytes).is_ok_and(|entry| entry.at_ms.0 < at_ms)
}

/// The first entry that has to be looked at.
fn begin(source: &Source, args: &Show, since_ms: Option<u64>) -> Result<u64, Failure> {
    match (args.from, since_ms) {
        (Some(from), _) => Ok(from),
        (None, Some(since_ms)) => source.first_not(|entry| is_before(entry, since_ms)),
        // What is filtered may be anywhere.
        (None, None) if args.kind.is_some() || args.identity.is_some() => Ok(0),
        (None, None) => {
            let (last, _) = source.read(None, 1)?;
            Ok(last.head.size.saturating_sub(args.last.unwrap_or(LAST as u64)))
        }
    }
}

/// An entry as it is shown, if it is one of those that were asked for.
fn row(
    args: &Show,
    since_ms: Option<u64>,
    seq: u64,
    bytes: &[u8],
    openings: &HashMap<Commitment, Opening>,
) -> Option<Value> {
    let is_filtered = args.kind.is_some() || args.identity.is_some() || since_ms.is_some();
    let Ok(entry) = Entry::from_bytes(bytes) else {
        // Of a newer hub: it is proved, and not understood.
        return (!is_filtered).then(|| json!({ "seq": seq, "text": String::from_utf8_lossy(bytes) }));
    };
    let is_kind = args.kind.is_none_or(|kind| entry.kind == kind.as_str());
    let is_identity = args.identity.as_ref().is_none_or(|name| names(&entry, name));
    if !is_kind || !is_identity || since_ms.is_some_and(|since| entry.at_ms.0 < since) {
        return None;
    }
    let mut row = serde_json::to_value(&entry).ok()?;
    open(&mut row, openings);
    row["seq"] = seq.into();
    Some(row)
}

fn names(entry: &Entry, name: &str) -> bool {
    let is_it = |named: &Named| matches!(named, Named::Plain(plain) if plain == name);
    let is_party = |party: &Participant| party.name.as_ref().is_some_and(is_it);
    is_party(&entry.initiator) || is_party(&entry.receiver) || entry.data.get("identity").is_some_and(is_it)
}

/// Puts values in the place of commitments: what opens one says so by its hash.
fn open(value: &mut Value, openings: &HashMap<Commitment, Opening>) {
    let Value::Object(fields) = value else { return };
    let commitment = fields.get("sha256").filter(|_| fields.len() == 1).cloned();
    if let Some(commitment) = commitment.and_then(|text| serde_json::from_value::<Commitment>(text).ok()) {
        let opening = openings.get(&commitment).filter(|opening| opening.is_true());
        *value = opening.map_or(ERASED, |opening| opening.value.as_str()).into();
        return;
    }
    fields.values_mut().for_each(|field| open(field, openings));
}

fn rendered<'a>(rows: impl IntoIterator<Item = &'a Value>) -> String {
    let party = |party: &Value| match (party["name"].as_str(), party["role"].as_str()) {
        (Some(name), _) => safe(name),
        (None, role) => role.map(safe).unwrap_or_default(),
    };
    let row = |row: &Value| {
        let detail = match row["text"].as_str() {
            Some(text) => safe(text),
            None => what(row),
        };
        let from = row["source"].as_str().map(safe).unwrap_or_default();
        let kind = row["kind"].as_str().map(safe).unwrap_or_default();
        let when = if row["at_ms"].is_null() { String::new() } else { instant(&row["at_ms"]) };
        vec![row["seq"].to_string(), when, kind, party(&row["initiator"]), party(&row["receiver"]), from, detail]
    };
    let rows: Vec<_> = rows.into_iter().map(row).collect();
    table(&["SEQ", "WHEN", "KIND", "BY", "TO", "FROM", "DETAIL"], &rows)
}

/// Detail, data and number of an entry in one cell.
fn what(row: &Value) -> String {
    let mut parts: Vec<String> = row["detail"].as_str().map(safe).into_iter().collect();
    let data = row["data"].as_object().into_iter().flatten();
    parts.extend(data.map(|(name, value)| format!("{}={}", safe(name), safe(value.as_str().unwrap_or_default()))));
    parts.extend(row["client_id"].as_str().map(|id| format!("client_id={}", safe(id))));
    parts.extend(row["count"].as_u64().map(|count| format!("{count} times")));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// What devices wrote does not move the cursor of whoever reads it.
fn safe(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
