//! The watch itself: who had to be forgotten although there was something to remember.

use crate::{
    Detector, Observation,
    episode::{Desk, Episodes, number},
    finding::Subject,
    rehearsal::Script,
    settings::DetectSettings,
};
use std::net::{IpAddr, Ipv4Addr};

const KIND: Detector = Detector::WatchFull;

/// `rows_max` is the bound of the table, `what` what it holds.
pub(crate) fn judge(hub: &mut Episodes, desk: &mut Desk<'_>, what: &'static str, rows_max: u32) {
    desk.raise(
        hub,
        KIND,
        || Subject::Hub,
        || {
            let text = format!("there are more {what} than the watch follows; those that did least were forgotten");
            (text, vec![number("limit", rows_max, what)])
        },
    );
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let mut script = Script::default();
    for source in 0..=settings.general.sources_max {
        let source = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + source));
        script = script.say(Observation::HalfOpen { source });
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, ip};

    #[test]
    fn too_many_sources_at_once_are_one_finding() {
        let mut settings = DetectSettings::default();
        settings.general.sources_max = 100;
        let mut bench = Bench::of(&settings);
        (0..100).for_each(|source| bench.see(&Observation::HalfOpen { source: ip(source) }));
        assert!(bench.opened_of(KIND).is_empty());
        (100..300).for_each(|source| bench.see(&Observation::HalfOpen { source: ip(source) }));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn sources_that_were_long_idle_make_room_silently() {
        let mut settings = DetectSettings::default();
        settings.general.sources_max = 100;
        let mut bench = Bench::of(&settings);
        for source in 0..1000 {
            bench.see(&Observation::HalfOpen { source: ip(source) });
            bench.pass(60);
        }
        assert!(bench.opened_of(KIND).is_empty(), "{:?}", bench.opened());
    }

    #[test]
    fn canary_watch_full() {
        canary(KIND);
    }
}
