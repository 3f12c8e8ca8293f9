//! From disabled to revoked: live sessions end at once (IIITA-N4, CSA-MSU-01).

use std::time::{Duration, Instant};

use portreeve_tests::{Client, Login, V4, V5, unique};

use crate::hub;

/// The time from a command's start to the closed connection, and the command's time alone.
fn cut_by(verb: &str, name: &str, client: &mut Client) {
    let counted = || hub().metric("portreeve_cut_seconds_count").expect("the histogram");
    let (before, started) = (counted(), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| hub().device(verb, name));
        client.cut_off(0x98);
        assert!(started.elapsed() < Duration::from_secs(1), "{verb} took {:?}", started.elapsed());
    });
    assert!(counted() > before, "it is in the histogram");
}

#[test]
fn disabled_is_cut_off_and_enabled_is_back_with_its_session() {
    for version in [V4, V5] {
        let device = hub().add(&unique("lamp"), "device");
        let login = Login::new(version, &device.name).expiry(300);
        let topic = format!("devices/{}/commands/x", device.name);
        let mut app = Client::connect(hub(), V5, &unique("app"));
        let mut client = login.open_as(hub(), &device);
        client.subscribe(&topic, 1);
        app.publish(&topic, "not acknowledged", 1);
        client.message();
        cut_by("disable", &device.name, &mut client);
        refused(&device);
        hub().device("enable", &device.name);
        let mut client = login.clone().resume().open_as(hub(), &device);
        assert!(client.present);
        // Queue and subscriptions are part of the session that `disable` keeps [MQTT-4.1.0-1].
        assert_eq!(client.take().text(), "not acknowledged");
        app.publish(&topic, "afterwards", 1);
        assert_eq!(client.take().text(), "afterwards");
    }
}

/// What is left is what it takes to find out what is wrong.
#[test]
fn quarantined_is_cut_off_and_comes_back_confined() {
    let device = hub().add(&unique("lamp"), "device");
    let own = |topic: &str| format!("devices/{}/{topic}", device.name);
    let mut app = Client::connect(hub(), V5, &unique("app"));
    let login = Login::new(V5, &device.name).expiry(3600);
    let mut client = login.open_as(hub(), &device);
    client.subscribe(&own("commands/#"), 1);
    cut_by("quarantine", &device.name, &mut client);
    app.publish(&own("commands/open"), "not for a suspect", 1);
    let mut client = login.clone().resume().open_as(hub(), &device);
    client.silent();
    assert_eq!(client.try_subscribe(&own("commands/#"), 1), 0x87);
    assert_eq!(client.try_publish(&own("telemetry/t"), b"1", 1, false, ""), 0x87);
    client.subscribe(&own("remediation/#"), 1);
    client.publish(&own("remediation/log"), "all is well", 1);
    assert_eq!(client.take().text(), "all is well");
    hub().device("enable", &device.name);
    Login::new(V5, &device.name).open_as(hub(), &device).publish(&own("telemetry/t"), "1", 1);
}

/// CSA-CRD-11
#[test]
fn revoked_is_cut_off_for_ever() {
    for version in [V4, V5] {
        let device = hub().add(&unique("lamp"), "device");
        let mut sessions =
            [":a", ":b"].map(|part| Login::new(version, &format!("{}{part}", device.name)).open_as(hub(), &device));
        let (first, second) = sessions.split_at_mut(1);
        cut_by("revoke", &device.name, &mut first[0]);
        second[0].cut_off(0x98);
        refused(&device);
        // Contract: 4 is "refused by policy or state".
        assert_eq!(hub().run(&["device", "enable", &device.name]).status.code(), Some(4));
        refused(&device);
    }
}

#[test]
fn the_will_of_somebody_cut_off_is_not_spread() {
    let device = hub().add(&unique("lamp"), "device");
    let topic = format!("devices/{}/telemetry/will", device.name);
    let mut witness = Client::connect(hub(), V5, &unique("witness"));
    witness.subscribe(&topic, 1);
    let login = Login::new(V5, &device.name).will(1, false, &topic, "gone", "");
    let mut client = login.open_as(hub(), &device);
    cut_by("revoke", &device.name, &mut client);
    witness.silent();
}

#[test]
fn a_dry_run_changes_nothing() {
    let device = hub().add(&unique("lamp"), "device");
    let mut client = Login::new(V5, &device.name).open_as(hub(), &device);
    let _ = hub().succeed(&["device", "revoke", &device.name, "--dry-run"]);
    client.silent();
    client.alive();
}

#[test]
fn names_are_given_once() {
    let device = hub().add(&unique("lamp"), "device");
    let again = hub().run(&["device", "add", &device.name]);
    assert_eq!(again.status.code(), Some(4), "{again:?}");
    for bad in ["", "a/b", "a+b", "a#b", "-lamp", "a b", "../lamp", &"x".repeat(65)] {
        let output = hub().run(&["device", "add", "--", bad]);
        assert_eq!(output.status.code(), Some(2), "{bad}: {output:?}");
    }
}

/// The identity's certificate opens nothing any more.
fn refused(identity: &portreeve_tests::Identity) {
    use std::io::{Read as _, Write as _};
    let answered = hub().try_dial(identity.tls()).and_then(|mut stream| {
        stream.write_all(&Login::new(V5, &identity.name).bytes())?;
        stream.read(&mut [0])
    });
    assert!(answered.is_err(), "{answered:?}");
}
