//! §4.8.2 shared subscriptions.

use std::time::Duration;

use portreeve_tests::{Client, Login, V4, V5, say, unique};

use crate::{
    hub,
    table::{MALFORMED, PROTOCOL, check},
};

/// Members of a group on a topic, connected and subscribed.
fn members(count: usize, group: &str, topic: &str, qos: u8) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut member = Client::connect(hub(), V5, &unique("member"));
            member.subscribe(&format!("$share/{group}/{topic}"), qos);
            member
        })
        .collect()
}

/// What each member got, in total exactly `count`.
fn gather(members: &mut [Client], count: usize) -> Vec<usize> {
    let mut got = vec![0; members.len()];
    let mut idle = 0;
    while idle < 2 {
        idle += 1;
        for (member, got) in members.iter_mut().zip(&mut got) {
            while let Some(message) = member.message_within(Duration::from_millis(150)) {
                member.acknowledge(&message);
                *got += 1;
                idle = 0;
            }
        }
    }
    assert_eq!(got.iter().sum::<usize>(), count, "{got:?}");
    got
}

#[test]
fn each_message_goes_to_one_member_in_turn() {
    // [MQTT-4.8.2-4], fairly.
    for qos in 0..3 {
        let topic = unique("turn");
        let mut members = members(3, "group", &topic, qos);
        let mut sender = Client::connect(hub(), V5, &unique("sender"));
        for number in 0..9 {
            sender.publish(&topic, &number.to_string(), qos);
        }
        assert_eq!(gather(&mut members, 9), [3, 3, 3]);
    }
}

#[test]
fn a_sole_member_gets_all() {
    let topic = unique("sole");
    let mut members = members(1, "group", &topic, 1);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for number in 0..5 {
        sender.publish(&topic, &number.to_string(), 1);
    }
    gather(&mut members, 5);
}

#[test]
fn groups_and_plain_subscriptions_are_independent() {
    // §4.8.2: each group gets its copy, and so does each plain subscription, even of a member.
    let topic = unique("groups");
    let mut client = Client::connect(hub(), V5, &unique("plain"));
    client.subscribe(&format!("$share/a/{topic}"), 0);
    client.subscribe(&format!("$share/b/{topic}"), 0);
    client.subscribe(&topic, 0);
    client.publish(&topic, "x", 0);
    client.take_texts(3);
    client.alive();
    // The plain one goes, the groups stay.
    assert_eq!(client.unsubscribe(&topic), 0);
    client.publish(&topic, "x", 0);
    client.take_texts(2);
    client.alive();
    assert_eq!(client.unsubscribe(&format!("$share/a/{topic}")), 0);
    assert_eq!(client.unsubscribe(&format!("$share/a/{topic}")), 0x11);
    client.publish(&topic, "x", 0);
    client.take_texts(1);
    client.alive();
}

#[test]
fn v3_1_1_clients_may_share_too() {
    let topic = unique("old");
    let mut client = Client::connect(hub(), V4, &unique("old"));
    client.subscribe(&format!("$share/group/{topic}"), 1);
    client.publish(&topic, "x", 1);
    assert_eq!(client.take().text(), "x");
    client.alive();
}

#[test]
fn retained_messages_are_not_sent_to_a_group() {
    // §4.8.2
    let topic = unique("kept");
    let mut client = Client::connect(hub(), V5, &unique("kept"));
    client.retain(&topic, "x", 1);
    client.subscribe(&format!("$share/group/{topic}"), 1);
    client.silent();
    client.retain(&topic, "", 0);
}

#[test]
fn the_members_qos_counts() {
    // [MQTT-4.8.2-3]
    let topic = unique("least");
    let mut members = members(1, "group", &topic, 1);
    Client::connect(hub(), V5, &unique("sender")).publish(&topic, "x", 2);
    assert_eq!(members[0].take().qos, 1);
}

#[test]
fn the_identifier_of_a_shared_subscription_comes_too() {
    // [MQTT-3.3.4-3]
    let topic = unique("id");
    let mut client = Client::connect(hub(), V5, &unique("id"));
    client.subscribe_with("0b 07", &format!("$share/group/{topic}"), 0);
    client.publish(&topic, "x", 0);
    assert_eq!(client.take().subscription_ids, [7]);
}

#[test]
fn members_that_are_away_are_passed_over_while_others_are_there() {
    let (topic, id) = (unique("away"), unique("away"));
    let mut absent = Login::new(V5, &id).expiry(60).open(hub());
    absent.subscribe(&format!("$share/group/{topic}"), 1);
    absent.disconnect();
    let mut members = members(1, "group", &topic, 1);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for number in 0..4 {
        sender.publish(&topic, &number.to_string(), 1);
    }
    gather(&mut members, 4);
}

#[test]
fn a_group_of_absent_members_keeps_messages_for_them() {
    let (topic, id) = (unique("absent"), unique("absent"));
    let mut absent = Login::new(V5, &id).expiry(60).open(hub());
    absent.subscribe(&format!("$share/group/{topic}"), 1);
    absent.disconnect();
    Client::connect(hub(), V5, &unique("sender")).publish(&topic, "x", 1);
    assert_eq!(Login::new(V5, &id).resume().open(hub()).take().text(), "x");
}

#[test]
fn a_refused_message_goes_to_nobody_else() {
    // [MQTT-4.8.2-6]
    let topic = unique("refused");
    let mut members = members(2, "group", &topic, 1);
    Client::connect(hub(), V5, &unique("sender")).publish(&topic, "x", 1);
    let mut refused = 0;
    for member in &mut members {
        if let Some(message) = member.message_within(Duration::from_millis(500)) {
            say!(member, "40 | {:04x} 83", message.id);
            refused += 1;
        }
    }
    assert_eq!(refused, 1);
    gather(&mut members, 0);
}

#[test]
fn a_broken_delivery_is_completed_with_the_same_member() {
    // [MQTT-4.8.2-4] [MQTT-4.8.2-5]: a QoS 2 delivery that has begun stays with its session.
    let (topic, id) = (unique("broken"), unique("broken"));
    let mut first = Login::new(V5, &id).expiry(60).open(hub());
    first.subscribe(&format!("$share/group/{topic}"), 2);
    Client::connect(hub(), V5, &unique("sender")).publish(&topic, "x", 2);
    let message = first.message();
    say!(first, "50 | {:04x}", message.id);
    first.hear("62 | 0001");
    first.vanish();
    let mut others = members(1, "group", &topic, 2);
    others[0].silent();
    let mut first = Login::new(V5, &id).resume().open(hub());
    first.hear("62 | 0001");
    first.say("70 | 0001");
    first.alive();
}

#[test]
fn share_names_that_are_none_end_the_connection() {
    // [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-3.8.3-4]
    check(
        V5,
        &[
            ("82 | 0001 ( ) s'$share/+/p' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share/gr+oup/p' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share/#/p' 00", MALFORMED),
            ("82 | 0001 ( ) s'$share/gr#oup/p' 00", MALFORMED),
            ("82 | 0001 ( ) s'$share/group/p#' 00", MALFORMED),
            ("82 | 0001 ( ) s'$share/p' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share/p/' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share//p' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share/group/p' 04", PROTOCOL),
        ],
    );
}
