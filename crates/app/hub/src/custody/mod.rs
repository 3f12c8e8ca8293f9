//! Custody of the private keys: the place that the configuration names, and the way to it.
//!
//! [`KeyAccess`] is the way, found once at the start; [`KeyRing`] holds the keys of one data directory.
//!
//! *Invariants*
//! - Passphrase and PIN are read once, before the process confines itself, and never from an argument or the environment.
//! - A running hub opens the keys of its issuing CAs and that of its listeners. The root's stays closed, here or elsewhere,
//!   but for the moment in which it certifies a new issuing CA or another root, or signs its list.
//! - The listeners sign in every handshake, so their key is in memory wherever the others are; it is sealed when they are.

mod offline;
mod show;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use portreeve_config::{KeyCustody, Keys};
use portreeve_keys::{
    Custody, FileCustody, Kdf, KeyAlgorithm, KeyError, KeyFacts, KeyName, Passphrase, PassphraseSource, Pkcs11Custody,
    SigningKey, TpmCustody, X509Key, tpm::TpmAddress,
};
use portreeve_pki::{
    CaKey, CaName, CaRole, IssuingKeys, PublicKeyData, SubjectPublicKey, name_in_series, number_in_series,
};
use portreeve_tls::HeldKey;
use portreeve_types::KeyHash;

pub use offline::{ProtectionChange, RootExport, change_protection, export_root};
pub(crate) use show::OwnCertificate;

/// The systemd credential that holds the passphrase or PIN.
const CREDENTIAL: &str = "portreeve-keys";
/// The first key of the listeners. Those that follow are numbered.
pub(crate) const LISTENERS: &str = "server";

/// The key that signs the heads of the audit ledger.
pub(crate) const LEDGER: &str = "ledger";

/// The key that cosigns the heads of other hubs' ledgers.
const COSIGNER: &str = "witness";

/// The key that signs the trust bundles of devices.
const TRUST: &str = "trust";

/// Why keys cannot be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{source}{advice}")]
pub struct CustodyError {
    source: KeyError,
    advice: String,
}

impl CustodyError {
    fn new(custody: KeyCustody, source: KeyError) -> Self {
        let advice = advice(custody, &source);
        let advice = if advice.is_empty() { advice } else { format!("\n{advice}") };
        Self { source, advice }
    }

    /// Whether the key is simply not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.source, KeyError::Missing { .. })
    }
}

/// What the user can do. The error itself says what is wrong.
fn advice(custody: KeyCustody, error: &KeyError) -> String {
    use KeyCustody::{File, Pkcs11, Sealed, Tpm};
    match (custody, error) {
        (Pkcs11, KeyError::WrongPassphrase(_)) => {
            "write its PIN into the file that keys.passphrase_file names; it was tried once, and is not tried again".into()
        }
        (_, KeyError::WrongPassphrase(_)) => {
            "give the passphrase with which these keys were made: in the file that keys.passphrase_file names, in the systemd credential portreeve-keys, or at the terminal".into()
        }
        (File, KeyError::PassphraseNeeded(_)) => "set keys.custody to \"sealed\"".into(),
        (_, KeyError::PassphraseNeeded(_) | KeyError::NoPassphrase { .. }) => format!(
            "write it into a file of mode 600 and name that in keys.passphrase_file, or hand the service the systemd credential {CREDENTIAL}"
        ),
        (Sealed, KeyError::NotSealed(_)) => {
            "seal the keys with `portreeve ca custody --to sealed` while no hub runs, or set keys.custody to \"file\"".into()
        }
        (Pkcs11, KeyError::Missing { .. }) => {
            "is it the token in which this hub's keys were made? If its module keeps it in files, keys.pkcs11_paths has to name them: the hub confines itself".into()
        }
        (_, KeyError::Missing { .. }) => {
            format!("keys.custody is \"{custody}\": is that where this hub's keys were made? If so, restore them from a backup")
        }
        (Pkcs11, KeyError::Exists { .. }) => {
            "another hub uses this token, or a first start was broken off: give this hub a token of its own".into()
        }
        (Pkcs11, KeyError::Device { .. }) => {
            "see keys.pkcs11_module and keys.pkcs11_token, and for what the module needs while the hub runs keys.pkcs11_paths and keys.pkcs11_ports".into()
        }
        (Tpm, KeyError::Device { .. } | KeyError::Io { .. } | KeyError::Unsupported { .. }) => {
            "see keys.tpm_tcti; the hub's user needs access to the TPM, which on most systems the group tss has".into()
        }
        _ => String::new(),
    }
}

