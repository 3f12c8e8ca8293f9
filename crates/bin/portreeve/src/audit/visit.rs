//! One visit: a place is looked at, and what was seen becomes evidence.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand;
use portreeve_assurance::{
    Account, Act, Cell, Class, DeclaredHost, Device, Endpoint, Envelope, Facts, Look, Place, Scheme, Scope, Visit,
    checks::ports::CLEAR_PORTS,
    evidence::{
        login::{Login, Permitted},
        mqtt::Operation,
        mutual::Credential,
        ports::{DeclaredServices, Transport},
        reach::Reach,
    },
};
use portreeve_probe::{
    Dialer, Limits, coap,
    console::{self, Console},
    discovery::{self, DiscoveryPorts},
    http::Site,
    login::{self, Door, Form, TestAccount, TokenHeader},
    mqtt,
    mutual::{Application, mutual},
    ports, rogue, snmp, ssh, tls,
};
use portreeve_types::UnixMillis;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    time::timeout,
};

use super::{
    hub::HubLink,
    material::{Material, server_name},
};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Connections that too much is made of.
const LOAD_CONNECTIONS: usize = 60;
/// Where SNMP agents are.
const SNMP_PORT: u16 = 161;
/// A client id that belongs to nobody who visits.
const FOREIGN_CLIENT_ID: &str = "portreeve-audit-stranger";

/// Everything that visits need.
pub(super) struct Visitor<'a> {
    pub(super) scope: &'a Scope,
    pub(super) material: &'a Material,
    /// The way to the hub, if the scope declares one.
    pub(super) hub: Option<&'a Arc<HubLink>>,
    /// When the run began: since then, at the latest, holds what is declared.
    pub(super) started: UnixMillis,
}

/// What was seen at a place.
pub(super) struct Gathered {
    target: String,
    started: UnixMillis,
    pub(super) evidence: Vec<Envelope>,
}

impl Gathered {
    pub(super) fn new(target: &str, started: UnixMillis) -> Self {
        Self { target: target.to_owned(), started, evidence: Vec::new() }
    }

    /// Facts of the target.
    pub(super) fn seen<F: Facts>(&mut self, facts: &F) -> Result<(), String> {
        self.add(facts, true)
    }

    /// Facts that were there before anything was seen.
    pub(super) fn declared<F: Facts>(&mut self, facts: &F) -> Result<(), String> {
        self.add(facts, false)
    }

    /// What somebody else said of the target, as kind and data.
    pub(super) fn told(&mut self, said: &Value) -> Result<(), String> {
        let kind = said["kind"].as_str().ok_or("the hub's answer is of no kind")?.to_owned();
        let (target, taken, tool) = (Some(self.target.clone()), super::now(), super::TOOL.to_owned());
        self.evidence.push(Envelope { kind, target, taken, tool, data: said["data"].clone() });
        Ok(())
    }

    fn add<F: Facts>(&mut self, facts: &F, is_of_target: bool) -> Result<(), String> {
        let (target, taken) =
            if is_of_target { (Some(self.target.as_str()), super::now()) } else { (None, self.started) };
        let envelope = Envelope::of(facts, target, taken, super::TOOL);
        self.evidence.push(envelope.map_err(|error| error.to_string())?);
        Ok(())
    }
}

