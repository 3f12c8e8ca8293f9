//! Test sessions that are recorded and sent again, beside somebody who listens: only what he hears has got through.

use std::sync::Arc;

use portreeve_assurance::evidence::{
    Outcome, Seen,
    replay::{Replay, ReplayAttempt, Replayed},
};
use portreeve_mqtt::{Connect, Packet, PublishHeader, Sender, Version, decode, encode, frame};
use portreeve_tls::inspecting_client_config;
use portreeve_types::Qos;
use rustls_pki_types::ServerName;

use super::{
    client::{Broker, Client, Identity, Next, PATIENCE, seen},
    enter,
    matrix::listen,
};
use crate::{
    Gap,
    dial::{Connection, Dialer, Received},
    tls::{
        session::{Heard, Session},
        words,
    },
};

/// Longest answer to CONNECT, bytes.
const CONNACK_BYTES_MAX: u32 = 64 * 1024;
/// Packets that are looked at for one that is awaited.
const PACKETS_MAX: u32 = 64;
/// PUBREL for packet identifier 1.
const PUBREL: [u8; 4] = [0x62, 2, 0, 1];

/// Records test sessions of one identity and sends parts of them again (ISVS-4.1.1). It must be allowed to publish to `topic` and
/// to subscribe to it. Whether the target has logged it is for the caller to add.
pub async fn replay(broker: &Broker<'_>, who: &Identity, topic: &str) -> Replay {
    let is_tls = broker.tls.is_some();
    let mut attempts = Vec::new();
    for what in Replayed::ALL.into_iter().filter(|what| is_tls || *what != Replayed::Record) {
        let mark = format!("portreeve-replay-{}", what as u8);
        let outcome = seen(Trial { broker, who, topic, mark }.run(what).await);
        attempts.push(ReplayAttempt { what, outcome });
    }
    Replay { is_tls, attempts, is_logged: Seen::NotTried, effort: broker.dialer.effort() }
}

struct Trial<'a, 'b> {
    broker: &'b Broker<'a>,
    who: &'b Identity,
    topic: &'b str,
    /// Payload by which the message is known again.
    mark: String,
}

impl<'a> Trial<'a, '_> {
    async fn run(&self, what: Replayed) -> Result<Outcome, Gap> {
        let mut listener = self.listener().await?;
        let mut session = self.recorded(what).await?;
        let mut how = String::new();
        // A broker may pass it on as soon as it comes or when it is released (MQTT 5.0 section 4.3.3): it comes twice before that.
        if what == Replayed::Message {
            session.wire.send(&self.publish(Qos::ExactlyOnce, true)?).await?;
            how = told(session.wire.hear().await?);
            session.wire.send(&PUBREL).await?;
        }
        if !self.hears(&mut listener).await? {
            return Err(Gap::Odd("nobody hears it even the first time".into()));
        }
        let how = match what {
            Replayed::Message => how,
            Replayed::Record => {
                session.wire.send_raw(&session.last).await?;
                told(session.wire.hear().await?)
            }
            Replayed::Connection => {
                let mut other = self.broker.dialer.open().await?;
                other.send(session.wire.sent()).await?;
                let words = words::listen(&mut other, PATIENCE).await?;
                if self.broker.tls.is_some() { words.describe() } else { told(Heard::Data(words.bytes)) }
            }
        };
        Ok(Outcome { accepted: self.hears(&mut listener).await?, how })
    }

    /// Whether the message comes to a listener who is still there to hear it.
    async fn hears(&self, listener: &mut Client<'_>) -> Result<bool, Gap> {
        for _ in 0..PACKETS_MAX {
            let packet = match listener.next().await {
                Ok(Next::Packet(packet)) => packet,
                Ok(Next::End(how)) => return Err(Gap::Odd(format!("who listens is sent away: {how}"))),
                Err(Gap::Silent(PATIENCE)) => return Ok(false),
                Err(gap) => return Err(gap),
            };
            match decode(listener.version, Sender::Server, &packet) {
                Ok(Packet::Publish(publish)) if publish.payload == self.mark.as_bytes() => return Ok(true),
                Ok(_) => {}
                Err(violation) => return Err(Gap::Odd(format!("malformed: {}", violation.detail))),
            }
        }
        Err(Gap::Odd("too many other messages come".into()))
    }

    async fn listener(&self) -> Result<Client<'a>, Gap> {
        let client_id = format!("{}:sub", self.who.name);
        let mut client = enter(self.broker, self.who, &Connect::new(Version::V5, &client_id)).await?;
        if listen(&mut client, self.topic).await? {
            Ok(client)
        } else {
            Err(Gap::Odd("the subscription is refused".into()))
        }
    }

    fn publish(&self, qos: Qos, dup: bool) -> Result<Vec<u8>, Gap> {
        let packet_id = u16::from(qos != Qos::AtMostOnce);
        let header = PublishHeader { qos, dup, packet_id, topic: self.topic, ..PublishHeader::default() };
        let mut out = Vec::new();
        encode::try_publish(&mut out, Version::V5, &header, self.mark.as_bytes()).map_err(|error| Gap::odd(&error))?;
        Ok(out)
    }

    /// A session in which the message is published once.
    async fn recorded(&self, what: Replayed) -> Result<Recorded<'a>, Gap> {
        let mut wire = self.wire().await?;
        let client_id = format!("{}:pub", self.who.name);
        let mut out = Vec::new();
        encode::connect(&mut out, &Connect::new(Version::V5, &client_id)).map_err(|error| Gap::odd(&error))?;
        wire.send(&out).await?;
        match wire.hear().await? {
            Heard::Data(bytes) if is_welcome(&bytes) => {}
            heard => return Err(Gap::Odd(format!("not let in: {}", told(heard)))),
        }
        let start = wire.sent().len();
        let qos = if what == Replayed::Message { Qos::ExactlyOnce } else { Qos::AtMostOnce };
        wire.send(&self.publish(qos, false)?).await?;
        // PUBREC, so that it is not taken for the answer to what comes next.
        if what == Replayed::Message {
            wire.hear().await?;
        }
        let last = wire.sent().get(start..).unwrap_or_default().to_vec();
        Ok(Recorded { wire, last })
    }

    async fn wire(&self) -> Result<Wire<'a>, Gap> {
        let Some(name) = &self.broker.tls else {
            return Ok(Wire::Clear(self.broker.dialer.open().await?, Vec::new()));
        };
        let made = inspecting_client_config(self.who.credentials.clone(), &[]);
        let (config, _) = made.map_err(|error| Gap::odd(&error))?;
        Wire::tls(self.broker.dialer, &config, name).await
    }
}

