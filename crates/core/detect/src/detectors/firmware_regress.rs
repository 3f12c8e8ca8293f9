//! A device that goes back to older firmware.

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::Desk,
    finding::shown,
    rehearsal::{Script, WHO},
};
use std::cmp::Ordering;

const KIND: Detector = Detector::FirmwareRegress;

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, before: &str, after: &str) {
    if before.is_empty() || order(after, before) != Ordering::Less {
        return;
    }
    let Device { name, episodes, .. } = device;
    desk.raise(episodes, KIND, identity(name), || {
        (format!("reports firmware {}, older than {} before", shown(after), shown(before)), Vec::new())
    });
}

/// The order of two versions: numbers by value, other parts by text, and a pre-release before its release, as Semantic
/// Versioning 2.0.0 §11 has it; what follows a `+` does not count.
fn order(a: &str, b: &str) -> Ordering {
    let split = |version| {
        let version: &str = str::trim_start_matches(version, ['v', 'V']);
        let version = version.split('+').next().unwrap_or_default();
        version.split_once('-').map_or((version, None), |(release, pre)| (release, Some(pre)))
    };
    let ((release_a, pre_a), (release_b, pre_b)) = (split(a), split(b));
    parts(release_a, release_b).then_with(|| match (pre_a, pre_b) {
        (Some(a), Some(b)) => parts(a, b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    })
}

/// Part by part; one that is missing is older, except that `1.2` is `1.2.0`.
fn parts(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split(['.', '_']), b.split(['.', '_']));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => part(a.unwrap_or("0"), b.unwrap_or("0")),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn part(a: &str, b: &str) -> Ordering {
    let number = |text: &str| text.parse::<u128>().ok();
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a_number, b_number) => b_number.is_some().cmp(&a_number.is_some()).then_with(|| a.cmp(b)),
    }
}

pub(crate) fn rehearsal() -> Script {
    Script::default().say(Observation::Firmware { identity: WHO, before: "2", after: "1" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    fn reports(before: &'static str, after: &'static str) -> Observation<'static> {
        Observation::Firmware { identity: "lamp", before, after }
    }

    #[test]
    fn versions_in_order() {
        let ascending = [
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.2",
            "1.0.0-alpha.11",
            "1.0.0-rc",
            "1.0",
            "1.0.1",
            "v1.2",
            "1.10",
            "2026.1",
        ];
        for (at, older) in ascending.iter().enumerate() {
            for newer in &ascending[at + 1..] {
                assert_eq!(order(older, newer), Ordering::Less, "{older} {newer}");
                assert_eq!(order(newer, older), Ordering::Greater, "{newer} {older}");
            }
        }
        assert_eq!(order("1.2", "1.2.0+build7"), Ordering::Equal);
    }

    #[test]
    fn an_older_version_is_one_finding() {
        let mut bench = Bench::frozen();
        (0..3).for_each(|_| bench.see(&reports("1.10.0", "1.9.9")));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn updates_and_rebuilds_are_none() {
        let mut bench = Bench::frozen();
        for (before, after) in [("1.9.9", "1.10.0"), ("1.0-rc1", "1.0"), ("1.0+a", "1.0+b"), ("", "1.0")] {
            bench.see(&reports(before, after));
        }
        assert!(bench.opened().is_empty());
    }

    #[test]
    fn canary_firmware_regress() {
        canary(KIND);
    }
}
