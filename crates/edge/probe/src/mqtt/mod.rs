//! MQTT brokers: whom they let in, as whom, and what they make of what they should refuse.

mod client;
mod load;
mod matrix;
mod replay;

use std::time::Duration;

use portreeve_assurance::evidence::{
    Outcome, Seen,
    mqtt::{
        AccessAttempt, MalformedCase, MqttAccess, MqttIdentity, MqttLimits, MqttMalformed, MqttVersion, Twice, With,
    },
};
use portreeve_mqtt::{
    Connect, Packet, Sender, Subscribe, SubscriptionOptions, SubscriptionRequest, Version, decode, encode,
};

pub use client::{Broker, Identity};
pub use load::Load;
pub use matrix::{Wish, access_matrix};
pub use replay::replay;

use client::{Client, Next, Welcome, wire};
pub(crate) use client::{Connected, seen};

use crate::Gap;

/// Clients that nobody has.
const STRANGER: &str = "portreeve-probe";
/// How often a broker is asked whether it serves us again.
const RECOVERY_TRIES_MAX: u32 = 5;
/// How long it has for that each time.
const RECOVERY_WAIT: Duration = Duration::from_secs(1);
const ALL_SYS: &str = "$SYS/#";

/// Asks to be let in without a certificate: with nothing, and with a user name and password that nobody has.
pub async fn access(broker: &Broker<'_>) -> MqttAccess {
    let mut attempts = Vec::new();
    for version in MqttVersion::ALL {
        for with in [With::Nothing, With::Password] {
            let mut connect = Connect::new(wire(version), STRANGER);
            if with == With::Password {
                (connect.username, connect.password) = (Some(STRANGER), Some(STRANGER.as_bytes()));
            }
            let connected = broker.connect(&Identity::nobody(STRANGER), &connect).await;
            let outcome = seen(connected.map(|connected| connected.outcome()));
            attempts.push(AccessAttempt { version, with, outcome });
        }
    }
    MqttAccess { is_tls: broker.tls.is_some(), attempts, effort: broker.dialer.effort() }
}

/// Connects with one certificate as itself, as somebody else, and twice.
pub async fn identity(broker: &Broker<'_>, own: &Identity, foreign_client_id: &str) -> MqttIdentity {
    let connect = |client_id| async move { broker.connect(own, &Connect::new(Version::V5, client_id)).await };
    let foreign = seen(connect(foreign_client_id).await.map(|connected| connected.outcome()));
    let (first, twice) = match connect(&own.name).await {
        Ok(Connected::Accepted(client, _)) => {
            let twice = seen(second(client, connect(&own.name).await).await);
            (Seen::Known(Outcome { accepted: true, how: String::new() }), twice)
        }
        Ok(refused) => (Seen::Known(refused.outcome()), Seen::NotTried),
        Err(gap) => (Seen::Unknown(gap.to_string()), Seen::NotTried),
    };
    MqttIdentity { own: first, foreign, twice, effort: broker.dialer.effort() }
}

async fn second(mut first: Client<'_>, second: Result<Connected<'_>, Gap>) -> Result<Twice, Gap> {
    let Connected::Accepted(..) = second? else { return Ok(Twice::SecondRefused) };
    match first.next().await {
        // DISCONNECT, session taken over, or just the end.
        Ok(Next::End(_)) => Ok(Twice::FirstEnded),
        Ok(Next::Packet(packet)) if packet[0] == 0xe0 => Ok(Twice::FirstEnded),
        Ok(Next::Packet(_)) => Err(Gap::Odd("the first connection got something else".into())),
        Err(Gap::Silent(_)) => Ok(Twice::Both),
        Err(gap) => Err(gap),
    }
}

/// Packets that both versions forbid; their names say why.
const MALFORMED: [(&str, &[u8]); 8] = [
    ("packet type 0", b"\x00\x00"),
    ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01"),
    ("PUBLISH with QoS 3", b"\x36\x06\x00\x01a\x00\x01\x00"),
    ("SUBSCRIBE with reserved bits", b"\x80\x07\x00\x01\x00\x00\x01a\x00"),
    ("PUBLISH to a wildcard", b"\x30\x04\x00\x01#\x00"),
    ("PUBLISH to a topic that is not UTF-8", b"\x30\x05\x00\x02\xc3\x28\x00"),
    ("a topic that is longer than its packet", b"\x30\x03\x00\xff\x61"),
    ("SUBSCRIBE without a filter", b"\x82\x03\x00\x01\x00"),
];

