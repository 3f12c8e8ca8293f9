//! `coap.discovery` (IOTSF-2.4.7.14, CSA-SCN-11), `coap.acl` (IOTSF-2.4.7.1).

use super::{Rules, of_one, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{
        Seen,
        coap::{CellAnswer, CoapAccessMatrix, CoapAnswer, CoapDiscovery, CoapMethod, DiscoveryWay, Way},
    },
};

pub(super) const RULES: Rules =
    &[("coap.discovery", |inputs| of_one(inputs, discovery)), ("coap.acl", |inputs| of_one(inputs, access))];

const fn name(way: Way) -> &'static str {
    match way {
        Way::Plain => "in clear",
        Way::Multicast => "in clear, by multicast",
        Way::Stranger => "over DTLS, without being anybody",
        Way::Identity => "over DTLS, as a test identity",
    }
}

/// `coap.discovery`: nothing answers in clear, and strangers get no list of resources.
#[must_use]
pub fn discovery(facts: &CoapDiscovery) -> Judgement {
    let (mut weighed, mut untried) = (Weighed::default(), Vec::new());
    // Who drops the questions of strangers does as it should, if it is there at all.
    let is_there = |found: &DiscoveryWay| {
        matches!(found.answer, Seen::Known(CoapAnswer::Response { .. } | CoapAnswer::Refused { .. }))
    };
    let is_anybody = facts.ways.iter().any(is_there);
    for way in [Way::Plain, Way::Multicast, Way::Stranger] {
        let name = name(way);
        match facts.ways.iter().find(|found| found.way == way).map_or(&Seen::NotTried, |found| &found.answer) {
            // Whatever the code: plain CoAP is spoken.
            Seen::Known(CoapAnswer::Response { code, links, .. }) if way != Way::Stranger => {
                weighed.offences.push(format!("{name}: {code} with {} links", links.len()));
            }
            Seen::Known(CoapAnswer::Response { code, links, payload_bytes }) if is_success(code) => {
                weighed.offences.push(format!("{name}: {code} with {} links in {payload_bytes} bytes", links.len()));
            }
            Seen::Known(CoapAnswer::Response { code, .. }) => weighed.fine.push(format!("{name}: {code}")),
            Seen::Known(CoapAnswer::Refused { how }) => weighed.fine.push(format!("{name}: {how}")),
            Seen::Known(CoapAnswer::Silent) if is_anybody => weighed.fine.push(format!("{name}: no answer")),
            Seen::Known(CoapAnswer::Silent) => {
                weighed.gaps.push(format!("{name}: no answer, nor any other sign of life"))
            }
            Seen::Unknown(why) => weighed.gaps.push(format!("{name}: {why}")),
            Seen::NotTried if way == Way::Multicast => {}
            Seen::NotTried => untried.push(name),
        }
    }
    let mut judgement = weighed.judge("no CoAP in clear, and no list of resources without authentication");
    if judgement.verdict == Verdict::Pass && !untried.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str(&format!("; not tried: {}", untried.join(", ")));
    }
    judgement
}

fn is_success(code: &str) -> bool {
    code.starts_with("2.")
}

/// Whether the server let it happen; nothing, if its answer does not say: the request was wrong, or the server is.
fn is_possible(method: CoapMethod, answer: &CellAnswer) -> Option<bool> {
    match answer.code {
        Some(200..=299) => Some(method != CoapMethod::Observe || answer.is_observing),
        // The handshake was refused; 4.01 Unauthorized, 4.03 Forbidden; 4.04, if existence is not for everybody.
        None | Some(401 | 403 | 404) => Some(false),
        Some(_) => None,
    }
}

/// `coap.acl`: every cell is as declared.
#[must_use]
pub fn access(facts: &CoapAccessMatrix) -> Judgement {
    let mut weighed = Weighed::default();
    for cell in &facts.cells {
        let method = format!("{:?}", cell.method).to_lowercase();
        let name = format!("{} {method} {:?}", cell.identity, cell.path);
        let answer = match &cell.answer {
            Seen::Known(answer) => answer,
            unknown => {
                weighed.gaps.push(format!("{name}: {}", unknown.gap().unwrap_or_default()));
                continue;
            }
        };
        match is_possible(cell.method, answer) {
            Some(is_possible) if is_possible == cell.is_declared => {}
            Some(true) => weighed.offences.push(format!("{name} is possible")),
            Some(false) => weighed.offences.push(format!("{name} is not possible, though declared")),
            None => weighed.gaps.push(format!("{name}: {}", code(answer))),
        }
    }
    let has = |is_declared| facts.cells.iter().any(|cell| cell.is_declared == is_declared);
    if has(true) && has(false) {
        weighed.fine.push(format!("{} cells are as declared", facts.cells.len()));
    } else {
        weighed.gaps.push("the declared cells are all allowed or all refused".into());
    }
    weighed.judge("every cell equals the declared policy")
}

fn code(answer: &CellAnswer) -> String {
    answer.code.map_or_else(String::new, |code| format!("{}.{:02} decides nothing", code / 100, code % 100))
}
