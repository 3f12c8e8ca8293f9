//! Who gets which message, how often, and in which order.

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Wake, Waker},
    time::Duration,
};

use common::{Bench, Got, QOS, SubscriptionOptions, connect, payloads, publish, resume};
use portreeve_mqtt::{Connect, Packet, Publish, Reason, RetainHandling, Version};
use portreeve_types::Qos;

fn options(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions { qos, ..Default::default() }
}

/// [MQTT-3.8.4-8]: the lower of the two.
#[test]
fn the_lower_qos_counts() {
    let bench = Bench::new();
    let app = bench.application("app");
    for granted in QOS {
        for published in QOS {
            let mut receiver = bench.connect(&app, connect("receiver"));
            receiver.subscribed(&bench, "t", granted);
            let mut sender = bench.connect(&app, connect("sender"));
            match published {
                Qos::ExactlyOnce => sender.publish_exactly_once(&bench, "t", b"x"),
                _ => drop(sender.publish(&bench, "t", b"x", published)),
            }
            let got = receiver.recv(&bench);
            assert!(matches!(got[..], [Got::Publish { qos, .. }] if qos == granted.min(published)), "{got:?}");
        }
    }
}

/// [MQTT-3.3.4-2] to [MQTT-3.3.4-5]
#[test]
fn overlapping_subscriptions() {
    let bench = Bench::new();
    let app = bench.application("app");
    let ids = |got: &[Got]| -> Vec<Vec<u32>> {
        let of = |got: &Got| match got {
            Got::Publish { ids, .. } => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                Some(ids)
            }
            _ => None,
        };
        let mut all: Vec<_> = got.iter().filter_map(of).collect();
        all.sort();
        all
    };
    let mut client = bench.connect(&app, connect("a"));
    client.subscribe(&bench, "x/+", options(Qos::AtMostOnce), Some(10));
    client.subscribe(&bench, "x/#", options(Qos::AtLeastOnce), Some(20));
    assert_eq!(ids(&client.publish(&bench, "x/y", b"1", Qos::AtMostOnce)), [vec![10], vec![20]]);
    client.subscribe(&bench, "x/y", options(Qos::AtMostOnce), Some(30));
    assert_eq!(ids(&client.publish(&bench, "x/y", b"1", Qos::AtMostOnce)), [vec![10, 20, 30]]);
    let mut old = bench.connect(&app, Connect { version: Version::V311, ..connect("b") });
    old.subscribed(&bench, "y/+", Qos::AtMostOnce);
    old.subscribed(&bench, "y/#", Qos::ExactlyOnce);
    client.publish_exactly_once(&bench, "y/1", b"1");
    let got = old.recv(&bench);
    assert!(matches!(got[..], [Got::Publish { qos: Qos::ExactlyOnce, .. }]), "[MQTT-3.3.5-1] of 3.1.1: {got:?}");
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_keeps_ones_own_away() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut a = bench.connect(&app, connect("a"));
    let mut b = bench.connect(&app, connect("b"));
    let own = SubscriptionOptions { no_local: true, ..Default::default() };
    a.subscribe(&bench, "t", own, None);
    b.subscribe(&bench, "t", own, None);
    assert!(a.publish(&bench, "t", b"x", Qos::AtMostOnce).is_empty());
    assert_eq!(payloads(&b.recv(&bench)), ["x"]);
}

/// Members come and go in any order: a message goes to one who is there, in turns, and if nobody is, to a kept session
/// (§4.8.2).
#[test]
fn a_share_group_knows_who_is_there() {
    const MEMBERS: usize = 4;
    let bench = Bench::new();
    let app = bench.application("app");
    let ids: Vec<String> = (0..MEMBERS).map(|member| format!("member-{member}")).collect();
    let mut clients: Vec<_> = ids.iter().map(|id| Some(bench.connect(&app, resume(id)))).collect();
    clients.iter_mut().flatten().for_each(|client| client.subscribed(&bench, "$share/g/t/+", Qos::AtLeastOnce));
    let mut publisher = bench.connect(&app, connect("publisher"));
    let (mut kept, mut found, mut seed) = (BTreeSet::new(), BTreeSet::new(), 7_u64);
    for round in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let member = usize::try_from(seed >> 33).unwrap() % MEMBERS;
        match clients[member].take() {
            Some(client) => client.lose(&bench),
            None => {
                let (client, said) = bench.try_connect(&app, resume(&ids[member]));
                found.extend(payloads(&said));
                clients[member] = Some(client);
            }
        }
        let there = clients.iter().flatten().count();
        if there == 0 {
            publisher.publish(&bench, "t/1", round.to_string().as_bytes(), Qos::AtLeastOnce);
            kept.insert(round.to_string());
        }
        for _ in 0..2 * there {
            publisher.publish(&bench, "t/1", b"live", Qos::AtMostOnce);
        }
        for client in clients.iter_mut().flatten() {
            assert_eq!(payloads(&client.recv(&bench)), ["live", "live"], "round {round}: in turns");
        }
    }
    assert!(!kept.is_empty(), "nobody was there at times");
    for id in &ids {
        found.extend(payloads(&bench.try_connect(&app, resume(id)).1));
    }
    assert!(kept.is_subset(&found), "{kept:?} of {found:?}");
}

