use std::{
    io::Write as _,
    process::{Child, Stdio},
};

use crate::support::{Done, Place, Running, eventually};

/// A subscriber that has its subscription.
fn subscribed(place: &Place, hub: &Running<'_>, name: &str, args: &[&str]) -> Child {
    let port = hub.port();
    let fixed = ["client", "sub", "--bundle", name, "--port", &port, "--timeout", "60s"];
    let child = place.command(&[&fixed, args].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the subscription stands", || {
        let shown = place.json(&["device", "show", name]);
        shown["sessions"].as_array().unwrap().iter().any(|session| session["subscriptions"] != serde_json::json!([]))
    });
    child
}

#[test]
fn messages_go_from_one_to_the_other() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    for (qos, version) in [("0", None), ("1", Some("--v311")), ("2", None), ("2", Some("--v311"))] {
        let versions: Vec<&str> = version.into_iter().collect();
        let sub = [&["-t", "devices/lamp-1/#", "-q", qos, "-C", "3"], &versions[..]].concat();
        let subscriber = subscribed(&place, &hub, "lamp-1", &sub);
        let topic = ["-t", "devices/lamp-1/telemetry/t", "-q", qos];
        let publish = ["client", "pub", "--bundle", "lamp-1", "--port", &port];
        place.ok(&[&publish[..], &topic, &versions, &["-m", "one"]].concat());
        let mut lines = place.command(&[&publish[..], &topic, &versions, &["--stdin"]].concat());
        let mut lines = lines.stdin(Stdio::piped()).spawn().unwrap();
        lines.stdin.take().unwrap().write_all(b"two\nthree\n").unwrap();
        assert!(lines.wait().unwrap().success());
        let got = Done::from(subscriber.wait_with_output().unwrap());
        let lines = ["one", "two", "three"].map(|text| format!("devices/lamp-1/telemetry/t {text}\n")).concat();
        assert_eq!((got.status, got.out.as_str()), (0, lines.as_str()), "QoS {qos} {version:?}: {got:?}");
        eventually("the session is gone", || {
            place.json(&["device", "show", "lamp-1"])["sessions"] == serde_json::json!([])
        });
    }
}

#[test]
fn a_message_can_be_shown_with_all_that_came_with_it() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    let file = place.write("payload", "from a file");
    let args = ["client", "pub", "--bundle", "lamp-1", "--port", &port, "-t", "devices/lamp-1/state", "--retain"];
    place.ok(&[&args[..], &["--expiry", "1h", "-f", &file]].concat());
    let shown =
        place.json(&["client", "sub", "--bundle", "lamp-1", "--port", &port, "-t", "devices/lamp-1/state", "-C", "1"]);
    assert_eq!((&shown["payload"], &shown["retain"], &shown["qos"]), (&"from a file".into(), &true.into(), &1.into()));
    assert!((3500..=3600).contains(&shown["expiry_s"].as_u64().unwrap()), "{shown}");
}

/// ISVS-4.2.2: least privilege, and the client is told which rule of the protocol says so.
#[test]
fn foreign_topics_are_refused_with_their_reason() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    let at = ["--bundle", "lamp-1", "--port", &port];
    let refused = place.run(&[&["client", "pub"], &at[..], &["-t", "devices/lamp-2/state", "-m", "x"]].concat());
    assert_eq!(refused.status, 4, "{refused:?}");
    assert!(refused.err.contains("devices/lamp-2/state: not authorized (0x87)"), "{refused:?}");
    let refused = place.run(&[&["client", "sub"], &at[..], &["-t", "devices/lamp-1/#", "-t", "devices/#"]].concat());
    assert_eq!(refused.status, 4, "{refused:?}");
    assert!(refused.err.contains("devices/#: not authorized (0x87)"), "{refused:?}");
    let stranger =
        place.run(&[&["client", "sub"], &at[..], &["-t", "devices/lamp-1/#", "--client-id", "lamp-2"]].concat());
    assert_eq!(stranger.status, 4, "{stranger:?}");
    assert!(stranger.err.contains("client identifier not valid (0x85)"), "{stranger:?}");
}

#[test]
fn a_kept_session_gets_what_came_while_it_was_away() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    let keep = ["--client-id", "lamp-1:log", "--keep-session", "1h", "--bundle", "lamp-1", "--port", &port];
    let sub = [&["client", "sub", "-t", "devices/lamp-1/#"], &keep[..]].concat();
    let nothing = place.run(&[&sub[..], &["--timeout", "500ms"]].concat());
    assert_eq!((nothing.status, nothing.out.as_str()), (0, ""), "{nothing:?}");
    place.ok(&[
        "client",
        "pub",
        "--bundle",
        "lamp-1",
        "--port",
        &port,
        "-t",
        "devices/lamp-1/telemetry/x",
        "-m",
        "late",
    ]);
    assert_eq!(place.ok(&[&sub[..], &["-C", "1", "--timeout", "30s"]].concat()), "devices/lamp-1/telemetry/x late\n");
}

