//! Certificates that are over are forgotten, so that renewals do not fill the registry; that their keys were certified is
//! not (CSA-CRD-02).

use std::{sync::Arc, time::Duration};

use portreeve_store::{CredentialRow, RegistryOp, SpentKey, StoreError};
use portreeve_types::{KeyHash, UnixMillis};

use super::{Registry, State, enrolment::generation, status::SerialKey};

/// Certificates that are forgotten in one commit, for which other changes wait. More go the next time.
const FORGOTTEN_AT_ONCE_MAX: usize = 10_000;

impl State {
    /// Whether a key was certified before, its certificate forgotten or not.
    pub(super) fn knows(&self, key: KeyHash) -> bool {
        self.credentials.contains_key(&key) || self.is_spent(key)
    }

    /// Whether a key was certified before and its certificate is forgotten.
    pub(super) fn is_spent(&self, key: KeyHash) -> bool {
        self.spent.contains(&SpentKey::from(key))
    }

    /// What decides about the next certificate stays, however old: without it a registry would look as if it had been set
    /// back, and one that was superseded as if it had not.
    fn decides(&self, row: &CredentialRow) -> bool {
        let is_newest_used = self.newest_used(row.identity) == Some(generation(row));
        is_newest_used || self.newest(row.identity).is_some_and(|newest| newest.key == row.key)
    }

    fn forget(&mut self, row: &CredentialRow) {
        self.credentials.remove(&row.key);
        self.keys.remove(&(row.identity, row.key));
        self.serials.remove(&SerialKey::of(&row.serial));
        self.spent.insert(row.key.into());
    }
}

impl Registry {
    /// Forgets certificates that have been over for longer than a revocation list is good: until then, one that was revoked
    /// is in it (RFC 5280 §3.3). Looks at all of them. Returns how many went.
    ///
    /// # Errors
    /// The store's; the next call tries again.
    pub(crate) fn forget_over(&self, list_valid: Duration, now: UnixMillis) -> Result<usize, StoreError> {
        let _change = self.change.lock();
        let rows: Vec<Arc<CredentialRow>> = {
            let state = self.state.read();
            let is_over = |row: &&Arc<CredentialRow>| now > row.not_after.plus(list_valid) && !state.decides(row);
            state.credentials.values().filter(is_over).take(FORGOTTEN_AT_ONCE_MAX).cloned().collect()
        };
        let ops: Vec<_> = rows.iter().map(|row| RegistryOp::SpendKey { key: row.key }).collect();
        self.store.commit(&ops)?;
        let mut state = self.state.write();
        rows.iter().for_each(|row| state.forget(row));
        Ok(rows.len())
    }
}

#[cfg(test)]
mod tests {
    use portreeve_pki::{Authority, CertificateStatus, GeneratedKey, Generation, Profile, Role};
    use portreeve_store::{IdentityRow, MemoryRegistry, RegistryContents, RegistryStore as _};
    use portreeve_types::Kind;

    use super::{
        super::{By, DeviceIdentity, Entitlement, Fields, RegistryError, enrolment::VOUCHED_CERTIFICATES_MAX},
        *,
    };

    const HOUR: Duration = Duration::from_secs(3600);
    const LIST_VALID: Duration = Duration::from_secs(86_400);

    struct Fleet {
        store: Arc<MemoryRegistry>,
        registry: Registry,
        authority: Authority,
        lamp: Arc<IdentityRow>,
        now: UnixMillis,
    }

    impl Fleet {
        fn new() -> Self {
            let now = UnixMillis::from(std::time::SystemTime::now());
            let store = Arc::new(MemoryRegistry::default());
            let registry = Registry::new(store.clone(), RegistryContents::default());
            let pending = |_: &IdentityRow| Ok::<_, RegistryError>(None);
            let by = By { actor: "alice", reason: "", at: now };
            let lamp = registry.add(&"lamp".parse().unwrap(), Kind::Device, &Fields::default(), by, pending).unwrap();
            Self { store, registry, authority: Authority::create(now).unwrap(), lamp, now }
        }

