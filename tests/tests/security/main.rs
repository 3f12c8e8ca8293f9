//! What must be refused: certificates, identities, topics, and more of anything than a limit allows.
//!
//! Requirement rows whose negative cases these are: ISVS-4.2.2, IIITA-N4.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;

use portreeve_tests::Hub;

mod admission;
mod authorization;
mod certificates;
mod lifecycle;
mod limits;
mod totals;

/// The hub of the tests that change nothing for others; its limits are small.
fn hub() -> &'static Hub {
    static HUB: OnceLock<Hub> = OnceLock::new();
    HUB.get_or_init(|| {
        Hub::open(&[
            "limits.handshake_deadline_s=2",
            "mqtt.connect_timeout_s=2",
            "limits.sessions_per_device=2",
            "limits.subscriptions_per_session=3",
            "limits.queue_messages_per_session=5",
            "limits.device_messages_per_s=100",
            "limits.device_messages_burst=100",
            "limits.retained_message_bytes=2000",
            "limits.user_properties=8",
        ])
    })
}