/// How the keys are reached: the custody that the configuration names, and the passphrase or PIN that opens it.
#[derive(Debug)]
pub(crate) struct KeyAccess {
    custody: KeyCustody,
    door: Door,
}

#[derive(Debug)]
enum Door {
    File,
    Sealed(Passphrase),
    Pkcs11(Arc<Pkcs11Custody>),
    Tpm(TpmAddress, Option<Passphrase>),
}

impl KeyAccess {
    /// Finds the way. May ask on the terminal, for a new hub twice; loads the token's module and logs in.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub(crate) fn gather(config: &Keys, is_new: bool) -> Result<Self, CustodyError> {
        let custody = config.custody;
        let door = Door::gather(config, is_new).map_err(|error| CustodyError::new(custody, error))?;
        Ok(Self { custody, door })
    }

    /// The keys of the directory `pki`.
    pub(crate) fn ring(&self, pki: &Path) -> Result<KeyRing, CustodyError> {
        let open = || {
            let files = Arc::new(match &self.door {
                Door::Sealed(passphrase) => FileCustody::sealed(pki, passphrase.clone(), Kdf::default())?,
                Door::File | Door::Pkcs11(_) | Door::Tpm(..) => FileCustody::unsealed(pki)?,
            });
            let cas: Arc<dyn Custody> = match &self.door {
                Door::File | Door::Sealed(_) => Arc::clone(&files) as _,
                Door::Pkcs11(token) => Arc::clone(token) as _,
                Door::Tpm(address, passphrase) => {
                    Arc::new(TpmCustody::open(address.clone(), pki, passphrase.as_ref())?)
                }
            };
            Ok(KeyRing { custody: self.custody, pki: pki.to_owned(), cas, files })
        };
        open().map_err(|error| CustodyError::new(self.custody, error))
    }
}

impl Door {
    fn gather(config: &Keys, is_new: bool) -> Result<Self, KeyError> {
        let source = match config.passphrase_file.as_os_str().is_empty() {
            true => PassphraseSource::of_process(CREDENTIAL),
            false => PassphraseSource::File(config.passphrase_file.clone()),
        };
        Ok(match config.custody {
            KeyCustody::File => Self::File,
            KeyCustody::Sealed if is_new => Self::Sealed(source.read_new("the keys of the new CA")?),
            KeyCustody::Sealed => Self::Sealed(source.read("the keys of the CA")?),
            KeyCustody::Pkcs11 => {
                let pin = source.read(&format!("token {} (its PIN)", config.pkcs11_token))?;
                Self::Pkcs11(Arc::new(Pkcs11Custody::open(&config.pkcs11_module, &config.pkcs11_token, pin)?))
            }
            KeyCustody::Tpm => {
                let passphrase = (source != PassphraseSource::Terminal).then(|| source.read("the keys in the TPM"));
                Self::Tpm(config.tpm_tcti.parse()?, passphrase.transpose()?)
            }
        })
    }
}

/// The keys of one hub: those of its CAs, and that of its listeners.
#[derive(Debug)]
pub(crate) struct KeyRing {
    custody: KeyCustody,
    pki: PathBuf,
    cas: Arc<dyn Custody>,
    files: Arc<FileCustody>,
}

impl KeyRing {
    /// Makes the keys of a new authority: the root's, and those that issue.
    pub(crate) fn create(&self) -> Result<(NewKeys, CaKey, IssuingKeys), CustodyError> {
        let mut new = NewKeys { cas: Arc::clone(&self.cas), names: Vec::new() };
        // The root outlives the others by far, hence the longer key, where there can be one.
        let root = match self.create_one(&mut new, CaRole::Root, KeyAlgorithm::EcdsaP384) {
            Err(KeyError::Unsupported { .. }) => self.create_one(&mut new, CaRole::Root, KeyAlgorithm::EcdsaP256),
            made => made,
        };
        let mut issuing = |role| self.create_one(&mut new, role, KeyAlgorithm::EcdsaP256);
        let keys = root.and_then(|root| {
            Ok((root, IssuingKeys { devices: issuing(CaRole::Devices)?, hub: issuing(CaRole::Hub)? }))
        });
        let (root, issuing) = keys.map_err(|error| self.explain(error))?;
        Ok((new, root, issuing))
    }

