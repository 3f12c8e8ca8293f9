//! Assurance: what is required, what was seen, and what follows.
//!
//! Evidence is typed [`Facts`]; the rules of [`checks`] make a [`Judgement`] of them.
//!
//! *Invariants*
//! - Sans-I/O: what the network said, and when, is in the facts.
//! - Missing or partial evidence is never `pass`.

pub mod checks;
pub mod evidence;
mod judgement;

pub use evidence::Facts;
pub use judgement::{Judgement, Verdict};
