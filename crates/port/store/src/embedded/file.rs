//! One redb file that opens itself again after an I/O error.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction,
    backends::FileBackend,
};

use crate::StoreError;

/// Numbers about the file itself.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const SCHEMA_KEY: &str = "schema";
const ROLE_KEY: &str = "role";

/// What a file is for; the number is stored, so that a swapped file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Registry = 1,
    Sessions = 2,
}

impl Role {
    /// Schema version of the file. Those before it are understood too.
    pub(super) const fn schema(self) -> u64 {
        match self {
            Self::Registry => 1,
            // 2: a log stands before the tree.
            Self::Sessions => 2,
        }
    }
}

/// Opens the bytes that a database lives in; the flag asks for a check of every page.
type Opener = Box<dyn Fn(bool) -> Result<Database, DatabaseError> + Send + Sync>;

/// What went wrong inside a transaction.
pub(super) enum Failure {
    Redb(redb::Error),
    Store(StoreError),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

/// A database that is open, or will be at the next use.
pub(super) struct RedbFile {
    path: PathBuf,
    opener: Opener,
    /// `None` after a failure: redb refuses everything after an I/O error until it is opened anew.
    database: Mutex<Option<Database>>,
}

impl RedbFile {
    /// Opens an existing file, and reads all of it to verify it.
    pub(super) fn open(path: &Path, role: Role, cache_bytes: usize) -> Result<Self, StoreError> {
        let file = path.to_owned();
        let opener =
            move |verify| Builder::new().set_cache_size(cache_bytes).set_check_integrity_on_open(verify).open(&file);
        Self::open_with(path, role, Box::new(opener))
    }

    /// Like [`Self::open`], wherever the bytes live.
    pub(super) fn open_with(path: &Path, role: Role, opener: Opener) -> Result<Self, StoreError> {
        let file = Self { path: path.to_owned(), opener, database: Mutex::new(None) };
        let database = file.guarded(|| (file.opener)(true).map_err(Failure::from))?;
        *file.database.lock() = Some(database);
        file.check_role(role)?;
        Ok(file)
    }

    /// Makes a new file for the owner alone; it must not exist.
    pub(super) fn create(
        path: &Path,
        role: Role,
        tables: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        let wrap = |failure| explain(path, failure);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| wrap(Failure::from(redb::StorageError::Io(error))))?;
        let backend = FileBackend::new(file).map_err(|error| wrap(error.into()))?;
        let database = Builder::new().create_with_backend(backend).map_err(|error| wrap(error.into()))?;
        initialise(&database, role, tables).map_err(wrap)?;
        database.close().map_err(|error| wrap(error.into()))
    }

    /// Reads from one consistent state.
    pub(super) fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.with(|database| work(&database.begin_read()?))
    }

    /// Changes the file atomically: on any error nothing is changed, save that after an I/O error the whole commit
    /// may have reached the disk.
    pub(super) fn write(&self, work: impl FnOnce(&WriteTransaction) -> Result<(), Failure>) -> Result<(), StoreError> {
        self.with(|database| {
            let transaction = begin(database)?;
            work(&transaction)?;
            Ok(transaction.commit()?)
        })
    }

    pub(super) fn corrupt(&self, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt { file: self.path.clone(), detail: detail.into() }
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, StoreError> {
        let mut slot = self.database.lock();
        let database = match slot.take() {
            Some(database) => database,
            None => {
                tracing::warn!(file = %self.path.display(), "opening the store again after a failure");
                self.guarded(|| (self.opener)(false).map_err(Failure::from))?
            }
        };
        // On failure the database is dropped here, after its transaction, and opened anew by the next use.
        let (database, result) = self.guarded(move || {
            let result = work(&database);
            let keep = matches!(result, Ok(_) | Err(Failure::Store(_)));
            Ok((keep.then_some(database), result))
        })?;
        *slot = database;
        result.map_err(|failure| explain(&self.path, failure))
    }

    /// Runs redb, which may panic on a damaged file (its documentation of `set_check_integrity_on_open` says so; in
    /// builds with debug assertions it always does).
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(|failure| explain(&self.path, failure)),
            Err(_) => Err(self.corrupt("its structure is damaged")),
        }
    }

    fn check_role(&self, role: Role) -> Result<(), StoreError> {
        let (schema, found) = self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let number = |key| Ok::<_, Failure>(meta.get(key)?.map(|guard| guard.value()));
            Ok((number(SCHEMA_KEY)?, number(ROLE_KEY)?))
        })?;
        if found != Some(role as u64) {
            return Err(self.corrupt(format!("it is not the {role:?} file of a portreeve")));
        }
        let expected = role.schema();
        match schema {
            Some(known) if (1..=expected).contains(&known) => Ok(()),
            Some(newer) if newer > expected => {
                Err(StoreError::Version { file: self.path.clone(), found: newer, expected })
            }
            _ => Err(self.corrupt("it bears no known schema version")),
        }
    }
}

/// Writes the numbers and tables that every file of this role has.
pub(super) fn initialise(
    database: &Database,
    role: Role,
    tables: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let transaction = begin(database)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(SCHEMA_KEY, role.schema())?;
        meta.insert(ROLE_KEY, role as u64)?;
    }
    tables(&transaction)?;
    Ok(transaction.commit()?)
}

/// Every commit records the allocator's state, so that a reopening after a crash need not rebuild it, and is
/// two-phase, so that a crash cannot be mistaken for a commit by a peer who shapes the data.
fn begin(database: &Database) -> Result<WriteTransaction, Failure> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn explain(path: &Path, failure: Failure) -> StoreError {
    let file = path.to_owned();
    let error = match failure {
        Failure::Store(error) => return error,
        Failure::Redb(error) => error,
    };
    match error {
        redb::Error::Io(source) => explain_io(file, source),
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => StoreError::Locked { file },
        redb::Error::Corrupted(detail) => StoreError::Corrupt { file, detail },
        damaged @ (redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted) => StoreError::Corrupt { file, detail: damaged.to_string() },
        other => StoreError::Io { file, source: io::Error::other(other.to_string()) },
    }
}

pub(super) fn explain_io(file: PathBuf, source: io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full { file },
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => StoreError::Corrupt { file, detail: source.to_string() },
        ErrorKind::NotFound => StoreError::Corrupt { file, detail: "it is missing".into() },
        _ => StoreError::Io { file, source },
    }
}
