use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{CheckId, Framework};

/// Longest part of an id after the framework, bytes.
pub const ID_BYTES_MAX: usize = 32;
/// Fewest questions to a record; with fewer, nobody has to look into the document.
pub const QUESTIONS_MIN: usize = 2;
/// Most questions to a record.
pub const QUESTIONS_MAX: usize = 5;
/// Longest question, bytes.
pub const QUESTION_BYTES_MAX: usize = 160;

/// The name of a row: `ISVS-4.2.2`. Also read as `isvs-4.2.2` and `ISVS:4.2.2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RequirementId {
    framework: Framework,
    local: String,
}

/// What names no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a requirement is named like ISVS-4.2.2 or CSA-COM-04")]
pub struct NoRequirementId;

impl RequirementId {
    /// Of a framework and the rest of the id.
    ///
    /// # Errors
    /// The rest is empty, longer than [`ID_BYTES_MAX`] or holds anything but letters, digits, dots and hyphens.
    pub fn new(framework: Framework, local: &str) -> Result<Self, NoRequirementId> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        let fits = !local.is_empty() && local.len() <= ID_BYTES_MAX && local.bytes().all(is_part);
        fits.then(|| Self { framework, local: local.to_ascii_uppercase() }).ok_or(NoRequirementId)
    }

    /// Where it comes from.
    #[must_use]
    pub const fn framework(&self) -> Framework {
        self.framework
    }

    /// The id within the framework: `4.2.2`.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }
}

impl fmt::Display for RequirementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.framework, self.local)
    }
}

impl FromStr for RequirementId {
    type Err = NoRequirementId;
    fn from_str(text: &str) -> Result<Self, NoRequirementId> {
        let (framework, local) = text.split_once(['-', ':']).ok_or(NoRequirementId)?;
        Self::new(framework.parse().map_err(|_| NoRequirementId)?, local)
    }
}

impl From<RequirementId> for String {
    fn from(id: RequirementId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for RequirementId {
    type Error = NoRequirementId;
    fn try_from(text: String) -> Result<Self, NoRequirementId> {
        text.parse()
    }
}

/// What the product owes a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The hub makes it so.
    Enforce,
    /// Checks decide it.
    Verify,
    /// A record decides it, with owner, approval and next review.
    Attest,
}

impl Kind {
    /// As in every file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Verify => "verify",
            Self::Attest => "attest",
        }
    }
}

impl FromStr for Kind {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Enforce, Self::Verify, Self::Attest].into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// How much of a row a program can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Automation {
    /// All of it.
    Full,
    /// A part; people do the rest.
    Partial,
    /// Nothing.
    None,
}

impl Automation {
    /// As in every file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }
}

impl FromStr for Automation {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Full, Self::Partial, Self::None].into_iter().find(|part| part.as_str() == text).ok_or(())
    }
}

/// To whom a row applies, in the terms of its framework.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applicability {
    /// ISVS: levels of verification 1 to 3, as L1, L2, L3.
    Levels(BTreeSet<u8>),
    /// IoTSF: compliance classes from this one (0 to 4) on.
    ClassesFrom {
        /// The lowest class.
        class: u8,
        /// Mandatory, or only advisory.
        mandatory: bool,
        /// The document's category.
        category: String,
    },
    /// IIITA: who has to see to it; nobody where the document does not say.
    Roles(Vec<String>),
    /// Everybody.
    All,
}

impl Applicability {
    /// From the words of the data file. `None` if they are not the framework's.
    pub(super) fn read(framework: Framework, text: &str) -> Option<Self> {
        match framework {
            Framework::Isvs => text.split(' ').map(level).collect::<Option<_>>().map(Self::Levels),
            Framework::Iotsf => Self::classes(text),
            Framework::Iiita if text == "not stated" => Some(Self::Roles(Vec::new())),
            Framework::Iiita => Some(Self::Roles(text.split(", ").map(str::to_owned).collect())),
            Framework::Csa => (text == "-").then_some(Self::All),
            Framework::Glossary => (text == "practice").then_some(Self::All),
        }
    }

