//! Who administers the hub.

use serde::{Deserialize, Serialize};

use crate::evidence::{Facts, Seen};

/// Operators and how their duties are kept apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubRoles {
    /// Those whom the configuration names, at most 200. The hub's own user and the machine's root are administrators besides.
    pub operators: Vec<Operator>,
    /// How many more there are.
    pub operators_more: u64,
    /// Whether administrators have nothing to do with keys.
    pub keys_apart: bool,
    /// Whether operations on CAs need a second person.
    pub two_persons: bool,
    /// How far back the ledger was read for what operators did, days.
    pub looked_back_days: u64,
    /// Whether that is all that there is of it.
    pub whole_ledger: bool,
    /// Whether operators show a second factor.
    pub second_factor: Seen<bool>,
}

impl Facts for HubRoles {
    const KIND: &'static str = "hub-roles/1";
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Name of the local user.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Days since it last asked for something, if that is in the part of the ledger that was read.
    pub idle_days: Option<u64>,
}
