//! What devices, their makers and relying parties send around certificates, `portreeve-pki`.

use std::{sync::LazyLock, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use der::{Decode, Reader, SliceReader, asn1::UintRef};
use portreeve_keys::tpm::{Challenge, TpmKeyArea};
use portreeve_pki::{
    ACTIVATION_KEY_BYTES, ActivationKey, AllowList, CaSigner, CertificateStatus, ChallengeAnswer, ChallengeRule,
    CsrPolicy, CsrRefusal, EstResponse, KeyKind, Maker, OcspResponder, Question, RootCrl, ShownEndorsement,
    SubjectPublicKey, SubjectRule, TpmMaker, TrustBundle, allow_list_devices as read_devices, audit_device_key,
    audit_endorsement_key, audit_key, import_cross, import_root, leaf_facts, ocsp_request_from_path, read_csr,
    read_enrol_body, read_est_certificates,
};
use portreeve_types::{KeyHash, UnixMillis};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SigningKey};
use rustls::pki_types::CertificateDer;

/// A time inside the validity of the corpus.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// A key that everybody has, since it stands here: with it, anybody can make inputs that pass every signature check.
const TEST_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgKwro4JHtej0vc1uBdsjLKc2onfiR\
                        rwo4VbYjRckzP4yhRANCAAQllKqN4QrwvSC7FNmbX9r8VEM1V9xmLrPgH+Icar/4rEnjnrYW5tqi\
                        A8bpBTH2EiKKKO+XcTI4IPV3lHXiXfa7";

// If these cannot be made, fuzzing with them is pointless.
#[allow(clippy::expect_used)]
static KEY: LazyLock<KeyPair> = LazyLock::new(|| {
    let der = STANDARD.decode(TEST_KEY).expect("base64");
    KeyPair::try_from(der).expect("a key")
});

#[allow(clippy::expect_used)]
static CA: LazyLock<CertificateDer<'static>> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Fuzz CA");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(&*KEY).expect("a certificate").der().clone()
});

#[allow(clippy::expect_used)]
static MAKER: LazyLock<Maker> = LazyLock::new(|| {
    let template = "x-{serial}".parse().expect("a template");
    Maker::new(std::slice::from_ref(&*CA), &[], template).expect("a maker")
});

#[allow(clippy::expect_used)]
static TPM_MAKER: LazyLock<TpmMaker> =
    LazyLock::new(|| TpmMaker::new(std::slice::from_ref(&*CA), &[]).expect("a maker of TPMs"));

static ACTIVATIONS: LazyLock<ActivationKey> = LazyLock::new(|| ActivationKey::new(&[7; ACTIVATION_KEY_BYTES]));

/// The key that the documents of these targets are signed with.
#[allow(clippy::expect_used)]
static SIGNER: LazyLock<(KeyPair, SubjectPublicKey)> = LazyLock::new(|| {
    let pair = KeyPair::generate().expect("a key");
    let public = audit_key(&pair.subject_public_key_info()).expect("a sound key");
    (pair, public)
});

/// A request under the three rules: one that the strictest accepts, all accept, and always with the same key.
pub fn csr_intake(bytes: &[u8]) {
    let read = |subject| read_csr(bytes, &CsrPolicy { keys: KeyKind::ALL, subject, challenge: ChallengeRule::Refuse });
    let (lax, strict) = (read(SubjectRule::Ignore), read(SubjectRule::Only(&[])));
    match (&lax, &strict) {
        (Ok(lax), Ok(strict)) => assert_eq!((&lax.key, &lax.excess), (&strict.key, &None)),
        (Ok(lax), Err(refusal)) => {
            assert!(lax.excess.is_some(), "{refusal}");
            assert!(matches!(refusal, CsrRefusal::Excess(_)), "{refusal}");
        }
        (Err(lax), strict) => assert_eq!(strict.as_ref().err(), Some(lax)),
    }
    if let Ok(csr) = lax {
        assert_eq!(audit_device_key(csr.key.spki_der(), &[csr.key.kind()]).as_ref(), Ok(&csr.key));
    }
}

