//! What an MQTT broker lets whom do.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Outcome, Seen};

/// Protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0.
    #[serde(rename = "5.0")]
    V5,
}

impl MqttVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V311, Self::V5];
}

/// With what somebody connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum With {
    /// Nothing.
    Nothing,
    /// A user name and a password that nobody has.
    Password,
}

/// Connecting without being anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttAccess {
    /// Whether the listener speaks TLS.
    pub is_tls: bool,
    /// Each combination once.
    pub attempts: Vec<AccessAttempt>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for MqttAccess {
    const KIND: &'static str = "mqtt-access/1";
}

/// One CONNECT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessAttempt {
    /// In which version.
    pub version: MqttVersion,
    /// With what.
    pub with: With,
    /// How it ended.
    pub outcome: Seen<Outcome>,
}

/// Whether a client is who its certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttIdentity {
    /// The identity connects as itself: if it cannot, the rest says nothing.
    pub own: Seen<Outcome>,
    /// It connects under the client id of another.
    pub foreign: Seen<Outcome>,
    /// It connects twice.
    pub twice: Seen<Twice>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for MqttIdentity {
    const KIND: &'static str = "mqtt-identity/1";
}

/// What becomes of two connections under one client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Twice {
    /// The second is refused.
    SecondRefused,
    /// The first is ended.
    FirstEnded,
    /// Both live.
    Both,
}

/// What a broker makes of bytes that are no MQTT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttMalformed {
    /// Whether the bytes came from a client that was let in; else they were the first that came.
    pub is_inside: bool,
    /// Each case once.
    pub cases: Vec<MalformedCase>,
    /// Whether the broker answers as before.
    pub is_alive: Seen<bool>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for MqttMalformed {
    const KIND: &'static str = "mqtt-malformed/1";
}

/// One malformed packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MalformedCase {
    /// What is wrong with it.
    pub name: String,
    /// Whether the connection was ended; accepted means that it was not.
    pub outcome: Seen<Outcome>,
}

/// What a broker allows a client that it let in. Numbers are those of its CONNACK (MQTT 5.0 section 3.2.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttLimits {
    /// Maximum Packet Size, bytes; nothing, if it says none.
    pub packet_bytes_max: Seen<Option<u32>>,
    /// Receive Maximum; 65535, if it says none.
    pub receive_maximum: Seen<u16>,
    /// Topic Alias Maximum.
    pub topic_alias_maximum: Seen<u16>,
    /// Server Keep Alive in answer to 65535, seconds; nothing, if it goes along.
    pub server_keep_alive_s: Seen<Option<u16>>,
    /// A PUBLISH that says it has 256 MiB; accepted means that the broker waits for it.
    pub oversize: Seen<Outcome>,
    /// A subscription to `$SYS/#`; accepted means that something arrived.
    pub sys: Seen<Outcome>,
    /// One PUBLISH of QoS 2 more than the Receive Maximum allows; accepted means that it was taken.
    pub in_flight: Seen<Outcome>,
    /// A topic alias above the Topic Alias Maximum; accepted means that the connection lives.
    pub topic_alias: Seen<Outcome>,
    /// PUBLISH of QoS 1, as fast as they are acknowledged.
    pub publishes: Seen<Burst>,
    /// Connections that are let in, one behind the other, as fast as they come.
    pub connections: Seen<Burst>,
    /// Connections on which nothing is said.
    pub half_open: Seen<HalfOpen>,
    /// Whether the broker answers as before.
    pub is_alive: Seen<bool>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for MqttLimits {
    const KIND: &'static str = "mqtt-limits/1";
}

/// Much of the same at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// How many there were to be.
    pub tried: u32,
    /// How many were taken before one was not.
    pub taken: u32,
    /// How that one was refused; empty, if all were taken.
    pub refusal: String,
    /// How long it took, milliseconds.
    pub elapsed_ms: u64,
}

/// Connections on which nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalfOpen {
    /// How many were held.
    pub opened: u32,
    /// How many of them the broker ended.
    pub ended: u32,
    /// How long they were held, milliseconds.
    pub held_ms: u64,
    /// How somebody with something to say fared meanwhile, from the same address.
    pub other: Outcome,
}

/// What a broker is to take at once from one client or address, at most. What is not declared is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttQuota {
    /// PUBLISH packets.
    pub publishes_max: Option<u32>,
    /// Connections that are let in.
    pub connections_max: Option<u32>,
    /// Connections on which nothing is said.
    pub half_open_max: Option<u32>,
}

impl Facts for MqttQuota {
    const KIND: &'static str = "mqtt-quota/1";
}

/// Who may do what with which topic, as declared and as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttAccessMatrix {
    /// Each cell in each version.
    pub cells: Vec<Cell>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for MqttAccessMatrix {
    const KIND: &'static str = "mqtt-access-matrix/1";
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// PUBLISH.
    Publish,
    /// PUBLISH with RETAIN.
    Retain,
    /// A will, which is left behind.
    Will,
    /// SUBSCRIBE, and that something arrives. Shared subscriptions are filters that begin with `$share/`.
    Subscribe,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// In which version.
    pub version: MqttVersion,
    /// Name of the test identity.
    pub identity: String,
    /// What.
    pub operation: Operation,
    /// Topic name or filter.
    pub topic: String,
    /// Whether the declared policy allows it.
    pub is_declared: bool,
    /// Whether it is possible.
    pub is_possible: Seen<bool>,
}
