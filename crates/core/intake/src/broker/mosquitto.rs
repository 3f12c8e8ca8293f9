//! `mosquitto.conf` with the defaults of 2.0 (mosquitto.conf(5)).

use portreeve_assurance::evidence::{
    config::{
        Said, Unread,
        broker::{Authorization, Bridge, BrokerConfig, BrokerLimits, BrokerListener},
    },
    tls::Version,
};

use super::{is_local, version};
use crate::{
    IntakeError, Piece,
    lines::{File, head, shown},
};

const SOFTWARE: &str = "mosquitto 2.0";

/// Who is let in and what he may: of one listener, or of all.
#[derive(Clone, Debug, Default)]
struct Access {
    anonymous: Option<Said<bool>>,
    authorization: Option<Said<Authorization>>,
}

/// A listener as far as lines have told.
#[derive(Clone, Debug, Default)]
struct Draft {
    address: Said<String>,
    is_used: bool,
    is_websocket: bool,
    certificate: Option<u32>,
    key: Option<u32>,
    psk: Option<u32>,
    version_min: Option<Said<Option<Version>>>,
    require_certificate: Said<bool>,
    names: Said<bool>,
    connections_max: Said<Option<u64>>,
    access: Access,
}

struct Reader<'a, 'b> {
    file: &'a File<'b>,
    is_per_listener: bool,
    global: Access,
    /// The first is the one without a `listener` line.
    drafts: Vec<Draft>,
    config: BrokerConfig,
}

pub(crate) fn config(file: &File<'_>) -> Result<Piece, IntakeError> {
    let is_per_listener = file.said(&['#']).any(|(_, line)| head(line) == ("per_listener_settings", "true"));
    let limits = BrokerLimits {
        packet_bytes_max: Said::default(None),
        inflight_max: Said::default(Some(20)),
        queued_max: Said::default(Some(1000)),
    };
    let config = BrokerConfig {
        file: shown(file.name),
        software: SOFTWARE.into(),
        listeners: Vec::new(),
        authorization: Vec::new(),
        limits,
        is_logging: Said::default(true),
        bridges: Vec::new(),
        default_passwords: Vec::new(),
        unread: Vec::new(),
    };
    let mut reader =
        Reader { file, is_per_listener, global: Access::default(), drafts: vec![Draft::default()], config };
    for (line, text) in file.said(&['#']) {
        let (key, value) = head(text);
        reader.line(line, key, value)?;
    }
    Ok(Piece::of_broker(&reader.finish()))
}

impl Reader<'_, '_> {
    fn line(&mut self, line: u32, key: &str, value: &str) -> Result<(), IntakeError> {
        match key {
            "listener" => self.listener(line, value)?,
            "connection" => {
                self.file.expect_things(line, self.config.bridges.len())?;
                let name = Said::at(line, shown(value));
                self.config.bridges.push(Bridge { name, is_tls: false, is_unchecked: Said::default(false) });
            }
            "include_dir" => self.config.unread.push(Unread::at(line, &format!("include_dir {value}"))),
            "max_packet_size" | "message_size_limit" => {
                let bytes = self.count(line, value)?;
                let is_tighter = self.config.limits.packet_bytes_max.value.is_none();
                if is_tighter || key == "max_packet_size" {
                    self.config.limits.packet_bytes_max = Said::at(line, bytes);
                }
            }
            "max_inflight_messages" => self.config.limits.inflight_max = Said::at(line, self.count(line, value)?),
            "max_queued_messages" => self.config.limits.queued_max = Said::at(line, self.count(line, value)?),
            "log_dest" | "log_type" if value == "none" => self.config.is_logging = Said::at(line, false),
            "connection_messages" if value == "false" => self.config.is_logging = Said::at(line, false),
            key if key.starts_with("bridge_") => self.bridge(line, key, value),
            "allow_anonymous" => {
                let is_allowed = self.flag(line, value)?;
                self.access().anonymous = Some(Said::at(line, is_allowed));
            }
            "acl_file" => self.access().authorization = Some(Said::at(line, Authorization::File(shown(value)))),
            "plugin" | "auth_plugin" => {
                self.access().authorization = Some(Said::at(line, Authorization::External(shown(value))));
            }
            _ => self.of_listener(line, key, value)?,
        }
        Ok(())
    }

    /// Port and address, or 0 and the path of a socket.
    fn listener(&mut self, line: u32, value: &str) -> Result<(), IntakeError> {
        self.file.expect_things(line, self.drafts.len())?;
        let (port, host) = head(value);
        let port: u16 = port.parse().map_err(|_| self.file.error(line, "listener needs a port"))?;
        let address =
            if port == 0 { host.to_owned() } else { format!("{}:{port}", if host.is_empty() { "*" } else { host }) };
        self.drafts.push(Draft { address: Said::at(line, shown(&address)), is_used: true, ..Draft::default() });
        Ok(())
    }

