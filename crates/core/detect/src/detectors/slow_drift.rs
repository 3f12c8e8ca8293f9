//! What an identity sends in a day, and that grows.

use crate::{
    Detector,
    device::{Device, Traffic, identity},
    episode::{Desk, number},
    rehearsal::{Script, traffic},
    settings::{DetectSettings, section},
    stats::Trend,
};

const KIND: Detector = Detector::SlowDrift;

section! {
    /// Thresholds of `slow_drift`: how far the sum of a period strays above the learnt mean is summed up, in units of the learnt
    /// spread (CUSUM).
    SlowDrift {
        /// The length of a period. A whole day, so that day and night do not count as drift.
        period_s: u32 = 86_400, in 600..=2_592_000, "seconds";
        /// The first periods of an identity are learnt in any case.
        periods_min: u32 = 3, in 1..=365, "periods";
        /// How far a period may stray without being counted.
        slack: f32 = 0.5, in 0.1..=3.5, "spreads";
        /// The sum that is a drift.
        limit: f32 = 5.0, in 1.0..=1000.0, "spreads";
        /// A spread that is smaller than this part of the mean is taken for it.
        spread_min: f32 = 0.2, in 0.01..=1.0, "part of the mean";
    }
}

/// The period that goes on, and what those before it were like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Drift {
    /// 0: none goes on.
    started_ms: u64,
    messages: f32,
    bytes: f32,
    pub(crate) messages_trend: Trend,
    pub(crate) bytes_trend: Trend,
}

impl Drift {
    pub(crate) fn of(messages_trend: Trend, bytes_trend: Trend) -> Self {
        Self { messages_trend, bytes_trend, ..Self::default() }
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, traffic: &Traffic<'_>) {
    let limits = desk.rules.settings.slow_drift;
    let Device { name, episodes, learnt, .. } = device;
    let drift = &mut learnt.drift;
    let over = desk.clock_ms.saturating_sub(drift.started_ms) >= u64::from(limits.period_s) * 1000;
    let sums = (drift.messages, drift.bytes);
    if over {
        let is_first = std::mem::replace(&mut drift.started_ms, desk.clock_ms) == 0;
        (drift.messages, drift.bytes) = (0.0, 0.0);
        if !is_first {
            let drift = *drift;
            learnt.drift = judge_period(drift, desk, sums, &limits, |desk, after, message| {
                let cadence_ms = u64::from(limits.period_s) * 1000;
                desk.raise_every(cadence_ms, episodes, KIND, identity(name), || {
                    (message, numbers(&after, sums, &limits))
                });
            });
        }
    }
    learnt.drift.messages += traffic.messages as f32;
    learnt.drift.bytes += traffic.bytes as f32;
}

fn judge_period(
    mut drift: Drift,
    desk: &mut Desk<'_>,
    (messages, bytes): (f32, f32),
    limits: &SlowDrift,
    raise: impl FnOnce(&mut Desk<'_>, Drift, String),
) -> Drift {
    let Drift { messages_trend, bytes_trend, .. } = &mut drift;
    if desk.is_learning || messages_trend.samples < limits.periods_min {
        messages_trend.learn(messages);
        bytes_trend.learn(bytes);
        return drift;
    }
    messages_trend.stray(messages, limits.slack, limits.limit, limits.spread_min);
    bytes_trend.stray(bytes, limits.slack, limits.limit, limits.spread_min);
    if messages_trend.above.max(bytes_trend.above) <= limits.limit {
        return drift;
    }
    let text = format!("sends more from day to day: {messages:.0} messages and {bytes:.0} bytes in the last");
    raise(desk, drift, text);
    drift
}

fn numbers(drift: &Drift, (messages, bytes): (f32, f32), limits: &SlowDrift) -> Vec<crate::Number> {
    vec![
        number("messages", messages, "a period"),
        number("mean messages", drift.messages_trend.mean, "a period"),
        number("bytes", bytes, "a period"),
        number("mean bytes", drift.bytes_trend.mean, "a period"),
        number("sum of messages", drift.messages_trend.above, "spreads"),
        number("sum of bytes", drift.bytes_trend.above, "spreads"),
        number("threshold", limits.limit, "spreads"),
        number("period", limits.period_s, "seconds"),
    ]
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let limits = settings.slow_drift;
    let period_s = u64::from(limits.period_s) + 1;
    let learning = Script::default().repeat(limits.periods_min + 1, period_s, traffic("canary", 100, 10)).wait_learnt();
    #[expect(clippy::cast_possible_truncation, reason = "a threshold that was checked")]
    let periods = limits.limit.ceil() as u32 * 2 + 3;
    learning.repeat(periods, period_s, traffic("canary", 4000, 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, publish};

    /// A day in six windows.
    fn day(bench: &mut Bench, messages: u64) {
        for _ in 0..6 {
            bench.see(&publish("lamp", "t", messages, 50));
            bench.pass(14_400);
        }
    }

    fn learnt() -> Bench {
        let mut bench = Bench::learning();
        (0..10).for_each(|at| day(&mut bench, 100 + at % 3));
        bench.freeze();
        bench
    }

    #[test]
    fn a_few_percent_a_day_are_found_in_the_end_once() {
        let mut bench = learnt();
        for at in 0..25 {
            day(&mut bench, 100 + at * 4);
        }
        let found = bench.opened_of(KIND);
        assert!((1..=2).contains(&found.len()), "{found:?}");
    }

    #[test]
    fn weekends_and_a_little_growth_are_none() {
        let mut bench = learnt();
        for at in 0..60 {
            day(&mut bench, if at % 7 > 4 { 20 } else { 103 + at / 10 });
        }
        assert!(bench.opened_of(KIND).is_empty(), "{:?}", bench.opened());
    }

    #[test]
    fn canary_slow_drift() {
        canary(KIND);
    }
}
