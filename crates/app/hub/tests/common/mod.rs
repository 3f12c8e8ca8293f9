//! A hub and its clients in one process, without sockets, on a clock that the test moves.

#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part of these helpers"
)]

use std::{sync::Arc, task::Waker, time::Duration};

use portreeve_config::{Config, Role};
use portreeve_hub::{
    Actor, AdminError, AdminRequest, Bundle, Connection, DeviceIdentity, Fields, Hub, Now, Outcome, Peer,
};
use portreeve_mqtt::{
    Ack, Connect, Packet, Publish, Reason, Sender, Subscribe, SubscriptionRequest, Unsubscribe, Version, encode,
};
pub use portreeve_mqtt::{Disconnect, SubscriptionOptions, Will};
use portreeve_store::{RedbStore, SessionStore};
use portreeve_types::{Kind, LifecycleState, Qos, UnixMillis};
use tempfile::TempDir;

pub const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// One hub on a virtual clock.
pub struct Bench {
    dir: TempDir,
    pub config: Config,
    pub hub: Arc<Hub>,
    pub now: Now,
}

/// A hub that does not run.
pub struct Closed {
    dir: TempDir,
    config: Config,
    now: Now,
}

impl Closed {
    pub fn open(self) -> Result<Bench, portreeve_hub::OpenError> {
        let Self { dir, config, now } = self;
        let hub = Hub::open(&dir.path().join("hub"), config.clone(), now.wall)?;
        Ok(Bench { dir, config, hub, now })
    }
}

/// What arrived, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    ConnAck {
        present: bool,
        reason: Reason,
    },
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: Qos,
        dup: bool,
        retain: bool,
        id: u16,
        ids: Vec<u32>,
        expiry_s: Option<u32>,
    },
    PubAck(u16, Reason),
    PubRec(u16, Reason),
    PubRel(u16, Reason),
    PubComp(u16, Reason),
    SubAck(Vec<Reason>),
    UnsubAck(Vec<Reason>),
    Disconnect(Reason),
    Other,
}

pub struct Client {
    connection: Connection,
    out: Vec<u8>,
    version: Version,
    next_id: u16,
    /// What the last CONNACK said of coming again.
    pub retry_after_ms: Option<u64>,
}

