//! Who is registered, and what is known of each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Measured, Offenders};
use crate::evidence::Facts;

/// The registry as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubRegistry {
    /// All identities.
    pub identities: u64,
    /// How many are in each state.
    pub states: BTreeMap<String, u64>,
    /// What new names must look like; nothing, if they may be anything.
    pub name_pattern: Option<String>,
    /// Of those in service: what is not known of them. Each kind and field once.
    pub lacking: Vec<Lacking>,
    /// Whose names do not match the pattern.
    pub off_pattern: Offenders,
    /// Whose group is not the one that the beginning of its name is reserved to.
    pub off_namespace: Offenders,
    /// Names that more than one identity has.
    pub same_name: Offenders,
    /// Whose firmware is below what its group demands, or not known where it demands one.
    pub outdated: Offenders,
    /// Who was not heard of for longer than its group's heartbeat.
    pub silent: Offenders,
    /// Of the active ones that are not connected: days since each was connected, changed or registered.
    pub unused_days: Vec<Measured>,
    /// After so many days without use the hub disables an identity; 0 is never.
    pub unused_days_max: u64,
}

impl Facts for HubRegistry {
    const KIND: &'static str = "hub-registry/1";
}

/// Of whom a field is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lacking {
    /// Of this kind.
    pub kind: IdentityKind,
    /// This field.
    pub field: Field,
    /// Who.
    pub who: Offenders,
}

/// What an identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityKind {
    /// A device.
    Device,
    /// A gateway.
    Gateway,
    /// An application.
    Application,
}

impl IdentityKind {
    /// All.
    pub const ALL: [Self; 3] = [Self::Device, Self::Gateway, Self::Application];
}

/// What may be known of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Who answers for it.
    Owner,
    /// Where it stands.
    Location,
    /// Its model.
    Model,
    /// Its firmware.
    Firmware,
}

impl Field {
    /// All.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Location, Self::Model, Self::Firmware];

    /// As in evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Location => "location",
            Self::Model => "model",
            Self::Firmware => "firmware",
        }
    }
}
