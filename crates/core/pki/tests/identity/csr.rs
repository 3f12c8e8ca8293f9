//! Requests: what is believed, what is ignored, what is refused, and why.

use base64::{Engine, engine::general_purpose::STANDARD};
use der::{
    Any, Decode, Encode,
    asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef},
};
use num_bigint::BigUint;
use portreeve_pki::{
    Authority, CSR_BYTES_MAX, ChallengeRule, CsrPolicy, CsrRefusal, Excess, KeyKind, KeyRefusal, SubjectRule,
    audit_device_key, audit_key, generate_key, read_csr,
};
use portreeve_types::IdentityId;
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};
use uuid::Uuid;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::support::{CHALLENGE_PASSWORD, DAY, Desk, Draft, EXTENSION_REQUEST, IGNORE, Random, extension, now, only};

const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const KEY_USAGE: &str = "2.5.29.15";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

fn key_refusal(result: Result<portreeve_pki::Csr, CsrRefusal>) -> KeyRefusal {
    match result.unwrap_err() {
        CsrRefusal::Key(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_request_is_accepted_in_every_form_and_under_every_rule() {
    let draft = Draft::new();
    let der = draft.sign();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der.clone()));
    let old_pem = pem::encode(&pem::Pem::new("NEW CERTIFICATE REQUEST", der.clone()));
    for bytes in [&der[..], pem.as_bytes(), old_pem.as_bytes()] {
        for policy in [IGNORE, only(&[])] {
            let csr = read_csr(bytes, &policy).unwrap();
            assert_eq!(csr.key.spki_der(), draft.key.subject_public_key_info());
            assert_eq!((csr.excess, csr.bound, csr.serial_number), (None, false, None));
        }
    }
}

#[test]
fn p384_and_other_hashes_of_sha2_are_accepted() {
    let desk = Desk::new();
    for (curve, hash) in [("P-256", "sha512"), ("P-384", "sha256"), ("P-384", "sha384"), ("P-384", "sha512")] {
        desk.must(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:{curve} -nodes -keyout k -out r.csr -subj /CN=x -{hash}"
        ));
        assert!(read_csr(&desk.read("r.csr"), &only(&["x"])).is_ok(), "{curve} {hash}");
    }
    desk.must("req -new -key k -out r.csr -subj /CN=x -sha1");
    assert!(matches!(read_csr(&desk.read("r.csr"), &IGNORE), Err(CsrRefusal::SignatureAlgorithm(_))));
}

#[test]
fn a_request_has_to_be_signed_by_its_own_key() {
    let mut draft = Draft::new();
    let good = draft.sign();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(read_csr(&flipped, &IGNORE), Err(CsrRefusal::NoPossession));
    // Somebody else's public key in a request signed by one's own.
    draft.info.public_key = SubjectPublicKeyInfoOwned::from_der(generate_key().unwrap().public.spki_der()).unwrap();
    assert_eq!(read_csr(&draft.sign(), &IGNORE), Err(CsrRefusal::NoPossession));
    // The right signature under another algorithm's name, and with parameters that the algorithm does not have.
    let mut draft = Draft::new();
    draft.algorithm.oid = ObjectIdentifier::new("1.2.840.10045.4.3.3").unwrap();
    assert_eq!(read_csr(&draft.sign(), &IGNORE), Err(CsrRefusal::NoPossession));
    let mut draft = Draft::new();
    draft.algorithm.parameters = Some(Any::new(der::Tag::Integer, [1]).unwrap());
    assert!(matches!(read_csr(&draft.sign(), &IGNORE), Err(CsrRefusal::SignatureAlgorithm(_))));
    draft.algorithm.parameters = Some(Any::null());
    assert!(read_csr(&draft.sign(), &IGNORE).is_ok(), "as openssl's provider for TPMs writes it");
    draft.algorithm.oid = ObjectIdentifier::new("1.2.3.4").unwrap();
    assert!(matches!(read_csr(&draft.sign(), &IGNORE), Err(CsrRefusal::SignatureAlgorithm(_))));
}

