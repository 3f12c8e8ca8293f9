//! CRL and OCSP, as `openssl verify -crl_check` and `openssl ocsp` see them.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use der::{Any, Encode, asn1::OctetString};
use portreeve_pki::{
    Authority, CRL_ENTRIES_MAX, CRL_LIFETIME_MAX, CertificateStatus, CrlDraft, Generation, Issued,
    OCSP_CERTIFICATES_MAX, OCSP_NONCE_BYTES_MAX, OCSP_REQUEST_BYTES_MAX, OCSP_VALIDITY_MAX, OcspAnswer, OcspRefusal,
    OcspResponder, PkiError, Profile, RevocationReason, Revoked, Role, generate_key, ocsp_request_from_path,
};
use portreeve_types::{IdentityId, Kind, UnixMillis};
use rcgen::KeyPair;
use uuid::Uuid;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::support::{DAY, Desk, Random, extension, now};

const HOUR: Duration = Duration::from_secs(3600);

fn leaf(authority: &Authority, id: u128) -> Issued {
    let key = generate_key().unwrap().public;
    let profile = Profile::new(Role::Client(Kind::Device));
    let id = IdentityId(Uuid::from_u128(id));
    authority.device_ca().unwrap().issue_client(&profile, id, Generation(0), &key, now()).unwrap()
}

fn revoked(issued: &Issued, reason: RevocationReason) -> Revoked {
    Revoked { serial: issued.serial.clone(), at: now(), reason, not_after: issued.not_after }
}

/// A directory with root, issuing CA, and two leaves.
fn scene() -> (Desk, Authority, Issued, Issued) {
    let desk = Desk::new();
    let authority = Authority::create(now()).unwrap();
    let (good, bad) = (leaf(&authority, 1), leaf(&authority, 2));
    let pem = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
    desk.write("root.pem", authority.trust_pem());
    desk.write("devices.pem", pem(&good.chain_der[1]));
    desk.write("good.pem", pem(&good.chain_der[0]));
    desk.write("bad.pem", pem(&bad.chain_der[0]));
    (desk, authority, good, bad)
}

