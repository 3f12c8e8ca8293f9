//! `portreeve device`.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use portreeve_hub::{AdminRequest, Bundle, Fields};
use portreeve_types::{IdentityName, LifecycleState};
use serde_json::{Value, json};

use crate::{
    admin::Administration,
    cli::{Add, Change, DeviceCommand, FieldArgs, Global},
    enrol,
    failure::Failure,
    firmware, inventory,
    output::{cell, instant, list, rows, show, table},
};

const CA: &str = "ca.pem";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";

pub(crate) fn run(global: &Global, command: DeviceCommand) -> Result<(), Failure> {
    // Not for what a device does: there is no hub on its machine.
    let hub = || Administration::new(global);
    match command {
        DeviceCommand::Add(add) => self::add(global, &hub()?, add),
        DeviceCommand::Code { name, valid } => code(global, &hub()?, name, valid),
        DeviceCommand::Enrol(args) => enrol::enrol(global, args),
        DeviceCommand::Renew(args) => enrol::renew(global, &args),
        DeviceCommand::List(args) => inventory::list(global, &hub()?, args),
        DeviceCommand::Export(args) => inventory::export(global, &hub()?, args),
        DeviceCommand::Import(args) => inventory::import(global, &hub()?, &args),
        DeviceCommand::Show { name } => {
            show(global, &hub()?.request(AdminRequest::DeviceShow { name })?.result, identity)
        }
        DeviceCommand::History { name } => {
            show(global, &hub()?.request(AdminRequest::DeviceHistory { name })?.result, history)
        }
        DeviceCommand::Edit { name, fields } => {
            let request = AdminRequest::DeviceEdit { name, fields: fields.into() };
            show(global, &hub()?.request(request)?.result, identity)
        }
        DeviceCommand::Disable(change) => become_(global, &hub()?, change, LifecycleState::Disabled),
        DeviceCommand::Enable(change) => become_(global, &hub()?, change, LifecycleState::Active),
        DeviceCommand::Quarantine(change) => become_(global, &hub()?, change, LifecycleState::Quarantined),
        DeviceCommand::Revoke(change) => become_(global, &hub()?, change, LifecycleState::Revoked),
        DeviceCommand::Wipe { name, reason } => {
            show(global, &hub()?.request(AdminRequest::DeviceWipe { name, reason })?.result, |result| {
                format!(
                    "{} is confined and told to wipe itself on {}; `portreeve device history {0}` shows whether it has",
                    cell(&result["name"]),
                    cell(&result["topic"]),
                )
            })
        }
        DeviceCommand::Dispose { name, statement } => {
            show(global, &hub()?.request(AdminRequest::DeviceDispose { name, statement })?.result, |result| {
                format!("{}: {}", cell(&result["name"]), cell(&result["disposal"]))
            })
        }
        DeviceCommand::Retire(change) => become_(global, &hub()?, change, LifecycleState::Retired),
    }
}

impl From<FieldArgs> for Fields {
    fn from(args: FieldArgs) -> Self {
        let FieldArgs { group, owner, location, model, firmware, notes } = args;
        Self { group, owner, location, model, firmware, notes }
    }
}

fn become_(global: &Global, hub: &Administration, change: Change, to: LifecycleState) -> Result<(), Failure> {
    let Change { name, reason, dry_run } = change;
    let request = AdminRequest::DeviceState { name, to, reason, dry_run };
    show(global, &hub.request(request)?.result, |result| {
        if dry_run {
            let (name, from) = (cell(&result["name"]), cell(&result["from"]));
            return format!("{name} would become {to} (it is {from}, with {} sessions)", result["sessions"]);
        }
        let closed = result["connections_closed"].as_u64().unwrap_or(0);
        let closed = match closed {
            0 => String::new(),
            1 => "; its connection was closed".to_owned(),
            many => format!("; {many} connections were closed"),
        };
        format!("{} is {to}{closed}", cell(&result["name"]))
    })
}

