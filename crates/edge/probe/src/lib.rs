//! The auditor's active checks: what a declared target shows to whoever connects.
//!
//! [`tls::scan`] and its neighbours ask a target questions through a [`Dialer`], and write down the answers as facts
//! ([`portreeve_assurance::evidence`]), which rules judge elsewhere.
//!
//! *Invariants*
//! - Only the address that a [`Dialer`] was made for is ever connected to, within its [`Limits`]; groups are asked only by an
//!   interface that the caller names.
//! - A question that was not answered is a [`Gap`] with its reason, and the others are asked all the same.
//! - Whatever a target sends is bounded, and checked at every length; no answer panics.

pub mod certificate;
pub mod coap;
pub mod console;
mod dial;
pub mod discovery;
pub mod http;
pub mod login;
pub mod mqtt;
pub mod mutual;
pub mod page;
pub mod ports;
pub mod rogue;
pub mod snmp;
pub mod ssh;
pub mod tls;
mod wire;

pub use dial::{Connection, Dialer, Gap, Limits, Reach, Received, Turn};
pub use wire::Malformed;
