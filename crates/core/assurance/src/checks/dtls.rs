//! `dtls.versions`, `dtls.suites`, `dtls.cookie`.

use super::{
    Rules, of_declared, of_one,
    tls::{SUITES_EXPECTED, Weighed, weigh_versions},
};
use crate::{
    Judgement,
    evidence::{
        Seen,
        dtls::{DtlsScan, DtlsVersion},
        tls::TlsPolicy,
    },
};

pub(super) const RULES: Rules = &[
    ("dtls.versions", |inputs| of_declared(inputs, dtls_versions)),
    ("dtls.suites", |inputs| of_declared(inputs, dtls_suites)),
    ("dtls.cookie", |inputs| of_one(inputs, dtls_cookie)),
];

/// An answer to a stranger must be smaller than this many times its question.
const AMPLIFICATION_MAX: u32 = 3;

/// `dtls.versions`: nothing below the policy's floor is accepted, and something above it is.
#[must_use]
pub fn dtls_versions(facts: &DtlsScan, policy: &TlsPolicy) -> Judgement {
    let mut weighed = Weighed::default();
    for version in DtlsVersion::ALL {
        let Some(found) = facts.versions.iter().find(|found| found.version == version) else {
            weighed.gaps.push(format!("{version} was not tried"));
            continue;
        };
        match &found.accepted {
            Seen::Known(true) if version.tls() < policy.version_min => {
                weighed.offences.push(format!("{version} is accepted"));
            }
            Seen::Known(true) => weighed.fine.push(format!("{version} is accepted")),
            Seen::Known(false) => {}
            unknown => weighed.gaps.push(format!("{version}: {}", unknown.gap().unwrap_or_default())),
        }
    }
    weighed.judge("DTLS 1.2 and newer only")
}

/// `dtls.suites`: all that is accepted is in the policy, and clients must show a certificate.
#[must_use]
pub fn dtls_suites(facts: &DtlsScan, policy: &TlsPolicy) -> Judgement {
    let mut weighed = Weighed::default();
    weigh_versions(&mut weighed, &facts.versions, policy);
    match &facts.client_certificate {
        Seen::Known(true) => weighed.fine.push("a client certificate is asked for".into()),
        Seen::Known(false) => weighed.offences.push("no client certificate is asked for".into()),
        unknown => weighed.gaps.push(format!("client certificates: {}", unknown.gap().unwrap_or_default())),
    }
    weighed.judge(SUITES_EXPECTED)
}

/// `dtls.cookie`: a stranger gets a cookie and little else.
#[must_use]
pub fn dtls_cookie(facts: &DtlsScan) -> Judgement {
    let mut weighed = Weighed::default();
    match &facts.first_answer {
        Seen::Known(answer) => {
            let ratio = f64::from(answer.answer_bytes) / f64::from(answer.request_bytes.max(1));
            let sizes = format!("{} bytes for {} ({ratio:.1} times)", answer.answer_bytes, answer.request_bytes);
            if !answer.is_cookie {
                weighed.offences.push(format!("the handshake goes on without a cookie: {sizes}"));
            } else if answer.answer_bytes >= answer.request_bytes.saturating_mul(AMPLIFICATION_MAX) {
                weighed.offences.push(format!("its cookie is too large: {sizes}"));
            } else {
                weighed.fine.push(format!("a cookie of {sizes}"));
            }
        }
        unknown => weighed.gaps.push(unknown.gap().unwrap_or_default().to_owned()),
    }
    weighed.judge("a cookie first, and less than three times the bytes")
}