fn code(global: &Global, hub: &Administration, name: IdentityName, valid: Option<Duration>) -> Result<(), Failure> {
    let request = AdminRequest::DeviceCode { name, valid_s: valid.map(|valid| valid.as_secs()) };
    let mut result = hub.request(request)?.result;
    let at = listener(hub, "device_https", hub.config().device_https.listen);
    let (host, port) = (public_host(hub, at), at.port());
    result["hub"] = json!(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
    show(global, &result, |result| {
        let (name, code, until) = (cell(&result["name"]), cell(&result["code"]), instant(&result["expires_ms"]));
        format!(
            "{code}\n\nOne-time code for {name}, valid until {until}. It is shown this once. On the device:\n  \
             portreeve device enrol {name} --hub {} --ca-sha256 {} --out {name}\n\n\
             or with any EST client (RFC 7030): user {name}, password the code, \
             https://{}/.well-known/est/simpleenroll",
            cell(&result["hub"]),
            cell(&result["ca_sha256"]),
            cell(&result["hub"]),
        )
    })
}

fn add(global: &Global, hub: &Administration, add: Add) -> Result<(), Failure> {
    let Add { name, kind, fields, out, days } = add;
    if let Some(directory) = &out {
        prepare(directory)?;
    }
    let request =
        AdminRequest::DeviceAdd { name: name.clone(), kind, fields: fields.into(), bundle: out.is_some(), days };
    let mut result = hub.request(request)?.result;
    let bundle = result.as_object_mut().and_then(|fields| fields.remove("bundle")).unwrap_or_default();
    let Some(directory) = out else {
        return show(global, &result, |result| {
            format!(
                "{0} {1} is registered, and pending until it has a certificate: `portreeve device code {1}` makes a one-time code for it",
                cell(&result["kind"]),
                cell(&result["name"])
            )
        });
    };
    store(&directory, &bundle).map_err(|(path, error)| lost(&name, &path, &error))?;
    result["bundle"] = json!({ "directory": directory.display().to_string(), "files": [CA, CERT, KEY] });
    let at = listener(hub, "mqtt", hub.config().mqtt.listen);
    show(global, &result, |result| usage(result, &name, &directory, &local_host(at), at.port()))
}

/// Makes the directory before anything is registered, so that a wrong path costs nothing.
fn prepare(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    if let Some(file) = [CA, CERT, KEY].iter().find(|file| directory.join(file).symlink_metadata().is_ok()) {
        return Err(Failure::Refused(format!(
            "{shown} holds a {file} already; choose another directory: nothing was registered"
        )));
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| Failure::Usage(format!("cannot make {shown}: {error}; nothing was registered")))
}

fn store(directory: &Path, bundle: &Value) -> Result<(), (PathBuf, io::Error)> {
    let bundle: Bundle =
        serde_json::from_value(bundle.clone()).map_err(|error| (directory.to_owned(), error.into()))?;
    // The key last: where it is, the bundle is whole.
    let files = [(CA, &bundle.ca_pem, 0o644), (CERT, &bundle.cert_pem, 0o644), (KEY, &bundle.key_pem, 0o600)];
    for (file, pem, mode) in files {
        let path = directory.join(file);
        let written =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).and_then(|mut file| {
                file.write_all(pem.as_bytes())?;
                file.sync_all()
            });
        written.map_err(|error| (path, error))?;
    }
    Ok(())
}

fn lost(name: &IdentityName, path: &Path, error: &io::Error) -> Failure {
    Failure::Refused(format!(
        "{name} is registered, but {} could not be written: {error}. Its key exists nowhere else, so it is lost: \
         `portreeve device retire {name} --reason 'bundle lost'`, then register the device under another name",
        path.display()
    ))
}

/// Where a door of the hub is.
fn listener(hub: &Administration, name: &str, configured: SocketAddr) -> SocketAddr {
    let listening = hub.live(&AdminRequest::Status).ok().and_then(|outcome| {
        let listeners = outcome.result["listeners"].as_array()?.clone();
        let listener = listeners.iter().find(|row| row["name"] == name)?;
        listener["address"].as_str()?.parse::<SocketAddr>().ok()
    });
    listening.unwrap_or(configured)
}

/// The host as a client on this machine reaches it.
fn local_host(at: SocketAddr) -> String {
    let local = at.ip().is_unspecified() || at.ip().is_loopback();
    if local { "localhost".into() } else { at.ip().to_string() }
}

/// The host as other machines reach it: under a name that its certificate holds.
fn public_host(hub: &Administration, at: SocketAddr) -> String {
    if !at.ip().is_unspecified() {
        return local_host(at);
    }
    let own = || rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    hub.config().hub.names.first().cloned().unwrap_or_else(own)
}

