//! `tls.vulns` (IOTSF-2.4.7.13, CSA-VLN-01).

use super::{
    Inputs, Rules,
    imported::{vulnerabilities, with_import},
    of_declared,
    tls::Weighed,
};
use crate::{
    Facts as _, Judgement, Verdict,
    evidence::{
        Outcome, Seen,
        attacks::{Fault, HeartbeatAnswer, Resumption, RobotAnswer, TlsAttacks},
        import::TlsImport,
        tls::{ClassicFacts, TlsScan, Version},
    },
};

pub(super) const RULES: Rules = &[("tls.vulns", |inputs| {
    let own = |inputs: &Inputs<'_>| of_declared(inputs, tls_vulns);
    with_import(inputs, own, TlsScan::KIND, |import: &TlsImport| Ok(vulnerabilities(import)))
})];

/// How a server answers what it does not look into.
const TOO_EARLY: &str = "alert unexpected_message";

/// What is gathered, and what nobody tried.
#[derive(Default)]
struct Findings {
    weighed: Weighed,
    open: Vec<String>,
}

impl Findings {
    fn offends(&mut self, is_so: bool, what: &str) {
        if is_so {
            self.weighed.offences.push(what.to_owned());
        }
    }

    /// What an attack showed, if it was made and understood.
    fn attack<'a, T>(&mut self, what: &str, seen: &'a Seen<T>) -> Option<&'a T> {
        match seen {
            Seen::Known(answer) => return Some(answer),
            Seen::Unknown(why) => self.weighed.gaps.push(format!("{what}: {why}")),
            Seen::NotTried => self.open.push(what.to_owned()),
        }
        None
    }
}

/// `tls.vulns`: nothing that is known to be exploitable is there. What a handshake shows without harm is in the scan; what needs an
/// attack to be seen is open until one is made (IOTSF-2.4.7.13).
#[must_use]
pub fn tls_vulns(facts: &TlsScan, attacks: &TlsAttacks) -> Judgement {
    let mut findings = Findings::default();
    for found in &facts.versions {
        if let Some(gap) = found.accepted.gap() {
            findings.weighed.gaps.push(format!("{}: {gap}", found.version));
        }
    }
    match &facts.classic {
        Seen::Known(classic) => weigh_classic(&mut findings, classic, facts, attacks),
        Seen::NotTried => findings.weighed.fine.push("no version below TLS 1.3 is accepted".into()),
        Seen::Unknown(why) => findings.weighed.gaps.push(why.clone()),
    }
    weigh_resumption(&mut findings, facts, attacks);
    weigh_early_data(&mut findings, facts, attacks);
    let mut judgement = findings.weighed.judge("nothing that is known to be exploitable");
    if judgement.verdict == Verdict::Pass && !findings.open.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed = format!("{}; not tried: {}", judgement.observed, findings.open.join(", "));
    }
    judgement
}

fn weigh_classic(findings: &mut Findings, classic: &ClassicFacts, facts: &TlsScan, attacks: &TlsAttacks) {
    findings.offends(classic.compression, "compression (CRIME)");
    findings.offends(!classic.secure_renegotiation, "no secure renegotiation (CVE-2009-3555)");
    findings.offends(
        !classic.extended_master_secret && classic.version > Version::Ssl30,
        "no extended master secret (triple handshake)",
    );
    findings
        .offends(classic.early_ccs_refused == Seen::Known(false), "an early ChangeCipherSpec is taken (CVE-2014-0224)");
    let is_old = facts.accepted().any(|found| found.version < Version::Tls12);
    findings
        .offends(is_old && classic.fallback_refused == Seen::Known(false), "no protection from downgrades (RFC 7507)");
    if let Seen::Unknown(why) = &classic.early_ccs_refused {
        findings.weighed.gaps.push(format!("early ChangeCipherSpec: {why}"));
    }
    findings.weighed.fine.push(format!("{}: no compression, secure renegotiation", classic.version));
    let has =
        |part: &str| facts.accepted().flat_map(|found| &found.suites.found).any(|suite| suite.name.contains(part));
    if classic.heartbeat {
        weigh_heartbeat(findings, attacks);
    }
    if has("TLS_RSA_") {
        weigh_robot(findings, attacks);
    }
    if has("_CBC_") {
        findings.open.push("padding oracles, as CBC is accepted".into());
    }
    match findings.attack("renegotiation by the client", &attacks.renegotiation) {
        Some(Outcome { accepted: true, .. }) => findings.offends(true, "a client may renegotiate as often as it likes"),
        Some(Outcome { how, .. }) => findings.weighed.fine.push(format!("renegotiation by the client: {how}")),
        None => {}
    }
}

