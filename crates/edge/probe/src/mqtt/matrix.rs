//! Who may do what with which topic: by doing it, and by looking whether it arrives.
//!
//! An acknowledgement proves little: MQTT 3.1.1 has no way to refuse a PUBLISH but the end of the connection, and brokers grant
//! subscriptions on which nothing ever comes. So each operation has a counterpart by the identities at hand.

use futures_util::future::{join, join_all};
use portreeve_assurance::evidence::{
    Seen,
    mqtt::{Cell, MqttAccessMatrix, MqttVersion, Operation},
};
use portreeve_mqtt::{Connect, Packet, PublishHeader, Sender, Will, decode, encode};
use portreeve_types::Qos;

use super::{
    client::{Broker, Client, Connected, Identity, Next, wire},
    enter, subscribe,
};
use crate::Gap;

/// What is written where a filter has a wildcard.
const LEVEL: &str = "portreeve-probe";
/// Packets that are looked at for one that is awaited.
const PACKETS_MAX: u32 = 64;

/// What a policy says of one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Name of one of the identities.
    pub identity: String,
    /// What it does.
    pub operation: Operation,
    /// With which topic or filter.
    pub topic: String,
    /// Whether it may.
    pub is_allowed: bool,
}

/// Tries each wish in both versions.
pub async fn access_matrix(broker: &Broker<'_>, identities: &[Identity], wishes: &[Wish]) -> MqttAccessMatrix {
    let mut cells = Vec::new();
    for version in MqttVersion::ALL {
        for (number, wish) in wishes.iter().enumerate() {
            let trial = Trial { broker, identities, version, mark: format!("{LEVEL} {version:?} {number}") };
            let is_possible = match identities.iter().find(|identity| identity.name == wish.identity) {
                None => Seen::Unknown("there is no test identity of this name".into()),
                Some(actor) => trial.run(actor, wish).await.unwrap_or_else(|gap| Seen::Unknown(gap.to_string())),
            };
            let (identity, topic) = (wish.identity.clone(), wish.topic.clone());
            let (operation, is_declared) = (wish.operation, wish.is_allowed);
            cells.push(Cell { version, identity, operation, topic, is_declared, is_possible });
        }
    }
    MqttAccessMatrix { cells, effort: broker.dialer.effort() }
}

struct Trial<'a> {
    broker: &'a Broker<'a>,
    identities: &'a [Identity],
    version: MqttVersion,
    /// Payload by which a message is known again.
    mark: String,
}

/// What a broker says of a PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Acknowledged; in 3.1.1 that means nothing.
    Taken,
    Refused,
}