fn usage(result: &Value, name: &IdentityName, directory: &Path, host: &str, port: u16) -> String {
    let directory = quoted(&directory.display().to_string());
    let kind = cell(&result["kind"]);
    let topic = format!("devices/{name}/telemetry/hello");
    let options =
        if (host, port) == ("localhost", 8883) { String::new() } else { format!(" --host {host} --port {port}") };
    format!(
        "{kind} {name} is registered; ca.pem, cert.pem and key.pem are in {directory}. Move key.pem to the {kind} and keep no copy.\n\n\
         Try it:\n  \
         portreeve client pub --bundle {directory}{options} -t {topic} -m hello\n\n\
         or with any MQTT client, such as\n  \
         mosquitto_pub -h {host} -p {port} --cafile {directory}/{CA} --cert {directory}/{CERT} --key {directory}/{KEY} -V 5 -i {name} -q 1 -t {topic} -m hello"
    )
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

pub(crate) fn identities(result: &Value) -> String {
    let columns = ["name", "kind", "group", "state", "location", "firmware"];
    let row = |row: &Value| {
        let mut cells: Vec<String> = columns.iter().map(|column| cell(&row[column])).collect();
        cells.push(instant(&row["last_seen_ms"]));
        cells
    };
    table(&["NAME", "KIND", "GROUP", "STATE", "LOCATION", "FIRMWARE", "LAST SEEN"], &rows(result, row))
}

fn identity(result: &Value) -> String {
    let words = [
        "name",
        "kind",
        "state",
        "state_reason",
        "group",
        "owner",
        "location",
        "model",
        "firmware",
        "posture",
        "silent",
        "notes",
        "id",
    ];
    let mut pairs: Vec<(&str, String)> = words.iter().map(|word| (*word, cell(&result[word]))).collect();
    pairs.push(("created", instant(&result["created_ms"])));
    pairs.push(("changed", instant(&result["changed_ms"])));
    pairs.push(("last seen", instant(&result["last_seen_ms"])));
    pairs.push(("sbom", cell(&result["composition"]["sbom"]["sha256"])));
    pairs.push(("sbom problem", cell(&result["composition"]["sbom"]["problem"])));
    pairs.retain(|(_, value)| !value.is_empty());
    let mut text = list(&pairs);
    let composition = &result["composition"];
    if composition["libraries"].as_array().is_some_and(|libraries| !libraries.is_empty()) {
        text += &format!("\nBy its own word it runs\n{}", firmware::components(&composition["libraries"]));
    }
    if composition["sbom"]["lacks"].as_array().is_some_and(|lacks| !lacks.is_empty()) {
        text += &format!("\nThe SBOM of its firmware lacks\n{}", firmware::components(&composition["sbom"]["lacks"]));
    }
    let certificates = rows(&result["certificates"], |row| {
        let revoked = if row["revoked_ms"].is_null() { "no".into() } else { instant(&row["revoked_ms"]) };
        vec![cell(&row["serial"]), instant(&row["issued_ms"]), instant(&row["not_after_ms"]), revoked]
    });
    if !certificates.is_empty() {
        text += &format!("\n{}", table(&["CERTIFICATE", "ISSUED", "VALID UNTIL", "REVOKED"], &certificates));
    }
    let sessions = rows(&result["sessions"], |row| {
        let subscriptions: Vec<String> = row["subscriptions"].as_array().into_iter().flatten().map(cell).collect();
        let mut cells: Vec<String> = ["client_id", "connected", "address", "transport", "queued_messages"]
            .iter()
            .map(|key| cell(&row[key]))
            .collect();
        cells.push(subscriptions.join(" "));
        cells
    });
    if !sessions.is_empty() {
        let head = ["SESSION", "CONNECTED", "ADDRESS", "TRANSPORT", "QUEUED", "SUBSCRIPTIONS"];
        text += &format!("\n{}", table(&head, &sessions));
    }
    text
}

fn history(result: &Value) -> String {
    let row = |row: &Value| {
        let mut cells = vec![instant(&row["at_ms"])];
        cells.extend(["field", "before", "after", "actor", "reason"].map(|key| cell(&row[key])));
        cells
    };
    table(&["WHEN", "WHAT", "BEFORE", "AFTER", "BY", "WHY"], &rows(result, row))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn bundle() -> Value {
        json!({ "ca_pem": "CA", "cert_pem": "CERT", "key_pem": "KEY" })
    }

    #[test]
    fn a_bundle_is_private_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("new/lamp-1");
        prepare(&out).unwrap();
        store(&out, &bundle()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&out), mode(&out.join(KEY))), (0o700, 0o600));
        assert!(matches!(prepare(&out), Err(Failure::Refused(_))));
        assert!(store(&out, &bundle()).is_err());
        assert_eq!(fs::read_to_string(out.join(KEY)).unwrap(), "KEY");
    }

    #[test]
    fn a_lost_bundle_is_said_precisely() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("gone");
        let (path, error) = store(&missing, &bundle()).unwrap_err();
        let Failure::Refused(text) = lost(&"lamp-1".parse().unwrap(), &path, &error) else { panic!("another failure") };
        assert!(
            text.contains("lamp-1 is registered") && text.contains("gone/ca.pem") && text.contains("retire"),
            "{text}"
        );
    }

    #[test]
    fn the_printed_commands_survive_a_shell() {
        let text =
            usage(&json!({ "kind": "device" }), &"l".parse().unwrap(), Path::new("my bundles/l"), "localhost", 1883);
        assert!(text.contains("--bundle 'my bundles/l' --host localhost --port 1883"), "{text}");
        assert!(text.contains("--key 'my bundles/l'/key.pem"), "{text}");
    }

    #[test]
    fn an_identity_shows_its_sessions_and_certificates() {
        let text = identity(&json!({
            "name": "lamp-1", "kind": "device", "state": "active", "notes": "", "created_ms": 0, "changed_ms": 0, "last_seen_ms": null,
            "certificates": [{ "serial": "ab", "issued_ms": 0, "not_after_ms": 1000, "revoked_ms": null }],
            "sessions": [{ "client_id": "lamp-1", "connected": true, "address": "::1", "transport": "mqtt", "queued_messages": 3,
                           "subscriptions": ["a/#", "b"] }],
        }));
        assert!(text.contains("last seen  never") && !text.contains("notes"), "{text}");
        assert!(text.contains("ab           1970-01-01T00:00:00Z  1970-01-01T00:00:01Z  no"), "{text}");
        assert!(text.contains("lamp-1   yes        ::1      mqtt            3  a/# b"), "{text}");
    }
}
