//! What is found, and about whom.

use crate::Detector;
use portreeve_types::{Severity, UnixMillis};
use serde::Serialize;
use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

/// Whom a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "of", content = "name", rename_all = "lowercase")]
pub enum Subject {
    /// The hub as a whole.
    Hub,
    /// An identity of the registry.
    Identity(Arc<str>),
    /// An IPv4 address or an IPv6 /64.
    Source(IpAddr),
    /// Who calls the administration interface.
    Caller(Arc<str>),
    /// A place.
    Zone(Arc<str>),
    /// A radio, cell or gateway.
    Radio(Arc<str>),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Identity(name) => write!(f, "identity {name}"),
            Self::Source(address) => write!(f, "source {address}"),
            Self::Caller(name) => write!(f, "caller {name}"),
            Self::Zone(name) => write!(f, "zone {name}"),
            Self::Radio(name) => write!(f, "radio {name}"),
        }
    }
}

/// The name of an episode: when it began and a number, in hexadecimal, such as `19a8c5d2e40-2f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId {
    opened_ms: u64,
    number: u32,
}

impl FindingId {
    pub(crate) const fn new(opened: UnixMillis, number: u32) -> Self {
        Self { opened_ms: opened.0, number }
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.opened_ms, self.number)
    }
}

/// A text that names no finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a finding's id is two hexadecimal numbers with `-` between")]
pub struct NoFindingId;

impl FromStr for FindingId {
    type Err = NoFindingId;
    fn from_str(text: &str) -> Result<Self, NoFindingId> {
        let (opened, number) = text.split_once('-').ok_or(NoFindingId)?;
        let opened_ms = u64::from_str_radix(opened, 16).map_err(|_| NoFindingId)?;
        let id = Self { opened_ms, number: u32::from_str_radix(number, 16).map_err(|_| NoFindingId)? };
        // One form each: no sign, no leading zeros, no capitals.
        (id.to_string() == text).then_some(id).ok_or(NoFindingId)
    }
}

impl Serialize for FindingId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One of the numbers behind a finding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Number {
    /// What it is.
    pub name: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// A finding: the beginning of an episode. Everything that `detect explain` shows is in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The episode's name.
    pub id: FindingId,
    /// Who found it; its word is the kind of the finding.
    pub kind: Detector,
    /// How much it matters.
    pub severity: Severity,
    /// Whom it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// When it was found.
    pub opened: UnixMillis,
    /// One sentence for people. What others sent stands in it shortened, quoted and without control characters.
    pub text: String,
    /// Threshold, baseline, window and what was observed.
    pub numbers: Vec<Number>,
    /// The catalogue rows that ask for this detector.
    pub requirements: &'static [&'static str],
    /// Whether this was a rehearsal.
    pub canary: bool,
}

/// The end of an episode: nothing more of its kind for the quiet time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Closing {
    /// The episode's name.
    pub id: FindingId,
    /// Who found it.
    pub kind: Detector,
    /// Whom it was about.
    #[serde(flatten)]
    pub subject: Subject,
    /// When quiet was noticed.
    pub closed: UnixMillis,
    /// How often it was observed in the episode, the first included.
    pub count: u64,
}

/// What a watch has to say.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "notice", rename_all = "lowercase")]
pub enum Notice {
    /// An episode began. Exactly one in an episode.
    Opened(Finding),
    /// It is over.
    Closed(Closing),
}

/// An episode that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenEpisode {
    /// Its name.
    pub id: FindingId,
    /// Who found it.
    pub kind: Detector,
    /// Whom it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// How often it was observed until now.
    pub count: u64,
    /// How long ago for the last time, in milliseconds.
    pub quiet_ms: u64,
}

/// Characters of foreign text in a finding's sentence.
const SHOWN_CHARS_MAX: usize = 100;

/// Foreign text as it may stand in a sentence.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_text() {
        let id = FindingId::new(UnixMillis(1_762_000_000_000), 47);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "-", "1", "1-", "+1-2", "01-2", "A-1", "1-1-1", "1-100000000", "fffffffffffffffff-1"] {
            assert_eq!(bad.parse::<FindingId>(), Err(NoFindingId), "{bad}");
        }
    }

    #[test]
    fn foreign_text_is_short_and_has_no_control_characters() {
        let text = shown(&"\u{1b}[2J\n\"é".repeat(1000));
        assert!(text.chars().count() < 1000 && !text.contains(char::is_control), "{text}");
    }
}
