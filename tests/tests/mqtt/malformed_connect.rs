//! CONNECT in every wrong shape [MQTT-3.1.4-1].

use crate::table::{Row, SILENCE, Then, check_first, hub_is_well};

const MALFORMED: Then = Then::End("20 | 00 81 ( )");
const PROTOCOL: Then = Then::End("20 | 00 82 ( )");
const BAD_ID: Then = Then::End("20 | 00 85 ( )");
const BAD_TOPIC: Then = Then::End("20 | 00 90 ( )");

/// 3.1.1 closes without a CONNACK: [MQTT-3.1.2-1] [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]
/// [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12], [MQTT-3.1.2-22] of 3.1.1.
#[test]
fn of_3_1_1() {
    let rows: Vec<Row> = [
        // Header flags.
        "11 | s'MQTT' 04 02 003c s'c'",
        "12 | s'MQTT' 04 02 003c s'c'",
        "14 | s'MQTT' 04 02 003c s'c'",
        "18 | s'MQTT' 04 02 003c s'c'", //
        // Protocol name.
        "10 |",
        "10 | 00",
        "10 | s''",
        "10 | s'MQTT'",
        "10 | s'' 04 02 003c s'c'",
        "10 | s'MQT' 04 02 003c s'c'",
        "10 | s'MQTTT' 04 02 003c s'c'",
        "10 | s'mqtt' 04 02 003c s'c'",
        "10 | s'MQTs' 04 02 003c s'c'",
        "10 | s'hj' 04 02 003c s'c'",
        "10 | 000a 'MQTT'", //
        // Reserved flag, will flags, user flags.
        "10 | s'MQTT' 04 03 003c s'c'",
        "10 | s'MQTT' 04 01 003c s'c'",
        "10 | s'MQTT' 04 0a 003c s'c'",
        "10 | s'MQTT' 04 12 003c s'c'",
        "10 | s'MQTT' 04 1a 003c s'c'",
        "10 | s'MQTT' 04 22 003c s'c'",
        "10 | s'MQTT' 04 3a 003c s'c'",
        "10 | s'MQTT' 04 1e 003c s'c' s'w' s'x'",
        "10 | s'MQTT' 04 3e 003c s'c' s'w' s'x'",
        "10 | s'MQTT' 04 42 003c s'c' s'p'", //
        // Cut short, or with more than the flags say.
        "10 | s'MQTT' 04",
        "10 | s'MQTT' 04 02",
        "10 | s'MQTT' 04 02 00",
        "10 | s'MQTT' 04 02 003c",
        "10 | s'MQTT' 04 02 003c 00",
        "10 | s'MQTT' 04 02 003c 0002 'c'",
        "10 | s'MQTT' 04 06 003c s'c'",
        "10 | s'MQTT' 04 06 003c s'c' s'w'",
        "10 | s'MQTT' 04 06 003c s'c' s'w' 0002 'x'",
        "10 | s'MQTT' 04 82 003c s'c'",
        "10 | s'MQTT' 04 c2 003c s'c' s'u'",
        "10 | s'MQTT' 04 02 003c s'c' 00",
        "10 | s'MQTT' 04 02 003c s'c' s'u'",
        "10 | s'MQTT' 04 82 003c s'c' s'u' s'p'",
        "10 | s'MQTT' 04 06 003c s'c' s'w' s'x' s'u'", //
        // Text.
        "10 | s'MQTT' 04 02 003c 0001 00",
        "10 | s'MQTT' 04 02 003c 0001 01",
        "10 | s'MQTT' 04 02 003c 0001 1f",
        "10 | s'MQTT' 04 02 003c 0001 7f",
        "10 | s'MQTT' 04 02 003c 0002 c280",
        "10 | s'MQTT' 04 02 003c 0003 eda080",
        "10 | s'MQTT' 04 02 003c 0001 ff",
        "10 | s'MQTT' 04 06 003c s'c' 0001 00 s'x'",
        "10 | s'MQTT' 04 06 003c s'c' 0003 eda080 s'x'",
        "10 | s'MQTT' 04 06 003c s'c' 0001 1f s'x'",
        "10 | s'MQTT' 04 82 003c s'c' 0001 00",
        "10 | s'MQTT' 04 82 003c s'c' 0003 edbfbf",
        "10 | s'MQTT' 04 82 003c s'c' 0002 c29f", //
        // The will's topic.
        "10 | s'MQTT' 04 06 003c s'c' s'' s'x'",
        "10 | s'MQTT' 04 06 003c s'c' s'a/+' s'x'",
        "10 | s'MQTT' 04 06 003c s'c' s'#' s'x'",
    ]
    .map(|sent| (sent, SILENCE))
    .to_vec();
    check_first(&rows);
    check_first(&[
        ("10 | s'MQTT' 04 00 003c s''", Then::End("20 | 00 02")),
        ("10 | s'MQTT' 04 c2 003c s'odd-1' s'' 0003 00ff01", Then::Live("20 | 00 00")),
        ("10 | s'MQTT' 04 06 ffff s'odd-2' s'w' s''", Then::Live("20 | 00 00")),
        ("10 | s'MQTT' 04 26 0000 s'odd/+/#' s'w' s''", Then::Live("20 | 00 00")),
    ]);
    hub_is_well();
}

