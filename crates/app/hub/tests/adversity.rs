//! What a review found: each of these fails until what it tells of is mended.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "helpers of tests, outside the test functions")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    task::{Wake, Waker},
    time::{Duration, Instant},
};

use common::{Bench, Got, SubscriptionOptions, connect, payloads, publish, resume};
use parking_lot::Mutex;
use portreeve_hub::{AdminRequest, Connection, DeviceIdentity, Fields, Peer};
use portreeve_mqtt::{
    Connect, Packet, Publish, Reason, Sender as From, Subscribe, SubscriptionRequest, Version, encode,
};
use portreeve_types::{Kind, Qos};

/// A client that neither waits for the disk nor calls again when nobody woke it.
struct Raw {
    connection: Connection,
    out: Vec<u8>,
}

impl Raw {
    fn new(bench: &Bench, identity: &DeviceIdentity, address: &str, connect: Connect<'_>) -> Self {
        let peer = Peer { address: address.parse().unwrap(), transport: "mqtt" };
        let connection = Connection::new(Arc::clone(&bench.hub), identity.clone(), peer, bench.now);
        let mut raw = Self { connection, out: Vec::new() };
        raw.send(bench, &Packet::Connect(connect));
        raw
    }

    fn send(&mut self, bench: &Bench, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::any(&mut bytes, Version::V5, packet).unwrap();
        let mut used = self.connection.receive(bench.now, &bytes, &mut self.out);
        while self.connection.is_interrupted() {
            used += self.connection.receive(bench.now, &bytes[used..], &mut self.out);
        }
    }

    /// Calls as a driver does: again only while more is ready.
    fn pump(&mut self, bench: &Bench, waker: &Waker) {
        while self.connection.transmit(bench.now, waker, &mut self.out, 1 << 20).more {}
    }

