//! Identities that nobody registered one by one: which of their makers vouched for them, and by which key.

use std::{sync::Arc, time::Duration};

use hashbrown::{HashMap, HashSet};
use portreeve_store::{IdentityRow, RegistryOp, StoreError};
use portreeve_types::{IdentityId, IdentityName, KeyHash, Kind, LifecycleState, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{By, Registry, RegistryError, naming};

/// Where they lie among the registry's blobs; behind it stands the identity.
const PREFIX: &str = "origin/";

/// How long a device that its maker vouches for may be without a certificate, and without somebody who is asked about it.
const NEWCOMER_KEPT: Duration = Duration::from_secs(3600);
/// Newcomers of whom nothing came that are removed in one commit. More go the next time.
const WITHDRAWN_AT_ONCE_MAX: usize = 500;

/// Who vouches for a device. The key is the maker's certificate's, or the one on the allow-list: one device has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Voucher {
    /// The enrolment group.
    pub(crate) group: IdentityName,
    /// The maker's serial number.
    pub(crate) serial: String,
    pub(crate) key: KeyHash,
}

/// How an identity came by its maker's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    voucher: Voucher,
    since: UnixMillis,
    /// An operator had registered it before.
    announced: bool,
}

/// How a device that is new is registered.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    pub(crate) name: IdentityName,
    pub(crate) kind: Kind,
    /// The group that policies refer to.
    pub(crate) group: String,
    pub(crate) voucher: Voucher,
}

/// An identity that was let in on its maker's word.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) id: IdentityId,
    pub(crate) name: IdentityName,
    /// It was not known before.
    pub(crate) is_new: bool,
}

/// Origins by identity, and back.
#[derive(Debug, Default)]
pub(super) struct Origins {
    by_identity: HashMap<IdentityId, Origin>,
    by_key: HashMap<KeyHash, IdentityId>,
    /// Those that had no certificate yet, by group.
    pending: HashMap<IdentityName, HashSet<IdentityId>>,
}

impl Origins {
    /// Those among the blobs. One that cannot be read makes its device a stranger, whom an operator has to let in.
    pub(super) fn resume(blobs: &[(String, Vec<u8>)], is_pending: impl Fn(IdentityId) -> bool) -> Self {
        let mut origins = Self::default();
        for (name, bytes) in blobs {
            let Some(id) = name.strip_prefix(PREFIX) else { continue };
            match id.parse().ok().zip(serde_json::from_slice(bytes).ok()) {
                Some((id, origin)) => origins.insert(IdentityId(id), origin, is_pending(IdentityId(id))),
                None => tracing::warn!(identity = id, "a stored origin cannot be read and is void"),
            }
        }
        origins
    }

    fn insert(&mut self, id: IdentityId, origin: Origin, is_pending: bool) {
        if is_pending {
            self.pending.entry(origin.voucher.group.clone()).or_default().insert(id);
        }
        self.by_key.insert(origin.voucher.key, id);
        self.by_identity.insert(id, origin);
    }

    /// The identity is not pending any more, which it never becomes again.
    pub(super) fn settle(&mut self, id: IdentityId) {
        let Some(origin) = self.by_identity.get(&id) else { return };
        let Some(pending) = self.pending.get_mut(&origin.voucher.group) else { return };
        pending.remove(&id);
        if pending.is_empty() {
            self.pending.remove(&origin.voucher.group);
        }
    }

    fn remove(&mut self, id: IdentityId) {
        self.settle(id);
        if let Some(origin) = self.by_identity.remove(&id) {
            self.by_key.remove(&origin.voucher.key);
        }
    }
}

fn blob_name(id: IdentityId) -> String {
    format!("{PREFIX}{id}")
}

