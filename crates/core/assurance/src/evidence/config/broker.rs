//! Configurations of MQTT brokers, of whatever software.

use serde::{Deserialize, Serialize};

use super::{Said, Unread};
use crate::evidence::{Facts, tls::Version};

/// A broker as its configuration makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// The name of the file.
    pub file: String,
    /// Whose it is, and the version whose defaults hold, such as "mosquitto 2.0".
    pub software: String,
    /// Where it listens; at most 256.
    pub listeners: Vec<BrokerListener>,
    /// Who may publish and subscribe what.
    pub authorization: Vec<Said<Authorization>>,
    /// Bounds.
    pub limits: BrokerLimits,
    /// Whether connections and errors are logged.
    pub is_logging: Said<bool>,
    /// Connections to other brokers; at most 256.
    pub bridges: Vec<Bridge>,
    /// Lines, or settings by their default, where a password that comes with the software still holds: what it is for.
    pub default_passwords: Vec<Said<String>>,
    /// What was not followed.
    pub unread: Vec<Unread>,
}

impl Facts for BrokerConfig {
    const KIND: &'static str = "broker-config/1";
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerListener {
    /// Its address as the file says it, and where.
    pub address: Said<String>,
    /// Whether only this host reaches it: loopback, or a socket of the file system.
    pub is_local: bool,
    /// Whether it carries WebSocket.
    pub is_websocket: bool,
    /// Whether it is TLS.
    pub is_tls: Said<bool>,
    /// The oldest version of TLS.
    pub version_min: Said<Option<Version>>,
    /// Whether a client needs a certificate.
    pub certificate_required: Said<bool>,
    /// Whether its name comes from the certificate.
    pub name_from_certificate: Said<bool>,
    /// Whether a client without a name is let in.
    pub anonymous: Said<bool>,
    /// The most connections at a time; `None`: no bound.
    pub connections_max: Said<Option<u64>>,
}

/// What decides who may publish and subscribe what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authorization {
    /// Nothing: everybody may everything.
    Nothing,
    /// A list of rights in this file.
    File(String),
    /// A plugin or service of this name.
    External(String),
    /// What no rule names is allowed.
    AllowedByDefault,
}

/// Bounds; `None` is no bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerLimits {
    /// The largest packet, or message where the software bounds that, bytes.
    pub packet_bytes_max: Said<Option<u64>>,
    /// Messages under way to a client.
    pub inflight_max: Said<Option<u64>>,
    /// Messages that wait for a client.
    pub queued_max: Said<Option<u64>>,
}

/// A connection to another broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Its name, and where it begins.
    pub name: Said<String>,
    /// Whether it is TLS.
    pub is_tls: bool,
    /// Whether the other broker's name is not checked.
    pub is_unchecked: Said<bool>,
}

/// A broker's list of rights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerAcl {
    /// The name of the file.
    pub file: String,
    /// In their order; at most 10,000.
    pub rules: Vec<AclRule>,
}

impl Facts for BrokerAcl {
    const KIND: &'static str = "broker-acl/1";
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    /// Where it stands, from 1.
    pub line: u32,
    /// Who has it.
    pub who: Who,
    /// What.
    pub access: Access,
    /// On which topics: a filter, perhaps with the client's name in it.
    pub topic: String,
}

/// Whose right it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Clients without a name.
    Anonymous,
    /// A client of this name.
    User(String),
    /// Every client.
    Everyone,
}

/// What a right lets one do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Subscribe.
    Read,
    /// Publish.
    Write,
    /// Both.
    ReadWrite,
    /// Neither.
    Deny,
}
