//! Bytes that break the protocol.

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::Desk,
    finding::Subject,
    rehearsal::{HOME, Script, WHO},
    settings::{DetectSettings, section},
    site::Source,
};
use std::net::IpAddr;

const KIND: Detector = Detector::MalformedPackets;

section! {
    /// Thresholds of `malformed_packets`.
    MalformedPackets {
        /// Packets of one identity or, if nobody has said who he is, from one source.
        packets: u32 = 3, in 1..=10_000, "packets";
        /// Within which time.
        window_s: u32 = 600, in 1..=86_400, "seconds";
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>) {
    let limits = desk.rules.settings.malformed_packets;
    let Device { name, episodes, malformed, .. } = device;
    let threshold = (limits.packets, limits.window_s);
    desk.count(episodes, malformed, KIND, threshold, identity(name), || "broke the protocol".to_owned());
}

pub(crate) fn judge_source(source: &mut Source, desk: &mut Desk<'_>, address: IpAddr) {
    let limits = desk.rules.settings.malformed_packets;
    let threshold = (limits.packets, limits.window_s);
    desk.count(
        &mut source.episodes,
        &mut source.malformed,
        KIND,
        threshold,
        || Subject::Source(address),
        || "broke the protocol before saying who it is".to_owned(),
    );
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let malformed = Observation::Malformed { identity: Some(WHO), source: Some(HOME) };
    Script::default().repeat(settings.malformed_packets.packets, 0, malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, ip};

    #[test]
    fn some_malformed_packets_are_one_finding() {
        let mut bench = Bench::frozen();
        (0..100).for_each(|_| bench.see(&Observation::Malformed { identity: Some("lamp"), source: Some(ip(1)) }));
        (0..100).for_each(|_| bench.see(&Observation::Malformed { identity: None, source: Some(ip(1)) }));
        let subjects: Vec<_> = bench.opened_of(KIND).iter().map(|finding| finding.subject.clone()).collect();
        assert_eq!(subjects, [Subject::Identity("lamp".into()), Subject::Source(ip(1))]);
    }

    #[test]
    fn one_now_and_then_is_none() {
        let mut bench = Bench::frozen();
        for _ in 0..20 {
            bench.see(&Observation::Malformed { identity: Some("lamp"), source: None });
            bench.pass(301);
        }
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn canary_malformed_packets() {
        canary(KIND);
    }
}
