//! Issuing CAs whose root is elsewhere, and CAs that follow one another.

use portreeve_pki::{
    Authority, CaSigner, Generation, ISSUING_LIFETIME_MAX, IssuingRefusal, PkiError, Profile, Purpose, Role,
    SubjectPublicKey, audit_key, generate_key, import_issuing_ca, request_issuing_ca,
};
use portreeve_types::{IdentityId, Kind, UnixMillis};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use rustls_pki_types::CertificateDer;
use uuid::Uuid;

use crate::support::{DAY, Desk, Rooted, now};

const EXTENSIONS: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
    extendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

fn public(key: &KeyPair) -> SubjectPublicKey {
    audit_key(&key.subject_public_key_info()).unwrap()
}

fn leaf_of(ca: &CaSigner<'_>) -> String {
    let profile = Profile::new(Role::Client(Kind::Device));
    let id = IdentityId(Uuid::from_u128(1));
    ca.issue_client(&profile, id, Generation(0), &generate_key().unwrap().public, now()).unwrap().chain_pem
}

/// The root's key on one machine, the new issuing CA's on another; between them a request and a certificate.
#[test]
fn an_issuing_ca_is_certified_elsewhere_and_issues_here() {
    let desk = Desk::new();
    let rooted = Rooted::new();
    let (offline, root) = (&rooted.authority, rooted.root());
    let key = KeyPair::generate().unwrap();
    let request = request_issuing_ca(Purpose::Client, &key).unwrap();
    let signed = root.sign_issuing_ca(request.as_bytes(), Purpose::Client, now(), ISSUING_LIFETIME_MAX).unwrap();
    let import = |der: &[u8]| import_issuing_ca(der, Purpose::Client, &public(&key), offline.root_certificate(), now());
    let certificate = import(&signed).unwrap();
    let ca = CaSigner::new(certificate, &key).unwrap();
    assert_eq!(ca.purpose(), Some(Purpose::Client));
    desk.write("ca.pem", offline.trust_pem());
    desk.write("leaf.pem", leaf_of(&ca));
    desk.must("verify -x509_strict -purpose sslclient -CAfile ca.pem -untrusted leaf.pem leaf.pem");
    // Its predecessor goes on beside it: both chains hold.
    desk.write("old.pem", leaf_of(&offline.device_ca().unwrap()));
    desk.must("verify -x509_strict -purpose sslclient -CAfile ca.pem -untrusted old.pem old.pem");
}

/// The other machine has nothing but `openssl`.
#[test]
fn openssl_can_be_the_offline_machine() {
    let desk = Desk::new();
    let Rooted { authority: offline, root_key } = Rooted::new();
    desk.write("root.key", root_key.serialize_pem());
    desk.write("root.pem", offline.trust_pem());
    let key = KeyPair::generate().unwrap();
    desk.write("ca.csr", request_issuing_ca(Purpose::Client, &key).unwrap());
    let asked = desk.must("req -in ca.csr -noout -verify -text");
    for expected in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "TLS Web Client Authentication"] {
        assert!(asked.contains(expected), "{expected}: {asked}");
    }
    let signed = |days: u32, extensions: &str| {
        desk.write("ext", extensions);
        desk.must(&format!(
            "x509 -req -in ca.csr -CA root.pem -CAkey root.key -CAcreateserial -sha384 -days {days} -extfile ext -out ca.pem"
        ));
        import_issuing_ca(&desk.read("ca.pem"), Purpose::Client, &public(&key), offline.root_certificate(), now())
    };
    let certificate = signed(365, EXTENSIONS).unwrap();
    desk.write("leaf.pem", leaf_of(&CaSigner::new(certificate, &key).unwrap()));
    desk.must("verify -x509_strict -purpose sslclient -CAfile root.pem -untrusted leaf.pem leaf.pem");

    let without = |line: &str, instead: &str| EXTENSIONS.replace(line, instead);
    for (extensions, refusal) in [
        (without("CA:TRUE,pathlen:0", "CA:FALSE"), IssuingRefusal::NotIssuing),
        (without(",pathlen:0", ""), IssuingRefusal::NotIssuing),
        (without("pathlen:0", "pathlen:1"), IssuingRefusal::NotIssuing),
        (without("basicConstraints=critical,", "basicConstraints="), IssuingRefusal::NotIssuing),
        (without(",cRLSign", ""), IssuingRefusal::NotIssuing),
        (without("extendedKeyUsage=clientAuth\n", ""), IssuingRefusal::OtherPurpose),
        (without("clientAuth", "clientAuth,serverAuth"), IssuingRefusal::OtherPurpose),
        (without("clientAuth", "serverAuth"), IssuingRefusal::OtherPurpose),
        (without("subjectKeyIdentifier=hash", "subjectKeyIdentifier=none"), IssuingRefusal::NoKeyIdentifier),
    ] {
        assert_eq!(signed(365, &extensions), Err(refusal), "{extensions}");
    }
    assert_eq!(signed(365 * 30, EXTENSIONS), Err(IssuingRefusal::OutlivesRoot));
}

