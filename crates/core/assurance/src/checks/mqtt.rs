//! `mqtt.anon`, `mqtt.password`, `mqtt.identity`, `mqtt.malformed`, `mqtt.limits`, `mqtt.acl.matrix`.

use super::{Rules, claims, of_declared, of_one, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{
        Outcome, Seen,
        mqtt::{
            Burst, HalfOpen, MqttAccess, MqttAccessMatrix, MqttIdentity, MqttLimits, MqttMalformed, MqttQuota,
            MqttVersion, Twice, With,
        },
    },
};

pub(super) const RULES: Rules = &[
    ("mqtt.anon", |inputs| of_one(inputs, mqtt_anon)),
    ("mqtt.password", |inputs| of_one(inputs, mqtt_password)),
    ("mqtt.identity", |inputs| of_one(inputs, mqtt_identity)),
    ("mqtt.malformed", |inputs| of_one(inputs, mqtt_malformed)),
    ("mqtt.limits", |inputs| claims::of_port(inputs, of_declared(inputs, mqtt_limits), claims::limits)),
    ("mqtt.acl.matrix", |inputs| of_one(inputs, mqtt_acl_matrix)),
];

/// The largest packet that a broker may take, bytes.
const PACKET_BYTES_MAX: u32 = 16 * 1024 * 1024;

fn weigh_refusal(weighed: &mut Weighed, what: &str, outcome: &Seen<Outcome>) {
    match outcome {
        Seen::Known(Outcome { accepted: true, how }) => {
            weighed.offences.push(format!("{what}: accepted {how}").trim_end().to_owned())
        }
        Seen::Known(Outcome { how, .. }) => weighed.fine.push(format!("{what}: {how}")),
        unknown => weighed.gaps.push(format!("{what}: {}", unknown.gap().unwrap_or_default())),
    }
}

fn access(facts: &MqttAccess, with: With) -> Weighed {
    let mut weighed = Weighed::default();
    for version in MqttVersion::ALL {
        let name = if version == MqttVersion::V5 { "MQTT 5.0" } else { "MQTT 3.1.1" };
        match facts.attempts.iter().find(|attempt| (attempt.version, attempt.with) == (version, with)) {
            Some(attempt) => weigh_refusal(&mut weighed, name, &attempt.outcome),
            None => weighed.gaps.push(format!("{name} was not tried")),
        }
    }
    weighed
}

/// `mqtt.anon`: nobody connects without credentials, in either version (ISVS-4.2.2).
#[must_use]
pub fn mqtt_anon(facts: &MqttAccess) -> Judgement {
    access(facts, With::Nothing).judge("refused by TLS, or not authorized")
}

/// `mqtt.password`: a password is no credential, and never asked for in clear (ISVS-4.2.3, CSA-SCN-01, CSA-COM-02).
#[must_use]
pub fn mqtt_password(facts: &MqttAccess) -> Judgement {
    let mut weighed = access(facts, With::Password);
    let answers = facts.attempts.iter().filter_map(|attempt| attempt.outcome.known());
    // Whoever reads a CONNECT in clear has read the password, whatever it answers.
    if !facts.is_tls && answers.count() > 0 {
        weighed.offences.push("a listener in clear reads passwords".into());
    }
    weighed.judge("a user name and password without a certificate are refused")
}

/// `mqtt.identity`: a client is who its certificate says, and once (CSA-TSP-03).
#[must_use]
pub fn mqtt_identity(facts: &MqttIdentity) -> Judgement {
    let mut weighed = Weighed::default();
    match &facts.own {
        Seen::Known(Outcome { accepted: true, .. }) => {}
        Seen::Known(Outcome { how, .. }) => {
            weighed.gaps.push(format!("the test identity cannot connect at all: {how}"))
        }
        unknown => weighed.gaps.push(unknown.gap().unwrap_or_default().to_owned()),
    }
    weigh_refusal(&mut weighed, "under the client id of another", &facts.foreign);
    match &facts.twice {
        Seen::Known(Twice::Both) => weighed.offences.push("one client id has two connections at once".into()),
        Seen::Known(Twice::SecondRefused) => weighed.fine.push("a second connection is refused".into()),
        Seen::Known(Twice::FirstEnded) => weighed.fine.push("a second connection ends the first".into()),
        unknown => weighed.gaps.push(format!("twice: {}", unknown.gap().unwrap_or_default())),
    }
    weighed.judge("refused under another's client id, and never connected twice")
}