/// 5.0 says why, where it can be said in MQTT, and by codes of CONNACK only [MQTT-3.2.2-8].
#[test]
fn of_5_0() {
    check_first(&[
        ("11 | s'MQTT' 05 02 003c ( ) s'c'", SILENCE),
        ("12 | s'MQTT' 05 02 003c ( ) s'c'", SILENCE),
        ("14 | s'MQTT' 05 02 003c ( ) s'c'", SILENCE),
        ("18 | s'MQTT' 05 02 003c ( ) s'c'", SILENCE),
        ("10 | s'MQT' 05 02 003c ( ) s'c'", SILENCE),
        ("10 | s'MQTTT' 05 02 003c ( ) s'c'", SILENCE),
        ("10 | s'' 05 02 003c ( ) s'c'", SILENCE),
        ("10 | s'mqtt' 05 02 003c ( ) s'c'", SILENCE),
        // Client identifiers.
        ("10 | s'MQTT' 05 02 003c ( ) 0001 00", BAD_ID),
        ("10 | s'MQTT' 05 02 003c ( ) 0001 01", BAD_ID),
        ("10 | s'MQTT' 05 02 003c ( ) 0001 1f", BAD_ID),
        ("10 | s'MQTT' 05 02 003c ( ) 0001 7f", BAD_ID),
        ("10 | s'MQTT' 05 02 003c ( ) 0002 c280", BAD_ID),
        ("10 | s'MQTT' 05 02 003c ( ) 0002 c29f", BAD_ID),
        ("10 | s'MQTT' 05 02 003c ( ) 0003 eda080", BAD_ID),
        ("10 | s'MQTT' 05 02 003c ( ) 0003 edbfbf", BAD_ID),
        // Credentials are not discussed.
        ("10 | s'MQTT' 05 82 003c ( ) s'c' 0001 00", SILENCE),
        ("10 | s'MQTT' 05 82 003c ( ) s'c' 0003 eda080", SILENCE),
        ("10 | s'MQTT' 05 82 003c ( ) s'c' 0001 1f", SILENCE),
        ("10 | s'MQTT' 05 82 003c ( ) s'c'", SILENCE),
        ("10 | s'MQTT' 05 42 003c ( ) s'c'", SILENCE),
        ("10 | s'MQTT' 05 c2 003c ( ) s'c' s'u'", SILENCE),
        // More or less than the flags say.
        ("10 | s'MQTT' 05 02 003c ( ) s'c' 00", MALFORMED),
        ("10 | s'MQTT' 05 02 003c ( ) s'c' s'u'", MALFORMED),
        ("10 | s'MQTT' 05 82 003c ( ) s'c' s'u' s'p'", MALFORMED),
        ("10 | s'MQTT' 05 06 003c ( ) s'c'", MALFORMED),
        ("10 | s'MQTT' 05 06 003c ( ) s'c' ( )", MALFORMED),
        ("10 | s'MQTT' 05 06 003c ( ) s'c' ( ) s'w'", MALFORMED),
        ("10 | s'MQTT' 05 02 003c ( ) 0002 'c'", MALFORMED),
        ("10 | s'MQTT' 05 02 003c 05", MALFORMED),
        ("10 | s'MQTT' 05 02 003c 80", MALFORMED),
        ("10 | s'MQTT' 05 02 003c 8000 s'c'", MALFORMED),
        ("10 | s'MQTT' 05 02 003c 80808080 01 s'c'", MALFORMED),
        // Flags.
        ("10 | s'MQTT' 05 03 003c ( ) s'c'", MALFORMED),
        ("10 | s'MQTT' 05 0a 003c ( ) s'c'", MALFORMED),
        ("10 | s'MQTT' 05 22 003c ( ) s'c'", MALFORMED),
        ("10 | s'MQTT' 05 1e 003c ( ) s'c' ( ) s'w' s'x'", MALFORMED),
        // The will's topic [MQTT-3.1.3-11].
        ("10 | s'MQTT' 05 06 003c ( ) s'c' ( ) s'a/+' s'x'", BAD_TOPIC),
        ("10 | s'MQTT' 05 06 003c ( ) s'c' ( ) s'' s'x'", BAD_TOPIC),
        ("10 | s'MQTT' 05 06 003c ( ) s'c' ( ) 0001 00 s'x'", MALFORMED),
        ("10 | s'MQTT' 05 06 003c ( ) s'c' ( ) 0003 eda080 s'x'", MALFORMED),
    ]);
    hub_is_well();
}

