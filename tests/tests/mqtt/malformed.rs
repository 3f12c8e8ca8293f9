//! Hostile packets of every kind, in both versions: the bytes, and the only acceptable answer.
//!
//! A peer that breaks the protocol is cut off: in 5.0 with DISCONNECT and the reason, in 3.1.1 without a word, and in
//! either without a word where no MQTT can be recognised. The properties of 5.0 are in `malformed_v5`, CONNECT is in
//! `malformed_connect`.

use portreeve_tests::{V4, V5};

use crate::table::{IGNORED, MALFORMED, PROTOCOL, Row, SILENCE, Then, check, check_first, hub_is_well};

/// Any packet but CONNECT as the first is closed without a word [MQTT-3.1.0-1], [MQTT-3.14.0-1].
#[test]
fn before_connect() {
    let rows: Vec<Row> = [
        "00 |",
        "20 | 00 00",
        "20 | 00 00 ( )",
        "30 | s'a' 'x'",
        "30 | s'a' ( ) 'x'",
        "31 |",
        "32 | s'a' 0001 'x'",
        "34 | s'a' 0001 ( ) 'x'",
        "36 | s'a' 0001",
        "40 | 0001",
        "40 | 0001 10",
        "50 | 0001",
        "62 | 0001",
        "60 | 0001",
        "70 | 0001",
        "82 | 0001 s'a' 00",
        "82 | 0001 ( ) s'a' 00",
        "80 | 0001 s'a' 00",
        "90 | 0001 00",
        "a2 | 0001 s'a'",
        "a2 | 0001 ( ) s'a'",
        "b0 | 0001",
        "c0 |",
        "c1 |",
        "c0 | 00",
        "d0 |",
        "e0 |",
        "e0 | 04",
        "e0 | 82 ( )",
        "f0 | 18 ( 15 s'm' )",
        "f0 |",
        "ff |",
        // Other protocols.
        "'GET / HTTP/1.1' 0d0a0d0a",
        "'SSH-2.0-x' 0d0a",
        "16 0301 0200 01 0001fc 0303",
        // Lengths of five bytes, whatever the type.
        "00 80808080 01",
        "10 80808080 01",
        "10 ffffffff ff",
        "30 80808080 01",
        "c0 80808080 00",
        "f0 ffffffff 7f",
        // Too large for a first packet [limits.connect_bytes].
        "10 ffff7f 0004 'MQTT' 05",
        "10 ffffff7f 0004 'MQTT' 04",
    ]
    .map(|sent| (sent, SILENCE))
    .to_vec();
    check_first(&rows);
    hub_is_well();
}

/// [MQTT-2.1.3-1] [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1], §2.1.4;
/// [MQTT-2.2.2-1] and [MQTT-2.2.2-2] of 3.1.1
#[test]
fn fixed_headers_of_3_1_1() {
    let rows: Vec<Row> = [
        "00 |",
        "00 | 00",
        "0a |",
        "0f | 0001",
        "0a c0", //
        "20 | 00 00",
        "21 | 00 00",
        "2f |", //
        "36 | s'a' 0001",
        "37 | s'a' 0001",
        "3e | s'a' 0001",
        "3f | s'a' 0001",
        "38 | s'a' 'x'",
        "39 | s'a' 'x'", //
        "41 | 0001",
        "42 | 0001",
        "44 | 0001",
        "48 | 0001", //
        "51 | 0001",
        "52 | 0001",
        "54 | 0001",
        "58 | 0001", //
        "60 | 0001",
        "61 | 0001",
        "63 | 0001",
        "66 | 0001",
        "6a | 0001", //
        "71 | 0001",
        "72 | 0001",
        "74 | 0001",
        "78 | 0001", //
        "80 | 0001 s'a' 00",
        "81 | 0001 s'a' 00",
        "83 | 0001 s'a' 00",
        "86 | 0001 s'a' 00",
        "8a | 0001 s'a' 00", //
        "90 | 0001 00",
        "91 | 0001 00",
        "b0 | 0001",
        "b1 | 0001", //
        "a0 | 0001 s'a'",
        "a1 | 0001 s'a'",
        "a3 | 0001 s'a'",
        "a6 | 0001 s'a'",
        "aa | 0001 s'a'", //
        "c1 |",
        "c2 |",
        "c4 |",
        "c8 |",
        "c0 | 00",
        "d0 |",
        "d1 |",
        "d0 | 00", //
        "e1 |",
        "e2 |",
        "e4 |",
        "e8 |",
        "e0 | 00",
        "f0 |",
        "f0 | 18",
        "f1 |", //
        "00 80808080 01",
        "10 80808080 01",
        "20 80808080 01",
        "30 80808080 01",
        "40 80808080 01",
        "50 80808080 01",
        "62 80808080 01",
        "70 80808080 01",
        "82 80808080 01",
        "90 80808080 01",
        "a2 80808080 01",
        "b0 80808080 01",
        "c0 80808080 01",
        "d0 80808080 01",
        "e0 80808080 01",
        "f0 80808080 01",
    ]
    .map(|sent| (sent, SILENCE))
    .to_vec();
    check(V4, &rows);
    hub_is_well();
}

