//! The rules: what a check makes of evidence. A rule is a pure function of its [`Inputs`]; who changes what it makes of the same
//! evidence raises the check's version in `data/checks.csv`, and a test holds him to that.

mod attestation;
mod claims;
pub mod coap;
mod config;
pub mod console;
pub mod discovery;
pub mod dtls;
pub mod exception;
pub mod hub;
mod imported;
pub mod login;
pub mod mqtt;
pub mod mutual;
pub mod ports;
pub mod replay;
pub mod rogue;
pub mod snmp;
pub mod ssh;
pub mod tls;
pub mod vulns;

use portreeve_types::UnixMillis;

pub(crate) use tls::said_in_one;

use crate::{Check, Envelope, Facts, Judgement, Sha256, Verdict};

/// What a rule judges by.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What is judged.
    pub check: &'a Check,
    /// Where; for records, the row.
    pub target: &'a str,
    /// When the run began: what "in date" means, then and whenever the verdict is computed again.
    pub at: UnixMillis,
    /// The evidence.
    pub evidence: &'a [(Sha256, &'a Envelope)],
}

impl Inputs<'_> {
    /// The one piece of a kind.
    ///
    /// # Errors
    /// [`Verdict::Inconclusive`], if there is none, more than one, one from elsewhere or one that cannot be read.
    pub fn one<F: Facts>(&self) -> Result<F, Judgement> {
        self.declared()?.ok_or_else(|| self.inconclusive(format!("there is no evidence of the kind {}", F::KIND)))
    }

    /// The one piece of a kind that need not be there, such as a policy that was declared.
    ///
    /// # Errors
    /// As [`Self::one`], but for a piece that is not there.
    pub fn declared<F: Facts>(&self) -> Result<Option<F>, Judgement> {
        let mut found = self.evidence.iter().filter(|(_, envelope)| envelope.kind == F::KIND);
        let Some((hash, envelope)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(self.inconclusive(format!("there is more than one piece of evidence of the kind {}", F::KIND)));
        }
        // Else one could pass for another's evidence.
        if envelope.target.as_deref().is_some_and(|target| target != self.target) {
            return Err(self.inconclusive(format!("evidence {hash} is of another target")));
        }
        let facts = serde_json::from_value(envelope.data.clone());
        facts.map(Some).map_err(|error| self.inconclusive(format!("evidence {hash} is not of its kind: {error}")))
    }

    /// A judgement for want of evidence.
    fn inconclusive(&self, observed: String) -> Judgement {
        Judgement { verdict: Verdict::Inconclusive, observed, expected: self.check.passes_when.clone() }
    }
}

/// What a check makes of evidence: pure, and the same at any time and place.
pub type Rule = fn(&Inputs<'_>) -> Judgement;

/// Rules by their checks: each module has a table of its own.
type Rules = &'static [(&'static str, Rule)];

/// Every table.
const TABLES: &[Rules] = &[
    attestation::RULES,
    config::RULES,
    coap::RULES,
    discovery::RULES,
    dtls::RULES,
    mqtt::RULES,
    mutual::RULES,
    ports::RULES,
    rogue::RULES,
    snmp::RULES,
    ssh::RULES,
    tls::RULES,
    replay::RULES,
    vulns::RULES,
    console::RULES,
    login::RULES,
    exception::RULES,
    hub::RULES,
];

/// The rule of a check; checks that cannot be made yet have none.
#[must_use]
pub fn rule(check: &str) -> Option<Rule> {
    TABLES.iter().copied().flatten().find(|(name, _)| *name == check).map(|(_, rule)| *rule)
}

/// A rule that judges one kind of facts.
fn of_one<F: Facts>(inputs: &Inputs<'_>, judge: impl FnOnce(&F) -> Judgement) -> Judgement {
    match inputs.one() {
        Ok(facts) => judge(&facts),
        Err(judgement) => judgement,
    }
}

/// A rule that judges facts by what was declared beforehand, or else by the default.
fn of_declared<F: Facts, D: Facts + Default>(
    inputs: &Inputs<'_>,
    judge: impl FnOnce(&F, &D) -> Judgement,
) -> Judgement {
    match inputs.one().and_then(|facts| Ok((facts, inputs.declared()?.unwrap_or_default()))) {
        Ok((facts, declared)) => judge(&facts, &declared),
        Err(judgement) => judgement,
    }
}

/// What passes as far as it is known, and is not known in all its parts.
fn partly(mut judgement: Judgement, open: &[String]) -> Judgement {
    if judgement.verdict == Verdict::Pass && !open.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed = format!("{}; not known: {}", judgement.observed, said_in_one(open, ", "));
    }
    judgement
}
