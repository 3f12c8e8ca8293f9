//! Many packets in one read: what is looked up, counted and stored once for all of them is right for each.

#![allow(clippy::unwrap_used, missing_docs, reason = "helpers of tests, outside the test functions")]

mod common;

use std::{sync::Barrier, time::Duration};

use common::{Bench, Client, Got, SubscriptionOptions, connect, payloads, publish, resume};
use portreeve_hub::DeviceIdentity;
use portreeve_mqtt::{Ack, Packet, Publish, Reason, Subscribe, SubscriptionRequest, Unsubscribe, Version, encode};
use portreeve_types::{Kind, Qos};

/// As one read brings them.
fn bytes(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    packets.iter().for_each(|packet| encode::any(&mut bytes, Version::V5, packet).unwrap());
    bytes
}

/// QoS 1 publications `ids` to `topic`, each with its identifier as payload.
fn publications(topic: &str, ids: std::ops::RangeInclusive<u16>) -> Vec<u8> {
    let texts: Vec<_> = ids.clone().map(|id| id.to_string()).collect();
    let packets: Vec<_> = ids
        .zip(&texts)
        .map(|(id, text)| Packet::Publish(publish(topic, text.as_bytes(), Qos::AtLeastOnce, id)))
        .collect();
    bytes(&packets)
}

fn application(bench: &Bench) -> (Vec<u8>, DeviceIdentity) {
    let leaf = bench.add("app", Kind::Application);
    bench.policy(
        r#"permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);"#,
    );
    let identity = bench.identity(&leaf);
    (leaf, identity)
}

fn used(bench: &Bench, name: &str) -> u64 {
    bench.hub.limits_table().into_iter().find(|row| row.name == name).unwrap().used
}

/// Everything that one read brought is stored before any of it is acknowledged, and a restart finds it in order.
#[test]
fn a_read_of_many_durable_messages_is_kept_whole() {
    let bench = Bench::with(|config| config.limits.inflight_per_session = 200);
    let (leaf, app) = application(&bench);
    let mut sleeper = bench.connect(&app, resume("sleeper"));
    sleeper.subscribed(&bench, "t", Qos::AtLeastOnce);
    sleeper.lose(&bench);
    let mut sender = bench.connect(&app, connect("sender"));
    sender.send_bytes(&bench, &publications("t", 1..=200));
    let expected: Vec<_> = (1..=200).map(|id| Got::PubAck(id, Reason::SUCCESS)).collect();
    assert_eq!(sender.recv(&bench), expected);
    sender.lose(&bench);
    let bench = bench.reopen_after_crash();
    let (_sleeper, got) = bench.try_connect(&bench.identity(&leaf), resume("sleeper"));
    assert_eq!(payloads(&got), (1..=200).map(|id| id.to_string()).collect::<Vec<_>>());
}

/// What one read acknowledges is forgotten, rows and bodies, and the bodies that others still wait for are not.
#[test]
fn a_read_of_many_acknowledgements_deletes_what_nobody_needs() {
    let bench = Bench::with(|config| config.limits.inflight_per_session = 200);
    let (leaf, app) = application(&bench);
    let mut both = ["one", "two"].map(|name| {
        let mut client = bench.connect(&app, resume(name));
        client.subscribed(&bench, "t", Qos::AtLeastOnce);
        client
    });
    bench.connect(&app, connect("sender")).send_bytes(&bench, &publications("t", 1..=100));
    both.iter_mut().for_each(|client| assert_eq!(payloads(&client.recv(&bench)).len(), 100));
    let ack = |packet_id| Packet::PubAck(Ack { packet_id, reason: Reason::SUCCESS, reason_string: None });
    let [mut one, mut two] = both;
    one.send_bytes(&bench, &bytes(&(1..=100).map(ack).collect::<Vec<_>>()));
    two.send_bytes(&bench, &bytes(&(1..=90).map(ack).collect::<Vec<_>>()));
    one.lose(&bench);
    two.lose(&bench);
    let bench = bench.reopen();
    let app = bench.identity(&leaf);
    assert_eq!(bench.try_connect(&app, resume("one")).1.len(), 1);
    let (mut two, got) = bench.try_connect(&app, resume("two"));
    assert_eq!(payloads(&got), (91..=100).map(|id| id.to_string()).collect::<Vec<_>>());
    two.send_bytes(&bench, &bytes(&(91..=100).map(ack).collect::<Vec<_>>()));
    two.lose(&bench);
    // A body more or less would be found by the next start, which counts what it has to clean up.
    let bench = bench.reopen();
    assert_eq!(used(&bench, "queue_bytes_total"), 0);
    assert!(bench.hub.journal().flush(Duration::from_secs(10)));
    assert_eq!(bench.hub.journal().stats().ops, 0, "a start that finds everything in order stores nothing");
}

