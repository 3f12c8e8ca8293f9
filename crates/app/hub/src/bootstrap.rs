//! The data directory: made whole on the first start, checked on every later one.
//!
//! ```text
//! DIR/            0700
//!   pki/          root, issuing CAs, the hub's own certificate; keys 0600, or in the custody that `keys.custody` names
//!   ledger/       what happened, signed; verifier.key is what to verify it with
//!   ledger-personal/  what opens the personal values of its entries
//!   witness/      the last heads of other hubs' ledgers, and forks
//!   registry.redb identities, credentials, policy
//!   sessions.redb sessions, queues, retained messages
//!   sessions.log.0, sessions.log.1  the newest of them, not yet in sessions.redb
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::{Mutex, RwLock};
use portreeve_alert::AlertSettings;
use portreeve_config::{Config, DeviceKey, Enrolment};
use portreeve_events::{Datum, Event, Events, Kind};
use portreeve_ledger_files::Folder;
use portreeve_pki::{Authority, CaName, CaRole, CaSigner, IssuingRefusal, PkiError};
use portreeve_policy::{Epoch, PolicySet};
use portreeve_store::{Health, Journal, JournalLimits, Progress, RedbStore, RegistryStore, SessionStore, StoreError};
use portreeve_tls::{ClientKeys, ServerTls, TlsError};
use portreeve_types::UnixMillis;

use crate::{
    CommitWatch, Hub, Registry, Upkeep,
    ca_files::CaFiles,
    custody::{CustodyError, KeyAccess, KeyRing, NewKeys},
    gate_of,
    key_duties::KeyDuties,
    ledger::{self, Recorder},
    limits, listener, policies, succession,
    withdrawal::write_root_list,
};

