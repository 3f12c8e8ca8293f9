//! The messages of EST, as `openssl` and its users see them.

use base64::{Engine, engine::general_purpose::STANDARD};
use portreeve_pki::{
    Authority, EST_BODY_BYTES_MAX, EstOperation, EstRefusal, EstResponse, KeyKind, PkiError, generate_key, read_csr,
    read_enrol_body,
};
use portreeve_types::IdentityId;
use rustls_pki_types::CertificateDer;
use uuid::Uuid;

use crate::support::{DAY, Desk, Draft, now, only};

const PKCS10: Option<&str> = Some("application/pkcs10");

fn header<'a>(response: &'a EstResponse, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
}

#[test]
fn openssl_and_base64_make_a_body_that_is_read() {
    let desk = Desk::new();
    desk.must("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -outform DER -out r.der -subj /CN=lamp-1");
    desk.must("base64 -in r.der -out lines.b64");
    desk.must("base64 -A -in r.der -out line.b64");
    let crlf = String::from_utf8(desk.read("lines.b64")).unwrap().replace('\n', "\r\n \t");
    for body in [desk.read("lines.b64"), desk.read("line.b64"), crlf.into_bytes()] {
        for content_type in ["application/pkcs10", "Application/PKCS10; smime-type=certs-only", "application/pkcs10 "] {
            let der = read_enrol_body(Some(content_type), &body).unwrap();
            assert_eq!(der, desk.read("r.der"));
            assert!(read_csr(&der, &only(&["lamp-1"])).is_ok());
        }
    }
}

#[test]
fn other_bodies_are_refused() {
    let good = STANDARD.encode(Draft::new().sign());
    for content_type in [None, Some(""), Some("application/pkcs7-mime"), Some("application/pkcs10x"), Some(";")] {
        assert_eq!(read_enrol_body(content_type, good.as_bytes()), Err(EstRefusal::ContentType), "{content_type:?}");
    }
    let der = Draft::new().sign();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der.clone()));
    for body in [&der[..], pem.as_bytes(), b"", b" \n", b"====", b"AAA", b"AA\0A", b"AAB=", b"AAAA=", b"-_-_"] {
        assert_eq!(read_enrol_body(PKCS10, body), Err(EstRefusal::Base64), "{body:?}");
    }
    assert_eq!(read_enrol_body(PKCS10, &vec![b'A'; EST_BODY_BYTES_MAX + 1]), Err(EstRefusal::Oversized));
    assert!(read_enrol_body(PKCS10, &vec![b'A'; EST_BODY_BYTES_MAX]).is_ok());
}

#[test]
fn paths_name_operations() {
    let of = EstOperation::from_path;
    assert_eq!(of("/.well-known/est/cacerts"), Some((EstOperation::CaCerts, None)));
    assert_eq!(of("/.well-known/est/plant-7/simpleenroll"), Some((EstOperation::SimpleEnroll, Some("plant-7"))));
    assert_eq!(of("/.well-known/est/simplereenroll").unwrap().0.method(), "POST");
    assert_eq!(of("/.well-known/est/csrattrs").unwrap().0.method(), "GET");
    for strange in [
        "/cacerts",
        "/.well-known/est/",
        "/.well-known/est//cacerts",
        "/.well-known/est/cacerts/",
        "/.well-known/est/a/b/cacerts",
        "/.well-known/est/fullcmc",
        "/.well-known/est/serverkeygen",
        "/.well-known/est/CACERTS",
        "",
    ] {
        assert_eq!(of(strange), None, "{strange}");
    }
}

/// What `openssl pkcs7 -print_certs` makes of an answer.
fn printed(desk: &Desk, response: &EstResponse) -> String {
    assert_eq!((response.status, header(response, "content-transfer-encoding")), (200, Some("base64")));
    desk.write("answer.b64", &response.body);
    desk.must("base64 -d -in answer.b64 -out answer.p7");
    desk.must("pkcs7 -inform DER -in answer.p7 -print_certs -out certificates.pem");
    String::from_utf8(desk.read("certificates.pem")).unwrap()
}

