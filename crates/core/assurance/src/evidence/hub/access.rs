//! What the policy in force permits.

use serde::{Deserialize, Serialize};

use super::Offenders;
use crate::evidence::{Facts, Seen};

/// The policy, by what can be said of it without asking it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPolicy {
    /// Policies, the built-in ones included.
    pub policies: u64,
    /// SHA-256 over the names and texts of the files.
    pub sha256: String,
    /// What permits more than one topic level tree of its own to somebody, at most 200, the broadest first.
    pub wide: Vec<Grant>,
    /// How many more of these there are.
    pub wide_more: u64,
    /// Policies that another makes superfluous, as "ID by ID".
    pub shadowed: Offenders,
    /// Policies for identities or groups that nobody registered is or belongs to.
    pub idle: Offenders,
    /// What the compiler warns of.
    pub warnings: Offenders,
    /// Policies by which nobody was let do anything.
    pub never_used: Seen<Offenders>,
}

impl Facts for AccessPolicy {
    const KIND: &'static str = "hub-access-policy/1";
}

/// A permission on many topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its identifier.
    pub id: String,
    /// To whom: "everyone", "identity NAME" or "group NAME".
    pub to: String,
    /// Whether it is for all.
    pub to_everyone: bool,
    /// On which topics: a filter, or nothing for every topic.
    pub topics: Option<String>,
    /// Whether a condition narrows it.
    pub conditional: bool,
    /// Whether it lets publish.
    pub publishes: bool,
    /// How many registered identities it is for.
    pub identities: u64,
    /// How many of these are devices.
    pub devices: u64,
}

/// Whether the policy in force stays within a ceiling, as a solver proved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyCeiling {
    /// [`AccessPolicy::sha256`] of the policy that was asked about.
    pub policy_sha256: String,
    /// SHA-256 of the ceiling's files, one after another.
    pub ceiling_sha256: String,
    /// The solver and its version.
    pub prover: Seen<String>,
    /// What it found for each kind of request.
    pub findings: Vec<CeilingFinding>,
}

impl Facts for PolicyCeiling {
    const KIND: &'static str = "hub-policy-ceiling/1";
}

/// For one kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeilingFinding {
    /// `publish`, `subscribe` or `connect`.
    pub action: String,
    /// What was found; unknown, if the solver gave up.
    pub answer: Seen<CeilingAnswer>,
}

/// What a solver finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CeilingAnswer {
    /// Nothing is allowed that the ceiling does not allow.
    Within,
    /// Something is: an example.
    Beyond(String),
}
