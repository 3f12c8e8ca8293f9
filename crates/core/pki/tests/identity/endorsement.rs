//! Certificates of endorsement keys, as makers of TPMs sign them.

use num_bigint::BigUint;
use portreeve_pki::{
    CaSigner, CrlDraft, KeyKind, KeyRefusal, MAKER_CERTIFICATE_BYTES_MAX, MakerError, MakerRefusal, RevocationReason,
    Revoked, TPM_ANCHORS_MAX, TpmMaker, audit_endorsement_key, generate_key,
};
use portreeve_types::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData,
    RsaKeySize, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::support::{DAY, now};

const EK_CERTIFICATE: [u64; 5] = [2, 23, 133, 8, 1];
/// A directory name with a TPM's manufacturer, `id:00000001`, in an alternative name.
const TPM_NAME: &[u8] = b"\x30\x1d\xa4\x1b\x30\x19\x31\x17\x30\x15\x06\x05\x67\x81\x05\x02\x01\x0c\x0cid:000000001";

fn date(at: UnixMillis) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(at.seconds()).unwrap()).unwrap()
}

/// As the profile has it: no subject, a critical alternative name, no end.
fn endorsement() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date(UnixMillis(now().0 - 1_000_000));
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.serial_number = Some(SerialNumber::from(0x4d2));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(EK_CERTIFICATE.to_vec())];
    let mut name = CustomExtension::from_oid_content(&[2, 5, 29, 17], TPM_NAME.to_vec());
    name.set_criticality(true);
    params.custom_extensions = vec![name];
    params
}

struct TpmFactory {
    key: KeyPair,
    params: CertificateParams,
    certificate: CertificateDer<'static>,
}

impl TpmFactory {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "TPM CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { key, params, certificate }
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> CertificateDer<'static> {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().clone()
    }

    fn maker(&self) -> TpmMaker {
        TpmMaker::new(std::slice::from_ref(&self.certificate), &[]).unwrap()
    }
}

fn ec() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn rsa(size: RsaKeySize) -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap()
}

fn refused(maker: &TpmMaker, certificate: &CertificateDer<'_>) -> MakerRefusal {
    maker.identify(certificate, now()).unwrap_err()
}

#[test]
fn endorsement_keys_of_both_kinds_are_known_by_ca_of_both_kinds() {
    for algorithm in [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let factory = TpmFactory::new(algorithm);
        for key in [ec(), rsa(RsaKeySize::_2048)] {
            let certificate = factory.sign(&endorsement(), &key);
            let identity = factory.maker().identify(&certificate, now()).unwrap();
            assert_eq!((identity.serial.as_str(), &identity.spki_der), ("04d2", &key.subject_public_key_info()));
            assert_eq!(Ok(identity.key), audit_endorsement_key(&identity.spki_der));
        }
    }
}

#[test]
fn what_is_no_certificate_of_an_endorsement_key_is_refused() {
    let factory = TpmFactory::new(&PKCS_ECDSA_P256_SHA256);
    let (maker, key) = (factory.maker(), ec());
    let good = factory.sign(&endorsement(), &key);
    // Of the same name, with another key.
    let forger = TpmFactory::new(&PKCS_RSA_SHA256);
    assert!(matches!(
        refused(&maker, &forger.sign(&endorsement(), &key)),
        MakerRefusal::OtherMaker | MakerRefusal::Path(_)
    ));

    let past = UnixMillis(now().0 - 500_000);
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = endorsement();
        change(&mut params);
        refused(&maker, &factory.sign(&params, &key))
    };
    assert_eq!(with(&|params| params.not_after = date(past)), MakerRefusal::OutOfTime);
    assert_eq!(with(&|params| params.not_before = date(now().plus(DAY))), MakerRefusal::OutOfTime);
    assert_eq!(with(&|params| params.extended_key_usages = Vec::new()), MakerRefusal::Usage);
    let client = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(with(&|params| params.extended_key_usages = client.clone()), MakerRefusal::Usage);
    let is_ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(with(&is_ca), MakerRefusal::IsCa);

    let key_of = |key: &KeyPair| refused(&maker, &factory.sign(&endorsement(), key));
    assert_eq!(key_of(&rsa(RsaKeySize::_3072)), MakerRefusal::Key(KeyRefusal::Kind(KeyKind::Rsa3072)));
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(matches!(key_of(&p384), MakerRefusal::Key(KeyRefusal::Curve(_))));

    for length in [0, 1, good.len() / 2, good.len() - 1] {
        assert_eq!(refused(&maker, &CertificateDer::from(&good[..length])), MakerRefusal::Malformed);
    }
    let padded = [&good[..], &[0xff]].concat();
    assert_eq!(refused(&maker, &CertificateDer::from(padded)), MakerRefusal::Malformed);
    let long = vec![0x30; MAKER_CERTIFICATE_BYTES_MAX + 1];
    assert_eq!(refused(&maker, &CertificateDer::from(long)), MakerRefusal::Chain);
}

