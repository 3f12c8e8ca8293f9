//! Files that are lists of settings: `sshd_config`, BlueZ's `main.conf`, `sysctl`, units of systemd.

use std::collections::BTreeSet;

use portreeve_assurance::evidence::config::{Said, Setting, Settings, Software, Unread};

use crate::{
    IntakeError, Piece,
    lines::{Entry, File, head, pair, sections, shown, unquoted},
};

fn settings(file: &File<'_>, software: Software, defaults_of: &str) -> Settings {
    Settings {
        file: shown(file.name),
        software,
        defaults_of: defaults_of.into(),
        settings: Vec::new(),
        unread: Vec::new(),
    }
}

fn put(settings: &mut Settings, section: &str, key: &str, said: Said<String>) {
    settings.settings.push(Setting { section: section.to_owned(), key: key.to_owned(), said });
}

/// What holds where no line says otherwise.
fn put_defaults(settings: &mut Settings, defaults: &[(&str, &str, &str)]) {
    for (section, key, value) in defaults {
        if settings.said(section, key).is_none() {
            put(settings, section, key, Said::default((*value).to_owned()));
        }
    }
}

/// What decides on who logs in and how (sshd_config(5)).
const SSHD_KEYS: [&str; 25] = [
    "allowgroups",
    "allowusers",
    "authenticationmethods",
    "challengeresponseauthentication",
    "ciphers",
    "denygroups",
    "denyusers",
    "hostbasedauthentication",
    "hostkeyalgorithms",
    "ignorerhosts",
    "kbdinteractiveauthentication",
    "kexalgorithms",
    "logingracetime",
    "loglevel",
    "macs",
    "maxauthtries",
    "passwordauthentication",
    "permitemptypasswords",
    "permitrootlogin",
    "permituserenvironment",
    "protocol",
    "pubkeyauthentication",
    "strictmodes",
    "usepam",
    "x11forwarding",
];

const SSHD_DEFAULTS: [(&str, &str, &str); 13] = [
    ("", "hostbasedauthentication", "no"),
    ("", "ignorerhosts", "yes"),
    ("", "kbdinteractiveauthentication", "yes"),
    ("", "logingracetime", "120"),
    ("", "loglevel", "INFO"),
    ("", "maxauthtries", "6"),
    ("", "passwordauthentication", "yes"),
    ("", "permitemptypasswords", "no"),
    ("", "permitrootlogin", "prohibit-password"),
    ("", "permituserenvironment", "no"),
    ("", "pubkeyauthentication", "yes"),
    ("", "strictmodes", "yes"),
    ("", "x11forwarding", "no"),
];

/// `sshd_config`: of repeated keywords the first counts; below `Match` they hold for some only. With the defaults of OpenSSH 10.
pub(crate) fn sshd(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut found = settings(file, Software::Sshd, "OpenSSH 10");
    let mut known = BTreeSet::new();
    let mut section = String::new();
    for (line, text) in file.said(&['#']) {
        let split = text.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(text.len());
        let (key, value) = text.split_at(split);
        let value = value.trim_start().trim_start_matches('=').trim();
        let key = key.to_ascii_lowercase();
        if value.is_empty() {
            return Err(file.error(line, "the keyword has no value"));
        }
        file.expect_list(line, found.settings.len() + found.unread.len())?;
        match key.as_str() {
            // `Match all` ends a block.
            "match" if value.eq_ignore_ascii_case("all") => section.clear(),
            "match" => section = shown(&format!("Match {value}")),
            "include" => found.unread.push(Unread::at(line, text)),
            // An older name of the same.
            "challengeresponseauthentication" | "kbdinteractiveauthentication" => {
                let key = "kbdinteractiveauthentication".to_owned();
                take_first(&mut found, &mut known, &section, &key, line, value);
            }
            key if SSHD_KEYS.contains(&key) => take_first(&mut found, &mut known, &section, key, line, value),
            _ => {}
        }
    }
    put_defaults(&mut found, &SSHD_DEFAULTS);
    Ok(Piece::of(&found, file.name, &["cfg.ssh"]))
}

fn take_first(
    found: &mut Settings,
    known: &mut BTreeSet<(String, String)>,
    section: &str,
    key: &str,
    line: u32,
    value: &str,
) {
    // Lists of users and groups go on over several lines.
    let is_list = key.ends_with("users") || key.ends_with("groups");
    if known.insert((section.to_owned(), key.to_owned())) {
        put(found, section, key, Said::at(line, shown(unquoted(value))));
    } else if is_list
        && let Some(setting) = found.settings.iter_mut().find(|one| one.section == section && one.key == key)
    {
        setting.said.value = shown(&format!("{} {value}", setting.said.value));
    }
}

