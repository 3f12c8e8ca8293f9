//! `portreeve device list`, `export` and `import`.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use portreeve_hub::{
    AdminRequest,
    inventory::{Cells, FILE_BYTES_MAX, Filter, ListFile, Page, write_csv, write_json},
};
use portreeve_types::{IdentityName, Kind, LifecycleState};
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{Global, Output, duration},
    device::identities,
    failure::Failure,
    output::{cell, remark, say, show, table},
};

/// Which identities; all that is given must hold.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Those of this group; '' for those of none
    #[arg(long)]
    group: Option<String>,
    /// device, gateway or application
    #[arg(long)]
    kind: Option<Kind>,
    /// pending, active, quarantined, disabled, revoked or retired
    #[arg(long)]
    state: Option<LifecycleState>,
    /// Those with this library, by the SBOM of their firmware or by their own word: NAME, NAME@VERSION or a package URL
    #[arg(long, value_name = "QUERY")]
    library: Option<String>,
    /// Those that are not connected and were not for this long, such as 30d, or never
    #[arg(long, value_name = "TIME", value_parser = duration)]
    unused: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    /// Show so many at most
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    which: Which,
    /// What to write; without it csv, or json with --output json
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file, which must not exist, instead of standard output; only its owner can read it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values
    Csv,
    /// An array of objects
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// CSV or JSON, at most 32 MiB and 100,000 identities; - for standard input
    file: PathBuf,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Change the fields of identities that are registered already; without it, a known name is a problem
    #[arg(long)]
    update: bool,
}

impl From<Which> for Filter {
    fn from(which: Which) -> Self {
        let Which { group, kind, state, library, unused } = which;
        Self { group, kind, state, library, unused_s: unused.map(|time| time.as_secs()) }
    }
}

pub(crate) fn list(global: &Global, hub: &Administration, args: List) -> Result<(), Failure> {
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let (rows, more) = pages(hub, &args.which.into(), limit, "identities", |page| AdminRequest::DeviceList { page })?;
    show(global, &Value::Array(rows), identities)?;
    if more {
        remark(&format!("There are more than these {limit}."));
    }
    Ok(())
}

pub(crate) fn export(global: &Global, hub: &Administration, args: Export) -> Result<(), Failure> {
    let Export { which, format, out } = args;
    // Before the work: a file that is there already is not overwritten.
    let file = out.as_deref().map(create).transpose()?;
    let written = written(global, hub, which, format).and_then(|(text, count)| {
        let Some((mut file, path)) = file.zip(out.as_deref()) else { return say(&text).map(|()| count) };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map(|()| count).map_err(|error| Failure::Refused(format!("cannot write {}: {error}", path.display())))
    });
    let Some(path) = out else { return written.map(drop) };
    let count = written.inspect_err(|_| {
        // Half a file is worse than none; it is ours, for it was made here. If it stays, the error says enough.
        let _ = fs::remove_file(&path);
    })?;
    let result = json!({ "file": path.display().to_string(), "identities": count });
    show(global, &result, |_| format!("{} in {}", counted(count as u64), path.display()))
}

fn create(path: &Path) -> Result<File, Failure> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Refused(format!("{} is there already; choose another name, or remove it", path.display()))
        }
        _ => Failure::Usage(format!("cannot make {}: {error}", path.display())),
    })
}

/// The file's text, and how many identities it holds.
fn written(
    global: &Global,
    hub: &Administration,
    which: Which,
    format: Option<Format>,
) -> Result<(String, usize), Failure> {
    let (rows, _) = pages(hub, &which.into(), usize::MAX, "rows", |page| AdminRequest::DeviceExport { page })?;
    let cells: Result<Vec<Cells>, _> = rows.into_iter().map(serde_json::from_value).collect();
    let cells = cells.map_err(|error| misunderstood(&error))?;
    let by_default = if global.output == Output::Json { Format::Json } else { Format::Csv };
    let text = match format.unwrap_or(by_default) {
        Format::Csv => write_csv(&cells).map_err(Failure::Refused)?,
        Format::Json => write_json(&cells),
    };
    Ok((text, cells.len()))
}

