//! Which versions of SNMP a target answers.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Seen};

/// Questions to one agent (RFC 1157, RFC 3416, RFC 3414).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnmpScan {
    /// Where, UDP.
    pub port: u16,
    /// How many common communities were tried; which of them are taken is not said, as they are passwords.
    pub communities: u32,
    /// SNMPv1 and 2c, each once.
    pub versions: Vec<CommunityVersion>,
    /// Whether an engine of SNMPv3 reports itself.
    pub v3: Seen<bool>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for SnmpScan {
    const KIND: &'static str = "snmp-scan/1";
}

/// One of the versions whose communities go in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommunityVersion {
    /// "1" or "2c".
    pub version: String,
    /// How many of the communities got an answer. Silence counts as none, as agents say nothing to wrong ones.
    pub answered: Seen<u32>,
    /// What the first answer says of the system, if it says something; one line.
    pub description: String,
}