fn start() -> Now {
    Now { wall: std::time::SystemTime::now().into(), mono_ms: 1_000_000 }
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::made_ago(Duration::ZERO, adjust)
    }

    /// A hub whose first start was so long ago: for what the machine's own clock has a part in, such as handshakes.
    pub fn made_ago(age: Duration, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.mqtt.sys_interval_s = 0;
        adjust(&mut config);
        let dir = tempfile::tempdir().unwrap();
        let now = start();
        let made = UnixMillis(now.wall.0 - u64::try_from(age.as_millis()).unwrap());
        let hub = Hub::open(&dir.path().join("hub"), config.clone(), made).unwrap();
        Self { dir, config, hub, now }
    }

    /// A file of the folder that holds certificates and keys.
    pub fn pki(&self, file: &str) -> std::path::PathBuf {
        self.hub.data().join("pki").join(file)
    }

    /// How often something happened since the hub was opened.
    pub fn count(&self, kind: portreeve_events::Kind) -> u64 {
        self.hub.events().count(kind)
    }

    /// Stops the hub as a crash would after its last commit, and opens it again.
    pub fn reopen(self) -> Self {
        assert!(self.hub.finish(Duration::from_secs(10)));
        let Self { dir, config, hub, now } = self;
        assert_eq!(Arc::strong_count(&hub), 1, "a client still holds the hub");
        drop(hub);
        let hub = Hub::open(&dir.path().join("hub"), config.clone(), now.wall).unwrap();
        Self { dir, config, hub, now }
    }

    /// Stops the hub, and expects that it does not open again as things are.
    pub fn close_and_fail_to_open(self) -> (Closed, portreeve_hub::OpenError) {
        let Self { dir, config, hub, now } = self;
        drop(hub);
        let refused = Hub::open(&dir.path().join("hub"), config.clone(), now.wall).map(drop).unwrap_err();
        (Closed { dir, config, now }, refused)
    }

    /// As [`Self::reopen`], with something done to the session store in between.
    pub fn reopen_with(self, change: impl FnOnce(&dyn SessionStore)) -> Self {
        assert!(self.hub.finish(Duration::from_secs(10)));
        let Self { dir, config, hub, now } = self;
        let path = dir.path().join("hub");
        drop(hub);
        change(&RedbStore::open(&path, 1 << 20).unwrap().sessions);
        let hub = Hub::open(&path, config.clone(), now.wall).unwrap();
        Self { dir, config, hub, now }
    }

    /// As after `kill -9`: what was committed is all there is. The old hub is never told; its files are copied.
    pub fn reopen_after_crash(self) -> Self {
        let Self { dir, config, hub, now } = self;
        let copy = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("cp").arg("-a").arg(dir.path().join("hub")).arg(copy.path()).status();
        assert!(status.unwrap().success());
        std::mem::forget(hub);
        let hub = Hub::open(&copy.path().join("hub"), config.clone(), now.wall).unwrap();
        Self { dir: copy, config, hub, now }
    }

    pub fn administer(&self, request: AdminRequest) -> Result<Outcome, AdminError> {
        self.hub.administer(&Actor { name: "test".into(), role: Role::Administrator }, request)
    }

    /// Registers an identity; its leaf certificate in DER.
    pub fn add(&self, name: &str, kind: Kind) -> Vec<u8> {
        pem::parse_many(self.bundle(name, kind).cert_pem).unwrap()[0].contents().to_vec()
    }

    /// Registers an identity, with key and certificate.
    pub fn bundle(&self, name: &str, kind: Kind) -> Bundle {
        let request = AdminRequest::DeviceAdd {
            name: name.parse().unwrap(),
            kind,
            fields: Fields::default(),
            bundle: true,
            days: None,
        };
        let outcome = self.administer(request).unwrap();
        serde_json::from_value(outcome.result["bundle"].clone()).unwrap()
    }

    pub fn identity(&self, leaf: &[u8]) -> DeviceIdentity {
        self.hub.authenticate(leaf).unwrap()
    }

    pub fn device(&self, name: &str) -> DeviceIdentity {
        self.identity(&self.add(name, Kind::Device))
    }

    /// An application that may use every topic.
    pub fn application(&self, name: &str) -> DeviceIdentity {
        let leaf = self.add(name, Kind::Application);
        self.policy(r#"permit (principal, action in [Action::"publish", Action::"subscribe"], resource) when { principal.kind == "application" };"#);
        self.identity(&leaf)
    }

    pub fn policy(&self, text: &str) {
        let source = serde_json::from_value(serde_json::json!({ "file": "test.cedar", "text": text })).unwrap();
        self.administer(AdminRequest::PolicyApply { sources: vec![source], dry_run: false }).unwrap();
    }

    pub fn set_state(&self, name: &str, to: LifecycleState) -> Result<Outcome, AdminError> {
        self.administer(AdminRequest::DeviceState {
            name: name.parse().unwrap(),
            to,
            reason: "test".into(),
            dry_run: false,
        })
    }

    pub fn advance(&mut self, by: Duration) {
        self.now.wall = self.now.wall.plus(by);
        self.now.mono_ms += u64::try_from(by.as_millis()).unwrap();
        self.hub.tick(self.now);
        self.hub.tend_keys(self.now);
    }

    pub fn wall(&self) -> UnixMillis {
        self.now.wall
    }

    pub fn open(&self, identity: &DeviceIdentity) -> Client {
        self.open_from(identity, "127.0.0.1")
    }

    pub fn open_from(&self, identity: &DeviceIdentity, address: &str) -> Client {
        let peer = Peer { address: address.parse().unwrap(), transport: "mqtt" };
        let connection = Connection::new(Arc::clone(&self.hub), identity.clone(), peer, self.now);
        Client { connection, out: Vec::new(), version: Version::V5, next_id: 0, retry_after_ms: None }
    }

    /// Connects and expects to be let in.
    pub fn connect(&self, identity: &DeviceIdentity, connect: Connect<'_>) -> Client {
        let (client, got) = self.try_connect(identity, connect);
        assert!(matches!(got[0], Got::ConnAck { reason: Reason::SUCCESS, .. }), "{got:?}");
        client
    }

    pub fn try_connect(&self, identity: &DeviceIdentity, connect: Connect<'_>) -> (Client, Vec<Got>) {
        self.try_connect_from(identity, "127.0.0.1", connect)
    }

    pub fn try_connect_from(
        &self,
        identity: &DeviceIdentity,
        address: &str,
        connect: Connect<'_>,
    ) -> (Client, Vec<Got>) {
        let mut client = self.open_from(identity, address);
        client.version = connect.version;
        client.send(self, &Packet::Connect(connect));
        let got = client.recv(self);
        (client, got)
    }
}

