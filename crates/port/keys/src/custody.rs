use std::{fmt, str::FromStr, sync::Arc};

use crate::{KeyError, PublicKey};

/// Longest name of a key.
pub const KEY_NAME_BYTES_MAX: usize = 64;

/// What a key is called, the same in every custody: a file's stem, a token's label.
///
/// Lowercase letters, digits, `-`, `_` and `.`, beginning with a letter or digit, so that it is harmless in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let starts_well = text.bytes().next().is_some_and(plain);
        let is_good = text.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'_' | b'.'));
        if text.len() > KEY_NAME_BYTES_MAX || !starts_well || !is_good {
            return Err(KeyError::BadName(text.chars().take(KEY_NAME_BYTES_MAX).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds of key that the hub signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519];
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// How private keys are protected, for reports: the weakest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// Files that their permissions alone protect.
    FilePermissions,
    /// Files encrypted under a passphrase; the key is in the hub's memory while it runs.
    SealedFile,
    /// A chip that never gives the key away; files hold what only this chip can load.
    Tpm,
    /// A token or hardware security module that never gives the key away.
    Pkcs11,
}

impl Protection {
    /// Whether the private key stays out of the hub's memory, so that whoever reads that memory cannot take it along.
    #[must_use]
    pub fn is_hardware_held(self) -> bool {
        matches!(self, Self::Tpm | Self::Pkcs11)
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FilePermissions => "unencrypted file",
            Self::SealedFile => "sealed file",
            Self::Tpm => "TPM 2.0",
            Self::Pkcs11 => "PKCS #11 token",
        })
    }
}

/// What can be told of a key without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its name.
    pub name: KeyName,
    /// The public half, which also says the algorithm.
    pub public: PublicKey,
}

/// A place where private keys are made and used, and which they never leave but in its own sealed form.
pub trait Custody: Send + Sync + fmt::Debug {
    /// What protects the keys.
    fn protection(&self) -> Protection;

    /// Makes a new key. It is durable when this returns.
    ///
    /// # Errors
    /// [`KeyError::Exists`], never overwriting; [`KeyError::Unsupported`] for an algorithm that this place lacks.
    fn create(&self, name: &KeyName, algorithm: KeyAlgorithm) -> Result<Arc<dyn SigningKey>, KeyError>;

    /// Opens a key for signing.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::WrongPassphrase`], [`KeyError::Locked`], [`KeyError::Damaged`] and others.
    fn open(&self, name: &KeyName) -> Result<Arc<dyn SigningKey>, KeyError>;

    /// The keys that are here, by name.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] for a file that is no key, rather than a list without it.
    fn list(&self) -> Result<Vec<KeyFacts>, KeyError>;

    /// Ends a key for ever. Of a key in a file, backups and the storage's unused blocks may hold copies.
    ///
    /// # Errors
    /// [`KeyError::Missing`] and those of the device.
    fn destroy(&self, name: &KeyName) -> Result<(), KeyError>;
}

/// A private key that can be used but not read.
pub trait SigningKey: Send + Sync + fmt::Debug {
    /// The public half.
    fn public(&self) -> &PublicKey;

    /// Signs a message (not its digest); the signature has the form that X.509 wants: `ECDSA-Sig-Value` in DER, or the
    /// 64 bytes of Ed25519.
    ///
    /// # Errors
    /// Those of the device.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}