#[test]
fn openssl_reads_the_ca_certificates_and_verifies_the_leaf_with_them() {
    let desk = Desk::new();
    let authority = Authority::create(now()).unwrap();
    let id = IdentityId(Uuid::from_u128(1));
    let issued = authority.issue_device(id, &generate_key().unwrap().public, now(), DAY).unwrap();
    let root = CertificateDer::from(pem::parse(authority.trust_pem()).unwrap().into_contents());
    let all = EstResponse::ca_certs(&[root.clone(), issued.chain_der[1].clone(), root.clone()]).unwrap();
    assert_eq!(header(&all, "content-type"), Some("application/pkcs7-mime"));
    let cas = printed(&desk, &all);
    assert_eq!(cas.matches("BEGIN CERTIFICATE").count(), 2, "each once: {cas}");
    desk.write("cas.pem", cas);

    let enrolled = EstResponse::enrolled(&issued.chain_der[0]).unwrap();
    assert_eq!(header(&enrolled, "content-type"), Some("application/pkcs7-mime; smime-type=certs-only"));
    let leaf = printed(&desk, &enrolled);
    assert_eq!(leaf.matches("BEGIN CERTIFICATE").count(), 1, "the leaf alone: {leaf}");
    desk.write("leaf.pem", leaf);
    desk.must("verify -x509_strict -purpose sslclient -CAfile cas.pem leaf.pem");
    assert!(desk.must("x509 -in leaf.pem -noout -subject").contains(&id.to_string()));
}

#[test]
fn what_is_no_certificate_is_not_answered() {
    assert!(matches!(EstResponse::ca_certs(&[]), Err(PkiError::BadCertificate(_))));
    assert!(matches!(EstResponse::enrolled(&CertificateDer::from(vec![0x30, 0])), Err(PkiError::BadCertificate(_))));
    let root = CertificateDer::from(pem::parse(Authority::create(now()).unwrap().trust_pem()).unwrap().into_contents());
    assert!(matches!(EstResponse::ca_certs(&vec![root; 17]), Err(PkiError::BadCertificate(_))));
}

#[test]
fn openssl_reads_what_kind_of_key_is_wanted() {
    let desk = Desk::new();
    for (wanted, key, size, signature) in [
        (KeyKind::EcdsaP256, "id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"),
        (KeyKind::EcdsaP384, "id-ecPublicKey", "secp384r1", "ecdsa-with-SHA384"),
        (KeyKind::Rsa3072, "rsaEncryption", "INTEGER           :0C00", "sha256WithRSAEncryption"),
        (KeyKind::Rsa4096, "rsaEncryption", "INTEGER           :1000", "sha256WithRSAEncryption"),
    ] {
        let response = EstResponse::csr_attrs(wanted).unwrap();
        assert_eq!(header(&response, "content-type"), Some("application/csrattrs"));
        desk.write("a.b64", &response.body);
        desk.must("base64 -d -in a.b64 -out a.der");
        let dump = desk.must("asn1parse -inform DER -in a.der");
        for word in [key, size, signature] {
            assert!(dump.contains(word), "{word} in {dump}");
        }
    }
}

/// Nothing is revealed to who is refused.
#[test]
fn answers_without_a_certificate_say_little() {
    let refused = EstResponse::refused();
    assert_eq!((refused.status, &refused.body[..]), (400, &b"The request was refused.\n"[..]));
    assert_eq!(EstResponse::unauthorised().status, 401);
    assert!(header(&EstResponse::unauthorised(), "www-authenticate").unwrap().starts_with("Basic "));
    let waiting = EstResponse::accepted(90);
    assert_eq!((waiting.status, header(&waiting, "retry-after")), (202, Some("90")));
    let busy = EstResponse::busy(5);
    assert_eq!((busy.status, header(&busy, "retry-after")), (503, Some("5")));
}
