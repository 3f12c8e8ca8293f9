//! The properties of 5.0 in every packet that a client sends after CONNECT.

use portreeve_tests::V5;

use crate::table::{IGNORED, MALFORMED, PROTOCOL, Row, Then, check, hub_is_well};

/// Every property with a good value; which packets may carry it is in the tests.
const PROPERTIES: &[&str] = &[
    "01 00",
    "02 00000001",
    "03 s't'",
    "08 s't'",
    "09 s't'",
    "0b 01",
    "11 00000001",
    "12 s't'",
    "13 0001",
    "15 s't'",
    "16 s't'",
    "17 01",
    "18 00000001",
    "19 01",
    "1a s't'",
    "1c s't'",
    "1f s't'",
    "21 0001",
    "22 0001",
    "23 0001",
    "24 01",
    "25 01",
    "26 s'k' s'v'",
    "27 00000001",
    "28 01",
    "29 01",
    "2a 01",
];

const UNKNOWN: &[&str] =
    &["00", "04", "05", "06", "07", "0a", "0c", "0e", "10", "14", "1b", "1d", "1e", "20", "2b", "7f"];

fn leak(text: String) -> &'static str {
    text.leak()
}

/// Rows for a packet with room for properties at `@`: those it may carry are left out.
fn rows(packet: &str, may_carry: &[&str], misplaced: Then) -> Vec<Row> {
    let with = |properties: &str| leak(packet.replace('@', properties));
    let mut rows: Vec<Row> = Vec::new();
    for property in PROPERTIES {
        let identifier = &property[..2];
        if !may_carry.contains(&identifier) {
            rows.push((with(property), misplaced));
        } else if identifier != "26" {
            rows.push((with(&format!("{property} {property}")), PROTOCOL));
        }
        // The identifier alone.
        rows.push((with(identifier), MALFORMED));
    }
    rows.extend(UNKNOWN.iter().map(|identifier| (with(&format!("{identifier} 01")), MALFORMED)));
    rows
}

/// [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19] [MQTT-3.3.4-6] [MQTT-1.5.7-1]
#[test]
fn in_publish() {
    let may = ["01", "02", "03", "08", "09", "23", "26"];
    check(V5, &rows("30 | s'hostile/none' ( @ ) 'x'", &may, PROTOCOL));
    let with = |properties: &str| leak(format!("30 | s'hostile/none' ( {properties} ) 'x'"));
    check(
        V5,
        &[
            (with("01 02"), PROTOCOL),
            (with("01 ff"), PROTOCOL),
            (with("08 s''"), PROTOCOL),
            (with("08 s'a/+'"), PROTOCOL),
            (with("08 s'#'"), PROTOCOL),
            (with("08 0001 00"), MALFORMED),
            (with("08 0003 eda080"), MALFORMED),
            (with("03 0001 00"), MALFORMED),
            (with("03 0001 ff"), MALFORMED),
            (with("03 0005 'x'"), MALFORMED),
            (with("09 0005 'x'"), MALFORMED),
            (with("02 000000"), MALFORMED),
            (with("23 00"), MALFORMED),
            (with("26 s'k'"), MALFORMED),
            (with("26 0001 00 s'v'"), MALFORMED),
            (with("26 s'k' 0003 edbfbf"), MALFORMED),
            // Only a server sends subscription identifiers [MQTT-3.3.4-6].
            (with("0b 00"), PROTOCOL),
            (with("0b 01"), PROTOCOL),
            (with("0b 8000"), MALFORMED),
            (with("0b 8080808001"), MALFORMED),
            ("30 | s'hostile/none' 80", MALFORMED),
            ("30 | s'hostile/none' 05 01", MALFORMED),
            ("30 | s'hostile/none' 8000", MALFORMED),
            ("30 | s'hostile/none' 80808080 01", MALFORMED),
            // A list may be as it likes.
            (with("26 s'' s'' 26 s'' s''"), IGNORED),
            (with("02 00000000"), IGNORED),
            (with("02 ffffffff"), IGNORED),
            (with("01 01 03 s'text' 08 s'answer' 09 s'id' 23 0001 26 s'k' s'v'"), IGNORED),
        ],
    );
    hub_is_well();
}

#[test]
fn in_acknowledgements() {
    for packet in ["40 | 0001 00 ( @ )", "50 | 0001 00 ( @ )", "62 | 0001 00 ( @ )", "70 | 0001 00 ( @ )"] {
        check(V5, &rows(packet, &["1f", "26"], PROTOCOL));
    }
    hub_is_well();
}

#[test]
fn in_subscribe_and_unsubscribe() {
    check(V5, &rows("82 | 0001 ( @ ) s'hostile/none' 00", &["0b", "26"], MALFORMED));
    check(V5, &rows("a2 | 0001 ( @ ) s'hostile/none'", &["26"], MALFORMED));
    hub_is_well();
}

#[test]
fn in_disconnect() {
    check(V5, &rows("e0 | 00 ( @ )", &["11", "1c", "1f", "26"], PROTOCOL));
    hub_is_well();
}
