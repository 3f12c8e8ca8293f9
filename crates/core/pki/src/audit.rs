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
use num_bigint::BigUint;
use x509_cert::spki::SubjectPublicKeyInfo;

use portreeve_types::KeyHash;

use crate::{KeyKind, SubjectPublicKey, key::key_hash};

/// The shortest RSA modulus that is not called short, bits (SP 800-57 part 1: security beyond 2030).
pub const RSA_BITS_MIN: usize = 3072;

/// Rounds of Fermat's method that a modulus has to withstand; what was found in the field takes one.
const FERMAT_ROUNDS: u32 = 100;

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

/// Why a public key may not be certified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not a `SubjectPublicKeyInfo`, or not in its one DER form.
    #[error("the public key is not well-formed")]
    Malformed,
    /// An algorithm nobody here knows.
    #[error("keys of algorithm {0} are not accepted")]
    Algorithm(ObjectIdentifier),
    /// Ed25519: sound, but TLS as spoken here does not verify it.
    #[error("Ed25519 keys are not accepted: TLS verifies ECDSA, and RSA where it is configured")]
    Ed25519,
    /// RSA with a modulus that is too short, whatever it is for.
    #[error("an RSA key of {bits} bits is too short")]
    RsaShort {
        /// Length of the modulus.
        bits: usize,
    },
    /// RSA with a modulus that is long enough, and yet not one of the two lengths that are made on purpose.
    #[error("an RSA key of {bits} bits: only 3072 and 4096 can be accepted")]
    RsaLength {
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
    /// RSA whose two primes lie so close together that Fermat's method finds them, as of CVE-2022-26320.
    #[error("an RSA key whose primes are close together")]
    RsaClosePrimes,
    /// Sound, but not among the kinds that are accepted here.
    #[error("keys of the kind {0} are not accepted here")]
    Kind(KeyKind),
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
/// For every key but a device's own: of CAs, of makers, of signers.
///
/// # Errors
/// The first thing found wrong, as [`audit_device_key`] finds it.
pub fn audit_key(spki_der: &[u8]) -> Result<SubjectPublicKey, KeyRefusal> {
    audit_device_key(spki_der, KeyKind::ECDSA)
}

/// Checks a DER `SubjectPublicKeyInfo` of a device: sound, of one of these kinds, and not known to be weak.
///
/// What is not checked: lists of RSA keys that are weak or published, such as those of Debian in 2008; whether the
/// moduli of two devices have a prime in common; and whether some other device has the same key, which the registry
/// knows.
///
/// # Errors
/// The first thing found wrong; for RSA what is cheap to find comes before the kind.
pub fn audit_device_key(spki_der: &[u8], accepted: &[KeyKind]) -> Result<SubjectPublicKey, KeyRefusal> {
    let spki =
        SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(spki_der).map_err(|_| KeyRefusal::Malformed)?;
    if spki.to_der().as_deref() != Ok(spki_der) {
        return Err(KeyRefusal::Malformed);
    }
    let bytes = spki.subject_public_key.as_bytes().ok_or(KeyRefusal::Malformed)?;
    match spki.algorithm.oid {
        ID_EC_PUBLIC_KEY => audit_ec(spki_der, spki.algorithm.parameters, bytes, accepted),
        RSA_ENCRYPTION => audit_rsa(spki_der, bytes, accepted),
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
    expect_sound_rsa(modulus, exponent, true)?;
    Ok(key_hash(spki_der))
}

fn audit_ec(
    spki_der: &[u8],
    curve: Option<AnyRef<'_>>,
    point: &[u8],
    accepted: &[KeyKind],
) -> Result<SubjectPublicKey, KeyRefusal> {
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
    if !accepted.contains(&key.kind()) {
        return Err(KeyRefusal::Kind(key.kind()));
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

fn audit_rsa(spki_der: &[u8], pkcs1_der: &[u8], accepted: &[KeyKind]) -> Result<SubjectPublicKey, KeyRefusal> {
    let (modulus, exponent) = rsa_numbers(pkcs1_der).ok_or(KeyRefusal::Malformed)?;
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits < RSA_BITS_MIN {
        return Err(KeyRefusal::RsaShort { bits });
    }
    let kind = match bits {
        RSA_BITS_MIN => Some(KeyKind::Rsa3072),
        4096 => Some(KeyKind::Rsa4096),
        _ => None,
    };
    let is_expected = kind.is_some_and(|kind| accepted.contains(&kind));
    expect_sound_rsa(modulus, exponent, is_expected)?;
    match kind {
        Some(kind) if is_expected => SubjectPublicKey::rsa(spki_der, kind).ok_or(KeyRefusal::Malformed),
        Some(kind) => Err(KeyRefusal::Kind(kind)),
        None => Err(KeyRefusal::RsaLength { bits }),
    }
}

/// Whether nothing is wrong with an RSA key but, perhaps, its length. What costs a millisecond is done only where such keys
/// are expected.
fn expect_sound_rsa(modulus: &[u8], exponent: &[u8], is_expected: bool) -> Result<(), KeyRefusal> {
    if exponent != RSA_EXPONENT {
        return Err(KeyRefusal::RsaExponent);
    }
    if modulus.last().is_none_or(|byte| byte % 2 == 0) || odd_primes().any(|prime| modulo(modulus, prime) == 0) {
        return Err(KeyRefusal::RsaSmallFactor);
    }
    if is_roca(modulus) {
        return Err(KeyRefusal::RsaRoca);
    }
    if is_expected && has_close_primes(modulus) {
        return Err(KeyRefusal::RsaClosePrimes);
    }
    Ok(())
}

/// Whether so many rounds of Fermat's method factor the modulus: whether it is a² - b² for an `a` that is barely above
/// its root. The primes of honest keys are so far apart that 2^1300 rounds would be needed (FIPS 186-5 §A.1.3).
fn has_close_primes(modulus: &[u8]) -> bool {
    let modulus = BigUint::from_bytes_be(modulus);
    let floor = modulus.sqrt();
    (0..=FERMAT_ROUNDS).any(|round| {
        let a = &floor + round;
        let square = &a * &a;
        square >= modulus && is_square(&(square - &modulus))
    })
}

fn is_square(number: &BigUint) -> bool {
    // Three of four numbers are ruled out by what squares leave modulo 16.
    let rest = number.iter_u32_digits().next().unwrap_or(0) % 16;
    matches!(rest, 0 | 1 | 4 | 9) && number.sqrt().pow(2) == *number
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
