//! Syslog over TLS (RFC 5425).

use std::{
    io,
    time::{Duration, Instant},
};

use portreeve_alert::{Delivery, Failure, Syslog, render_syslog};
use portreeve_types::UnixMillis;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    Channel, Receipt,
    connect::{Connector, within},
    files::OpenError,
    transient,
};

/// How long the receiver has to close its side, which shows that it has read all.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A receiver of syslog. Each delivery has a connection of its own: what was written on one that breaks is lost without a word.
#[derive(Debug)]
pub(crate) struct SyslogChannel {
    connector: Connector,
    hub: String,
}

impl SyslogChannel {
    pub(crate) fn open(syslog: &Syslog, hub: &str) -> Result<Self, OpenError> {
        Ok(Self { connector: Connector::open(&syslog.server, &syslog.peer)?, hub: hub.to_owned() })
    }

    async fn write(&self, frame: &[u8]) -> Result<Receipt, Failure> {
        let mut stream = self.connector.secure(self.connector.tcp().await?).await?;
        let broken = |error| transient(&format!("{} broke off: {error}", self.connector.server()));
        stream.write_all(frame).await.map_err(broken)?;
        // Says that nothing follows (RFC 5425 §4.4). With TLS 1.3 a refusal of our certificate comes only now.
        stream.shutdown().await.map_err(broken)?;
        match timeout(CLOSE_WITHIN, stream.read(&mut [0; 1])).await {
            Ok(Ok(0)) => Ok(Receipt::Confirmed),
            // An end of the connection without an end of TLS is common, and no refusal: that would be an alert.
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(broken(error)),
            // It ended without a word, stays, or said something, which syslog does not have.
            _ => Ok(Receipt::Unconfirmed),
        }
    }
}

impl Channel for SyslogChannel {
    fn send(&self, delivery: &Delivery, now: UnixMillis, deadline: Instant) -> Result<Receipt, Failure> {
        let line = render_syslog(delivery, &self.hub, now);
        // Octet counting (RFC 5425 §4.3).
        within(deadline, self.write(format!("{} {line}", line.len()).as_bytes()))
    }
}
