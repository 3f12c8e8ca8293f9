//! Entropy for pauses.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// Another number each time. Nothing depends on it being secret.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
