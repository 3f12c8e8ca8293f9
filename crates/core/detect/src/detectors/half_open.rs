//! Connections that begin and never become sessions.

use crate::{
    Detector, Observation,
    episode::Desk,
    finding::Subject,
    rehearsal::{HOME, Script},
    settings::{DetectSettings, section},
    site::{HubState, Source},
};
use std::net::IpAddr;

const KIND: Detector = Detector::HalfOpen;

section! {
    /// Thresholds of `half_open`.
    HalfOpen {
        /// From one source.
        source_connections: u32 = 50, in 1..=10_000, "connections";
        /// Across the hub, those apart that a source's episode tells of.
        hub_connections: u32 = 500, in 1..=10_000, "connections";
        /// Within which time.
        window_s: u32 = 60, in 1..=86_400, "seconds";
    }
}

/// Whether the source's episode tells of it.
pub(crate) fn judge_source(source: &mut Source, desk: &mut Desk<'_>, address: IpAddr) -> bool {
    let limits = desk.rules.settings.half_open;
    let threshold = (limits.source_connections, limits.window_s);
    desk.count(
        &mut source.episodes,
        &mut source.half_open,
        KIND,
        threshold,
        || Subject::Source(address),
        || "left connections half open".to_owned(),
    );
    desk.has_open(&source.episodes, KIND)
}

pub(crate) fn judge_hub(hub: &mut HubState, desk: &mut Desk<'_>) {
    let limits = desk.rules.settings.half_open;
    let threshold = (limits.hub_connections, limits.window_s);
    desk.count(
        &mut hub.episodes,
        &mut hub.half_open,
        KIND,
        threshold,
        || Subject::Hub,
        || "many sources left connections half open".to_owned(),
    );
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    Script::default().repeat(settings.half_open.source_connections, 0, Observation::HalfOpen { source: HOME })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, ip};

    #[test]
    fn one_source_and_many_sources_are_one_finding_each() {
        let mut bench = Bench::frozen();
        (0..5000).for_each(|_| bench.see(&Observation::HalfOpen { source: ip(1) }));
        assert_eq!(bench.opened_of(KIND).len(), 1);
        (0..5000).for_each(|source| bench.see(&Observation::HalfOpen { source: ip(source + 2) }));
        let subjects: Vec<_> = bench.opened_of(KIND).iter().map(|finding| finding.subject.clone()).collect();
        assert_eq!(subjects, [Subject::Source(ip(1)), Subject::Hub]);
    }

    #[test]
    fn scanners_now_and_then_are_none() {
        let mut bench = Bench::frozen();
        for source in 0..1000 {
            bench.see(&Observation::HalfOpen { source: ip(source % 40) });
            bench.pass(2);
        }
        assert!(bench.opened_of(KIND).is_empty());
    }

    #[test]
    fn canary_half_open() {
        canary(KIND);
    }
}
