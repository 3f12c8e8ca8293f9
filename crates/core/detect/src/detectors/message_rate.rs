//! More messages than usual, to one topic; more than ever, to all together.

use crate::{
    Detector,
    device::{Device, Traffic, identity},
    episode::{Desk, number},
    finding::shown,
    rehearsal::{Script, traffic},
    settings::{DetectSettings, section},
};

const KIND: Detector = Detector::MessageRate;

/// The width of the buckets that are compared.
pub(crate) const BUCKET_MS: u64 = 10_000;

section! {
    /// Thresholds of `message_rate`: a bucket of ten seconds is compared with those that were learnt.
    MessageRate {
        /// How many times more than the largest but one that was learnt.
        factor: f32 = 3.0, in 1.0..=1000.0, "times";
        /// How many mean deviations above the mean that was learnt.
        deviations: f32 = 8.0, in 1.0..=1000.0, "deviations";
        /// Fewer messages than this in ten seconds are never too many.
        floor: f32 = 20.0, in 1.0..=1_000_000.0, "messages";
        /// More than this in ten seconds, over all topics, are too many for anybody, also while it is learnt.
        absolute: f32 = 5000.0, in 1.0..=100_000_000.0, "messages";
    }
}

/// Messages as they count for one bucket: a longer window is spread evenly.
fn in_bucket(traffic: &Traffic<'_>) -> f32 {
    let share = BUCKET_MS as f32 / traffic.window_ms.max(BUCKET_MS) as f32;
    traffic.messages as f32 * share
}

pub(crate) fn judge_sum(device: &mut Device, desk: &mut Desk<'_>, traffic: &Traffic<'_>) {
    let absolute = desk.rules.settings.message_rate.absolute;
    let Device { name, episodes, sent, .. } = device;
    let observed = sent.add(desk.clock_ms, in_bucket(traffic), BUCKET_MS, false);
    if observed <= absolute {
        return;
    }
    desk.raise(episodes, KIND, identity(name), || {
        let numbers = vec![
            number("observed", observed, "messages"),
            number("threshold", absolute, "messages"),
            number("window", 10, "seconds"),
        ];
        (format!("sent {observed:.0} messages within 10 s, last to {}", shown(traffic.topic)), numbers)
    });
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, traffic: &Traffic<'_>, at: usize) {
    let limits = desk.rules.settings.message_rate;
    let samples_min = desk.rules.settings.general.samples_min;
    let Device { name, episodes, learnt, .. } = device;
    let rate = &mut learnt.topics[at].rate;
    let observed = rate.add(desk.clock_ms, in_bucket(traffic), BUCKET_MS, desk.is_learning);
    let usual = rate.learnt;
    let limit = usual.limit(limits.deviations, limits.factor, limits.floor);
    if desk.is_learning || usual.samples < samples_min || observed <= limit {
        return;
    }
    desk.raise(episodes, KIND, identity(name), || {
        let numbers = vec![
            number("observed", observed, "messages"),
            number("threshold", limit, "messages"),
            number("mean", usual.mean, "messages"),
            number("deviation", usual.deviation, "messages"),
            number("largest but one", usual.second, "messages"),
            number("learnt from", usual.samples, "buckets"),
            number("window", 10, "seconds"),
        ];
        let topic = shown(traffic.topic);
        (format!("sent {observed:.0} messages to {topic} within 10 s; at most {limit:.0} are usual"), numbers)
    });
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let learning = Script::default().repeat(settings.general.samples_min + 2, 10, traffic("canary", 1, 10));
    learning.wait_learnt().say(traffic("canary", u64::from(u32::MAX), 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, publish};

    /// A device that sends 18 to 22 messages in ten seconds.
    fn learnt() -> Bench {
        let mut bench = Bench::learning();
        for bucket in 0..100 {
            bench.see(&publish("lamp", "t", 18 + bucket % 5, 50));
            bench.pass(10);
        }
        bench.freeze();
        bench
    }

    /// CSA-OPA-04: 400 a second where 2 are usual.
    #[test]
    fn a_flood_is_one_finding_with_its_numbers() {
        let mut bench = learnt();
        for _ in 0..60 {
            bench.see(&publish("lamp", "t", 4000, 50));
            bench.pass(10);
        }
        assert_eq!(bench.opened_of(KIND).len(), 1, "{:?}", bench.opened());
        let numbers = &bench.opened()[0].numbers;
        let value = |name| numbers.iter().find(|number| number.name == name).unwrap().value;
        assert!(value("observed") > 3900.0 && (18.0..23.0).contains(&value("mean")), "{numbers:?}");
    }

    #[test]
    fn twice_as_many_and_a_long_window_are_none() {
        let mut bench = learnt();
        for bucket in 0..500 {
            bench.see(&publish("lamp", "t", 20 + bucket / 25, 50));
            bench.pass(10);
        }
        let hour = crate::Observation::Traffic {
            identity: "lamp",
            topic: "t",
            messages: 7200,
            bytes: 10,
            largest_bytes: 10,
            window_ms: 3_600_000,
        };
        bench.see(&hour);
        assert!(bench.opened_of(KIND).is_empty(), "{:?}", bench.opened());
    }

    #[test]
    fn frozen_baselines_do_not_move() {
        let mut bench = learnt();
        let before = bench.watch.save();
        for bucket in 0..500 {
            bench.see(&publish("lamp", "t", 20 + bucket / 20, 50));
            bench.pass(10);
        }
        // The sums of the day go on; what is compared with does not.
        assert_eq!(before.len(), bench.watch.save().len());
        bench.see(&publish("lamp", "t", 100, 50));
        assert_eq!(bench.opened_of(KIND).len(), 1, "more than was learnt, less than three times what came since");
    }

    #[test]
    fn more_than_anybody_may_is_found_while_learning() {
        let mut bench = Bench::learning();
        for _ in 0..10 {
            bench.see(&publish("lamp", "t", 6000, 50));
            bench.pass(10);
        }
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn canary_message_rate() {
        canary(KIND);
    }
}