#[test]
fn garbage_is_refused_before_anything_is_made_of_it() {
    let good = Draft::new().sign();
    let mut longer = good.clone();
    longer.push(0);
    let cases: [(&[u8], CsrRefusal); 8] = [
        (b"", CsrRefusal::Malformed),
        (b"hello", CsrRefusal::Malformed),
        (&longer, CsrRefusal::Malformed),
        (&good[..good.len() - 1], CsrRefusal::Malformed),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n", CsrRefusal::Pem),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CsrRefusal::Pem),
        (&[0x30; CSR_BYTES_MAX + 1], CsrRefusal::Oversized),
        (&[0x30; CSR_BYTES_MAX], CsrRefusal::Malformed),
    ];
    for (bytes, refusal) in cases {
        assert_eq!(read_csr(bytes, &IGNORE), Err(refusal), "{} bytes", bytes.len());
    }
}

/// A second encoding of one request would have a second hash in the ledger.
#[test]
fn only_the_canonical_encoding_counts() {
    let good = Draft::new().sign();
    // The same outer length, written in one byte more than needed.
    assert_eq!(good[..2], [0x30, 0x81], "the test reckons with a length of one byte");
    let long = [&[0x30, 0x82, 0][..], &good[2..]].concat();
    assert_eq!(read_csr(&long, &IGNORE), Err(CsrRefusal::Malformed));
    // Indefinite length, as BER has it.
    let mut indefinite = vec![0x30, 0x80];
    indefinite.extend(&good[3..]);
    indefinite.extend([0, 0]);
    assert_eq!(read_csr(&indefinite, &IGNORE), Err(CsrRefusal::Malformed));
    // Attributes in the wrong order: rebuilt by hand, and properly signed.
    let draft = Draft::new().attribute(CHALLENGE_PASSWORD, &Utf8StringRef::new("x").unwrap()).extensions(&Vec::new());
    let sorted = draft.info.to_der().unwrap();
    let halves: Vec<Vec<u8>> = draft.info.attributes.iter().map(|attribute| attribute.to_der().unwrap()).collect();
    let tail = halves[0].len() + halves[1].len();
    let swapped = [&sorted[..sorted.len() - tail], &halves[1], &halves[0]].concat();
    assert_ne!(sorted, swapped);
    let signature = draft.key.sign(&swapped).unwrap();
    let mut body = swapped;
    body.extend(draft.algorithm.to_der().unwrap());
    body.extend(der::asn1::BitString::from_bytes(&signature).unwrap().to_der().unwrap());
    let request = Any::new(der::Tag::Sequence, body).unwrap().to_der().unwrap();
    assert_eq!(read_csr(&request, &IGNORE), Err(CsrRefusal::Malformed));
}

/// Each kind of key that is refused has its reason.
#[test]
fn keys_outside_the_list_are_refused_with_their_reason() {
    let desk = Desk::new();
    let request = |name: &str| {
        desk.must(&format!("req -new -key {name} -out r.csr -subj /CN=x"));
        key_refusal(read_csr(&desk.read("r.csr"), &IGNORE))
    };
    for (bits, refusal) in [(1024, KeyRefusal::RsaShort { bits: 1024 }), (2048, KeyRefusal::RsaShort { bits: 2048 })] {
        desk.must(&format!("genrsa -out k {bits}"));
        assert_eq!(request("k"), refusal);
    }
    desk.must("genrsa -out k 3072");
    assert_eq!(request("k"), KeyRefusal::Kind(KeyKind::Rsa3072));
    desk.must("genrsa -3 -out k 3072");
    assert_eq!(request("k"), KeyRefusal::RsaExponent);
    desk.must("genpkey -algorithm ed25519 -out k");
    assert_eq!(request("k"), KeyRefusal::Ed25519);
    desk.must("genpkey -algorithm ed448 -out k");
    assert!(matches!(request("k"), KeyRefusal::Algorithm(_)));
    for curve in ["secp521r1", "secp256k1", "prime192v1", "brainpoolP256r1"] {
        desk.must(&format!("ecparam -name {curve} -genkey -noout -out k"));
        assert!(matches!(request("k"), KeyRefusal::Curve(_)), "{curve}");
    }
    desk.must("ecparam -name prime256v1 -genkey -noout -param_enc explicit -out k");
    assert_eq!(request("k"), KeyRefusal::ExplicitCurve);
    desk.must("ecparam -name prime256v1 -genkey -noout -conv_form compressed -out k");
    desk.must("ec -in k -conv_form compressed -out c");
    assert_eq!(request("c"), KeyRefusal::Compressed);
}