/// IOTSF-2.4.7.25: a device stays through a restart of its hub, and misses nothing.
#[test]
fn a_subscriber_that_stays_survives_a_restart() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    let publish = |payload: &str| {
        let at = ["client", "pub", "--bundle", "lamp-1", "--port", &port, "-t", "devices/lamp-1/telemetry/t"];
        place.ok(&[&at[..], &["-m", payload, "-q", "2"]].concat());
    };
    let stay = ["--reconnect", "--client-id", "lamp-1:stay", "--keep-session", "1h"];
    let subscriber =
        subscribed(&place, &hub, "lamp-1", &[&["-t", "devices/lamp-1/#", "-q", "2", "-C", "3"], &stay[..]].concat());
    place.ok(&["device", "add", "lamp-2", "--out", "lamp-2"]);
    let without = subscribed(&place, &hub, "lamp-2", &["-t", "devices/lamp-2/#", "-C", "1"]);
    // At QoS 2, for what was not acknowledged when the hub was killed comes once more at QoS 1.
    publish("before");
    drop(hub);
    let lost = Done::from(without.wait_with_output().unwrap());
    assert_ne!(lost.status, 0, "who was not asked to stay says so and ends: {lost:?}");
    let _hub = place.serve(&["--set", &format!("mqtt.listen=127.0.0.1:{port}")]);
    publish("meanwhile or after");
    publish("last");
    let got = Done::from(subscriber.wait_with_output().unwrap());
    let lines = ["before", "meanwhile or after", "last"].map(|text| format!("devices/lamp-1/telemetry/t {text}\n"));
    assert_eq!((got.status, got.out.as_str()), (0, lines.concat().as_str()), "{got:?}");
    assert!(got.err.contains("Connecting again in "), "{got:?}");
}

/// CSA-COM-04: beyond the budget a client hears when to come again, and who stays does as it hears.
#[test]
fn a_busy_hub_is_asked_again_when_it_says() {
    let place = Place::new();
    let hub = place.serve(&["--set", "limits.connects_per_s=1"]);
    place.ok(&["device", "add", "app-1", "--kind", "application", "--out", "app-1"]);
    let port = hub.port();
    let policy = place.write("open.cedar", r#"permit (principal == Identity::"app-1", action, resource);"#);
    place.ok(&["policy", "apply", &policy]);
    let common = ["client", "sub", "--bundle", "app-1", "--port", &port, "-t", "t", "--timeout", "3s"];
    let start = |more: &[&str]| {
        let args = [&common[..], more].concat();
        place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start(&["--reconnect"])).chain((0..4).map(|_| start(&[]))).collect();
    let ended: Vec<_> = children.into_iter().map(|child| Done::from(child.wait_with_output().unwrap())).collect();
    let busy = |done: &&Done| done.err.contains("server busy (0x89): too many clients connect at once");
    for done in &ended[..4] {
        assert_eq!(done.status, 0, "{done:?}");
    }
    assert!(ended[..4].iter().filter(busy).all(|done| done.err.contains("Connecting again in ")), "{ended:?}");
    assert!(ended.iter().any(|done| busy(&done)), "{ended:?}");
    for done in ended[4..].iter().filter(busy) {
        assert_eq!(done.status, 4, "{done:?}");
    }
}

#[test]
fn waiting_has_an_end() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    let args = ["client", "sub", "--bundle", "lamp-1", "--port", &port, "-t", "devices/lamp-1/#", "-C", "1"];
    let late = place.run(&[&args[..], &["--timeout", "300ms"]].concat());
    assert_eq!(late.status, 1);
    assert!(late.err.contains("0 of 1 messages arrived in time"), "{late:?}");
}

#[test]
fn what_is_not_there_or_not_the_hub_is_said() {
    let place = Place::new();
    drop(place.serve(&[]));
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let publish = |bundle: &str, port: &str| {
        place.run(&["client", "pub", "--bundle", bundle, "--port", port, "-t", "t", "-m", "x"])
    };
    let away = publish("lamp-1", &closed);
    assert_eq!(away.status, 3);
    assert!(away.err.contains("cannot reach the hub at localhost"), "{away:?}");
    let no_bundle = publish("nothing", &closed);
    assert_eq!(no_bundle.status, 2);
    assert!(no_bundle.err.contains("nothing/ca.pem"), "{no_bundle:?}");

    let other = Place::new();
    let stranger = other.serve(&[]);
    let foreign = publish("lamp-1", &stranger.port());
    assert_eq!(foreign.status, 3, "{foreign:?}");
    assert!(foreign.err.contains("is not the hub that made lamp-1"), "{foreign:?}");
}
