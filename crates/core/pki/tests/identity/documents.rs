//! Signed documents: the trust bundle of devices and the allow-list of a maker.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use der::{Any, Decode, Encode, Reader, SliceReader, Tag, asn1::UintRef};
use portreeve_pki::{
    ALLOW_LIST_BYTES_MAX, ALLOW_LIST_DEVICES_MAX, AdmissionRefusal, AllowList, Authority, DocumentRefusal, PkiError,
    SubjectPublicKey, TRUST_BUNDLE_BYTES_MAX, TrustBundle, audit_key, generate_key,
};
use portreeve_types::{KeyHash, UnixMillis};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};

use crate::support::{DAY, Desk, Random};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

fn public(key: &KeyPair) -> SubjectPublicKey {
    audit_key(&key.subject_public_key_info()).unwrap()
}

fn bundle(version: u64, signers: &[&KeyPair]) -> TrustBundle {
    TrustBundle {
        version,
        issued: NOW,
        expires: NOW.plus(365 * DAY),
        anchors: vec![Authority::create(NOW).unwrap().root_certificate().clone()],
        pins: vec![KeyHash([1; 32]), KeyHash([2; 32])],
        signers: signers.iter().map(|key| public(key)).collect(),
    }
}

fn content(refusal: DocumentRefusal) -> String {
    match refusal {
        DocumentRefusal::Content(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// An ECDSA signature in DER, from the two numbers of a JWS.
fn to_der(fixed: &[u8]) -> Vec<u8> {
    let number = |bytes| UintRef::new(bytes).unwrap().to_der().unwrap();
    let (r, s) = fixed.split_at(fixed.len() / 2);
    Any::new(Tag::Sequence, [number(r), number(s)].concat()).unwrap().to_der().unwrap()
}

/// The other way round, for a P-256 signature.
fn to_fixed(der: &[u8]) -> Vec<u8> {
    let mut reader = SliceReader::new(der).unwrap();
    let (r, s) = reader.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?))).unwrap();
    let mut fixed = vec![0; 64];
    fixed[32 - r.as_bytes().len()..32].copy_from_slice(r.as_bytes());
    fixed[64 - s.as_bytes().len()..].copy_from_slice(s.as_bytes());
    fixed
}

/// A document with any header and content, properly signed.
fn forge(header: &Value, content: &Value, key: &KeyPair) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(content));
    let signature = to_fixed(&key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The JSON of a sealed document.
fn opened(document: &str) -> Value {
    let content = document.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content).unwrap()).unwrap()
}

#[test]
fn a_bundle_arrives_as_it_was_sent_on_both_curves() {
    for key in [KeyPair::generate().unwrap(), KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()] {
        // Often enough for numbers with leading zeros.
        for version in 0..600 {
            let sent = bundle_like(version, &key);
            let document = sent.seal(&key).unwrap();
            assert_eq!(TrustBundle::open(document.as_bytes(), &[public(&key)], Some(NOW)).unwrap(), sent);
        }
    }
}

/// As [`bundle`], without a new CA for each.
fn bundle_like(version: u64, key: &KeyPair) -> TrustBundle {
    static ANCHOR: std::sync::LazyLock<Vec<rustls_pki_types::CertificateDer<'static>>> =
        std::sync::LazyLock::new(|| vec![Authority::create(NOW).unwrap().root_certificate().clone()]);
    TrustBundle {
        version,
        issued: NOW,
        expires: NOW.plus(DAY),
        anchors: ANCHOR.clone(),
        pins: vec![KeyHash([1; 32]), KeyHash([2; 32])],
        signers: vec![public(key)],
    }
}