    /// `Mandatory, Class 1+; System, Software`.
    fn classes(text: &str) -> Option<Self> {
        let (duty, category) = text.split_once("; ")?;
        let (mandatory, classes) = duty.split_once(", ")?;
        let mandatory = match mandatory {
            "Mandatory" => true,
            "Advisory" => false,
            _ => return None,
        };
        let class = match classes {
            "all classes" => 0,
            other => {
                other.strip_prefix("Class ")?.strip_suffix('+')?.parse().ok().filter(|class| *class <= CLASS_MAX)?
            }
        };
        Some(Self::ClassesFrom { class, mandatory, category: category.to_owned() })
    }
}

impl fmt::Display for Applicability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Levels(levels) => {
                let levels: Vec<String> = levels.iter().map(|level| format!("L{level}")).collect();
                f.write_str(&levels.join(" "))
            }
            Self::ClassesFrom { class, mandatory, category } => {
                let duty = if *mandatory { "mandatory" } else { "advisory" };
                write!(f, "{duty} from class {class}; {category}")
            }
            Self::Roles(roles) => f.write_str(&roles.join(", ")),
            Self::All => Ok(()),
        }
    }
}

/// Highest level of ISVS.
pub const LEVEL_MAX: u8 = 3;
/// Highest compliance class of IoTSF.
pub const CLASS_MAX: u8 = 4;

fn level(text: &str) -> Option<u8> {
    text.strip_prefix('L')?.parse().ok().filter(|level| (1..=LEVEL_MAX).contains(level))
}

/// How another document, or another edition of the same, names what a row asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// `ISVS1.0`, `CSA3` (edition 3 of the CSA's framework), `IOT10` (OWASP IoT Top 10), `ETSI` (EN 303 645).
    pub scheme: String,
    /// The ids there.
    pub ids: Vec<String>,
    /// Whether it says the same, and not only something near to it.
    pub exact: bool,
    /// In what it differs.
    pub remark: Option<String>,
}

impl Reference {
    /// `ISVS1.0:4.1.2 (reworded)`, `ETSI~:5.1-1, 5.1-2`, `IOT10:I1+I8`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let (ids, remark) = match rest.split_once(" (") {
            Some((ids, remark)) => (ids, Some(remark.strip_suffix(')')?.to_owned())),
            None => (rest, None),
        };
        let ids: Vec<String> = ids.split(['+', ',']).map(|id| id.trim().to_owned()).collect();
        let known = ["ISVS1.0", "CSA3", "IOT10", "ETSI"].contains(&scheme.trim_end_matches('~'));
        (known && ids.iter().all(|id| !id.is_empty())).then(|| Self {
            scheme: scheme.trim_end_matches('~').to_owned(),
            ids,
            exact: !scheme.ends_with('~'),
            remark,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", self.scheme, if self.exact { "" } else { ", near to" }, self.ids.join(", "))?;
        self.remark.as_ref().map_or(Ok(()), |remark| write!(f, " ({remark})"))
    }
}

/// A row of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// Its name.
    pub id: RequirementId,
    /// To whom it applies.
    pub scope: Applicability,
    /// What it asks, in our words.
    pub paraphrase: String,
    /// What the product owes it.
    pub kind: Kind,
    /// What it owes besides.
    pub secondary: Option<Kind>,
    /// How much of it a program can decide.
    pub automation: Automation,
    /// What the hub does for it.
    pub mechanism: String,
    /// How it is decided.
    pub decision: String,
    /// What proves it.
    pub evidence: String,
    /// What it is about.
    pub subject: String,
    /// What decides it, in the order of the data; never empty.
    pub checks: Vec<CheckId>,
    /// What each record that decides it has to answer, in the order of the data. Who answers all with yes says that it is met.
    pub questions: BTreeMap<CheckId, Vec<String>>,
    /// Rows of other frameworks that ask the same. Symmetric.
    pub maps_to: BTreeSet<RequirementId>,
    /// Rows that are close. Symmetric.
    pub related: BTreeSet<RequirementId>,
    /// Words to find it by.
    pub concepts: Vec<String>,
    /// What other documents call it.
    pub references: Vec<Reference>,
}
