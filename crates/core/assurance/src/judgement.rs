use std::fmt;

use serde::{Deserialize, Serialize};

/// What a rule makes of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What follows.
    pub verdict: Verdict,
    /// One line: what was seen.
    pub observed: String,
    /// One line: what would pass.
    pub expected: String,
}

/// What is known of a check or of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds: everything that had to be seen was seen.
    Pass,
    /// It does not hold.
    Fail,
    /// Some of it holds; nothing is known of the rest.
    Partial,
    /// It was tried, and what was seen does not decide it.
    Inconclusive,
    /// It was not tried.
    NotTested,
    /// Somebody who is named says why it does not concern this deployment.
    NotApplicable,
    /// It does not hold, and an exception that is named, owned and in date says that this is known.
    Exception,
    /// It rests on a record that is approved and in date.
    Attested,
}

impl Verdict {
    /// All, from what asks for attention first to what asks for none.
    pub const ALL: [Self; 8] = [
        Self::Fail,
        Self::Inconclusive,
        Self::Exception,
        Self::Partial,
        Self::NotTested,
        Self::Pass,
        Self::Attested,
        Self::NotApplicable,
    ];

    /// As in every file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Partial => "partial",
            Self::Inconclusive => "inconclusive",
            Self::NotTested => "not-tested",
            Self::NotApplicable => "not-applicable",
            Self::Exception => "exception",
            Self::Attested => "attested",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
