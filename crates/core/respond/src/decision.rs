use std::fmt;

use serde::Serialize;

use crate::Step;

/// What is to be done about a finding, and why. It belongs into the ledger whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What is to be done.
    pub verdict: Verdict,
    /// Whether it alerts and opens a case.
    pub alert: bool,
    /// The rule that decided, as `file:line`.
    pub rule: Option<String>,
    /// One sentence.
    pub why: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// No step. See [`Decision::alert`].
    None,
    /// Take this step, once the changes are written.
    Act {
        /// The step. If its measure stands already it may be the same again, and lasts longer.
        step: Step,
        /// The measure that stands for it, if it lasts.
        measure: Option<u64>,
    },
    /// It would have been taken.
    DryRun {
        /// The step.
        step: Step,
        /// Whether it would have been held back. A rehearsal has a brake of its own.
        held: Option<Held>,
    },
    /// Do nothing: a bound holds.
    Braked {
        /// The step that is not taken.
        step: Step,
        /// Which bound.
        held: Held,
        /// Whether it held nothing back for an hour: this one alerts loudly, the others are recorded.
        first: bool,
    },
    /// Do nothing: rules leave this subject alone.
    Exempt {
        /// The step that is not taken.
        step: Step,
    },
    /// Put it before two persons.
    AskTwoPersons {
        /// The step that they may consent to.
        step: Step,
    },
}

/// What holds a step back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// The hour's share of the fleet was throttled, disconnected or blocked.
    InterruptShare,
    /// The hour's share of the fleet was quarantined.
    ConfineShare,
    /// As many strangers were blocked as may be within an hour.
    Strangers,
    /// As many are quarantined by rules as may be at one time.
    Quarantined,
    /// As many sources are blocked as may be at one time.
    Blocks,
    /// As many measures stand as may at one time.
    Measures,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InterruptShare => "the hour's share of the fleet was already throttled, disconnected or blocked",
            Self::ConfineShare => "the hour's share of the fleet was already quarantined",
            Self::Strangers => "as many strangers were blocked within the hour as may be",
            Self::Quarantined => "as many are quarantined by rules as may be at one time",
            Self::Blocks => "as many sources are blocked as may be at one time",
            Self::Measures => "as many measures stand as may at one time",
        })
    }
}