/// A queue smaller than one read: what came first makes room although it came in the same read.
#[test]
fn a_read_may_be_larger_than_the_queue_it_fills() {
    let bench = Bench::with(|config| config.limits.queue_messages_per_session = 10);
    let (leaf, app) = application(&bench);
    let mut sleeper = bench.connect(&app, resume("sleeper"));
    sleeper.subscribed(&bench, "t", Qos::AtLeastOnce);
    sleeper.lose(&bench);
    let mut sender = bench.connect(&app, connect("sender"));
    sender.send_bytes(&bench, &publications("t", 1..=100));
    let got = sender.recv(&bench);
    assert!(got.iter().all(|got| matches!(got, Got::PubAck(_, Reason::SUCCESS))), "{got:?}");
    sender.lose(&bench);
    let bench = bench.reopen();
    let (_sleeper, got) = bench.try_connect(&bench.identity(&leaf), resume("sleeper"));
    assert_eq!(payloads(&got), (91..=100).map(|id| id.to_string()).collect::<Vec<_>>());
}

/// The hub's bound on queue bytes holds within a read, not only from one to the next.
#[test]
fn one_read_does_not_overdraw_the_hubs_queue_bytes() {
    let bench = Bench::with(|config| config.limits.queue_bytes_total = 1024);
    let (_, app) = application(&bench);
    let mut readers = ["a", "b"].map(|name| {
        let mut reader = bench.connect(&app, connect(name));
        reader.subscribed(&bench, "t", Qos::AtMostOnce);
        reader
    });
    let mut sender = bench.connect(&app, connect("sender"));
    let payload = [b'x'; 99];
    let packets = vec![Packet::Publish(publish("t", &payload, Qos::AtMostOnce, 0)); 50];
    sender.send_bytes(&bench, &bytes(&packets));
    assert!((900..=1024).contains(&used(&bench, "queue_bytes_total")), "{}", used(&bench, "queue_bytes_total"));
    let received: Vec<_> = readers.iter_mut().map(|reader| payloads(&reader.recv(&bench)).len()).collect();
    assert_eq!(received.iter().sum::<usize>(), 10, "{received:?}");
    assert_eq!(used(&bench, "queue_bytes_total"), 0);
}

/// CSA-COM-04: the hub's rate ends in the middle of a read.
#[test]
fn one_read_does_not_overdraw_the_hubs_rate() {
    let bench = Bench::with(|config| config.limits.messages_per_s = 30);
    let (_, app) = application(&bench);
    let mut reader = bench.connect(&app, connect("reader"));
    reader.subscribed(&bench, "t", Qos::AtLeastOnce);
    let mut sender = bench.connect(&app, connect("sender"));
    sender.send_bytes(&bench, &publications("t", 1..=20));
    sender.send_bytes(&bench, &publications("t", 21..=40));
    let refused = |got: &Got| matches!(got, Got::PubAck(_, Reason::QUOTA_EXCEEDED));
    assert_eq!(
        sender.recv(&bench).iter().map(refused).collect::<Vec<_>>(),
        (1..=40).map(|id| id > 30).collect::<Vec<_>>()
    );
    assert_eq!(payloads(&reader.recv(&bench)).len(), 30);
}

/// Everything of a session's life in one read.
#[test]
fn packets_of_one_read_see_what_came_before_them() {
    let bench = Bench::new();
    let (_, app) = application(&bench);
    let mut client = bench.connect(&app, connect("a"));
    let text = |text: &'static str| Packet::Publish(publish("t", text.as_bytes(), Qos::AtMostOnce, 0));
    let requests = vec![SubscriptionRequest { filter: "t", options: SubscriptionOptions::default() }];
    let packets = [
        text("before"),
        Packet::Subscribe(Subscribe { packet_id: 1, subscription_id: None, requests }),
        text("one"),
        text("two"),
        Packet::Unsubscribe(Unsubscribe { packet_id: 2, filters: vec!["t"] }),
        text("after"),
    ];
    client.send_bytes(&bench, &bytes(&packets));
    assert_eq!(payloads(&client.recv(&bench)), ["one", "two"]);
}

/// Whatever shape the filter has, a route that is remembered ends with the subscription that it did not know, and
/// with the end of one that it knew.
#[test]
fn a_remembered_route_follows_every_subscription() {
    let bench = Bench::new();
    let (_, app) = application(&bench);
    let mut sender = bench.connect(&app, connect("sender"));
    let mut reader = bench.connect(&app, connect("reader"));
    let topic = "a/b/c/d/e/f/g/h";
    let mut arrives = |reader: &mut Client| {
        sender.publish(&bench, topic, b"x", Qos::AtMostOnce);
        payloads(&reader.recv(&bench)).len()
    };
    for filter in [
        "#",
        "+/b/#",
        "a/#",
        "a/b/+/d/#",
        topic,
        "a/b/c/d/e/f/g/+",
        "a/b/c/d/e/f/g/h/#",
        "$share/s/a/b/c/#",
        "$share/s/#",
    ] {
        assert_eq!(arrives(&mut reader), 0, "before {filter}");
        reader.subscribed(&bench, filter, Qos::AtMostOnce);
        assert_eq!(arrives(&mut reader), 1, "{filter}");
        reader.unsubscribe(&bench, filter);
    }
    reader.subscribed(&bench, topic, Qos::AtMostOnce);
    assert_eq!(arrives(&mut reader), 1);
    reader.disconnect(&bench);
    let mut reader = bench.connect(&app, connect("reader"));
    assert_eq!(arrives(&mut reader), 0, "the session ended, and its subscriptions with it");
}

