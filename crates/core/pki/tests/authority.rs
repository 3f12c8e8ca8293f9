//! The authority as its users meet it: files out and in, certificates issued, and everything that must be refused.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in tests, helpers included, a panic is the report

use std::{collections::HashMap, sync::Arc, time::Duration};

use portreeve_pki::{
    Authority, CSR_BYTES_MAX, CaKey, CaName, CaRole, CaSigner, DEVICE_LIFETIME_DEFAULT, DEVICE_LIFETIME_MAX,
    HUB_LIFETIME_MAX, HUB_NAMES_MAX, ISSUING_LIFETIME_MAX, Issued, IssuingKeys, PkiError, Purpose, RotationStep,
    SubjectPublicKey, generate_key, is_issued_by, leaf_facts, name_in_series, newest_ca, number_in_series,
    public_key_from_csr, request_issuing_ca, to_pem,
};
use portreeve_types::{IdentityId, UnixMillis};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};
use uuid::Uuid;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    prelude::FromDer,
};

const NOW: UnixMillis = UnixMillis(1_790_000_000_123);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept of an authority: certificates by the names of their files, and keys.
#[derive(Clone)]
struct Kept {
    certificates: HashMap<String, Vec<u8>>,
    keys: IssuingKeys,
}

impl Kept {
    fn new() -> Self {
        let key = || Arc::new(KeyPair::generate().unwrap());
        let keys = IssuingKeys { devices: key(), hub: key() };
        let root = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let authority = Authority::establish(NOW, &root, keys.clone()).unwrap();
        let file = |(name, der): (CaName, &_)| (name.certificate_file(), to_pem(der).into_bytes());
        Self { certificates: authority.certificates().into_iter().map(file).collect(), keys }
    }

    fn open(&self, now: UnixMillis) -> Result<Authority, PkiError> {
        let key = |name: CaName| match name.role {
            CaRole::Devices => Ok(Some(self.keys.devices.clone())),
            CaRole::Hub => Ok(Some(self.keys.hub.clone())),
            CaRole::Root => Ok(None),
        };
        Authority::open(now, key, |name| self.certificates.get(name).cloned())
    }
}

fn authority() -> Authority {
    Authority::create(NOW).unwrap()
}

fn key() -> SubjectPublicKey {
    generate_key().unwrap().public
}

fn device(authority: &Authority) -> (IdentityId, Issued) {
    let id = IdentityId(Uuid::from_u128(0x1234));
    (id, authority.issue_device(id, &key(), NOW, DEVICE_LIFETIME_DEFAULT).unwrap())
}

fn parsed(issued: &Issued) -> X509Certificate<'_> {
    X509Certificate::from_der(&issued.chain_der[0]).unwrap().1
}

#[test]
fn an_authority_survives_its_files() {
    let kept = Kept::new();
    let read = kept.open(NOW).unwrap();
    assert_eq!(read.trust_pem().into_bytes(), kept.certificates["root.pem"]);
    assert_eq!(kept.open(NOW).unwrap().certificates(), read.certificates());
    // What it issues after being read is still signed by the same CA, and says so.
    let (_, issued) = device(&read);
    let issuing = X509Certificate::from_der(&issued.chain_der[1]).unwrap().1;
    assert_eq!(parsed(&issued).issuer(), issuing.subject());
    parsed(&issued).verify_signature(Some(issuing.public_key())).unwrap();
}

