//! One log file: what it is, which generation it holds, and the records of that generation.
//!
//! ```text
//!    0 what it is: magic, schema, the store it belongs to, its slot, its length; written once
//!  512 its generation: number, key; written before each filling
//! 4096 records
//! ```

use std::{
    fs::{OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use redb::{StorageBackend, backends::FileBackend};
use rustix::fs::{Advice, fadvise};

use super::record::{BLOCK_BYTES, Generation, number, plain_tag};
use crate::{StoreError, embedded::file::explain_io};

/// A transfer that takes it for text breaks it.
const MAGIC: &[u8; 16] = b"portreeve-slog\r\n";
/// Schema version of the logs.
const SCHEMA: u64 = 1;
const GENERATION_AT: usize = 512;
const RECORDS_AT: u64 = BLOCK_BYTES as u64;
const IDENTITY_BYTES: usize = 64;
const CHUNK_BYTES: usize = 1 << 20;
const GENERATION_BYTES: usize = 40;

/// Where the records of a generation end, and what they come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) position_bytes: u64,
    /// Records so far.
    pub(super) records: u64,
    pub(super) ops: u64,
    /// The last record says that the next generation follows.
    pub(super) sealed: bool,
}

impl End {
    /// The end of a generation that has no records yet.
    pub(super) const START: Self = Self { position_bytes: RECORDS_AT, records: 0, ops: 0, sealed: false };

    pub(super) fn after(self, record_bytes: u64, ops: u32, last: bool) -> Self {
        Self {
            position_bytes: self.position_bytes + record_bytes,
            records: self.records + 1,
            ops: self.ops + u64::from(ops),
            sealed: last,
        }
    }
}

/// What one of the two files is and whose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Identity {
    /// The store whose operations it holds: a random number that the tree knows too.
    pub(in crate::embedded) store: u64,
    /// 0 or 1; it holds the generations that leave this rest.
    pub(in crate::embedded) slot: u64,
    /// It is never shorter than this, so that a file that was cut is noticed.
    pub(in crate::embedded) file_bytes: u64,
}

impl Identity {
    fn encode(self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..24].copy_from_slice(&SCHEMA.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.store.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.slot.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.file_bytes.to_be_bytes());
        let tag = plain_tag(&bytes[..48]);
        bytes[48..].copy_from_slice(&tag);
        bytes
    }

    /// Bound to the file, so that a generation cannot be carried from one to another.
    fn encode_generation(self, generation: &Generation) -> [u8; GENERATION_BYTES] {
        let mut bytes = [0; 24 + IDENTITY_BYTES];
        bytes[..8].copy_from_slice(&generation.number.to_be_bytes());
        bytes[8..24].copy_from_slice(&generation.key);
        bytes[24..].copy_from_slice(&self.encode());
        let tag = plain_tag(&bytes);
        let mut block = [0; GENERATION_BYTES];
        block[..24].copy_from_slice(&bytes[..24]);
        block[24..].copy_from_slice(&tag);
        block
    }
}

pub(super) struct LogFile {
    path: PathBuf,
    identity: Identity,
    bytes: Box<dyn StorageBackend>,
}

impl LogFile {
    /// Makes a new file for the owner alone; it must not exist.
    pub(super) fn create(path: &Path, identity: Identity) -> Result<(), StoreError> {
        let failed = |error| explain_io(path.to_owned(), error);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        format(&backend(file).map_err(failed)?, identity).map_err(failed)
    }

