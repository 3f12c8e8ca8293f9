//! One visit: a place is looked at, and what was seen becomes evidence.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use aws_lc_rs::rand;
use portreeve_assurance::{
    DeclaredHost, Endpoint, Envelope, Facts, Look, Place, Scheme, Scope, Visit,
    checks::ports::CLEAR_PORTS,
    evidence::{
        ports::{DeclaredServices, Transport},
        reach::Reach,
    },
};
use portreeve_probe::{
    Dialer, Limits, mqtt,
    mutual::{Application, mutual},
    ports, ssh, tls,
};
use rustls_pki_types::UnixTime;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::material::{Material, server_name};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// A client id that belongs to nobody who visits.
const FOREIGN_CLIENT_ID: &str = "portreeve-audit-stranger";

/// Everything that visits need.
pub(super) struct Visitor<'a> {
    pub(super) scope: &'a Scope,
    pub(super) material: &'a Material,
}

/// What was seen at a place.
pub(super) struct Gathered {
    target: String,
    pub(super) evidence: Vec<Envelope>,
}

impl Gathered {
    pub(super) fn new(target: &str) -> Self {
        Self { target: target.to_owned(), evidence: Vec::new() }
    }

    /// Facts of the target.
    pub(super) fn seen<F: Facts>(&mut self, facts: &F) -> Result<(), String> {
        self.add(facts, true)
    }

    /// Facts that were there before anything was seen.
    pub(super) fn declared<F: Facts>(&mut self, facts: &F) -> Result<(), String> {
        self.add(facts, false)
    }

    fn add<F: Facts>(&mut self, facts: &F, is_of_target: bool) -> Result<(), String> {
        let target = is_of_target.then_some(self.target.as_str());
        let envelope = Envelope::of(facts, target, super::now(), super::TOOL);
        self.evidence.push(envelope.map_err(|error| error.to_string())?);
        Ok(())
    }
}

impl Visitor<'_> {
    fn limits(&self) -> Limits {
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

    /// Makes a visit.
    ///
    /// # Errors
    /// Why nothing was seen at all.
    pub(super) async fn visit(&self, visit: &Visit<'_>) -> Result<Vec<Envelope>, String> {
        let mut gathered = Gathered::new(&visit.target);
        match visit.place {
            Place::Endpoint(endpoint) => self.endpoint(endpoint, visit, &mut gathered).await?,
            Place::Host(host) => self.host(host, visit.look, &mut gathered).await?,
            Place::Device(_) | Place::File(_) | Place::Hub => return Err("not by this way".into()),
        }
        Ok(gathered.evidence)
    }

    async fn endpoint(&self, endpoint: &Endpoint, visit: &Visit<'_>, gathered: &mut Gathered) -> Result<(), String> {
        let url = &endpoint.url;
        let is_udp = matches!(url.scheme, Scheme::Coap | Scheme::Coaps | Scheme::Dtls);
        let address = self.reach(url.host.as_str(), url.port, is_udp, gathered).await?;
        let dialer = Dialer::new(address, self.limits());
        let target = || tls::Target { address, name: server_name(endpoint), anchors: self.material.anchors(endpoint) };
        let is_sealed = url.scheme == Scheme::Mqtts;
        let broker = mqtt::Broker { dialer: &dialer, tls: server_name(endpoint).filter(|_| is_sealed) };
        let clients = self.material.clients(endpoint);
        match visit.look {
            Look::Tls => {
                gathered.seen(&tls::scan(&target(), &dialer, random()?, UnixTime::now()).await)?;
                gathered.declared(&self.scope.tls)?;
            }
            Look::Dtls => {
                gathered.seen(&tls::dtls::scan(&target(), &dialer, random()?, UnixTime::now()).await)?;
                gathered.declared(&self.scope.tls)?;
            }
            Look::Mutual => {
                let name = server_name(endpoint).ok_or("its host is no name for TLS")?;
                let application = if is_sealed { Application::Mqtt } else { Application::Http };
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
                gathered.seen(&mqtt::limits(&broker, clients.first().unwrap_or(&nobody)).await)?;
            }
            Look::MqttMatrix => gathered.seen(&mqtt::access_matrix(&broker, &clients, &wishes(endpoint)).await)?,
            Look::Ssh => gathered.seen(&ssh::scan(&dialer).await)?,
            _ => return Err("this version cannot look at this yet".into()),
        }
        Ok(())
    }

    async fn host(&self, host: &DeclaredHost, look: Look, gathered: &mut Gathered) -> Result<(), String> {
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
                if let Some(services) = host.declared() {
                    gathered.declared(&DeclaredServices { services: services.collect() })?;
                }
            }
            _ => return Err("this version cannot look at this yet".into()),
        }
        Ok(())
    }

    /// The address that is visited: the first that answers, or the first that there is.
    async fn reach(&self, host: &str, port: u16, is_udp: bool, gathered: &mut Gathered) -> Result<SocketAddr, String> {
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

fn wishes(endpoint: &Endpoint) -> Vec<mqtt::Wish> {
    let wish = |cell: &portreeve_assurance::Cell| mqtt::Wish {
        identity: cell.identity.clone(),
        operation: cell.operation,
        topic: cell.topic.clone(),
        is_allowed: cell.allowed,
    };
    endpoint.cells.iter().map(wish).collect()
}

fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| "there is no randomness")?;
    Ok(bytes)
}
