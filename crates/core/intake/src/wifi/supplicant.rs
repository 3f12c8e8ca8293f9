//! `wpa_supplicant.conf`, with the defaults of 2.11.

use portreeve_assurance::evidence::config::{
    Said, Unread,
    wifi::{WifiConfig, WifiNetwork, WifiSecret},
};

use super::{names, network, protection, secret};
use crate::{
    IntakeError, Piece,
    lines::{File, pair, shown, unquoted},
};

pub(crate) fn config(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut networks: Vec<WifiNetwork> = Vec::new();
    let mut unread = Vec::new();
    let mut global = network(Said::default(String::new()));
    let mut block: Option<(bool, u32)> = None;
    for (line, text) in file.said(&['#']) {
        match block {
            Some(_) if text == "}" => block = None,
            Some((is_network, _)) => {
                let (key, value) = pair(text).ok_or_else(|| file.error(line, "neither key=value nor `}`"))?;
                if let Some(last) = networks.last_mut().filter(|_| is_network) {
                    setting(file, last, line, key, value)?;
                }
            }
            None => {
                let (key, value) = pair(text).ok_or_else(|| file.error(line, "not key=value"))?;
                if value == "{" {
                    block = Some((key == "network", line));
                    if key == "network" {
                        file.expect_things(line, networks.len())?;
                        networks.push(begin(&global, line));
                    }
                    continue;
                }
                match key {
                    "pmf" => global.management_protection = Said::at(line, level(file, line, value)?),
                    "sae_pwe" => global.sae_hash_to_element = Said::at(line, value != "0"),
                    "load_dynamic_eap" | "ext_password_backend" => unread.push(Unread::at(line, text)),
                    _ => {}
                }
            }
        }
    }
    if let Some((_, line)) = block {
        return Err(file.error(line, "the block has no end"));
    }
    let facts = WifiConfig {
        file: shown(file.name),
        software: "wpa_supplicant 2.11".into(),
        is_access_point: false,
        networks,
        unread,
    };
    Ok(Piece::of_wifi(&facts))
}

fn begin(global: &WifiNetwork, line: u32) -> WifiNetwork {
    let list = |names: &[&str]| Said::default(names.iter().map(|name| (*name).to_owned()).collect());
    WifiNetwork {
        ssid: Said::at(line, String::new()),
        wpa1: Said::default(true),
        rsn: Said::default(true),
        key_management: list(&["WPA-PSK", "WPA-EAP"]),
        ciphers: list(&["CCMP", "TKIP"]),
        ..global.clone()
    }
}

fn level(
    file: &File<'_>,
    line: u32,
    value: &str,
) -> Result<portreeve_assurance::evidence::config::wifi::Protection, IntakeError> {
    value.parse().ok().and_then(protection).ok_or_else(|| file.error(line, "not 0, 1 or 2"))
}

fn setting(file: &File<'_>, network: &mut WifiNetwork, line: u32, key: &str, value: &str) -> Result<(), IntakeError> {
    match key {
        "ssid" => network.ssid = Said::at(line, shown(unquoted(value))),
        "proto" => {
            let protos = names(value, &[' ']);
            let has = |wanted: &[&str]| protos.iter().any(|proto| wanted.contains(&proto.as_str()));
            network.wpa1 = Said::at(line, has(&["WPA"]));
            network.rsn = Said::at(line, has(&["RSN", "WPA2"]));
        }
        "key_mgmt" => {
            let names = names(value, &[' ']);
            if names.iter().any(|name| name == "NONE") {
                network.rsn = Said::at(line, false);
            }
            if names.iter().any(|name| name.contains("EAP")) {
                network.secret = Said::at(line, WifiSecret::Enterprise);
            }
            network.key_management = Said::at(line, names);
        }
        "pairwise" => network.ciphers = Said::at(line, names(value, &[' '])),
        "ieee80211w" => network.management_protection = Said::at(line, level(file, line, value)?),
        "psk" | "sae_password" if value.starts_with("ext:") => network.secret = Said::at(line, WifiSecret::Elsewhere),
        "psk" | "sae_password" => network.secret = Said::at(line, secret(unquoted(value))),
        "mem_only_psk" if value == "1" => network.secret = Said::at(line, WifiSecret::Elsewhere),
        "wep_key0" | "wep_key1" | "wep_key2" | "wep_key3" => network.wep = Said::at(line, true),
        _ => {}
    }
    Ok(())
}
