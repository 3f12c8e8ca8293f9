//! The client's end of one MQTT connection, without the socket: bytes in, events out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use portreeve_mqtt::{
    Ack, AckKind, ConnAck, Connect, Disconnect, EncodeError, Packet, Publish, PublishHeader, Reason, Sender, Subscribe,
    SubscriptionOptions, SubscriptionRequest, Version, decode, encode, frame,
};
use portreeve_types::Qos;
use serde_json::{Map, Value, json};

/// Largest packet that is taken from the hub.
const PACKET_BYTES_MAX: u32 = 64 << 20;
/// The packet identifier of the one SUBSCRIBE; publications take the others.
const SUBSCRIBE_ID: u16 = 1;

/// What the hub did.
#[derive(Debug)]
pub(crate) enum Event {
    /// CONNACK.
    Connected(Answer),
    /// SUBACK.
    Subscribed(Vec<Reason>),
    /// The hub has answered one of our publications for good.
    Published(Reason),
    /// A message arrived.
    Message(Message),
    /// DISCONNECT.
    Disconnected(Reason, Option<String>),
}

/// What CONNACK says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reason: Reason,
    pub(crate) why: Option<String>,
    /// Whether the session, with its subscriptions, was kept.
    pub(crate) present: bool,
    /// When a hub that is busy wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

/// A message for us, with what came with it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// Everything, for programs.
    pub(crate) json: Value,
}

/// How to connect.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) keep_alive_s: u16,
    /// `None` for a session that ends with the connection.
    pub(crate) keep_session_s: Option<u32>,
    /// QoS 2 messages of an earlier connection to the same session that were taken and not yet released.
    pub(crate) taken: BTreeSet<u16>,
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct Protocol {
    version: Version,
    input: Vec<u8>,
    /// What is to be written to the socket.
    pub(crate) output: Vec<u8>,
    /// Seconds between packets that the hub asks for.
    pub(crate) keep_alive_s: u16,
    window: usize,
    next_id: u16,
    in_flight: BTreeMap<u16, Qos>,
    /// QoS 2 messages that were taken and not yet released.
    pub(crate) taken: BTreeSet<u16>,
}

impl Protocol {
    pub(crate) fn connect(version: Version, options: Options<'_>) -> Result<Self, EncodeError> {
        let connect = Connect {
            clean_start: options.keep_session_s.is_none(),
            keep_alive_s: options.keep_alive_s,
            session_expiry_s: options.keep_session_s,
            maximum_packet_bytes: Some(PACKET_BYTES_MAX),
            ..Connect::new(version, options.client_id)
        };
        let mut output = Vec::new();
        encode::connect(&mut output, &connect)?;
        Ok(Self {
            version,
            input: Vec::new(),
            output,
            keep_alive_s: options.keep_alive_s,
            window: usize::from(u16::MAX) - 1,
            next_id: SUBSCRIBE_ID,
            in_flight: BTreeMap::new(),
            taken: options.taken,
        })
    }

    pub(crate) fn subscribe(&mut self, filters: &[String], qos: Qos) -> Result<(), EncodeError> {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let requests = filters.iter().map(|filter| SubscriptionRequest { filter, options }).collect();
        let subscribe = Subscribe { packet_id: SUBSCRIBE_ID, subscription_id: None, requests };
        encode::subscribe(&mut self.output, self.version, &subscribe)
    }

