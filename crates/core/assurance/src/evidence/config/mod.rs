//! What configuration files say. Texts of files are printable and bounded; secrets are told by their kind alone.

pub mod broker;
pub mod firewall;
pub mod host;
pub mod sbom;
pub mod secrets;
pub mod wifi;
pub mod zigbee;

use serde::{Deserialize, Serialize};

use super::{Facts, printable};

/// A value that holds, and the line that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// The line, from 1; `None`: no line says it, the software's default holds.
    pub line: Option<u32>,
}

impl<T> Said<T> {
    /// What a line says.
    pub const fn at(line: u32, value: T) -> Self {
        Self { value, line: Some(line) }
    }

    /// What holds where no line says otherwise.
    pub const fn default(value: T) -> Self {
        Self { value, line: None }
    }

    /// Where it stands, for people.
    pub fn place(&self) -> String {
        self.line.map_or_else(|| "by default".to_owned(), |line| format!("line {line}"))
    }
}

/// A part of a file that was not read for what it means, such as an include that was not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// The line, from 1; `None` for what no line of the file can say.
    pub line: Option<u32>,
    /// What stands there, or is not known; one line.
    pub what: String,
}

impl Unread {
    /// What stands there and was not followed.
    #[must_use]
    pub fn at(line: u32, what: &str) -> Self {
        Self { line: Some(line), what: printable(what.as_bytes()) }
    }

    /// What the file cannot say.
    #[must_use]
    pub fn nowhere(what: &str) -> Self {
        Self { line: None, what: what.to_owned() }
    }
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Software {
    /// OpenSSH's server: `sshd_config`.
    Sshd,
    /// BlueZ's daemon: `main.conf`.
    Bluetoothd,
    /// The kernel: what `sysctl -a` prints, or a file of `sysctl.d`.
    Sysctl,
    /// A unit of systemd.
    Systemd,
}

/// The settings of a file that a rule may need, and the defaults of the software for those that it leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its name.
    pub file: String,
    /// Whose it is.
    pub software: Software,
    /// Of which version the defaults are; empty, where there are none.
    pub defaults_of: String,
    /// Each key of a section once, as it holds.
    pub settings: Vec<Setting>,
    /// What was not followed.
    pub unread: Vec<Unread>,
}

impl Facts for Settings {
    const KIND: &'static str = "settings/1";
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Where in the file it holds: a section, or the condition of a block; empty for all of the file.
    pub section: String,
    /// Its name; in lower case, where the software does not care.
    pub key: String,
    /// Its value, and where it is said.
    pub said: Said<String>,
}

impl Settings {
    /// What holds under this name in a section.
    #[must_use]
    pub fn said(&self, section: &str, key: &str) -> Option<&Said<String>> {
        self.settings.iter().find(|setting| setting.section == section && setting.key == key).map(|found| &found.said)
    }

    /// All that holds under this name, in whatever section.
    pub fn everywhere<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.settings.iter().filter(move |setting| setting.key == key)
    }
}

/// What a host is for; declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostRole {
    /// Whether it is the declared gateway between networks. By default it is not.
    pub is_gateway: bool,
}

impl Facts for HostRole {
    const KIND: &'static str = "host-role/1";
}
