//! Which firmware holds a component, and which devices run it: what people ask on the day of a vulnerability.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_store::{IdentityRow, StoreError};
use portreeve_types::{IdentityId, LifecycleState};
use serde_json::{Value, json};

use super::{Component, Query, Release};
use crate::{AdminError, Hub};

/// Devices that an answer names; beyond that it counts, and `device list --library` names all.
const DEVICES_NAMED_MAX: usize = 1000;
/// Components of one release that an answer names.
const COMPONENTS_NAMED_MAX: usize = 20;

/// Where a component was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the SBOM of these.
    releases: BTreeMap<Release, Vec<Component>>,
    /// In what these say that they run.
    reporters: BTreeSet<IdentityId>,
}

impl Found {
    pub(crate) fn has(&self, row: &IdentityRow) -> bool {
        self.in_sbom(row) || self.reporters.contains(&row.id)
    }

    fn in_sbom(&self, row: &IdentityRow) -> bool {
        self.releases.contains_key(&release_of(row))
    }
}

pub(super) fn release_of(row: &IdentityRow) -> Release {
    Release { model: row.model.clone(), firmware: row.firmware.clone() }
}

pub(crate) fn parse_query(text: &str) -> Result<Query, AdminError> {
    text.parse().map_err(|error| AdminError::Invalid(format!("`{text:.80}`: {error}")))
}

impl Hub {
    /// Reads every SBOM (`limits.sbom_bytes_total`) and every device's own list.
    pub(crate) fn find_library(&self, query: &Query) -> Result<Found, AdminError> {
        let _turn = self.sboms.turn.lock();
        let mut found = Found::default();
        let entries: Vec<_> = self.sboms.entries.lock().values().cloned().collect();
        for entry in entries {
            let sbom = self.read_sbom(&entry)?;
            let hits: Vec<_> = sbom.components().iter().filter(|component| query.finds(component)).cloned().collect();
            if !hits.is_empty() {
                found.releases.insert(entry.release, hits);
            }
        }
        for row in self.all_identities() {
            if self.libraries_of(&row)?.iter().any(|library| query.finds(library)) {
                found.reporters.insert(row.id);
            }
        }
        Ok(found)
    }

    pub(crate) fn sbom_find(&self, query: &str) -> Result<Value, AdminError> {
        let found = self.find_library(&parse_query(query)?)?;
        let mut devices = self.all_identities();
        // What is out of service for ever runs nothing.
        devices.retain(|row| row.state != LifecycleState::Retired && found.has(row));
        let counts = count(&devices);
        let firmware = |(release, hits): (&Release, &Vec<Component>)| {
            json!({
                "model": release.model,
                "firmware": release.firmware,
                "components": hits.iter().take(COMPONENTS_NAMED_MAX).collect::<Vec<_>>(),
                "component_count": hits.len(),
                "devices": counts.get(release).copied().unwrap_or(0),
            })
        };
        let firmware: Vec<_> = found.releases.iter().map(firmware).collect();
        let device = |row: &Arc<IdentityRow>| {
            json!({
                "name": row.name.as_str(),
                "model": row.model,
                "firmware": row.firmware,
                "state": row.state.as_str(),
                "in_sbom": found.in_sbom(row),
                "reported": found.reporters.contains(&row.id),
            })
        };
        let named: Vec<_> = devices.iter().take(DEVICES_NAMED_MAX).map(device).collect();
        Ok(json!({ "query": query, "firmware": firmware, "devices": named, "device_count": devices.len() }))
    }

    /// What a device says that its present firmware is made of.
    pub(crate) fn libraries_of(&self, row: &IdentityRow) -> Result<Vec<Component>, StoreError> {
        let reported = self.registry.reported(row.id)?.filter(|reported| reported.firmware == row.firmware);
        Ok(reported.map(|reported| reported.libraries).unwrap_or_default())
    }

    pub(super) fn all_identities(&self) -> Vec<Arc<IdentityRow>> {
        self.registry.page(None, usize::MAX, |_| true).0
    }

    pub(super) fn devices_by_release(&self) -> BTreeMap<Release, usize> {
        let mut rows = self.all_identities();
        rows.retain(|row| row.state != LifecycleState::Retired);
        count(&rows)
    }
}

fn count(rows: &[Arc<IdentityRow>]) -> BTreeMap<Release, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(release_of(row)).or_default() += 1;
    }
    counts
}