/// As of 3.1.1, with the reason.
#[test]
fn fixed_headers_of_5_0() {
    check(
        V5,
        &[
            // Type 0 is wrong whatever follows, even before it has come.
            ("00 |", PROTOCOL),
            ("00 | 00", PROTOCOL),
            ("0a c0", PROTOCOL),
            ("0f | 0001", PROTOCOL),
            // Packets of a server. [MQTT-3.15.1-1] for AUTH without a method.
            ("20 | 00 00 ( )", PROTOCOL),
            ("20 | 00 00", PROTOCOL),
            ("20 |", PROTOCOL),
            ("21 | 00 00 ( )", PROTOCOL),
            ("22 | 00 00 ( )", PROTOCOL),
            ("24 | 00 00 ( )", PROTOCOL),
            ("29 |", PROTOCOL),
            ("90 | 0001 ( ) 00", PROTOCOL),
            ("90 | 0001", PROTOCOL),
            ("91 | 0001 ( ) 00", MALFORMED),
            ("92 | 0001 ( ) 00", MALFORMED),
            ("94 | 0001 ( ) 00", MALFORMED),
            ("98 | 0001 ( ) 00", MALFORMED),
            ("b0 | 0001 ( ) 00", PROTOCOL),
            ("b0 | 0001", PROTOCOL),
            ("b1 | 0001 ( ) 00", MALFORMED),
            ("b2 | 0001 ( ) 00", MALFORMED),
            ("b4 | 0001 ( ) 00", MALFORMED),
            ("b8 | 0001 ( ) 00", MALFORMED),
            ("d0 |", PROTOCOL),
            ("d1 |", MALFORMED),
            ("d2 |", MALFORMED),
            ("d4 |", MALFORMED),
            ("d8 |", MALFORMED),
            ("d0 | 00", SILENCE),
            ("f0 | 00", PROTOCOL),
            ("f0 | 18 ( )", PROTOCOL),
            ("f0 | 19 ( 15 s'm' )", PROTOCOL),
            ("f1 | 00", PROTOCOL),
            ("f2 | 00", PROTOCOL),
            ("f4 | 00", PROTOCOL),
            ("f8 | 00", PROTOCOL),
            // Reserved flags.
            ("41 | 0001", MALFORMED),
            ("42 | 0001", MALFORMED),
            ("44 | 0001", MALFORMED),
            ("48 | 0001", MALFORMED),
            ("51 | 0001", MALFORMED),
            ("52 | 0001", MALFORMED),
            ("54 | 0001", MALFORMED),
            ("58 | 0001", MALFORMED),
            ("60 | 0001", MALFORMED),
            ("61 | 0001", MALFORMED),
            ("63 | 0001", MALFORMED),
            ("66 | 0001", MALFORMED),
            ("6a | 0001", MALFORMED),
            ("71 | 0001", MALFORMED),
            ("72 | 0001", MALFORMED),
            ("74 | 0001", MALFORMED),
            ("78 | 0001", MALFORMED),
            ("80 | 0001 ( ) s'a' 00", MALFORMED),
            ("81 | 0001 ( ) s'a' 00", MALFORMED),
            ("83 | 0001 ( ) s'a' 00", MALFORMED),
            ("86 | 0001 ( ) s'a' 00", MALFORMED),
            ("8a | 0001 ( ) s'a' 00", MALFORMED),
            ("a0 | 0001 ( ) s'a'", MALFORMED),
            ("a1 | 0001 ( ) s'a'", MALFORMED),
            ("a3 | 0001 ( ) s'a'", MALFORMED),
            ("a6 | 0001 ( ) s'a'", MALFORMED),
            ("aa | 0001 ( ) s'a'", MALFORMED),
            ("c1 |", MALFORMED),
            ("c2 |", MALFORMED),
            ("c4 |", MALFORMED),
            ("c8 |", MALFORMED),
            ("c0 | 00", SILENCE),
            ("e1 |", MALFORMED),
            ("e2 |", MALFORMED),
            ("e4 |", MALFORMED),
            ("e8 |", MALFORMED),
            ("36 | s'a' 0001 ( )", MALFORMED),
            ("37 | s'a' 0001 ( )", MALFORMED),
            ("3e | s'a' 0001 ( )", MALFORMED),
            ("3f | s'a' 0001 ( )", MALFORMED),
            ("38 | s'a' ( ) 'x'", MALFORMED),
            ("39 | s'a' ( ) 'x'", MALFORMED),
            // Lengths that end nowhere are not answered, but for type 0, which is wrong before.
            ("00 80808080 01", PROTOCOL),
            ("10 80808080 01", SILENCE),
            ("20 80808080 01", SILENCE),
            ("30 80808080 01", SILENCE),
            ("40 80808080 01", SILENCE),
            ("50 80808080 01", SILENCE),
            ("62 80808080 01", SILENCE),
            ("70 80808080 01", SILENCE),
            ("82 80808080 01", SILENCE),
            ("90 80808080 01", SILENCE),
            ("a2 80808080 01", SILENCE),
            ("b0 80808080 01", SILENCE),
            ("c0 80808080 01", SILENCE),
            ("d0 80808080 01", SILENCE),
            ("e0 80808080 01", SILENCE),
            ("f0 80808080 01", SILENCE),
            // The fourth continuation bit is enough.
            ("30 80808080", SILENCE),
            ("30 ffffffff", SILENCE),
        ],
    );
    hub_is_well();
}

