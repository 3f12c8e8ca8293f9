//! What came of the last self-test, for an auditor (CSA-SNT-10, CSA-BCN-01).

use portreeve_alert::Outcome as Sent;
use portreeve_assurance::evidence::{
    Seen,
    hub::{Delivery, HubCanary, Rehearsed, Told},
};
use portreeve_types::UnixMillis;

use super::{State, self_watch::test_since};
use crate::Hub;

/// Deliveries in one answer.
const DELIVERIES_MAX: usize = 200;

impl Hub {
    pub(crate) fn canary_facts(&self, now: UnixMillis) -> HubCanary {
        let state = self.alerts.state.lock();
        HubCanary { rehearsed: rehearsed(&state, now), told: told(&state, now) }
    }
}

fn rehearsed(state: &State, now: UnixMillis) -> Seen<Rehearsed> {
    let Some((at, detectors)) = &state.self_watch.rehearsed else {
        return Seen::Unknown("not rehearsed since the hub was started".into());
    };
    let words = |wanted: bool| {
        let chosen = detectors.iter().filter(|(_, found)| *found == wanted);
        chosen.map(|(detector, _)| detector.as_str().to_owned()).collect()
    };
    Seen::Known(Rehearsed { age_s: now.since(*at).as_secs(), found: words(true), missed: words(false) })
}

fn told(state: &State, now: UnixMillis) -> Seen<Told> {
    if !state.desk.settings().reach_somebody() {
        return Seen::Known(Told::default());
    }
    let Some(at) = state.desk.tested_at() else { return Seen::Unknown("never tested".into()) };
    let test = test_since(state, UnixMillis(0));
    let Some(timings) = test.and_then(|id| state.desk.timings(id).ok()) else {
        return Seen::Unknown("of the last test no alert is left".into());
    };
    let delivery = |timing: &portreeve_alert::Timing| Delivery {
        channel: timing.channel.to_string(),
        after_ms: match &timing.outcome {
            Sent::Delivered(after) => Seen::Known(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            // Why is the channel's word, which may say whom it was for.
            Sent::Waiting { .. } => Seen::Unknown("not delivered yet".into()),
            Sent::Failed(_) => Seen::Unknown("given up".into()),
        },
    };
    Seen::Known(Told {
        age_s: now.since(at).as_secs(),
        deliveries: timings.iter().take(DELIVERIES_MAX).map(delivery).collect(),
        deliveries_more: timings.len().saturating_sub(DELIVERIES_MAX) as u64,
    })
}
