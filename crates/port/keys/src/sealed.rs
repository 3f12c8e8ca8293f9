//! The file of a sealed key: two PEM blocks, the public key and PKCS #8 `EncryptedPrivateKeyInfo` (RFC 5958 §3) by
//! PBES2 (RFC 8018 §6.2), after lines for a person. `openssl pkcs8 -in FILE` opens it without this program.
//!
//! PBES2 with CBC cannot tell a wrong passphrase from changed bytes, hence a digest over both blocks in the lines before
//! them. It finds accidents, before any work is done for the passphrase; somebody who forges it reaches no further than
//! a key that does not fit its public half, which is then refused too.

use std::num::NonZeroU32;

use aws_lc_rs::{
    cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey},
    digest, pbkdf2, rand,
};
use pkcs8::{
    Document, EncryptedPrivateKeyInfo, LineEnding, SecretDocument,
    der::Decode as _,
    pkcs5::{
        EncryptionScheme,
        pbes2::{self, Pbkdf2Params, Pbkdf2Prf, ScryptParams},
    },
};
use zeroize::Zeroizing;

use crate::{KeyError, KeyName, Passphrase, PublicKey, SigningKey as _, private::PrivateKey};

/// How a passphrase becomes an encryption key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kdf {
    /// scrypt (RFC 7914), whose need for memory makes guessing dear. N = 2¹⁴ is the most that OpenSSL accepts; five
    /// lanes make up for it (OWASP's equal of N = 2¹⁷ with one).
    #[default]
    Scrypt,
    /// PBKDF2 with HMAC-SHA-256 (NIST SP 800-132), for where only approved algorithms may be used.
    Pbkdf2,
}

pub(crate) const LABEL: &str = "ENCRYPTED PRIVATE KEY";
const BEGIN_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----";
const BEGIN_SEALED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const DIGEST: &str = "SHA-256: ";

const SCRYPT_LOG2_N: u8 = 14;
const SCRYPT_R: u16 = 8;
const SCRYPT_P: u16 = 5;
/// 128·N·r: four times what is written.
const SCRYPT_MEMORY_BYTES_MAX: u64 = 64 << 20;
/// N·r·p: a few times what is written, a few seconds.
const SCRYPT_WORK_MAX: u64 = 1 << 22;
const PBKDF2_ROUNDS: u32 = 600_000;
const PBKDF2_ROUNDS_MAX: u32 = 4_000_000;
const SALT_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;

type AesKey = Zeroizing<[u8; 32]>;

/// A sealed key as read, whole but closed.
pub(crate) struct Sealed {
    pub(crate) public: PublicKey,
    encrypted: Document,
}

impl Sealed {
    /// Reads a file's text.
    pub(crate) fn parse(what: &str, text: &str) -> Result<Self, KeyError> {
        let damaged = |reason| KeyError::Damaged { what: what.to_owned(), reason };
        let (head, blocks) = text.split_at(text.find(BEGIN_PUBLIC).ok_or(damaged("it lacks its public key"))?);
        let (public, encrypted) =
            blocks.split_at(blocks.find(BEGIN_SEALED).ok_or(damaged("it lacks its encrypted part"))?);
        let public = document("PUBLIC KEY", public).ok_or(damaged("its public key is not valid PEM"))?;
        let encrypted = document(LABEL, encrypted).ok_or(damaged("its encrypted part is not valid PEM"))?;
        let noted = head.lines().find_map(|line| line.strip_prefix(DIGEST));
        if noted != Some(checksum(public.as_bytes(), encrypted.as_bytes()).as_str()) {
            return Err(damaged("its content differs from its digest"));
        }
        let public =
            PublicKey::from_spki_der(public.as_bytes()).ok_or(damaged("its public key is of no known kind"))?;
        Ok(Self { public, encrypted })
    }

