//! Sessions that ask to be kept although nothing is heard of them (SlowITe: keep alive 65535 on a thousand connections).

use crate::{
    Detector,
    device::{Device, identity},
    episode::Desk,
    finding::Subject,
    rehearsal::{HOME, Script, WHO, session},
    settings::{DetectSettings, section},
    site::Source,
};
use std::net::IpAddr;

const KIND: Detector = Detector::KeepAliveAbuse;

section! {
    /// Thresholds of `keep_alive_abuse`.
    KeepAliveAbuse {
        /// A keep alive of this, or none, is long.
        long_s: u32 = 3600, in 1..=65_535, "seconds";
        /// Sessions of one identity with a long one.
        identity_sessions: u32 = 10, in 1..=10_000, "sessions";
        /// Sessions from one source with a long one.
        source_sessions: u32 = 100, in 1..=10_000, "sessions";
        /// Within which time.
        window_s: u32 = 600, in 1..=86_400, "seconds";
    }
}

impl KeepAliveAbuse {
    fn is_long(&self, keep_alive_s: u16) -> bool {
        keep_alive_s == 0 || u32::from(keep_alive_s) >= self.long_s
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, keep_alive_s: u16) {
    let limits = desk.rules.settings.keep_alive_abuse;
    if !limits.is_long(keep_alive_s) {
        return;
    }
    let Device { name, episodes, long_keep_alive, .. } = device;
    let threshold = (limits.identity_sessions, limits.window_s);
    desk.count(episodes, long_keep_alive, KIND, threshold, identity(name), || {
        format!("asked for a keep alive of {keep_alive_s} s")
    });
}

pub(crate) fn judge_source(source: &mut Source, desk: &mut Desk<'_>, address: IpAddr, keep_alive_s: u16) {
    let limits = desk.rules.settings.keep_alive_abuse;
    if !limits.is_long(keep_alive_s) {
        return;
    }
    let threshold = (limits.source_sessions, limits.window_s);
    desk.count(
        &mut source.episodes,
        &mut source.long_keep_alive,
        KIND,
        threshold,
        || Subject::Source(address),
        || format!("sessions asked for a keep alive of {keep_alive_s} s"),
    );
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    Script::default().repeat(settings.keep_alive_abuse.identity_sessions, 0, session(WHO, HOME, WHO, u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, connect_with, ip};

    #[test]
    fn an_identity_and_a_source_with_many_long_ones_are_found() {
        let mut bench = Bench::frozen();
        (0..15).for_each(|_| bench.see(&connect_with("lamp", ip(1), u16::MAX)));
        assert_eq!(bench.opened_of(KIND).len(), 1);
        let names: Vec<String> = (0..1024).map(|device| format!("d{device}")).collect();
        names.iter().for_each(|name| bench.see(&connect_with(name, ip(2), 0)));
        let subjects: Vec<_> = bench.opened_of(KIND).iter().map(|finding| finding.subject.clone()).collect();
        assert_eq!(subjects, [Subject::Identity("lamp".into()), Subject::Source(ip(2))]);
    }

    #[test]
    fn short_ones_and_single_long_ones_are_none() {
        let mut bench = Bench::frozen();
        let names: Vec<String> = (0..50).map(|device| format!("d{device}")).collect();
        for name in &names {
            (0..9).for_each(|_| bench.see(&connect_with(name, ip(2), 60)));
            bench.see(&connect_with(name, ip(2), 7200));
        }
        assert!(bench.opened_of(KIND).is_empty());
    }

    #[test]
    fn canary_keep_alive_abuse() {
        canary(KIND);
    }
}