/// Sends malformed packets, each on a connection of its own: after CONNECT, where an identity is let in, else as the first packet.
pub async fn malformed(broker: &Broker<'_>, identity: Option<&Identity>) -> MqttMalformed {
    let nobody = Identity::nobody(STRANGER);
    let who = identity.unwrap_or(&nobody);
    let before = baseline(broker, who).await;
    let is_inside = identity.is_some() && matches!(&before, Ok(Outcome { accepted: true, .. }));
    let mut cases = Vec::new();
    for (name, bytes) in MALFORMED {
        let outcome = seen(malformed_case(broker, who, is_inside, bytes).await);
        cases.push(MalformedCase { name: name.to_owned(), outcome });
    }
    let is_alive = is_alive(broker, who, &before).await;
    MqttMalformed { is_inside, cases, is_alive, effort: broker.dialer.effort() }
}

/// What a good CONNECT gets.
async fn baseline(broker: &Broker<'_>, who: &Identity) -> Result<Outcome, Gap> {
    broker.connect(who, &Connect::new(Version::V5, &who.name)).await.map(|connected| connected.outcome())
}

async fn is_alive(broker: &Broker<'_>, who: &Identity, before: &Result<Outcome, Gap>) -> Seen<bool> {
    match (before, baseline(broker, who).await) {
        (Ok(before), Ok(after)) => Seen::Known(*before == after),
        (Ok(_), Err(Gap::Unreachable(_) | Gap::Silent(_))) => Seen::Known(false),
        (Err(gap), _) => Seen::Unknown(gap.to_string()),
        (_, Err(gap)) => Seen::Unknown(gap.to_string()),
    }
}

async fn malformed_case(broker: &Broker<'_>, who: &Identity, is_inside: bool, bytes: &[u8]) -> Result<Outcome, Gap> {
    let mut client = if is_inside {
        match broker.connect(who, &Connect::new(Version::V5, &who.name)).await? {
            Connected::Accepted(client, _) => client,
            Connected::Refused(how) => return Err(Gap::Odd(format!("not let in this time: {how}"))),
        }
    } else {
        match broker.open(who, MqttVersion::V5).await? {
            Ok(client) => client,
            Err(how) => return Ok(Outcome { accepted: false, how }),
        }
    };
    client.send(bytes).await?;
    is_ended(&mut client).await
}

/// Whether the broker ends the connection now.
async fn is_ended(client: &mut Client<'_>) -> Result<Outcome, Gap> {
    match client.next().await {
        Ok(Next::End(how)) => Ok(Outcome { accepted: false, how }),
        Ok(Next::Packet(packet)) => Ok(match decode(client.version, Sender::Server, &packet) {
            Ok(Packet::Disconnect(disconnect)) => {
                Outcome { accepted: false, how: format!("DISCONNECT {}", disconnect.reason) }
            }
            Ok(Packet::ConnAck(connack)) if connack.reason.is_error() => {
                Outcome { accepted: false, how: format!("CONNACK {}", connack.reason) }
            }
            _ => Outcome { accepted: true, how: "and answered".into() },
        }),
        Err(Gap::Silent(_)) => Ok(Outcome { accepted: true, how: "without a word".into() }),
        Err(gap) => Err(gap),
    }
}

/// A connection that is kept, to see whether somebody ends it.
pub struct Held<'a>(Client<'a>);

impl std::fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// Connects, and stays.
///
/// # Errors
/// Why it is not let in.
pub async fn hold<'a>(broker: &Broker<'a>, who: &Identity) -> Result<Held<'a>, Gap> {
    Ok(Held(enter(broker, who, &Connect::new(Version::V5, &who.name)).await?))
}

impl Held<'_> {
    /// What has become of it; `accepted`, if it is still open.
    pub async fn look(mut self) -> Seen<Outcome> {
        seen(is_ended(&mut self.0).await)
    }
}

