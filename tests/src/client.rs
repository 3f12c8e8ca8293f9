//! One MQTT connection, spoken byte by byte.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    time::{Duration, Instant},
};

use portreeve_mqtt::{Packet, Publish, Sender, Version, decode};

use crate::{
    hub::{Hub, Identity, PATIENCE, TlsStream},
    wire::{bytes, counted, hex, take_packet},
};

/// MQTT 3.1.1.
pub const V4: Version = Version::V311;
/// MQTT 5.0.
pub const V5: Version = Version::V5;

/// How long silence must last to count as silence.
pub const SILENCE: Duration = Duration::from_millis(250);
/// How soon a connection must be closed that is to be closed at once.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// A connection on which a CONNECT has or has not been sent.
#[derive(Debug)]
pub struct Client {
    stream: TlsStream,
    version: Version,
    buffer: Vec<u8>,
    /// Deliveries that came while something else was awaited.
    deliveries: VecDeque<Message>,
    next_id: u16,
    ended: bool,
    /// Whether the server found a session.
    pub present: bool,
    /// The CONNACK, if a [`Login`] opened this connection.
    pub connack: Vec<u8>,
}

/// A CONNECT to be.
#[derive(Clone, Debug)]
pub struct Login {
    version: Version,
    id: String,
    clean: bool,
    keep_alive_s: u16,
    properties: String,
    will: Option<(u8, String)>,
    credentials: Option<(String, String)>,
}

/// See [`Client::poll`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// A packet.
    Packet(Vec<u8>),
    /// Nothing.
    Quiet,
    /// The end of the connection.
    Ended,
}

/// A delivered PUBLISH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic, possibly empty where an alias stands for it.
    pub topic: String,
    /// Application message.
    pub payload: Vec<u8>,
    /// 0, 1, 2.
    pub qos: u8,
    /// RETAIN flag.
    pub retain: bool,
    /// DUP flag.
    pub dup: bool,
    /// Packet identifier; 0 for QoS 0.
    pub id: u16,
    /// Topic Alias.
    pub alias: Option<u16>,
    /// Message Expiry Interval.
    pub expiry_s: Option<u32>,
    /// Payload Format Indicator.
    pub utf8: Option<bool>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation: Option<Vec<u8>>,
    /// User properties.
    pub user: Vec<(String, String)>,
    /// Subscription Identifiers.
    pub subscription_ids: Vec<u32>,
}

impl Message {
    /// The payload as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a payload of text")
    }
}

impl From<Publish<'_>> for Message {
    fn from(publish: Publish<'_>) -> Self {
        let properties = publish.properties;
        Self {
            topic: publish.topic.into(),
            payload: publish.payload.into(),
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            id: publish.packet_id,
            alias: publish.topic_alias,
            expiry_s: properties.expiry_s,
            utf8: properties.payload_is_utf8,
            content_type: properties.content_type.map(Into::into),
            response_topic: properties.response_topic.map(Into::into),
            correlation: properties.correlation_data.map(Into::into),
            user: properties.user_properties.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            subscription_ids: publish.subscription_ids.to_vec(),
        }
    }
}

impl Login {
    /// A clean start with keep alive 60.
    #[must_use]
    pub fn new(version: Version, id: &str) -> Self {
        Self {
            version,
            id: id.into(),
            clean: true,
            keep_alive_s: 60,
            properties: String::new(),
            will: None,
            credentials: None,
        }
    }

    /// Clean Start or Clean Session 0.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    /// Keep Alive.
    #[must_use]
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    /// Session Expiry Interval in 5.0; in 3.1.1 any value means Clean Session 0.
    #[must_use]
    pub fn expiry(self, seconds: u32) -> Self {
        match self.version {
            Version::V5 => self.properties(&format!("11 {seconds:08x}")),
            Version::V311 => self.resume(),
        }
    }

    /// More properties, in the notation of [`bytes`].
    #[must_use]
    pub fn properties(mut self, notation: &str) -> Self {
        self.properties.push_str(notation);
        self.properties.push(' ');
        self
    }

