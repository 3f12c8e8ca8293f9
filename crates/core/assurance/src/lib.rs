//! Assurance: what is required, what was seen, and what follows.
//!
//! The [`Catalogue`] holds requirements of five frameworks and the checks that decide them. Evidence is typed [`Facts`] in an
//! [`Envelope`], kept in a [`Store`] under the hash of its bytes. [`judge`] makes verdicts on checks of it, [`conclude`] verdicts on
//! requirements of these, and [`Report`] holds both; [`bundle`] writes and signs every file of a report, [`verify`] computes all of it
//! anew. `docs/AUDIT.md` says how others do the same.
//!
//! *Invariants*
//! - Sans-I/O: time, bytes and signatures are arguments; the same evidence gives the same bytes everywhere.
//! - Missing or partial evidence is never `pass`.
//! - A rule that judges the same evidence otherwise than before has a new version.
//! - No text of a target ends the line, cell, element or attribute that it stands in.

mod answers;
mod catalogue;
pub mod checks;
mod engine;
pub mod evidence;
mod hash;
mod judgement;
mod moment;
mod report;
mod scope;
mod text;
mod toml_problem;

pub use answers::{ANSWERS_BYTES_MAX, AnswersFile};
pub use catalogue::{
    Applicability, Automation, CLASS_MAX, Catalogue, CatalogueError, Check, CheckId, Class, Framework, ID_BYTES_MAX,
    Kind, LEVEL_MAX, Method, NoCheckId, NoFramework, NoRequirementId, QUESTION_BYTES_MAX, QUESTIONS_MAX, QUESTIONS_MIN,
    Reference, Requirement, RequirementId, Selection, SelectionError,
};
pub use checks::{Inputs, Rule, rule};
pub use engine::{Attempt, CheckResult, Outcome, RowVerdict, combine, conclude, judge, judge_one};
pub use evidence::login::Authorisation;
pub use evidence::{
    ANSWERS_MAX, Answer, Attestation, EVIDENCE_BYTES_MAX, EVIDENCE_ITEMS_MAX, EVIDENCE_TOTAL_BYTES_MAX, Envelope,
    EvidenceError, Exemption, Facts, NotApplicable, Reply, Store, answers_problem, same_person,
};
pub use hash::Sha256;
pub use judgement::{Judgement, Verdict};
pub use report::{
    BundleError, Change, Diff, Format, JsonProblem, MANIFEST, Problem, REPORT_BYTES_MAX, Report, Run, SIGNATURE, Tool,
    Verified, assessment_results, bundle, component_definition, csv, diff, evidence_file, html, junit, sarif, verify,
};
pub use scope::{
    Account, Act, Allowed, Bounds, Cell, ConsolePart, DeclaredHost, Deployment, Device, Endpoint, File, Host, HubPart,
    LoginForm, LoginToken, Look, NoHost, NoUrl, Pattern, Place, Ports, SCOPE_BYTES_MAX, Scheme, Scope, TestIdentity,
    TestSession, Url, Visit, missing, plan,
};
pub use text::{LINE_BYTES_MAX, is_one_line};
pub use toml_problem::TomlProblem;
