//! A directory to run `openssl` in, and requests as hostile as wanted.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use der::{
    Any, Decode, Encode,
    asn1::{BitString, ObjectIdentifier, SetOfVec},
    oid::db::rfc5912::ECDSA_WITH_SHA_256,
};
use portreeve_pki::{Authority, CaSigner, ChallengeRule, CsrPolicy, IssuingKeys, KeyKind, SubjectRule};
use portreeve_types::UnixMillis;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData, SigningKey};
use x509_cert::{
    attr::Attribute,
    ext::Extension,
    name::Name,
    request::{CertReq, CertReqInfo, Version},
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

/// An authority with its root's key, as only the first hour of its life knows it.
pub(crate) struct Rooted {
    pub(crate) authority: Authority,
    pub(crate) root_key: KeyPair,
}

impl Rooted {
    pub(crate) fn new() -> Self {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let key = || Arc::new(KeyPair::generate().unwrap());
        let authority = Authority::establish(now(), &root_key, IssuingKeys { devices: key(), hub: key() }).unwrap();
        Self { authority, root_key }
    }

    pub(crate) fn root(&self) -> CaSigner<'_> {
        CaSigner::new(self.authority.root_certificate().clone(), &self.root_key).unwrap()
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
pub(crate) const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");

pub(crate) const IGNORE: CsrPolicy<'_> =
    CsrPolicy { keys: KeyKind::ECDSA, subject: SubjectRule::Ignore, challenge: ChallengeRule::Refuse };

pub(crate) const fn only<'a>(names: &'a [&'a str]) -> CsrPolicy<'a> {
    CsrPolicy { keys: KeyKind::ECDSA, subject: SubjectRule::Only(names), challenge: ChallengeRule::Refuse }
}

pub(crate) fn now() -> UnixMillis {
    SystemTime::now().into()
}

/// A directory, and `openssl` in it.
pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs it and returns whether it succeeded and all that it said.
    pub(crate) fn openssl(&self, arguments: &str) -> (bool, String) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    /// Runs it, and it has to succeed.
    pub(crate) fn must(&self, arguments: &str) -> String {
        let (success, said) = self.openssl(arguments);
        assert!(success, "openssl {arguments}: {said}");
        said
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command.output().expect("the tests need the openssl command")
    }
}

/// The parts of a request, to be changed before it is signed.
pub(crate) struct Draft {
    pub(crate) key: KeyPair,
    pub(crate) info: CertReqInfo,
    pub(crate) algorithm: AlgorithmIdentifierOwned,
}

impl Draft {
    /// A request without any name for a fresh key on P-256.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let public_key = SubjectPublicKeyInfoOwned::from_der(&key.subject_public_key_info()).unwrap();
        let info =
            CertReqInfo { version: Version::V1, subject: Name::default(), public_key, attributes: SetOfVec::new() };
        Self { key, info, algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_256, parameters: None } }
    }

    pub(crate) fn subject(mut self, text: &str) -> Self {
        self.info.subject = text.parse().unwrap();
        self
    }

    pub(crate) fn attribute(mut self, oid: ObjectIdentifier, value: &impl Encode) -> Self {
        let mut values = SetOfVec::new();
        values.insert(Any::from_der(&value.to_der().unwrap()).unwrap()).unwrap();
        self.info.attributes.insert(Attribute { oid, values }).unwrap();
        self
    }

    pub(crate) fn extensions(self, extensions: &Vec<Extension>) -> Self {
        self.attribute(EXTENSION_REQUEST, extensions)
    }

    pub(crate) fn extension(self, oid: &str, value: &[u8]) -> Self {
        self.extensions(&vec![extension(oid, value)])
    }

    pub(crate) fn sign(&self) -> Vec<u8> {
        let signature = self.key.sign(&self.info.to_der().unwrap()).unwrap();
        let signature = BitString::from_bytes(&signature).unwrap();
        CertReq { info: self.info.clone(), algorithm: self.algorithm.clone(), signature }.to_der().unwrap()
    }
}

pub(crate) fn extension(oid: &str, value: &[u8]) -> Extension {
    let extn_value = der::asn1::OctetString::new(value).unwrap();
    Extension { extn_id: ObjectIdentifier::new(oid).unwrap(), critical: false, extn_value }
}

/// SplitMix64: damage that repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
    /// `good` with one bit changed, one byte taken out or one put in.
    pub(crate) fn mutant(&mut self, good: &[u8]) -> Vec<u8> {
        let mut mutant = good.to_vec();
        let at = self.below(mutant.len());
        match self.below(3) {
            0 => mutant[at] ^= 1 << self.below(8),
            1 => drop(mutant.remove(at)),
            _ => mutant.insert(at, u8::try_from(self.below(256)).unwrap()),
        }
        mutant
    }
}
