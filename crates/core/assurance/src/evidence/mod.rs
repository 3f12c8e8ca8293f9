//! What was seen: typed facts.

pub mod certificate;
pub mod dtls;
pub mod mqtt;
pub mod mutual;
mod named;
pub mod ports;
mod printable;
mod seen;
pub mod ssh;
pub mod suites;
pub mod tls;

use serde::{Serialize, de::DeserializeOwned};

pub use named::{Code, GROUPS, Listing, SIGNATURES, code_name};
pub use printable::{LINE_CHARS_MAX, printable};
pub use seen::{Effort, Outcome, Seen};

/// Data of one kind from one target. A kind's version is part of its name, such as "tls-scan/1".
pub trait Facts: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: &'static str;
}
