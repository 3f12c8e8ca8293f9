//! Failed authentications, of one identity, from one source, and across the hub.
//!
//! A failure that one episode tells of is not told of again by a wider one: identity before source before hub. Once a source
//! has an open episode, it tells of everything that source does, so that one that tries a thousand names is one alert.

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::Desk,
    finding::{Subject, shown},
    rehearsal::{HOME, Script, WHO},
    settings::{DetectSettings, section},
    site::{HubState, Source},
};
use std::net::IpAddr;

const KIND: Detector = Detector::AuthFailures;

section! {
    /// Thresholds of `auth_failures`. (CSA-MSU-04, CSA-CLS-08: an alert at the fifth in 30 minutes.)
    AuthFailures {
        /// Failures of one identity.
        failures: u32 = 5, in 1..=1000, "failures";
        /// Failures from one source, of whatever identities.
        source_failures: u32 = 5, in 1..=1000, "failures";
        /// Failures across the hub that no identity's or source's episode tells of.
        hub_failures: u32 = 5, in 1..=10_000, "failures";
        /// Within which time.
        window_s: u32 = 1800, in 1..=86_400, "seconds";
    }
}

/// Whether the identity's episode tells of it.
pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, door: &str) -> bool {
    let limits = desk.rules.settings.auth_failures;
    let Device { name, episodes, auth_failed, .. } = device;
    let threshold = (limits.failures, limits.window_s);
    desk.count(episodes, auth_failed, KIND, threshold, identity(name), || {
        format!("failed to authenticate, last at {}:", shown(door))
    });
    desk.rules.is_off(KIND) || desk.has_open(episodes, KIND)
}

/// Whether the source's episode tells of it.
pub(crate) fn judge_source(source: &mut Source, desk: &mut Desk<'_>, address: IpAddr, door: &str) -> bool {
    let limits = desk.rules.settings.auth_failures;
    let threshold = (limits.source_failures, limits.window_s);
    desk.count(
        &mut source.episodes,
        &mut source.auth_failed,
        KIND,
        threshold,
        || Subject::Source(address),
        || format!("failed authentications, last at {}:", shown(door)),
    );
    desk.has_open(&source.episodes, KIND)
}

pub(crate) fn judge_hub(hub: &mut HubState, desk: &mut Desk<'_>) {
    let limits = desk.rules.settings.auth_failures;
    let threshold = (limits.hub_failures, limits.window_s);
    desk.count(
        &mut hub.episodes,
        &mut hub.auth_failed,
        KIND,
        threshold,
        || Subject::Hub,
        || "failed authentications of several identities from several sources:".to_owned(),
    );
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let failed = Observation::AuthFailed { identity: Some(WHO), source: Some(HOME), door: "canary" };
    Script::default().repeat(settings.auth_failures.failures, 1, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, ip};

    fn failed(identity: Option<&'static str>, source: u32) -> Observation<'static> {
        Observation::AuthFailed { identity, source: Some(ip(source)), door: "mqtt" }
    }

    /// CSA-MSU-04, CSA-CLS-08, IOTSF-2.4.7.5: the fifth in 30 minutes, and exactly one finding for identity, source and hub.
    #[test]
    fn the_fifth_failure_is_one_finding_whatever_follows() {
        let mut bench = Bench::frozen();
        for attempt in 1..=100 {
            bench.see(&failed(Some("lamp"), 1));
            assert_eq!(bench.opened().len(), usize::from(attempt >= 5), "after attempt {attempt}");
            bench.pass(10);
        }
        assert_eq!(bench.opened()[0].subject, Subject::Identity("lamp".into()));
        bench.pass(1900);
        assert_eq!(bench.closed().iter().map(|closing| closing.count).collect::<Vec<_>>(), [96]);
        (0..5).for_each(|_| bench.see(&failed(Some("lamp"), 1)));
        assert_eq!(bench.opened().len(), 2, "a new episode");
    }

    #[test]
    fn four_in_the_window_are_none() {
        let mut bench = Bench::frozen();
        for _ in 0..50 {
            bench.see(&failed(Some("lamp"), 1));
            bench.pass(451);
        }
        assert!(bench.opened_of(KIND).is_empty(), "{:?}", bench.opened());
    }

    #[test]
    fn names_from_one_source_are_told_of_by_the_source() {
        let mut bench = Bench::frozen();
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            (0..5).for_each(|_| bench.see(&failed(Some(name), 7)));
        }
        // Whatever was told of by the first two is not counted for the source.
        let subjects: Vec<_> = bench.opened().iter().map(|finding| finding.subject.to_string()).collect();
        assert!(subjects.len() == 7 && !subjects.contains(&"hub".to_owned()), "{subjects:?}");
        let mut bench = Bench::frozen();
        for name in ["a", "b", "c", "d", "e", "f", "g"].repeat(20) {
            bench.see(&failed(Some(name), 7));
        }
        let subjects: Vec<_> = bench.opened().iter().map(|finding| finding.subject.to_string()).collect();
        assert_eq!(subjects, ["source 10.0.0.7"]);
    }

    #[test]
    fn a_spray_of_sources_is_told_of_by_the_hub_and_hides_nobody() {
        let mut bench = Bench::frozen();
        (0..1000).for_each(|source| bench.see(&failed(None, source)));
        assert_eq!(bench.opened().len(), 1);
        assert_eq!(bench.opened()[0].subject, Subject::Hub);
        (0..5).for_each(|source| bench.see(&failed(Some("lamp"), 5000 + source)));
        assert_eq!(bench.opened()[1].subject, Subject::Identity("lamp".into()));
    }

    #[test]
    fn canary_auth_failures() {
        canary(KIND);
    }
}
