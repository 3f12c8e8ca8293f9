use std::path::Path;

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::file::{Failure, RedbFile, Role};
use crate::{
    RegistryStore, StoreError,
    codec::Encode,
    rows::{CredentialRow, IdentityRow, RegistryContents, RegistryOp},
};

const IDENTITIES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("identities");
/// Name to identity: keeps names unique.
const NAMES: TableDefinition<'_, &str, u128> = TableDefinition::new("names");
const CREDENTIALS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("credentials");
const BLOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("blobs");

/// The registry in a redb file.
pub struct RedbRegistry(RedbFile);

struct Tables<'txn> {
    identities: Table<'txn, u128, &'static [u8]>,
    names: Table<'txn, &'static str, u128>,
    credentials: Table<'txn, [u8; 32], &'static [u8]>,
    blobs: Table<'txn, &'static str, &'static [u8]>,
    row: Vec<u8>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            identities: transaction.open_table(IDENTITIES)?,
            names: transaction.open_table(NAMES)?,
            credentials: transaction.open_table(CREDENTIALS)?,
            blobs: transaction.open_table(BLOBS)?,
            row: Vec::new(),
        })
    }

    fn apply(&mut self, op: &RegistryOp, file: &RedbFile) -> Result<(), Failure> {
        match op {
            RegistryOp::PutIdentity(row) => self.put_identity(row, file),
            RegistryOp::PutCredential(row) => self.put_credential(row, file),
            RegistryOp::PutBlob { name, bytes } => {
                self.blobs.insert(name.as_str(), bytes.as_slice())?;
                Ok(())
            }
            RegistryOp::DeleteBlob { name } => {
                self.blobs.remove(name.as_str())?;
                Ok(())
            }
        }
    }

    fn put_identity(&mut self, row: &IdentityRow, file: &RedbFile) -> Result<(), Failure> {
        let id = row.id.0.as_u128();
        row.encode(&mut self.row);
        if let Some(before) = self.identities.insert(id, self.row.as_slice())? {
            let before: IdentityRow = decode(file, "identities", id, before.value())?;
            self.names.remove(before.name.as_str())?;
        }
        match self.names.insert(row.name.as_str(), id)? {
            Some(_) => Err(Failure::Store(StoreError::name_taken(&row.name))),
            None => Ok(()),
        }
    }

    fn put_credential(&mut self, row: &CredentialRow, file: &RedbFile) -> Result<(), Failure> {
        row.encode(&mut self.row);
        let Some(before) = self.credentials.insert(row.key.0, self.row.as_slice())? else { return Ok(()) };
        let before: CredentialRow = decode(file, "credentials", row.key, before.value())?;
        if before.identity == row.identity { Ok(()) } else { Err(Failure::Store(StoreError::key_taken(row.key))) }
    }
}

impl RedbRegistry {
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        RedbFile::open(path, Role::Registry, cache_bytes).map(Self)
    }

    pub(super) fn create(path: &Path) -> Result<(), StoreError> {
        RedbFile::create(path, Role::Registry, |transaction| Tables::open(transaction).map(drop))
    }
}

impl RegistryStore for RedbRegistry {
    fn load(&self) -> Result<RegistryContents, StoreError> {
        self.0.read(|transaction| {
            let mut contents = RegistryContents::default();
            for entry in transaction.open_table(IDENTITIES)?.iter()? {
                let (key, value) = entry?;
                contents.identities.push(decode(&self.0, "identities", key.value(), value.value())?);
            }
            for entry in transaction.open_table(CREDENTIALS)?.iter()? {
                let (key, value) = entry?;
                let row: CredentialRow = decode(&self.0, "credentials", "?", value.value())?;
                if row.key.0 != key.value() {
                    return Err(Failure::Store(self.0.corrupt("table credentials: a row stands under a wrong key")));
                }
                contents.credentials.push(row);
            }
            for entry in transaction.open_table(BLOBS)?.iter()? {
                let (key, value) = entry?;
                contents.blobs.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(contents)
        })
    }

    fn commit(&self, ops: &[RegistryOp]) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        self.0.write(|transaction| {
            let mut tables = Tables::open(transaction)?;
            ops.iter().try_for_each(|op| tables.apply(op, &self.0))
        })
    }
}

/// Decodes a row, or says where the bad one is.
pub(super) fn decode<T: Encode>(
    file: &RedbFile,
    table: &str,
    key: impl std::fmt::Display,
    bytes: &[u8],
) -> Result<T, Failure> {
    T::decode(bytes).map_err(|bad| Failure::Store(file.corrupt(format!("table {table}, row {key}: {bad}"))))
}
