//! Public areas of objects (`TPMT_PUBLIC`, part 2 §12.2.4): what a key is, and what its TPM vouches for.

use aws_lc_rs::digest;

use super::wire::{Reader, Writer, alg, attribute, curve};
use crate::{
    KeyAlgorithm, PublicKey,
    public::{der_number, der_sequence},
};

/// A key made in a TPM, kept in it for ever, and for signing only.
const SIGNING: u32 = attribute::FIXED_TPM
    | attribute::FIXED_PARENT
    | attribute::SENSITIVE_DATA_ORIGIN
    | attribute::USER_WITH_AUTH
    | attribute::SIGN;
/// The parent of all keys: encrypts its children, and nothing else.
const STORAGE: u32 = attribute::FIXED_TPM
    | attribute::FIXED_PARENT
    | attribute::SENSITIVE_DATA_ORIGIN
    | attribute::USER_WITH_AUTH
    | attribute::NO_DA
    | attribute::RESTRICTED
    | attribute::DECRYPT;
/// TCG EK Credential Profile 2.5, template L-1 and L-2.
const ENDORSEMENT: u32 = attribute::FIXED_TPM
    | attribute::FIXED_PARENT
    | attribute::SENSITIVE_DATA_ORIGIN
    | attribute::ADMIN_WITH_POLICY
    | attribute::RESTRICTED
    | attribute::DECRYPT;
/// The policy of those templates: `TPM2_PolicySecret` of the endorsement hierarchy.
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
const AES_KEY_BITS: u16 = 128;
const RSA_KEY_BITS: u16 = 2048;
const RSA_KEY_BYTES: usize = 256;
const P256_BYTES: usize = 32;

/// The endorsement keys that manufacturers certify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndorsementKind {
    /// RSA with 2048 bits, which every TPM has.
    Rsa2048,
    /// ECC on P-256.
    EccP256,
}

pub(crate) fn storage_template() -> Vec<u8> {
    // An empty point: the key depends on nothing but the TPM's seed, so any program finds the same.
    ecc_area(STORAGE, &[], Symmetric::Aes, curve::P256, &[])
}

/// Nothing for a kind of key that the TPM specification has no common curve for.
pub(crate) fn signing_template(algorithm: KeyAlgorithm) -> Option<Vec<u8>> {
    let curve = match algorithm {
        KeyAlgorithm::EcdsaP256 => curve::P256,
        KeyAlgorithm::EcdsaP384 => curve::P384,
        KeyAlgorithm::Ed25519 => return None,
    };
    Some(ecc_area(SIGNING, &[], Symmetric::None, curve, &[]))
}