/// A modulus made as the flawed library made them (CVE-2017-15361), and signed properly by its own key.
#[test]
fn a_key_of_the_roca_kind_is_known_by_its_fingerprint() {
    let request = include_bytes!("../data/roca-3072.csr");
    assert_eq!(key_refusal(read_csr(request, &IGNORE)), KeyRefusal::RsaRoca);
}

/// The `SubjectPublicKeyInfo` of an RSA key of this modulus.
fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |bytes| der::asn1::UintRef::new(bytes).unwrap().to_der().unwrap();
    let key = Any::new(der::Tag::Sequence, [number(modulus), number(exponent)].concat()).unwrap().to_der().unwrap();
    let algorithm = x509_cert::spki::AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new("1.2.840.113549.1.1.1").unwrap(),
        parameters: Some(Any::null()),
    };
    let subject_public_key = der::asn1::BitString::from_bytes(&key).unwrap();
    SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().unwrap()
}

#[test]
fn an_rsa_modulus_with_a_small_factor_is_refused() {
    let mut modulus = [0xff; 384];
    modulus[383] = 0xfe;
    assert_eq!(audit_key(&rsa_spki(&modulus, &[1, 0, 1])), Err(KeyRefusal::RsaSmallFactor), "even");
    modulus[383] = 0xff; // 2^3072 - 1 is a multiple of 3
    assert_eq!(audit_key(&rsa_spki(&modulus, &[1, 0, 1])), Err(KeyRefusal::RsaSmallFactor));
    assert_eq!(audit_key(&rsa_spki(&modulus[..383], &[1, 0, 1])), Err(KeyRefusal::RsaShort { bits: 3064 }));
}

/// RSA where it was asked for, of the two lengths, and signed as RFC 4055 says.
#[test]
fn rsa_is_accepted_where_it_is_expected() {
    let desk = Desk::new();
    let rsa = |keys: &'static [KeyKind]| CsrPolicy { keys, ..only(&["x"]) };
    let request = |digest: &str| {
        desk.must(&format!("req -new -key k {digest} -out r.csr -subj /CN=x"));
        desk.read("r.csr")
    };
    for (bits, kind) in [(3072, KeyKind::Rsa3072), (4096, KeyKind::Rsa4096)] {
        desk.must(&format!("genrsa -out k {bits}"));
        for digest in ["-sha256", "-sha384", "-sha512"] {
            assert_eq!(read_csr(&request(digest), &rsa(KeyKind::ALL)).unwrap().key.kind(), kind);
        }
        assert_eq!(key_refusal(read_csr(&request("-sha256"), &only(&["x"]))), KeyRefusal::Kind(kind));
        for digest in ["-sha1", "-sha256 -sigopt rsa_padding_mode:pss"] {
            assert!(matches!(read_csr(&request(digest), &rsa(KeyKind::ALL)), Err(CsrRefusal::SignatureAlgorithm(_))));
        }
        let mut forged = pem::parse(request("-sha256")).unwrap().into_contents();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(read_csr(&forged, &rsa(KeyKind::ALL)), Err(CsrRefusal::NoPossession));
    }
    assert_eq!(
        key_refusal(read_csr(&request("-sha256"), &rsa(&[KeyKind::Rsa3072]))),
        KeyRefusal::Kind(KeyKind::Rsa4096)
    );
    desk.must("genrsa -out k 3584");
    assert_eq!(key_refusal(read_csr(&request(""), &rsa(KeyKind::ALL))), KeyRefusal::RsaLength { bits: 3584 });
    desk.must("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k");
    assert_eq!(key_refusal(read_csr(&request(""), &rsa(&[KeyKind::Rsa3072]))), KeyRefusal::Kind(KeyKind::EcdsaP256));
    let roca = read_csr(include_bytes!("../data/roca-3072.csr"), &CsrPolicy { keys: KeyKind::ALL, ..IGNORE });
    assert_eq!(key_refusal(roca), KeyRefusal::RsaRoca);
}