/// §3.3, what 3.1.1 forbids: [MQTT-2.2.1-3] [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-4.7.3-1]
/// [MQTT-4.7.3-2].
#[test]
fn publish_of_3_1_1() {
    let rows: Vec<Row> = [
        "30 |",
        "30 | 00",
        "30 | 0005 'a'",
        "32 | s'a'",
        "32 | s'a' 00",
        "34 | s'a'",
        "32 | s'a' 0000",
        "34 | s'a' 0000",
        "30 | s''",
        "30 | s'' 'x'",
        "32 | s'' 0001", //
        "30 | s'a/+' 'x'",
        "30 | s'#' 'x'",
        "30 | s'+' 'x'",
        "30 | s'a/#/b' 'x'",
        "30 | s'a+b' 'x'", //
        "30 | 0001 00 'x'",
        "30 | 0002 'a' 00 'x'",
        "30 | 0001 ff 'x'",
        "30 | 0002 c080 'x'",
        "30 | 0003 eda080 'x'",
        "30 | 0003 edbfbf 'x'",
        "30 | 0004 f4908080 'x'",
        "30 | 0001 01 'x'",
        "30 | 0001 1f 'x'",
        "30 | 0001 7f 'x'",
        "30 | 0002 c280 'x'",
        "30 | 0002 c29f 'x'",
    ]
    .map(|sent| (sent, SILENCE))
    .to_vec();
    check(V4, &rows);
    check(
        V4,
        &[
            ("30 | s'topic' 'x'", IGNORED),
            ("30 | 0005 41f0aa9b94 'x'", IGNORED),
            ("30 | 0003 efbbbf 'x'", IGNORED),
            ("32 | s'nobody/reads/this' 0001 'x'", Then::Live("40 | 0001")),
            ("3a | s'nobody/reads/this' 0001 'x'", Then::Live("40 | 0001")),
            ("34 | s'nobody/reads/this' ffff 'x'", Then::Live("50 | ffff")),
            ("32 | s'$own/topic' 0001 'x'", Then::Live("40 | 0001")),
        ],
    );
    hub_is_well();
}

