//! Devices that come with a certificate of their maker: an IDevID (IEEE 802.1AR).

use std::{fmt, time::Duration};

use der::{
    Decode, Encode,
    oid::{
        ObjectIdentifier,
        db::rfc4519::{COMMON_NAME, SERIAL_NUMBER},
    },
};
use portreeve_types::{IdentityName, KeyHash, UnixMillis};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, aws_lc_rs as algorithms,
};
use x509_cert::{Certificate, name::Name};
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;

use crate::{
    KeyKind, KeyRefusal, NameFacts, NameTemplate, SubjectPublicKey, TemplateError, audit_device_key, audit_key,
    csr::text, order::is_in_order,
};

/// How many anchors one maker may have.
pub const MAKER_ANCHORS_MAX: usize = 8;
/// Longest revocation list of a maker.
pub const MAKER_CRL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many certificates a device may present.
pub const MAKER_CHAIN_MAX: usize = 5;
/// Longest certificate in such a chain.
pub const MAKER_CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// What may sign certificates: the list of the TLS policy, so that what passes here passes there.
static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
];

/// Why a maker could not be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakerError {
    /// None, or too many.
    #[error("between 1 and {max} anchors are needed")]
    AnchorCount {
        /// Most that are possible.
        max: usize,
    },
    /// Something else than the certificate of a CA.
    #[error("anchor {index} is not the certificate of a CA with a key on P-256 or P-384 (or, for TPMs, RSA)")]
    Anchor {
        /// Which one, from 0.
        index: usize,
    },
    /// A list that is none, or longer than [`MAKER_CRL_BYTES_MAX`].
    #[error("revocation list {index} is not a version 2 CRL in DER of at most {MAKER_CRL_BYTES_MAX} bytes")]
    Crl {
        /// Which one, from 0.
        index: usize,
    },
}

/// What tells one revocation list from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationListFacts {
    /// The CA that made it: its name, in DER.
    pub issuer: Vec<u8>,
    /// For which of its certificates: the issuing distribution point (RFC 5280 §5.2.5), in DER; empty for all of them.
    pub scope: Vec<u8>,
    /// When.
    pub this_update: UnixMillis,
}

impl RevocationListFacts {
    /// Whether one of the two takes the place of the other.
    #[must_use]
    pub fn is_edition_of(&self, other: &Self) -> bool {
        (&self.issuer, &self.scope) == (&other.issuer, &other.scope)
    }
}

/// Whose a revocation list is, and how new. `None` for what is none, and for what none of these CAs has signed.
#[must_use]
pub fn revocation_list_facts(der: &[u8], cas: &[CertificateDer<'_>]) -> Option<RevocationListFacts> {
    let (rest, list) = x509_parser::parse_x509_crl(der).ok()?;
    let has_signed = |ca: &CertificateDer<'_>| {
        let ca = x509_parser::parse_x509_certificate(ca);
        ca.is_ok_and(|(_, ca)| {
            ca.subject().as_raw() == list.issuer().as_raw() && list.verify_signature(ca.public_key()).is_ok()
        })
    };
    if !rest.is_empty() || !cas.iter().any(has_signed) {
        return None;
    }
    let point = list.extensions().iter().find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    let seconds = u64::try_from(list.last_update().timestamp()).ok()?;
    Some(RevocationListFacts {
        issuer: list.issuer().as_raw().to_vec(),
        scope: point.map(|extension| extension.value.to_vec()).unwrap_or_default(),
        this_update: UnixMillis(seconds.checked_mul(1000)?),
    })
}

/// Why a device's certificate was not accepted as that of a maker. For the ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakerRefusal {
    /// None, too many, or one too long.
    #[error("the chain has no, too many, or too long certificates")]
    Chain,
    /// The leaf is not X.509 in DER.
    #[error("the certificate is malformed")]
    Malformed,
    /// A key that may not be used here.
    #[error("{0}")]
    Key(#[from] KeyRefusal),
    /// No chain to an anchor of this maker.
    #[error("the certificate is not of this maker")]
    OtherMaker,
    /// A CA's certificate presented as a device's.
    #[error("it is the certificate of a CA")]
    IsCa,
    /// Not a certificate to connect with, or not one of an endorsement key.
    #[error("the extended key usage is another one")]
    Usage,
    /// Not valid now.
    #[error("the certificate is not valid at this time")]
    OutOfTime,
    /// On the maker's list.
    #[error("the maker has revoked the certificate")]
    Revoked,
    /// The maker's list is out of date, missing for this issuer, or not the maker's.
    #[error("the maker's revocation list does not tell: {0}")]
    NoStatus(webpki::Error),
    /// Anything else that path validation found.
    #[error("the chain is not in order: {0}")]
    Path(webpki::Error),
    /// IEEE 802.1AR §8.6 has every IDevID carry one serial number.
    #[error("the certificate does not have one serialNumber in its subject")]
    NoSerial,
    /// No name can be made of it.
    #[error("{0}")]
    Name(#[from] TemplateError),
}

/// A device as its maker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakerIdentity {
    /// The name it gets here.
    pub name: IdentityName,
    /// The maker's serial number for it.
    pub serial: String,
    /// The key of the maker's certificate, which it has to prove to hold, and which stands for one device only.
    pub key: KeyHash,
}

/// An enrolment group: a maker's anchors and lists, and how its devices are named.
///
/// *Invariant:* with a list, a certificate whose status the list does not tell is refused; an expired list refuses all.
#[derive(Debug)]
pub struct Maker {
    anchors: Vec<TrustAnchor<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    template: NameTemplate,
}

