//! A receiver of webhooks that checks signatures by itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::receivers::{Pki, Program};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct Receiver {
    program: Program,
    pub(crate) port: u16,
    pub(crate) secret: PathBuf,
    pub(crate) ca: PathBuf,
}

impl Receiver {
    pub(crate) fn start(pki: &Pki) -> Self {
        let [certificate, key] = pki.issue("localhost", 1);
        let (program, port) = Program::python("https.py", &[&certificate, &key, Path::new(SECRET)]);
        Self { program, port, secret: pki.secret("receiver.secret", SECRET), ca: pki.path("ca.pem") }
    }

    fn next(&self, within: Duration) -> Option<Value> {
        self.program.line_within(within).map(|line| serde_json::from_str(&line).unwrap())
    }

    /// The next message of a kind; others are passed over.
    pub(crate) fn message(&self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let until = Instant::now() + within;
        loop {
            let message = self.next(until.saturating_duration_since(Instant::now()))?;
            if wanted(&message) {
                return Some(message);
            }
        }
    }

    pub(crate) fn all_within(&self, time: Duration) -> Vec<Value> {
        thread::sleep(time);
        std::iter::from_fn(|| self.next(Duration::ZERO)).collect()
    }

    pub(crate) fn silent_for(&self, time: Duration, why: &str) {
        if let Some(message) = self.next(time) {
            panic!("{why}: {message}");
        }
    }

    /// It takes connections, and does nothing with them.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.program.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}
