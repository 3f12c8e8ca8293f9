//! Who is registered (CSA-ACT-01, CSA-ACT-04, CSA-TSP-07, IIITA-N4, IIITA-N8).

use std::{collections::BTreeMap, sync::Arc};

use portreeve_assurance::evidence::hub::{Field, HubRegistry, IdentityKind, Lacking, Offenders, largest};
use portreeve_policy::Posture;
use portreeve_store::IdentityRow;
use portreeve_types::{Kind, LifecycleState, UnixMillis};

use super::days;
use crate::{
    Hub,
    registry::{Census, is_in_service},
};

impl Hub {
    pub(super) fn registry_facts(&self, now: UnixMillis) -> HubRegistry {
        let Census { identities, same_name, .. } = self.registry.census();
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        identities.iter().for_each(|row| *states.entry(row.state.as_str().to_owned()).or_default() += 1);
        let in_service: Vec<_> = identities.iter().filter(|row| is_in_service(row)).collect();
        let active = || in_service.iter().copied().filter(|row| row.state == LifecycleState::Active);
        let fresh = self.registry.fresh_contacts();
        let idle_days = |row: &IdentityRow| {
            let seen = fresh.get(&row.id).copied().max(row.last_seen).unwrap_or_default();
            days(seen.max(row.changed).max(row.created), now)
        };
        let connected = self.connected();
        let unused = active().filter(|row| !connected.contains(&row.id)).map(|row| (row.name.as_str(), idle_days(row)));
        HubRegistry {
            identities: identities.len() as u64,
            states,
            name_pattern: self.registry.name_pattern(),
            lacking: lacking(&in_service),
            off_pattern: named(in_service.iter().filter(|row| !self.registry.keeps_to_rules(row).0)),
            off_namespace: named(in_service.iter().filter(|row| !self.registry.keeps_to_rules(row).1)),
            same_name: named(identities.iter().filter(|row| same_name.contains(&row.id))),
            outdated: named(active().filter(|row| self.posture_of(row) != Posture::Current)),
            silent: named(active().filter(|row| self.is_silent(row, now))),
            unused_days: largest(unused),
            unused_days_max: self.config().lifecycle.unused_days_max.into(),
        }
    }
}

fn named<R: AsRef<IdentityRow>>(rows: impl Iterator<Item = R>) -> Offenders {
    rows.map(|row| row.as_ref().name.to_string()).collect()
}

/// Whose fields are empty.
fn lacking(rows: &[&Arc<IdentityRow>]) -> Vec<Lacking> {
    let pairs = IdentityKind::ALL.into_iter().flat_map(|kind| Field::ALL.map(|field| (kind, field)));
    let of = |(kind, field)| {
        let lacks = |row: &&&Arc<IdentityRow>| kind_of(row.kind) == kind && value(row, field).trim().is_empty();
        let who = rows.iter().filter(lacks).map(|row| row.name.as_str()).collect();
        Lacking { kind, field, who }
    };
    pairs.map(of).collect()
}

fn kind_of(kind: Kind) -> IdentityKind {
    match kind {
        Kind::Device => IdentityKind::Device,
        Kind::Gateway => IdentityKind::Gateway,
        Kind::Application => IdentityKind::Application,
    }
}

fn value(row: &IdentityRow, field: Field) -> &str {
    match field {
        Field::Owner => &row.owner,
        Field::Location => &row.location,
        Field::Model => &row.model,
        Field::Firmware => &row.firmware,
    }
}
