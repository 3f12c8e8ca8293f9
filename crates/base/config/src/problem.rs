//! What can be wrong with a configuration, said so that it can be put right at once.

use miette::{Diagnostic, NamedSource, SourceSpan};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// The file as it was named.
        name: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// The environment variable of this name.
    Env(String),
    /// A `--set` with this text.
    Set(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Env(name) => f.write_str(name),
            Self::Set(text) => write!(f, "--set {text}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, thiserror::Error, Diagnostic)]
#[error("{origin}: {message}")]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The key concerned, as far as it is known.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[help]
    pub help: Option<String>,
    #[source_code]
    source_code: Option<NamedSource<Arc<str>>>,
    #[label("here")]
    label: Option<SourceSpan>,
}

impl Problem {
    pub(crate) fn new(origin: Origin, key: Option<String>, message: String) -> Self {
        Self { origin, key, message, help: None, source_code: None, label: None }
    }

    pub(crate) fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Adds the file's text, so that a report can show the line.
    pub(crate) fn excerpt(mut self, name: &str, text: &Arc<str>, span: Range<usize>) -> Self {
        self.source_code = Some(NamedSource::new(name, Arc::clone(text)));
        self.label = Some(span.into());
        self
    }
}

/// Everything that is wrong with a configuration, in the order file, environment, `--set`, combinations.
#[derive(Debug, Clone, Diagnostic)]
pub struct ConfigError {
    #[related]
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` if nothing is wrong.
    pub(crate) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// What is wrong; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    /// One line a problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}