/// §4.8.2
#[test]
fn a_share_group_takes_turns_and_passes_over_who_is_away() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut members: Vec<_> = ["a", "b", "c"].iter().map(|name| bench.connect(&app, resume(name))).collect();
    for member in &mut members {
        member.subscribed(&bench, "$share/g/t/+", Qos::AtLeastOnce);
    }
    let mut sender = bench.connect(&app, connect("sender"));
    sender.subscribed(&bench, "t/#", Qos::AtMostOnce);
    let mut echoed = 0;
    for index in 0..6 {
        echoed += payloads(&sender.publish(&bench, &format!("t/{index}"), b"x", Qos::AtLeastOnce)).len();
    }
    assert_eq!(echoed, 6, "an ordinary subscription is apart from the group");
    let counts: Vec<_> = members.iter_mut().map(|member| payloads(&member.recv(&bench)).len()).collect();
    assert_eq!(counts, [2, 2, 2]);
    members.pop().unwrap().lose(&bench);
    for index in 0..4 {
        sender.publish(&bench, &format!("t/{index}"), b"x", Qos::AtLeastOnce);
    }
    let counts: Vec<_> = members.iter_mut().map(|member| payloads(&member.recv(&bench)).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 4, "{counts:?}");
}

#[test]
fn retained_messages_reach_new_subscriptions_as_they_ask() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut client = bench.connect(&app, connect("a"));
    for (topic, id) in [("r/a", 101), ("r/b", 102), ("r", 103), ("rx", 104)] {
        client.send(
            &bench,
            &Packet::Publish(Publish { retain: true, ..publish(topic, topic.as_bytes(), Qos::AtLeastOnce, id) }),
        );
    }
    client.recv(&bench);
    let mut ask = |filter: &str, retain_handling| {
        let options = SubscriptionOptions { qos: Qos::AtLeastOnce, retain_handling, ..Default::default() };
        let got = client.subscribe(&bench, filter, options, Some(7));
        assert!(got.iter().all(|got| !matches!(got, Got::Publish { retain: false, .. })), "{got:?}");
        assert!(matches!(got[0], Got::SubAck(_)), "the answer comes first");
        payloads(&got)
    };
    assert_eq!(ask("r/#", RetainHandling::Send), ["r", "r/a", "r/b"]);
    assert_eq!(ask("r/#", RetainHandling::SendIfNew), Vec::<String>::new());
    assert_eq!(ask("r/+", RetainHandling::SendIfNew), ["r/a", "r/b"]);
    assert_eq!(ask("+", RetainHandling::Send), ["r", "rx"]);
    assert_eq!(ask("#", RetainHandling::DoNotSend), Vec::<String>::new());
    assert_eq!(ask("$share/g/r/#", RetainHandling::Send), Vec::<String>::new());
}

/// Thousands of retained messages come in steps, all of them, whatever the queue holds at once.
#[test]
fn a_flood_of_retained_messages_fits_a_small_queue() {
    let bench = Bench::with(|config| config.limits.queue_messages_per_session = 400);
    let app = bench.application("app");
    let mut sender = bench.connect(&app, connect("sender"));
    for index in 0..2000 {
        let topic = format!("r/{index:05}");
        sender.send(&bench, &Packet::Publish(Publish { retain: true, ..publish(&topic, b"x", Qos::AtMostOnce, 0) }));
    }
    let mut reader = bench.connect(&app, connect("reader"));
    let got = reader.subscribe(&bench, "r/#", SubscriptionOptions::default(), None);
    assert_eq!(payloads(&got).len(), 2000);
}

