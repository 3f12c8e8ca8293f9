//! Certificates: the hub's own certificate authority, what it issues, and what is read from a presented leaf.
//!
//! The main type is [`Authority`]: an offline-able root and two issuing CAs, one per purpose. It turns a
//! [`SubjectPublicKey`] into an [`Issued`] certificate by a fixed profile. [`leaf_facts`] is the way back: from a
//! certificate that somebody presented to the few facts the registry asks for.
//!
//! No I/O and no clock: files are looked up through a closure, the time is an argument. Keys and serial numbers take
//! their entropy from aws-lc itself.
//!
//! *Invariants*
//! - A certificate signing request gives its public key and nothing else. Names, usages, lifetime and constraints come
//!   from the profile, whatever the request asked for.
//! - Certificates for devices cannot serve, certificates for the hub cannot connect as a device: each issuing CA is
//!   held to its one extended key usage, and cannot make further CAs.
//! - A device certificate carries the registry's opaque identifier and no personal or place data.
//! - No operational certificate lives longer than [`DEVICE_LIFETIME_MAX`] (CSA-CRD-09).
//! - Only ECDSA keys on P-256 and P-384 are accepted (ISVS-4.1.2).

mod authority;
mod error;
mod key;
mod leaf;

pub use authority::{
    Authority, CaFile, DEVICE_LIFETIME_DEFAULT, DEVICE_LIFETIME_MAX, HUB_LIFETIME_MAX, HUB_NAMES_MAX, Issued,
};
pub use error::PkiError;
pub use key::{CSR_BYTES_MAX, GeneratedKey, SubjectPublicKey, generate_key, public_key_from_csr};
pub use leaf::{LeafFacts, leaf_facts};