    pub(crate) fn open(&self, what: &str, passphrase: &Passphrase) -> Result<PrivateKey, KeyError> {
        let damaged = |reason| KeyError::Damaged { what: what.to_owned(), reason };
        let info = EncryptedPrivateKeyInfo::from_der(self.encrypted.as_bytes())
            .map_err(|_| damaged("its encrypted part is not PKCS #8"))?;
        let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
            return Err(damaged("it is encrypted by an obsolete method"));
        };
        let pbes2::EncryptionScheme::Aes256Cbc { iv } = parameters.encryption else {
            return Err(damaged("it is not encrypted with AES-256"));
        };
        let key = derive(what, &parameters.kdf, passphrase)?;
        let wrong = || KeyError::WrongPassphrase(what.to_owned());
        let mut buffer = Zeroizing::new(info.encrypted_data.to_vec());
        let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key.as_ref())?)?;
        let pkcs8 = cipher.decrypt(&mut buffer, DecryptionContext::Iv128(iv.into())).map_err(|_| wrong())?;
        // One wrong passphrase in 256 gives a valid padding, and then noise.
        let private = PrivateKey::from_pkcs8(pkcs8).ok_or_else(wrong)?;
        if *private.public() != self.public {
            return Err(damaged("its private key belongs to another public key"));
        }
        Ok(private)
    }
}

/// The text of a sealed key's file.
pub(crate) fn seal(
    name: &KeyName,
    private: &PrivateKey,
    passphrase: &Passphrase,
    kdf: Kdf,
) -> Result<String, KeyError> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt)?;
    let kdf = match kdf {
        Kdf::Scrypt => pbes2::Kdf::Scrypt(ScryptParams {
            salt: &salt,
            cost_parameter: 1 << SCRYPT_LOG2_N,
            block_size: SCRYPT_R,
            parallelization: SCRYPT_P,
            key_length: None,
        }),
        Kdf::Pbkdf2 => {
            pbes2::Kdf::Pbkdf2(Pbkdf2Params::hmac_with_sha256(PBKDF2_ROUNDS, &salt).map_err(|_| KeyError::Crypto)?)
        }
    };
    seal_with(name, private, passphrase, kdf)
}

fn seal_with(
    name: &KeyName,
    private: &PrivateKey,
    passphrase: &Passphrase,
    kdf: pbes2::Kdf<'_>,
) -> Result<String, KeyError> {
    let key = derive(name.as_str(), &kdf, passphrase)?;
    let pkcs8 = private.to_pkcs8()?;
    // Room for the padding, so that the buffer does not move and leave a copy behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(pkcs8.len() + BLOCK_BYTES));
    buffer.extend_from_slice(&pkcs8);
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key.as_ref())?)?;
    let context = cipher.encrypt(&mut *buffer)?;
    let iv = match &context {
        DecryptionContext::Iv128(iv) => iv.as_ref(),
        _ => return Err(KeyError::Crypto),
    };
    let encryption = pbes2::EncryptionScheme::Aes256Cbc { iv };
    let info = EncryptedPrivateKeyInfo {
        encryption_algorithm: pbes2::Parameters { kdf, encryption }.into(),
        encrypted_data: &buffer,
    };
    let encrypted = Document::encode_msg(&info).map_err(|_| KeyError::Crypto)?;
    text(name, private.public(), &encrypted)
}

fn text(name: &KeyName, public: &PublicKey, encrypted: &Document) -> Result<String, KeyError> {
    let spki = Document::try_from(public.spki_der()).map_err(|_| KeyError::Crypto)?;
    let pem = |label, document: &Document| document.to_pem(label, LineEnding::LF).map_err(|_| KeyError::Crypto);
    Ok(format!(
        "Sealed key {name}, {algorithm}. To open it without Portreeve: openssl pkcs8 -in {name}.key\n\
         {DIGEST}{checksum}\n{public}{sealed}",
        algorithm = public.algorithm(),
        checksum = checksum(public.spki_der(), encrypted.as_bytes()),
        public = pem("PUBLIC KEY", &spki)?,
        sealed = pem(LABEL, encrypted)?,
    ))
}

