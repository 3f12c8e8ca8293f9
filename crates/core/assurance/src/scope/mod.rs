//! What is declared of a deployment before anybody looks at it: targets, what they offer, who may do what there, and what an audit may
//! do. `audit run` reads it from a file, shaped like the declarations of ETSI TS 103 701 (IXIT), and [`plan`] makes visits of it.
//!
//! A scope is evidence too: a report holds it, so that what was declared can be compared with what was seen, and nobody can leave out a
//! target afterwards.

mod bounds;
mod declared;
mod logins;
mod plan;
mod read;
mod url;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

pub use bounds::{Bounds, SCOPE_BYTES_MAX};
pub use plan::{Look, Place, Visit, missing, plan};
pub use url::{Host, NoHost, NoUrl, Scheme, Url};

use crate::{
    CheckId, Class, Exemption, Facts, NotApplicable, Selection,
    evidence::{
        coap::CoapMethod,
        console::Standing,
        hub::HubExpectations,
        login::{Authorisation, Login},
        mqtt::Operation,
        mutual::Credential,
        ports::{DeclaredService, Transport},
        tls::TlsPolicy,
    },
};

/// Everything that is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// What is examined, and who answers for it.
    pub deployment: Deployment,
    /// Which rows it is about.
    #[serde(default)]
    pub assess: Selection,
    /// Which checks may be made.
    #[serde(default)]
    pub checks: Allowed,
    /// Who let intrusive checks be made.
    #[serde(default)]
    pub authorisation: Option<Authorisation>,
    /// What it may cost.
    #[serde(default)]
    pub bounds: Bounds,
    /// What TLS and DTLS may accept.
    #[serde(default)]
    pub tls: TlsPolicy,
    /// Test identities (IXIT 1-AuthMech).
    #[serde(default, rename = "identity")]
    pub identities: Vec<TestIdentity>,
    /// What is spoken where (IXIT 11-ComMech, 13-SoftServ).
    #[serde(default, rename = "endpoint")]
    pub endpoints: Vec<Endpoint>,
    /// Hosts with everything that they offer (IXIT 15-Intf).
    #[serde(default, rename = "host")]
    pub hosts: Vec<DeclaredHost>,
    /// Devices to which the verifier plays the server.
    #[serde(default, rename = "device")]
    pub devices: Vec<Device>,
    /// Files to be read: configurations, software lists, results of other scanners.
    #[serde(default, rename = "file")]
    pub files: Vec<File>,
    /// What else is declared, by the kind of facts that it is, such as `[declared."mqtt-quota/1"]`.
    #[serde(default)]
    pub declared: BTreeMap<String, serde_json::Value>,
    /// Known weaknesses.
    #[serde(default, rename = "exception")]
    pub exceptions: Vec<Exemption>,
    /// What does not concern the deployment.
    #[serde(default)]
    pub not_applicable: Vec<NotApplicable>,
    /// A hub whose own data are examined too.
    #[serde(default)]
    pub hub: Option<HubPart>,
}

impl Scope {
    /// A declaration to begin with, with everything explained.
    pub const EXAMPLE: &str = include_str!("../../data/scope.toml");

    /// With nothing declared yet but what it is about.
    #[must_use]
    pub fn of(deployment: Deployment, assess: Selection) -> Self {
        Self {
            deployment,
            assess,
            checks: Allowed::default(),
            authorisation: None,
            bounds: Bounds::default(),
            tls: TlsPolicy::default(),
            identities: Vec::new(),
            endpoints: Vec::new(),
            hosts: Vec::new(),
            devices: Vec::new(),
            files: Vec::new(),
            declared: BTreeMap::new(),
            exceptions: Vec::new(),
            not_applicable: Vec::new(),
            hub: None,
        }
    }
}

impl Facts for Scope {
    const KIND: &'static str = "scope/1";
}

/// What is examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
}

/// Which checks may be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowed {
    /// What checks may do to a target.
    pub class: Class,
    /// Only these, such as `tls.versions` or `mqtt.*`; all without it.
    pub only: Vec<Pattern>,
    /// Not these.
    pub except: Vec<Pattern>,
}

impl Default for Allowed {
    fn default() -> Self {
        Self { class: Class::Safe, only: Vec::new(), except: Vec::new() }
    }
}

impl Allowed {
    /// Why a check may not be made; nothing, if it may.
    #[must_use]
    pub fn objection(&self, check: &CheckId, class: Class) -> Option<String> {
        let named = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(check));
        if !self.only.is_empty() && !named(&self.only) {
            return Some("it is not among the checks that the scope names".into());
        }
        if named(&self.except) {
            return Some("the scope excepts it".into());
        }
        (class > self.class).then(|| format!("it is {}, and the scope allows {}", class.as_str(), self.class.as_str()))
    }
}

/// A check, or all of a family: `tls.versions`, `mqtt.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pattern(String);