/// Why a hub cannot be opened, or its CAs not be replaced. Each says what to do; nothing was half-created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory is somebody else's.
    #[error("{} holds other files and no hub; choose an empty or new data directory with --data", .0.display())]
    NotADataDirectory(PathBuf),
    /// Others could read the keys.
    #[error("{path} can be read by others (mode {mode:03o}); it holds private keys: chmod 700 {path}", path = path.display())]
    TooOpen {
        /// The data directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate authority's files do not hold together.
    #[error("{}: {source}", path.display())]
    Pki {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: PkiError,
    },
    /// An issuing CA cannot be followed by another here.
    #[error(
        "the root's key is not here, which has to sign: copy {root}.key back into {}, or have {what} signed where it is: `portreeve ca request` and `portreeve ca import`, as OPERATIONS.md shows",
        pki.display()
    )]
    NoRootKey {
        /// The root.
        root: CaName,
        /// The issuing CA, or what else is to be signed.
        what: &'static str,
        /// Where the key belongs.
        pki: PathBuf,
    },
    /// As many CAs for devices are in use as may be.
    #[error(
        "{0} CAs for devices are in use, and no more may be: wait until the certificates of the oldest have ended (`portreeve ca show`)"
    )]
    TooManyCas(usize),
    /// Nobody asked for this certificate of an issuing CA.
    #[error(
        "no key waits for this certificate: `portreeve ca request devices` (or hub) makes key and request; sign that request"
    )]
    NotRequested,
    /// The certificate of a new issuing CA cannot be taken, or not be made.
    #[error("the new issuing CA: {0}")]
    Issuing(#[from] IssuingRefusal),
    /// An issuing CA has ended, and nothing follows.
    #[error("{file} has ended, and a successor could not be made: {source}")]
    CaEnded {
        /// Its certificate.
        file: String,
        /// Why nothing follows.
        source: Box<OpenError>,
    },
    /// The private keys cannot be had.
    #[error(transparent)]
    Keys(#[from] CustodyError),
    /// The private keys are where nothing gets out.
    #[error(
        "keys.custody is {0:?}: these keys were made where they are and cannot leave it; only keys in files can be copied, sealed or unsealed"
    )]
    NoExport(&'static str),
    /// The hub's own certificate cannot be used.
    #[error("the hub's certificate cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger cannot be gone on with.
    #[error("{}: {source}; a hub without its ledger does not start: restore it from a backup, or see what was done to it", path.display())]
    Ledger {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: portreeve_ledger_files::OpenError,
    },
    /// Other hubs' ledgers cannot be watched.
    #[error(transparent)]
    Cosigner(#[from] ledger::CosignerError),
    /// Detection cannot be set up.
    #[error("the settings of detection: {0}")]
    Detection(String),
    /// The applied policy no longer compiles.
    #[error("the applied policy does not compile with this version:\n{0}")]
    Policy(String),
}

pub(crate) fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OpenError + use<'a> {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}

/// A data directory that is there and checked, and the way to its keys.
#[derive(Debug)]
pub struct Prepared {
    data: PathBuf,
    keys: KeyAccess,
}

impl Prepared {
    /// The authority of this directory, whose keys it opens.
    ///
    /// # Errors
    /// [`OpenError::Keys`] and [`OpenError::Pki`].
    pub fn authority(&self, now: UnixMillis) -> Result<Authority, OpenError> {
        let pki = self.data.join("pki");
        read_authority(&pki, &self.keys.ring(&pki)?, now)
    }

    /// The settings of alerts that are applied, for a process that confines itself to what they need. A store that cannot be
    /// read says so when the hub is opened.
    #[must_use]
    pub fn alert_settings(&self) -> Option<AlertSettings> {
        crate::alerts::stored_settings(&self.data)
    }
}

impl From<PkiError> for OpenError {
    fn from(error: PkiError) -> Self {
        Self::Issuing(error.into())
    }
}

impl Hub {
    /// Makes the data directory if there is none, or checks that it is one, and finds the way to the keys, for which it
    /// may ask on the terminal. [`Hub::open`] does the same first. Apart from it, because a process that confines itself to
    /// this directory must do so before the hub's threads start, and after a token's module was loaded.
    ///
    /// # Errors
    /// [`OpenError`]; a first start that fails leaves nothing behind.
    pub fn prepare(data: &Path, config: &Config, now: UnixMillis) -> Result<Prepared, OpenError> {
        let data = std::path::absolute(data).map_err(io_error("resolve", data))?;
        let is_new = is_to_be_made(&data)?;
        let keys = KeyAccess::gather(&config.keys, is_new)?;
        if is_new {
            create_directory(&data, &keys, now)?;
        }
        Ok(Prepared { data, keys })
    }

    /// Opens the hub in `data`, making everything on the first start.
    ///
    /// # Errors
    /// [`OpenError`]; a first start that fails leaves nothing behind.
    pub fn open(data: &Path, config: Config, now: UnixMillis) -> Result<Arc<Self>, OpenError> {
        Self::open_prepared(&Self::prepare(data, &config, now)?, config, now)
    }

    /// Opens the hub in a data directory that was prepared.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_prepared(prepared: &Prepared, config: Config, now: UnixMillis) -> Result<Arc<Self>, OpenError> {
        let Prepared { data, keys } = prepared;
        let pki = data.join("pki");
        let keys = keys.ring(&pki)?;
        // Before the store: who cannot open the keys changes nothing.
        let authority = succession::authority(&pki, &keys, now)?;
        let store = RedbStore::open(data, config.store.cache_bytes)?;
        let (registry_store, session_store): (Arc<dyn RegistryStore>, Arc<dyn SessionStore>) =
            (Arc::new(store.registry), Arc::new(store.sessions));
        let registry_contents = registry_store.load()?;
        let session_contents = session_store.load()?;
        let sources = policies::stored_sources(&registry_contents.blobs).map_err(OpenError::Policy)?;
        let policy = PolicySet::compile(&sources, Epoch(1)).map_err(|d| OpenError::Policy(policies::join(&d)))?;
        let ledger_key = keys.ledger_key()?;
        let ledger = ledger::open(data, &*ledger_key)
            .map_err(|source| OpenError::Ledger { path: data.join(ledger::FOLDER), source })?;
        let (entries, unsealed) = (ledger.size(), ledger.size() - ledger.sealed());
        let watched = ledger::watched(&config.ledger.watches)?;
        let cosigner = if watched.is_empty() {
            None
        } else {
            Some(ledger::Cosigner::open(data, watched, ledger.key(), keys.cosigner_key()?)?)
        };
        let openings = ledger::Openings::new(Folder::new(&data.join(ledger::OPENINGS_FOLDER)));
        let hub_credentials = listener::certificate(&pki, &authority, &keys, &config, now)?;
        let groups = crate::enrol::Groups::resume(&registry_contents.blobs);
        let approvals = crate::approvals::Approvals::resume(&registry_contents.blobs);
        let attestations = crate::attestations::Attestations::resume(&registry_contents.blobs);
        let sboms = crate::sbom::Catalogue::resume(&registry_contents.blobs);
        let publication = crate::revocation::Publication::resume(&registry_contents.blobs);
        let trust = crate::trust::Trust::resume(&registry_contents.blobs);
        let watcher = crate::watch::Watcher::resume(&registry_contents.blobs, data)
            .map_err(|error| OpenError::Detection(error.to_string()))?;
        let response = crate::response::Response::resume(&registry_contents.blobs, now);
        let alerts = crate::alerts::Alerts::resume(&*registry_store, &registry_contents.blobs, now);
        let registry = Arc::new(Registry::new(registry_store, registry_contents));
        registry.set_rules(&config.inventory);
        registry.set_withdrawn(authority.withdrawn());
        let tls = ServerTls::new(
            &authority.device_anchors(),
            hub_credentials,
            gate_of(&registry),
            client_keys(&config.enrolment),
            &[],
        )?;
        let commits = Arc::new(CommitWatch::default());
        let journal =
            start_journal(session_store, &config, &commits).map_err(io_error("start the journal of", data))?;
        let recorder = Recorder::start(ledger, openings, ledger_key).map_err(io_error("start the ledger of", data))?;

        let hub = Arc::new(Self {
            data: data.clone(),
            started: now,
            config: ArcSwap::from_pointee(config),
            events: Events::default(),
            recorder,
            witnesses: ledger::Witnesses::default(),
            cosigner,
            watcher,
            response,
            alerts,
            registry,
            authority: ArcSwap::from_pointee(authority),
            keys,
            tls,
            policy: ArcSwap::from_pointee(policy),
            generation: AtomicU64::new(1),
            policy_change: Mutex::default(),
            reconfiguring: Mutex::default(),
            withdrawing: Mutex::default(),
            journal,
            commits,
            trie: RwLock::default(),
            changes: crate::Changes::default(),
            retained: RwLock::default(),
            sessions: Mutex::default(),
            timers: Mutex::default(),
            next_message: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
            counters: crate::Counters::default(),
            gauges: crate::Gauges::default(),
            cuts: crate::CutLatency::default(),
            limits: limits::Watermarks::default(),
            rate: limits::RateWindow::default(),
            used_rates: crate::UsedRates::default(),
            enrolment: crate::enrol::EnrolmentRates::default(),
            groups,
            approvals,
            attestations,
            reports: crate::reports::Reports::default(),
            sequences: crate::security::Sequences::default(),
            guests: crate::guests::Guests::default(),
            superseded: crate::superseded::Superseded::default(),
            sboms,
            suspects: Mutex::default(),
            postures: crate::posture::Postures::default(),
            publication,
            trust,
            admissions: limits::Admissions::default(),
            reloader: OnceLock::new(),
            role_of: OnceLock::new(),
            listeners: Mutex::default(),
            upkeep: Mutex::new(Upkeep::default()),
            key_duties: KeyDuties::default(),
            disk_low: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        });
        let opened = [("entries", Datum::Plain(&entries)), ("unsealed", Datum::Plain(&unsealed))];
        hub.tell(&Event::new(Kind::LedgerOpened, format_args!("")).with(&opened));
        // What stood before a restart stands again.
        hub.enforce_standing();
        hub.watch_disk();
        hub.continue_ids(&session_contents);
        hub.recover(session_contents, now);
        Ok(hub)
    }

    /// Takes a new configuration into use, and certificates for new names. What needs a restart is not touched here.
    ///
    /// # Errors
    /// [`OpenError`]; what ran before still runs.
    pub fn reconfigure(&self, config: Config, now: UnixMillis) -> Result<(), OpenError> {
        // One at a time: of two at once, one could leave its key and the other its certificate.
        let _reconfiguring = self.reconfiguring.lock();
        self.serve_certificate(&config, now)?;
        self.registry.set_rules(&config.inventory);
        let before = self.config.swap(Arc::new(config));
        self.raise_generation();
        // What policies are told of identities depends on it.
        if before.lifecycle.firmware_min != self.config().lifecycle.firmware_min {
            let sessions: Vec<_> = self.sessions.lock().by_id.values().cloned().collect();
            self.reauthorize(&sessions, now);
        }
        Ok(())
    }
}

