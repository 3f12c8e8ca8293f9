//! Issuing CAs whose root is elsewhere, and CAs that follow one another.

use portreeve_pki::{
    Authority, CaSigner, CrlDraft, Generation, ISSUING_LIFETIME_MAX, IssuingRefusal, PkiError, Profile, Purpose,
    ROOT_CRL_BYTES_MAX, ROOT_CRL_LIFETIME, RevocationReason, Revoked, Role, RootCrl, SubjectPublicKey, audit_key,
    generate_key, import_cross, import_issuing_ca, import_root, make_root, request_issuing_ca, to_pem,
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

/// CSA-CRD-07: who trusts the old root alone verifies what is below the new one; OpenSSL agrees, in both directions.
#[test]
fn a_root_is_certified_by_the_one_before() {
    let desk = Desk::new();
    let (first, second) = (Rooted::new(), Rooted::new());
    let root = second.authority.root_certificate();
    let cross = first.root().cross_certify(root, now()).unwrap();
    let by = first.authority.root_certificate();
    assert_eq!(import_cross(&cross, root, by, now()).unwrap(), cross);
    desk.write("old.pem", first.authority.trust_pem());
    desk.write("new.pem", second.authority.trust_pem());
    let chain = leaf_of(&second.authority.device_ca().unwrap()) + &to_pem(&cross);
    desk.write("chain.pem", &chain);
    for anchor in ["old.pem", "new.pem"] {
        desk.must(&format!("verify -x509_strict -purpose sslclient -CAfile {anchor} -untrusted chain.pem chain.pem"));
    }
    // Of another key, by another root, that of an issuing CA, or none at all.
    assert_eq!(import_cross(root, root, by, now()), Err(IssuingRefusal::OtherRoot));
    assert_eq!(import_cross(by, root, by, now()), Err(IssuingRefusal::OtherKey));
    assert_eq!(import_cross(&cross, root, root, now()), Err(IssuingRefusal::OtherRoot));
    assert_eq!(import_cross(b"hello", root, by, now()), Err(IssuingRefusal::Malformed));
    assert_eq!(import_cross(&cross, root, by, UnixMillis(1)), Err(IssuingRefusal::OutOfTime));
    let devices = first.authority.device_ca().unwrap();
    assert_eq!(devices.cross_certify(root, now()), Err(IssuingRefusal::NotRoot));
}

/// What is announced as a root has to be one, another one, and last longer.
#[test]
fn only_a_root_follows_a_root() {
    let present = [Authority::create(now()).unwrap().root_certificate().clone()];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let later = now().plus(2 * DAY);
    let root = make_root(&key, later).unwrap();
    assert_eq!(import_root(&root, &present, later).unwrap(), root);
    assert_eq!(import_root(to_pem(&root).as_bytes(), &present, later).unwrap(), root);
    assert_eq!(import_root(&root, &present, now()), Err(IssuingRefusal::OutOfTime));
    let refused = |der: &[u8], roots: &[CertificateDer<'_>]| match import_root(der, roots, later) {
        Err(IssuingRefusal::NotSuccessor(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&root, std::slice::from_ref(&root)).contains("key or its name"));
    let short = make_root(&KeyPair::generate().unwrap(), UnixMillis(now().0 - 86_400_000)).unwrap();
    assert!(refused(&short, &present).contains("outlive"));
    let rooted = Rooted::new();
    let issuing = rooted.authority.device_ca().unwrap();
    assert!(refused(issuing.certificate(), &present).contains("not signed by itself"));
    assert_eq!(import_root(b"\x30\x00", &present, later), Err(IssuingRefusal::Malformed));
    assert!(make_root(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), now()).is_err());
}

/// A root's list, read by this crate and by OpenSSL; and what is none.
#[test]
fn a_roots_list_is_read_back() {
    let desk = Desk::new();
    let rooted = Rooted::new();
    let certificate = rooted.authority.root_certificate();
    let ca = rooted.authority.device_ca().unwrap();
    let serial = portreeve_pki::leaf_facts(ca.certificate()).unwrap().serial;
    let entry = Revoked {
        serial: serial.clone(),
        at: now(),
        reason: RevocationReason::CaCompromise,
        not_after: ca.not_after(),
    };
    let draft = CrlDraft { number: 7, this_update: now(), lifetime: ROOT_CRL_LIFETIME, revoked: &[entry] };
    let made = rooted.root().crl(&draft).unwrap();
    let read = RootCrl::read(made.pem.as_bytes(), certificate).unwrap();
    assert_eq!(
        (read.number, &read.serials, read.next_update.seconds()),
        (7, &vec![serial], made.next_update.seconds())
    );
    assert_eq!(RootCrl::read(&made.der, certificate).unwrap(), read);
    assert_eq!(RootCrl::read(read.to_pem().as_bytes(), certificate).unwrap(), read);
    desk.write("root.pem", rooted.authority.trust_pem());
    desk.write("root.crl", &made.pem);
    desk.must("crl -in root.crl -CAfile root.pem -noout");
    let stranger = Authority::create(now()).unwrap();
    let long = vec![b' '; ROOT_CRL_BYTES_MAX + 1];
    for bad in [&made.der[1..], &[made.der.as_slice(), b"x"].concat(), to_pem(certificate).as_bytes(), b"", &long] {
        assert!(matches!(RootCrl::read(bad, certificate), Err(PkiError::BadList(_))));
    }
    assert!(RootCrl::read(&made.der, stranger.root_certificate()).is_err());
    // Issuing CAs are at hand, and their lists short-lived.
    assert!(matches!(ca.crl(&draft), Err(PkiError::Lifetime { .. })));
}