const BLUEZ_DEFAULTS: [(&str, &str, &str); 7] = [
    ("General", "DiscoverableTimeout", "180"),
    ("General", "AlwaysPairable", "false"),
    ("General", "PairableTimeout", "0"),
    ("General", "JustWorksRepairing", "never"),
    ("General", "Privacy", "off"),
    ("General", "SecureConnections", "on"),
    ("GATT", "KeySize", "0"),
];

/// BlueZ's `main.conf`, with the defaults of 5.79: of repeated keys the last counts.
pub(crate) fn bluetoothd(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut found = settings(file, Software::Bluetoothd, "BlueZ 5.79");
    for (section, key, _) in BLUEZ_DEFAULTS {
        let entries = sections(file, false)?;
        if let Some(entry) = entries.iter().rfind(|entry| entry.section == section && entry.key == key) {
            put(&mut found, section, key, Said::at(entry.line, shown(&entry.value)));
        }
    }
    put_defaults(&mut found, &BLUEZ_DEFAULTS);
    Ok(Piece::of(&found, file.name, &["cfg.bluetooth"]))
}

/// Ends of the keys that decide on forwarding.
const SYSCTL_ENDS: [&str; 8] = [
    ".ip_forward",
    ".forwarding",
    ".mc_forwarding",
    ".rp_filter",
    ".proxy_arp",
    ".proxy_ndp",
    ".bridge-nf-call-iptables",
    ".bridge-nf-call-ip6tables",
];

/// What `sysctl -a` prints, or a file of `sysctl.d`: of repeated keys the last counts. There are no defaults: the kernel says all, or nothing.
pub(crate) fn sysctl(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut found = settings(file, Software::Sysctl, "");
    let mut last = std::collections::BTreeMap::new();
    for (line, text) in file.said(&['#', ';']) {
        // `sysctl: permission denied on key …` is among what `sysctl -a` prints.
        let Some((key, value)) = pair(text).filter(|(key, _)| !key.contains(' ')) else {
            if text.starts_with("sysctl: ") {
                continue;
            }
            return Err(file.error(line, "not key = value"));
        };
        let key = key.trim_start_matches('-');
        // Where the first separator is a slash, slashes and dots have changed places (sysctl.d(5)).
        let is_slashed = key.find(['/', '.']).is_some_and(|at| key[at..].starts_with('/'));
        let key = if is_slashed { key.chars().map(swap).collect() } else { key.to_owned() };
        if SYSCTL_ENDS.iter().any(|end| key.ends_with(end)) {
            file.expect_list(line, last.len())?;
            last.insert(shown(&key), Said::at(line, shown(value)));
        }
    }
    last.into_iter().for_each(|(key, said)| put(&mut found, "", &key, said));
    Ok(Piece::of(&found, file.name, &["cfg.kernel"]))
}

const fn swap(c: char) -> char {
    match c {
        '/' => '.',
        '.' => '/',
        other => other,
    }
}

/// What confines a service (systemd.exec(5)).
const UNIT_KEYS: [&str; 25] = [
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "DeviceAllow",
    "DevicePolicy",
    "DynamicUser",
    "Group",
    "IPAddressDeny",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateTmp",
    "PrivateUsers",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectSystem",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "SystemCallFilter",
    "UMask",
    "User",
];

/// A unit: lists go on over several lines and end with an empty one; of other repeated keys the last counts. Drop-ins lie in other files.
pub(crate) fn unit(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut found = settings(file, Software::Systemd, "");
    let entries = sections(file, true)?;
    if !entries.iter().any(|entry| entry.section == "Service") {
        return Err(file.error(1, "there is no [Service] in it"));
    }
    for Entry { key, value, line, .. } in entries.into_iter().filter(|entry| entry.section == "Service") {
        if !UNIT_KEYS.contains(&key.as_str()) {
            continue;
        }
        let is_list = ["SystemCallFilter", "CapabilityBoundingSet", "RestrictAddressFamilies", "DeviceAllow"]
            .contains(&key.as_str());
        let earlier = found.settings.iter().position(|setting| setting.key == key);
        let before = earlier.map(|index| found.settings.swap_remove(index).said.value);
        let value = match before.filter(|_| is_list && !value.is_empty()) {
            Some(before) => shown(&format!("{before} {value}")),
            None => shown(&value),
        };
        put(&mut found, "Service", &key, Said::at(line, value));
    }
    found.settings.sort_by_key(|setting| setting.said.line);
    found.unread.push(Unread::nowhere("drop-ins of the unit"));
    // `ss`, or `systemctl cat`, which prints drop-ins behind the unit, say more.
    let (_, rest) = head(file.text.lines().next().unwrap_or_default());
    if rest.ends_with(".service") && file.text.starts_with("# /") {
        found.unread.clear();
    }
    Ok(Piece::of(&found, file.name, &["cfg.host"]))
}