/// A clean CONNECT; adjust the fields that matter.
pub fn connect(client_id: &str) -> Connect<'_> {
    Connect::new(Version::V5, client_id)
}

/// A CONNECT that resumes, and keeps its session for an hour.
pub fn resume(client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry_s: Some(3600), ..connect(client_id) }
}

pub fn publish<'a>(topic: &'a str, payload: &'a [u8], qos: Qos, packet_id: u16) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        topic_alias: None,
        properties: Default::default(),
        subscription_ids: Default::default(),
        payload,
    }
}

impl Client {
    pub fn send(&mut self, bench: &Bench, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::any(&mut bytes, self.version, packet).unwrap();
        self.send_bytes(bench, &bytes);
    }

    pub fn send_bytes(&mut self, bench: &Bench, bytes: &[u8]) {
        let (used, _) = self.send_in_turns(bench, bytes);
        assert!(used == bytes.len() || self.connection.ended().is_some(), "used {used} of {}", bytes.len());
    }

    /// Sends as a driver does; how many bytes were used, in how many turns.
    pub fn send_in_turns(&mut self, bench: &Bench, bytes: &[u8]) -> (usize, usize) {
        let (mut used, mut turns) = (0, 0);
        loop {
            used += self.connection.receive(bench.now, &bytes[used..], &mut self.out);
            turns += 1;
            if !self.connection.is_interrupted() {
                return (used, turns);
            }
        }
    }

    /// One turn: how many bytes it used, and whether it was interrupted.
    pub fn send_in_a_turn(&mut self, bench: &Bench, bytes: &[u8]) -> (usize, bool) {
        let used = self.connection.receive(bench.now, bytes, &mut self.out);
        (used, self.connection.is_interrupted())
    }

    /// Takes what is there, and has `waker` called when there is more.
    pub fn sleep(&mut self, bench: &Bench, waker: &Waker) {
        while self.connection.transmit(bench.now, waker, &mut self.out, 1 << 20).more {}
        self.out.clear();
    }

    /// The client's socket takes nothing.
    pub fn blocked(&mut self, bench: &Bench) {
        self.connection.attend(bench.now, Waker::noop(), &mut self.out);
    }

