//! Least privilege: what a device may not do with a perfectly good certificate.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use portreeve_tests::{Client, Hub, Identity, Login, V4, V5, hear, say, unique};

use crate::hub;

/// Two devices that nothing but the built-in policy concerns.
fn devices() -> &'static [Identity; 2] {
    static DEVICES: OnceLock<[Identity; 2]> = OnceLock::new();
    DEVICES.get_or_init(|| ["alpha", "beta"].map(|name| hub().add(name, "device")))
}

/// A connected device with a session of its own. The limit on sessions is small, so each test has its device.
fn fresh(version: portreeve_mqtt::Version) -> (Identity, Client) {
    let device = hub().add(&unique("sensor"), "device");
    let client = Login::new(version, &device.name).open_as(hub(), &device);
    (device, client)
}

#[test]
fn a_client_id_must_be_the_devices_own() {
    let [alpha, beta] = devices();
    for id in ["beta", "alphabet", "alpha2", "alph", "ALPHA", "beta:alpha", "x", ":alpha"] {
        assert_eq!(Login::new(V5, id).refused_as(hub(), alpha), 0x85, "{id}");
        assert_eq!(Login::new(V4, id).refused_as(hub(), alpha), 2, "{id}");
    }
    for id in ["beta", "beta:", "beta:app-2"] {
        Login::new(V5, id).open_as(hub(), beta).disconnect();
    }
    let mut unnamed = Login::new(V5, "").open_as(hub(), beta);
    assert!(unnamed.connack.windows(5).any(|window| window == b"beta:"));
    unnamed.alive();
}

#[test]
fn a_device_publishes_below_its_own_name_only() {
    let mut witness = Client::connect(hub(), V5, &unique("witness"));
    let (device, mut client) = fresh(V5);
    let name = &device.name;
    witness.subscribe(&format!("devices/{name}/#"), 2);
    client.publish(&format!("devices/{name}/telemetry/x"), "mine", 2);
    assert_eq!(witness.take().text(), "mine");
    let foreign = [
        format!("devices/{name}"),
        format!("devices/{name}x/telemetry"),
        "devices/alpha/telemetry/x".into(),
        "devices".into(),
        "telemetry".into(),
        format!("Devices/{name}/x"),
        format!("/devices/{name}/x"),
        "$SYS/broker/uptime".into(),
    ];
    for topic in &foreign {
        assert_eq!(client.try_publish(topic, b"x", 1, false, ""), 0x87, "{topic}");
        assert_eq!(client.try_publish(topic, b"x", 2, false, ""), 0x87, "{topic}");
        // QoS 0 has no answer: dropped, and the connection lives.
        client.publish(topic, "x", 0);
        client.alive();
    }
    witness.silent();
}

#[test]
fn a_3_1_1_client_is_not_told_a_lie() {
    // [MQTT-3.3.5-2] of 3.1.1 gives the choice: acknowledge, or close. An acknowledgement is a promise.
    for qos in ["32", "34"] {
        let (_, mut client) = fresh(V4);
        say!(client, "{qos} | s'devices/alpha/telemetry/x' 0001 'x'");
        client.closed();
    }
    let (_, mut client) = fresh(V4);
    client.publish("devices/alpha/telemetry/x", "dropped", 0);
    client.alive();
}

#[test]
fn a_device_subscribes_below_its_own_name_only() {
    let (device, mut client) = fresh(V5);
    let name = &device.name;
    for filter in [format!("devices/{name}/#"), format!("devices/{name}/commands/+")] {
        client.subscribe(&filter, 1);
    }
    client.subscribe(&format!("$share/g/devices/{name}/#"), 1);
    let (_, mut client) = fresh(V5);
    let foreign = [
        "#",
        "+",
        "+/#",
        "devices/#",
        "devices/+/commands/x",
        "devices/+/#",
        "devices/alpha/#",
        "devices/alpha/commands/x",
        "$share/g/#",
        "$share/g/devices/alpha/#",
        "$SYS/#",
    ];
    for filter in foreign {
        assert_eq!(client.try_subscribe(filter, 1), 0x87, "{filter}");
    }
    let (_, mut client) = fresh(V4);
    for filter in foreign {
        assert_eq!(client.try_subscribe(filter, 1), 0x80, "{filter}");
    }
    client.alive();
}

