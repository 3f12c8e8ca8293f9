//! Personal values: what an entry says of them is a hash over the value and a salt that stand elsewhere and can be deleted.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// Longest personal value, bytes; of a longer one the beginning is kept.
pub const VALUE_BYTES_MAX: usize = 256;
const SALT_BYTES: usize = 16;
/// What these hashes are for, so that none of another purpose is one of these.
const DOMAIN: &[u8] = b"portreeve/personal/v1\0";

/// A hash that one value and salt have: base64url without padding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(String);

impl Commitment {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name in an entry, to be read by everybody or by who has its opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Named {
    /// As it is.
    Plain(String),
    /// A person's.
    Personal {
        /// SHA-256 over domain, salt, and value.
        sha256: Commitment,
    },
}

/// What opens a commitment: a line of a file that is kept beside the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The commitment.
    pub sha256: Commitment,
    salt: String,
    /// The value.
    pub value: String,
}

impl Opening {
    /// Commits to a value. The salt is 16 bytes of entropy that are used once.
    #[must_use]
    pub fn new(value: &str, salt: [u8; SALT_BYTES]) -> Self {
        let value = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
        Self { sha256: commit(&salt, value), salt: URL_SAFE_NO_PAD.encode(salt), value: value.to_owned() }
    }

    /// Whether it opens the commitment that it names.
    #[must_use]
    pub fn is_true(&self) -> bool {
        let salt = URL_SAFE_NO_PAD.decode(&self.salt).ok();
        salt.is_some_and(|salt| salt.len() == SALT_BYTES && commit(&salt, &self.value) == self.sha256)
    }
}

fn commit(salt: &[u8], value: &str) -> Commitment {
    let mut hash = Context::new(&SHA256);
    [DOMAIN, salt, value.as_bytes()].iter().for_each(|part| hash.update(part));
    Commitment(URL_SAFE_NO_PAD.encode(hash.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same value twice is not the same commitment, and no other value opens one.
    #[test]
    fn a_commitment_hides_and_binds() {
        let [one, other] = [1, 2].map(|salt| Opening::new("alice", [salt; 16]));
        assert!(one.is_true() && other.is_true() && one.sha256 != other.sha256);
        assert!(!Opening { value: "bob".into(), ..one.clone() }.is_true());
        assert!(!Opening { salt: other.salt.clone(), ..one.clone() }.is_true());
        assert!(!Opening { salt: String::new(), ..one.clone() }.is_true());
        let line = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Opening>(&line).unwrap(), one);
        let long = Opening::new(&"ä".repeat(300), [3; 16]);
        assert!(long.is_true() && long.value.len() == VALUE_BYTES_MAX);
    }
}