    fn create_one(&self, new: &mut NewKeys, role: CaRole, algorithm: KeyAlgorithm) -> Result<CaKey, KeyError> {
        let name: KeyName = role.as_str().parse()?;
        let key = self.cas.create(&name, algorithm)?;
        new.names.push(name.clone());
        Ok(Arc::new(SigningCaKey { key: X509Key::new(key), name }))
    }

    /// Opens the key of a CA.
    pub(crate) fn ca_key(&self, ca: CaName) -> Result<CaKey, CustodyError> {
        self.open_one(ca).map_err(|error| self.explain(error))
    }

    /// The key of a CA that has no certificate yet: the one that waits for it, or a new one.
    pub(crate) fn waiting_ca_key(&self, ca: CaName) -> Result<CaKey, CustodyError> {
        self.open_or_create(&ca.to_string())
    }

    /// The same of a root: the longer key, where there can be one.
    pub(crate) fn waiting_root_key(&self, ca: CaName) -> Result<CaKey, CustodyError> {
        let key = match self.open_or_create_as(&ca.to_string(), KeyAlgorithm::EcdsaP384) {
            Err(KeyError::Unsupported { .. }) => self.open_or_create_as(&ca.to_string(), KeyAlgorithm::EcdsaP256),
            key => key,
        };
        key.map_err(|error| self.explain(error))
    }

    /// The key that signs what devices are to trust, the how many-th from 1.
    pub(crate) fn trust_key(&self, number: u32) -> Result<CaKey, CustodyError> {
        self.open_or_create(&name_in_series(TRUST, number))
    }

    /// Makes the key of a new ledger: with those of the CAs, or where that place has no Ed25519 (TPMs have not), in a file.
    pub(crate) fn create_ledger_key(&self, new: &mut NewKeys) -> Result<Arc<dyn SigningKey>, CustodyError> {
        let mut create = || {
            let (name, made, is_in_custody) = self.create_ed25519(LEDGER)?;
            if is_in_custody {
                new.names.push(name);
            }
            Ok(made)
        };
        create().map_err(|error| self.explain(error))
    }

    /// The key of the ledger.
    pub(crate) fn ledger_key(&self) -> Result<Arc<dyn SigningKey>, CustodyError> {
        self.open_ed25519(LEDGER).map_err(|error| self.explain(error))
    }

    /// The key that cosigns others' heads; made when it is needed first.
    pub(crate) fn cosigner_key(&self) -> Result<Arc<dyn SigningKey>, CustodyError> {
        let opened = match self.open_ed25519(COSIGNER) {
            Err(KeyError::Missing { .. }) => self.create_ed25519(COSIGNER).map(|(_, made, _)| made),
            opened => opened,
        };
        opened.map_err(|error| self.explain(error))
    }

    /// An Ed25519 key, and whether it is in the custody of the CAs: in a file where that makes none.
    fn create_ed25519(&self, name: &str) -> Result<(KeyName, Arc<dyn SigningKey>, bool), KeyError> {
        let name: KeyName = name.parse()?;
        match self.cas.create(&name, KeyAlgorithm::Ed25519) {
            Err(KeyError::Unsupported { .. }) => {
                let made = self.files.create(&name, KeyAlgorithm::Ed25519)?;
                Ok((name, made, false))
            }
            made => Ok((name, made?, true)),
        }
    }

    fn open_ed25519(&self, name: &str) -> Result<Arc<dyn SigningKey>, KeyError> {
        let name: KeyName = name.parse()?;
        match self.cas.open(&name) {
            Err(KeyError::Missing { .. }) => self.files.open(&name),
            opened => opened,
        }
    }

    /// Ends the keys that signed what devices are to trust before the one of this number.
    pub(crate) fn retire_trust_keys(&self, present: u32) -> Result<(), CustodyError> {
        let retire = || {
            let names = self.cas.list()?.into_iter().map(|facts| facts.name);
            let is_former = |name: &KeyName| number_in_series(TRUST, name.as_str()).is_some_and(|of| of < present);
            names.filter(is_former).try_for_each(|name| self.cas.destroy(&name))
        };
        retire().map_err(|error| self.explain(error))
    }

