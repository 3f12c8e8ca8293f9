//! Which public keys may be certified, and precisely why the others may not.

use std::{collections::HashSet, sync::LazyLock};

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384};
use der::{
    Decode, Encode, Reader, SliceReader,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef},
    oid::db::{
        rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1},
        rfc8410::ID_ED_25519,
    },
};
use x509_cert::spki::SubjectPublicKeyInfo;

use portreeve_types::KeyHash;

use crate::{SubjectPublicKey, key::key_hash};

/// The shortest RSA modulus that is not called short, bits (SP 800-57 part 1: security beyond 2030).
pub const RSA_BITS_MIN: usize = 3072;

/// The one public exponent that every implementation handles well (FIPS 186-5 allows more).
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Private scalars up to this one are so small that somebody chose them: their points are refused, of either sign.
const SMALL_SCALARS: u16 = 256;

/// SHA-256 of published keys whose private halves everybody has.
const PUBLISHED: [&str; 4] = [
    "b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e", // RFC 9500 §2.3, P-256
    "c4c10105a0be0ed4dd3354428dc38a9bfee64da141ce16e75c94eda272f9dd3a", // RFC 9500 §2.3, P-384
    "5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4", // RFC 6979 §A.2.5, P-256
    "2f95601fa82060b909bfc6b979dbd303d34d34e0afb27ea496beac362f242a4b", // RFC 6979 §A.2.6, P-384
];

/// Why a public key may not be certified (ISVS-4.1.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not a `SubjectPublicKeyInfo`, or not in its one DER form.
    #[error("the public key is not well-formed")]
    Malformed,
    /// An algorithm nobody here knows.
    #[error("keys of algorithm {0} are not accepted")]
    Algorithm(ObjectIdentifier),
    /// Ed25519: sound, but TLS as spoken here verifies ECDSA on P-256 and P-384 only.
    #[error("Ed25519 keys are not accepted: TLS verifies ECDSA on P-256 and P-384 only")]
    Ed25519,
    /// RSA with a modulus that is too short, whatever it is for.
    #[error("an RSA key of {bits} bits is too short")]
    RsaShort {
        /// Length of the modulus.
        bits: usize,
    },
    /// RSA with another public exponent than 65537.
    #[error("an RSA key with another exponent than 65537")]
    RsaExponent,
    /// RSA with an even modulus or one that a small prime divides.
    #[error("an RSA key with a small factor")]
    RsaSmallFactor,
    /// RSA from the library of CVE-2017-15361 ("ROCA"), which can be factored.
    #[error("an RSA key made by the library of CVE-2017-15361")]
    RsaRoca,
    /// RSA with nothing else to be said against it, but TLS as spoken here does not verify it.
    #[error("RSA keys are not accepted: TLS verifies ECDSA on P-256 and P-384 only")]
    Rsa,
    /// A curve outside the list.
    #[error("the curve {0} is not accepted")]
    Curve(ObjectIdentifier),
    /// A curve given by its parameters, which has been used to pass off one's own generator (CVE-2020-0601).
    #[error("the curve must be given by its name")]
    ExplicitCurve,
    /// The point at infinity.
    #[error("the public point is the point at infinity")]
    Infinity,
    /// A compressed point would give one key two hashes.
    #[error("the public point is compressed")]
    Compressed,
    /// A point of the wrong length or off its curve.
    #[error("the public point does not lie on its curve")]
    OffCurve,
    /// A small multiple of the generator, or a key out of a published example.
    #[error("everybody knows the private key")]
    WellKnown,
}

/// Checks a DER `SubjectPublicKeyInfo`: ECDSA on P-256 or P-384, a point on the curve, not one that everybody knows.
///
/// What is not checked: lists of the 2008 Debian keys, which are RSA and DSA (and so refused), and whether some other
/// device has the same key, which the registry knows.
///
/// # Errors
/// The first thing found wrong; for RSA a weakness comes before the kind.
pub fn audit_key(spki_der: &[u8]) -> Result<SubjectPublicKey, KeyRefusal> {
    let spki =
        SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(spki_der).map_err(|_| KeyRefusal::Malformed)?;
    if spki.to_der().as_deref() != Ok(spki_der) {
        return Err(KeyRefusal::Malformed);
    }
    let bytes = spki.subject_public_key.as_bytes().ok_or(KeyRefusal::Malformed)?;
    match spki.algorithm.oid {
        ID_EC_PUBLIC_KEY => audit_ec(spki_der, spki.algorithm.parameters, bytes),
        RSA_ENCRYPTION => Err(audit_rsa(bytes)),
        ID_ED_25519 => Err(KeyRefusal::Ed25519),
        other => Err(KeyRefusal::Algorithm(other)),
    }
}

/// The size of the RSA keys that TPM makers certify, bits.
const ENDORSEMENT_RSA_BITS: usize = 2048;