/// [MQTT-3.3.4-9]: no more than the client takes; [MQTT-4.6.0-5]: in order.
#[test]
fn the_window_opens_with_each_acknowledgement() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut receiver = bench.connect(&app, Connect { receive_maximum: Some(2), ..connect("receiver") });
    receiver.subscribed(&bench, "t", Qos::AtLeastOnce);
    let mut sender = bench.connect(&app, connect("sender"));
    for index in 1..=5 {
        sender.publish(&bench, "t", index.to_string().as_bytes(), Qos::AtLeastOnce);
    }
    sender.publish(&bench, "t", b"overtakes", Qos::AtMostOnce);
    assert_eq!(payloads(&receiver.recv(&bench)), ["1", "2", "overtakes"]);
    receiver.ack(&bench, Packet::PubAck, 2);
    assert_eq!(payloads(&receiver.recv(&bench)), ["3"]);
    receiver.ack(&bench, Packet::PubAck, 1);
    receiver.ack(&bench, Packet::PubAck, 3);
    assert_eq!(payloads(&receiver.recv(&bench)), ["4", "5"]);
}

/// [MQTT-4.6.0-2]: acknowledgements keep the order of what they acknowledge, although only some wait for the disk.
#[test]
fn acknowledgements_keep_their_order() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut sleeper = bench.connect(&app, resume("sleeper"));
    sleeper.subscribed(&bench, "stored", Qos::AtLeastOnce);
    sleeper.lose(&bench);
    let mut sender = bench.connect(&app, connect("sender"));
    for (id, topic) in [(1, "stored"), (2, "nobody"), (3, "stored"), (4, "nobody")] {
        sender.send(&bench, &Packet::Publish(publish(topic, b"x", Qos::AtLeastOnce, id)));
    }
    let (yes, no) = (Reason::SUCCESS, Reason::NO_MATCHING_SUBSCRIBERS);
    let expected = [(1, yes), (2, no), (3, yes), (4, no)].map(|(id, reason)| Got::PubAck(id, reason));
    assert_eq!(sender.recv(&bench), expected);
}

#[test]
fn sys_topics_are_for_those_whose_policy_names_them() {
    let mut bench = Bench::with(|config| config.mqtt.sys_interval_s = 1);
    let app = bench.application("app");
    let mut client = bench.connect(&app, connect("a"));
    let got = client.subscribe(&bench, "$SYS/#", SubscriptionOptions::default(), None);
    assert_eq!(got, [Got::SubAck(vec![Reason::NOT_AUTHORIZED])]);
    client.subscribed(&bench, "#", Qos::AtMostOnce);
    bench.advance(std::time::Duration::from_secs(2));
    assert!(client.recv(&bench).is_empty(), "[MQTT-4.7.2-1]");
    bench.policy(
        r#"permit (principal == Identity::"app", action == Action::"subscribe", resource in Topic::"$SYS/#");"#,
    );
    let mut client = bench.connect(&app, connect("b"));
    let got = client.subscribe(&bench, "$SYS/#", SubscriptionOptions::default(), None);
    assert!(payloads(&got).iter().any(|text| text.starts_with("portreeve ")), "{got:?}");
}

/// CSA-COM-04: a turn ends when its work is done, not when its bytes are: one client's packets do not keep a worker from
/// the others, whatever they cost. Nothing is lost by it.
#[test]
fn a_turn_is_bounded_by_its_work() {
    let bench = Bench::with(|config| {
        config.limits.application_messages_burst = 100_000;
        config.limits.application_messages_per_s = 100_000;
    });
    let app = bench.application("app");
    let mut receivers: Vec<_> = (0..200).map(|number| bench.connect(&app, connect(&format!("r{number}")))).collect();
    for receiver in &mut receivers {
        receiver.subscribed(&bench, "fan/#", Qos::AtMostOnce);
    }
    let packets = |count: usize, topic: &dyn Fn(usize) -> String| {
        let mut bytes = Vec::new();
        for number in 0..count {
            let (topic, payload) = (topic(number), number.to_string());
            let publish = publish(&topic, payload.as_bytes(), Qos::AtMostOnce, 0);
            portreeve_mqtt::encode::any(&mut bytes, Version::V5, &Packet::Publish(publish)).unwrap();
        }
        bytes
    };
    // How many turns the same number of packets takes: cheap ones, to two hundred receivers each, each on a topic of its own.
    let mut sender = bench.connect(&app, connect("sender"));
    let works = [
        packets(300, &|_| "nobody/listens".into()),
        packets(300, &|_| "fan/out".into()),
        packets(300, &|number| format!("fresh/{number}")),
    ];
    let turns = works.map(|bytes| {
        let (used, turns) = sender.send_in_turns(&bench, &bytes);
        assert_eq!(used, bytes.len());
        turns
    });
    assert!(turns[0] == 1 && turns[1] > 3 && turns[2] > 5, "{turns:?}");
    let expected: Vec<String> = (0..300).map(|number: usize| number.to_string()).collect();
    for receiver in &mut receivers {
        assert_eq!(payloads(&receiver.recv(&bench)), expected);
    }
}