impl Visitor<'_> {
    pub(super) fn limits(&self) -> Limits {
        let bounds = &self.scope.bounds;
        Limits {
            parallel_max: bounds.connections_at_once as usize,
            connections_max: bounds.connections_max,
            connections_per_s: bounds.connections_per_s,
            connection_time: Duration::from_millis(bounds.connection_ms.into()),
            total_time: Duration::from_secs(bounds.visit_s.into()),
            ..Limits::default()
        }
    }

    /// The same for one look: where credentials are tried, answers are slow.
    fn limits_of(&self, look: Look) -> Limits {
        let seconds = match look {
            Look::BruteForce | Look::Defaults => self.scope.bounds.login_visit_s,
            _ => self.scope.bounds.visit_s,
        };
        Limits { total_time: Duration::from_secs(seconds.into()), ..self.limits() }
    }

    /// Makes a visit.
    ///
    /// # Errors
    /// Why nothing was seen at all.
    pub(super) async fn visit(&self, visit: &Visit<'_>) -> Result<Vec<Envelope>, String> {
        let mut gathered = Gathered::new(&visit.target, self.started);
        match visit.place {
            Place::Endpoint(endpoint) => self.endpoint(endpoint, visit, &mut gathered).await?,
            Place::Host(host) => self.host(host, visit.look, &mut gathered).await?,
            Place::Device(device) => self.device(device, &mut gathered).await?,
            Place::Hub(part) => self.hub(part, visit.look, &mut gathered).await?,
            Place::Scope => gathered.declared(self.scope)?,
        }
        gathered.evidence.extend(self.scope.declarations(self.started, super::TOOL));
        Ok(gathered.evidence)
    }

    /// What the hub says of its listeners, where they are looked at.
    fn claims(&self, is_of_hub: bool, gathered: &mut Gathered) -> Result<(), String> {
        match self.hub.and_then(|hub| hub.listeners()).filter(|_| is_of_hub) {
            Some(listeners) => gathered.declared(listeners),
            None => Ok(()),
        }
    }

    async fn endpoint(&self, endpoint: &Endpoint, visit: &Visit<'_>, gathered: &mut Gathered) -> Result<(), String> {
        let url = &endpoint.url;
        self.claims(endpoint.of_hub, gathered)?;
        let is_udp = matches!(url.scheme, Scheme::Coap | Scheme::Coaps | Scheme::Dtls);
        let address = self.reach(url.host.as_str(), url.port, is_udp, gathered).await?;
        let dialer = Dialer::new(address, self.limits_of(visit.look));
        let target = || tls::Target { address, name: server_name(endpoint), anchors: self.anchors(endpoint) };
        let is_sealed = url.scheme == Scheme::Mqtts;
        let broker = mqtt::Broker { dialer: &dialer, tls: server_name(endpoint).filter(|_| is_sealed) };
        let clients = self.material.clients(endpoint);
        match visit.look {
            Look::Tls => self.tls(endpoint, &target(), &dialer, gathered).await?,
            Look::Dtls => {
                gathered.seen(&tls::dtls::scan(&target(), &dialer, random()?, UnixTime::now()).await)?;
                gathered.declared(&self.scope.tls)?;
            }
            Look::Mutual => {
                let name = server_name(endpoint).ok_or("its host is no name for TLS")?;
                let application = application(url.scheme);
                let credentials = self.material.credentials_for(endpoint);
                gathered.seen(&mutual(&dialer, &name, application, &credentials).await)?;
            }
            Look::MqttAccess => gathered.seen(&mqtt::access(&broker).await)?,
            Look::MqttIdentity => {
                let own = clients.first().ok_or("there is no valid test identity")?;
                gathered.seen(&mqtt::identity(&broker, own, FOREIGN_CLIENT_ID).await)?;
            }
            Look::MqttMalformed => gathered.seen(&mqtt::malformed(&broker, clients.first()).await)?,
            Look::MqttLimits => {
                let nobody = mqtt::Identity::nobody(FOREIGN_CLIENT_ID);
                let who = clients.first().unwrap_or(&nobody);
                let limits = Limits { parallel_max: LOAD_CONNECTIONS, ..self.limits() };
                let dialer = Dialer::new(address, limits);
                let broker = mqtt::Broker { dialer: &dialer, ..broker };
                let load = mqtt::Load::small(&own_topic(endpoint, &who.name));
                gathered.seen(&mqtt::limits(&broker, who, &load).await)?;
            }
            Look::Replay => {
                let own = clients.first().ok_or("there is no valid test identity")?;
                gathered.seen(&mqtt::replay(&broker, own, &own_topic(endpoint, &own.name)).await)?;
            }
            Look::CoapDiscovery => {
                let (plain, secured) =
                    if url.scheme == Scheme::Coap { (Some(&dialer), None) } else { (None, Some(&dialer)) };
                let server = coap::Server { plain, secured, multicast: None };
                let identities = self.coap_identities(endpoint);
                let identity = identities.first().filter(|_| url.scheme == Scheme::Coaps);
                gathered.seen(&coap::discovery(&server, identity).await)?;
            }
            Look::CoapMatrix => {
                let identities = self.coap_identities(endpoint);
                gathered.seen(&coap::access_matrix(&dialer, &identities, &coap_wishes(endpoint, &identities)).await)?;
            }
            Look::MqttMatrix => gathered.seen(&mqtt::access_matrix(&broker, &clients, &wishes(endpoint)).await)?,
            Look::Console => {
                let console = Console {
                    site: site(endpoint, &dialer),
                    paths: endpoint.console.paths.clone(),
                    sessions: self.material.sessions(endpoint),
                    clear_port: endpoint.console.clear_port.map(NonZeroU16::get),
                };
                gathered.seen(&console::scan(&console).await)?;
            }
            Look::BruteForce => {
                let doors: Vec<_> = self
                    .material
                    .accounts(endpoint)
                    .into_iter()
                    .map(|(account, secret)| {
                        let user = account.user.clone();
                        (door(endpoint, &dialer, Some(account)), TestAccount { user, secret })
                    })
                    .collect();
                gathered.seen(&login::guess(&self.permitted()?, &doors, login::GUESSES).await)?;
            }
            Look::Defaults => {
                gathered.seen(&login::defaults(&self.permitted()?, &doors(endpoint, &dialer)).await)?;
            }
            Look::Ssh => gathered.seen(&ssh::scan(&dialer).await)?,
            _ => return Err("this version cannot look at this yet".into()),
        }
        Ok(())
    }

    /// The hub's own anchors, where it is its own and no others were declared.
    fn anchors(&self, endpoint: &Endpoint) -> Vec<CertificateDer<'static>> {
        match self.hub.filter(|_| endpoint.of_hub && endpoint.ca.is_none()) {
            Some(hub) => hub.anchors(),
            None => self.material.anchors(endpoint),
        }
    }

    /// Leave to try credentials.
    fn permitted(&self) -> Result<Permitted, String> {
        let authorisation = self.scope.authorisation.clone().ok_or("nobody authorised it")?;
        authorisation.permit(super::now()).map_err(|error| error.to_string())
    }

    async fn host(&self, host: &DeclaredHost, look: Look, gathered: &mut Gathered) -> Result<(), String> {
        self.claims(host.of_hub, gathered)?;
        let address = self.reach(host.address.as_str(), 0, true, gathered).await?;
        let asked: BTreeSet<(Transport, u16)> = CLEAR_PORTS
            .into_iter()
            .chain(host.declared().into_iter().flatten().map(|service| (service.transport, service.port)))
            .chain(host.look_at.iter().flat_map(|ports| ports.each()).map(|service| (service.transport, service.port)))
            .collect();
        let dialer = Dialer::new(address, self.limits());
        match look {
            Look::Ports => {
                let asked: Vec<(Transport, u16)> = asked.into_iter().collect();
                gathered.seen(&ports::scan(&dialer, &asked).await)?;
                let agent = Dialer::new(SocketAddr::new(address.ip(), SNMP_PORT), self.limits());
                gathered.seen(&snmp::scan(&agent).await)?;
                if let Some(services) = host.declared() {
                    gathered.declared(&DeclaredServices { services: services.collect() })?;
                }
            }
            Look::Discovery => {
                gathered.seen(&discovery::scan(&dialer, DiscoveryPorts::default(), host.multicast_from).await)?;
            }
            _ => return Err("this version cannot look at this yet".into()),
        }
        Ok(())
    }

    /// What TLS accepts, and what becomes of attacks that this gives reason for.
    async fn tls(
        &self,
        endpoint: &Endpoint,
        target: &tls::Target,
        dialer: &Dialer,
        gathered: &mut Gathered,
    ) -> Result<(), String> {
        let scan = tls::scan(target, dialer, random()?, UnixTime::now()).await;
        let credentials = self.material.credentials_for(endpoint);
        let valid = credentials.iter().find(|(state, _)| *state == Credential::Valid);
        let attack = tls::Attack {
            target,
            dialer,
            scan: &scan,
            identity: valid.map(|(_, credentials)| credentials),
            application: application(endpoint.url.scheme),
            is_intrusive: self.scope.checks.class == Class::Intrusive,
            random: random()?,
        };
        let attacks = tls::attacks(&attack).await;
        gathered.seen(&scan)?;
        gathered.seen(&attacks)?;
        gathered.declared(&self.scope.tls)
    }

    fn coap_identities(&self, endpoint: &Endpoint) -> Vec<coap::CoapIdentity> {
        if endpoint.url.scheme == Scheme::Coap {
            let plain = |name: &String| coap::CoapIdentity { name: name.clone(), credential: coap::Credential::Plain };
            return endpoint.identities.iter().map(plain).collect();
        }
        let known = |client: mqtt::Identity| {
            let credential = coap::Credential::Certificate(client.credentials?);
            Some(coap::CoapIdentity { name: client.name, credential })
        };
        self.material.clients(endpoint).into_iter().filter_map(known).collect()
    }

    /// Plays a bad server to a device.
    async fn device(&self, device: &Device, gathered: &mut Gathered) -> Result<(), String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let found = lookup_host((device.address.as_str(), 0)).await;
        let devices: Vec<IpAddr> =
            found.map_err(|error| format!("{}: {error}", device.address))?.map(|address| address.ip()).collect();
        let place = (device.listen.host.as_str(), device.listen.port);
        let listener =
            TcpListener::bind(place).await.map_err(|error| format!("cannot listen at {}: {error}", device.listen))?;
        let crl = match device.crl {
            Some(address) => Some(rogue::CrlPoint {
                listener: TcpListener::bind(address).await.map_err(|error| say(&error))?,
                url: format!("http://{address}/crl"),
            }),
            None => None,
        };
        let limits = rogue::RogueLimits {
            face_time: Duration::from_secs(device.face_s.into()),
            ..rogue::RogueLimits::default()
        };
        let addresses: Vec<String> = devices.iter().map(ToString::to_string).collect();
        gathered.seen(&Reach { name: device.address.to_string(), visited: addresses.join(", "), addresses })?;
        let (good, authority) = self.material.device(device);
        let name = device.server_name.as_ref().unwrap_or(&device.listen.host).to_string();
        let plan = rogue::Plan { names: vec![name], devices, good, authority, crl, limits };
        let facts = rogue::serve(plan, vec![rogue::Post::with_all(listener)], UnixTime::now()).await;
        gathered.seen(&facts.map_err(|error| say(&error))?)
    }

    /// The address that is visited: the first that answers, or the first that there is.
    pub(super) async fn reach(
        &self,
        host: &str,
        port: u16,
        is_udp: bool,
        gathered: &mut Gathered,
    ) -> Result<SocketAddr, String> {
        let limits = self.limits();
        let found = timeout(limits.connection_time, lookup_host((host, port))).await;
        let found = found.map_err(|_| format!("{host}: no answer of the name service"))?;
        let mut all: Vec<SocketAddr> = found.map_err(|error| format!("{host}: {error}"))?.take(ADDRESSES_MAX).collect();
        all.dedup();
        let mut chosen = *all.first().ok_or_else(|| format!("{host} has no address"))?;
        if all.len() > 1 {
            for address in all.iter().copied().filter(|_| !is_udp) {
                if matches!(timeout(limits.connection_time, TcpStream::connect(address)).await, Ok(Ok(_))) {
                    chosen = address;
                    break;
                }
            }
        }
        let addresses = all.iter().map(|address| address.ip().to_string()).collect();
        gathered.seen(&Reach { name: host.to_owned(), addresses, visited: chosen.ip().to_string() })?;
        Ok(chosen)
    }
}