#[test]
fn a_revoked_endorsement_key_is_refused_and_no_status_too() {
    let factory = TpmFactory::new(&PKCS_ECDSA_P256_SHA256);
    let certificate = factory.sign(&endorsement(), &ec());
    let list = |serial: Vec<u8>, this_update| {
        let (at, reason, not_after) = (now(), RevocationReason::KeyCompromise, now().plus(DAY));
        let ca = CaSigner::new(factory.certificate.clone(), &factory.key).unwrap();
        let revoked = [Revoked { serial, at, reason, not_after }];
        ca.crl(&CrlDraft { number: 1, this_update, lifetime: DAY, revoked: &revoked }).unwrap().der
    };
    let by = |list: &[u8]| {
        let maker = TpmMaker::new(std::slice::from_ref(&factory.certificate), &[list]).unwrap();
        maker.identify(&certificate, now()).map(drop)
    };
    assert_eq!(by(&list(vec![9], now())), Ok(()));
    assert_eq!(by(&list(vec![0x04, 0xd2], now())), Err(MakerRefusal::Revoked));
    let old = UnixMillis(now().0 - 3 * 86_400_000);
    assert!(matches!(by(&list(vec![9], old)), Err(MakerRefusal::NoStatus(_))));
}

#[test]
fn makers_of_tpms_are_registered_within_bounds() {
    let good = TpmFactory::new(&PKCS_RSA_SHA256).certificate;
    let leaf = TpmFactory::new(&PKCS_RSA_SHA256).sign(&endorsement(), &ec());
    let register = |anchors: &[CertificateDer<'_>], lists: &[&[u8]]| TpmMaker::new(anchors, lists).map(drop);
    let full = vec![good.clone(); TPM_ANCHORS_MAX];
    assert_eq!(register(&full, &[]), Ok(()));
    let count = Err(MakerError::AnchorCount { max: TPM_ANCHORS_MAX });
    assert_eq!(register(&[], &[]), count);
    assert_eq!(register(&[&full[..], std::slice::from_ref(&good)].concat(), &[]), count);
    assert_eq!(register(&[good.clone(), leaf], &[]), Err(MakerError::Anchor { index: 1 }));
    assert_eq!(register(&[good], &[b"no list"]), Err(MakerError::Crl { index: 0 }));
}

/// One key has one hash, and a key that can be factored none.
#[test]
fn endorsement_keys_have_one_encoding() {
    let key = rsa(RsaKeySize::_2048).subject_public_key_info();
    assert!(audit_endorsement_key(&key).is_ok());
    let edited = |at: usize, byte: u8| {
        let mut key = key.clone();
        key[at] = byte;
        audit_endorsement_key(&key).unwrap_err()
    };
    let last_of_modulus = key.len() - 6;
    assert_eq!(edited(last_of_modulus, 2), KeyRefusal::RsaSmallFactor);
    assert_eq!(edited(key.len() - 1, 3), KeyRefusal::RsaExponent);
    // A modulus of that length that is a square, in the place of the one that is there (33 bytes come before it).
    let root = BigUint::from(u128::MAX) << 896_u32 | BigUint::from(1_u8);
    let close = |root: &BigUint| {
        let square = (root * root).to_bytes_be();
        audit_endorsement_key(&[&key[..33], &square[..], &key[33 + 256..]].concat()).unwrap_err()
    };
    let weak = (0_u32..200).map(|step| close(&(&root + 2 * step))).find(|why| *why != KeyRefusal::RsaSmallFactor);
    assert_eq!(weak, Some(KeyRefusal::RsaClosePrimes));
    // Without the parameters, or with something behind the key.
    let bare = [&b"\x30\x82\x01\x20\x30\x0b"[..], &key[6..17], &key[19..]].concat();
    assert_eq!(audit_endorsement_key(&bare), Err(KeyRefusal::Malformed));
    assert_eq!(audit_endorsement_key(&[&key[..], &[0]].concat()), Err(KeyRefusal::Malformed));
    assert!(audit_endorsement_key(generate_key().unwrap().public.spki_der()).is_ok());
}