impl Registry {
    /// The identity of a device that its maker vouches for: the one it has, the one an operator registered for it, or a new
    /// one, pending. A group may have `pending_max` of these.
    ///
    /// # Errors
    /// [`RegistryError::TooManyPending`], [`RegistryError::Vouched`] where another device has the name or this one has another group's word, or the store's.
    pub(crate) fn admit(&self, newcomer: &Newcomer, pending_max: usize, by: By<'_>) -> Result<Admitted, RegistryError> {
        let _change = self.change.lock();
        let known = self.state.read().origins.by_key.get(&newcomer.voucher.key).copied();
        if let Some(row) = known.and_then(|id| self.row(id)) {
            let origin = self.origin(row.id);
            let is_same = origin.is_some_and(|origin| origin.voucher.group == newcomer.voucher.group);
            let (id, name) = (row.id, row.name.clone());
            return if is_same {
                Ok(Admitted { id, name, is_new: false })
            } else {
                Err(RegistryError::Vouched(row.name.clone()))
            };
        }
        self.expect_room(newcomer, pending_max)?;
        let (before, row) = match self.find(&newcomer.name) {
            Ok(row) => {
                // An operator expects it: nobody else has shown anything for this name yet.
                let is_expected = row.state == LifecycleState::Pending
                    && row.kind == newcomer.kind
                    && (row.group.is_empty() || row.group == newcomer.group)
                    && self.origin(row.id).is_none()
                    && self.credentials(row.id).is_empty()
                    // Whoever made a code for it means another device.
                    && !self.state.read().codes.contains_key(&row.id);
                if !is_expected {
                    return Err(RegistryError::Vouched(newcomer.name.clone()));
                }
                naming::check_group(&self.rules.load(), row.name.as_str(), &newcomer.group)?;
                (Some(row.clone()), IdentityRow { group: newcomer.group.clone(), ..(*row).clone() })
            }
            Err(_) => {
                let reason = format!("vouched for by {}", newcomer.voucher.group);
                let row = IdentityRow {
                    group: newcomer.group.clone(),
                    state_reason: reason,
                    ..super::pending(&newcomer.name, newcomer.kind, by.at)
                };
                naming::check(&self.rules.load(), row.name.as_str(), &row.group)?;
                (None, row)
            }
        };
        let (id, name) = (row.id, row.name.clone());
        // A map of plain values always has a JSON form.
        let origin = Origin { voucher: newcomer.voucher.clone(), since: by.at, announced: before.is_some() };
        let bytes = serde_json::to_vec(&origin).unwrap_or_default();
        let Voucher { group, serial, key } = &newcomer.voucher;
        let vouched = by.change(id, "origin", "", &format!("{group}, serial {serial}, key {key}"));
        let ops = vec![RegistryOp::PutBlob { name: blob_name(id), bytes }, vouched];
        self.apply(before.as_deref(), row, Vec::new(), ops, by)?;
        self.state.write().origins.insert(id, origin, true);
        Ok(Admitted { id, name, is_new: true })
    }

    /// Whether a group may bring one more device.
    ///
    /// # Errors
    /// [`RegistryError::TooManyPending`].
    pub(crate) fn expect_room(&self, newcomer: &Newcomer, pending_max: usize) -> Result<(), RegistryError> {
        let group = &newcomer.voucher.group;
        let pending = self.state.read().origins.pending.get(group).map_or(0, HashSet::len);
        if pending < pending_max { Ok(()) } else { Err(RegistryError::TooManyPending(group.clone())) }
    }

    /// Devices without a certificate, of the group that has most.
    pub(crate) fn pending_of_the_fullest_group(&self) -> usize {
        self.state.read().origins.pending.values().map(HashSet::len).max().unwrap_or(0)
    }

    /// Newcomers that have been here for long enough and have no certificate.
    pub(crate) fn late_newcomers(&self, now: UnixMillis) -> Vec<IdentityId> {
        let state = self.state.read();
        let is_late = |id: &&IdentityId| {
            let origin = state.origins.by_identity.get(*id);
            origin.is_some_and(|origin| now.since(origin.since) >= NEWCOMER_KEPT)
        };
        state.origins.pending.values().flatten().filter(is_late).copied().collect()
    }

