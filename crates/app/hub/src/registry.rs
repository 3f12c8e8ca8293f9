//! Who may connect: identities, their certificates and where each stands in its life.
//!
//! Everything is in memory; a change is in the store before it is in memory, and in memory before anybody is told.

mod census;
mod enrolment;
mod forget;
mod history;
mod import;
mod naming;
mod origin;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use portreeve_config::Inventory;
use portreeve_pki::{Generation, Issued, LeafFacts, Withdrawal};
use portreeve_policy::{Posture, Subject};
use portreeve_store::{CredentialRow, IdentityRow, RegistryContents, RegistryOp, RegistryStore, SpentKey, StoreError};
use portreeve_tls::{GateRefusal, LeafGate};
use portreeve_types::{IdentityId, IdentityName, KeyHash, Kind, LifecycleState, UnixMillis};
use uuid::Uuid;

use origin::Origins;
use status::SerialKey;

pub(crate) use census::{Census, is_in_service};
pub(crate) use enrolment::{Entitlement, SUPERSEDED, Standing, WaitingCode};
pub(crate) use history::{ASKED, By, DISPOSAL, WIPE, Word};
pub use naming::NamingError;
pub(crate) use origin::{Admitted, Newcomer, Voucher};

pub(crate) use import::{Effect, ImportError, Step};

