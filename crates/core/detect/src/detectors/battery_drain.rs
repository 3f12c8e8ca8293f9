//! A battery that is drained.

use crate::{
    Detector, Observation,
    detectors::vitals_trend::Vitals,
    device::{Device, identity},
    episode::{Desk, number},
    rehearsal::{Script, WHO},
    settings::{DetectSettings, section},
    stats::Baseline,
};

const KIND: Detector = Detector::BatteryDrain;

/// Drain is measured over at least this long, so that the steps of a coarse gauge do not count as leaps.
const MEASURE_MS: u64 = 3_600_000;
/// A charge that rose by this much was charged, or is another battery.
const CHARGED_PERCENT: f32 = 2.0;
/// Drains that have to be learnt before they are compared with.
const DRAINS_MIN: u32 = 5;

section! {
    /// Thresholds of `battery_drain`.
    BatteryDrain {
        /// How many times faster than the fastest drain but one that was learnt.
        factor: f32 = 4.0, in 1.0..=1000.0, "times";
        /// A drain of less is never too fast.
        floor_percent_h: f32 = 3.0, in 0.1..=100.0, "percent an hour";
        /// A drain of more is too fast for any battery, also while it is learnt.
        absolute_percent_h: f32 = 15.0, in 0.1..=99.0, "percent an hour";
    }
}

/// The charge from which drain is measured, and how fast it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Battery {
    percent: f32,
    /// 0: not known.
    at_ms: u64,
    pub(crate) drains: Baseline,
}

impl Battery {
    pub(crate) fn of(drains: Baseline) -> Self {
        Self { drains, ..Self::default() }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a percentage fits")]
pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, percent: Option<f64>) {
    let Some(percent) = percent.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent as f32) else {
        return;
    };
    let limits = desk.rules.settings.battery_drain;
    let Device { name, episodes, learnt, .. } = device;
    let battery = &mut learnt.vitals.get_or_insert_default().battery;
    if battery.at_ms == 0 || percent >= battery.percent + CHARGED_PERCENT {
        (battery.percent, battery.at_ms) = (percent, desk.clock_ms);
        return;
    }
    let since_ms = desk.clock_ms.saturating_sub(battery.at_ms);
    let lost = battery.percent - percent;
    if since_ms < MEASURE_MS && lost <= limits.absolute_percent_h {
        return;
    }
    let drain = lost / (since_ms.max(MEASURE_MS) as f32 / MEASURE_MS as f32);
    let usual = battery.drains;
    (battery.percent, battery.at_ms) = (percent, desk.clock_ms);
    if desk.is_learning {
        battery.drains.learn(drain.max(0.0));
    }
    let is_learnt = !desk.is_learning && usual.samples >= DRAINS_MIN;
    let learnt = is_learnt.then(|| limits.floor_percent_h.max(limits.factor * usual.second));
    let limit = learnt.unwrap_or(limits.absolute_percent_h).min(limits.absolute_percent_h);
    if drain <= limit {
        return;
    }
    desk.raise_every(MEASURE_MS, episodes, KIND, identity(name), || {
        let numbers = vec![
            number("observed", drain, "percent an hour"),
            number("threshold", limit, "percent an hour"),
            number("mean", usual.mean, "percent an hour"),
            number("largest but one", usual.second, "percent an hour"),
            number("charge", percent, "percent"),
        ];
        (format!("its battery loses {drain:.1} % an hour; at most {limit:.1} % are usual"), numbers)
    });
}

impl Vitals {
    const fn of_battery(percent: f64) -> Observation<'static> {
        Observation::Vitals { identity: WHO, battery_percent: Some(percent), numbers: &[] }
    }
}

pub(crate) fn rehearsal(_: &DetectSettings) -> Script {
    Script::default()
        .say(Vitals::of_battery(100.0))
        .wait(1)
        .say(Vitals::of_battery(0.0))
        .wait(3600)
        .say(Vitals::of_battery(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    fn charge(percent: f64) -> Observation<'static> {
        Observation::Vitals { identity: "node", battery_percent: Some(percent), numbers: &[] }
    }

    /// Half a percent an hour, charged once.
    fn learnt() -> Bench {
        let mut bench = Bench::learning();
        for hour in 0..200 {
            bench.see(&charge(f64::from(100 - hour % 180 / 2)));
            bench.pass(3601);
        }
        bench.freeze();
        bench
    }

    /// CSA-OPA-12: an injected fast drain is found.
    #[test]
    fn a_fast_drain_is_one_finding() {
        let mut bench = learnt();
        for hour in 0..12 {
            bench.see(&charge(f64::from(90 - hour * 6)));
            bench.pass(3601 / 2);
            bench.see(&charge(f64::from(87 - hour * 6)));
            bench.pass(3601 / 2);
        }
        assert_eq!(bench.opened_of(KIND).len(), 1, "{:?}", bench.opened());
    }

    #[test]
    fn a_drain_that_no_battery_has_is_found_at_once_while_learning() {
        let mut bench = Bench::learning();
        bench.see(&charge(90.0));
        bench.pass(300);
        bench.see(&charge(60.0));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn ageing_charging_and_nonsense_are_none() {
        let mut bench = learnt();
        for hour in 0..100 {
            bench.see(&charge(f64::from(100 - hour % 50 * 2)));
            bench.see(&charge(f64::NAN));
            bench.see(&charge(-5.0));
            bench.see(&charge(1e300));
            bench.pass(3601);
        }
        assert!(bench.opened().is_empty(), "{:?}", bench.opened());
    }

    #[test]
    fn canary_battery_drain() {
        canary(KIND);
    }
}
