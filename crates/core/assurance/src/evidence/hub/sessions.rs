//! Who is connected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Offenders;
use crate::evidence::Facts;

/// Sessions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSessions {
    /// Whether the hub ran; else there was nobody to be connected.
    pub is_running: bool,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Connections, by how the client showed who it is.
    pub methods: BTreeMap<String, u64>,
    /// Connections, by transport.
    pub transports: BTreeMap<String, u64>,
    /// Addresses that they come from.
    pub addresses: u64,
    /// Devices that are connected from more than one address at once.
    pub places: Vec<Placed>,
    /// How many more of these there are.
    pub places_more: u64,
    /// Devices with more than one connection from one address.
    pub many: Offenders,
    /// What the hub does when a device connects from a second address.
    pub on_two_places: String,
}

impl Facts for HubSessions {
    const KIND: &'static str = "hub-sessions/1";
}

/// A device and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// The first few addresses.
    pub addresses: Vec<String>,
}