    /// The packet types sent so far, and the payloads of publications.
    fn sent(&mut self) -> (Vec<u8>, Vec<String>) {
        let bytes = std::mem::take(&mut self.out);
        let (mut rest, mut types, mut texts) = (&bytes[..], Vec::new(), Vec::new());
        while let Some(length) = portreeve_mqtt::frame(rest, u32::MAX).unwrap() {
            types.push(rest[0] >> 4);
            if let Packet::Publish(publish) =
                portreeve_mqtt::decode(Version::V5, From::Server, &rest[..length]).unwrap()
            {
                texts.push(String::from_utf8_lossy(publish.payload).into_owned());
            }
            rest = &rest[length..];
        }
        (types, texts)
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Stops the journal's thread when that wakes it, as a disk that hangs would.
struct Stall {
    stalled: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Wake for Stall {
    fn wake(self: Arc<Self>) {
        if std::thread::current().name() == Some("journal") {
            let _ = self.stalled.lock().send(());
            let _ = self.go_on.lock().recv();
        }
    }
}

/// The disk hangs from now on, until the sender is dropped.
fn stall(bench: &Bench, identity: &DeviceIdentity) -> Sender<()> {
    let ((stalled, is_stalled), (release, go_on)) = (channel(), channel());
    let waker = Waker::from(Arc::new(Stall { stalled: Mutex::new(stalled), go_on: Mutex::new(go_on) }));
    let mut helper = Raw::new(bench, identity, "127.0.0.1", resume("stall"));
    for packet_id in 1..1000 {
        // Each another one: what is there already is not stored again.
        let filter = format!("stall/{packet_id}");
        let requests = vec![SubscriptionRequest { filter: &filter, options: SubscriptionOptions::default() }];
        helper.send(bench, &Packet::Subscribe(Subscribe { packet_id, subscription_id: None, requests }));
        helper.pump(bench, &waker);
        if is_stalled.recv_timeout(Duration::from_millis(200)).is_ok() {
            helper.connection.lost(bench.now, "test");
            return release;
        }
    }
    panic!("the journal did not stall");
}

fn any(bench: &Bench, name: &str) -> DeviceIdentity {
    bench.application(name)
}

/// Exactly once, [MQTT-4.3.3-6]: a PUBREL that goes out before the release is on disk makes the client forget the
/// identifier; after a crash the hub would send PUBLISH under it again, and the client would take it for a new message.
#[test]
fn a_resumed_pubrel_waits_for_the_disk_as_well() {
    let bench = Bench::new();
    let app = any(&bench, "app");
    let mut first = bench.connect(&app, resume("receiver"));
    first.subscribed(&bench, "t", Qos::ExactlyOnce);
    bench.connect(&app, connect("sender")).publish_exactly_once(&bench, "t", b"x");
    assert_eq!(payloads(&first.recv(&bench)), ["x"]);
    let release = stall(&bench, &app);
    first.ack(&bench, Packet::PubRec, 1);
    // The connection fails before the commit, and the client is back at once.
    let mut second = Raw::new(&bench, &app, "127.0.0.1", resume("receiver"));
    second.pump(&bench, Waker::noop());
    let (types, _) = second.sent();
    drop(release);
    assert_eq!(types, [2], "CONNACK, and PUBREL (6) only after the commit");
}

/// ISVS-4.2.2: what is no longer allowed is no longer delivered, also if it was queued before.
#[test]
fn what_was_queued_under_a_withdrawn_grant_is_not_delivered() {
    let bench = Bench::new();
    let (reader, writer) = (any(&bench, "reader"), any(&bench, "writer"));
    let mut away = bench.connect(&reader, resume("r"));
    away.subscribed(&bench, "secret", Qos::AtLeastOnce);
    away.lose(&bench);
    bench.connect(&writer, connect("w")).publish(&bench, "secret", b"secret", Qos::AtLeastOnce);
    bench.policy(
        r#"permit (principal == Identity::"writer", action in [Action::"publish", Action::"subscribe"], resource);"#,
    );
    let (_back, got) = bench.try_connect(&reader, resume("r"));
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS });
    assert_eq!(payloads(&got), Vec::<String>::new());
}

const INSIDE: &str = r#"permit (principal, action == Action::"publish", resource) when { principal.kind == "application" };
    permit (principal, action == Action::"subscribe", resource)
        when { principal.kind == "application" && context has source && context.source.isInRange(ip("127.0.0.0/8")) };"#;

/// A grant that reads the address is a grant for that address, not for the session.
#[test]
fn a_subscription_made_inside_does_not_deliver_outside() {
    let bench = Bench::new();
    let app = any(&bench, "app");
    bench.policy(INSIDE);
    let mut inside = bench.connect(&app, resume("a"));
    inside.subscribed(&bench, "t", Qos::AtMostOnce);
    inside.lose(&bench);
    let mut outside = Raw::new(&bench, &app, "192.0.2.1", resume("a"));
    outside.pump(&bench, Waker::noop());
    bench.connect(&app, connect("sender")).publish(&bench, "t", b"x", Qos::AtMostOnce);
    outside.pump(&bench, Waker::noop());
    assert_eq!(outside.sent().1, Vec::<String>::new());
}

/// After a restart nobody has an address yet; that is no reason to forget a subscription.
#[test]
fn a_subscription_granted_by_address_survives_a_restart() {
    let bench = Bench::new();
    let leaf = bench.add("app", Kind::Application);
    bench.policy(INSIDE);
    let mut client = bench.connect(&bench.identity(&leaf), resume("a"));
    client.subscribed(&bench, "t", Qos::AtLeastOnce);
    client.lose(&bench);
    let bench = bench.reopen();
    let app = bench.identity(&leaf);
    let (mut client, got) = bench.try_connect(&app, resume("a"));
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS });
    bench.connect(&app, connect("sender")).publish(&bench, "t", b"x", Qos::AtLeastOnce);
    assert_eq!(payloads(&client.recv(&bench)), ["x"]);
}

