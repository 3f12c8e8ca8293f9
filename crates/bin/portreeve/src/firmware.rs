//! `portreeve firmware`: what firmware versions are made of.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use portreeve_hub::{
    AdminRequest,
    sbom::{FILE_BYTES_MAX, Release},
};
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{Global, Output},
    failure::Failure,
    output::{cell, instant, list, remark, rows, say_json, show, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum FirmwareCommand {
    /// Software bills of materials (SBOM), one for each firmware version of a model
    Sbom {
        #[command(subcommand)]
        command: SbomCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SbomCommand {
    /// Attach an SBOM to a firmware version: CycloneDX 1.4 to 1.6 in JSON
    ///
    /// One that is there already is replaced; who did that and when stays known.
    #[command(
        after_help = "Examples:\n  portreeve firmware sbom add --model P30 --firmware 2.1.0 bom.json\n  syft dir:rootfs -o cyclonedx-json | portreeve firmware sbom add --model P30 --firmware 2.1.0 -"
    )]
    Add(Add),
    /// All SBOMs
    List,
    /// One SBOM with its components
    Show(Which),
    /// Write an SBOM as it was attached, byte for byte
    #[command(after_help = "Example:\n  portreeve firmware sbom export P30 2.1.0 --out bom.json && sha256sum bom.json")]
    Export {
        #[command(flatten)]
        which: Which,
        /// Write to this file, which must not exist, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Remove an SBOM
    Remove {
        #[command(flatten)]
        which: Which,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Which firmware versions hold a component, and which devices run it
    ///
    /// Case does not count, a name is found behind any group, 3.0 stands for 3.0.7 as well, and what has no version is always
    /// found. `device list --library` names the devices if there are many.
    #[command(
        after_help = "Examples:\n  portreeve firmware sbom find openssl\n  portreeve firmware sbom find openssl@3.0\n  portreeve firmware sbom find pkg:cargo/rustls@0.23.1"
    )]
    Find {
        /// NAME, NAME@VERSION or a package URL
        query: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The model, as devices report it
    #[arg(long)]
    model: String,
    /// The firmware version, as devices report it
    #[arg(long, value_name = "VERSION")]
    firmware: String,
    /// The SBOM; - for standard input
    file: PathBuf,
    /// Only check it
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The model
    model: String,
    /// The firmware version
    version: String,
}

impl From<Which> for Release {
    fn from(which: Which) -> Self {
        Self { model: which.model, firmware: which.version }
    }
}

pub(crate) fn run(global: &Global, command: FirmwareCommand) -> Result<(), Failure> {
    let FirmwareCommand::Sbom { command } = command;
    let ask = |request| Ok::<_, Failure>(Administration::new(global)?.request(request)?.result);
    match command {
        SbomCommand::Add(args) => {
            let Add { model, firmware, file, dry_run } = args;
            let request = AdminRequest::SbomAdd { release: Release { model, firmware }, text: read(&file)?, dry_run };
            let result = ask(request)?;
            doubts(global, &result);
            show(global, &result, added)
        }
        SbomCommand::List => show(global, &ask(AdminRequest::SbomList)?, sboms),
        SbomCommand::Show(which) => show(global, &ask(AdminRequest::SbomShow { release: which.into() })?, sbom),
        SbomCommand::Export { which, out } => {
            export(global, &ask(AdminRequest::SbomExport { release: which.into() })?, out.as_deref())
        }
        SbomCommand::Remove { which, dry_run } => {
            let result = ask(AdminRequest::SbomRemove { release: which.into(), dry_run })?;
            show(global, &result, |result| {
                let what = if dry_run { "would be removed" } else { "is removed" };
                format!("The SBOM of {} with SHA-256 {} {what}", release(result), cell(&result["sha256"]))
            })
        }
        SbomCommand::Find { query } => show(global, &ask(AdminRequest::SbomFind { query })?, found),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unread = |error: io::Error| Failure::Usage(format!("cannot read {shown}: {error}; nothing was attached"));
    let source: Box<dyn io::Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).map_err(unread)?) };
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("{shown} has more than {FILE_BYTES_MAX} bytes; nothing was attached")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::Usage(format!("{shown} is not UTF-8; nothing was attached")))
}

fn export(global: &Global, result: &Value, out: Option<&Path>) -> Result<(), Failure> {
    let text = result["text"].as_str().unwrap_or_default();
    let Some(path) = out else {
        // Not a byte more or less, so that hashes agree.
        if global.output == Output::Json {
            return say_json(result);
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        return written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Refused(format!("cannot write to standard output: {error}")),
        });
    };
    let shown = path.display();
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file = file.map_err(|error| Failure::Usage(format!("cannot make {shown}: {error}")))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| Failure::Refused(format!("cannot write {shown}: {error}")))?;
    let result = json!({ "file": shown.to_string(), "sha256": result["sha256"] });
    show(global, &result, |result| format!("{shown}, SHA-256 {}", cell(&result["sha256"])))
}

fn release(result: &Value) -> String {
    format!("{} {}", cell(&result["model"]), cell(&result["firmware"]))
}

