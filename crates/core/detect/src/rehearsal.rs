//! Rehearsals: for each detector what it must find, made to the thresholds that are set.

use crate::{ChangeWindow, DetectSettings, Observation, settings::Day};
use std::net::{IpAddr, Ipv4Addr};

/// The identity of rehearsals. They happen in a world of their own, so a real one may have the same name.
pub(crate) const WHO: &str = "canary";
/// Where it usually is (RFC 5737 §3).
pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Where it usually is not.
pub(crate) const ABROAD: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// A client identifier that is known to be bad in rehearsals.
pub(crate) const BAD_CLIENT: &str = "canary:known-bad";

/// How long a rehearsal's identity is learnt.
pub(crate) const LEARN_S: u64 = 2 * 86_400;

/// Observations at their times.
#[derive(Debug, Default)]
pub(crate) struct Script {
    at_ms: u64,
    pub(crate) steps: Vec<(u64, Observation<'static>)>,
}

impl Script {
    pub(crate) fn say(mut self, observation: Observation<'static>) -> Self {
        self.steps.push((self.at_ms, observation));
        self
    }

    /// The same several times, with pauses after each.
    pub(crate) fn repeat(mut self, times: u32, pause_s: u64, observation: Observation<'static>) -> Self {
        for _ in 0..times {
            self = self.say(observation).wait(pause_s);
        }
        self
    }

    pub(crate) fn wait(mut self, seconds: u64) -> Self {
        self.at_ms += seconds * 1000;
        self
    }

    /// Until the identity is not learnt any more.
    pub(crate) fn wait_learnt(mut self) -> Self {
        self.at_ms = self.at_ms.max((LEARN_S + 60) * 1000);
        self
    }

    pub(crate) const fn ends_ms(&self) -> u64 {
        self.at_ms
    }
}

/// The settings of rehearsals: those that are set, with something on the lists and a learning time that is worth waiting for.
pub(crate) fn settings(real: &DetectSettings) -> DetectSettings {
    let mut settings = real.clone();
    settings.general.new_device_learn_s = 2 * 86_400;
    settings.general.sources_max = settings.general.sources_max.min(64);
    settings.known_bad.client_ids = vec![BAD_CLIENT.to_owned()];
    // A rehearsal begins on a Thursday, the first day of the epoch, and no change of one is in this window.
    settings.change_windows = vec![ChangeWindow { days: [Day::Wednesday].into(), from_h: 0, to_h: 1 }];
    settings
}

pub(crate) const fn connected() -> Observation<'static> {
    session(WHO, HOME, WHO, 60)
}

pub(crate) const fn session(
    identity: &'static str,
    source: IpAddr,
    client_id: &'static str,
    keep_alive_s: u16,
) -> Observation<'static> {
    Observation::Connected { identity, group: None, zone: Some("canary"), radio: None, source, client_id, keep_alive_s }
}

pub(crate) const fn traffic(topic: &'static str, messages: u64, largest_bytes: u32) -> Observation<'static> {
    Observation::Traffic {
        identity: WHO,
        topic,
        messages,
        bytes: messages * largest_bytes as u64,
        largest_bytes,
        window_ms: 10_000,
    }
}