/// A CONNECT that is refused changes nothing for the connection that is there.
#[test]
fn a_refused_connect_does_not_lend_its_address() {
    let bench = Bench::new();
    let app = any(&bench, "app");
    bench.policy(
        r#"permit (principal, action == Action::"publish", resource)
               when { context has source && context.source.isInRange(ip("127.0.0.0/8")) };
           forbid (principal, action == Action::"connect", resource)
               unless { context has source && context.source.isInRange(ip("127.0.0.0/8")) };"#,
    );
    let mut live = bench.connect(&app, resume("a"));
    let refused = Raw::new(&bench, &app, "192.0.2.1", resume("a"));
    assert!(refused.connection.ended().is_some());
    assert_eq!(live.publish(&bench, "t", b"x", Qos::AtLeastOnce), [Got::PubAck(1, Reason::NO_MATCHING_SUBSCRIBERS)]);
}

/// A decision of the old policy must not be stamped with the new one's number.
#[test]
fn a_subscription_decided_while_policy_changes_is_not_taken_for_proven() {
    let readers = r#"permit (principal, action in [Action::"publish", Action::"subscribe"], resource);"#;
    let writers =
        r#"permit (principal == Identity::"writer", action in [Action::"publish", Action::"subscribe"], resource);"#;
    for _ in 0..20 {
        let bench = Bench::new();
        let (reader, writer) = (any(&bench, "reader"), any(&bench, "writer"));
        bench.policy(readers);
        let filters: Vec<String> = (0..256).map(|n| format!("t/{n}")).collect();
        let mut raw = Raw::new(&bench, &reader, "127.0.0.1", resume("r"));
        std::thread::scope(|scope| {
            let subscriber = scope.spawn(|| {
                let option = |filter| SubscriptionRequest {
                    filter,
                    options: SubscriptionOptions { qos: Qos::AtLeastOnce, ..Default::default() },
                };
                let requests = filters.iter().map(|filter| option(filter.as_str())).collect();
                raw.send(&bench, &Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, requests }));
            });
            bench.policy(writers);
            subscriber.join().unwrap();
        });
        raw.connection.lost(bench.now, "test");
        let mut sender = bench.connect(&writer, connect("w"));
        for filter in &filters {
            sender.publish(&bench, filter, filter.as_bytes(), Qos::AtMostOnce);
            sender.publish(&bench, filter, filter.as_bytes(), Qos::AtLeastOnce);
        }
        let (_back, got) = bench.try_connect(&reader, resume("r"));
        assert_eq!(payloads(&got), Vec::<String>::new(), "policy does not let the reader see them");
    }
}

/// A message that cannot be taken in any case must not cost those that wait.
#[test]
fn a_message_too_large_for_a_queue_drops_nothing_from_it() {
    let bench = Bench::with(|config| config.limits.queue_bytes_per_session = 1024);
    let app = any(&bench, "app");
    let mut away = bench.connect(&app, resume("away"));
    away.subscribed(&bench, "t", Qos::AtLeastOnce);
    away.lose(&bench);
    let mut sender = bench.connect(&app, connect("sender"));
    for payload in [&b"1"[..], b"2", &[b'x'; 2000]] {
        sender.publish(&bench, "t", payload, Qos::AtLeastOnce);
    }
    let (_client, got) = bench.try_connect(&app, resume("away"));
    assert_eq!(payloads(&got), ["1", "2"]);
}

/// The client reads as fast as it can, so nothing may be dropped: the search has to wait for the queue.
#[test]
fn retained_messages_are_not_dropped_by_their_own_number() {
    let bench = Bench::with(|config| config.limits.queue_messages_per_session = 10);
    let app = any(&bench, "app");
    let mut sender = bench.connect(&app, connect("sender"));
    for n in 0..20 {
        sender.send(
            &bench,
            &Packet::Publish(Publish { retain: true, ..publish(&format!("r/{n:02}"), b"x", Qos::AtMostOnce, 0) }),
        );
    }
    let mut client = bench.connect(&app, connect("a"));
    let got = client.subscribe(&bench, "r/#", SubscriptionOptions::default(), None);
    assert_eq!(payloads(&got).len(), 20);
}