#[test]
fn openssl_refuses_what_the_list_holds_and_nothing_else() {
    let (desk, authority, _, bad) = scene();
    let ca = authority.device_ca().unwrap();
    let verify = |name: &str| {
        desk.openssl(&format!(
            "verify -x509_strict -crl_check -CAfile root.pem -untrusted devices.pem -CRLfile list.pem {name}"
        ))
    };
    let publish = |number, revoked: &[Revoked]| {
        let crl = ca.crl(&CrlDraft { number, this_update: now(), lifetime: DAY, revoked }).unwrap();
        desk.write("list.pem", &crl.pem);
        assert_eq!(crl.entries, revoked.len());
    };
    publish(1, &[]);
    assert!(verify("good.pem").0 && verify("bad.pem").0);
    publish(2, &[revoked(&bad, RevocationReason::KeyCompromise)]);
    assert!(verify("good.pem").0);
    let (accepted, said) = verify("bad.pem");
    assert!(!accepted && said.contains("certificate revoked"), "{said}");
    let text = desk.must("crl -in list.pem -noout -text");
    for expected in ["Version 2", "Key Compromise", "CRL Number", "Authority Key Identifier", "Next Update"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let (signed, said) = desk.openssl("crl -in list.pem -noout -CAfile devices.pem");
    assert!(signed && said.contains("verify OK"), "{said}");
}

#[test]
fn a_list_says_what_it_was_given() {
    let (_, authority, good, bad) = scene();
    let ca = authority.device_ca().unwrap();
    let reasons = [
        (RevocationReason::Unspecified, None),
        (RevocationReason::KeyCompromise, Some(1)),
        (RevocationReason::CaCompromise, Some(2)),
        (RevocationReason::Superseded, Some(4)),
        (RevocationReason::CessationOfOperation, Some(5)),
        (RevocationReason::CertificateHold, Some(6)),
        (RevocationReason::PrivilegeWithdrawn, Some(9)),
    ];
    let mut list: Vec<Revoked> = reasons.iter().map(|(reason, _)| revoked(&good, *reason)).collect();
    // Its end lies further back than a list lasts, so that it has been in one after its end.
    let long_gone = Revoked { not_after: UnixMillis(now().0 - 86_400_000 - 60_000), ..revoked(&bad, reasons[1].0) };
    list.push(long_gone);
    let draft = CrlDraft { number: 300, this_update: now(), lifetime: DAY, revoked: &list };
    let crl = ca.crl(&draft).unwrap();
    assert_eq!(crl.entries, reasons.len());
    assert_eq!(crl.next_update, draft.this_update.plus(DAY));
    let (_, parsed) = CertificateRevocationList::from_der(&crl.der).unwrap();
    assert_eq!(parsed.crl_number().unwrap().to_string(), "300");
    let said: Vec<_> =
        parsed.iter_revoked_certificates().map(|entry| entry.reason_code().map(|code| code.1.0)).collect();
    assert_eq!(said, reasons.map(|(_, code)| code));
}

#[test]
fn lists_are_bounded() {
    let (_, authority, good, _) = scene();
    let ca = authority.device_ca().unwrap();
    let entry = revoked(&good, RevocationReason::Superseded);
    let draft = |revoked, lifetime| ca.crl(&CrlDraft { number: 1, this_update: now(), lifetime, revoked });
    let many = vec![entry.clone(); CRL_ENTRIES_MAX + 1];
    assert!(draft(&many[..CRL_ENTRIES_MAX], DAY).is_ok());
    let given = CRL_ENTRIES_MAX + 1;
    assert_eq!(draft(&many, DAY), Err(PkiError::TooManyRevoked { given, max: CRL_ENTRIES_MAX }));
    for lifetime in [Duration::ZERO, CRL_LIFETIME_MAX + DAY] {
        assert!(matches!(draft(&[], lifetime), Err(PkiError::Lifetime { .. })));
    }
    for serial in [vec![], vec![1; 21]] {
        let list = [Revoked { serial, ..entry.clone() }];
        assert!(matches!(
            ca.crl(&CrlDraft { number: 1, this_update: now(), lifetime: DAY, revoked: &list }),
            Err(PkiError::BadCertificate(_))
        ));
    }
}

/// A key that the devices' CA has certified for answering.
fn delegate(authority: &Authority) -> (KeyPair, Issued) {
    let pair = generate_key().unwrap();
    let issued = authority.device_ca().unwrap().issue_ocsp_signer(&pair.public, now(), DAY).unwrap();
    (KeyPair::from_pem(&pair.pkcs8_pem).unwrap(), issued)
}

fn status_of<'a>(good: &'a Issued, bad: &'a Issued) -> impl Fn(&[u8]) -> CertificateStatus + 'a {
    |serial| {
        if serial == good.serial {
            CertificateStatus::Good
        } else if serial == bad.serial {
            CertificateStatus::Revoked { at: now(), reason: RevocationReason::KeyCompromise }
        } else {
            CertificateStatus::Unknown
        }
    }
}

#[test]
fn openssl_ocsp_agrees_whoever_signs_and_whichever_hash_it_uses() {
    let (desk, authority, good, bad) = scene();
    desk.write("never.pem", leaf(&authority, 3).chain_pem);
    let ca = authority.device_ca().unwrap();
    let (key, issued) = delegate(&authority);
    let delegated = OcspResponder::delegated(ca.certificate(), &issued.chain_der[0], &key).unwrap();
    let direct = OcspResponder::direct(&ca).unwrap();
    for (responder, others) in [(&delegated, ""), (&direct, "-verify_other devices.pem")] {
        for (hash, nonce) in
            [("-sha1", "-nonce"), ("-sha256", "-nonce"), ("-sha384", "-no_nonce"), ("-sha512", "-no_nonce")]
        {
            desk.must(&format!(
                "ocsp {hash} {nonce} -issuer devices.pem -cert good.pem -cert bad.pem -cert never.pem -reqout q.der"
            ));
            let answer = responder.answer(&desk.read("q.der"), now(), HOUR, status_of(&good, &bad));
            assert_eq!(answer.outcome, Ok(3));
            assert_eq!(answer.max_age_s, if nonce == "-nonce" { 0 } else { 3600 });
            desk.write("a.der", &answer.der);
            let said = desk.must(&format!(
                "ocsp {hash} -no_nonce -reqin q.der -respin a.der -issuer devices.pem -cert good.pem -cert bad.pem -cert never.pem \
                 -CAfile root.pem -verify_other devices.pem {others}"
            ));
            for expected in
                ["Response verify OK", "good.pem: good", "bad.pem: revoked", "keyCompromise", "never.pem: unknown"]
            {
                assert!(said.contains(expected), "{expected}: {said}");
            }
            assert!(!said.contains("WARNING"), "{said}");
        }
    }
}

/// `openssl ocsp` asks over HTTP, from a loopback server of a dozen lines.
#[test]
fn openssl_ocsp_asks_over_http() {
    let (desk, authority, good, bad) = scene();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ca = authority.device_ca().unwrap();
            let (key, issued) = delegate(&authority);
            let responder = OcspResponder::delegated(ca.certificate(), &issued.chain_der[0], &key).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            let body_at = loop {
                let mut part = [0; 1024];
                let length = stream.read(&mut part).unwrap();
                assert_ne!(length, 0, "the client went away");
                received.extend(&part[..length]);
                let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
                assert!(head.contains("content-type: application/ocsp-request"), "{head}");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if received.len() >= end + 4 + length.parse::<usize>().unwrap() {
                    break end + 4;
                }
            };
            let answer = responder.answer(&received[body_at..], now(), HOUR, status_of(&good, &bad));
            let head = format!(
                "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\r\n",
                answer.der.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&answer.der).unwrap();
        });
        let said = desk.must(&format!(
            "ocsp -url http://127.0.0.1:{port}/ocsp -issuer devices.pem -cert bad.pem -CAfile root.pem -verify_other devices.pem"
        ));
        assert!(said.contains("Response verify OK") && said.contains("bad.pem: revoked"), "{said}");
    });
}