/// §3.3, but for its properties; as of 3.1.1, and [MQTT-4.7.0-1].
#[test]
fn publish_of_5_0() {
    check(
        V5,
        &[
            ("30 |", MALFORMED),
            ("30 | 00", MALFORMED),
            ("30 | 0005 'a'", MALFORMED),
            ("30 | s'a'", MALFORMED),
            ("32 | s'a'", MALFORMED),
            ("32 | s'a' 00", MALFORMED),
            ("32 | s'a' 0001", MALFORMED),
            ("32 | s'a' 0000 ( )", PROTOCOL),
            ("34 | s'a' 0000 ( ) 'x'", PROTOCOL),
            ("30 | s'' ( )", MALFORMED),
            ("30 | s'' ( ) 'x'", MALFORMED),
            ("32 | s'' 0001 ( ) 'x'", MALFORMED),
            ("30 | s'a/+' ( ) 'x'", MALFORMED),
            ("30 | s'+' ( ) 'x'", MALFORMED),
            ("30 | s'#' ( ) 'x'", MALFORMED),
            ("30 | s'a#' ( ) 'x'", MALFORMED),
            ("30 | s'a/#/b' ( ) 'x'", MALFORMED),
            ("30 | 0001 00 ( ) 'x'", MALFORMED),
            ("30 | 0002 'a' 00 ( ) 'x'", MALFORMED),
            ("30 | 0001 ff ( ) 'x'", MALFORMED),
            ("30 | 0002 c080 ( ) 'x'", MALFORMED),
            ("30 | 0003 eda080 ( ) 'x'", MALFORMED),
            ("30 | 0003 edbfbf ( ) 'x'", MALFORMED),
            ("30 | 0004 f4908080 ( ) 'x'", MALFORMED),
            ("30 | 0001 01 ( ) 'x'", MALFORMED),
            ("30 | 0001 1f ( ) 'x'", MALFORMED),
            ("30 | 0001 7f ( ) 'x'", MALFORMED),
            ("30 | 0002 c280 ( ) 'x'", MALFORMED),
            ("30 | 0002 c29f ( ) 'x'", MALFORMED),
            ("30 | s'topic' ( ) 'x'", IGNORED),
            ("30 | 0005 41f0aa9b94 ( ) 'x'", IGNORED),
            ("30 | 0003 efbbbf ( ) 'x'", IGNORED),
            ("32 | s'nobody/reads/this' 0001 ( ) 'x'", Then::Live("40 | 0001 10")),
            ("3a | s'nobody/reads/this' 0001 ( ) 'x'", Then::Live("40 | 0001 10")),
            ("34 | s'nobody/reads/this' ffff ( ) 'x'", Then::Live("50 | ffff")),
            ("34 | s'$own/topic' 0001 ( ) 'x'", Then::Live("50 | 0001")),
            ("34 | s'$SYS/broker/uptime' 0001 ( ) 'x'", Then::Live("50 | 0001 87")),
            ("34 | s'$SYS/broker/connection/me' 0001 ( ) 'x'", Then::Live("50 | 0001 87")),
            ("34 | s'$share/group/topic' 0001 ( ) 'x'", Then::Live("50 | 0001 87")),
        ],
    );
    hub_is_well();
}

