use std::{path::Path, sync::Arc};

use portreeve_types::TopicName;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

use super::{
    file::{Failure, META, Outcome, RedbFile, Role},
    registry::decode,
};
use crate::{
    SessionStore, StoreError,
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

/// The session store in a redb file.
pub struct RedbSessions(RedbFile);

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
    /// The row being encoded; one buffer for the whole commit.
    row: Vec<u8>,
    changed: bool,
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
            changed: false,
        })
    }

    /// Moves a high-water mark so that no id of this commit is given out again.
    fn reserve(&mut self, key: &'static str, newest: Option<u64>) -> Result<(), Failure> {
        let Some(newest) = newest else { return Ok(()) };
        if newest < next_free(&self.meta, key)? {
            return Ok(());
        }
        self.meta.insert(key, newest.saturating_add(RESERVED_IDS))?;
        self.changed = true;
        Ok(())
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
        self.changed = true;
        Ok(())
    }

    fn release(&mut self, session: SessionId, seq: u64, file: &RedbFile) -> Result<(), Failure> {
        let key = (session.0, seq);
        let Some(value) = self.queue.get(key)?.map(|guard| guard.value().to_vec()) else { return Ok(()) };
        let row: QueueRow = decode(file, "queue", format_args!("{} {seq}", session.0), &value)?;
        QueueRow { released: true, ..row }.encode(&mut self.row);
        self.queue.insert(key, self.row.as_slice())?;
        self.changed = true;
        Ok(())
    }

    fn remove(&mut self, op: &SessionOp) -> Result<(), Failure> {
        let removed = match op {
            SessionOp::DeleteMessage { id } => self.messages.remove(id.0)?.is_some(),
            SessionOp::DeleteSubscription { session, filter } => {
                self.subscriptions.remove((session.0, filter.as_str()))?.is_some()
            }
            SessionOp::Dequeue { session, seq } => self.queue.remove((session.0, *seq))?.is_some(),
            SessionOp::DeleteInbound { session, packet_id } => self.inbound.remove((session.0, *packet_id))?.is_some(),
            SessionOp::DeleteWill { session } => self.wills.remove(session.0)?.is_some(),
            SessionOp::DeleteRetained { topic } => self.retained.remove(topic.as_str())?.is_some(),
            SessionOp::DeleteSession { id } => self.delete_session(*id)?,
            // `apply` sends only removals here.
            _ => false,
        };
        self.changed |= removed;
        Ok(())
    }

    fn delete_session(&mut self, id: SessionId) -> Result<bool, Failure> {
        let id = id.0;
        let mut removed = self.sessions.remove(id)?.is_some();
        removed |= self.wills.remove(id)?.is_some();
        let drop_row = |hit: &mut bool| {
            *hit = true;
            false
        };
        self.queue.retain_in((id, 0)..=(id, u64::MAX), |_, _| drop_row(&mut removed))?;
        self.inbound.retain_in((id, 0)..=(id, u16::MAX), |_, _| drop_row(&mut removed))?;
        match id.checked_add(1) {
            Some(next) => self.subscriptions.retain_in((id, "")..(next, ""), |_, _| drop_row(&mut removed))?,
            None => self.subscriptions.retain_in((id, "").., |_, _| drop_row(&mut removed))?,
        }
        Ok(removed)
    }
}

impl RedbSessions {
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        RedbFile::open(path, Role::Sessions, cache_bytes).map(Self)
    }

    pub(super) fn create(path: &Path) -> Result<(), StoreError> {
        RedbFile::create(path, Role::Sessions, Self::tables)
    }

    pub(super) fn tables(transaction: &WriteTransaction) -> Result<(), Failure> {
        Tables::open(transaction).map(drop)
    }

    #[cfg(test)]
    pub(super) fn over(file: RedbFile) -> Self {
        Self(file)
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

impl SessionStore for RedbSessions {
    fn load(&self) -> Result<SessionContents, StoreError> {
        let (contents, strays) = self.0.read(|transaction| self.assemble(transaction))?;
        self.commit(&strays)?;
        Ok(contents)
    }

    fn commit(&self, ops: &[SessionOp]) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        let newest_message = ops.iter().filter_map(|op| match op {
            SessionOp::PutMessage { id, .. } => Some(id.0),
            _ => None,
        });
        let newest_session = ops.iter().filter_map(|op| match op {
            SessionOp::PutSession { id, .. } => Some(id.0),
            _ => None,
        });
        self.0.write(|transaction| {
            let mut tables = Tables::open(transaction)?;
            tables.reserve(NEXT_MESSAGE, newest_message.max())?;
            tables.reserve(NEXT_SESSION, newest_session.max())?;
            fold(ops).into_iter().try_for_each(|folded| tables.apply(folded, &self.0))?;
            Ok(if tables.changed { Outcome::Commit } else { Outcome::Discard })
        })
    }
}
