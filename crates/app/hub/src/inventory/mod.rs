//! The inventory as a file: exported, changed with whatever tool, and imported, all of it or nothing.
//!
//! [`read`] makes [`Entry`]s of CSV or JSON and [`write_csv`] and [`write_json`] are its inverse: what was exported and is
//! imported again changes nothing, whatever the texts are. Both work on text and nothing else.
//!
//! *Invariants*
//! - Whoever holds an [`Entry`] holds a valid name and valid fields.
//! - An import never touches an identity's id, state, kind or certificates.
//! - No cell of an exported CSV begins with a character that makes a spreadsheet take it for a formula.

mod admin;
mod formula;
mod problems;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use admin::{Filter, ListFile, Page};
pub use problems::Problems;
pub(crate) use read::read_good;
pub use read::{Entry, List, read};
pub use write::{Cells, write_csv, write_json};

/// Largest file that is imported, bytes. A larger one is refused: split it.
pub const FILE_BYTES_MAX: usize = 32 << 20;

/// Most identities in one file. One more, and the file is refused: split it.
pub const FILE_ROWS_MAX: usize = 100_000;

/// Most identities in one answer to a list or an export; whoever wants more asks for the next page.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// Every column of CSV and key of JSON. What stands from the ninth on is told by an export and passed over by an import.
pub const COLUMNS: [&str; 12] =
    ["name", "kind", "group", "owner", "location", "model", "firmware", "notes", "state", "id", "created", "last_seen"];
