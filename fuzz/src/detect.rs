//! Baselines that a start reads, `portreeve-detect`.

use portreeve_detect::{DetectSettings, Observation, Watch, sealed};
use portreeve_types::UnixMillis;

/// Saved baselines as they come, and as the content under a good checksum. What is taken is written again byte for byte, and
/// whatever it holds, detectors that compare with it do not panic.
pub fn detect_baselines(bytes: &[u8]) {
    check(bytes);
    check(&sealed(bytes));
}

fn check(bytes: &[u8]) {
    // proof: defaults are in their ranges, which the crate tests.
    let watch = Watch::new(&DetectSettings::default()).unwrap();
    let before = watch.save();
    if watch.load(bytes).is_err() {
        assert_eq!(watch.save(), before, "what is refused changes nothing");
        return;
    }
    assert_eq!(watch.save(), bytes);
    let mut out = Vec::new();
    for identity in ["a", "b", "lamp"] {
        let traffic = |messages| Observation::Traffic {
            identity,
            topic: "t",
            messages,
            bytes: u64::MAX,
            largest_bytes: u32::MAX,
            window_ms: 0,
        };
        watch.observe(&traffic(u64::MAX), UnixMillis(1), &mut out);
        let vitals = Observation::Vitals { identity, battery_percent: Some(1.0), numbers: &[("x", -1e12)] };
        watch.observe(&vitals, UnixMillis(2), &mut out);
    }
    watch.tick(UnixMillis(600_000), &mut out);
}
