//! Premaster secrets with faults, encrypted without asking whether that makes sense.
//!
//! Only the public half of RSA is calculated here, with values that everybody may know; so it need not take constant time.

use num_bigint::BigUint;
use portreeve_assurance::evidence::attacks::Fault;
use x509_parser::{parse_x509_certificate, public_key::PublicKey};

use crate::Gap;

/// Largest modulus of RSA that is calculated with, bytes: 16384 bits.
const MODULUS_BYTES_MAX: usize = 2048;
/// Smallest, bytes: 512 bits.
const MODULUS_BYTES_MIN: usize = 64;
/// Largest public exponent, bytes.
const EXPONENT_BYTES_MAX: usize = 8;
/// Bytes of a premaster secret (RFC 5246 section 7.4.7.1).
const SECRET_BYTES: usize = 48;

/// A server's public key.
#[derive(Clone, Debug)]
pub struct RsaKey {
    modulus: BigUint,
    exponent: BigUint,
    modulus_bytes: usize,
}

impl RsaKey {
    /// From a certificate, DER.
    ///
    /// # Errors
    /// [`Gap::Odd`], if there is no key of RSA in it, or one of less than 512 or more than 16384 bits.
    pub fn of(certificate: &[u8]) -> Result<Self, Gap> {
        let odd = |why: &str| Gap::Odd(format!("its certificate: {why}"));
        let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| odd("not X.509"))?;
        let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else { return Err(odd("no RSA key")) };
        let start = key.modulus.iter().position(|byte| *byte != 0).unwrap_or(key.modulus.len());
        let modulus = &key.modulus[start..];
        if !(MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&modulus.len()) || key.exponent.len() > EXPONENT_BYTES_MAX
        {
            return Err(odd("an RSA key of no usual size"));
        }
        Ok(Self {
            modulus: BigUint::from_bytes_be(modulus),
            exponent: BigUint::from_bytes_be(key.exponent),
            modulus_bytes: modulus.len(),
        })
    }

    /// A premaster secret of a hello that named `version`, encrypted: as many bytes as the modulus has.
    #[must_use]
    pub fn encrypted(&self, fault: Fault, version: u16) -> Vec<u8> {
        let block = BigUint::from_bytes_be(&self.block(fault, version));
        let sealed = block.modpow(&self.exponent, &self.modulus).to_bytes_be();
        // A number loses its leading zeros.
        [vec![0; self.modulus_bytes.saturating_sub(sealed.len())], sealed].concat()
    }

    /// 0, 2, padding, 0, secret (RFC 8017 section 7.2.1), or what the fault makes of it.
    fn block(&self, fault: Fault, version: u16) -> Vec<u8> {
        let (start, separator, early, version) = match fault {
            Fault::Nothing => ([0, 2], 0, PAD, version),
            Fault::Start => ([0x41, 0x17], 0, PAD, version),
            Fault::NoSeparator => ([0, 2], PAD, PAD, version),
            Fault::EarlySeparator => ([0, 2], PAD, 0, version),
            Fault::Version => ([0, 2], 0, PAD, 0x0202),
        };
        let padding = vec![PAD; self.modulus_bytes.saturating_sub(2 + 2 + SECRET_BYTES)];
        let secret = [&version.to_be_bytes()[..], &[PAD; SECRET_BYTES - 2]].concat();
        [&start[..], &padding, &[early, separator], &secret].concat()
    }
}

/// Anything but zero.
const PAD: u8 = 0xa5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_one() {
        let key = RsaKey { modulus: BigUint::from(3233u32), exponent: BigUint::from(17u32), modulus_bytes: 128 };
        let good = key.block(Fault::Nothing, 0x0303);
        assert_eq!((good.len(), &good[..3], &good[78..82]), (128, &[0, 2, PAD][..], &[PAD, 0, 3, 3][..]));
        assert_eq!(good.iter().filter(|byte| **byte == 0).count(), 2);
        let differs = |fault| {
            let bad = key.block(fault, 0x0303);
            assert_eq!(bad.len(), good.len());
            (0..128).filter(|at| bad[*at] != good[*at]).collect::<Vec<_>>()
        };
        assert_eq!(differs(Fault::Start), [0, 1]);
        assert_eq!(differs(Fault::NoSeparator), [79]);
        assert_eq!(differs(Fault::EarlySeparator), [78, 79]);
        assert_eq!(differs(Fault::Version), [80, 81]);
    }

    /// 65 to the 17th modulo 3233 is 2790: the example of every book.
    #[test]
    fn encryption_is_that_of_rsa_and_keeps_its_length() {
        let key = RsaKey { modulus: BigUint::from(3233u32), exponent: BigUint::from(17u32), modulus_bytes: 64 };
        assert_eq!(BigUint::from(65u32).modpow(&key.exponent, &key.modulus), BigUint::from(2790u32));
        assert_eq!(key.encrypted(Fault::Nothing, 0x0303).len(), 64);
    }

    #[test]
    fn certificates_without_a_usable_key_are_gaps() {
        let ec = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert!(RsaKey::of(ec.cert.der()).is_err_and(|gap| gap.to_string().contains("no RSA key")));
        for length in 0..ec.cert.der().len() {
            assert!(RsaKey::of(&ec.cert.der()[..length]).is_err());
        }
    }
}
