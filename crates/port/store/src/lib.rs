//! What survives a restart: the registry (identities, credentials, policy) and the session store (sessions,
//! subscriptions, queues, wills, retained messages).
//!
//! The hub keeps everything in memory and talks to two traits, [`RegistryStore`] and [`SessionStore`]; the disk is what
//! a restart reads. [`RedbStore`] is the embedded store: ordered files, and for sessions a write-ahead log before one; [`MemoryRegistry`] and [`MemorySessions`] are the model that
//! it is tested against, and `conformance` (a feature) is the suite that every other store must pass. The hub submits session
//! changes to the [`Journal`], which commits them in groups and says how far the disk has come.
//!
//! *Invariants*
//! - A commit is atomic and durable when it returns.
//! - The session store always holds a prefix of what was submitted to the journal, cut between two submissions.
//! - A damaged, foreign or newer file is reported by its path. It is never repaired by dropping data and never recreated.
//!   What is cut off silently is one half-written record at the very end of the log, as a power cut leaves it; damage to
//!   just that place looks the same.
//! - What the log keeps before it is in the tree is bounded; commits wait beyond that.
//! - Ids are never reused, also after a restart: see [`SessionContents::next_message`].

mod assemble;
mod codec;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod embedded;
mod error;
mod fold;
mod journal;
mod memory;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use portreeve_types::IdentityId;

pub use embedded::{RedbRegistry, RedbSessions, RedbStore};
pub use error::StoreError;
pub use journal::{Health, Journal, JournalLimits, JournalStats, Progress, Ticket};
pub use memory::{MemoryRegistry, MemorySessions};
pub use rows::{
    CHANGES_PER_IDENTITY_MAX, ChangeRow, CredentialRow, IdentityRow, MessageId, MessageRow,
    OWN_CHANGES_PER_IDENTITY_MAX, QueueRow, RegistryContents, RegistryOp, SessionContents, SessionId, SessionOp,
    SessionRow, SpentKey, StoredSession, SubscriptionRow, WillRow,
};

/// Identities, credentials and named blobs. Small, read once, written rarely.
pub trait RegistryStore: Send + Sync {
    /// Reads everything.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a row cannot be read; nothing is skipped.
    fn load(&self) -> Result<RegistryContents, StoreError>;

    /// Applies all of `ops` in order, or none; durable on return.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when at any point two identities would bear one name, a key would change its
    /// identity, or one that is spent would be certified.
    fn commit(&self, ops: &[RegistryOp]) -> Result<(), StoreError>;

    /// The changes that were noted of an identity, oldest first. They are not part of [`Self::load`]: nobody needs them
    /// to run.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a row cannot be read.
    fn history(&self, identity: IdentityId) -> Result<Vec<ChangeRow>, StoreError>;

    /// A document, if there is one of this name. They are not part of [`Self::load`]: all of them together may be large.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it cannot be read.
    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Sessions and everything that belongs to them.
pub trait SessionStore: Send + Sync {
    /// Reads everything, and deletes the rows that nothing refers to.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a row cannot be read; nothing is skipped.
    fn load(&self) -> Result<SessionContents, StoreError>;

    /// Applies all of `ops` in order, or none; durable on return. After [`StoreError::Io`] it is unknown which, and
    /// the same commit may be tried again.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::Io`] may pass; see [`StoreError`].
    fn commit(&self, ops: &[SessionOp]) -> Result<(), StoreError>;
}

impl<S: SessionStore + ?Sized> SessionStore for Arc<S> {
    fn load(&self) -> Result<SessionContents, StoreError> {
        (**self).load()
    }

    fn commit(&self, ops: &[SessionOp]) -> Result<(), StoreError> {
        (**self).commit(ops)
    }
}

impl<S: RegistryStore + ?Sized> RegistryStore for Arc<S> {
    fn load(&self) -> Result<RegistryContents, StoreError> {
        (**self).load()
    }

    fn history(&self, identity: IdentityId) -> Result<Vec<ChangeRow>, StoreError> {
        (**self).history(identity)
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).document(name)
    }

    fn commit(&self, ops: &[RegistryOp]) -> Result<(), StoreError> {
        (**self).commit(ops)
    }
}
