//! Real receivers on loopback: Python's HTTPS server, aiosmtpd, and rsyslog.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod https;
mod mail;
mod receivers;
mod syslog;

use std::time::{Duration, Instant, SystemTime};

use portreeve_alert::{AlertSettings, Delivery, Desk, Failure, Occurrence, Severity};
use portreeve_channels::{Channel, OpenError, Receipt, open};

pub(crate) use receivers::{PATIENCE, Pki, Program};

fn settings(channel: &str) -> AlertSettings {
    let text = format!(
        "[[channel]]\nname = \"way\"\n{channel}\n[[contact]]\nname = \"ann\"\nmail = \"ann@example.org\"\n\
         channels = [\"way\"]\nreviewed = 2026-11-01\n[[route]]\ncontacts = [\"ann\"]\n"
    );
    AlertSettings::parse("alerts.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The channel of these lines of settings.
pub(crate) fn opened(channel: &str) -> Result<Box<dyn Channel>, OpenError> {
    let settings = settings(channel);
    open(&settings.channels()[0].kind, "hub.example.org").map(|channel| channel.unwrap())
}

pub(crate) fn delivery(channel: &str) -> Delivery {
    let now = SystemTime::now().into();
    let mut desk = Desk::restore(settings(channel), [], 7, now).unwrap();
    let text = "five failures\r\nBcc: eve@example.org\n.\n]\"äöü";
    desk.raise(Occurrence::new("auth_failures".parse().unwrap(), Severity::High, "lamp-1", text), now);
    desk.poll(now).remove(0)
}

/// Sends one delivery through a channel of these settings.
pub(crate) fn send(channel: &str) -> Result<Receipt, Failure> {
    send_within(channel, PATIENCE)
}

pub(crate) fn send_within(channel: &str, time: Duration) -> Result<Receipt, Failure> {
    opened(channel).unwrap().send(&delivery(channel), SystemTime::now().into(), Instant::now() + time)
}

/// Whether another attempt is worth it, and why this one failed.
pub(crate) fn failure(sent: Result<Receipt, Failure>) -> (bool, String) {
    match sent.unwrap_err() {
        Failure::Transient(why) => (true, why.to_string()),
        Failure::Permanent(why) => (false, why.to_string()),
    }
}
