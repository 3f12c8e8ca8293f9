//! One identity that connects in a loop; a hub that everybody connects to at once.

use crate::{
    Detector,
    device::{Device, identity},
    episode::{Desk, number},
    finding::Subject,
    rehearsal::{Script, connected},
    settings::{DetectSettings, section},
    site::HubState,
};

const KIND: Detector = Detector::ReconnectStorm;

/// The width of the hub's buckets.
const BUCKET_MS: u64 = 10_000;

section! {
    /// Thresholds of `reconnect_storm`: sessions of one identity are counted; those of the hub within ten seconds are compared with
    /// what was learnt.
    ReconnectStorm {
        /// Sessions of one identity.
        connects: u32 = 20, in 2..=10_000, "sessions";
        /// Within which time.
        window_s: u32 = 300, in 1..=86_400, "seconds";
        /// How many times more than the largest but one that was learnt of the hub.
        hub_factor: f32 = 3.0, in 1.0..=1000.0, "times";
        /// How many mean deviations above the mean that was learnt of the hub.
        hub_deviations: f32 = 8.0, in 1.0..=1000.0, "deviations";
        /// Fewer sessions than this within ten seconds are no storm.
        hub_floor: f32 = 100.0, in 1.0..=1_000_000.0, "sessions";
        /// More than this within ten seconds are a storm, also while the hub is learnt.
        hub_absolute: f32 = 5000.0, in 1.0..=1_000_000.0, "sessions";
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>) {
    let limits = desk.rules.settings.reconnect_storm;
    let Device { name, episodes, connects, .. } = device;
    desk.count(episodes, connects, KIND, (limits.connects, limits.window_s), identity(name), || "connected".to_owned());
}

pub(crate) fn judge_hub(hub: &mut HubState, desk: &mut Desk<'_>) {
    let limits = desk.rules.settings.reconnect_storm;
    let observed = hub.connects.add(desk.clock_ms, 1.0, BUCKET_MS, desk.is_learning);
    let usual = hub.connects.learnt;
    let is_learnt = !desk.is_learning && usual.samples >= desk.rules.settings.general.samples_min;
    let learnt = is_learnt.then(|| usual.limit(limits.hub_deviations, limits.hub_factor, limits.hub_floor));
    let limit = learnt.unwrap_or(limits.hub_absolute).min(limits.hub_absolute);
    if observed <= limit {
        return;
    }
    desk.raise(
        &mut hub.episodes,
        KIND,
        || Subject::Hub,
        || {
            let numbers = vec![
                number("observed", observed, "sessions"),
                number("threshold", limit, "sessions"),
                number("mean", usual.mean, "sessions"),
                number("deviation", usual.deviation, "sessions"),
                number("largest but one", usual.second, "sessions"),
                number("window", 10, "seconds"),
            ];
            (format!("{observed:.0} sessions began within 10 s; at most {limit:.0} are usual"), numbers)
        },
    );
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    Script::default().repeat(settings.reconnect_storm.connects, 0, connected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, connect, ip};

    #[test]
    fn a_loop_is_one_finding_and_a_daily_reconnect_none() {
        let mut bench = Bench::frozen();
        (0..60).for_each(|_| bench.see(&connect("lamp", ip(1))));
        assert_eq!(bench.opened_of(KIND).len(), 1);
        let mut bench = Bench::frozen();
        for _ in 0..100 {
            bench.see(&connect("lamp", ip(1)));
            bench.pass(16);
        }
        assert!(bench.opened_of(KIND).is_empty());
    }

    #[test]
    fn a_storm_is_what_the_hub_is_not_used_to() {
        let mut bench = Bench::learning();
        let names: Vec<String> = (0..5000).map(|device| format!("d{device}")).collect();
        for (device, name) in names.iter().take(1000).enumerate() {
            bench.see(&connect(name, ip(u32::try_from(device).unwrap())));
            bench.pass(1);
        }
        bench.freeze();
        for (device, name) in names[1000..2000].iter().enumerate() {
            bench.see(&connect(name, ip(u32::try_from(device).unwrap())));
            bench.pass(u64::from(device % 2 == 0));
        }
        assert!(bench.opened_of(KIND).is_empty(), "twice as many");
        for (device, name) in names[2000..].iter().enumerate() {
            bench.see(&connect(name, ip(u32::try_from(device).unwrap())));
        }
        let found = bench.opened_of(KIND);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].subject, Subject::Hub);
    }

    #[test]
    fn canary_reconnect_storm() {
        canary(KIND);
    }
}
