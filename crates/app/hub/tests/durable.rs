//! What a restart finds: everything that was acknowledged, under the identifiers it first had.

mod common;

use common::{Bench, Got, SubscriptionOptions, Will, connect, payloads, publish, resume};
use portreeve_mqtt::{Connect, Packet, Publish, Reason};
use portreeve_types::{Kind, Qos};

fn app(bench: &Bench) -> (Vec<u8>, portreeve_hub::DeviceIdentity) {
    let leaf = bench.add("app", Kind::Application);
    bench.policy(
        r#"permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);"#,
    );
    let identity = bench.identity(&leaf);
    (leaf, identity)
}

#[test]
fn queued_messages_survive_a_restart_in_order() {
    let bench = Bench::new();
    let (leaf, identity) = app(&bench);
    let mut sleeper = bench.connect(&identity, resume("sleeper"));
    sleeper.subscribed(&bench, "t/#", Qos::ExactlyOnce);
    sleeper.lose(&bench);
    let mut sender = bench.connect(&identity, connect("sender"));
    sender.publish(&bench, "t/0", b"zero", Qos::AtMostOnce);
    sender.publish(&bench, "t/1", b"one", Qos::AtLeastOnce);
    sender.publish_exactly_once(&bench, "t/2", b"two");
    sender.disconnect(&bench);
    let bench = bench.reopen();
    let (_client, got) = bench.try_connect(&bench.identity(&leaf), resume("sleeper"));
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS });
    assert_eq!(payloads(&got), ["one", "two"]);
    assert!(matches!(&got[1], Got::Publish { dup: false, id: 1, .. }), "never sent before: {got:?}");
}

/// [MQTT-4.4.0-1] [MQTT-3.3.1-1]: the same identifier and DUP, else a client would take QoS 2 for a new message.
#[test]
fn what_was_in_flight_comes_again_under_its_identifier() {
    let bench = Bench::new();
    let (leaf, identity) = app(&bench);
    let mut receiver = bench.connect(&identity, resume("receiver"));
    receiver.subscribed(&bench, "t", Qos::ExactlyOnce);
    let mut sender = bench.connect(&identity, connect("sender"));
    for payload in [&b"a"[..], b"b", b"c"] {
        sender.publish_exactly_once(&bench, "t", payload);
    }
    let first = receiver.recv(&bench);
    assert_eq!(payloads(&first), ["a", "b", "c"]);
    receiver.ack(&bench, Packet::PubRec, 2);
    assert_eq!(receiver.recv(&bench), [Got::PubRel(2, Reason::SUCCESS)]);
    drop((receiver, sender));
    let bench = bench.reopen();
    let (mut receiver, got) = bench.try_connect(&bench.identity(&leaf), resume("receiver"));
    let again = got.iter().filter_map(|got| match got {
        Got::Publish { id, dup, payload, .. } => Some((*id, *dup, payload.clone())),
        _ => None,
    });
    assert_eq!(again.collect::<Vec<_>>(), [(1, true, b"a".to_vec()), (3, true, b"c".to_vec())]);
    assert!(got.contains(&Got::PubRel(2, Reason::SUCCESS)), "{got:?}");
    for id in [1, 3] {
        receiver.ack(&bench, Packet::PubRec, id);
        assert_eq!(receiver.recv(&bench), [Got::PubRel(id, Reason::SUCCESS)]);
    }
    for id in [1, 2, 3] {
        receiver.ack(&bench, Packet::PubComp, id);
    }
    receiver.lose(&bench);
    let bench = bench.reopen();
    let (_client, got) = bench.try_connect(&bench.identity(&leaf), resume("receiver"));
    assert_eq!(got.len(), 1, "nothing is owed any more: {got:?}");
}

/// The publisher's half of QoS 2 across a restart: taken before, routed once [MQTT-4.3.3-10].
#[test]
fn a_held_publish_goes_out_once_although_everybody_restarts() {
    let bench = Bench::new();
    let (leaf, identity) = app(&bench);
    let mut receiver = bench.connect(&identity, resume("receiver"));
    receiver.subscribed(&bench, "t", Qos::ExactlyOnce);
    receiver.lose(&bench);
    let mut sender = bench.connect(&identity, resume("sender"));
    sender.send(&bench, &Packet::Publish(publish("t", b"once", Qos::ExactlyOnce, 7)));
    assert_eq!(sender.recv(&bench), [Got::PubRec(7, Reason::SUCCESS)]);
    sender.lose(&bench);
    let bench = bench.reopen();
    let mut sender = bench.connect(&bench.identity(&leaf), resume("sender"));
    sender.send(&bench, &Packet::Publish(Publish { dup: true, ..publish("t", b"once", Qos::ExactlyOnce, 7) }));
    assert_eq!(sender.recv(&bench), [Got::PubRec(7, Reason::SUCCESS)]);
    sender.ack(&bench, Packet::PubRel, 7);
    assert_eq!(sender.recv(&bench), [Got::PubComp(7, Reason::SUCCESS)]);
    sender.lose(&bench);
    let bench = bench.reopen();
    let mut sender = bench.connect(&bench.identity(&leaf), resume("sender"));
    sender.ack(&bench, Packet::PubRel, 7);
    assert_eq!(
        sender.recv(&bench),
        [Got::PubComp(7, Reason::SUCCESS)],
        "a repeated PUBREL is answered and does nothing"
    );
    let (_client, got) = bench.try_connect(&bench.identity(&leaf), resume("receiver"));
    assert_eq!(payloads(&got), ["once"]);
}

