//! The audit ledger of the hub.

mod read;
pub use read::*;
