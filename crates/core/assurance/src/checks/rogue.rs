//! `tls.client.validate` (ISVS-4.1.3, ISVS-4.1.6, IIITA-DI3), `tls.client.pin` (ISVS-4.1.6).

use super::{
    Rules, of_one,
    tls::{Weighed, said_in_one},
};
use crate::{
    Judgement, Verdict,
    evidence::rogue::{Face, Reaction, RogueServer, Said, Spoken, Trial},
};

pub(super) const RULES: Rules =
    &[("tls.client.validate", |inputs| of_one(inputs, validate)), ("tls.client.pin", |inputs| of_one(inputs, pin))];

const VALIDATED: &str = "a good certificate is accepted, and every bad handshake is aborted";
const PINNED: &str = "a certificate that is not the pinned one is refused, whoever signed it";

/// Faces that every device has to refuse.
const BAD: [Face; 12] = [
    Face::SelfSigned,
    Face::UnknownCa,
    Face::Expired,
    Face::NotYetValid,
    Face::WrongName,
    Face::CaAsLeaf,
    Face::WrongUsage,
    Face::Revoked,
    Face::WeakSignature,
    Face::WeakKey,
    Face::OldVersion,
    Face::WeakSuite,
];

fn reaction(facts: &RogueServer, face: Face) -> Option<&Reaction> {
    facts.trials.iter().find(|trial: &&Trial| trial.face == face).map(|trial| &trial.reaction)
}

/// What the device does with a good certificate: that it speaks, or only that it accepts it.
fn control(facts: &RogueServer) -> Result<Option<Said>, String> {
    match reaction(facts, Face::Good) {
        Some(Reaction::WentOn { said, .. }) => Ok(*said),
        Some(Reaction::Left { .. }) => Ok(None),
        Some(Reaction::Refused { how }) => Err(format!("a good certificate is refused too: {how}")),
        Some(Reaction::NotTried { why } | Reaction::Unclear { why } | Reaction::NotOffered { what: why }) => {
            Err(format!("a good certificate: {why}"))
        }
        None => Err("a good certificate was not tried, so that refusing everything shows nothing".into()),
    }
}

fn words(said: Option<Said>) -> &'static str {
    match said {
        None => "",
        Some(Said { credentials: true, .. }) => ", and credentials were sent",
        Some(Said { protocol: Spoken::Mqtt, .. }) => ", and MQTT was spoken",
        Some(Said { protocol: Spoken::Http, .. }) => ", and HTTP was spoken",
        Some(Said { protocol: Spoken::Other, .. }) => ", and something was said",
    }
}

/// `tls.client.validate`: the device accepts a good server and aborts the handshake with each bad one.
#[must_use]
pub fn validate(facts: &RogueServer) -> Judgement {
    let (mut weighed, mut untried) = (Weighed::default(), Vec::new());
    let control = control(facts);
    if let Err(gap) = &control {
        weighed.gaps.push(gap.clone());
    }
    let speaks = matches!(control, Ok(Some(_)));
    for face in BAD {
        let name = face.name();
        match reaction(facts, face) {
            Some(Reaction::WentOn { how, said }) => {
                weighed.offences.push(format!("{name} is accepted ({how}){}", words(*said)));
            }
            // Some compare names and pins behind the handshake. Who speaks to its own server, and not to this, has told them apart.
            Some(Reaction::Left { .. }) if speaks => weighed.fine.push(format!("{name}: left before anything is said")),
            Some(Reaction::Left { how }) if control.is_ok() => {
                weighed.offences.push(format!("{name} is treated like a good one ({how})"));
            }
            Some(Reaction::Left { how }) => weighed.gaps.push(format!("{name}: finished ({how}), and nothing said")),
            Some(Reaction::Refused { how }) => weighed.fine.push(format!("{name}: {how}")),
            Some(Reaction::NotOffered { what }) => weighed.fine.push(format!("{name}: {what}")),
            Some(Reaction::Unclear { why }) => weighed.gaps.push(format!("{name}: {why}")),
            Some(Reaction::NotTried { why }) => untried.push(format!("{name}: {why}")),
            None => untried.push(format!("{name}: not tried")),
        }
    }
    let refused = weighed.fine.len();
    let mut judgement = weighed.judge(VALIDATED);
    if judgement.verdict != Verdict::Pass {
        return judgement;
    }
    judgement.observed = format!("a good certificate is accepted; {refused} bad servers are refused");
    if let Some(Reaction::WentOn { how, .. }) = reaction(facts, Face::StaticRsa) {
        judgement.observed.push_str(&format!("; goes on without forward secrecy ({how})"));
    }
    if !untried.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str(&format!("; {}", said_in_one(&untried, "; ")));
    }
    judgement
}

/// `tls.client.pin`: the device refuses a certificate that a CA signed which it trusts, if it is not the one that it knows.
#[must_use]
pub fn pin(facts: &RogueServer) -> Judgement {
    let judgement = |verdict, observed: String| Judgement { verdict, observed, expected: PINNED.to_owned() };
    let control = control(facts);
    let name = Face::Unpinned.name();
    match (reaction(facts, Face::Unpinned), control) {
        (Some(Reaction::WentOn { how, said }), _) => {
            judgement(Verdict::Fail, format!("{name} is accepted ({how}){}", words(*said)))
        }
        (None, _) => judgement(Verdict::NotTested, "not tried".into()),
        (Some(Reaction::NotTried { why }), _) => judgement(Verdict::NotTested, why.clone()),
        (Some(Reaction::Unclear { why } | Reaction::NotOffered { what: why }), _) => {
            judgement(Verdict::Inconclusive, why.clone())
        }
        (_, Err(gap)) => judgement(Verdict::Inconclusive, gap),
        (Some(Reaction::Refused { how }), Ok(_)) => judgement(Verdict::Pass, format!("{name} is refused: {how}")),
        // Pins that are compared after the handshake, before anything is said, do as well.
        (Some(Reaction::Left { .. }), Ok(Some(_))) => {
            judgement(Verdict::Pass, format!("{name} is left before anything is said, unlike a good one"))
        }
        (Some(Reaction::Left { how }), Ok(None)) => {
            judgement(Verdict::Fail, format!("{name} is treated like a good one ({how})"))
        }
    }
}