/// A session that is still there, and its last message as it went over the wire.
struct Recorded<'a> {
    wire: Wire<'a>,
    last: Vec<u8>,
}

/// A connection of which everything that is sent is kept.
enum Wire<'a> {
    Tls(Box<Session<'a>>),
    Clear(Connection<'a>, Vec<u8>),
}

impl<'a> Wire<'a> {
    async fn tls(
        dialer: &'a Dialer,
        config: &Arc<rustls::ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self, Gap> {
        let mut session = Session::begin(dialer, config, name).await?;
        session.handshake().await?.map_err(|how| Gap::Odd(format!("not let in: {how}")))?;
        Ok(Self::Tls(Box::new(session)))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Gap> {
        match self {
            Self::Tls(session) => session.send(bytes).await,
            Self::Clear(connection, sent) => {
                sent.extend(bytes);
                connection.send(bytes).await
            }
        }
    }

    /// Past TLS.
    async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Gap> {
        match self {
            Self::Tls(session) => session.send_raw(bytes).await,
            Self::Clear(connection, _) => connection.send(bytes).await,
        }
    }

    async fn hear(&mut self) -> Result<Heard, Gap> {
        match self {
            Self::Tls(session) => session.hear(PATIENCE).await,
            Self::Clear(connection, _) => match tokio::time::timeout(PATIENCE, connection.receive()).await {
                Err(_) => Ok(Heard::Nothing),
                Ok(received) => Ok(match received? {
                    Received::Bytes(bytes) => Heard::Data(bytes),
                    Received::End => Heard::End("closed the connection".into()),
                }),
            },
        }
    }

    fn sent(&self) -> &[u8] {
        match self {
            Self::Tls(session) => session.sent(),
            Self::Clear(_, sent) => sent,
        }
    }
}

fn is_welcome(bytes: &[u8]) -> bool {
    let Ok(Some(length)) = frame(bytes, CONNACK_BYTES_MAX) else { return false };
    let packet = bytes.get(..length).map(|packet| decode(Version::V5, Sender::Server, packet));
    matches!(packet, Some(Ok(Packet::ConnAck(connack))) if !connack.reason.is_error())
}

/// The first packet of an answer, without what is in it.
fn told(heard: Heard) -> String {
    match heard {
        Heard::Data(bytes) => match bytes.first().map(|first| first >> 4) {
            None => "silence".into(),
            Some(2) => "answers CONNACK".into(),
            Some(5) => "answers PUBREC".into(),
            Some(14) => "answers DISCONNECT".into(),
            Some(kind) => format!("answers packet type {kind}"),
        },
        Heard::End(how) => how,
        Heard::Nothing => "silence".into(),
    }
}
