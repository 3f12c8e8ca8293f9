//! The rules: what a check makes of evidence. A rule is a pure function of its [`Inputs`]; who changes what it makes of the same
//! evidence raises the check's version in `data/checks.csv`, and a test holds him to that.

mod attestation;
pub mod dtls;
pub mod mqtt;
pub mod mutual;
pub mod ports;
pub mod ssh;
pub mod tls;

use portreeve_types::UnixMillis;

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
        let mut found = self.evidence.iter().filter(|(_, envelope)| envelope.kind == F::KIND);
        let Some((hash, envelope)) = found.next() else {
            return Err(self.inconclusive(format!("there is no evidence of the kind {}", F::KIND)));
        };
        if found.next().is_some() {
            return Err(self.inconclusive(format!("there is more than one piece of evidence of the kind {}", F::KIND)));
        }
        // Else one could pass for another's evidence.
        if envelope.target.as_deref().is_some_and(|target| target != self.target) {
            return Err(self.inconclusive(format!("evidence {hash} is of another target")));
        }
        serde_json::from_value(envelope.data.clone())
            .map_err(|error| self.inconclusive(format!("evidence {hash} is not of its kind: {error}")))
    }

    /// A judgement for want of evidence.
    fn inconclusive(&self, observed: String) -> Judgement {
        Judgement { verdict: Verdict::Inconclusive, observed, expected: self.check.passes_when.clone() }
    }
}

/// What a check makes of evidence: pure, and the same at any time and place.
pub type Rule = fn(&Inputs<'_>) -> Judgement;

/// Every rule, by its check.
const RULES: &[(&str, Rule)] =
    &[("att.doc", attestation::judge), ("att.inspect", attestation::judge), ("att.contract", attestation::judge)];

/// The rule of a check; checks that cannot be made yet have none.
#[must_use]
pub fn rule(check: &str) -> Option<Rule> {
    RULES.iter().find(|(name, _)| *name == check).map(|(_, rule)| *rule)
}
