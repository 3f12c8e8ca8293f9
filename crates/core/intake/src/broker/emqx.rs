//! `emqx.conf` with the defaults of EMQX 5.8 (its configuration manual).

use std::collections::BTreeSet;

use portreeve_assurance::evidence::{
    config::{
        Said, Unread,
        broker::{Authorization, BrokerConfig, BrokerLimits, BrokerListener},
    },
    tls::Version,
};

use super::{hocon, hocon::Tree, is_local, version};
use crate::{
    IntakeError, Piece,
    lines::{File, shown},
};

const SOFTWARE: &str = "emqx 5.8";

/// Kinds of listeners, and where the one called `default` listens, which there is unless it is switched off.
const KINDS: [(&str, &str); 4] =
    [("tcp", "0.0.0.0:1883"), ("ssl", "0.0.0.0:8883"), ("ws", "0.0.0.0:8083"), ("wss", "0.0.0.0:8084")];

pub(crate) fn config(file: &File<'_>) -> Result<Piece, IntakeError> {
    let tree = hocon::tree(file)?;
    let mut listeners = Vec::new();
    for (kind, address) in KINDS {
        let mut names: BTreeSet<&str> = tree.names(&format!("listeners.{kind}."));
        names.insert("default");
        for name in names {
            file.expect_things(1, listeners.len())?;
            listeners.extend(tree.listener(kind, name, address));
        }
    }
    let limits = BrokerLimits {
        packet_bytes_max: tree.count("mqtt.max_packet_size", Some(1 << 20)),
        inflight_max: tree.count("mqtt.max_inflight", Some(32)),
        queued_max: tree.count("mqtt.max_mqueue_len", Some(1000)),
    };
    let known =
        [("dashboard.default_password", "public", "the dashboard"), ("node.cookie", "emqxsecretcookie", "the cluster")];
    let default_passwords = known
        .into_iter()
        .filter_map(|(key, word, of)| {
            tree.text(key).filter(|(value, _)| *value == word).map(|(_, line)| Said::at(line, of.to_owned()))
        })
        .collect();
    let mut unread = tree.unread.clone();
    if tree.text("dashboard.default_password").is_none() {
        unread.push(Unread::nowhere("the password of the dashboard, which is in the broker's own store"));
    }
    let facts = BrokerConfig {
        file: shown(file.name),
        software: SOFTWARE.into(),
        listeners,
        authorization: tree.authorization(),
        limits,
        is_logging: tree.is_logging(),
        bridges: Vec::new(),
        default_passwords,
        unread,
    };
    Ok(Piece::of_broker(&facts))
}

impl Tree {
    fn text(&self, key: &str) -> Option<(&str, u32)> {
        self.values.get(key).map(|(value, line)| (value.as_str(), *line))
    }

    fn flag(&self, key: &str, otherwise: bool) -> Said<bool> {
        self.text(key).map_or(Said::default(otherwise), |(value, line)| Said::at(line, value == "true"))
    }

