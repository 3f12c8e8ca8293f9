use std::sync::{Arc, LazyLock};

use rustls::{
    SignatureScheme, SupportedProtocolVersion,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms,
        aws_lc_rs::{cipher_suite, default_provider, kx_group},
    },
    version::{TLS12, TLS13},
};
use webpki::aws_lc_rs as algorithms;

/// The versions that are spoken; nothing below exists in this build (GLOSSARY-P2, IOTSF-2.4.7.13).
pub(crate) static VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Signatures that are accepted from peers, in certificates and in handshakes: ECDSA on P-256 and P-384 (SP 800-52r2
/// §3.3.1.2, SP 800-131A). The first algorithm of a row is the one TLS 1.3 means; the second serves TLS 1.2, where a
/// signature scheme does not settle the curve (RFC 8446 §4.2.3).
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithms::ECDSA_P256_SHA256,
        algorithms::ECDSA_P384_SHA384,
        algorithms::ECDSA_P256_SHA384,
        algorithms::ECDSA_P384_SHA256,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384]),
    ],
};

/// The same, and RSA as TLS 1.3 and 1.2 both know it: PSS with a hash of SHA-2 (RFC 8446 §4.2.3). For clients only, and only
/// where the configuration accepts RSA keys; how long they have to be is for whoever certifies them. PKCS #1 v1.5 is not
/// among them.
pub(crate) static SIGNATURES_WITH_RSA: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: SIGNATURES.all,
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
    ],
};

/// What others' servers may sign with: the same, and RSA of at least 2048 bits, PKCS #1 v1.5 included, with which
/// certificates of RSA CAs are signed (SP 800-131A Rev. 2 §3).
static SIGNATURES_OUTBOUND: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithms::ECDSA_P256_SHA256,
        algorithms::ECDSA_P384_SHA384,
        algorithms::ECDSA_P256_SHA384,
        algorithms::ECDSA_P384_SHA256,
        algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algorithms::RSA_PKCS1_2048_8192_SHA256,
        algorithms::RSA_PKCS1_2048_8192_SHA384,
        algorithms::RSA_PKCS1_2048_8192_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[algorithms::RSA_PKCS1_2048_8192_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[algorithms::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[algorithms::RSA_PKCS1_2048_8192_SHA512]),
    ],
};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        // AES-128 before AES-256: both are approved and neither is within reach of an attacker, but with SHA-256 in the
        // key schedule the first costs devices and hub less in every handshake. Who insists on AES-256 offers only that.
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            // For a hub certificate from somebody else's RSA CA; ours are ECDSA.
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        // A client's first group decides, so the post-quantum hybrid leads.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::SECP256R1, kx_group::SECP384R1],
        signature_verification_algorithms: SIGNATURES,
        ..default_provider()
    })
});

/// The one cryptographic policy behind every listener and every outgoing connection (ISVS-4.1.2, IOTSF-2.4.7.15):
/// the part of aws-lc that SP 800-52r2 (August 2019) approves, plus ML-KEM-768 (FIPS 203, August 2024) in hybrid.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

static OUTBOUND: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let signature_verification_algorithms = SIGNATURES_OUTBOUND;
    Arc::new(CryptoProvider { signature_verification_algorithms, ..(*provider()).clone() })
});

/// The same policy towards servers of others, whose certificates may be of RSA.
pub(crate) fn outbound_provider() -> Arc<CryptoProvider> {
    Arc::clone(&OUTBOUND)
}