/// Where HTTP is asked.
fn site<'a>(endpoint: &Endpoint, dialer: &'a Dialer) -> Site<'a> {
    let is_sealed = endpoint.url.scheme == Scheme::Https;
    Site { dialer, tls: server_name(endpoint).filter(|_| is_sealed), host: endpoint.url.host.to_string() }
}

/// How an account logs in at an endpoint; nobody's does so in the usual way.
fn door<'a>(endpoint: &Endpoint, dialer: &'a Dialer, account: Option<&Account>) -> Door<'a> {
    let site = || site(endpoint, dialer);
    match (endpoint.url.scheme, account) {
        (Scheme::Ssh, _) => Door::Ssh(dialer),
        (Scheme::Mqtt, _) => Door::Mqtt(mqtt::Broker { dialer, tls: None }),
        (Scheme::Mqtts, _) => Door::Mqtt(mqtt::Broker { dialer, tls: server_name(endpoint) }),
        (_, None) => Door::HttpBasic { site: site(), path: "/".to_owned() },
        (_, Some(account)) => match account.login {
            Login::HttpForm => Door::HttpForm { site: site(), form: form(account) },
            Login::HttpJson => Door::HttpJson { site: site(), form: form(account) },
            _ => Door::HttpBasic { site: site(), path: account.path.clone() },
        },
    }
}