/// Derives the encryption key, once the cost is known to be bounded.
fn derive(what: &str, kdf: &pbes2::Kdf<'_>, passphrase: &Passphrase) -> Result<AesKey, KeyError> {
    let damaged = |reason| KeyError::Damaged { what: what.to_owned(), reason };
    let costly = |reason| KeyError::TooCostly { what: what.to_owned(), reason };
    let mut key = AesKey::default();
    if kdf.key_length().is_some_and(|length| usize::from(length) != key.len()) {
        return Err(damaged("its key length is not that of AES-256"));
    }
    match kdf {
        pbes2::Kdf::Scrypt(params) => {
            let (n, r, p) = (params.cost_parameter, u64::from(params.block_size), u64::from(params.parallelization));
            if n.saturating_mul(r).saturating_mul(128) > SCRYPT_MEMORY_BYTES_MAX {
                return Err(costly("scrypt needs more than 64 MiB of memory"));
            }
            if n.saturating_mul(r).saturating_mul(p) > SCRYPT_WORK_MAX {
                return Err(costly("scrypt takes too long"));
            }
            let log2_n = u8::try_from(n.trailing_zeros()).ok().filter(|_| n.is_power_of_two());
            let checked = log2_n.and_then(|log2_n| {
                scrypt::Params::new(log2_n, params.block_size.into(), params.parallelization.into(), key.len()).ok()
            });
            let checked = checked.ok_or(damaged("its scrypt parameters are not valid"))?;
            scrypt::scrypt(passphrase.expose(), params.salt, &checked, key.as_mut()).map_err(|_| KeyError::Crypto)?;
        }
        pbes2::Kdf::Pbkdf2(params) if params.prf == Pbkdf2Prf::HmacWithSha256 => {
            if params.iteration_count > PBKDF2_ROUNDS_MAX {
                return Err(costly("PBKDF2 takes too many rounds"));
            }
            let rounds = NonZeroU32::new(params.iteration_count).ok_or(damaged("PBKDF2 with no rounds"))?;
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, params.salt, passphrase.expose(), key.as_mut());
        }
        _ => return Err(damaged("its key derivation is neither scrypt nor PBKDF2 with SHA-256")),
    }
    Ok(key)
}

fn document(label: &str, pem: &str) -> Option<Document> {
    let (found, document) = Document::from_pem(pem).ok()?;
    (found == label).then_some(document)
}

/// Reads an unsealed key: one PEM block of PKCS #8.
pub(crate) fn parse_plain(what: &str, text: &str) -> Result<PrivateKey, KeyError> {
    let read = SecretDocument::from_pem(text).ok().filter(|(label, _)| *label == "PRIVATE KEY");
    let private = read.and_then(|(_, document)| PrivateKey::from_pkcs8(document.as_bytes()));
    private.ok_or(KeyError::Damaged { what: what.to_owned(), reason: "it is no private key in PEM" })
}

/// The text of an unsealed key's file.
pub(crate) fn plain(private: &PrivateKey) -> Result<Zeroizing<String>, KeyError> {
    let pkcs8 = private.to_pkcs8()?;
    let document = SecretDocument::try_from(pkcs8.as_slice()).map_err(|_| KeyError::Crypto)?;
    document.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| KeyError::Crypto)
}