/// Two primes with a common upper half, as of CVE-2022-26320; squares; and numbers near them that only look so.
#[test]
fn an_rsa_modulus_of_close_factors_is_refused() {
    let audited = |modulus: &BigUint| audit_device_key(&rsa_spki(&modulus.to_bytes_be(), &[1, 0, 1]), KeyKind::ALL);
    // Not primes: Fermat's method does not care. Only the audit's search for small factors does.
    let coprime = |from: &BigUint| {
        let small = |number: &BigUint| (2_u32..=167).any(|divisor| number % divisor == BigUint::ZERO);
        (0_u32..).map(|step| from + step).find(|number| !small(number)).unwrap()
    };
    for bits in [1536, 2048] {
        let first = coprime(&((BigUint::from(3_u8) << (bits - 2)) + 12345_u32));
        for distance in [BigUint::from(2_u8), BigUint::from(1_u8) << (bits / 2)] {
            let second = coprime(&(&first + distance));
            assert_eq!(audited(&(&first * second)), Err(KeyRefusal::RsaClosePrimes));
        }
        assert_eq!(audited(&(&first * &first)), Err(KeyRefusal::RsaClosePrimes));
        let far = coprime(&(&first + (BigUint::from(1_u8) << (bits / 2 + 16))));
        assert!(audited(&(&first * far)).is_ok());
    }
}

/// A P-256 `SubjectPublicKeyInfo` with these bytes for a point.
fn p256_spki(point: &[u8]) -> Vec<u8> {
    let mut info = SubjectPublicKeyInfoOwned::from_der(generate_key().unwrap().public.spki_der()).unwrap();
    info.subject_public_key = der::asn1::BitString::from_bytes(point).unwrap();
    info.to_der().unwrap()
}

#[test]
fn points_that_are_no_keys_are_refused() {
    let good = generate_key().unwrap().public;
    let point = good.der_bytes();
    assert!(audit_key(&p256_spki(point)).is_ok());
    let mut off = point.to_vec();
    off[64] ^= 1;
    assert_eq!(audit_key(&p256_spki(&off)), Err(KeyRefusal::OffCurve));
    assert_eq!(audit_key(&p256_spki(&[0])), Err(KeyRefusal::Infinity));
    assert_eq!(audit_key(&p256_spki(&[&[2], &point[1..33]].concat())), Err(KeyRefusal::Compressed));
    assert_eq!(audit_key(&p256_spki(&[4; 65])), Err(KeyRefusal::OffCurve));
    assert_eq!(audit_key(&p256_spki(&[4])), Err(KeyRefusal::OffCurve));
    assert_eq!(audit_key(&p256_spki(&[])), Err(KeyRefusal::OffCurve));
    assert_eq!(audit_key(&[0x30, 0]), Err(KeyRefusal::Malformed));
    assert_eq!(audit_key(&[good.spki_der(), &[0]].concat()), Err(KeyRefusal::Malformed));
}

