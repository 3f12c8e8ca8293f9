//! Many devices of one place that are lost at the same moment (ISVS-4.1.4, CSA-OPA-11).

use crate::{
    Detector, Observation,
    device::Loss,
    episode::{Desk, Episodes, number},
    finding::Subject,
    observation::Ending,
    rehearsal::{HOME, Script},
    settings::{DetectSettings, section},
};
use std::collections::VecDeque;

const KIND: Detector = Detector::MassLoss;

/// Losses of a place that are remembered; as many at one moment are enough for any place.
const LOSSES_MAX: usize = 1_000;

section! {
    /// Thresholds of `mass_loss`.
    MassLoss {
        /// Different devices of one zone or radio.
        devices: u32 = 5, in 2..=1000, "devices";
        /// And this part of those that were connected there.
        share_percent: u32 = 30, in 1..=100, "percent";
        /// Within which time.
        window_s: u32 = 60, in 1..=86_400, "seconds";
    }
}

/// A zone or a radio.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) episodes: Episodes,
    pub(crate) used_ms: u64,
    connected: u32,
    /// When, and who by the name's hash.
    losses: VecDeque<(u64, u64)>,
}

impl Place {
    pub(crate) fn interest(&self) -> Option<u64> {
        self.episodes.is_empty().then_some(u64::from(self.connected > 0) << 63 | self.used_ms)
    }

    pub(crate) fn joined(&mut self) {
        self.connected = self.connected.saturating_add(1);
    }

    pub(crate) fn left(&mut self) {
        self.connected = self.connected.saturating_sub(1);
    }
}

/// Whether the place's episode tells of the loss.
pub(crate) fn judge(place: &mut Place, desk: &mut Desk<'_>, loss: &Loss, subject: impl FnOnce() -> Subject) -> bool {
    let limits = desk.rules.settings.mass_loss;
    let Place { episodes, connected, losses, .. } = place;
    if desk.rules.is_off(KIND) || desk.goes_on(episodes, KIND) {
        return true;
    }
    let window_ms = u64::from(limits.window_s) * 1000;
    while losses.front().is_some_and(|(at_ms, _)| desk.clock_ms.saturating_sub(*at_ms) > window_ms) {
        losses.pop_front();
    }
    if losses.iter().all(|(_, identity)| *identity != loss.identity) {
        losses.push_back((desk.clock_ms, loss.identity));
    }
    let lost = losses.len();
    let population = *connected as usize + lost;
    let is_part = lost * 100 >= population * limits.share_percent as usize || lost >= LOSSES_MAX;
    if lost < limits.devices as usize || !is_part {
        return false;
    }
    *losses = VecDeque::new();
    desk.raise(episodes, KIND, subject, || {
        let count = |value| u32::try_from(value).unwrap_or(u32::MAX);
        let numbers = vec![
            number("observed", count(lost), "devices"),
            number("threshold", limits.devices, "devices"),
            number("connected before", count(population), "devices"),
            number("threshold part", limits.share_percent, "percent"),
            number("window", limits.window_s, "seconds"),
        ];
        let (window_s, text) = (limits.window_s, "it is jammed, or there is an outage");
        (format!("{lost} of {population} devices were lost within {window_s} s: {text}"), numbers)
    })
}

const NAMES: [&str; 10] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"];

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let mut script = Script::default();
    // A rehearsal has ten devices. More are asked for where zones are large, and rehearsed with as many as there are.
    for identity in NAMES.iter().take(settings.mass_loss.devices.min(10) as usize) {
        script = script.say(crate::rehearsal::session(identity, HOME, identity, 60));
    }
    for identity in NAMES.iter().take(settings.mass_loss.devices.min(10) as usize) {
        script = script.say(Observation::Disconnected { identity, how: Ending::Lost });
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, ip, publish};

    fn joined<'a>(identity: &'a str, zone: Option<&'a str>, radio: Option<&'a str>) -> Observation<'a> {
        let (source, client_id) = (ip(1), identity);
        Observation::Connected { identity, group: None, zone, radio, source, client_id, keep_alive_s: 60 }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|device| format!("d{device}")).collect()
    }

    fn lose(bench: &mut Bench, names: &[String], how: Ending) {
        names.iter().for_each(|identity| bench.see(&Observation::Disconnected { identity, how }));
    }

    /// ISVS-4.1.4, CSA-OPA-11: a jammed zone, and a jammed radio whose devices are in different zones.
    #[test]
    fn a_zone_or_radio_that_is_lost_at_once_is_one_finding() {
        let mut bench = Bench::frozen();
        let devices = names(100);
        devices.iter().for_each(|name| bench.see(&joined(name, Some("hall"), Some("ap-1"))));
        lose(&mut bench, &devices[..60], Ending::Lost);
        let subjects: Vec<_> = bench.opened_of(KIND).iter().map(|finding| finding.subject.clone()).collect();
        assert_eq!(subjects, [Subject::Zone("hall".into())]);
        let mut bench = Bench::frozen();
        for (device, name) in devices.iter().enumerate() {
            bench.see(&joined(name, Some(["a", "b", "c", "d"][device % 4]), Some(["ap-1", "ap-2"][device / 4 % 2])));
        }
        let on_one: Vec<String> =
            devices.iter().enumerate().filter(|(at, _)| at / 4 % 2 == 0).map(|(_, name)| name.clone()).collect();
        lose(&mut bench, &on_one[..18], Ending::Lost);
        let subjects: Vec<_> = bench.opened_of(KIND).iter().map(|finding| finding.subject.clone()).collect();
        assert_eq!(subjects, [Subject::Radio("ap-1".into())]);
    }

    #[test]
    fn goodbyes_one_weak_device_and_losses_one_by_one_are_none() {
        let mut bench = Bench::frozen();
        let devices = names(100);
        devices.iter().for_each(|name| bench.see(&joined(name, Some("hall"), None)));
        lose(&mut bench, &devices[..60], Ending::Clean);
        lose(&mut bench, &devices[60..70], Ending::Cut);
        for _ in 0..100 {
            bench.see(&joined(&devices[80], Some("hall"), None));
            lose(&mut bench, &devices[80..81], Ending::Lost);
        }
        for device in 81..100 {
            lose(&mut bench, &devices[device..=device], Ending::Lost);
            bench.pass(61);
        }
        assert!(bench.opened_of(KIND).is_empty(), "{:?}", bench.opened());
    }

    /// Devices that fall silent without their connections ending: one finding for the zone, none for each.
    #[test]
    fn a_zone_that_falls_silent_is_one_finding() {
        let mut bench = Bench::learning();
        let devices = names(50);
        devices.iter().for_each(|name| bench.see(&joined(name, Some("hall"), None)));
        for _ in 0..20 {
            devices.iter().for_each(|name| bench.see(&publish(name, "t", 1, 10)));
            bench.pass(60);
        }
        bench.freeze();
        bench.pass(1200);
        let kinds: Vec<_> = bench.opened().iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [KIND]);
    }

    #[test]
    fn canary_mass_loss() {
        canary(KIND);
    }
}
