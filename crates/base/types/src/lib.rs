//! Values that are parsed once and valid for ever after.
//!
//! Everything here is a plain value: no I/O, no clock, no randomness. A function that takes a [`TopicName`] never
//! has to ask whether it is one.
//!
//! *Invariants*
//! - A [`TopicName`] or [`TopicFilter`] obeys MQTT 5.0 §4.7: 1..=65535 bytes of UTF-8, no U+0000, wildcards only
//!   where they may stand.
//! - An [`IdentityName`] can be embedded in a topic, a file name, a log line or a client identifier without escaping.
//! - Times are [`UnixMillis`]; a duration carries its unit in its name.

mod backoff;
mod bucket;
mod identity;
mod qos;
mod severity;
mod source;
mod time;
mod topic;
mod words;

pub use backoff::Backoff;
pub use bucket::Bucket;
pub use identity::{ClientId, IdentityId, IdentityName, KeyHash, Kind, LifecycleState, NameError};
pub use qos::Qos;
pub use severity::Severity;
pub use source::source_of;
pub use time::UnixMillis;
pub use topic::{TopicError, TopicFilter, TopicName, covers, matches};
pub use words::UnknownWord;