#[test]
fn retained_messages_and_subscriptions_survive_and_their_removal_does_too() {
    let bench = Bench::new();
    let (leaf, identity) = app(&bench);
    let mut client = bench.connect(&identity, resume("a"));
    client.subscribed(&bench, "keep/+", Qos::AtLeastOnce);
    client.subscribed(&bench, "drop/+", Qos::AtLeastOnce);
    client.unsubscribe(&bench, "drop/+");
    for (topic, payload, id) in [("r/1", &b"one"[..], 11), ("r/2", b"two", 12), ("r/2", b"", 13), ("r/1", b"uno", 14)] {
        client
            .send(&bench, &Packet::Publish(Publish { retain: true, ..publish(topic, payload, Qos::AtLeastOnce, id) }));
        client.recv(&bench);
    }
    client.lose(&bench);
    let bench = bench.reopen();
    let identity = bench.identity(&leaf);
    let mut client = bench.connect(&identity, resume("a"));
    let got = client.subscribe(&bench, "r/#", SubscriptionOptions::default(), None);
    assert_eq!(payloads(&got), ["uno"]);
    let mut sender = bench.connect(&identity, connect("b"));
    sender.publish(&bench, "keep/1", b"yes", Qos::AtLeastOnce);
    sender.publish(&bench, "drop/1", b"no", Qos::AtLeastOnce);
    assert_eq!(payloads(&client.recv(&bench)), ["yes"]);
}

#[test]
fn a_clean_start_forgets_across_a_restart() {
    let bench = Bench::new();
    let (leaf, identity) = app(&bench);
    let mut old = bench.connect(&identity, resume("a"));
    old.subscribed(&bench, "t", Qos::AtLeastOnce);
    old.lose(&bench);
    bench.connect(&identity, Connect { clean_start: true, ..resume("a") }).lose(&bench);
    let bench = bench.reopen();
    let identity = bench.identity(&leaf);
    let mut sender = bench.connect(&identity, connect("b"));
    assert_eq!(sender.publish(&bench, "t", b"x", Qos::AtLeastOnce), [Got::PubAck(1, Reason::NO_MATCHING_SUBSCRIBERS)]);
}

/// A crash is an end without DISCONNECT: the will goes out after the restart.
#[test]
fn a_will_survives_a_crash_of_the_hub() {
    let bench = Bench::new();
    let (leaf, identity) = app(&bench);
    let mut watcher = bench.connect(&identity, resume("watcher"));
    watcher.subscribed(&bench, "gone", Qos::AtLeastOnce);
    let will = Will {
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: "gone",
        payload: b"gone",
        delay_s: 0,
        properties: Default::default(),
    };
    let client = bench.connect(&identity, Connect { will: Some(will), ..resume("a") });
    watcher.lose(&bench);
    assert!(bench.hub.finish(std::time::Duration::from_secs(10)));
    // As `kill -9` would: nobody runs the connection's end.
    std::mem::forget(client);
    let mut bench = bench.reopen_after_crash();
    bench.advance(std::time::Duration::from_millis(1));
    let (_client, got) = bench.try_connect(&bench.identity(&leaf), resume("watcher"));
    assert_eq!(payloads(&got), ["gone"]);
}

/// A stored body is shared by its receivers and leaves the disk with the last of them.
#[test]
fn nothing_is_left_on_disk_once_all_is_delivered() {
    let bench = Bench::new();
    let (leaf, identity) = app(&bench);
    for name in ["a", "b"] {
        let mut client = bench.connect(&identity, resume(name));
        client.subscribed(&bench, "t", Qos::AtLeastOnce);
        client.lose(&bench);
    }
    let mut sender = bench.connect(&identity, connect("sender"));
    sender.publish(&bench, "t", b"x", Qos::AtLeastOnce);
    sender.disconnect(&bench);
    for name in ["a", "b"] {
        let (mut client, got) = bench.try_connect(&identity, resume(name));
        assert_eq!(payloads(&got), ["x"]);
        client.ack(&bench, Packet::PubAck, 1);
        client.lose(&bench);
    }
    drop(identity);
    let bench = bench.reopen();
    let used = |name| bench.hub.limits_table().into_iter().find(|row| row.name == name).unwrap().used;
    assert_eq!((used("queue_bytes_total"), used("queue_messages_per_session")), (0, 0));
    let (_client, got) = bench.try_connect(&bench.identity(&leaf), resume("a"));
    assert_eq!(got.len(), 1, "{got:?}");
}
