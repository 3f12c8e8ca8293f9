use serde_json::Value;

use crate::support::Place;

fn listed(args: &[&str]) -> Vec<Value> {
    let text = Place::new().ok(&[&["catalogue"], args, &["--output", "json"]].concat());
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

#[test]
fn rows_are_listed_by_framework_level_and_class() {
    assert_eq!(listed(&["list"]).len(), 247);
    assert_eq!(listed(&["list", "--framework", "isvs", "--level", "2"]).len(), 19);
    assert_eq!(listed(&["list", "--framework", "IoTSF", "--class", "0"]).len(), 4);
    assert_eq!(listed(&["list", "--framework", "isvs", "--framework", "glossary"]).len(), 27);
    let found = listed(&["search", "mqtt", "certificate", "--framework", "isvs"]);
    assert!(found.iter().any(|row| row["id"] == "ISVS-4.2.3"), "{found:?}");
}

#[test]
fn a_row_and_a_check_are_shown_with_each_other() {
    let place = Place::new();
    let row = place.ok(&["catalogue", "show", "isvs-4.2.2"]);
    assert!(row.contains("Only authorised devices may publish") && row.contains("mqtt.acl.matrix"), "{row}");
    let asked = place.ok(&["catalogue", "show", "CSA-SNT-18"]);
    assert!(asked.contains("HAS TO ANSWER") && asked.contains("Is every node of the class S2"), "{asked}");
    assert!(!row.contains("HAS TO ANSWER"), "{row}");
    let check = place.ok(&["catalogue", "show", "mqtt.acl.matrix"]);
    assert!(check.contains("ISVS-4.2.2") && check.contains("version 1"), "{check}");
    let other_edition = place.ok(&["catalogue", "show", "ISVS1.0:4.1.5", "--output", "json"]);
    assert!(other_edition.contains("\"id\": \"ISVS-4.1.6\""), "{other_edition}");
}

#[test]
fn what_there_is_not_is_status_2() {
    let place = Place::new();
    for args in [
        &["show", "isvs-9.9.9"][..],
        &["show", "no.check"],
        &["list", "--framework", "iso"],
        &["list", "--level", "4"],
        &["list", "--framework", "csa", "--class", "1"],
        &["search"],
    ] {
        assert_eq!(place.run(&[&["catalogue"], args].concat()).status, 2, "{args:?}");
    }
}