impl Trial<'_> {
    async fn run(&self, actor: &Identity, wish: &Wish) -> Result<Seen<bool>, Gap> {
        match wish.operation {
            Operation::Subscribe => self.subscribe(actor, &wish.topic).await,
            Operation::Retain => {
                let is_possible = self.publish(actor, wish.operation, &wish.topic).await;
                // An empty payload takes it back [MQTT-3.3.1-6], seen or not.
                self.speak(actor, &wish.topic, true, "").await?;
                is_possible
            }
            Operation::Publish | Operation::Will => self.publish(actor, wish.operation, &wish.topic).await,
        }
    }

    /// A client id that is the identity's and no other connection's.
    fn connect<'c>(&self, client_id: &'c str) -> Connect<'c> {
        Connect { keep_alive_s: 60, ..Connect::new(wire(self.version), client_id) }
    }

    async fn enter(&self, identity: &Identity, role: &str) -> Result<Client<'_>, Gap> {
        enter(self.broker, identity, &self.connect(&format!("{}:{role}", identity.name))).await
    }

    /// Subscribes, then lets everybody publish what should arrive. Brokers may grant what they then do not deliver: that others, who
    /// listen too, hear it shows that it could have been.
    async fn subscribe(&self, actor: &Identity, filter: &str) -> Result<Seen<bool>, Gap> {
        let mut subscriber = self.enter(actor, "sub").await?;
        if !listen(&mut subscriber, filter).await? {
            return Ok(Seen::Known(false));
        }
        // $SYS speaks by itself.
        let speaks = filter.starts_with("$SYS");
        let topic = topic_of(filter);
        let mut others = Vec::new();
        for identity in self.identities.iter().filter(|identity| !speaks && identity.name != actor.name) {
            let mut other = self.enter(identity, "listen").await?;
            if listen(&mut other, &topic).await? {
                others.push(other);
            }
        }
        let mut was_taken = false;
        for identity in self.identities.iter().filter(|_| !speaks) {
            was_taken |= self.speak(identity, &topic, false, &self.mark).await? == Said::Taken;
        }
        let mark = (!speaks).then_some(self.mark.as_str());
        let (is_heard, others_hear) =
            join(arrives(&mut subscriber, mark), anybody_hears(&mut others, &self.mark)).await;
        Ok(if is_heard? {
            Seen::Known(true)
        } else if others_hear? || was_taken && self.version == MqttVersion::V5 {
            Seen::Known(false)
        } else {
            Seen::Unknown(
                "it is granted, and nothing that anybody here can publish shows whether it means anything".into(),
            )
        })
    }

    /// Lets everybody listen, then publishes, then lets everybody else publish the same, so that it is known who can hear.
    async fn publish(&self, actor: &Identity, operation: Operation, topic: &str) -> Result<Seen<bool>, Gap> {
        let mut listeners = Vec::new();
        for identity in self.identities {
            let mut listener = self.enter(identity, "listen").await?;
            if listen(&mut listener, topic).await? {
                listeners.push(listener);
            }
        }
        let said = match operation {
            Operation::Will => self.leave_will(actor, topic).await?,
            _ => self.speak(actor, topic, operation == Operation::Retain, &self.mark).await?,
        };
        if said == Said::Refused {
            return Ok(Seen::Known(false));
        }
        if anybody_hears(&mut listeners, &self.mark).await? {
            return Ok(Seen::Known(true));
        }
        let control = format!("{} control", self.mark);
        for identity in self.identities.iter().filter(|identity| identity.name != actor.name) {
            self.speak(identity, topic, false, &control).await?;
        }
        if anybody_hears(&mut listeners, &control).await? {
            return Ok(Seen::Known(false));
        }
        // A reason code of success is the broker's word for it (MQTT 5.0 section 3.4.2.1).
        if self.version == MqttVersion::V5 && operation != Operation::Will {
            return Ok(Seen::Known(true));
        }
        Ok(Seen::Unknown("nobody here can hear whether it arrives".into()))
    }

    /// PUBLISH with QoS 1, and what is said to it.
    async fn speak(&self, who: &Identity, topic: &str, retain: bool, payload: &str) -> Result<Said, Gap> {
        let mut client = self.enter(who, "pub").await?;
        let header = PublishHeader { qos: Qos::AtLeastOnce, packet_id: 1, retain, topic, ..PublishHeader::default() };
        let mut out = Vec::new();
        encode::try_publish(&mut out, client.version, &header, payload.as_bytes()).map_err(|error| Gap::odd(&error))?;
        client.send(&out).await?;
        let Next::Packet(packet) = client.next().await? else { return Ok(Said::Refused) };
        match decode(client.version, Sender::Server, &packet) {
            Ok(Packet::PubAck(ack)) if !ack.reason.is_error() => Ok(Said::Taken),
            Ok(Packet::PubAck(_) | Packet::Disconnect(_)) => Ok(Said::Refused),
            Ok(_) => Err(Gap::Odd("something other than PUBACK answers PUBLISH".into())),
            Err(violation) => Err(Gap::Odd(format!("malformed: {}", violation.detail))),
        }
    }

    /// Connects with a will and goes without a word [MQTT-3.1.2-8].
    async fn leave_will(&self, who: &Identity, topic: &str) -> Result<Said, Gap> {
        let client_id = format!("{}:will", who.name);
        let mut connect = self.connect(&client_id);
        connect.will = Some(Will {
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            payload: self.mark.as_bytes(),
            delay_s: 0,
            properties: portreeve_mqtt::MessageProperties::default(),
        });
        match self.broker.connect(who, &connect).await? {
            Connected::Accepted(client, _) => {
                drop(client);
                Ok(Said::Taken)
            }
            Connected::Refused(_) => Ok(Said::Refused),
        }
    }
}

/// Subscribes; whether it is granted.
pub(super) async fn listen(client: &mut Client<'_>, filter: &str) -> Result<bool, Gap> {
    client.send(&subscribe(client.version, filter)?).await?;
    let Next::Packet(packet) = client.next().await? else { return Ok(false) };
    match decode(client.version, Sender::Server, &packet) {
        Ok(Packet::SubAck(suback)) => Ok(suback.reasons.iter().any(|reason| !reason.is_error())),
        Ok(Packet::Disconnect(_)) => Ok(false),
        Ok(_) => Err(Gap::Odd("something other than SUBACK answers SUBSCRIBE".into())),
        Err(violation) => Err(Gap::Odd(format!("malformed: {}", violation.detail))),
    }
}

/// Whether a message with this payload comes to one of them.
async fn anybody_hears(listeners: &mut [Client<'_>], mark: &str) -> Result<bool, Gap> {
    let heard = join_all(listeners.iter_mut().map(|listener| arrives(listener, Some(mark)))).await;
    heard.into_iter().try_fold(false, |any, heard| Ok(any | heard?))
}

/// Whether a message with this payload comes, or any.
async fn arrives(client: &mut Client<'_>, mark: Option<&str>) -> Result<bool, Gap> {
    for _ in 0..PACKETS_MAX {
        let packet = match client.next().await {
            Ok(Next::Packet(packet)) => packet,
            Ok(Next::End(_)) | Err(Gap::Silent(_)) => return Ok(false),
            Err(gap) => return Err(gap),
        };
        match decode(client.version, Sender::Server, &packet) {
            Ok(Packet::Publish(publish)) if mark.is_none_or(|mark| publish.payload == mark.as_bytes()) => {
                return Ok(true);
            }
            Ok(_) => {}
            Err(violation) => return Err(Gap::Odd(format!("malformed: {}", violation.detail))),
        }
    }
    Err(Gap::Odd("too many other messages come".into()))
}

/// A topic that a filter matches.
fn topic_of(filter: &str) -> String {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    let level = |level| if matches!(level, "+" | "#") { LEVEL } else { level };
    filter.split('/').map(level).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_for_each_filter() {
        for (filter, topic) in
            [("a/b", "a/b"), ("#", LEVEL), ("a/+/c", "a/portreeve-probe/c"), ("$share/g/a/#", "a/portreeve-probe")]
        {
            assert_eq!(topic_of(filter), topic);
        }
    }
}
