//! Alerts, from what happens at a door of the hub to real receivers: a Python HTTPS server, aiosmtpd, rsyslog, and an application of the
//! hub's own.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod receiver;
#[path = "../../../crates/port/channels/tests/channels/receivers.rs"]
mod receivers;

use std::{
    fs,
    io::Read as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use portreeve_tests::{Client, Hub, V5, hub::client_config};
use serde_json::Value;

use receiver::Receiver;
use receivers::{Pki, Program, Rsyslog, wait_for};

/// How long a delivery may take on a machine that does other things; two seconds are promised on one that does not.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub without tests on a schedule.
fn start() -> Hub {
    Hub::start(&["canary.every_s=0"])
}

/// Channels by name and port; one contact, told over all in this order.
fn settings(receiver: &Receiver, channels: &[(&str, u16)]) -> String {
    let mut text = String::new();
    for (name, port) in channels {
        text += &format!(
            "[[channel]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"https://localhost:{port}/in\"\n\
             secret_file = \"{}\"\nca_file = \"{}\"\n",
            receiver.secret.display(),
            receiver.ca.display()
        );
    }
    let names: Vec<String> = channels.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let today = time::OffsetDateTime::now_utc().date();
    text + &format!(
        "[[contact]]\nname = \"ann\"\nchannels = [{}]\nreviewed = {today}\n[[route]]\ncontacts = [\"ann\"]\n",
        names.join(", ")
    )
}

fn write(hub: &Hub, text: &str) -> String {
    let path: PathBuf = hub.directory().join("alerts.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Applies settings while the hub is stopped, which then may reach what they name.
fn apply_and_restart(hub: &mut Hub, text: &str) {
    let file = write(hub, text);
    hub.terminate();
    _ = hub.succeed(&["alert", "apply", &file]);
    hub.launch();
}

/// A handshake without a certificate.
fn refused(hub: &Hub) {
    let ca = fs::read(hub.data().join("pki/root.pem")).unwrap();
    if let Ok(mut stream) = hub.try_dial(client_config(&ca, None)) {
        assert!(!matches!(stream.read(&mut [0; 1]), Ok(1..)), "it was let in");
    }
}

fn is_of_failures(message: &Value) -> bool {
    message["body"]["alert"]["kind"] == "auth_failures"
}

/// CSA-MSU-04, CSA-CLS-08, IOTSF-2.4.7.5: the fifth failed access tells an administrator, once.
#[test]
fn five_refused_handshakes_are_one_alert_in_time() {
    let mut hub = start();
    let pki = Pki::new();
    let receiver = Receiver::start(&pki);
    apply_and_restart(&mut hub, &settings(&receiver, &[("soc", receiver.port)]));
    for _ in 0..4 {
        refused(&hub);
    }
    receiver.silent_for(Duration::from_secs(1), "four are not five");
    let fifth = Instant::now();
    refused(&hub);
    let message = receiver.message(PATIENCE, is_of_failures).expect("an alert");
    println!("from the fifth refused handshake to the receiver: {} ms", fifth.elapsed().as_millis());
    assert!(message["signed"] == true && message["body"]["notice"] == "opened", "{message}");
    assert_eq!(message["body"]["alert"]["severity"], "high");
    refused(&hub);
    receiver.silent_for(Duration::from_secs(3), "one alert is enough");
    let open = hub.json(&["alert", "list"]);
    let alerts = open["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{open}");
    let id = alerts[0]["id"].to_string();
    _ = hub.succeed(&["alert", "ack", &id]);
    assert_eq!(hub.json(&["alert", "list"])["alerts"].as_array().unwrap().len(), 0);
    assert!(!hub.json(&["alert", "list", "--all"])["alerts"][0]["acknowledged"]["by"].is_null());
    assert_eq!(hub.metric("portreeve_alert_delivery_seconds_count"), Some(1.0));
    assert_eq!(hub.metric("portreeve_alerts_open"), Some(1.0));
}

/// CSA-BCN-01: a channel that does not answer is passed over, and who had it is told over the next.
#[test]
fn a_dead_channel_is_passed_over() {
    let mut hub = start();
    let pki = Pki::new();
    let receiver = Receiver::start(&pki);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    apply_and_restart(&mut hub, &settings(&receiver, &[("dead", dead), ("soc", receiver.port)]));
    (0..5).for_each(|_| refused(&hub));
    let message = receiver.message(PATIENCE, is_of_failures).expect("an alert over the next channel");
    assert_eq!(message["body"]["channel"], "soc");
    let channels = hub.json(&["alert", "channels"]);
    assert_eq!((&channels[0]["name"], &channels[0]["state"]), (&"dead".into(), &"failing".into()), "{channels}");
    let failed = hub.run(&["alert", "test", "--wait", "2s"]);
    assert_eq!(failed.status.code(), Some(1), "a test says which channel failed");
    assert!(String::from_utf8_lossy(&failed.stdout).contains("dead"));
}

/// CSA-BCN-01: what was raised is delivered, whatever happens to the process; twice has one key.
#[test]
fn an_alert_outlives_the_hub_that_raised_it() {
    let mut hub = start();
    let pki = Pki::new();
    let receiver = Receiver::start(&pki);
    apply_and_restart(&mut hub, &settings(&receiver, &[("soc", receiver.port)]));
    receiver.pause();
    (0..5).for_each(|_| refused(&hub));
    let until = Instant::now() + PATIENCE;
    while hub.metric("portreeve_alert_deliveries_waiting") != Some(1.0) {
        assert!(Instant::now() < until, "nothing waits:\n{}", hub.log());
        thread::sleep(Duration::from_millis(50));
    }
    hub.kill();
    receiver.resume();
    // What was under way when the hub died may arrive now.
    let before: Vec<Value> = receiver.all_within(Duration::from_secs(1));
    hub.launch();
    let message = receiver.message(PATIENCE, is_of_failures).expect("the alert after the restart");
    let key = &message["key"];
    assert!(before.iter().filter(|earlier| is_of_failures(earlier)).all(|earlier| earlier["key"] == *key));
    assert_eq!(message["body"]["notice"], "opened");
}

/// CSA-SNT-10, CSA-BCN-01, CSA-MSU-02: a test goes through every channel, and the canary from the detectors on.
#[test]
fn tests_are_timed_to_the_receiver() {
    let mut hub = start();
    let pki = Pki::new();
    let receiver = Receiver::start(&pki);
    let nobody = hub.run(&["canary"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("portreeve alert apply"), "{nobody:?}");
    apply_and_restart(&mut hub, &settings(&receiver, &[("soc", receiver.port)]));
    let told = hub.json(&["canary", "--wait", "20s"]);
    let message = receiver.message(PATIENCE, |_| true).expect("the test");
    assert!(message["body"]["notice"] == "test" && message["body"]["alert"]["canary"] == true, "{message}");
    assert!(told["detectors"].as_array().unwrap().iter().all(|row| row["found"] == true), "{told}");
    println!("from injection to the receiver: {} ms", told["deliveries"][0]["after_ms"]);
    assert_eq!(told["deliveries"][0]["state"], "delivered");
    let soon = hub.run(&["alert", "test"]);
    assert_eq!(soon.status.code(), Some(4), "one after another: {soon:?}");
    receiver.silent_for(Duration::from_secs(1), "rehearsed findings are no alerts");
    thread::sleep(Duration::from_secs(10));
    assert_eq!(hub.json(&["alert", "test"])["deliveries"][0]["state"], "delivered");
    assert_eq!(receiver.message(PATIENCE, |_| true).unwrap()["body"]["alert"]["canary"], true);
}

#[test]
fn settings_say_where_they_are_wrong_and_what_needs_a_restart() {
    let hub = start();
    let pki = Pki::new();
    let receiver = Receiver::start(&pki);
    let bad = write(&hub, "[[channel]]\nname = \"soc\"\nkind = \"pigeon\"\n");
    let refused = hub.run(&["alert", "apply", &bad]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("alerts.toml:3:8: "), "{refused:?}");
    assert!(hub.succeed(&["status"]).contains("alerts reach nobody: portreeve alert apply FILE"));
    let good = write(&hub, &settings(&receiver, &[("soc", receiver.port)]));
    _ = hub.succeed(&["alert", "apply", &good, "--dry-run"]);
    assert_eq!(hub.json(&["alert", "show"])["settings"], "");
    let applied = hub.json(&["alert", "apply", &good]);
    if hub.log().contains("this kernel has no Landlock") {
        return;
    }
    assert_eq!(applied["after_restart"][0], "soc", "{applied}");
    assert_eq!(hub.json(&["alert", "channels"])[0]["state"], "after a restart");
}

/// A channel of each kind.
fn every_kind(pki: &Pki, receiver: &Receiver, mail_port: u16, syslog_port: u16) -> String {
    let (ca, password) = (pki.path("ca.pem"), pki.secret("password", "wort ä\n"));
    let (ca, password, secret) = (ca.display(), password.display(), receiver.secret.display());
    let port = receiver.port;
    let today = time::OffsetDateTime::now_utc().date();
    format!(
        "[[channel]]\nname = \"soc\"\nkind = \"webhook\"\nurl = \"https://localhost:{port}/in\"\n\
         secret_file = \"{secret}\"\nca_file = \"{ca}\"\n\
         [[channel]]\nname = \"mail\"\nkind = \"smtp\"\nserver = \"localhost:{mail_port}\"\nsecurity = \"starttls\"\n\
         from = \"hub@example.org\"\nusername = \"hub\"\npassword_file = \"{password}\"\nca_file = \"{ca}\"\n\
         [[channel]]\nname = \"siem\"\nkind = \"syslog\"\nserver = \"localhost:{syslog_port}\"\nca_file = \"{ca}\"\n\
         [[channel]]\nname = \"panel\"\nkind = \"mqtt\"\ntopic = \"$SYS/portreeve/alerts\"\n\
         [[contact]]\nname = \"ann\"\nchannels = [\"mail\"]\nmail = \"ann@example.org\"\nreviewed = {today}\n\
         [[contact]]\nname = \"soc\"\nchannels = [\"soc\"]\nreviewed = {today}\n\
         [[contact]]\nname = \"siem\"\nchannels = [\"siem\"]\nreviewed = {today}\n\
         [[contact]]\nname = \"panel\"\nchannels = [\"panel\"]\nreviewed = {today}\n\
         [[route]]\ncontacts = [\"ann\"]\ncopies = [\"soc\", \"siem\", \"panel\"]\n"
    )
}

/// CSA-BCN-01, CSA-CLS-08: one alert reaches people by web, by mail, by syslog and at a panel that a permit names; a test times each.
#[test]
fn every_kind_of_channel_delivers() {
    const PERMIT: &str = "permit (principal == Identity::\"app\", action == Action::\"subscribe\", resource == \
                          Topic::\"$SYS/portreeve/alerts\");";
    let mut hub = start().with_app();
    let pki = Pki::new();
    let receiver = Receiver::start(&pki);
    let [certificate, key] = pki.issue("localhost", 1);
    let (mail, mail_port) = Program::python("smtp.py", &[&certificate, &key, std::path::Path::new("starttls")]);
    let syslog = Rsyslog::start(&pki, "anon");
    apply_and_restart(&mut hub, &every_kind(&pki, &receiver, mail_port, syslog.port));
    hub.apply_policy(PERMIT);
    let mut panel = Client::connect(&hub, V5, "panel");
    panel.subscribe("$SYS/portreeve/alerts", 0);

    let told = hub.json(&["alert", "test", "--wait", "20s"]);
    let deliveries = told["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 4, "{told}");
    assert!(deliveries.iter().all(|row| row["state"] == "delivered" && row["after_ms"].is_u64()), "{told}");
    assert_eq!(receiver.message(PATIENCE, |_| true).unwrap()["body"]["notice"], "test");
    assert!(mail.json()["subject"].as_str().unwrap().contains("test"));
    assert!(panel.take().text().contains("\"test\""));

    (0..5).for_each(|_| refused(&hub));
    assert_eq!(receiver.message(PATIENCE, is_of_failures).unwrap()["signed"], true);
    assert!(mail.json()["subject"].as_str().unwrap().contains("auth_failures"));
    assert!(panel.take().text().contains("auth_failures"));
    let lines = wait_for(|| {
        let text = fs::read_to_string(&syslog.file).ok()?;
        (text.lines().count() >= 2).then_some(text)
    });
    assert!(lines.contains(" auth_failures [alert@"), "{lines}");
    receiver.silent_for(Duration::from_secs(1), "one alert is enough");
    assert!(mail.is_silent());
}
