use std::{collections::HashMap, net::IpAddr};

use portreeve_config::Network;

use crate::Source;

/// The blocked sources, for who accepts connections: asking is one hash for each prefix length in use, none when nothing is
/// blocked. A value of its own, which the hub swaps for the next one ([`crate::Responder::blocks`]).
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// When each ends, milliseconds of the running clock.
    ends_ms: HashMap<Source, u64>,
    /// Prefix lengths of the IPv6 sources; more than one only after a change of settings.
    ipv6_prefix_bits: Vec<u8>,
    exempt: Vec<Network>,
}

impl Blocks {
    pub(crate) fn block(&mut self, source: Source, ends_ms: u64) {
        self.ends_ms.insert(source, ends_ms);
        if let Some(bits) = source.ipv6_prefix_bits().filter(|bits| !self.ipv6_prefix_bits.contains(bits)) {
            self.ipv6_prefix_bits.push(bits);
        }
    }

    pub(crate) fn unblock(&mut self, source: Source) {
        self.ends_ms.remove(&source);
        if let Some(bits) = source.ipv6_prefix_bits() {
            let is_used = self.ends_ms.keys().any(|other| other.ipv6_prefix_bits() == Some(bits));
            self.ipv6_prefix_bits.retain(|used| is_used || *used != bits);
        }
    }

    pub(crate) fn exempt(&mut self, networks: Vec<Network>) {
        self.exempt = networks;
    }

    /// Whether a connection from this address is to be dropped. An exempt address never is, whatever its neighbours did.
    #[must_use]
    pub fn is_blocked(&self, address: IpAddr, running_ms: u64) -> bool {
        if self.ends_ms.is_empty() {
            return false;
        }
        let is_exempt = || self.exempt.iter().any(|network| network.contains(address));
        self.covers(address.to_canonical(), running_ms) && !is_exempt()
    }

    fn covers(&self, address: IpAddr, running_ms: u64) -> bool {
        let stands =
            |bits: u8| self.ends_ms.get(&Source::of(address, bits)).is_some_and(|ends_ms| *ends_ms > running_ms);
        match address {
            IpAddr::V4(_) => stands(32),
            IpAddr::V6(_) => self.ipv6_prefix_bits.iter().any(|bits| stands(*bits)),
        }
    }

    /// How many are blocked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends_ms.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends_ms.is_empty()
    }
}
