//! Too much of what one may have some of. Everything is counted beforehand: a broker that sets no limit meets ours.

use std::time::Duration;

use portreeve_assurance::evidence::{
    Outcome, Seen,
    mqtt::{Burst, HalfOpen},
};
use portreeve_mqtt::{Connect, Packet, PublishHeader, Sender, Version, decode, encode};
use portreeve_types::Qos;
use tokio::time::{Instant, timeout_at};

use super::{
    client::{Broker, Client, Connected, Identity, Next, PATIENCE, seen},
    enter, is_ended,
};
use crate::{
    Gap,
    dial::{Connection, Received},
};

/// PUBLISH packets in one burst, whoever asks for more.
const PUBLISHES_MAX: u32 = 50_000;
/// Connections in one burst.
const CONNECTIONS_MAX: u32 = 10_000;
/// Largest Receive Maximum that is exceeded. Who allows more is not asked whether he means it.
const RECEIVE_MAXIMUM_MAX: u16 = 4096;
/// PUBLISH packets of QoS 1 that are sent before their PUBACKs are read, if the broker allows so many.
const WINDOW_MAX: u16 = 64;

/// How much to try at once. To find out whether a quota holds, try more than it allows, and declare it
/// ([`portreeve_assurance::evidence::mqtt::MqttQuota`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// To what the identity may publish. What comes there has no payload and is not kept.
    pub topic: String,
    /// PUBLISH packets.
    pub publishes: u32,
    /// Connections that are let in.
    pub connections: u32,
    /// Connections on which nothing is said. All but two of those that the dialer opens at one time are held at most.
    pub half_open: u32,
    /// How long they are held.
    pub half_open_time: Duration,
}

impl Load {
    /// A thousand messages, fifty connections, and as many that say nothing as a dialer has room for, for two seconds.
    #[must_use]
    pub fn small(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            publishes: 1000,
            connections: 50,
            half_open: 50,
            half_open_time: Duration::from_secs(2),
        }
    }
}

/// One client that asks for too much.
pub(super) struct Trial<'a, 'b> {
    pub(super) broker: &'b Broker<'a>,
    pub(super) who: &'b Identity,
    pub(super) load: &'b Load,
}