/// A device without a JOSE library checks a bundle with what every shell has.
#[test]
fn openssl_verifies_the_signature() {
    let desk = Desk::new();
    let key = KeyPair::generate().unwrap();
    let document = bundle(1, &[&key]).seal(&key).unwrap();
    let (signed, signature) = document.rsplit_once('.').unwrap();
    desk.write("signed", signed);
    desk.write("signature", to_der(&URL_SAFE_NO_PAD.decode(signature).unwrap()));
    desk.write("key.pem", pem::encode(&pem::Pem::new("PUBLIC KEY", key.subject_public_key_info())));
    desk.must("dgst -sha256 -verify key.pem -signature signature signed");
    desk.write("signed", signed.replacen('.', "..", 1));
    assert!(!desk.openssl("dgst -sha256 -verify key.pem -signature signature signed").0);
}

/// Anchors change by a newer bundle of a known signer only; what was withdrawn does not come back.
#[test]
fn a_device_refuses_to_go_back_and_to_follow_strangers() {
    let (first, second, stranger) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let at_hand = bundle(5, &[&first]);
    let next = bundle(6, &[&second]);
    let sent = next.seal(&first).unwrap();
    let device = at_hand.successor(sent.as_bytes(), Some(NOW)).unwrap();
    assert_eq!(device, next);
    for (version, have) in [(6, 6), (5, 6), (0, 6)] {
        let old = bundle(version, &[&second]).seal(&second).unwrap();
        assert_eq!(device.successor(old.as_bytes(), Some(NOW)), Err(DocumentRefusal::NotNewer { have, got: version }));
    }
    // The first signer has handed over and counts no more; a stranger never did.
    for signer in [&first, &stranger] {
        let document = bundle(7, &[signer]).seal(signer).unwrap();
        assert_eq!(device.successor(document.as_bytes(), Some(NOW)), Err(DocumentRefusal::Signature));
    }
    assert!(device.successor(bundle(u64::MAX, &[&second]).seal(&second).unwrap().as_bytes(), Some(NOW)).is_ok());
}

/// Issue "clock skew of devices".
#[test]
fn a_bundle_has_its_time_and_a_device_may_have_none() {
    let key = KeyPair::generate().unwrap();
    let document = bundle(1, &[&key]).seal(&key).unwrap();
    let open = |now| TrustBundle::open(document.as_bytes(), &[public(&key)], now).map(drop);
    assert_eq!(open(None), Ok(()));
    assert_eq!(open(Some(NOW.plus(364 * DAY))), Ok(()));
    assert_eq!(open(Some(NOW.plus(365 * DAY))), Err(DocumentRefusal::Expired));
    assert_eq!(open(Some(UnixMillis(NOW.0 - 86_400_000))), Ok(()), "a clock that is a day behind");
    assert_eq!(open(Some(UnixMillis(NOW.0 - 86_400_001))), Err(DocumentRefusal::NotYetValid));
}

#[test]
fn bundles_that_no_device_would_accept_are_not_signed() {
    let key = KeyPair::generate().unwrap();
    let good = bundle(1, &[&key]);
    let leaf = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().clone();
    let refused = [
        TrustBundle { pins: vec![KeyHash([1; 32])], ..good.clone() },
        TrustBundle { pins: vec![KeyHash([1; 32]); 2], ..good.clone() },
        TrustBundle { pins: (0..5).map(|byte| KeyHash([byte; 32])).collect(), ..good.clone() },
        TrustBundle { anchors: vec![], ..good.clone() },
        TrustBundle { anchors: vec![leaf], ..good.clone() },
        TrustBundle { anchors: vec![good.anchors[0].clone(); 2], ..good.clone() },
        TrustBundle { signers: vec![], ..good.clone() },
        TrustBundle { expires: NOW, ..good.clone() },
    ];
    for bundle in refused {
        assert!(matches!(bundle.seal(&key), Err(PkiError::BadDocument(_))), "{bundle:?}");
    }
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    assert_eq!(good.seal(&ed25519), Err(PkiError::UnacceptableKey));
}