/// §3.4 to §3.7: length, identifier [MQTT-2.2.1-5] [MQTT-2.2.1-6], codes [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1]
/// [MQTT-3.7.2-1]. The answers carry no reason string and no user property [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2]
/// [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3].
#[test]
fn acknowledgements() {
    let of_3_1_1: Vec<Row> = [
        "40 |",
        "40 | 00",
        "40 | 0000",
        "40 | 0001 00",
        "40 | 0001 00 ( )",
        "50 |",
        "50 | 00",
        "50 | 0000",
        "50 | 0001 00",
        "62 |",
        "62 | 00",
        "62 | 0000",
        "62 | 0001 00",
        "70 |",
        "70 | 00",
        "70 | 0000",
        "70 | 0001 00",
    ]
    .map(|sent| (sent, SILENCE))
    .to_vec();
    check(V4, &of_3_1_1);
    check(
        V4,
        &[
            ("40 | 0001", IGNORED),
            ("50 | 0001", Then::Live("62 | 0001")),
            ("62 | 0001", Then::Live("70 | 0001")),
            ("70 | 0001", IGNORED),
        ],
    );
    for kind in ["40", "50", "62", "70"] {
        let of = |rest: &str, then| (&*format!("{kind} | {rest}").leak(), then);
        check(
            V5,
            &[
                of("", MALFORMED),
                of("00", MALFORMED),
                of("0000", PROTOCOL),
                of("0000 00", PROTOCOL),
                // Codes of other packets.
                of("0001 01", PROTOCOL),
                of("0001 02", PROTOCOL),
                of("0001 11", PROTOCOL),
                of("0001 8f", PROTOCOL),
                of("0001 ff", PROTOCOL),
                // Properties that are cut short or overshoot.
                of("0001 00 01", MALFORMED),
                of("0001 00 80", MALFORMED),
                of("0001 00 8000", MALFORMED),
                of("0001 00 ( 1f )", MALFORMED),
                of("0001 00 ( 1f 0005 'x' )", MALFORMED),
                of("0001 00 ( 26 s'k' )", MALFORMED),
                of("0001 00 ( ) 00", MALFORMED),
                of("0001 00 ( 1f s'x' 1f s'y' )", PROTOCOL),
                of("0001 00 ( 01 00 )", PROTOCOL),
                of("0001 00 ( 23 0001 )", PROTOCOL),
                of("0001 00 ( 11 00000001 )", PROTOCOL),
                of("0001 00 ( 7f 00 )", MALFORMED),
                of("0001 00 ( 00 00 )", MALFORMED),
                of("0001 00 ( 1f 0001 00 )", MALFORMED),
            ],
        );
    }
    check(
        V5,
        &[
            ("40 | 0001 92", PROTOCOL),
            ("50 | 0001 92", PROTOCOL),
            ("62 | 0001 10", PROTOCOL),
            ("62 | 0001 80", PROTOCOL),
            ("70 | 0001 10", PROTOCOL),
            ("70 | 0001 80", PROTOCOL),
            ("40 | 0001 00 ( 1f s'x' 26 s'k' s'v' 26 s'k' s'v' )", IGNORED),
            ("50 | 0001 00 ( 1f s'x' )", Then::Live("62 | 0001")),
            ("62 | 0001 00 ( 26 s'k' s'v' )", Then::Live("70 | 0001")),
            ("70 | 0001 92 ( 1f s'x' )", IGNORED),
        ],
    );
    hub_is_well();
}

/// §3.8, §3.10: [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.10.3-1] [MQTT-3.10.3-2], [MQTT-3.8.3-4] of 3.1.1
#[test]
fn subscribe_and_unsubscribe_of_3_1_1() {
    let rows: Vec<Row> = [
        "82 |",
        "82 | 00",
        "82 | 0001",
        "82 | 0000 s'a' 00",
        "82 | 0001 s'' 00",
        "82 | 0001 s'a'",
        "82 | 0001 00",
        "82 | 0001 0005 'a' 00",
        "82 | 0001 s'a' 03",
        "82 | 0001 s'a' 04",
        "82 | 0001 s'a' 08",
        "82 | 0001 s'a' 10",
        "82 | 0001 s'a' 40",
        "82 | 0001 s'a' 80",
        "82 | 0001 s'a' ff",
        "82 | 0001 s'a' 00 s'b'",
        "82 | 0001 s'a' 00 00",
        "82 | 0001 0001 00 00",
        "82 | 0001 0001 ff 00",
        "82 | 0001 0003 eda080 00",
        "82 | 0001 0001 1f 00",
        "82 | 0001 s'a#' 00",
        "82 | 0001 s'a/#/b' 00",
        "82 | 0001 s'a+' 00",
        "82 | 0001 s'a' 00 s'b#' 00",
        "82 | 0001 s'$share/p' 00",
        "82 | 0001 s'$share/+/p' 00",
        "82 | 0001 s'$share//p' 00",
        "82 | 0001 s'$share/p/' 00",
        "a2 |",
        "a2 | 00",
        "a2 | 0001",
        "a2 | 0000 s'a'",
        "a2 | 0001 s''",
        "a2 | 0001 00",
        "a2 | 0001 0005 'a'",
        "a2 | 0001 s'a' 00",
        "a2 | 0001 0001 00",
        "a2 | 0001 0001 ff",
        "a2 | 0001 s'a#'",
        "a2 | 0001 s'+a'",
    ]
    .map(|sent| (sent, SILENCE))
    .to_vec();
    check(V4, &rows);
    check(
        V4,
        &[
            ("82 | 0001 s'v4/ok/#' 00", Then::Live("90 | 0001 00")),
            ("82 | ffff s'v4/+/ok' 02", Then::Live("90 | ffff 02")),
            ("82 | 0001 s'$share/group/v4/ok' 01", Then::Live("90 | 0001 01")),
            ("82 | 0001 s'v4/ok' 01 s'v4/ok' 02", Then::Live("90 | 0001 01 02")),
            ("a2 | 0001 s'v4/never/was'", Then::Live("b0 | 0001")),
            ("a2 | 0001 s'a' s'a' s'$share/g/a'", Then::Live("b0 | 0001")),
        ],
    );
    hub_is_well();
}

