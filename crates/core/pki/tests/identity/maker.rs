//! Certificates of manufacturers.

use std::time::Duration;

use portreeve_pki::{
    Authority, CaSigner, CrlDraft, KeyKind, KeyRefusal, MAKER_ANCHORS_MAX, MAKER_CERTIFICATE_BYTES_MAX,
    MAKER_CHAIN_MAX, Maker, MakerError, MakerRefusal, RevocationReason, Revoked, generate_key,
};
use portreeve_types::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::support::{DAY, Desk, now};

/// A maker's CA and what it signs.
struct Factory {
    key: KeyPair,
    params: CertificateParams,
    certificate: CertificateDer<'static>,
}

fn date(at: UnixMillis) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(at.seconds()).unwrap()).unwrap()
}

fn serial_number() -> DnType {
    DnType::CustomDnType(vec![2, 5, 4, 5])
}

/// An IDevID as makers have them: no end, no extended key usage.
fn idevid(serial: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Model X");
    params.distinguished_name.push(serial_number(), serial);
    params.not_before = date(UnixMillis(now().0 - 1_000_000));
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.serial_number = Some(SerialNumber::from(77));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

impl Factory {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { key, params, certificate }
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> CertificateDer<'static> {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().clone()
    }

    fn device(&self, serial: &str) -> CertificateDer<'static> {
        self.sign(&idevid(serial), &KeyPair::generate().unwrap())
    }

    fn list(&self, this_update: UnixMillis, serials: &[u64]) -> Vec<u8> {
        let entry = |serial: &u64| Revoked {
            serial: serial.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect(),
            at: now(),
            reason: RevocationReason::KeyCompromise,
            not_after: now().plus(DAY),
        };
        let revoked: Vec<_> = serials.iter().map(entry).collect();
        let ca = CaSigner::new(self.certificate.clone(), &self.key).unwrap();
        ca.crl(&CrlDraft { number: 1, this_update, lifetime: DAY, revoked: &revoked }).unwrap().der
    }

    fn registered(&self, lists: &[&[u8]]) -> Maker {
        Maker::new(std::slice::from_ref(&self.certificate), lists, "x-{serial}".parse().unwrap()).unwrap()
    }
}

