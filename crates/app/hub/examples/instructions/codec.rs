//! Decoding what clients send most, and encoding what they are sent.

use std::hint::black_box;

use portreeve_mqtt::{
    Ack, AckKind, ConnAck, Packet, PublishHeader, Reason, Sender, SubAck, Subscribe, SubscriptionOptions,
    SubscriptionRequest, Version, encode,
};
use portreeve_types::Qos;

use crate::{Workload, common, measured_operations};

const OPERATIONS: u32 = 1000;
const TOPIC: &str = "devices/lamp-0/telemetry";
const VERSIONS: [(Version, &str); 2] = [(Version::V5, "5.0"), (Version::V311, "3.1.1")];
const PUBLISHES: [(Qos, usize, &str); 4] = [
    (Qos::AtMostOnce, 64, "QoS 0, 64 B"),
    (Qos::AtMostOnce, 1024, "QoS 0, 1 KiB"),
    (Qos::AtLeastOnce, 64, "QoS 1, 64 B"),
    (Qos::AtLeastOnce, 1024, "QoS 1, 1 KiB"),
];

pub(crate) fn workloads() -> Vec<Workload> {
    VERSIONS
        .into_iter()
        .flat_map(|(version, number)| [decoding(version, number), encoding(version, number)])
        .flatten()
        .collect()
}

fn decoding(version: Version, number: &str) -> Vec<Workload> {
    let named = |kind: &str, packet: &Packet<'_>| decode(format!("decode {kind}, {number}"), version, packet);
    let publish = |(qos, payload_bytes, words): (Qos, usize, &str)| {
        let payload = vec![b'x'; payload_bytes];
        let packet = Packet::Publish(common::publish(TOPIC, &payload, qos, u16::from(qos != Qos::AtMostOnce)));
        named(&format!("PUBLISH {words}"), &packet)
    };
    let request = |filter| SubscriptionRequest { filter, options: SubscriptionOptions::default() };
    let requests = vec![request("devices/lamp-0/commands/#"), request("devices/lamp-0/+"), request(TOPIC)];
    let connect = portreeve_mqtt::Connect { version, keep_alive_s: 60, ..common::connect("lamp-0") };
    let mut workloads: Vec<Workload> = PUBLISHES.into_iter().map(publish).collect();
    workloads
        .push(named("PUBACK", &Packet::PubAck(Ack { packet_id: 7, reason: Reason::SUCCESS, reason_string: None })));
    workloads.push(named(
        "SUBSCRIBE, 3 filters",
        &Packet::Subscribe(Subscribe { packet_id: 7, subscription_id: None, requests }),
    ));
    workloads.push(named("CONNECT", &Packet::Connect(connect)));
    workloads
}

/// Framing and decoding one packet, as a connection does it.
fn decode(name: String, version: Version, packet: &Packet<'_>) -> Workload {
    let mut bytes = Vec::new();
    encode::any(&mut bytes, version, packet).unwrap();
    let is_connect = matches!(packet, Packet::Connect(_));
    let is_publish = matches!(packet, Packet::Publish(_));
    Workload::new(name, OPERATIONS, move || {
        measured_operations(&mut || {
            for _ in 0..OPERATIONS {
                let bytes = black_box(&bytes[..]);
                let length = portreeve_mqtt::frame(bytes, 1 << 20).unwrap().unwrap();
                let packet = &bytes[..length];
                if is_publish {
                    black_box(portreeve_mqtt::decode_publish(version, Sender::Client, packet).unwrap());
                } else if is_connect {
                    black_box(portreeve_mqtt::decode_connect(packet).unwrap());
                } else {
                    black_box(portreeve_mqtt::decode(version, Sender::Client, packet).unwrap());
                }
            }
        });
    })
}

fn encoding(version: Version, number: &str) -> Vec<Workload> {
    let publish = |(qos, payload_bytes, words): (Qos, usize, &str)| {
        let payload = vec![b'x'; payload_bytes];
        encode(format!("encode PUBLISH {words}, {number}"), move |out| {
            let packet_id = u16::from(qos != Qos::AtMostOnce);
            let header = PublishHeader { qos, packet_id, topic: black_box(TOPIC), ..PublishHeader::default() };
            encode::publish(out, version, &header, black_box(&payload));
        })
    };
    let suback = SubAck { packet_id: 7, reasons: vec![Reason(1); 3], reason_string: None };
    let mut workloads: Vec<Workload> = PUBLISHES.into_iter().map(publish).collect();
    workloads.push(encode(format!("encode PUBACK, {number}"), move |out| {
        encode::ack(out, version, AckKind::PubAck, black_box(7), Reason::SUCCESS, None);
    }));
    workloads.push(encode(format!("encode SUBACK, 3 filters, {number}"), move |out| {
        encode::suback(out, version, black_box(&suback));
    }));
    workloads.push(encode(format!("encode CONNACK, {number}"), move |out| {
        encode::connack(out, version, black_box(&ConnAck::default()));
    }));
    workloads
}

/// Encoding one packet into a buffer that has room.
fn encode(name: String, write: impl Fn(&mut Vec<u8>) + 'static) -> Workload {
    let mut out = Vec::with_capacity(4096);
    Workload::new(name, OPERATIONS, move || {
        measured_operations(&mut || {
            for _ in 0..OPERATIONS {
                out.clear();
                write(&mut out);
                black_box(&out);
            }
        });
    })
}
