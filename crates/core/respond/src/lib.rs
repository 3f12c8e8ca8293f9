//! What the hub does about a finding by itself, and the cases in which people work on it.
//!
//! [`ResponseSettings`] are an operator's rules; [`Responder::decide`] says what they make of a [`Finding`], within a brake on how
//! much of the fleet rules may touch, and keeps what was done as a [`Measure`] until it ends or is lifted. [`Blocks`] answers the
//! accept path. [`Cases`] gathers findings, notes and who handled the evidence; [`Cases::export`] and [`verify_export`] carry a case out.
//! (IIITA-N6, CSA-MSU-03, CSA-IMT-02, CSA-SNT-03, CSA-OPA-04, IOTSF-2.4.7.5, CSA-MSU-06)
//!
//! *Invariants*
//! - Without settings nothing is cut. A revocation is only ever asked for.
//! - Rules touch no more distinct identities in any hour than the brake's share, whatever is lifted meanwhile and across restarts.
//! - Whoever is exempt is not acted on; a block does not cover an exempt address that lies in the blocked network.
//! - A measure that has an end ends; a clock that is set does neither hasten nor delay it while the hub runs.
//! - A line of a custody log holds the hash of all before it. An open case never leaves to make room.
//! - Sans-I/O: time is an argument, state goes out as keyed records ([`Change`]) that the caller writes before it acts.

mod blocks;
mod brake;
mod case;
mod cases;
mod custody;
mod decision;
mod export;
mod finding;
mod measure;
mod records;
mod responder;
mod settings;
mod source;
mod text;

pub use blocks::Blocks;
pub use brake::{BRAKE_ENTRIES_MAX, BRAKE_WINDOW_MS};
pub use case::{
    Case, CaseFinding, CaseState, Closing, FINDINGS_PER_CASE_MAX, LEDGER_RANGES_PER_CASE_MAX, LedgerRange,
    NOTES_PER_CASE_MAX, Note,
};
pub use cases::{CASES_MAX, CASES_OF_SOURCES_OPEN_MAX, CASES_OPEN_MAX, CaseError, Cases, Filed, JOIN_WINDOW_MS};
pub use custody::{
    CUSTODY_LINES_MAX, CUSTODY_LINES_RESERVED, Custody, CustodyLine, CustodyProblem, READ_AGAIN_MS, Sha256, Use,
};
pub use decision::{Decision, Held, Verdict};
pub use export::{EXTRACT_BYTES_MAX, EXTRACTS_MAX, Export, ExportProblem, Verified, verify_export};
pub use finding::{Facts, Finding, Identity, Now, Subject};
pub use measure::{Measure, Step};
pub use portreeve_types::Severity;
pub use records::{Change, Damaged};
pub use responder::{BLOCKS_MAX, CLOCK_STEP_MS, Lift, LiftError, MEASURES_MAX, Responder};
pub use settings::{
    Action, FOR_S_MAX, LIST_ENTRIES_MAX, Mode, Problem, RULES_MAX, ResponseSettings, Rule, SETTINGS_BYTES_MAX, Share,
};
pub use source::{NotASource, Source};
pub use text::{TEXT_BYTES_MAX, TextError, WHO_BYTES_MAX};