fn checksum(public: &[u8], encrypted: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(public);
    context.update(encrypted);
    hex::encode(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyAlgorithm;

    const PASSPHRASE: &str = "correct horse battery";

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.into())).unwrap()
    }

    fn scrypt_kdf(n: u64, r: u16, p: u16) -> pbes2::Kdf<'static> {
        pbes2::Kdf::Scrypt(ScryptParams {
            salt: b"salt",
            cost_parameter: n,
            block_size: r,
            parallelization: p,
            key_length: None,
        })
    }

    fn pbkdf2_kdf(rounds: u32) -> pbes2::Kdf<'static> {
        pbes2::Kdf::Pbkdf2(Pbkdf2Params::hmac_with_sha256(rounds, b"salt").unwrap())
    }

    /// Sealed under next to no work, for tests that open it often.
    fn cheap(algorithm: KeyAlgorithm) -> (PrivateKey, String) {
        let private = PrivateKey::generate(algorithm).unwrap();
        let text = seal_with(&"test".parse().unwrap(), &private, &passphrase(PASSPHRASE), scrypt_kdf(2, 1, 1)).unwrap();
        (private, text)
    }

    #[test]
    fn every_kind_of_key_opens_under_its_passphrase_only() {
        for algorithm in KeyAlgorithm::ALL {
            let (private, text) = cheap(algorithm);
            let sealed = Sealed::parse("test", &text).unwrap();
            assert_eq!(sealed.public, *private.public());
            let opened = sealed.open("test", &passphrase(PASSPHRASE)).unwrap();
            assert!(private.public().verifies(b"message", &opened.sign(b"message").unwrap()));
            // Often enough for some that the padding lets through.
            for attempt in 0..1000 {
                let wrong = sealed.open("test", &passphrase(&format!("wrong {attempt}"))).unwrap_err();
                assert!(matches!(wrong, KeyError::WrongPassphrase(_)), "{wrong}");
            }
        }
    }

    #[test]
    fn absurd_costs_are_refused_before_they_arise() {
        let absurd = [
            scrypt_kdf(1 << 40, 8, 1),
            scrypt_kdf(1 << 17, 8, 1),
            scrypt_kdf(1 << 62, u16::MAX, u16::MAX),
            scrypt_kdf(u64::MAX, 1, 1),
            scrypt_kdf(1 << 14, 8, u16::MAX),
            pbkdf2_kdf(100_000_000),
        ];
        for kdf in absurd {
            let refused = derive("test", &kdf, &passphrase(PASSPHRASE)).unwrap_err();
            assert!(matches!(refused, KeyError::TooCostly { .. }), "{kdf:?}: {refused}");
        }
        for kdf in [scrypt_kdf(0, 8, 1), scrypt_kdf(3, 8, 1), scrypt_kdf(2, 0, 1), scrypt_kdf(2, 1, 0)] {
            let refused = derive("test", &kdf, &passphrase(PASSPHRASE)).unwrap_err();
            assert!(matches!(refused, KeyError::Damaged { .. }), "{kdf:?}: {refused}");
        }
    }

    /// The same from a file that somebody wrote by hand, digest and all.
    #[test]
    fn a_hostile_file_is_refused() {
        let (private, _) = cheap(KeyAlgorithm::EcdsaP256);
        let iv = [0; 16];
        for kdf in [scrypt_kdf(1 << 30, 8, 1), pbkdf2_kdf(100_000_000)] {
            let parameters = pbes2::Parameters { kdf, encryption: pbes2::EncryptionScheme::Aes256Cbc { iv: &iv } };
            let info = EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data: &[0; 64] };
            let encrypted = Document::encode_msg(&info).unwrap();
            let text = text(&"test".parse().unwrap(), private.public(), &encrypted).unwrap();
            let refused = Sealed::parse("test", &text).unwrap().open("test", &passphrase(PASSPHRASE)).unwrap_err();
            assert!(matches!(refused, KeyError::TooCostly { .. }), "{refused}");
        }
    }

    #[test]
    fn another_keys_private_half_is_refused() {
        let (_, text_of_one) = cheap(KeyAlgorithm::EcdsaP256);
        let (other, _) = cheap(KeyAlgorithm::EcdsaP256);
        let encrypted = Sealed::parse("test", &text_of_one).unwrap().encrypted;
        let spliced = text(&"test".parse().unwrap(), other.public(), &encrypted).unwrap();
        let refused = Sealed::parse("test", &spliced).unwrap().open("test", &passphrase(PASSPHRASE)).unwrap_err();
        assert!(matches!(refused, KeyError::Damaged { .. }), "{refused}");
    }

    /// Damage is never taken for a wrong passphrase, and never for another key.
    #[test]
    fn damage_anywhere_is_found() {
        let (private, text) = cheap(KeyAlgorithm::EcdsaP384);
        let from = text.find(DIGEST).unwrap();
        let mut opened = 0;
        for at in 0..text.len() {
            for flip in [0x01, 0x20, 0x10] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= flip;
                let Ok(mutant) = String::from_utf8(bytes) else { continue };
                match Sealed::parse("test", &mutant).and_then(|sealed| sealed.open("test", &passphrase(PASSPHRASE))) {
                    Ok(key) => {
                        assert_eq!(key.public(), private.public());
                        opened += 1;
                    }
                    Err(KeyError::Damaged { .. }) => {}
                    Err(other) => panic!("byte {at}: {other}"),
                }
            }
        }
        assert!(opened >= from, "the words for a person may change, {opened}");
        for end in 0..text.len() - 1 {
            assert!(Sealed::parse("test", &text[..end]).is_err(), "cut at {end}");
        }
    }
}
