//! The tree behind the log: all rows of the session store by key.

use std::{path::Path, sync::Arc};

use portreeve_types::TopicName;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

use super::{
    file::{Failure, META, RedbFile, Role, SCHEMA_KEY},
    registry::decode,
};
use crate::{
    StoreError,
    assemble::Assembly,
    codec::Encode,
    fold::{Folded, fold},
    rows::{MessageId, QueueRow, SessionContents, SessionId, SessionOp, SubscriptionRow},
};

const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
const SUBSCRIPTIONS: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("subscriptions");
const QUEUE: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("queue");
const INBOUND: TableDefinition<'_, (u64, u16), u64> = TableDefinition::new("inbound");
const WILLS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("wills");
const RETAINED: TableDefinition<'_, &str, u64> = TableDefinition::new("retained");

const NEXT_MESSAGE: &str = "next_message";
const NEXT_SESSION: &str = "next_session";
/// Ids are reserved on disk in runs of this many, so that a message that comes and goes within one group commit
/// leaves nothing to write. A restart skips at most one run.
const RESERVED_IDS: u64 = 1 << 16;

/// The number that the logs of this store bear.
const LOG_KEY: &str = "log";
/// Everything up to this generation of the log is in the tree.
const APPLIED_KEY: &str = "applied";

/// How far the tree has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// The number that the logs of this store bear.
    pub(super) store: u64,
    /// Everything up to this generation of the log is in the tree.
    pub(super) generation: u64,
}

/// The part of the session store that is ordered by key: a redb file.
pub(super) struct Tree(RedbFile);

