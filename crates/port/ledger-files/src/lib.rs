//! The audit ledger on disk: what was appended is there after a crash, and what was sealed is signed.
//!
//! [`LedgerFiles`] appends entries and seals them. An entry is durable when [`LedgerFiles::append`] returns, at the cost of one
//! sync however many come together; it is covered by the signed head after [`LedgerFiles::seal`], which writes the files that
//! auditors read. A [`Volume`] is where all of that is.
//!
//! | file | what |
//! | --- | --- |
//! | `checkpoint` | the signed head |
//! | `tile/…` | hashes and entries, as tlog-tiles has them |
//! | `tail/<first entry>` | entries in the order of their appends; what a crash leaves unsealed is read from there |
//!
//! *Invariants*
//! - What is sealed never changes: no head is signed that does not continue the one before.
//! - A tail may end in the middle of a record, as a power cut leaves it; whatever else is damaged stops the opening, and the
//!   files are left as they are.
//! - Nothing in an entry passes for a record: records are tagged under a random key of their tail.

mod files;
mod tail;
mod volume;

pub use files::{Head, LedgerFiles, OpenError, SealError, Signed, UNSEALED_BYTES_MAX, UNSEALED_ENTRIES_MAX};
pub use volume::{Folder, Volume};