/// Why the registry refused a change.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No identity has this name.
    #[error("there is no device, gateway or application named `{0}`; `portreeve device list` shows all")]
    Unknown(IdentityName),
    /// The name is taken.
    #[error("`{0}` is registered already; choose another name, or `portreeve device show {0}`")]
    Exists(IdentityName),
    /// The key is somebody's already: one key, one identity.
    #[error("this public key is registered already; make a new key pair")]
    KeyKnown,
    /// The life cycle has no such step.
    #[error("`{name}` is {from}; it cannot become {to}")]
    Transition {
        /// Who.
        name: IdentityName,
        /// State it is in.
        from: LifecycleState,
        /// State asked for.
        to: LifecycleState,
    },
    /// Nobody in this state gets a certificate.
    #[error("`{name}` is {state}; only a pending or active one gets a certificate")]
    NotEnrollable {
        /// Who.
        name: IdentityName,
        /// Its state.
        state: LifecycleState,
    },
    /// A maker vouches for a device whose name is somebody else's, or whose key is known from another maker.
    #[error("`{0}` is registered, and not as a device that this group vouches for")]
    Vouched(IdentityName),
    /// The group has brought as many devices without a certificate as it may.
    #[error("`{0}` has brought as many devices as may be without a certificate")]
    TooManyPending(IdentityName),
    /// It has asked for so many certificates on its maker's word that it has to wait until one of them is over.
    #[error("`{0}` has as many certificates that are not over as may be had without an operator's code")]
    TooManyCertificates(IdentityName),
    /// No such code waits for this identity: it is wrong, was used, or its time is over.
    #[error("the one-time code is wrong, was used before, or its time is over")]
    Code,
    /// Others changed the same identity, again and again, while something was signed for it.
    #[error("this identity was changed while its certificate was being signed; try again")]
    Overtaken,
    /// Text that is too long or holds control characters.
    #[error("{0} must be at most 256 characters without control characters")]
    Field(&'static str),
    /// The inventory's rules for names and groups refuse it.
    #[error(transparent)]
    Naming(#[from] NamingError),
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Descriptive fields of an identity; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Fields {
    /// Group that policies refer to.
    pub group: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it stands.
    pub location: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// Free text.
    pub notes: Option<String>,
}

/// What a history calls a certificate that was issued, which its serial number stands for.
const CERTIFICATE: &str = "certificate";
/// Longest descriptive field, characters.
pub(crate) const FIELD_CHARS_MAX: usize = 256;

/// Whether a text can stand in a descriptive field.
pub(crate) fn is_field(text: &str) -> bool {
    text.chars().count() <= FIELD_CHARS_MAX && !text.chars().any(char::is_control)
}

impl Fields {
    fn apply(&self, row: &mut IdentityRow) -> Result<(), RegistryError> {
        let fields = [
            ("group", &self.group, &mut row.group),
            ("owner", &self.owner, &mut row.owner),
            ("location", &self.location, &mut row.location),
            ("model", &self.model, &mut row.model),
            ("firmware", &self.firmware, &mut row.firmware),
            ("notes", &self.notes, &mut row.notes),
        ];
        for (name, given, field) in fields {
            let Some(text) = given else { continue };
            if !is_field(text) {
                return Err(RegistryError::Field(name));
            }
            field.clone_from(text);
        }
        Ok(())
    }
}

/// A certificate holder whom the registry admitted. Only [`Registry::authenticate`] makes one (IIITA-N4).
#[derive(Clone, Debug)]
pub struct DeviceIdentity {
    row: Arc<IdentityRow>,
    generation: Generation,
    /// The number of the CA that issued its certificate.
    issuer: u32,
    not_after: UnixMillis,
}

impl DeviceIdentity {
    /// Registry key.
    #[must_use]
    pub fn id(&self) -> IdentityId {
        self.row.id
    }

    /// Registered name.
    #[must_use]
    pub fn name(&self) -> &IdentityName {
        &self.row.name
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.row.kind
    }

    /// Which of its certificates it has shown.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// The number of the CA that issued it.
    pub(crate) fn issuer(&self) -> u32 {
        self.issuer
    }

    /// End of its certificate's validity; its sessions end then.
    #[must_use]
    pub fn not_after(&self) -> UnixMillis {
        self.not_after
    }
}

#[derive(Debug, Default)]
struct State {
    identities: HashMap<IdentityId, Arc<IdentityRow>>,
    names: BTreeMap<IdentityName, IdentityId>,
    credentials: HashMap<KeyHash, Arc<CredentialRow>>,
    /// The keys of the credentials, by whose they are.
    keys: BTreeSet<(IdentityId, KeyHash)>,
    /// One-time codes that wait for their devices.
    codes: HashMap<IdentityId, WaitingCode>,
    /// Keys that were certified once, their certificates forgotten.
    spent: HashSet<SpentKey>,
    /// The newest generation that somebody has connected with.
    newest_used: HashMap<IdentityId, Generation>,
    serials: HashMap<SerialKey, KeyHash>,
    origins: Origins,
    /// CAs that were withdrawn, by their numbers: what they issued is of no use but to have its key certified anew.
    withdrawn: BTreeMap<u32, Withdrawal>,
}

impl State {
    fn keys_of(&self, id: IdentityId) -> impl Iterator<Item = KeyHash> {
        self.keys.range((id, KeyHash([0; 32]))..=(id, KeyHash([0xff; 32]))).map(|(_, key)| *key)
    }

    fn put_identity(&mut self, row: Arc<IdentityRow>) {
        if row.state != LifecycleState::Pending {
            self.origins.settle(row.id);
        }
        self.names.insert(row.name.clone(), row.id);
        self.identities.insert(row.id, row);
    }

    /// The registered holder of a certificate, whoever issued it.
    fn holder(&self, leaf: &LeafFacts) -> Result<DeviceIdentity, GateRefusal> {
        let refuse = |identity, reason| Err(GateRefusal { identity, reason });
        let Some(credential) = self.credentials.get(&leaf.key) else { return refuse(leaf.identity, "unknown-key") };
        let identity = Some(credential.identity);
        let Some(row) = self.identities.get(&credential.identity) else { return refuse(identity, "unknown-identity") };
        // One whose identity is out of service altogether says nothing about copies of it.
        if row.state.may_connect() && self.is_superseded(credential) {
            return refuse(identity, SUPERSEDED);
        }
        if credential.revoked.is_some() {
            return refuse(identity, "revoked");
        }
        // Of a certificate that the registry did not see made, as by the thief of a CA's key, nothing counts.
        let is_registered = leaf.serial == credential.serial && leaf.not_after == credential.not_after;
        if leaf.identity != identity || !is_registered {
            return refuse(identity, "certificate-not-registered");
        }
        match row.state {
            // What a quarantined one may do, policy knows.
            state if state.may_connect() => {
                let (generation, issuer) = (enrolment::generation(credential), credential.issuer);
                Ok(DeviceIdentity { row: Arc::clone(row), generation, issuer, not_after: leaf.not_after })
            }
            other => refuse(identity, other.as_str()),
        }
    }

    fn put_credential(&mut self, row: CredentialRow) {
        let (key, serial) = (row.key, SerialKey::of(&row.serial));
        self.keys.insert((row.identity, key));
        self.serials.insert(serial, key);
        let before = self.credentials.insert(key, Arc::new(row));
        // The same key has another certificate now.
        if let Some(before) = before.map(|row| SerialKey::of(&row.serial)).filter(|before| *before != serial) {
            self.serials.remove(&before);
        }
    }
}

/// All identities and credentials.
pub struct Registry {
    store: Arc<dyn RegistryStore>,
    state: RwLock<State>,
    /// One change at a time: decide, store, apply.
    change: Mutex<()>,
    /// Contacts not yet written to the store.
    seen: Mutex<HashMap<IdentityId, UnixMillis>>,
    /// Identities with a certificate that is in use, and others that are void therefore, and not yet so in the store.
    newly_used: Mutex<BTreeSet<IdentityId>>,
    /// What new names must look like and whose their beginnings are.
    rules: ArcSwap<Inventory>,
    revision: AtomicU64,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("identities", &self.len()).finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn RegistryStore>, contents: RegistryContents) -> Self {
        let mut state = State::default();
        for row in contents.identities {
            state.names.insert(row.name.clone(), row.id);
            state.identities.insert(row.id, Arc::new(row));
        }
        for row in contents.credentials {
            state.note_use(&row);
            state.put_credential(row);
        }
        state.spent.extend(contents.spent);
        state.codes.extend(enrolment::stored_codes(&contents.blobs));
        let is_pending = |id| state.identities.get(&id).is_some_and(|row| row.state == LifecycleState::Pending);
        state.origins = Origins::resume(&contents.blobs, is_pending);
        Self {
            store,
            state: state.into(),
            change: Mutex::default(),
            seen: Mutex::default(),
            newly_used: Mutex::default(),
            rules: ArcSwap::default(),
            revision: AtomicU64::default(),
        }
    }

    /// From now on new names are held to these rules. Those that are there stay.
    pub(crate) fn set_rules(&self, rules: &Inventory) {
        self.rules.store(Arc::new(rules.clone()));
    }

    /// Registered identities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().identities.len()
    }

    /// Whether nobody is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn find(&self, name: &IdentityName) -> Result<Arc<IdentityRow>, RegistryError> {
        let state = self.state.read();
        let row = state.names.get(name).and_then(|id| state.identities.get(id));
        row.cloned().ok_or_else(|| RegistryError::Unknown(name.clone()))
    }

    /// The certificates of an identity, newest first.
    #[must_use]
    pub fn credentials(&self, id: IdentityId) -> Vec<Arc<CredentialRow>> {
        let state = self.state.read();
        let mut rows: Vec<_> = state.keys_of(id).filter_map(|key| state.credentials.get(&key).cloned()).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.issued, row.key)));
        rows
    }

    pub(crate) fn state_of(&self, id: IdentityId) -> Option<LifecycleState> {
        self.state.read().identities.get(&id).map(|row| row.state)
    }

    pub(crate) fn row(&self, id: IdentityId) -> Option<Arc<IdentityRow>> {
        self.state.read().identities.get(&id).cloned()
    }

    /// Certificate → registry row → life-cycle state.
    ///
    /// # Errors
    /// A fixed word for the log: `unknown-key`, `revoked`, or the state that is not active.
    pub fn authenticate(&self, leaf: &LeafFacts) -> Result<DeviceIdentity, GateRefusal> {
        let identity = self.state.read().holder(leaf)?;
        match self.withdrawal_of(identity.issuer) {
            None => Ok(identity),
            Some(_) => Err(GateRefusal { identity: Some(identity.id()), reason: "issuer-withdrawn" }),
        }
    }

    /// Whose certificate of a withdrawn CA this is, if its key may be certified anew. That the key is held is for the
    /// handshake to show; what the CA's signature said is said by the registry, which knows key, serial number and end.
    pub(crate) fn returning(&self, leaf: &LeafFacts, now: UnixMillis) -> Option<DeviceIdentity> {
        let identity = self.state.read().holder(leaf).ok()?;
        let withdrawal = self.withdrawal_of(identity.issuer)?;
        let in_time = leaf.not_before <= now && now < leaf.not_after;
        (withdrawal.known_may_renew && in_time).then_some(identity)
    }

    /// Whether the CA of this number was withdrawn, and how.
    pub(crate) fn withdrawal_of(&self, issuer: u32) -> Option<Withdrawal> {
        self.state.read().withdrawn.get(&issuer).copied()
    }

    /// From now on certificates of this CA admit nobody.
    pub(crate) fn refuse_issued_by(&self, issuer: u32, withdrawal: Withdrawal) {
        self.state.write().withdrawn.insert(issuer, withdrawal);
        self.raise_revision();
    }

    /// The CAs whose certificates admit nobody.
    pub(crate) fn set_withdrawn(&self, withdrawn: BTreeMap<u32, Withdrawal>) {
        self.state.write().withdrawn = withdrawn;
        self.raise_revision();
    }

    /// Registers an identity. `certify` may issue its first certificate, which is stored in the same commit: an operator
    /// vouches for it, so it is active at once. Without one it is pending until it enrols. What `certify` refuses is not
    /// registered.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], [`RegistryError::Field`], [`RegistryError::Naming`], [`RegistryError::KeyKnown`], the
    /// store's, or `certify`'s.
    pub(crate) fn add<E: From<RegistryError>>(
        &self,
        name: &IdentityName,
        kind: Kind,
        fields: &Fields,
        by: By<'_>,
        certify: impl FnOnce(&IdentityRow) -> Result<Option<Issued>, E>,
    ) -> Result<Arc<IdentityRow>, E> {
        let expect_free = || match self.state.read().names.contains_key(name) {
            true => Err(RegistryError::Exists(name.clone())),
            false => Ok(()),
        };
        expect_free()?;
        let mut row = pending(name, kind, by.at);
        fields.apply(&mut row)?;
        naming::check(&self.rules.load(), name.as_str(), &row.group).map_err(RegistryError::from)?;
        // No revocation waits while a token signs.
        let credential = certify(&row)?.map(|issued| credential(row.id, &issued, by.at));
        let _change = self.change.lock();
        expect_free()?;
        if credential.as_ref().is_some_and(|row| self.state.read().knows(row.key)) {
            return Err(RegistryError::KeyKnown.into());
        }
        if credential.is_some() {
            row.state = LifecycleState::Active;
        }
        Ok(self.apply(None, row, credential.into_iter().collect(), Vec::new(), by)?)
    }

    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Field`], [`RegistryError::Naming`], or the store's.
    pub(crate) fn edit(
        &self,
        name: &IdentityName,
        fields: &Fields,
        by: By<'_>,
    ) -> Result<Arc<IdentityRow>, RegistryError> {
        let _change = self.change.lock();
        let before = self.find(name)?;
        let mut row = (*before).clone();
        fields.apply(&mut row)?;
        if row.group != before.group {
            naming::check_group(&self.rules.load(), name.as_str(), &row.group)?;
        }
        row.changed = by.at;
        self.apply(Some(&before), row, Vec::new(), Vec::new(), by)
    }

    /// Whether the life cycle has this step. Revoked and retired are for ever.
    #[must_use]
    pub fn may_become(from: LifecycleState, to: LifecycleState) -> bool {
        use LifecycleState::{Active, Disabled, Pending, Quarantined, Retired, Revoked};
        match (from, to) {
            (Retired, _) | (_, Pending) => false,
            (Revoked, Retired) => true,
            (Revoked, _) => false,
            (Pending | Active | Quarantined | Disabled, Active | Quarantined | Disabled | Revoked | Retired) => {
                from != to
            }
        }
    }

    /// Moves an identity along its life; a revocation voids its certificates in the same commit.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Transition`], or the store's.
    pub(crate) fn set_state(
        &self,
        name: &IdentityName,
        to: LifecycleState,
        by: By<'_>,
    ) -> Result<Arc<IdentityRow>, RegistryError> {
        let _change = self.change.lock();
        let before = self.find(name)?;
        let mut row = (*before).clone();
        if !Self::may_become(row.state, to) {
            return Err(RegistryError::Transition { name: name.clone(), from: row.state, to });
        }
        let mut ops = Vec::new();
        if matches!(to, LifecycleState::Revoked | LifecycleState::Retired) {
            let live = self.credentials(row.id).into_iter().filter(|credential| credential.revoked.is_none());
            ops.extend(live.map(|credential| CredentialRow { revoked: Some(by.at), ..(*credential).clone() }));
        }
        row.state = to;
        row.state_reason = by.reason.chars().filter(|c| !c.is_control()).take(FIELD_CHARS_MAX).collect();
        row.changed = by.at;
        let reason = row.state_reason.clone();
        self.apply(Some(&before), row, ops, Vec::new(), By { reason: &reason, ..by })
    }

    /// Stores an identity as it is now, its certificates that are new or changed, what is different from `before`, and in
    /// the same commit `ops`.
    fn apply(
        &self,
        before: Option<&IdentityRow>,
        row: IdentityRow,
        credentials: Vec<CredentialRow>,
        mut ops: Vec<RegistryOp>,
        by: By<'_>,
    ) -> Result<Arc<IdentityRow>, RegistryError> {
        ops.push(RegistryOp::PutIdentity(row.clone()));
        ops.extend(by.differences(before, &row));
        let is_known = |serial: &[u8]| self.state.read().by_serial(serial).is_some();
        let issued = credentials.iter().filter(|credential| !is_known(&credential.serial));
        ops.extend(issued.map(|credential| by.change(row.id, CERTIFICATE, "", &hex::encode(&credential.serial))));
        ops.extend(credentials.iter().cloned().map(RegistryOp::PutCredential));
        self.store.commit(&ops)?;
        let row = Arc::new(row);
        let mut state = self.state.write();
        state.put_identity(Arc::clone(&row));
        credentials.into_iter().for_each(|row| state.put_credential(row));
        self.raise_revision();
        Ok(row)
    }

    /// Notes a contact; written to the store by [`Self::flush_seen`].
    pub(crate) fn seen(&self, id: IdentityId, now: UnixMillis) {
        self.seen.lock().insert(id, now);
    }

    /// The latest contact, written to the store or not.
    #[must_use]
    pub fn last_seen(&self, row: &IdentityRow) -> Option<UnixMillis> {
        self.seen.lock().get(&row.id).copied().max(row.last_seen)
    }

    /// When an identity was last connected, changed by an operator, or registered.
    pub(crate) fn last_used(&self, row: &IdentityRow) -> UnixMillis {
        self.last_seen(row).unwrap_or_default().max(row.changed).max(row.created)
    }

    /// Active identities that were last used so long ago or longer.
    pub(crate) fn unused_for(&self, time: Duration, now: UnixMillis) -> Vec<Arc<IdentityRow>> {
        let seen = self.seen.lock().clone();
        let state = self.state.read();
        let last = |row: &IdentityRow| seen.get(&row.id).copied().max(row.last_seen).unwrap_or_default();
        let is_unused = |row: &&Arc<IdentityRow>| {
            row.state == LifecycleState::Active && now.since(last(row).max(row.changed).max(row.created)) >= time
        };
        state.identities.values().filter(is_unused).cloned().collect()
    }

    /// Writes the contacts since the last call, bounded by the number of identities.
    ///
    /// # Errors
    /// The store's; the contacts are kept for the next call.
    pub(crate) fn flush_seen(&self) -> Result<(), StoreError> {
        let _change = self.change.lock();
        let seen = std::mem::take(&mut *self.seen.lock());
        let mut rows = Vec::with_capacity(seen.len());
        for (id, at) in &seen {
            rows.extend(self.row(*id).map(|row| IdentityRow { last_seen: Some(*at), ..(*row).clone() }));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let ops: Vec<_> = rows.iter().cloned().map(RegistryOp::PutIdentity).collect();
        if let Err(error) = self.store.commit(&ops) {
            let mut newer = self.seen.lock();
            for (id, at) in seen {
                newer.entry(id).or_insert(at);
            }
            return Err(error);
        }
        let mut state = self.state.write();
        state.identities.extend(rows.into_iter().map(|row| (row.id, Arc::new(row))));
        Ok(())
    }

    /// Keeps named bytes (the applied policy).
    pub(crate) fn put_blobs(&self, ops: &[RegistryOp]) -> Result<(), StoreError> {
        let _change = self.change.lock();
        self.store.commit(ops)
    }

    /// How many are in service: registered, and not revoked or retired.
    pub(crate) fn in_service(&self) -> u64 {
        let is_over = |row: &IdentityRow| matches!(row.state, LifecycleState::Revoked | LifecycleState::Retired);
        self.state.read().identities.values().filter(|row| !is_over(row)).count() as u64
    }

    /// Every active identity.
    pub(crate) fn active(&self) -> Vec<Arc<IdentityRow>> {
        let state = self.state.read();
        state.identities.values().filter(|row| row.state == LifecycleState::Active).cloned().collect()
    }
}