/// CSA-COM-04: one packet may ask for 256 decisions, which is several turns; what comes behind it waits, and all is answered
/// in order.
#[test]
fn a_large_subscribe_takes_several_turns() {
    let bench = Bench::new();
    let app = bench.application("app");
    let mut client = bench.connect(&app, connect("app"));
    let filters: Vec<String> = (0..200).map(|number| format!("t/{number}")).collect();
    let options = SubscriptionOptions::default();
    let requests = filters.iter().map(|filter| portreeve_mqtt::SubscriptionRequest { filter, options }).collect();
    let subscribe = portreeve_mqtt::Subscribe { packet_id: 1, subscription_id: None, requests };
    let mut bytes = Vec::new();
    for packet in [Packet::Subscribe(subscribe), Packet::Publish(publish("t/199", b"x", Qos::AtLeastOnce, 2))] {
        portreeve_mqtt::encode::any(&mut bytes, Version::V5, &packet).unwrap();
    }
    let (used, turns) = client.send_in_turns(&bench, &bytes);
    assert!(used == bytes.len() && turns > 5, "{used} bytes in {turns} turns");
    let got = client.recv(&bench);
    assert_eq!(got[0], Got::SubAck(vec![Reason::SUCCESS; 200]));
    assert!(got[1..].contains(&Got::PubAck(2, Reason::SUCCESS)) && payloads(&got) == ["x"], "{:?}", &got[1..]);
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A batch that takes its publisher several turns reaches its receivers in one go. But they wait for it no longer than some
/// milliseconds, and not at all for a publisher of whom nobody knows when it goes on.
#[test]
fn receivers_are_woken_once_a_batch_and_never_forgotten() {
    let mut bench = Bench::with(|config| {
        config.limits.application_messages_burst = 100_000;
        config.limits.application_messages_per_s = 100_000;
    });
    let app = bench.application("app");
    let mut receivers: Vec<_> = (0..200).map(|number| bench.connect(&app, connect(&format!("r{number}")))).collect();
    for receiver in &mut receivers {
        receiver.subscribed(&bench, "fan/#", Qos::AtMostOnce);
    }
    let mut batch = Vec::new();
    for _ in 0..300 {
        let publish = publish("fan/out", b"x", Qos::AtMostOnce, 0);
        portreeve_mqtt::encode::any(&mut batch, Version::V5, &Packet::Publish(publish)).unwrap();
    }
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let rung = |bench: &Bench, receivers: &mut Vec<common::Client>| {
        receivers.iter_mut().for_each(|receiver| receiver.sleep(bench, &waker));
        bell.0.swap(0, SeqCst)
    };
    rung(&bench, &mut receivers);
    let mut sender = bench.connect(&app, connect("sender"));
    let (used, interrupted) = sender.send_in_a_turn(&bench, &batch);
    assert!(interrupted);
    assert_eq!(bell.0.load(SeqCst), 0, "there is more to come");
    sender.send_in_turns(&bench, &batch[used..]);
    assert_eq!(rung(&bench, &mut receivers), 200, "each once");

    // The time is over.
    let (used, interrupted) = sender.send_in_a_turn(&bench, &batch);
    bench.advance(Duration::from_millis(20));
    assert!(interrupted && sender.send_in_a_turn(&bench, &batch[used..]).1);
    assert_eq!(rung(&bench, &mut receivers), 200);

    // It does not read what it is owed, and so is not read from.
    assert!(sender.send_in_a_turn(&bench, &batch).1);
    sender.blocked(&bench);
    assert_eq!(rung(&bench, &mut receivers), 200);

    // It is gone.
    assert!(sender.send_in_a_turn(&bench, &batch).1);
    drop(sender);
    assert_eq!(rung(&bench, &mut receivers), 200);
}
