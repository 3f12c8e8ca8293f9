//! Devices with a TPM 2.0 whose maker has certified its endorsement key (TCG EK Credential Profile).

use std::fmt;

use der::{Decode, Encode};
use portreeve_types::{KeyHash, UnixMillis};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor};
use webpki::{CertRevocationList, KeyUsage, aws_lc_rs as algorithms};
use x509_cert::Certificate;

use crate::{
    KeyRefusal, MAKER_CERTIFICATE_BYTES_MAX, MakerError, MakerRefusal, SubjectPublicKey,
    audit::audit_endorsement_key,
    manufacturer::{PathRule, anchor, list},
    order::is_in_order,
};

/// How many CAs one group of TPMs may have: makers have one per plant and model.
pub const TPM_ANCHORS_MAX: usize = 64;

/// `tcg-kp-EKCertificate`, 2.23.133.8.1.
const ENDORSEMENT_USAGE: KeyUsage = KeyUsage::required(&[0x67, 0x81, 0x05, 0x08, 0x01]);

/// What may sign certificates of endorsement keys: what the makers use, RSA among it. Only these certificates are checked
/// with it; TLS never is.
static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];
/// The shortest RSA key of a CA, bits: what [`SIGNATURES`] verify.
const CA_RSA_BITS_MIN: usize = 2048;

/// A TPM as its maker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementIdentity {
    /// The certificate's serial number, small hexadecimal digits.
    pub serial: String,
    /// The endorsement key as `SubjectPublicKeyInfo`.
    pub spki_der: Vec<u8>,
    /// Its hash. That the device has this TPM is for an activation to show.
    pub key: KeyHash,
}

/// Makers of TPMs: their CAs, each an anchor by itself, and what these have revoked.
///
/// *Invariant:* with a list, a certificate whose status the list does not tell is refused; an expired list refuses all.
#[derive(Debug)]
pub struct TpmMaker {
    anchors: Vec<TrustAnchor<'static>>,
    lists: Vec<CertRevocationList<'static>>,
}

impl TpmMaker {
    /// Registers makers by the CAs that sign for endorsement keys: a TPM brings its own certificate only, so those between it
    /// and a root are given here.
    ///
    /// # Errors
    /// [`MakerError`] names the part to look at.
    pub fn new(anchors: &[CertificateDer<'_>], lists: &[&[u8]]) -> Result<Self, MakerError> {
        if anchors.is_empty() || anchors.len() > TPM_ANCHORS_MAX {
            return Err(MakerError::AnchorCount { max: TPM_ANCHORS_MAX });
        }
        let anchor = |(index, der)| anchor(der, may_sign).ok_or(MakerError::Anchor { index });
        let list = |(index, der): (usize, &&[u8])| list(der).ok_or(MakerError::Crl { index });
        Ok(Self {
            anchors: anchors.iter().enumerate().map(anchor).collect::<Result<_, _>>()?,
            lists: lists.iter().enumerate().map(list).collect::<Result<_, _>>()?,
        })
    }

    /// Checks the certificate of an endorsement key. Nothing in it is believed but key, serial number, usage and time.
    ///
    /// # Errors
    /// The precise reason.
    pub fn identify(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixMillis,
    ) -> Result<EndorsementIdentity, MakerRefusal> {
        if certificate.len() > MAKER_CERTIFICATE_BYTES_MAX {
            return Err(MakerRefusal::Chain);
        }
        if !is_in_order(certificate) {
            return Err(MakerRefusal::Malformed);
        }
        let parsed = Certificate::from_der(certificate).map_err(|_| MakerRefusal::Malformed)?.tbs_certificate;
        let spki_der = parsed.subject_public_key_info.to_der().map_err(|_| MakerRefusal::Malformed)?;
        let (anchors, lists) = (&self.anchors, &self.lists);
        PathRule { anchors, lists, signatures: SIGNATURES, usage: ENDORSEMENT_USAGE }.verify(certificate, &[], now)?;
        // Last, for it costs the most.
        let key = audit_endorsement_key(&spki_der)?;
        Ok(EndorsementIdentity { serial: hex::encode(parsed.serial_number.as_bytes()), spki_der, key })
    }
}

impl fmt::Display for TpmMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CAs, {} revocation lists", self.anchors.len(), self.lists.len())
    }
}

/// Whether a CA's key, as it was audited, is one that [`SIGNATURES`] verify.
fn may_sign(audited: &Result<SubjectPublicKey, KeyRefusal>) -> bool {
    match audited {
        Ok(_) | Err(KeyRefusal::Kind(_) | KeyRefusal::RsaLength { .. }) => true,
        Err(KeyRefusal::RsaShort { bits }) => *bits >= CA_RSA_BITS_MIN,
        Err(_) => false,
    }
}
