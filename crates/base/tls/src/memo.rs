//! Certificate signatures that were verified before need not be verified again.

use std::collections::HashSet;

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// Signatures remembered: one a device, and as many again before the oldest half is forgotten. About 50 bytes each.
const SIGNATURES_MAX: usize = 131_072;

/// A signature algorithm that remembers which signatures were good.
///
/// Whether a signature is good depends on three byte strings — key, message, signature — and on nothing else: not on
/// time, trust anchors, registry or policy. So the answer for the same three is the same for ever, and only that answer
/// is remembered: validity, purpose, chain, anchors and possession of the key are looked at in every handshake. What was
/// not good is not remembered, so that nobody fills the memory with failures.
#[derive(Debug)]
pub(crate) struct Memoized {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    good: Mutex<Generations>,
}

/// The latest half and the half before it.
#[derive(Debug, Default)]
struct Generations {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl Memoized {
    pub(crate) fn new(algorithm: &'static dyn SignatureVerificationAlgorithm) -> Self {
        Self { algorithm, good: Mutex::default() }
    }
}

impl Generations {
    fn contains(&mut self, fingerprint: &[u8; 32]) -> bool {
        if self.young.contains(fingerprint) {
            return true;
        }
        // In use, so it stays.
        let known = self.old.remove(fingerprint);
        if known {
            self.insert(*fingerprint);
        }
        known
    }

    fn insert(&mut self, fingerprint: [u8; 32]) {
        if self.young.len() >= SIGNATURES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint);
    }
}

/// SHA-256 over all three, each behind its length: no two triples have the same input.
fn fingerprint(parts: [&[u8]; 3]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

impl SignatureVerificationAlgorithm for Memoized {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let fingerprint = fingerprint([public_key, message, signature]);
        if self.good.lock().contains(&fingerprint) {
            return Ok(());
        }
        self.algorithm.verify_signature(public_key, message, signature)?;
        self.good.lock().insert(fingerprint);
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    /// Good where the signature is key and message; counts how often it was asked.
    #[derive(Debug, Default)]
    struct Counting(AtomicU64);

    impl SignatureVerificationAlgorithm for Counting {
        fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Relaxed);
            if [key, message].concat() == signature { Ok(()) } else { Err(InvalidSignature) }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            rustls_pki_types::alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            rustls_pki_types::alg_id::ECDSA_SHA256
        }
    }

    fn counting() -> (&'static Counting, Memoized) {
        let counting: &'static Counting = Box::leak(Box::default());
        (counting, Memoized::new(counting))
    }

    #[test]
    fn a_good_signature_is_computed_once() {
        let (asked, memo) = counting();
        for _ in 0..5 {
            memo.verify_signature(b"key", b"message", b"keymessage").unwrap();
        }
        assert_eq!(asked.0.load(Relaxed), 1);
    }

    /// One changed byte anywhere, or a byte that moves from one part to the next, is another question.
    #[test]
    fn what_differs_anywhere_is_computed() {
        let (asked, memo) = counting();
        memo.verify_signature(b"key", b"message", b"keymessage").unwrap();
        let forged: [[&[u8]; 3]; 3] = [
            [b"kez", b"message", b"keymessage"],
            [b"key", b"messagf", b"keymessage"],
            [b"key", b"message", b"keymessagf"],
        ];
        for [key, message, signature] in forged {
            for _ in 0..2 {
                memo.verify_signature(key, message, signature).unwrap_err();
            }
        }
        memo.verify_signature(b"ke", b"ymessage", b"keymessage").unwrap();
        assert_eq!(asked.0.load(Relaxed), 1 + 6 + 1, "failures are not remembered");
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_in_use() {
        let (asked, memo) = counting();
        let check = |n: usize| {
            let message = n.to_be_bytes();
            memo.verify_signature(b"", &message, &message).unwrap();
        };
        for n in 0..3 * SIGNATURES_MAX {
            check(n);
            if n % 1000 == 0 {
                check(0);
            }
        }
        let held = memo.good.lock();
        assert!(held.young.len() + held.old.len() <= SIGNATURES_MAX);
        assert_eq!(asked.0.load(Relaxed), 3 * SIGNATURES_MAX as u64, "the one in use was never forgotten");
    }
}