/// Every login that an endpoint is known to have, each once.
fn doors<'a>(endpoint: &Endpoint, dialer: &'a Dialer) -> Vec<Door<'a>> {
    let mut known: Vec<&Account> = Vec::new();
    for account in &endpoint.accounts {
        let place = |account: &Account| (account.login, account.path.clone());
        if known.iter().all(|other| place(other) != place(account)) {
            known.push(account);
        }
    }
    if known.is_empty() {
        return vec![door(endpoint, dialer, None)];
    }
    known.into_iter().map(|account| door(endpoint, dialer, Some(account))).collect()
}

/// What an account posts.
fn form(account: &Account) -> Form {
    let fields = account.form.clone().unwrap_or_default();
    Form {
        path: account.path.clone(),
        user_field: fields.user,
        secret_field: fields.secret,
        more: fields.more.into_iter().collect(),
        page: fields.page,
        token: fields.token.map(|token| TokenHeader { cookie: token.cookie, header: token.header }),
    }
}

/// What is spoken inside TLS; what is not known is asked as if it were HTTP.
fn application(scheme: Scheme) -> Application {
    if scheme == Scheme::Mqtts { Application::Mqtt } else { Application::Http }
}

/// A topic that an identity may publish to, as the scope or the hub's default policy says.
fn own_topic(endpoint: &Endpoint, identity: &str) -> String {
    let declared = endpoint
        .cells
        .iter()
        .find(|cell| cell.identity == identity && cell.allowed && cell.operation == Act::Mqtt(Operation::Publish));
    declared.map_or_else(|| format!("devices/{identity}/telemetry/audit"), |cell| cell.topic.clone())
}

fn coap_wishes(endpoint: &Endpoint, identities: &[coap::CoapIdentity]) -> Vec<coap::CoapWish> {
    let wish = |cell: &Cell| {
        let identity = identities.iter().position(|identity| identity.name == cell.identity)?;
        let Act::Coap(method) = cell.operation else { return None };
        Some(coap::CoapWish { identity, method, path: cell.topic.clone(), is_declared: cell.allowed })
    };
    endpoint.cells.iter().filter_map(wish).collect()
}

fn wishes(endpoint: &Endpoint) -> Vec<mqtt::Wish> {
    let wish = |cell: &Cell| {
        let Act::Mqtt(operation) = cell.operation else { return None };
        let (identity, topic) = (cell.identity.clone(), cell.topic.clone());
        Some(mqtt::Wish { identity, operation, topic, is_allowed: cell.allowed })
    };
    endpoint.cells.iter().filter_map(wish).collect()
}

fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| "there is no randomness")?;
    Ok(bytes)
}
