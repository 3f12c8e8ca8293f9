use std::{io, path::PathBuf};

use portreeve_types::{IdentityName, KeyHash};

/// Why a store could not do what it was asked. The message tells the operator what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space or no quota is left. As with [`Self::Io`] it is unknown whether the commit is on disk; the same commit may
    /// be tried again.
    #[error("no space is left for {}: free some space or raise the quota; the hub goes on by itself once there is room", file.display())]
    Full {
        /// The file that could not grow.
        file: PathBuf,
    },
    /// The file is torn, foreign or missing. It is never repaired by throwing data away, and never created anew.
    #[error("{} cannot be trusted: {detail}. Restore the data directory from a backup; the file was left as it is", file.display())]
    Corrupt {
        /// The file that is damaged.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Another process has the file open.
    #[error("{} is in use by another hub: stop that hub first, or give this one its own data directory", file.display())]
    Locked {
        /// The file that is locked.
        file: PathBuf,
    },
    /// The commit breaks a uniqueness rule. Nothing was changed.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The operating system refused. Whether the commit is on disk is unknown; committing the same again is safe.
    #[error("cannot use {}: {source}; look at the disk, its permissions and the system log", file.display())]
    Io {
        /// The file concerned.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file was written by a newer portreeve.
    #[error("{} has format version {found}, this portreeve understands {expected}: use the newer portreeve that wrote it", file.display())]
    Version {
        /// The file concerned.
        file: PathBuf,
        /// The version in the file.
        found: u64,
        /// The newest version known here.
        expected: u64,
    },
}

impl StoreError {
    pub(crate) fn applier_gone() -> Self {
        Self::Io { file: "the session log".into(), source: io::Error::other("the thread that applies it has ended") }
    }

    pub(crate) fn name_taken(name: &IdentityName) -> Self {
        Self::Conflict(format!("the name `{name}` belongs to another identity"))
    }

    pub(crate) fn key_taken(key: KeyHash) -> Self {
        Self::Conflict(format!("the key {key} belongs to another identity"))
    }

    pub(crate) fn key_spent(key: KeyHash) -> Self {
        Self::Conflict(format!("the key {key} was certified before"))
    }
}
