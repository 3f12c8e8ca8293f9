//! zigbee2mqtt's `configuration.yaml`, with the defaults of 2.

use portreeve_assurance::evidence::config::{
    Said,
    zigbee::{NetworkKey, ZigbeeConfig},
};

use crate::{
    IntakeError, Piece,
    lines::{File, shown},
    yaml::{self, Flat},
};

/// The key that comes with zigbee2mqtt, and `ZigBeeAlliance09` of the standard, which is for joining and no key of a network.
const KNOWN_KEYS: [[u8; 16]; 2] = [[1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13], *b"ZigBeeAlliance09"];
/// The identifier that comes with zigbee2mqtt, 0x1a62.
const KNOWN_PAN: u64 = 6754;

pub(crate) fn config(file: &File<'_>) -> Result<Piece, IntakeError> {
    let flat = yaml::flat(file)?;
    let text = |key: &str| flat.values.get(key).map(|(value, line)| (value.as_str(), *line));
    let flag = |key: &str, otherwise: bool| {
        text(key).map_or(Said::default(otherwise), |(value, line)| Said::at(line, value == "true"))
    };
    let pan_id_is_default = match text("advanced.pan_id") {
        Some((value, line)) => Said::at(line, integer(value) == Some(KNOWN_PAN)),
        None => Said::default(true),
    };
    let has_page = Said {
        value: text("frontend").is_some_and(|(value, _)| value == "true") || flag("frontend.enabled", false).value,
        line: None,
    };
    let page_line = text("frontend.enabled").or_else(|| text("frontend")).map(|(_, line)| line);
    let facts = ZigbeeConfig {
        file: shown(file.name),
        software: "zigbee2mqtt 2".into(),
        network_key: network_key(&flat),
        permit_join: flag("permit_join", false),
        pan_id_is_default,
        install_codes_only: None,
        is_broker_in_clear: text("mqtt.server")
            .map(|(server, line)| Said::at(line, server.starts_with("mqtt:") && !is_local(server))),
        is_broker_unchecked: text("mqtt.reject_unauthorized")
            .map_or(Said::default(false), |(value, line)| Said::at(line, value == "false")),
        is_page_open: Said { value: has_page.value && text("frontend.auth_token").is_none(), line: page_line },
        unread: flat.unread.clone(),
    };
    Ok(Piece::of(&facts, file.name, &["cfg.zigbee"]))
}

fn is_local(server: &str) -> bool {
    let host = server.trim_start_matches("mqtt://");
    ["localhost", "127.", "[::1]"].iter().any(|begin| host.starts_with(begin))
}

/// Decimal or hexadecimal.
fn integer(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `GENERATE`, sixteen numbers, or a reference to another file.
fn network_key(flat: &Flat) -> Said<NetworkKey> {
    if let Some((value, line)) = flat.values.get("advanced.network_key") {
        let key = match value.as_str() {
            "GENERATE" => NetworkKey::Generated,
            value if value.starts_with('!') => NetworkKey::Elsewhere,
            _ => NetworkKey::Guessable,
        };
        return Said::at(*line, key);
    }
    let Some((_, line)) = flat.values.get("advanced.network_key.0") else { return Said::default(NetworkKey::Default) };
    let bytes: Vec<u64> = (0..16)
        .filter_map(|index| {
            flat.values.get(&format!("advanced.network_key.{index}")).and_then(|(value, _)| integer(value))
        })
        .collect();
    let is_known = KNOWN_KEYS.iter().any(|known| bytes.iter().copied().eq(known.iter().copied().map(u64::from)));
    let is_even =
        bytes.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect::<std::collections::BTreeSet<_>>().len()
            <= 1;
    let key = match () {
        () if is_known => NetworkKey::Default,
        () if bytes.len() != 16 || is_even => NetworkKey::Guessable,
        () => NetworkKey::Own,
    };
    Said::at(*line, key)
}
