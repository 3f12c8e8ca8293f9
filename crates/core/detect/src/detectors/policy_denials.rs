//! What policy refuses one identity, again and again (CSA-MSU-02, CSA-MSU-03).

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::Desk,
    finding::shown,
    rehearsal::{Script, WHO},
    settings::{DetectSettings, section},
};

const KIND: Detector = Detector::PolicyDenials;

section! {
    /// Thresholds of `policy_denials`.
    PolicyDenials {
        /// Refusals of one identity.
        denials: u32 = 20, in 1..=10_000, "refusals";
        /// Within which time.
        window_s: u32 = 600, in 1..=86_400, "seconds";
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, what: &str) {
    let limits = desk.rules.settings.policy_denials;
    let Device { name, episodes, denied, .. } = device;
    desk.count(episodes, denied, KIND, (limits.denials, limits.window_s), identity(name), || {
        format!("was refused by policy, last {},", shown(what))
    });
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    Script::default().repeat(settings.policy_denials.denials, 0, Observation::Denied { identity: WHO, what: "canary" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    const DENIED: Observation<'static> = Observation::Denied { identity: "lamp", what: "publish plant/door" };

    /// CSA-MSU-02, CSA-MSU-03
    #[test]
    fn many_refusals_are_one_finding() {
        let mut bench = Bench::frozen();
        (0..19).for_each(|_| bench.see(&DENIED));
        assert!(bench.opened().is_empty());
        (0..100).for_each(|_| bench.see(&DENIED));
        assert_eq!(bench.opened_of(KIND).len(), 1);
        assert!(bench.opened()[0].text.contains("plant/door"));
    }

    #[test]
    fn few_in_the_window_are_none() {
        let mut bench = Bench::frozen();
        for _ in 0..200 {
            bench.see(&DENIED);
            bench.pass(32);
        }
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn canary_policy_denials() {
        canary(KIND);
    }
}