/// Programs find them in the result.
fn doubts(global: &Global, result: &Value) {
    if global.output == Output::Table {
        result["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|text| remark(&format!("Look again: {}", cell(text))));
    }
}

fn added(result: &Value) -> String {
    let (release, sha256, count) = (release(result), cell(&result["sha256"]), &result["components"]);
    if result["unchanged"] == true {
        return format!("{release} has this SBOM already, with SHA-256 {sha256}");
    }
    let what = if result["dry_run"] == true { "would have" } else { "has" };
    let replaces = match result["replaces"].as_str() {
        Some(before) => format!("\nIt replaces the one with SHA-256 {before}"),
        None => String::new(),
    };
    format!("{release} {what} an SBOM of {count} components, SHA-256 {sha256}{replaces}")
}

fn sboms(result: &Value) -> String {
    let row = |row: &Value| {
        let mut cells: Vec<String> = ["model", "firmware", "component_count", "devices", "bytes", "by"]
            .iter()
            .map(|key| cell(&row[*key]))
            .collect();
        cells.push(instant(&row["at_ms"]));
        cells.push(cell(&row["sha256"]));
        cells
    };
    let head = ["MODEL", "FIRMWARE", "COMPONENTS", "DEVICES", "BYTES", "BY", "WHEN", "SHA-256"];
    table(&head, &rows(result, row))
}

fn sbom(result: &Value) -> String {
    let words = ["model", "firmware", "sha256", "bytes", "spec_version", "by"];
    let mut pairs: Vec<(&str, String)> = words.iter().map(|word| (*word, cell(&result[*word]))).collect();
    pairs.push(("when", instant(&result["at_ms"])));
    let replaced = result["replaced"].as_array().into_iter().flatten();
    pairs.extend(replaced.map(|edition| {
        let (by, at) = (cell(&edition["by"]), instant(&edition["at_ms"]));
        ("replaced", format!("{} by {by}, {at}", cell(&edition["sha256"])))
    }));
    pairs.extend(result["warnings"].as_array().into_iter().flatten().map(|text| ("look again", cell(text))));
    format!("{}\n{}", list(&pairs), components(&result["components"]))
}

/// Names, versions and package URLs.
pub(crate) fn components(result: &Value) -> String {
    let row = |row: &Value| ["name", "version", "purl"].iter().map(|key| cell(&row[*key])).collect();
    table(&["COMPONENT", "VERSION", "PACKAGE URL"], &rows(result, row))
}

fn found(result: &Value) -> String {
    let firmware = rows(&result["firmware"], |row| {
        let named = row["components"].as_array().into_iter().flatten();
        let mut named: Vec<_> = named.map(|c| format!("{} {}", cell(&c["name"]), cell(&c["version"]))).collect();
        named.dedup();
        let mut named = named.iter().map(|text| text.trim_end()).collect::<Vec<_>>().join(", ");
        if row["component_count"].as_u64() > row["components"].as_array().map(|named| named.len() as u64) {
            named += ", …";
        }
        vec![cell(&row["model"]), cell(&row["firmware"]), cell(&row["devices"]), named]
    });
    let devices = rows(&result["devices"], |row| {
        let source = match (row["in_sbom"] == true, row["reported"] == true) {
            (true, true) => "SBOM, device",
            (true, false) => "SBOM",
            _ => "device",
        };
        let mut cells: Vec<String> =
            ["name", "model", "firmware", "state"].iter().map(|key| cell(&row[*key])).collect();
        cells.push(source.into());
        cells
    });
    if firmware.is_empty() && devices.is_empty() {
        return format!("No SBOM has {}, and no device reports it", cell(&result["query"]));
    }
    let mut text = table(&["MODEL", "FIRMWARE", "DEVICES", "COMPONENTS"], &firmware);
    text += &format!("\n{}", table(&["DEVICE", "MODEL", "FIRMWARE", "STATE", "WHO SAYS SO"], &devices));
    let more = result["device_count"].as_u64().unwrap_or(0).saturating_sub(devices.len() as u64);
    if more > 0 {
        text += &format!("and {more} more: `portreeve device list --library {}`\n", cell(&result["query"]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told_with_who_says_so() {
        let text = found(&json!({
            "query": "openssl", "device_count": 1002,
            "firmware": [{ "model": "P30", "firmware": "2.1.0", "devices": 1, "component_count": 3,
                "components": [{ "name": "openssl", "version": "3.0.7", "purl": "" }, { "name": "openssl", "version": "", "purl": "x" }] }],
            "devices": [
                { "name": "p-1", "model": "P30", "firmware": "2.1.0", "state": "active", "in_sbom": true, "reported": false },
                { "name": "l-1", "model": "L7", "firmware": "1", "state": "active", "in_sbom": false, "reported": true },
            ],
        }));
        for line in ["openssl 3.0.7, openssl, …", "p-1", "active  SBOM\n", "active  device\n", "and 1000 more"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let none = json!({ "query": "x", "device_count": 0, "firmware": [], "devices": [] });
        assert_eq!(found(&none), "No SBOM has x, and no device reports it");
    }
}