    /// What the hub says once everything it promised is durable.
    pub fn recv(&mut self, bench: &Bench) -> Vec<Got> {
        loop {
            assert!(bench.hub.journal().flush(Duration::from_secs(10)));
            let before = self.out.len();
            let more = self.connection.transmit(bench.now, Waker::noop(), &mut self.out, 1 << 20).more;
            if !more && self.out.len() == before {
                break;
            }
        }
        let bytes = std::mem::take(&mut self.out);
        let mut rest = &bytes[..];
        let mut got = Vec::new();
        while let Some(length) = portreeve_mqtt::frame(rest, u32::MAX).unwrap() {
            let packet = portreeve_mqtt::decode(self.version, Sender::Server, &rest[..length]).unwrap();
            if let Packet::ConnAck(connack) = &packet {
                self.retry_after_ms = connack.retry_after_ms();
            }
            got.push(own(packet));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        got
    }

    pub fn subscribe(
        &mut self,
        bench: &Bench,
        filter: &str,
        options: SubscriptionOptions,
        id: Option<u32>,
    ) -> Vec<Got> {
        self.next_id += 1;
        let requests = vec![SubscriptionRequest { filter, options }];
        self.send(bench, &Packet::Subscribe(Subscribe { packet_id: self.next_id, subscription_id: id, requests }));
        self.recv(bench)
    }

    /// Subscribes at a QoS and expects it to be granted.
    pub fn subscribed(&mut self, bench: &Bench, filter: &str, qos: Qos) {
        let got = self.subscribe(bench, filter, SubscriptionOptions { qos, ..Default::default() }, None);
        assert_eq!(got[0], Got::SubAck(vec![Reason(qos as u8)]));
    }

    pub fn unsubscribe(&mut self, bench: &Bench, filter: &str) -> Vec<Got> {
        self.next_id += 1;
        self.send(bench, &Packet::Unsubscribe(Unsubscribe { packet_id: self.next_id, filters: vec![filter] }));
        self.recv(bench)
    }

    pub fn publish(&mut self, bench: &Bench, topic: &str, payload: &[u8], qos: Qos) -> Vec<Got> {
        self.next_id += 1;
        let id = if qos == Qos::AtMostOnce { 0 } else { self.next_id };
        self.send(bench, &Packet::Publish(publish(topic, payload, qos, id)));
        self.recv(bench)
    }

    /// Publishes at QoS 2 and finishes the handshake.
    pub fn publish_exactly_once(&mut self, bench: &Bench, topic: &str, payload: &[u8]) {
        let got = self.publish(bench, topic, payload, Qos::ExactlyOnce);
        assert_eq!(got, [Got::PubRec(self.next_id, Reason::SUCCESS)]);
        self.ack(bench, Packet::PubRel, self.next_id);
        assert_eq!(self.recv(bench), [Got::PubComp(self.next_id, Reason::SUCCESS)]);
    }

    pub fn ack(&mut self, bench: &Bench, kind: fn(Ack<'static>) -> Packet<'static>, packet_id: u16) {
        self.send(bench, &kind(Ack { packet_id, reason: Reason::SUCCESS, reason_string: None }));
    }

    pub fn disconnect(mut self, bench: &Bench) {
        self.send(bench, &Packet::Disconnect(Disconnect::default()));
        assert!(self.is_over());
    }

    /// The network fails.
    pub fn lose(mut self, bench: &Bench) {
        self.connection.lost(bench.now, "test");
    }

    pub fn is_over(&self) -> bool {
        self.connection.ended().is_some()
    }
}

fn own(packet: Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(p) => Got::ConnAck { present: p.session_present, reason: p.reason },
        Packet::Publish(p) => Got::Publish {
            topic: p.topic.into(),
            payload: p.payload.into(),
            qos: p.qos,
            dup: p.dup,
            retain: p.retain,
            id: p.packet_id,
            ids: p.subscription_ids.to_vec(),
            expiry_s: p.properties.expiry_s,
        },
        Packet::PubAck(p) => Got::PubAck(p.packet_id, p.reason),
        Packet::PubRec(p) => Got::PubRec(p.packet_id, p.reason),
        Packet::PubRel(p) => Got::PubRel(p.packet_id, p.reason),
        Packet::PubComp(p) => Got::PubComp(p.packet_id, p.reason),
        Packet::SubAck(p) => Got::SubAck(p.reasons),
        Packet::UnsubAck(p) => Got::UnsubAck(p.reasons),
        Packet::Disconnect(p) => Got::Disconnect(p.reason),
        _ => Got::Other,
    }
}

/// The payloads that arrived, in order.
pub fn payloads(got: &[Got]) -> Vec<String> {
    let text = |got: &Got| match got {
        Got::Publish { payload, .. } => Some(String::from_utf8_lossy(payload).into_owned()),
        _ => None,
    };
    got.iter().filter_map(text).collect()
}
