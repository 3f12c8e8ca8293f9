use portreeve_assurance::evidence::printable;

use crate::{FILE_BYTES_MAX, lines::shown};

/// Why a file gives no evidence. Each names the file; texts of files are printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Nothing here reads such a file.
    #[error("{file}: neither its name nor its content says what it is; say it with --as")]
    Unknown {
        /// The file.
        file: String,
    },
    /// More than [`FILE_BYTES_MAX`].
    #[error("{file}: more than {FILE_BYTES_MAX} bytes")]
    Large {
        /// The file.
        file: String,
    },
    /// It is not what it is said to be.
    #[error("{file}:{line}:{column}: {problem}")]
    At {
        /// The file.
        file: String,
        /// From 1.
        line: u32,
        /// From 1, bytes.
        column: u32,
        /// One line.
        problem: String,
    },
}

impl IntakeError {
    pub(crate) fn large(file: &str) -> Self {
        Self::Large { file: shown(file) }
    }

    pub(crate) fn at(file: &str, line: u32, column: u32, problem: &str) -> Self {
        Self::At { file: shown(file), line, column, problem: printable(problem.as_bytes()) }
    }

    pub(crate) fn json(file: &str, error: &serde_json::Error) -> Self {
        let place = |number: usize| u32::try_from(number.max(1)).unwrap_or(u32::MAX);
        let problem = error.to_string();
        let problem = problem.split(" at line ").next().unwrap_or_default();
        Self::at(file, place(error.line()), place(error.column()), problem)
    }
}
