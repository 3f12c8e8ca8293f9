//! Wi-Fi: hostapd, wpa_supplicant, NetworkManager.

pub(crate) mod hostapd;
pub(crate) mod network_manager;
pub(crate) mod supplicant;

use portreeve_assurance::evidence::config::{
    Said,
    wifi::{Protection, WifiNetwork, WifiSecret},
};

/// Passphrases that come with software and examples, or that everybody tries first.
const WELL_KNOWN: [&str; 10] = [
    "12345678",
    "123456789",
    "1234567890",
    "password",
    "passphrase",
    "changeme",
    "secret passphrase",
    "raspberry",
    "admin123",
    "qwertyuiop",
];

/// What a network is before any line says something.
fn network(ssid: Said<String>) -> WifiNetwork {
    WifiNetwork {
        ssid,
        wpa1: Said::default(false),
        rsn: Said::default(false),
        wep: Said::default(false),
        key_management: Said::default(Vec::new()),
        ciphers: Said::default(Vec::new()),
        management_protection: Said::default(Protection::Off),
        wps: Said::default(false),
        sae_hash_to_element: Said::default(false),
        secret: Said::default(WifiSecret::None),
        is_isolated: Said::default(false),
    }
}

/// The class of a passphrase, or of a key of 64 hexadecimal digits.
fn secret(text: &str) -> WifiSecret {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return WifiSecret::Key;
    }
    if WELL_KNOWN.contains(&text.to_ascii_lowercase().as_str()) {
        return WifiSecret::WellKnown;
    }
    match text.chars().count() {
        0..12 => WifiSecret::ShortPassphrase,
        12..20 => WifiSecret::Passphrase,
        _ => WifiSecret::LongPassphrase,
    }
}

/// Names in upper case, each once.
fn names(text: &str, separators: &[char]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in text.split(separators).map(str::trim).filter(|name| !name.is_empty()).take(32) {
        let name = crate::lines::shown(&name.to_ascii_uppercase());
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

const fn protection(number: u8) -> Option<Protection> {
    match number {
        0 => Some(Protection::Off),
        1 => Some(Protection::Optional),
        2 => Some(Protection::Required),
        _ => None,
    }
}