        fn reopen(self) -> Self {
            self.registry.flush_used(self.now).unwrap();
            Self { registry: Registry::new(self.store.clone(), self.store.load().unwrap()), ..self }
        }

        /// Certifies a key for an hour; the serial number.
        fn certify(&self, key: &GeneratedKey) -> Result<Vec<u8>, RegistryError> {
            let by = By { actor: "enrolment", reason: "", at: self.now };
            let issued = self.registry.certify(self.lamp.id, key.public.hash(), Entitlement::Maker, by, |standing| {
                let profile = Profile::new(Role::Client(Kind::Device)).with_lifetime(HOUR).unwrap();
                let generation = standing.newest.as_ref().map_or(Generation(0), |_| standing.generation.next());
                let ca = self.authority.device_ca().unwrap();
                Ok::<_, RegistryError>(
                    ca.issue_client(&profile, self.lamp.id, generation, &key.public, self.now).unwrap(),
                )
            });
            issued.map(|issued| issued.serial)
        }

        fn next(&self) -> Vec<u8> {
            self.certify(&new_key()).unwrap()
        }

        fn use_it(&self, serial: &[u8]) {
            let rows = self.registry.credentials(self.lamp.id);
            let row = rows.iter().find(|row| row.serial == serial).unwrap();
            let generation = generation(row);
            let identity = DeviceIdentity { row: Arc::clone(&self.lamp), generation, not_after: row.not_after };
            self.registry.used(&identity);
            self.registry.flush_used(self.now).unwrap();
        }

        fn live(&self) -> usize {
            self.registry.credentials(self.lamp.id).iter().filter(|row| row.revoked.is_none()).count()
        }

        fn is_good(&self, serial: &[u8]) -> bool {
            self.registry.certificate_status(serial) == CertificateStatus::Good
        }

        /// Lets so much time pass, and forgets; how many certificates are left.
        fn left_after(&mut self, time: Duration) -> usize {
            self.now = self.now.plus(time);
            self.registry.forget_over(LIST_VALID, self.now).unwrap();
            self.registry.credentials(self.lamp.id).len()
        }
    }

    fn new_key() -> GeneratedKey {
        portreeve_pki::generate_key().unwrap()
    }

    /// What somebody asks for and never uses does not pile up: the next takes its place, and whoever relies on
    /// certificates is told so. The one in use stays as it is, also across a restart.
    #[test]
    fn a_certificate_that_was_never_used_gives_way_to_the_next() {
        let fleet = Fleet::new();
        let [first, second, third] = [(); 3].map(|()| fleet.next());
        assert_eq!(fleet.live(), 1);
        assert!(!fleet.is_good(&first) && !fleet.is_good(&second) && fleet.is_good(&third));
        assert_eq!(fleet.registry.revoked().len(), 2, "they are listed");
        fleet.use_it(&third);
        let [fourth, fifth] = [(); 2].map(|()| fleet.next());
        let fleet = fleet.reopen();
        assert_eq!(fleet.live(), 2);
        assert!(fleet.is_good(&third) && !fleet.is_good(&fourth) && fleet.is_good(&fifth));
        fleet.use_it(&fifth);
        assert!(!fleet.is_good(&third) && fleet.live() == 1);
    }

    /// One that is sent once more, because the answer was lost, stays in use.
    #[test]
    fn a_certificate_in_use_that_is_sent_again_stays_in_use() {
        let fleet = Fleet::new();
        let key = new_key();
        let serial = fleet.certify(&key).unwrap();
        fleet.use_it(&serial);
        let by = By { actor: "enrolment", reason: "", at: fleet.now };
        let again = fleet.registry.certify(fleet.lamp.id, key.public.hash(), Entitlement::Maker, by, |standing| {
            let row = standing.newest.as_ref().unwrap();
            let validity = (row.not_before, row.not_after);
            let ca = fleet.authority.device_ca().unwrap();
            Ok::<_, RegistryError>(ca.repeat_client(fleet.lamp.id, &row.serial, &key.public, validity).unwrap())
        });
        assert_eq!(again.unwrap().serial, serial);
        let fleet = fleet.reopen();
        let _ = fleet.next();
        assert!(fleet.is_good(&serial));
    }