/// What a client that is let in may ask for, and how much it may do at once.
pub async fn limits(broker: &Broker<'_>, who: &Identity, load: &Load) -> MqttLimits {
    let before = baseline(broker, who).await;
    let greedy = Connect { keep_alive_s: u16::MAX, ..Connect::new(Version::V5, &who.name) };
    let welcome = seen(match broker.connect(who, &greedy).await {
        Ok(Connected::Accepted(_, welcome)) => Ok(welcome),
        Ok(Connected::Refused(how)) => Err(Gap::Odd(format!("not let in: {how}"))),
        Err(gap) => Err(gap),
    });
    let (oversize, sys) = (seen(oversize(broker, who).await), seen(sys(broker, who).await));
    let receive_maximum = map(&welcome, |welcome| welcome.receive_maximum.unwrap_or(u16::MAX));
    let topic_alias_maximum = map(&welcome, |welcome| welcome.topic_alias_maximum.unwrap_or(0));
    let trial = load::Trial { broker, who, load };
    let in_flight = trial.in_flight(&receive_maximum).await;
    let topic_alias = trial.topic_alias(&topic_alias_maximum).await;
    let (publishes, half_open) = (trial.publishes(&receive_maximum).await, trial.half_open().await);
    // Last, because it makes a broker that counts refuse us for a while. That is no sign of death.
    let connections = trial.connections().await;
    let mut is_alive = is_alive(broker, who, &before).await;
    for _ in 0..RECOVERY_TRIES_MAX {
        if is_alive.is_true() || connections.known().is_none() {
            break;
        }
        tokio::time::sleep(RECOVERY_WAIT).await;
        is_alive = self::is_alive(broker, who, &before).await;
    }
    MqttLimits {
        packet_bytes_max: map(&welcome, |welcome| welcome.packet_bytes_max),
        receive_maximum,
        topic_alias_maximum,
        server_keep_alive_s: map(&welcome, |welcome| welcome.server_keep_alive_s),
        oversize,
        sys,
        in_flight,
        topic_alias,
        publishes,
        connections,
        half_open,
        is_alive,
        effort: broker.dialer.effort(),
    }
}

fn map<T>(welcome: &Seen<Box<Welcome>>, part: impl FnOnce(&Welcome) -> T) -> Seen<T> {
    match welcome {
        Seen::Known(welcome) => Seen::Known(part(welcome)),
        Seen::Unknown(why) => Seen::Unknown(why.clone()),
        Seen::NotTried => Seen::NotTried,
    }
}

pub(crate) async fn enter<'a>(broker: &Broker<'a>, who: &Identity, connect: &Connect<'_>) -> Result<Client<'a>, Gap> {
    match broker.connect(who, connect).await? {
        Connected::Accepted(client, _) => Ok(client),
        Connected::Refused(how) => Err(Gap::Odd(format!("not let in: {how}"))),
    }
}

/// The start of a PUBLISH of 268,435,455 bytes.
async fn oversize(broker: &Broker<'_>, who: &Identity) -> Result<Outcome, Gap> {
    let mut client = enter(broker, who, &Connect::new(Version::V5, &who.name)).await?;
    client.send(b"\x30\xff\xff\xff\x7f\x00\x01a\x00").await?;
    is_ended(&mut client).await
}

/// Whether anything of `$SYS` arrives.
async fn sys(broker: &Broker<'_>, who: &Identity) -> Result<Outcome, Gap> {
    let mut client = enter(broker, who, &Connect::new(Version::V5, &who.name)).await?;
    client.send(&subscribe(client.version, ALL_SYS)?).await?;
    loop {
        let packet = match client.next().await {
            Ok(Next::Packet(packet)) => packet,
            Ok(Next::End(how)) => return Ok(Outcome { accepted: false, how }),
            Err(Gap::Silent(_)) => return Ok(Outcome { accepted: false, how: "nothing arrives".into() }),
            Err(gap) => return Err(gap),
        };
        match decode(client.version, Sender::Server, &packet) {
            Ok(Packet::Publish(publish)) => {
                let topic = portreeve_assurance::evidence::printable(publish.topic.as_bytes());
                return Ok(Outcome { accepted: true, how: format!("and {topic} arrived") });
            }
            Ok(Packet::SubAck(suback)) if suback.reasons.iter().all(|reason| reason.is_error()) => {
                let how = suback.reasons.first().map_or_else(String::new, ToString::to_string);
                return Ok(Outcome { accepted: false, how: format!("SUBACK {how}") });
            }
            Ok(Packet::Disconnect(disconnect)) => {
                return Ok(Outcome { accepted: false, how: format!("DISCONNECT {}", disconnect.reason) });
            }
            Ok(_) => {}
            Err(violation) => return Err(Gap::Odd(format!("malformed: {}", violation.detail))),
        }
    }
}

/// SUBSCRIBE to one filter, with QoS 0 and packet identifier 1.
pub(crate) fn subscribe(version: Version, filter: &str) -> Result<Vec<u8>, Gap> {
    let requests = vec![SubscriptionRequest { filter, options: SubscriptionOptions::default() }];
    let mut out = Vec::new();
    encode::subscribe(&mut out, version, &Subscribe { packet_id: 1, subscription_id: None, requests })
        .map_err(|error| Gap::odd(&error))?;
    Ok(out)
}