/// A connection that says it sleeps has nothing to do, or somebody will wake it.
#[test]
fn retained_messages_are_not_left_lying_behind_a_full_queue() {
    let bench = Bench::new();
    let app = any(&bench, "app");
    let mut sender = bench.connect(&app, connect("sender"));
    sender.send(&bench, &Packet::Publish(Publish { retain: true, ..publish("r", b"retained", Qos::AtMostOnce, 0) }));
    let mut client = Raw::new(&bench, &app, "127.0.0.1", connect("a"));
    let subscribe = |filter, packet_id| {
        let requests = vec![SubscriptionRequest { filter, options: SubscriptionOptions::default() }];
        Packet::Subscribe(Subscribe { packet_id, subscription_id: None, requests })
    };
    client.send(&bench, &subscribe("live", 1));
    client.pump(&bench, Waker::noop());
    for _ in 0..300 {
        sender.send(&bench, &Packet::Publish(publish("live", b"x", Qos::AtMostOnce, 0)));
    }
    assert!(bench.hub.journal().flush(Duration::from_secs(10)));
    client.send(&bench, &subscribe("r", 2));
    let count = Arc::new(Count::default());
    client.pump(&bench, &Waker::from(Arc::clone(&count)));
    std::thread::sleep(Duration::from_millis(100));
    let retained = client.sent().1.iter().any(|payload| payload == "retained");
    assert!(retained || count.0.load(SeqCst) > 0, "asleep with a retained message to send");
}

/// The configuration reference: "sessions of one gateway or application", and so its rates.
#[test]
fn a_gateway_has_the_limits_that_are_promised_to_it() {
    let bench = Bench::new();
    let gateway = bench.identity(&bench.add("gw", Kind::Gateway));
    let clients: Vec<_> = (0..5).map(|n| bench.try_connect(&gateway, connect(&format!("gw:{n}")))).collect();
    for (n, (_, got)) in clients.iter().enumerate() {
        assert_eq!(got[0], Got::ConnAck { present: false, reason: Reason::SUCCESS }, "session {n}");
    }
}

/// What waits for PUBREL is memory and disk like any other; nothing bounds it now but the number of identifiers.
#[test]
fn messages_held_for_pubrel_are_bounded() {
    let bench = Bench::with(|config| {
        config.limits.queue_bytes_per_session = 64 * 1024;
        config.limits.queue_bytes_total = 64 * 1024;
        config.limits.queue_messages_per_session = 100;
    });
    let device = bench.device("lamp-1");
    let payload = [0; 1024];
    let mut held = 0;
    for _ in 0..50 {
        // Each connection has a Receive Maximum of its own; what is held belongs to the session.
        let mut client = bench.connect(&device, resume("lamp-1"));
        for _ in 0..20 {
            held += 1;
            client.send(&bench, &Packet::Publish(publish("devices/lamp-1/x", &payload, Qos::ExactlyOnce, held)));
        }
        let got = client.recv(&bench);
        if got.iter().any(|got| !matches!(got, Got::PubRec(_, Reason::SUCCESS))) {
            return;
        }
        client.lose(&bench);
    }
    panic!("{held} messages of 1 KiB are held for a session that may queue 100, and none was refused");
}

/// "Nothing is half-created": an identity whose certificate could not be issued could never get one, for the name is taken.
#[test]
fn a_device_whose_bundle_fails_is_not_registered() {
    let bench = Bench::new();
    let add = |days| AdminRequest::DeviceAdd {
        name: "lamp-1".parse().unwrap(),
        kind: Kind::Device,
        fields: Fields::default(),
        bundle: true,
        days: Some(days),
    };
    assert!(bench.administer(add(100_000)).is_err());
    bench.administer(add(30)).unwrap();
}