impl Pattern {
    fn matches(&self, check: &CheckId) -> bool {
        match self.0.strip_suffix('*') {
            Some(family) => check.as_str().starts_with(family),
            None => check.as_str() == self.0,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let pattern = Self(text);
        if crate::Catalogue::embedded().checks().iter().any(|check| pattern.matches(&check.id)) {
            return Ok(pattern);
        }
        Err(format!("no check is called {}; `portreeve catalogue list` shows rows and their checks", pattern.0))
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// An identity with which the audit comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestIdentity {
    /// What it is called here; its MQTT client id, too.
    pub name: String,
    /// The directory with its cert.pem, key.pem and ca.pem.
    pub bundle: PathBuf,
    /// What is the matter with its certificate.
    #[serde(default = "valid")]
    pub state: Credential,
}

const fn valid() -> Credential {
    Credential::Valid
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// What and where.
    pub url: Url,
    /// Where it stands.
    #[serde(default)]
    pub zone: Option<String>,
    /// What the manufacturer's declaration calls it, such as `ComMech-1`.
    #[serde(default)]
    pub ixit: Option<String>,
    /// The name that its certificate has to have; the URL's host without it.
    #[serde(default)]
    pub server_name: Option<Host>,
    /// The trust anchors that its certificate has to lead to, PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Names of the identities with which it is visited.
    #[serde(default)]
    pub identities: Vec<String>,
    /// What its console is asked.
    #[serde(default)]
    pub console: ConsolePart,
    /// Accounts that were made for the audit, which guessing may lock.
    #[serde(default, rename = "account")]
    pub accounts: Vec<Account>,
    /// Who may do what there, and who may not.
    #[serde(default, rename = "cell")]
    pub cells: Vec<Cell>,
    /// Whether it is the hub's own: what the hub says of it has to agree with what is seen.
    #[serde(default)]
    pub of_hub: bool,
}

impl Endpoint {
    /// With nothing declared yet but where it is.
    #[must_use]
    pub fn at(url: Url) -> Self {
        Self {
            url,
            zone: None,
            ixit: None,
            server_name: None,
            ca: None,
            identities: Vec::new(),
            accounts: Vec::new(),
            console: ConsolePart::default(),
            cells: Vec::new(),
            of_hub: false,
        }
    }
}

/// An account that was made for the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// How one logs in: `http-basic`, `http-form`, `http-json`, `mqtt` or `ssh`.
    pub login: Login,
    /// Its name.
    pub user: String,
    /// A file with its secret, without which a lock that says nothing is not seen.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Of HTTP, the path that asks; of a form or JSON, the one that it is posted to.
    #[serde(default = "root")]
    pub path: String,
    /// Of `http-form` and `http-json`, what is posted.
    #[serde(default)]
    pub form: Option<LoginForm>,
}

/// What is posted to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginForm {
    /// Name of the field for the user.
    #[serde(default = "user_field")]
    pub user: String,
    /// Name of the field for the secret.
    #[serde(default = "secret_field")]
    pub secret: String,
    /// Other fields and their values, none of which may be a secret.
    #[serde(default)]
    pub more: BTreeMap<String, String>,
    /// The page that is fetched before each attempt, for its cookies and the hidden fields of its form.
    #[serde(default)]
    pub page: Option<String>,
    /// The cookie of that page whose value goes into a header.
    #[serde(default)]
    pub token: Option<LoginToken>,
}

impl Default for LoginForm {
    fn default() -> Self {
        Self { user: user_field(), secret: secret_field(), more: BTreeMap::new(), page: None, token: None }
    }
}

fn user_field() -> String {
    "username".to_owned()
}

fn secret_field() -> String {
    "password".to_owned()
}

/// A token against forgery that a page sets as a cookie and wants to see in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginToken {
    /// Name of the cookie.
    pub cookie: String,
    /// Name of the header.
    pub header: String,
}

/// What a console is asked, and with whose sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsolePart {
    /// Which paths; the usual ones without them.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The port on which plain HTTP may listen beside HTTPS.
    #[serde(default)]
    pub clear_port: Option<NonZeroU16>,
    /// Sessions of test accounts.
    #[serde(default, rename = "session")]
    pub sessions: Vec<TestSession>,
}

/// A session of a test account, which was opened for the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSession {
    /// Name of the role.
    pub role: String,
    /// What it stands for: `full`, `first-factor` or `ended`.
    #[serde(default = "full")]
    pub standing: Standing,
    /// The header that carries it.
    #[serde(default = "cookie")]
    pub header: String,
    /// A file with the header's value, such as `session=…`; it is shown to whoever answers at the address.
    pub value_file: PathBuf,
    /// Paths that it may see.
    #[serde(default)]
    pub own: Vec<String>,
    /// Paths that it may not.
    #[serde(default)]
    pub foreign: Vec<String>,
}

const fn full() -> Standing {
    Standing::Full
}

fn cookie() -> String {
    "Cookie".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

/// One expectation of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Who.
    pub identity: String,
    /// Does what.
    pub operation: Act,
    /// With which topic or filter; of CoAP, the path of the resource.
    #[serde(alias = "path")]
    pub topic: String,
    /// Whether it may.
    pub allowed: bool,
}

