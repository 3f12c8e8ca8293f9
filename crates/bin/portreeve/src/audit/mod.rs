//! `portreeve audit`: a deployment is looked at, requirement by requirement.
//!
//! A [`Scope`](portreeve_assurance::Scope) says what may be looked at and how; [`run`] makes its visits, keeps what they bring in a
//! [`folder`] so that an interrupted run goes on, and writes a signed report. The short forms (`audit endpoint`, …) make a scope of
//! their arguments and go the same way.

mod config;
mod device;
mod endpoint;
mod files;
mod folder;
mod hub;
mod key;
mod material;
mod run;
mod summary;
mod visit;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use portreeve_assurance::{Catalogue, Class, SCOPE_BYTES_MAX, Scope, plan};
use portreeve_types::UnixMillis;
use serde_json::json;

use crate::{
    cli::{Global, Output},
    failure::Failure,
    output::{say, say_json, table},
};

/// What evidence says that it was taken with.
const TOOL: &str = concat!("portreeve ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Look at one endpoint from outside: mqtts, mqtt, https, http, coaps, coap, ssh, tls or dtls
    #[command(
        after_help = "Examples:\n  portreeve audit endpoint mqtts://broker.example.org\n  portreeve audit endpoint mqtts://broker.example.org:8883 --ca root.pem --identity lamp-1 --out audit-1\n  portreeve audit endpoint tls://192.0.2.7:443 --server-name www.example.org\n\nNothing but this endpoint is connected to. Status 1 if a check failed."
    )]
    Endpoint(endpoint::EndpointArgs),
    /// Look at this hub: what it knows of itself, and its ports from outside, which have to agree
    #[command(
        after_help = "Examples:\n  portreeve audit hub\n  portreeve audit hub --host hub.example.org --identity lamp-1 --ceiling ceiling.cedar --out audit-1\n  portreeve audit hub --identity lamp-9 --test-device lamp-9 --allow intrusive --authorised-by Ada --reference 'Change 4711'\n\nRun it as the hub's user, or as an operator who may audit. Status 1 if a check failed."
    )]
    Hub(hub::HubArgs),
    /// Read configurations, software lists, folders and the results of other scanners
    #[command(
        after_help = "Examples:\n  portreeve audit config /etc/mosquitto/mosquitto.conf /etc/mosquitto/acl /etc/ssh/sshd_config\n  portreeve audit config firmware/                          secrets in every file\n  portreeve audit config --sbom sbom.json --feed osv/\n  nft -j list ruleset > rules.json; portreeve audit config rules.json"
    )]
    Config(config::ConfigArgs),
    /// Play a server to a device, with one bad certificate after another, and see which it accepts
    #[command(
        after_help = "Examples:\n  portreeve audit device 192.0.2.30 --listen mqtts://192.0.2.7:8883 --server-name hub.example.org --good hub/ --trusted-ca ca/\n  portreeve audit device lamp-1.local --listen https://0.0.0.0:443 --trusted-ca ca/ --face-time 30s"
    )]
    Device(device::DeviceArgs),
    /// Examine a declared deployment: endpoints, hosts, devices, files, hub
    ///
    /// The scope says what there is, what is expected of it and what an audit may do. An interrupted run goes on where it was
    /// when the same command is given again.
    #[command(
        after_help = "Examples:\n  portreeve audit scope > plant.toml        a declaration to begin with\n  portreeve audit run plant.toml --plan     what would be looked at\n  portreeve audit run plant.toml --out audit-1"
    )]
    Run {
        /// The declaration
        scope: PathBuf,
        /// Only say what would be looked at, and what stands against it
        #[arg(long)]
        plan: bool,
        #[command(flatten)]
        options: Options,
    },
    /// Write a declaration to begin with, to standard output
    Scope,
}

/// Where the report goes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write the report with its evidence to this new folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The Ed25519 private key (PEM) that signs it; your own, made at first use, without it
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Option<PathBuf>,
    /// No progress on standard error
    #[arg(long, short)]
    quiet: bool,
}

/// What checks may do to a target.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Permitted {
    /// Nothing is sent
    Passive,
    /// What any client could do, within bounds
    Safe,
    /// What may disturb it; needs --authorised-by and --reference
    Intrusive,
}

impl From<Permitted> for Class {
    fn from(permitted: Permitted) -> Self {
        match permitted {
            Permitted::Passive => Self::Passive,
            Permitted::Safe => Self::Safe,
            Permitted::Intrusive => Self::Intrusive,
        }
    }
}

pub(crate) fn run(global: &Global, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Endpoint(args) => endpoint::run(global, &args),
        AuditCommand::Hub(args) => hub::run(global, &args),
        AuditCommand::Config(args) => config::run(global, &args),
        AuditCommand::Device(args) => device::run(global, &args),
        AuditCommand::Run { scope, plan: is_plan, options } => {
            let (declared, base) = read(&scope)?;
            if is_plan { planned(global, &declared) } else { run::run(global, &declared, &base, &options) }
        }
        AuditCommand::Scope => say(Scope::EXAMPLE),
    }
}

/// A scope, and the folder that its paths are relative to.
fn read(path: &Path) -> Result<(Scope, PathBuf), Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if metadata.len() > SCOPE_BYTES_MAX as u64 || !metadata.is_file() {
        return Err(unreadable(&format!("not a file of at most {SCOPE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    let scope = Scope::from_toml(&text).map_err(|error| Failure::Usage(format!("{}, {error}", path.display())))?;
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    Ok((scope, base))
}

/// What would be looked at.
fn planned(global: &Global, scope: &Scope) -> Result<(), Failure> {
    let visits = plan(scope, Catalogue::embedded());
    let rows: Vec<[String; 4]> = visits
        .iter()
        .flat_map(|visit| {
            visit.checks.iter().map(|(check, objection)| {
                let look = visit.look.name().to_owned();
                [visit.target.clone(), look, check.to_string(), objection.clone().unwrap_or_default()]
            })
        })
        .collect();
    if global.output == Output::Json {
        let value = |[target, look, check, objection]: &[String; 4]| {
            let objection = Some(objection).filter(|objection| !objection.is_empty());
            json!({ "target": target, "look": look, "check": check, "not_made_because": objection })
        };
        return say_json(&rows.iter().map(value).collect());
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    say(&table(&["TARGET", "LOOKS AT", "CHECK", "NOT MADE, BECAUSE"], &rows))
}

fn now() -> UnixMillis {
    portreeve_mqtt_server::now().wall
}