/// RFC 8725: what has gone wrong with JWS elsewhere.
#[test]
fn crooked_headers_are_refused() {
    let key = KeyPair::generate().unwrap();
    let good = opened(&bundle(1, &[&key]).seal(&key).unwrap());
    let open = |document: &str| TrustBundle::open(document.as_bytes(), &[public(&key)], None).map(drop);
    let typ = "portreeve-trust-bundle";
    assert_eq!(open(&forge(&json!({"alg": "ES256", "typ": typ}), &good, &key)), Ok(()));
    for alg in ["none", "HS256", "ES384", "es256", "EdDSA", ""] {
        assert_eq!(
            open(&forge(&json!({"alg": alg, "typ": typ}), &good, &key)),
            Err(DocumentRefusal::Signature),
            "{alg}"
        );
    }
    let other_kind = json!({"alg": "ES256", "typ": "portreeve-allow-list"});
    assert_eq!(open(&forge(&other_kind, &good, &key)), Err(DocumentRefusal::OtherKind));
    for header in [
        json!({"alg": "ES256", "typ": typ, "crit": ["b64"], "b64": false}),
        json!({"alg": "ES256", "typ": typ, "jwk": {}}),
        json!({"alg": "ES256"}),
        json!([]),
        json!({"alg": "ES256", "typ": typ, "kid": "x".repeat(600)}),
    ] {
        assert_eq!(open(&forge(&header, &good, &key)), Err(DocumentRefusal::Malformed), "{header}");
    }
    let document = bundle(1, &[&key]).seal(&key).unwrap();
    let parts: Vec<&str> = document.split('.').collect();
    for crooked in [
        String::new(),
        "..".to_owned(),
        parts[..2].join("."),
        format!("{document}."),
        format!("{document}="),
        format!(" {document}"),
        document.replace('.', "\n."),
    ] {
        assert!(open(&crooked).is_err(), "{crooked}");
    }
    // An empty signature, and the one of all zeros (CVE-2022-21449).
    let signed = parts[..2].join(".");
    assert_eq!(open(&format!("{signed}.")), Err(DocumentRefusal::Signature));
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    assert_eq!(open(&format!("{signed}.{zeros}")), Err(DocumentRefusal::Signature));
    let long = vec![b'a'; TRUST_BUNDLE_BYTES_MAX + 1];
    let refused = TrustBundle::open(&long, &[public(&key)], None);
    assert_eq!(refused, Err(DocumentRefusal::Oversized { max_bytes: TRUST_BUNDLE_BYTES_MAX }));
    assert_eq!(TrustBundle::open(document.as_bytes(), &[], None), Err(DocumentRefusal::Signature));
}

#[test]
fn signed_nonsense_is_still_nonsense() {
    let key = KeyPair::generate().unwrap();
    let good = opened(&bundle(1, &[&key]).seal(&key).unwrap());
    let header = json!({"alg": "ES256", "typ": "portreeve-trust-bundle"});
    let with = |name: &str, value: Value| {
        let mut content = good.clone();
        content[name] = value;
        content_of(TrustBundle::open(forge(&header, &content, &key).as_bytes(), &[public(&key)], None))
    };
    for (name, value) in [
        ("format", json!(2)),
        ("version", json!(-1)),
        ("version", json!(1.5)),
        ("version", json!("1")),
        ("issued_s", json!(u64::MAX)),
        ("expires_s", json!(0)),
        ("anchors", json!(["AAAA", "!"])),
        ("anchors", json!([])),
        ("pins_sha256", json!(["AB".repeat(32), "cd".repeat(32)])),
        ("pins_sha256", json!(["ab".repeat(31), "cd".repeat(32)])),
        ("signers", json!(["AAAA"])),
        ("surprise", json!(true)),
    ] {
        assert!(!with(name, value.clone()).is_empty(), "{name}: {value}");
    }
}

fn content_of(result: Result<TrustBundle, DocumentRefusal>) -> String {
    content(result.unwrap_err())
}

