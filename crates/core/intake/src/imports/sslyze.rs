//! sslyze 5 and 6: `--json_out`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_assurance::evidence::{
    Seen,
    certificate::Chain,
    import::{ImportedVulnerability, TlsImport},
    tls::{Version, VersionFacts},
};
use serde::Deserialize;
use serde_json::Value;

use super::{CHAIN_MAX, CertificateReader, group, listing, piece, suite, version};
use crate::{
    IntakeError, Piece, THINGS_MAX,
    lines::{File, shown},
};

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    sslyze_version: String,
    server_scan_results: Vec<Server>,
}

#[derive(Deserialize)]
struct Server {
    server_location: Location,
    scan_result: Option<Value>,
}

#[derive(Deserialize)]
struct Location {
    hostname: String,
    port: u16,
}

pub(crate) fn output(file: &File<'_>, certificate: CertificateReader<'_>) -> Result<Vec<Piece>, IntakeError> {
    let output: Output = serde_json::from_str(file.text).map_err(|error| IntakeError::json(file.name, &error))?;
    let scanner = shown(format!("sslyze {}", output.sslyze_version).trim_end());
    let servers = output.server_scan_results.iter().take(THINGS_MAX);
    let found: Vec<Piece> =
        servers.filter_map(|server| server.import(&scanner, certificate)).map(|import| piece(&import)).collect();
    if found.is_empty() { Err(file.error(1, "no server in it was looked at")) } else { Ok(found) }
}

/// The commands of versions, oldest first.
const VERSIONS: [(&str, Version); 5] = [
    ("ssl_3_0_cipher_suites", Version::Ssl30),
    ("tls_1_0_cipher_suites", Version::Tls10),
    ("tls_1_1_cipher_suites", Version::Tls11),
    ("tls_1_2_cipher_suites", Version::Tls12),
    ("tls_1_3_cipher_suites", Version::Tls13),
];

/// Commands, what of their results says that the server is vulnerable, and whether that is so if it is `true`.
const ATTACKS: [(&str, &str, bool); 9] = [
    ("ssl_2_0_cipher_suites", "is_tls_version_supported", true),
    ("tls_compression", "supports_compression", true),
    ("tls_1_3_early_data", "supports_early_data", true),
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", true),
    ("heartbleed", "is_vulnerable_to_heartbleed", true),
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", true),
    ("session_renegotiation", "supports_secure_renegotiation", false),
    ("tls_fallback_scsv", "supports_fallback_scsv", false),
    ("tls_extended_master_secret", "supports_ems_extension", false),
];

impl Server {
    fn import(&self, scanner: &str, certificate: CertificateReader<'_>) -> Option<TlsImport> {
        let results = self.scan_result.as_ref()?;
        let versions: Vec<VersionFacts> =
            VERSIONS.iter().filter_map(|(command, name)| facts(results, command, *name)).collect();
        let is_old = versions.iter().any(|facts| facts.version < Version::Tls12 && facts.accepted.is_true());
        let is_classic = versions.iter().any(|facts| facts.version < Version::Tls13 && facts.accepted.is_true());
        let matters = |field: &str| match field {
            // Without an older version nobody can be sent back to one; TLS 1.3 has neither of the others.
            "supports_fallback_scsv" => is_old,
            "supports_secure_renegotiation" | "supports_ems_extension" => is_classic,
            _ => true,
        };
        let words = ATTACKS.iter().filter(|(_, field, _)| matters(field));
        let mut vulnerabilities: Vec<ImportedVulnerability> =
            words.filter_map(|(command, field, is_bad)| word(results, command, field, *is_bad)).collect();
        vulnerabilities.extend(robot(results));
        let (chains, gap) = chains(results, certificate);
        Some(TlsImport {
            scanner: scanner.to_owned(),
            address: shown(&format!("{}:{}", self.server_location.hostname, self.server_location.port)),
            versions,
            vulnerabilities,
            chains,
            chains_gap: gap,
        })
    }
}

/// The result of a command; a reason, if it was made and failed; `None`, if it was not made.
fn result<'a>(results: &'a Value, command: &str) -> Option<Result<&'a Value, String>> {
    let attempt = results.get(command)?;
    match attempt.get("status").and_then(Value::as_str)? {
        "COMPLETED" => attempt.get("result").map(Ok),
        "NOT_SCHEDULED" => None,
        _ => Some(Err(shown(attempt.get("error_reason").and_then(Value::as_str).unwrap_or("it failed")))),
    }
}

