//! What listens on a host, and how services are confined.

use serde::{Deserialize, Serialize};

use crate::evidence::{Facts, ports::Transport};

/// Listening sockets as `ss -tulpn` prints them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sockets {
    /// The name of the file.
    pub file: String,
    /// Each once; at most 10,000.
    pub sockets: Vec<Socket>,
}

impl Facts for Sockets {
    const KIND: &'static str = "sockets/1";
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// The line, from 1.
    pub line: u32,
    /// Over what.
    pub transport: Transport,
    /// The local address.
    pub address: String,
    /// The local port.
    pub port: u16,
    /// Whether only this host reaches it.
    pub is_local: bool,
    /// Whose it is; empty, if it is not said.
    pub process: String,
}

/// How exposed units are, as `systemd-analyze security --json=short` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitExposure {
    /// The name of the file.
    pub file: String,
    /// The sum over all settings of one unit, tenths: 0 is confined, 100 is not.
    pub exposure_tenths: u32,
    /// Whether it runs as root.
    pub is_root: bool,
    /// Settings that are not made, the gravest first; at most 100.
    pub missing: Vec<String>,
}

impl Facts for UnitExposure {
    const KIND: &'static str = "unit-exposure/1";
}

/// What is asked of services; declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostPolicy {
    /// The greatest exposure of a unit, tenths, by `systemd-analyze security`. Its word for up to 5.0 is "medium".
    pub exposure_tenths_max: u32,
    /// The least number of the ten groups of directives that a unit file must set.
    pub directives_min: u32,
}

impl Default for HostPolicy {
    fn default() -> Self {
        Self { exposure_tenths_max: 50, directives_min: 6 }
    }
}

impl Facts for HostPolicy {
    const KIND: &'static str = "host-policy/1";
}
