//! `portreeve audit endpoint`.

use std::path::{Path, PathBuf};

use clap::Args;
use portreeve_assurance::{
    Authorisation, Class, Deployment, Endpoint, Host, Scope, TestIdentity, Url,
    evidence::{mutual::Credential, tls::TlsPolicy},
};
use portreeve_types::UnixMillis;

use super::{Options, Permitted, now, run::run as examine};
use crate::{catalogue::Which, cli::Global, failure::Failure};

/// How long the authorisation of one command holds.
pub(super) const AUTHORISED_MS: u64 = 24 * 3_600_000;

#[derive(Debug, Args)]
pub(crate) struct EndpointArgs {
    /// SCHEME://HOST[:PORT]
    url: Url,
    /// Trust anchors that its certificate has to lead to, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name that its certificate has to have; HOST without it
    #[arg(long, value_name = "NAME")]
    server_name: Option<Host>,
    /// A test identity that should get in: a folder with cert.pem and key.pem, called as its MQTT client id unless NAME is given; may
    /// be repeated
    #[arg(long = "identity", value_name = "[NAME=]DIR", value_parser = identity)]
    identities: Vec<TestIdentity>,
    /// A test identity that should not, as STATE=DIR: expired, not-yet-valid, wrong-ca, wrong-usage or revoked; may be repeated
    #[arg(long = "bad-identity", value_name = "STATE=DIR", value_parser = bad_identity)]
    bad_identities: Vec<(Credential, PathBuf)>,
    /// What TLS and DTLS may accept
    #[arg(long, value_enum, default_value_t = Profile::Sp80052r2, value_name = "PROFILE")]
    tls: Profile,
    /// Fail what agrees on no group that a quantum computer does not break
    #[arg(long)]
    pqc: bool,
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

/// What TLS and DTLS may accept.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Profile {
    /// NIST SP 800-52 Rev. 2 with SP 800-131A Rev. 2
    #[value(name = "sp800-52r2")]
    Sp80052r2,
    /// The same, and ChaCha20-Poly1305, X25519 and X448
    Modern,
}

pub(super) fn bad_identity(text: &str) -> Result<(Credential, PathBuf), String> {
    let (state, folder) = text.split_once('=').ok_or("write STATE=DIR")?;
    let state = serde_json::from_value(state.into())
        .ok()
        .filter(|state| !matches!(state, Credential::Valid | Credential::Nothing));
    let state = state.ok_or("a state is expired, not-yet-valid, wrong-ca, wrong-usage or revoked")?;
    Ok((state, folder.into()))
}

pub(super) fn run(global: &Global, args: &EndpointArgs) -> Result<(), Failure> {
    let scope = scope(args)?;
    examine(global, &scope, Path::new(""), &args.options)
}

/// A scope with this endpoint and no other.
fn scope(args: &EndpointArgs) -> Result<Scope, Failure> {
    let identities = identities(&args.identities, &args.bad_identities);
    let authorisation = args.authorised_by.as_ref().zip(args.reference.as_ref()).map(|(by, reference)| Authorisation {
        by: by.clone(),
        reference: reference.clone(),
        until: UnixMillis(now().0 + AUTHORISED_MS),
    });
    let mut tls = match args.tls {
        Profile::Sp80052r2 => TlsPolicy::default(),
        Profile::Modern => TlsPolicy::modern(),
    };
    tls.is_pqc_required = args.pqc;
    let url = args.url.clone();
    let deployment = Deployment { name: url.to_string(), owner: "whoever runs this command".into() };
    let mut scope = Scope::of(deployment, args.which.selection()?);
    scope.checks.class = Class::from(args.permitted);
    scope.authorisation = authorisation;
    scope.tls = tls;
    scope.endpoints = vec![Endpoint {
        server_name: args.server_name.clone(),
        ca: args.ca.clone(),
        identities: identities.iter().map(|identity| identity.name.clone()).collect(),
        ..Endpoint::at(url)
    }];
    scope.identities = identities;
    scope.checked().map_err(Failure::Usage)
}

/// A valid test identity, as `DIR` or `NAME=DIR`.
pub(super) fn identity(text: &str) -> Result<TestIdentity, std::convert::Infallible> {
    let named = text.split_once('=').map(|(name, folder)| (name.to_owned(), PathBuf::from(folder)));
    let (name, bundle) = named.unwrap_or_else(|| (name_of(Path::new(text)), PathBuf::from(text)));
    Ok(TestIdentity { name, bundle, state: Credential::Valid })
}

/// Those that should get in, and those that should not.
pub(super) fn identities(good: &[TestIdentity], bad: &[(Credential, PathBuf)]) -> Vec<TestIdentity> {
    let bad =
        bad.iter().map(|(state, folder)| TestIdentity { name: name_of(folder), bundle: folder.clone(), state: *state });
    good.iter().cloned().chain(bad).collect()
}

/// A bundle's folder is called as its identity.
fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| folder.display().to_string())
}