/// ISVS-4.2.2: nor does a remembered decision or route outlive the policy it rests on.
#[test]
fn a_remembered_route_ends_with_its_policy() {
    let bench = Bench::new();
    let (_, app) = application(&bench);
    let reader = bench.add("reader", Kind::Application);
    let rules = |may_read: bool, may_write: bool| {
        let rule = |name, action| {
            format!(r#"permit (principal == Identity::"{name}", action == Action::"{action}", resource);"#)
        };
        let rules = [may_read.then(|| rule("reader", "subscribe")), may_write.then(|| rule("app", "publish"))];
        bench.policy(&rules.into_iter().flatten().collect::<String>());
    };
    rules(true, true);
    let mut reader = bench.connect(&bench.identity(&reader), connect("reader"));
    reader.subscribed(&bench, "t", Qos::AtMostOnce);
    let mut sender = bench.connect(&app, connect("sender"));
    let mut heard = |reader: &mut Client| {
        let answer = sender.publish(&bench, "t", b"x", Qos::AtLeastOnce);
        let Got::PubAck(_, reason) = answer[0] else { panic!("{answer:?}") };
        (reason, payloads(&reader.recv(&bench)).len())
    };
    assert_eq!(heard(&mut reader), (Reason::SUCCESS, 1));
    rules(true, false);
    assert_eq!(heard(&mut reader), (Reason::NOT_AUTHORIZED, 0));
    rules(true, true);
    assert_eq!(heard(&mut reader), (Reason::SUCCESS, 1));
    rules(false, true);
    assert_eq!(heard(&mut reader), (Reason::NO_MATCHING_SUBSCRIBERS, 0));
}

/// A client that goes round more topics than are remembered gets each message to its own receivers.
#[test]
fn more_topics_than_are_remembered_are_told_apart() {
    let bench = Bench::with(|config| {
        config.limits.device_messages_per_s = 1_000_000;
        config.limits.device_messages_burst = 1_000_000;
    });
    let (_, app) = application(&bench);
    let mut reader = bench.connect(&app, connect("reader"));
    reader.subscribed(&bench, "devices/lamp/even/#", Qos::AtMostOnce);
    let mut lamp = bench.connect(&bench.device("lamp"), connect("lamp"));
    let topics: Vec<_> =
        (0..700).map(|n| format!("devices/lamp/{}/{n}", if n % 2 == 0 { "even" } else { "odd" })).collect();
    for round in 0..3 {
        let packets: Vec<_> = topics
            .iter()
            .map(|topic| Packet::Publish(Publish { ..publish(topic, topic.as_bytes(), Qos::AtMostOnce, 0) }))
            .collect();
        lamp.send_bytes(&bench, &bytes(&packets));
        let expected: Vec<_> = topics.iter().step_by(2).cloned().collect();
        assert_eq!(payloads(&reader.recv(&bench)), expected, "round {round}");
    }
}

/// While others come and go, who has been told of its subscription gets every message, and who has been told of its end none.
#[test]
fn a_remembered_route_is_right_at_every_moment() {
    let bench = Bench::with(|config| {
        config.limits.application_messages_per_s = 1_000_000;
        config.limits.application_messages_burst = 1_000_000;
    });
    let (_, app) = application(&bench);
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (bench, app, barrier) = (&bench, &app, &barrier);
            scope.spawn(move || {
                let mut other = bench.connect(app, connect(&format!("other-{number}")));
                barrier.wait();
                for round in 0..200 {
                    let filter = ["t/x", "t/+", "#", "$share/g/t/x"][(round + number) % 4];
                    other.subscribed(bench, filter, Qos::AtMostOnce);
                    other.unsubscribe(bench, filter);
                }
            });
        }
        let mut sender = bench.connect(&app, connect("sender"));
        let mut reader = bench.connect(&app, connect("reader"));
        barrier.wait();
        for round in 0..200 {
            reader.subscribed(&bench, "t/x", Qos::AtMostOnce);
            sender.publish(&bench, "t/x", b"x", Qos::AtMostOnce);
            assert_eq!(payloads(&reader.recv(&bench)), ["x"], "round {round}");
            reader.unsubscribe(&bench, "t/x");
            sender.publish(&bench, "t/x", b"x", Qos::AtMostOnce);
            assert!(reader.recv(&bench).is_empty(), "round {round}");
        }
    });
}
