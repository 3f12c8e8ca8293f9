use std::collections::BTreeMap;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::JsonProblem;
use crate::Sha256;

/// The list of all files.
pub const MANIFEST: &str = "manifest.json";
/// The signature on the list: 64 bytes, Ed25519 (RFC 8032) over the bytes of [`MANIFEST`] as they are.
pub const SIGNATURE: &str = "manifest.sig";

const FORMAT: &str = "portreeve-manifest/1";

/// Every file of a report, and whose word it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    /// The Ed25519 public key that signed, 64 hexadecimal digits.
    key: Key,
    pub(super) files: Vec<Listed>,
}

/// 32 bytes, written as a hash is.
type Key = Sha256;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) bytes: usize,
    pub(super) sha256: Sha256,
}

impl Manifest {
    pub(super) fn of(files: &BTreeMap<String, Vec<u8>>, key: [u8; 32]) -> Self {
        let listed = |(name, bytes): (&String, &Vec<u8>)| Listed {
            name: name.clone(),
            bytes: bytes.len(),
            sha256: Sha256::of(bytes),
        };
        Self { format: FORMAT.to_owned(), key: Sha256(key), files: files.iter().map(listed).collect() }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Plain values always have a JSON form.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, JsonProblem> {
        let manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.format != FORMAT {
            let problem = format!("a manifest of this version has the format {FORMAT}");
            return Err(JsonProblem { line: 0, column: 0, problem });
        }
        Ok(manifest)
    }

    pub(super) const fn key(&self) -> [u8; 32] {
        self.key.0
    }

    /// Whether its key signed these bytes.
    pub(super) fn is_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key.0).verify(bytes, signature).is_ok()
    }
}