    /// A will; `properties` are left out in 3.1.1.
    #[must_use]
    pub fn will(mut self, qos: u8, retain: bool, topic: &str, payload: &str, properties: &str) -> Self {
        let block = if self.version == V5 { format!("( {properties} )") } else { String::new() };
        let flags = 4 | qos << 3 | u8::from(retain) << 5;
        self.will = Some((flags, format!("{block} s'{topic}' s'{payload}'")));
        self
    }

    /// User name and password.
    #[must_use]
    pub fn credentials(mut self, name: &str, password: &str) -> Self {
        self.credentials = Some((name.into(), password.into()));
        self
    }

    /// The packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (will_flags, will) = self.will.clone().unwrap_or_default();
        let credentials = self.credentials.as_ref().map(|(name, password)| format!("s'{name}' s'{password}'"));
        let flags = will_flags | u8::from(self.clean) << 1 | if credentials.is_some() { 0xc0 } else { 0 };
        let credentials = credentials.unwrap_or_default();
        let block = if self.version == V5 { format!("( {} )", self.properties) } else { String::new() };
        let level = self.version as u8;
        let keep_alive = self.keep_alive_s;
        bytes(&format!(
            "10 | s'MQTT' {level:02x} {flags:02x} {keep_alive:04x} {block} s'{}' {will} {credentials}",
            self.id
        ))
    }

    /// Connects as the hub's application; CONNACK must say success.
    #[must_use]
    pub fn open(&self, hub: &Hub) -> Client {
        self.open_as(hub, hub.app())
    }

    /// Connects as `identity`; CONNACK must say success.
    #[must_use]
    pub fn open_as(&self, hub: &Hub, identity: &Identity) -> Client {
        self.open_on(hub.dial(identity))
    }

    /// Connects on a finished TLS connection; CONNACK must say success.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn open_on(&self, stream: TlsStream) -> Client {
        let mut client = Client::new(stream, self.version);
        client.send(&self.bytes());
        let connack = client.packet();
        assert_eq!(connack[0], 0x20, "not a CONNACK: {}", hex(&connack));
        assert_eq!(connack[3], 0, "refused: {}", hex(&connack));
        client.present = connack[2] == 1;
        client.connack = connack;
        client
    }

    /// Connects as `identity` and returns the code of the CONNACK that refuses; the connection must then close.
    ///
    /// # Panics
    /// If the answer is no refusal.
    #[must_use]
    pub fn refused_as(&self, hub: &Hub, identity: &Identity) -> u8 {
        let mut client = Client::new(hub.dial(identity), self.version);
        client.send(&self.bytes());
        let connack = client.packet();
        assert_eq!(
            (connack[0], connack[2]),
            (0x20, 0),
            "a CONNACK without a session [MQTT-3.2.2-6]: {}",
            hex(&connack)
        );
        assert_ne!(connack[3], 0, "it was let in");
        client.closed();
        connack[3]
    }
}

impl Client {
    /// A connection that has said nothing yet.
    #[must_use]
    pub fn new(stream: TlsStream, version: Version) -> Self {
        Self {
            stream,
            version,
            buffer: Vec::new(),
            deliveries: VecDeque::new(),
            next_id: 1,
            ended: false,
            present: false,
            connack: Vec::new(),
        }
    }

    /// A clean session of the hub's application.
    #[must_use]
    pub fn connect(hub: &Hub, version: Version, id: &str) -> Self {
        Login::new(version, id).open(hub)
    }