#[test]
fn missing_and_broken_files_are_named() {
    let whole = Kept::new();
    for name in CaRole::ALL.map(|role| role.first().certificate_file()) {
        let mut kept = whole.clone();
        kept.certificates.remove(&name);
        assert_eq!(kept.open(NOW).unwrap_err(), PkiError::Missing { file: name.clone() });
        for garbage in
            [&b""[..], b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe"]
        {
            kept.certificates.insert(name.clone(), garbage.to_vec());
            let error = kept.open(NOW).unwrap_err();
            assert!(matches!(&error, PkiError::BadFile { file, .. } if *file == name), "{name}: {error}");
        }
    }
}

#[test]
fn keys_and_certificates_that_do_not_belong_together_are_refused() {
    let (ours, theirs) = (Kept::new(), Kept::new());
    let mismatch =
        |key: CaRole| PkiError::KeyMismatch { key: key.as_str().into(), certificate: key.first().certificate_file() };
    let keys = IssuingKeys { devices: theirs.keys.devices.clone(), ..ours.keys.clone() };
    assert_eq!(Kept { keys, ..ours.clone() }.open(NOW).unwrap_err(), mismatch(CaRole::Devices));
    let keys = IssuingKeys { hub: theirs.keys.hub.clone(), ..ours.keys.clone() };
    assert_eq!(Kept { keys, ..ours.clone() }.open(NOW).unwrap_err(), mismatch(CaRole::Hub));
    // Each issuing CA of another root.
    let mut kept =
        Kept { keys: IssuingKeys { devices: theirs.keys.devices.clone(), ..ours.keys.clone() }, ..ours.clone() };
    kept.certificates.insert("devices.pem".into(), theirs.certificates["devices.pem"].clone());
    assert!(kept.open(NOW).unwrap_err().to_string().starts_with("devices.pem: it is not signed by root.pem"));
    let mut kept = Kept { keys: IssuingKeys { hub: theirs.keys.hub.clone(), ..ours.keys.clone() }, ..ours.clone() };
    kept.certificates.insert("hub.pem".into(), theirs.certificates["hub.pem"].clone());
    assert!(kept.open(NOW).unwrap_err().to_string().starts_with("hub.pem: it is not signed by root.pem"));
}

#[test]
fn issuing_cas_cannot_change_places() {
    let Kept { mut certificates, keys } = Kept::new();
    let (devices, hub) = (certificates["devices.pem"].clone(), certificates["hub.pem"].clone());
    certificates.extend([("devices.pem".into(), hub), ("hub.pem".into(), devices)]);
    let keys = IssuingKeys { devices: keys.hub, hub: keys.devices };
    let error = Kept { certificates, keys }.open(NOW).unwrap_err();
    assert!(error.to_string().contains("another purpose"), "{error}");
}

#[test]
fn a_leaf_is_no_ca() {
    let mut kept = Kept::new();
    let leaf = device(&kept.open(NOW).unwrap()).1.chain_pem;
    kept.certificates.insert("devices.pem".into(), leaf.into_bytes());
    assert!(kept.open(NOW).unwrap_err().to_string().contains("not the certificate of a CA"));
}

#[test]
fn an_authority_out_of_its_time_is_refused() {
    let kept = Kept::new();
    let early = UnixMillis(NOW.0 - 6 * 60 * 1000);
    assert_eq!(kept.open(early).unwrap_err(), PkiError::NotYetValid { file: "root.pem".into() });
    let after_issuing = NOW.plus(5 * 365 * DAY);
    assert_eq!(kept.open(after_issuing).unwrap_err(), PkiError::Expired { file: "devices.pem".into() });
    assert_eq!(kept.open(NOW.plus(20 * 365 * DAY)).unwrap_err(), PkiError::Expired { file: "root.pem".into() });
}

/// A key off the list does not become a CA, wherever it is kept.
#[test]
fn a_key_off_the_list_does_not_become_a_ca() {
    let good = || Arc::new(KeyPair::generate().unwrap());
    let bad = || Arc::new(KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let establish = |root: &KeyPair, devices, hub| Authority::establish(NOW, root, IssuingKeys { devices, hub });
    for refused in
        [establish(&bad(), good(), good()), establish(&good(), bad(), good()), establish(&good(), good(), bad())]
    {
        assert_eq!(refused.unwrap_err(), PkiError::UnacceptableKey);
    }
}

/// CSA-CRD-09: lifetimes are limited, and no leaf outlives the CA that signed it.
#[test]
fn lifetimes_are_limited() {
    let made = authority();
    let id = IdentityId(Uuid::nil());
    for lifetime in [Duration::ZERO, DEVICE_LIFETIME_MAX + Duration::from_secs(1), Duration::MAX] {
        let refused = made.issue_device(id, &key(), NOW, lifetime).unwrap_err();
        assert_eq!(refused, PkiError::Lifetime { given: lifetime, max: DEVICE_LIFETIME_MAX });
    }
    let names = ["hub".to_owned()];
    assert!(made.issue_hub(&names, &key(), NOW, HUB_LIFETIME_MAX + Duration::from_secs(1)).is_err());

    let last_days = UnixMillis(made.not_after().0 - 1000 * 60);
    let issued = made.issue_device(id, &key(), last_days, DEVICE_LIFETIME_MAX).unwrap();
    assert_eq!(issued.not_after, made.not_after());
    let end = made.not_after();
    assert_eq!(made.issue_device(id, &key(), end, DAY).unwrap_err(), PkiError::Expired { file: "devices.pem".into() });
    assert_eq!(made.issue_hub(&names, &key(), end, DAY).unwrap_err(), PkiError::Expired { file: "hub.pem".into() });
    assert_eq!(Authority::create(UnixMillis(u64::MAX)).unwrap_err(), PkiError::Time);
}

/// Nothing but an opaque identifier; CSA-CRD-09: a device's certificate is good for connecting only.
#[test]
fn a_device_certificate_follows_the_profile() {
    let (id, issued) = device(&authority());
    let leaf = parsed(&issued);
    assert_eq!(leaf.subject().to_string(), format!("CN={id}"));
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::URI(&format!("urn:uuid:{id}"))]);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty());
    let key_usage = leaf.key_usage().unwrap().unwrap();
    assert!(key_usage.critical);
    assert_eq!(key_usage.value.flags, 1, "digitalSignature alone");
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);

    assert_eq!(issued.not_before, UnixMillis(1_789_999_700_000), "five minutes back, whole seconds");
    assert_eq!(issued.not_after, UnixMillis(1_790_000_000_000).plus(365 * DAY));
    assert_eq!(leaf.raw_serial(), issued.serial);
    assert!(issued.serial.len() == 16 && (0x40..0x80).contains(&issued.serial[0]), "126 random bits, positive");

    let issuing = X509Certificate::from_der(&issued.chain_der[1]).unwrap().1;
    assert_eq!(key_id(&leaf, true), key_id(&issuing, false));
    assert_ne!(key_id(&leaf, false), key_id(&issuing, false));
}