/// §3.1.2.11: the properties of CONNECT.
#[test]
fn properties_of_5_0() {
    let with = |properties: &str| -> &'static str { format!("10 | s'MQTT' 05 02 003c ( {properties} ) s'c'").leak() };
    let mut rows = vec![
        // Values.
        (with("21 0000"), PROTOCOL),
        (with("27 00000000"), PROTOCOL),
        (with("17 02"), PROTOCOL),
        (with("19 02"), PROTOCOL),
        (with("17 ff"), PROTOCOL),
        (with("16 s'data'"), PROTOCOL),
        (with("15 s'unknown'"), Then::End("20 | 00 8c ( )")),
        (with("15 s''"), Then::End("20 | 00 8c ( )")),
        (with("15 s'm' 16 s'data'"), Then::End("20 | 00 8c ( )")),
        // Text.
        (with("26 0001 00 s'v'"), MALFORMED),
        (with("26 s'k' 0003 eda080"), MALFORMED),
        (with("15 0001 00"), MALFORMED),
        // Cut short.
        (with("11 0000"), MALFORMED),
        (with("21 00"), MALFORMED),
        (with("27 000000"), MALFORMED),
        (with("22"), MALFORMED),
        (with("17"), MALFORMED),
        (with("26 s'k'"), MALFORMED),
        (with("15 0005 'x'"), MALFORMED),
        // Too small for any CONNACK of success.
        (with("27 00000002"), SILENCE),
    ];
    for twice in ["11 00000001", "21 0001", "27 00010000", "22 0001", "17 00", "19 00", "15 s'm'"] {
        rows.push((with(&format!("{twice} {twice}")), PROTOCOL));
    }
    for unknown in
        ["00", "04", "05", "06", "07", "0a", "0c", "0d", "0e", "0f", "10", "14", "1b", "1d", "1e", "20", "2b", "7f"]
    {
        rows.push((with(&format!("{unknown} 01")), MALFORMED));
    }
    for overlong in ["8001 01", "9100 00000001", "ffffff7f"] {
        rows.push((with(overlong), MALFORMED));
    }
    for misplaced in [
        "01 00",
        "02 00000001",
        "03 s't'",
        "08 s't'",
        "09 s't'",
        "0b 01",
        "12 s't'",
        "13 0001",
        "18 00000001",
        "1a s't'",
        "1c s't'",
        "1f s't'",
        "23 0001",
        "24 01",
        "25 01",
        "28 01",
        "29 01",
        "2a 01",
    ] {
        rows.push((with(misplaced), PROTOCOL));
    }
    check_first(&rows);
    hub_is_well();
}

/// §3.1.3.2: the properties of the will.
#[test]
fn properties_of_the_will() {
    let with = |properties: &str| -> &'static str {
        format!("10 | s'MQTT' 05 06 003c ( ) s'c' ( {properties} ) s'w' s'x'").leak()
    };
    let mut rows = vec![
        (with("01 02"), PROTOCOL),
        (with("08 s''"), PROTOCOL),
        (with("08 s'a/+'"), PROTOCOL),
        (with("08 s'#'"), PROTOCOL),
        (with("03 0001 00"), MALFORMED),
        (with("26 s'k'"), MALFORMED),
        (with("18 0000"), MALFORMED),
        (with("02"), MALFORMED),
        (with("09 0005 'x'"), MALFORMED),
    ];
    for twice in ["01 00", "02 00000001", "03 s't'", "08 s't'", "09 s't'", "18 00000001"] {
        rows.push((with(&format!("{twice} {twice}")), PROTOCOL));
    }
    for unknown in ["00", "04", "0a", "10", "1b", "20", "7f"] {
        rows.push((with(&format!("{unknown} 01")), MALFORMED));
    }
    for misplaced in [
        "0b 01",
        "11 00000001",
        "12 s't'",
        "13 0001",
        "15 s't'",
        "16 s't'",
        "17 01",
        "19 01",
        "1a s't'",
        "1c s't'",
        "1f s't'",
        "21 0001",
        "22 0001",
        "23 0001",
        "24 01",
        "25 01",
        "27 00000001",
        "28 01",
        "29 01",
        "2a 01",
    ] {
        rows.push((with(misplaced), PROTOCOL));
    }
    check_first(&rows);
    hub_is_well();
}
