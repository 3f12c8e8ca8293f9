//! The audit ledger as its readers meet it: verified while it is written, copied, cut, changed, forked and forgotten.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damage;
mod independent;
mod kill;
mod reading;
mod roles;
mod witness;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use portreeve_tests::{Hub, hub::program};

/// Runs `portreeve ledger` without a hub; what is verified needs none.
fn ledger(arguments: &[&str]) -> Output {
    Command::new(program()).arg("ledger").args(arguments).output().unwrap()
}

/// Its exit status and what it says.
fn told(output: &Output) -> (i32, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &target),
            kind if kind.is_file() => drop(fs::copy(entry.path(), target).unwrap()),
            _ => {}
        }
    }
}

/// A hub whose ledger has some entries, all of them under a signed head.
fn with_entries(count: usize) -> Hub {
    let hub = Hub::start(&[]);
    for number in 0..count {
        let _ = hub.succeed(&["device", "add", &format!("lamp-{number}")]);
    }
    sealed(&hub);
    hub
}

/// Waits until everything is under a signed head.
fn sealed(hub: &Hub) {
    for _ in 0..200 {
        let state = &hub.status()["ledger"];
        // The look itself is an entry now and then.
        if state["entries"].as_u64().unwrap() - state["sealed"].as_u64().unwrap() <= 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("not sealed: {}", hub.status()["ledger"]);
}