/// The authority key identifier, or the certificate's own.
fn key_id(certificate: &X509Certificate<'_>, of_authority: bool) -> Vec<u8> {
    let pick = |extension: &X509Extension<'_>| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) if !of_authority => Some(id.0.to_vec()),
        ParsedExtension::AuthorityKeyIdentifier(id) if of_authority => Some(id.key_identifier.as_ref()?.0.to_vec()),
        _ => None,
    };
    certificate.iter_extensions().find_map(pick).unwrap()
}

#[test]
fn serial_numbers_do_not_repeat() {
    let made = authority();
    let (first, second) = (device(&made).1, device(&made).1);
    assert_ne!(first.serial, second.serial);
}

#[test]
fn the_cas_are_confined() {
    let made = authority();
    let (_, issued) = device(&made);
    let root = pem::parse(made.trust_pem()).unwrap();
    let root = X509Certificate::from_der(root.contents()).unwrap().1;
    assert_eq!(
        root.basic_constraints().unwrap().unwrap().value.path_len_constraint,
        None,
        "roots that follow stand below it"
    );
    assert!(root.subject().to_string().starts_with("CN=Portreeve root "));
    let issuing = X509Certificate::from_der(&issued.chain_der[1]).unwrap().1;
    let constraints = issuing.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = issuing.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
}

/// CSA-CLS-01: a server has an identity of its own.
#[test]
fn the_hub_is_named_by_dns_and_address() {
    let names: Vec<String> = ["localhost", "127.0.0.1", "::1", "Hub.Example"].map(str::to_owned).into();
    let issued = authority().issue_hub(&names, &key(), NOW, HUB_LIFETIME_MAX).unwrap();
    let leaf = parsed(&issued);
    let mut loopback_v6 = [0; 16];
    loopback_v6[15] = 1;
    assert_eq!(
        leaf.subject_alternative_name().unwrap().unwrap().value.general_names,
        [
            GeneralName::DNSName("localhost"),
            GeneralName::IPAddress(&[127, 0, 0, 1]),
            GeneralName::IPAddress(&loopback_v6),
            GeneralName::DNSName("hub.example"),
        ]
    );
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
}

#[test]
fn names_that_are_none_are_refused() {
    let made = authority();
    let issue = |names: &[String]| made.issue_hub(names, &key(), NOW, DAY);
    for bad in ["", " ", "a b", "*.example", "a..b", "ä.example", "mqtt://hub", "hub:8883", "300.1.1.1.", "-"] {
        assert_eq!(issue(&[bad.to_owned()]).unwrap_err(), PkiError::BadName(bad.to_owned()), "{bad:?}");
    }
    assert!(matches!(issue(&[]), Err(PkiError::NameCount { given: 0, .. })));
    assert!(issue(&vec!["a".to_owned(); HUB_NAMES_MAX]).is_ok());
    assert!(matches!(issue(&vec!["a".to_owned(); HUB_NAMES_MAX + 1]), Err(PkiError::NameCount { .. })));
}

