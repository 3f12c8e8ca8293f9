use aws_lc_rs::{
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey},
    cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey},
    digest, hmac,
    iv::FixedLength,
    rand::{self, SystemRandom},
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use zeroize::Zeroizing;

use super::{
    area::{EndorsementKind, TpmKeyArea},
    wire::Writer,
};
use crate::{KeyAlgorithm, KeyError, PublicKey};

/// Longest secret of a challenge: a digest's length (part 2 §10.4.3 with SHA-256).
pub const CHALLENGE_SECRET_BYTES_MAX: usize = 32;

/// Names the use of the secret in its key derivation.
const IDENTITY: &[u8] = b"IDENTITY\0";
const SEED_BYTES: usize = 32;
/// Of a point that is written out in full, before the coordinates.
const COORDINATES: std::ops::Range<usize> = 1..65;

/// A secret that one TPM alone can read, and only if it holds a certain key (`TPM2_MakeCredential`, part 1 §24). Made in
/// software, so the hub needs no TPM.
///
/// Who answers with the secret has the TPM of the endorsement key, and in it the key of the area. It is proof of a
/// device's identity at enrolment once the endorsement key is known: certified by a manufacturer, or registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `TPM2B_ID_OBJECT`'s content.
    pub credential: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`'s content.
    pub encrypted_secret: Vec<u8>,
}

impl Challenge {
    /// Encrypts a secret for the TPM with this endorsement key (`SubjectPublicKeyInfo`, RSA of 2048 bits or P-256, made
    /// by the default templates) and for the holder of this key.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for another kind of endorsement key, or a secret longer than
    /// [`CHALLENGE_SECRET_BYTES_MAX`].
    pub fn new(endorsement_spki_der: &[u8], key: &TpmKeyArea, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.is_empty() || secret.len() > CHALLENGE_SECRET_BYTES_MAX {
            return Err(unsupported("a secret of this length"));
        }
        let (seed, encrypted_secret) = match PublicKey::from_spki_der(endorsement_spki_der) {
            Some(public) if public.algorithm() == KeyAlgorithm::EcdsaP256 => ecc_seed(&public)?,
            Some(_) => return Err(unsupported("this kind of endorsement key")),
            None => rsa_seed(endorsement_spki_der)?,
        };
        Ok(Self { credential: wrap(&seed, &key.name(), secret)?, encrypted_secret })
    }

    /// Which endorsement key can answer: the two kinds' secrets differ in form.
    pub(crate) fn kind(&self) -> EndorsementKind {
        const RSA_BYTES: usize = 256;
        if self.encrypted_secret.len() == RSA_BYTES { EndorsementKind::Rsa2048 } else { EndorsementKind::EccP256 }
    }
}

fn unsupported(what: &str) -> KeyError {
    KeyError::Unsupported { place: "a TPM challenge".into(), what: what.into() }
}

type Seed = Zeroizing<[u8; SEED_BYTES]>;

/// Part 1 annex B.10.3.
fn rsa_seed(spki_der: &[u8]) -> Result<(Seed, Vec<u8>), KeyError> {
    let key = PublicEncryptingKey::from_der(spki_der).map_err(|_| unsupported("this kind of endorsement key"))?;
    if key.key_size_bits() != 2048 {
        return Err(unsupported("an endorsement key that is not of 2048 bits"));
    }
    let mut seed = Seed::default();
    rand::fill(seed.as_mut())?;
    let mut encrypted = vec![0; key.key_size_bytes()];
    let key = OaepPublicEncryptingKey::new(key)?;
    let length = key.encrypt(&OAEP_SHA256_MGF1SHA256, seed.as_ref(), &mut encrypted, Some(IDENTITY))?.len();
    encrypted.truncate(length);
    Ok((seed, encrypted))
}

/// Part 1 annex C.6.3.
fn ecc_seed(endorsement: &PublicKey) -> Result<(Seed, Vec<u8>), KeyError> {
    let ephemeral = EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new())?;
    let ours = ephemeral.compute_public_key()?;
    let (our_x, our_y) = ours.as_ref()[COORDINATES].split_at(32);
    let (their_x, _) = endorsement.raw()[COORDINATES].split_at(32);
    let theirs = UnparsedPublicKey::new(&agreement::ECDH_P256, endorsement.raw());
    let seed = agreement::agree_ephemeral(ephemeral, theirs, KeyError::Crypto, |shared| {
        Ok(kdf_e(shared, IDENTITY, our_x, their_x))
    })?;
    Ok((seed, Writer::new().sized(our_x).sized(our_y).done().to_vec()))
}

/// Encrypts and authenticates the secret, bound to the key's name (part 1 §24.4 and §24.5).
fn wrap(seed: &Seed, name: &[u8], secret: &[u8]) -> Result<Vec<u8>, KeyError> {
    let key = kdf_a(seed, b"STORAGE\0", name, 128);
    let mut identity = Writer::new().sized(secret).done();
    let cipher = EncryptingKey::cfb128(UnboundCipherKey::new(&AES_128, &key[..16])?)?;
    // The key is used once, so the specification's vector of zeros does no harm.
    cipher.less_safe_encrypt(&mut identity, EncryptionContext::Iv128(FixedLength::from([0; 16])))?;
    let key = kdf_a(seed, b"INTEGRITY\0", &[], 256);
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()));
    context.update(&identity);
    context.update(name);
    Ok(Writer::new().sized(context.sign().as_ref()).bytes(&identity).done().to_vec())
}

/// `KDFa` (part 1 §11.4.10.2, from NIST SP 800-108) with SHA-256, of at most one block.
fn kdf_a(key: &Seed, label: &[u8], context: &[u8], bits: u32) -> Seed {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()));
    for part in [&1_u32.to_be_bytes(), label, context, &bits.to_be_bytes()] {
        mac.update(part);
    }
    first_bytes(mac.sign().as_ref())
}

/// `KDFe` (part 1 §11.4.10.3, from NIST SP 800-56A) with SHA-256, of one block.
fn kdf_e(shared: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> Seed {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [&1_u32.to_be_bytes(), shared, label, ours, theirs] {
        hash.update(part);
    }
    first_bytes(hash.finish().as_ref())
}

fn first_bytes(digest: &[u8]) -> Seed {
    let mut seed = Seed::default();
    seed.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    seed
}
