//! The embedded store: a redb file for the registry, and for sessions a log in front of another, so that queue commits
//! do not hold up the registry.

#[cfg(test)]
mod damage;
mod file;
mod log;
#[cfg(test)]
mod power_cut;
mod registry;
mod sessions;
#[cfg(test)]
mod upgrade;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

pub use log::RedbSessions;
pub use registry::RedbRegistry;

use crate::{RegistryStore as _, StoreError};

/// Page cache for reading one document, bytes.
const DOCUMENT_CACHE_BYTES: usize = 1 << 20;
const REGISTRY_FILE: &str = "registry.redb";
const SESSIONS_FILE: &str = "sessions.redb";
const LOG_FILES: [&str; 2] = ["sessions.log.0", "sessions.log.1"];

/// Both stores of one data directory.
pub struct RedbStore {
    /// Identities, credentials, policy.
    pub registry: RedbRegistry,
    /// Sessions and their queues.
    pub sessions: RedbSessions,
}

impl RedbStore {
    /// Opens the files in `dir`, verifying every page and record; makes them when there are none.
    ///
    /// `cache_bytes` bounds redb's page caches together; the registry gets an eighth.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a file is damaged or one of them is missing, [`StoreError::Locked`] when another
    /// process has them open, [`StoreError::Version`] when a newer portreeve wrote them.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let files = Files::new(|name| dir.join(name));
        files.complete()?;
        let registry_cache_bytes = cache_bytes / 8;
        let registry = RedbRegistry::open(&files.registry, registry_cache_bytes)?;
        let sessions = RedbSessions::open(&files.sessions, files.logs(), cache_bytes - registry_cache_bytes)?;
        Ok(Self { registry, sessions })
    }

    /// One document of the store in `dir`, which is closed again: for what has to be known before the rest is opened. Nothing,
    /// where there is no store yet.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn document(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = dir.join(REGISTRY_FILE);
        if !exists(&path)? {
            return Ok(None);
        }
        RedbRegistry::open(&path, DOCUMENT_CACHE_BYTES)?.document(name)
    }
}

/// The files of a store.
struct Files {
    sessions: PathBuf,
    logs: [PathBuf; 2],
    registry: PathBuf,
}

impl Files {
    fn new(mut path: impl FnMut(&str) -> PathBuf) -> Self {
        Self { sessions: path(SESSIONS_FILE), logs: LOG_FILES.map(&mut path), registry: path(REGISTRY_FILE) }
    }

    /// In the order in which they get their names: the registry is the last.
    fn all(&self) -> [&Path; 4] {
        [&self.sessions, &self.logs[0], &self.logs[1], &self.registry]
    }

    fn logs(&self) -> [&Path; 2] {
        [&self.logs[0], &self.logs[1]]
    }

    /// Makes the files, or refuses a directory from which one has vanished.
    ///
    /// All are made under temporary names and bear their own only when they are whole. If the registry still has its
    /// temporary name beside a session store, then the first start was interrupted and is finished here. Whether the
    /// logs are there is looked at when the session store is opened, which may be from before there were logs.
    fn complete(&self) -> Result<(), StoreError> {
        match (exists(&self.registry)?, exists(&self.sessions)?) {
            (true, true) => Ok(()),
            (false, false) => self.create(),
            (false, true) if exists(&temporary(&self.registry))? => self.rename_all(),
            (false, true) => Err(vanished(&self.registry, &self.sessions)),
            (true, false) => Err(vanished(&self.sessions, &self.registry)),
        }
    }

    fn create(&self) -> Result<(), StoreError> {
        for log in self.logs() {
            if exists(log)? {
                return Err(vanished(&self.sessions, log));
            }
        }
        for file in self.all() {
            remove_stale(&temporary(file))?;
        }
        let new = Self {
            sessions: temporary(&self.sessions),
            logs: self.logs().map(temporary),
            registry: temporary(&self.registry),
        };
        RedbRegistry::create(&new.registry)?;
        RedbSessions::create(&new.sessions, new.logs())?;
        sync_dir(&new.registry)?;
        self.rename_all()
    }

    /// Gives those their names that do not have them yet.
    fn rename_all(&self) -> Result<(), StoreError> {
        for file in self.all() {
            let new = temporary(file);
            if exists(&new)? {
                rename(&new, file)?;
            }
        }
        Ok(())
    }
}

fn vanished(missing: &Path, present: &Path) -> StoreError {
    let detail = format!("it is missing although {} is there: somebody removed it", present.display());
    StoreError::Corrupt { file: missing.to_owned(), detail }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

fn failed(file: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    |source| StoreError::Io { file: file.to_owned(), source }
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(failed(path))
}

/// What an interrupted first start left behind; nobody was told that it exists.
fn remove_stale(path: &Path) -> Result<(), StoreError> {
    if exists(path)? { fs::remove_file(path).map_err(failed(path)) } else { Ok(()) }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(failed(to))?;
    sync_dir(to)
}

fn sync_dir(file: &Path) -> Result<(), StoreError> {
    let dir = file.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}