    fn open_or_create(&self, name: &str) -> Result<CaKey, CustodyError> {
        self.open_or_create_as(name, KeyAlgorithm::EcdsaP256).map_err(|error| self.explain(error))
    }

    fn open_or_create_as(&self, name: &str, algorithm: KeyAlgorithm) -> Result<CaKey, KeyError> {
        let name: KeyName = name.parse()?;
        let key = match self.cas.open(&name) {
            Err(KeyError::Missing { .. }) => self.cas.create(&name, algorithm)?,
            opened => opened?,
        };
        Ok(Arc::new(SigningCaKey { key: X509Key::new(key), name }))
    }

    /// Whether there is a key of this name, and which. It is not opened.
    pub(crate) fn ca_key_hash(&self, ca: CaName) -> Result<Option<KeyHash>, CustodyError> {
        let listed = self.cas.list().map_err(|error| self.explain(error))?;
        let found = listed.iter().find(|facts| facts.name.as_str() == ca.to_string());
        Ok(found.and_then(|facts| key_hash(facts.public.spki_der())))
    }

    fn open_one(&self, ca: CaName) -> Result<CaKey, KeyError> {
        let name: KeyName = ca.to_string().parse()?;
        let key = X509Key::new(self.cas.open(&name)?);
        Ok(Arc::new(SigningCaKey { key, name }))
    }

    /// The key of the listeners that a certificate is for, if it is here.
    pub(crate) fn listener_key(&self, certified: KeyHash) -> Result<Option<ListenerKey>, CustodyError> {
        let open = || match self.listener_keys()?.into_iter().find(|(_, hash)| *hash == Some(certified)) {
            Some((number, _)) => Ok(Some(ListenerKey { number, key: self.files.open(&listener_name(number)?)? })),
            None => Ok(None),
        };
        open().map_err(|error| self.explain(error))
    }

    /// The listeners' key that follows the one in use; made, if it was not yet. When none is in use, the newest there is.
    pub(crate) fn following_listener_key(&self, present: Option<&ListenerKey>) -> Result<ListenerKey, CustodyError> {
        let follow = || {
            let newest = self.listener_keys()?.last().map(|(number, _)| *number);
            let number = present.map_or(newest.unwrap_or(1), |present| present.number.saturating_add(1));
            let name = listener_name(number)?;
            let key = match newest.is_some_and(|newest| newest >= number) {
                true => self.files.open(&name)?,
                false => self.files.create(&name, KeyAlgorithm::EcdsaP256)?,
            };
            Ok(ListenerKey { number, key })
        };
        follow().map_err(|error| self.explain(error))
    }

    /// Ends the keys that the one in use has followed.
    pub(crate) fn retire_listener_keys(&self, present: &ListenerKey) -> Result<(), CustodyError> {
        let retire = || {
            let keys = self.listener_keys()?;
            let mut former = keys.iter().filter(|(number, _)| *number < present.number);
            former.try_for_each(|(number, _)| self.files.destroy(&listener_name(*number)?))
        };
        retire().map_err(|error| self.explain(error))
    }

    /// The listeners' keys that are there, by their numbers, in ascending order.
    fn listener_keys(&self) -> Result<Vec<(u32, Option<KeyHash>)>, KeyError> {
        let numbered = |facts: KeyFacts| {
            Some((number_in_series(LISTENERS, facts.name.as_str())?, key_hash(facts.public.spki_der())))
        };
        let mut keys: Vec<_> = self.files.list()?.into_iter().filter_map(numbered).collect();
        keys.sort_unstable_by_key(|(number, _)| *number);
        Ok(keys)
    }

    fn explain(&self, error: KeyError) -> CustodyError {
        CustodyError::new(self.custody, error)
    }
}

/// Keys that were just made. Unless they are kept, they are destroyed again: those in a token would stay behind when the
/// first start fails.
#[derive(Debug)]
pub(crate) struct NewKeys {
    cas: Arc<dyn Custody>,
    names: Vec<KeyName>,
}

