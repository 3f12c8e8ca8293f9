//! Certificates by profile.

use std::time::Duration;

use portreeve_pki::{
    Authority, CaSigner, Generation, PkiError, Profile, Role, SubjectPublicKey, generate_key, leaf_facts,
};
use portreeve_types::{IdentityId, Kind, UnixMillis};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use uuid::Uuid;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::support::{DAY, Desk, Rooted, now};

const ID: IdentityId = IdentityId(Uuid::from_u128(0x1234));

fn key() -> SubjectPublicKey {
    generate_key().unwrap().public
}

#[test]
fn every_kind_of_client_gets_an_opaque_short_lived_leaf() {
    let authority = Authority::create(now()).unwrap();
    let ca = authority.device_ca().unwrap();
    for kind in [Kind::Device, Kind::Gateway, Kind::Application] {
        let key = key();
        let profile = Profile::new(Role::Client(kind));
        let issued = ca.issue_client(&profile, ID, Generation(7), &key, now()).unwrap();
        let facts = leaf_facts(&issued.chain_der[0]).unwrap();
        assert_eq!((facts.identity, facts.key, &facts.serial), (Some(ID), key.hash(), &issued.serial));
        assert_eq!(Generation::of_serial(&facts.serial), Some(Generation(7)));
        let life = facts.not_after.since(facts.not_before);
        assert!(life <= 7 * DAY + Duration::from_secs(301), "{life:?}");

        let (_, leaf) = parse_x509_certificate(&issued.chain_der[0]).unwrap();
        assert_eq!(leaf.subject().to_string(), format!("CN={ID}"));
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names, [GeneralName::URI(&format!("urn:uuid:{ID}"))]);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty());
    }
}

#[test]
fn a_ca_keeps_to_its_purpose_and_a_profile_to_its_role() {
    let rooted = Rooted::new();
    let (devices, hub) = (rooted.authority.device_ca().unwrap(), rooted.authority.hub_ca().unwrap());
    let root = rooted.root();
    let (client, server) = (Profile::new(Role::Client(Kind::Device)), Profile::new(Role::Hub));
    let names = ["hub.example".to_owned()];
    assert!(hub.issue_hub(&server, &names, &key(), now()).is_ok());
    for wrong in [
        devices.issue_client(&server, ID, Generation(0), &key(), now()),
        hub.issue_client(&client, ID, Generation(0), &key(), now()),
        root.issue_client(&client, ID, Generation(0), &key(), now()),
        devices.issue_hub(&server, &names, &key(), now()),
        hub.issue_hub(&client, &names, &key(), now()),
    ] {
        assert!(matches!(wrong, Err(PkiError::BadCertificate(_))), "{wrong:?}");
    }
    assert!(matches!(hub.issue_hub(&server, &[], &key(), now()), Err(PkiError::NameCount { .. })));
    let end = devices.not_after();
    assert_eq!(devices.issue_client(&client, ID, Generation(0), &key(), end), Err(PkiError::CaExpired));
    let shortly_before = UnixMillis(end.0 - 1000);
    let cut = devices.issue_client(&client, ID, Generation(0), &key(), shortly_before).unwrap();
    assert_eq!(cut.not_after, end, "a leaf never outlives its CA");
}

#[test]
fn leaves_tell_where_revocation_is_published() {
    let desk = Desk::new();
    let authority = Authority::create(now()).unwrap();
    let (crl, ocsp) = ("http://hub.example:8444/crl/devices.crl", "http://hub.example:8444/ocsp");
    let ca = authority.device_ca().unwrap().publishing(Some(crl), Some(ocsp)).unwrap();
    let profile = Profile::new(Role::Client(Kind::Device));
    let issued = ca.issue_client(&profile, ID, Generation(0), &key(), now()).unwrap();
    desk.write("leaf.pem", issued.chain_pem);
    desk.write("ca.pem", authority.trust_pem());
    let text = desk.must("x509 -in leaf.pem -noout -text");
    assert!(text.contains(crl) && text.contains(&format!("OCSP - URI:{ocsp}")), "{text}");
    desk.must("verify -x509_strict -purpose sslclient -CAfile ca.pem -untrusted leaf.pem leaf.pem");
    for bad in ["", "ftp://x", "http://", "http://a b", "http://ä", &format!("http://{}", "a".repeat(300))] {
        let refused = authority.device_ca().unwrap().publishing(Some(bad), None);
        assert!(matches!(refused, Err(PkiError::BadName(_))), "{bad}");
    }
}

#[test]
fn a_signer_needs_the_certificate_and_the_key_of_one_ca() {
    let authority = Authority::create(now()).unwrap();
    let stranger = KeyPair::generate().unwrap();
    let root = authority.root_certificate().clone();
    let other_key = CaSigner::new(root, &stranger).unwrap_err();
    assert_eq!(other_key, PkiError::BadCertificate("the key belongs to another certificate"));
    let leaf = CertificateParams::default().self_signed(&stranger).unwrap().der().clone();
    assert_eq!(CaSigner::new(leaf, &stranger).unwrap_err(), PkiError::BadCertificate("not the certificate of a CA"));
    assert!(CaSigner::new(CertificateDer::from(vec![0x30, 0]), &stranger).is_err());
}