#[test]
fn what_comes_back_is_checked() {
    let rooted = Rooted::new();
    let (offline, root) = (&rooted.authority, rooted.root());
    let key = KeyPair::generate().unwrap();
    let request = request_issuing_ca(Purpose::Client, &key).unwrap();
    let good = root.sign_issuing_ca(request.as_bytes(), Purpose::Client, now(), DAY).unwrap();
    let import = |bytes: &[u8], key: &SubjectPublicKey, root: &CertificateDer<'_>, now| {
        import_issuing_ca(bytes, Purpose::Client, key, root, now).map(drop)
    };
    let root_der = offline.root_certificate();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", good.to_vec()));
    assert_eq!(import(pem.as_bytes(), &public(&key), root_der, now()), Ok(()));
    let other = generate_key().unwrap().public;
    assert_eq!(import(&good, &other, root_der, now()), Err(IssuingRefusal::OtherKey));
    let stranger = Authority::create(now()).unwrap();
    assert_eq!(import(&good, &public(&key), stranger.root_certificate(), now()), Err(IssuingRefusal::OtherRoot));
    for outside in [UnixMillis(0), now().plus(2 * DAY)] {
        assert_eq!(import(&good, &public(&key), root_der, outside), Err(IssuingRefusal::OutOfTime));
    }
    let long = root.sign_issuing_ca(request.as_bytes(), Purpose::Client, now(), 100 * DAY).unwrap();
    assert_eq!(import(&long, &public(&key), root_der, now().plus(29 * DAY)), Ok(()));
    assert_eq!(import(&long, &public(&key), root_der, now().plus(30 * DAY)), Err(IssuingRefusal::Stale));
    let mut forged = good.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(import(&forged, &public(&key), root_der, now()), Err(IssuingRefusal::OtherRoot));
    let longer = [&good[..], &[0]].concat();
    let twice = pem.repeat(2);
    for garbage in [&b""[..], b"hello", &longer, twice.as_bytes(), request.as_bytes()] {
        assert_eq!(import(garbage, &public(&key), root_der, now()), Err(IssuingRefusal::Malformed));
    }
}

#[test]
fn a_root_signs_issuing_cas_and_nothing_else_does() {
    let rooted = Rooted::new();
    let (root, devices) = (rooted.root(), rooted.authority.device_ca().unwrap());
    let key = KeyPair::generate().unwrap();
    let request = request_issuing_ca(Purpose::Server, &key).unwrap();
    let sign = |ca: &CaSigner<'_>, request: &[u8], now, lifetime| {
        ca.sign_issuing_ca(request, Purpose::Server, now, lifetime).map(drop)
    };
    assert_eq!(sign(&root, request.as_bytes(), now(), DAY), Ok(()));
    assert_eq!(sign(&devices, request.as_bytes(), now(), DAY), Err(IssuingRefusal::NotRoot));
    assert!(matches!(sign(&root, b"?", now(), DAY), Err(IssuingRefusal::Request(_))));
    let end = root.not_after();
    assert_eq!(sign(&root, request.as_bytes(), end, DAY), Err(PkiError::CaExpired.into()));
    let too_long = sign(&root, request.as_bytes(), now(), ISSUING_LIFETIME_MAX + DAY);
    assert!(matches!(too_long, Err(IssuingRefusal::Pki(PkiError::Lifetime { .. }))));
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    assert_eq!(request_issuing_ca(Purpose::Client, &ed25519), Err(PkiError::UnacceptableKey));
}
