//! Certificate revocation lists: what relying parties fetch. The hub itself asks its registry.

use std::time::Duration;

use portreeve_types::UnixMillis;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, parse_x509_crl, prelude::FromDer};

use crate::{
    CaSigner, PkiError,
    authority::{check_lifetime, timestamp},
};

/// How many certificates one list may hold: some 5 MB. A fleet with more revocations than that among unexpired
/// certificates needs shorter lives, not longer lists.
pub const CRL_ENTRIES_MAX: usize = 100_000;

/// How long a list may be valid: relying parties may keep it that long.
pub const CRL_LIFETIME_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// How long the list of a root may be valid, and is: its key is not at hand every month.
pub const ROOT_CRL_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why a certificate was revoked (RFC 5280 §5.3.1). Those that concern certificates of our own; `removeFromCRL` belongs
/// to delta lists, which are not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// Nothing is said.
    Unspecified,
    /// The private key is, or may be, known to others; clones too.
    KeyCompromise,
    /// The same of an issuing CA.
    CaCompromise,
    /// A newer certificate took its place.
    Superseded,
    /// The device is out of service: retired.
    CessationOfOperation,
    /// Not for ever: disabled or quarantined. The one reason that may be taken back.
    CertificateHold,
    /// It may no longer connect.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    fn for_crl(self) -> rcgen::RevocationReason {
        match self {
            Self::Unspecified => rcgen::RevocationReason::Unspecified,
            Self::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
            Self::CaCompromise => rcgen::RevocationReason::CaCompromise,
            Self::Superseded => rcgen::RevocationReason::Superseded,
            Self::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
            Self::CertificateHold => rcgen::RevocationReason::CertificateHold,
            Self::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
        }
    }
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub at: UnixMillis,
    /// Why.
    pub reason: RevocationReason,
    /// When it would have ended.
    pub not_after: UnixMillis,
}

/// What to put into a list.
#[derive(Clone, Copy, Debug)]
pub struct CrlDraft<'a> {
    /// The number of the list: one more than the last of this CA (RFC 5280 §5.2.3). The registry counts.
    pub number: u64,
    /// When it is made.
    pub this_update: UnixMillis,
    /// How long it is valid; the next is made well before.
    pub lifetime: Duration,
    /// Everything of this CA that was ever revoked, or as much of it as is remembered.
    pub revoked: &'a [Revoked],
}

/// A list, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// In DER, as it is published (`application/pkix-crl`, RFC 5280 §4.2.1.13).
    pub der: Vec<u8>,
    /// In PEM.
    pub pem: String,
    /// How many certificates it holds.
    pub entries: usize,
    /// Until when it counts.
    pub next_update: UnixMillis,
}

/// Longest list of a root: it holds issuing CAs, of which there are few.
pub const ROOT_CRL_BYTES_MAX: usize = 64 * 1024;

/// What the list of a root says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootCrl {
    /// In DER.
    pub der: Vec<u8>,
    /// Its number (RFC 5280 §5.2.3); 0 if it has none.
    pub number: u64,
    /// When it was made.
    pub this_update: UnixMillis,
    /// Until when it counts.
    pub next_update: UnixMillis,
    /// The serial numbers on it, big-endian, without leading zeros.
    pub serials: Vec<Vec<u8>>,
}

impl RootCrl {
    /// The same in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(&pem::Pem::new("X509 CRL", self.der.clone()))
    }

    /// Reads a list, PEM or DER, that may have been made elsewhere, and checks that this root has signed it.
    ///
    /// # Errors
    /// [`PkiError::BadList`].
    pub fn read(pem_or_der: &[u8], root: &CertificateDer<'_>) -> Result<Self, PkiError> {
        if pem_or_der.len() > ROOT_CRL_BYTES_MAX {
            return Err(PkiError::BadList("it is too long"));
        }
        let der = match pem::parse(pem_or_der) {
            Ok(block) if block.tag() == "X509 CRL" => block.into_contents(),
            Ok(_) => return Err(PkiError::BadList("its PEM block is not a list")),
            Err(_) => pem_or_der.to_vec(),
        };
        let (rest, list) = parse_x509_crl(&der).map_err(|_| PkiError::BadList("not a list"))?;
        let (_, root) = X509Certificate::from_der(root).map_err(|_| PkiError::BadList("the root cannot be read"))?;
        let is_signed =
            list.issuer().as_raw() == root.subject().as_raw() && list.verify_signature(root.public_key()).is_ok();
        if !rest.is_empty() || !is_signed {
            return Err(PkiError::BadList("it is not signed by the root"));
        }
        let millis = |seconds: i64| UnixMillis(timestamp(seconds).saturating_mul(1000));
        let next_update = list.next_update().ok_or(PkiError::BadList("it does not say until when it counts"))?;
        let serials = list.iter_revoked_certificates().map(|entry| entry.user_certificate.to_bytes_be()).collect();
        let number = list.crl_number().map(|number| number.to_u64_digits());
        let number =
            number.map_or(0, |digits| if digits.len() > 1 { u64::MAX } else { digits.first().copied().unwrap_or(0) });
        let (this_update, next_update) = (millis(list.last_update().timestamp()), millis(next_update.timestamp()));
        drop(list);
        Ok(Self { der, number, this_update, next_update, serials })
    }
}

impl CaSigner<'_> {
    /// Makes a complete list (version 2, RFC 5280 §5) of this CA.
    ///
    /// A certificate leaves the list once it has been in one that was made after its end (§3.3).
    ///
    /// # Errors
    /// [`PkiError::TooManyRevoked`] beyond [`CRL_ENTRIES_MAX`], [`PkiError::Lifetime`] beyond [`CRL_LIFETIME_MAX`] (for a root
    /// [`ROOT_CRL_LIFETIME`]),
    /// [`PkiError::BadCertificate`] for a serial number that is none.
    pub fn crl(&self, draft: &CrlDraft<'_>) -> Result<Crl, PkiError> {
        check_lifetime(draft.lifetime, if self.purpose().is_some() { CRL_LIFETIME_MAX } else { ROOT_CRL_LIFETIME })?;
        let listed = |entry: &&Revoked| entry.not_after.plus(draft.lifetime) >= draft.this_update;
        let revoked_certs = draft.revoked.iter().filter(listed).map(entry).collect::<Result<Vec<_>, _>>()?;
        let entries = revoked_certs.len();
        if entries > CRL_ENTRIES_MAX {
            return Err(PkiError::TooManyRevoked { given: entries, max: CRL_ENTRIES_MAX });
        }
        let next_update = draft.this_update.plus(draft.lifetime);
        let params = CertificateRevocationListParams {
            this_update: date(draft.this_update)?,
            next_update: date(next_update)?,
            crl_number: SerialNumber::from(draft.number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::PreSpecified(self.key_id.clone()),
        };
        let list = params.signed_by(&self.issuer)?;
        Ok(Crl { der: list.der().to_vec(), pem: list.pem()?, entries, next_update })
    }
}

fn entry(revoked: &Revoked) -> Result<RevokedCertParams, PkiError> {
    if revoked.serial.is_empty() || revoked.serial.len() > 20 {
        return Err(PkiError::BadCertificate("serial number of no or too many bytes"));
    }
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&revoked.serial),
        revocation_time: date(revoked.at)?,
        reason_code: Some(revoked.reason.for_crl()),
        invalidity_date: None,
    })
}

fn date(time: UnixMillis) -> Result<OffsetDateTime, PkiError> {
    let seconds = i64::try_from(time.seconds()).map_err(|_| PkiError::Time)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Time)
}
