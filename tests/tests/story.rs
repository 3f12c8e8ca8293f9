//! The README's story, in its words: serve, add two devices and an application, publish, receive, be refused.
//!
//! Every command is run as a newcomer would type it; statuses are those of the contract.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use portreeve_tests::{Client, Hub, V5, hub::program, unique};

/// A subscriber in the background, ended with the test.
struct Background(Child, BufReader<ChildStdout>);

impl Background {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self(child, lines)
    }

    /// Everything it printed, once it has ended by itself.
    fn finish(mut self) -> String {
        let started = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(20), "it waits for messages still");
            std::thread::sleep(Duration::from_millis(20));
        }
        let (mut text, mut said) = (String::new(), String::new());
        self.1.read_to_string(&mut text).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.0.wait().unwrap().success(), "{text}{said}");
        text
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A hub, two devices and an application, added with the commands of the README.
struct House {
    hub: Hub,
}

impl House {
    fn new() -> Self {
        let hub = Hub::start(&[]);
        for (name, kind) in [("lamp-1", "device"), ("lamp-2", "device"), ("dashboard", "application")] {
            let _ = hub.add(name, kind);
        }
        hub.apply_policy(
            r#"permit (principal == Identity::"dashboard", action in [Action::"publish", Action::"subscribe"], resource);"#,
        );
        Self { hub }
    }

    fn file(&self, name: &str, file: &str) -> String {
        self.hub.directory().join(name).join(file).display().to_string()
    }

    /// `portreeve client …` with this identity's bundle.
    fn client(&self, name: &str, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(["client", verb, "--bundle"]).arg(self.hub.directory().join(name));
        command.args(["--port", &self.hub.mqtt().port().to_string()]).args(arguments);
        command
    }

    fn publish(&self, name: &str, arguments: &[&str]) -> Output {
        self.client(name, "pub", arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// `mosquitto_pub` or `mosquitto_sub` with this identity's bundle.
    fn mosquitto(&self, program: &str, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "localhost", "-p", &self.hub.mqtt().port().to_string()]);
        command.args(["--cafile", &self.file(name, "ca.pem"), "--cert", &self.file(name, "cert.pem")]);
        command.args(["--key", &self.file(name, "key.pem")]).args(arguments);
        command
    }

