//! What a scope lets an audit look at: visits, in order. The same scope gives the same visits, so that a report can be asked whether it
//! has them all.

use std::collections::BTreeSet;

use super::{DeclaredHost, Device, Endpoint, HubPart, Scheme, Scope};
use crate::{
    Catalogue, CheckId, CheckResult,
    evidence::{hub::HubSubject, mutual::Credential},
};

/// One look at one place, for some checks.
#[derive(Clone, Debug)]
pub struct Visit<'a> {
    /// Where.
    pub place: Place<'a>,
    /// How.
    pub look: Look,
    /// What a report calls the place.
    pub target: String,
    /// For which checks, and what stands against each.
    pub checks: Vec<(CheckId, Option<String>)>,
}

impl Visit<'_> {
    /// Whether it is to be made: something is to be learned by it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.checks.iter().any(|(_, objection)| objection.is_none())
    }

    /// Whether it is made for a check.
    #[must_use]
    pub fn is_for(&self, check: &str) -> bool {
        self.checks.iter().any(|(id, objection)| id.as_str() == check && objection.is_none())
    }
}

/// Where something is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// An endpoint.
    Endpoint(&'a Endpoint),
    /// A host.
    Host(&'a DeclaredHost),
    /// A device that comes to us.
    Device(&'a Device),
    /// The hub's own data.
    Hub(&'a HubPart),
    /// The declaration itself.
    Scope,
}

/// How something is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    /// What TLS accepts.
    Tls,
    /// Who gets through TLS.
    Mutual,
    /// What DTLS accepts.
    Dtls,
    /// Who gets into MQTT.
    MqttAccess,
    /// Who somebody is in MQTT.
    MqttIdentity,
    /// What MQTT makes of malformed packets.
    MqttMalformed,
    /// What MQTT makes of too much.
    MqttLimits,
    /// Who may do what in MQTT.
    MqttMatrix,
    /// Whether what was recorded is taken again.
    Replay,
    /// What CoAP tells strangers.
    CoapDiscovery,
    /// Who may do what in CoAP.
    CoapMatrix,
    /// What SSH accepts.
    Ssh,
    /// What a console tells strangers.
    Console,
    /// What becomes of whoever guesses passwords.
    BruteForce,
    /// Whether passwords of the factory are taken.
    Defaults,
    /// What listens on a host.
    Ports,
    /// What a host says of itself on the segment.
    Discovery,
    /// Which bad servers a device accepts.
    RogueServer,
    /// What a hub knows of itself.
    Hub(HubSubject),
    /// What becomes of a device that is quarantined.
    Quarantine,
    /// What is excepted, and how.
    Exceptions,
}

impl Look {
    /// The checks that it feeds.
    const fn checks(self) -> &'static [&'static str] {
        match self {
            Self::Tls => &["tls.versions", "tls.suites", "tls.cert", "tls.vulns", "tls.pqc"],
            Self::Mutual => &["tls.mutual"],
            Self::Dtls => &["dtls.versions", "dtls.suites", "dtls.cookie"],
            Self::MqttAccess => &["mqtt.anon", "mqtt.password"],
            Self::MqttIdentity => &["mqtt.identity"],
            Self::MqttMalformed => &["mqtt.malformed"],
            Self::MqttLimits => &["mqtt.limits"],
            Self::MqttMatrix => &["mqtt.acl.matrix"],
            Self::Replay => &["replay.probe"],
            Self::CoapDiscovery => &["coap.discovery"],
            Self::CoapMatrix => &["coap.acl"],
            Self::Ssh => &["ssh.algos"],
            Self::Console => &["console.auth"],
            Self::BruteForce => &["auth.bruteforce"],
            Self::Defaults => &["auth.defaults"],
            Self::Ports => &["plaintext.ports", "port.scan", "snmp.version"],
            Self::Discovery => &["ssdp.upnp"],
            Self::RogueServer => &["tls.client.validate", "tls.client.pin"],
            Self::Hub(subject) => subject.checks(),
            Self::Quarantine => &["hub.quarantine"],
            Self::Exceptions => &["cfg.exception"],
        }
    }

    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "what TLS accepts",
            Self::Mutual => "who gets through TLS",
            Self::Dtls => "what DTLS accepts",
            Self::MqttAccess => "who gets into MQTT",
            Self::MqttIdentity => "who is who in MQTT",
            Self::MqttMalformed => "malformed MQTT packets",
            Self::MqttLimits => "limits of MQTT",
            Self::MqttMatrix => "who may do what in MQTT",
            Self::Replay => "replays",
            Self::CoapDiscovery => "what CoAP tells strangers",
            Self::CoapMatrix => "who may do what in CoAP",
            Self::Ssh => "what SSH accepts",
            Self::Console => "what the console tells strangers",
            Self::BruteForce => "guessing passwords",
            Self::Defaults => "passwords of the factory",
            Self::Ports => "what listens",
            Self::Discovery => "what the segment is told",
            Self::RogueServer => "which bad servers it accepts",
            Self::Hub(subject) => subject.name(),
            Self::Quarantine => "a quarantine, rehearsed",
            Self::Exceptions => "what is excepted",
        }
    }
}

