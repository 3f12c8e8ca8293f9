use std::{ops::RangeInclusive, path::Path};

use portreeve_types::IdentityId;
use redb::{ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::file::{Failure, RedbFile, Role};
use crate::{
    RegistryStore, StoreError,
    codec::Encode,
    rows::{
        CHANGES_PER_IDENTITY_MAX, ChangeRow, CredentialRow, IdentityRow, OWN_CHANGES_PER_IDENTITY_MAX,
        RegistryContents, RegistryOp, SpentKey,
    },
};

const IDENTITIES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("identities");
/// Name to identity: keeps names unique.
const NAMES: TableDefinition<'_, &str, u128> = TableDefinition::new("names");
const CREDENTIALS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("credentials");
/// Keys whose credentials are forgotten.
const SPENT: TableDefinition<'_, u128, ()> = TableDefinition::new("spent_keys");
/// Changes by whose they are and in their order.
const CHANGES: TableDefinition<'_, (u128, u64), &[u8]> = TableDefinition::new("changes");
/// Those that the identity reported itself, numbered together with the others.
const OWN_CHANGES: TableDefinition<'_, (u128, u64), &[u8]> = TableDefinition::new("own_changes");
const BLOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("blobs");
/// What is not read at the start.
const DOCUMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("documents");

/// The registry in a redb file.
pub struct RedbRegistry(RedbFile);

type Changes<'txn> = Table<'txn, (u128, u64), &'static [u8]>;

struct Tables<'txn> {
    identities: Table<'txn, u128, &'static [u8]>,
    names: Table<'txn, &'static str, u128>,
    credentials: Table<'txn, [u8; 32], &'static [u8]>,
    spent: Table<'txn, u128, ()>,
    blobs: Table<'txn, &'static str, &'static [u8]>,
    changes: Changes<'txn>,
    own_changes: Changes<'txn>,
    documents: Table<'txn, &'static str, &'static [u8]>,
    row: Vec<u8>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            identities: transaction.open_table(IDENTITIES)?,
            names: transaction.open_table(NAMES)?,
            credentials: transaction.open_table(CREDENTIALS)?,
            spent: transaction.open_table(SPENT)?,
            blobs: transaction.open_table(BLOBS)?,
            changes: transaction.open_table(CHANGES)?,
            own_changes: transaction.open_table(OWN_CHANGES)?,
            documents: transaction.open_table(DOCUMENTS)?,
            row: Vec::new(),
        })
    }

    fn apply(&mut self, op: &RegistryOp, file: &RedbFile) -> Result<(), Failure> {
        match op {
            RegistryOp::PutIdentity(row) => self.put_identity(row, file),
            RegistryOp::DeleteIdentity { id } => self.delete_identity(id.0.as_u128(), file),
            RegistryOp::PutCredential(row) => self.put_credential(row, file),
            RegistryOp::SpendKey { key } => {
                self.credentials.remove(key.0)?;
                self.spent.insert(SpentKey::from(*key).0, ())?;
                Ok(())
            }
            RegistryOp::Note { identity, change } => self.note(identity.0.as_u128(), change, false),
            RegistryOp::NoteOwn { identity, change } => self.note(identity.0.as_u128(), change, true),
            RegistryOp::PutBlob { name, bytes } => {
                self.blobs.insert(name.as_str(), bytes.as_slice())?;
                Ok(())
            }
            RegistryOp::DeleteBlob { name } => {
                self.blobs.remove(name.as_str())?;
                Ok(())
            }
            RegistryOp::PutDocument { name, bytes } => {
                self.documents.insert(name.as_str(), bytes.as_slice())?;
                Ok(())
            }
            RegistryOp::DeleteDocument { name } => {
                self.documents.remove(name.as_str())?;
                Ok(())
            }
        }
    }

    fn note(&mut self, id: u128, change: &ChangeRow, by_itself: bool) -> Result<(), Failure> {
        change.encode(&mut self.row);
        let last = last_number(&self.changes, id)?.max(last_number(&self.own_changes, id)?);
        let next = last.map_or(0, |last| last + 1);
        let (changes, most) = match by_itself {
            true => (&mut self.own_changes, OWN_CHANGES_PER_IDENTITY_MAX),
            false => (&mut self.changes, CHANGES_PER_IDENTITY_MAX),
        };
        let (oldest, count) = {
            let mut all = changes.range(all_of(id))?;
            (all.next().transpose()?.map(|(key, _)| key.value()), 1 + all.count())
        };
        if let Some(oldest) = oldest.filter(|_| count >= most) {
            changes.remove(oldest)?;
        }
        changes.insert((id, next), self.row.as_slice())?;
        Ok(())
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

    fn delete_identity(&mut self, id: u128, file: &RedbFile) -> Result<(), Failure> {
        self.changes.retain_in(all_of(id), |_, _| false)?;
        self.own_changes.retain_in(all_of(id), |_, _| false)?;
        let Some(before) = self.identities.remove(id)? else { return Ok(()) };
        let before: IdentityRow = decode(file, "identities", id, before.value())?;
        self.names.remove(before.name.as_str())?;
        Ok(())
    }

    fn put_credential(&mut self, row: &CredentialRow, file: &RedbFile) -> Result<(), Failure> {
        if self.spent.get(SpentKey::from(row.key).0)?.is_some() {
            return Err(Failure::Store(StoreError::key_spent(row.key)));
        }
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
            for entry in transaction.open_table(SPENT)?.iter()? {
                contents.spent.push(SpentKey(entry?.0.value()));
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

    fn history(&self, identity: IdentityId) -> Result<Vec<ChangeRow>, StoreError> {
        let id = identity.0.as_u128();
        self.0.read(|transaction| {
            let mut rows = Vec::new();
            for table in [CHANGES, OWN_CHANGES] {
                let table = match transaction.open_table(table) {
                    // A file from before such changes were noted, in which none was since.
                    Err(TableError::TableDoesNotExist(_)) => continue,
                    table => table?,
                };
                for entry in table.range(all_of(id))? {
                    let (key, value) = entry?;
                    rows.push((key.value().1, decode(&self.0, "changes", identity, value.value())?));
                }
            }
            rows.sort_by_key(|(number, _)| *number);
            Ok(rows.into_iter().map(|(_, row)| row).collect())
        })
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.read(|transaction| {
            let table = transaction.open_table(DOCUMENTS)?;
            Ok(table.get(name)?.map(|found| found.value().to_vec()))
        })
    }
}

/// The keys of an identity's changes.
fn all_of(id: u128) -> RangeInclusive<(u128, u64)> {
    (id, 0)..=(id, u64::MAX)
}

/// The number of its newest.
fn last_number(changes: &Changes<'_>, id: u128) -> Result<Option<u64>, Failure> {
    Ok(changes.range(all_of(id))?.next_back().transpose()?.map(|(key, _)| key.value().1))
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
