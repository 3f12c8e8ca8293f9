//! §3.1 CONNECT, §3.2 CONNACK, §3.12 PINGREQ.

use std::time::{Duration, Instant};

use portreeve_tests::{Client, Login, V4, V5, client::AT_ONCE, hear, say, unique};

use crate::hub;

/// The properties of a CONNACK, and nothing else: what is not said is available [MQTT-3.2.2-9] [MQTT-3.2.2-13].
const LIMITS: &str = "22 000a 27 00040000 21 0014";

#[test]
fn the_answer_to_a_good_connect() {
    // [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.2-1] [MQTT-3.2.2-2]
    let mut v4 = Client::new(hub().dial(hub().app()), V4);
    say!(v4, "10 | s'MQTT' 04 02 003c s'{}'", unique("good"));
    v4.hear("20 | 00 00");
    v4.alive();
    let mut v5 = Client::new(hub().dial(hub().app()), V5);
    say!(v5, "10 | s'MQTT' 05 02 003c ( 21 0014 ) s'{}'", unique("good"));
    hear!(v5, "20 | 00 00 ( {LIMITS} )");
    v5.alive();
}

#[test]
fn a_second_connect_ends_the_connection() {
    // [MQTT-3.1.0-2] [MQTT-3.2.0-2]
    for version in [V4, V5] {
        for id in ["", "-other"] {
            let name = unique("twice");
            let login = Login::new(version, &name);
            let mut client = login.open(hub());
            client.send(&Login::new(version, &format!("{name}{id}")).bytes());
            client.cut_off(0x82);
        }
    }
    // Whatever is in it: what a first one is refused with may be no reason to disconnect with [MQTT-3.14.2-1].
    for second in ["10 | s'MQTT' 63 02 003c ( ) s'x'", "10 | s'MQTT' 05 02 003c ( ) 0001 ff", "10 |"] {
        let mut client = Login::new(V5, &unique("twice")).open(hub());
        client.say(second);
        client.cut_off(0x82);
    }
}

#[test]
fn an_empty_client_id_is_given_a_name() {
    // [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
    let assigned = |clean: bool| {
        let login = Login::new(V5, "");
        let login = if clean { login } else { login.resume() };
        let client = login.open(hub());
        let connack = &client.connack;
        // Behind the topic alias maximum, where the recorded sequences have it.
        assert_eq!(&connack[5..9], [0x22, 0x00, 0x0a, 0x12]);
        let length = usize::from(connack[10]);
        let id = String::from_utf8(connack[11..11 + length].to_vec()).unwrap();
        assert!(id.starts_with("app:") && id.len() > 8, "{id}");
        id
    };
    let ids = [assigned(true), assigned(true), assigned(false)];
    assert_ne!(ids[0], ids[1], "[MQTT-3.2.2-16]: it must be unique");
    assert_ne!(ids[1], ids[2]);
}

#[test]
fn an_empty_client_id_in_3_1_1_needs_a_clean_session() {
    // [MQTT-3.1.3-7] and [MQTT-3.1.3-8] of 3.1.1
    Login::new(V4, "").open(hub()).alive();
    assert_eq!(Login::new(V4, "").resume().refused_as(hub(), hub().app()), 2);
}

#[test]
fn client_ids_of_every_shape() {
    // [MQTT-3.1.3-5], and more than a server must allow: an application may use any identifier.
    let long = "x".repeat(200);
    for version in [V4, V5] {
        for id in ["0123456789abcdefghijklm", "with space [and] = punctuation/#+", "grüße-\u{1f980}", &long] {
            Client::connect(hub(), version, &format!("{id}{}", unique("shape"))).alive();
        }
    }
}

#[test]
fn user_name_and_password_are_taken_and_not_judged() {
    // [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19]; who it is, the certificate says (ISVS-4.2.2).
    let mut client = Client::new(hub().dial(hub().app()), V4);
    say!(client, "10 | s'MQTT' 04 c2 003c s'{}' s'user' 0003 00ff80", unique("named"));
    client.hear("20 | 00 00");
    let mut client = Client::new(hub().dial(hub().app()), V5);
    say!(client, "10 | s'MQTT' 05 42 003c ( ) s'{}' s'secret'", unique("named"));
    hear!(client, "20 | 00 00 ( {LIMITS} )");
}