    /// Whether the hub takes another publication now.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < self.window
    }

    /// Publications that the hub has not answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn publish(&mut self, header: &PublishHeader<'_>, payload: &[u8]) -> Result<(), EncodeError> {
        let packet_id = if header.qos == Qos::AtMostOnce { 0 } else { self.free_id() };
        encode::try_publish(&mut self.output, self.version, &PublishHeader { packet_id, ..*header }, payload)?;
        if packet_id != 0 {
            self.in_flight.insert(packet_id, header.qos);
        }
        Ok(())
    }

    /// One that is not in use; there are more of them than the window is wide.
    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(SUBSCRIBE_ID + 1);
            if !self.in_flight.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }

    pub(crate) fn ping(&mut self) {
        encode::pingreq(&mut self.output);
    }

    pub(crate) fn disconnect(&mut self) {
        encode::disconnect(&mut self.output, self.version, &Disconnect::default());
    }

    /// Takes what the hub sent.
    ///
    /// # Errors
    /// How it broke the protocol.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Event>, String> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        let mut events = Vec::new();
        while let Some(length) = frame(rest, PACKET_BYTES_MAX).map_err(|violation| violation.detail.to_owned())? {
            let (packet, behind) = rest.split_at(length);
            let packet =
                decode(self.version, Sender::Server, packet).map_err(|violation| violation.detail.to_owned())?;
            events.extend(self.take(&packet)?);
            rest = behind;
        }
        self.input = rest.to_vec();
        Ok(events)
    }

    fn take(&mut self, packet: &Packet<'_>) -> Result<Option<Event>, String> {
        Ok(match packet {
            Packet::ConnAck(answer) => Some(self.connected(answer)),
            Packet::SubAck(answer) => Some(Event::Subscribed(answer.reasons.clone())),
            Packet::PubAck(ack) => self.answered(ack),
            Packet::PubRec(ack) if ack.reason.is_error() => self.answered(ack),
            Packet::PubRec(ack) => {
                self.acknowledge(AckKind::PubRel, ack.packet_id);
                None
            }
            Packet::PubComp(ack) => self.answered(ack),
            Packet::PubRel(ack) => {
                self.taken.remove(&ack.packet_id);
                self.acknowledge(AckKind::PubComp, ack.packet_id);
                None
            }
            Packet::Publish(publish) => self.message(publish),
            Packet::Disconnect(end) => Some(Event::Disconnected(end.reason, end.reason_string.map(str::to_owned))),
            Packet::PingResp | Packet::UnsubAck(_) => None,
            _ => return Err("the hub sent a packet that only a client sends".into()),
        })
    }

    fn connected(&mut self, answer: &ConnAck<'_>) -> Event {
        self.window = self.window.min(answer.receive_maximum.unwrap_or(u16::MAX).into());
        self.keep_alive_s = answer.server_keep_alive_s.unwrap_or(self.keep_alive_s);
        if !answer.session_present {
            self.taken.clear();
        }
        Event::Connected(Answer {
            reason: answer.reason,
            why: answer.reason_string.map(str::to_owned),
            present: answer.session_present,
            retry_after: answer.retry_after_ms().map(Duration::from_millis),
        })
    }

    fn answered(&mut self, ack: &Ack<'_>) -> Option<Event> {
        self.in_flight.remove(&ack.packet_id).map(|_| Event::Published(ack.reason))
    }

    fn acknowledge(&mut self, kind: AckKind, packet_id: u16) {
        encode::ack(&mut self.output, self.version, kind, packet_id, Reason::SUCCESS, None);
    }

    /// QoS 2 messages are shown once, when they come first [MQTT-4.3.3-10].
    fn message(&mut self, publish: &Publish<'_>) -> Option<Event> {
        let fresh = match publish.qos {
            Qos::AtMostOnce => true,
            Qos::AtLeastOnce => {
                self.acknowledge(AckKind::PubAck, publish.packet_id);
                true
            }
            Qos::ExactlyOnce => {
                self.acknowledge(AckKind::PubRec, publish.packet_id);
                self.taken.insert(publish.packet_id)
            }
        };
        fresh.then(|| {
            Event::Message(Message {
                topic: publish.topic.to_owned(),
                payload: publish.payload.to_owned(),
                json: describe(publish),
            })
        })
    }
}

