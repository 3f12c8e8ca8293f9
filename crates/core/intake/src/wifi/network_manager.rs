//! Connections of NetworkManager, with the defaults of 1.48 (nm-settings-nmcli(5)).

use portreeve_assurance::evidence::config::{
    Said,
    wifi::{Protection, WifiConfig, WifiSecret},
};

use super::{names, network, secret};
use crate::{
    IntakeError, Piece,
    lines::{Entry, File, sections, shown},
};

pub(crate) fn config(file: &File<'_>) -> Result<Piece, IntakeError> {
    let entries = sections(file, false)?;
    let find = |section: &str, key: &str| {
        entries
            .iter()
            .rfind(|entry| entry.section == section && entry.key == key)
            .map(|entry| (entry.value.as_str(), entry.line))
    };
    let is_wifi = |entry: &&Entry| entry.section == "wifi" || entry.section == "802-11-wireless";
    if entries.iter().find(is_wifi).is_none() {
        return Err(file.error(1, "this connection is not of Wi-Fi"));
    }
    let security = |key: &str| find("wifi-security", key).or_else(|| find("802-11-wireless-security", key));
    let wifi = |key: &str| find("wifi", key).or_else(|| find("802-11-wireless", key));
    let mut found =
        network(wifi("ssid").map_or(Said::default(String::new()), |(value, line)| Said::at(line, shown(value))));
    let management = security("key-mgmt");
    found.key_management = match management {
        // IEEE 802.1X with WEP, and WEP.
        Some((value, line)) => Said::at(line, vec![shown(&value.to_ascii_uppercase())]),
        None => Said::default(vec!["NONE".into()]),
    };
    let is_wpa = management.is_some_and(|(value, _)| value.starts_with("wpa") || value == "sae" || value == "owe");
    let protos = security("proto").map(|(value, line)| Said::at(line, names(value, &[';', ',', ' '])));
    let speaks = |proto: &str, otherwise: bool| match &protos {
        Some(said) => Said { value: is_wpa && said.value.iter().any(|name| name == proto), line: said.line },
        None => Said { value: is_wpa && otherwise, line: None },
    };
    // SAE and OWE are of WPA3 only.
    found.wpa1 = speaks("WPA", management.is_some_and(|(value, _)| value.starts_with("wpa-psk") || value == "wpa-eap"));
    found.rsn = speaks("RSN", true);
    found.ciphers = match security("pairwise") {
        Some((value, line)) => Said::at(line, names(value, &[';', ',', ' '])),
        None if found.wpa1.value => Said::default(vec!["CCMP".into(), "TKIP".into()]),
        None => Said::default(vec!["CCMP".into()]),
    };
    found.management_protection = match security("pmf") {
        Some(("3", line)) => Said::at(line, Protection::Required),
        Some(("1", line)) => Said::at(line, Protection::Off),
        Some((_, line)) => Said::at(line, Protection::Optional),
        None if management.is_some_and(|(value, _)| value == "sae") => Said::default(Protection::Required),
        None => Said::default(Protection::Optional),
    };
    found.wps = match security("wps-method") {
        // 1 is "disabled"; 0 leaves it to the access point.
        Some((value, line)) => Said::at(line, !["0", "1"].contains(&value)),
        None => Said::default(false),
    };
    found.sae_hash_to_element = Said::default(true);
    if let Some((_, line)) = security("wep-key0") {
        found.wep = Said::at(line, true);
    }
    let is_enterprise = management.is_some_and(|(value, _)| value.starts_with("wpa-eap"));
    found.secret = match (security("psk"), security("psk-flags")) {
        (Some((value, line)), _) => Said::at(line, secret(value)),
        (None, Some((_, line))) => Said::at(line, WifiSecret::Elsewhere),
        (None, None) if is_enterprise => Said::default(WifiSecret::Enterprise),
        (None, None) if is_wpa => Said::default(WifiSecret::Elsewhere),
        (None, None) => Said::default(WifiSecret::None),
    };
    let is_access_point = wifi("mode").is_some_and(|(value, _)| value == "ap");
    if let Some((value, line)) = wifi("ap-isolation") {
        found.is_isolated = Said::at(line, value == "1" || value == "true");
    }
    let facts = WifiConfig {
        file: shown(file.name),
        software: "NetworkManager 1.48".into(),
        is_access_point,
        networks: vec![found],
        unread: Vec::new(),
    };
    Ok(Piece::of_wifi(&facts))
}
