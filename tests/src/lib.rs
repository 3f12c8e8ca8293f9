//! Black-box tests of the hub: the built program is started, and spoken to over TLS as its clients do.
//!
//! [`Hub`] is a running `portreeve serve` with a data directory of its own; [`Client`] is one connection to it, which
//! sends and expects exact bytes in the notation of [`wire::bytes`] or, where bytes do not matter, whole exchanges
//! ([`Client::subscribe`], [`Client::publish`], [`Client::take`]). [`pki`] makes the certificates that must be refused.
//!
//! *Invariants*
//! - Nothing waits without a deadline, and nothing leaves the loopback interface.
//! - Every packet that the hub sends is decoded strictly as a server's; one that does not decode fails the test.
//! - Only processes that a test started are ended, and they end with the test process whatever becomes of it.

// What goes wrong here is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod client;
mod guard;
pub mod hub;
pub mod pki;
pub mod wire;

pub use client::{Client, Login, Message, V4, V5};
pub use hub::{Hub, Identity};

/// A text that no other test uses, for topics and client identifiers.
#[must_use]
pub fn unique(stem: &str) -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("{stem}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sends packets: `say!(client, "82 | {id:04x} 00 s'{topic}' 01")`.
#[macro_export]
macro_rules! say {
    ($client:expr, $($notation:tt)+) => {{
        let notation = format!($($notation)+);
        $client.say(&notation)
    }};
}

/// Expects exactly these bytes next: `hear!(client, "90 | 0001 00 01")`.
#[macro_export]
macro_rules! hear {
    ($client:expr, $($notation:tt)+) => {{
        let notation = format!($($notation)+);
        $client.hear(&notation)
    }};
}