/// The tables of one write transaction.
struct Tables<'txn> {
    meta: Table<'txn, &'static str, u64>,
    messages: Table<'txn, u64, &'static [u8]>,
    sessions: Table<'txn, u64, &'static [u8]>,
    subscriptions: Table<'txn, (u64, &'static str), &'static [u8]>,
    queue: Table<'txn, (u64, u64), &'static [u8]>,
    inbound: Table<'txn, (u64, u16), u64>,
    wills: Table<'txn, u64, &'static [u8]>,
    retained: Table<'txn, &'static str, u64>,
    /// The row being encoded; one buffer for the whole transaction.
    row: Vec<u8>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            messages: transaction.open_table(MESSAGES)?,
            sessions: transaction.open_table(SESSIONS)?,
            subscriptions: transaction.open_table(SUBSCRIPTIONS)?,
            queue: transaction.open_table(QUEUE)?,
            inbound: transaction.open_table(INBOUND)?,
            wills: transaction.open_table(WILLS)?,
            retained: transaction.open_table(RETAINED)?,
            row: Vec::new(),
        })
    }

    /// Notes that this generation is in the tree. It may be there already: whether an attempt that failed did its work is
    /// unknown, and doing it again changes nothing.
    fn advance(&mut self, generation: u64, file: &RedbFile) -> Result<(), Failure> {
        let before = self.meta.insert(APPLIED_KEY, generation)?.map(|guard| guard.value());
        if before.is_some_and(|before| before == generation || before.checked_add(1) == Some(generation)) {
            return Ok(());
        }
        Err(Failure::Store(file.corrupt(format!("it was to go from generation {before:?} of the log to {generation}"))))
    }

    /// Moves a high-water mark so that no id of this generation is given out again.
    fn reserve(&mut self, key: &'static str, newest: Option<u64>) -> Result<(), Failure> {
        let Some(newest) = newest else { return Ok(()) };
        if newest < next_free(&self.meta, key)? {
            return Ok(());
        }
        self.meta.insert(key, newest.saturating_add(RESERVED_IDS))?;
        Ok(())
    }

    /// Writes the net effect of these operations.
    fn step(&mut self, ops: &[SessionOp], file: &RedbFile) -> Result<(), Failure> {
        let newest_message = ops.iter().filter_map(|op| match op {
            SessionOp::PutMessage { id, .. } => Some(id.0),
            _ => None,
        });
        let newest_session = ops.iter().filter_map(|op| match op {
            SessionOp::PutSession { id, .. } => Some(id.0),
            _ => None,
        });
        self.reserve(NEXT_MESSAGE, newest_message.max())?;
        self.reserve(NEXT_SESSION, newest_session.max())?;
        fold(ops).into_iter().try_for_each(|folded| self.apply(folded, file))
    }

    fn apply(&mut self, folded: Folded<'_>, file: &RedbFile) -> Result<(), Failure> {
        match folded.op {
            SessionOp::PutMessage { id, row } => {
                row.encode(&mut self.row);
                self.messages.insert(id.0, self.row.as_slice())?;
            }
            SessionOp::PutSession { id, row } => {
                row.encode(&mut self.row);
                self.sessions.insert(id.0, self.row.as_slice())?;
            }
            SessionOp::PutSubscription { session, row } => {
                row.encode(&mut self.row);
                self.subscriptions.insert((session.0, row.filter.as_str()), self.row.as_slice())?;
            }
            SessionOp::Enqueue { session, seq, row } if folded.released && !row.released => {
                QueueRow { released: true, ..row.clone() }.encode(&mut self.row);
                self.queue.insert((session.0, *seq), self.row.as_slice())?;
            }
            SessionOp::Enqueue { session, seq, row } => {
                row.encode(&mut self.row);
                self.queue.insert((session.0, *seq), self.row.as_slice())?;
            }
            SessionOp::PutInbound { session, packet_id, message } => {
                self.inbound.insert((session.0, *packet_id), message.0)?;
            }
            SessionOp::PutWill { session, row } => {
                row.encode(&mut self.row);
                self.wills.insert(session.0, self.row.as_slice())?;
            }
            SessionOp::PutRetained { topic, message } => {
                self.retained.insert(topic.as_str(), message.0)?;
            }
            SessionOp::Release { session, seq } => return self.release(*session, *seq, file),
            removal => return self.remove(removal),
        }
        Ok(())
    }

    fn release(&mut self, session: SessionId, seq: u64, file: &RedbFile) -> Result<(), Failure> {
        let key = (session.0, seq);
        let Some(value) = self.queue.get(key)?.map(|guard| guard.value().to_vec()) else { return Ok(()) };
        let row: QueueRow = decode(file, "queue", format_args!("{} {seq}", session.0), &value)?;
        QueueRow { released: true, ..row }.encode(&mut self.row);
        self.queue.insert(key, self.row.as_slice())?;
        Ok(())
    }

    fn remove(&mut self, op: &SessionOp) -> Result<(), Failure> {
        match op {
            SessionOp::DeleteMessage { id } => drop(self.messages.remove(id.0)?),
            SessionOp::DeleteSubscription { session, filter } => {
                drop(self.subscriptions.remove((session.0, filter.as_str()))?);
            }
            SessionOp::Dequeue { session, seq } => drop(self.queue.remove((session.0, *seq))?),
            SessionOp::DeleteInbound { session, packet_id } => drop(self.inbound.remove((session.0, *packet_id))?),
            SessionOp::DeleteWill { session } => drop(self.wills.remove(session.0)?),
            SessionOp::DeleteRetained { topic } => drop(self.retained.remove(topic.as_str())?),
            SessionOp::DeleteSession { id } => self.delete_session(*id)?,
            // `apply` sends only removals here.
            _ => {}
        }
        Ok(())
    }

    fn delete_session(&mut self, id: SessionId) -> Result<(), Failure> {
        let id = id.0;
        self.sessions.remove(id)?;
        self.wills.remove(id)?;
        self.queue.retain_in((id, 0)..=(id, u64::MAX), |_, _| false)?;
        self.inbound.retain_in((id, 0)..=(id, u16::MAX), |_, _| false)?;
        match id.checked_add(1) {
            Some(next) => self.subscriptions.retain_in((id, "")..(next, ""), |_, _| false)?,
            None => self.subscriptions.retain_in((id, "").., |_, _| false)?,
        }
        Ok(())
    }
}