#[test]
fn a_delegate_is_what_the_ca_made_it() {
    let (_, authority, good, _) = scene();
    let ca = authority.device_ca().unwrap();
    let (key, issued) = delegate(&authority);
    let stranger = KeyPair::generate().unwrap();
    let delegated = |ca, certificate, key| OcspResponder::delegated(ca, certificate, key).map(drop);
    assert!(delegated(ca.certificate(), &issued.chain_der[0], &key).is_ok());
    let hub = authority.hub_ca().unwrap();
    for refused in [
        delegated(ca.certificate(), &issued.chain_der[0], &stranger),
        delegated(ca.certificate(), &good.chain_der[0], &key),
        delegated(hub.certificate(), &issued.chain_der[0], &key),
        delegated(ca.certificate(), ca.certificate(), &key),
    ] {
        assert!(matches!(refused, Err(PkiError::BadCertificate(_))), "{refused:?}");
    }
    let lifetime = 31 * DAY;
    let public = generate_key().unwrap().public;
    assert!(matches!(ca.issue_ocsp_signer(&public, now(), lifetime), Err(PkiError::Lifetime { .. })));
    // It never answers beyond its own end.
    let responder = OcspResponder::delegated(ca.certificate(), &issued.chain_der[0], &key).unwrap();
    let query = request(&authority, std::slice::from_ref(&good.serial), None);
    let at = |now| responder.answer(&query, now, HOUR, |_| CertificateStatus::Good);
    assert_eq!(at(UnixMillis(issued.not_after.0 - 60_000)).max_age_s, 60);
    assert_eq!(at(issued.not_after).outcome, Err(OcspRefusal::Internal(PkiError::CaExpired)));
}