fn start_journal(
    store: Arc<dyn SessionStore>,
    config: &Config,
    commits: &Arc<CommitWatch>,
) -> io::Result<Arc<Journal>> {
    let limits = JournalLimits {
        pending_bytes_max: config.limits.journal_pending_bytes as u64,
        batch_ops_max: config.store.commit_entries.max(1),
        ..JournalLimits::default()
    };
    let watch = Arc::clone(commits);
    let on_progress = Box::new(move |progress: &Progress| {
        *watch.trouble.lock() = match &progress.health {
            Health::Ok | Health::Backlogged => None,
            Health::Full => Some("no space left for the session store".into()),
            Health::Failed(why) => Some(why.clone()),
        };
        let wakers = std::mem::take(&mut *watch.wakers.lock());
        wakers.into_values().for_each(std::task::Waker::wake);
    });
    Journal::start(store, limits, on_progress).map(Arc::new)
}

/// Whether there is no data directory yet. One that is there is checked.
fn is_to_be_made(data: &Path) -> Result<bool, OpenError> {
    let occupied = match fs::read_dir(data) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(io_error("read", data)(error)),
    };
    if !occupied {
        return Ok(true);
    }
    if !data.join("pki").is_dir() {
        return Err(OpenError::NotADataDirectory(data.to_owned()));
    }
    let mode = fs::metadata(data).map_err(io_error("read", data))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::TooOpen { path: data.to_owned(), mode });
    }
    Ok(false)
}