/// A new identity of which nothing is known yet.
fn pending(name: &IdentityName, kind: Kind, now: UnixMillis) -> IdentityRow {
    IdentityRow {
        id: IdentityId(Uuid::new_v4()),
        name: name.clone(),
        kind,
        group: String::new(),
        owner: String::new(),
        location: String::new(),
        model: String::new(),
        firmware: String::new(),
        notes: String::new(),
        state: LifecycleState::Pending,
        state_reason: "registered by an operator".into(),
        created: now,
        changed: now,
        last_seen: None,
    }
}

fn credential(identity: IdentityId, issued: &Issued, now: UnixMillis) -> CredentialRow {
    CredentialRow {
        key: issued.key,
        identity,
        serial: issued.serial.clone(),
        issuer: issued.issuer,
        not_before: issued.not_before,
        not_after: issued.not_after,
        issued: now,
        revoked: None,
        used: None,
    }
}

/// What policies see of an identity.
/// What policies are told of an identity, but for its posture, which the configuration decides.
pub(crate) fn subject_of(row: &IdentityRow) -> Subject {
    Subject {
        id: row.id,
        name: row.name.clone(),
        kind: row.kind,
        group: row.group.clone(),
        owner: row.owner.clone(),
        location: row.location.clone(),
        model: row.model.clone(),
        firmware: row.firmware.clone(),
        posture: Posture::Current,
        state: row.state,
    }
}

