//! `hub.ledger` (CSA-SCN-09, CSA-IMT-01, CSA-CLS-13, CSA-SOP-03, IOTSF-2.4.7.8, IIITA-N8).

use super::{offend, partly};
use crate::{
    Judgement,
    checks::tls::{Weighed, said_in_one},
    evidence::{
        Seen,
        hub::{HubExpectations, HubLedger, LedgerProof},
    },
};

/// `hub.ledger`: the chain is valid from the first kept entry to the head, whatever happened has an entry, nobody else reads or writes it.
/// Without a look of the auditor's own it is the hub's word, and partial.
#[must_use]
pub fn hub_ledger(facts: &HubLedger, demands: &HubExpectations, proof: Option<&LedgerProof>) -> Judgement {
    let (mut weighed, mut open) = (Weighed::default(), Vec::new());
    if let Some(damage) = &facts.damage {
        weighed.offences.push(format!("damaged: {damage}"));
    }
    if let Some(trouble) = &facts.trouble {
        weighed.offences.push(format!("it cannot be written: {trouble}"));
    }
    if facts.unrecorded > 0 {
        weighed.offences.push(format!("{} events have no entry", facts.unrecorded));
    }
    weigh_coverage(&mut weighed, facts);
    offend(&mut weighed, "files can be read by others", &facts.readable);
    offend(&mut weighed, "files can be written by others", &facts.writable);
    if facts.files == 0 {
        weighed.gaps.push("no file was looked at".into());
    }
    if facts.keep_days != 0 && facts.keep_days < demands.ledger_keep_days_min {
        weighed.offences.push(format!("entries are kept for {} days only", facts.keep_days));
    }
    for witness in &facts.witnesses {
        match &witness.silent_s {
            Seen::Known(silent_s) if *silent_s <= witness.late_s => {
                weighed.fine.push(format!("{} cosigned {silent_s} s ago", witness.name));
            }
            Seen::Known(silent_s) => weighed.offences.push(format!("{} is silent for {silent_s} s", witness.name)),
            unknown => weighed.gaps.push(format!("{}: {}", witness.name, unknown.gap().unwrap_or_default())),
        }
    }
    let until = facts.entries;
    weighed.fine.insert(0, format!("entries {} to {until} verified, {} kinds", facts.verified_from, facts.kinds.len()));
    weigh_proof(&mut weighed, &mut open, facts, proof);
    if !facts.whole {
        open.push(format!("entries {} to {}", facts.first_kept, facts.verified_from));
    }
    if !facts.all_files {
        open.push(format!("files beyond the first {}", facts.files));
    }
    partly(
        weighed.judge("valid from the first kept entry to the head, complete, and nobody else's to read or write"),
        &open,
    )
}

/// The auditor reads after the hub, so he finds no less than it.
fn weigh_proof(weighed: &mut Weighed, open: &mut Vec<String>, facts: &HubLedger, proof: Option<&LedgerProof>) {
    let Some(proof) = proof else { return open.push("whether an auditor finds the same".into()) };
    if let Some(damage) = &proof.damage {
        return weighed.offences.push(format!("the auditor finds it damaged: {damage}"));
    }
    let LedgerProof { entries, first_kept, .. } = proof;
    if *entries < facts.entries {
        return weighed
            .offences
            .push(format!("the hub tells of {} entries, the auditor finds {entries}", facts.entries));
    }
    weighed.fine.push(format!("the auditor has read entries {first_kept} to {entries}"));
    if !proof.is_key_declared {
        weighed.fine.push("its key lay beside it".into());
    }
}

fn weigh_coverage(weighed: &mut Weighed, facts: &HubLedger) {
    if facts.entries == 0 {
        weighed.gaps.push("it has no entries".into());
    }
    if facts.unreadable > 0 {
        weighed.gaps.push(format!("{} entries are of another version", facts.unreadable));
    }
    if facts.missing.is_empty() {
        return;
    }
    let missing = said_in_one(&facts.missing, ", ");
    // What is not signed yet, or was let go, may hold them.
    let may_be_elsewhere = facts.unsigned > 0 || facts.verified_from > 0 || facts.damage.is_some();
    let told = if may_be_elsewhere { &mut weighed.gaps } else { &mut weighed.offences };
    told.push(format!("no entry of what happened: {missing}"));
}
