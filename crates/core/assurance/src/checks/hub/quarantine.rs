//! `hub.quarantine` (IIITA-N4, CSA-MSU-01, CSA-SNT-06, CSA-CRD-11).

use super::partly;
use crate::{
    Judgement,
    checks::tls::Weighed,
    evidence::{
        Seen,
        hub::{HubExpectations, QuarantineRehearsal, QuarantineSeen},
    },
};

/// `hub.quarantine`: session, certificate and network of a device that is quarantined end in time.
#[must_use]
pub fn hub_quarantine(
    facts: &QuarantineRehearsal,
    demands: &HubExpectations,
    seen: Option<&QuarantineSeen>,
) -> Judgement {
    let (mut weighed, mut open) = (Weighed::default(), Vec::new());
    if facts.connections == 0 {
        weighed.gaps.push(format!("{} was not connected", facts.device));
    }
    if !facts.released {
        weighed.gaps.push(format!("{} was not released", facts.device));
    }
    let steps = [("session", &facts.dropped_ms), ("certificate", &facts.revoked_ms), ("network", &facts.blocked_ms)];
    for (what, took) in steps {
        match took {
            Seen::Known(ms) if *ms <= demands.quarantine_ms_max => weighed.fine.push(format!("{what}: {ms} ms")),
            Seen::Known(ms) => weighed.offences.push(format!("{what}: {ms} ms")),
            // Nobody who could do it was asked to.
            Seen::NotTried => open.push(format!("{what}: not tried")),
            Seen::Unknown(why) => weighed.offences.push(format!("{what}: {why}")),
        }
    }
    match seen.map(|seen| &seen.connection) {
        Some(Seen::Known(outcome)) if outcome.accepted => {
            weighed.offences.push("its client is still connected".into());
        }
        Some(Seen::Known(outcome)) => weighed.fine.push(format!("its client: {}", outcome.how)),
        Some(unknown) => open.push(format!("what its client saw: {}", unknown.gap().unwrap_or_default())),
        None => open.push("what its client saw: nobody looked".to_owned()),
    }
    let expected = format!("session, certificate and network end within {} ms", demands.quarantine_ms_max);
    partly(weighed.judge(&expected), &open)
}
