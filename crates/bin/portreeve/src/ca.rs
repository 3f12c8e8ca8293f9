//! `portreeve ca`.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use portreeve_config::Config;
use portreeve_hub::{AdminRequest, OpenError, ProtectionChange, change_protection, export_root};
use portreeve_keys::{PassphraseSource, forbid_core_dumps};
use rustix::fs::Mode;
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{CaCommand, CustodyChange, Followed, Global, IssuingCa, KeyFiles, Output, RootCommand},
    failure::{Failure, is_locked},
    output::{cell, instant, remark, say, say_json, show, table},
};

pub(crate) fn run(global: &Global, command: CaCommand) -> Result<(), Failure> {
    let hub = Administration::new(global)?;
    match command {
        CaCommand::Show => show_cas(global, &hub),
        CaCommand::Rotate { ca, now, dry_run } => rotate(global, &hub, ca, now, dry_run),
        CaCommand::Revoke { name, reason, enrol_anew, dry_run } => {
            let request = AdminRequest::CaRevoke { name, reason, enrol_anew, dry_run };
            show(global, &hub.request(request)?.result, revoked)
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
        let purpose = match (entry["withdrawn"] == true, entry["certifies_from_ms"].as_u64()) {
            (true, _) => format!("withdrawn: {}", cell(&entry["purpose"])),
            (_, Some(from)) if from > 0 => {
                format!("{} (certifies from {})", cell(&entry["purpose"]), instant(&entry["certifies_from_ms"]))
            }
            _ => cell(&entry["purpose"]),
        };
        vec![cell(&entry["name"]), purpose, instant(&entry["not_after_ms"]), protection, place]
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

fn rotate(
    global: &Global,
    hub: &Administration,
    what: Option<Followed>,
    at_once: bool,
    dry_run: bool,
) -> Result<(), Failure> {
    if at_once && what != Some(Followed::Root) {
        return Err(Failure::Usage("--now is for the root alone; other CAs issue at once".into()));
    }
    let issuing = |ca| AdminRequest::CaRotate { ca, dry_run };
    let request = match what {
        None => issuing(None),
        Some(Followed::Devices) => issuing(Some(portreeve_hub::IssuingCa::Devices)),
        Some(Followed::Hub) => issuing(Some(portreeve_hub::IssuingCa::Hub)),
        Some(Followed::Root) => AdminRequest::RootRotate { at_once, dry_run },
        Some(Followed::Trust) => AdminRequest::TrustRotate { dry_run },
    };
    show(global, &hub.request(request)?.result, followed)
}

/// What came of a withdrawal.
fn revoked(result: &Value) -> String {
    let name = cell(&result["name"]);
    if result["dry_run"] == true {
        return format!("{name} would be withdrawn, and its certificates admit nobody any more");
    }
    let back = match result["known_may_renew"] == true {
        true => "its devices come back with `portreeve device renew DIR --now`",
        false => "its devices enrol anew: `portreeve device code NAME`",
    };
    let next = match result["successor"].as_str() {
        Some(next) => format!("{next} issues from now on"),
        None => "no other CA issues in its place yet".to_owned(),
    };
    let problems: Vec<_> = result["problems"].as_array().into_iter().flatten().map(cell).collect();
    let lines = [format!(
        "{name} is withdrawn, {} connections were closed; {next}; {back}",
        cell(&result["connections_closed"])
    )];
    lines.into_iter().chain(problems).collect::<Vec<_>>().join("\n")
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

/// What takes the place of what from now on, or would.
fn followed(result: &Value) -> String {
    let would = result["dry_run"] == true;
    if let Some(root) = result["root"].as_str() {
        let problems: Vec<_> = result["problems"].as_array().into_iter().flatten().map(cell).collect();
        let is_alone = result["is_cross_certified"] == false;
        let hint =
            "it is not cross-certified: devices that know only the old root need it before, as OPERATIONS.md says";
        let verb = if would { "would be announced and certify" } else { "is announced and certifies" };
        let first = format!("{root} {verb} from {} on", instant(&result["from_ms"]));
        return [first]
            .into_iter()
            .chain(problems)
            .chain(is_alone.then(|| hint.to_owned()))
            .collect::<Vec<_>>()
            .join("\n");
    }
    if let Some(number) = result["trust"].as_u64() {
        return format!("the {number}. key {} trust bundles from now on", if would { "would sign" } else { "signs" });
    }
    if let Some(root) = result["cross"].as_str() {
        return format!("what the root before has certified of {root} {} taken", if would { "can be" } else { "is" });
    }
    if let Some(root) = result["list"].as_str() {
        return format!("the list of {root} {} published", if would { "can be" } else { "is" });
    }
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