/// As of 3.1.1; [MQTT-3.8.3-5] [MQTT-1.5.5-1] [MQTT-1.5.7-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-3.8.3-4]. SUBACK and UNSUBACK
/// carry no reason string and no user property [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2].
#[test]
fn subscribe_and_unsubscribe_of_5_0() {
    check(
        V5,
        &[
            ("82 |", MALFORMED),
            ("82 | 00", MALFORMED),
            ("82 | 0001", MALFORMED),
            ("82 | 0001 ( )", MALFORMED),
            ("82 | 0000 ( ) s'a' 00", MALFORMED),
            ("82 | 0001 ( ) s'' 00", MALFORMED),
            ("82 | 0001 ( ) s'a'", MALFORMED),
            ("82 | 0001 ( ) 00", MALFORMED),
            ("82 | 0001 ( ) 0005 'a' 00", MALFORMED),
            ("82 | 0001 ( ) s'a' 00 s'b'", MALFORMED),
            ("82 | 0001 ( ) s'a' 00 00", MALFORMED),
            ("82 | 0001 ( ) s'a' 03", MALFORMED),
            ("82 | 0001 ( ) s'a' 30", MALFORMED),
            ("82 | 0001 ( ) s'a' 40", MALFORMED),
            ("82 | 0001 ( ) s'a' 80", MALFORMED),
            ("82 | 0001 ( ) s'a' c0", MALFORMED),
            ("82 | 0001 ( ) s'a' ff", MALFORMED),
            ("82 | 0001 ( ) 0001 00 00", MALFORMED),
            ("82 | 0001 ( ) 0001 ff 00", MALFORMED),
            ("82 | 0001 ( ) 0003 eda080 00", MALFORMED),
            ("82 | 0001 ( ) 0001 1f 00", MALFORMED),
            ("82 | 0001 ( ) 0002 c285 00", MALFORMED),
            ("82 | 0001 ( ) s'$share/+/p' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share/#/p' 00", MALFORMED),
            ("82 | 0001 ( ) s'$share/p/' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share/p' 00", PROTOCOL),
            ("82 | 0001 ( ) s'$share/group/p' 04", PROTOCOL),
            ("82 | 0001 ( 0b 00 ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b 8000 ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b 8100 ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b 8080808001 ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b ffffffff7f ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b 80 ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b 01 0b 02 ) s'a' 00", PROTOCOL),
            ("82 | 0001 80 s'a' 00", MALFORMED),
            ("82 | 0001 7f s'a' 00", MALFORMED),
            ("82 | 0001 ( 26 s'k' ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 26 s'k' 0001 00 ) s'a' 00", MALFORMED),
            ("82 | 0001 ( 0b ffffff7f ) s'v5/ok' 00", Then::Live("90 | 0001 ( ) 00")),
            ("82 | 0001 ( 26 s'k' s'v' 26 s'k' s'v' ) s'v5/ok' 2e", Then::Live("90 | 0001 ( ) 02")),
            ("82 | 0001 ( ) s'$share/group/v5/ok' 01", Then::Live("90 | 0001 ( ) 01")),
            ("a2 |", MALFORMED),
            ("a2 | 00", MALFORMED),
            ("a2 | 0001", MALFORMED),
            ("a2 | 0001 ( )", MALFORMED),
            ("a2 | 0000 ( ) s'a'", MALFORMED),
            ("a2 | 0001 ( ) s''", MALFORMED),
            ("a2 | 0001 ( ) 00", MALFORMED),
            ("a2 | 0001 ( ) 0005 'a'", MALFORMED),
            ("a2 | 0001 ( ) s'a' 00", MALFORMED),
            ("a2 | 0001 ( ) 0001 00", MALFORMED),
            ("a2 | 0001 ( ) 0001 ff", MALFORMED),
            ("a2 | 0001 ( ) 0003 eda080", MALFORMED),
            ("a2 | 0001 80 s'a'", MALFORMED),
            ("a2 | 0001 ( 26 s'k' ) s'a'", MALFORMED),
            ("a2 | 0001 ( ) s'v5/never/was'", Then::Live("b0 | 0001 ( ) 11")),
            ("a2 | 0001 ( 26 s'k' s'v' ) s'a' s'b'", Then::Live("b0 | 0001 ( ) 11 11")),
        ],
    );
    hub_is_well();
}