#[test]
fn damaged_documents_are_refused() {
    let key = KeyPair::generate().unwrap();
    let document = bundle(1, &[&key]).seal(&key).unwrap().into_bytes();
    let mut random = Random(5);
    for _ in 0..3_000 {
        let mutant = random.mutant(&document);
        let refused = mutant.trim_ascii_end() == document || TrustBundle::open(&mutant, &[public(&key)], None).is_err();
        assert!(refused, "{:?}", String::from_utf8_lossy(&mutant));
    }
}

fn device(serial: &str, byte: u8) -> (String, KeyHash) {
    (serial.to_owned(), KeyHash([byte; 32]))
}

fn list(version: u64) -> AllowList {
    AllowList::new(version, NOW, NOW.plus(30 * DAY), [device("SN-1", 1), device("SN-2", 2)]).unwrap()
}

/// CSA-CRD-08: a device on the list enrols by the key it was made with, and by nothing else.
#[test]
fn a_list_admits_the_serial_with_its_key() {
    let key = KeyPair::generate().unwrap();
    let document = list(1).seal(&key).unwrap();
    let read = AllowList::open(document.as_bytes(), &[public(&key)], None, NOW).unwrap();
    assert_eq!(read, list(1));
    assert_eq!((read.len(), read.is_empty()), (2, false));
    let admit = |serial, byte, now| read.admit(serial, &KeyHash([byte; 32]), now);
    assert_eq!(admit("SN-1", 1, NOW), Ok(()));
    assert_eq!(admit("SN-1", 2, NOW), Err(AdmissionRefusal::OtherKey), "the key of another device");
    assert_eq!(admit("SN-3", 1, NOW), Err(AdmissionRefusal::UnknownSerial));
    assert_eq!(admit("sn-1", 1, NOW), Err(AdmissionRefusal::UnknownSerial));
    assert_eq!(admit("SN-1", 1, NOW.plus(30 * DAY)), Err(AdmissionRefusal::Expired));
}

/// The maker of the devices has `openssl` and a text editor.
#[test]
fn a_list_signed_by_openssl_is_read() {
    let desk = Desk::new();
    desk.must("ecparam -name prime256v1 -genkey -noout -out maker.key");
    desk.must("ec -in maker.key -pubout -outform DER -out maker.pub");
    let maker = audit_key(&desk.read("maker.pub")).unwrap();
    let header = URL_SAFE_NO_PAD.encode(br#"{"typ":"portreeve-allow-list","alg":"ES256"}"#);
    let body = json!({
        "format": 1, "version": 1, "issued_s": NOW.seconds(), "expires_s": NOW.seconds() + 1000,
        "devices": [{"serial": "SN-9", "key_sha256": generate_key().unwrap().public.hash().to_string()}],
    });
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(body.to_string()));
    desk.write("signed", &signed);
    desk.must("dgst -sha256 -sign maker.key -out signature signed");
    let document = format!("{signed}.{}\n", URL_SAFE_NO_PAD.encode(to_fixed(&desk.read("signature"))));
    assert_eq!(AllowList::open(document.as_bytes(), &[maker], None, NOW).unwrap().len(), 1);
}

#[test]
fn lists_of_strangers_old_editions_and_expired_ones_are_refused() {
    let (key, stranger) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let document = list(7).seal(&key).unwrap();
    let open =
        |signer: &KeyPair, known, now| AllowList::open(document.as_bytes(), &[public(signer)], known, now).map(drop);
    assert_eq!(open(&key, Some(6), NOW), Ok(()));
    assert_eq!(open(&stranger, None, NOW), Err(DocumentRefusal::Signature));
    assert_eq!(open(&key, Some(7), NOW), Err(DocumentRefusal::NotNewer { have: 7, got: 7 }));
    assert_eq!(open(&key, Some(8), NOW), Err(DocumentRefusal::NotNewer { have: 8, got: 7 }));
    assert_eq!(open(&key, None, NOW.plus(30 * DAY)), Err(DocumentRefusal::Expired));
    assert_eq!(open(&key, None, UnixMillis(NOW.0 - 3_600_001)), Err(DocumentRefusal::NotYetValid));
    // A trust bundle of the same signer is no list.
    let other = bundle(9, &[&key]).seal(&key).unwrap();
    assert_eq!(AllowList::open(other.as_bytes(), &[public(&key)], None, NOW), Err(DocumentRefusal::OtherKind));
    let long = vec![b'a'; ALLOW_LIST_BYTES_MAX + 1];
    let refused = AllowList::open(&long, &[public(&key)], None, NOW);
    assert_eq!(refused, Err(DocumentRefusal::Oversized { max_bytes: ALLOW_LIST_BYTES_MAX }));
}

