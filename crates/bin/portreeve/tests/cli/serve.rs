use rustix::process::Signal;

use crate::support::{Place, eventually, mode};

#[test]
fn a_hub_starts_says_how_to_go_on_and_ends_in_order() {
    let place = Place::new();
    let mut hub = place.serve(&[]);
    let status = place.json(&["status", "--wait", "30s"]);
    assert_eq!(status["ready"], true);
    let names: Vec<_> =
        status["listeners"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mqtt", "device_https", "metrics", "admin"]);
    assert_ne!(hub.address("mqtt").port(), 0);
    assert!(place.ok(&["status"]).contains("sessions_per_device"));
    assert_eq!((mode(&place.path("data")), mode(&place.path("data/admin.sock"))), (0o700, 0o600));
    assert!(place.out().contains("device add lamp-1 --data data --out lamp-1"), "{}", place.out());
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0), "{}", place.log());
    assert!(!place.path("data/admin.sock").exists());
}

#[test]
fn without_a_hub_status_and_reload_say_how_to_start_one() {
    let place = Place::new();
    for command in ["status", "reload"] {
        let done = place.run(&[command]);
        assert_eq!(done.status, 3, "{done:?}");
        assert!(
            done.err.contains("no hub is running in data; start one with `portreeve serve --data data`"),
            "{done:?}"
        );
    }
    let done = place.run(&["device", "list"]);
    assert_eq!(done.status, 3, "there is no data directory either: {done:?}");
    assert!(!place.path("data").exists());
}

#[test]
fn clients_are_told_that_the_hub_stops() {
    let place = Place::new();
    let mut hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    let args = ["client", "sub", "--bundle", "lamp-1", "--port", &port, "-t", "devices/lamp-1/#"];
    let subscriber = place.command(&args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    eventually("the subscriber is connected", || place.json(&["status"])["clients_connected"] == 1);
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    let ended = crate::support::Done::from(subscriber.wait_with_output().unwrap());
    assert_eq!(ended.status, 4);
    assert!(ended.err.contains("server shutting down (0x8b)"), "{ended:?}");
}

#[test]
fn a_killed_hub_starts_again() {
    let place = Place::new();
    let mut hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1"]);
    hub.signal(Signal::KILL);
    hub.wait();
    assert!(place.path("data/admin.sock").exists(), "a killed hub leaves its socket");
    assert!(place.ok(&["device", "list"]).contains("lamp-1"), "and administration works without it");
    let _hub = place.serve(&[]);
    assert!(place.ok(&["device", "list"]).contains("lamp-1"));
    assert!(!place.out().contains("device add"), "who has devices needs no advice");
}

#[test]
fn one_data_directory_has_one_hub() {
    let place = Place::new();
    let _hub = place.serve(&[]);
    let second = place.run(&["serve", "--set", "mqtt.listen=127.0.0.1:0"]);
    assert_eq!(second.status, 2);
    assert!(second.err.contains("in use by another hub"), "{second:?}");
    let elsewhere = place.run(&["device", "list", "--set", "admin.socket=/nonexistent/admin.sock"]);
    assert_eq!(elsewhere.status, 3, "{elsewhere:?}");
    assert!(elsewhere.err.contains("a hub is running in data"), "{elsewhere:?}");
}

#[test]
fn a_taken_port_stops_the_start() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    for key in ["mqtt.listen", "metrics.listen", "device_https.listen"] {
        let others = ["mqtt.listen", "metrics.listen", "device_https.listen"].map(|key| format!("{key}=127.0.0.1:0"));
        let mut args: Vec<&str> = vec!["serve"];
        others.iter().for_each(|set| args.extend(["--set", set]));
        let taken = format!("{key}={at}");
        args.extend(["--set", &taken]);
        let done = place.run(&args);
        assert_eq!(done.status, 2, "{done:?}");
        assert!(done.err.contains(&format!("cannot listen on {at} ({key})")), "{done:?}");
    }
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    std::fs::write(place.path("data/letter"), "mine").unwrap();
    let done = place.run(&["serve"]);
    assert_eq!(done.status, 2, "{done:?}");
    assert!(done.err.contains("holds other files"), "{done:?}");
    assert_eq!(std::fs::read_dir(place.path("data")).unwrap().count(), 1);
}

#[test]
fn a_reload_takes_what_is_right_and_refuses_what_is_wrong() {
    let place = Place::new();
    let file = place.write("hub.toml", "[log]\nlevel = \"info\"\n");
    let hub = place.serve(&["--config", &file]);
    place.write("hub.toml", "[log]\nlevel = \"debug\"\n[hub]\nworkers = 3\n");
    let told = place.ok(&["reload"]);
    assert!(told.contains("log.level: \"info\" is now \"debug\""), "{told}");
    assert!(told.contains("hub.workers: the new value waits for the next start"), "{told}");

    place.write("hub.toml", "[log]\nlevel = \"loud\"\n");
    let refused = place.run(&["reload"]);
    assert_eq!(refused.status, 2);
    assert!(refused.err.contains("hub.toml:2:9: log.level"), "{refused:?}");
    assert!(refused.err.contains("goes on with what it had"), "{refused:?}");
    assert_eq!(place.json(&["status"])["ready"], true);

    place.write("hub.toml", "[limits]\nsessions_total = 7777\n");
    hub.signal(Signal::HUP);
    let limit = || {
        let status = place.json(&["status"]);
        let limits = status["limits"].as_array().unwrap().clone();
        limits.iter().find(|row| row["name"] == "sessions_total").unwrap()["limit"].clone()
    };
    eventually("SIGHUP is obeyed", || limit() == 7777);
}

#[test]
fn logs_are_json_where_programs_read_them() {
    let place = Place::new();
    let _hub = place.serve(&["--set", "log.format=json"]);
    let log = place.log();
    let started = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!(started.into_iter().any(|line| line["event"] == "hub_started"), "{log}");
}

#[test]
fn systemd_is_told_of_every_step_and_that_the_hub_lives() {
    let mut place = Place::new();
    let notices = std::os::unix::net::UnixDatagram::bind(place.path("notify")).unwrap();
    notices.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    place.env.push(("NOTIFY_SOCKET", place.path("notify").display().to_string()));
    place.env.push(("WATCHDOG_USEC", "400000".into()));
    let mut hub = place.serve(&[]);
    let next = |wanted: &str| {
        let mut bytes = [0; 512];
        loop {
            let length = notices.recv(&mut bytes).unwrap();
            let notice = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if notice.contains(wanted) {
                return notice;
            }
        }
    };
    next("READY=1");
    next("WATCHDOG=1");
    next("WATCHDOG=1");
    place.ok(&["reload"]);
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    hub.signal(Signal::TERM);
    next("STOPPING=1");
    assert_eq!(hub.wait().code(), Some(0));
}
