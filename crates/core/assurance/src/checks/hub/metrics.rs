//! `hub.metrics` (IOTSF-2.4.7.25, CSA-OPA-02, CSA-OPA-05).

use super::partly;
use crate::{
    Judgement,
    checks::tls::Weighed,
    evidence::{
        Seen,
        hub::{HubExpectations, HubMetrics, Objectives},
    },
};

/// `hub.metrics`: the hub achieves what it is to.
#[must_use]
pub fn hub_metrics(facts: &HubMetrics, demands: &HubExpectations) -> Judgement {
    let (mut weighed, mut open) = (Weighed::default(), Vec::new());
    if !facts.accepts_work {
        weighed.offences.push("it takes no work that has to be stored".into());
    }
    match &demands.objectives {
        Some(objectives) => weigh(&mut weighed, &mut open, facts, objectives),
        None => weighed.gaps.push("nobody has declared what it is to achieve".into()),
    }
    partly(weighed.judge("within the declared objectives"), &open)
}

fn weigh(weighed: &mut Weighed, open: &mut Vec<String>, facts: &HubMetrics, objectives: &Objectives) {
    let handled = facts.delivered.saturating_add(facts.dropped);
    let dropped_ppm = facts.dropped.saturating_mul(1_000_000).checked_div(handled);
    match dropped_ppm {
        Some(ppm) if ppm > objectives.dropped_ppm_max => {
            weighed.offences.push(format!("{ppm} of a million messages were dropped"));
        }
        Some(ppm) => weighed.fine.push(format!("{ppm} of a million messages dropped in {} s", facts.uptime_s)),
        None => open.push("how many messages are dropped: there were none".to_owned()),
    }
    for limit in &facts.fullest {
        let percent = limit.used.saturating_mul(100).checked_div(limit.limit).unwrap_or(100);
        if percent > objectives.used_percent_max {
            weighed.offences.push(format!("{percent} % of {} are in use", limit.name));
        }
    }
    if facts.late_cuts > 0 {
        weighed.offences.push(format!("{} connections were ended later than a second", facts.late_cuts));
    }
    match &facts.availability_ppht {
        Seen::Known(ppht) if *ppht < objectives.availability_ppht_min => {
            weighed.offences.push(format!("availability {ppht} of 100,000"));
        }
        Seen::Known(ppht) => weighed.fine.push(format!("availability {ppht} of 100,000")),
        unknown => open.push(format!("availability: {}", unknown.gap().unwrap_or_default())),
    }
    match &facts.delivery_us {
        Seen::Known(us) if *us > objectives.delivery_us_max => weighed.offences.push(format!("delivery takes {us} µs")),
        Seen::Known(us) => weighed.fine.push(format!("delivery takes {us} µs")),
        unknown => open.push(format!("delivery: {}", unknown.gap().unwrap_or_default())),
    }
    weighed.fine.push(format!("commit {} µs", facts.last_commit_us));
}
