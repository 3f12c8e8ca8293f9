//! What is remembered of one identity.

use crate::{
    Observation,
    detectors::{
        auth_failures, battery_drain, beaconing, duplicate_identity, firmware_regress, heartbeat_lost,
        keep_alive_abuse, known_bad, malformed_packets, message_rate, message_size, new_source, new_topic,
        numbers_broken, policy_denials, reconnect_storm, replay, slow_drift, vitals_trend,
    },
    episode::{Counted, Desk, Episodes},
    finding::Subject,
    hash::hash_of,
    observation::Ending,
    stats::{Baseline, Meter, Window},
};
use std::sync::Arc;

/// Topics of one identity that are learnt. Beyond, an identity counts as one that uses topics freely.
pub(crate) const TOPICS_MAX: usize = 32;

/// What was learnt of a topic.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) hash: u64,
    pub(crate) rate: Meter,
    pub(crate) sizes: Baseline,
}

/// What is usual for an identity; this is what a restart keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    pub(crate) has_connected: bool,
    pub(crate) uses_topics_freely: bool,
    pub(crate) roams: bool,
    pub(crate) networks: Vec<u64>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) gaps: Baseline,
    pub(crate) beat_ms: f32,
    pub(crate) drift: slow_drift::Drift,
    pub(crate) vitals: Option<Box<vitals_trend::Vitals>>,
    pub(crate) channels: Vec<replay::Channel>,
}

/// The state of one identity, for all detectors.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: Arc<str>,
    pub(crate) group: u64,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) radio: Option<Arc<str>>,
    pub(crate) learns_until_ms: u64,
    pub(crate) used_ms: u64,
    pub(crate) episodes: Episodes,
    pub(crate) learnt: Learnt,
    pub(crate) auth_failed: Window,
    pub(crate) denied: Window,
    pub(crate) doubled: Window,
    pub(crate) connects: Window,
    pub(crate) long_keep_alive: Window,
    pub(crate) malformed: Window,
    pub(crate) repeats: Window,
    pub(crate) contacts: crate::stats::Rhythm,
    pub(crate) sent: Meter,
    pub(crate) heard_ms: u64,
    pub(crate) is_silent: bool,
}

/// A device that was lost, for whoever counts losses of a place.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) identity: u64,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) radio: Option<Arc<str>>,
}

/// The subject of an identity's findings.
pub(crate) fn identity(name: &Arc<str>) -> impl FnOnce() -> Subject + '_ {
    || Subject::Identity(Arc::clone(name))
}

impl Device {
    pub(crate) fn new(name: &str, learns_until_ms: u64, learnt: Learnt) -> Self {
        Self {
            name: name.into(),
            group: 0,
            zone: None,
            radio: None,
            learns_until_ms,
            used_ms: 0,
            episodes: Episodes::default(),
            learnt,
            auth_failed: Window::default(),
            denied: Window::default(),
            doubled: Window::default(),
            connects: Window::default(),
            long_keep_alive: Window::default(),
            malformed: Window::default(),
            repeats: Window::default(),
            contacts: crate::stats::Rhythm::default(),
            sent: Meter::default(),
            heard_ms: 0,
            is_silent: false,
        }
    }

    /// How much it matters to go on following this one. Open episodes stay, those that were never here go first.
    pub(crate) fn interest(&self) -> Option<u64> {
        self.episodes.is_empty().then_some(u64::from(self.learnt.has_connected) << 63 | self.used_ms)
    }

    pub(crate) fn loss(&self) -> Loss {
        Loss { identity: hash_of(&self.name), zone: self.zone.clone(), radio: self.radio.clone() }
    }

    /// Judges one observation, authentication failures and what concerns no identity apart.
    pub(crate) fn observe(&mut self, observation: &Observation<'_>, desk: &mut Desk<'_>) {
        match *observation {
            Observation::Denied { what, .. } => policy_denials::judge(self, desk, what),
            Observation::Connected { source, client_id, keep_alive_s, .. } => {
                known_bad::judge_session(self, desk, source, client_id);
                new_source::judge(self, desk, source);
                reconnect_storm::judge(self, desk);
                keep_alive_abuse::judge(self, desk, keep_alive_s);
                beaconing::judge(self, desk);
                heartbeat_lost::hear(self, desk);
                self.learnt.has_connected = true;
            }
            Observation::Disconnected { how: Ending::Clean | Ending::Lost, .. } => heartbeat_lost::hear(self, desk),
            Observation::Malformed { .. } => malformed_packets::judge(self, desk),
            Observation::Duplicate { is_certain, .. } => duplicate_identity::judge(self, desk, is_certain),
            Observation::Traffic { topic, messages, bytes, largest_bytes, window_ms, .. } => {
                let traffic = Traffic { topic, messages, bytes, largest_bytes, window_ms };
                self.traffic(&traffic, desk);
            }
            Observation::Heartbeat { .. } => heartbeat_lost::hear(self, desk),
            Observation::Sequence { channel, seq, device_time, .. } => {
                heartbeat_lost::hear(self, desk);
                replay::judge(self, desk, channel, seq, device_time);
            }
            Observation::OutOfOrder { channel, expected, seq, .. } => {
                numbers_broken::judge(self, desk, channel, expected, seq);
            }
            Observation::Firmware { before, after, .. } => firmware_regress::judge(self, desk, before, after),
            Observation::Vitals { battery_percent, numbers, .. } => {
                heartbeat_lost::hear(self, desk);
                battery_drain::judge(self, desk, battery_percent);
                vitals_trend::judge(self, desk, numbers);
            }
            // What the hub itself ended says nothing; the others are judged elsewhere.
            Observation::Disconnected { how: Ending::Cut, .. }
            | Observation::AuthFailed { .. }
            | Observation::HalfOpen { .. }
            | Observation::AdminCall { .. }
            | Observation::ConfigChanged { .. } => {}
        }
    }

    /// Counts a failure to authenticate.
    pub(crate) fn auth_failed(&mut self, desk: &mut Desk<'_>, door: &str) -> Counted {
        auth_failures::judge(self, desk, door)
    }

    fn traffic(&mut self, traffic: &Traffic<'_>, desk: &mut Desk<'_>) {
        heartbeat_lost::hear(self, desk);
        known_bad::judge_topic(self, desk, traffic.topic);
        message_rate::judge_sum(self, desk, traffic);
        slow_drift::judge(self, desk, traffic);
        let hash = hash_of(traffic.topic);
        let place = self.learnt.topics.iter().position(|topic| topic.hash == hash);
        match place {
            Some(at) => {
                message_rate::judge(self, desk, traffic, at);
                message_size::judge(self, desk, traffic, at);
            }
            None => new_topic::judge(self, desk, traffic, hash),
        }
    }
}

/// A window of traffic.
#[derive(Clone, Copy)]
pub(crate) struct Traffic<'a> {
    pub(crate) topic: &'a str,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) largest_bytes: u32,
    pub(crate) window_ms: u64,
}