    /// Sends bytes as they are. A peer that has closed is not an error: what it said is still to be read.
    ///
    /// # Panics
    /// If the connection takes nothing in time.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes).and_then(|()| self.stream.flush()) {
            Err(error) if !is_end(&error) => panic!("writing: {error}"),
            _ => {}
        }
    }

    /// Sends packets in the notation of [`bytes`].
    pub fn say(&mut self, notation: &str) {
        self.send(&bytes(notation));
    }

    /// The next packet, or `None` at the end of the connection.
    fn next(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Timeout> {
        loop {
            if let Some(packet) = take_packet_if_any(&mut self.buffer) {
                self.check(&packet);
                return Ok(Some(packet));
            }
            if self.ended || !self.fill(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Every packet of the hub is one that a server may send.
    fn check(&self, packet: &[u8]) {
        // A refusal of another protocol level comes in the words of either version.
        if packet[0] >> 4 != 2 {
            let decoded = decode(self.version, Sender::Server, packet);
            assert!(decoded.is_ok(), "the hub sent {}: {decoded:?}", hex(packet));
        }
    }

    /// Reads more; `false` at the end.
    fn fill(&mut self, deadline: Instant) -> Result<bool, Timeout> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.sock.set_read_timeout(Some(left)).expect("a timeout");
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(length) => self.buffer.extend(&chunk[..length]),
            Err(error) if is_end(&error) => self.ended = true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if Instant::now() >= deadline {
                    return Err(Timeout);
                }
            }
            Err(error) => panic!("reading: {error}"),
        }
        Ok(!self.ended)
    }

    /// What happens in this time, for tests in which the hub may die.
    pub fn poll(&mut self, time: Duration) -> Polled {
        match self.next(Instant::now() + time) {
            Ok(Some(packet)) => Polled::Packet(packet),
            Ok(None) => Polled::Ended,
            Err(Timeout) => Polled::Quiet,
        }
    }

    /// The next packet.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn packet(&mut self) -> Vec<u8> {
        match self.next(Instant::now() + PATIENCE) {
            Ok(Some(packet)) => packet,
            Ok(None) => panic!("the connection was closed without a packet"),
            Err(Timeout) => panic!("no packet came; so far: {}", hex(&self.buffer)),
        }
    }

    /// Expects exactly these packets next.
    ///
    /// # Panics
    /// If something else comes, or nothing.
    pub fn hear(&mut self, notation: &str) {
        let mut expected = bytes(notation);
        while let Some(wanted) = take_packet(&mut expected) {
            let got = self.packet();
            assert_eq!(hex(&got), hex(&wanted), "got (left) is not what was to come (right): {notation}");
        }
        assert!(expected.is_empty(), "half a packet in {notation}");
    }

    /// Expects the end of the connection, at once and without another byte.
    ///
    /// # Panics
    /// If a packet comes, or no end.
    pub fn closed(&mut self) {
        self.closed_within(AT_ONCE);
    }

    /// As [`Client::closed`], in this time.
    ///
    /// # Panics
    /// As [`Client::closed`].
    pub fn closed_within(&mut self, time: Duration) {
        match self.next(Instant::now() + time) {
            Ok(None) => assert!(self.buffer.is_empty(), "ended inside a packet: {}", hex(&self.buffer)),
            Ok(Some(packet)) => panic!("a packet instead of the end: {}", hex(&packet)),
            Err(Timeout) => panic!("still open after {time:?}"),
        }
    }

    /// Expects DISCONNECT with this reason and nothing else in it, and the end.
    pub fn cut(&mut self, reason: u8) {
        self.hear(&format!("e0 | {reason:02x}"));
        self.closed();
    }

    /// Expects to be cut off as its version allows: told why in 5.0, without a word in 3.1.1.
    pub fn cut_off(&mut self, reason: u8) {
        match self.version {
            Version::V5 => self.cut(reason),
            Version::V311 => self.closed(),
        }
    }

    /// Expects to hear nothing for a moment.
    pub fn silent(&mut self) {
        self.silent_for(SILENCE);
    }

    /// Expects to hear nothing for this long.
    ///
    /// # Panics
    /// If something comes.
    pub fn silent_for(&mut self, time: Duration) {
        assert!(self.deliveries.is_empty(), "deliveries that nobody expected: {:?}", self.deliveries);
        match self.next(Instant::now() + time) {
            Err(Timeout) => {}
            Ok(None) => panic!("the connection was closed"),
            Ok(Some(packet)) => panic!("a packet that nobody expected: {}", hex(&packet)),
        }
    }

    /// Expects the connection to live, and nothing to have come before the answer.
    pub fn alive(&mut self) {
        assert!(self.deliveries.is_empty(), "deliveries that nobody expected: {:?}", self.deliveries);
        self.say("c0 |");
        self.hear("d0 |");
    }

    /// A packet identifier that this client has not used.
    pub fn fresh_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// The next packet that is not a delivery; deliveries are kept for [`Client::message`].
    fn answer(&mut self) -> Vec<u8> {
        loop {
            let packet = self.packet();
            match decode(self.version, Sender::Server, &packet) {
                Ok(Packet::Publish(publish)) => self.deliveries.push_back(publish.into()),
                _ => return packet,
            }
        }
    }

    /// Subscribes; the hub must grant this QoS.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let code = self.try_subscribe(filter, qos);
        assert_eq!(code, qos, "SUBACK for {filter}");
    }

    /// Subscribes with these options and returns the code of the SUBACK.
    pub fn try_subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with("", filter, options)
    }

    /// Subscribes with these properties (none in 3.1.1) and options and returns the code of the SUBACK.
    ///
    /// # Panics
    /// If the answer is none to this SUBSCRIBE.
    pub fn subscribe_with(&mut self, properties: &str, filter: &str, options: u8) -> u8 {
        let id = self.fresh_id();
        let block = self.block(properties);
        self.say(&format!("82 | {id:04x} {block} s'{filter}' {options:02x}"));
        let packet = self.answer();
        assert_eq!(
            (packet[0], &packet[2..4]),
            (0x90, &id.to_be_bytes()[..]),
            "a SUBACK [MQTT-3.8.4-2]: {}",
            hex(&packet)
        );
        *packet.last().expect("a code")
    }

    /// Unsubscribes and returns the code of the UNSUBACK, 0 in 3.1.1.
    ///
    /// # Panics
    /// If the answer is none to this UNSUBSCRIBE.
    pub fn unsubscribe(&mut self, filter: &str) -> u8 {
        let id = self.fresh_id();
        let block = self.block("");
        self.say(&format!("a2 | {id:04x} {block} s'{filter}'"));
        let packet = self.answer();
        assert_eq!((packet[0], &packet[2..4]), (0xb0, &id.to_be_bytes()[..]), "an UNSUBACK: {}", hex(&packet));
        if self.version == V5 { *packet.last().expect("a code") } else { 0 }
    }

    fn block(&self, properties: &str) -> String {
        if self.version == V5 { format!("( {properties} )") } else { String::new() }
    }

    /// Publishes and takes part in the whole handshake; the hub must accept.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: u8) {
        self.publish_with(topic, payload.as_bytes(), qos, false, "");
    }

    /// Publishes a retained message.
    pub fn retain(&mut self, topic: &str, payload: &str, qos: u8) {
        self.publish_with(topic, payload.as_bytes(), qos, true, "");
    }

    /// Publishes with all that can be said of a message.
    ///
    /// # Panics
    /// If the hub does not accept it.
    pub fn publish_with(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool, properties: &str) {
        let code = self.try_publish(topic, payload, qos, retain, properties);
        assert!(matches!(code, 0 | 0x10), "PUBLISH to {topic}: {code:02x}");
    }

    /// Publishes and returns the code of the PUBACK or PUBREC; 0 for QoS 0.
    ///
    /// # Panics
    /// If the handshake goes wrong.
    pub fn try_publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool, properties: &str) -> u8 {
        let id = if qos > 0 { self.fresh_id() } else { 0 };
        self.send(&publish_bytes(self.version, topic, payload, qos, retain, id, properties));
        if qos == 0 {
            return 0;
        }
        let ack = self.answer();
        let code = self.check_ack(&ack, if qos == 1 { 0x40 } else { 0x50 }, id);
        if qos == 2 && code < 0x80 {
            self.say(&format!("62 | {id:04x}"));
            let ack = self.answer();
            assert_eq!(self.check_ack(&ack, 0x70, id), 0, "PUBCOMP");
        }
        code
    }

    fn check_ack(&self, packet: &[u8], first: u8, id: u16) -> u8 {
        let is_it = packet[0] == first && packet[2..4] == id.to_be_bytes();
        assert!(is_it, "{first:02x} for {id} was to come, not {}", hex(packet));
        assert!(packet.len() == 4 || self.version == V5, "3.1.1 has no codes: {}", hex(packet));
        packet.get(4).copied().unwrap_or(0)
    }

    /// The next delivery, not acknowledged.
    ///
    /// # Panics
    /// If something else comes, or nothing.
    pub fn message(&mut self) -> Message {
        self.message_within(PATIENCE).unwrap_or_else(|| panic!("no message came"))
    }

    /// The next delivery if one comes in this time.
    ///
    /// # Panics
    /// If something else comes.
    pub fn message_within(&mut self, time: Duration) -> Option<Message> {
        if let Some(message) = self.deliveries.pop_front() {
            return Some(message);
        }
        let packet = match self.next(Instant::now() + time) {
            Ok(Some(packet)) => packet,
            Ok(None) => panic!("the connection was closed instead of a message"),
            Err(Timeout) => return None,
        };
        match decode(self.version, Sender::Server, &packet) {
            Ok(Packet::Publish(publish)) => Some(publish.into()),
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// Says PUBACK for QoS 1; takes part in the whole handshake for QoS 2.
    pub fn acknowledge(&mut self, message: &Message) {
        let id = message.id;
        match message.qos {
            0 => {}
            1 => self.say(&format!("40 | {id:04x}")),
            _ => {
                self.say(&format!("50 | {id:04x}"));
                let packet = self.answer();
                assert_eq!(hex(&packet), hex(&bytes(&format!("62 | {id:04x}"))), "PUBREL [MQTT-4.3.3-5]");
                self.say(&format!("70 | {id:04x}"));
            }
        }
    }

    /// The next delivery, acknowledged.
    pub fn take(&mut self) -> Message {
        let message = self.message();
        self.acknowledge(&message);
        message
    }

    /// The payloads of the next deliveries, acknowledged.
    pub fn take_texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.take().text().to_owned()).collect()
    }

    /// DISCONNECT; the hub must close [MQTT-3.14.4-1].
    pub fn disconnect(mut self) {
        self.say("e0 |");
        self.closed();
    }

    /// DISCONNECT of 5.0 with a reason and properties; the hub must close.
    pub fn disconnect_with(mut self, reason: u8, properties: &str) {
        self.say(&format!("e0 | {reason:02x} ( {properties} )"));
        self.closed();
    }

    /// The connection breaks without a word of MQTT or TLS.
    pub fn vanish(self) {
        // Also a socket that the peer has closed is gone afterwards.
        let _ = self.stream.sock.shutdown(Shutdown::Both);
    }

    /// The connection underneath.
    pub fn stream(&mut self) -> &mut TlsStream {
        &mut self.stream
    }
}

/// A PUBLISH of any length.
#[must_use]
pub fn publish_bytes(
    version: Version,
    topic: &str,
    payload: &[u8],
    qos: u8,
    retain: bool,
    id: u16,
    properties: &str,
) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).expect("a topic of up to 65535 bytes").to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == V5 {
        body.extend(counted(&bytes(properties)));
    }
    body.extend(payload);
    let mut packet = vec![0x30 | qos << 1 | u8::from(retain)];
    packet.extend(counted(&body));
    packet
}

struct Timeout;

/// Like [`take_packet`], which needs two bytes to look at.
fn take_packet_if_any(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    if buffer.len() < 2 { None } else { take_packet(buffer) }
}

/// Every way in which a peer's close is seen: with or without TLS's close_notify, or by a reset.
fn is_end(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}