/// Page after page until there is no more, or `limit` rows are there; and whether there are more.
fn pages(
    hub: &Administration,
    filter: &Filter,
    limit: usize,
    rows_key: &str,
    request: impl Fn(Page) -> AdminRequest,
) -> Result<(Vec<Value>, bool), Failure> {
    let (mut rows, mut after) = (Vec::new(), None::<IdentityName>);
    loop {
        let page = Page { filter: filter.clone(), after, rows_max: Some(limit - rows.len()) };
        let mut result = hub.request(request(page))?.result;
        match result[rows_key].take() {
            Value::Array(more) => rows.extend(more),
            _ => return Err(misunderstood(&format!("there are no {rows_key}"))),
        }
        after = serde_json::from_value(result["next"].take()).map_err(|error| misunderstood(&error))?;
        if after.is_none() || rows.len() >= limit {
            return Ok((rows, after.is_some()));
        }
    }
}

fn misunderstood(why: &dyn std::fmt::Display) -> Failure {
    Failure::Unreachable(format!("the hub's answer is not understood ({why}); is it of the same version?"))
}

pub(crate) fn import(global: &Global, hub: &Administration, args: &Import) -> Result<(), Failure> {
    let Import { file, dry_run, update } = args;
    let text = read(file)?;
    let file = ListFile { name: file.display().to_string(), text };
    let request = AdminRequest::DeviceImport { file, update: *update, dry_run: *dry_run };
    show(global, &hub.request(request)?.result, told)
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unread = |error: io::Error| Failure::Usage(format!("cannot read {shown}: {error}; nothing was imported"));
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).map_err(unread)?) };
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!(
            "{shown} has more than {FILE_BYTES_MAX} bytes; split it: nothing was imported"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::Usage(format!("{shown}, line {line}: not UTF-8; save the file as UTF-8: nothing was imported"))
    })
}

fn told(result: &Value) -> String {
    let count = |key: &str| result[key].as_u64().unwrap_or(0);
    let (added, updated, unchanged) = (count("added"), count("updated"), count("unchanged"));
    let dry = result["dry_run"] == true;
    let would = if dry { "Nothing was changed. It would be: " } else { "" };
    let mut text = format!("{would}{added} added, {updated} updated, {unchanged} unchanged\n");
    let passed_over: Vec<_> = result["passed_over"].as_array().into_iter().flatten().map(cell).collect();
    if !passed_over.is_empty() {
        text += &format!("Passed over, for an import changes none of them: {}\n", passed_over.join(", "));
    }
    if !dry && added > 0 {
        text += "New ones are pending until they enrol: `portreeve device code NAME` makes a one-time code.\n";
    }
    let row = |row: &Value| {
        let fields: Vec<_> = row["fields"].as_array().into_iter().flatten().map(cell).collect();
        vec![cell(&row["line"]), cell(&row["name"]), cell(&row["effect"]), fields.join(" ")]
    };
    let changes: Vec<_> = result["changes"].as_array().into_iter().flatten().map(row).collect();
    if changes.is_empty() {
        return text;
    }
    text += &format!("\n{}", table(&["LINE", "NAME", "EFFECT", "FIELDS"], &changes));
    let more = added + updated - changes.len() as u64;
    if more > 0 {
        text += &format!("and {more} more\n");
    }
    text
}

fn counted(count: u64) -> String {
    if count == 1 { "1 identity is".into() } else { format!("{count} identities are") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_shows_what_would_change() {
        let text = told(&json!({
            "added": 1, "updated": 2, "unchanged": 7, "dry_run": true, "passed_over": ["state", "id"],
            "changes": [
                { "line": 2, "name": "lamp-1", "effect": "added", "fields": [] },
                { "line": 13, "name": "lamp-2", "effect": "updated", "fields": ["group", "notes"] },
            ],
        }));
        let expected = "Nothing was changed. It would be: 1 added, 2 updated, 7 unchanged\n\
                        Passed over, for an import changes none of them: state, id\n\n\
                        LINE  NAME    EFFECT   FIELDS\n   2  lamp-1  added\n  13  lamp-2  updated  group notes\nand 1 more\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_no_text_or_too_large_is_refused_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |bytes: &[u8]| {
            let path = directory.path().join("list");
            fs::write(&path, bytes).unwrap();
            match read(&path) {
                Err(Failure::Usage(text)) => text,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused(b"name\nlamp-1\nlamp-\xff\n").contains("line 3: not UTF-8"));
        assert!(refused(&vec![b'a'; FILE_BYTES_MAX + 1]).contains("33554432 bytes; split it"));
        assert!(matches!(read(&directory.path().join("none")), Err(Failure::Usage(_))));
    }

    #[test]
    fn an_export_overwrites_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.csv");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(create(&path), Err(Failure::Refused(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
