//! §4.7 topic names and filters; §1.5.4 text.

use portreeve_tests::{Client, V4, V5, say, unique};

use crate::hub;

/// Filter below a prefix, topics that match, topics that do not [MQTT-3.3.2-3] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-4].
const MATCHES: &[(&str, &[&str], &[&str])] = &[
    ("sport/#", &["sport", "sport/", "sport/a", "sport/a/b"], &["sports", "spor", "Sport/a"]),
    ("sport/+", &["sport/a", "sport/"], &["sport", "sport/a/b", "sport/a/"]),
    ("+/+", &["/x", "a/b", "/"], &["a", "a/b/c"]),
    ("/+", &["/x", "/"], &["x", "/x/y"]),
    ("+", &["a"], &["/a", "a/"]),
    ("+/tennis/#", &["a/tennis", "a/tennis/x/y", "/tennis"], &["tennis", "a/b/tennis"]),
    ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c"]),
    ("a//b", &["a//b"], &["a/b", "a/x/b"]),
    ("ACCOUNTS", &["ACCOUNTS"], &["Accounts", "ACCOUNTS/"]),
    ("with space/\u{a0}", &["with space/\u{a0}"], &["with space/ ", "withspace/\u{a0}"]),
];

#[test]
fn filters_match_what_the_specification_says() {
    for version in [V4, V5] {
        let mut client = Client::connect(hub(), version, &unique("match"));
        for &(filter, matching, others) in MATCHES {
            let prefix = unique("m");
            client.subscribe(&format!("{prefix}/{filter}"), 0);
            for topic in matching {
                client.publish(&format!("{prefix}/{topic}"), filter, 0);
                assert_eq!(client.take().topic, format!("{prefix}/{topic}"), "{filter}");
            }
            for topic in others {
                client.publish(&format!("{prefix}/{topic}"), filter, 0);
            }
            client.alive();
        }
    }
}

#[test]
fn topics_that_begin_with_a_dollar_match_no_wildcard() {
    // [MQTT-4.7.2-1]
    let level = unique("dollar");
    let mut client = Client::connect(hub(), V5, &unique("dollar"));
    let mut plain = Client::connect(hub(), V5, &unique("dollar"));
    client.subscribe(&format!("+/{level}/#"), 1);
    plain.subscribe(&format!("$own/{level}/#"), 1);
    client.publish(&format!("$own/{level}/x"), "dollar", 1);
    client.alive();
    assert_eq!(plain.take().topic, format!("$own/{level}/x"));
}

#[test]
fn u_feff_is_a_character_like_any_other() {
    // [MQTT-1.5.4-3]
    let topic = unique("bom");
    let mut client = Client::connect(hub(), V5, &unique("bom"));
    client.subscribe(&format!("\u{feff}{topic}"), 0);
    client.subscribe(&topic, 0);
    client.publish(&format!("\u{feff}{topic}"), "marked", 0);
    assert_eq!(client.take().topic, format!("\u{feff}{topic}"));
    client.alive();
}

#[test]
fn topics_are_not_normalised() {
    // [MQTT-4.7.3-4]: composed and decomposed text are two topics.
    let level = unique("norm");
    let mut client = Client::connect(hub(), V5, &unique("norm"));
    client.subscribe(&format!("{level}/\u{e9}"), 0);
    client.publish(&format!("{level}/e\u{301}"), "decomposed", 0);
    client.alive();
    client.publish(&format!("{level}/\u{e9}"), "composed", 0);
    assert_eq!(client.take().text(), "composed");
}

#[test]
fn the_longest_topic_is_answered() {
    // [MQTT-4.7.3-3] allows 65535 bytes, this hub 4096 [limits.topic_bytes]: more is refused by code, not by silence.
    let mut client = Client::connect(hub(), V5, &unique("long"));
    client.publish(&"x".repeat(4096), "fits", 1);
    for length in [4097, 65_535] {
        assert_eq!(client.try_publish(&"x".repeat(length), b"", 1, false, ""), 0x90);
        assert_eq!(client.try_subscribe(&"x".repeat(length), 0), 0x8f);
    }
    client.alive();
}

#[test]
fn the_deepest_topic_is_answered() {
    // [limits.topic_levels]
    let deepest = vec!["x"; 32].join("/");
    let mut client = Client::connect(hub(), V5, &unique("deep"));
    client.publish(&deepest, "fits", 1);
    assert_eq!(client.try_publish(&format!("{deepest}/x"), b"", 1, false, ""), 0x90);
    assert_eq!(client.try_subscribe(&format!("{deepest}/x"), 0), 0x8f);
    client.alive();
}

#[test]
fn the_system_topics_are_for_those_whom_policy_names() {
    // The application of these tests may do everything, and that does not include `$SYS`.
    let mut client = Client::connect(hub(), V5, &unique("sys"));
    for filter in ["$SYS/#", "$SYS/broker/uptime", "$SYS/+/uptime"] {
        assert_eq!(client.try_subscribe(filter, 0), 0x87, "{filter}");
    }
    assert_eq!(client.try_publish("$SYS/broker/uptime", b"0", 1, false, ""), 0x87);
    assert_eq!(client.try_publish("$SYS/broker/uptime", b"0", 2, false, ""), 0x87);
    client.publish("$SYS/broker/uptime", "dropped", 0);
    client.alive();
    let mut v4 = Client::connect(hub(), V4, &unique("sys"));
    assert_eq!(v4.try_subscribe("$SYS/#", 0), 0x80);
    v4.publish("$SYS/test", "dropped", 0);
    v4.alive();
}

#[test]
fn a_share_is_no_topic_to_publish_to() {
    // §4.8.2: `$share/…` is a way to subscribe. Accepting it would be an empty promise.
    let mut client = Client::connect(hub(), V5, &unique("share"));
    let code = client.try_publish("$share/group/topic", b"x", 1, false, "");
    assert!(matches!(code, 0x10 | 0x87 | 0x90), "{code:02x}");
    say!(client, "34 | s'$share/group/topic' 0077 ( ) 'x'");
    client.hear("50 | 0077 87");
    client.alive();
}
