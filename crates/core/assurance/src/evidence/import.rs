//! What other scanners have seen.

use serde::{Deserialize, Serialize};

use super::{
    Effort, Facts, Seen,
    certificate::Chain,
    ports::{PortFacts, PortScan},
    tls::{TlsScan, VersionFacts},
};

/// A TLS server, seen by another's scanner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsImport {
    /// The scanner and its version, as its output says it, such as "sslyze 6.3.1".
    pub scanner: String,
    /// The host and port that it looked at.
    pub address: String,
    /// Each version that it speaks of once, oldest first.
    pub versions: Vec<VersionFacts>,
    /// Its words on vulnerabilities; at most 100.
    pub vulnerabilities: Vec<ImportedVulnerability>,
    /// The chains that it saw; at most 16. Their times left are of the moment of its scan.
    pub chains: Vec<Chain>,
    /// Why there is no chain, or why it is not whole.
    pub chains_gap: Option<String>,
}

impl Facts for TlsImport {
    const KIND: &'static str = "tls-import/1";
}

/// A word on a vulnerability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedVulnerability {
    /// What it calls it.
    pub name: String,
    /// Whether the server has it.
    pub is_vulnerable: Seen<bool>,
    /// How it says that; one line.
    pub words: String,
}

impl TlsImport {
    /// As one's own scan that saw no more than this.
    #[must_use]
    pub fn as_scan(&self) -> TlsScan {
        TlsScan {
            server_name: None,
            versions: self.versions.clone(),
            classic: Seen::NotTried,
            sealed: Seen::NotTried,
            chains: self.chains.clone(),
            chains_gap: self.chains_gap.clone(),
            effort: Effort::default(),
        }
    }
}

/// Ports of one address, seen by another's scanner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortsImport {
    /// The scanner and its version, such as "nmap 7.93".
    pub scanner: String,
    /// The address that it looked at.
    pub address: String,
    /// Each port once.
    pub ports: Vec<PortFacts>,
}

impl Facts for PortsImport {
    const KIND: &'static str = "ports-import/1";
}

impl PortsImport {
    /// As one's own scan that saw no more than this.
    #[must_use]
    pub fn as_scan(&self) -> PortScan {
        PortScan { ports: self.ports.clone(), effort: Effort::default() }
    }
}
