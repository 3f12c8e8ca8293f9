//! The whole way of a message through the hub: bytes of a publisher in, bytes for its receivers out.

use std::task::Waker;

use portreeve_hub::{Connection, DeviceIdentity, Peer};
use portreeve_mqtt::{
    Ack, Packet, Reason, Sender, Subscribe, SubscriptionOptions, SubscriptionRequest, Unsubscribe, Version, encode,
};
use portreeve_types::Qos;

use crate::{
    Workload,
    common::{self, Bench},
    measured_operations,
};

/// A device that may publish below `devices/lamp-0/`.
pub(crate) const PUBLISHER: &str = "lamp-0";
/// An application that may subscribe to everything.
pub(crate) const READER: &str = "reader";
const TOPIC: &str = "devices/lamp-0/telemetry";
/// As much as the network edge asks for at once.
const OUT_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn workloads() -> Vec<Workload> {
    let mut workloads = Vec::new();
    for (receivers, batches) in [(1, [(1, 200), (100, 5)]), (100, [(1, 20), (100, 1)])] {
        for (batch, repeats) in batches {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
                for payload_bytes in [64, 1024] {
                    workloads.push(path(Shape { qos, payload_bytes, receivers, batch, repeats }));
                }
            }
        }
    }
    workloads
}

/// One kind of traffic.
#[derive(Clone, Copy)]
struct Shape {
    qos: Qos,
    payload_bytes: usize,
    receivers: usize,
    /// Messages that arrive with one read.
    batch: u16,
    /// Batches in one run.
    repeats: u32,
}

fn path(shape: Shape) -> Workload {
    let Shape { qos, payload_bytes, receivers, batch, repeats } = shape;
    let size =
        if payload_bytes < 1024 { format!("{payload_bytes} B") } else { format!("{} KiB", payload_bytes / 1024) };
    let plural = if receivers == 1 { "" } else { "s" };
    let name = format!("publish QoS {}, {size}, {receivers} receiver{plural}, batch of {batch}", qos as u8);
    let mut bench = hub_for_many();
    let device = bench.device(PUBLISHER);
    let application = bench.application(READER);
    let mut publisher = Client::open(&bench, &device, PUBLISHER);
    let mut readers: Vec<Client> =
        (0..receivers).map(|number| Client::open(&bench, &application, &format!("reader-{number}"))).collect();
    for reader in &mut readers {
        reader.subscribe(&bench, &["devices/+/telemetry".into()], qos);
    }
    let packets: Vec<u8> = (1..=batch)
        .flat_map(|id| Client::publish_packet(TOPIC, payload_bytes, qos, if qos == Qos::AtMostOnce { 0 } else { id }))
        .collect();
    Workload::new(name, u32::from(batch) * repeats, move || {
        for _ in 0..repeats {
            bench.now.mono_ms += 1;
            let delivered = run(&bench, &mut publisher, &mut readers, &packets);
            assert_eq!(delivered, receivers * usize::from(batch));
        }
    })
}

/// One read of the publisher's connection, then every connection that has something to say writes, as the network
/// edge has them do; receivers acknowledge. Returns the deliveries.
fn run(bench: &Bench, publisher: &mut Client, readers: &mut [Client], packets: &[u8]) -> usize {
    measured_operations(&mut || {
        publisher.receive(bench, packets);
        publisher.transmit(bench);
        readers.iter_mut().for_each(|reader| reader.transmit(bench));
    });
    publisher.out.clear();
    let mut delivered = 0;
    loop {
        let acknowledgements: Vec<Vec<u8>> =
            readers.iter_mut().map(|reader| reader.acknowledge(&mut delivered)).collect();
        if acknowledgements.iter().all(Vec::is_empty) {
            return delivered;
        }
        measured_operations(&mut || {
            for (reader, acknowledgements) in readers.iter_mut().zip(&acknowledgements) {
                reader.receive(bench, acknowledgements);
                reader.transmit(bench);
            }
        });
    }
}

/// A hub whose limits nothing here reaches.
pub(crate) fn hub_for_many() -> Bench {
    Bench::with(|config| {
        config.mqtt.receive_max = 1000;
        let limits = &mut config.limits;
        limits.subscriptions_per_session = 1_000_000;
        limits.device_messages_per_s = 100_000_000;
        limits.device_messages_burst = 100_000_000;
        limits.device_bytes_per_s = 1 << 40;
        limits.application_messages_per_s = 100_000_000;
        limits.application_messages_burst = 100_000_000;
        limits.application_bytes_per_s = 1 << 40;
        limits.messages_per_s = 1_000_000_000;
        limits.bytes_per_s = 1 << 40;
    })
}

/// A connection and the buffer that its socket would be written from.
pub(crate) struct Client {
    connection: Connection,
    out: Vec<u8>,
}

