//! The embedded store: two redb files, so that queue commits do not hold up the registry.

#[cfg(test)]
mod damage;
mod file;
#[cfg(test)]
mod power_cut;
mod registry;
mod sessions;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

pub use registry::RedbRegistry;
pub use sessions::RedbSessions;

use crate::StoreError;

const REGISTRY_FILE: &str = "registry.redb";
const SESSIONS_FILE: &str = "sessions.redb";

/// Both stores of one data directory.
pub struct RedbStore {
    /// Identities, credentials, policy.
    pub registry: RedbRegistry,
    /// Sessions and their queues.
    pub sessions: RedbSessions,
}

impl RedbStore {
    /// Opens the files in `dir`, verifying every page; makes both when there is neither.
    ///
    /// `cache_bytes` bounds redb's page caches together; the registry gets an eighth.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a file is damaged or one of the two is missing, [`StoreError::Locked`] when another
    /// process has them open, [`StoreError::Version`] when a newer portreeve wrote them.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let (registry, sessions) = (dir.join(REGISTRY_FILE), dir.join(SESSIONS_FILE));
        complete(&registry, &sessions)?;
        let registry_cache_bytes = cache_bytes / 8;
        Ok(Self {
            registry: RedbRegistry::open(&registry, registry_cache_bytes)?,
            sessions: RedbSessions::open(&sessions, cache_bytes - registry_cache_bytes)?,
        })
    }
}

/// Makes the files, or refuses a directory from which one has vanished.
///
/// Both are made under temporary names and bear their own only when they are whole. The registry is renamed last: if
/// it still has its temporary name beside a session store, then the first start was interrupted and is finished here.
fn complete(registry: &Path, sessions: &Path) -> Result<(), StoreError> {
    let registry_new = temporary(registry);
    match (exists(registry)?, exists(sessions)?) {
        (true, true) => Ok(()),
        (false, false) => create(registry, sessions),
        (false, true) if exists(&registry_new)? => rename(&registry_new, registry),
        (false, true) => Err(vanished(registry, sessions)),
        (true, false) => Err(vanished(sessions, registry)),
    }
}

fn create(registry: &Path, sessions: &Path) -> Result<(), StoreError> {
    let (registry_new, sessions_new) = (temporary(registry), temporary(sessions));
    remove_stale(&registry_new)?;
    remove_stale(&sessions_new)?;
    RedbRegistry::create(&registry_new)?;
    RedbSessions::create(&sessions_new)?;
    sync_dir(&registry_new)?;
    rename(&sessions_new, sessions)?;
    rename(&registry_new, registry)
}

fn vanished(missing: &Path, present: &Path) -> StoreError {
    let detail = format!("it is missing although {} is there: somebody removed it", present.display());
    StoreError::Corrupt { file: missing.to_owned(), detail }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("redb.new")
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