/// What somebody does: of MQTT or of CoAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Act {
    /// `publish`, `retain`, `will` or `subscribe`.
    Mqtt(Operation),
    /// `get`, `observe`, `put`, `post` or `delete`.
    Coap(CoapMethod),
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredHost {
    /// Its name or address.
    pub address: Host,
    /// Where it stands.
    #[serde(default)]
    pub zone: Option<String>,
    /// What the manufacturer's declaration calls it, such as `Intf-1`.
    #[serde(default)]
    pub ixit: Option<String>,
    /// Everything that it offers, such as `tcp/8883`; without it, nothing is said of what should be open.
    #[serde(default)]
    pub services: Option<Vec<Ports>>,
    /// What is looked at besides these and the usual ports, such as `tcp/1-1024`.
    #[serde(default)]
    pub look_at: Vec<Ports>,
    /// The address of the interface by which everybody on its network is asked too; nothing, if only the host itself is.
    #[serde(default)]
    pub multicast_from: Option<Ipv4Addr>,
    /// Whether the hub runs there: what it says of its listeners has to agree with what is seen.
    #[serde(default)]
    pub of_hub: bool,
}

impl DeclaredHost {
    /// Every service that it declares.
    pub fn declared(&self) -> Option<impl Iterator<Item = DeclaredService>> {
        Some(self.services.as_ref()?.iter().flat_map(|ports| ports.each()))
    }
}

/// A port, or a range of them: `tcp/8883`, `udp/1-1024`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ports {
    transport: Transport,
    first: u16,
    last: u16,
}

impl Ports {
    /// Each of them.
    pub fn each(self) -> impl Iterator<Item = DeclaredService> {
        (self.first..=self.last).map(move |port| DeclaredService { transport: self.transport, port })
    }
}

impl TryFrom<String> for Ports {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        const FORM: &str = "ports are written tcp/8883, udp/5684 or tcp/1-1024";
        let (transport, ports) = text.split_once('/').ok_or(FORM)?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(FORM),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or(FORM);
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(FORM) } else { Ok(Self { transport, first, last }) }
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        let transport = if ports.transport == Transport::Tcp { "tcp" } else { "udp" };
        let last = if ports.first == ports.last { Self::new() } else { format!("-{}", ports.last) };
        format!("{transport}/{}{last}", ports.first)
    }
}

/// A device to which the verifier plays the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// What it is called.
    pub name: String,
    /// Whence it comes; others are turned away.
    pub address: Host,
    /// Where the verifier listens for it, and what is spoken there.
    pub listen: Url,
    /// The name that it asks for, if it says none itself.
    #[serde(default)]
    pub server_name: Option<Host>,
    /// A folder with its server's cert.pem and key.pem: that the device takes these shows that its refusals mean something.
    #[serde(default)]
    pub good: Option<PathBuf>,
    /// A folder with cert.pem and key.pem of a CA that the device trusts.
    #[serde(default)]
    pub trusted_ca: Option<PathBuf>,
    /// Where the verifier says what is revoked, as the device reaches it, such as `192.0.2.7:8080`.
    #[serde(default)]
    pub crl: Option<SocketAddr>,
    /// How long each face is shown, seconds: 1 to 3,600.
    #[serde(default = "face_s")]
    pub face_s: u32,
}

const fn face_s() -> u32 {
    120
}

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where it is; what is relative is so to the scope's own folder.
    pub path: PathBuf,
    /// What it is, such as `mosquitto`; found out without it. Besides formats, `sbom` with a feed, and of folders `secrets` (they are looked
    /// for in every file) and `records` (attestations).
    #[serde(default)]
    pub format: Option<String>,
    /// The folder with what is known to be vulnerable, OSV records and CSAF documents, for `sbom`.
    #[serde(default)]
    pub feed: Option<PathBuf>,
    /// Of what it speaks: another scanner's results are of one of the endpoints or hosts.
    #[serde(default)]
    pub of: Option<String>,
}

/// The hub whose own data are examined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubPart {
    /// Its data directory; the one of `--data` without it.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// Policies that its policy has to stay within, as a solver can prove.
    #[serde(default)]
    pub ceiling: Vec<PathBuf>,
    /// The key by which its ledger is signed, as `portreeve ledger key` prints it; the one beside the ledger without it.
    #[serde(default)]
    pub ledger_key: Option<String>,
    /// Whether it is to test itself now: its contacts get test alerts. Else its last test counts.
    #[serde(default)]
    pub self_test: bool,
    /// A device made for the audit, which may be quarantined and released (intrusive). If one of the identities is called so and
    /// has a hub's endpoint, the audit connects as it meanwhile.
    #[serde(default)]
    pub test_device: Option<String>,
    /// What the deployment demands of it.
    #[serde(default)]
    pub expect: HubExpectations,
}

#[cfg(test)]
mod tests;
