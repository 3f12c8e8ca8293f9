//! Configurations of Wi-Fi: hostapd, wpa_supplicant, NetworkManager.

use serde::{Deserialize, Serialize};

use super::{Said, Unread};
use crate::evidence::Facts;

/// The networks of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WifiConfig {
    /// The name of the file.
    pub file: String,
    /// Whose it is, and the version whose defaults hold, such as "hostapd 2.11".
    pub software: String,
    /// Whether it makes networks, or joins them.
    pub is_access_point: bool,
    /// At most 256.
    pub networks: Vec<WifiNetwork>,
    /// What was not followed.
    pub unread: Vec<Unread>,
}

impl Facts for WifiConfig {
    const KIND: &'static str = "wifi-config/1";
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WifiNetwork {
    /// Its name, and where it stands.
    pub ssid: Said<String>,
    /// Whether WPA, the first version, is spoken.
    pub wpa1: Said<bool>,
    /// Whether WPA2 or WPA3 is spoken.
    pub rsn: Said<bool>,
    /// Whether there are WEP keys.
    pub wep: Said<bool>,
    /// Key management, upper case, such as "WPA-PSK" or "SAE".
    pub key_management: Said<Vec<String>>,
    /// Pairwise and group ciphers, upper case, such as "CCMP".
    pub ciphers: Said<Vec<String>>,
    /// Protection of management frames (IEEE 802.11w).
    pub management_protection: Said<Protection>,
    /// Whether WPS is on.
    pub wps: Said<bool>,
    /// How SAE derives its element; where SAE is spoken.
    pub sae_hash_to_element: Said<bool>,
    /// What one joins with.
    pub secret: Said<WifiSecret>,
    /// Whether stations of one network may not talk to each other directly.
    pub is_isolated: Said<bool>,
}

/// Whether management frames are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Not at all.
    Off,
    /// For those that can.
    Optional,
    /// For all.
    Required,
}

/// What one joins a network with; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WifiSecret {
    /// Nothing.
    None,
    /// One passphrase of 8 to 11 characters for all.
    ShortPassphrase,
    /// One passphrase of 12 to 19 characters for all.
    Passphrase,
    /// One passphrase of 20 characters or more for all.
    LongPassphrase,
    /// One key of 256 bits for all.
    Key,
    /// A passphrase that everybody knows.
    WellKnown,
    /// A file with keys of stations.
    File(String),
    /// Kept elsewhere, by an agent or a key ring.
    Elsewhere,
    /// An identity of its own for each: IEEE 802.1X.
    Enterprise,
}

/// hostapd's file of keys for stations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WifiKeys {
    /// The name of the file.
    pub file: String,
    /// Lines with a key.
    pub entries: u32,
    /// Lines whose key is for every station.
    pub for_everybody: Vec<u32>,
    /// Lines whose key stands on an earlier line too.
    pub repeated: Vec<u32>,
    /// Lines whose passphrase has less than 12 characters.
    pub short: Vec<u32>,
}

impl Facts for WifiKeys {
    const KIND: &'static str = "wifi-keys/1";
}