    /// Takes back what a maker's word began and nothing came of: the identities, or what made a device one that an operator
    /// had registered before. Only those without a certificate and without a code, and so many at once. Returns them.
    ///
    /// # Errors
    /// The store's; nothing was changed.
    pub(crate) fn withdraw(&self, ids: &[IdentityId], by: By<'_>) -> Result<Vec<Arc<IdentityRow>>, StoreError> {
        let _change = self.change.lock();
        let gone: Vec<(Arc<IdentityRow>, Origin)> = {
            let state = self.state.read();
            let found = ids.iter().filter_map(|id| state.identities.get(id).zip(state.origins.by_identity.get(id)));
            let unused = found.filter(|(row, _)| {
                let is_certified = state.keys_of(row.id).next().is_some();
                row.state == LifecycleState::Pending && !is_certified && !state.codes.contains_key(&row.id)
            });
            unused.take(WITHDRAWN_AT_ONCE_MAX).map(|(row, origin)| (Arc::clone(row), origin.clone())).collect()
        };
        let mut ops = Vec::new();
        for (row, origin) in &gone {
            ops.push(RegistryOp::DeleteBlob { name: blob_name(row.id) });
            ops.push(match origin.announced {
                true => by.change(row.id, "origin", &origin.voucher.group.to_string(), ""),
                false => RegistryOp::DeleteIdentity { id: row.id },
            });
        }
        self.store.commit(&ops)?;
        let mut state = self.state.write();
        for (row, origin) in &gone {
            state.origins.remove(row.id);
            if !origin.announced {
                state.names.remove(&row.name);
                state.identities.remove(&row.id);
            }
        }
        Ok(gone.into_iter().map(|(row, _)| row).collect())
    }

    /// Whether a device with this key of its maker's has been here before.
    pub(crate) fn is_vouched(&self, key: KeyHash) -> bool {
        self.state.read().origins.by_key.contains_key(&key)
    }

