//! What both specifications forbid, packet by packet: who sends what, the reason code it is owed and the clause it
//! breaks. The notation is that of `common::bytes`. Peers that send these are cut off before anything of theirs is
//! acted upon.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{CLIENT, SERVER, V4, V5, bytes, receive};
use portreeve_mqtt::{Answer, Reason, Sender, Version, frame};

/// Version, sender, packet, reason code, clause.
type Row = (Version, Sender, &'static str, u8, &'static str);

fn check(rows: &[Row]) {
    for &(version, from, notation, code, clause) in rows {
        let wire = bytes(notation);
        let violation = receive(version, from, &wire).expect_err(notation);
        assert_eq!(violation.reason, Reason(code), "{version:?} {from:?} {notation}: {violation}");
        assert_eq!(violation.clause, clause, "{version:?} {from:?} {notation}: {violation}");
        // After the header, 3.1.1 has no words to refuse with.
        if version == V4 && frame(&wire, u32::MAX).is_ok() && code != 0x84 {
            assert_eq!(violation.answer, Answer::Nothing, "{notation}");
        }
    }
}

#[test]
fn fixed_headers() {
    check(&[
        // Type 0 is reserved in both versions, type 15 in 3.1.1.
        (V4, CLIENT, "00 |", 0x82, ""),
        (V5, CLIENT, "00 |", 0x82, ""),
        (V5, SERVER, "0a |", 0x82, ""),
        (V4, CLIENT, "f0 |", 0x82, ""),
        (V4, SERVER, "f0 |", 0x82, ""),
        // Reserved flags.
        (V4, CLIENT, "11 | s'MQTT' 04 02 003c s'c'", 0x81, "MQTT-2.1.3-1"),
        (V5, CLIENT, "18 | s'MQTT' 05 02 003c { } s'c'", 0x81, "MQTT-2.1.3-1"),
        (V5, SERVER, "21 | 00 00 { }", 0x82, "MQTT-2.1.3-1"),
        (V5, CLIENT, "29 | 00 00 { }", 0x82, "MQTT-2.1.3-1"),
        (V4, CLIENT, "41 | 0001", 0x81, "MQTT-2.1.3-1"),
        (V5, CLIENT, "42 | 0001", 0x81, "MQTT-2.1.3-1"),
        (V4, CLIENT, "52 | 0001", 0x81, "MQTT-2.1.3-1"),
        (V5, CLIENT, "58 | 0001", 0x81, "MQTT-2.1.3-1"),
        (V4, CLIENT, "60 | 0001", 0x81, "MQTT-3.6.1-1"),
        (V5, CLIENT, "60 | 0001", 0x81, "MQTT-3.6.1-1"),
        (V5, CLIENT, "63 | 0001", 0x81, "MQTT-3.6.1-1"),
        (V5, CLIENT, "6a | 0001", 0x81, "MQTT-3.6.1-1"),
        (V5, CLIENT, "72 | 0001", 0x81, "MQTT-2.1.3-1"),
        (V4, CLIENT, "80 | 0001 s'a' 00", 0x81, "MQTT-3.8.1-1"),
        (V5, CLIENT, "80 | 0001 { } s'a' 00", 0x81, "MQTT-3.8.1-1"),
        (V5, CLIENT, "8a | 0001 { } s'a' 00", 0x81, "MQTT-3.8.1-1"),
        (V5, SERVER, "92 | 0001 { } 00", 0x81, "MQTT-2.1.3-1"),
        (V4, CLIENT, "a0 | 0001 s'a'", 0x81, "MQTT-3.10.1-1"),
        (V5, CLIENT, "a3 | 0001 { } s'a'", 0x81, "MQTT-3.10.1-1"),
        (V5, SERVER, "b1 | 0001 { } 00", 0x81, "MQTT-2.1.3-1"),
        (V5, CLIENT, "c1 |", 0x81, "MQTT-2.1.3-1"),
        (V4, CLIENT, "c8 |", 0x81, "MQTT-2.1.3-1"),
        (V5, SERVER, "d4 |", 0x81, "MQTT-2.1.3-1"),
        (V4, CLIENT, "e1 |", 0x81, "MQTT-3.14.1-1"),
        (V5, CLIENT, "e2 |", 0x81, "MQTT-3.14.1-1"),
        (V5, CLIENT, "f1 | 19 { 15 s'm' }", 0x82, "MQTT-3.15.1-1"),
        // PUBLISH flags.
        (V4, CLIENT, "36 | s'a' 0001", 0x81, "MQTT-3.3.1-4"),
        (V5, CLIENT, "36 | s'a' 0001 { }", 0x81, "MQTT-3.3.1-4"),
        (V5, CLIENT, "3f | s'a' 0001 { }", 0x81, "MQTT-3.3.1-4"),
        (V4, CLIENT, "38 | s'a'", 0x81, "MQTT-3.3.1-2"),
        (V5, CLIENT, "38 | s'a' { }", 0x81, "MQTT-3.3.1-2"),
        (V5, SERVER, "39 | s'a' { }", 0x81, "MQTT-3.3.1-2"),
        // Remaining lengths.
        (V5, CLIENT, "30 ffffffff 7f", 0x81, ""),
        (V4, CLIENT, "30 80808080 00", 0x81, ""),
        (V5, CLIENT, "c0 8000", 0x81, "MQTT-1.5.5-1"),
        (V4, CLIENT, "40 8200 0001", 0x81, "MQTT-1.5.5-1"),
        (V5, CLIENT, "40 828000 0001", 0x81, "MQTT-1.5.5-1"),
    ]);
}

