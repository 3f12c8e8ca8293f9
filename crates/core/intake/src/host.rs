//! `ss -tulpn`, and `systemd-analyze security --json=short UNIT`.

use portreeve_assurance::evidence::{
    config::host::{Socket, Sockets, UnitExposure},
    ports::Transport,
};
use serde::Deserialize;

use crate::{
    IntakeError, LIST_MAX, Piece,
    lines::{File, shown},
};

/// Most settings that are told as missing.
const MISSING_MAX: usize = 100;

/// The table of listening sockets, with its header or without.
pub(crate) fn sockets(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut found: Vec<Socket> = Vec::new();
    for (line, text) in file.said(&[]) {
        if text.starts_with("Netid") {
            continue;
        }
        let mut words = text.split_ascii_whitespace();
        let transport = match words.next() {
            Some("tcp") => Transport::Tcp,
            Some("udp") => Transport::Udp,
            _ => return Err(file.error(line, "not a line of `ss -tulpn`")),
        };
        let local = words.nth(3).ok_or_else(|| file.error(line, "the local address is missing"))?;
        let (address, port) =
            local.rsplit_once(':').ok_or_else(|| file.error(line, "the local address has no port"))?;
        let port = port.parse().map_err(|_| file.error(line, "the port is no number: print it with `ss -n`"))?;
        let process = text.split_once("users:((\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let host = address.trim_start_matches('[');
        file.expect_list(line, found.len())?;
        found.push(Socket {
            line,
            transport,
            address: shown(address),
            port,
            is_local: host.starts_with("127.") || host.starts_with("::1") || host.starts_with("::ffff:127."),
            process: shown(process),
        });
    }
    if found.is_empty() {
        return Err(file.error(1, "there is no socket in it"));
    }
    let facts = Sockets { file: shown(file.name), sockets: found };
    Ok(Piece::of(&facts, file.name, &["cfg.host"]))
}

/// One line of systemd's word.
#[derive(Deserialize)]
struct Assessment {
    set: Option<bool>,
    name: String,
    json_field: String,
    exposure: Option<String>,
}

pub(crate) fn exposure(file: &File<'_>) -> Result<Piece, IntakeError> {
    let all: Vec<Assessment> = serde_json::from_str(file.text).map_err(|error| IntakeError::json(file.name, &error))?;
    if all.is_empty() || all.len() > LIST_MAX {
        return Err(file.error(1, "this is not what systemd says of a unit"));
    }
    let mut missing: Vec<(u32, String)> = Vec::new();
    for one in &all {
        let Some(exposure) = one.exposure.as_deref().filter(|_| one.set == Some(false)) else { continue };
        let weight = tenths(exposure).ok_or_else(|| file.error(1, "an exposure is no number"))?;
        missing.push((weight, shown(&one.name)));
    }
    missing.sort_by(|(one, _), (other, _)| other.cmp(one));
    let total: u32 = missing.iter().map(|(weight, _)| weight).fold(0, |sum, weight| sum.saturating_add(*weight));
    let is_root = all.iter().any(|one| one.json_field == "UserOrDynamicUser" && one.set == Some(false));
    let facts = UnitExposure {
        file: shown(file.name),
        exposure_tenths: total,
        is_root,
        missing: missing.into_iter().take(MISSING_MAX).map(|(_, name)| name).collect(),
    };
    Ok(Piece::of(&facts, file.name, &["cfg.host"]))
}

/// A decimal number with one digit behind the point.
fn tenths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    whole.parse::<u32>().ok()?.checked_mul(10)?.checked_add(part.get(..1)?.parse().ok()?)
}