pub(crate) fn endorsement_template(kind: EndorsementKind) -> Vec<u8> {
    match kind {
        EndorsementKind::Rsa2048 => {
            let head = head(alg::RSA, ENDORSEMENT, &ENDORSEMENT_POLICY);
            let area = Symmetric::Aes.write(head).u16(alg::NULL).u16(RSA_KEY_BITS).u32(0).sized(&[0; RSA_KEY_BYTES]);
            area.done().to_vec()
        }
        EndorsementKind::EccP256 => {
            ecc_area(ENDORSEMENT, &ENDORSEMENT_POLICY, Symmetric::Aes, curve::P256, &[0; P256_BYTES])
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Symmetric {
    None,
    Aes,
}

impl Symmetric {
    fn write(self, to: Writer) -> Writer {
        match self {
            Self::None => to.u16(alg::NULL),
            Self::Aes => to.u16(alg::AES).u16(AES_KEY_BITS).u16(alg::CFB),
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.u16()? {
            alg::NULL => Some(Self::None),
            alg::AES => ((from.u16()?, from.u16()?) == (AES_KEY_BITS, alg::CFB)).then_some(Self::Aes),
            _ => None,
        }
    }
}

fn head(kind: u16, attributes: u32, policy: &[u8]) -> Writer {
    Writer::new().u16(kind).u16(alg::SHA256).u32(attributes).sized(policy)
}

fn ecc_area(attributes: u32, policy: &[u8], symmetric: Symmetric, curve: u16, coordinate: &[u8]) -> Vec<u8> {
    let area = symmetric.write(head(alg::ECC, attributes, policy));
    // No scheme and no key derivation function of its own.
    let area = area.u16(alg::NULL).u16(curve).u16(alg::NULL).sized(coordinate).sized(coordinate);
    area.done().to_vec()
}

/// A signing key's public area, once it is known that no TPM gives such a key away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmKeyArea {
    bytes: Vec<u8>,
    public: PublicKey,
}

impl TpmKeyArea {
    /// Checks the area as a device sends it: a key for signing that was made in the TPM and cannot leave it.
    ///
    /// That a TPM holds this very key is shown by [`Challenge`](super::Challenge), not by these bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let head = (reader.u16()?, reader.u16()?);
        let attributes = reader.u32()?;
        let _policy = reader.sized()?;
        if head != (alg::ECC, alg::SHA256) || attributes & !attribute::NO_DA != SIGNING {
            return None;
        }
        if Symmetric::read(&mut reader)? != Symmetric::None {
            return None;
        }
        let scheme = reader.u16()?;
        if scheme != alg::NULL {
            // A scheme that is fixed names its digest.
            (scheme == alg::ECDSA).then_some(())?;
            reader.u16()?;
        }
        let algorithm = match reader.u16()? {
            curve::P256 => KeyAlgorithm::EcdsaP256,
            curve::P384 => KeyAlgorithm::EcdsaP384,
            _ => return None,
        };
        (reader.u16()? == alg::NULL).then_some(())?;
        let public = point(algorithm, reader.sized()?, reader.sized()?)?;
        reader.end()?;
        Some(Self { bytes: bytes.to_vec(), public })
    }

    /// The key.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The area as it was given.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the TPM knows the object by: a digest over the whole area (part 1 §16).
    pub(crate) fn name(&self) -> Vec<u8> {
        [&alg::SHA256.to_be_bytes(), digest::digest(&digest::SHA256, &self.bytes).as_ref()].concat()
    }
}

/// The endorsement key of an area, as `SubjectPublicKeyInfo`; nothing if the area is not the template's.
pub(crate) fn endorsement_spki(kind: EndorsementKind, area: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(area);
    let head = (reader.u16()?, reader.u16()?, reader.u32()?, reader.sized()?);
    let algorithm = match kind {
        EndorsementKind::Rsa2048 => alg::RSA,
        EndorsementKind::EccP256 => alg::ECC,
    };
    if head != (algorithm, alg::SHA256, ENDORSEMENT, &ENDORSEMENT_POLICY) {
        return None;
    }
    let _symmetric_and_scheme = (Symmetric::read(&mut reader)?, reader.u16()?);
    match kind {
        EndorsementKind::Rsa2048 => {
            let _bits_and_exponent = (reader.u16()?, reader.u32()?);
            rsa_spki(reader.sized()?)
        }
        EndorsementKind::EccP256 => {
            let _curve_and_kdf = (reader.u16()?, reader.u16()?);
            let public = point(KeyAlgorithm::EcdsaP256, reader.sized()?, reader.sized()?)?;
            Some(public.spki_der().to_vec())
        }
    }
}

/// RFC 8017 appendix A.1 in RFC 5280 §4.1; the exponent is always 65537.
fn rsa_spki(modulus: &[u8]) -> Option<Vec<u8>> {
    const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let key = der_sequence(&[der_number(modulus)?, der_number(&[1, 0, 1])?])?;
    let bits = pkcs8::der::asn1::BitStringRef::from_bytes(&key).ok()?;
    let bits = pkcs8::der::Encode::to_der(&bits).ok()?;
    der_sequence(&[RSA_ENCRYPTION.to_vec(), bits])
}

/// A point of two coordinates, from which a TPM may have left out leading zeros.
fn point(algorithm: KeyAlgorithm, x: &[u8], y: &[u8]) -> Option<PublicKey> {
    let bytes = if algorithm == KeyAlgorithm::EcdsaP384 { 48 } else { P256_BYTES };
    let mut raw = vec![4];
    for coordinate in [x, y] {
        raw.resize(raw.len() + bytes.checked_sub(coordinate.len())?, 0);
        raw.extend_from_slice(coordinate);
    }
    PublicKey::from_raw(algorithm, &raw)
}
