//! The bounds on everything together, and on those who are not let in yet.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    thread::sleep,
    time::{Duration, Instant},
};

use portreeve_tests::{Client, Hub, Login, V4, V5, client::publish_bytes, hub::PATIENCE, unique};

#[test]
fn all_sessions_together() {
    // limits.sessions_total: CONNACK 0x97.
    let settings = ["limits.sessions_total=3", "limits.sessions_per_application=3", "limits.sessions_per_device=1"];
    let hub = Hub::open(&settings);
    let mut clients = [(); 3].map(|()| Client::connect(&hub, V5, &unique("total")));
    assert_eq!(Login::new(V5, "one-more").refused_as(&hub, hub.app()), 0x97);
    assert_eq!(Login::new(V4, "one-more").refused_as(&hub, hub.app()), 3);
    clients.iter_mut().for_each(Client::alive);
    let [first, ..] = clients;
    first.disconnect();
    Client::connect(&hub, V5, "one-more").alive();
}

#[test]
fn all_subscriptions_together() {
    // limits.subscriptions_total: SUBACK 0x97.
    let hub = Hub::open(&["limits.subscriptions_total=4", "limits.subscriptions_per_session=4"]);
    let mut one = Client::connect(&hub, V5, "one");
    let mut two = Client::connect(&hub, V5, "two");
    for (client, filter) in [(&mut one, "a"), (&mut two, "b")] {
        client.subscribe(filter, 0);
        client.subscribe(&format!("{filter}/#"), 0);
    }
    assert_eq!(one.try_subscribe("c", 0), 0x97);
    two.disconnect();
    one.subscribe("c", 0);
}

#[test]
fn all_retained_messages_together() {
    // limits.retained_messages, limits.retained_bytes: 0x97; replacing and deleting need no room.
    let hub = Hub::open(&["limits.retained_messages=3", "limits.retained_bytes=20000"]);
    let mut client = Client::connect(&hub, V5, "keeper");
    for topic in ["a", "b", "c"] {
        client.retain(topic, "x", 1);
    }
    assert_eq!(client.try_publish("d", b"x", 1, true, ""), 0x97);
    client.retain("c", "another", 1);
    client.retain("c", "", 1);
    assert_eq!(client.try_publish("d", &[b'x'; 30_000], 1, true, ""), 0x97);
    client.retain("d", "x", 1);
    // What could not be kept was not spread either: the publisher was told that it was refused.
    let mut witness = Client::connect(&hub, V5, "witness");
    witness.subscribe("e", 1);
    assert_eq!(client.try_publish("e", b"x", 1, true, ""), 0x97);
    witness.silent();
}

/// Small packets, so that small queues are a valid configuration.
const SMALL_PACKETS: [&str; 4] = [
    "mqtt.queue_overflow=reject",
    "limits.connect_bytes=4000",
    "limits.packet_bytes=8000",
    "limits.retained_message_bytes=8000",
];

/// A session that is away, subscribed to its own name.
fn absent(hub: &Hub, id: &str) {
    let mut client = Login::new(V5, id).expiry(300).open(hub);
    client.subscribe(id, 1);
    client.disconnect();
}

/// How many messages of 5000 bytes are taken for an absent client; the rest must be refused with 0x97.
fn taken(hub: &Hub, id: &str) -> usize {
    let mut sender = Client::connect(hub, V5, "sender");
    let codes: Vec<_> = (0..6).map(|_| sender.try_publish(id, &[b'x'; 5000], 1, false, "")).collect();
    let taken = codes.iter().take_while(|&&code| code == 0).count();
    assert!(codes[taken..].iter().all(|&code| code == 0x97), "{codes:02x?}");
    taken
}

/// It gets what was taken, and then there is room again.
fn comes_back(hub: &Hub, id: &str, count: usize) {
    let mut client = Login::new(V5, id).resume().open(hub);
    for _ in 0..count {
        assert_eq!(client.take().payload.len(), 5000);
    }
    client.alive();
    Client::connect(hub, V5, "sender").publish(id, "room again", 1);
    assert_eq!(client.take().text(), "room again");
}

#[test]
fn bytes_that_wait_for_one_session() {
    // limits.queue_bytes_per_session
    let hub = Hub::open(&[&SMALL_PACKETS[..], &["limits.queue_bytes_per_session=20000"]].concat());
    absent(&hub, "one");
    absent(&hub, "two");
    let first = taken(&hub, "one");
    assert!((2..=4).contains(&first), "{first}");
    assert_eq!(taken(&hub, "two"), first, "each has its own");
    comes_back(&hub, "one", first);
}

#[test]
fn bytes_that_wait_for_all() {
    // limits.queue_bytes_total
    let settings = ["limits.queue_bytes_per_session=20000", "limits.queue_bytes_total=30000"];
    let hub = Hub::open(&[&SMALL_PACKETS[..], &settings].concat());
    absent(&hub, "one");
    absent(&hub, "two");
    let first = taken(&hub, "one");
    let second = taken(&hub, "two");
    assert!(second < first, "{first} for one session, and {second} for the other");
    comes_back(&hub, "one", first);
    assert!(taken(&hub, "two") > 0, "there is room for it now");
}

#[test]
fn messages_on_their_way_to_one_client() {
    // limits.inflight_per_session bounds those who set no receive maximum.
    let hub = Hub::open(&["limits.inflight_per_session=2"]);
    for version in [V4, V5] {
        let topic = unique("inflight");
        let mut client = Client::connect(&hub, version, "reader");
        client.subscribe(&topic, 1);
        let mut sender = Client::connect(&hub, V5, "sender");
        for number in 0..4 {
            sender.publish(&topic, &number.to_string(), 1);
        }
        let first = client.message();
        client.message();
        client.silent();
        client.acknowledge(&first);
        assert_eq!(client.message().text(), "2");
        client.silent();
    }
}

