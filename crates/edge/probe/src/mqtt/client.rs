//! A client of MQTT that expects nothing of its broker.

use std::time::Duration;

use portreeve_assurance::evidence::{Outcome, Seen, mqtt::MqttVersion};
use portreeve_mqtt::{ConnAck, Connect, Packet, Sender, Version, decode, encode, frame};
use portreeve_tls::{Credentials, inspecting_client_config};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    dial::{Dialer, Gap, Turn},
    mutual::refused,
};

/// Longest packet that a broker's answer has, bytes.
const PACKET_BYTES_MAX: u32 = 256 * 1024;
/// How long to wait for something that may never come.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);

/// A listener for MQTT.
#[derive(Clone, Debug)]
pub struct Broker<'a> {
    /// Who opens connections to it.
    pub dialer: &'a Dialer,
    /// Its name for TLS; nothing, where it speaks in clear.
    pub tls: Option<ServerName<'static>>,
}

/// Somebody to connect as. The certificate is a test's: it is shown to whatever broker is there.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, which is its client id too.
    pub name: String,
    /// Its certificate and key.
    pub credentials: Option<Credentials>,
}

impl Identity {
    /// Nobody.
    #[must_use]
    pub fn nobody(client_id: &str) -> Self {
        Self { name: client_id.to_owned(), credentials: None }
    }
}

pub(crate) fn wire(version: MqttVersion) -> Version {
    match version {
        MqttVersion::V311 => Version::V311,
        MqttVersion::V5 => Version::V5,
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection.
pub(crate) struct Client<'a> {
    stream: Box<dyn Stream>,
    turn: Turn<'a>,
    pub(crate) version: Version,
    buffer: Vec<u8>,
    received_bytes: usize,
}

/// What comes next.
pub(crate) enum Next {
    /// A whole packet.
    Packet(Vec<u8>),
    /// The broker ended the connection, and how.
    End(String),
}

/// What became of a CONNECT.
pub(crate) enum Connected<'a> {
    Accepted(Client<'a>, Box<Welcome>),
    Refused(String),
}

/// What a CONNACK says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Welcome {
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) topic_alias_maximum: Option<u16>,
    pub(crate) server_keep_alive_s: Option<u16>,
}

impl Welcome {
    fn of(connack: &ConnAck<'_>) -> Self {
        Self {
            packet_bytes_max: connack.maximum_packet_bytes,
            receive_maximum: connack.receive_maximum,
            topic_alias_maximum: connack.topic_alias_maximum,
            server_keep_alive_s: connack.server_keep_alive_s,
        }
    }
}

impl Connected<'_> {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Accepted(..) => Outcome { accepted: true, how: String::new() },
            Self::Refused(how) => Outcome { accepted: false, how: how.clone() },
        }
    }
}

pub(crate) fn seen<T>(result: Result<T, Gap>) -> Seen<T> {
    result.map_or_else(|gap| Seen::Unknown(gap.to_string()), Seen::Known)
}

impl<'a> Broker<'a> {
    /// Opens a connection, and TLS on it.
    pub(crate) async fn open(
        &self,
        identity: &Identity,
        version: MqttVersion,
    ) -> Result<Result<Client<'a>, String>, Gap> {
        let (stream, turn) = self.dialer.open().await?.into_parts();
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(name) => {
                let made = inspecting_client_config(identity.credentials.clone(), &[]);
                let (config, _) = made.map_err(|error| Gap::odd(&error))?;
                match turn.within(TlsConnector::from(config).connect(name.clone(), stream)).await? {
                    Ok(tls) => Box::new(tls),
                    Err(error) => return end(&error).map(Err),
                }
            }
        };
        Ok(Ok(Client { stream, turn, version: wire(version), buffer: Vec::new(), received_bytes: 0 }))
    }

    /// Opens a connection and asks to be let in.
    pub(crate) async fn connect(&self, identity: &Identity, connect: &Connect<'_>) -> Result<Connected<'a>, Gap> {
        let version = if connect.version == Version::V5 { MqttVersion::V5 } else { MqttVersion::V311 };
        let mut client = match self.open(identity, version).await? {
            Ok(client) => client,
            Err(how) => return Ok(Connected::Refused(how)),
        };
        let mut out = Vec::new();
        encode::connect(&mut out, connect).map_err(|error| Gap::odd(&error))?;
        client.send(&out).await?;
        let packet = match client.next().await? {
            Next::Packet(packet) => packet,
            Next::End(how) => return Ok(Connected::Refused(how)),
        };
        // A broker that knows only 3.1.1 answers in 3.1.1.
        if let &[0x20, 2, _, code @ 1..=5] = &packet[..] {
            return Ok(Connected::Refused(format!("CONNACK with return code {code}")));
        }
        match decode(connect.version, Sender::Server, &packet) {
            Ok(Packet::ConnAck(connack)) if connack.reason.is_error() => {
                Ok(Connected::Refused(format!("CONNACK {}", connack.reason)))
            }
            Ok(Packet::ConnAck(connack)) => Ok(Connected::Accepted(client, Box::new(Welcome::of(&connack)))),
            Ok(_) => Err(Gap::Odd("something other than CONNACK answers CONNECT".into())),
            Err(violation) => Err(Gap::Odd(format!("its CONNACK is malformed: {}", violation.detail))),
        }
    }
}

/// How a broker ended a connection; a gap, if it did not.
fn end(error: &std::io::Error) -> Result<String, Gap> {
    refused(error).map(|outcome| outcome.how)
}

impl Client<'_> {
    /// Sends bytes. That the broker has ended the connection shows when its answer is read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Gap> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match self.turn.within(sent).await? {
            Err(error) => end(&error).map(|_| ()),
            Ok(()) => Ok(()),
        }
    }

    /// The next packet, or the end. A pause of [`PATIENCE`] is [`Gap::Silent`].
    pub(crate) async fn next(&mut self) -> Result<Next, Gap> {
        loop {
            match frame(&self.buffer, PACKET_BYTES_MAX) {
                Ok(Some(length)) => return Ok(Next::Packet(self.buffer.drain(..length).collect())),
                Ok(None) => {}
                Err(violation) => return Err(Gap::Odd(format!("not MQTT: {}", violation.detail))),
            }
            let mut bytes = [0; 8 * 1024];
            let read = self.turn.within(timeout(PATIENCE, self.stream.read(&mut bytes))).await?;
            match read.map_err(|_| Gap::Silent(PATIENCE))? {
                Ok(0) => return Ok(Next::End("closed the connection".into())),
                Ok(read) => {
                    self.buffer.extend(&bytes[..read]);
                    self.received_bytes += read;
                }
                Err(error) => return end(&error).map(Next::End),
            }
            if self.received_bytes > self.turn.answer_bytes_max() {
                return Err(Gap::Large(self.turn.answer_bytes_max()));
            }
        }
    }
}
