//! Who is connected (CSA-TSP-03, IIITA-J9, ISVS-4.2.3).

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};

use portreeve_assurance::evidence::hub::{HubSessions, NAMED_MAX, Placed};
use portreeve_pki::Generation;
use portreeve_types::{IdentityId, Kind};

use crate::{Hub, broker::Session};

/// Addresses that are told of one device.
const ADDRESSES_MAX: usize = 4;
/// How everybody shows who it is: nothing else makes a [`crate::DeviceIdentity`].
const METHOD: &str = "client-certificate";

impl Hub {
    /// Every connection: its session, which certificate its client came with, and the number of the CA that issued it.
    pub(super) fn links(&self) -> Vec<(Arc<Session>, Generation, u32)> {
        let sessions: Vec<Arc<Session>> = self.sessions.lock().by_id.values().cloned().collect();
        let link = |session: Arc<Session>| {
            let (certificate, issuer) = {
                let outgoing = session.outgoing.lock();
                let link = outgoing.link.as_ref()?;
                (link.certificate, link.issuer)
            };
            Some((session, certificate, issuer))
        };
        sessions.into_iter().filter_map(link).collect()
    }

    /// The identities that are connected.
    pub(super) fn connected(&self) -> HashSet<IdentityId> {
        self.links().iter().map(|(session, ..)| session.key.identity).collect()
    }

    pub(super) fn session_facts(&self) -> HubSessions {
        let links = self.links();
        let mut transports: BTreeMap<String, u64> = BTreeMap::new();
        let mut of_devices: BTreeMap<&str, (u64, BTreeSet<IpAddr>)> = BTreeMap::new();
        let mut addresses = HashSet::new();
        for (session, ..) in &links {
            let peer = **session.peer.load();
            *transports.entry(peer.transport.to_owned()).or_default() += 1;
            addresses.insert(peer.address);
            if self.registry.row(session.key.identity).is_some_and(|row| row.kind == Kind::Device) {
                let (connections, places) = of_devices.entry(session.name.as_str()).or_default();
                *connections += 1;
                places.insert(peer.address);
            }
        }
        let (twice, many): (Vec<_>, Vec<_>) = of_devices
            .into_iter()
            .filter(|(_, (connections, _))| *connections > 1)
            .partition(|(_, (_, places))| places.len() > 1);
        let placed = |(name, (_, places)): &(&str, (u64, BTreeSet<IpAddr>))| Placed {
            name: (*name).to_owned(),
            addresses: places.iter().take(ADDRESSES_MAX).map(ToString::to_string).collect(),
        };
        HubSessions {
            is_running: self.is_running(),
            sessions: self.sessions.lock().by_id.len() as u64,
            methods: (!links.is_empty()).then(|| (METHOD.to_owned(), links.len() as u64)).into_iter().collect(),
            transports,
            addresses: addresses.len() as u64,
            places: twice.iter().take(NAMED_MAX).map(placed).collect(),
            places_more: twice.len().saturating_sub(NAMED_MAX) as u64,
            many: many.iter().map(|(name, _)| name).collect(),
            on_two_places: self.config().lifecycle.on_two_places.to_string(),
        }
    }
}
