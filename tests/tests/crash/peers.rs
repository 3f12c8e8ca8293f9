//! Clients that keep their half of the session state while the hub dies under them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use portreeve_mqtt::{Packet, Sender, Version, decode};
use portreeve_tests::{
    Client, Hub, Login, V5,
    client::{Polled, publish_bytes},
};

/// Messages on their way at once. The hub allows 20.
const WINDOW: usize = 12;
/// DISCONNECT: the hub stops in order.
const GOODBYE: u8 = 0xe0;
const POLL: Duration = Duration::from_millis(50);

fn login(version: Version, id: &str) -> Login {
    Login::new(version, id).expiry(3600).resume()
}

/// Connects anew; from the second time on the hub must know the session [MQTT-3.2.2-3].
pub(crate) fn connect(hub: &Hub, version: Version, id: &str, known: bool) -> Client {
    let client = login(version, id).open(hub);
    assert_eq!(client.present, known, "{id}: session present");
    client
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    /// PUBREC came: from now on only PUBREL may be sent.
    Released,
}

/// Publishes numbers to a topic, with QoS 1 and 2 in turn.
pub(crate) struct Publisher {
    pub(crate) version: Version,
    pub(crate) id: String,
    pub(crate) topic: String,
    retained: bool,
    next: u16,
    in_flight: BTreeMap<u16, Stage>,
    /// What the hub said it has taken.
    pub(crate) confirmed: BTreeSet<u16>,
}

impl Publisher {
    pub(crate) fn new(version: Version, id: &str, topic: &str, retained: bool) -> Self {
        let (id, topic) = (id.to_owned(), topic.to_owned());
        Self { version, id, topic, retained, next: 1, in_flight: BTreeMap::new(), confirmed: BTreeSet::new() }
    }

    /// The number is the packet identifier too; a test is over long before they run out.
    pub(crate) fn sent(&self) -> u16 {
        self.next - 1
    }

    pub(crate) fn qos(&self, number: u16) -> u8 {
        if self.retained { 1 } else { 1 + u8::from(number.is_multiple_of(2)) }
    }

    fn send(&self, client: &mut Client, number: u16, again: bool) {
        let payload = format!("{} {number}", self.topic);
        let (qos, retained) = (self.qos(number), self.retained);
        let mut packet = publish_bytes(self.version, &self.topic, payload.as_bytes(), qos, retained, number, "");
        packet[0] |= u8::from(again) << 3;
        client.send(&packet);
    }

    /// Goes on where the last connection ended, until this one does; once `finish` is set, until nothing is open.
    pub(crate) fn run(&mut self, mut client: Client, finish: &AtomicBool) {
        for (&number, &stage) in &self.in_flight {
            match stage {
                Stage::Sent => self.send(&mut client, number, true),
                Stage::Released => client.say(&format!("62 | {number:04x}")),
            }
        }
        loop {
            while self.in_flight.len() < WINDOW && !finish.load(Relaxed) {
                self.send(&mut client, self.next, false);
                self.in_flight.insert(self.next, Stage::Sent);
                self.next = self.next.checked_add(1).expect("fewer messages than identifiers");
            }
            if self.in_flight.is_empty() {
                return client.disconnect();
            }
            match client.poll(POLL) {
                Polled::Packet(packet) if packet[0] == GOODBYE => return,
                Polled::Packet(packet) => self.take(&mut client, &packet),
                Polled::Quiet => {}
                Polled::Ended => return,
            }
        }
    }

    fn take(&mut self, client: &mut Client, packet: &[u8]) {
        match decode(self.version, Sender::Server, packet) {
            Ok(Packet::PubAck(ack)) if !ack.reason.is_error() => {
                self.in_flight.remove(&ack.packet_id);
                self.confirmed.insert(ack.packet_id);
            }
            Ok(Packet::PubRec(ack)) if !ack.reason.is_error() => {
                self.in_flight.insert(ack.packet_id, Stage::Released);
                client.say(&format!("62 | {:04x}", ack.packet_id));
            }
            Ok(Packet::PubComp(ack)) if !ack.reason.is_error() => {
                self.in_flight.remove(&ack.packet_id);
                self.confirmed.insert(ack.packet_id);
            }
            other => panic!("{}: {other:?}", self.id),
        }
    }
}

/// Collects what comes; QoS 2 with a receiver's memory of identifiers (§4.3.3, method A or B alike).
pub(crate) struct Receiver {
    pub(crate) version: Version,
    pub(crate) id: String,
    unreleased: BTreeSet<u16>,
    /// By topic, in the order of the first time: the number, and how often it was delivered.
    pub(crate) got: HashMap<String, Vec<u16>>,
    pub(crate) deliveries: usize,
}

impl Receiver {
    pub(crate) fn new(version: Version, id: &str) -> Self {
        Self { version, id: id.into(), unreleased: BTreeSet::new(), got: HashMap::new(), deliveries: 0 }
    }

