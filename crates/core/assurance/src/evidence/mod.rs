//! What was seen: typed facts, in envelopes, found by their hash.

pub mod attacks;
mod attestation;
pub mod certificate;
pub mod coap;
pub mod config;
pub mod console;
pub mod discovery;
pub mod dtls;
mod envelope;
pub mod file;
pub mod hub;
pub mod import;
pub mod login;
pub mod mqtt;
pub mod mutual;
mod named;
pub mod ports;
mod printable;
pub mod reach;
pub mod replay;
pub mod rogue;
mod seen;
pub mod snmp;
pub mod ssh;
mod statement;
mod store;
pub mod suites;
pub mod tls;

use serde::{Serialize, de::DeserializeOwned};

pub use attestation::{ANSWERS_MAX, Answer, Attestation, Reply, answers_problem, same_person};
pub use envelope::{Envelope, EvidenceError};
pub use named::{Code, GROUPS, Listing, SIGNATURES, code_name};
pub use printable::{LINE_CHARS_MAX, printable};
pub use seen::{Effort, Outcome, Seen};
pub use statement::{Exemption, NotApplicable, Subject};
pub use store::{EVIDENCE_BYTES_MAX, EVIDENCE_ITEMS_MAX, EVIDENCE_TOTAL_BYTES_MAX, Store};

/// Data of one kind from one target. A kind's version is part of its name, such as "tls-scan/1".
pub trait Facts: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: &'static str;
}
