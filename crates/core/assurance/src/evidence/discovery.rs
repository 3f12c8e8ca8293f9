//! Who answers questions that go to anybody: SSDP, UPnP gateways, mDNS, WS-Discovery.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Seen};

/// Answers that are kept of one protocol.
pub const ANSWERS_MAX: usize = 64;

/// What one target, or one segment, answers to discovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryScan {
    /// Each protocol once.
    pub protocols: Vec<ProtocolAnswers>,
    /// Whether the whole segment was asked by multicast, rather than the target alone.
    pub is_multicast: bool,
    /// Whether the target shows any sign of life: silence of one that is not there says nothing.
    pub is_alive: bool,
    /// What it took.
    pub effort: Effort,
}

impl Facts for DiscoveryScan {
    const KIND: &'static str = "discovery-scan/1";
}

/// Protocols without authentication by which things find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscoveryProtocol {
    /// SSDP, UDP port 1900 (UPnP Device Architecture 2.0 section 1).
    Ssdp,
    /// A gateway that shows or changes its port mappings (WANIPConnection:1). Asked only what it shows.
    Igd,
    /// Multicast DNS, UDP port 5353 (RFC 6762, RFC 6763).
    Mdns,
    /// WS-Discovery, UDP port 3702.
    WsDiscovery,
}

impl DiscoveryProtocol {
    /// All.
    pub const ALL: [Self; 4] = [Self::Ssdp, Self::Igd, Self::Mdns, Self::WsDiscovery];

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssdp => "SSDP",
            Self::Igd => "UPnP IGD",
            Self::Mdns => "mDNS",
            Self::WsDiscovery => "WS-Discovery",
        }
    }
}

/// What came in one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolAnswers {
    /// Which.
    pub protocol: DiscoveryProtocol,
    /// Who answered; nobody, if the target says that nobody listens or says nothing.
    pub answers: Seen<Vec<DiscoveryAnswer>>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryAnswer {
    /// Who: an address.
    pub from: String,
    /// What it says that it is: a search target, a service type, the types of a probe match; one line.
    pub what: String,
}

/// What may answer to discovery here, because somebody turned it on knowingly (GLOSSARY-P3). Nothing, unless it is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredDiscovery {
    /// Protocols.
    pub protocols: Vec<DiscoveryProtocol>,
}

impl Facts for DeclaredDiscovery {
    const KIND: &'static str = "declared-discovery/1";
}
