//! What other scanners print: testssl.sh, sslyze, nmap.

pub(crate) mod nmap;
pub(crate) mod sslyze;
pub(crate) mod testssl;

use portreeve_assurance::evidence::{
    Code, GROUPS, Listing, Seen,
    certificate::CertificateFacts,
    import::TlsImport,
    suites::SUITES,
    tls::{Version, VersionFacts},
};

use crate::Piece;

/// Reads a certificate in DER.
pub type CertificateReader<'a> = &'a dyn Fn(&[u8]) -> Option<CertificateFacts>;

/// Most words on vulnerabilities.
const WORDS_MAX: usize = 100;
/// Most certificates of a chain.
const CHAIN_MAX: usize = 16;

/// The checks that such an import is for.
const TLS_CHECKS: &[&str] = &["tls.versions", "tls.suites", "tls.cert", "tls.vulns"];

fn piece(import: &TlsImport) -> Piece {
    Piece::of(import, &import.address, TLS_CHECKS)
}

/// A version of which nothing more is known.
fn version(version: Version, accepted: Seen<bool>) -> VersionFacts {
    let is_accepted = accepted.is_true();
    let unlisted =
        || Listing { found: Vec::new(), gap: is_accepted.then(|| "the scanner does not list them".to_owned()) };
    VersionFacts {
        version,
        accepted,
        refusal: String::new(),
        suites: unlisted(),
        order: Seen::NotTried,
        groups: unlisted(),
        signatures: unlisted(),
        dh_bits_min: None,
    }
}

/// A suite by its name in the registry.
fn suite(name: &str) -> Option<Code> {
    SUITES.iter().find(|(_, known)| *known == name).map(|(code, _)| Code::suite(*code))
}

/// A group by its name in the registry, or OpenSSL's for the same.
fn group(name: &str) -> Option<Code> {
    let name = match name {
        "prime256v1" => "secp256r1",
        "X25519" => "x25519",
        "X448" => "x448",
        other => other,
    };
    GROUPS.iter().find(|(_, known)| *known == name).map(|(code, _)| Code::group(*code))
}

/// Names as a listing; those that the registry does not have leave it open.
fn listing(codes: impl Iterator<Item = Result<Code, String>>) -> Listing {
    let mut found = Listing::default();
    for code in codes {
        match code {
            Ok(code) if !found.has(code.code) => found.found.push(code),
            Ok(_) => {}
            Err(name) => found.gap = Some(format!("{name} has no number")),
        }
    }
    found
}