/// How an endpoint is looked at, one after another; what may disturb it, or lock somebody out, comes last.
const fn looks(scheme: Scheme) -> &'static [Look] {
    match scheme {
        Scheme::Mqtts => &[
            Look::Tls,
            Look::Mutual,
            Look::MqttAccess,
            Look::MqttIdentity,
            Look::MqttMatrix,
            Look::Replay,
            Look::MqttMalformed,
            Look::MqttLimits,
            Look::BruteForce,
            Look::Defaults,
        ],
        Scheme::Mqtt => &[
            Look::MqttAccess,
            Look::MqttMatrix,
            Look::MqttMalformed,
            Look::MqttLimits,
            Look::BruteForce,
            Look::Defaults,
        ],
        Scheme::Https => &[Look::Tls, Look::Mutual, Look::Console, Look::BruteForce, Look::Defaults],
        Scheme::Http => &[Look::Console, Look::BruteForce, Look::Defaults],
        Scheme::Coap => &[Look::CoapDiscovery, Look::CoapMatrix],
        Scheme::Coaps => &[Look::Dtls, Look::CoapDiscovery, Look::CoapMatrix],
        Scheme::Tls => &[Look::Tls],
        Scheme::Dtls => &[Look::Dtls],
        Scheme::Ssh => &[Look::Ssh, Look::BruteForce, Look::Defaults],
    }
}

/// Every visit that a scope asks for, those that it does not allow included.
#[must_use]
pub fn plan<'a>(scope: &'a Scope, catalogue: &Catalogue) -> Vec<Visit<'a>> {
    let wanted: BTreeSet<&CheckId> =
        catalogue.select(&scope.assess).into_iter().flat_map(|row| row.checks.iter()).collect();
    let visit = |place: Place<'a>, look: Look, target: String| {
        let planned = |name: &&str| {
            let check = catalogue.checks().iter().find(|check| check.id.as_str() == *name)?;
            let objection = || scope.checks.objection(&check.id, check.class).or_else(|| lack(scope, place, look));
            wanted.contains(&check.id).then(|| (check.id.clone(), objection()))
        };
        let checks: Vec<_> = look.checks().iter().filter_map(planned).collect();
        (!checks.is_empty()).then_some(Visit { place, look, target, checks })
    };
    let endpoints = scope.endpoints.iter().flat_map(|endpoint| {
        looks(endpoint.url.scheme).iter().map(move |look| (Place::Endpoint(endpoint), *look, endpoint.url.to_string()))
    });
    let hosts = scope.hosts.iter().flat_map(|host| {
        [Look::Ports, Look::Discovery].map(move |look| (Place::Host(host), look, host.address.to_string()))
    });
    let devices = scope
        .devices
        .iter()
        .map(|device| (Place::Device(device), Look::RogueServer, format!("device {}", device.name)));
    let hub = scope.hub.iter().flat_map(|hub| {
        let looks = HubSubject::JUDGED.map(Look::Hub).into_iter().chain([Look::Quarantine]);
        looks.map(move |look| (Place::Hub(hub), look, "hub".to_owned()))
    });
    // Of a short form that declares nothing of the kind, nothing is said.
    let has_exceptions = scope.hub.is_some() || !scope.exceptions.is_empty();
    let exceptions = has_exceptions.then(|| (Place::Scope, Look::Exceptions, "scope".to_owned()));
    let all = endpoints.chain(hosts).chain(devices).chain(hub).chain(exceptions);
    all.filter_map(|(place, look, target)| visit(place, look, target)).collect()
}

/// What a visit would need and was not declared.
fn lack(scope: &Scope, place: Place<'_>, look: Look) -> Option<String> {
    match (place, look) {
        (Place::Endpoint(endpoint), Look::MqttIdentity | Look::Replay) => {
            let has_valid = endpoint.identities.iter().any(|name| scope.state(name) == Some(Credential::Valid));
            (!has_valid).then(|| "the scope gives this endpoint no valid test identity".into())
        }
        (Place::Endpoint(endpoint), Look::BruteForce) => endpoint
            .accounts
            .is_empty()
            .then(|| "the scope gives this endpoint no account that guessing may lock".into()),
        (Place::Endpoint(endpoint), Look::MqttMatrix | Look::CoapMatrix) => {
            endpoint.cells.is_empty().then(|| "the scope says of nobody what they may do here".into())
        }
        (Place::Hub(hub), Look::Quarantine) => {
            hub.test_device.is_none().then(|| "the scope names no test device that may be quarantined".into())
        }
        _ => None,
    }
}

impl Scope {
    /// What is the matter with an identity's certificate.
    fn state(&self, name: &str) -> Option<Credential> {
        self.identities.iter().find(|identity| identity.name == name).map(|identity| identity.state)
    }
}

/// What a scope asks for and results do not have: a report that leaves something out is caught by it.
#[must_use]
pub fn missing(scope: &Scope, catalogue: &Catalogue, results: &[CheckResult]) -> Vec<(CheckId, String)> {
    let there: BTreeSet<(&CheckId, &str)> = results.iter().map(|result| (&result.id, result.target.as_str())).collect();
    let planned = plan(scope, catalogue).into_iter().flat_map(|visit| {
        let target = crate::text::line(&visit.target);
        visit.checks.into_iter().map(move |(check, _)| (check, target.clone()))
    });
    planned.filter(|(check, target)| !there.contains(&(check, target.as_str()))).collect()
}
