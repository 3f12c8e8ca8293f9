use std::time::Duration;

/// Why a certificate, key or request was refused, or could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// A file of the certificate authority is not there.
    #[error("{file} is missing from the certificate authority")]
    Missing {
        /// Which one.
        file: String,
    },
    /// A file of the certificate authority is not what its name says.
    #[error("{file}: {reason}")]
    BadFile {
        /// Which one.
        file: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A private key that belongs to some other certificate.
    #[error("the key `{key}` is not the private key of {certificate}")]
    KeyMismatch {
        /// Name of the key.
        key: String,
        /// File with the certificate.
        certificate: String,
    },
    /// A CA certificate whose time is over.
    #[error("{file}: the certificate has expired")]
    Expired {
        /// Which one.
        file: String,
    },
    /// A CA, or a responder, whose time is over.
    #[error("the certificate to sign with has expired")]
    CaExpired,
    /// Something that no reader of a signed document would accept.
    #[error("the document cannot be signed: {0}")]
    BadDocument(&'static str),
    /// More revoked certificates than a list may hold.
    #[error("{given} revoked certificates are more than the {max} that one list may hold")]
    TooManyRevoked {
        /// How many there are.
        given: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A CA certificate whose time has not come: more likely, this machine's clock is wrong.
    #[error("{file}: the certificate is not valid yet; is the clock of this machine right?")]
    NotYetValid {
        /// Which one.
        file: String,
    },
    /// A certificate signing request that cannot be used.
    #[error("certificate signing request: {0}")]
    BadRequest(&'static str),
    /// A key of a kind, size or encoding that is not accepted.
    #[error("only ECDSA keys on the curves P-256 and P-384 are accepted")]
    UnacceptableKey,
    /// A key that may not be certified.
    #[error("{0}")]
    Key(#[from] crate::KeyRefusal),
    /// The hub's certificate needs a name.
    #[error("between 1 and {max} names are needed for a server certificate, not {given}")]
    NameCount {
        /// How many were given.
        given: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Neither a DNS name nor an IP address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    BadName(String),
    /// A lifetime outside the limits.
    #[error("a lifetime of {} s is outside 1 s to {} s", given.as_secs(), max.as_secs())]
    Lifetime {
        /// What was asked for.
        given: Duration,
        /// What is allowed at most.
        max: Duration,
    },
    /// Bytes that are not an acceptable certificate.
    #[error("certificate: {0}")]
    BadCertificate(&'static str),
    /// A time that no certificate can express.
    #[error("the time lies outside what a certificate can express")]
    Time,
    /// The private key to sign with is out of reach, such as in a token that was pulled out.
    #[error("the CA's private key cannot be used now; the log says why")]
    KeyUnavailable,
    /// The cryptographic library failed.
    #[error("cryptographic library: {0}")]
    Crypto(String),
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        match error {
            // What a key says that is not rcgen's own.
            rcgen::Error::RemoteKeyError => Self::KeyUnavailable,
            error => Self::Crypto(error.to_string()),
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for PkiError {
    fn from(error: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl From<der::Error> for PkiError {
    fn from(error: der::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}
