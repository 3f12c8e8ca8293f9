//! `tls.versions`, `tls.suites`, `tls.cert`, `tls.pqc`.

use std::fmt::Display;

use super::{Inputs, Rules, claims, imported::with_import, of_declared};
use crate::{
    Facts, Judgement, Verdict,
    evidence::{
        Code, Listing, Seen,
        certificate::CertificateFacts,
        import::TlsImport,
        suites::SUITES,
        tls::{Order, TlsPolicy, TlsScan, Version, VersionFacts},
    },
};

pub(super) const RULES: Rules = &[
    ("tls.versions", |inputs| claims::of_port(inputs, own_or_imported(inputs, tls_versions), claims::versions)),
    ("tls.suites", |inputs| own_or_imported(inputs, tls_suites)),
    ("tls.cert", |inputs| own_or_imported(inputs, tls_cert)),
    ("tls.pqc", |inputs| of_declared(inputs, tls_pqc)),
];

/// A rule that judges what another's scanner has seen as it judges one's own.
fn own_or_imported(inputs: &Inputs<'_>, judge: fn(&TlsScan, &TlsPolicy) -> Judgement) -> Judgement {
    let own = |inputs: &Inputs<'_>| of_declared(inputs, judge);
    with_import(inputs, own, TlsScan::KIND, |import: &TlsImport| {
        Ok(judge(&import.as_scan(), &inputs.declared()?.unwrap_or_default()))
    })
}

/// Offenders that one line names; the others are counted.
const NAMED_MAX: usize = 8;

/// What a rule has gathered: whatever offends fails, whatever is not known leaves it open.
#[derive(Debug, Default)]
pub(super) struct Weighed {
    pub(super) offences: Vec<String>,
    pub(super) gaps: Vec<String>,
    pub(super) fine: Vec<String>,
}

impl Weighed {
    /// The judgement: fail, inconclusive or pass.
    pub(super) fn judge(self, expected: &str) -> Judgement {
        let (verdict, said) = match (self.offences.is_empty(), self.gaps.is_empty(), self.fine.is_empty()) {
            (false, ..) => (Verdict::Fail, self.offences),
            (true, false, _) => (Verdict::Inconclusive, self.gaps),
            (true, true, false) => (Verdict::Pass, self.fine),
            (true, true, true) => (Verdict::Inconclusive, vec!["nothing was seen".to_owned()]),
        };
        Judgement { verdict, observed: said_in_one(&said, "; "), expected: expected.to_owned() }
    }
}

/// The first few, and how many more.
pub(crate) fn said_in_one(said: &[String], between: &str) -> String {
    let more = said.len().saturating_sub(NAMED_MAX);
    let mut line = said[..said.len() - more].join(between);
    if more > 0 {
        line.push_str(&format!("{between}and {more} more"));
    }
    line
}

/// `tls.versions`: nothing below the policy's floor is accepted, and something above it is (ISVS-4.1.1, GLOSSARY-P2).
#[must_use]
pub fn tls_versions(facts: &TlsScan, policy: &TlsPolicy) -> Judgement {
    let mut weighed = Weighed::default();
    for version in Version::ALL {
        let Some(found) = facts.versions.iter().find(|found| found.version == version) else {
            weighed.gaps.push(format!("{version} was not tried"));
            continue;
        };
        let is_below = version < policy.version_min;
        match &found.accepted {
            Seen::Known(true) if is_below => weighed.offences.push(format!("{version} is accepted")),
            Seen::Known(true) => weighed.fine.push(format!("{version} is accepted")),
            Seen::Known(false) => {}
            unknown => weighed.gaps.push(format!("{version}: {}", unknown.gap().unwrap_or_default())),
        }
    }
    if weighed.offences.is_empty() && weighed.fine.is_empty() && weighed.gaps.is_empty() {
        weighed.gaps.push("no version at all is accepted".into());
    }
    weighed.judge(&format!("{} and newer only", policy.version_min))
}

/// `tls.suites`: all suites, groups and signatures that are accepted are in the policy, and the strongest suites come first
/// (ISVS-4.1.2, IOTSF-2.4.7.15).
#[must_use]
pub fn tls_suites(facts: &TlsScan, policy: &TlsPolicy) -> Judgement {
    let mut weighed = Weighed::default();
    weigh_versions(&mut weighed, &facts.versions, policy);
    weighed.judge(SUITES_EXPECTED)
}