fn facts(results: &Value, command: &str, name: Version) -> Option<VersionFacts> {
    let found = match result(results, command)? {
        Ok(found) => found,
        Err(why) => return Some(version(name, Seen::Unknown(why))),
    };
    let list = found.get("accepted_cipher_suites").and_then(Value::as_array)?;
    let mut facts = version(name, Seen::Known(!list.is_empty()));
    if list.is_empty() {
        return Some(facts);
    }
    let names =
        list.iter().take(THINGS_MAX).filter_map(|one| one.pointer("/cipher_suite/name").and_then(Value::as_str));
    facts.suites = listing(names.map(|name| suite(name).ok_or_else(|| shown(name))));
    let keys = list.iter().filter_map(|one| one.get("ephemeral_key"));
    let finite = keys.filter(|key| key.get("type_name").and_then(Value::as_str) == Some("DH"));
    facts.dh_bits_min = finite
        .filter_map(|key| key.get("size").and_then(Value::as_u64))
        .filter_map(|bits| u32::try_from(bits).ok())
        .min();
    // It tries curves with the newest version, and says so of none.
    let curves = result(results, "elliptic_curves")
        .and_then(Result::ok)
        .and_then(|found| found.get("supported_curves"))
        .and_then(Value::as_array);
    if let Some(curves) = curves {
        let names = curves.iter().take(THINGS_MAX).filter_map(|curve| curve.get("name").and_then(Value::as_str));
        facts.groups = listing(names.map(|name| group(name).ok_or_else(|| shown(name))));
    }
    Some(facts)
}

fn word(results: &Value, command: &str, field: &str, is_bad: bool) -> Option<ImportedVulnerability> {
    let name = field.trim_start_matches("is_").to_owned();
    match result(results, command)? {
        Ok(found) => {
            let is_so = found.get(field)?.as_bool()?;
            Some(ImportedVulnerability {
                name,
                is_vulnerable: Seen::Known(is_so == is_bad),
                words: format!("{field}: {is_so}"),
            })
        }
        Err(why) => Some(ImportedVulnerability { name, is_vulnerable: Seen::Unknown(why.clone()), words: why }),
    }
}

fn robot(results: &Value) -> Option<ImportedVulnerability> {
    let words = match result(results, "robot")? {
        Ok(found) => shown(found.get("robot_result")?.as_str()?),
        Err(why) => why,
    };
    let is_vulnerable = match words.as_str() {
        "NOT_VULNERABLE_NO_ORACLE" | "NOT_VULNERABLE_RSA_NOT_SUPPORTED" => Seen::Known(false),
        "VULNERABLE_WEAK_ORACLE" | "VULNERABLE_STRONG_ORACLE" => Seen::Known(true),
        _ => Seen::Unknown(words.clone()),
    };
    Some(ImportedVulnerability { name: "ROBOT".into(), is_vulnerable, words })
}

fn chains(results: &Value, certificate: CertificateReader<'_>) -> (Vec<Chain>, Option<String>) {
    let found = match result(results, "certificate_info") {
        Some(Ok(found)) => found,
        Some(Err(why)) => return (Vec::new(), Some(why)),
        None => return (Vec::new(), Some("sslyze was not asked for certificates".into())),
    };
    let deployments = found.get("certificate_deployments").and_then(Value::as_array).into_iter().flatten();
    let mut gap = None;
    let chains = deployments
        .take(CHAIN_MAX)
        .filter_map(|deployment| {
            let pems = deployment.get("received_certificate_chain")?.as_array()?.iter().take(CHAIN_MAX);
            let read = |one: &Value| certificate(&der(one.get("as_pem")?.as_str()?)?);
            let certificates: Option<Vec<_>> = pems.map(read).collect();
            if certificates.is_none() {
                gap = Some("a certificate could not be read".to_owned());
            }
            // Its trust anchors are those of browsers, and no declared ones; of names it says nothing apart from them.
            Some(Chain { certificates: certificates?, name_matches: Seen::NotTried, anchored: Seen::NotTried })
        })
        .collect();
    (chains, gap)
}

/// The bytes of one PEM block (RFC 7468).
fn der(pem: &str) -> Option<Vec<u8>> {
    let body: String =
        pem.lines().filter(|line| !line.starts_with("-----")).flat_map(str::split_ascii_whitespace).collect();
    STANDARD.decode(body).ok()
}