/// Makes a new data directory beside its place and moves it there whole.
fn create_directory(data: &Path, keys: &KeyAccess, now: UnixMillis) -> Result<(), OpenError> {
    let parent = data.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(io_error("create", parent))?;
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    let draft = parent.join(format!(".{name}.{}.new", std::process::id()));
    let made = fill_directory(&draft, keys, now).and_then(|new_keys| {
        // An empty directory that is there already makes way; anything else makes `rename` fail.
        fs::rename(&draft, data).map_err(io_error("create", data))?;
        new_keys.keep();
        Ok(())
    });
    if made.is_err() {
        // Best effort: the error that matters is the first.
        let _ = fs::remove_dir_all(&draft);
    }
    made
}

fn fill_directory(draft: &Path, keys: &KeyAccess, now: UnixMillis) -> Result<NewKeys, OpenError> {
    let pki = draft.join("pki");
    let mut private = fs::DirBuilder::new();
    private.mode(0o700);
    private.create(draft).map_err(io_error("create", draft))?;
    private.create(&pki).map_err(io_error("create", &pki))?;
    let ring = keys.ring(&pki)?;
    let (mut new_keys, root, issuing) = ring.create()?;
    let ledger_key = ring.create_ledger_key(&mut new_keys)?;
    let failed = |source| OpenError::Pki { path: pki.clone(), source };
    let authority = Authority::establish(now, &*root, issuing).map_err(failed)?;
    let root = CaSigner::new(authority.root_certificate().clone(), &*root).map_err(failed)?;
    write_root_list(&pki, &root, CaRole::Root.first(), now)?;
    for (name, certificate) in authority.certificates() {
        write_file(&pki.join(name.certificate_file()), portreeve_pki::to_pem(certificate).as_bytes())?;
    }
    // Named after the root, so that no two hubs' ledgers have one name.
    let root = digest(&SHA256, authority.root_certificate());
    let origin = format!("portreeve/{}/ledger", hex::encode(&root.as_ref()[..8]));
    ledger::create(draft, &origin, &*ledger_key).map_err(io_error("begin the ledger in", draft))?;
    // All store files, so that a later start can tell a missing one from a first start.
    RedbStore::open(draft, 1 << 20).map(drop)?;
    Ok(new_keys)
}

/// Writes a public file in one step: readers see the old or the new content, also after a power cut. Once this has
/// returned it is the new one.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OpenError> {
    let draft = path.with_added_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&draft, path));
    let folder = path.parent().unwrap_or(Path::new("."));
    placed.and_then(|()| fs::File::open(folder)?.sync_all()).map_err(io_error("write", path))
}

/// As [`write_file`], for what is not there yet: what is there stays as it is. Nobody else makes it meanwhile.
pub(crate) fn create_file(path: &Path, bytes: &[u8]) -> Result<(), OpenError> {
    if path.try_exists().map_err(io_error("look for", path))? {
        return Err(io_error("create", path)(io::ErrorKind::AlreadyExists.into()));
    }
    write_file(path, bytes)
}

