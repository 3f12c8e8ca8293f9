//! Sockets for the MQTT hub: admission, TLS, identity, and the loop that moves bytes between a socket and a
//! [`portreeve_hub::Connection`].
//!
//! [`MqttServer`] runs `mqtt.listen` on one thread a core. [`TlsDoor`] is the same way in for other listeners, and
//! [`drive`] the same loop for other byte streams (MQTT over WebSocket). [`ProvisioningServer`] runs
//! `mqtt.provisioning_listen`, where devices ask for their certificates.
//!
//! *Invariants*
//! - No handshake is awaited where connections are accepted: a silent peer costs one slot and nobody's time.
//! - A worker takes few steps of handshakes between two looks at its sessions: newcomers do not hold up those who are in.
//! - A connection holds its slot as a value that gives it back when dropped; there is no other way to count.
//! - Nothing but a request for a certificate reaches the hub before TLS and registry said who it is (ISVS-4.2.3).
//! - A connection's task lives on one thread; per-thread scratch buffers serve all idle connections.

mod admission;
mod door;
mod drive;
mod provisioning;
pub mod proxy;
mod server;
mod stream;
mod turns;

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime},
};

pub use admission::{Admission, Slot};
pub use door::{Arrival, Arrived, Clients, TlsDoor};
pub use drive::drive;
pub use provisioning::ProvisioningServer;
pub use server::{MqttServer, await_departures};
pub use stream::TlsStream;

/// Both clocks, now.
#[must_use]
pub fn now() -> portreeve_hub::Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    // One second ahead, so that "never" can be 0.
    let mono_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_add(1000);
    portreeve_hub::Now { wall: SystemTime::now().into(), mono_ms }
}
