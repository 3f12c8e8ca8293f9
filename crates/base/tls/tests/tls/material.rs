//! PEM from users' files: what is read, and what the message says when it cannot be.

use std::sync::Arc;

use portreeve_tls::{
    ClientKeys, Credentials, HeldCredentials, HeldKey, Presentable as _, ServerTls, TlsError, certificates_from_pem,
    key_from_pem,
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SigningKey as _};

use crate::support;

fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn chain_and_key_are_read_from_one_file_or_two() {
    let (certificate, key) = pair();
    let both = format!("A comment.\n{certificate}{certificate}{key}");
    let credentials = Credentials::from_pem("both.pem", both.as_bytes(), "key.pem", key.as_bytes()).unwrap();
    assert_eq!(credentials.chain.len(), 2);
    assert_eq!(key_from_pem("both.pem", both.as_bytes()).unwrap(), credentials.key);
    assert_eq!(credentials.clone().key, credentials.key);
    assert!(!format!("{credentials:?}").to_lowercase().contains("key:"), "keys do not reach logs");
}

#[test]
fn errors_name_the_file() {
    let (certificate, key) = pair();
    let nothing = |file: &str, expected| TlsError::Nothing { file: file.into(), expected };
    assert_eq!(certificates_from_pem("c.pem", b""), Err(nothing("c.pem", "certificate")));
    assert_eq!(certificates_from_pem("c.pem", key.as_bytes()), Err(nothing("c.pem", "certificate")));
    assert_eq!(key_from_pem("k.pem", certificate.as_bytes()), Err(nothing("k.pem", "private key")));
    assert_eq!(
        key_from_pem("k.pem", format!("{key}{key}").as_bytes()),
        Err(TlsError::ManyKeys { file: "k.pem".into() })
    );
    let cut = &certificate.as_bytes()[..certificate.len() / 2];
    let error = certificates_from_pem("c.pem", cut).unwrap_err();
    assert!(matches!(error, TlsError::Pem { .. }) && error.to_string().starts_with("c.pem: not valid PEM"), "{error}");
    let crooked = certificate.replace("MII", "M*I");
    assert!(matches!(certificates_from_pem("c.pem", crooked.as_bytes()), Err(TlsError::Pem { .. })));
}

#[test]
fn a_server_is_not_made_of_parts_that_do_not_fit() {
    let world = support::World::new();
    let anchors = world.devices_ca.anchors();
    let server = |hub| ServerTls::new(&anchors, hub, Arc::new(support::Gate::default()), ClientKeys::Ecdsa, &[]);
    assert!(server(world.hub_ca.device()).is_ok());
    let mut mismatched = world.hub_ca.device();
    mismatched.key = world.device().key;
    assert_eq!(server(mismatched).unwrap_err(), TlsError::KeyMismatch);
    let mut garbage = world.hub_ca.device();
    garbage.chain = vec![vec![0x30, 0x00].into()];
    assert!(matches!(server(garbage).unwrap_err(), TlsError::Unusable(_)));
    let gate = Arc::new(support::Gate::default());
    assert_eq!(
        ServerTls::new(&[], world.hub_ca.device(), gate, ClientKeys::Ecdsa, &[]).unwrap_err(),
        TlsError::NoAnchor
    );
}

/// A key that is kept elsewhere, here by rcgen.
#[derive(Debug)]
struct Kept {
    key: KeyPair,
    spki_der: Vec<u8>,
    works: bool,
}

impl Kept {
    fn new(works: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { spki_der: key.subject_public_key_info(), key, works }
    }
}

impl HeldKey for Kept {
    fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.works.then(|| self.key.sign(message).unwrap())
    }
}

#[test]
fn a_held_key_signs_by_its_one_scheme_and_for_its_own_certificate() {
    use rustls::{SignatureAlgorithm, SignatureScheme as Scheme};
    let of = |kept: Kept| {
        let leaf = CertificateParams::default().self_signed(&kept.key).unwrap();
        HeldCredentials { chain: vec![leaf.der().clone()], key: Arc::new(kept) }
    };
    let credentials = of(Kept::new(true));
    let public = rcgen::SubjectPublicKeyInfo::from_der(credentials.key.spki_der()).unwrap();
    let certified = credentials.clone().certify().unwrap();
    assert_eq!(certified.key.algorithm(), SignatureAlgorithm::ECDSA);
    let signer = certified.key.choose_scheme(&[Scheme::ED25519, Scheme::ECDSA_NISTP256_SHA256]).unwrap();
    assert_eq!(signer.scheme(), Scheme::ECDSA_NISTP256_SHA256);
    let signature = signer.sign(b"message").unwrap();
    let verifies = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
        rcgen::PublicKeyData::der_bytes(&public),
    );
    verifies.verify(b"message", &signature).unwrap();
    assert!(certified.key.choose_scheme(&[Scheme::ED25519, Scheme::ECDSA_NISTP384_SHA384]).is_none());

    let broken = of(Kept::new(false)).certify().unwrap();
    assert!(broken.key.choose_scheme(&[Scheme::ECDSA_NISTP256_SHA256]).unwrap().sign(b"message").is_err());
    let foreign = HeldCredentials { key: Arc::new(Kept::new(true)), ..credentials };
    assert_eq!(foreign.certify().unwrap_err(), TlsError::KeyMismatch);
}