/// §3.14 [MQTT-3.14.2-1]: who says goodbye gets no answer; who says it wrongly does, in one byte [MQTT-3.14.2-3]
/// [MQTT-3.14.2-4].
#[test]
fn goodbyes() {
    check(
        V5,
        &[
            ("e0 |", SILENCE),
            ("e0 | 00", SILENCE),
            ("e0 | 04", SILENCE),
            ("e0 | 01", SILENCE),
            ("e0 | 87", SILENCE),
            ("e0 | 8e", SILENCE),
            ("e0 | ff", SILENCE),
            ("e0 | 82 ( )", SILENCE),
            ("e0 | 00 ( 1f s'x' )", SILENCE),
            ("e0 | 00 ( 26 s'k' s'v' )", SILENCE),
            ("e0 | 00 ( 1c s'x' )", SILENCE),
            ("e0 | 00 ( 11 00000000 )", SILENCE),
            ("e0 | 00 ( 11 00000001 )", PROTOCOL),
            ("e0 | 00 ( 11 ffffffff )", PROTOCOL),
            ("e0 | 00 05", MALFORMED),
            ("e0 | 00 80", MALFORMED),
            ("e0 | 00 ( 11 000000 )", MALFORMED),
            ("e0 | 00 ( 1f )", MALFORMED),
            ("e0 | 00 ( 26 s'k' )", MALFORMED),
            ("e0 | 00 ( 00 )", MALFORMED),
            ("e0 | 00 ( 7f 00 )", MALFORMED),
            ("e0 | 00 ( 11 00000000 11 00000000 )", PROTOCOL),
            ("e0 | 00 ( 1f s'x' 1f s'x' )", PROTOCOL),
            ("e0 | 00 ( 01 00 )", PROTOCOL),
            ("e0 | 00 ( 15 s'm' )", PROTOCOL),
            ("e0 | 00 ( 23 0001 )", PROTOCOL),
        ],
    );
    check(V4, &[("e0 |", SILENCE), ("e0 | 00", SILENCE), ("e0 | 00 ( )", SILENCE)]);
    hub_is_well();
}

/// Rows behind good packets: what came before is answered, what comes after the fault is not looked at.
#[test]
fn behind_good_packets() {
    check(
        V5,
        &[
            ("c0 | ; c0 | ; 00 |", Then::End("d0 | ; d0 | ; e0 | 82")),
            ("32 | s'nobody/reads' 0001 ( ) 'x' ; 36 | s'a' 0001 ( )", Then::End("40 | 0001 10 ; e0 | 81")),
            ("00 | ; c0 |", PROTOCOL),
            ("20 | 00 00 ( ) ; 20 | 00 00 ( )", PROTOCOL),
            ("e0 | ; 00 |", SILENCE),
        ],
    );
    check(
        V4,
        &[
            ("c0 | ; 00 |", Then::End("d0 |")),
            ("32 | s'nobody/reads' 0001 'x' ; 36 | s'a' 0001", Then::End("40 | 0001")),
            ("00 | ; c0 |", SILENCE),
        ],
    );
    hub_is_well();
}
