//! Contacts at even intervals that nobody has learnt.

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::{Desk, Told, number},
    finding::Subject,
    rehearsal::{HOME, Script},
    settings::{DetectSettings, section},
    site::Source,
    stats::Rhythm,
};
use std::net::IpAddr;

const KIND: Detector = Detector::Beaconing;

/// An interval within this part of the learnt one is the learnt one.
const SAME_INTERVAL: f32 = 0.25;

section! {
    /// Thresholds of `beaconing`.
    Beaconing {
        /// Intervals in a row that are alike.
        gaps: u32 = 8, in 3..=1000, "intervals";
        /// How much they may differ.
        jitter: f32 = 0.1, in 0.0..=0.5, "part of the interval";
        /// Shorter intervals are a loop rather than a beacon.
        least_s: u32 = 30, in 1..=86_400, "seconds";
    }
}

impl Beaconing {
    fn finds(&self, rhythm: &Rhythm) -> bool {
        rhythm.is_regular(self.gaps, self.jitter, self.least_s as f32 * 1000.0)
    }
}

/// The identity's sessions.
pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>) {
    let limits = desk.rules.settings.beaconing;
    let Device { name, episodes, learnt, contacts, .. } = device;
    contacts.beat(desk.clock_ms);
    if !limits.finds(contacts) {
        return;
    }
    if desk.is_learning {
        learnt.beat_ms = contacts.mean_ms;
        return;
    }
    if (contacts.mean_ms - learnt.beat_ms).abs() <= SAME_INTERVAL * learnt.beat_ms {
        return;
    }
    let usual_ms = learnt.beat_ms;
    desk.raise_every(contacts.interval_ms(), episodes, KIND, identity(name), || {
        told("connects", contacts, usual_ms, &limits)
    });
}

/// What a source is refused.
pub(crate) fn judge_source(source: &mut Source, desk: &mut Desk<'_>, address: IpAddr) {
    let limits = desk.rules.settings.beaconing;
    source.refused.beat(desk.clock_ms);
    if limits.finds(&source.refused) {
        let refused = source.refused;
        let text = || told("fails to authenticate", &refused, 0.0, &limits);
        desk.raise_every(refused.interval_ms(), &mut source.episodes, KIND, || Subject::Source(address), text);
    }
}

fn told(what: &str, rhythm: &Rhythm, usual_ms: f32, limits: &Beaconing) -> Told {
    let interval_s = rhythm.mean_ms / 1000.0;
    let numbers = vec![
        number("interval", interval_s, "seconds"),
        number("learnt interval", usual_ms / 1000.0, "seconds"),
        number("jitter", rhythm.jitter(), "part of the interval"),
        number("largest jitter", limits.jitter, "part of the interval"),
        number("observed", rhythm.gaps(), "intervals"),
        number("threshold", limits.gaps, "intervals"),
    ];
    (format!("{what} every {interval_s:.0} s, evenly"), numbers)
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let limits = settings.beaconing;
    // So slowly that it is not a failure too many.
    let pause_s = u64::from(limits.least_s.max(settings.auth_failures.window_s)) + 1;
    let failed = Observation::AuthFailed { identity: None, source: Some(HOME), door: "canary" };
    Script::default().repeat(limits.gaps + 2, pause_s, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, connect, ip};

    fn sessions(bench: &mut Bench, count: u64, every_s: u64, jitter_s: u64) {
        for session in 0..count {
            bench.see(&connect("lamp", ip(1)));
            bench.pass(every_s + session * 7919 % (jitter_s + 1));
        }
    }

    #[test]
    fn an_even_interval_that_was_not_learnt_is_one_finding() {
        let mut bench = Bench::learning();
        sessions(&mut bench, 20, 600, 10);
        bench.freeze();
        sessions(&mut bench, 20, 600, 10);
        assert!(bench.opened().is_empty(), "as learnt");
        sessions(&mut bench, 40, 120, 2);
        assert_eq!(bench.opened_of(KIND).len(), 1, "{:?}", bench.opened());
    }

    #[test]
    fn uneven_contacts_are_none() {
        let mut bench = Bench::learning();
        sessions(&mut bench, 5, 600, 10);
        bench.freeze();
        sessions(&mut bench, 200, 60, 120);
        assert!(bench.opened_of(KIND).is_empty(), "{:?}", bench.opened());
    }

    /// CSA-SNT-03: what stays below the count of failures is found by its evenness.
    #[test]
    fn slow_even_failures_are_found() {
        let mut bench = Bench::frozen();
        for _ in 0..30 {
            bench.see(&Observation::AuthFailed { identity: None, source: Some(ip(1)), door: "mqtt" });
            bench.pass(500);
        }
        let kinds: Vec<_> = bench.opened().iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [KIND]);
    }

    #[test]
    fn canary_beaconing() {
        canary(KIND);
    }
}
