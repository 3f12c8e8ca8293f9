//! The model: what a store must do, in maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use portreeve_types::{IdentityId, IdentityName, KeyHash, TopicFilter, TopicName};

use crate::{
    RegistryStore, SessionStore, StoreError,
    assemble::Assembly,
    rows::{
        CHANGES_PER_IDENTITY_MAX, ChangeRow, CredentialRow, IdentityRow, MessageId, MessageRow,
        OWN_CHANGES_PER_IDENTITY_MAX, QueueRow, RegistryContents, RegistryOp, SessionContents, SessionId, SessionOp,
        SessionRow, SpentKey, SubscriptionRow, WillRow,
    },
};

#[derive(Clone, Default)]
struct Registry {
    identities: BTreeMap<IdentityId, IdentityRow>,
    names: BTreeMap<IdentityName, IdentityId>,
    credentials: BTreeMap<KeyHash, CredentialRow>,
    spent: BTreeSet<SpentKey>,
    blobs: BTreeMap<String, Vec<u8>>,
    /// With whether the identity reported it itself.
    changes: BTreeMap<IdentityId, Vec<(bool, ChangeRow)>>,
    documents: BTreeMap<String, Vec<u8>>,
}

impl Registry {
    fn apply(&mut self, op: &RegistryOp) -> Result<(), StoreError> {
        match op {
            RegistryOp::PutIdentity(row) => self.put_identity(row)?,
            RegistryOp::DeleteIdentity { id } => {
                if let Some(before) = self.identities.remove(id) {
                    self.names.remove(&before.name);
                }
                self.changes.remove(id);
            }
            RegistryOp::PutCredential(row) if self.spent.contains(&row.key.into()) => {
                return Err(StoreError::key_spent(row.key));
            }
            RegistryOp::PutCredential(row) => {
                let before = self.credentials.insert(row.key, row.clone());
                if before.is_some_and(|before| before.identity != row.identity) {
                    return Err(StoreError::key_taken(row.key));
                }
            }
            RegistryOp::SpendKey { key } => {
                self.credentials.remove(key);
                self.spent.insert((*key).into());
            }
            RegistryOp::Note { identity, change } => self.note(*identity, change, false),
            RegistryOp::NoteOwn { identity, change } => self.note(*identity, change, true),
            RegistryOp::PutBlob { name, bytes } => {
                self.blobs.insert(name.clone(), bytes.clone());
            }
            RegistryOp::DeleteBlob { name } => {
                self.blobs.remove(name);
            }
            RegistryOp::PutDocument { name, bytes } => {
                self.documents.insert(name.clone(), bytes.clone());
            }
            RegistryOp::DeleteDocument { name } => {
                self.documents.remove(name);
            }
        }
        Ok(())
    }

    fn note(&mut self, identity: IdentityId, change: &ChangeRow, by_itself: bool) {
        let changes = self.changes.entry(identity).or_default();
        changes.push((by_itself, change.clone()));
        let most = if by_itself { OWN_CHANGES_PER_IDENTITY_MAX } else { CHANGES_PER_IDENTITY_MAX };
        let is_same = |(own, _): &(bool, ChangeRow)| *own == by_itself;
        if changes.iter().filter(|row| is_same(row)).count() > most
            && let Some(oldest) = changes.iter().position(is_same)
        {
            changes.remove(oldest);
        }
    }

    fn put_identity(&mut self, row: &IdentityRow) -> Result<(), StoreError> {
        if let Some(before) = self.identities.insert(row.id, row.clone()) {
            self.names.remove(&before.name);
        }
        match self.names.insert(row.name.clone(), row.id) {
            Some(_) => Err(StoreError::name_taken(&row.name)),
            None => Ok(()),
        }
    }
}

/// A registry that forgets everything when the process ends.
#[derive(Default)]
pub struct MemoryRegistry(Mutex<Registry>);

impl RegistryStore for MemoryRegistry {
    fn load(&self) -> Result<RegistryContents, StoreError> {
        let state = self.0.lock();
        Ok(RegistryContents {
            identities: state.identities.values().cloned().collect(),
            credentials: state.credentials.values().cloned().collect(),
            spent: state.spent.iter().copied().collect(),
            blobs: state.blobs.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect(),
        })
    }

    fn commit(&self, ops: &[RegistryOp]) -> Result<(), StoreError> {
        let mut state = self.0.lock();
        let mut after = state.clone();
        ops.iter().try_for_each(|op| after.apply(op))?;
        *state = after;
        Ok(())
    }