fn weigh_heartbeat(findings: &mut Findings, attacks: &TlsAttacks) {
    match findings.attack("Heartbleed, as heartbeats are answered", &attacks.heartbeat) {
        Some(HeartbeatAnswer::Bytes(bytes)) => {
            findings.offends(true, &format!("{bytes} bytes of its memory for a heartbeat (Heartbleed, CVE-2014-0160)"));
        }
        Some(HeartbeatAnswer::Nothing) => findings.weighed.fine.push("no Heartbleed".into()),
        None => {}
    }
}

/// Whoever answers faults differently decrypts for everybody (RFC 5246 section 7.4.7.1).
fn weigh_robot(findings: &mut Findings, attacks: &TlsAttacks) {
    let Some(answers) = findings.attack("ROBOT, as RSA key exchange is accepted", &attacks.robot) else { return };
    for is_whole in [true, false] {
        let of = |fault: Fault| answers.iter().find(|answer| (answer.fault, answer.is_whole) == (fault, is_whole));
        let found: Vec<&RobotAnswer> = Fault::ALL.into_iter().filter_map(of).collect();
        let (Some((first, others)), true) = (found.split_first(), found.len() == Fault::ALL.len()) else {
            findings.weighed.gaps.push("ROBOT: a fault was not tried".into());
            continue;
        };
        if first.answer.starts_with(TOO_EARLY) {
            findings.weighed.gaps.push(format!("ROBOT: it does not get as far as the key exchange: {}", first.answer));
            continue;
        }
        match others.iter().find(|other| other.answer != first.answer) {
            Some(other) => findings
                .offends(true, &format!("a Bleichenbacher oracle (ROBOT): {} or {}", first.answer, other.answer)),
            None => findings.weighed.fine.push(format!("no ROBOT: always {}", first.answer)),
        }
    }
}

/// A session that is resumed has the rights of the certificate that began it, whatever became of that certificate since.
fn weigh_resumption(findings: &mut Findings, facts: &TlsScan, attacks: &TlsAttacks) {
    // TLS 1.3 has no other means than tickets, and whoever asks for certificates may hand them out later.
    let has_none = facts.sealed.known().is_some_and(|sealed| sealed.tickets == 0 && !sealed.client_certificate);
    for version in facts.accepted().map(|found| found.version).filter(|version| *version >= Version::Tls12) {
        let attempt = attacks.resumption.iter().find(|attempt| attempt.version == version);
        let outcome = attempt.map_or(&Seen::NotTried, |attempt| &attempt.outcome);
        if *outcome == Seen::NotTried && version == Version::Tls13 && has_none {
            findings.weighed.fine.push(format!("{version}: no tickets"));
            continue;
        }
        match findings.attack(&format!("resumption of {version}"), outcome) {
            Some(Resumption::ResumedWithoutCertificate) => {
                let what = format!("{version}: a session is resumed without its client's certificate");
                findings.offends(true, &what);
            }
            Some(Resumption::Resumed) => {
                findings.weighed.fine.push(format!("{version}: sessions without client certificates are resumed"));
            }
            Some(Resumption::WholeHandshake) => {
                findings.weighed.fine.push(format!("{version}: no resumption"));
            }
            None => {}
        }
    }
}

/// What a ticket promises counts, unless an attempt shows that it is not kept.
fn weigh_early_data(findings: &mut Findings, facts: &TlsScan, attacks: &TlsAttacks) {
    match (&attacks.early_data, &facts.sealed) {
        (Seen::Known(Outcome { accepted: true, .. }), _) => {
            findings.offends(true, "early data are taken, which can be replayed");
        }
        (Seen::Known(Outcome { how, .. }), _) => findings.weighed.fine.push(format!("early data: {how}")),
        (_, Seen::Known(sealed)) if sealed.early_data_bytes > 0 => {
            let what = format!("{} bytes of early data are accepted, which can be replayed", sealed.early_data_bytes);
            findings.offends(true, &what);
        }
        (Seen::Unknown(why), _) | (Seen::NotTried, Seen::Unknown(why)) => {
            findings.weighed.gaps.push(format!("early data: {why}"));
        }
        // Who asks for certificates gives tickets, and what they promise, to whoever has one.
        (Seen::NotTried, Seen::Known(sealed)) if sealed.client_certificate => findings.open.push("early data".into()),
        (Seen::NotTried, Seen::Known(_)) => findings.weighed.fine.push("no early data".into()),
        (Seen::NotTried, Seen::NotTried) => {}
    }
}