/// A key in SEC 1 form with this private scalar, hexadecimal, as a file for `openssl`.
fn sec1(curve_oid: &str, scalar: &str) -> Vec<u8> {
    let scalar = hex::decode(scalar).unwrap();
    let curve = ObjectIdentifier::new(curve_oid).unwrap().to_der().unwrap();
    let length = u8::try_from(scalar.len()).unwrap();
    let body = [&[2, 1, 1, 4, length][..], &scalar, &[0xa0, u8::try_from(curve.len()).unwrap()], &curve].concat();
    Any::new(der::Tag::Sequence, body).unwrap().to_der().unwrap()
}

#[test]
fn keys_that_everybody_knows_are_refused() {
    const P256: &str = "1.2.840.10045.3.1.7";
    const P384: &str = "1.3.132.0.34";
    let desk = Desk::new();
    let audited = |curve, scalar: &str| {
        desk.write("k", sec1(curve, scalar));
        desk.must("req -new -key k -keyform DER -out r.csr -subj /CN=x");
        read_csr(&desk.read("r.csr"), &IGNORE)
    };
    // RFC 6979 §A.2.5 and §A.2.6; the smallest scalars; and the negative of one, that is the order of the group less 2.
    for (curve, scalar) in [
        (P256, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"),
        (P384, "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5"),
        (P256, &format!("{:0>64}", "1")),
        (P256, &format!("{:0>64}", "100")),
        (P384, &format!("{:0>96}", "7")),
        (P256, "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC63254F"),
    ] {
        assert_eq!(key_refusal(audited(curve, scalar)), KeyRefusal::WellKnown, "{scalar}");
    }
    assert!(audited(P256, &format!("{:0>64}", "101")).is_ok(), "the first scalar that is not listed");
    let published = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQiVI+I+3gv+17KN0RFLHKh5Vj71vc75eSOkyMsxFxbFsTNEMTLjV\
                     uKFxOelIgsiZJXKZNCX0FBmrfpCkKklCcg==";
    assert_eq!(audit_key(&STANDARD.decode(published).unwrap()), Err(KeyRefusal::WellKnown), "RFC 9500");
}

/// DER of a `GeneralNames` with one name: its implicit tag and its text.
fn alternative_name(tag: u8, text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[0x30, length + 2, tag, length][..], text].concat()
}

/// Issue "bad input": foreign subjects and extensions. Each is refused where the rule is strict, and reported where it
/// is dropped.
#[test]
fn whatever_a_request_asks_for_beyond_its_sender_is_named() {
    let names = ["lamp-1", "00000000-0000-0000-0000-000000000001"];
    let cases = [
        (Draft::new().subject("CN=lamp-2"), Excess::Subject),
        (Draft::new().subject("CN=lamp-1,O=Acme"), Excess::Subject),
        (Draft::new().extension(SUBJECT_ALT_NAME, &alternative_name(0x82, b"evil.example")), Excess::AlternativeName),
        (Draft::new().extension(SUBJECT_ALT_NAME, &alternative_name(0x87, &[127, 0, 0, 1])), Excess::AlternativeName),
        (Draft::new().extension(SUBJECT_ALT_NAME, &alternative_name(0x86, b"urn:uuid:2")), Excess::AlternativeName),
        (Draft::new().extension(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff]), Excess::CertificateAuthority),
        (Draft::new().extension(KEY_USAGE, &[3, 2, 2, 4]), Excess::KeyUsage),
        (Draft::new().extension(KEY_USAGE, &[3, 2, 2, 0x84]), Excess::KeyUsage),
        (
            Draft::new().extension(EXTENDED_KEY_USAGE, &[0x30, 10, 6, 8, 43, 6, 1, 5, 5, 7, 3, 1]),
            Excess::ExtendedKeyUsage,
        ),
        (
            Draft::new().extension("2.5.29.32", &[0x30, 0]),
            Excess::Extension(ObjectIdentifier::new("2.5.29.32").unwrap()),
        ),
        (
            Draft::new()
                .attribute(ObjectIdentifier::new("1.2.840.113549.1.9.2").unwrap(), &Utf8StringRef::new("x").unwrap()),
            Excess::Attribute(ObjectIdentifier::new("1.2.840.113549.1.9.2").unwrap()),
        ),
    ];
    for (draft, excess) in cases {
        let request = draft.sign();
        assert_eq!(read_csr(&request, &only(&names)), Err(CsrRefusal::Excess(excess.clone())));
        let ignored = read_csr(&request, &IGNORE).unwrap();
        assert_eq!(ignored.excess, Some(excess));
        assert_eq!(ignored.key.spki_der(), draft.key.subject_public_key_info());
    }
}

