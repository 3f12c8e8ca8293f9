//! Custody of the hub's signing keys: where they are made, kept and used, and how they are protected meanwhile.
//!
//! [`Custody`] makes and opens named keys, [`SigningKey`] signs with one. Behind them are:
//!
//! - [`FileCustody`] unsealed: PKCS #8 files that the data directory's permissions protect. Asks no question, and says so
//!   in [`Custody::protection`].
//! - [`FileCustody`] sealed: the same encrypted under a passphrase, readable by `openssl pkcs8` without this program.
//! - [`Pkcs11Custody`]: keys made in a token or hardware security module, neither extractable nor readable.
//! - [`TpmCustody`]: keys made in a TPM 2.0; the files hold what only this TPM can load.
//!
//! A [`Passphrase`] comes from a [`PassphraseSource`]; [`X509Key`] gives a key to rcgen; [`forbid_core_dumps`] keeps
//! what is in memory there. Every custody passes the same conformance suite.
//!
//! *Invariants*
//! - Key material leaves a custody in its own sealed form or not at all; passphrases and derived keys are wiped.
//! - A wrong passphrase, a damaged file and a missing key are three different errors.
//! - Files appear whole, with mode 0600, or not at all; a key is never overwritten by another.
//! - What a stored file makes this program compute and allocate is bounded before the work begins.
//! - A signature that a device makes is verified before it is passed on.
//!
//! So keys are made, kept and ended in one managed place, readable by nobody else: in hardware where there is any, and
//! encrypted where there is none.

mod custody;
mod error;
mod file;
mod folder;
mod passphrase;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod private;
mod process;
mod public;
mod sealed;
pub mod tpm;
mod x509;

pub use custody::{Custody, KEY_NAME_BYTES_MAX, KeyAlgorithm, KeyFacts, KeyName, Protection, SigningKey};
pub use error::KeyError;
pub use file::FileCustody;
pub use passphrase::{PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARS_MIN, Passphrase, PassphraseSource};
#[cfg(feature = "pkcs11")]
pub use pkcs11::Pkcs11Custody;
pub use process::forbid_core_dumps;
pub use public::PublicKey;
pub use sealed::Kdf;
pub use tpm::TpmCustody;
pub use x509::X509Key;
