//! A network that an identity was not seen in.

use crate::{
    Detector,
    device::{Device, identity},
    episode::{Desk, number},
    rehearsal::{ABROAD, Script, WHO, connected, session},
    settings::section,
};
use std::net::IpAddr;

const KIND: Detector = Detector::NewSource;

/// Networks of one identity that are learnt. One that was in more roams, and is left alone.
pub(crate) const NETWORKS_MAX: usize = 8;

section! {
    /// What `new_source` takes for one network. 32 and 64 bits tell single addresses apart.
    NewSource {
        /// Leading bits of an IPv4 address.
        prefix_v4_bits: u32 = 24, in 1..=32, "bits";
        /// Leading bits of an IPv6 address.
        prefix_v6_bits: u32 = 48, in 1..=64, "bits";
    }
}

pub(crate) fn judge(device: &mut Device, desk: &mut Desk<'_>, source: IpAddr) {
    let network = network_of(source, &desk.rules.settings.new_source);
    let Device { name, episodes, learnt, .. } = device;
    if learnt.roams || learnt.networks.contains(&network) {
        return;
    }
    if desk.is_learning {
        learnt.roams = learnt.networks.len() == NETWORKS_MAX;
        if !learnt.roams {
            learnt.networks.push(network);
        }
        return;
    }
    desk.raise(episodes, KIND, identity(name), || {
        let known = u32::try_from(learnt.networks.len()).unwrap_or(u32::MAX);
        let text = format!("connected from {source}, which is in none of the networks that were learnt of it");
        (text, vec![number("known", known, "networks")])
    });
}

/// An IPv4 network in the low, an IPv6 network in all 64 bits. They do not collide: no IPv6 address that is used begins with
/// 32 zero bits, but those that mean an IPv4 address.
fn network_of(source: IpAddr, prefix: &NewSource) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits() & u32::MAX.checked_shl(32 - prefix.prefix_v4_bits).unwrap_or(0)),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let high = s[..4].iter().fold(0, |high: u64, segment| high << 16 | u64::from(*segment));
            high & u64::MAX.checked_shl(64 - prefix.prefix_v6_bits).unwrap_or(0)
        }
    }
}

pub(crate) fn rehearsal() -> Script {
    Script::default().say(connected()).wait_learnt().say(session(WHO, ABROAD, WHO, 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary, connect, ip};

    #[test]
    fn another_network_is_a_finding_and_another_address_is_none() {
        let mut bench = Bench::learning();
        (1..20).for_each(|host| bench.see(&connect("lamp", ip(host))));
        bench.freeze();
        (20..40).for_each(|host| bench.see(&connect("lamp", ip(host))));
        assert!(bench.opened_of(KIND).is_empty());
        (0..10).for_each(|_| bench.see(&connect("lamp", ip(300))));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn who_roams_is_left_alone_and_so_is_who_is_new() {
        let mut bench = Bench::learning();
        (0..20).for_each(|network| bench.see(&connect("van", ip(network * 256))));
        bench.freeze();
        bench.see(&connect("van", ip(99 * 256)));
        bench.see(&connect("new", ip(1)));
        bench.see(&connect("new", ip(999)));
        assert!(bench.opened_of(KIND).is_empty());
        bench.pass(4 * 86_400);
        bench.see(&connect("new", ip(5000)));
        assert_eq!(bench.opened_of(KIND).len(), 1, "its own learning time is over");
    }

    #[test]
    fn networks_of_both_families() {
        let of = |text: &str| network_of(text.parse().unwrap(), &NewSource::default());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.200"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:1:ffff::1"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
        let narrow = NewSource { prefix_v4_bits: 32, prefix_v6_bits: 64 };
        assert_ne!(network_of(ip(1), &narrow), network_of(ip(2), &narrow));
    }

    #[test]
    fn canary_new_source() {
        canary(KIND);
    }
}