#[test]
fn other_protocol_levels_are_refused_in_words_they_know() {
    // [MQTT-3.1.2-2]: 3.1 knows return code 1, everything else the form of 5.0.
    for (packet, answer) in [
        ("10 | s'MQIsdp' 03 02 003c s'old'", "20 | 00 01"),
        ("10 | s'MQTT' 03 02 003c s'old'", "20 | 00 01"),
        ("10 | s'MQTT' 06 02 003c ( ) s'new'", "20 | 00 84 ( )"),
        ("10 | s'MQTT' 02 02 003c s'old'", "20 | 00 84 ( )"),
        ("10 | s'MQTT' 63 02 003c ( ) s'new'", "20 | 00 84 ( )"),
        ("10 | s'MQIsdp' 06 02 003c s'new'", "20 | 00 84 ( )"),
    ] {
        let mut client = Client::new(hub().dial(hub().app()), V5);
        client.say(packet);
        client.hear(answer);
        // [MQTT-3.2.2-7]
        client.closed();
    }
}

#[test]
fn what_follows_a_refused_connect_is_not_processed() {
    // [MQTT-3.1.4-6]
    let topic = unique("refused");
    let mut witness = Client::connect(hub(), V5, &unique("witness"));
    witness.subscribe(&topic, 0);
    let mut client = Client::new(hub().dial(hub().app()), V5);
    say!(client, "10 | s'MQTT' 63 02 003c ( ) s'new' ; 30 | s'{topic}' ( ) 'x'");
    client.hear("20 | 00 84 ( )");
    client.closed();
    witness.silent();
}

#[test]
fn packets_may_follow_connect_without_waiting() {
    // §3.1.4: a client may send at once, and it is all processed.
    let topic = unique("eager");
    for version in [V4, V5] {
        let mut client = Client::new(hub().dial(hub().app()), version);
        let block = if version == V5 { "( )" } else { "" };
        client.send(&Login::new(version, &unique("eager")).bytes());
        say!(client, "82 | 0001 {block} s'{topic}' 00 ; 30 | s'{topic}' {block} 'x' ; c0 |");
        assert_eq!(client.packet()[0], 0x20, "[MQTT-3.2.0-1]: CONNACK comes first");
        let kinds = [client.packet()[0], client.packet()[0], client.packet()[0]];
        for kind in [0x90, 0x30, 0xd0] {
            assert!(kinds.contains(&kind), "{kind:02x} in {kinds:02x?}");
        }
    }
}

#[test]
fn a_packet_may_come_byte_by_byte() {
    let mut client = Client::new(hub().dial(hub().app()), V4);
    for byte in Login::new(V4, &unique("slow")).bytes() {
        client.send(&[byte]);
    }
    client.hear("20 | 00 00");
    for byte in [0xc0, 0x00] {
        client.send(&[byte]);
    }
    client.hear("d0 |");
}

#[test]
fn many_packets_may_come_in_one_piece() {
    let mut client = Client::connect(hub(), V4, &unique("lump"));
    client.say(&"c0 | ; ".repeat(300));
    for _ in 0..300 {
        client.hear("d0 |");
    }
}

#[test]
fn a_server_keep_alive_is_said_only_when_it_is_lower() {
    // [MQTT-3.2.2-21]
    let connack = |seconds| Login::new(V5, &unique("keep")).keep_alive(seconds).open(hub()).connack;
    let said = |connack: &[u8]| connack.windows(3).any(|window| window == [0x13, 0x00, 0x3c]);
    assert!(said(&connack(120)), "{:02x?}", connack(120));
    for unchanged in [0, 1, 60] {
        assert!(!said(&connack(unchanged)));
    }
}

#[test]
fn a_silent_client_is_cut_off_after_one_and_a_half_keep_alives() {
    // [MQTT-3.1.2-22] [MQTT-3.2.2-22], [MQTT-3.1.2-24] of 3.1.1
    for (version, code) in [(V5, Some(0x8d)), (V4, None)] {
        let started = Instant::now();
        let mut client = Login::new(version, &unique("mute")).keep_alive(1).open(hub());
        if let Some(code) = code {
            hear!(client, "e0 | {code:02x}");
        }
        client.closed_within(Duration::from_secs(4));
        let lasted = started.elapsed();
        assert!(lasted >= Duration::from_millis(1450), "{lasted:?}");
        assert!(lasted < Duration::from_secs(4), "{lasted:?}");
    }
}

