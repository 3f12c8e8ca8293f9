//! `portreeve ca`.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use portreeve_config::Config;
use portreeve_hub::{AdminRequest, OpenError, ProtectionChange, change_protection, export_root};
use portreeve_keys::{PassphraseSource, forbid_core_dumps};
use rustix::fs::Mode;
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{CaCommand, CustodyChange, Global, IssuingCa, KeyFiles, Output, RootCommand},
    failure::{Failure, is_locked},
    output::{cell, instant, remark, say, say_json, show, table},
};

pub(crate) fn run(global: &Global, command: CaCommand) -> Result<(), Failure> {
    let hub = Administration::new(global)?;
    match command {
        CaCommand::Show => show_cas(global, &hub),
        CaCommand::Rotate { ca, dry_run } => {
            let request = AdminRequest::CaRotate { ca: ca.map(Into::into), dry_run };
            show(global, &hub.request(request)?.result, followed)
        }
        CaCommand::Request { ca } => request(global, &hub, ca.into()),
        CaCommand::Import { file, dry_run } => import(global, &hub, &file, dry_run),
        CaCommand::Custody(change) => custody(global, hub.config(), &change),
        CaCommand::Root { command: RootCommand::Export { dir, remove, dry_run } } => {
            export(global, hub.config(), &dir, remove, dry_run)
        }
    }
}

fn show_cas(global: &Global, hub: &Administration) -> Result<(), Failure> {
    let result = hub.request(AdminRequest::CaShow)?.result;
    show(global, &result, render)
}

fn render(result: &Value) -> String {
    let row = |entry: &Value| {
        let key = &entry["key"];
        let [protection, place] = match key.is_null() {
            true => ["not here".to_owned(), String::new()],
            false => [cell(&key["protection"]), cell(&key["place"])],
        };
        vec![cell(&entry["name"]), cell(&entry["purpose"]), instant(&entry["not_after_ms"]), protection, place]
    };
    let rows: Vec<_> = result["certificates"].as_array().into_iter().flatten().map(row).collect();
    table(&["NAME", "PURPOSE", "VALID UNTIL", "KEY", "PLACE"], &rows)
}

impl From<IssuingCa> for portreeve_hub::IssuingCa {
    fn from(ca: IssuingCa) -> Self {
        match ca {
            IssuingCa::Devices => Self::Devices,
            IssuingCa::Hub => Self::Hub,
        }
    }
}

fn request(global: &Global, hub: &Administration, ca: portreeve_hub::IssuingCa) -> Result<(), Failure> {
    let result = hub.request(AdminRequest::CaRequest { ca })?.result;
    if global.output == Output::Table {
        remark(&format!(
            "Have the root sign this within 30 days, as OPERATIONS.md shows; then `portreeve ca import FILE` takes {} into use.",
            cell(&result["name"])
        ));
    }
    show(global, &result, |result| cell(&result["request_pem"]))
}

fn import(global: &Global, hub: &Administration, file: &Path, dry_run: bool) -> Result<(), Failure> {
    let read = std::fs::read_to_string(file);
    let certificate_pem =
        read.map_err(|error| Failure::Usage(format!("cannot read {} as PEM: {error}", file.display())))?;
    let result = hub.request(AdminRequest::CaImport { certificate_pem, dry_run })?.result;
    show(global, &result, followed)
}

/// Which CAs issue from now on, or would.
fn followed(result: &Value) -> String {
    let names: Vec<_> = result["names"].as_array().into_iter().flatten().map(cell).collect();
    let verb = match (result["dry_run"] == true, names.len()) {
        (true, _) => "would issue",
        (false, 1) => "issues",
        (false, _) => "issue",
    };
    format!("{} {verb} from now on; what was issued before stays good until it ends", names.join(" and "))
}

fn custody(global: &Global, config: &Config, change: &CustodyChange) -> Result<(), Failure> {
    work_as_owner(&global.data)?;
    let (custody, to) = match (change.to, &change.new_passphrase_file) {
        (KeyFiles::File, _) => ("file", ProtectionChange::File),
        (KeyFiles::Sealed, None) => ("sealed", ProtectionChange::Sealed(PassphraseSource::Terminal)),
        (KeyFiles::Sealed, Some(file)) => ("sealed", ProtectionChange::Sealed(PassphraseSource::File(file.clone()))),
    };
    let keys = change_protection(&global.data, &config.keys, &to, change.dry_run).map_err(|error| {
        if is_locked(&error) {
            return Failure::Refused("a hub is running on this data directory: stop it first".into());
        }
        error.into()
    })?;
    if global.output == Output::Json {
        return say_json(&json!({ "custody": custody, "keys": keys, "dry_run": change.dry_run }));
    }
    let (keys, verb) = (keys.join(", "), if change.dry_run { "would become" } else { "are now" });
    let next = format!("set keys.custody to \"{custody}\" before the next start");
    say(&format!("the keys {keys} {verb} {}; {next}", if custody == "file" { "plain files" } else { "sealed" }))
}

fn export(global: &Global, config: &Config, dir: &Path, remove: bool, dry_run: bool) -> Result<(), Failure> {
    work_as_owner(&global.data)?;
    let export = export_root(&global.data, &config.keys, dir, remove, dry_run)?;
    let (key, certificate) = (export.key.display().to_string(), export.certificate.display().to_string());
    if global.output == Output::Json {
        return say_json(
            &json!({ "key": key, "certificate": certificate, "removed": export.removed, "dry_run": dry_run }),
        );
    }
    let what = match (dry_run, remove) {
        (true, true) => "would be copied, and the key then removed from the data directory",
        (true, false) => "would be copied",
        (false, true) => "were copied and the copy checked; the key is no longer in the data directory",
        (false, false) => "were copied and the copy checked; the key is still in the data directory as well",
    };
    say(&format!("{certificate} and {key}: certificate and key of the root {what}"))
}

/// Whoever writes here has to be the hub's user, or the hub could not read its own keys any more.
fn work_as_owner(data: &Path) -> Result<(), Failure> {
    let pki = data.join("pki");
    let Ok(metadata) = std::fs::metadata(&pki) else {
        return Err(OpenError::NotADataDirectory(data.to_owned()).into());
    };
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let (data, owner) = (data.display(), metadata.uid());
        return Err(Failure::Refused(format!("{data} belongs to user {owner}: run this as that user")));
    }
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    forbid_core_dumps().map_err(|error| Failure::Refused(format!("core dumps cannot be switched off: {error}")))
}
