//! Whole scenarios, in the manner of the interoperability tests that the field compares brokers by: several clients,
//! several rules at once.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use portreeve_mqtt::Version;
use portreeve_tests::{Client, Login, V4, V5, hear, say, unique};

use crate::hub;

/// A tree of topics under a prefix, with what matches `+/+` in it.
fn topics(t: &str) -> [String; 3] {
    [format!("{t}/A"), format!("{t}/A/B"), format!("/{t}/C")]
}

fn subscriber(version: Version, filter: &str, qos: u8) -> Client {
    let mut client = Client::connect(hub(), version, &unique("subscriber"));
    client.subscribe(filter, qos);
    client
}

#[test]
fn three_messages_to_oneself() {
    for version in [V4, V5] {
        let topic = unique("basic");
        let mut client = subscriber(version, &topic, 2);
        for qos in 0..3 {
            client.publish(&topic, &format!("qos {qos}"), qos);
        }
        assert_eq!(client.take_texts(3), ["qos 0", "qos 1", "qos 2"]);
        client.disconnect();
    }
}

#[test]
fn retained_in_a_tree_with_user_properties() {
    let t = unique("retained");
    let mut client = Client::connect(hub(), V5, &unique("retained"));
    for (qos, topic) in (0..).zip(topics(&t)) {
        let text = format!("qos {qos}");
        client.publish_with(&topic, text.as_bytes(), qos, true, "26 s'a' s'2' 26 s'c' s'3'");
    }
    let mut late = Client::connect(hub(), V5, &unique("late"));
    late.subscribe(&format!("{t}/#"), 2);
    let mut got = [late.take(), late.take()];
    got.sort_by_key(|message| message.qos);
    assert_eq!(got.each_ref().map(|m| (m.text(), m.retain, m.qos)), [("qos 0", true, 0), ("qos 1", true, 1)]);
    for message in &got {
        assert_eq!(message.user, [("a".into(), "2".into()), ("c".into(), "3".into())]);
    }
    late.subscribe(&format!("/{t}/+"), 2);
    assert_eq!(late.take().text(), "qos 2");
    for topic in topics(&t) {
        client.retain(&topic, "", 1);
    }
    let mut later = Client::connect(hub(), V5, &unique("later"));
    later.subscribe(&format!("{t}/#"), 2);
    later.subscribe(&format!("/{t}/+"), 2);
    later.silent();
}

#[test]
fn messages_wait_for_whoever_comes_back() {
    for version in [V4, V5] {
        let (t, id) = (unique("offline"), unique("offline"));
        let mut client = Login::new(version, &id).expiry(99_999).open(hub());
        client.subscribe(&format!("{t}/+"), 2);
        client.disconnect();
        let mut sender = Client::connect(hub(), version, &unique("sender"));
        for qos in 0..3 {
            sender.publish(&format!("{t}/{qos}"), &format!("qos {qos}"), qos);
        }
        sender.disconnect();
        let mut client = Login::new(version, &id).resume().open(hub());
        assert!(client.present);
        assert_eq!(client.take_texts(2), ["qos 1", "qos 2"]);
        client.alive();
    }
}

#[test]
fn a_missed_keep_alive_brings_the_will_to_another() {
    for version in [V4, V5] {
        let topic = unique("keepalive");
        let mut witness = subscriber(V4, &format!("/{topic}"), 2);
        let login = Login::new(version, &unique("quiet")).keep_alive(2);
        let started = Instant::now();
        let _quiet = login.will(2, false, &format!("/{topic}"), "expired", "").open(hub());
        assert_eq!(witness.take().text(), "expired");
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(2900) && waited < Duration::from_secs(5), "{waited:?}");
    }
}

#[test]
fn a_reader_that_stops_reading_gets_it_all_again() {
    for version in [V4, V5] {
        let (topic, id) = (unique("redelivery"), unique("redelivery"));
        let mut client = Login::new(version, &id).expiry(99_999).open(hub());
        client.subscribe(&topic, 2);
        client.alive();
        // It sends to itself, and acknowledges nothing that comes.
        let block = if version == V5 { "( )" } else { "" };
        say!(client, "32 | s'{topic}' 0001 {block} 'one' ; 34 | s'{topic}' 0002 {block} 'two'");
        sleep(Duration::from_millis(200));
        client.say("62 | 0002");
        sleep(Duration::from_millis(200));
        client.vanish();
        let mut client = Login::new(version, &id).resume().expiry(99_999).open(hub());
        let mut texts = client.take_texts(2);
        texts.sort();
        assert_eq!(texts, ["one", "two"]);
        client.alive();
    }
}

