//! A device that is not heard of any more.

use crate::{
    Detector,
    device::{Device, Loss, identity},
    episode::{Desk, number},
    rehearsal::{Script, traffic},
    settings::{DetectSettings, section},
};
use std::sync::Arc;

const KIND: Detector = Detector::HeartbeatLost;

section! {
    /// Thresholds of `heartbeat_lost`. Anything that is heard of a device is a heartbeat.
    HeartbeatLost {
        /// How often a device is heard of at least. 0: as it was learnt.
        expected_s: u32 = 0, in 0..=31_536_000, "seconds";
        /// How many times longer than expected, or than the longest silence but one that was learnt, is too long.
        factor: f32 = 3.0, in 1.0..=1000.0, "times";
        /// A silence that is shorter than this is never too long.
        floor_s: u32 = 300, in 1..=31_536_000, "seconds";
        /// What was heard of fewer times while it was learnt is not missed.
        gaps_min: u32 = 10, in 2..=10_000, "times";
    }
}

/// Something was heard of the device.
pub(crate) fn hear(device: &mut Device, desk: &Desk<'_>) {
    let last_ms = std::mem::replace(&mut device.heard_ms, desk.clock_ms);
    device.is_silent = false;
    if desk.is_learning && last_ms != 0 {
        device.learnt.gaps.learn(desk.clock_ms.saturating_sub(last_ms) as f32);
    }
}

/// Whether the device has been silent for too long by now. The first time it is a loss for its zone; if it is not the zone that
/// was lost, the next time is a finding.
pub(crate) fn judge_silence(
    device: &mut Device,
    desk: &mut Desk<'_>,
    steady_since_ms: u64,
    zones_lost: &[Arc<str>],
) -> Option<Loss> {
    let limit_ms = limit_ms(device, desk)?;
    if device.heard_ms == 0 {
        return None;
    }
    let silent_ms = desk.clock_ms.saturating_sub(device.heard_ms.max(steady_since_ms));
    if silent_ms <= limit_ms {
        return None;
    }
    if !std::mem::replace(&mut device.is_silent, true) {
        return Some(device.loss());
    }
    let is_told = [&device.zone, &device.radio].into_iter().flatten().any(|place| zones_lost.contains(place));
    if is_told {
        return None;
    }
    let Device { name, episodes, learnt, .. } = device;
    desk.raise(episodes, KIND, identity(name), || {
        let seconds = |ms: u64| u32::try_from(ms / 1000).unwrap_or(u32::MAX);
        let numbers = vec![
            number("observed", seconds(silent_ms), "seconds"),
            number("threshold", seconds(limit_ms), "seconds"),
            number("longest but one", learnt.gaps.second / 1000.0, "seconds"),
            number("learnt from", learnt.gaps.samples, "times"),
        ];
        let (observed_s, limit_s) = (seconds(silent_ms), seconds(limit_ms));
        (format!("not heard of for {observed_s} s; at most {limit_s} s are usual"), numbers)
    });
    None
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and is not negative")]
fn limit_ms(device: &Device, desk: &Desk<'_>) -> Option<u64> {
    let limits = desk.rules.settings.heartbeat_lost;
    let gaps = device.learnt.gaps;
    let usual_ms = match limits.expected_s {
        0 if desk.is_learning || gaps.samples < limits.gaps_min => return None,
        0 => gaps.second,
        seconds => seconds as f32 * 1000.0,
    };
    Some((limits.factor * usual_ms).max(limits.floor_s as f32 * 1000.0) as u64)
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let limits = settings.heartbeat_lost;
    let beats = Script::default().repeat(limits.gaps_min + 2, 1, traffic("canary", 1, 1)).wait_learnt();
    let expected_s = u64::from(limits.expected_s).max(1);
    #[expect(clippy::cast_possible_truncation, reason = "a threshold that was checked")]
    let factor = limits.factor.ceil() as u64;
    // Long enough for the walk to come by twice.
    beats.say(traffic("canary", 1, 1)).wait(u64::from(limits.floor_s).max(expected_s * factor) + 1200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, publish};

    fn learnt(names: &[&str]) -> Bench {
        let mut bench = Bench::learning();
        for _ in 0..100 {
            names.iter().for_each(|name| bench.see(&publish(name, "t", 1, 10)));
            bench.pass(60);
        }
        bench.freeze();
        bench
    }

    /// CSA-SNT-10: a silenced device is told of, once.
    #[test]
    fn silence_is_one_finding_until_it_is_over() {
        let mut bench = learnt(&["lamp"]);
        bench.pass(240);
        assert!(bench.opened().is_empty(), "not yet");
        bench.pass(86_400);
        assert_eq!(bench.opened_of(KIND).len(), 1, "{:?}", bench.opened());
        bench.see(&publish("lamp", "t", 1, 10));
        bench.pass(200);
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn a_device_that_sleeps_as_it_did_is_none() {
        let mut bench = Bench::learning();
        for _ in 0..20 {
            bench.see(&publish("meter", "t", 1, 10));
            bench.pass(43_200);
        }
        bench.freeze();
        bench.see(&publish("meter", "t", 1, 10));
        bench.pass(100_000);
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn clocks_that_jump_silence_nobody() {
        let names: Vec<String> = (0..1000).map(|device| format!("d{device}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut bench = learnt(&names);
        bench.jump(86_400_000);
        for _ in 0..4 {
            bench.pass(60);
        }
        assert!(bench.opened().is_empty(), "forwards: {}", bench.opened().len());
        bench.jump(-30 * 86_400_000);
        for _ in 0..4 {
            bench.pass(60);
        }
        assert!(bench.opened().is_empty(), "backwards: {}", bench.opened().len());
        bench.pass(600);
        assert_eq!(bench.opened_of(KIND).len(), 1000, "but silence after it counts");
    }

    #[test]
    fn canary_heartbeat_lost() {
        canary(KIND);
    }
}
