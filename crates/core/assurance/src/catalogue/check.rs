use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::RequirementId;

/// The name of a check: `tls.versions`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CheckId(String);

/// What names no check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a check is named like tls.versions")]
pub struct NoCheckId;

impl CheckId {
    /// Longest name, bytes.
    pub const BYTES_MAX: usize = 64;

    /// As in every file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CheckId {
    type Err = NoCheckId;
    fn from_str(text: &str) -> Result<Self, NoCheckId> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let fits = text.len() <= Self::BYTES_MAX && text.contains('.') && text.split('.').all(is_part);
        fits.then(|| Self(text.to_owned())).ok_or(NoCheckId)
    }
}

impl From<CheckId> for String {
    fn from(id: CheckId) -> Self {
        id.0
    }
}

impl TryFrom<String> for CheckId {
    type Error = NoCheckId;
    fn try_from(text: String) -> Result<Self, NoCheckId> {
        text.parse()
    }
}

/// How a check learns what it judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// It asks the target over the network.
    Probe,
    /// It reads what was captured.
    Passive,
    /// It reads files.
    Config,
    /// It reads what the hub knows.
    Hub,
    /// It reads what people vouch for.
    Attest,
}

impl Method {
    /// As in every file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Passive => "passive",
            Self::Config => "config",
            Self::Hub => "hub",
            Self::Attest => "attest",
        }
    }
}

impl FromStr for Method {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Probe, Self::Passive, Self::Config, Self::Hub, Self::Attest];
        all.into_iter().find(|method| method.as_str() == text).ok_or(())
    }
}

/// What a check may do to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Nothing: no byte is sent to it.
    Passive,
    /// What any client could do, within bounds.
    Safe,
    /// What may disturb it; only on demand, with the authorisation recorded.
    Intrusive,
}

impl Class {
    /// As in every file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Safe => "safe",
            Self::Intrusive => "intrusive",
        }
    }
}

impl FromStr for Class {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Passive, Self::Safe, Self::Intrusive].into_iter().find(|class| class.as_str() == text).ok_or(())
    }
}

/// A check that rows share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub id: CheckId,
    /// Of its rule, from 1; it rises with every change of what the rule makes of the same evidence.
    pub version: u32,
    /// How it learns.
    pub method: Method,
    /// What it may do.
    pub class: Class,
    /// What it does.
    pub does: String,
    /// When it passes.
    pub passes_when: String,
    /// What it needs.
    pub needs: String,
    /// The rows that it decides, in the catalogue's order; never empty.
    pub used_by: Vec<RequirementId>,
}
