//! What an SSH server offers before anybody logs in.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Seen};

/// Banner and algorithms of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshScan {
    /// Its first line (RFC 4253 section 4.2).
    pub banner: Seen<String>,
    /// Its lists (RFC 4253 section 7.1).
    pub algorithms: Seen<SshAlgorithms>,
    /// Methods with which one may go on after `none` (RFC 4252 section 5.2); empty, where `none` lets one in.
    #[serde(default)]
    pub methods: Seen<Vec<String>>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for SshScan {
    const KIND: &'static str = "ssh-scan/1";
}

/// Lists of names, in the server's order. Encryption, MACs and compression are those towards the server and back, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshAlgorithms {
    /// Key exchange.
    pub key_exchange: Vec<String>,
    /// Host keys.
    pub host_keys: Vec<String>,
    /// Encryption.
    pub encryption: Vec<String>,
    /// Message authentication.
    pub macs: Vec<String>,
    /// Compression.
    pub compression: Vec<String>,
}
