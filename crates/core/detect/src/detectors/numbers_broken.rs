//! Numbers of a device's own security events that are left out, or come again.

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::Desk,
    finding::shown,
    rehearsal::{Script, WHO},
};

const KIND: Detector = Detector::NumbersBroken;

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, channel: &str, expected: u64, seq: u64) {
    let Device { name, episodes, .. } = device;
    desk.raise(episodes, KIND, identity(name), || {
        let what = if seq > expected { "left out numbers" } else { "said again what it had said" };
        (format!("{what} in {}: {seq} where {expected} was due", shown(channel)), Vec::new())
    });
}

pub(crate) fn rehearsal() -> Script {
    Script::default().say(Observation::OutOfOrder { identity: WHO, channel: "canary", expected: 2, seq: 4 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    fn broken(expected: u64, seq: u64) -> Observation<'static> {
        Observation::OutOfOrder { identity: "lamp", channel: "security", expected, seq }
    }

    /// CSA-SOP-03: what is missing and what came again are findings, one while it goes on.
    #[test]
    fn gaps_and_repetitions_are_findings() {
        for (expected, seq, said) in [(7, 9, "left out numbers"), (7, 3, "said again")] {
            let mut bench = Bench::frozen();
            (0..5).for_each(|_| bench.see(&broken(expected, seq)));
            let opened = bench.opened_of(KIND);
            assert_eq!(opened.len(), 1);
            assert!(opened[0].text.contains(said), "{}", opened[0].text);
        }
    }

    #[test]
    fn numbers_that_follow_each_other_are_none() {
        let mut bench = Bench::frozen();
        for seq in 1..100 {
            bench.see(&Observation::Sequence { identity: "lamp", channel: "security", seq, device_time: None });
        }
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn canary_numbers_broken() {
        canary(KIND);
    }
}
