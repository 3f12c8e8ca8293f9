//! Callers of the administration interface.

use crate::{
    Detector, Observation,
    episode::{Desk, Episodes, number},
    finding::{Subject, shown},
    rehearsal::{Script, WHO},
    settings::{DetectSettings, section},
    stats::{Meter, Window},
};

const KIND: Detector = Detector::ApiMisuse;

const MINUTE_MS: u64 = 60_000;

section! {
    /// Thresholds of `api_misuse`. (CSA-CLS-07)
    ApiMisuse {
        /// Calls of one caller that were refused.
        refusals: u32 = 5, in 1..=1000, "calls";
        /// Within which time.
        window_s: u32 = 600, in 1..=86_400, "seconds";
        /// How many times more calls a minute than in the busiest minute but one that was learnt of the caller.
        factor: f32 = 3.0, in 1.0..=1000.0, "times";
        /// How many mean deviations above the mean that was learnt.
        deviations: f32 = 8.0, in 1.0..=1000.0, "deviations";
        /// Fewer calls a minute than this are never too many.
        floor: f32 = 120.0, in 1.0..=1_000_000.0, "calls";
        /// More than this a minute are too many for anybody, also while it is learnt.
        absolute: f32 = 3000.0, in 1.0..=1_000_000.0, "calls";
    }
}

/// What is remembered of one caller.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    pub(crate) episodes: Episodes,
    pub(crate) used_ms: u64,
    pub(crate) learns_until_ms: u64,
    pub(crate) calls: Meter,
    pub(crate) refused: Window,
}

impl Caller {
    pub(crate) fn interest(&self) -> Option<u64> {
        self.episodes.is_empty().then_some(self.used_ms)
    }
}

pub(crate) fn judge(
    caller: &mut Caller,
    desk: &mut Desk<'_>,
    request: &str,
    is_refused: bool,
    subject: impl Fn() -> Subject,
) {
    let limits = desk.rules.settings.api_misuse;
    if is_refused {
        let threshold = (limits.refusals, limits.window_s);
        desk.count(&mut caller.episodes, &mut caller.refused, KIND, threshold, &subject, || {
            format!("was refused, last {},", shown(request))
        });
    }
    let observed = caller.calls.add(desk.clock_ms, 1.0, MINUTE_MS, desk.is_learning);
    let usual = caller.calls.learnt;
    let is_learnt = !desk.is_learning && usual.samples >= desk.rules.settings.general.samples_min;
    let learnt = is_learnt.then(|| usual.limit(limits.deviations, limits.factor, limits.floor));
    let limit = learnt.unwrap_or(limits.absolute).min(limits.absolute);
    if observed <= limit {
        return;
    }
    desk.raise(&mut caller.episodes, KIND, subject, || {
        let numbers = vec![
            number("observed", observed, "calls"),
            number("threshold", limit, "calls"),
            number("mean", usual.mean, "calls"),
            number("deviation", usual.deviation, "calls"),
            number("largest but one", usual.second, "calls"),
            number("window", 60, "seconds"),
        ];
        (
            format!("made {observed:.0} calls within a minute, last {}; at most {limit:.0} are usual", shown(request)),
            numbers,
        )
    });
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let refused = Observation::AdminCall { caller: WHO, request: "canary", is_refused: true };
    Script::default().repeat(settings.api_misuse.refusals, 0, refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    fn call(is_refused: bool) -> Observation<'static> {
        Observation::AdminCall { caller: "grafana", request: "device list", is_refused }
    }

    /// CSA-CLS-07
    #[test]
    fn refusals_are_one_finding() {
        let mut bench = Bench::frozen();
        (0..100).for_each(|_| bench.see(&call(true)));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn far_more_calls_than_learnt_are_one_finding_and_twice_as_many_none() {
        let mut bench = Bench::learning();
        for _ in 0..50 {
            (0..60).for_each(|_| bench.see(&call(false)));
            bench.pass(60);
        }
        bench.freeze();
        bench.pass(4 * 86_400);
        (0..120).for_each(|_| bench.see(&call(false)));
        bench.pass(61);
        (0..4).for_each(|_| bench.see(&call(true)));
        assert!(bench.opened().is_empty());
        bench.pass(61);
        (0..2000).for_each(|_| bench.see(&call(false)));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn canary_api_misuse() {
        canary(KIND);
    }
}
