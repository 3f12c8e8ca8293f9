//! The audit ledger on disk: what was appended is there after a crash, and what was sealed is signed.
//!
//! [`LedgerFiles`] appends entries and seals them. An entry is durable when [`LedgerFiles::append`] returns, at the cost of one
//! sync however many come together; it is covered by the signed head after [`LedgerFiles::seal`], which writes the files that
//! auditors read. A [`Volume`] is where all of that is. A [`Copied`] ledger is one to be read only, a [`Snapshot`] what is read of
//! one that grows meanwhile, a [`Page`] some of its entries with what proves them. A
//! [`Witness`] watches ledgers of others.
//!
//! | file | what |
//! | --- | --- |
//! | `checkpoint` | the signed head |
//! | `truncation` | which entries were let go, signed; there only if some were |
//! | `tile/…` | hashes and entries, as tlog-tiles has them |
//! | `tail/<first entry>` | entries in the order of their appends; what a crash leaves unsealed is read from there |
//!
//! *Invariants*
//! - What is sealed never changes: no head is signed that does not continue the one before.
//! - Nothing is removed that no durable truncation lets go; hashes never are.
//! - A tail may end in the middle of a record, as a power cut leaves it; whatever else is damaged stops the opening, and the
//!   files are left as they are.
//! - Nothing in an entry passes for a record: records are tagged under a random key of their tail.

mod copy;
mod files;
mod memory;
mod page;
mod tail;
mod volume;

pub use copy::{CHECKPOINT, Copied, FILE_BYTES_MAX, TRUNCATION, VERIFIER_KEY, WITNESSED, WITNESSES_MAX, witnessed_by};
pub use files::{
    Cut, Head, LedgerFiles, OpenError, REMOVED_BUNDLES_MAX, SealError, Signed, UNSEALED_BYTES_MAX, UNSEALED_ENTRIES_MAX,
};
pub use memory::{MemoryError, Witness, WitnessError};
pub use page::{PAGE_BUNDLES_MAX, PAGE_BYTES_MAX, Page, PageError, Proved, Snapshot};
pub use volume::{Folder, Volume};
