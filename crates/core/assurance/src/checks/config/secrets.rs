use std::collections::BTreeMap;

use super::Review;
use crate::{
    Inputs, Judgement,
    checks::of_one,
    evidence::config::{
        Said,
        secrets::{SecretFinding, SecretKind, SecretScan},
    },
};

const EXPECTED: &str = "no private key, token or password in a file";

/// `cfg.secrets`: what stands in files that should stand in none (IOTSF-2.4.7.7, IOTSF-2.4.7.12, IIITA-DI1, IIITA-J9, CSA-SDV-04,
/// CSA-SDV-11, CSA-CMP-02, CSA-CRD-05).
pub(super) fn secrets(inputs: &Inputs<'_>) -> Judgement {
    of_one(inputs, judge)
}

fn judge(scan: &SecretScan) -> Judgement {
    let mut review = Review::default();
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    for finding in &scan.findings {
        review_finding(&mut review, finding, &mut places);
    }
    let shared = places.values().filter(|count| **count > 1).count();
    if shared > 0 {
        review.weighed.offences.insert(0, format!("{shared} secrets stand in more than one place"));
    }
    if scan.unlisted > 0 {
        review.weighed.offences.push(format!("{} findings are not listed", scan.unlisted));
    }
    for skipped in &scan.skipped {
        review.part(format!("{} was not looked through: {}", skipped.file, skipped.why));
    }
    if scan.files > 0 {
        review.fine(format!("{} files, {} bytes", scan.files, scan.bytes));
    }
    review.judge(EXPECTED)
}

fn review_finding<'a>(review: &mut Review, finding: &'a SecretFinding, places: &mut BTreeMap<&'a str, u32>) {
    let SecretFinding { file, line, kind, name, allowed, .. } = finding;
    if let Some(why) = allowed {
        return review.part(format!("{file}, line {line} is said to be allowed: {why}"));
    }
    let what = match kind {
        SecretKind::PrivateKey => "a private key",
        SecretKind::SealedPrivateKey => return review.fine(format!("a sealed private key in {file}")),
        SecretKind::KeyStore => return review.part(format!("{file} may hold private keys, sealed by a password")),
        SecretKind::Token => "a token",
        SecretKind::UrlPassword => "a password in a URL",
        SecretKind::Literal => "a secret",
        SecretKind::PasswordHash => "the hash of a password",
        SecretKind::WellKnown => "a password that everybody tries first",
    };
    *places.entry(&finding.fingerprint).or_default() += 1;
    let name = if name.is_empty() { String::new() } else { format!(": {name}") };
    review.offend(file, &Said::at(*line, ()), format!("{what}{name}"));
}
