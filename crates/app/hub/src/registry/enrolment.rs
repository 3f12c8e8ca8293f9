//! How an identity comes to its certificates: one-time codes, and one generation after the other.

use std::sync::Arc;

use portreeve_pki::{CodeHash, Generation, Issued};
use portreeve_store::{CredentialRow, IdentityRow, RegistryOp, StoreError};
use portreeve_types::{IdentityId, IdentityName, KeyHash, LifecycleState, UnixMillis};

use super::{By, Registry, RegistryError, State, credential};

/// Why a certificate is refused after one that follows it was used.
pub(crate) const SUPERSEDED: &str = "superseded";

/// Where codes that wait lie among the registry's blobs; behind it stands the identity.
const PREFIX: &str = "code/";

/// A one-time code that waits for its device.
#[derive(Clone, Debug)]
pub(crate) struct WaitingCode {
    pub(crate) hash: CodeHash,
    pub(crate) expires: UnixMillis,
    /// The operator.
    pub(crate) made_by: String,
}

impl WaitingCode {
    fn encode(&self) -> Vec<u8> {
        [&self.hash.as_bytes()[..], &self.expires.0.to_be_bytes(), self.made_by.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (hash, expires) = bytes.split_first_chunk::<32>()?;
        let (expires, made_by) = expires.split_first_chunk::<8>()?;
        let (expires, made_by) = (UnixMillis(u64::from_be_bytes(*expires)), String::from_utf8(made_by.to_vec()).ok()?);
        Some(Self { hash: CodeHash::from_bytes(*hash), expires, made_by })
    }
}

fn blob_name(id: IdentityId) -> String {
    format!("{PREFIX}{id}")
}

/// The codes among the blobs. One that cannot be read is as good as used: its operator makes another.
pub(super) fn stored_codes(blobs: &[(String, Vec<u8>)]) -> impl Iterator<Item = (IdentityId, WaitingCode)> {
    blobs.iter().filter_map(|(name, bytes)| {
        let id = name.strip_prefix(PREFIX)?;
        let read = id.parse().ok().map(IdentityId).zip(WaitingCode::decode(bytes));
        if read.is_none() {
            tracing::warn!(identity = id, "a stored enrolment code cannot be read and is void");
        }
        read
    })
}

/// On what a certificate is issued.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entitlement {
    /// A one-time code, which is used up in the same commit.
    Code(CodeHash),
    /// The identity's present certificate, proved in the handshake.
    Certificate,
    /// A certificate of its maker, proved in the handshake.
    Maker,
    /// A signed list that names it and the key of its request.
    List,
    /// Its TPM's endorsement key, for which somebody vouches, and which has shown to hold the key of the request.
    Tpm,
}

impl Entitlement {
    /// For the history.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Code(_) => "one-time code",
            Self::Certificate => "renewal",
            Self::Maker => "manufacturer certificate",
            Self::List => "allow-list",
            Self::Tpm => "TPM endorsement key",
        }
    }
}

/// What is known of an identity when a further certificate is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) row: IdentityRow,
    /// The newest certificate.
    pub(crate) newest: Option<Arc<CredentialRow>>,
    /// Its generation.
    pub(crate) generation: Generation,
    /// Somebody has connected with the newest certificate.
    pub(crate) newest_seen: bool,
}

impl State {
    fn newest(&self, id: IdentityId) -> Option<Arc<CredentialRow>> {
        let rows = self.keys_of(id).filter_map(|key| self.credentials.get(&key));
        rows.max_by_key(|row| (generation(row), row.issued, row.key)).cloned()
    }

    fn newest_used(&self, id: IdentityId) -> Generation {
        self.newest_used.get(&id).copied().unwrap_or_default()
    }

    /// At a start: a certificate that is void while its identity is not was superseded by the one that follows it.
    pub(super) fn note_superseded(&mut self, row: &CredentialRow) {
        let void = row.revoked.is_some();
        let in_service = |id| self.identities.get(id).is_some_and(|row| row.state != LifecycleState::Revoked);
        if void && in_service(&row.identity) {
            let newest = self.newest_used.entry(row.identity).or_default();
            *newest = generation(row).next().max(*newest);
        }
    }

    /// Whether a later certificate of the same identity is in use already.
    pub(super) fn is_superseded(&self, credential: &CredentialRow) -> bool {
        generation(credential) < self.newest_used(credential.identity)
    }
}

fn generation(row: &CredentialRow) -> Generation {
    Generation::of_serial(&row.serial).unwrap_or_default()
}

impl Registry {
    /// Keeps a one-time code; one that the identity had before is void.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::NotEnrollable`], or the store's.
    pub(crate) fn put_code(&self, name: &IdentityName, code: WaitingCode) -> Result<(), RegistryError> {
        let _change = self.change.lock();
        let row = self.find(name)?;
        expect_enrollable(&row)?;
        self.store.commit(&[RegistryOp::PutBlob { name: blob_name(row.id), bytes: code.encode() }])?;
        self.state.write().codes.insert(row.id, code);
        Ok(())
    }