#[test]
fn a_csr_gives_its_key_and_nothing_more() {
    let pair = KeyPair::generate().unwrap();
    let request = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap().serialize_request(&pair).unwrap();
    let from_pem = public_key_from_csr(request.pem().unwrap().as_bytes()).unwrap();
    assert_eq!(from_pem.spki_der(), pair.subject_public_key_info());
    assert_eq!(public_key_from_csr(request.der()).unwrap(), from_pem);
}

#[test]
fn unusable_csrs_are_refused() {
    let pair = KeyPair::generate().unwrap();
    let good = CertificateParams::default().serialize_request(&pair).unwrap().der().to_vec();
    let refused = |bytes: &[u8]| public_key_from_csr(bytes).unwrap_err();

    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&forged), PkiError::BadRequest("its signature is not made by its own key"));
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(refused(&longer), PkiError::BadRequest("bytes follow the request"));
    assert_eq!(refused(&good[..good.len() - 1]), PkiError::BadRequest("not a PKCS #10 request"));
    assert_eq!(refused(b""), PkiError::BadRequest("not a PKCS #10 request"));
    assert_eq!(refused(b"-----BEGIN CERTIFICATE REQUEST-----\n"), PkiError::BadRequest("not valid PEM"));
    assert_eq!(refused(&vec![0x30; CSR_BYTES_MAX + 1]), PkiError::BadRequest("too long"));
    let certificate = authority().trust_pem();
    assert_eq!(refused(certificate.as_bytes()), PkiError::BadRequest("the PEM block is not a certificate request"));
}

/// Only keys of an approved kind get a certificate.
#[test]
fn other_kinds_of_key_are_refused() {
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let request = CertificateParams::default().serialize_request(&pair).unwrap();
        assert_eq!(public_key_from_csr(request.der()), Err(PkiError::UnacceptableKey), "{algorithm:?}");
    }
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let request = CertificateParams::default().serialize_request(&p384).unwrap();
    assert!(public_key_from_csr(request.der()).is_ok());
}

#[test]
fn a_point_off_the_curve_is_no_key() {
    let mut der = key().spki_der().to_vec();
    assert!(SubjectPublicKey::from_spki_der(&der).is_ok());
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(SubjectPublicKey::from_spki_der(&der), Err(PkiError::UnacceptableKey));
}

#[test]
fn the_facts_of_a_leaf_are_those_issued() {
    let made = authority();
    let key = key();
    let id = IdentityId(Uuid::from_u128(7));
    let issued = made.issue_device(id, &key, NOW, DAY).unwrap();
    let facts = leaf_facts(&issued.chain_der[0]).unwrap();
    assert_eq!((facts.key, facts.identity, &facts.serial), (key.hash(), Some(id), &issued.serial));
    assert_eq!((facts.not_before, facts.not_after), (issued.not_before, issued.not_after));
    assert_eq!(issued.key, facts.key);

    let hub = made.issue_hub(&["hub".to_owned()], &key, NOW, DAY).unwrap();
    assert_eq!(leaf_facts(&hub.chain_der[0]).unwrap().identity, None);
}

#[test]
fn two_identities_or_a_crooked_one_are_refused() {
    let pair = KeyPair::generate().unwrap();
    let with = |uris: &[&str]| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())).collect();
        leaf_facts(params.self_signed(&pair).unwrap().der())
    };
    let one = "urn:uuid:00000000-0000-0000-0000-000000000001";
    assert_eq!(with(&[one, "https://example.org"]).unwrap().identity, Some(IdentityId(Uuid::from_u128(1))));
    assert_eq!(with(&[one, one]), Err(PkiError::BadCertificate("it names more than one identity")));
    for crooked in [
        "urn:uuid:",
        "urn:uuid:x",
        "urn:uuid:00000000000000000000000000000001",
        "urn:uuid:0000000A-0000-0000-0000-000000000001",
    ] {
        assert_eq!(with(&[crooked]), Err(PkiError::BadCertificate("malformed identity")), "{crooked}");
    }
}

