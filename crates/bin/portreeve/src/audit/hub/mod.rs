//! `portreeve audit hub`: a hub's own data, and its ports from outside.

mod link;
mod visit;

use std::path::{Path, PathBuf};

use clap::Args;
use portreeve_assurance::{
    Authorisation, Class, DeclaredHost, Deployment, Endpoint, Host, HubPart, Scope, TestIdentity, Url,
    evidence::{
        hub::{ClientCertificates, HubExpectations, HubListeners, Protocol},
        mutual::Credential,
    },
};
use portreeve_types::UnixMillis;
use serde_json::Value;

use super::{
    Options, Permitted,
    endpoint::{AUTHORISED_MS, bad_identity, identities, identity},
    now,
    run::run as examine,
};
use crate::{catalogue::Which, cli::Global, failure::Failure, output::remark};

pub(super) use link::HubLink;

#[derive(Debug, Args)]
pub(crate) struct HubArgs {
    /// The name or address by which devices reach the hub: its ports are looked at from there; without it, only its own doors on this machine
    #[arg(long, value_name = "HOST")]
    host: Option<Host>,
    /// A test identity that should get in: a folder with cert.pem and key.pem, called as its MQTT client id unless NAME is given; may
    /// be repeated
    #[arg(long = "identity", value_name = "[NAME=]DIR", value_parser = identity)]
    identities: Vec<TestIdentity>,
    /// A test identity that should not, as STATE=DIR: expired, not-yet-valid, wrong-ca, wrong-usage or revoked; may be repeated
    #[arg(long = "bad-identity", value_name = "STATE=DIR", value_parser = bad_identity)]
    bad_identities: Vec<(Credential, PathBuf)>,
    /// A policy file that the policy in force has to stay within, proven by cvc5; may be repeated
    #[arg(long, value_name = "FILE")]
    ceiling: Vec<PathBuf>,
    /// The key by which its ledger is signed, from elsewhere than the hub; the one beside the ledger without it
    #[arg(long, value_name = "KEY")]
    ledger_key: Option<String>,
    /// What the deployment demands of its hub: the [hub.expect] of a scope, as a TOML file
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Have it test its detectors and alerts now: its contacts hear of it
    #[arg(long)]
    self_test: bool,
    /// Quarantine this device and release it; if it is one of --identity, it is connected meanwhile. Needs --allow intrusive
    #[arg(long, value_name = "NAME")]
    test_device: Option<String>,
    /// What checks may do
    #[arg(long = "allow", value_enum, default_value_t = Permitted::Safe, value_name = "CLASS")]
    permitted: Permitted,
    /// Who authorised intrusive checks
    #[arg(long, value_name = "NAME", requires = "reference")]
    authorised_by: Option<String>,
    /// By which paper
    #[arg(long, value_name = "TEXT", requires = "authorised_by")]
    reference: Option<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    options: Options,
}

/// What is looked at where no address was given.
const HERE: &str = "localhost";

pub(super) fn run(global: &Global, args: &HubArgs) -> Result<(), Failure> {
    let listeners = link::listeners_if_running(global)?;
    if listeners.is_none() {
        remark("No hub is running: only its data are looked at, not its ports");
    }
    let scope = scope(args, listeners.as_ref())?;
    examine(global, &scope, Path::new(""), &args.options)
}

/// A scope with this hub, its doors and nothing else.
fn scope(args: &HubArgs, listeners: Option<&HubListeners>) -> Result<Scope, Failure> {
    let identities = identities(&args.identities, &args.bad_identities);
    let deployment = Deployment { name: "this hub".into(), owner: "whoever runs this command".into() };
    let mut scope = Scope::of(deployment, args.which.selection()?);
    scope.checks.class = Class::from(args.permitted);
    scope.authorisation = args.authorised_by.as_ref().zip(args.reference.as_ref()).map(|(by, reference)| {
        Authorisation { by: by.clone(), reference: reference.clone(), until: UnixMillis(now().0 + AUTHORISED_MS) }
    });
    let names: Vec<String> = identities.iter().map(|identity| identity.name.clone()).collect();
    scope.identities = identities;
    if let Some(listeners) = listeners {
        scope.endpoints = endpoints(args, listeners, &names)?;
        scope.hosts = args.host.iter().map(|host| host_of(host, listeners)).collect::<Result<_, _>>()?;
    }
    scope.hub = Some(HubPart {
        data: None,
        ceiling: args.ceiling.clone(),
        ledger_key: args.ledger_key.clone(),
        self_test: args.self_test,
        test_device: args.test_device.clone(),
        expect: args.expect.as_deref().map(expectations).transpose()?.unwrap_or_default(),
    });
    scope.checked().map_err(Failure::Usage)
}

/// The doors that speak TLS; what is in clear listens on this machine alone and shows at a host.
fn endpoints(args: &HubArgs, listeners: &HubListeners, identities: &[String]) -> Result<Vec<Endpoint>, Failure> {
    let sealed = listeners.listeners.iter().filter_map(|listener| {
        let scheme = match listener.protocol {
            Protocol::Mqtts => "mqtts",
            Protocol::Https => "https",
            Protocol::Http => return None,
        };
        let host = args.host.as_ref().map_or_else(|| HERE.to_owned(), Host::in_url);
        Some((format!("{scheme}://{host}:{}", listener.port), listener))
    });
    sealed
        .map(|(url, listener)| {
            // Whoever needs no certificate is not asked for one at the door for those who have none yet.
            let visitors = if listener.client_certificates == ClientCertificates::None { &[][..] } else { identities };
            let url = url.parse::<Url>().map_err(|error| Failure::Usage(format!("{url}: {error}")))?;
            Ok(Endpoint { identities: visitors.to_vec(), of_hub: true, ..Endpoint::at(url) })
        })
        .collect()
}

/// The machine that the hub runs on: what it offers is what the hub says that it does.
fn host_of(host: &Host, listeners: &HubListeners) -> Result<DeclaredHost, Failure> {
    let services = listeners.declared_services().services.into_iter();
    let ports = services.map(|service| format!("tcp/{}", service.port).try_into());
    let ports: Result<Vec<_>, &str> = ports.collect();
    Ok(DeclaredHost {
        address: host.clone(),
        zone: None,
        ixit: None,
        services: Some(ports.map_err(|error| Failure::Usage(error.to_owned()))?),
        look_at: Vec::new(),
        multicast_from: None,
        of_hub: true,
    })
}

fn expectations(path: &Path) -> Result<HubExpectations, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// What the hub answers with, as facts of one kind.
fn data(evidence: &Value) -> Value {
    evidence["data"].clone()
}