/// An OCSP request, by hand: these serial numbers of the devices' CA, and this nonce extension.
fn request(authority: &Authority, serials: &[Vec<u8>], nonce: Option<x509_cert::ext::Extension>) -> Vec<u8> {
    use der::Decode;
    let ca = authority.device_ca().unwrap();
    let parsed = x509_cert::Certificate::from_der(ca.certificate()).unwrap().tbs_certificate;
    let hash = |of: &[u8]| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, of);
        OctetString::new(hash.as_ref()).unwrap()
    };
    let request_list = serials
        .iter()
        .map(|serial| x509_ocsp::Request {
            req_cert: x509_ocsp::CertId {
                hash_algorithm: x509_cert::spki::AlgorithmIdentifierOwned {
                    oid: der::oid::db::rfc5912::ID_SHA_256,
                    parameters: Some(Any::null()),
                },
                issuer_name_hash: hash(&parsed.subject.to_der().unwrap()),
                issuer_key_hash: hash(parsed.subject_public_key_info.subject_public_key.raw_bytes()),
                serial_number: x509_cert::serial_number::SerialNumber::new(serial).unwrap(),
            },
            single_request_extensions: None,
        })
        .collect();
    let tbs_request = x509_ocsp::TbsRequest {
        version: x509_ocsp::Version::V1,
        requestor_name: None,
        request_list,
        request_extensions: nonce.map(|nonce| vec![nonce]),
    };
    x509_ocsp::OcspRequest { tbs_request, optional_signature: None }.to_der().unwrap()
}

const NONCE: &str = "1.3.6.1.5.5.7.48.1.2";

fn nonce(length: usize) -> x509_cert::ext::Extension {
    extension(NONCE, &OctetString::new(vec![7; length]).unwrap().to_der().unwrap())
}

/// Refusals carry a status and no signature: 1 malformed, 2 internal, 6 unauthorized (RFC 6960 §4.2.1).
fn assert_refused(answer: &OcspAnswer, status: u8, refusal: &OcspRefusal) {
    assert_eq!((&answer.der[..], answer.max_age_s), (&[0x30, 3, 10, 1, status][..], 0));
    assert_eq!(answer.outcome.as_ref(), Err(refusal));
}

#[test]
fn hostile_requests_get_the_status_and_no_more() {
    let (desk, authority, good, bad) = scene();
    let ca = authority.device_ca().unwrap();
    let responder = OcspResponder::direct(&ca).unwrap();
    let answer = |query: &[u8]| responder.answer(query, now(), HOUR, status_of(&good, &bad));
    let serials = [good.serial.clone()];
    let plain = request(&authority, &serials, None);
    assert_eq!(answer(&plain).outcome, Ok(1));
    assert_refused(&answer(b""), 1, &OcspRefusal::Malformed);
    assert_refused(&answer(&plain[..plain.len() - 1]), 1, &OcspRefusal::Malformed);
    assert_refused(&answer(&[&plain[..], &[0]].concat()), 1, &OcspRefusal::Malformed);
    assert_refused(&answer(&vec![0x30; OCSP_REQUEST_BYTES_MAX + 1]), 1, &OcspRefusal::Oversized);
    assert_refused(&answer(&request(&authority, &[], None)), 1, &OcspRefusal::Count(0));
    let many = vec![vec![1]; OCSP_CERTIFICATES_MAX + 1];
    assert_refused(&answer(&request(&authority, &many, None)), 1, &OcspRefusal::Count(OCSP_CERTIFICATES_MAX + 1));
    assert_eq!(answer(&request(&authority, &many[1..], None)).outcome, Ok(OCSP_CERTIFICATES_MAX));

    // RFC 9654 §2.1: 1 to 128 bytes.
    for length in [1, 16, 32, OCSP_NONCE_BYTES_MAX] {
        let answer = answer(&request(&authority, &serials, Some(nonce(length))));
        assert_eq!(answer.outcome, Ok(1));
        let sent_back = nonce(length).extn_value.as_bytes().to_vec();
        assert!(answer.der.windows(sent_back.len()).any(|window| window == sent_back), "nonce of {length}");
    }
    for length in [0, OCSP_NONCE_BYTES_MAX + 1] {
        let query = request(&authority, &serials, Some(nonce(length)));
        assert_refused(&answer(&query), 1, &OcspRefusal::NonceLength(length));
    }
    assert_refused(&answer(&request(&authority, &serials, Some(extension(NONCE, b"raw")))), 1, &OcspRefusal::Malformed);
    let mut critical = extension("1.2.3.4", &[5, 0]);
    assert_eq!(answer(&request(&authority, &serials, Some(critical.clone()))).outcome, Ok(1));
    critical.critical = true;
    let refusal = OcspRefusal::CriticalExtension(critical.extn_id);
    assert_refused(&answer(&request(&authority, &serials, Some(critical))), 1, &refusal);

    // Somebody else's CA.
    let other = Authority::create(now()).unwrap();
    assert_refused(&answer(&request(&other, &serials, None)), 6, &OcspRefusal::OtherIssuer);
    desk.write("other.pem", authority.trust_pem());
    desk.must("ocsp -issuer other.pem -cert good.pem -reqout q.der");
    assert_refused(&answer(&desk.read("q.der")), 6, &OcspRefusal::OtherIssuer);
    assert_eq!(OcspAnswer::try_later().der, [0x30, 3, 10, 1, 3]);
}