#[test]
fn a_bad_header_is_refused_before_its_length_has_come() {
    for (start, code) in [("00", 0x82), ("36", 0x81), ("38", 0x81), ("60", 0x81), ("82ffffffff", 0x81), ("c1", 0x81)] {
        assert_eq!(frame(&bytes(start), 1 << 20).map_err(|violation| violation.reason), Err(Reason(code)), "{start}");
    }
    // Lengths that cannot be read are not answered.
    assert_eq!(frame(&bytes("30ffffffff"), u32::MAX).unwrap_err().answer, Answer::Nothing);
    assert_eq!(frame(&bytes("308000"), u32::MAX).unwrap_err().answer, Answer::Nothing);
    assert_eq!(frame(&bytes("30ffffff7f"), 1 << 20).unwrap_err().reason, Reason::PACKET_TOO_LARGE);
    assert_eq!(frame(&bytes("30ffffff"), 1 << 20), Ok(None));
}

#[test]
fn connect_in_both_versions() {
    check(&[
        // Protocol name and level.
        (V4, CLIENT, "10 | s'MQTX' 04 02 003c s'c'", 0x82, "MQTT-3.1.2-1"),
        (V5, CLIENT, "10 | s'mqtt' 05 02 003c { } s'c'", 0x82, "MQTT-3.1.2-1"),
        (V4, CLIENT, "10 | s'' 04 02 003c s'c'", 0x82, "MQTT-3.1.2-1"),
        (V4, CLIENT, "10 | s'MQTTX' 04 02 003c s'c'", 0x82, "MQTT-3.1.2-1"),
        (V4, CLIENT, "10 | s'MQIsdp' 03 02 003c s'c'", 0x84, "MQTT-3.1.2-2"),
        (V4, CLIENT, "10 | s'MQTT' 03 02 003c s'c'", 0x84, "MQTT-3.1.2-2"),
        (V5, CLIENT, "10 | s'MQTT' 06 02 003c { } s'c'", 0x84, "MQTT-3.1.2-2"),
        (V5, CLIENT, "10 | s'MQTT' 00 02 003c s'c'", 0x84, "MQTT-3.1.2-2"),
        (V5, CLIENT, "10 | s'MQTT' 84 02 003c s'c'", 0x84, "MQTT-3.1.2-2"),
        (V4, CLIENT, "10 |", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT'", 0x81, ""),
        // The reserved flag.
        (V4, CLIENT, "10 | s'MQTT' 04 03 003c s'c'", 0x81, "MQTT-3.1.2-3"),
        (V5, CLIENT, "10 | s'MQTT' 05 03 003c { } s'c'", 0x81, "MQTT-3.1.2-3"),
        // Will flags that contradict each other.
        (V4, CLIENT, "10 | s'MQTT' 04 0a 003c s'c'", 0x81, "MQTT-3.1.2-11"),
        (V5, CLIENT, "10 | s'MQTT' 05 12 003c { } s'c'", 0x81, "MQTT-3.1.2-11"),
        (V4, CLIENT, "10 | s'MQTT' 04 22 003c s'c'", 0x81, "MQTT-3.1.2-13"),
        (V5, CLIENT, "10 | s'MQTT' 05 22 003c { } s'c'", 0x81, "MQTT-3.1.2-13"),
        (V4, CLIENT, "10 | s'MQTT' 04 1e 003c s'c' s'w' s'x'", 0x81, "MQTT-3.1.2-12"),
        (V5, CLIENT, "10 | s'MQTT' 05 1e 003c { } s'c' { } s'w' s'x'", 0x81, "MQTT-3.1.2-12"),
        (V5, CLIENT, "10 | s'MQTT' 05 1a 003c { } s'c'", 0x81, "MQTT-3.1.2-12"),
        // A password alone.
        (V4, CLIENT, "10 | s'MQTT' 04 42 003c s'c' s'p'", 0x82, "MQTT-3.1.2-22 of 3.1.1"),
        // Fields that the flags promise, and fields that they do not [MQTT-3.1.2-9] [MQTT-3.1.2-16..19].
        (V4, CLIENT, "10 | s'MQTT' 04 02 003c", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 02 003c 00", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 06 003c s'c'", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 06 003c s'c' s'w'", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 82 003c s'c'", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 c2 003c s'c' s'u'", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 02 003c s'c' s'u'", 0x81, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 02 003c s'c' 00", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { }", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c'", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { } s'w'", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 82 003c { } s'c'", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 42 003c { } s'c'", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { } s'c' s'u'", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 82 003c { } s'c' s'u' 00", 0x81, ""),
        // Text.
        (V4, CLIENT, "10 | s'MQTT' 04 02 003c 0002 c080", 0x85, "MQTT-1.5.4-1"),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { } 0003 eda080", 0x85, "MQTT-1.5.4-1"),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { } 0001 00", 0x85, "MQTT-1.5.4-2"),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { } 0002 c285", 0x85, ""),
        (V4, CLIENT, "10 | s'MQTT' 04 06 003c s'c' 0001 ff s'x'", 0x81, "MQTT-1.5.4-1"),
        (V4, CLIENT, "10 | s'MQTT' 04 06 003c s'c' 0001 00 s'x'", 0x81, "MQTT-1.5.4-2"),
        (V4, CLIENT, "10 | s'MQTT' 04 82 003c s'c' 0001 80", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "10 | s'MQTT' 05 82 003c { } s'c' 0001 00", 0x81, "MQTT-1.5.4-2"),
        (V5, CLIENT, "10 | s'MQTT' 05 82 003c { } s'c' 0001 1b", 0x81, ""),
        // Will topics.
        (V4, CLIENT, "10 | s'MQTT' 04 06 003c s'c' s'a/+' s'x'", 0x90, "MQTT-3.3.2-2"),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { } s'#' s'x'", 0x90, "MQTT-3.3.2-2"),
        (V4, CLIENT, "10 | s'MQTT' 04 06 003c s'c' s'' s'x'", 0x90, "MQTT-4.7.3-1"),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { } s'' s'x'", 0x90, "MQTT-4.7.3-1"),
        // Values of CONNECT and will properties.
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { 21 0000 } s'c'", 0x82, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { 27 00000000 } s'c'", 0x82, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { 17 02 } s'c'", 0x82, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { 19 02 } s'c'", 0x82, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { 16 s'data' } s'c'", 0x82, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { 15 0001 00 } s'c'", 0x81, "MQTT-1.5.4-2"),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { 01 02 } s'w' s'x'", 0x82, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { 08 s'a/#' } s'w' s'x'", 0x82, "MQTT-3.3.2-14"),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { 08 s'' } s'w' s'x'", 0x82, "MQTT-3.3.2-14"),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { 02 000000 } s'w' s'x'", 0x81, ""),
        // Property lengths beyond the packet.
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c 7f 21 0001 s'c'", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c ff", 0x81, ""),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c 8000 s'c'", 0x81, "MQTT-1.5.5-1"),
    ]);
}