    /// How an identity came by its maker's word, if it did.
    fn origin(&self, id: IdentityId) -> Option<Origin> {
        self.state.read().origins.by_identity.get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use portreeve_pki::Authority;
    use portreeve_store::{MemoryRegistry, RegistryContents, RegistryStore as _};

    use super::{
        super::{Entitlement, Fields, WaitingCode},
        *,
    };

    const BY: By<'_> = By { actor: "enrolment", reason: "", at: UnixMillis(1000) };

    fn newcomer(group: &str, name: &str, key: u8) -> Newcomer {
        let voucher = Voucher { group: group.parse().unwrap(), serial: name.into(), key: KeyHash([key; 32]) };
        Newcomer { name: name.parse().unwrap(), kind: Kind::Device, group: "wet".into(), voucher }
    }

    fn new_registry() -> (Arc<MemoryRegistry>, Registry) {
        let store = Arc::new(MemoryRegistry::default());
        (store.clone(), Registry::new(store, RegistryContents::default()))
    }

    fn certify(registry: &Registry, id: IdentityId) {
        let authority = Authority::create(UnixMillis::from(std::time::SystemTime::now())).unwrap();
        let key = portreeve_pki::generate_key().unwrap().public;
        let at = UnixMillis::from(std::time::SystemTime::now());
        let by = By { at, ..BY };
        let issue = |_: &super::super::Standing| {
            Ok::<_, RegistryError>(authority.issue_device(id, &key, at, NEWCOMER_KEPT).unwrap())
        };
        registry.certify(id, key.hash(), Entitlement::Maker, by, issue).map(drop).unwrap();
    }

    /// Nobody fills the registry with devices that get no certificate: neither at once nor across restarts.
    #[test]
    fn a_group_has_so_many_without_a_certificate_and_no_more() {
        let (store, registry) = new_registry();
        let first = registry.admit(&newcomer("pumps", "one", 1), 2, BY).unwrap();
        registry.admit(&newcomer("pumps", "two", 2), 2, BY).unwrap();
        let full = |registry: &Registry| {
            let refused = registry.admit(&newcomer("pumps", "three", 3), 2, BY);
            matches!(refused, Err(RegistryError::TooManyPending(_)))
        };
        assert!(full(&registry) && registry.find(&"three".parse().unwrap()).is_err());
        assert!(!registry.admit(&newcomer("pumps", "one", 1), 2, BY).unwrap().is_new, "who is there stays");
        registry.admit(&newcomer("lamps", "four", 4), 2, BY).unwrap();
        let registry = Registry::new(store.clone(), store.load().unwrap());
        assert!(full(&registry));
        assert_eq!(registry.pending_of_the_fullest_group(), 2);
        certify(&registry, first.id);
        assert!(!full(&registry), "one has its certificate");
        let registry = Registry::new(store.clone(), store.load().unwrap());
        assert_eq!(registry.pending_of_the_fullest_group(), 2);
    }

    /// Only what a maker's word alone has made goes, and nothing of which something came.
    #[test]
    fn what_is_withdrawn() {
        let (store, registry) = new_registry();
        let pending = |_: &IdentityRow| Ok::<_, RegistryError>(None);
        registry.add(&"announced".parse().unwrap(), Kind::Device, &Fields::default(), BY, pending).unwrap();
        let names = ["announced", "new", "certified", "coded"];
        let ids = [0, 1, 2, 3].map(|at| {
            let key = u8::try_from(at).unwrap();
            registry.admit(&newcomer("pumps", names[at], key), 10, BY).unwrap().id
        });
        let stranger =
            registry.add(&"other".parse().unwrap(), Kind::Device, &Fields::default(), BY, pending).unwrap().id;
        certify(&registry, ids[2]);
        let hash = portreeve_pki::CodeHash::from_bytes([7; 32]);
        let code = WaitingCode { hash, expires: UnixMillis(u64::MAX), made_by: "alice".into() };
        registry.put_code(&names[3].parse().unwrap(), code).unwrap();

        assert!(registry.late_newcomers(BY.at).is_empty());
        let late = registry.late_newcomers(BY.at.plus(NEWCOMER_KEPT));
        assert_eq!(late.len(), 3, "neither the certified one nor the stranger");
        let gone = registry.withdraw(&[&ids[..], &[stranger]].concat(), BY).unwrap();
        assert_eq!(gone.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["announced", "new"]);
        for registry in [registry, Registry::new(store.clone(), store.load().unwrap())] {
            let is_there = |name: &str| registry.find(&name.parse().unwrap()).is_ok();
            assert!(is_there("announced") && !is_there("new") && is_there("certified") && is_there("coded"));
            assert!(is_there("other"));
            // An operator announced it: whoever comes next may be the one.
            assert!(registry.admit(&newcomer("pumps", "announced", 9), 10, BY).unwrap().is_new);
            assert!(registry.admit(&newcomer("pumps", "new", 1), 10, BY).unwrap().is_new);
            let _ = registry.withdraw(&registry.late_newcomers(BY.at.plus(NEWCOMER_KEPT)), BY).unwrap();
        }
    }

    #[test]
    fn no_more_are_withdrawn_at_once_than_a_commit_should_hold() {
        let (_, registry) = new_registry();
        let ids: Vec<_> = (0..=WITHDRAWN_AT_ONCE_MAX)
            .map(|number| {
                let mut newcomer = newcomer("pumps", &format!("n{number}"), 0);
                newcomer.voucher.key.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
                registry.admit(&newcomer, usize::MAX, BY).unwrap().id
            })
            .collect();
        assert_eq!(registry.withdraw(&ids, BY).unwrap().len(), WITHDRAWN_AT_ONCE_MAX);
        assert_eq!(registry.withdraw(&ids, BY).unwrap().len(), 1);
    }
}