fn weigh_alive(weighed: &mut Weighed, is_alive: &Seen<bool>) {
    match is_alive {
        Seen::Known(true) => {}
        Seen::Known(false) => weighed.offences.push("the broker does not answer any more as it did before".into()),
        unknown => weighed.gaps.push(format!("whether it lives: {}", unknown.gap().unwrap_or_default())),
    }
}

/// `mqtt.malformed`: each malformed packet ends its connection, and nothing else. That it is logged cannot be seen from outside.
#[must_use]
pub fn mqtt_malformed(facts: &MqttMalformed) -> Judgement {
    let mut weighed = Weighed::default();
    facts.cases.iter().for_each(|case| weigh_refusal(&mut weighed, &case.name, &case.outcome));
    weigh_alive(&mut weighed, &facts.is_alive);
    let mut judgement = weighed.judge("the connection is ended, the broker lives, and the event is logged");
    if judgement.verdict == Verdict::Pass {
        let side = if facts.is_inside { "from a client that was let in" } else { "from strangers" };
        judgement.verdict = Verdict::Partial;
        judgement.observed =
            format!("{} malformed packets {side} end their connections; its log was not seen", facts.cases.len());
    }
    judgement
}

/// `mqtt.limits`: sizes, keep alive, messages in flight and topic aliases are bounded, `$SYS` is not for everybody, and what is more
/// than was declared is refused (IOTSF-2.4.7.25, CSA-OPA-04, CSA-COM-04).
#[must_use]
pub fn mqtt_limits(facts: &MqttLimits, quota: &MqttQuota) -> Judgement {
    let (mut weighed, mut open) = (Weighed::default(), Vec::new());
    weigh_announced(&mut weighed, facts);
    weigh_refusal(&mut weighed, "a packet of 256 MiB", &facts.oversize);
    weigh_refusal(&mut weighed, "$SYS/#", &facts.sys);
    if !matches!(facts.receive_maximum, Seen::Known(u16::MAX)) {
        weigh_refusal(&mut weighed, "more in flight than Receive Maximum", &facts.in_flight);
    }
    weigh_refusal(&mut weighed, "a topic alias above the maximum", &facts.topic_alias);
    let bursts = [
        ("publishes", &facts.publishes, quota.publishes_max),
        ("connections", &facts.connections, quota.connections_max),
    ];
    for (what, burst, max) in bursts {
        weigh_burst(&mut weighed, &mut open, what, burst, max);
    }
    weigh_half_open(&mut weighed, &mut open, &facts.half_open, quota.half_open_max);
    weigh_alive(&mut weighed, &facts.is_alive);
    let mut judgement = weighed.judge("what is too large or too much is refused, and the broker stays responsive");
    if judgement.verdict == Verdict::Pass && !open.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed = format!("{}; no limit was met: {}", judgement.observed, open.join(", "));
    }
    judgement
}

