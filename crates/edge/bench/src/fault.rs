//! What goes wrong with one connection, and with a whole run.

use std::io;

use portreeve_mqtt::{Reason, Violation};

/// Why a connection ended, or never came about.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The socket.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The handshake or a record.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A packet that no broker may send.
    #[error("the broker breaks MQTT: {0}")]
    Mqtt(#[from] Violation),
    /// An acknowledgement that says no.
    #[error("the broker refused {what}: reason code {:#04x}", .reason.0)]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        reason: Reason,
    },
    /// DISCONNECT.
    #[error("the broker disconnected: reason code {:#04x}", .0.0)]
    Disconnected(Reason),
    /// Without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// Nothing came.
    #[error("no answer within {0} s")]
    Silent(u64),
    /// What makes no sense at this moment.
    #[error("{0}")]
    Unexpected(&'static str),
}

impl Fault {
    /// Whether the peer is there and does not want us, as opposed to: nobody is there who understands us.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Disconnected(_) | Self::Closed => true,
            Self::Tls(error) => matches!(error, rustls::Error::AlertReceived(_)),
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
            ),
            Self::Mqtt(_) | Self::Silent(_) | Self::Unexpected(_) => false,
        }
    }

    /// What it means for a run that cannot begin without this client.
    pub(crate) fn of_client(self, client_id: &str, broker: &str) -> BenchError {
        if self.is_refusal() {
            let hint = "is its certificate one of this broker's, does policy grant it the topic, and do the limits of \
                        sessions and of new connections allow as many?";
            return BenchError::Refused(format!("client `{client_id}` at {broker}: {self}; {hint}"));
        }
        let hint = match &self {
            Self::Tls(rustls::Error::InvalidCertificate(_)) => {
                "is --ca (or ca.pem of the bundle) the CA of this broker, and does its certificate name the host? (--server-name)"
            }
            Self::Tls(_) => "does the broker speak this TLS version and group? (--tls, --group)",
            _ => "does the broker listen there? (--broker HOST:PORT)",
        };
        BenchError::Unreachable(format!("client `{client_id}` at {broker}: {self}; {hint}"))
    }
}

/// Why a run did not take place.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Exit status 2.
    #[error("{0}")]
    Usage(String),
    /// Exit status 3.
    #[error("{0}")]
    Unreachable(String),
    /// Exit status 4.
    #[error("{0}")]
    Refused(String),
}

impl BenchError {
    /// For scripts: 2 usage, 3 not reachable, 4 refused.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
        }
    }
}
