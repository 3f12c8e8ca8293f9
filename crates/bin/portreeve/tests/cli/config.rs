use crate::support::Place;

#[test]
fn a_wrong_configuration_stops_the_start_and_makes_nothing() {
    let place = Place::new();
    let file = place.write("hub.toml", "[mqtt]\nlisten = \"127.0.0.1:0\"\nlissten = 1\n");
    for command in ["serve", "status"] {
        let done = place.run(&[command, "--config", &file]);
        assert_eq!(done.status, 2, "{done:?}");
        assert!(done.err.contains("hub.toml:3:1: unknown key `mqtt.lissten`"), "{done:?}");
        assert!(done.err.contains("did you mean `mqtt.listen`?"), "{done:?}");
    }
    assert_eq!(place.run(&["serve", "--set", "metrics.listen=0.0.0.0:9464"]).status, 2, "metrics stay on loopback");
    assert_eq!(place.run(&["serve", "--config", "missing.toml"]).status, 2);
    assert!(!place.path("data").exists());
}

#[test]
fn values_show_where_they_came_from() {
    let place = Place::new();
    let file = place.write("hub.toml", "[log]\nlevel = \"warn\"\n");
    place.ok(&["config", "check", "--config", &file]);
    let mut command =
        place.command(&["config", "show", "--config", &file, "--set", "hub.drain_s=3", "--output", "json"]);
    let shown = crate::support::Done::from(command.env("PORTREEVE__MQTT__RECEIVE_MAX", "9").output().unwrap());
    let rows: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    let row = |key: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
        (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(row("hub.drain_s"), ("3".into(), "--set hub.drain_s=3".into()));
    assert_eq!(row("mqtt.receive_max"), ("9".into(), "PORTREEVE__MQTT__RECEIVE_MAX".into()));
    assert_eq!(row("log.level").0, "\"warn\"");
    assert!(row("log.level").1.ends_with("hub.toml:2:9"), "{:?}", row("log.level"));
    assert_eq!(row("log.format").1, "default");
}

#[test]
fn keys_are_explained() {
    let place = Place::new();
    let text = place.ok(&["config", "explain", "limits.packet_bytes"]);
    assert!(text.contains("PORTREEVE__LIMITS__PACKET_BYTES") && text.contains("_used"), "{text}");
    assert!(place.ok(&["config", "explain"]).contains("mqtt.listen"));
    assert_eq!(place.run(&["config", "explain", "mqtt.nothing"]).status, 2);
}

#[test]
fn a_usage_error_is_status_2_and_help_is_0() {
    let place = Place::new();
    assert_eq!(place.run(&["ledger", "forge"]).status, 2);
    assert_eq!(place.run(&["status", "--wait", "soon"]).status, 2);
    for args in [&["--help"][..], &["device", "add", "--help"], &["client", "sub", "--help"], &["serve", "--help"]] {
        assert!(place.ok(args).contains("Example"), "{args:?}");
    }
}