/// What CONNACK says.
fn weigh_announced(weighed: &mut Weighed, facts: &MqttLimits) {
    match &facts.packet_bytes_max {
        Seen::Known(Some(bytes)) if *bytes <= PACKET_BYTES_MAX => {
            weighed.fine.push(format!("packets have {bytes} bytes at most"));
        }
        Seen::Known(Some(bytes)) => weighed.offences.push(format!("packets may have {bytes} bytes")),
        Seen::Known(None) => weighed.offences.push("no largest packet is announced".into()),
        unknown => weighed.gaps.push(format!("largest packet: {}", unknown.gap().unwrap_or_default())),
    }
    if let Seen::Known(u16::MAX) = &facts.receive_maximum {
        weighed.offences.push("no limit on messages in flight is announced".into());
    }
    match &facts.server_keep_alive_s {
        Seen::Known(Some(seconds)) if *seconds < u16::MAX => {
            weighed.fine.push(format!("a keep alive of {seconds} s"));
        }
        Seen::Known(_) => weighed.offences.push("a keep alive of 65535 s is granted".into()),
        unknown => weighed.gaps.push(format!("keep alive: {}", unknown.gap().unwrap_or_default())),
    }
}

/// Whoever met no limit knows of none, unless it was declared and is behind him.
fn weigh_burst(weighed: &mut Weighed, open: &mut Vec<String>, what: &str, burst: &Seen<Burst>, max: Option<u32>) {
    let burst = match burst {
        Seen::Known(burst) => burst,
        unknown => {
            weighed.gaps.push(format!("{what}: {}", unknown.gap().unwrap_or_default()));
            return;
        }
    };
    let Burst { tried, taken, refusal, elapsed_ms } = burst;
    match max {
        Some(max) if *taken > max => {
            weighed.offences.push(format!("{taken} {what} are taken in {elapsed_ms} ms, and {max} were declared"));
        }
        _ if taken < tried => weighed.fine.push(format!("{taken} {what} are taken, then: {refusal}")),
        _ => open.push(format!("{tried} {what} in {elapsed_ms} ms")),
    }
}

fn weigh_half_open(weighed: &mut Weighed, open: &mut Vec<String>, found: &Seen<HalfOpen>, max: Option<u32>) {
    let HalfOpen { opened, ended, held_ms, other } = match found {
        Seen::Known(found) => found,
        unknown => {
            weighed.gaps.push(format!("half-open connections: {}", unknown.gap().unwrap_or_default()));
            return;
        }
    };
    if !other.accepted {
        // That may be a limit on the address that we share with them, or a broker that has had enough.
        let what = format!("beside {opened} half-open connections nobody is let in from the same address");
        weighed.gaps.push(format!("{what}: {}", other.how));
        return;
    }
    let left = opened.saturating_sub(*ended);
    match max {
        Some(max) if left > max => {
            weighed.offences.push(format!("{left} half-open connections are kept, and {max} were declared"));
        }
        _ if *ended > 0 => weighed.fine.push(format!("{ended} of {opened} half-open connections are ended")),
        _ => open.push(format!("{opened} half-open connections for {held_ms} ms, while others are let in")),
    }
}

/// `mqtt.acl.matrix`: every cell is as declared (ISVS-4.2.2, CSA-COM-01).
#[must_use]
pub fn mqtt_acl_matrix(facts: &MqttAccessMatrix) -> Judgement {
    let mut weighed = Weighed::default();
    for cell in &facts.cells {
        let name = format!(
            "{} {:?} {} {:?}",
            cell.identity,
            cell.version,
            format!("{:?}", cell.operation).to_lowercase(),
            cell.topic
        );
        match &cell.is_possible {
            Seen::Known(is_possible) if *is_possible == cell.is_declared => {}
            Seen::Known(true) => weighed.offences.push(format!("{name} is possible")),
            Seen::Known(false) => weighed.offences.push(format!("{name} is not possible, though declared")),
            unknown => weighed.gaps.push(format!("{name}: {}", unknown.gap().unwrap_or_default())),
        }
    }
    let is_two_sided =
        facts.cells.iter().any(|cell| cell.is_declared) && facts.cells.iter().any(|cell| !cell.is_declared);
    if is_two_sided {
        weighed.fine.push(format!("{} cells are as declared", facts.cells.len()));
    } else {
        // All refused may be a broker that refuses everything; all allowed, one that allows everything.
        weighed.gaps.push("the declared cells are all allowed or all refused".into());
    }
    weighed.judge("every cell equals the declared policy")
}
