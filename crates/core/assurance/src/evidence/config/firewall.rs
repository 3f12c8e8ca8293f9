//! Packet filters: `nft -j list ruleset` and `iptables-save`.

use serde::{Deserialize, Serialize};

use super::Unread;
use crate::evidence::{Facts, ports::Transport};

/// A packet filter as it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruleset {
    /// The name of the file.
    pub file: String,
    /// Who printed it, and in which version if that is known.
    pub software: String,
    /// Chains of filters that packets pass; at most 1,000.
    pub chains: Vec<FilterChain>,
    /// What was not read for what it means.
    pub unread: Vec<Unread>,
}

impl Facts for Ruleset {
    const KIND: &'static str = "ruleset/1";
}

/// A chain at a hook, with the rules of the chains that it sends packets to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterChain {
    /// Family and table, such as "inet filter".
    pub table: String,
    /// Its name.
    pub name: String,
    /// Which packets pass it.
    pub hook: Hook,
    /// Whether packets that no rule decides are dropped, be it by policy or by a last rule for all.
    pub drops_by_default: bool,
    /// Whether a rule logs.
    pub is_logging: bool,
    /// Whether a rule bounds a rate or a number of connections.
    pub is_limiting: bool,
    /// What it lets pass; at most 10,000.
    pub accepts: Vec<Accept>,
}

/// Where a chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Packets for this host.
    Input,
    /// Packets through this host.
    Forward,
    /// Packets of this host.
    Output,
}

/// A rule that lets packets pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Only packets of connections that are there, or belong to one.
    pub is_established: bool,
    /// Only from this host to itself.
    pub is_loopback: bool,
    /// From where: addresses, networks, sets, incoming interfaces. Empty: from everywhere.
    pub from: Vec<String>,
    /// To where, likewise.
    pub to: Vec<String>,
    /// Over what; `None`: anything.
    pub transport: Option<Transport>,
    /// To which ports, as first and last. Empty: all.
    pub ports: Vec<(u16, u16)>,
    /// For ICMP and other control traffic only.
    pub is_control: bool,
    /// What else must be so, or is not understood; one line each.
    pub other: Vec<String>,
}

/// What may pass a filter; declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FirewallPolicy {
    /// To this host.
    pub input: Vec<Flow>,
    /// Through it.
    pub forward: Vec<Flow>,
}

impl Facts for FirewallPolicy {
    const KIND: &'static str = "firewall-policy/1";
}

/// What may go from where to where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// From where, as the rule says it: an address, a network, a set, an interface. `None`: from everywhere.
    pub from: Option<String>,
    /// To where, likewise.
    pub to: Option<String>,
    /// Over what.
    pub transport: Transport,
    /// To which port.
    pub port: u16,
}
