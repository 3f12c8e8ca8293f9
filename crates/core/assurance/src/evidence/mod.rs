//! What was seen: typed facts, in envelopes, found by their hash.

mod attestation;
pub mod certificate;
pub mod console;
pub mod dtls;
mod envelope;
pub mod login;
pub mod mqtt;
pub mod mutual;
mod named;
pub mod ports;
mod printable;
mod seen;
pub mod ssh;
mod statement;
mod store;
pub mod suites;
pub mod tls;

use serde::{Serialize, de::DeserializeOwned};

pub use attestation::{ANSWERS_MAX, Answer, Attestation, Reply};
pub use envelope::{Envelope, EvidenceError};
pub use named::{Code, GROUPS, Listing, SIGNATURES, code_name};
pub use printable::{LINE_CHARS_MAX, printable};
pub use seen::{Effort, Outcome, Seen};
pub use statement::{Exemption, NotApplicable};
pub use store::{EVIDENCE_BYTES_MAX, EVIDENCE_ITEMS_MAX, EVIDENCE_TOTAL_BYTES_MAX, Store};

/// Data of one kind from one target. A kind's version is part of its name, such as "tls-scan/1".
pub trait Facts: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: &'static str;
}