impl NewKeys {
    pub(crate) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for NewKeys {
    fn drop(&mut self) {
        for name in &self.names {
            if let Err(error) = self.cas.destroy(name) {
                tracing::warn!(%error, "a key of a hub that could not be made stays behind");
            }
        }
    }
}

/// A CA's key, which tells the log when it cannot be used.
struct SigningCaKey {
    key: X509Key,
    name: KeyName,
}

impl PublicKeyData for SigningCaKey {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl rcgen::SigningKey for SigningCaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).inspect_err(|_| {
            if let Some(error) = self.key.take_failure() {
                tracing::error!(%error, key = %self.name, "a CA cannot sign");
            }
        })
    }
}

impl ListenerKey {
    /// What devices know it by.
    pub(crate) fn pin(&self) -> Option<KeyHash> {
        key_hash(self.spki_der())
    }
}

fn listener_name(number: u32) -> Result<KeyName, KeyError> {
    name_in_series(LISTENERS, number).parse()
}

fn key_hash(spki_der: &[u8]) -> Option<KeyHash> {
    SubjectPublicKey::from_spki_der(spki_der).ok().map(|key| key.hash())
}

/// The key that listeners show who they are with.
#[derive(Debug)]
pub(crate) struct ListenerKey {
    number: u32,
    key: Arc<dyn SigningKey>,
}

impl HeldKey for ListenerKey {
    fn spki_der(&self) -> &[u8] {
        self.key.public().spki_der()
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.key.sign(message).inspect_err(|error| tracing::error!(%error, "the listeners' key cannot sign")).ok()
    }
}

#[cfg(test)]
mod tests {
    use portreeve_keys::{KeyFacts, Protection};

    use super::*;

    /// A place that lacks one algorithm, and can hold only so many keys.
    #[derive(Debug)]
    struct Poor {
        files: FileCustody,
        keys_max: usize,
    }

    impl Custody for Poor {
        fn protection(&self) -> Protection {
            Protection::Tpm
        }

        fn create(&self, name: &KeyName, algorithm: KeyAlgorithm) -> Result<Arc<dyn SigningKey>, KeyError> {
            if algorithm == KeyAlgorithm::EcdsaP384 {
                return Err(KeyError::Unsupported { place: "here".into(), what: algorithm.to_string() });
            }
            if self.list()?.len() == self.keys_max {
                return Err(KeyError::Device { device: "here".into(), reason: "it is full".into() });
            }
            self.files.create(name, algorithm)
        }

        fn open(&self, name: &KeyName) -> Result<Arc<dyn SigningKey>, KeyError> {
            self.files.open(name)
        }

        fn list(&self) -> Result<Vec<KeyFacts>, KeyError> {
            self.files.list()
        }

        fn destroy(&self, name: &KeyName) -> Result<(), KeyError> {
            self.files.destroy(name)
        }
    }

    fn ring(pki: &Path, keys_max: usize) -> KeyRing {
        let files = Arc::new(FileCustody::unsealed(pki).unwrap());
        let cas = Arc::new(Poor { files: FileCustody::unsealed(pki).unwrap(), keys_max });
        KeyRing { custody: KeyCustody::Tpm, pki: pki.to_owned(), cas, files }
    }

    #[test]
    fn a_root_takes_the_longer_key_where_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let pki = directory.path().join("pki");
        let (new, root, _) = ring(&pki, 3).create().unwrap();
        assert_eq!(*rcgen::PublicKeyData::algorithm(&*root), rcgen::PKCS_ECDSA_P256_SHA256);
        new.keep();
        assert_eq!(ring(&pki, 3).cas.list().unwrap().len(), 3);

        let other = KeyAccess { custody: KeyCustody::File, door: Door::File };
        let (_, root, _) = other.ring(&directory.path().join("other")).unwrap().create().unwrap();
        assert_eq!(*rcgen::PublicKeyData::algorithm(&*root), rcgen::PKCS_ECDSA_P384_SHA384);
    }

    #[test]
    fn keys_that_nobody_keeps_go_again() {
        let directory = tempfile::tempdir().unwrap();
        let pki = directory.path().join("pki");
        for keys_max in 0..3 {
            let refused = ring(&pki, keys_max).create().map(drop).unwrap_err();
            assert!(refused.to_string().contains("it is full") && refused.to_string().contains("keys.tpm_tcti"));
            assert_eq!(ring(&pki, keys_max).cas.list().unwrap(), [], "{keys_max}");
        }
        drop(ring(&pki, 3).create().unwrap());
        assert_eq!(ring(&pki, 3).cas.list().unwrap(), []);
    }
}