fn describe(publish: &Publish<'_>) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.into(), value);
        }
    };
    let properties = &publish.properties;
    put("topic", json!(publish.topic));
    match std::str::from_utf8(publish.payload) {
        Ok(text) => put("payload", json!(text)),
        Err(_) => put("payload_hex", json!(hex::encode(publish.payload))),
    }
    put("qos", json!(publish.qos as u8));
    put("retain", json!(publish.retain));
    put("dup", json!(publish.dup));
    put("expiry_s", json!(properties.expiry_s));
    put("content_type", json!(properties.content_type));
    put("response_topic", json!(properties.response_topic));
    put("correlation_hex", json!(properties.correlation_data.map(hex::encode)));
    let pairs: Vec<_> = properties.user_properties.iter().collect();
    put("user_properties", if pairs.is_empty() { Value::Null } else { json!(pairs) });
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use portreeve_mqtt::SubAck;

    use super::*;

    fn client(version: Version) -> Protocol {
        let options = Options { client_id: "c", keep_alive_s: 60, keep_session_s: None, taken: BTreeSet::new() };
        let mut client = Protocol::connect(version, options).unwrap();
        client.output.clear();
        client
    }

    fn packet(version: Version, packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::any(&mut bytes, version, packet).unwrap();
        bytes
    }

    fn publish(qos: Qos, dup: bool) -> Packet<'static> {
        Packet::Publish(Publish {
            dup,
            qos,
            retain: false,
            topic: "t",
            packet_id: if qos == Qos::AtMostOnce { 0 } else { 7 },
            topic_alias: None,
            properties: Default::default(),
            subscription_ids: Default::default(),
            payload: b"\xff",
        })
    }

    fn ack(packet_id: u16, reason: Reason) -> Ack<'static> {
        Ack { packet_id, reason, reason_string: None }
    }

    fn events(client: &mut Protocol, server: &Packet<'_>) -> Vec<Event> {
        let bytes = packet(client.version, server);
        client.receive(&bytes).unwrap()
    }

    #[test]
    fn a_qos_2_message_is_shown_once_however_often_it_is_sent() {
        for version in [Version::V311, Version::V5] {
            let mut client = client(version);
            let first = events(&mut client, &publish(Qos::ExactlyOnce, false));
            assert!(
                matches!(&first[..], [Event::Message(message)] if message.json["payload_hex"] == "ff"),
                "{first:?}"
            );
            assert!(events(&mut client, &publish(Qos::ExactlyOnce, true)).is_empty());
            assert!(events(&mut client, &Packet::PubRel(ack(7, Reason::SUCCESS))).is_empty());
            assert_eq!(
                events(&mut client, &publish(Qos::ExactlyOnce, false)).len(),
                1,
                "after the release it is a new one"
            );
        }
    }

    /// The connection broke between PUBREC and PUBREL: a kept session goes on where it was, another begins anew.
    #[test]
    fn a_qos_2_message_is_shown_once_over_connections_to_one_session() {
        for present in [true, false] {
            let mut old = client(Version::V5);
            events(&mut old, &publish(Qos::ExactlyOnce, false));
            let options = Options { client_id: "c", keep_alive_s: 60, keep_session_s: Some(60), taken: old.taken };
            let mut client = Protocol::connect(Version::V5, options).unwrap();
            let connack = ConnAck { session_present: present, ..ConnAck::default() };
            let connected = events(&mut client, &Packet::ConnAck(connack));
            assert!(matches!(&connected[..], [Event::Connected(answer)] if answer.present == present));
            assert_eq!(events(&mut client, &publish(Qos::ExactlyOnce, true)).is_empty(), present);
        }
    }

    #[test]
    fn a_busy_hub_says_when_to_come_again() {
        let told = |value| {
            let connack = ConnAck {
                reason: Reason::SERVER_BUSY,
                user_properties: vec![("other", "1"), ("retry-after-ms", value)],
                ..ConnAck::default()
            };
            let Event::Connected(answer) = events(&mut client(Version::V5), &Packet::ConnAck(connack)).remove(0) else {
                panic!("no CONNACK")
            };
            answer.retry_after
        };
        assert_eq!(told("1500"), Some(Duration::from_millis(1500)));
        assert_eq!((told("soon"), told("-1")), (None, None));
    }

    #[test]
    fn our_publications_are_answered_once_each() {
        let mut client = client(Version::V5);
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            client.publish(&PublishHeader { qos, topic: "t", ..PublishHeader::default() }, b"x").unwrap();
        }
        assert_eq!(client.unanswered(), 2);
        let refused = events(&mut client, &Packet::PubAck(ack(2, Reason::NOT_AUTHORIZED)));
        assert!(matches!(refused[..], [Event::Published(Reason::NOT_AUTHORIZED)]));
        client.output.clear();
        assert!(events(&mut client, &Packet::PubRec(ack(3, Reason::SUCCESS))).is_empty());
        assert_eq!(client.output, packet(Version::V5, &Packet::PubRel(ack(3, Reason::SUCCESS))));
        assert_eq!(events(&mut client, &Packet::PubComp(ack(3, Reason::SUCCESS))).len(), 1);
        assert_eq!(client.unanswered(), 0);
        assert!(events(&mut client, &Packet::PubComp(ack(3, Reason::SUCCESS))).is_empty());
    }

    #[test]
    fn the_hubs_window_is_respected() {
        let mut client = client(Version::V5);
        events(&mut client, &Packet::ConnAck(ConnAck { receive_maximum: Some(1), ..ConnAck::default() }));
        assert!(client.has_room());
        let header = PublishHeader { qos: Qos::AtLeastOnce, topic: "t", ..PublishHeader::default() };
        client.publish(&header, b"").unwrap();
        assert!(!client.has_room());
    }

    #[test]
    fn packets_arrive_in_pieces_and_together() {
        let mut client = client(Version::V5);
        let suback = SubAck { packet_id: 1, reasons: vec![Reason::GRANTED_QOS_1], reason_string: None };
        let mut bytes = packet(Version::V5, &Packet::SubAck(suback));
        bytes.extend(packet(Version::V5, &publish(Qos::AtMostOnce, false)));
        let last = bytes.pop().unwrap();
        assert_eq!(client.receive(&bytes).unwrap().len(), 1);
        assert_eq!(client.receive(&[last]).unwrap().len(), 1);
    }

    #[test]
    fn a_hub_that_breaks_the_protocol_is_left() {
        assert!(client(Version::V5).receive(&[0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(client(Version::V5).receive(&[0xc0, 0]).is_err(), "PINGREQ is the client's");
    }
}
