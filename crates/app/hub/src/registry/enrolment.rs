//! How an identity comes to its certificates: one-time codes, and one generation after the other.

use std::sync::Arc;

use portreeve_pki::{CodeHash, Generation, Issued};
use portreeve_store::{CredentialRow, IdentityRow, RegistryOp, StoreError};
use portreeve_types::{IdentityId, IdentityName, KeyHash, LifecycleState, UnixMillis};

use super::{By, DeviceIdentity, Registry, RegistryError, State, credential};

/// Why a certificate is refused after one that follows it was used.
pub(crate) const SUPERSEDED: &str = "superseded";

/// How often something is signed for one request that others overtake: each time somebody else has got a certificate.
const SIGNED_AGAIN_MAX: usize = 3;

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

/// Certificates of one identity whose time is not over, void or not, beyond which its maker's word gives it no more. All
/// are remembered, and listed as revoked, until then.
pub(super) const VOUCHED_CERTIFICATES_MAX: usize = 64;

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
    fn is_a_makers(self) -> bool {
        matches!(self, Self::Maker | Self::List | Self::Tpm)
    }

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

impl Standing {
    /// Whether what a certificate is issued by is the same.
    fn is_where(&self, other: &Self) -> bool {
        let newest = |standing: &Self| standing.newest.as_ref().map(|row| (row.key, row.serial.clone()));
        (self.generation, self.newest_seen, newest(self)) == (other.generation, other.newest_seen, newest(other))
    }
}

impl State {
    pub(super) fn newest(&self, id: IdentityId) -> Option<Arc<CredentialRow>> {
        let rows = self.keys_of(id).filter_map(|key| self.credentials.get(&key));
        rows.max_by_key(|row| (generation(row), row.issued, row.key)).cloned()
    }

    pub(super) fn newest_used(&self, id: IdentityId) -> Option<Generation> {
        self.newest_used.get(&id).copied()
    }

    /// At a start: which certificates were in use.
    pub(super) fn note_use(&mut self, row: &CredentialRow) {
        if row.used.is_some() {
            let newest = self.newest_used.entry(row.identity).or_default();
            *newest = generation(row).max(*newest);
        }
    }

    /// Whether a later certificate of the same identity is in use already.
    pub(super) fn is_superseded(&self, credential: &CredentialRow) -> bool {
        Some(generation(credential)) < self.newest_used(credential.identity)
    }

    /// What becomes of a certificate now that the newest one in use is known, if anything does.
    fn since_use(&self, row: &CredentialRow, now: UnixMillis) -> Option<CredentialRow> {
        if self.is_superseded(row) {
            return row.revoked.is_none().then(|| CredentialRow { revoked: Some(now), ..row.clone() });
        }
        let is_in_use = row.used.is_none() && Some(generation(row)) == self.newest_used(row.identity);
        is_in_use.then(|| CredentialRow { used: Some(now), ..row.clone() })
    }

    /// What is to be stored of a certificate that was issued: its row, and those that are void by it.
    fn with_void(&self, id: IdentityId, issued: &Issued, now: UnixMillis) -> Vec<CredentialRow> {
        // One that is sent once more is in use if it was before.
        let same = self.credentials.get(&issued.key).filter(|row| row.serial == issued.serial);
        let row = CredentialRow { used: same.and_then(|row| row.used), ..credential(id, issued, now) };
        let void = self.unused_beside(id, issued.key);
        let void = void.map(|row| CredentialRow { revoked: Some(now), ..(**row).clone() });
        std::iter::once(row).chain(void).collect()
    }

    /// The certificates of an identity that are in force and that nobody has come with yet, but for that of this key. One
    /// at most, unless an operator made more.
    fn unused_beside(&self, id: IdentityId, key: KeyHash) -> impl Iterator<Item = &Arc<CredentialRow>> {
        let used = self.newest_used(id);
        let rows = self.keys_of(id).filter_map(|key| self.credentials.get(&key));
        rows.filter(move |row| row.key != key && row.revoked.is_none() && Some(generation(row)) > used)
    }
}