/// The content of a file; `None` where there is none, and an error where it cannot be read.
pub(crate) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Why an authority cannot be read.
enum ReadError {
    Pki(PkiError),
    Keys(CustodyError),
}

impl From<PkiError> for ReadError {
    fn from(error: PkiError) -> Self {
        Self::Pki(error)
    }
}

pub(crate) fn read_authority(pki: &Path, keys: &KeyRing, now: UnixMillis) -> Result<Authority, OpenError> {
    let files = CaFiles::read(pki)?;
    let key = |name: CaName| match keys.ca_key(name) {
        // What follows is there. Without its key this one signs no lists any more, and that is all.
        Err(error) if error.is_missing() && files.get(&name.successor().certificate_file()).is_some() => Ok(None),
        opened => opened.map(Some).map_err(ReadError::Keys),
    };
    Authority::open(now, key, |file| files.get(file)).map_err(|error| match error {
        ReadError::Pki(source) => OpenError::Pki { path: pki.to_owned(), source },
        ReadError::Keys(error) => OpenError::Keys(error),
    })
}

/// Devices prove to hold keys of the kinds that are certified, and of no others.
fn client_keys(enrolment: &Enrolment) -> ClientKeys {
    let is_rsa = |key: &DeviceKey| matches!(key, DeviceKey::Rsa3072 | DeviceKey::Rsa4096);
    if enrolment.key_algorithms.iter().any(is_rsa) { ClientKeys::EcdsaOrRsa } else { ClientKeys::Ecdsa }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices-2.pem");
        create_file(&path, b"one").unwrap();
        assert!(create_file(&path, b"other").is_err());
        assert_eq!(read_file(&path).unwrap().as_deref(), Some(&b"one"[..]));
    }

    /// SIGHUP and an administrator's reload at the same moment: what remains on disk is one pair.
    #[test]
    fn reloads_at_once_leave_a_certificate_with_its_key() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("hub");
        let now = UnixMillis::from(std::time::SystemTime::now());
        let hub = Hub::open(&path, Config::default(), now).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let hub = &hub;
                scope.spawn(move || {
                    for round in 0..5 {
                        let mut config = Config::default();
                        // Another name each time, so that each reload issues a certificate.
                        config.hub.names = vec![format!("hub-{thread}-{round}.example")];
                        hub.reconfigure(config, now).unwrap();
                    }
                });
            }
        });
        let pki = path.join("pki");
        listener::certificate(&pki, &hub.authority.load(), &hub.keys, &hub.config(), now).unwrap();
        let left: Vec<_> = fs::read_dir(&pki)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().ends_with(".new"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        drop(hub);
        Hub::open(&path, Config::default(), now).unwrap();
    }

    /// A data directory from before there was a choice of custody: the keys are PKCS #8 files.
    #[test]
    fn keys_in_files_are_taken_as_they_are() {
        let data = tempfile::tempdir().unwrap();
        let (path, now) = (data.path().join("hub"), UnixMillis::from(std::time::SystemTime::now()));
        drop(Hub::open(&path, Config::default(), now).unwrap());
        let pki = path.join("pki");
        let keys = [(); 3].map(|()| rcgen::KeyPair::generate().unwrap());
        let text = ["root", "devices", "hub"].map(|name| pki.join(format!("{name}.key")));
        for (key, file) in keys.iter().zip(&text) {
            // Over the old content, so that the mode stays.
            fs::write(file, key.serialize_pem()).unwrap();
        }
        let [root, devices, hub] = keys;
        let issuing = portreeve_pki::IssuingKeys { devices: Arc::new(devices), hub: Arc::new(hub) };
        let authority = Authority::establish(now, &root, issuing).unwrap();
        for (name, certificate) in authority.certificates() {
            write_file(&pki.join(name.certificate_file()), portreeve_pki::to_pem(certificate).as_bytes()).unwrap();
        }
        let before = text.clone().map(|file| fs::read(file).unwrap());
        let hub = Hub::open(&path, Config::default(), now).unwrap();
        assert_eq!(hub.authority.load().certificates(), authority.certificates());
        assert_eq!(text.map(|file| fs::read(file).unwrap()), before, "nothing was written anew");
    }
}