/// What passes.
pub(super) const SUITES_EXPECTED: &str = "only suites, groups and signatures of the policy, the strongest first";

/// Everything that versions accept.
pub(super) fn weigh_versions<V: Display>(weighed: &mut Weighed, versions: &[VersionFacts<V>], policy: &TlsPolicy) {
    for found in versions {
        let version = &found.version;
        if let Some(gap) = found.accepted.gap() {
            weighed.gaps.push(format!("{version}: {gap}"));
        }
        if !found.accepted.is_true() {
            continue;
        }
        weigh_listing(weighed, version, "suite", &found.suites, &policy.suites);
        weigh_listing(weighed, version, "group", &found.groups, &policy.groups);
        weigh_listing(weighed, version, "signature", &found.signatures, &policy.signatures);
        if let Some(bits) = found.dh_bits_min.filter(|bits| *bits < policy.rsa_dh_bits_min) {
            weighed.offences.push(format!("{version}: a finite-field key exchange of {bits} bits"));
        }
        weigh_order(weighed, found);
    }
}

fn weigh_listing(weighed: &mut Weighed, version: &dyn Display, what: &str, listing: &Listing, allowed: &[u16]) {
    let offends = |code: &&Code| !allowed.contains(&code.code);
    weighed
        .offences
        .extend(listing.found.iter().filter(offends).map(|code| format!("{version}: {what} {}", code.name)));
    if let Some(gap) = &listing.gap {
        weighed.gaps.push(format!("{version}: {what}s may be missing: {gap}"));
    }
    if listing.found.is_empty() && what == "suite" {
        weighed.gaps.push(format!("{version}: no suite was seen"));
    }
    if !listing.found.is_empty() {
        weighed.fine.push(format!("{version}: {} {what}s of the policy", listing.found.len()));
    }
}

/// Order matters where weak suites stand beside strong ones, in whatever policy.
fn weigh_order<V: Display>(weighed: &mut Weighed, found: &VersionFacts<V>) {
    let ranks: Vec<u8> = found.suites.found.iter().map(|code| rank(code.code)).collect();
    let (Some(best), Some(first)) = (ranks.iter().max(), ranks.first()) else { return };
    if ranks.iter().all(|rank| rank == best) {
        return;
    }
    match &found.order {
        Seen::Known(Order::One) => {}
        Seen::Known(Order::Server) if first == best => {}
        Seen::Known(Order::Server) => weighed.offences.push(format!("{}: a weaker suite is preferred", found.version)),
        Seen::Known(Order::Client) => {
            weighed.offences.push(format!("{}: clients choose between strong and weak suites", found.version));
        }
        unknown => weighed.gaps.push(format!("{}: preference: {}", found.version, unknown.gap().unwrap_or_default())),
    }
}

/// 2: authenticated encryption with forward secrecy; 1: one of these; 0: neither.
fn rank(suite: u16) -> u8 {
    let name = SUITES.iter().find(|(code, _)| *code == suite).map_or("", |(_, name)| *name);
    let is_aead = ["GCM", "CCM", "CHACHA20"].iter().any(|mode| name.contains(mode));
    let is_ephemeral = name.contains("DHE") || !name.contains("_WITH_");
    u8::from(is_aead) + u8::from(is_ephemeral)
}

/// `tls.cert`: the leaf is good for its name, strong, in date and not for too long, and leads to a declared anchor
/// (CSA-CRD-09).
#[must_use]
pub fn tls_cert(facts: &TlsScan, policy: &TlsPolicy) -> Judgement {
    let mut weighed = Weighed::default();
    weighed.gaps.extend(facts.chains_gap.clone());
    let mut is_anchored = true;
    for chain in &facts.chains {
        let Some((leaf, others)) = chain.certificates.split_first() else {
            weighed.gaps.push("a chain of no certificates".into());
            continue;
        };
        weigh_leaf(&mut weighed, leaf, policy);
        weigh_strength(&mut weighed, leaf, policy);
        others.iter().for_each(|other| weigh_strength(&mut weighed, other, policy));
        match &chain.name_matches {
            Seen::Known(true) => {}
            Seen::Known(false) => weighed.offences.push("it is not for the name of the target".into()),
            unknown => weighed.gaps.push(format!("its name: {}", unknown.gap().unwrap_or_default())),
        }
        match &chain.anchored {
            Seen::Known(true) => {}
            Seen::Known(false) => weighed.offences.push("it does not lead to a declared trust anchor".into()),
            Seen::Unknown(why) => weighed.gaps.push(format!("its chain: {why}")),
            Seen::NotTried => is_anchored = false,
        }
        weighed.fine.push(format!("{}, {} days left", leaf.subject, leaf.days_left));
    }
    let mut judgement = weighed.judge("a strong certificate for the name, in date, below a declared trust anchor");
    if judgement.verdict == Verdict::Pass && !is_anchored {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str("; no trust anchor is declared with which to compare its chain");
    }
    judgement
}