#[test]
fn a_forbidden_subscription_fails_with_0x80_in_both_versions() {
    for version in [V4, V5] {
        let mut client = Client::connect(hub(), version, &unique("failure"));
        let started = Instant::now();
        assert_eq!(client.try_subscribe("test/nosubscribe", 2), 0x80);
        assert!(started.elapsed() < Duration::from_millis(500));
    }
}

#[test]
fn two_of_three_after_unsubscribe() {
    for version in [V4, V5] {
        let t = unique("unsubscribe");
        let mut client = Client::connect(hub(), version, &unique("unsubscribe"));
        for level in ["A", "A/B", "C"] {
            client.subscribe(&format!("{t}/{level}"), 2);
        }
        client.unsubscribe(&format!("{t}/A"));
        let mut sender = Client::connect(hub(), version, &unique("sender"));
        for level in ["A", "A/B", "C"] {
            sender.publish(&format!("{t}/{level}"), level, 1);
        }
        assert_eq!(client.take_texts(2), ["A/B", "C"]);
        client.alive();
    }
}

#[test]
fn the_life_of_a_session_in_four_acts() {
    let id = unique("acts");
    let present = |login: Login| {
        let client = login.open(hub());
        (client.present, client)
    };
    // Clean, expiry 0: gone at once.
    Login::new(V5, &id).properties("11 00000000").open(hub()).disconnect();
    assert!(!present(Login::new(V5, &id).resume()).0);
    // Expiry 2: there after one second, gone after three.
    Login::new(V5, &id).expiry(2).open(hub()).disconnect();
    sleep(Duration::from_secs(1));
    let (found, client) = present(Login::new(V5, &id).resume().expiry(2));
    assert!(found);
    client.disconnect();
    sleep(Duration::from_millis(2600));
    assert!(!present(Login::new(V5, &id).resume()).0);
    // Expiry 1, raised to 5 when leaving: there after two seconds; lowered to 0: gone.
    Login::new(V5, &id).expiry(1).open(hub()).disconnect_with(0, "11 00000005");
    sleep(Duration::from_secs(2));
    let (found, client) = present(Login::new(V5, &id).resume().expiry(1));
    assert!(found);
    client.disconnect_with(0, "11 00000000");
    assert!(!present(Login::new(V5, &id).resume()).0);
}

#[test]
fn a_goodbye_with_a_very_long_expiry_keeps_messages_that_live() {
    let (topic, id) = (unique("expiry"), unique("expiry"));
    let mut client = Login::new(V5, &id).expiry(99_999).open(hub());
    client.subscribe(&topic, 2);
    client.disconnect_with(0, "11 3b9ac9ff");
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for (text, qos, seconds) in [("a", 1, 1), ("b", 2, 6), ("c", 1, 1), ("d", 2, 6)] {
        sender.publish_with(&topic, text.as_bytes(), qos, false, &format!("02 {seconds:08x}"));
    }
    sleep(Duration::from_secs(2));
    let mut client = Login::new(V5, &id).resume().open(hub());
    for text in ["b", "d"] {
        let message = client.take();
        assert_eq!(message.text(), text);
        assert!(message.expiry_s.is_some_and(|left| left < 6), "{:?}", message.expiry_s);
    }
    client.alive();
}

#[test]
fn all_subscription_options_at_once() {
    let t = unique("options");
    let mut client = Client::connect(hub(), V5, &unique("options"));
    // No Local, Retain As Published, Retain Handling 1, QoS 2.
    assert_eq!(client.try_subscribe(&format!("{t}/#"), 0x1e), 2);
    client.retain(&format!("{t}/own"), "not for me", 1);
    client.alive();
    let mut other = Client::connect(hub(), V5, &unique("other"));
    other.retain(&format!("{t}/A"), "retained", 1);
    other.publish(&format!("{t}/B"), "plain", 2);
    let (first, second) = (client.take(), client.take());
    assert_eq!((first.text(), first.retain), ("retained", true));
    assert_eq!((second.text(), second.retain), ("plain", false));
    for level in ["own", "A"] {
        other.retain(&format!("{t}/{level}"), "", 1);
    }
}

#[test]
fn a_question_and_its_answer() {
    let t = unique("request");
    let mut asker = Client::connect(hub(), V5, &unique("asker"));
    asker.subscribe(&format!("{t}/answers"), 2);
    let mut answerer = Client::connect(hub(), V5, &unique("answerer"));
    assert_eq!(answerer.try_subscribe(&format!("{t}/questions"), 0x06), 2);
    let properties = format!("08 s'{t}/answers' 09 s'334'");
    asker.publish_with(&format!("{t}/questions"), b"how are you?", 1, false, &properties);
    let question = answerer.take();
    let reply_to = question.response_topic.expect("where to answer");
    let correlation = question.correlation.expect("what it answers");
    assert_eq!(correlation, b"334");
    answerer.publish_with(&reply_to, b"well", 1, false, "09 s'334'");
    let answer = asker.take();
    assert_eq!((answer.text(), answer.correlation.as_deref()), ("well", Some(&b"334"[..])));
}

