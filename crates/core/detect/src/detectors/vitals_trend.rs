//! Figures that a device reports of itself, and that shift.

use crate::{
    Detector, Observation,
    detectors::battery_drain::Battery,
    device::{Device, identity},
    episode::{Desk, number},
    finding::shown,
    hash::hash_of,
    rehearsal::{Script, WHO},
    settings::{DetectSettings, section},
    stats::Trend,
};

const KIND: Detector = Detector::VitalsTrend;

/// Figures of one device that are followed: the first that it names.
pub const VITALS_MAX: usize = 8;

/// Figures beyond this, either way, are nonsense and left out; it keeps what is learnt of them finite.
const FIGURE_MAX: f64 = 1e12;

/// Devices report their vitals at least this often; slower ones may be told of again.
const REPORT_MS: u64 = 8 * 3_600_000;

section! {
    /// Thresholds of `vitals_trend`: how far a figure strays from its learnt mean is summed up, in units of its learnt spread (CUSUM).
    VitalsTrend {
        /// How far a figure may stray without being counted.
        slack: f32 = 1.5, in 0.1..=3.5, "spreads";
        /// The sum that is a shift.
        limit: f32 = 20.0, in 1.0..=1000.0, "spreads";
        /// A spread that is smaller than this part of the mean is taken for it.
        spread_min: f32 = 0.02, in 0.0..=1.0, "part of the mean";
    }
}

/// A figure and what is usual for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figure {
    pub(crate) hash: u64,
    pub(crate) trend: Trend,
}

/// What a device reports of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals {
    pub(crate) battery: Battery,
    pub(crate) figures: Vec<Figure>,
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, numbers: &[(&str, f64)]) {
    for (name, value) in numbers.iter().take(VITALS_MAX) {
        if (-FIGURE_MAX..=FIGURE_MAX).contains(value) {
            #[expect(clippy::cast_possible_truncation, reason = "its bound was checked")]
            judge_one(device, desk, name, *value as f32);
        }
    }
}

fn judge_one(device: &mut Device, desk: &mut Desk<'_>, figure: &str, value: f32) {
    let limits = desk.rules.settings.vitals_trend;
    let Device { name, episodes, learnt, .. } = device;
    let figures = &mut learnt.vitals.get_or_insert_default().figures;
    let hash = hash_of(figure);
    let Some(at) = figures.iter().position(|figure| figure.hash == hash) else {
        if desk.is_learning && figures.len() < VITALS_MAX {
            let mut trend = Trend::default();
            trend.learn(value);
            figures.push(Figure { hash, trend });
        }
        return;
    };
    let trend = &mut figures[at].trend;
    if desk.is_learning {
        trend.learn(value);
        return;
    }
    if trend.samples < desk.rules.settings.general.samples_min {
        return;
    }
    let sum = trend.stray(value, limits.slack, limits.limit, limits.spread_min);
    let usual = *trend;
    if sum <= limits.limit {
        return;
    }
    desk.raise_every(REPORT_MS, episodes, KIND, identity(name), || {
        let numbers = vec![
            number("observed", value, ""),
            number("mean", usual.mean, ""),
            number("spread", usual.spread(limits.spread_min), ""),
            number("sum above", usual.above, "spreads"),
            number("sum below", usual.below, "spreads"),
            number("threshold", limits.limit, "spreads"),
        ];
        (format!("reports {} of {value}, and {} was usual", shown(figure), usual.mean), numbers)
    });
}

const fn figure(value: &'static [(&'static str, f64)]) -> Observation<'static> {
    Observation::Vitals { identity: WHO, battery_percent: None, numbers: value }
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let learning = Script::default().repeat(settings.general.samples_min + 2, 60, figure(&[("canary", 20.0)]));
    // Each sample adds at least half a spread: 4, less the largest slack.
    #[expect(clippy::cast_possible_truncation, reason = "a threshold that was checked")]
    let samples = settings.vitals_trend.limit.ceil() as u32 * 2 + 2;
    learning.wait_learnt().repeat(samples, 60, figure(&[("canary", 2000.0)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    fn see(bench: &mut Bench, temperature: f64) {
        let numbers = [("temperature_c", temperature), ("nothing", f64::NAN), ("wild", 1e300)];
        bench.see(&Observation::Vitals { identity: "node", battery_percent: None, numbers: &numbers });
        bench.pass(600);
    }

    /// Four days, each between 15 and 25 degrees.
    fn learnt() -> Bench {
        let mut bench = Bench::learning();
        (0..600).for_each(|step| see(&mut bench, day(step)));
        bench.freeze();
        bench
    }

    fn day(step: u32) -> f64 {
        20.0 + 5.0 * (f64::from(step) * std::f64::consts::TAU / 144.0).sin()
    }

    #[test]
    fn a_shift_that_stays_is_one_finding() {
        let mut bench = learnt();
        (0..50).for_each(|step| see(&mut bench, day(step) + 12.0));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn days_as_they_were_and_single_wild_values_are_none() {
        let mut bench = learnt();
        for step in 0..2000 {
            see(&mut bench, if step % 100 == 0 { 1e6 } else { day(step) + 0.5 });
        }
        assert!(bench.opened().is_empty(), "{:?}", bench.opened());
    }

    /// Nobody makes what was learnt of everybody unreadable by what he says of himself.
    #[test]
    fn extreme_figures_leave_baselines_loadable() {
        let mut bench = Bench::learning();
        for extreme in [f64::MAX, f64::MIN, 3.4e38, -3.4e38, 1e12, -1e12, f64::INFINITY, f64::NAN].repeat(10) {
            see(&mut bench, extreme);
        }
        bench.watch.load(&bench.watch.save()).unwrap();
    }

    #[test]
    fn canary_vitals_trend() {
        canary(KIND);
    }
}