impl<'a> Trial<'a, '_> {
    async fn enter(&self) -> Result<Client<'a>, Gap> {
        enter(self.broker, self.who, &Connect::new(Version::V5, &self.who.name)).await
    }

    fn publish(&self, header: &PublishHeader<'_>) -> Result<Vec<u8>, Gap> {
        let header = PublishHeader { topic: &self.load.topic, ..*header };
        let mut out = Vec::new();
        encode::try_publish(&mut out, Version::V5, &header, b"").map_err(|error| Gap::odd(&error))?;
        Ok(out)
    }

    /// QoS 2 without ever releasing one, and one too many (MQTT 5.0 section 3.3.4, MQTT-3.3.4-9).
    pub(super) async fn in_flight(&self, receive_maximum: &Seen<u16>) -> Seen<Outcome> {
        match receive_maximum {
            Seen::Known(max) if *max <= RECEIVE_MAXIMUM_MAX => seen(self.exceed(*max).await),
            Seen::Known(_) => Seen::NotTried,
            unknown => Seen::Unknown(unknown.gap().unwrap_or_default().to_owned()),
        }
    }

    async fn exceed(&self, receive_maximum: u16) -> Result<Outcome, Gap> {
        let mut client = self.enter().await?;
        let (mut out, mut taken) = (Vec::new(), 0u32);
        for packet_id in 1..=receive_maximum.saturating_add(1) {
            let header = PublishHeader { qos: Qos::ExactlyOnce, packet_id, ..PublishHeader::default() };
            out.extend(self.publish(&header)?);
        }
        client.send(&out).await?;
        loop {
            match self.verdict(&mut client).await? {
                Said::Taken if taken < u32::from(receive_maximum) => taken += 1,
                Said::Taken => return Ok(Outcome { accepted: true, how: format!("{} messages", taken + 1) }),
                Said::NotAllowed(how) => return Err(Gap::Odd(format!("the topic is not for us: {how}"))),
                Said::Refused(how) => return Ok(Outcome { accepted: false, how }),
            }
        }
    }

    /// What a PUBLISH gets.
    async fn verdict(&self, client: &mut Client<'_>) -> Result<Said, Gap> {
        let packet = match client.next().await? {
            Next::Packet(packet) => packet,
            Next::End(how) => return Ok(Said::Refused(how)),
        };
        match decode(client.version, Sender::Server, &packet) {
            Ok(Packet::PubAck(ack) | Packet::PubRec(ack)) if ack.reason == portreeve_mqtt::Reason::NOT_AUTHORIZED => {
                Ok(Said::NotAllowed(ack.reason.to_string()))
            }
            Ok(Packet::PubAck(ack) | Packet::PubRec(ack)) if ack.reason.is_error() => {
                Ok(Said::Refused(ack.reason.to_string()))
            }
            Ok(Packet::PubAck(_) | Packet::PubRec(_)) => Ok(Said::Taken),
            Ok(Packet::Disconnect(disconnect)) => Ok(Said::Refused(format!("DISCONNECT {}", disconnect.reason))),
            Ok(_) => Err(Gap::Odd("something other than an acknowledgement answers PUBLISH".into())),
            Err(violation) => Err(Gap::Odd(format!("malformed: {}", violation.detail))),
        }
    }

    /// An alias that the broker does not have (MQTT-3.3.2-9).
    pub(super) async fn topic_alias(&self, maximum: &Seen<u16>) -> Seen<Outcome> {
        let maximum = match maximum {
            Seen::Known(maximum) => *maximum,
            unknown => return Seen::Unknown(unknown.gap().unwrap_or_default().to_owned()),
        };
        let Some(alias) = maximum.checked_add(1) else {
            return Seen::Known(Outcome { accepted: true, how: "as there is no maximum".into() });
        };
        let outcome = async {
            let mut client = self.enter().await?;
            client
                .send(&self.publish(&PublishHeader { topic_alias: Some(alias), ..PublishHeader::default() })?)
                .await?;
            is_ended(&mut client).await
        };
        seen(outcome.await)
    }

    /// As many PUBLISH as are to be tried, or as are taken.
    pub(super) async fn publishes(&self, receive_maximum: &Seen<u16>) -> Seen<Burst> {
        let window = receive_maximum.known().map_or(1, |max| *max).clamp(1, WINDOW_MAX);
        seen(self.flood(self.load.publishes.min(PUBLISHES_MAX), window).await)
    }

    async fn flood(&self, tried: u32, window: u16) -> Result<Burst, Gap> {
        let mut client = self.enter().await?;
        let header = PublishHeader { qos: Qos::AtLeastOnce, packet_id: 1, ..PublishHeader::default() };
        // A packet identifier is free again as soon as it is acknowledged.
        let mut packets = Vec::new();
        for packet_id in 1..=window {
            packets.push(self.publish(&PublishHeader { packet_id, ..header })?);
        }
        let (started, mut taken) = (Instant::now(), 0);
        let burst = |taken, refusal| Burst { tried, taken, refusal, elapsed_ms: elapsed_ms(started) };
        while taken < tried {
            let now = u32::from(window).min(tried - taken);
            client.send(&packets.iter().take(now as usize).flatten().copied().collect::<Vec<u8>>()).await?;
            for _ in 0..now {
                match self.verdict(&mut client).await {
                    Ok(Said::Taken) => taken += 1,
                    Ok(Said::Refused(how)) => return Ok(burst(taken, how)),
                    Ok(Said::NotAllowed(how)) => return Err(Gap::Odd(format!("the topic is not for us: {how}"))),
                    // It answers no more, or not as fast as we ask.
                    Err(gap @ Gap::Silent(PATIENCE)) if taken > 0 => return Ok(burst(taken, gap.to_string())),
                    // Our own time is over, which says nothing of the broker.
                    Err(Gap::Silent(_)) if taken > 0 => {
                        return Ok(Burst { tried: taken, ..burst(taken, String::new()) });
                    }
                    Err(gap) => return Err(gap),
                }
            }
        }
        Ok(burst(taken, String::new()))
    }

    /// Connections in a row; each ends before the next one begins.
    pub(super) async fn connections(&self) -> Seen<Burst> {
        let tried = self.load.connections.min(CONNECTIONS_MAX);
        let (started, mut taken) = (Instant::now(), 0);
        let connect = Connect::new(Version::V5, &self.who.name);
        let mut refusal = String::new();
        while taken < tried && refusal.is_empty() {
            match self.broker.connect(self.who, &connect).await {
                Ok(Connected::Accepted(..)) => taken += 1,
                Ok(Connected::Refused(how)) if taken > 0 => refusal = how,
                Ok(Connected::Refused(how)) => return Seen::Unknown(format!("not let in: {how}")),
                Err(gap @ Gap::Unreachable(_)) if taken > 0 => refusal = gap.to_string(),
                Err(gap) => return Seen::Unknown(gap.to_string()),
            }
        }
        Seen::Known(Burst { tried, taken, refusal, elapsed_ms: elapsed_ms(started) })
    }

    /// Connections that say nothing, and one beside them that does.
    pub(super) async fn half_open(&self) -> Seen<HalfOpen> {
        let room = u32::try_from(self.broker.dialer.limits().parallel_max).unwrap_or(u32::MAX).saturating_sub(2);
        let (started, mut held) = (Instant::now(), Vec::new());
        for _ in 0..self.load.half_open.min(room) {
            match self.broker.dialer.open().await {
                Ok(connection) => held.push(connection),
                // Who does not take the next one has a limit, and it was met.
                Err(Gap::Unreachable(_)) if !held.is_empty() => break,
                Err(gap) => return Seen::Unknown(gap.to_string()),
            }
        }
        let connect = Connect::new(Version::V5, &self.who.name);
        let other = match self.broker.connect(self.who, &connect).await {
            Ok(connected) => connected.outcome(),
            Err(gap) => Outcome { accepted: false, how: gap.to_string() },
        };
        let (until, opened, mut ended) = (started + self.load.half_open_time, held.len(), 0);
        for connection in &mut held {
            ended += u32::from(is_ended_by(connection, until).await);
        }
        let opened = u32::try_from(opened).unwrap_or(u32::MAX);
        Seen::Known(HalfOpen { opened, ended, held_ms: elapsed_ms(started), other })
    }
}

/// What is said to one PUBLISH.
enum Said {
    Taken,
    /// Because of what it was about.
    NotAllowed(String),
    /// Because of anything else.
    Refused(String),
}

async fn is_ended_by(connection: &mut Connection<'_>, until: Instant) -> bool {
    matches!(timeout_at(until, connection.receive()).await, Ok(Ok(Received::End)))
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
