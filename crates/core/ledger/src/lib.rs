//! The audit ledger's formats and proofs: an append-only list of entries whose every byte one short signed text commits to.
//!
//! The tree is that of RFC 6962 §2.1 with SHA-256, the files are those of the C2SP specifications, so that others verify a
//! ledger with programs of their own:
//! - [tlog-tiles](https://c2sp.org/tlog-tiles): [`TileId`] and [`BundleId`] are the files, [`RightEdge`] makes them.
//! - [signed-note](https://c2sp.org/signed-note) and [tlog-checkpoint](https://c2sp.org/tlog-checkpoint): a [`Checkpoint`] is
//!   the tree's head, a [`Note`] its signed form, a [`VerifierKey`] whom to believe.
//! - [tlog-proof](https://c2sp.org/tlog-proof): an [`EntryProof`] shows one entry to somebody who has nothing but the key.
//! - [tlog-witness](https://c2sp.org/tlog-witness) and [tlog-cosignature](https://c2sp.org/tlog-cosignature): [`witness`] is
//!   whoever remembers the last head and refuses to sign one that does not continue it.
//!
//! [`audit`] reads a whole ledger, a [`Reader`] parts of it; a [`Truncation`] says which entries were let go.
//!
//! *Invariants*
//! - No I/O, no clock, no keys: whoever signs gets the message and gives the signature.
//! - Two trees with the same root hold the same entries in the same order.
//! - What is parsed and written again is the same, byte for byte; what is not in its one form is refused.

mod audit;
mod bundle;
mod checkpoint;
mod edge;
mod hash;
mod note;
mod proof;
mod reader;
mod recorded;
mod tile;
mod tree;
mod truncation;
pub mod witness;

pub use audit::{AuditError, Resources, audit};
pub use bundle::{BundleError, ENTRY_BYTES_MAX, entries, push_entry};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use edge::{FullTile, RightEdge};
pub use hash::Hash;
pub use note::{KeyError, Note, NoteError, SignatureKind, VerifierKey};
pub use proof::{EntryProof, ProofError};
pub use reader::Reader;
pub use recorded::Recorded;
pub use tile::{BundleId, TILE_WIDTH, TileId};
pub use tree::{Node, Subtrees, consistency_proof, inclusion_proof, is_consistent, is_included};
pub use truncation::{Truncation, TruncationError};
