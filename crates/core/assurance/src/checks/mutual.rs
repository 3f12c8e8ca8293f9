//! `tls.mutual`.

use super::{Rules, claims, of_one, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{
        Outcome, Seen,
        mutual::{Credential, MutualTls},
    },
};

pub(super) const RULES: Rules =
    &[("tls.mutual", |inputs| claims::of_port(inputs, of_one(inputs, tls_mutual), claims::clients))];

/// `tls.mutual`: only a valid certificate reaches the application (ISVS-4.2.3, CSA-CRD-11).
#[must_use]
pub fn tls_mutual(facts: &MutualTls) -> Judgement {
    let (mut weighed, mut missing) = (Weighed::default(), Vec::new());
    for credential in Credential::ALL {
        let name = credential.name();
        let attempt = facts.attempts.iter().find(|attempt| attempt.credential == credential);
        match attempt.map(|attempt| &attempt.outcome) {
            None | Some(Seen::NotTried) => missing.push(name.to_owned()),
            Some(Seen::Unknown(why)) => weighed.gaps.push(format!("{name}: {why}")),
            Some(Seen::Known(Outcome { accepted, how })) => match (credential, accepted) {
                (Credential::Valid, true) => weighed.fine.push(format!("{name} gets through")),
                // Who lets nobody in shows nothing by refusing.
                (Credential::Valid, false) => weighed.gaps.push(format!("{name} is refused too: {how}")),
                (_, true) => weighed.offences.push(format!("{name} gets through")),
                (_, false) => weighed.fine.push(format!("{name}: {how}")),
            },
        }
    }
    let mut judgement = weighed.judge("only a valid certificate gets through");
    if judgement.verdict == Verdict::Pass && !missing.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed = format!("{}; not tried: {}", judgement.observed, missing.join(", "));
    }
    judgement
}