#[test]
fn a_client_may_ask_for_what_it_gets() {
    let id = "00000000-0000-0000-0000-000000000001";
    let draft = Draft::new().subject("CN=lamp-1,serialNumber=SN-7").extensions(&vec![
        extension(BASIC_CONSTRAINTS, &[0x30, 0]),
        extension(KEY_USAGE, &[3, 2, 7, 0x80]),
        extension(EXTENDED_KEY_USAGE, &[0x30, 10, 6, 8, 43, 6, 1, 5, 5, 7, 3, 2]),
        extension(SUBJECT_ALT_NAME, &alternative_name(0x86, format!("urn:uuid:{id}").as_bytes())),
        extension("2.5.29.14", &[4, 1, 7]),
    ]);
    let csr = read_csr(&draft.sign(), &only(&["lamp-1", "SN-7", id])).unwrap();
    assert_eq!((csr.excess, csr.serial_number.as_deref()), (None, Some("SN-7")));
    assert_eq!(read_csr(&draft.sign(), &only(&["lamp-1", "SN-7"])), Err(Excess::AlternativeName.into()));
}

#[test]
fn malformed_extensions_are_refused_even_where_they_are_ignored() {
    let good = extension(BASIC_CONSTRAINTS, &[0x30, 0]);
    for draft in [
        Draft::new().attribute(EXTENSION_REQUEST, &Utf8StringRef::new("x").unwrap()),
        Draft::new().extensions(&vec![good.clone(), good.clone()]),
        Draft::new().extension(BASIC_CONSTRAINTS, b"?"),
        Draft::new().extension(KEY_USAGE, b""),
        Draft::new().extension(SUBJECT_ALT_NAME, &[0x30, 0x80]),
        Draft::new().extensions(&(0..17).map(|arc| extension(&format!("1.2.3.{arc}"), &[5, 0])).collect()),
        Draft::new().extensions(&Vec::new()).attribute(EXTENSION_REQUEST, &vec![good.clone()]),
    ] {
        assert_eq!(read_csr(&draft.sign(), &IGNORE), Err(CsrRefusal::Malformed));
    }
}

/// RFC 7030 §4.2.2: a renewal asks for the names it has.
#[test]
fn a_renewal_names_its_own_certificate_or_nothing() {
    let authority = Authority::create(now()).unwrap();
    let leaf_of = |id| {
        let issued =
            authority.issue_device(IdentityId(Uuid::from_u128(id)), &generate_key().unwrap().public, now(), DAY);
        issued.unwrap().chain_der[0].to_vec()
    };
    let (own, other) = (leaf_of(1), leaf_of(2));
    let same_as =
        |leaf| CsrPolicy { keys: KeyKind::ECDSA, subject: SubjectRule::SameAs(leaf), challenge: ChallengeRule::Refuse };
    let desk = Desk::new();
    desk.write("own.pem", pem::encode(&pem::Pem::new("CERTIFICATE", own.clone())));
    desk.must("ecparam -name prime256v1 -genkey -noout -out k");
    desk.must("x509 -x509toreq -copy_extensions copy -in own.pem -signkey k -out r.csr");
    let request = desk.read("r.csr");
    assert!(read_csr(&request, &same_as(&own)).is_ok());
    assert_eq!(read_csr(&request, &same_as(&other)), Err(Excess::Subject.into()));

    let id = Uuid::from_u128(1);
    let uri = alternative_name(0x86, format!("urn:uuid:{id}").as_bytes());
    let draft = Draft::new().subject(&format!("CN={id}")).extension(SUBJECT_ALT_NAME, &uri);
    assert!(read_csr(&draft.sign(), &same_as(&own)).is_ok());
    assert_eq!(read_csr(&draft.sign(), &same_as(&other)), Err(Excess::Subject.into()));
    let only_name = Draft::new().extension(SUBJECT_ALT_NAME, &uri);
    assert!(read_csr(&only_name.sign(), &same_as(&own)).is_ok());
    assert_eq!(read_csr(&only_name.sign(), &same_as(&other)), Err(Excess::AlternativeName.into()));
    assert!(read_csr(&Draft::new().sign(), &same_as(&own)).is_ok());
    let greedy = Draft::new().subject(&format!("CN={id}")).extension(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff]);
    assert_eq!(read_csr(&greedy.sign(), &same_as(&own)), Err(Excess::CertificateAuthority.into()));
}