#[test]
fn a_refused_connect_is_answered_in_words_its_sender_knows() {
    for (notation, answer) in [
        ("30 | s'a' { } 'x'", Answer::Nothing),
        ("11 | s'MQTT' 05 02 003c { } s'c'", Answer::Nothing),
        ("10 | s'HTTP' 05 02 003c { } s'c'", Answer::Nothing),
        ("10 | s'MQTT'", Answer::Nothing),
        ("10 | s'MQIsdp' 03 02 003c s'c'", Answer::ReturnCode),
        ("10 | s'MQTT' 03 02 003c s'c'", Answer::ReturnCode),
        ("10 | s'MQTT' 02 02 003c s'c'", Answer::ReasonCode),
        ("10 | s'MQTT' 06 02 003c { } s'c'", Answer::ReasonCode),
        ("10 | s'MQTT' 04 03 003c s'c'", Answer::Nothing),
        ("10 | s'MQTT' 05 02 003c { 21 0000 } s'c'", Answer::ReasonCode),
        ("10 | s'MQTT' 05 02 003c { } 0001 00", Answer::ReasonCode),
        ("10 | s'MQTT' 05 02 003c { } s'c' 00", Answer::ReasonCode),
        // Credentials that do not parse are not discussed.
        ("10 | s'MQTT' 05 82 003c { } s'c'", Answer::Nothing),
        ("10 | s'MQTT' 05 c2 003c { } s'c' s'u'", Answer::Nothing),
    ] {
        let violation = portreeve_mqtt::decode_connect(&bytes(notation)).expect_err(notation);
        assert_eq!(violation.answer, answer, "{notation}");
    }
    let refused = bytes("10 | s'MQIsdp' 03 02 003c s'c'");
    assert_eq!(portreeve_mqtt::decode_connect(&refused).unwrap_err().reason.connect_return_code(), 1);
}

