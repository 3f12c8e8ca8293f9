use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A document that requirements come from. Each stands for one edition of it; how another edition numbers a row is one of the row's
/// [`Reference`](super::Reference)s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Framework {
    /// OWASP IoT Security Verification Standard.
    #[serde(alias = "isvs")]
    Isvs,
    /// IoT Security Assurance Framework.
    #[serde(alias = "iotsf")]
    Iotsf,
    /// IoT network security audit guidelines of an institute.
    #[serde(alias = "iiita")]
    Iiita,
    /// CSA IoT Security Controls Framework.
    #[serde(alias = "csa")]
    Csa,
    /// Practices of a product security glossary.
    #[serde(alias = "glossary")]
    Glossary,
}

impl Framework {
    /// All, in the catalogue's order.
    pub const ALL: [Self; 5] = [Self::Isvs, Self::Iotsf, Self::Iiita, Self::Csa, Self::Glossary];

    /// As ids begin: `ISVS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Isvs => "ISVS",
            Self::Iotsf => "IOTSF",
            Self::Iiita => "IIITA",
            Self::Csa => "CSA",
            Self::Glossary => "GLOSSARY",
        }
    }

    /// The document and its edition.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Isvs => "OWASP ISVS, V4 communication requirements",
            Self::Iotsf => "IoTSF Assurance Framework, section 2.4.7",
            Self::Iiita => "IIITA IoT Network Security Audit Guidelines",
            Self::Csa => "CSA IoT Security Controls Framework",
            Self::Glossary => "Product security glossary, IoT protocol practices",
        }
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names no framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frameworks are isvs, iotsf, iiita, csa and glossary")]
pub struct NoFramework;

impl FromStr for Framework {
    type Err = NoFramework;
    fn from_str(text: &str) -> Result<Self, NoFramework> {
        Self::ALL.into_iter().find(|framework| framework.as_str().eq_ignore_ascii_case(text)).ok_or(NoFramework)
    }
}
