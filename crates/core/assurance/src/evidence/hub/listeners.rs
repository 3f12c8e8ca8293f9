//! What a hub says of its listeners. Whoever looks at them from outside compares.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::evidence::{
    Facts,
    ports::{DeclaredServices, Transport},
    tls::Version,
};

/// Every listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubListeners {
    /// Each once.
    pub listeners: Vec<HubListener>,
    /// The largest MQTT packet, bytes.
    pub packet_bytes_max: u32,
    /// MQTT's Receive Maximum.
    pub receive_maximum: u16,
    /// MQTT's Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// The certificates that clients are to trust, PEM.
    pub anchors_pem: String,
}

impl Facts for HubListeners {
    const KIND: &'static str = "hub-listeners/1";
}

impl HubListeners {
    /// What `port.scan` compares with, of a host that is looked at from elsewhere.
    #[must_use]
    pub fn declared_services(&self) -> DeclaredServices {
        let outward = self.listeners.iter().filter(|listener| !listener.is_local());
        outward.map(|listener| (Transport::Tcp, listener.port)).collect()
    }
}

/// One listener, over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubListener {
    /// What the hub calls it.
    pub name: String,
    /// Address that it is bound to.
    pub address: String,
    /// Port.
    pub port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// Versions of TLS that are accepted; none, if it is in clear.
    pub versions: Vec<Version>,
    /// Whether clients need certificates.
    pub client_certificates: ClientCertificates,
}

impl HubListener {
    /// Whether only the hub's own machine reaches it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// MQTT over TLS.
    Mqtts,
    /// HTTP over TLS.
    Https,
    /// HTTP in clear.
    Http,
}

/// Whether clients need certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// Nobody gets in without.
    Required,
    /// They are asked for; some of what is offered needs none.
    Optional,
    /// They are not asked for.
    None,
}
