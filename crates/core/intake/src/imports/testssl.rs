//! testssl.sh 3: `--jsonfile`, a list of findings, and `--jsonfile-pretty`, findings of each target under headings.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_assurance::evidence::{
    Code, Seen,
    certificate::Chain,
    import::{ImportedVulnerability, TlsImport},
    tls::{Order, Version},
};
use serde::Deserialize;
use serde_json::Value;

use super::{CertificateReader, WORDS_MAX, group, listing, piece, version};
use crate::{
    IntakeError, LIST_MAX, Piece, THINGS_MAX,
    lines::{File, shown},
};

#[derive(Clone, Debug, Deserialize)]
struct Finding {
    id: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    port: String,
    severity: String,
    finding: String,
    #[serde(default)]
    cve: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pretty {
    #[serde(default)]
    version: String,
    scan_result: Vec<serde_json::Map<String, Value>>,
}

pub(crate) fn output(file: &File<'_>, certificate: CertificateReader<'_>) -> Result<Vec<Piece>, IntakeError> {
    let json = |error: serde_json::Error| IntakeError::json(file.name, &error);
    let targets = if file.text.trim_start().starts_with('[') {
        let findings: Vec<Finding> = serde_json::from_str(file.text).map_err(json)?;
        by_address(&findings)
            .into_iter()
            .map(|(address, findings)| ("testssl.sh".to_owned(), address, findings))
            .collect()
    } else {
        targets(file, serde_json::from_str(file.text).map_err(json)?)?
    };
    let about_tls = |(_, _, findings): &(String, String, Vec<Finding>)| {
        findings.iter().any(|finding| version_of(&finding.id).is_some())
    };
    let found: Vec<_> = targets.into_iter().filter(about_tls).take(THINGS_MAX).collect();
    if found.is_empty() {
        return Err(file.error(1, "no target in it was looked at"));
    }
    Ok(found
        .into_iter()
        .map(|(scanner, address, findings)| piece(&import(scanner, address, &findings, certificate)))
        .collect())
}

/// In the flat form each finding says of which target it is; those of none are about the scanner itself.
fn by_address(findings: &[Finding]) -> BTreeMap<String, Vec<Finding>> {
    let mut found: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in findings.iter().take(LIST_MAX) {
        let host = finding.ip.split('/').next().unwrap_or_default();
        if !host.is_empty() {
            found.entry(shown(&format!("{host}:{}", finding.port))).or_default().push(finding.clone());
        }
    }
    found
}

fn targets(file: &File<'_>, pretty: Pretty) -> Result<Vec<(String, String, Vec<Finding>)>, IntakeError> {
    let version = pretty.version.split_ascii_whitespace().next().unwrap_or_default();
    let scanner = shown(format!("testssl.sh {version}").trim_end());
    let mut found = Vec::new();
    for target in pretty.scan_result {
        let text = |key: &str| target.get(key).and_then(Value::as_str).unwrap_or_default();
        let address = shown(&format!("{}:{}", text("targetHost"), text("port")));
        let lists = target.values().filter_map(Value::as_array).flatten().take(LIST_MAX);
        let findings: Result<Vec<Finding>, _> = lists.map(Finding::deserialize).collect();
        let findings = findings.map_err(|error| IntakeError::json(file.name, &error))?;
        found.push((scanner.clone(), address, findings));
    }
    Ok(found)
}

fn version_of(id: &str) -> Option<Version> {
    match id {
        "SSLv3" => Some(Version::Ssl30),
        "TLS1" => Some(Version::Tls10),
        "TLS1_1" => Some(Version::Tls11),
        "TLS1_2" => Some(Version::Tls12),
        "TLS1_3" => Some(Version::Tls13),
        _ => None,
    }
}

/// `offered`, `not offered`, with more words behind them.
fn is_offered(finding: &str) -> Seen<bool> {
    match finding {
        finding if finding.contains("not offered") => Seen::Known(false),
        finding if finding.starts_with("offered") => Seen::Known(true),
        other => Seen::Unknown(shown(other)),
    }
}

fn import(scanner: String, address: String, findings: &[Finding], certificate: CertificateReader<'_>) -> TlsImport {
    let find = |id: &str| findings.iter().find(|finding| finding.id == id);
    let mut versions = Vec::new();
    for id in ["SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3"] {
        let Some((name, finding)) = version_of(id).zip(find(id)) else { continue };
        let mut facts = version(name, is_offered(&finding.finding));
        let prefix = format!("cipher-{}_x", id.to_ascii_lowercase());
        let suites: Vec<_> = findings.iter().filter_map(|finding| finding.id.strip_prefix(&prefix)).collect();
        if facts.accepted.is_true() && !suites.is_empty() {
            facts.suites =
                listing(suites.iter().map(|hex| u16::from_str_radix(hex, 16).map(Code::suite).map_err(|_| shown(hex))));
        }
        if let Some(order) = find("cipher_order").filter(|_| facts.accepted.is_true() && name < Version::Tls13) {
            facts.order = match order.severity.as_str() {
                "OK" => Seen::Known(Order::Server),
                _ => Seen::Unknown(shown(&order.finding)),
            };
        }
        if let Some(curves) = find("PFS_ECDHE_curves")
            .or_else(|| find("FS_ECDHE_curves"))
            .filter(|_| name == Version::Tls12 && facts.accepted.is_true())
        {
            facts.groups =
                listing(curves.finding.split_ascii_whitespace().map(|name| group(name).ok_or_else(|| shown(name))));
        }
        versions.push(facts);
    }
    let chain = chain(findings, certificate);
    TlsImport {
        scanner,
        address,
        versions,
        vulnerabilities: vulnerabilities(findings),
        chains_gap: chain
            .is_none()
            .then(|| "testssl.sh was not asked for certificates, or they could not be read".to_owned()),
        chains: chain.into_iter().collect(),
    }
}

/// Findings of known attacks, by their ids in testssl.sh 3.0 and 3.2.
const ATTACKS: [&str; 24] = [
    "heartbleed",
    "CCS",
    "ticketbleed",
    "ROBOT",
    "opossum",
    "secure_renego",
    "secure_client_renego",
    "CRIME_TLS",
    "BREACH",
    "POODLE_SSL",
    "fallback_SCSV",
    "SWEET32",
    "FREAK",
    "DROWN",
    "LOGJAM",
    "LOGJAM-common_primes",
    "BEAST",
    "LUCKY13",
    "winshock",
    "RC4",
    "cipherlist_NULL",
    "cipherlist_aNULL",
    "cipherlist_EXPORT",
    "cipherlist_LOW",
];

fn vulnerabilities(findings: &[Finding]) -> Vec<ImportedVulnerability> {
    let is_attack = |finding: &&Finding| ATTACKS.contains(&finding.id.as_str()) || finding.id == "SSLv2";
    let word = |finding: &Finding| {
        let words = shown(&finding.finding);
        let is_vulnerable = match finding.severity.as_str() {
            "OK" | "INFO" => Seen::Known(false),
            "LOW" | "MEDIUM" | "HIGH" | "CRITICAL" if !words.starts_with("potential") => Seen::Known(true),
            _ => Seen::Unknown(words.clone()),
        };
        let name = format!("{} {}", finding.id, finding.cve);
        ImportedVulnerability { name: shown(name.trim()), is_vulnerable, words }
    };
    findings.iter().filter(is_attack).map(word).take(WORDS_MAX).collect()
}

/// The leaf: testssl.sh hands on no other certificate in every version.
fn chain(findings: &[Finding], certificate: CertificateReader<'_>) -> Option<Chain> {
    let find = |id: &str| findings.iter().find(|finding| finding.id.split(' ').next() == Some(id));
    let body =
        find("cert")?.finding.replace("-----BEGIN CERTIFICATE-----", "").replace("-----END CERTIFICATE-----", "");
    let body: String = body.split_ascii_whitespace().collect();
    let leaf = certificate(&STANDARD.decode(body).ok()?)?;
    let said = |id: &str| match find(id) {
        Some(finding) if finding.severity == "OK" => Seen::Known(true),
        Some(finding) if ["HIGH", "CRITICAL", "MEDIUM"].contains(&finding.severity.as_str()) => Seen::Known(false),
        Some(finding) => Seen::Unknown(shown(&finding.finding)),
        None => Seen::NotTried,
    };
    // Its trust anchors are those of browsers, and no declared ones: that it finds none says nothing of these.
    Some(Chain { certificates: vec![leaf], name_matches: said("cert_trust"), anchored: Seen::NotTried })
}
