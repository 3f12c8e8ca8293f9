use serde::{Deserialize, Serialize};

/// The answer to one question to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen<T> {
    /// It was answered.
    Known(T),
    /// It was asked, and the answer does not say; one line why.
    Unknown(String),
    /// It was not asked.
    #[default]
    NotTried,
}

impl<T> Seen<T> {
    /// The answer, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) | Self::NotTried => None,
        }
    }

    /// Why there is none.
    pub fn gap(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(reason) => Some(reason),
            Self::NotTried => Some("not tried"),
        }
    }
}

impl Seen<bool> {
    /// Known to be so.
    #[must_use]
    pub const fn is_true(&self) -> bool {
        matches!(self, Self::Known(true))
    }
}

/// What looking has cost the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effort {
    /// Connections that were opened; for UDP, datagrams that were sent.
    pub connections: u32,
    /// From the first to the end, milliseconds.
    pub elapsed_ms: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Whether it succeeded.
    pub accepted: bool,
    /// How it was refused, or what it got; one line.
    pub how: String,
}