#[test]
fn what_is_announced_is_what_is_enforced() {
    let hub = Hub::open(&[
        "limits.connect_bytes=2000",
        "limits.packet_bytes=2000",
        "limits.retained_message_bytes=2000",
        "limits.client_id_bytes=23",
        "mqtt.receive_max=3",
        "mqtt.topic_alias_max=2",
    ]);
    let mut client = Client::connect(&hub, V5, "announced");
    assert_eq!(client.connack[5..], [0x22, 0, 2, 0x27, 0, 0, 0x07, 0xd0, 0x21, 0, 3]);
    client.publish_with("a", b"x", 1, false, "23 0002");
    client.send(&publish_bytes(V5, "a", &[0; 1989], 0, false, 0, ""));
    client.alive();
    client.send(&publish_bytes(V5, "a", &[0; 2000], 0, false, 0, ""));
    client.cut(0x95);
    let mut client = Client::connect(&hub, V5, "announced");
    client.say("30 | s'a' ( 23 0003 ) 'x'");
    client.cut(0x94);
    let mut client = Client::connect(&hub, V5, "announced");
    for id in 1..=3 {
        client.say(&format!("34 | s'a' {id:04x} ( ) 'x'"));
        client.hear(&format!("50 | {id:04x}"));
    }
    client.say("34 | s'a' 0004 ( ) 'x'");
    client.cut(0x93);
    assert_eq!(Login::new(V5, &"x".repeat(24)).refused_as(&hub, hub.app()), 0x85);
    assert_eq!(Login::new(V4, &"x".repeat(24)).refused_as(&hub, hub.app()), 2);
}

fn tcp(hub: &Hub) -> TcpStream {
    let socket = TcpStream::connect(hub.mqtt()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn is_closed(mut socket: &TcpStream, within: Duration) -> bool {
    socket.set_read_timeout(Some(within)).unwrap();
    match socket.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn connections_of_one_source() {
    // limits.connections_per_source_*: more are closed before the handshake, and later ones are let in again.
    let hub = Hub::open(&["limits.connections_per_source_per_s=4", "limits.connections_per_source_burst=4"]);
    sleep(Duration::from_secs(2));
    let sockets: Vec<_> = (0..30).map(|_| tcp(&hub)).collect();
    let closed = sockets.iter().filter(|socket| is_closed(socket, Duration::from_millis(50))).count();
    assert!((20..30).contains(&closed), "{closed} of 30 were closed");
    drop(sockets);
    sleep(Duration::from_secs(2));
    Client::connect(&hub, V5, "later").alive();
}

#[test]
fn half_open_connections_make_room_for_younger_ones() {
    // One worker: two may accept in another order than the connections came.
    let hub = Hub::open(&["limits.half_open_per_source=5", "limits.handshake_deadline_s=60", "hub.workers=1"]);
    let sockets: Vec<_> = (0..20).map(|_| tcp(&hub)).collect();
    for _ in 0..3 {
        let asked = Instant::now();
        Client::connect(&hub, V5, &unique("honest")).alive();
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    for (index, socket) in sockets.iter().enumerate().take(15) {
        assert!(is_closed(socket, Duration::from_secs(2)), "the oldest make room first, and {index} is open");
    }
}

#[test]
fn all_connections_together() {
    // limits.connections_total
    let hub = Hub::open(&["limits.connections_total=3"]);
    let mut clients = [(); 3].map(|()| Client::connect(&hub, V5, &unique("total")));
    assert!(is_closed(&tcp(&hub), Duration::from_secs(2)));
    clients.iter_mut().for_each(Client::alive);
    let [first, ..] = clients;
    first.disconnect();
    let started = Instant::now();
    while is_closed(&tcp(&hub), Duration::from_millis(100)) {
        assert!(started.elapsed() < PATIENCE, "a place is free again");
    }
}

/// A PROXY protocol v2 header of a TCP connection over IPv4 from 192.0.2.7.
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x30\x39\x22\xb3";

#[test]
fn a_balancer_says_who_is_behind_it() {
    // mqtt.proxy_protocol_from
    let hub = Hub::open(&[r#"mqtt.proxy_protocol_from=["127.0.0.1"]"#]);
    let dial = |first: &[u8]| {
        let mut socket = tcp(&hub);
        socket.write_all(first).unwrap();
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(hub.app().tls(), name).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.conn.complete_io(&mut stream.sock).map(|_| stream)
    };
    let mut client = Client::new(dial(PROXY).unwrap(), V5);
    client.send(&Login::new(V5, "behind").bytes());
    assert_eq!(client.packet()[3], 0);
    assert!(hub.log().contains("192.0.2.7"), "the source is the client's address");
    // Without a header, or with one that is none.
    assert!(dial(b"").is_err());
    assert!(dial(&PROXY[..20]).is_err());
    assert!(dial(b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 8883\r\n").is_err());
}

#[test]
fn nobody_else_may_say_so() {
    let hub = Hub::open(&[]);
    let mut socket = tcp(&hub);
    socket.write_all(PROXY).unwrap();
    assert!(is_closed(&socket, Duration::from_secs(2)) || socket.read(&mut [0; 64]).is_ok());
    assert!(!hub.log().contains("192.0.2.7"));
}

#[test]
fn every_listener_is_where_it_was_told_to_be() {
    let hub = Hub::start(&[]);
    for name in ["mqtt", "device_https", "metrics"] {
        let address = hub.address(name).to_socket_addrs().unwrap().next().unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0, "{name}: {address}");
    }
}
