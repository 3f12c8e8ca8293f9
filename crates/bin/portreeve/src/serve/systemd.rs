//! What systemd is told. Without systemd all of this does nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// systemd wants to know since when, to tell this reload from an older one.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("letting clients go")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// Sends signs of life at half the interval that systemd asks for.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    last: Instant,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|interval| interval / 2), last: Instant::now() }
    }

    pub(super) fn beat(&mut self) {
        if self.every.is_some_and(|every| self.last.elapsed() >= every) {
            self.last = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }
}