/// A client that cannot take its CONNACK loses a connection, not the session that waits for it.
#[test]
fn a_connack_that_is_too_large_does_not_end_the_session() {
    let bench = Bench::new();
    let app = any(&bench, "app");
    bench.connect(&app, resume("a")).lose(&bench);
    drop(Raw::new(&bench, &app, "127.0.0.1", Connect { maximum_packet_bytes: Some(5), ..resume("a") }));
    let (_client, got) = bench.try_connect(&app, resume("a"));
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS });
}

/// One packet may ask for 256 decisions. Whatever meters messages has to meter these: a worker serves thousands.
#[test]
fn filters_cost_what_messages_cost() {
    let bench = Bench::with(|config| {
        config.limits.device_messages_per_s = 10;
        config.limits.device_messages_burst = 10;
    });
    let device = bench.device("lamp-1");
    let mut client = Raw::new(&bench, &device, "127.0.0.1", connect("lamp-1"));
    let started = Instant::now();
    for packet_id in 1..=40 {
        let option = SubscriptionRequest { filter: "devices/lamp-1/+", options: SubscriptionOptions::default() };
        let requests = vec![option; 256];
        client.send(&bench, &Packet::Subscribe(Subscribe { packet_id, subscription_id: None, requests }));
    }
    assert!(
        client.connection.ended().is_some(),
        "{} filters were decided in one go, {:?}",
        40 * 256,
        started.elapsed()
    );
}

/// Exactly once: the client forgets a message at PUBCOMP, so that must not come before what PUBREL led to is on disk; also
/// not on a second connection, on which the identifier is unknown already.
#[test]
fn a_repeated_pubrel_is_answered_no_sooner_than_the_first() {
    let bench = Bench::new();
    let app = any(&bench, "app");
    let mut first = bench.connect(&app, resume("sender"));
    assert_eq!(first.publish(&bench, "t", b"x", Qos::ExactlyOnce), [Got::PubRec(1, Reason::SUCCESS)]);
    let release = stall(&bench, &app);
    first.ack(&bench, Packet::PubRel, 1);
    let mut second = Raw::new(&bench, &app, "127.0.0.1", resume("sender"));
    second.send(
        &bench,
        &Packet::PubRel(portreeve_mqtt::Ack { packet_id: 1, reason: Reason::SUCCESS, reason_string: None }),
    );
    second.pump(&bench, Waker::noop());
    assert_eq!(second.sent().0, [2], "CONNACK, and PUBCOMP (7) only after the commit");
    drop(release);
    assert!(bench.hub.journal().flush(Duration::from_secs(10)));
    second.pump(&bench, Waker::noop());
    assert_eq!(second.sent().0, [7]);
}

/// Who is told that its session is new must not find the old one after a crash, whatever that one's will delays.
#[test]
fn a_clean_start_over_a_session_with_a_will_waits_for_the_disk() {
    let bench = Bench::new();
    let app = any(&bench, "app");
    let will = common::Will {
        topic: "gone",
        payload: b"",
        qos: Qos::AtMostOnce,
        retain: false,
        delay_s: 0,
        properties: Default::default(),
    };
    let first = bench.connect(&app, Connect { will: Some(will), ..resume("a") });
    let release = stall(&bench, &app);
    let mut second = Raw::new(&bench, &app, "127.0.0.1", connect("a"));
    second.pump(&bench, Waker::noop());
    assert_eq!(second.sent().0, Vec::<u8>::new());
    drop(release);
    assert!(bench.hub.journal().flush(Duration::from_secs(10)));
    second.pump(&bench, Waker::noop());
    assert_eq!(second.sent().0, [2]);
    first.lose(&bench);
}

