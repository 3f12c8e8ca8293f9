//! `hub.canary` (CSA-SNT-10, CSA-BCN-01, IIITA-N6, IOTSF-2.4.7.5).

use crate::{
    Judgement,
    checks::tls::{Weighed, said_in_one},
    evidence::{
        Seen,
        hub::{HubCanary, HubExpectations, Rehearsed, Told},
    },
};

/// `hub.canary`: whatever has to be noticed is, and reaches who should know in time.
#[must_use]
pub fn hub_canary(facts: &HubCanary, demands: &HubExpectations) -> Judgement {
    let mut weighed = Weighed::default();
    match &facts.rehearsed {
        Seen::Known(rehearsed) => weigh_rehearsal(&mut weighed, rehearsed, demands),
        unknown => weighed.gaps.push(format!("detectors: {}", unknown.gap().unwrap_or_default())),
    }
    match &facts.told {
        Seen::Known(told) => weigh_alerts(&mut weighed, told, demands),
        unknown => weighed.gaps.push(format!("alerts: {}", unknown.gap().unwrap_or_default())),
    }
    weighed.judge(&format!("every detector finds it, every channel tells of it within {} ms", demands.alert_ms_max))
}

fn weigh_age(weighed: &mut Weighed, what: &str, age_s: u64, demands: &HubExpectations) {
    if age_s > demands.canary_age_s_max {
        weighed.offences.push(format!("the last test of {what} was {age_s} s ago"));
    }
}

fn weigh_rehearsal(weighed: &mut Weighed, rehearsed: &Rehearsed, demands: &HubExpectations) {
    weigh_age(weighed, "detectors", rehearsed.age_s, demands);
    if !rehearsed.missed.is_empty() {
        weighed.offences.push(format!("missed by {}", said_in_one(&rehearsed.missed, ", ")));
    }
    match rehearsed.found.len() {
        0 => weighed.gaps.push("no detector was rehearsed".into()),
        found => weighed.fine.push(format!("{found} detectors found it")),
    }
}

fn weigh_alerts(weighed: &mut Weighed, told: &Told, demands: &HubExpectations) {
    weigh_age(weighed, "alerts", told.age_s, demands);
    for delivery in &told.deliveries {
        let channel = &delivery.channel;
        match &delivery.after_ms {
            Seen::Known(ms) if *ms <= demands.alert_ms_max => weighed.fine.push(format!("{channel}: {ms} ms")),
            Seen::Known(ms) => weighed.offences.push(format!("{channel}: {ms} ms")),
            // What waits has either time left, or is late.
            Seen::Unknown(why) if told.age_s.saturating_mul(1000) > demands.alert_ms_max => {
                weighed.offences.push(format!("{channel} did not tell: {why}"));
            }
            unknown => weighed.gaps.push(format!("{channel}: {}", unknown.gap().unwrap_or_default())),
        }
    }
    if told.deliveries.is_empty() {
        weighed.offences.push("alerts reach nobody".into());
    }
    if told.deliveries_more > 0 {
        weighed.gaps.push(format!("{} deliveries were not looked at", told.deliveries_more));
    }
}
