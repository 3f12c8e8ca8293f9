//! A message larger than usual.

use crate::{
    Detector,
    device::{Device, Traffic, identity},
    episode::{Desk, number},
    finding::shown,
    rehearsal::{Script, traffic},
    settings::{DetectSettings, section},
};

const KIND: Detector = Detector::MessageSize;

section! {
    /// Thresholds of `message_size`: the largest payload of a window is compared with those that were learnt.
    MessageSize {
        /// How many times more than the largest but one that was learnt.
        factor: f32 = 3.0, in 1.0..=1000.0, "times";
        /// How many mean deviations above the mean that was learnt.
        deviations: f32 = 8.0, in 1.0..=1000.0, "deviations";
        /// A payload that is smaller than this is never too large.
        floor_bytes: f32 = 1024.0, in 1.0..=268_435_456.0, "bytes";
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, traffic: &Traffic<'_>, at: usize) {
    let limits = desk.rules.settings.message_size;
    let samples_min = desk.rules.settings.general.samples_min;
    let Device { name, episodes, learnt, .. } = device;
    let sizes = &mut learnt.topics[at].sizes;
    let observed = traffic.largest_bytes as f32;
    if desk.is_learning {
        sizes.learn(observed);
        return;
    }
    let usual = *sizes;
    let limit = usual.limit(limits.deviations, limits.factor, limits.floor_bytes);
    if usual.samples < samples_min || observed <= limit {
        return;
    }
    desk.raise(episodes, KIND, identity(name), || {
        let numbers = vec![
            number("observed", observed, "bytes"),
            number("threshold", limit, "bytes"),
            number("mean", usual.mean, "bytes"),
            number("deviation", usual.deviation, "bytes"),
            number("largest but one", usual.second, "bytes"),
            number("learnt from", usual.samples, "windows"),
        ];
        (format!("sent {observed:.0} bytes to {}; at most {limit:.0} are usual", shown(traffic.topic)), numbers)
    });
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let learning = Script::default().repeat(settings.general.samples_min + 2, 10, traffic("canary", 1, 1));
    learning.wait_learnt().say(traffic("canary", 1, u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, publish};

    fn learnt() -> Bench {
        let mut bench = Bench::learning();
        for window in 0..100 {
            bench.see(&publish("cam", "t", 1, 2000 + window));
            bench.pass(10);
        }
        bench.freeze();
        bench
    }

    #[test]
    fn a_message_far_too_large_is_one_finding() {
        let mut bench = learnt();
        (0..10).for_each(|_| bench.see(&publish("cam", "t", 1, 100_000)));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn growth_below_the_factor_is_none() {
        let mut bench = learnt();
        (0..100).for_each(|step| bench.see(&publish("cam", "t", 1, 2000 + step * 38)));
        assert!(bench.opened_of(KIND).is_empty());
    }

    #[test]
    fn canary_message_size() {
        canary(KIND);
    }
}
