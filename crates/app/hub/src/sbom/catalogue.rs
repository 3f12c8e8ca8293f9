//! Which SBOMs there are. The documents themselves stay in the store.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use portreeve_store::RegistryOp;
use portreeve_types::{IdentityId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::Release;

/// Where entries lie among the registry's blobs, and documents among its documents; behind it stands the release.
const PREFIX: &str = "sbom/";
/// Editions before the present one that an entry remembers; the oldest go.
pub(super) const EDITIONS_MAX: usize = 16;

/// Which bytes were attached, by whom and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edition {
    /// SHA-256 of the document, hexadecimal.
    pub(super) sha256: String,
    pub(super) by: String,
    pub(super) at: UnixMillis,
}

/// What is known of an SBOM without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(super) release: Release,
    pub(super) edition: Edition,
    pub(super) bytes: usize,
    pub(super) components: usize,
    pub(super) spec_version: String,
    /// Those that it has replaced, oldest first.
    pub(super) replaced: Vec<Edition>,
}

/// All SBOMs, by what they are of.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(super) entries: Mutex<BTreeMap<Release, Entry>>,
    /// Devices whose reports are to be compared with the SBOM of their firmware.
    pub(super) doubted: Mutex<BTreeMap<Release, BTreeSet<IdentityId>>>,
    /// Whoever reads or changes documents holds it, so that an entry stays true of its document; and of searches, which read
    /// all of them, there is one at a time. Taken before the other locks.
    pub(super) turn: Mutex<()>,
}

/// How much of its bounds a catalogue uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fill {
    pub(crate) sboms: usize,
    pub(crate) bytes: usize,
    pub(crate) largest_bytes: usize,
}

impl Catalogue {
    /// Those that were stored. An entry that cannot be read is told of and passed over.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let stored = blobs.iter().filter(|(name, _)| name.starts_with(PREFIX)).filter_map(|(name, bytes)| {
            let entry: Option<Entry> = serde_json::from_slice(bytes).ok();
            if entry.is_none() {
                tracing::warn!(name, "what is stored of an SBOM cannot be read; attach it again");
            }
            entry
        });
        let entries = stored.map(|entry| (entry.release.clone(), entry)).collect();
        Self { entries: Mutex::new(entries), ..Self::default() }
    }

    pub(crate) fn fill(&self) -> Fill {
        let entries = self.entries.lock();
        Fill {
            sboms: entries.len(),
            bytes: entries.values().map(|entry| entry.bytes).sum(),
            largest_bytes: entries.values().map(|entry| entry.bytes).max().unwrap_or(0),
        }
    }

    pub(super) fn entry(&self, release: &Release) -> Option<Entry> {
        self.entries.lock().get(release).cloned()
    }
}

/// No two releases have the same: their texts hold no control characters.
pub(super) fn name_of(release: &Release) -> String {
    format!("{PREFIX}{}\n{}", release.model, release.firmware)
}

impl Entry {
    /// Entry and document in one commit.
    pub(super) fn put(&self, document: &str) -> [RegistryOp; 2] {
        let name = name_of(&self.release);
        // A map of plain values always has a JSON form.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        [
            RegistryOp::PutBlob { name: name.clone(), bytes },
            RegistryOp::PutDocument { name, bytes: document.as_bytes().to_vec() },
        ]
    }

    pub(super) fn delete(&self) -> [RegistryOp; 2] {
        let name = name_of(&self.release);
        [RegistryOp::DeleteBlob { name: name.clone() }, RegistryOp::DeleteDocument { name }]
    }

    /// With what it has replaced.
    pub(super) fn behind(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        self.replaced.clone_from(&before.replaced);
        self.replaced.push(before.edition.clone());
        let excess = self.replaced.len().saturating_sub(EDITIONS_MAX);
        self.replaced.drain(..excess);
        self
    }
}
