//! Starts that are cut short, and directories that somebody damaged.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use portreeve_tests::{Hub, hub::program};

fn serve(data: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg("serve").arg("--data").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for key in ["mqtt.listen", "device_https.listen", "metrics.listen"] {
        command.args(["--set", &format!("{key}=127.0.0.1:0")]);
    }
    command
}

fn is_ready(data: &Path) -> bool {
    let mut command = Command::new(program());
    command.args(["status", "--wait", "20s", "--data"]).arg(data);
    command.output().unwrap().status.success()
}

#[test]
fn a_first_start_may_be_killed_at_any_moment() {
    // It makes the CA, the store and its own certificate; whatever of that is there, the next start is whole.
    for delay_ms in [0, 2, 5, 10, 15, 20, 30, 50, 80, 120] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        for again in [true, false] {
            let mut child = serve(&data).spawn().unwrap();
            if again {
                thread::sleep(Duration::from_millis(delay_ms));
            } else {
                assert!(is_ready(&data), "killed after {delay_ms} ms, and not ready afterwards");
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// The outcome of a start that must fail by itself.
fn fails(data: &Path) -> Output {
    let mut child = serve(data).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            panic!("it runs on damaged files: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn damage_is_found_and_said() {
    for file in ["registry.redb", "sessions.redb", "pki/devices.pem", "pki/devices.key"] {
        for half in [true, false] {
            let mut hub = Hub::open(&[]);
            assert!(hub.terminate().success());
            let path = hub.data().join(file);
            let length = fs::metadata(&path).unwrap().len();
            if half {
                fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            let output = fails(&hub.data());
            let said = String::from_utf8_lossy(&output.stderr);
            let name = Path::new(file).file_name().unwrap().to_str().unwrap();
            assert_eq!(output.status.code(), Some(2), "{file} half {half}: {said}");
            assert!(said.contains(name) || said.contains("pki"), "{file} half {half}: it does not say where: {said}");
            assert!(!said.contains("panicked"), "{said}");
        }
    }
}

#[test]
fn one_directory_one_hub() {
    let hub = Hub::start(&[]);
    let output = fails(&hub.data());
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(hub.status()["ready"], true, "the first is not disturbed");
}

#[test]
fn a_directory_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut hub = Hub::start(&[]);
    let mode = fs::metadata(hub.data()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    assert!(hub.terminate().success());
    fs::set_permissions(hub.data(), fs::Permissions::from_mode(0o750)).unwrap();
    let output = fails(&hub.data());
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
