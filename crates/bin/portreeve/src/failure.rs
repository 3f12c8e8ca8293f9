//! How a command fails: one message for a person, one exit status for a script.

use std::io::Write as _;

use portreeve_config::ConfigError;
use portreeve_hub::{AdminError, OpenError};
use portreeve_store::StoreError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit status 1.
    CheckFailed(String),
    /// Exit status 2.
    Usage(String),
    /// Exit status 3.
    Unreachable(String),
    /// Exit status 4.
    Refused(String),
    /// Nobody reads what we write: quiet, as `head` expects.
    BrokenPipe,
}

impl Failure {
    /// What the hub answered.
    pub(crate) fn of_status(exit_status: u8, message: String) -> Self {
        match exit_status {
            1 => Self::CheckFailed(message),
            2 => Self::Usage(message),
            3 => Self::Unreachable(message),
            _ => Self::Refused(message),
        }
    }

    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::CheckFailed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
        }
    }

    /// For a person; nothing, if there is nobody to read it.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::BrokenPipe => "",
            Self::CheckFailed(message) | Self::Usage(message) | Self::Unreachable(message) | Self::Refused(message) => {
                message
            }
        }
    }

    pub(crate) fn report(&self) {
        let message = self.message();
        if !message.is_empty() {
            // There is nowhere left to say that standard error is closed.
            let _ = writeln!(std::io::stderr(), "portreeve: {message}");
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::of_status(error.exit_status(), error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            // It may pass, so whoever supervises the hub should try again.
            OpenError::Store(StoreError::Full { .. } | StoreError::Io { .. }) => Self::Unreachable(error.to_string()),
            OpenError::NoExport(_) => Self::Refused(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

/// Whether another process holds the data directory.
pub(crate) fn is_locked(error: &OpenError) -> bool {
    matches!(error, OpenError::Store(StoreError::Locked { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unit file restarts a hub unless it ends with status 2: that is for what no second attempt mends.
    #[test]
    fn a_start_that_may_succeed_later_is_no_usage_error() {
        let status = |error| Failure::from(OpenError::Store(error)).exit_status();
        let file = || "sessions.redb".into();
        assert_eq!(status(StoreError::Full { file: file() }), 3);
        assert_eq!(status(StoreError::Io { file: file(), source: std::io::ErrorKind::TimedOut.into() }), 3);
        assert_eq!(status(StoreError::Corrupt { file: file(), detail: "torn".into() }), 2);
        assert_eq!(status(StoreError::Locked { file: file() }), 2);
    }
}
