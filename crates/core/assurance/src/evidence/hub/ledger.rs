//! What became of the ledger when all of it was verified.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Offenders;
use crate::evidence::{Facts, Seen};

/// The ledger, as of one signed head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubLedger {
    /// Entries that the signed head covers.
    pub entries: u64,
    /// Entries that are not signed yet.
    pub unsigned: u64,
    /// The first entry that was read and compared with the head; those before were let go under a signature, or not looked at.
    pub verified_from: u64,
    /// Whether every entry that is kept was read. Else the last ones were, and were compared with the head all the same.
    pub whole: bool,
    /// The first damage.
    pub damage: Option<String>,
    /// The first entry that is kept.
    pub first_kept: u64,
    /// How many entries of each kind were read.
    pub kinds: BTreeMap<String, u64>,
    /// Entries that are not what this version writes.
    pub unreadable: u64,
    /// What happened since the hub was opened and has no entry, by kind.
    pub missing: Vec<String>,
    /// Events since then that got no entry, as the hub counts itself.
    pub unrecorded: u64,
    /// Why it cannot be written or signed at this moment.
    pub trouble: Option<String>,
    /// Witnesses that the configuration names.
    pub witnesses: Vec<Cosigner>,
    /// Files of the ledger that were looked at for their permissions.
    pub files: u64,
    /// Whether these are all that there are.
    pub all_files: bool,
    /// Those that others than the hub's user can read.
    pub readable: Offenders,
    /// Those that others than the hub's user can write.
    pub writable: Offenders,
    /// Days that entries are kept; 0 is for ever.
    pub keep_days: u64,
    /// Days that personal values of entries can be read.
    pub personal_days: u64,
}

impl Facts for HubLedger {
    const KIND: &'static str = "hub-ledger/1";
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosigner {
    /// Its name.
    pub name: String,
    /// How long ago it cosigned last a head that is a beginning of this ledger, seconds.
    pub silent_s: Seen<u64>,
    /// After so long it is late, seconds.
    pub late_s: u64,
}

/// What an auditor found who read the ledger's files himself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerProof {
    /// Entries that the signed head covers.
    pub entries: u64,
    /// The first entry that is kept; all from there were read and compared with the head.
    pub first_kept: u64,
    /// The root of the head, hex.
    pub root: String,
    /// The first damage; then the other fields say nothing.
    pub damage: Option<String>,
    /// Whether the key by which it is signed was declared beforehand; else it lay beside the ledger.
    pub is_key_declared: bool,
}

impl Facts for LedgerProof {
    const KIND: &'static str = "hub-ledger-proof/1";
}