impl Client {
    /// A 5.0 client with a clean session, let in.
    pub(crate) fn open(bench: &Bench, identity: &DeviceIdentity, client_id: &str) -> Self {
        let peer = Peer { address: "127.0.0.1".parse().unwrap(), transport: "mqtt" };
        let connection = Connection::new(std::sync::Arc::clone(&bench.hub), identity.clone(), peer, bench.now);
        let mut client = Self { connection, out: Vec::new() };
        client.send(bench, &Packet::Connect(common::connect(client_id)));
        let got = client.take(bench);
        assert!(matches!(got[..], [Got::Answer(Reason::SUCCESS)]), "{got:?}");
        client
    }

    /// The bytes of a PUBLISH.
    pub(crate) fn publish_packet(topic: &str, payload_bytes: usize, qos: Qos, packet_id: u16) -> Vec<u8> {
        let payload = vec![b'x'; payload_bytes];
        encoded(&Packet::Publish(common::publish(topic, &payload, qos, packet_id)))
    }

    /// Subscribes and expects to be granted what it asked for.
    pub(crate) fn subscribe(&mut self, bench: &Bench, filters: &[String], qos: Qos) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let requests = filters.iter().map(|filter| SubscriptionRequest { filter, options }).collect();
        self.send(bench, &Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, requests }));
        let got = self.take(bench);
        assert!(got.len() == filters.len() && got.iter().all(|got| *got == Got::Answer(Reason(qos as u8))), "{got:?}");
    }

    /// Takes one subscription back.
    pub(crate) fn unsubscribe(&mut self, bench: &Bench, filter: &str) {
        self.send(bench, &Packet::Unsubscribe(Unsubscribe { packet_id: 1, filters: vec![filter] }));
        assert_eq!(self.take(bench), [Got::Answer(Reason::SUCCESS)]);
    }

    /// Hands bytes to the hub, as the only thing that counts.
    pub(crate) fn measured_receive(&mut self, bench: &Bench, bytes: &[u8]) {
        measured_operations(&mut || self.receive(bench, bytes));
    }

    fn receive(&mut self, bench: &Bench, bytes: &[u8]) {
        let mut used = self.connection.receive(bench.now, bytes, &mut self.out);
        while self.connection.is_interrupted() {
            used += self.connection.receive(bench.now, &bytes[used..], &mut self.out);
        }
        assert_eq!(used, bytes.len(), "{:?}", self.connection.ended());
    }

    fn transmit(&mut self, bench: &Bench) {
        // Nothing is taken out of the buffer between two turns, so each has a further share of it.
        let mut max = self.out.len() + OUT_BYTES_MAX;
        while self.connection.transmit(bench.now, Waker::noop(), &mut self.out, max).more {
            max = self.out.len() + OUT_BYTES_MAX;
        }
    }

    fn send(&mut self, bench: &Bench, packet: &Packet<'_>) {
        self.receive(bench, &encoded(packet));
    }

    /// What the hub has to say now.
    pub(crate) fn take(&mut self, bench: &Bench) -> Vec<Got> {
        self.transmit(bench);
        let got = read(&self.out);
        self.out.clear();
        got
    }

    /// The acknowledgements that what was delivered asks for; `delivered` counts.
    fn acknowledge(&mut self, delivered: &mut usize) -> Vec<u8> {
        let got = read(&self.out);
        self.out.clear();
        *delivered += got.len();
        let ids = got.iter().filter_map(|got| match got {
            Got::Publish(id) => Some(*id).filter(|&id| id != 0),
            Got::Answer(_) => None,
        });
        let ack = |packet_id| Packet::PubAck(Ack { packet_id, reason: Reason::SUCCESS, reason_string: None });
        ids.flat_map(|id| encoded(&ack(id))).collect()
    }
}

/// What the hub sent: a message's packet identifier, 0 at QoS 0, or an answer's reason, one for each filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Publish(u16),
    Answer(Reason),
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::any(&mut bytes, Version::V5, packet).unwrap();
    bytes
}

fn read(mut bytes: &[u8]) -> Vec<Got> {
    let mut got = Vec::new();
    while let Some(length) = portreeve_mqtt::frame(bytes, u32::MAX).unwrap() {
        match portreeve_mqtt::decode(Version::V5, Sender::Server, &bytes[..length]).unwrap() {
            Packet::Publish(publish) => got.push(Got::Publish(publish.packet_id)),
            Packet::ConnAck(answer) => got.push(Got::Answer(answer.reason)),
            Packet::SubAck(answer) | Packet::UnsubAck(answer) => {
                got.extend(answer.reasons.into_iter().map(Got::Answer))
            }
            other => panic!("unexpected {other:?}"),
        }
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty());
    got
}