/// Asks the registry about a leaf during the handshake, before the peer counts as connected.
#[derive(Debug)]
pub(crate) struct RegistryGate(pub(crate) Arc<Registry>);

impl LeafGate for RegistryGate {
    fn check(&self, leaf_der: &[u8]) -> Result<(), GateRefusal> {
        let facts = portreeve_pki::leaf_facts(leaf_der)
            .map_err(|_| GateRefusal { identity: None, reason: "malformed-certificate" })?;
        self.0.authenticate(&facts).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use portreeve_pki::{Authority, Generation, Profile, Role};
    use portreeve_store::MemoryRegistry;

    use super::{enrolment::Entitlement, *};

    const BY: By<'_> = By { actor: "alice", reason: "stolen", at: UnixMillis(7) };

    /// Whatever changes of an identity is kept with who did it and why, in the commit that changes it.
    #[test]
    fn every_change_has_its_author() {
        let registry = Registry::new(Arc::new(MemoryRegistry::default()), RegistryContents::default());
        let name: IdentityName = "lamp-1".parse().unwrap();
        let fields = Fields { group: Some("lamps".into()), ..Fields::default() };
        let pending = |_: &IdentityRow| Ok::<_, RegistryError>(None);
        registry.add(&name, Kind::Device, &fields, By { reason: "", ..BY }, pending).unwrap();
        let moved = Fields { group: Some("hall".into()), owner: Some(String::new()), ..Fields::default() };
        registry.edit(&name, &moved, By { actor: "bob", reason: "", at: UnixMillis(8) }).unwrap();
        registry.set_state(&name, LifecycleState::Revoked, By { actor: "carol", at: UnixMillis(9), ..BY }).unwrap();
        assert!(registry.set_state(&name, LifecycleState::Active, BY).is_err(), "and no change leaves none");
        let changes = registry.history(&registry.find(&name).unwrap()).unwrap();
        let told: Vec<String> = changes
            .iter()
            .map(|row| format!("{} {} {} {}→{} {}", row.at.0, row.actor, row.field, row.before, row.after, row.reason))
            .collect();
        let expected = [
            "7 alice name →lamp-1 ",
            "7 alice kind →device ",
            "7 alice group →lamps ",
            "7 alice state →pending ",
            "8 bob group lamps→hall ",
            "9 carol state pending→revoked stolen",
        ];
        assert_eq!(told, expected);
    }

    /// One key, one identity: also after the first holder was revoked, and across a restart.
    #[test]
    fn a_key_that_is_known_is_refused_for_ever() {
        let now = UnixMillis::from(std::time::SystemTime::now());
        let store = Arc::new(MemoryRegistry::default());
        let registry = Registry::new(store.clone(), RegistryContents::default());
        let authority = Authority::create(now).unwrap();
        let key = portreeve_pki::generate_key().unwrap();
        let add = |registry: &Registry, name: &str| {
            registry.add(&name.parse().unwrap(), Kind::Device, &Fields::default(), BY, |row| {
                let issued = authority.issue_device(row.id, &key.public, now, Duration::from_secs(3600));
                Ok::<_, RegistryError>(Some(issued.unwrap()))
            })
        };
        add(&registry, "first").unwrap();
        assert!(matches!(add(&registry, "second"), Err(RegistryError::KeyKnown)));
        assert!(registry.find(&"second".parse().unwrap()).is_err(), "nothing of it was registered");
        registry.set_state(&"first".parse().unwrap(), LifecycleState::Revoked, BY).unwrap();
        assert!(matches!(add(&registry, "third"), Err(RegistryError::KeyKnown)));
        let reopened = Registry::new(store.clone(), store.load().unwrap());
        assert!(matches!(add(&reopened, "fourth"), Err(RegistryError::KeyKnown)));
    }

    /// A registry with one device, and the CA that certifies its keys.
    struct Signing {
        registry: Registry,
        authority: Authority,
        now: UnixMillis,
        id: IdentityId,
    }

    impl Signing {
        fn new() -> Self {
            let now = UnixMillis::from(std::time::SystemTime::now());
            let registry = Registry::new(Arc::new(MemoryRegistry::default()), RegistryContents::default());
            let pending = |_: &IdentityRow| Ok::<_, RegistryError>(None);
            let by = By { at: now, ..BY };
            let lamp = registry.add(&lamp(), Kind::Device, &Fields::default(), by, pending).unwrap();
            Self { registry, authority: Authority::create(now).unwrap(), now, id: lamp.id }
        }

        /// Certifies a new key; `meanwhile` happens while the CA signs.
        fn certify(&self, meanwhile: &dyn Fn()) -> Result<Issued, RegistryError> {
            let key = portreeve_pki::generate_key().unwrap().public;
            let by = By { at: self.now, ..BY };
            self.registry.certify(self.id, key.hash(), Entitlement::Certificate, by, |standing| {
                meanwhile();
                let generation = standing.newest.as_ref().map_or(Generation::default(), |_| standing.generation.next());
                let profile = Profile::new(Role::Client(Kind::Device));
                let ca = self.authority.device_ca().unwrap();
                Ok(ca.issue_client(&profile, self.id, generation, &key, self.now).unwrap())
            })
        }
    }

    fn lamp() -> IdentityName {
        "lamp-1".parse().unwrap()
    }

    /// While a token signs, whoever is revoked is revoked, and what was signed is nobody's.
    #[test]
    fn no_revocation_waits_for_a_signature() {
        let signing = Signing::new();
        let by = By { at: signing.now, ..BY };
        let issued =
            signing.certify(&|| drop(signing.registry.set_state(&lamp(), LifecycleState::Revoked, by).unwrap()));
        assert!(matches!(issued, Err(RegistryError::NotEnrollable { .. })));
        assert!(signing.registry.state.read().credentials.is_empty());
    }

    /// Two at once get one generation after the other; and who is overtaken again and again is told, and does not sign for
    /// ever.
    #[test]
    fn what_others_got_first_counts() {
        let signing = Signing::new();
        let times = Cell::new(0);
        let overtaken = |most: usize| {
            times.set(0);
            signing.certify(&|| {
                times.set(times.get() + 1);
                if times.get() <= most {
                    signing.certify(&|| {}).unwrap();
                }
            })
        };
        let serial = overtaken(1).unwrap().serial;
        assert_eq!(Generation::of_serial(&serial), Some(Generation::default().next()));
        assert!(matches!(overtaken(usize::MAX), Err(RegistryError::Overtaken)));
        assert_eq!(times.get(), 3);
    }
}
