/// Why a TLS configuration cannot be made. `file` is whatever the caller named the bytes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// Not PEM at all, or broken off.
    #[error("{file}: not valid PEM: {reason}")]
    Pem {
        /// The caller's name for it.
        file: String,
        /// What the PEM reader met.
        reason: String,
    },
    /// PEM, but without what was expected.
    #[error("{file}: no {expected} in this PEM file")]
    Nothing {
        /// The caller's name for it.
        file: String,
        /// What was expected.
        expected: &'static str,
    },
    /// More than one private key: which one is meant?
    #[error("{file}: more than one private key")]
    ManyKeys {
        /// The caller's name for it.
        file: String,
    },
    /// The private key belongs to some other certificate.
    #[error("the private key is not that of the first certificate of the chain")]
    KeyMismatch,
    /// The private key cannot be used.
    #[error("the certificate or its private key cannot be used: {0}")]
    Unusable(rustls::Error),
    /// A trust anchor that is not a certificate.
    #[error("trust anchor {index} is not a usable certificate")]
    Anchor {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// Without a trust anchor no peer could ever be accepted.
    #[error("no trust anchor was given")]
    NoAnchor,
}
