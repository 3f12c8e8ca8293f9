//! Certificates of targets, read into facts.

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_assurance::evidence::{
    Seen,
    certificate::{CertificateFacts, Chain, KeyFacts, SignatureFacts},
    printable,
};
use portreeve_tls::{check_server_chain, check_server_name};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, GeneralName},
    oid_registry::Oid,
    prelude::FromDer as _,
    public_key::PublicKey,
    x509::{SubjectPublicKeyInfo, X509Name},
};

use crate::wire::Malformed;

/// Subject alternative names of one certificate that are kept.
pub const NAMES_MAX: usize = 100;
/// Extended key usages of one certificate that are kept.
const USAGES_MAX: usize = 32;
/// Longest certificate that is read, bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
const DAY_S: i64 = 24 * 60 * 60;

/// With what a chain is compared.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The name that was asked for.
    pub name: Option<&'a ServerName<'static>>,
    /// Declared trust anchors.
    pub anchors: &'a [CertificateDer<'static>],
    /// Now.
    pub now: UnixTime,
}

/// Reads a chain.
///
/// # Errors
/// [`Malformed`], if one of the certificates cannot be read.
pub fn chain_facts(chain: &[CertificateDer<'_>], expected: &Expected<'_>) -> Result<Chain, Malformed> {
    let read = |certificate: &CertificateDer<'_>| certificate_facts(certificate, expected.now);
    let certificates = chain.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let name_matches = match (chain.first(), expected.name) {
        (Some(leaf), Some(name)) => {
            check_server_name(leaf, name).map_or_else(|why| Seen::Unknown(printable(why.as_bytes())), Seen::Known)
        }
        _ => Seen::NotTried,
    };
    let anchored = if expected.anchors.is_empty() {
        Seen::NotTried
    } else {
        Seen::Known(check_server_chain(chain, expected.anchors, expected.now).is_ok())
    };
    Ok(Chain { certificates, name_matches, anchored })
}

/// Reads one certificate, DER.
///
/// # Errors
/// [`Malformed`], if it is none.
pub fn certificate_facts(der: &[u8], now: UnixTime) -> Result<CertificateFacts, Malformed> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(Malformed("a certificate of more than 64 KiB"));
    }
    let Ok((rest, certificate)) = X509Certificate::from_der(der) else {
        return Err(Malformed("a certificate that cannot be read"));
    };
    if !rest.is_empty() {
        return Err(Malformed("bytes behind the end of a certificate"));
    }
    let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    let (not_before_s, not_after_s) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Ok(CertificateFacts {
        sha256: sha256(der),
        key_sha256: sha256(certificate.public_key().raw),
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        serial: printable(hex::encode(certificate.raw_serial()).as_bytes()),
        key: key_facts(certificate.public_key()),
        signature: signature_facts(&certificate),
        not_before_s,
        not_after_s,
        lifetime_days: not_after_s.saturating_sub(not_before_s).saturating_add(1) / DAY_S,
        days_left: not_after_s.saturating_sub(now_s).div_euclid(DAY_S),
        has_begun: not_before_s <= now_s,
        names: names(&certificate),
        extended_key_usages: usages(&certificate),
        is_ca: certificate.is_ca(),
        is_self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

fn name(name: &X509Name<'_>) -> String {
    printable(name.to_string().as_bytes())
}

fn key_facts(key: &SubjectPublicKeyInfo<'_>) -> KeyFacts {
    let oid = key.algorithm.algorithm.to_id_string();
    let facts = |algorithm: &str, bits| KeyFacts { algorithm: algorithm.into(), bits, curve: None };
    match (key.parsed(), oid.as_str()) {
        (Ok(PublicKey::RSA(rsa)), _) => facts("rsa", size(rsa.key_size())),
        (Ok(PublicKey::DSA(_)), _) => facts("dsa", 0),
        (Ok(PublicKey::EC(_)), _) => {
            let (curve, bits) = curve(key);
            KeyFacts { algorithm: "ec".into(), bits, curve: Some(curve) }
        }
        (_, "1.3.101.112") => facts("ed25519", 256),
        (_, "1.3.101.113") => facts("ed448", 456),
        (_, oid) => facts(oid, 0),
    }
}

fn size(bits: usize) -> u32 {
    u32::try_from(bits).unwrap_or(u32::MAX)
}

/// Name and field size, bits, of the named curves in use (RFC 5480, RFC 5639).
fn curve(key: &SubjectPublicKeyInfo<'_>) -> (String, u32) {
    let parameters = key.algorithm.parameters.as_ref();
    let Some(oid) = parameters.and_then(|any| Oid::try_from(any.clone()).ok()).map(|oid| oid.to_id_string()) else {
        return ("explicit".into(), 0);
    };
    let (name, bits) = match oid.as_str() {
        "1.2.840.10045.3.1.1" => ("secp192r1", 192),
        "1.3.132.0.33" => ("secp224r1", 224),
        "1.2.840.10045.3.1.7" => ("secp256r1", 256),
        "1.3.132.0.10" => ("secp256k1", 256),
        "1.3.132.0.34" => ("secp384r1", 384),
        "1.3.132.0.35" => ("secp521r1", 521),
        "1.3.36.3.3.2.8.1.1.7" => ("brainpoolP256r1", 256),
        "1.3.36.3.3.2.8.1.1.11" => ("brainpoolP384r1", 384),
        "1.3.36.3.3.2.8.1.1.13" => ("brainpoolP512r1", 512),
        other => (other, 0),
    };
    (printable(name.as_bytes()), bits)
}

fn signature_facts(certificate: &X509Certificate<'_>) -> SignatureFacts {
    let oid = certificate.signature_algorithm.algorithm.to_id_string();
    let (algorithm, hash) = match oid.as_str() {
        "1.2.840.113549.1.1.2" => ("rsa-pkcs1-md2", "md2"),
        "1.2.840.113549.1.1.4" => ("rsa-pkcs1-md5", "md5"),
        "1.2.840.113549.1.1.5" => ("rsa-pkcs1-sha1", "sha1"),
        "1.2.840.113549.1.1.14" => ("rsa-pkcs1-sha224", "sha224"),
        "1.2.840.113549.1.1.11" => ("rsa-pkcs1-sha256", "sha256"),
        "1.2.840.113549.1.1.12" => ("rsa-pkcs1-sha384", "sha384"),
        "1.2.840.113549.1.1.13" => ("rsa-pkcs1-sha512", "sha512"),
        "1.2.840.113549.1.1.10" => ("rsa-pss", pss_hash(certificate)),
        "1.2.840.10040.4.3" => ("dsa-sha1", "sha1"),
        "1.2.840.10045.4.1" => ("ecdsa-sha1", "sha1"),
        "1.2.840.10045.4.3.1" => ("ecdsa-sha224", "sha224"),
        "1.2.840.10045.4.3.2" => ("ecdsa-sha256", "sha256"),
        "1.2.840.10045.4.3.3" => ("ecdsa-sha384", "sha384"),
        "1.2.840.10045.4.3.4" => ("ecdsa-sha512", "sha512"),
        "1.3.101.112" => ("ed25519", "none"),
        "1.3.101.113" => ("ed448", "none"),
        other => (other, ""),
    };
    SignatureFacts { algorithm: printable(algorithm.as_bytes()), hash: hash.into() }
}

/// RFC 4055 section 3.1: the hash stands in the parameters, and is SHA-1 where there are none.
fn pss_hash(certificate: &X509Certificate<'_>) -> &'static str {
    use x509_parser::signature_algorithm::SignatureAlgorithm;
    let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(&certificate.signature_algorithm)
    else {
        return "";
    };
    match parameters.hash_algorithm_oid().to_id_string().as_str() {
        "1.3.14.3.2.26" => "sha1",
        "2.16.840.1.101.3.4.2.1" => "sha256",
        "2.16.840.1.101.3.4.2.2" => "sha384",
        "2.16.840.1.101.3.4.2.3" => "sha512",
        _ => "",
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(dns) => Some(format!("dns:{dns}")),
        GeneralName::URI(uri) => Some(format!("uri:{uri}")),
        GeneralName::RFC822Name(mail) => Some(format!("mail:{mail}")),
        GeneralName::IPAddress(bytes) => Some(format!("ip:{}", address(bytes)?)),
        _ => None,
    };
    let names = extension.value.general_names.iter().filter_map(text);
    names.take(NAMES_MAX).map(|name| printable(name.as_bytes())).collect()
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from)).ok()
}

fn usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.extended_key_usage() else { return Vec::new() };
    let ExtendedKeyUsage { any, server_auth, client_auth, code_signing, email_protection, time_stamping, .. } =
        extension.value;
    let named = [
        (*any, "any"),
        (*server_auth, "server-auth"),
        (*client_auth, "client-auth"),
        (*code_signing, "code-signing"),
        (*email_protection, "email-protection"),
        (*time_stamping, "time-stamping"),
        (extension.value.ocsp_signing, "ocsp-signing"),
    ];
    let named = named.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name.to_owned());
    let other = extension.value.other.iter().map(|oid| printable(oid.to_id_string().as_bytes()));
    named.chain(other).take(USAGES_MAX).collect()
}