#[test]
fn two_subscribers_with_identifiers_of_their_own() {
    let t = unique("ids");
    let mut first = Client::connect(hub(), V5, &unique("first"));
    let mut second = Client::connect(hub(), V5, &unique("second"));
    first.subscribe_with("0b c9f01b", &t, 2);
    second.subscribe_with("0b 02", &t, 2);
    second.subscribe_with("0b 03", &format!("{t}/#"), 2);
    second.publish(&t, "x", 1);
    assert_eq!(first.take().subscription_ids, [456_777]);
    let mut ids = second.take().subscription_ids;
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
    first.alive();
    second.alive();
}

#[test]
fn a_small_client_among_others() {
    let topic = unique("small");
    let mut client = Login::new(V5, &unique("small")).properties("27 00000040").open(hub());
    client.subscribe(&topic, 2);
    client.publish(&topic, &"x".repeat(64 - topic.len() - 20), 2);
    client.take();
    // Its own message, too large for it to hear, is acknowledged all the same.
    client.publish(&topic, &"x".repeat(200), 1);
    client.alive();
}

#[test]
fn a_burst_to_oneself_is_metered() {
    // Receive maximum 2: two come, the third waits for the first answer. Nothing is sent twice meanwhile.
    let topic = unique("burst");
    let mut client = Login::new(V5, &unique("burst")).properties("21 0002").open(hub());
    client.subscribe(&topic, 2);
    for number in 1..=3 {
        client.publish(&topic, &number.to_string(), 1);
    }
    let first = client.message();
    client.message();
    client.silent_for(Duration::from_millis(600));
    client.acknowledge(&first);
    assert_eq!(client.take().text(), "3");
}

#[test]
fn wills_of_three_clients_come_each_in_its_time() {
    let t = unique("wills");
    let mut witness = subscriber(V5, &format!("{t}/+"), 2);
    let started = Instant::now();
    for (name, expiry, delay) in [("late", 5, 2), ("session", 1, 5), ("soon", 0, 5)] {
        let login = Login::new(V5, &unique(name)).expiry(expiry);
        let login = login.will(1, false, &format!("{t}/{name}"), name, &format!("18 {delay:08x}"));
        login.open(hub()).vanish();
    }
    for (name, least, most) in [("soon", 0, 1500), ("session", 950, 3000), ("late", 1950, 5000)] {
        assert_eq!(witness.take().text(), name);
        let at = started.elapsed().as_millis();
        assert!((least..most).contains(&at), "{name} after {at} ms");
    }
}

#[test]
fn shared_and_plain_in_one_subscribe() {
    let t = unique("shared");
    let mut clients = [(); 2].map(|()| Client::connect(hub(), V5, &unique("shared")));
    for client in &mut clients {
        say!(client, "82 | 0001 ( ) s'$share/sharename/{t}/x' 02 s'{t}/y' 02");
        client.hear("90 | 0001 ( ) 02 02");
    }
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for number in 0..4 {
        sender.publish(&format!("{t}/x"), &format!("shared {number}"), number % 3);
        sender.publish(&format!("{t}/y"), &format!("plain {number}"), number % 3);
    }
    let mut shared = 0;
    for client in &mut clients {
        let texts = client.take_texts(6);
        assert_eq!(texts.iter().filter(|text| text.starts_with("plain")).count(), 4, "{texts:?}");
        shared += texts.iter().filter(|text| text.starts_with("shared")).count();
        client.alive();
    }
    assert_eq!(shared, 4);
}

#[test]
fn a_helper_that_never_says_goodbye() {
    // As the recorded sequences do: connect, publish, close the socket; many times over the same topic and client id.
    let topic = unique("helper");
    let mut client = subscriber(V5, &topic, 2);
    for round in 1..=20_u16 {
        let mut helper = Client::connect(hub(), V4, "helper-of-one-name");
        say!(helper, "34 | s'{topic}' 0001 'message'");
        helper.hear("50 | 0001");
        helper.say("62 | 0001");
        helper.hear("70 | 0001");
        helper.vanish();
        hear!(client, "34 | s'{topic}' {round:04x} ( ) 'message'");
        say!(client, "50 | {round:04x}");
        hear!(client, "62 | {round:04x}");
        say!(client, "70 | {round:04x}");
    }
    client.alive();
}