    /// Waits until an identity has this many subscriptions, as `device show` lists them.
    fn wait_for_subscription(&self, name: &str, filter: &str) {
        let started = Instant::now();
        loop {
            let shown = self.hub.json(&["device", "show", name]);
            let sessions = shown["sessions"].as_array().cloned().unwrap_or_default();
            let mut filters = sessions.iter().filter_map(|session| session["subscriptions"].as_array()).flatten();
            if filters.any(|shown| shown == filter) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{name} does not subscribe to {filter}: {shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn status(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn two_lamps_and_a_dashboard() {
    let house = House::new();
    // The dashboard listens to all lamps, a lamp to its commands.
    let listening = house.client("dashboard", "sub", &["-t", "devices/+/telemetry/#", "-C", "2", "--timeout", "20s"]);
    let dashboard = Background::start(listening);
    house.wait_for_subscription("dashboard", "devices/+/telemetry/#");
    for lamp in ["lamp-1", "lamp-2"] {
        let sent =
            house.publish(lamp, &["-t", &format!("devices/{lamp}/telemetry/state"), "-m", &format!("{lamp} on")]);
        assert_eq!(status(&sent), Some(0), "{sent:?}");
    }
    let heard = dashboard.finish();
    assert!(heard.contains("lamp-1 on") && heard.contains("lamp-2 on"), "{heard}");

    let listening = house.client("lamp-1", "sub", &["-t", "devices/lamp-1/commands/#", "-C", "1", "--timeout", "20s"]);
    let lamp = Background::start(listening);
    house.wait_for_subscription("lamp-1", "devices/lamp-1/commands/#");
    let sent = house.publish("dashboard", &["-t", "devices/lamp-1/commands/dim", "-m", "50", "-q", "2"]);
    assert_eq!(status(&sent), Some(0), "{sent:?}");
    assert!(lamp.finish().contains("50"));
}

#[test]
fn a_lamp_is_refused_what_is_not_its_own() {
    let house = House::new();
    for qos in ["1", "2"] {
        let refused = house.publish("lamp-1", &["-t", "devices/lamp-2/commands/dim", "-m", "0", "-q", qos]);
        assert_eq!(status(&refused), Some(4), "4: refused by policy or state: {refused:?}");
    }
    let refused = house.publish("lamp-1", &["--v311", "-t", "devices/lamp-2/commands/dim", "-m", "0"]);
    assert_ne!(status(&refused), Some(0), "{refused:?}");
    for filter in ["#", "devices/#", "devices/lamp-2/#"] {
        let arguments = ["-t", filter, "-C", "1", "--timeout", "5s"];
        let refused = house.client("lamp-1", "sub", &arguments).output().unwrap();
        assert_eq!(status(&refused), Some(4), "{filter}: {refused:?}");
    }
    // Why, says the hub.
    let why = house.hub.succeed(&["policy", "explain", "lamp-1", "publish", "devices/lamp-2/commands/dim"]);
    assert!(why.to_lowercase().contains("den") || why.to_lowercase().contains("no policy"), "{why}");
    let why = house.hub.succeed(&["policy", "explain", "lamp-1", "publish", "devices/lamp-1/telemetry/state"]);
    assert!(why.contains("default.own-topics"), "{why}");
}

#[test]
fn a_revoked_lamp_is_a_stranger() {
    let house = House::new();
    let mine = ["-t", "devices/lamp-2/telemetry/state", "-m", "on"];
    assert_eq!(status(&house.publish("lamp-2", &mine)), Some(0));
    house.hub.device("disable", "lamp-2");
    assert_ne!(status(&house.publish("lamp-2", &mine)), Some(0));
    house.hub.device("enable", "lamp-2");
    assert_eq!(status(&house.publish("lamp-2", &mine)), Some(0));
    house.hub.device("revoke", "lamp-2");
    assert_ne!(status(&house.publish("lamp-2", &mine)), Some(0));
    let list = house.hub.json(&["device", "list"]);
    let lamp = list.as_array().unwrap().iter().find(|row| row["name"] == "lamp-2").cloned().unwrap();
    assert_eq!(lamp["state"], "revoked");
}

#[test]
fn mosquitto_clients_work_with_the_same_bundles() {
    let house = House::new();
    let arguments = ["-t", "devices/+/telemetry/#", "-C", "2", "-W", "20", "-V", "5", "-q", "2", "-v"];
    let mut dashboard = Background::start(house.mosquitto("mosquitto_sub", "dashboard", &arguments));
    house.wait_for_subscription("dashboard", "devices/+/telemetry/#");
    for (version, qos) in [("5", "2"), ("311", "1")] {
        let arguments =
            ["-i", "lamp-1", "-V", version, "-q", qos, "-t", "devices/lamp-1/telemetry/state", "-m", version];
        let sent = house.mosquitto("mosquitto_pub", "lamp-1", &arguments).output().unwrap();
        assert!(sent.status.success(), "{sent:?}");
        assert_eq!(dashboard.line(), format!("devices/lamp-1/telemetry/state {version}"));
    }
    dashboard.finish();
    // What is not its own is refused here too, and said.
    let foreign = ["-i", "lamp-1", "-V", "5", "-q", "1", "-t", "devices/lamp-2/commands/dim", "-m", "0"];
    let refused = house.mosquitto("mosquitto_pub", "lamp-1", &foreign).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).to_lowercase();
    assert!(!refused.status.success() || said.contains("not authorized"), "{refused:?}");
    let another = ["-i", "lamp-2", "-V", "5", "-t", "devices/lamp-1/telemetry/x", "-m", "0"];
    let refused = house.mosquitto("mosquitto_pub", "lamp-1", &another).output().unwrap();
    assert!(!refused.status.success(), "another's client id: {refused:?}");
}

#[test]
fn statuses_are_those_of_the_contract() {
    let hub = Hub::start(&[]);
    let code = |arguments: &[&str]| hub.run(arguments).status.code();
    assert_eq!(code(&["status"]), Some(0));
    assert_eq!(code(&["device", "add", "lamp/1"]), Some(2));
    assert_eq!(code(&["device", "frobnicate"]), Some(2));
    assert_eq!(code(&["device", "show", "nobody"]), Some(4));
    assert_eq!(code(&["policy", "check", "no-such-file.cedar"]), Some(2));
    let tests = hub.directory().join(unique("cases"));
    let case = |expect: &str| {
        format!(
            "[[case]]\nidentity = \"x\"\nkind = \"device\"\naction = \"subscribe\"\ntopic = \"#\"\nexpect = \"{expect}\"\n"
        )
    };
    for (expect, expected) in [("deny", 0), ("allow", 1)] {
        std::fs::write(&tests, case(expect)).unwrap();
        assert_eq!(code(&["policy", "test", &tests.display().to_string()]), Some(expected), "{expect}");
    }
    let empty = hub.directory().join("empty");
    let nobody = Command::new(program()).arg("status").arg("--data").arg(&empty).output().unwrap();
    assert_eq!(status(&nobody), Some(3), "{nobody:?}");
}

#[test]
fn a_wrong_start_says_what_is_wrong_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let serve = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.arg("serve").arg("--data").arg(&data).args(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let config = directory.path().join("portreeve.toml");
    std::fs::write(&config, "[mqtt]\nlisten = \"127.0.0.1:0\"\nport = 1\n").unwrap();
    for (arguments, word) in [
        (vec!["--set", "mqtt.nonsense=1"], "nonsense"),
        (vec!["--set", "mqtt.listen=everywhere"], "mqtt.listen"),
        (vec!["--set", "metrics.listen=0.0.0.0:9464"], "metrics.listen"),
        (vec!["--config", config.to_str().unwrap()], "portreeve.toml:3:"),
        (vec!["--config", "/no/such/file.toml"], "/no/such/file.toml"),
    ] {
        let output = serve(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(status(&output), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(!data.exists(), "{arguments:?} left {data:?} behind");
    }
    // Somebody else's directory stays as it is.
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("novel.txt"), "Call me").unwrap();
    let output = serve(&[]);
    assert_eq!(status(&output), Some(2), "{output:?}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
}

#[test]
fn a_reload_takes_effect_and_a_wrong_one_does_not() {
    let config = |receive_max: &str| format!("[mqtt]\nreceive_max = {receive_max}\n");
    let hub = Hub::start_configured(&config("5")).with_app();
    let announced = || {
        let connack = Client::connect(&hub, V5, &unique("reload")).connack;
        u16::from_be_bytes([connack[connack.len() - 2], connack[connack.len() - 1]])
    };
    assert_eq!(announced(), 5);
    let mut witness = Client::connect(&hub, V5, "witness");
    hub.configure(&config("7"));
    let _ = hub.succeed(&["reload"]);
    assert_eq!(announced(), 7);
    // What is wrong is said with its place, and the hub goes on with what it had.
    hub.configure(&config("\"many\""));
    let output = hub.run(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(status(&output), Some(2), "{said}");
    assert!(said.contains("portreeve.toml:2:"), "{said}");
    assert_eq!(announced(), 7);
    hub.configure(&config("9"));
    hub.signal("HUP");
    let started = Instant::now();
    while announced() != 9 {
        assert!(started.elapsed() < Duration::from_secs(5), "SIGHUP reads the configuration again");
        std::thread::sleep(Duration::from_millis(50));
    }
    witness.alive();
}