#[test]
fn answers_do_not_count_for_longer_than_allowed() {
    let (_, authority, good, bad) = scene();
    let ca = authority.device_ca().unwrap();
    let responder = OcspResponder::direct(&ca).unwrap();
    let query = request(&authority, std::slice::from_ref(&good.serial), None);
    let answer = responder.answer(&query, now(), 365 * DAY, status_of(&good, &bad));
    assert_eq!(answer.max_age_s, OCSP_VALIDITY_MAX.as_secs());
}

#[test]
fn serial_numbers_are_looked_up_without_leading_zeros() {
    let authority = Authority::create(now()).unwrap();
    let ca = authority.device_ca().unwrap();
    let responder = OcspResponder::direct(&ca).unwrap();
    let mut asked = Vec::new();
    let query = request(&authority, &[vec![0x80, 1], vec![1], vec![0]], None);
    let answer = responder.answer(&query, now(), HOUR, |serial| {
        asked.push(serial.to_vec());
        CertificateStatus::Unknown
    });
    assert_eq!((answer.outcome, asked), (Ok(3), vec![vec![0x80, 1], vec![1], vec![]]));
}

#[test]
fn requests_in_a_path_are_unescaped() {
    let request = [0xfb, 0xff, 0xbf, 1];
    let encoded = STANDARD.encode(request);
    let escaped = encoded.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
    assert_ne!(encoded, escaped);
    assert_eq!(ocsp_request_from_path(&escaped).unwrap(), request);
    assert_eq!(ocsp_request_from_path(&encoded).unwrap(), request);
    for bad in ["%", "%2", "%2x", "%+1", "a", "AA A", "-_-_"] {
        assert_eq!(ocsp_request_from_path(bad), Err(OcspRefusal::Malformed), "{bad}");
    }
    assert_eq!(ocsp_request_from_path(&"A".repeat(OCSP_REQUEST_BYTES_MAX * 4 + 1)), Err(OcspRefusal::Oversized));
}

#[test]
fn damaged_requests_never_panic() {
    let authority = Authority::create(now()).unwrap();
    let ca = authority.device_ca().unwrap();
    let responder = OcspResponder::direct(&ca).unwrap();
    let good = request(&authority, &[vec![1, 2, 3]], Some(nonce(16)));
    let mut random = Random(3);
    for _ in 0..5_000 {
        let mutant = random.mutant(&good);
        let answer = responder.answer(&mutant, now(), HOUR, |_| CertificateStatus::Unknown);
        assert_eq!(answer.outcome.is_err(), answer.der.len() == 5);
    }
}
