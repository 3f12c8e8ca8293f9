//! MQTT 3.1.1 and 5.0, statement by statement, against the running hub.
//!
//! Each test cites the normative statements that it checks, numbered as in MQTT 5.0 unless it says `of 3.1.1`.
//! All tests share one hub and run beside each other, so each has client identifiers and topics of its own.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;

use portreeve_tests::Hub;

mod aliases;
mod connect;
mod disconnect;
mod expiry;
mod flow;
mod malformed;
mod malformed_connect;
mod malformed_v5;
mod paho;
mod publish;
mod qos;
mod retained;
mod session;
mod shared;
mod subscribe;
mod table;
mod topics;
mod websocket;
mod will;

/// The hub of all these tests; it ends with the process.
fn hub() -> &'static Hub {
    static HUB: OnceLock<Hub> = OnceLock::new();
    HUB.get_or_init(|| Hub::open(&["mqtt.sys_interval_s=1", "log.level=info"]))
}