#[test]
fn what_was_not_granted_is_not_delivered() {
    // A refused subscription is none, whatever stands beside it in the packet [MQTT-3.8.4-5].
    let (device, mut client) = fresh(V5);
    let name = &device.name;
    say!(client, "82 | 0001 ( ) s'#' 01 s'devices/{name}/commands/x' 01 s'devices/+/commands/x' 01");
    client.hear("90 | 0001 ( ) 87 01 87");
    let mut app = Client::connect(hub(), V5, &unique("app"));
    app.publish("devices/alpha/commands/x", "not for it", 1);
    app.publish(&format!("devices/{name}/commands/x"), "for it", 1);
    assert_eq!(client.take().text(), "for it");
    client.alive();
}

#[test]
fn nothing_is_retained_where_it_may_not_be_published() {
    let topic = format!("devices/{}/telemetry/kept", unique("nobody"));
    let (_, mut client) = fresh(V5);
    assert_eq!(client.try_publish(&topic, b"x", 1, true, ""), 0x87);
    client.publish_with(&topic, b"x", 0, true, "");
    client.alive();
    let mut app = Client::connect(hub(), V5, &unique("app"));
    app.subscribe(&topic, 1);
    app.silent();
}

#[test]
fn nobody_deletes_what_he_may_not_publish() {
    let topic = format!("devices/{}/telemetry/kept", unique("nobody"));
    let mut app = Client::connect(hub(), V5, &unique("app"));
    app.retain(&topic, "stays", 1);
    let (_, mut client) = fresh(V5);
    assert_eq!(client.try_publish(&topic, b"", 1, true, ""), 0x87);
    app.subscribe(&topic, 1);
    assert_eq!(app.take().text(), "stays");
    app.retain(&topic, "", 0);
}

#[test]
fn a_will_needs_a_grant() {
    // Checked with CONNECT: nobody is let in with a will that could not be kept.
    let device = hub().add(&unique("sensor"), "device");
    let will = |topic: &str| Login::new(V5, &device.name).will(1, true, topic, "gone", "");
    for topic in ["devices/alpha/telemetry/x", "alarm", "$SYS/x"] {
        assert_eq!(will(topic).refused_as(hub(), &device), 0x87, "{topic}");
        let login = Login::new(V4, &device.name).will(0, false, topic, "gone", "");
        assert_eq!(login.refused_as(hub(), &device), 5, "{topic}");
    }
    will(&format!("devices/{}/telemetry/x", device.name)).open_as(hub(), &device).disconnect();
}

#[test]
fn a_rule_against_something_looks_different_from_no_rule_for_it() {
    let mut client = Client::connect(hub(), V5, &unique("app"));
    assert_eq!(client.try_subscribe("test/nosubscribe", 0), 0x80);
    // And a wildcard over it would be a way round the rule: what it covers is not delivered.
    if client.try_subscribe("test/#", 0) < 3 {
        client.publish("test/nosubscribe", "secret", 0);
        client.silent();
    }
}

/// Grants `reader` what `grants` says, and `watcher` the system topics.
fn policy(grants: &str) -> String {
    format!(
        r#"permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);
        permit (principal == Identity::"watcher", action == Action::"subscribe", resource in Topic::"$SYS/#");
        {grants}"#
    )
}

const READER: &str = r#"permit (principal == Identity::"reader", action in [Action::"publish", Action::"subscribe"],
    resource in Topic::"plant/#");"#;

