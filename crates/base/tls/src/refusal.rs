use std::{io, sync::Arc};

use portreeve_types::IdentityId;
use rustls::{CertificateError, Error, OtherError};

/// The registry's word on a certificate that it does not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct GateRefusal {
    /// Whose certificate it is, when that is known. The peer has proved that it holds the key.
    pub identity: Option<IdentityId>,
    /// A fixed word for logs, ledger and detectors, such as `revoked`.
    pub reason: &'static str,
}

/// Why a client was refused: for the ledger, never for the peer.
///
/// The peer gets the same alert for all of them, `certificate_unknown`, which RFC 8446 §6.2 gives to "some other,
/// unspecified issue" of a certificate. Only [`Refusal::NoCertificate`] is answered by `certificate_required`: it says
/// nothing that the peer does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None was sent.
    #[error("the client sent no certificate")]
    NoCertificate,
    /// The chain does not lead to a trust anchor: a foreign CA.
    #[error("the certificate is not issued by a trusted CA")]
    UnknownIssuer,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// Its time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// It is not a client's: a server's certificate, or a CA's.
    #[error("the certificate is not meant for clients")]
    WrongPurpose,
    /// It names a trusted CA, which did not sign it.
    #[error("the signature on the certificate is wrong")]
    BadSignature,
    /// Signed by an algorithm that is not on the list.
    #[error("the certificate uses an algorithm that is not accepted")]
    Algorithm,
    /// Anything else that is wrong with the certificate.
    #[error("the certificate is not acceptable: {0}")]
    Malformed(String),
    /// The client did not show that it holds the private key.
    #[error("the client did not prove that it holds the private key")]
    NoPossession,
    /// The chain is good and the key is the client's, but the registry says no.
    #[error("refused by the registry: {0}")]
    Gate(#[from] GateRefusal),
}

impl Refusal {
    /// A fixed word for logs, ledger and detectors.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::UnknownIssuer => "unknown-issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::WrongPurpose => "wrong-purpose",
            Self::BadSignature => "bad-signature",
            Self::Algorithm => "algorithm",
            Self::Malformed(_) => "malformed",
            Self::NoPossession => "no-possession",
            Self::Gate(refusal) => refusal.reason,
        }
    }

    /// What a failed handshake was refused for; `None` when it failed for a reason other than the client's identity.
    #[must_use]
    pub fn from_tls(error: &Error) -> Option<Self> {
        match error {
            Error::NoCertificatesPresented => Some(Self::NoCertificate),
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref().cloned(),
            _ => None,
        }
    }

    /// The same from the error of an asynchronous handshake, which wraps the TLS error.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<Self> {
        Self::from_tls(error.get_ref()?.downcast_ref()?)
    }
}

/// The one way out of the verifier: whatever the reason, rustls derives the same alert from this variant, and hands the
/// error, with the reason in it, to the caller of that very handshake.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

impl From<webpki::Error> for Refusal {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::UnknownIssuer => Self::UnknownIssuer,
            E::CertExpired { .. } | E::InvalidCertValidity => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            E::RequiredEkuNotFoundContext(_) | E::CaUsedAsEndEntity => Self::WrongPurpose,
            E::InvalidSignatureForPublicKey => Self::BadSignature,
            E::UnsupportedSignatureAlgorithmContext(_) | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                Self::Algorithm
            }
            other => Self::Malformed(other.to_string()),
        }
    }
}