#[test]
fn hostile_leaves_never_panic() {
    let leaf = device(&authority()).1.chain_der[0].to_vec();
    for length in 0..leaf.len() {
        assert!(leaf_facts(&leaf[..length]).is_err(), "cut to {length}");
    }
    let mut longer = leaf.clone();
    longer.push(0);
    assert_eq!(leaf_facts(&longer), Err(PkiError::BadCertificate("bytes follow it")));

    // A fixed seed (xorshift64*), so that a failure repeats.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below
    };
    let mut accepted = 0;
    for _ in 0..50_000 {
        let mut mutant = leaf.clone();
        for _ in 0..=random(3) {
            let at = random(mutant.len());
            match random(3) {
                0 => mutant[at] = u8::try_from(random(256)).unwrap(),
                1 => mutant[at] ^= 1 << random(8),
                _ => drop(mutant.remove(at)),
            }
        }
        accepted += usize::from(leaf_facts(&mutant).is_ok());
    }
    // Bytes of the key, the names and the signature are free; the structure is not.
    assert!((1..40_000).contains(&accepted), "{accepted}");
}

/// An authority whose CA for devices is followed by others, all under one root.
struct Line {
    root: KeyPair,
    certificates: HashMap<String, Vec<u8>>,
    keys: HashMap<CaName, Arc<KeyPair>>,
}

impl Line {
    fn new() -> Self {
        let root = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let [devices, hub] = [(); 2].map(|()| Arc::new(KeyPair::generate().unwrap()));
        let issuing = IssuingKeys { devices: devices.clone(), hub: hub.clone() };
        let authority = Authority::establish(NOW, &root, issuing).unwrap();
        let file = |(name, der): (CaName, &_)| (name.certificate_file(), to_pem(der).into_bytes());
        let certificates = authority.certificates().into_iter().map(file).collect();
        let keys = HashMap::from([(CaRole::Devices.first(), devices), (CaRole::Hub.first(), hub)]);
        Self { root, certificates, keys }
    }

    fn follow(&mut self, at: UnixMillis) -> CaName {
        self.follow_in(CaRole::Devices, Purpose::Client, at)
    }

    fn follow_in(&mut self, role: CaRole, purpose: Purpose, at: UnixMillis) -> CaName {
        let name = newest_ca(role, |file| self.certificates.get(file).cloned()).successor();
        let key = Arc::new(KeyPair::generate().unwrap());
        let root = pem::parse(&self.certificates["root.pem"]).unwrap().into_contents();
        let signer = CaSigner::new(root.into(), &self.root).unwrap();
        let request = request_issuing_ca(purpose, &*key).unwrap();
        let signed = signer.sign_issuing_ca(request.as_bytes(), purpose, at, ISSUING_LIFETIME_MAX).unwrap();
        self.certificates.insert(name.certificate_file(), to_pem(&signed).into_bytes());
        self.keys.insert(name, key);
        name
    }

    fn open(&self, now: UnixMillis) -> Result<Authority, PkiError> {
        let key = |name: CaName| Ok(self.keys.get(&name).map(|key| key.clone() as CaKey));
        Authority::open(now, key, |file| self.certificates.get(file).cloned())
    }
}

/// CSA-CRD-02, CSA-CRD-07: the successor issues; what its predecessor issued counts until it ends, and no longer.
#[test]
fn a_ca_is_trusted_until_its_last_leaf_is_over() {
    let mut line = Line::new();
    let first = device(&line.open(NOW).unwrap()).1;
    let at = NOW.plus(100 * DAY);
    let second = line.follow(at);
    let both = line.open(at).unwrap();
    assert_eq!(both.name_of(CaRole::Devices), second);
    let anchors = both.device_anchors();
    assert_eq!(anchors.len(), 2);
    let issued = both.issue_device(IdentityId(Uuid::nil()), &key(), at, DAY).unwrap();
    assert!(is_issued_by(&issued.chain_der[0], &anchors[0]) && !is_issued_by(&issued.chain_der[0], &anchors[1]));
    assert!(is_issued_by(&first.chain_der[0], &anchors[1]) && !is_issued_by(&first.chain_der[0], &anchors[0]));
    let signers: Vec<CaName> = both.device_cas().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(signers, [second, CaRole::Devices.first()], "both sign lists");

    // It may have taken over a month after it was signed, and the last leaf a year from then.
    let last = at.plus(30 * DAY).plus(DEVICE_LIFETIME_MAX);
    let before = UnixMillis(last.0 - 10 * 60 * 1000);
    assert!(line.open(before).unwrap().device_anchors().len() == 2 && !both.has_outlived(before));
    assert!(line.open(last).unwrap().device_anchors().len() == 1 && both.has_outlived(last));

    // Three in a row, of which the first goes first.
    let third = line.follow(at.plus(10 * DAY));
    let all = line.open(at.plus(11 * DAY)).unwrap();
    assert_eq!((all.name_of(CaRole::Devices), all.device_anchors().len()), (third, 3));
    let (anchors, outlived) = (line.open(last).unwrap().device_anchors(), all.has_outlived(last));
    assert!(anchors.len() == 2 && outlived, "{}", anchors.len());
}

