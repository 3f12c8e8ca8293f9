//! What one client can take of what all share, and what it cannot (CSA-COM-04).

mod common;

use std::time::Duration;

use common::{Bench, Got, connect, publish, resume};
use portreeve_mqtt::{Ack, Packet, Reason, SubscriptionOptions};
use portreeve_types::{Kind, Qos};

fn written(bench: &Bench) -> u64 {
    assert!(bench.hub.journal().flush(Duration::from_secs(10)));
    bench.hub.journal().stats().ops
}

/// Publishes a retained message at QoS 1; the answer.
fn retain(client: &mut common::Client, bench: &Bench, topic: &str, payload: &[u8]) -> Reason {
    client.send(
        bench,
        &Packet::Publish(portreeve_mqtt::Publish { retain: true, ..publish(topic, payload, Qos::AtLeastOnce, 9) }),
    );
    match client.recv(bench)[..] {
        [Got::PubAck(9, reason)] => reason,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_leaves_no_more_than_its_share_of_retained_messages() {
    let bench = Bench::with(|config| config.limits.device_retained_messages = 2);
    let (device, app) = (bench.device("lamp"), bench.application("app"));
    let (mut device, mut app) = (bench.connect(&device, connect("lamp")), bench.connect(&app, connect("app")));
    for topic in ["devices/lamp/a", "devices/lamp/b", "devices/lamp/a"] {
        assert_eq!(retain(&mut device, &bench, topic, b"x"), Reason::NO_MATCHING_SUBSCRIBERS, "{topic}");
    }
    assert_eq!(retain(&mut device, &bench, "devices/lamp/c", b"x"), Reason::QUOTA_EXCEEDED);
    // What others have left is not counted, and what is taken away or replaced makes room.
    assert_eq!(retain(&mut app, &bench, "devices/lamp/d", b"x"), Reason::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(retain(&mut device, &bench, "devices/lamp/d", b"x"), Reason::QUOTA_EXCEEDED, "one more of its own");
    assert_eq!(retain(&mut device, &bench, "devices/lamp/a", b""), Reason::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(retain(&mut device, &bench, "devices/lamp/d", b"x"), Reason::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(retain(&mut app, &bench, "devices/lamp/b", b"x"), Reason::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(retain(&mut device, &bench, "devices/lamp/c", b"x"), Reason::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(bench.hub.limits_table().iter().find(|row| row.name == "device_retained_messages").unwrap().used, 2);
}

#[test]
fn shares_are_counted_in_bytes_too_and_survive_a_restart() {
    let bench = Bench::with(|config| config.limits.application_retained_bytes = 2000);
    let leaf = bench.add("app", Kind::Application);
    bench.policy(r#"permit (principal, action, resource);"#);
    let mut app = bench.connect(&bench.identity(&leaf), connect("app"));
    assert_eq!(retain(&mut app, &bench, "a", &[0; 1000]), Reason::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(retain(&mut app, &bench, "b", &[0; 1000]), Reason::QUOTA_EXCEEDED);
    drop(app);
    let bench = bench.reopen();
    let mut app = bench.connect(&bench.identity(&leaf), connect("app"));
    assert_eq!(retain(&mut app, &bench, "b", &[0; 1000]), Reason::QUOTA_EXCEEDED);
    assert_eq!(retain(&mut app, &bench, "a", &[0; 1200]), Reason::NO_MATCHING_SUBSCRIBERS, "in place of its own");
}

/// A device that is cut off for its rate, or leaves before that, begins again with what it had left.
#[test]
fn coming_back_does_not_renew_a_rate() {
    let mut bench = Bench::with(|config| {
        config.limits.device_messages_per_s = 1;
        config.limits.device_messages_burst = 10;
    });
    let identity = bench.device("lamp");
    let mut sent = 0;
    for _ in 0..5 {
        let mut client = bench.connect(&identity, connect("lamp"));
        for _ in 0..4 {
            client.publish(&bench, "devices/lamp/t", b"x", Qos::AtMostOnce);
            sent += u32::from(!client.is_over());
        }
        client.lose(&bench);
    }
    assert_eq!(sent, 10);
    bench.advance(Duration::from_secs(3));
    let mut client = bench.connect(&identity, connect("lamp"));
    for _ in 0..3 {
        client.publish(&bench, "devices/lamp/t", b"x", Qos::AtMostOnce);
        assert!(!client.is_over());
    }
}

/// What costs the hub an answer counts, also where nothing is published.
#[test]
fn pings_and_acknowledgements_of_nothing_count_against_the_rate() {
    let packets = [
        Packet::PingReq,
        Packet::PubRel(Ack { packet_id: 7, reason: Reason::SUCCESS, reason_string: None }),
        Packet::PubRec(Ack { packet_id: 7, reason: Reason::SUCCESS, reason_string: None }),
    ];
    for packet in packets {
        let bench = Bench::with(|config| config.limits.device_messages_burst = 10);
        let mut client = bench.connect(&bench.device("lamp"), connect("lamp"));
        (0..10).for_each(|_| client.send(&bench, &packet));
        assert_eq!(client.recv(&bench).len(), 10, "{packet:?}");
        client.send(&bench, &packet);
        assert_eq!(client.recv(&bench), [Got::Disconnect(Reason::MESSAGE_RATE_TOO_HIGH)], "{packet:?}");
    }
}

/// A client that asks again for what it has changes nothing, and gets the retained messages again.
#[test]
fn a_subscription_that_is_there_already_is_not_made_again() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut client = bench.connect(&app, resume("app"));
    retain(&mut client, &bench, "t/1", b"kept");
    let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..Default::default() };
    client.subscribe(&bench, "t/+", options, Some(1));
    client.ack(&bench, Packet::PubAck, 1);
    let before = written(&bench);
    let got = client.subscribe(&bench, "t/+", options, Some(1));
    assert_eq!(got[0], Got::SubAck(vec![Reason(1)]));
    assert_eq!(common::payloads(&got), ["kept"]);
    client.ack(&bench, Packet::PubAck, 2);
    // The delivery's body, row, and their end; no subscription.
    assert_eq!(written(&bench) - before, 4);
    // With other options, or another identifier, it is another one.
    let got = client.subscribe(&bench, "t/+", SubscriptionOptions::default(), Some(2));
    assert_eq!(got[0], Got::SubAck(vec![Reason(0)]));
    assert!(matches!(&got[1], Got::Publish { qos: Qos::AtMostOnce, ids, .. } if ids == &[2]), "{got:?}");
}

/// A QoS 2 message may be replaced before its PUBREL, but not by more than there is room for.
#[test]
fn a_held_message_is_not_replaced_beyond_the_bound() {
    let bench = Bench::with(|config| config.limits.queue_bytes_per_session = 64 * 1024);
    let identity = bench.device("lamp");
    let connect = portreeve_mqtt::Connect { version: portreeve_mqtt::Version::V311, ..resume("lamp") };
    let mut client = bench.connect(&identity, connect);
    let mut send = |id, payload: &[u8]| {
        client.send(&bench, &Packet::Publish(publish("devices/lamp/t", payload, Qos::ExactlyOnce, id)));
        (client.recv(&bench), client.is_over())
    };
    for id in 1..=40 {
        assert_eq!(send(id, b"x").0, [Got::PubRec(id, Reason::SUCCESS)]);
    }
    let large = [0; 40_000];
    assert_eq!(send(1, &large).0, [Got::PubRec(1, Reason::SUCCESS)]);
    assert_eq!(send(1, &large).0, [Got::PubRec(1, Reason::SUCCESS)], "the same again");
    assert!(send(2, &large).1, "refused: a 3.1.1 client is told by the end of its connection");
    assert!(bench.hub.gauges().queue_bytes() < 64 * 1024);
}

/// What comes on a connection whose session has ended belongs to nobody.
#[test]
fn a_session_that_has_ended_holds_nothing_more() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut old = bench.connect(&app, connect("a"));
    let new = bench.connect(&app, connect("a"));
    // Read before the old connection hears that it is replaced.
    old.send(&bench, &Packet::Publish(publish("t", b"x", Qos::ExactlyOnce, 1)));
    assert!(old.is_over());
    old.lose(&bench);
    new.lose(&bench);
    assert_eq!(bench.hub.gauges().queue_bytes(), 0);
}

/// §3.3.4 leaves the choice: a copy for each of a few overlapping subscriptions, one for all of many.
#[test]
fn many_overlapping_subscriptions_make_one_copy() {
    let bench = Bench::new();
    let app = bench.application("app");
    for (count, copies) in [(8, 8), (9, 1)] {
        let mut client = bench.connect(&app, connect("a"));
        for n in 0..count {
            let filter = (0..4).map(|bit| if n >> bit & 1 == 1 { "+" } else { "x" }).collect::<Vec<_>>().join("/");
            client.subscribe(&bench, &format!("{filter}/#"), SubscriptionOptions::default(), Some(n + 1));
        }
        let got = client.publish(&bench, "x/x/x/x/y", b"m", Qos::AtMostOnce);
        assert_eq!(got.len(), copies, "{got:?}");
        let mut ids: Vec<u32> = got
            .iter()
            .flat_map(|got| match got {
                Got::Publish { ids, .. } => ids.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=count).collect::<Vec<_>>());
        client.lose(&bench);
    }
}

/// What others have queued may leave no room at all; the search for retained messages goes on when there is some again.
#[test]
fn retained_messages_wait_for_room_that_others_use() {
    let bench = Bench::with(|config| {
        config.limits.queue_bytes_total = 4096;
        config.limits.queue_bytes_per_session = 4096;
    });
    let app = bench.application("app");
    let mut sender = bench.connect(&app, connect("sender"));
    for n in 0..3 {
        retain(&mut sender, &bench, &format!("kept/{n}"), &[b'k'; 100]);
    }
    let mut hoarder = bench.connect(&app, resume("hoarder"));
    hoarder.subscribed(&bench, "fill", Qos::AtLeastOnce);
    hoarder.lose(&bench);
    for size in [2000, 1000, 500, 250, 125, 60, 30, 15, 7, 3] {
        sender.publish(&bench, "fill", &vec![0; size], Qos::AtLeastOnce);
    }
    let mut reader = bench.connect(&app, resume("reader"));
    let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..Default::default() };
    let got = reader.subscribe(&bench, "kept/+", options, None);
    assert_eq!(got, [Got::SubAck(vec![Reason(1)])], "no room");
    // A clean start gives the hoarder's room back.
    bench.connect(&app, connect("hoarder")).lose(&bench);
    assert_eq!(common::payloads(&reader.recv(&bench)).len(), 3);
}