    /// Who made this code, if it waits for this identity now. Whether it still does when a certificate is issued is decided
    /// then.
    pub(crate) fn expected_from(&self, id: IdentityId, code: CodeHash, now: UnixMillis) -> Option<String> {
        let state = self.state.read();
        let waiting = state.codes.get(&id).filter(|waiting| waiting.hash.is(&code) && now < waiting.expires);
        waiting.map(|waiting| waiting.made_by.clone())
    }

    /// Certifies a key for an identity. `certify` issues, or says why not, knowing where the identity stands; its
    /// certificate, the end of the code and the beginning of the identity's active life are one commit.
    ///
    /// # Errors
    /// [`RegistryError::NotEnrollable`], [`RegistryError::Code`], [`RegistryError::KeyKnown`] for a key of somebody else
    /// or of a revoked certificate (CSA-CRD-02), the store's, or `certify`'s.
    pub(crate) fn certify<E: From<RegistryError>>(
        &self,
        id: IdentityId,
        key: KeyHash,
        entitlement: Entitlement,
        by: By<'_>,
        certify: impl FnOnce(&Standing) -> Result<Issued, E>,
    ) -> Result<Issued, E> {
        let _change = self.change.lock();
        let now = by.at;
        let mut standing = self.standing(id)?;
        expect_enrollable(&standing.row)?;
        if let Entitlement::Code(code) = entitlement
            && self.expected_from(id, code, now).is_none()
        {
            return Err(RegistryError::Code.into());
        }
        let known = self.state.read().credentials.get(&key).cloned();
        // One of the identity's own comes back only for its newest certificate, or when that is over: what it replaces has to
        // be void for everybody by then.
        let is_own = |row: &CredentialRow| {
            let is_newest = standing.newest.as_ref().is_some_and(|newest| newest.key == row.key);
            row.identity == id && row.revoked.is_none() && (is_newest || now >= row.not_after)
        };
        if known.is_some_and(|row| !is_own(&row)) {
            return Err(RegistryError::KeyKnown.into());
        }
        let issued = certify(&standing)?;
        let before = standing.row.clone();
        if standing.row.state == LifecycleState::Pending {
            standing.row.state = LifecycleState::Active;
            standing.row.state_reason = "enrolled".into();
            standing.row.changed = now;
        }
        let used_up = vec![RegistryOp::DeleteBlob { name: blob_name(id) }];
        self.apply(Some(&before), standing.row, vec![credential(id, &issued, now)], used_up, by)?;
        self.state.write().codes.remove(&id);
        self.seen(id, now);
        Ok(issued)
    }

    fn standing(&self, id: IdentityId) -> Result<Standing, RegistryError> {
        let state = self.state.read();
        let row = state.identities.get(&id).ok_or(RegistryError::Code)?;
        let newest = state.newest(id);
        let generation = newest.as_deref().map(generation).unwrap_or_default();
        let newest_seen = newest.is_some() && generation <= state.newest_used(id);
        Ok(Standing { row: (**row).clone(), newest, generation, newest_seen })
    }

    /// Notes that a certificate is in use: those before it are void from now on.
    pub(crate) fn used(&self, id: IdentityId, serial: &[u8]) {
        let generation = Generation::of_serial(serial).unwrap_or_default();
        if self.state.read().newest_used(id) >= generation {
            return;
        }
        {
            let mut state = self.state.write();
            let newest = state.newest_used.entry(id).or_default();
            *newest = generation.max(*newest);
        }
        self.superseding.lock().insert(id);
    }

    /// Writes down what [`Self::used`] voided since the last call.
    ///
    /// # Errors
    /// The store's; the next call tries again.
    pub(crate) fn flush_superseded(&self, now: UnixMillis) -> Result<(), StoreError> {
        let _change = self.change.lock();
        let ids = std::mem::take(&mut *self.superseding.lock());
        let rows: Vec<CredentialRow> = {
            let state = self.state.read();
            let rows = ids.iter().flat_map(|&id| state.keys_of(id)).filter_map(|key| state.credentials.get(&key));
            let void = rows.filter(|row| row.revoked.is_none() && state.is_superseded(row));
            void.map(|row| CredentialRow { revoked: Some(now), ..(**row).clone() }).collect()
        };
        let ops: Vec<_> = rows.iter().cloned().map(RegistryOp::PutCredential).collect();
        if let Err(error) = self.store.commit(&ops) {
            self.superseding.lock().extend(ids);
            return Err(error);
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut state = self.state.write();
        rows.into_iter().for_each(|row| state.put_credential(row));
        self.raise_revision();
        Ok(())
    }
}

/// Those who are in suspicion or out of service get no certificate.
fn expect_enrollable(row: &IdentityRow) -> Result<(), RegistryError> {
    match row.state {
        LifecycleState::Pending | LifecycleState::Active => Ok(()),
        state => Err(RegistryError::NotEnrollable { name: row.name.clone(), state }),
    }
}