    /// Opens an existing file, of whatever store.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| explain_io(path.to_owned(), error);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        // For as long as it is open, also while the tree's file is opened again after a failure.
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Locked { file: path.to_owned() },
            TryLockError::Error(error) => failed(error),
        })?;
        // Linux reads ahead into large folios, and then each small write pays for a whole one.
        if let Err(error) = fadvise(&file, 0, None, Advice::Random) {
            tracing::debug!(%error, "commits to the session log may write more than they need");
        }
        Self::open_with(path, Box::new(backend(file).map_err(failed)?))
    }

    /// Like [`Self::open`], wherever the bytes live.
    pub(super) fn open_with(path: &Path, bytes: Box<dyn StorageBackend>) -> Result<Self, StoreError> {
        let mut file = Self { path: path.to_owned(), identity: Identity { store: 0, slot: 0, file_bytes: 0 }, bytes };
        file.identity = file.read_identity()?;
        if file.len_bytes()? < file.identity.file_bytes {
            return Err(file.corrupt("it is cut short"));
        }
        Ok(file)
    }

    /// Refuses the log of another store, and the other log of this one.
    pub(super) fn belonging_to(self, store: u64, slot: u64) -> Result<Self, StoreError> {
        match self.identity {
            Identity { store: found, .. } if found != store => Err(self.corrupt("it is the log of another store")),
            Identity { slot: found, .. } if found != slot => Err(self.corrupt("it is the other log of this store")),
            _ => Ok(self),
        }
    }

    pub(super) fn len_bytes(&self) -> Result<u64, StoreError> {
        self.bytes.len().map_err(|error| self.failed(error))
    }

    fn read_identity(&self) -> Result<Identity, StoreError> {
        let mut found = [0; IDENTITY_BYTES];
        self.bytes.read(0, &mut found).map_err(|error| self.failed(error))?;
        if found[..16] != *MAGIC || plain_tag(&found[..48]) != found[48..] {
            return Err(self.corrupt("it is not a session log of a portreeve"));
        }
        match number(&found[16..]) {
            SCHEMA => Ok(Identity {
                store: number(&found[24..]),
                slot: number(&found[32..]),
                file_bytes: number(&found[40..]),
            }),
            newer => Err(StoreError::Version { file: self.path.clone(), found: newer, expected: SCHEMA }),
        }
    }

    /// The generation that it holds; `None` if there is none, which an interrupted [`Self::begin`] leaves.
    pub(super) fn generation(&self) -> Result<Option<Generation>, StoreError> {
        let mut found = [0; GENERATION_BYTES];
        self.bytes.read(GENERATION_AT as u64, &mut found).map_err(|error| self.failed(error))?;
        let mut key = [0; 16];
        key.copy_from_slice(&found[8..24]);
        let generation = Generation { number: number(&found), key };
        Ok((found == self.identity.encode_generation(&generation)).then_some(generation))
    }

    /// Gives up what it holds for a new, empty generation. Keeps its length, so that records need not change it, unless
    /// a very large commit has made it much longer.
    pub(super) fn begin(&self, generation: &Generation) -> Result<(), StoreError> {
        let write = || {
            self.bytes.write(GENERATION_AT as u64, &self.identity.encode_generation(generation))?;
            if self.bytes.len()? / 2 > self.identity.file_bytes {
                self.bytes.set_len(self.identity.file_bytes)?;
            }
            self.bytes.sync_data()
        };
        write().map_err(|error| self.failed(error))
    }

    /// Writes a record at the end of the others; durable on return. After an error the same place is to be written again.
    pub(super) fn append(&self, end: End, record: &[u8]) -> Result<(), StoreError> {
        let written = self.bytes.write(end.position_bytes, record).and_then(|()| self.bytes.sync_data());
        written.map_err(|error| self.failed(error))
    }

    /// Makes durable what was read from it up to `end`, by writing it again: it may be in the memory of the operating system
    /// only, which after a sync that failed does not mean to write it any more.
    pub(super) fn rewrite(&self, generation: &Generation, end: End) -> Result<(), StoreError> {
        let write = || {
            let mut chunk = vec![0; CHUNK_BYTES];
            for position_bytes in (RECORDS_AT..end.position_bytes).step_by(CHUNK_BYTES) {
                let left_bytes = usize::try_from(end.position_bytes - position_bytes).unwrap_or(CHUNK_BYTES);
                let chunk = &mut chunk[..left_bytes.min(CHUNK_BYTES)];
                self.bytes.read(position_bytes, chunk)?;
                self.bytes.write(position_bytes, chunk)?;
            }
            self.bytes.write(GENERATION_AT as u64, &self.identity.encode_generation(generation))?;
            self.bytes.sync_data()
        };
        write().map_err(|error| self.failed(error))
    }

    pub(super) fn read(&self, position_bytes: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.bytes.read(position_bytes, bytes).map_err(|error| self.failed(error))
    }

    pub(super) fn corrupt(&self, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt { file: self.path.clone(), detail: detail.into() }
    }

    pub(super) fn failed(&self, error: io::Error) -> StoreError {
        explain_io(self.path.clone(), error)
    }
}

fn backend(file: std::fs::File) -> io::Result<FileBackend> {
    FileBackend::new(file).map_err(io::Error::other)
}

/// Makes `bytes` an empty log whose generation is the first of its slot: 2 or 1.
pub(in crate::embedded) fn format(bytes: &impl StorageBackend, identity: Identity) -> io::Result<()> {
    let first = Generation::new(if identity.slot == 0 { 2 } else { 1 });
    let mut block = [0; BLOCK_BYTES];
    block[..IDENTITY_BYTES].copy_from_slice(&identity.encode());
    let generation = identity.encode_generation(&first);
    block[GENERATION_AT..GENERATION_AT + GENERATION_BYTES].copy_from_slice(&generation);
    bytes.write(0, &block)?;
    bytes.set_len(identity.file_bytes)?;
    bytes.sync_data()
}

#[cfg(test)]
pub(super) fn set_schema(file: &mut [u8], schema: u64) {
    file[16..24].copy_from_slice(&schema.to_be_bytes());
    let tag = plain_tag(&file[..48]);
    file[48..64].copy_from_slice(&tag);
}