fn refused(maker: &Maker, chain: &[CertificateDer<'_>]) -> MakerRefusal {
    maker.identify(chain, KeyKind::ECDSA, now()).unwrap_err()
}

#[test]
fn a_device_of_the_maker_gets_its_name_from_the_template() {
    let factory = Factory::new("Acme");
    let key = generate_key().unwrap().public;
    let leaf = factory.sign(&idevid("SN-1"), &key);
    let identity = factory.registered(&[]).identify(std::slice::from_ref(&leaf), KeyKind::ECDSA, now()).unwrap();
    assert_eq!((identity.name.as_str(), identity.serial.as_str(), identity.key), ("x-SN-1", "SN-1", key.hash()));
    let list = factory.list(now(), &[5]);
    assert!(factory.registered(&[&list]).identify(&[leaf], KeyKind::ECDSA, now()).is_ok());
}

#[test]
fn an_intermediate_may_stand_between() {
    let root = Factory::new("Acme");
    let mut line = Factory::new("Acme line 7");
    line.certificate = root.sign(&line.params, &line.key);
    let leaf = line.device("SN-1");
    let maker = root.registered(&[]);
    assert!(maker.identify(&[leaf.clone(), line.certificate.clone()], KeyKind::ECDSA, now()).is_ok());
    assert_eq!(refused(&maker, std::slice::from_ref(&leaf)), MakerRefusal::OtherMaker, "the chain is not whole");
    // The list has to be that of the CA which issued the leaf.
    let of_root = root.list(now(), &[]);
    let with_wrong_list = root.registered(&[&of_root]);
    let chain = [leaf, line.certificate.clone()];
    assert!(matches!(refused(&with_wrong_list, &chain), MakerRefusal::NoStatus(_)));
    let of_line = line.list(now(), &[77]);
    assert_eq!(refused(&root.registered(&[&of_root, &of_line]), &chain), MakerRefusal::Revoked);
}

#[test]
fn openssl_makes_devices_too() {
    let desk = Desk::new();
    desk.must("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout ca.key -out ca.pem -days 10 -subj /CN=Acme");
    desk.must("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out r.csr -subj /serialNumber=SN-7/CN=Model");
    desk.must(
        "x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -sha384 -out leaf.pem -days 5 -extfile /dev/null",
    );
    let der = |name: &str| CertificateDer::from(pem::parse(desk.read(name)).unwrap().into_contents());
    let maker = Maker::new(&[der("ca.pem")], &[], "{serial}".parse().unwrap()).unwrap();
    let identified = maker.identify(&[der("leaf.pem")], KeyKind::ECDSA, now());
    // Without extensions openssl makes a version 1 certificate, which path validation does not know.
    assert!(matches!(identified, Err(MakerRefusal::Path(_))), "{identified:?}");
    desk.write("ext", "keyUsage=digitalSignature\n");
    desk.must(
        "x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -sha384 -out leaf.pem -days 5 -extfile ext",
    );
    assert_eq!(maker.identify(&[der("leaf.pem")], KeyKind::ECDSA, now()).unwrap().name.as_str(), "SN-7");
}

#[test]
fn revoked_devices_and_stale_lists_are_refused() {
    let factory = Factory::new("Acme");
    let chain = [factory.device("SN-1")];
    let revoking = factory.list(now(), &[77]);
    assert_eq!(refused(&factory.registered(&[&revoking]), &chain), MakerRefusal::Revoked);
    let stale = factory.list(UnixMillis(now().0 - 2 * 86_400_000), &[]);
    assert!(matches!(refused(&factory.registered(&[&stale]), &chain), MakerRefusal::NoStatus(_)));
    // A list in the maker's name by somebody else's key.
    let forger = Factory::new("Acme");
    let forged = forger.list(now(), &[]);
    assert!(matches!(refused(&factory.registered(&[&forged]), &chain), MakerRefusal::NoStatus(_)));
}

#[test]
fn chains_that_are_not_the_makers_are_refused() {
    let (factory, other) = (Factory::new("Acme"), Factory::new("Other"));
    let maker = factory.registered(&[]);
    assert_eq!(refused(&maker, &[other.device("SN-1")]), MakerRefusal::OtherMaker);
    let self_signed = idevid("SN-1");
    let mut self_signed = self_signed;
    self_signed.use_authority_key_identifier_extension = false;
    let key = KeyPair::generate().unwrap();
    let self_signed = self_signed.self_signed(&key).unwrap().der().clone();
    assert_eq!(refused(&maker, &[self_signed]), MakerRefusal::OtherMaker);
    // Same name, other key.
    let twin = Factory::new("Acme");
    assert!(matches!(refused(&maker, &[twin.device("SN-1")]), MakerRefusal::Path(_) | MakerRefusal::OtherMaker));
    assert_eq!(refused(&maker, std::slice::from_ref(&factory.certificate)), MakerRefusal::IsCa);
    // Our own certificates are not a maker's.
    let own = Authority::create(now()).unwrap();
    assert!(maker.identify(&own.device_anchors(), KeyKind::ECDSA, now()).is_err());
}

#[test]
fn leaves_that_are_not_in_order_are_refused() {
    let factory = Factory::new("Acme");
    let maker = factory.registered(&[]);
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = idevid("SN-1");
        change(&mut params);
        refused(&maker, &[factory.sign(&params, &KeyPair::generate().unwrap())])
    };
    let ended = with(&|params| params.not_after = date(UnixMillis(now().0 - 1000)));
    assert_eq!(ended, MakerRefusal::OutOfTime);
    let future = with(&|params| params.not_before = date(now().plus(Duration::from_secs(3600))));
    assert_eq!(future, MakerRefusal::OutOfTime);
    let server = with(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(server, MakerRefusal::Usage);
    assert_eq!(with(&|params| params.distinguished_name = rcgen::DistinguishedName::new()), MakerRefusal::NoSerial);
    let hostile = with(&|params| params.distinguished_name.push(serial_number(), "../../etc/passwd"));
    assert!(matches!(hostile, MakerRefusal::Name(_)), "{hostile}");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let leaf = factory.sign(&idevid("SN-1"), &ed25519);
    assert_eq!(refused(&maker, &[leaf]), MakerRefusal::Key(KeyRefusal::Ed25519));
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072).unwrap();
    let leaf = [factory.sign(&idevid("SN-1"), &rsa)];
    assert_eq!(refused(&maker, &leaf), MakerRefusal::Key(KeyRefusal::Kind(KeyKind::Rsa3072)));
    assert!(maker.identify(&leaf, KeyKind::ALL, now()).is_ok());
    assert_eq!(refused(&maker, &[]), MakerRefusal::Chain);
    assert_eq!(refused(&maker, &vec![factory.device("SN-1"); MAKER_CHAIN_MAX + 1]), MakerRefusal::Chain);
    let long = CertificateDer::from(vec![0x30; MAKER_CERTIFICATE_BYTES_MAX + 1]);
    assert_eq!(refused(&maker, &[long]), MakerRefusal::Chain);
    assert_eq!(refused(&maker, &[CertificateDer::from(vec![0x30, 0])]), MakerRefusal::Malformed);
    let mut forged = factory.device("SN-1").to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(maker.identify(&[CertificateDer::from(forged)], KeyKind::ECDSA, now()).is_err());
}

#[test]
fn a_maker_needs_anchors_that_are_cas_and_lists_that_are_lists() {
    let factory = Factory::new("Acme");
    let register = |anchors: &[CertificateDer<'_>], lists: &[&[u8]]| {
        Maker::new(anchors, lists, "{serial}".parse().unwrap()).map(drop)
    };
    let good = factory.certificate.clone();
    assert_eq!(register(&[], &[]), Err(MakerError::AnchorCount { max: MAKER_ANCHORS_MAX }));
    assert_eq!(
        register(&vec![good.clone(); MAKER_ANCHORS_MAX + 1], &[]),
        Err(MakerError::AnchorCount { max: MAKER_ANCHORS_MAX })
    );
    assert_eq!(register(&[good.clone(), factory.device("x")], &[]), Err(MakerError::Anchor { index: 1 }));
    assert_eq!(register(&[CertificateDer::from(vec![0])], &[]), Err(MakerError::Anchor { index: 0 }));
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = factory.params.self_signed(&key).unwrap().der().clone();
    assert_eq!(register(&[ed25519], &[]), Err(MakerError::Anchor { index: 0 }));
    assert_eq!(register(&[good], &[b"not a list"]), Err(MakerError::Crl { index: 0 }));
}
