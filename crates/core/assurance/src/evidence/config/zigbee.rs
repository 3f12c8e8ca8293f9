//! Configurations of Zigbee coordinators.

use serde::{Deserialize, Serialize};

use super::{Said, Unread};
use crate::evidence::Facts;

/// A coordinator as its configuration makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZigbeeConfig {
    /// The name of the file.
    pub file: String,
    /// Whose it is, and the version whose defaults hold, such as "zigbee2mqtt 2".
    pub software: String,
    /// The key of the network.
    pub network_key: Said<NetworkKey>,
    /// Whether devices may join from the start.
    pub permit_join: Said<bool>,
    /// Whether the identifier of the network is the one that comes with the software.
    pub pan_id_is_default: Said<bool>,
    /// Whether devices can join with their install code only; `None`: the file cannot say.
    pub install_codes_only: Option<Said<bool>>,
    /// Whether its connection to the MQTT broker is in clear; `None`, without one.
    pub is_broker_in_clear: Option<Said<bool>>,
    /// Whether it does not check the broker's certificate.
    pub is_broker_unchecked: Said<bool>,
    /// Whether its page for people needs no token, and is on.
    pub is_page_open: Said<bool>,
    /// What was not followed.
    pub unread: Vec<Unread>,
}

impl Facts for ZigbeeConfig {
    const KIND: &'static str = "zigbee-config/1";
}

/// The key of a Zigbee network; never the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKey {
    /// The one that comes with the software, or the one of the standard.
    Default,
    /// One whose bytes are all the same or in a row.
    Guessable,
    /// Made at random when the network is made.
    Generated,
    /// One of its own.
    Own,
    /// In another file.
    Elsewhere,
}