#[test]
fn pings_keep_alive_and_zero_needs_none() {
    // [MQTT-3.12.4-1]; §3.1.2.10: 0 switches it off.
    let mut pinging = Login::new(V5, &unique("pinging")).keep_alive(1).open(hub());
    let mut mute = Login::new(V4, &unique("mute")).keep_alive(0).open(hub());
    for _ in 0..5 {
        pinging.silent_for(Duration::from_millis(500));
        pinging.alive();
    }
    mute.alive();
}

#[test]
fn every_packet_counts_as_a_sign_of_life() {
    // §3.1.2.10 [MQTT-3.1.2-22]: within the keep alive a control packet, whichever.
    let mut client = Login::new(V5, &unique("talking")).keep_alive(1).open(hub());
    let topic = unique("talk");
    for _ in 0..4 {
        client.silent_for(Duration::from_millis(700));
        client.publish(&topic, "still here", 0);
    }
    client.alive();
}

#[test]
fn a_newer_connection_takes_the_session_over() {
    // [MQTT-3.1.4-3], [MQTT-3.1.4-2] of 3.1.1
    for version in [V4, V5] {
        for clean in [true, false] {
            let id = unique("taken");
            let mut old = Login::new(version, &id).expiry(300).open(hub());
            let login = Login::new(version, &id);
            let mut new = if clean { login } else { login.resume() }.open(hub());
            old.cut_off(0x8e);
            assert_eq!(new.present, !clean, "{version:?} clean {clean}");
            new.alive();
        }
    }
}

#[test]
fn no_response_information_and_no_reason_strings_are_volunteered() {
    // [MQTT-3.1.2-28] [MQTT-3.1.2-29] [MQTT-3.2.2-19] [MQTT-3.2.2-20]
    let client = Login::new(V5, &unique("quiet")).properties("19 00 17 00").open(hub());
    assert_eq!(client.connack.len(), 2 + 3 + 3 + 5 + 3, "{:02x?}", client.connack);
    let client = Login::new(V5, &unique("quiet")).properties("19 01 17 01").open(hub());
    assert_eq!(client.connack.len(), 2 + 3 + 3 + 5 + 3, "{:02x?}", client.connack);
}

#[test]
fn enhanced_authentication_is_refused() {
    // [MQTT-4.12.0-1]: the server does not support the method.
    for properties in ["15 s'SCRAM-SHA-1'", "15 s'x' 16 s'data'", "15 s'PLAIN' 27 0000001e"] {
        let login = Login::new(V5, &unique("auth")).properties(properties);
        assert_eq!(login.refused_as(hub(), hub().app()), 0x8c);
    }
    // [MQTT-4.12.0-6] [MQTT-3.15.1-1]: no AUTH without a method.
    let mut client = Client::connect(hub(), V5, &unique("auth"));
    client.say("f0 | 19 ( 15 s'x' )");
    client.cut(0x82);
}

#[test]
fn a_connack_that_the_client_could_not_take_is_not_sent() {
    // [MQTT-3.1.2-24]
    for bytes in [2, 4, 8, 15] {
        let mut client = Client::new(hub().dial(hub().app()), V5);
        client.send(&Login::new(V5, &unique("tiny")).properties(&format!("27 {bytes:08x}")).bytes());
        client.closed();
    }
    let mut client = Login::new(V5, &unique("tiny")).properties("27 00000020").open(hub());
    client.alive();
}

#[test]
fn half_a_connect_and_silence_is_closed_in_time() {
    // [MQTT-3.1.4-1]
    let mut client = Client::new(hub().dial(hub().app()), V5);
    client.say("10 32 0004 'M'");
    let started = Instant::now();
    client.closed_within(Duration::from_secs(12));
    assert!(started.elapsed() > AT_ONCE, "a slow network must be given time: {:?}", started.elapsed());
}

#[test]
fn half_a_connect_and_the_end_is_closed_at_once() {
    let mut client = Client::new(hub().dial(hub().app()), V5);
    client.say("10 32 0004 'M'");
    client.stream().conn.send_close_notify();
    client.send(&[]);
    client.closed();
}
