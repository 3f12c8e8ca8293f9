//! A device's word beside the SBOM of its firmware. A device that runs something else than was built, because it was
//! tampered with or because somebody attached the wrong SBOM, shows in the difference.

use std::collections::{BTreeSet, HashMap, HashSet};

use portreeve_events::Kind as EventKind;
use portreeve_intake::sbom::{bare, short};
use portreeve_store::{IdentityRow, StoreError};
use portreeve_types::IdentityId;
use serde_json::{Value, json};

use super::{Component, Release, find::release_of};
use crate::{AdminError, Hub};

/// SBOMs that are read for it a second, and devices that are compared with each; the rest is for the next second.
const SBOMS_AT_ONCE: usize = 4;
const DEVICES_AT_ONCE: usize = 256;
/// Libraries that an event names.
const NAMED_MAX: usize = 3;

/// Names, in lower case and without groups, and their versions.
struct Known(HashMap<String, HashSet<String>>);

impl Known {
    fn of(components: &[Component]) -> Self {
        let mut known = HashMap::<String, HashSet<String>>::new();
        for (name, version) in components.iter().flat_map(Component::aliases) {
            known.entry(short(&name).to_ascii_lowercase()).or_default().insert(bare(&version).to_ascii_lowercase());
        }
        Self(known)
    }

    fn has(&self, library: &Component) -> bool {
        let Some(versions) = self.0.get(&short(&library.name).to_ascii_lowercase()) else { return false };
        library.version.is_empty() || versions.contains(&bare(&library.version).to_ascii_lowercase())
    }
}

impl Hub {
    /// Has what a device says compared, if there is something to compare it with.
    pub(crate) fn doubt(&self, row: &IdentityRow) {
        let release = release_of(row);
        if self.sboms.entry(&release).is_some() {
            self.sboms.doubted.lock().entry(release).or_default().insert(row.id);
        }
    }

    /// The same for all devices of a release.
    pub(super) fn doubt_all(&self, release: &Release) {
        let of_release = |row: &IdentityRow| row.model == release.model && row.firmware == release.firmware;
        let rows = self.registry.page(None, usize::MAX, of_release).0;
        if !rows.is_empty() {
            let ids: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
            self.sboms.doubted.lock().entry(release.clone()).or_default().extend(ids);
        }
    }

    /// Compares some of those that are doubted, and tells of differences. The hub's clock does not wait for a search.
    pub(crate) fn compare_reports(&self) {
        let Some(_turn) = self.sboms.turn.try_lock() else { return };
        for _ in 0..SBOMS_AT_ONCE {
            let Some((release, ids)) = self.next_doubted() else { return };
            if let Err(error) = self.compare_all(&release, &ids) {
                tracing::warn!(%error, %release, "what devices report could not be compared with the SBOM");
            }
        }
    }

    /// Takes out some devices of one release.
    fn next_doubted(&self) -> Option<(Release, BTreeSet<IdentityId>)> {
        let mut doubted = self.sboms.doubted.lock();
        let (release, mut ids) = doubted.pop_first()?;
        if let Some(next) = ids.iter().nth(DEVICES_AT_ONCE).copied() {
            doubted.insert(release.clone(), ids.split_off(&next));
        }
        Some((release, ids))
    }

    fn compare_all(&self, release: &Release, ids: &BTreeSet<IdentityId>) -> Result<(), AdminError> {
        let Some(entry) = self.sboms.entry(release) else { return Ok(()) };
        let known = Known::of(self.read_sbom(&entry)?.components());
        for row in ids.iter().filter_map(|id| self.registry.row(*id)).filter(|row| release_of(row) == *release) {
            let libraries = self.libraries_of(&row)?;
            let strange: Vec<_> = libraries.iter().filter(|library| !known.has(library)).collect();
            if strange.is_empty() {
                continue;
            }
            let count = strange.len();
            let named: Vec<_> = strange.iter().take(NAMED_MAX).map(|c| format!("{} {}", c.name, c.version)).collect();
            let detail = format_args!("{count} libraries are not in the SBOM of {release}: {}", named.join(", "));
            self.emit(EventKind::SbomDiffers, Some(row.name.as_str()), None, None, detail);
        }
        Ok(())
    }

    /// What a device is made of: by its own word, and beside it the SBOM of its firmware.
    pub(crate) fn composition(&self, row: &IdentityRow) -> Result<Value, StoreError> {
        let _turn = self.sboms.turn.lock();
        let libraries = self.libraries_of(row)?;
        let Some(entry) = self.sboms.entry(&release_of(row)) else {
            return Ok(json!({ "libraries": libraries, "sbom": null }));
        };
        let mut sbom = json!({ "sha256": entry.edition.sha256, "component_count": entry.components });
        match self.read_sbom(&entry) {
            Ok(read) => {
                let known = Known::of(read.components());
                sbom["lacks"] = libraries.iter().filter(|library| !known.has(library)).map(|c| json!(c)).collect();
            }
            // A device is shown whatever became of the SBOM of its firmware.
            Err(error) => sbom["problem"] = json!(error.to_string()),
        }
        Ok(json!({ "libraries": libraries, "sbom": sbom }))
    }
}
