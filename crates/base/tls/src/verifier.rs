use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use smallvec::SmallVec;
use webpki::{EndEntityCert, KeyUsage};

use crate::{
    GateRefusal, Refusal, TlsError,
    memo::Memoized,
    policy::{SIGNATURES_WITH_RSA, provider},
};

/// Certificates that a client may send beside its own. Our own issuing CAs are anchors, so that none is needed; a foreign
/// CA may have one or two between. Looking for a path through many that are made for it takes seconds, and is done
/// before the client has shown that it holds any key.
const INTERMEDIATES_MAX: usize = 3;

/// Who has the last word on a client whose certificate is in order: the registry (IIITA-N4).
pub trait LeafGate: Send + Sync {
    /// Called once a handshake, on the worker's thread, after chain and possession of the key are established. Must not
    /// block: it is a look-up in memory.
    ///
    /// # Errors
    /// The reason for which this certificate may not connect.
    fn check(&self, leaf_der: &[u8]) -> Result<(), GateRefusal>;
}

/// Which keys clients may prove to hold. Their certificates are signed with ECDSA in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKeys {
    /// ECDSA on P-256 and P-384.
    Ecdsa,
    /// Also RSA, with RSA-PSS.
    EcdsaOrRsa,
}

/// Verifies clients against anchors that may be replaced at any time.
///
/// The two halves stand in two calls that rustls makes for every full handshake, and there is no other kind here:
/// `verify_client_cert` checks the chain, `verify_tls1x_signature` the proof of possession and then the gate.
pub(crate) struct ClientVerifier {
    trust: Arc<Trust>,
    /// Whether a client without a certificate of ours is refused. One that presents a certificate which names one of our CAs
    /// is looked at in either case.
    is_mandatory: bool,
}

/// What both kinds of listeners go by.
struct Trust {
    anchors: ArcSwap<Vec<TrustAnchor<'static>>>,
    gate: Arc<dyn LeafGate>,
    algorithms: WebPkiSupportedAlgorithms,
    /// The same algorithms for signatures on certificates, which come again with every connection.
    certificate_algorithms: Vec<Memoized>,
}

impl ClientVerifier {
    pub(crate) fn new(
        anchors: &[CertificateDer<'_>],
        gate: Arc<dyn LeafGate>,
        keys: ClientKeys,
    ) -> Result<Self, TlsError> {
        let algorithms = match keys {
            ClientKeys::Ecdsa => provider().signature_verification_algorithms,
            ClientKeys::EcdsaOrRsa => SIGNATURES_WITH_RSA,
        };
        let certificate_algorithms = algorithms.all.iter().map(|&algorithm| Memoized::new(algorithm)).collect();
        let anchors = ArcSwap::from_pointee(parse_anchors(anchors)?);
        let trust = Arc::new(Trust { anchors, gate, algorithms, certificate_algorithms });
        Ok(Self { trust, is_mandatory: true })
    }

    /// The same, that also lets through who has no certificate of ours yet: none at all, or one of somebody else's, of which
    /// it makes sure only that its key is held. It follows every replacement of anchors.
    pub(crate) fn or_strangers(&self) -> Self {
        Self { trust: Arc::clone(&self.trust), is_mandatory: false }
    }

    pub(crate) fn replace_anchors(&self, anchors: &[CertificateDer<'_>]) -> Result<(), TlsError> {
        self.trust.anchors.store(Arc::new(parse_anchors(anchors)?));
        Ok(())
    }

    /// Whether a certificate says that one of our CAs has issued it.
    pub(crate) fn is_ours(&self, leaf: &CertificateDer<'_>) -> Result<bool, Refusal> {
        let leaf = EndEntityCert::try_from(leaf)?;
        Ok(self.trust.anchors.load().iter().any(|anchor| anchor.subject.as_ref() == leaf.issuer()))
    }

    fn is_let_through(&self, leaf: &CertificateDer<'_>) -> Result<bool, Refusal> {
        Ok(!self.is_mandatory && !self.is_ours(leaf)?)
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        if others.len() > INTERMEDIATES_MAX {
            return Err(Refusal::Malformed("it comes with too many others".into()));
        }
        // Nobody yet, whatever it says: no path is looked for. Who vouches for it is asked when it is used.
        if self.is_let_through(leaf)? {
            return Ok(());
        }
        // Anchors are tried before the certificates that the client sent along, so a leaf of our own issuing CA costs
        // one signature check, and that once.
        let algorithms: SmallVec<[&dyn SignatureVerificationAlgorithm; 16]> =
            self.trust.certificate_algorithms.iter().map(|algorithm| algorithm as _).collect();
        EndEntityCert::try_from(leaf)?.verify_for_usage(
            &algorithms,
            &self.trust.anchors.load(),
            others,
            now,
            KeyUsage::client_auth(),
            None,
            None,
        )?;
        Ok(())
    }

    fn admit(
        &self,
        leaf: &CertificateDer<'_>,
        possession: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let proof = possession.map_err(|_| Refusal::NoPossession)?;
        if self.is_let_through(leaf)? {
            return Ok(proof);
        }
        self.trust.gate.check(leaf).map_err(Refusal::Gate)?;
        Ok(proof)
    }
}

fn parse_anchors(certificates: &[CertificateDer<'_>]) -> Result<Vec<TrustAnchor<'static>>, TlsError> {
    if certificates.is_empty() {
        return Err(TlsError::NoAnchor);
    }
    let parse = |(index, der)| {
        let anchor = webpki::anchor_from_trusted_cert(der).map_err(|_| TlsError::Anchor { index })?;
        Ok(anchor.to_owned())
    };
    certificates.iter().enumerate().map(parse).collect()
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    /// Empty: scanners do not learn our CAs' names, and clients have one certificate anyway (RFC 8446 §4.2.4 makes the
    /// list optional).
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_chain(leaf, others, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.admit(leaf, verify_tls12_signature(message, leaf, signed, &self.trust.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.admit(leaf, verify_tls13_signature(message, leaf, signed, &self.trust.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").field("anchors", &self.trust.anchors.load().len()).finish_non_exhaustive()
    }
}
