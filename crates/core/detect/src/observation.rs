//! What is watched: facts that somebody else has parsed already.

use portreeve_types::UnixMillis;
use std::net::IpAddr;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client said goodbye.
    Clean,
    /// It fell silent, or its connection broke.
    Lost,
    /// The hub ended it.
    Cut,
}

/// One fact. Borrowed: building it costs nothing.
///
/// An `identity` is a name of the registry. Whoever feeds a watch makes sure of that: a name that a stranger merely claims,
/// and that nobody registered, is `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation<'a> {
    /// Somebody failed to authenticate, at whichever door.
    AuthFailed {
        /// Whose credential or name it was, if it is known.
        identity: Option<&'a str>,
        /// Where from.
        source: Option<IpAddr>,
        /// Which door: `mqtt`, `https`, `enrolment` …
        door: &'a str,
    },
    /// Policy refused something.
    Denied {
        /// Whose attempt.
        identity: &'a str,
        /// What was refused, for people.
        what: &'a str,
    },
    /// A client connected: its CONNECT was accepted.
    Connected {
        /// Who.
        identity: &'a str,
        /// Its group, whose overrides count from now on.
        group: Option<&'a str>,
        /// Where it stands.
        zone: Option<&'a str>,
        /// The radio, cell or gateway that it comes through.
        radio: Option<&'a str>,
        /// Where from.
        source: IpAddr,
        /// The MQTT client identifier.
        client_id: &'a str,
        /// The keep alive that it asked for; 0 is none.
        keep_alive_s: u16,
    },
    /// A connection that was observed as [`Observation::Connected`] ended.
    Disconnected {
        /// Whose.
        identity: &'a str,
        /// How.
        how: Ending,
    },
    /// A connection was opened and its handshake or CONNECT never finished.
    HalfOpen {
        /// Where from.
        source: IpAddr,
    },
    /// Bytes that break a protocol.
    Malformed {
        /// Who sent them, if that was known already.
        identity: Option<&'a str>,
        /// Where from.
        source: Option<IpAddr>,
    },
    /// One identity seems to be in two places.
    Duplicate {
        /// Which.
        identity: &'a str,
        /// Whether it cannot be anything else (a certificate that was renewed is used again), or could be a device that
        /// moved (two addresses at one time).
        is_certain: bool,
    },
    /// What an identity published to one topic in a window that just ended, about every 10 s or at the end of its
    /// connection; the first use of a topic in a connection at once.
    Traffic {
        /// Who.
        identity: &'a str,
        /// The topic.
        topic: &'a str,
        /// Messages in the window.
        messages: u64,
        /// Bytes of their payloads.
        bytes: u64,
        /// The largest payload.
        largest_bytes: u32,
        /// How long the window was.
        window_ms: u64,
    },
    /// A device was heard of otherwise: a ping, a report.
    Heartbeat {
        /// Which.
        identity: &'a str,
    },
    /// A device numbers or dates what it says.
    Sequence {
        /// Who.
        identity: &'a str,
        /// Which of its numberings.
        channel: &'a str,
        /// The number.
        seq: u64,
        /// The device's own time, if it says one.
        device_time: Option<UnixMillis>,
    },
    /// What a device numbers without leaving anything out does not have the number that was due.
    OutOfOrder {
        /// Who.
        identity: &'a str,
        /// Which of its numberings.
        channel: &'a str,
        /// The number that was due.
        expected: u64,
        /// The number that came.
        seq: u64,
    },
    /// A device reports another firmware than before.
    Firmware {
        /// Which device.
        identity: &'a str,
        /// The version before.
        before: &'a str,
        /// The version now.
        after: &'a str,
    },
    /// A device reports how it is.
    Vitals {
        /// Which device.
        identity: &'a str,
        /// Charge, 0 to 100.
        battery_percent: Option<f64>,
        /// Other figures by name; only the first eight names of a device are followed.
        numbers: &'a [(&'a str, f64)],
    },
    /// An operator or a program called the administration interface.
    AdminCall {
        /// Who.
        caller: &'a str,
        /// What for.
        request: &'a str,
        /// Whether it was refused.
        is_refused: bool,
    },
    /// Somebody changed the configuration, a policy or a device's twin.
    ConfigChanged {
        /// Who.
        actor: &'a str,
        /// What.
        what: &'a str,
    },
}

impl<'a> Observation<'a> {
    /// Whom it is about, if that is one identity.
    #[must_use]
    pub const fn identity(&self) -> Option<&'a str> {
        match *self {
            Self::AuthFailed { identity, .. } | Self::Malformed { identity, .. } => identity,
            Self::Denied { identity, .. }
            | Self::Connected { identity, .. }
            | Self::Disconnected { identity, .. }
            | Self::Duplicate { identity, .. }
            | Self::Traffic { identity, .. }
            | Self::Heartbeat { identity }
            | Self::Sequence { identity, .. }
            | Self::OutOfOrder { identity, .. }
            | Self::Firmware { identity, .. }
            | Self::Vitals { identity, .. } => Some(identity),
            Self::HalfOpen { .. } | Self::AdminCall { .. } | Self::ConfigChanged { .. } => None,
        }
    }
}
