//! What a TLS server makes of attacks that are known.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Outcome, Seen, tls::Version};

/// Attacks on one TCP port, as far as they were tried. No secret is kept of what came back, only how much it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsAttacks {
    /// A heartbeat that claims more bytes than it has (CVE-2014-0160).
    pub heartbeat: Seen<HeartbeatAnswer>,
    /// Premaster secrets with different faults (Bleichenbacher's oracle, ROBOT): each fault in each flow once.
    pub robot: Seen<Vec<RobotAnswer>>,
    /// A second handshake inside the first one that the client asks for; accepted means that the server began it.
    pub renegotiation: Seen<Outcome>,
    /// Sessions that were resumed, or not; each version once.
    pub resumption: Vec<ResumptionAttempt>,
    /// Data in the first flight of TLS 1.3 (RFC 8446 section 2.3); accepted means that the server took them.
    pub early_data: Seen<Outcome>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for TlsAttacks {
    const KIND: &'static str = "tls-attacks/1";
}

/// What came back for a heartbeat that has no payload and claims to have some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeartbeatAnswer {
    /// No heartbeat; RFC 6520 section 4 wants silence.
    Nothing,
    /// A heartbeat of this many bytes, which were not ours.
    Bytes(u32),
}

/// How one fault is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobotAnswer {
    /// What is wrong with the premaster secret.
    pub fault: Fault,
    /// Whether ChangeCipherSpec and Finished came behind it.
    pub is_whole: bool,
    /// The answer; one line.
    pub answer: String,
}

/// A premaster secret (RFC 5246 section 7.4.7.1), or what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing is wrong.
    Nothing,
    /// It does not begin with 0, 2.
    Start,
    /// No zero ends its padding.
    NoSeparator,
    /// A zero ends its padding too early.
    EarlySeparator,
    /// It names another version than the hello.
    Version,
}

impl Fault {
    /// All.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Start, Self::NoSeparator, Self::EarlySeparator, Self::Version];
}

/// One attempt to resume a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumptionAttempt {
    /// In which version.
    pub version: Version,
    /// What came of it.
    pub outcome: Seen<Resumption>,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resumption {
    /// The server gave nothing to resume it with, or wanted a whole handshake all the same.
    WholeHandshake,
    /// It was resumed. It had no client certificate.
    Resumed,
    /// It was resumed. It had a client certificate, which nobody looked at again.
    ResumedWithoutCertificate,
}