    /// Until the connection ends or nothing has come for `idle`.
    pub(crate) fn run(&mut self, mut client: Client, idle: Duration) {
        loop {
            match client.poll(idle) {
                Polled::Packet(packet) if packet[0] == GOODBYE => return,
                Polled::Packet(packet) => self.take(&mut client, &packet),
                Polled::Quiet | Polled::Ended => return,
            }
        }
    }

    fn take(&mut self, client: &mut Client, packet: &[u8]) {
        match decode(self.version, Sender::Server, packet) {
            Ok(Packet::Publish(publish)) => {
                let id = publish.packet_id;
                let is_new = match publish.qos as u8 {
                    2 => self.unreleased.insert(id),
                    _ => true,
                };
                if is_new {
                    let text = std::str::from_utf8(publish.payload).unwrap();
                    let number = text.rsplit(' ').next().and_then(|number| number.parse().ok());
                    self.got.entry(publish.topic.into()).or_default().push(number.expect(text));
                    self.deliveries += 1;
                }
                let reply = if publish.qos as u8 == 2 { "50" } else { "40" };
                client.say(&format!("{reply} | {id:04x}"));
            }
            Ok(Packet::PubRel(ack)) => {
                self.unreleased.remove(&ack.packet_id);
                client.say(&format!("70 | {:04x}", ack.packet_id));
            }
            other => panic!("{}: {other:?}", self.id),
        }
    }

    /// Nothing that was confirmed is missing, QoS 2 is there exactly once and in order.
    pub(crate) fn check(&self, publisher: &Publisher) {
        let got = self.got.get(&publisher.topic).map_or(&[][..], Vec::as_slice);
        let mut times: HashMap<u16, usize> = HashMap::new();
        got.iter().for_each(|number| *times.entry(*number).or_default() += 1);
        let who = format!("{} from {}", self.id, publisher.id);
        let missing: Vec<_> = publisher.confirmed.iter().filter(|number| !times.contains_key(number)).collect();
        assert!(missing.is_empty(), "{who}: {} confirmed messages are missing: {missing:?}", missing.len());
        let twice: Vec<_> = times.iter().filter(|&(&number, &count)| publisher.qos(number) == 2 && count > 1).collect();
        assert!(twice.is_empty(), "{who}: QoS 2 more than once (number, times): {twice:?}");
        let exactly_once: Vec<_> = got.iter().filter(|&&number| publisher.qos(number) == 2).collect();
        assert!(exactly_once.is_sorted(), "{who}: out of order: {exactly_once:?}");
    }
}

/// Subscribes to a topic after the other and takes every second one back, as fast as the hub answers.
pub(crate) struct Collector {
    pub(crate) id: String,
    next: u16,
    /// SUBACK came, and no UNSUBSCRIBE went out.
    pub(crate) subscribed: BTreeSet<u16>,
    /// UNSUBACK came.
    pub(crate) unsubscribed: BTreeSet<u16>,
}

impl Collector {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.into(), next: 1, subscribed: BTreeSet::new(), unsubscribed: BTreeSet::new() }
    }

    pub(crate) fn topic(&self, number: u16) -> String {
        format!("{}/{number}", self.id)
    }

    /// At most `count` more subscriptions.
    pub(crate) fn run(&mut self, mut client: Client, count: u16) {
        for _ in 0..count {
            let number = self.next;
            self.next += 1;
            let topic = self.topic(number);
            client.say(&format!("82 | {number:04x} ( ) s'{topic}' 01"));
            if !answered(&mut client, 0x90) {
                return;
            }
            if !number.is_multiple_of(2) {
                self.subscribed.insert(number);
                continue;
            }
            client.say(&format!("a2 | {number:04x} ( ) s'{topic}'"));
            if !answered(&mut client, 0xb0) {
                return;
            }
            self.unsubscribed.insert(number);
        }
    }

    /// Publishes to each topic and sees which ones arrive.
    pub(crate) fn check(&self, hub: &Hub) {
        let mut client = connect(hub, V5, &self.id, true);
        let mut sender = Client::connect(hub, V5, "collector-check");
        for &number in &self.subscribed {
            sender.publish(&self.topic(number), &number.to_string(), 1);
        }
        for &number in &self.subscribed {
            assert_eq!(client.take().text(), number.to_string(), "an acknowledged subscription is missing");
        }
        for &number in &self.unsubscribed {
            sender.publish(&self.topic(number), &number.to_string(), 1);
        }
        client.alive();
    }
}

fn answered(client: &mut Client, first: u8) -> bool {
    match client.poll(Duration::from_secs(5)) {
        Polled::Packet(packet) if packet[0] == GOODBYE => false,
        Polled::Packet(packet) => {
            assert_eq!(packet[0], first);
            assert!(packet.last().is_some_and(|&code| code < 0x80), "{packet:02x?}");
            true
        }
        Polled::Quiet => panic!("no answer"),
        Polled::Ended => false,
    }
}
