//! §4.9 flow control, §3.1.2.11.3 and §3.2.2.3.3 receive maximum.

use portreeve_tests::{Client, Login, V4, V5, hear, say, unique};

use crate::hub;

#[test]
fn no_more_than_the_receive_maximum_is_on_its_way_to_a_client() {
    // [MQTT-3.3.4-9] [MQTT-4.9.0-1]
    let topic = unique("window");
    let mut client = Login::new(V5, &unique("window")).properties("21 0002").open(hub());
    client.subscribe(&topic, 1);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for text in ["one", "two", "three", "four"] {
        sender.publish(&topic, text, 1);
    }
    let (first, second) = (client.message(), client.message());
    client.silent();
    client.acknowledge(&second);
    let third = client.message();
    assert_eq!(third.text(), "three");
    client.silent();
    client.acknowledge(&first);
    assert_eq!(client.message().text(), "four");
}

#[test]
fn a_qos_2_delivery_takes_its_place_until_pubcomp() {
    // [MQTT-4.9.0-2]
    let topic = unique("place");
    let mut client = Login::new(V5, &unique("place")).properties("21 0001").open(hub());
    client.subscribe(&topic, 2);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.publish(&topic, "one", 2);
    sender.publish(&topic, "two", 2);
    let id = client.message().id;
    client.silent();
    say!(client, "50 | {id:04x}");
    hear!(client, "62 | {id:04x}");
    client.silent();
    say!(client, "70 | {id:04x}");
    assert_eq!(client.message().text(), "two");
}

#[test]
fn a_pubrec_with_an_error_frees_the_place() {
    // [MQTT-4.9.0-2]
    let topic = unique("freed");
    let mut client = Login::new(V5, &unique("freed")).properties("21 0001").open(hub());
    client.subscribe(&topic, 2);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.publish(&topic, "one", 2);
    sender.publish(&topic, "two", 2);
    say!(client, "50 | {:04x} 83", client.message().id);
    assert_eq!(client.message().text(), "two");
}

#[test]
fn other_packets_flow_when_the_window_is_full() {
    // [MQTT-3.3.4-10] [MQTT-4.9.0-3]
    let topic = unique("full");
    let mut client = Login::new(V5, &unique("full")).properties("21 0001").open(hub());
    client.subscribe(&topic, 1);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.publish(&topic, "one", 1);
    sender.publish(&topic, "two", 1);
    client.message();
    client.alive();
    client.subscribe(&unique("more"), 1);
    client.publish(&unique("more"), "x", 2);
    client.silent();
}

#[test]
fn qos_0_needs_no_place() {
    // §4.9: only QoS > 0 counts.
    let (counted, free) = (unique("counted"), unique("free"));
    let mut client = Login::new(V5, &unique("free")).properties("21 0001").open(hub());
    client.subscribe(&counted, 1);
    client.subscribe(&free, 0);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.publish(&counted, "one", 1);
    sender.publish(&free, "zero", 0);
    assert_eq!(client.message().text(), "one");
    assert_eq!(client.message().text(), "zero");
}

#[test]
fn one_more_than_the_hubs_receive_maximum_ends_the_connection() {
    // [MQTT-3.3.4-7]: 20 are announced, the 21st is answered with 0x93.
    let topic = unique("excess");
    let mut client = Client::connect(hub(), V5, &unique("excess"));
    for id in 1..=20 {
        say!(client, "34 | s'{topic}' {id:04x} ( ) 'x'");
        hear!(client, "50 | {id:04x}");
    }
    // PUBREL frees a place: its PUBCOMP ends that exchange.
    client.say("62 | 0003");
    client.hear("70 | 0003");
    say!(client, "34 | s'{topic}' 0015 ( ) 'x'");
    client.hear("50 | 0015");
    say!(client, "34 | s'{topic}' 0016 ( ) 'x'");
    client.cut(0x93);
}

#[test]
fn the_reason_reaches_a_client_that_goes_on_sending() {
    // The hub lingers: a reset would destroy the DISCONNECT on its way.
    let topic = unique("linger");
    let mut client = Client::connect(hub(), V5, &unique("linger"));
    for id in 1..=40 {
        say!(client, "34 | s'{topic}' {id:04x} ( ) 'x'");
    }
    for id in 1..=20 {
        hear!(client, "50 | {id:04x}");
    }
    for id in 1..=40 {
        say!(client, "62 | {id:04x}");
    }
    client.cut(0x93);
}

#[test]
fn a_resent_message_takes_no_second_place() {
    let topic = unique("resent");
    let mut client = Client::connect(hub(), V5, &unique("resent"));
    for id in 1..=20 {
        say!(client, "34 | s'{topic}' {id:04x} ( ) 'x'");
        hear!(client, "50 | {id:04x}");
    }
    say!(client, "3c | s'{topic}' 0005 ( ) 'x'");
    client.hear("50 | 0005");
    client.alive();
}

#[test]
fn v3_1_1_knows_no_receive_maximum() {
    let topic = unique("unbounded");
    let mut client = Client::connect(hub(), V4, &unique("unbounded"));
    for id in 1..=100 {
        say!(client, "34 | s'{topic}' {id:04x} 'x'");
        hear!(client, "50 | {id:04x}");
    }
    client.alive();
}

#[test]
fn the_queue_waits_behind_a_small_window() {
    // [MQTT-4.6.0-6]: in order, however small the window.
    let (topic, id) = (unique("small"), unique("small"));
    let login = Login::new(V5, &id).expiry(60).properties("21 0003");
    let mut client = login.open(hub());
    client.subscribe(&topic, 2);
    client.disconnect();
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for number in 0..30_u8 {
        sender.publish(&topic, &number.to_string(), 1 + number % 2);
    }
    let mut client = login.resume().open(hub());
    let expected: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    assert_eq!(client.take_texts(30), expected);
    client.alive();
}