/// A line with the content type, and a body. What is read has one base64 form, which reads the same.
pub fn est_body(bytes: &[u8]) {
    let split = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (content_type, body) = bytes.split_at(split);
    let content_type = std::str::from_utf8(content_type).ok();
    let Ok(der) = read_enrol_body(content_type, body) else { return };
    let again = read_enrol_body(Some("application/pkcs10"), STANDARD.encode(&der).as_bytes());
    assert_eq!(again.as_ref(), Ok(&der));
    csr_intake(&der);
}

/// What an EST client is answered. What is read makes an answer that reads the same.
#[allow(clippy::expect_used)] // as above
pub fn est_answer(bytes: &[u8]) {
    let Ok(certificates) = read_est_certificates(bytes) else { return };
    let answer = EstResponse::ca_certs(&certificates).expect("certificates");
    let mut again = read_est_certificates(&answer.body).expect("our own answer");
    let mut once = certificates;
    for set in [&mut again, &mut once] {
        set.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    }
    once.dedup();
    assert_eq!(again, once);
}

/// A request as a body and as a path. Every answer is either about certificates and signed, or five bytes.
#[allow(clippy::expect_used)] // as above
pub fn ocsp_request(bytes: &[u8]) {
    let ca = CaSigner::new(CA.clone(), &*KEY).expect("a CA");
    let responder = OcspResponder::direct(&ca).expect("a responder");
    let mut asked = 0;
    let answer = responder.answer(bytes, NOW, Duration::from_secs(3600), |serial| {
        assert!(serial.len() <= 20 && serial.first() != Some(&0), "{serial:02x?}");
        asked += 1;
        CertificateStatus::Good
    });
    match answer.outcome {
        Ok(count) => assert!(count == asked && asked >= 1 && answer.der.len() > 5),
        Err(_) => assert_eq!((asked, answer.der.len(), answer.max_age_s), (0, 5, 0)),
    }
    if let Ok(path) = std::str::from_utf8(bytes)
        && let Ok(request) = ocsp_request_from_path(path)
    {
        assert!(request.len() <= path.len());
    }
}

/// A leaf under the anchor of that key.
pub fn maker_certificate(bytes: &[u8]) {
    let Ok(identity) = MAKER.identify(&[CertificateDer::from(bytes)], KeyKind::ALL, NOW) else { return };
    assert_eq!(identity.name.as_str(), format!("x-{}", identity.serial));
}

/// A certificate of an endorsement key, under the same anchor. Whatever is accepted can be challenged.
#[allow(clippy::expect_used)] // as above
pub fn endorsement_certificate(bytes: &[u8]) {
    let Ok(identity) = TPM_MAKER.identify(&CertificateDer::from(bytes), NOW) else { return };
    assert_eq!(audit_endorsement_key(&identity.spki_der), Ok(identity.key));
    let area = TpmKeyArea::parse(&STANDARD.decode(TEST_AREA).expect("base64")).expect("an area");
    Challenge::new(&identity.spki_der, &area, &[7; 32]).expect("a challenge");
}

/// The public area of a key that a TPM made.
const TEST_AREA: &str = "ACMACwAEAHIAAAAQABAAAwAQACC9adsZsWkNCM6+Vv8Gu/2YtYGe1Z0Oc2HFGGGSV00WeAAgkdsHY5oK2Wd8DYsSjbVqgCLRBTAcLNDw3if3eV9ADrQ=";

/// A public area. What is accepted is a key that may be certified.
pub fn tpm_key_area(bytes: &[u8]) {
    let Some(area) = TpmKeyArea::parse(bytes) else { return };
    assert_eq!(area.as_bytes(), bytes);
    assert!(SubjectPublicKey::from_spki_der(area.public().spki_der()).is_ok());
}

/// What a device with a TPM asks, and what it is answered. What is read has one form, which reads the same; and nobody
/// guesses what only a TPM can know.
pub fn tpm_question(bytes: &[u8]) {
    let token = std::str::from_utf8(bytes).ok().and_then(|token| ACTIVATIONS.open(token, NOW));
    assert_eq!(token, None, "nothing of the corpus is authenticated by it");
    if let Some(answer) = ChallengeAnswer::read(bytes) {
        assert_eq!(ChallengeAnswer::read(&answer.to_json()), Some(answer));
    }
    let Ok(question) = Question::read(bytes) else { return };
    assert_eq!(Question::read(&question.to_json()).as_ref(), Ok(&question));
    tpm_key_area(&question.key_area);
    match &question.endorsement {
        ShownEndorsement::Certificate(der) => endorsement_certificate(der),
        ShownEndorsement::Listed { spki_der, .. } => drop(audit_endorsement_key(spki_der)),
    }
}

