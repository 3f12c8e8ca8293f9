//! Secrets that stand in files.

use serde::{Deserialize, Serialize};

use crate::evidence::Facts;

/// Files that were looked through for secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretScan {
    /// How many were looked through.
    pub files: u64,
    /// Their size, bytes.
    pub bytes: u64,
    /// Files, or parts of them, that were not, and why; at most 1,000.
    pub skipped: Vec<Skipped>,
    /// What was found; at most 10,000.
    pub findings: Vec<SecretFinding>,
    /// Findings that are not listed, because there are too many.
    pub unlisted: u64,
}

impl Facts for SecretScan {
    const KIND: &'static str = "secret-scan/1";
}

/// A file that was not looked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Its name.
    pub file: String,
    /// Why; one line.
    pub why: String,
}

/// A secret in a file; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFinding {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 in a file that has none.
    pub line: u32,
    /// What it is.
    pub kind: SecretKind,
    /// What it is called there, or what sort of token it is; may be empty.
    pub name: String,
    /// The first 32 bits of its HMAC under a key that is kept nowhere: equal ones are, in all likelihood, the same secret.
    pub fingerprint: String,
    /// Why it may stand there, as the line itself says.
    pub allowed: Option<String>,
}

/// Kinds of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// A private key in clear.
    PrivateKey,
    /// A private key under a passphrase.
    SealedPrivateKey,
    /// A container that may hold private keys, such as PKCS #12.
    KeyStore,
    /// A token of a known form.
    Token,
    /// A password in a URL.
    UrlPassword,
    /// A password or key that is given to a name.
    Literal,
    /// The hash of a password.
    PasswordHash,
    /// A password that everybody tries first.
    WellKnown,
}
