//! `hub.queue` (CSA-OPA-10, IIITA-J11, IOTSF-2.4.7.24).

use crate::{
    Judgement,
    checks::tls::Weighed,
    evidence::hub::{HubExpectations, HubQueue, Load},
};

const HOUR_S: u64 = 3600;

/// `hub.queue`: what is kept for who is away lasts as long as it must, at the rate that was declared.
#[must_use]
pub fn hub_queue(facts: &HubQueue, demands: &HubExpectations) -> Judgement {
    let mut weighed = Weighed::default();
    let hours_min = demands.queue_hours_min;
    match &demands.load {
        Some(load) => {
            for (what, hours) in bounds(facts, load) {
                let told = format!("{what}: {hours} h");
                if hours < hours_min { &mut weighed.offences } else { &mut weighed.fine }.push(told);
            }
        }
        None => weighed.gaps.push("nobody has declared what devices are sent".into()),
    }
    if facts.dropped > 0 {
        weighed.fine.push(format!("{} messages were dropped since the start ({})", facts.dropped, facts.overflow));
    }
    weighed.judge(&format!("at least {hours_min} h at the declared rate"))
}

/// For how many whole hours each bound is enough; what does not bound is left out.
fn bounds(facts: &HubQueue, load: &Load) -> Vec<(&'static str, u64)> {
    let hourly_bytes = load.messages_per_hour.saturating_mul(load.message_bytes);
    let hours = |bound: u64, hourly: u64| bound.checked_div(hourly);
    let expiry = |seconds: u64| (seconds > 0).then_some(seconds / HOUR_S);
    [
        ("messages of a session", hours(facts.session_messages_max, load.messages_per_hour)),
        ("bytes of a session", hours(facts.session_bytes_max, hourly_bytes)),
        ("bytes of all", hours(facts.total_bytes_max, hourly_bytes.saturating_mul(load.sessions_away))),
        ("life of a session of MQTT 5.0", Some(facts.session_expiry_max_s / HOUR_S)),
        ("life of a session of MQTT 3.1.1", Some(facts.session_expiry_v311_s / HOUR_S)),
        ("life of a message", expiry(facts.message_expiry_max_s)),
    ]
    .into_iter()
    .filter_map(|(what, hours)| hours.map(|hours| (what, hours)))
    .collect()
}