/// An allow-list as it comes, and these bytes as the content of one that is properly signed.
pub fn allow_list(bytes: &[u8]) {
    let signers = std::slice::from_ref(&SIGNER.1);
    assert!(AllowList::open(bytes, signers, None, NOW).is_err(), "a signature by a key that was made just now");
    let Ok(list) = AllowList::open(signed("portreeve-allow-list", bytes).as_bytes(), signers, None, NOW) else {
        return;
    };
    assert!(!list.is_empty() && list.issued < list.expires);
    let again = list.seal(&SIGNER.0).map(|document| AllowList::open(document.as_bytes(), signers, None, NOW));
    assert_eq!(again, Ok(Ok(list)));
}

/// Devices of a batch as their maker writes them down: what is read is written and read again, what is not is told with its line.
pub fn allow_list_devices(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match read_devices(text) {
        Ok(devices) => {
            let line = |(serial, KeyHash(hash)): &(String, KeyHash)| {
                let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{serial},{digits}\n")
            };
            let again = devices.iter().map(line).collect::<String>();
            assert_eq!(read_devices(&again), Ok(devices));
        }
        Err(problem) => {
            assert!(!problem.contains('\n') && (problem.starts_with("line ") || problem.starts_with("more ")))
        }
    }
}

/// A trust bundle as it comes, and these bytes as the content of one that is properly signed.
pub fn trust_bundle(bytes: &[u8]) {
    let signers = std::slice::from_ref(&SIGNER.1);
    assert!(TrustBundle::open(bytes, signers, None).is_err(), "a signature by a key that was made just now");
    let document = signed("portreeve-trust-bundle", bytes);
    let Ok(bundle) = TrustBundle::open(document.as_bytes(), signers, None) else { return };
    assert!(bundle.pins.len() >= 2 && !bundle.anchors.is_empty() && !bundle.signers.is_empty());
    let again = bundle.seal(&SIGNER.0).map(|document| TrustBundle::open(document.as_bytes(), signers, None));
    assert_eq!(again, Ok(Ok(bundle.clone())));
    assert!(bundle.successor(document.as_bytes(), None).is_err(), "a bundle does not succeed itself");
    let twice = format!("{document}\n{document}");
    assert!(bundle.successor(twice.as_bytes(), None).is_err(), "nor behind a link");
}

#[allow(clippy::expect_used)] // as above
static ROOT: LazyLock<CertificateDer<'static>> = LazyLock::new(|| {
    let pem = include_bytes!("../corpus/root_material/root.pem");
    let read = portreeve_tls::certificates_from_pem("root.pem", pem).expect("PEM");
    read.into_iter().next().expect("a certificate")
});

/// What a root has signed elsewhere, as an operator brings it: another root, a cross-certificate, a list.
pub fn root_material(bytes: &[u8]) {
    let root = &ROOT;
    if let Ok(next) = import_root(bytes, std::slice::from_ref(root), NOW) {
        assert!(leaf_facts(&next).is_ok() && import_cross(&next, &next, root, NOW).is_err());
    }
    if let Ok(list) = RootCrl::read(bytes, root) {
        assert_eq!(RootCrl::read(list.to_pem().as_bytes(), root), Ok(list));
    }
}

/// A JWS of this type with this content.
#[allow(clippy::expect_used)] // as above
fn signed(kind: &str, content: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"ES256\",\"typ\":\"{kind}\"}}"));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let signature = SIGNER.0.sign(signed.as_bytes()).expect("a signature");
    let mut reader = SliceReader::new(&signature).expect("DER");
    let (r, s) = reader.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?))).expect("two numbers");
    let mut fixed = [0; 64];
    fixed[32 - r.as_bytes().len()..32].copy_from_slice(r.as_bytes());
    fixed[64 - s.as_bytes().len()..].copy_from_slice(s.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fixed))
}