/// RFC 7030 §3.5 with the channel binding of RFC 9266.
#[test]
fn a_challenge_counts_only_for_its_own_connection() {
    let binding = [7; 32];
    let encoded = STANDARD.encode(binding);
    let with = |text: &str| Draft::new().attribute(CHALLENGE_PASSWORD, &PrintableStringRef::new(text).unwrap()).sign();
    let bound = CsrPolicy {
        keys: KeyKind::ECDSA,
        subject: SubjectRule::Only(&[]),
        challenge: ChallengeRule::Binding(&binding),
    };
    assert!(read_csr(&with(&encoded), &bound).unwrap().bound);
    assert!(!read_csr(&Draft::new().sign(), &bound).unwrap().bound);
    assert_eq!(read_csr(&with(&STANDARD.encode([8; 32])), &bound), Err(CsrRefusal::OtherConnection));
    assert_eq!(read_csr(&with("secret"), &bound), Err(CsrRefusal::OtherConnection));
    assert_eq!(read_csr(&with(&encoded), &only(&[])), Err(CsrRefusal::Challenge));
    assert_eq!(read_csr(&with(&encoded), &IGNORE), Err(CsrRefusal::Challenge));
}

#[test]
fn damaged_requests_never_panic_and_never_pass_with_another_key() {
    let key = KeyPair::generate().unwrap();
    let good = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().serialize_request(&key).unwrap();
    let good = good.der().to_vec();
    let mut random = Random(1);
    for _ in 0..20_000 {
        let mutant = random.mutant(&good);
        if let Ok(csr) = read_csr(&mutant, &IGNORE) {
            assert_eq!((mutant == good, csr.key.spki_der()), (true, &key.subject_public_key_info()[..]));
        }
    }
}

/// The decoder sorts sets as it reads them, in quadratic time; so what is not in order does not get that far.
#[test]
fn a_name_with_its_parts_out_of_order_is_refused() {
    let part = |text: &[u8; 2]| [&[0x30, 9, 6, 3, 0x55, 4, 3, 0x0c, 2][..], text].concat();
    let request = |first, second| {
        let draft = Draft::new();
        let name = [&[0x30, 24, 0x31, 22][..], &part(first), &part(second)].concat();
        let body = [&[2, 1, 0][..], &name, &draft.key.subject_public_key_info(), &[0xa0, 0]].concat();
        let mut body = Any::new(der::Tag::Sequence, body).unwrap().to_der().unwrap();
        let signature = draft.key.sign(&body).unwrap();
        body.extend(draft.algorithm.to_der().unwrap());
        body.extend(der::asn1::BitString::from_bytes(&signature).unwrap().to_der().unwrap());
        read_csr(&Any::new(der::Tag::Sequence, body).unwrap().to_der().unwrap(), &only(&["aa", "bb"])).map(drop)
    };
    assert_eq!(request(b"aa", b"bb"), Ok(()));
    assert_eq!(request(b"bb", b"aa"), Err(CsrRefusal::Malformed));
}