#[test]
fn hostile_lists_are_refused_as_a_whole() {
    let key = KeyPair::generate().unwrap();
    let header = json!({"alg": "ES256", "typ": "portreeve-allow-list"});
    let entry = |serial: &str, byte: u8| json!({"serial": serial, "key_sha256": KeyHash([byte; 32]).to_string()});
    let open = |devices: Value| {
        let content = json!({"format": 1, "version": 1, "issued_s": NOW.seconds(), "expires_s": NOW.seconds() + 9,
            "devices": devices});
        AllowList::open(forge(&header, &content, &key).as_bytes(), &[public(&key)], None, NOW)
    };
    assert!(open(json!([entry("a", 1), entry("b", 2)])).is_ok());
    for devices in [
        json!([]),
        json!([entry("a", 1), entry("a", 2)]),
        json!([entry("a", 1), entry("b", 1)]),
        json!([entry("", 1)]),
        json!([entry(&"a".repeat(65), 1)]),
        json!([entry("a b", 1)]),
        json!([entry("a\n", 1)]),
        json!([entry("ä", 1)]),
        json!([{"serial": "a"}]),
        json!([{"serial": "a", "key_sha256": "AA".repeat(32)}]),
        json!([{"serial": "a", "key_sha256": "aa"}]),
        json!([{"serial": "a", "key_sha256": "aa".repeat(32), "admin": true}]),
        json!({"a": 1}),
    ] {
        assert!(!content(open(devices.clone()).unwrap_err()).is_empty(), "{devices}");
    }
}

#[test]
fn lists_have_a_largest_size_that_fits_its_bytes() {
    let key = KeyPair::generate().unwrap();
    let devices = |count: usize| {
        (0..count).map(|number| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
            (format!("{number:064}"), KeyHash(hash))
        })
    };
    let largest = AllowList::new(1, NOW, NOW.plus(DAY), devices(ALLOW_LIST_DEVICES_MAX)).unwrap();
    let document = largest.seal(&key).unwrap();
    assert!(document.len() <= ALLOW_LIST_BYTES_MAX, "{}", document.len());
    assert_eq!(AllowList::open(document.as_bytes(), &[public(&key)], None, NOW).unwrap().len(), ALLOW_LIST_DEVICES_MAX);
    let too_many = AllowList::new(1, NOW, NOW.plus(DAY), devices(ALLOW_LIST_DEVICES_MAX + 1));
    assert!(matches!(too_many, Err(PkiError::BadDocument(_))));
}

/// The first bundle of a device is whole in itself: who is not named in it has not made it.
#[test]
fn a_first_bundle_is_signed_by_a_key_that_it_names() {
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let made = bundle(1, &[&own]);
    let sealed = made.seal(&own).unwrap();
    assert_eq!(TrustBundle::open_first(sealed.as_bytes(), Some(NOW)).unwrap(), made);
    let foreign = made.seal(&other).unwrap();
    assert_eq!(TrustBundle::open_first(foreign.as_bytes(), Some(NOW)), Err(DocumentRefusal::Signature));
    assert_eq!(TrustBundle::open_first(sealed.as_bytes(), Some(NOW.plus(366 * DAY))), Err(DocumentRefusal::Expired));
    for garbage in [&b""[..], b"a.b", b"...", &[b'a'; TRUST_BUNDLE_BYTES_MAX + 1]] {
        assert!(TrustBundle::open_first(garbage, None).is_err());
    }
}
