use std::{io, path::Path};

use crate::{KeyAlgorithm, KeyName};

/// Why a key cannot be made, opened or used. None carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a name for a key.
    #[error("{0:?} is no name for a key; use up to 64 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit")]
    BadName(String),
    /// There is no such key.
    #[error("there is no key {name} in {place}")]
    Missing {
        /// Its name.
        name: KeyName,
        /// Where it was looked for.
        place: String,
    },
    /// There is one already.
    #[error("there is a key {name} in {place} already")]
    Exists {
        /// Its name.
        name: KeyName,
        /// Where.
        place: String,
    },
    /// The passphrase or PIN does not open it. The data itself is whole.
    #[error("wrong passphrase for {0}")]
    WrongPassphrase(String),
    /// It is sealed, and no passphrase was given.
    #[error("{0} is sealed; a passphrase is needed")]
    PassphraseNeeded(String),
    /// A passphrase was given, and the file lies open.
    #[error("{0} is not sealed, though keys here are to be; seal it")]
    NotSealed(String),
    /// Others can read or change what only the hub may.
    #[error("{what} is open to others (mode {mode:03o}); it holds private keys: chmod go= {what}")]
    TooOpen {
        /// A file or directory.
        what: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Too easily guessed to seal a key with.
    #[error("a passphrase for a sealed file needs at least {chars_min} characters")]
    WeakPassphrase {
        /// Fewest characters.
        chars_min: usize,
    },
    /// The passphrase could not be had.
    #[error("no passphrase from {from}: {reason}")]
    NoPassphrase {
        /// The source.
        from: String,
        /// Why not.
        reason: String,
    },
    /// The stored form does not hold together.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// A file or device.
        what: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Opening it would cost more than any file that this program writes.
    #[error("{what} asks for more work than is allowed: {reason}")]
    TooCostly {
        /// The file.
        what: String,
        /// Which bound.
        reason: &'static str,
    },
    /// The device accepts no more attempts until somebody unlocks it or time has passed.
    #[error("{0} is locked after too many wrong attempts")]
    Locked(String),
    /// The place has no such thing.
    #[error("{place} does not support {what}")]
    Unsupported {
        /// The place.
        place: String,
        /// What was asked of it.
        what: String,
    },
    /// The device says something else.
    #[error("{device}: {reason}")]
    Device {
        /// Which one.
        device: String,
        /// What it said.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The cryptographic library failed, as without entropy.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}

impl KeyError {
    pub(crate) fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { what: format!("{what} {}", path.display()), source }
    }

    pub(crate) fn unsupported(place: &str, algorithm: KeyAlgorithm) -> Self {
        Self::Unsupported { place: place.to_owned(), what: format!("{algorithm} keys") }
    }
}