/// ISVS-4.2.2: what policy takes away while it is asked for is not stored behind that.
#[test]
fn a_subscription_that_was_withdrawn_does_not_come_back_with_a_restart() {
    for _ in 0..10 {
        let bench = Bench::new();
        let reader = any(&bench, "reader");
        let filters: Vec<String> = (0..256).map(|n| format!("t/{n}")).collect();
        let mut raw = Raw::new(&bench, &reader, "127.0.0.1", resume("r"));
        std::thread::scope(|scope| {
            let subscriber = scope.spawn(|| {
                let options = SubscriptionOptions::default();
                let requests = filters.iter().map(|filter| SubscriptionRequest { filter, options }).collect();
                raw.send(&bench, &Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, requests }));
            });
            bench.policy(r#"forbid (principal, action, resource);"#);
            subscriber.join().unwrap();
        });
        raw.connection.lost(bench.now, "test");
        drop((raw, reader));
        let live = bench.hub.gauges().subscriptions.load(SeqCst);
        let bench = bench.reopen();
        assert_eq!(bench.hub.gauges().subscriptions.load(SeqCst), live);
    }
}

/// A crash between the begin of a session and the end of the one in whose place it came leaves both on disk.
#[test]
fn of_two_sessions_under_one_name_the_newer_is_recovered() {
    let bench = Bench::new();
    let leaf = bench.add("app", Kind::Application);
    bench.policy(r#"permit (principal, action, resource);"#);
    let mut client = bench.connect(&bench.identity(&leaf), resume("a"));
    client.subscribed(&bench, "t", Qos::AtLeastOnce);
    drop(client);
    let bench = bench.reopen_with(|store| {
        let old = store.load().unwrap().sessions.remove(0);
        let id = portreeve_store::SessionId(old.id.0 + 1);
        store.commit(&[portreeve_store::SessionOp::PutSession { id, row: old.row }]).unwrap();
    });
    assert_eq!(bench.hub.gauges().subscriptions.load(SeqCst), 0, "the older one's");
    let (_client, got) = bench.try_connect(&bench.identity(&leaf), resume("a"));
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS });
    let bench = {
        drop(_client);
        bench.reopen()
    };
    assert_eq!(bench.hub.limits_table().iter().find(|row| row.name == "sessions_total").unwrap().used, 1);
}

/// A SUBACK is a promise: also where the subscription was made by a connection that ended before it was answered.
#[test]
fn a_subscription_that_nobody_was_told_of_is_kept_when_it_is_asked_for_again() {
    let bench = Bench::new();
    let leaf = bench.add("app", Kind::Application);
    bench.policy(r#"permit (principal, action, resource);"#);
    let app = bench.identity(&leaf);
    let filters: Vec<String> = (0..200).map(|n| format!("t/{n}")).collect();
    let options = SubscriptionOptions::default();
    let requests = filters.iter().map(|filter| SubscriptionRequest { filter, options }).collect();
    let mut bytes = Vec::new();
    let packets =
        [Packet::Connect(resume("a")), Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, requests })];
    packets.iter().for_each(|packet| encode::any(&mut bytes, Version::V5, packet).unwrap());
    let peer = Peer { address: [127, 0, 0, 1].into(), transport: "mqtt" };
    let mut cut_off = Connection::new(Arc::clone(&bench.hub), app.clone(), peer, bench.now);
    cut_off.receive(bench.now, &bytes, &mut Vec::new());
    assert!(cut_off.is_interrupted(), "not all of it fits into a turn");
    cut_off.lost(bench.now, "test");
    let mut again = bench.connect(&app, resume("a"));
    again.subscribed(&bench, "t/0", Qos::AtMostOnce);
    let live = bench.hub.gauges().subscriptions.load(SeqCst);
    drop((cut_off, again, app));
    let bench = bench.reopen();
    assert!(live > 0);
    assert_eq!(bench.hub.gauges().subscriptions.load(SeqCst), live);
}