/// Checks a DER `SubjectPublicKeyInfo` of a TPM's endorsement key (TCG EK Credential Profile, templates L-1 and L-2):
/// RSA of 2048 bits or P-256, in its one encoding, so that one key has one hash. It is encrypted to and signs nothing, so
/// the length that is called short for signatures will do; keys that can be factored will not.
///
/// # Errors
/// The first thing found wrong.
pub fn audit_endorsement_key(spki_der: &[u8]) -> Result<KeyHash, KeyRefusal> {
    match audit_key(spki_der) {
        Ok(key) if key.is_p256() => return Ok(key.hash()),
        Ok(_) => return Err(KeyRefusal::Curve(SECP_384_R_1)),
        Err(KeyRefusal::RsaShort { bits: ENDORSEMENT_RSA_BITS }) => {}
        Err(other) => return Err(other),
    }
    let spki =
        SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(spki_der).map_err(|_| KeyRefusal::Malformed)?;
    if spki.algorithm.parameters != Some(AnyRef::NULL) {
        return Err(KeyRefusal::Malformed);
    }
    let numbers = spki.subject_public_key.as_bytes().and_then(rsa_numbers);
    let (modulus, exponent) = numbers.ok_or(KeyRefusal::Malformed)?;
    match rsa_weakness(modulus, exponent) {
        Some(weakness) => Err(weakness),
        None => Ok(key_hash(spki_der)),
    }
}

fn audit_ec(spki_der: &[u8], curve: Option<AnyRef<'_>>, point: &[u8]) -> Result<SubjectPublicKey, KeyRefusal> {
    let curve = curve.ok_or(KeyRefusal::Malformed)?;
    let curve = curve.decode_as::<ObjectIdentifier>().map_err(|_| KeyRefusal::ExplicitCurve)?;
    if curve != SECP_256_R_1 && curve != SECP_384_R_1 {
        return Err(KeyRefusal::Curve(curve));
    }
    match point {
        [0] => return Err(KeyRefusal::Infinity),
        [2 | 3, ..] => return Err(KeyRefusal::Compressed),
        _ => {}
    }
    let key = SubjectPublicKey::from_spki_der(spki_der).map_err(|_| KeyRefusal::OffCurve)?;
    let small = point.get(1..=point.len() / 2).is_some_and(|x| SMALL_MULTIPLES.contains(x));
    if small || PUBLISHED.contains(&key.hash().to_string().as_str()) {
        return Err(KeyRefusal::WellKnown);
    }
    Ok(key)
}

/// X coordinates of the small multiples of both generators; a point and its negative share theirs.
static SMALL_MULTIPLES: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
    let x_of = |algorithm, scalar_bytes: usize, scalar: u16| {
        let mut private = vec![0; scalar_bytes - 2];
        private.extend(scalar.to_be_bytes());
        let point = agreement::PrivateKey::from_private_key(algorithm, &private).ok()?.compute_public_key().ok()?;
        point.as_ref().get(1..=scalar_bytes).map(<[u8]>::to_vec)
    };
    let p256 = (1..=SMALL_SCALARS).filter_map(|scalar| x_of(&ECDH_P256, 32, scalar));
    p256.chain((1..=SMALL_SCALARS).filter_map(|scalar| x_of(&ECDH_P384, 48, scalar))).collect()
});

/// What is wrong with an RSA key; at least, that it is one.
fn audit_rsa(pkcs1_der: &[u8]) -> KeyRefusal {
    let Some((modulus, exponent)) = rsa_numbers(pkcs1_der) else { return KeyRefusal::Malformed };
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits < RSA_BITS_MIN {
        return KeyRefusal::RsaShort { bits };
    }
    rsa_weakness(modulus, exponent).unwrap_or(KeyRefusal::Rsa)
}

/// What is wrong with an RSA key, whatever its length.
fn rsa_weakness(modulus: &[u8], exponent: &[u8]) -> Option<KeyRefusal> {
    if exponent != RSA_EXPONENT {
        return Some(KeyRefusal::RsaExponent);
    }
    if modulus.last().is_none_or(|byte| byte % 2 == 0) || odd_primes().any(|prime| modulo(modulus, prime) == 0) {
        return Some(KeyRefusal::RsaSmallFactor);
    }
    is_roca(modulus).then_some(KeyRefusal::RsaRoca)
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 §A.1.1).
fn rsa_numbers(pkcs1_der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(pkcs1_der).ok()?;
    let numbers = reader.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?))).ok()?;
    reader.is_finished().then(|| (numbers.0.as_bytes(), numbers.1.as_bytes()))
}

/// Whether the modulus has the fingerprint of Nemec et al., "The Return of Coppersmith's Attack" (CCS 2017) §2: modulo
/// every small prime it is a power of 65537, as the primes of that library are. An honest key passes for such a one
/// once in 2^27.
fn is_roca(modulus: &[u8]) -> bool {
    odd_primes().all(|prime| is_power_of_65537(modulo(modulus, prime), prime))
}

fn is_power_of_65537(value: u32, prime: u32) -> bool {
    let generator = 65537 % prime;
    let mut power = 1;
    loop {
        if power == value {
            return true;
        }
        power = power * generator % prime;
        if power <= 1 {
            return false;
        }
    }
}

/// The odd primes up to 167: the ones whose product divides that of every key length of the flawed library.
fn odd_primes() -> impl Iterator<Item = u32> {
    (3..=167).filter(|&number| (2..number).take_while(|divisor| divisor * divisor <= number).all(|d| number % d != 0))
}

fn modulo(number: &[u8], modulus: u32) -> u32 {
    number.iter().fold(0, |rest, &byte| ((rest << 8) | u32::from(byte)) % modulus)
}