impl Tree {
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        RedbFile::open(path, Role::Sessions, cache_bytes).map(Self)
    }

    /// Makes a new file that belongs to the logs of this store.
    pub(super) fn create(path: &Path, store: u64) -> Result<(), StoreError> {
        RedbFile::create(path, Role::Sessions, |transaction| Self::tables(transaction, store))
    }

    pub(super) fn tables(transaction: &WriteTransaction, store: u64) -> Result<(), Failure> {
        let mut tables = Tables::open(transaction)?;
        tables.meta.insert(LOG_KEY, store)?;
        tables.meta.insert(APPLIED_KEY, 0)?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn over(file: RedbFile) -> Self {
        Self(file)
    }

    /// How far the tree has come; `None` in a file from before there were logs.
    pub(super) fn applied(&self) -> Result<Option<Applied>, StoreError> {
        self.0.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let number = |key| Ok::<_, Failure>(meta.get(key)?.map(|guard| guard.value()));
            match (number(SCHEMA_KEY)?, number(LOG_KEY)?, number(APPLIED_KEY)?) {
                (Some(1), None, None) => Ok(None),
                (Some(2), Some(store), Some(generation)) => Ok(Some(Applied { store, generation })),
                _ => Err(Failure::Store(self.0.corrupt("it does not say how far it has come"))),
            }
        })
    }

    /// Makes a file from before there were logs one that belongs to the logs of this store; older hubs refuse it then.
    pub(super) fn adopt(&self, store: u64) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            Self::tables(transaction, store)?;
            transaction.open_table(META)?.insert(SCHEMA_KEY, Role::Sessions.schema())?;
            Ok(())
        })
    }

    /// Brings a generation of the log into the tree, atomically and durably. `read` appends the operations of the next step
    /// to a vector; none are the end. The net effect of each step is written. After an error the same is to be tried again.
    pub(super) fn apply(
        &self,
        generation: u64,
        mut read: impl FnMut(&mut Vec<SessionOp>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let mut tables = Tables::open(transaction)?;
            tables.advance(generation, &self.0)?;
            let mut ops = Vec::new();
            loop {
                read(&mut ops).map_err(Failure::Store)?;
                if ops.is_empty() {
                    return Ok(());
                }
                tables.step(&ops, &self.0)?;
                ops.clear();
            }
        })
    }

    /// Reads everything, and what deletes the rows that nothing refers to.
    pub(super) fn load(&self) -> Result<(SessionContents, Vec<SessionOp>), StoreError> {
        self.0.read(|transaction| self.assemble(transaction))
    }

    fn assemble(&self, transaction: &ReadTransaction) -> Result<(SessionContents, Vec<SessionOp>), Failure> {
        let mut assembly = Assembly::default();
        let file = &self.0;
        let messages = transaction.open_table(MESSAGES)?;
        assembly.expect_messages(messages.len()?);
        for entry in messages.iter()? {
            let (key, value) = entry?;
            let row = decode(file, "messages", key.value(), value.value())?;
            assembly.message(MessageId(key.value()), Arc::new(row));
        }
        for entry in transaction.open_table(SESSIONS)?.iter()? {
            let (key, value) = entry?;
            assembly.session(SessionId(key.value()), decode(file, "sessions", key.value(), value.value())?);
        }
        for entry in transaction.open_table(SUBSCRIPTIONS)?.iter()? {
            let (key, value) = entry?;
            let (session, filter) = key.value();
            let row: SubscriptionRow = decode(file, "subscriptions", session, value.value())?;
            if row.filter.as_str() != filter {
                return Err(Failure::Store(file.corrupt("table subscriptions: a row stands under a wrong key")));
            }
            assembly.subscription(SessionId(session), row);
        }
        for entry in transaction.open_table(QUEUE)?.iter()? {
            let (key, value) = entry?;
            let (session, seq) = key.value();
            let row = decode(file, "queue", format_args!("{session} {seq}"), value.value())?;
            assembly.queued(SessionId(session), seq, row);
        }
        for entry in transaction.open_table(INBOUND)?.iter()? {
            let (key, value) = entry?;
            let (session, packet_id) = key.value();
            assembly.inbound(SessionId(session), packet_id, MessageId(value.value()));
        }
        for entry in transaction.open_table(WILLS)?.iter()? {
            let (key, value) = entry?;
            assembly.will(SessionId(key.value()), decode(file, "wills", key.value(), value.value())?);
        }
        for entry in transaction.open_table(RETAINED)?.iter()? {
            let (key, value) = entry?;
            let topic = TopicName::new(key.value())
                .map_err(|bad| Failure::Store(file.corrupt(format!("table retained: {bad}"))))?;
            assembly.retained(topic, MessageId(value.value()));
        }
        let meta = transaction.open_table(META)?;
        Ok(assembly.finish(next_free(&meta, NEXT_MESSAGE)?, next_free(&meta, NEXT_SESSION)?))
    }
}

/// The first id that was never given out.
fn next_free(meta: &impl ReadableTable<&'static str, u64>, key: &'static str) -> Result<u64, Failure> {
    Ok(meta.get(key)?.map_or(1, |guard| guard.value()))
}