    /// A device that asks for ever is told to wait for the end of what it has, and its operator can still help it.
    #[test]
    fn an_identity_has_so_many_certificates_and_no_more() {
        let mut fleet = Fleet::new();
        for _ in 0..VOUCHED_CERTIFICATES_MAX {
            let _ = fleet.next();
        }
        assert!(matches!(fleet.certify(&new_key()), Err(RegistryError::TooManyCertificates(_))));
        fleet.now = fleet.now.plus(HOUR);
        let _ = fleet.next();
    }

    /// CSA-CRD-02: what is over goes, and its key is known for ever.
    #[test]
    fn what_is_over_is_forgotten_and_its_key_is_not() {
        let mut fleet = Fleet::new();
        let (old, other) = (new_key(), new_key());
        fleet.use_it(&fleet.certify(&old).unwrap());
        fleet.use_it(&fleet.certify(&other).unwrap());
        let _ = fleet.next();
        assert_eq!(fleet.left_after(LIST_VALID), 3, "a list may still have to name it");
        assert_eq!(fleet.left_after(2 * HOUR), 2, "the newest, and the newest in use");
        assert_eq!(fleet.left_after(LIST_VALID), 2);
        assert!(matches!(fleet.certify(&old), Err(RegistryError::KeyKnown)));
        let fleet = fleet.reopen();
        assert!(matches!(fleet.certify(&old), Err(RegistryError::KeyKnown)), "after a restart");
        let by = By { actor: "alice", reason: "", at: fleet.now };
        let theirs = fleet.registry.add(&"thief".parse().unwrap(), Kind::Device, &Fields::default(), by, |row| {
            let issued = fleet.authority.issue_device(row.id, &old.public, fleet.now, HOUR);
            Ok::<_, RegistryError>(Some(issued.unwrap()))
        });
        assert!(matches!(theirs, Err(RegistryError::KeyKnown)), "by somebody else");
        // The count goes on: whoever has an older certificate is still told from the right one.
        let serial = fleet.next();
        assert_eq!(Generation::of_serial(&serial), Some(Generation(3)));
    }

    #[test]
    fn no_more_is_forgotten_at_once_than_a_commit_should_hold() {
        let now = UnixMillis(1_000_000);
        let row = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let mut serial = vec![0x40; 16];
            serial[..4].copy_from_slice(&number.to_be_bytes());
            serial.extend((number % 2).to_be_bytes());
            // Two each, the newest of which stays.
            let identity = portreeve_types::IdentityId(uuid::Uuid::from_u128((number / 2).into()));
            let key = KeyHash(key);
            let (not_before, not_after, issued) = (now, now, now);
            CredentialRow { key, identity, serial, not_before, not_after, issued, revoked: Some(now), used: None }
        };
        let count = 2 * (u32::try_from(FORGOTTEN_AT_ONCE_MAX).unwrap() + 1);
        let contents = RegistryContents { credentials: (0..count).map(row).collect(), ..Default::default() };
        let registry = Registry::new(Arc::new(MemoryRegistry::default()), contents);
        let later = now.plus(2 * LIST_VALID);
        assert_eq!(registry.forget_over(LIST_VALID, now).unwrap(), 0);
        assert_eq!(registry.forget_over(LIST_VALID, later).unwrap(), FORGOTTEN_AT_ONCE_MAX);
        assert_eq!(registry.forget_over(LIST_VALID, later).unwrap(), 1);
        assert_eq!(registry.forget_over(LIST_VALID, later).unwrap(), 0);
    }
}
