//! What the attackers got.

use std::collections::BTreeMap;

use portreeve_bench::{Fault, Histogram};
use portreeve_mqtt::Reason;
use rustls::Error as TlsError;
use serde_json::{Value, json};

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP is on its way.
    Opening,
    /// TCP stands; no TLS, or not yet.
    Tcp,
    /// TLS stands, CONNACK has not come.
    Tls,
    /// CONNACK said yes.
    Mqtt,
}

/// Counts.
#[derive(Default)]
pub(crate) struct Tally {
    /// Connections begun.
    pub(crate) begun: u64,
    /// Connections that were let in.
    pub(crate) accepted: u64,
    /// MQTT packets sent, but CONNECT.
    pub(crate) packets_sent: u64,
    /// Messages received.
    pub(crate) messages_received: u64,
    /// How connections ended, or that they stand.
    ends: BTreeMap<String, u64>,
    /// Reason codes of answers that ended nothing.
    answers: BTreeMap<String, u64>,
    /// From the beginning of a connection to its end by the hub.
    lasted: Histogram,
    /// From the beginning of a connection to CONNACK.
    pub(crate) connect: Histogram,
}

impl Tally {
    pub(crate) fn answer(&mut self, what: &str, reason: Reason) {
        *self.answers.entry(format!("{what} {:#04x}", reason.0)).or_default() += 1;
    }

    /// The hub ended a connection, or refused it.
    pub(crate) fn ended(&mut self, how: String, lasted_ns: u64) {
        *self.ends.entry(how).or_default() += 1;
        self.lasted.record(lasted_ns);
    }

    /// A connection that the hub did not end.
    pub(crate) fn stands(&mut self, how: &str) {
        *self.ends.entry(how.into()).or_default() += 1;
    }

    pub(crate) fn report(&self, wanted: u32, seconds: f64) -> Value {
        let ms = |ns: u64| ns as f64 / 1e6;
        let times = |h: &Histogram| json!({"count": h.total(), "p50_ms": ms(h.per_mille_ns(500)), "p99_ms": ms(h.per_mille_ns(990)), "max_ms": ms(h.max_ns())});
        json!({
            "seconds": seconds,
            "wanted": wanted,
            "begun": self.begun,
            "accepted": self.accepted,
            "packets_sent": self.packets_sent,
            "messages_received": self.messages_received,
            "ends": self.ends,
            "answers": self.answers,
            "lasted": times(&self.lasted),
            "connect": times(&self.connect),
        })
    }
}

/// In words: how the hub ended a connection.
pub(crate) fn describe(fault: &Fault, stage: Stage) -> String {
    let after = match stage {
        Stage::Opening => "before TCP was open",
        Stage::Tcp => "before TLS was up",
        Stage::Tls => "before CONNACK",
        Stage::Mqtt => "in the session",
    };
    match fault {
        Fault::Closed => format!("closed {after}"),
        Fault::Tls(TlsError::AlertReceived(alert)) => format!("TLS alert {alert:?}"),
        Fault::Refused { what, reason } => format!("{what} {:#04x}", reason.0),
        Fault::Disconnected(reason) => format!("DISCONNECT {:#04x}", reason.0),
        Fault::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => format!("reset {after}"),
            kind => format!("{kind} {after}"),
        },
        other => format!("{other} {after}"),
    }
}

/// In words: what came over a connection that speaks no TLS.
pub(crate) fn describe_raw(received: &[u8]) -> Option<String> {
    match received {
        // RFC 8446 §5.1, §6: an alert that is not encrypted.
        [21, 3, _, 0, 2, _, description, ..] => {
            Some(format!("TLS alert {:?}", rustls::AlertDescription::from(*description)))
        }
        [22, ..] => Some("the hub's half of a handshake".into()),
        [] => None,
        _ => Some("other bytes".into()),
    }
}
