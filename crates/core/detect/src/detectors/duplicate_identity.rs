//! One identity in two places.

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::Desk,
    rehearsal::{Script, WHO},
    settings::section,
};

const KIND: Detector = Detector::DuplicateIdentity;

section! {
    /// Thresholds of `duplicate_identity`.
    DuplicateIdentity {
        /// Connections from a second address while the first was connected. (A certificate that was renewed and is used again
        /// is a finding at once.)
        times: u32 = 3, in 1..=1000, "times";
        /// Within which time.
        window_s: u32 = 600, in 1..=86_400, "seconds";
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, is_certain: bool) {
    let limits = desk.rules.settings.duplicate_identity;
    let Device { name, episodes, doubled, .. } = device;
    if is_certain {
        let text =
            || ("a certificate that was renewed before was used again: somebody has a copy".to_owned(), Vec::new());
        desk.raise(episodes, KIND, identity(name), text);
        return;
    }
    desk.count(episodes, doubled, KIND, (limits.times, limits.window_s), identity(name), || {
        "connected from a second address while it was connected,".to_owned()
    });
}

pub(crate) fn rehearsal() -> Script {
    Script::default().say(Observation::Duplicate { identity: WHO, is_certain: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    const fn doubled(is_certain: bool) -> Observation<'static> {
        Observation::Duplicate { identity: "lamp", is_certain }
    }

    #[test]
    fn taking_turns_and_an_old_certificate_are_findings() {
        let mut bench = Bench::frozen();
        (0..50).for_each(|_| bench.see(&doubled(false)));
        assert_eq!(bench.opened_of(KIND).len(), 1);
        let mut bench = Bench::frozen();
        bench.see(&doubled(true));
        bench.see(&doubled(true));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn a_device_that_moves_now_and_then_is_none() {
        let mut bench = Bench::frozen();
        for _ in 0..20 {
            bench.see(&doubled(false));
            bench.pass(301);
        }
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn canary_duplicate_identity() {
        canary(KIND);
    }
}
