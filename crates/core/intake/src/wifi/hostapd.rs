//! `hostapd.conf`, with the defaults of 2.11, and its file of keys.

use std::collections::BTreeSet;

use portreeve_assurance::evidence::config::{
    Said, Unread,
    wifi::{WifiConfig, WifiKeys, WifiNetwork, WifiSecret},
};

use super::{names, network, protection, secret};
use crate::{
    IntakeError, Piece,
    lines::{File, head, pair, shown},
};

/// A network, and what decides on its ciphers.
struct Draft {
    network: WifiNetwork,
    wpa_pairwise: Option<Said<Vec<String>>>,
    rsn_pairwise: Option<Said<Vec<String>>>,
}

impl Draft {
    fn new(ssid: Said<String>) -> Self {
        let mut network = network(ssid);
        network.key_management = Said::default(vec!["WPA-PSK".into()]);
        Self { network, wpa_pairwise: None, rsn_pairwise: None }
    }

    fn finish(self) -> WifiNetwork {
        let Self { mut network, wpa_pairwise, rsn_pairwise } = self;
        let wpa = wpa_pairwise.unwrap_or(Said::default(vec!["TKIP".into()]));
        let rsn = rsn_pairwise.unwrap_or_else(|| wpa.clone());
        network.ciphers = match (network.wpa1.value, network.rsn.value) {
            (_, false) => wpa,
            (false, true) => rsn,
            (true, true) => {
                let mut all = wpa.value;
                all.extend(rsn.value.iter().filter(|cipher| !all.contains(cipher)).cloned().collect::<Vec<_>>());
                Said { value: all, line: rsn.line.or(wpa.line) }
            }
        };
        if !network.rsn.value && !network.wpa1.value {
            network.key_management = Said { value: vec!["NONE".into()], line: network.rsn.line };
            network.ciphers = Said::default(Vec::new());
        }
        network
    }
}

pub(crate) fn config(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut drafts = vec![Draft::new(Said::default(String::new()))];
    let mut unread = Vec::new();
    for (line, text) in file.said(&['#']) {
        let (key, value) = pair(text).ok_or_else(|| file.error(line, "not key=value"))?;
        if key == "bss" {
            file.expect_things(line, drafts.len())?;
            drafts.push(Draft::new(Said::at(line, shown(value))));
        } else if key == "config_id" || key == "driver_params" {
            unread.push(Unread::at(line, key));
        } else if let Some(draft) = drafts.last_mut() {
            setting(file, draft, line, key, value)?;
        }
    }
    let facts = WifiConfig {
        file: shown(file.name),
        software: "hostapd 2.11".into(),
        is_access_point: true,
        networks: drafts.into_iter().map(Draft::finish).collect(),
        unread,
    };
    Ok(Piece::of_wifi(&facts))
}

fn setting(file: &File<'_>, draft: &mut Draft, line: u32, key: &str, value: &str) -> Result<(), IntakeError> {
    let number = || value.parse::<u8>().map_err(|_| file.error(line, "this is no number"));
    let network = &mut draft.network;
    match key {
        "ssid" | "ssid2" => network.ssid = Said::at(line, shown(value)),
        "wpa" => {
            let bits = number()?;
            network.wpa1 = Said::at(line, bits & 1 != 0);
            network.rsn = Said::at(line, bits & 2 != 0);
        }
        "wpa_key_mgmt" => network.key_management = Said::at(line, names(value, &[' '])),
        "wpa_pairwise" => draft.wpa_pairwise = Some(Said::at(line, names(value, &[' ']))),
        "rsn_pairwise" => draft.rsn_pairwise = Some(Said::at(line, names(value, &[' ']))),
        "ieee80211w" => {
            let level = protection(number()?).ok_or_else(|| file.error(line, "not 0, 1 or 2"))?;
            network.management_protection = Said::at(line, level);
        }
        "wps_state" => network.wps = Said::at(line, number()? != 0),
        "sae_pwe" => network.sae_hash_to_element = Said::at(line, number()? != 0),
        "ap_isolate" => network.is_isolated = Said::at(line, number()? != 0),
        "wep_key0" | "wep_key1" | "wep_key2" | "wep_key3" => network.wep = Said::at(line, true),
        "wpa_passphrase" | "wpa_psk" => network.secret = Said::at(line, secret(value)),
        "wpa_psk_file" | "sae_password_file" => network.secret = Said::at(line, WifiSecret::File(shown(value))),
        "sae_password" => {
            let mut parts = value.split('|');
            let class = secret(parts.next().unwrap_or_default());
            let is_for_one =
                parts.any(|part| part.starts_with("mac=") && !part.eq_ignore_ascii_case("mac=ff:ff:ff:ff:ff:ff"));
            let is_fixed = matches!(network.secret.value, WifiSecret::WellKnown | WifiSecret::ShortPassphrase);
            // A password for one station leaves what is known of the others.
            if !is_for_one || class == WifiSecret::WellKnown || class == WifiSecret::ShortPassphrase {
                network.secret = Said::at(line, class);
            } else if !is_fixed && network.secret.value == WifiSecret::None {
                network.secret = Said::at(line, WifiSecret::Enterprise);
            }
        }
        "ieee8021x" if number()? == 1 => network.secret = Said::at(line, WifiSecret::Enterprise),
        _ => {}
    }
    Ok(())
}

/// `wpa_psk_file`: an address and a passphrase or key on each line, with `name=value` before them.
pub(crate) fn keys(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut facts = WifiKeys {
        file: shown(file.name),
        entries: 0,
        for_everybody: Vec::new(),
        repeated: Vec::new(),
        short: Vec::new(),
    };
    let mut known = BTreeSet::new();
    for (line, text) in file.said(&['#']) {
        let mut rest = text;
        while head(rest).0.contains('=') {
            rest = head(rest).1;
        }
        let (address, key) = head(rest);
        let is_address = address.len() == 17 && address.split(':').count() == 6;
        if !is_address || key.is_empty() {
            return Err(file.error(line, "not an address of a station and its passphrase"));
        }
        file.expect_list(line, facts.entries as usize)?;
        facts.entries += 1;
        if address == "00:00:00:00:00:00" {
            facts.for_everybody.push(line);
        }
        if !known.insert(key) {
            facts.repeated.push(line);
        }
        if matches!(secret(key), WifiSecret::ShortPassphrase | WifiSecret::WellKnown) {
            facts.short.push(line);
        }
    }
    Ok(Piece::of(&facts, file.name, &["cfg.wifi"]))
}