impl Maker {
    /// Registers a maker. Without a list, what the maker revokes is not known here; with lists, there has to be one of
    /// every CA that issues leaves.
    ///
    /// # Errors
    /// [`MakerError`] names the part to look at.
    pub fn new(anchors: &[CertificateDer<'_>], lists: &[&[u8]], template: NameTemplate) -> Result<Self, MakerError> {
        if anchors.is_empty() || anchors.len() > MAKER_ANCHORS_MAX {
            return Err(MakerError::AnchorCount { max: MAKER_ANCHORS_MAX });
        }
        let anchors = anchors
            .iter()
            .enumerate()
            .map(|(index, der)| anchor(der, Result::is_ok).ok_or(MakerError::Anchor { index }));
        let lists = lists.iter().enumerate().map(|(index, der)| list(der).ok_or(MakerError::Crl { index }));
        Ok(Self { anchors: anchors.collect::<Result<_, _>>()?, lists: lists.collect::<Result<_, _>>()?, template })
    }

    /// Checks a chain, the leaf first with a key of one of these kinds, and names the device. That the device holds the key is for the TLS handshake to
    /// show.
    ///
    /// # Errors
    /// The precise reason.
    pub fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        keys: &[KeyKind],
        now: UnixMillis,
    ) -> Result<MakerIdentity, MakerRefusal> {
        let too_long = |der: &CertificateDer<'_>| der.len() > MAKER_CERTIFICATE_BYTES_MAX;
        let Some((leaf, others)) = chain.split_first() else { return Err(MakerRefusal::Chain) };
        if chain.len() > MAKER_CHAIN_MAX || chain.iter().any(too_long) {
            return Err(MakerRefusal::Chain);
        }
        if !is_in_order(leaf) {
            return Err(MakerRefusal::Malformed);
        }
        let parsed = Certificate::from_der(leaf).map_err(|_| MakerRefusal::Malformed)?.tbs_certificate;
        let spki = parsed.subject_public_key_info.to_der().map_err(|_| MakerRefusal::Malformed)?;
        let key = audit_device_key(&spki, keys)?.hash();
        let (anchors, lists, usage) = (&self.anchors, &self.lists, KeyUsage::client_auth());
        PathRule { anchors, lists, signatures: SIGNATURES, usage }.verify(leaf, others, now)?;
        let serial = only(&parsed.subject, SERIAL_NUMBER).ok_or(MakerRefusal::NoSerial)?;
        let common_name = only(&parsed.subject, COMMON_NAME);
        let facts = NameFacts { serial: Some(serial), common_name, key };
        Ok(MakerIdentity { name: self.template.name(&facts)?, serial: serial.to_owned(), key })
    }
}

/// What a chain has to lead to, and to pass.
pub(crate) struct PathRule<'a> {
    pub(crate) anchors: &'a [TrustAnchor<'static>],
    pub(crate) lists: &'a [CertRevocationList<'static>],
    pub(crate) signatures: &'a [&'a dyn SignatureVerificationAlgorithm],
    pub(crate) usage: KeyUsage,
}

impl PathRule<'_> {
    /// With a list, a certificate whose status the list does not tell is refused; an expired list refuses all.
    pub(crate) fn verify(
        self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixMillis,
    ) -> Result<(), MakerRefusal> {
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::EndEntity)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.seconds()));
        let leaf = EndEntityCert::try_from(leaf).map_err(refusal)?;
        let verified = leaf.verify_for_usage(self.signatures, self.anchors, others, time, self.usage, revocation, None);
        verified.map(drop).map_err(refusal)
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CAs, {} revocation lists", self.anchors.len(), self.lists.len())
    }
}

fn refusal(error: webpki::Error) -> MakerRefusal {
    use webpki::Error;
    match error {
        Error::UnknownIssuer => MakerRefusal::OtherMaker,
        Error::CaUsedAsEndEntity => MakerRefusal::IsCa,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => MakerRefusal::Usage,
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => MakerRefusal::OutOfTime,
        Error::CertRevoked => MakerRefusal::Revoked,
        Error::CrlExpired { .. }
        | Error::UnknownRevocationStatus
        | Error::IssuerNotCrlSigner
        | Error::InvalidCrlSignatureForPublicKey => MakerRefusal::NoStatus(error),
        other => MakerRefusal::Path(other),
    }
}

/// A CA's certificate as an anchor, if its key passes.
pub(crate) fn anchor(
    der: &CertificateDer<'_>,
    is_key_good: impl Fn(&Result<SubjectPublicKey, KeyRefusal>) -> bool,
) -> Option<TrustAnchor<'static>> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    let sound = rest.is_empty() && parsed.is_ca() && is_key_good(&audit_key(parsed.public_key().raw));
    sound.then(|| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()).ok())?
}

pub(crate) fn list(der: &[u8]) -> Option<CertRevocationList<'static>> {
    let small = der.len() <= MAKER_CRL_BYTES_MAX;
    small.then(|| OwnedCertRevocationList::from_der(der).ok().map(CertRevocationList::Owned))?
}

/// The text of an attribute that is there once.
fn only(subject: &Name, oid: ObjectIdentifier) -> Option<&str> {
    let mut found = subject.0.iter().flat_map(|rdn| rdn.0.iter()).filter(|attribute| attribute.oid == oid);
    let attribute = found.next().filter(|_| found.next().is_none())?;
    text(&attribute.value)
}