/// All changes of policy happen to one hub, one after the other.
#[test]
fn a_change_of_policy_reaches_live_sessions() {
    let hub = Hub::start(&["mqtt.sys_interval_s=1"]);
    let [app, reader, watcher] = ["app", "reader", "watcher"].map(|name| hub.add(name, "application"));
    hub.apply_policy(&policy(READER));
    let mut app = Login::new(V5, "app").open_as(&hub, &app);

    subscriptions_end_with_their_grant(&hub, &mut app, &reader);
    publications_end_with_their_grant(&hub, &reader);
    system_topics_are_for_the_watcher(&hub, &reader, &watcher);
    a_policy_that_does_not_compile_changes_nothing(&hub, &reader);
}

fn subscriptions_end_with_their_grant(hub: &Hub, app: &mut Client, reader: &Identity) {
    for version in [V4, V5] {
        hub.apply_policy(&policy(READER));
        let login = Login::new(version, "reader").expiry(300);
        let mut client = login.open_as(hub, reader);
        client.subscribe("plant/line-1/#", 1);
        app.publish("plant/line-1/x", "granted", 1);
        assert_eq!(client.take().text(), "granted");
        let started = Instant::now();
        hub.apply_policy(&policy(""));
        client.cut_off(0x87);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        app.publish("plant/line-1/x", "no longer granted", 1);
        // The session may come back, the subscription does not.
        let mut client = login.clone().resume().open_as(hub, reader);
        client.silent();
        assert_eq!(client.try_subscribe("plant/line-1/#", 1), if version == V5 { 0x87 } else { 0x80 });
        client.disconnect();
        hub.apply_policy(&policy(READER));
        let mut client = login.clone().resume().open_as(hub, reader);
        app.publish("plant/line-1/x", "granted again, not subscribed", 1);
        client.silent();
        client.disconnect();
    }
}

fn publications_end_with_their_grant(hub: &Hub, reader: &Identity) {
    hub.apply_policy(&policy(READER));
    let mut client = Login::new(V5, "reader").open_as(hub, reader);
    client.publish("plant/line-1/x", "granted", 1);
    // The second half of a QoS 2 handshake comes after the change.
    say!(client, "34 | s'plant/line-1/x' 0077 ( ) 'half'");
    client.hear("50 | 0077");
    hub.apply_policy(&policy(""));
    assert_eq!(client.try_publish("plant/line-1/x", b"x", 1, false, ""), 0x87, "cached decisions are dropped");
    client.say("62 | 0077");
    hear!(client, "70 | 0077");
    client.disconnect();
}

fn system_topics_are_for_the_watcher(hub: &Hub, reader: &Identity, watcher: &Identity) {
    let mut watcher = Login::new(V5, "watcher").open_as(hub, watcher);
    for filter in ["$SYS/#", "$SYS/broker/#", "$SYS/broker/uptime"] {
        watcher.subscribe(filter, 0);
    }
    let message = watcher.take();
    assert!(message.topic.starts_with("$SYS/broker/"), "{}", message.topic);
    let mut reader = Login::new(V5, "reader").open_as(hub, reader);
    assert_eq!(reader.try_subscribe("$SYS/broker/uptime", 0), 0x87);
    assert_eq!(reader.try_subscribe("#", 0), 0x87);
}

fn a_policy_that_does_not_compile_changes_nothing(hub: &Hub, reader: &Identity) {
    hub.apply_policy(&policy(READER));
    let mut client = Login::new(V5, "reader").open_as(hub, reader);
    client.subscribe("plant/#", 1);
    let file = hub.policy_file("permit (principal,\n  action == Action::\"fly\", resource);");
    let output = hub.run(&["policy", "apply", &file.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    // File, line and column.
    assert!(said.contains(&format!("{}:2:", file.file_name().unwrap().display())), "{said}");
    client.alive();
    client.publish("plant/x", "still granted", 1);
    assert_eq!(client.take().text(), "still granted");
}
