//! `vernemq.conf` with the defaults of 2.0 (VerneMQ's schema).

use std::collections::BTreeMap;

use portreeve_assurance::evidence::{
    config::{
        Said, Unread,
        broker::{Authorization, BrokerConfig, BrokerLimits, BrokerListener},
    },
    tls::Version,
};

use super::{is_local, version};
use crate::{
    IntakeError, Piece,
    lines::{File, pair, shown},
};

const SOFTWARE: &str = "vernemq 2.0";
/// Kinds of listeners that clients use.
const KINDS: [&str; 4] = ["tcp", "ssl", "ws", "wss"];

struct Lines<'a> {
    file: &'a File<'a>,
    said: BTreeMap<&'a str, (&'a str, u32)>,
}

pub(crate) fn config(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut lines = Lines { file, said: BTreeMap::new() };
    let mut unread = Vec::new();
    for (line, text) in file.said(&['#']) {
        if text.starts_with("include ") {
            unread.push(Unread::at(line, text));
            continue;
        }
        let (key, value) = pair(text).ok_or_else(|| file.error(line, "not key = value"))?;
        file.expect_list(line, lines.said.len())?;
        lines.said.insert(key, (value, line)); // of repeated keys, the last counts
    }
    let mut listeners = Vec::new();
    for key in lines.said.keys() {
        if let Some((kind, name)) = listener_of(key) {
            file.expect_things(1, listeners.len())?;
            listeners.extend(lines.listener(kind, name)?);
        }
    }
    let is_logging = match (lines.text("log.console"), lines.text("log.syslog")) {
        (Some((value, line)), syslog) if value == "off" && syslog.is_none_or(|(value, _)| value == "off") => {
            Said::at(line, false)
        }
        _ => Said::default(true),
    };
    let limits = BrokerLimits {
        packet_bytes_max: lines.count(&["max_message_size"], None)?,
        inflight_max: lines.count(&["max_inflight_messages"], Some(20))?,
        queued_max: lines.count(&["max_online_messages"], Some(1000))?,
    };
    let facts = BrokerConfig {
        file: shown(file.name),
        software: SOFTWARE.into(),
        listeners,
        authorization: vec![lines.authorization()],
        limits,
        is_logging,
        bridges: Vec::new(),
        default_passwords: Vec::new(),
        unread,
    };
    Ok(Piece::of_broker(&facts))
}

/// `listener.KIND.NAME`, and no setting of all of a kind.
fn listener_of(key: &str) -> Option<(&str, &str)> {
    let (kind, name) = key.strip_prefix("listener.")?.split_once('.')?;
    (KINDS.contains(&kind) && !name.contains('.')).then_some((kind, name))
}

impl Lines<'_> {
    fn text(&self, key: &str) -> Option<(&str, u32)> {
        self.said.get(key).map(|(value, line)| (*value, *line))
    }

    /// The first of some keys that is said.
    fn first(&self, keys: &[&str]) -> Option<(&str, u32)> {
        keys.iter().find_map(|key| self.text(key))
    }

    fn flag(&self, keys: &[&str], otherwise: bool) -> Said<bool> {
        self.first(keys)
            .map_or(Said::default(otherwise), |(value, line)| Said::at(line, ["on", "true", "yes"].contains(&value)))
    }

    /// 0, -1 and `infinity` are no bound.
    fn count(&self, keys: &[&str], otherwise: Option<u64>) -> Result<Said<Option<u64>>, IntakeError> {
        let Some((value, line)) = self.first(keys) else { return Ok(Said::default(otherwise)) };
        if value == "infinity" {
            return Ok(Said::at(line, None));
        }
        let count: i64 = value.parse().map_err(|_| self.file.error(line, "this is no number"))?;
        Ok(Said::at(line, u64::try_from(count).ok().filter(|count| *count > 0)))
    }

    fn listener(&self, kind: &str, name: &str) -> Result<Option<BrokerListener>, IntakeError> {
        let of = |setting: &str| {
            [
                format!("listener.{kind}.{name}.{setting}"),
                format!("listener.{kind}.{setting}"),
                format!("listener.{setting}"),
            ]
        };
        let flag = |setting: &str| {
            let keys = of(setting);
            self.flag(&[&keys[0], &keys[1]], false)
        };
        let Some((address, line)) = self.text(&format!("listener.{kind}.{name}")) else { return Ok(None) };
        // Settings of all listeners of a kind have names too, and no address.
        if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())
            && !address.starts_with("local:")
        {
            return Ok(None);
        }
        let keys = of("tls_version");
        let version_min = self
            .first(&[&keys[0], &keys[1]])
            .map_or(Said::default(Some(Version::Tls12)), |(value, line)| Said::at(line, version(value)));
        let keys = of("max_connections");
        Ok(Some(BrokerListener {
            address: Said::at(line, shown(address)),
            is_local: is_local(address) || address.starts_with("local:"),
            is_websocket: kind.starts_with("ws"),
            is_tls: Said::at(line, kind == "ssl" || kind == "wss"),
            version_min,
            certificate_required: flag("require_certificate"),
            name_from_certificate: flag("use_identity_as_username"),
            anonymous: self.flag(&["allow_anonymous"], false),
            connections_max: self.count(&[&keys[0], &keys[1], &keys[2]], Some(10_000))?,
        }))
    }

    fn authorization(&self) -> Said<Authorization> {
        let others = ["plugins.vmq_diversity", "plugins.vmq_webhooks"];
        if let Some(found) = others.iter().find(|key| self.flag(&[key], false).value) {
            let line = self.text(found).map(|(_, line)| line);
            return Said { value: Authorization::External((*found).to_owned()), line };
        }
        if !self.flag(&["plugins.vmq_acl"], true).value {
            let line = self.text("plugins.vmq_acl").map(|(_, line)| line);
            return Said { value: Authorization::Nothing, line };
        }
        self.text("vmq_acl.acl_file")
            .map_or(Said::default(Authorization::File("etc/vmq.acl".into())), |(value, line)| {
                Said::at(line, Authorization::File(shown(value)))
            })
    }
}
