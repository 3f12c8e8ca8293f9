//! `replay.probe`.

use super::{Rules, of_one, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{
        Outcome, Seen,
        replay::{Replay, Replayed},
    },
};

pub(super) const RULES: Rules = &[("replay.probe", |inputs| of_one(inputs, replay_probe))];

/// `replay.probe`: what was recorded gets nowhere when it is sent again, and the log says so (ISVS-4.1.1).
#[must_use]
pub fn replay_probe(facts: &Replay) -> Judgement {
    let mut weighed = Weighed::default();
    for what in Replayed::ALL.into_iter().filter(|what| facts.is_tls || *what != Replayed::Record) {
        let name = what.name();
        let attempt = facts.attempts.iter().find(|attempt| attempt.what == what);
        match attempt.map_or(&Seen::NotTried, |attempt| &attempt.outcome) {
            Seen::Known(Outcome { accepted: true, .. }) => weighed.offences.push(format!("{name} is taken twice")),
            Seen::Known(Outcome { how, .. }) => weighed.fine.push(format!("{name}: {how}")),
            unknown => weighed.gaps.push(format!("{name}: {}", unknown.gap().unwrap_or_default())),
        }
    }
    match &facts.is_logged {
        Seen::Known(true) => weighed.fine.push("its log says so".into()),
        Seen::Known(false) => weighed.offences.push("its log says nothing of what it refused".into()),
        Seen::Unknown(why) => weighed.gaps.push(format!("its log: {why}")),
        Seen::NotTried => {}
    }
    let mut judgement = weighed.judge("nothing is taken twice, and what was refused is logged");
    if judgement.verdict == Verdict::Pass && facts.is_logged == Seen::NotTried {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str("; its log was not seen");
    }
    judgement
}
