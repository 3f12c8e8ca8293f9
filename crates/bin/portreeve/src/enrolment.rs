//! `portreeve enrolment`: whose word lets devices in.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use portreeve_hub::{AdminRequest, GroupSettings, ProofSettings};
use portreeve_pki::{
    AllowList, KeyKind, PkiError, allow_list_devices, audit_device_key, audit_endorsement_key, make_csr, signing_key,
};
use portreeve_types::{KeyHash, UnixMillis};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    admin::Administration,
    cli::{EnrolmentCommand, Global, GroupAdd, GroupCommand, ListCommand},
    enrol::listed_hash,
    failure::Failure,
    output::{cell, rows, say, show, table},
};

/// Bytes of one file; a revocation list of a large maker fits.
const FILE_BYTES_MAX: u64 = 12 << 20;

pub(crate) fn run(global: &Global, command: EnrolmentCommand) -> Result<(), Failure> {
    let ask = |request| Ok::<_, Failure>(Administration::new(global)?.request(request)?.result);
    match command {
        EnrolmentCommand::Rules => show(global, &ask(AdminRequest::EnrolmentRules)?, rules),
        EnrolmentCommand::Group { command } => match command {
            GroupCommand::Add(add) => {
                let request = AdminRequest::EnrolmentGroupAdd { settings: Box::new(settings(add)?) };
                show(global, &ask(request)?, |group| changed(group, "is in force"))
            }
            GroupCommand::List => show(global, &ask(AdminRequest::EnrolmentGroups)?, groups),
            GroupCommand::Remove { name } => {
                let request = AdminRequest::EnrolmentGroupRemove { name };
                show(global, &ask(request)?, |group| format!("{} vouches for nobody any more", cell(&group["name"])))
            }
            GroupCommand::Crls { name, files } => {
                let request = AdminRequest::EnrolmentGroupCrls { name, crls_pem: read_all(&files)? };
                show(global, &ask(request)?, |group| changed(group, "has its revocation lists"))
            }
            GroupCommand::Allow { name, file } => {
                let request = AdminRequest::EnrolmentGroupList { name, document: read(&file)? };
                show(global, &ask(request)?, |group| changed(group, "has its list"))
            }
        },
        EnrolmentCommand::List { command } => match command {
            ListCommand::Entry { serial, key, tpm, tcti } => entry(global, &serial, key.as_deref(), tpm, &tcti),
            ListCommand::Sign { file, key, edition, valid } => sign(global, &file, &key, edition, valid),
        },
    }
}

fn settings(add: GroupAdd) -> Result<GroupSettings, Failure> {
    let GroupAdd { name, maker_ca, tpm_ca, crl, list_signer, tpm, names, kind, group, approval } = add;
    let proof = if !maker_ca.is_empty() {
        ProofSettings::Maker { anchors_pem: read_all(&maker_ca)?, crls_pem: read_all(&crl)? }
    } else if !tpm_ca.is_empty() {
        ProofSettings::Tpm { anchors_pem: read_all(&tpm_ca)?, crls_pem: read_all(&crl)? }
    } else {
        ProofSettings::List { signers_pem: read_all(&list_signer)?, list: None, tpm }
    };
    Ok(GroupSettings { name, names, kind, group, approval, proof })
}

fn changed(group: &Value, what: &str) -> String {
    format!("{} {what}: {}, {}", cell(&group["name"]), cell(&group["proof"]), cell(&group["detail"]))
}

fn rules(result: &Value) -> String {
    let row = |row: &Value| ["rule", "proof", "gives", "approval"].iter().map(|key| cell(&row[*key])).collect();
    table(&["RULE", "WHAT IS SHOWN", "WHAT IT GIVES", "APPROVAL"], &rows(result, row))
}

fn groups(result: &Value) -> String {
    let row = |row: &Value| {
        ["name", "proof", "detail", "names", "kind", "group", "approval"].iter().map(|key| cell(&row[*key])).collect()
    };
    table(&["NAME", "WHAT IS SHOWN", "DETAIL", "NAMES", "KIND", "GROUP", "APPROVAL"], &rows(result, row))
}

fn read_all(files: &[PathBuf]) -> Result<String, Failure> {
    let texts: Vec<String> = files.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    Ok(texts.join("\n"))
}

fn read(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let failed = |error| Failure::Usage(format!("cannot read {shown}: {error}"));
    if fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("{shown} is longer than {FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(file).map_err(failed)
}

/// The hash of a device's public key, or of the public half of a private one.
fn hash_of(file: &Path) -> Result<KeyHash, Failure> {
    let pem = Zeroizing::new(read(file)?);
    let public = pem::parse(pem.as_bytes()).ok().filter(|block| block.tag() == "PUBLIC KEY");
    let hash = match public {
        Some(block) => audit_device_key(block.contents(), KeyKind::ALL).map(|key| key.hash()).map_err(PkiError::from),
        None => make_csr(&pem, None).map(|(_, key)| key),
    };
    hash.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

/// The hash of a TPM's endorsement key. RSA of 2048 bits is for these only: a device's own key of that length is refused.
fn endorsement_hash_of(file: &Path) -> Result<KeyHash, Failure> {
    let shown = file.display();
    let pem = pem::parse(read(file)?).ok().filter(|block| block.tag() == "PUBLIC KEY");
    let pem = pem.ok_or_else(|| Failure::Usage(format!("{shown}: PEM of a PUBLIC KEY is expected")))?;
    audit_endorsement_key(pem.contents()).map_err(|error| Failure::Usage(format!("{shown}: {error}")))
}

/// Without a file, the key is that of this machine's TPM.
fn entry(global: &Global, serial: &str, key: Option<&Path>, tpm: bool, tcti: &str) -> Result<(), Failure> {
    let hash = match key {
        Some(file) if tpm => endorsement_hash_of(file)?,
        Some(file) => hash_of(file)?,
        None => listed_hash(tcti)?,
    };
    let result = json!({ "serial": serial, "key_sha256": hash.to_string() });
    show(global, &result, |_| format!("{serial},{hash}"))
}

fn sign(global: &Global, file: &Path, key: &Path, edition: u64, valid: Duration) -> Result<(), Failure> {
    let devices =
        allow_list_devices(&read(file)?).map_err(|problem| Failure::Usage(format!("{}: {problem}", file.display())))?;
    let count = devices.len();
    let pem = Zeroizing::new(read(key)?);
    let refused = |error| Failure::Usage(format!("{error}"));
    let key = signing_key(&pem).map_err(|error| Failure::Usage(format!("{}: {error}", key.display())))?;
    let now: UnixMillis = SystemTime::now().into();
    let list = AllowList::new(edition, now, now.plus(valid), devices).map_err(refused)?;
    let document = list.seal(&key).map_err(refused)?;
    match global.output {
        crate::cli::Output::Json => {
            show(global, &json!({ "edition": edition, "devices": count, "list": document }), |_| String::new())
        }
        crate::cli::Output::Table => say(&document),
    }
}