    fn history(&self, identity: IdentityId) -> Result<Vec<ChangeRow>, StoreError> {
        let state = self.0.lock();
        Ok(state.changes.get(&identity).into_iter().flatten().map(|(_, change)| change.clone()).collect())
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().documents.get(name).cloned())
    }
}

#[derive(Default)]
struct Sessions {
    messages: BTreeMap<MessageId, Arc<MessageRow>>,
    sessions: BTreeMap<SessionId, SessionRow>,
    subscriptions: BTreeMap<(SessionId, TopicFilter), SubscriptionRow>,
    queue: BTreeMap<(SessionId, u64), QueueRow>,
    inbound: BTreeMap<(SessionId, u16), MessageId>,
    wills: BTreeMap<SessionId, Arc<WillRow>>,
    retained: BTreeMap<TopicName, MessageId>,
    messages_used: u64,
    sessions_used: u64,
}

impl Sessions {
    fn apply(&mut self, op: SessionOp) {
        match op {
            SessionOp::PutMessage { id, row } => {
                self.messages_used = self.messages_used.max(id.0);
                self.messages.insert(id, row);
            }
            SessionOp::DeleteMessage { id } => drop(self.messages.remove(&id)),
            SessionOp::PutSession { id, row } => {
                self.sessions_used = self.sessions_used.max(id.0);
                self.sessions.insert(id, row);
            }
            SessionOp::DeleteSession { id } => self.delete_session(id),
            SessionOp::PutSubscription { session, row } => {
                self.subscriptions.insert((session, row.filter.clone()), row);
            }
            SessionOp::DeleteSubscription { session, filter } => {
                self.subscriptions.remove(&(session, filter));
            }
            SessionOp::Enqueue { session, seq, row } => drop(self.queue.insert((session, seq), row)),
            SessionOp::Release { session, seq } => {
                if let Some(row) = self.queue.get_mut(&(session, seq)) {
                    row.released = true;
                }
            }
            SessionOp::Dequeue { session, seq } => drop(self.queue.remove(&(session, seq))),
            SessionOp::PutInbound { session, packet_id, message } => {
                self.inbound.insert((session, packet_id), message);
            }
            SessionOp::DeleteInbound { session, packet_id } => {
                self.inbound.remove(&(session, packet_id));
            }
            SessionOp::PutWill { session, row } => drop(self.wills.insert(session, row)),
            SessionOp::DeleteWill { session } => drop(self.wills.remove(&session)),
            SessionOp::PutRetained { topic, message } => {
                self.retained.insert(topic, message);
            }
            SessionOp::DeleteRetained { topic } => {
                self.retained.remove(&topic);
            }
        }
    }

    fn delete_session(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.subscriptions.retain(|(session, _), _| *session != id);
        self.queue.retain(|(session, _), _| *session != id);
        self.inbound.retain(|(session, _), _| *session != id);
        self.wills.remove(&id);
    }

    fn assemble(&self) -> (SessionContents, Vec<SessionOp>) {
        let mut assembly = Assembly::default();
        self.messages.iter().for_each(|(id, row)| assembly.message(*id, row.clone()));
        self.sessions.iter().for_each(|(id, row)| assembly.session(*id, row.clone()));
        self.subscriptions.iter().for_each(|((session, _), row)| assembly.subscription(*session, row.clone()));
        self.queue.iter().for_each(|((session, seq), row)| assembly.queued(*session, *seq, row.clone()));
        self.inbound
            .iter()
            .for_each(|((session, packet_id), message)| assembly.inbound(*session, *packet_id, *message));
        self.wills.iter().for_each(|(session, row)| assembly.will(*session, WillRow::clone(row)));
        self.retained.iter().for_each(|(topic, message)| assembly.retained(topic.clone(), *message));
        assembly.finish(self.messages_used + 1, self.sessions_used + 1)
    }
}

/// A session store that forgets everything when the process ends.
#[derive(Default)]
pub struct MemorySessions(Mutex<Sessions>);

impl SessionStore for MemorySessions {
    fn load(&self) -> Result<SessionContents, StoreError> {
        let mut state = self.0.lock();
        let (contents, strays) = state.assemble();
        strays.into_iter().for_each(|op| state.apply(op));
        Ok(contents)
    }

    fn commit(&self, ops: &[SessionOp]) -> Result<(), StoreError> {
        let mut state = self.0.lock();
        ops.iter().for_each(|op| state.apply(op.clone()));
        Ok(())
    }
}
