//! One connection with a TLS library inside. Every byte that goes out is kept, so that it can be sent again.

use std::{
    io::{Error, Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, ExtractedSecrets, HandshakeKind};
use rustls_pki_types::ServerName;

use crate::{
    dial::{Connection, Dialer, Gap, Received},
    mutual::refused,
};

/// A connection of ours.
pub(crate) struct Session<'a> {
    tls: ClientConnection,
    wire: Connection<'a>,
    sent: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Something for the application.
    Data(Vec<u8>),
    /// The server ended the connection, and how.
    End(String),
    /// Nothing for the application; tickets, perhaps.
    Nothing,
}

impl<'a> Session<'a> {
    /// Connects; the handshake comes later.
    pub(crate) async fn begin(
        dialer: &'a Dialer,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self, Gap> {
        let tls = ClientConnection::new(Arc::clone(config), name.clone()).map_err(|error| Gap::odd(&error))?;
        Ok(Self { tls, wire: dialer.open().await?, sent: Vec::new() })
    }

    /// Puts data into the first flight; says whether there is a ticket that allows it.
    pub(crate) fn write_early(&mut self, data: &[u8]) -> bool {
        self.tls.early_data().is_some_and(|mut early| early.write_all(data).is_ok())
    }

    /// Makes the handshake, or says how it was refused.
    pub(crate) async fn handshake(&mut self) -> Result<Result<(), String>, Gap> {
        while self.tls.is_handshaking() {
            if let Heard::End(how) = self.step().await? {
                return Ok(Err(how));
            }
        }
        self.flush().await?;
        Ok(Ok(()))
    }

    /// Sends data.
    pub(crate) async fn send(&mut self, data: &[u8]) -> Result<(), Gap> {
        self.tls.writer().write_all(data).map_err(|error| Gap::odd(&error))?;
        self.flush().await
    }

    /// Sends bytes past the library.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Gap> {
        self.wire.send(bytes).await
    }

    /// Waits for the application's answer, or the end, for so long.
    pub(crate) async fn hear(&mut self, wait: Duration) -> Result<Heard, Gap> {
        let heard = async {
            loop {
                match self.step().await? {
                    Heard::Nothing => {}
                    heard => return Ok(heard),
                }
            }
        };
        tokio::time::timeout(wait, heard).await.unwrap_or(Ok(Heard::Nothing))
    }

    /// Ends the session as it should be ended: some servers forget one that is broken off.
    pub(crate) async fn close(mut self) -> Result<(), Gap> {
        self.tls.send_close_notify();
        self.flush().await
    }

    /// Whether the server took what was in the first flight.
    pub(crate) fn is_early_accepted(&self) -> bool {
        self.tls.is_early_data_accepted()
    }

    /// Whether the session is an older one.
    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What went over the wire so far.
    pub(crate) fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// The connection without the library: what was sent, and the keys for what is to come.
    pub(crate) fn into_secrets(self) -> Result<(Connection<'a>, Vec<u8>, ExtractedSecrets), Gap> {
        let secrets = self.tls.dangerous_extract_secrets().map_err(|error| Gap::odd(&error))?;
        Ok((self.wire, self.sent, secrets))
    }

    async fn flush(&mut self) -> Result<(), Gap> {
        let start = self.sent.len();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.sent).map_err(|error| Gap::odd(&error))?;
        }
        self.wire.send(&self.sent[start..]).await
    }

    /// Sends what is to be sent, and takes what comes next.
    async fn step(&mut self) -> Result<Heard, Gap> {
        self.flush().await?;
        let Received::Bytes(bytes) = self.wire.receive().await? else {
            return Ok(Heard::End("closed the connection".into()));
        };
        let (mut rest, mut data) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).map_err(|error| Gap::odd(&error))?;
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => return refused(&Error::other(error)).map(|outcome| Heard::End(outcome.how)),
            };
            let start = data.len();
            data.resize(start + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut data[start..]).map_err(|error| Gap::odd(&error))?;
            if state.peer_has_closed() && data.is_empty() {
                return Ok(Heard::End("closed the connection".into()));
            }
        }
        Ok(if data.is_empty() { Heard::Nothing } else { Heard::Data(data) })
    }
}
