//! Which identities were lately seen from which source: whom a block of it would meet.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
};

use portreeve_respond::Source;
use portreeve_types::{IdentityId, source_of};

/// Places that are remembered in all: an identity and a source. For a further one that which was not used for longest goes.
const PLACES_MAX: usize = 262_144;
/// Sources of one identity: none can drive the others' out of the table by coming from everywhere.
const SOURCES_PER_IDENTITY_MAX: usize = 4;
/// Who was last seen longer ago, and is not connected, is not there any more, milliseconds.
const SEEN_FOR_MS: u64 = 86_400_000;

type Place = (IpAddr, IdentityId);

/// Sources are IPv4 addresses and IPv6 /64s.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The use in `order`, and when that was.
    places: BTreeMap<Place, (u64, u64)>,
    /// The least recently used first.
    order: BTreeMap<u64, Place>,
    of_identity: HashMap<IdentityId, VecDeque<IpAddr>>,
    uses: u64,
}

impl Seen {
    /// Somebody is, or was until now, connected from there.
    pub(crate) fn note(&mut self, identity: IdentityId, address: IpAddr, now_ms: u64) {
        let source = source_of(address);
        let place = (source, identity);
        self.forget(place);
        self.uses += 1;
        self.places.insert(place, (self.uses, now_ms));
        self.order.insert(self.uses, place);
        let sources = self.of_identity.entry(identity).or_default();
        sources.push_back(source);
        let beyond = if sources.len() > SOURCES_PER_IDENTITY_MAX { sources.front().copied() } else { None };
        if let Some(oldest) = beyond {
            self.forget((oldest, identity));
        }
        if self.places.len() > PLACES_MAX
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            self.forget(*oldest);
        }
    }

    fn forget(&mut self, place: Place) {
        let Some((used, _)) = self.places.remove(&place) else { return };
        self.order.remove(&used);
        let (source, identity) = place;
        let Some(sources) = self.of_identity.get_mut(&identity) else { return };
        sources.retain(|other| *other != source);
        if sources.is_empty() {
            self.of_identity.remove(&identity);
        }
    }

    /// Where an identity came from last.
    pub(crate) fn last_source(&self, identity: IdentityId) -> Option<IpAddr> {
        self.of_identity.get(&identity)?.back().copied()
    }

    /// Who was seen from the source that `address` belongs to; with each, whether that was lately. Whoever was not may still be
    /// connected. Of a prefix longer than /64 it is everybody in its /64.
    pub(crate) fn behind(&self, address: IpAddr, ipv6_prefix_bits: u8, now_ms: u64) -> Vec<(IdentityId, bool)> {
        let bits = ipv6_prefix_bits.min(64);
        let source = Source::of(address, bits);
        let (first, last) = (source.first_address(), source.last_address());
        let lowest = (source_of(first), IdentityId(uuid::Uuid::nil()));
        let highest = (source_of(last), IdentityId(uuid::Uuid::max()));
        let is_recent = |at_ms: u64| now_ms.saturating_sub(at_ms) < SEEN_FOR_MS;
        self.places.range(lowest..=highest).map(|((_, id), (_, at_ms))| (*id, is_recent(*at_ms))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> IdentityId {
        IdentityId(uuid::Uuid::from_u128(number))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_whoever_came_from_it() {
        let mut seen = Seen::default();
        for (number, from) in [(1, "192.0.2.1"), (2, "192.0.2.1"), (3, "2001:db8::1"), (4, "2001:db8:0:1::1")] {
            seen.note(id(number), address(from), 5);
        }
        let behind = |from, bits, now_ms| seen.behind(address(from), bits, now_ms);
        assert_eq!(behind("192.0.2.1", 64, 6), [(id(1), true), (id(2), true)]);
        assert_eq!(behind("2001:db8::ffff", 64, 6), [(id(3), true)]);
        assert_eq!(behind("2001:db8::ffff", 128, 6), [(id(3), true)]);
        assert_eq!(behind("2001:db8::ffff", 48, 6), [(id(3), true), (id(4), true)]);
        assert_eq!(behind("192.0.2.1", 64, 5 + SEEN_FOR_MS)[0], (id(1), false));
        assert_eq!(seen.last_source(id(3)), Some(address("2001:db8::")));
    }

    #[test]
    fn an_identity_that_comes_from_everywhere_pushes_out_its_own_places_only() {
        let mut seen = Seen::default();
        seen.note(id(1), address("192.0.2.1"), 0);
        for last in 0..100_u8 {
            seen.note(id(2), IpAddr::from([198, 51, 100, last]), 0);
        }
        assert_eq!((seen.places.len(), seen.order.len()), (1 + SOURCES_PER_IDENTITY_MAX, 1 + SOURCES_PER_IDENTITY_MAX));
        assert_eq!(seen.behind(address("192.0.2.1"), 64, 0), [(id(1), true)]);
        assert_eq!(seen.last_source(id(2)), Some(address("198.51.100.99")));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut seen = Seen::default();
        (0..PLACES_MAX as u128 + 10).for_each(|number| seen.note(id(number), address("192.0.2.1"), 0));
        assert_eq!((seen.places.len(), seen.order.len(), seen.of_identity.len()), (PLACES_MAX, PLACES_MAX, PLACES_MAX));
        assert!(seen.last_source(id(9)).is_none() && seen.last_source(id(10)).is_some());
    }
}