fn weigh_leaf(weighed: &mut Weighed, leaf: &CertificateFacts, policy: &TlsPolicy) {
    let mut offends = |is_so: bool, what: String| {
        if is_so {
            weighed.offences.push(what);
        }
    };
    offends(!leaf.has_begun, "it is not valid yet".into());
    offends(leaf.days_left < 0, format!("it expired {} days ago", -leaf.days_left));
    let is_short = (0..policy.days_left_min).contains(&leaf.days_left) && leaf.lifetime_days > policy.days_left_min * 4;
    offends(is_short, format!("it expires in {} days", leaf.days_left));
    let max = policy.lifetime_days_max;
    offends(leaf.lifetime_days > max, format!("it is valid for {} days, more than {max}", leaf.lifetime_days));
    let usages = &leaf.extended_key_usages;
    let is_for_servers = usages.is_empty() || usages.iter().any(|usage| usage == "server-auth" || usage == "any");
    offends(!is_for_servers, "it is not for servers".into());
    offends(leaf.is_ca, "it may sign certificates itself".into());
    offends(leaf.is_self_issued, "it is self-signed".into());
    offends(
        !leaf.names.iter().any(|name| name.starts_with("dns:") || name.starts_with("ip:")),
        "it names no host".into(),
    );
}

fn weigh_strength(weighed: &mut Weighed, certificate: &CertificateFacts, policy: &TlsPolicy) {
    let key = &certificate.key;
    let bits_min = match key.algorithm.as_str() {
        "rsa" => policy.rsa_dh_bits_min,
        "ec" => policy.ec_bits_min,
        "ed25519" | "ed448" => 0,
        other => {
            weighed.offences.push(format!("its key is of {other}"));
            return;
        }
    };
    if key.bits < bits_min {
        weighed.offences.push(format!("{}: a key of {} {} bits", certificate.subject, key.algorithm, key.bits));
    }
    // The signature on a root is nobody's proof.
    let is_root = certificate.is_ca && certificate.is_self_issued;
    if !is_root && !policy.hashes.contains(&certificate.signature.hash) {
        weighed.offences.push(format!("{}: signed with {}", certificate.subject, certificate.signature.algorithm));
    }
}

/// `tls.pqc`: whether TLS 1.3 agrees on a hybrid with ML-KEM. Recorded, unless the policy requires it.
#[must_use]
pub fn tls_pqc(facts: &TlsScan, policy: &TlsPolicy) -> Judgement {
    let expected = if policy.is_pqc_required { "a group with ML-KEM" } else { "recorded; the policy requires nothing" };
    let judgement = |verdict, observed: String| Judgement { verdict, observed, expected: expected.to_owned() };
    let Some(newest) = facts.versions.iter().find(|found| found.version == Version::Tls13) else {
        return judgement(Verdict::NotTested, "TLS 1.3 was not tried".into());
    };
    let found: Vec<String> = newest
        .groups
        .found
        .iter()
        .filter(|code| code.name.contains("MLKEM"))
        .map(|code| code.name.to_string())
        .collect();
    if !found.is_empty() {
        return judgement(Verdict::Pass, format!("TLS 1.3 agrees on {}", said_in_one(&found, ", ")));
    }
    if let Some(gap) = newest.accepted.gap().or(newest.groups.gap.as_deref()) {
        return judgement(Verdict::Inconclusive, gap.to_owned());
    }
    let verdict = if policy.is_pqc_required { Verdict::Fail } else { Verdict::Pass };
    judgement(verdict, "no group with ML-KEM".into())
}