#[test]
fn publish() {
    check(&[
        // Topic names.
        (V4, CLIENT, "30 | s'' 'x'", 0x81, "MQTT-4.7.3-1"),
        (V5, CLIENT, "30 | s'' { } 'x'", 0x81, "MQTT-4.7.3-1"),
        (V5, SERVER, "30 | s'' { } 'x'", 0x81, "MQTT-4.7.3-1"),
        (V4, CLIENT, "30 | s'a/+' 'x'", 0x81, "MQTT-3.3.2-2"),
        (V5, CLIENT, "30 | s'#' { } 'x'", 0x81, "MQTT-3.3.2-2"),
        (V5, CLIENT, "30 | s'a+b' { } 'x'", 0x81, "MQTT-3.3.2-2"),
        (V4, CLIENT, "30 | 0003 610062 'x'", 0x81, "MQTT-1.5.4-2"),
        (V5, CLIENT, "30 | 0003 610062 { } 'x'", 0x81, "MQTT-1.5.4-2"),
        (V5, CLIENT, "30 | 0003 eda080 { } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "30 | 0003 edbfbf { } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "30 | 0002 c0af { } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "30 | 0004 f4908080 { } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "30 | 0001 ff { } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V4, CLIENT, "30 | 0001 01 'x'", 0x81, ""),
        (V5, CLIENT, "30 | 0001 1f { } 'x'", 0x81, ""),
        (V5, CLIENT, "30 | 0001 7f { } 'x'", 0x81, ""),
        (V5, CLIENT, "30 | 0002 c280 { } 'x'", 0x81, ""),
        (V5, CLIENT, "30 | 0002 c29f { } 'x'", 0x81, ""),
        // Fields cut short.
        (V4, CLIENT, "30 |", 0x81, ""),
        (V4, CLIENT, "30 | 00", 0x81, ""),
        (V4, CLIENT, "30 | 0002 'a'", 0x81, ""),
        (V4, CLIENT, "32 | s'a'", 0x81, ""),
        (V4, CLIENT, "32 | s'a' 00", 0x81, ""),
        (V5, CLIENT, "30 | s'a'", 0x81, ""),
        (V5, CLIENT, "32 | s'a' 0001", 0x81, ""),
        (V5, CLIENT, "30 | s'a' 05 01 00", 0x81, ""),
        // Packet identifier 0.
        (V4, CLIENT, "32 | s'a' 0000", 0x82, "MQTT-2.2.1-3"),
        (V4, CLIENT, "34 | s'a' 0000", 0x82, "MQTT-2.2.1-3"),
        (V5, CLIENT, "32 | s'a' 0000 { }", 0x82, "MQTT-2.2.1-3"),
        (V5, SERVER, "3c | s'a' 0000 { }", 0x82, "MQTT-2.2.1-3"),
        // Values of properties.
        (V5, CLIENT, "30 | s'a' { 01 02 } 'x'", 0x82, ""),
        (V5, CLIENT, "30 | s'a' { 23 0000 } 'x'", 0x94, "MQTT-3.3.2-8"),
        (V5, CLIENT, "30 | s'' { 23 0000 } 'x'", 0x94, "MQTT-3.3.2-8"),
        (V5, CLIENT, "30 | s'a' { 08 s'r/+' } 'x'", 0x82, "MQTT-3.3.2-14"),
        (V5, CLIENT, "30 | s'a' { 08 s'#' } 'x'", 0x82, "MQTT-3.3.2-14"),
        (V5, CLIENT, "30 | s'a' { 08 s'' } 'x'", 0x82, "MQTT-3.3.2-14"),
        (V5, CLIENT, "30 | s'a' { 08 0001 00 } 'x'", 0x81, "MQTT-1.5.4-2"),
        (V5, CLIENT, "30 | s'a' { 03 0001 ff } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "30 | s'a' { 26 0001 ff s'v' } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "30 | s'a' { 26 s'k' 0003 eda080 } 'x'", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "30 | s'a' { 26 s'k' } 'x'", 0x81, ""),
        (V5, CLIENT, "30 | s'a' { 09 0005 01 } 'x'", 0x81, ""),
        (V5, SERVER, "30 | s'a' { 0b 00 } 'x'", 0x81, ""),
        (V5, CLIENT, "30 | s'a' { 0b 8000 } 'x'", 0x81, "MQTT-1.5.5-1"),
        (V5, CLIENT, "30 | s'a' { 0b 8080808001 } 'x'", 0x81, ""),
        // Subscription identifiers are the server's to send [MQTT-3.3.4-6].
        (V5, CLIENT, "30 | s'a' { 0b 01 } 'x'", 0x82, ""),
        (V5, CLIENT, "30 | s'a' { 0b 00 } 'x'", 0x82, ""),
    ]);
}

#[test]
fn acknowledgements() {
    check(&[
        // 3.1.1: two bytes, neither fewer nor more.
        (V4, CLIENT, "40 |", 0x81, ""),
        (V4, CLIENT, "40 | 00", 0x81, ""),
        (V4, CLIENT, "40 | 0001 00", 0x81, ""),
        (V4, CLIENT, "50 | 0001 00", 0x81, ""),
        (V4, CLIENT, "62 | 0001 00", 0x81, ""),
        (V4, CLIENT, "70 | 0001 00 { }", 0x81, ""),
        (V4, SERVER, "b0 | 0001 00", 0x81, ""),
        // 5.0: two, three, or four and more.
        (V5, CLIENT, "40 | 00", 0x81, ""),
        (V5, CLIENT, "50 |", 0x81, ""),
        (V5, CLIENT, "62 | 0001 00 { } 00", 0x81, ""),
        (V5, CLIENT, "70 | 0001 00 05", 0x81, ""),
        (V5, CLIENT, "40 | 0001 00 80", 0x81, ""),
        // Packet identifier 0.
        (V4, CLIENT, "40 | 0000", 0x82, "MQTT-2.2.1-3"),
        (V5, CLIENT, "40 | 0000", 0x82, "MQTT-2.2.1-3"),
        (V4, CLIENT, "50 | 0000", 0x82, "MQTT-2.2.1-3"),
        (V5, CLIENT, "62 | 0000 00", 0x82, "MQTT-2.2.1-3"),
        (V5, SERVER, "70 | 0000", 0x82, "MQTT-2.2.1-3"),
        // Reason codes of other packets.
        (V5, CLIENT, "40 | 0001 01", 0x82, "MQTT-3.4.2-1"),
        (V5, CLIENT, "40 | 0001 92", 0x82, "MQTT-3.4.2-1"),
        (V5, CLIENT, "40 | 0001 ff { }", 0x82, "MQTT-3.4.2-1"),
        (V5, CLIENT, "50 | 0001 11", 0x82, "MQTT-3.5.2-1"),
        (V5, CLIENT, "50 | 0001 8f", 0x82, "MQTT-3.5.2-1"),
        (V5, CLIENT, "62 | 0001 10", 0x82, "MQTT-3.6.2-1"),
        (V5, CLIENT, "62 | 0001 80", 0x82, "MQTT-3.6.2-1"),
        (V5, CLIENT, "70 | 0001 91", 0x82, "MQTT-3.7.2-1"),
        (V5, CLIENT, "70 | 0001 01", 0x82, "MQTT-3.7.2-1"),
        (V5, CLIENT, "40 | 0001 00 { 1f 0001 00 }", 0x81, "MQTT-1.5.4-2"),
    ]);
}

#[test]
fn subscribe_and_unsubscribe() {
    check(&[
        (V4, CLIENT, "82 |", 0x81, ""),
        (V4, CLIENT, "82 | 0001", 0x81, "MQTT-3.8.3-2"),
        (V5, CLIENT, "82 | 0001", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { }", 0x81, "MQTT-3.8.3-2"),
        (V4, CLIENT, "82 | 0000 s'a' 00", 0x81, "MQTT-2.2.1-3"),
        (V5, CLIENT, "82 | 0000 { } s'a' 00", 0x81, "MQTT-2.2.1-3"),
        (V4, CLIENT, "82 | 0001 s'' 00", 0x81, "MQTT-4.7.3-1"),
        (V5, CLIENT, "82 | 0001 { } s'a' 00 s'' 00", 0x81, "MQTT-4.7.3-1"),
        (V4, CLIENT, "82 | 0001 s'a'", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { } s'a'", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { } s'a' 00 00", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { } 0001 ff 00", 0x81, "MQTT-1.5.4-1"),
        (V5, CLIENT, "82 | 0001 { } 0001 00 00", 0x81, "MQTT-1.5.4-2"),
        // Options.
        (V4, CLIENT, "82 | 0001 s'a' 03", 0x81, "MQTT-3.8.3-4 of 3.1.1"),
        (V4, CLIENT, "82 | 0001 s'a' 04", 0x81, "MQTT-3.8.3-4 of 3.1.1"),
        (V4, CLIENT, "82 | 0001 s'a' 80", 0x81, "MQTT-3.8.3-4 of 3.1.1"),
        (V5, CLIENT, "82 | 0001 { } s'a' 03", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { } s'a' 30", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { } s'a' 40", 0x81, "MQTT-3.8.3-5"),
        (V5, CLIENT, "82 | 0001 { } s'a' 80", 0x81, "MQTT-3.8.3-5"),
        (V5, CLIENT, "82 | 0001 { } s'$share/g/a' 04", 0x82, "MQTT-3.8.3-4"),
        (V5, CLIENT, "82 | 0001 { } s'a' 04 s'$share/g/a' 0d", 0x82, "MQTT-3.8.3-4"),
        // Properties.
        (V5, CLIENT, "82 | 0001 { 0b 00 } s'a' 00", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { 0b 8000 } s'a' 00", 0x81, "MQTT-1.5.5-1"),
        (V5, CLIENT, "82 | 0001 { 0b 8080808001 } s'a' 00", 0x81, ""),
        (V5, CLIENT, "82 | 0001 { 0b 01 0b 02 } s'a' 00", 0x82, ""),
        (V5, CLIENT, "82 | 0001 { 0b } s'a' 00", 0x81, ""),
        (V4, CLIENT, "a2 | 00", 0x81, ""),
        (V4, CLIENT, "a2 | 0001", 0x81, "MQTT-3.10.3-2"),
        (V5, CLIENT, "a2 | 0001 { }", 0x81, "MQTT-3.10.3-2"),
        (V4, CLIENT, "a2 | 0000 s'a'", 0x81, "MQTT-2.2.1-3"),
        (V5, CLIENT, "a2 | 0000 { } s'a'", 0x81, "MQTT-2.2.1-3"),
        (V4, CLIENT, "a2 | 0001 s''", 0x81, "MQTT-4.7.3-1"),
        (V5, CLIENT, "a2 | 0001 { } s'a' s''", 0x81, "MQTT-4.7.3-1"),
        (V5, CLIENT, "a2 | 0001 { } 0002 'a'", 0x81, ""),
        (V5, CLIENT, "a2 | 0001 { } 0001 00", 0x81, "MQTT-1.5.4-2"),
    ]);
}

#[test]
fn answers_of_a_server() {
    check(&[
        (V4, SERVER, "20 | 00", 0x81, ""),
        (V4, SERVER, "20 | 00 00 00", 0x81, ""),
        (V4, SERVER, "20 | 02 00", 0x81, "MQTT-3.2.2-1"),
        (V5, SERVER, "20 | 80 00 { }", 0x81, "MQTT-3.2.2-1"),
        (V4, SERVER, "20 | 00 06", 0x82, "MQTT-3.2.2-8"),
        (V5, SERVER, "20 | 00 01 { }", 0x82, "MQTT-3.2.2-8"),
        (V5, SERVER, "20 | 00 8e { }", 0x82, "MQTT-3.2.2-8"),
        (V4, SERVER, "20 | 01 05", 0x82, "MQTT-3.2.2-6"),
        (V5, SERVER, "20 | 01 87 { }", 0x82, "MQTT-3.2.2-6"),
        (V5, SERVER, "20 | 00 00", 0x81, ""),
        (V5, SERVER, "20 | 00 00 { } 00", 0x81, ""),
        (V5, SERVER, "20 | 00 00 { 24 02 }", 0x82, ""),
        (V5, SERVER, "20 | 00 00 { 21 0000 }", 0x82, ""),
        (V5, SERVER, "20 | 00 00 { 27 00000000 }", 0x82, ""),
        (V5, SERVER, "20 | 00 00 { 28 02 }", 0x82, ""),
        (V4, SERVER, "90 | 0001", 0x81, "MQTT-3.8.4-6"),
        (V5, SERVER, "90 | 0001 { }", 0x81, "MQTT-3.8.4-6"),
        (V4, SERVER, "90 | 0001 03", 0x82, "MQTT-3.9.3-2"),
        (V4, SERVER, "90 | 0001 87", 0x82, "MQTT-3.9.3-2"),
        (V5, SERVER, "90 | 0001 { } 11", 0x82, "MQTT-3.9.3-2"),
        (V5, SERVER, "90 | 0000 { } 00", 0x82, "MQTT-2.2.1-3"),
        (V5, SERVER, "b0 | 0001 { }", 0x81, "MQTT-3.8.4-6"),
        (V5, SERVER, "b0 | 0001 { } 01", 0x82, "MQTT-3.11.3-2"),
        (V4, SERVER, "b0 | 0000", 0x82, "MQTT-2.2.1-3"),
    ]);
}

#[test]
fn pings_goodbyes_and_authentication() {
    check(&[
        (V4, CLIENT, "c0 | 00", 0x81, ""),
        (V5, CLIENT, "c0 | 00", 0x81, ""),
        (V5, SERVER, "d0 | 00", 0x81, ""),
        (V4, CLIENT, "e0 | 00", 0x81, ""),
        (V5, CLIENT, "e0 | 01", 0x82, "MQTT-3.14.2-1"),
        (V5, CLIENT, "e0 | 8e", 0x82, "MQTT-3.14.2-1"),
        (V5, CLIENT, "e0 | 87 { }", 0x82, "MQTT-3.14.2-1"),
        (V5, SERVER, "e0 | 04", 0x82, "MQTT-3.14.2-1"),
        (V5, SERVER, "e0 | 92", 0x82, "MQTT-3.14.2-1"),
        (V5, CLIENT, "e0 | 00 { } 00", 0x81, ""),
        (V5, CLIENT, "e0 | 00 05", 0x81, ""),
        (V5, CLIENT, "e0 | 00 { 11 000000 }", 0x81, ""),
        // [MQTT-3.14.2-2]
        (V5, SERVER, "e0 | 8b { 11 00000001 }", 0x82, ""),
        (V4, SERVER, "e0 |", 0x82, ""),
        (V4, CLIENT, "f0 | 18 { 15 s'm' }", 0x82, ""),
        (V5, CLIENT, "f0 |", 0x82, "MQTT-3.15.2-1"),
        (V5, CLIENT, "f0 | 00 { 15 s'm' }", 0x82, "MQTT-3.15.2-1"),
        (V5, SERVER, "f0 | 19 { 15 s'm' }", 0x82, "MQTT-3.15.2-1"),
        (V5, CLIENT, "f0 | 87 { 15 s'm' }", 0x82, "MQTT-3.15.2-1"),
        (V5, CLIENT, "f0 | 18", 0x81, ""),
        (V5, CLIENT, "f0 | 18 { }", 0x82, ""),
        (V5, CLIENT, "f0 | 18 { 16 s'd' }", 0x82, ""),
        (V5, CLIENT, "f0 | 18 { 15 s'm' } 00", 0x81, ""),
    ]);
}

#[test]
fn packets_of_the_other_end() {
    check(&[
        (V4, CLIENT, "20 | 00 00", 0x82, ""),
        (V5, CLIENT, "20 | 00 00 { }", 0x82, ""),
        (V4, CLIENT, "90 | 0001 00", 0x82, ""),
        (V5, CLIENT, "90 | 0001 { } 00", 0x82, ""),
        (V4, CLIENT, "b0 | 0001", 0x82, ""),
        (V5, CLIENT, "b0 | 0001 { } 00", 0x82, ""),
        (V4, CLIENT, "d0 |", 0x82, ""),
        (V5, CLIENT, "d0 |", 0x82, ""),
        (V4, SERVER, "82 | 0001 s'a' 00", 0x82, ""),
        (V5, SERVER, "82 | 0001 { } s'a' 00", 0x82, ""),
        (V4, SERVER, "a2 | 0001 s'a'", 0x82, ""),
        (V5, SERVER, "a2 | 0001 { } s'a'", 0x82, ""),
        (V4, SERVER, "c0 |", 0x82, ""),
        (V5, SERVER, "c0 |", 0x82, ""),
    ]);
    let connect = bytes("10 | s'MQTT' 05 02 003c { } s'c'");
    let violation = portreeve_mqtt::decode(V5, SERVER, &connect).unwrap_err();
    assert_eq!(violation.reason, Reason::PROTOCOL_ERROR, "a server never sends CONNECT");
}

#[test]
fn a_peer_that_says_goodbye_or_pings_with_a_body_is_not_answered() {
    for notation in ["e0 | 01", "c0 | 00", "d0 | 00"] {
        let from = if notation.starts_with('d') { SERVER } else { CLIENT };
        assert_eq!(receive(V5, from, &bytes(notation)).unwrap_err().answer, Answer::Nothing, "{notation}");
    }
    assert_eq!(receive(V5, CLIENT, &bytes("e0 | 00 { 23 0001 }")).unwrap_err().answer, Answer::ReasonCode);
}

/// Where each property may stand, table 2-4: by identifier, a valid value, and the packets of [`CARRIERS`].
const PROPERTIES: &[(u8, &str, &str)] = &[
    (0x01, "01", "will publish publish-of-server"),
    (0x02, "00000001", "will publish publish-of-server"),
    (0x03, "s't'", "will publish publish-of-server"),
    (0x08, "s't'", "will publish publish-of-server"),
    (0x09, "s't'", "will publish publish-of-server"),
    (0x0b, "01", "publish-of-server subscribe"),
    (0x11, "00000001", "connect connack disconnect"),
    (0x12, "s't'", "connack"),
    (0x13, "0001", "connack"),
    (0x15, "s't'", "connect connack auth"),
    (0x16, "s't'", "connack auth"),
    (0x17, "01", "connect"),
    (0x18, "00000001", "will"),
    (0x19, "01", "connect"),
    (0x1a, "s't'", "connack"),
    (0x1c, "s't'", "connack disconnect disconnect-of-server"),
    (0x1f, "s't'", "connack puback pubrec pubrel pubcomp suback unsuback disconnect disconnect-of-server auth"),
    (0x21, "0001", "connect connack"),
    (0x22, "0001", "connect connack"),
    (0x23, "0001", "publish publish-of-server"),
    (0x24, "01", "connack"),
    (0x25, "01", "connack"),
    (
        0x26,
        "s'k' s'v'",
        "connect will connack publish publish-of-server puback pubrec pubrel pubcomp subscribe suback unsubscribe unsuback disconnect disconnect-of-server auth",
    ),
    (0x27, "00000001", "connect connack"),
    (0x28, "01", "connack"),
    (0x29, "01", "connack"),
    (0x2a, "01", "connack"),
];

/// Packets with room for a property at `@`.
const CARRIERS: &[(&str, Sender, &str)] = &[
    ("connect", CLIENT, "10 | s'MQTT' 05 02 003c { @ } s'c'"),
    ("will", CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { @ } s'w' s'x'"),
    ("connack", SERVER, "20 | 00 00 { @ }"),
    ("publish", CLIENT, "30 | s'a' { @ } 'x'"),
    ("publish-of-server", SERVER, "30 | s'a' { @ } 'x'"),
    ("puback", CLIENT, "40 | 0001 00 { @ }"),
    ("pubrec", CLIENT, "50 | 0001 00 { @ }"),
    ("pubrel", CLIENT, "62 | 0001 00 { @ }"),
    ("pubcomp", CLIENT, "70 | 0001 00 { @ }"),
    ("subscribe", CLIENT, "82 | 0001 { @ } s'a' 00"),
    ("suback", SERVER, "90 | 0001 { @ } 00"),
    ("unsubscribe", CLIENT, "a2 | 0001 { @ } s'a'"),
    ("unsuback", SERVER, "b0 | 0001 { @ } 00"),
    ("disconnect", CLIENT, "e0 | 00 { @ }"),
    ("disconnect-of-server", SERVER, "e0 | 8b { @ }"),
    ("auth", SERVER, "f0 | 18 { 15 s'm' @ }"),
];

fn carry(carrier: &str, property: &str) -> Vec<u8> {
    // AUTH cannot do without its method: where that is the property in question, it stands once.
    let carrier = if property.starts_with("15") { carrier.replace("15 s'm' ", "") } else { carrier.to_owned() };
    bytes(&carrier.replace('@', property))
}

#[test]
fn every_property_in_every_packet() {
    for &(identifier, value, places) in PROPERTIES {
        for &(name, from, carrier) in CARRIERS {
            let property = format!("{identifier:02x} {value}");
            let once = receive(V5, from, &carry(carrier, &property)).map(|_| ()).map_err(|violation| violation.reason);
            let twice = receive(V5, from, &carry(carrier, &format!("{property} {property}")))
                .map(|_| ())
                .map_err(|violation| violation.reason);
            let may_stand = places.split(' ').any(|place| place == name);
            let may_repeat = identifier == 0x26 || (identifier == 0x0b && name == "publish-of-server");
            // §2.2.2.2; the recorded sequences' choice between malformed and forbidden.
            let misplaced = if name.ends_with("subscribe") { Reason::MALFORMED_PACKET } else { Reason::PROTOCOL_ERROR };
            match (may_stand, may_repeat) {
                (true, true) => assert_eq!((once, twice), (Ok(()), Ok(())), "{property} in {name}"),
                (true, false) => {
                    assert_eq!((once, twice), (Ok(()), Err(Reason::PROTOCOL_ERROR)), "{property} in {name}");
                }
                // It needs its method in CONNECT, §3.1.2.11.10.
                _ if identifier == 0x16 && name == "connect" => assert_eq!(once, Err(Reason::PROTOCOL_ERROR)),
                _ => assert_eq!(once, Err(misplaced), "{property} in {name}"),
            }
        }
    }
}

#[test]
fn unknown_and_truncated_properties_are_malformed_in_every_packet() {
    let known = |identifier: u8| PROPERTIES.iter().any(|property| property.0 == identifier);
    for &(name, from, carrier) in CARRIERS {
        for identifier in (0..=u8::MAX).filter(|&identifier| !known(identifier)) {
            let violation = receive(V5, from, &carry(carrier, &format!("{identifier:02x} 01"))).unwrap_err();
            assert_eq!(violation.reason, Reason::MALFORMED_PACKET, "{identifier:02x} in {name}");
        }
        for &(identifier, ..) in PROPERTIES {
            let violation = receive(V5, from, &carry(carrier, &format!("{identifier:02x}"))).unwrap_err();
            assert_eq!(violation.reason, Reason::MALFORMED_PACKET, "{identifier:02x} without value in {name}");
        }
    }
}

/// What the specifications allow and a careless strictness would refuse.
#[test]
fn odd_but_valid() {
    for (version, from, notation) in [
        (V4, CLIENT, "10 | s'MQTT' 04 00 ffff s'any_client-id/+/#'"),
        (V4, CLIENT, "10 | s'MQTT' 04 82 0000 s'c' s''"),
        (V4, CLIENT, "10 | s'MQTT' 04 c2 0000 s'c' s'u' 0002 0000"),
        (V4, CLIENT, "10 | s'MQTT' 04 06 0000 s'c' s'w' s''"),
        (V5, CLIENT, "10 | s'MQTT' 05 c0 0000 { } s'' s'' s''"),
        (V5, CLIENT, "10 | s'MQTT' 05 02 003c { 27 ffffffff 22 0000 } s'c'"),
        (V5, CLIENT, "10 | s'MQTT' 05 06 003c { } s'c' { 03 s'' 09 s'' } s'w' s''"),
        (V5, CLIENT, "30 | s'a' { 26 s'' s'' } 'x'"),
        (V5, CLIENT, "30 | s'a' { 02 00000000 } 'x'"),
        // Non-characters, U+FEFF, and a character beyond the basic plane; wildcards in other text.
        (V5, CLIENT, "30 | 0003 efbfbf { } 'x'"),
        (V5, CLIENT, "30 | 0003 efbbbf { } 'x'"),
        (V4, CLIENT, "30 | 0005 41f0aa9b94 'x'"),
        (V5, CLIENT, "30 | 0002 c2a0 { 03 s'application/ld+json;#' } 'x'"),
        (V4, CLIENT, "82 | 0001 s'a/#/b' 00"),
        (V5, CLIENT, "82 | 0001 { } s'$share' 04"),
        (V5, CLIENT, "40 | 0001 00"),
        (V5, CLIENT, "e0 | 00 { }"),
        (V5, SERVER, "b0 | 0001 { } 11"),
    ] {
        let wire = bytes(notation);
        assert!(receive(version, from, &wire).is_ok(), "{notation}: {:?}", receive(version, from, &wire));
    }
    // [MQTT-1.5.4-3]: U+FEFF is neither skipped nor stripped.
    let wire = bytes("30 | 0004 efbbbf61 { } 'x'");
    let publish = portreeve_mqtt::decode_publish(V5, CLIENT, &wire).unwrap();
    assert_eq!(publish.topic, "\u{feff}a");
}