/// The key of a predecessor may be gone, that of the one that issues may not; and a file in the line must not be.
#[test]
fn what_is_missing_of_a_line_is_told() {
    let mut line = Line::new();
    let (first, second) = (CaRole::Devices.first(), line.follow(NOW));
    line.keys.remove(&first);
    let opened = line.open(NOW).unwrap();
    assert_eq!((opened.device_anchors().len(), opened.device_cas().unwrap().len()), (2, 1));
    let swapped = line.keys.insert(first, Arc::new(KeyPair::generate().unwrap()));
    assert!(swapped.is_none());
    let mismatch = |name: CaName| PkiError::KeyMismatch { key: name.to_string(), certificate: name.certificate_file() };
    assert_eq!(line.open(NOW).unwrap_err(), mismatch(first));
    line.keys.remove(&second);
    assert_eq!(line.open(NOW).unwrap_err(), mismatch(second));
    line.certificates.remove("devices.pem");
    line.keys.insert(second, Arc::new(KeyPair::generate().unwrap()));
    assert!(line.open(NOW).is_err(), "devices-2.pem without devices.pem");
}

#[test]
fn a_ca_is_followed_in_time_and_not_again_and_again() {
    let mut line = Line::new();
    let made = line.open(NOW).unwrap();
    let end = made.end_of(CaRole::Devices);
    let due = UnixMillis(end.0 - u64::try_from(DEVICE_LIFETIME_MAX.as_millis()).unwrap());
    assert_eq!(made.rotation(CaRole::Devices, 1, NOW), Some(RotationStep::Wait { until: due }));
    assert_eq!(made.rotation(CaRole::Devices, 1, due), Some(RotationStep::Introduce));
    assert!(matches!(made.rotation(CaRole::Hub, 1, due), Some(RotationStep::Wait { .. })), "its leaves live 90 days");
    assert_eq!(made.rotation(CaRole::Root, 1, end), None);
    let mut at = due;
    for _ in 0..4 {
        line.follow(at);
        line.follow_in(CaRole::Hub, Purpose::Server, at);
        let opened = line.open(at).unwrap();
        match opened.rotation(CaRole::Devices, 1, at) {
            Some(RotationStep::Wait { until }) => at = until,
            // It lasts as long as the root: another one would not last longer.
            None => return assert_eq!(opened.end_of(CaRole::Devices), opened.end_of(CaRole::Root)),
            other => panic!("{other:?} right after a rotation"),
        }
    }
    panic!("a fifth issuing CA in twenty years");
}

/// A clock that was years ahead for a while had a CA made that nobody needs yet.
#[test]
fn a_ca_from_the_future_waits() {
    let mut line = Line::new();
    let second = line.follow(NOW.plus(1000 * DAY));
    let opened = line.open(NOW).unwrap();
    assert_eq!((opened.name_of(CaRole::Devices).number, opened.device_anchors().len()), (1, 1));
    let third = line.follow(NOW.plus(DAY));
    assert_eq!(line.open(NOW.plus(DAY)).unwrap().name_of(CaRole::Devices), third);
    assert_ne!(second, third);
}

#[test]
fn names_in_a_series_are_read_back() {
    for (number, name) in [(1, "devices"), (2, "devices-2"), (u32::MAX, "devices-4294967295")] {
        assert_eq!(
            (name_in_series("devices", number).as_str(), number_in_series("devices", name)),
            (name, Some(number))
        );
    }
    for other in
        ["", "device", "devices-", "devices-0", "devices-1", "devices-02", "devices-+2", "devices-2.crl", "hub"]
    {
        assert_eq!(number_in_series("devices", other), None, "{other}");
    }
}
