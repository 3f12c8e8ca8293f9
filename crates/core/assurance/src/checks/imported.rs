//! What other scanners have seen, by the same rules. A check that has both kinds of evidence judges each; the worse counts, and both are
//! told where they differ.

use super::{Inputs, tls::Weighed};
use crate::{
    Facts, Judgement, Verdict, combine,
    evidence::{
        Seen,
        import::{PortsImport, TlsImport},
    },
};

/// A scanner's output.
pub(super) trait Import: Facts {
    /// Who made it.
    fn scanner(&self) -> &str;
}

impl Import for TlsImport {
    fn scanner(&self) -> &str {
        &self.scanner
    }
}

impl Import for PortsImport {
    fn scanner(&self) -> &str {
        &self.scanner
    }
}

/// The judgement on one's own evidence, on another's, or on both.
pub(super) fn with_import<I: Import>(
    inputs: &Inputs<'_>,
    own: impl FnOnce(&Inputs<'_>) -> Judgement,
    own_kind: &str,
    import: impl FnOnce(&I) -> Result<Judgement, Judgement>,
) -> Judgement {
    let imported: Option<I> = match inputs.declared() {
        Ok(imported) => imported,
        Err(judgement) => return judgement,
    };
    let Some(imported) = imported else { return own(inputs) };
    let mut theirs = import(&imported).unwrap_or_else(|judgement| judgement);
    theirs.observed = format!("{}: {}", imported.scanner(), theirs.observed);
    if !inputs.evidence.iter().any(|(_, envelope)| envelope.kind == own_kind) {
        return theirs;
    }
    let ours = own(inputs);
    let verdict = combine([ours.verdict, theirs.verdict]);
    let observed = if ours.verdict == theirs.verdict {
        format!("{}; {}", ours.observed, theirs.observed)
    } else {
        format!(
            "seen differently: {} by us ({}), {} by {}",
            ours.verdict, ours.observed, theirs.verdict, theirs.observed
        )
    };
    Judgement { verdict, observed, expected: ours.expected }
}

/// `tls.vulns` by another's words.
pub(super) fn vulnerabilities(import: &TlsImport) -> Judgement {
    let mut weighed = Weighed::default();
    for found in &import.vulnerabilities {
        match &found.is_vulnerable {
            Seen::Known(true) => weighed.offences.push(format!("{} ({})", found.name, found.words)),
            Seen::Known(false) => {}
            unknown => weighed.gaps.push(format!("{}: {}", found.name, unknown.gap().unwrap_or_default())),
        }
    }
    if !import.vulnerabilities.is_empty() {
        weighed.fine.push(format!("{} vulnerabilities tried, none found", import.vulnerabilities.len()));
    }
    let mut judgement = weighed.judge("nothing that is known to be exploitable");
    if judgement.verdict == Verdict::Pass {
        // Early data are looked at by few, and by none by default.
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str("; early data were not tried");
    }
    judgement
}
