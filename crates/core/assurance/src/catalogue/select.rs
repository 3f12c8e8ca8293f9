use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Applicability, CLASS_MAX, Framework, LEVEL_MAX, Requirement};

/// Which rows an assessment is about. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Only these; all if empty.
    pub frameworks: BTreeSet<Framework>,
    /// Of ISVS only rows of this level, 1 to [`LEVEL_MAX`].
    pub level: Option<u8>,
    /// Of IoTSF only rows that apply to this class, 0 to [`CLASS_MAX`].
    pub class: Option<u8>,
}

/// A selection that selects nothing that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// There is no such level.
    #[error("levels are 1 to {LEVEL_MAX}")]
    Level,
    /// There is no such class.
    #[error("classes are 0 to {CLASS_MAX}")]
    Class,
    /// A level is asked for, and no framework that has levels.
    #[error("only ISVS has levels")]
    NoLevels,
    /// A class is asked for, and no framework that has classes.
    #[error("only IOTSF has classes")]
    NoClasses,
}

impl Selection {
    /// Itself, if it can be met.
    ///
    /// # Errors
    /// [`SelectionError`].
    pub fn checked(self) -> Result<Self, SelectionError> {
        if self.level.is_some_and(|level| !(1..=LEVEL_MAX).contains(&level)) {
            return Err(SelectionError::Level);
        }
        if self.class.is_some_and(|class| class > CLASS_MAX) {
            return Err(SelectionError::Class);
        }
        if self.level.is_some() && !self.has(Framework::Isvs) {
            return Err(SelectionError::NoLevels);
        }
        if self.class.is_some() && !self.has(Framework::Iotsf) {
            return Err(SelectionError::NoClasses);
        }
        Ok(self)
    }

    fn has(&self, framework: Framework) -> bool {
        self.frameworks.is_empty() || self.frameworks.contains(&framework)
    }

    /// Whether a row is one of them.
    #[must_use]
    pub fn holds(&self, row: &Requirement) -> bool {
        let applies = match &row.scope {
            Applicability::Levels(levels) => self.level.is_none_or(|level| levels.contains(&level)),
            Applicability::ClassesFrom { class, .. } => self.class.is_none_or(|asked| asked >= *class),
            Applicability::Roles(_) | Applicability::All => true,
        };
        applies && self.has(row.id.framework())
    }
}