    /// The names below a path.
    fn names<'a>(&'a self, path: &str) -> BTreeSet<&'a str> {
        let below = self.values.keys().filter_map(|key| key.strip_prefix(path));
        below.filter_map(|rest| rest.split('.').next()).collect()
    }

    /// A number or a size; whatever is neither, such as `infinity`, is no bound.
    fn count(&self, key: &str, otherwise: Option<u64>) -> Said<Option<u64>> {
        let Some((value, line)) = self.text(key) else { return Said::default(otherwise) };
        let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        let (number, unit) = value.split_at(end);
        let factor = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => Some(1),
            "KB" => Some(1 << 10),
            "MB" => Some(1 << 20),
            "GB" => Some(1 << 30),
            _ => None,
        };
        let count = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        Said::at(line, count.filter(|count| *count > 0))
    }

    fn listener(&self, kind: &str, name: &str, address: &str) -> Option<BrokerListener> {
        let of = |setting: &str| format!("listeners.{kind}.{name}.{setting}");
        if !self.flag(&of("enable"), true).value || !self.flag(&of("enabled"), true).value {
            return None;
        }
        let address = match self.text(&of("bind")) {
            // A port alone is one of all addresses.
            Some((port, line)) if port.parse::<u16>().is_ok() => Said::at(line, format!("0.0.0.0:{port}")),
            Some((address, line)) => Said::at(line, shown(address)),
            None => Said::default(address.to_owned()),
        };
        let is_tls = kind == "ssl" || kind == "wss";
        let verify = self.text(&of("ssl_options.verify"));
        let demands = self.flag(&of("ssl_options.fail_if_no_peer_cert"), false);
        let certificate_required =
            Said { value: demands.value && verify.is_some_and(|(value, _)| value == "verify_peer"), ..demands };
        Some(BrokerListener {
            is_local: is_local(&address.value),
            is_websocket: kind.starts_with("ws"),
            is_tls: Said { value: is_tls, line: address.line },
            address,
            version_min: self.version_min(&of("ssl_options.versions")),
            certificate_required,
            name_from_certificate: self.names_of_certificates(),
            anonymous: self.anonymous(&of("enable_authn")),
            connections_max: self.count(&of("max_connections"), None),
        })
    }

    /// The oldest of a list.
    fn version_min(&self, key: &str) -> Said<Option<Version>> {
        let Some((_, line)) = self.text(key) else { return Said::default(Some(Version::Tls12)) };
        let below = format!("{key}.");
        let all: Option<Vec<Version>> = self
            .values
            .iter()
            .filter(|(path, _)| path.starts_with(&below))
            .map(|(_, (value, _))| version(value))
            .collect();
        Said::at(line, all.and_then(|all| all.into_iter().min()))
    }

    fn names_of_certificates(&self) -> Said<bool> {
        let keys = ["mqtt.peer_cert_as_username", "mqtt.peer_cert_as_clientid"];
        let found = keys.iter().find_map(|key| self.text(key).filter(|(value, _)| *value != "disabled"));
        found.map_or(Said::default(false), |(_, line)| Said::at(line, true))
    }

    /// Without an authenticator everybody is let in.
    fn anonymous(&self, switch: &str) -> Said<bool> {
        if let Some((_, line)) = self.text(switch).filter(|(value, _)| *value == "false") {
            return Said::at(line, true);
        }
        let is_on = |index: &&str| {
            self.text(&format!("authentication.{index}.mechanism")).is_some()
                && self.flag(&format!("authentication.{index}.enable"), true).value
        };
        let is_one = self.text("authentication.mechanism").is_some() && self.flag("authentication.enable", true).value;
        let line = self.text("authentication").map(|(_, line)| line);
        let has = is_one || self.names("authentication.").iter().any(is_on);
        Said { value: !has, line }
    }

    fn authorization(&self) -> Vec<Said<Authorization>> {
        let mut found = Vec::new();
        let no_match = self.text("authorization.no_match");
        if no_match.is_none_or(|(value, _)| value != "deny") {
            found.push(Said { value: Authorization::AllowedByDefault, line: no_match.map(|(_, line)| line) });
        }
        let Some((_, line)) = self.text("authorization.sources") else {
            found.push(Said::default(Authorization::File("etc/acl.conf".into())));
            return found;
        };
        for index in self.names("authorization.sources.") {
            let of = |key: &str| format!("authorization.sources.{index}.{key}");
            let Some((kind, line)) = self.text(&of("type")).filter(|_| self.flag(&of("enable"), true).value) else {
                continue;
            };
            let source = match self.text(&of("path")) {
                Some((path, _)) if kind == "file" => Authorization::File(shown(path)),
                _ => Authorization::External(shown(kind)),
            };
            found.push(Said::at(line, source));
        }
        if found.is_empty() {
            // Nobody is allowed anything, which bounds it too.
            found.push(Said::at(line, Authorization::External("no_match = deny".into())));
        }
        found
    }

    fn is_logging(&self) -> Said<bool> {
        let console = self.text("log.console.enable").filter(|(value, _)| *value == "false");
        let files = self.names("log.file.");
        let is_file_off = |name: &&&str| {
            let key = if **name == "enable" { "log.file.enable".to_owned() } else { format!("log.file.{name}.enable") };
            self.text(&key).is_some_and(|(value, _)| value == "false")
        };
        let all_off = !files.is_empty()
            && files
                .iter()
                .filter(|name| **name == "enable" || !["level", "path"].contains(name))
                .all(|name| is_file_off(&name));
        match console {
            Some((_, line)) if all_off || files.is_empty() => Said::at(line, false),
            _ => Said::default(true),
        }
    }
}