pub(super) fn generation(row: &CredentialRow) -> Generation {
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
    /// certificate, the end of the code and the beginning of the identity's active life are one commit. So is the end of a
    /// certificate that was issued before and never used: whoever asks over and over with new keys has one of them.
    ///
    /// A token may take its time to sign, and no revocation waits for that: whatever `certify` went by is looked at again
    /// before the commit, and if it is different now, what was signed is thrown away.
    ///
    /// # Errors
    /// [`RegistryError::NotEnrollable`], [`RegistryError::TooManyCertificates`], [`RegistryError::Code`],
    /// [`RegistryError::KeyKnown`] for a key of somebody else, of a revoked certificate or of one that is forgotten
    /// (CSA-CRD-02), [`RegistryError::Overtaken`], the store's, or `certify`'s.
    pub(crate) fn certify<E: From<RegistryError>>(
        &self,
        id: IdentityId,
        key: KeyHash,
        entitlement: Entitlement,
        by: By<'_>,
        certify: impl Fn(&Standing) -> Result<Issued, E>,
    ) -> Result<Issued, E> {
        let now = by.at;
        for _ in 0..SIGNED_AGAIN_MAX {
            let seen = self.entitled(id, key, entitlement, now)?;
            let issued = certify(&seen)?;
            let _change = self.change.lock();
            let standing = self.entitled(id, key, entitlement, now)?;
            if !standing.is_where(&seen) {
                continue;
            }
            let mut row = standing.row.clone();
            if row.state == LifecycleState::Pending {
                row.state = LifecycleState::Active;
                row.state_reason = "enrolled".into();
                row.changed = now;
            }
            let used_up = vec![RegistryOp::DeleteBlob { name: blob_name(id) }];
            let credentials = self.state.read().with_void(id, &issued, now);
            self.apply(Some(&standing.row), row, credentials, used_up, by)?;
            self.state.write().codes.remove(&id);
            self.seen(id, now);
            return Ok(issued);
        }
        Err(RegistryError::Overtaken.into())
    }

    /// Where an identity stands, if it may have this key certified.
    fn entitled(
        &self,
        id: IdentityId,
        key: KeyHash,
        entitlement: Entitlement,
        now: UnixMillis,
    ) -> Result<Standing, RegistryError> {
        let standing = self.standing(id)?;
        expect_enrollable(&standing.row)?;
        if let Entitlement::Code(code) = entitlement
            && self.expected_from(id, code, now).is_none()
        {
            return Err(RegistryError::Code);
        }
        if entitlement.is_a_makers() && self.unended(id, now) >= VOUCHED_CERTIFICATES_MAX {
            return Err(RegistryError::TooManyCertificates(standing.row.name));
        }
        let known = self.state.read().credentials.get(&key).cloned();
        // One of the identity's own comes back only for its newest certificate, or when that is over: what it replaces has to
        // be void for everybody by then.
        let is_own = |row: &CredentialRow| {
            let is_newest = standing.newest.as_ref().is_some_and(|newest| newest.key == row.key);
            row.identity == id && row.revoked.is_none() && (is_newest || now >= row.not_after)
        };
        if known.map_or_else(|| self.state.read().is_spent(key), |row| !is_own(&row)) {
            return Err(RegistryError::KeyKnown);
        }
        Ok(standing)
    }

    /// Certificates of an identity that are not over.
    fn unended(&self, id: IdentityId, now: UnixMillis) -> usize {
        let state = self.state.read();
        state.keys_of(id).filter_map(|key| state.credentials.get(&key)).filter(|row| now < row.not_after).count()
    }

    fn standing(&self, id: IdentityId) -> Result<Standing, RegistryError> {
        let state = self.state.read();
        let row = state.identities.get(&id).ok_or(RegistryError::Code)?;
        let newest = state.newest(id);
        let generation = newest.as_deref().map(generation).unwrap_or_default();
        let newest_seen = newest.is_some() && Some(generation) <= state.newest_used(id);
        Ok(Standing { row: (**row).clone(), newest, generation, newest_seen })
    }

    /// Notes that a certificate is in use: those before it are void from now on. Returns whether one of these was in use.
    pub(crate) fn used(&self, identity: &DeviceIdentity) -> bool {
        let (id, generation) = (identity.id(), identity.generation());
        if self.state.read().newest_used(id) >= Some(generation) {
            return false;
        }
        let before = {
            let mut state = self.state.write();
            let before = state.newest_used(id);
            state.newest_used.insert(id, before.map_or(generation, |before| before.max(generation)));
            before
        };
        self.newly_used.lock().insert(id);
        before.is_some()
    }

    /// Whether a certificate of an identity is in use that came after this one.
    pub(crate) fn has_newer_in_use(&self, id: IdentityId, generation: Generation) -> bool {
        self.state.read().newest_used(id) > Some(generation)
    }

    /// Writes down which certificates [`Self::used`] was told of since the last call, and which it voided.
    ///
    /// # Errors
    /// The store's; the next call tries again.
    pub(crate) fn flush_used(&self, now: UnixMillis) -> Result<(), StoreError> {
        let _change = self.change.lock();
        let ids = std::mem::take(&mut *self.newly_used.lock());
        let rows: Vec<CredentialRow> = {
            let state = self.state.read();
            let rows = ids.iter().flat_map(|&id| state.keys_of(id)).filter_map(|key| state.credentials.get(&key));
            rows.filter_map(|row| state.since_use(row, now)).collect()
        };
        let ops: Vec<_> = rows.iter().cloned().map(RegistryOp::PutCredential).collect();
        if let Err(error) = self.store.commit(&ops) {
            self.newly_used.lock().extend(ids);
            return Err(error);
        }
        if rows.is_empty() {
            return Ok(());
        }
        let has_void = rows.iter().any(|row| row.revoked.is_some());
        let mut state = self.state.write();
        rows.into_iter().for_each(|row| state.put_credential(row));
        // That a certificate is in use changes no list.
        if has_void {
            self.raise_revision();
        }
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
