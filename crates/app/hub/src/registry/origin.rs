//! Identities that nobody registered one by one: which of their makers vouched for them, and by which key.

use hashbrown::HashMap;
use portreeve_store::{IdentityRow, RegistryOp};
use portreeve_types::{IdentityId, IdentityName, KeyHash, Kind, LifecycleState};
use serde::{Deserialize, Serialize};

use super::{By, Registry, RegistryError, naming};

/// Where they lie among the registry's blobs; behind it stands the identity.
const PREFIX: &str = "origin/";

/// Who vouched for an identity. The key is the maker's certificate's, or the one on the allow-list: one device has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The enrolment group.
    pub(crate) group: IdentityName,
    /// The maker's serial number.
    pub(crate) serial: String,
    pub(crate) key: KeyHash,
}

/// How a device that is new is registered.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    pub(crate) name: IdentityName,
    pub(crate) kind: Kind,
    /// The group that policies refer to.
    pub(crate) group: String,
    pub(crate) origin: Origin,
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
}

impl Origins {
    /// Those among the blobs. One that cannot be read makes its device a stranger, whom an operator has to let in.
    pub(super) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let mut origins = Self::default();
        for (name, bytes) in blobs {
            let Some(id) = name.strip_prefix(PREFIX) else { continue };
            match id.parse().ok().zip(serde_json::from_slice(bytes).ok()) {
                Some((id, origin)) => origins.insert(IdentityId(id), origin),
                None => tracing::warn!(identity = id, "a stored origin cannot be read and is void"),
            }
        }
        origins
    }

    fn insert(&mut self, id: IdentityId, origin: Origin) {
        self.by_key.insert(origin.key, id);
        self.by_identity.insert(id, origin);
    }
}

impl Registry {
    /// The identity of a device that its maker vouches for: the one it has, the one an operator registered for it, or a new
    /// one, pending.
    ///
    /// # Errors
    /// [`RegistryError::Vouched`] where another device has the name or this one has another group's word, or the store's.
    pub(crate) fn admit(&self, newcomer: &Newcomer, by: By<'_>) -> Result<Admitted, RegistryError> {
        let _change = self.change.lock();
        let known = self.state.read().origins.by_key.get(&newcomer.origin.key).copied();
        if let Some(row) = known.and_then(|id| self.row(id)) {
            let origin = self.origin(row.id);
            let is_same = origin.is_some_and(|origin| origin.group == newcomer.origin.group);
            let (id, name) = (row.id, row.name.clone());
            return if is_same {
                Ok(Admitted { id, name, is_new: false })
            } else {
                Err(RegistryError::Vouched(row.name.clone()))
            };
        }
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
                let reason = format!("vouched for by {}", newcomer.origin.group);
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
        let bytes = serde_json::to_vec(&newcomer.origin).unwrap_or_default();
        let Origin { group, serial, key } = &newcomer.origin;
        let vouched = by.change(id, "origin", "", &format!("{group}, serial {serial}, key {key}"));
        let ops = vec![RegistryOp::PutBlob { name: format!("{PREFIX}{id}"), bytes }, vouched];
        self.apply(before.as_deref(), row, Vec::new(), ops, by)?;
        self.state.write().origins.insert(id, newcomer.origin.clone());
        Ok(Admitted { id, name, is_new: true })
    }

    /// Whether a device with this key of its maker's has been here before.
    pub(crate) fn is_vouched(&self, key: KeyHash) -> bool {
        self.state.read().origins.by_key.contains_key(&key)
    }

    /// Who vouched for an identity, if anybody did.
    pub(crate) fn origin(&self, id: IdentityId) -> Option<Origin> {
        self.state.read().origins.by_identity.get(&id).cloned()
    }
}
