//! A ledger in memory, and keys to sign it with.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of these")]

use std::{collections::BTreeMap, convert::Infallible};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use portreeve_ledger::{
    BundleId, Checkpoint, Hash, Node, Resources, RightEdge, SignatureKind, Subtrees, TileId, VerifierKey, push_entry,
};

pub const ORIGIN: &str = "hub.example/ledger";

/// Entries, and the files that a hub would have of them.
#[derive(Clone, Default)]
pub struct Ledger {
    pub entries: Vec<Vec<u8>>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub edge: RightEdge,
}

impl Ledger {
    pub fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut ledger = Self::default();
        let mut full = Vec::new();
        for entry in entries {
            ledger.edge.append(Hash::of_leaf(&entry), &mut full);
            ledger.entries.push(entry);
        }
        let size = ledger.edge.size();
        for bundle in BundleId::all_of_tree(size) {
            let start = usize::try_from(bundle.start()).unwrap();
            let mut bytes = Vec::new();
            for entry in &ledger.entries[start..start + usize::try_from(bundle.width()).unwrap()] {
                push_entry(&mut bytes, entry).unwrap();
            }
            ledger.files.insert(bundle.to_string(), bytes);
        }
        let bytes = |hashes: &[Hash]| hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
        ledger.files.extend(full.iter().map(|tile| (tile.id.to_string(), bytes(&tile.hashes))));
        ledger.files.extend(ledger.edge.partial_tiles().map(|(id, hashes)| (id.to_string(), bytes(hashes))));
        ledger
    }

    pub fn numbered(count: u64) -> Self {
        Self::of((0..count).map(|number| format!("entry {number}").into_bytes()))
    }

    pub fn head(&self) -> Checkpoint {
        Checkpoint { origin: ORIGIN.into(), size: self.edge.size(), root: self.edge.root(), extensions: Vec::new() }
    }
}

impl Resources for Ledger {
    type Error = Infallible;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.files.get(path).cloned())
    }
}

/// By tiles, as a hub answers.
impl Subtrees for Ledger {
    type Error = Infallible;

    fn subtree(&self, node: Node) -> Result<Hash, Infallible> {
        let (tile, hashes) = TileId::holding(node, self.edge.size()).unwrap();
        let tile = Hash::list(&self.files[&tile.to_string()]).unwrap();
        Ok(naive_root_of(&tile[hashes]))
    }
}

/// RFC 6962 §2.1, word for word.
pub fn naive_root(entries: &[Vec<u8>]) -> Hash {
    let leaves: Vec<_> = entries.iter().map(|entry| Hash::of_leaf(entry)).collect();
    naive_root_of(&leaves)
}

fn naive_root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_nothing(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Hash::of_children(naive_root_of(left), naive_root_of(right))
        }
    }
}

/// A key that signs.
pub struct Signer {
    pair: Ed25519KeyPair,
    pub key: VerifierKey,
}

impl Signer {
    pub fn new(name: &str, kind: SignatureKind, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        Self { pair, key: VerifierKey::new(name, kind, public).unwrap() }
    }

    pub fn line(&self, text: &str, seconds: u64) -> String {
        let signature = self.pair.sign(&self.key.message(text, seconds));
        self.key.line(seconds, signature.as_ref().try_into().unwrap())
    }

    pub fn note(&self, text: &str) -> String {
        format!("{text}\n{}", self.line(text, 0))
    }
}

pub fn ledger_key() -> Signer {
    Signer::new(ORIGIN, SignatureKind::Ed25519, 7)
}
