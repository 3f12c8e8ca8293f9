//! How much is kept for who is away.

use serde::{Deserialize, Serialize};

use crate::evidence::Facts;

/// The bounds of queues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubQueue {
    /// Messages for one session.
    pub session_messages_max: u64,
    /// Bytes for one session.
    pub session_bytes_max: u64,
    /// Bytes for all.
    pub total_bytes_max: u64,
    /// How long a session of MQTT 5.0 may outlive its connection, seconds.
    pub session_expiry_max_s: u64,
    /// How long one of MQTT 3.1.1 does, seconds.
    pub session_expiry_v311_s: u64,
    /// The longest that a message is kept, seconds; 0 is as long as the session.
    pub message_expiry_max_s: u64,
    /// What happens when a queue is full.
    pub overflow: String,
    /// Messages in the fullest queue.
    pub fullest_messages: u64,
    /// Bytes in all queues.
    pub used_bytes: u64,
    /// Messages dropped from full queues since the hub was opened.
    pub dropped: u64,
}

impl Facts for HubQueue {
    const KIND: &'static str = "hub-queue/1";
}
