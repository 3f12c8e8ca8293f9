//! Hashes that are the same on every machine and after every restart.

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;

/// 64 bits for a text. Not keyed: whoever finds two topics of one hash hides one behind the other, for his own identity.
pub(crate) fn hash_of(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish128().h1
}

/// 128 bits that damage changes. Not a signature: whoever writes the file can write this too.
pub(crate) fn checksum(bytes: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish128().as_u128()
}
