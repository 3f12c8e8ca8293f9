//! What listens on a target.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts};

/// Ports of one address, as far as they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortScan {
    /// Each port once, in order.
    pub ports: Vec<PortFacts>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for PortScan {
    const KIND: &'static str = "port-scan/1";
}

/// What a target says that it offers: its list of services (ETSI TS 103 701, IXIT 15-Intf), its MUD file or its manual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredServices {
    /// Each service once.
    pub services: Vec<DeclaredService>,
}

/// One service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredService {
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub port: u16,
}

impl DeclaredServices {
    /// Whether a service is on the list.
    #[must_use]
    pub fn has(&self, transport: Transport, port: u16) -> bool {
        self.services.contains(&DeclaredService { transport, port })
    }
}

impl FromIterator<(Transport, u16)> for DeclaredServices {
    fn from_iter<I: IntoIterator<Item = (Transport, u16)>>(services: I) -> Self {
        let services = services.into_iter().map(|(transport, port)| DeclaredService { transport, port });
        Self { services: services.collect() }
    }
}

impl Facts for DeclaredServices {
    const KIND: &'static str = "declared-services/1";
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortFacts {
    /// Of what.
    pub transport: Transport,
    /// Which.
    pub port: u16,
    /// Whether somebody listens.
    pub state: PortState,
    /// What is spoken there, if it is open.
    pub service: Option<Service>,
    /// What it said, or why it is not known; one line.
    pub detail: String,
}

/// Whether somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// It answers.
    Open,
    /// The target says that nobody does.
    Closed,
    /// Nothing came back: a firewall, or, over UDP, a service that did not like the question.
    Silent,
    /// It was not asked, or the asking failed.
    Unknown,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// TLS, of whatever inside.
    Tls,
    /// MQTT in clear.
    Mqtt,
    /// HTTP in clear.
    Http,
    /// HTTP that only says that one should use HTTPS.
    HttpRedirect,
    /// Telnet.
    Telnet,
    /// FTP.
    Ftp,
    /// SSH.
    Ssh,
    /// AMQP in clear.
    Amqp,
    /// CoAP in clear.
    Coap,
    /// TFTP.
    Tftp,
    /// SNMP version 1 or 2c, whose community is a password in clear.
    SnmpCommunity,
    /// SNMP version 3.
    Snmp3,
    /// SSDP.
    Ssdp,
    /// Something else.
    Unrecognized,
}

impl Service {
    /// Whether it carries what it carries in clear.
    #[must_use]
    pub const fn is_clear(self) -> bool {
        !matches!(self, Self::Tls | Self::Ssh | Self::HttpRedirect | Self::Snmp3 | Self::Unrecognized)
    }
}