    fn of_listener(&mut self, line: u32, key: &str, value: &str) -> Result<(), IntakeError> {
        let is_on = || self.flag(line, value);
        let count = || self.count(line, value);
        let (require, names, connections) = match key {
            "require_certificate" => (Some(is_on()?), None, None),
            "use_identity_as_username" | "use_subject_as_username" => (None, Some(is_on()?), None),
            "max_connections" => (None, None, Some(count()?)),
            _ => (None, None, None),
        };
        let Some(draft) = self.drafts.last_mut() else { return Ok(()) };
        match key {
            "port" => {
                draft.is_used = true;
                draft.address = Said::at(
                    line,
                    format!(
                        "{}:{}",
                        if draft.address.value.is_empty() { "*" } else { &draft.address.value },
                        shown(value)
                    ),
                );
            }
            "bind_address" => {
                draft.is_used = true;
                draft.address =
                    Said::at(line, format!("{}{}", shown(value), draft.address.value.trim_start_matches('*')));
            }
            "protocol" => draft.is_websocket = value == "websockets",
            "certfile" => draft.certificate = Some(line),
            "keyfile" => draft.key = Some(line),
            "psk_hint" => draft.psk = Some(line),
            "tls_version" => draft.version_min = Some(Said::at(line, version(value))),
            _ => {}
        }
        if let Some(require) = require {
            draft.require_certificate = Said::at(line, require);
        }
        if let Some(names) = names {
            draft.names = Said::at(line, names || draft.names.value);
        }
        if let Some(connections) = connections {
            draft.connections_max = Said::at(line, connections);
        }
        Ok(())
    }

    fn bridge(&mut self, line: u32, key: &str, value: &str) {
        let Some(bridge) = self.config.bridges.last_mut() else { return };
        match key {
            "bridge_cafile" | "bridge_capath" | "bridge_psk" => bridge.is_tls = true,
            "bridge_tls_use_os_certs" => bridge.is_tls |= value == "true",
            "bridge_insecure" => bridge.is_unchecked = Said::at(line, value == "true"),
            _ => {}
        }
    }

    fn access(&mut self) -> &mut Access {
        match self.drafts.last_mut() {
            Some(draft) if self.is_per_listener => &mut draft.access,
            _ => &mut self.global,
        }
    }

    fn flag(&self, line: u32, value: &str) -> Result<bool, IntakeError> {
        value.parse().map_err(|_| self.file.error(line, "this is neither `true` nor `false`"))
    }

    /// A number; 0 and less is no bound.
    fn count(&self, line: u32, value: &str) -> Result<Option<u64>, IntakeError> {
        let count: i64 = value.parse().map_err(|_| self.file.error(line, "this is no number"))?;
        Ok(u64::try_from(count).ok().filter(|count| *count > 0))
    }

    fn finish(mut self) -> BrokerConfig {
        let mut drafts: Vec<Draft> = self.drafts.iter().filter(|draft| draft.is_used).cloned().collect();
        let is_local_only = drafts.is_empty();
        if is_local_only {
            let first = self.drafts.first().cloned().unwrap_or_default();
            drafts.push(Draft { address: Said::default("localhost:1883".into()), ..first });
        }
        for draft in drafts {
            let access = if self.is_per_listener { &draft.access } else { &self.global };
            let authorization = access.authorization.clone().unwrap_or(Said::default(Authorization::Nothing));
            if !self.config.authorization.contains(&authorization) {
                self.config.authorization.push(authorization);
            }
            let anonymous = access.anonymous.unwrap_or(Said::default(is_local_only));
            self.config.listeners.push(draft.into_listener(anonymous));
        }
        self.config
    }
}

impl Draft {
    fn into_listener(self, anonymous: Said<bool>) -> BrokerListener {
        let is_tls = match (self.certificate.zip(self.key), self.psk) {
            (Some((line, _)), _) | (None, Some(line)) => Said::at(line, true),
            (None, None) => Said::default(false),
        };
        BrokerListener {
            is_local: is_local(&self.address.value),
            address: self.address,
            is_websocket: self.is_websocket,
            is_tls,
            version_min: self.version_min.unwrap_or(Said::default(Some(Version::Tls12))),
            certificate_required: self.require_certificate,
            name_from_certificate: self.names,
            anonymous,
            connections_max: self.connections_max,
        }
    }
}
