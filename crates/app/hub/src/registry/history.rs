//! What changed of an identity, by whose hand: noted in the commit that changes it.

use std::sync::Arc;

use portreeve_store::{ChangeRow, IdentityRow, RegistryOp, StoreError};
use portreeve_types::{IdentityId, IdentityName, UnixMillis};

use super::{Fields, Registry, RegistryError};
use crate::sbom::{Component, Reported};

/// What a history calls the command to wipe itself, and the device's answer to it.
pub(crate) const WIPE: &str = "wipe";
/// It was told to.
pub(crate) const ASKED: &str = "asked";
/// It says that it has.
const CONFIRMED: &str = "confirmed";
/// What a history calls the statement of two persons about a retired device.
pub(crate) const DISPOSAL: &str = "disposal";

/// Who changes something, why and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By<'a> {
    /// An operator, or what part of the hub did it.
    pub(crate) actor: &'a str,
    /// Empty if nobody said.
    pub(crate) reason: &'a str,
    pub(crate) at: UnixMillis,
}

impl By<'_> {
    /// A value that went from `before` to `after`.
    pub(super) fn change(self, identity: IdentityId, field: &str, before: &str, after: &str) -> RegistryOp {
        let change = ChangeRow {
            at: self.at,
            actor: self.actor.into(),
            field: field.into(),
            before: before.into(),
            after: after.into(),
            reason: self.reason.into(),
        };
        RegistryOp::Note { identity, change }
    }

    /// Every value of an identity that is another than before; `None` for one that is new.
    pub(super) fn differences(self, before: Option<&IdentityRow>, after: &IdentityRow) -> Vec<RegistryOp> {
        let values = |row: &IdentityRow| {
            let IdentityRow { name, kind, group, owner, location, model, firmware, notes, state, .. } = row.clone();
            [
                ("name", name.to_string()),
                ("kind", kind.as_str().into()),
                ("group", group),
                ("owner", owner),
                ("location", location),
                ("model", model),
                ("firmware", firmware),
                ("notes", notes),
                ("state", state.as_str().into()),
            ]
        };
        let old = before.map(values).unwrap_or_default().map(|(_, value)| value);
        let changed = values(after).into_iter().zip(old).filter(|((_, new), old)| new != old);
        changed.map(|((field, new), old)| self.change(after.id, field, &old, &new)).collect()
    }
}

/// The identity as it is now, or whose report cannot be, and why.
pub(crate) type Written = Result<Arc<IdentityRow>, (IdentityName, RegistryError)>;

/// What one device says of itself.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) identity: IdentityId,
    pub(crate) fields: Fields,
    /// It has wiped itself, as it was told to.
    pub(crate) is_wiped: bool,
    /// The libraries of its firmware, if it tells them.
    pub(crate) libraries: Option<Vec<Component>>,
}

/// A change that counts as the identity's own.
fn by_itself(op: RegistryOp) -> RegistryOp {
    match op {
        RegistryOp::Note { identity, change } => RegistryOp::NoteOwn { identity, change },
        other => other,
    }
}

/// Where a device's libraries lie among the documents.
fn libraries_of(id: IdentityId) -> String {
    format!("libraries/{id}")
}

impl Registry {
    /// What changed of an identity, oldest first, as far back as it is kept (CSA-MSU-01).
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn history(&self, row: &Arc<IdentityRow>) -> Result<Vec<ChangeRow>, StoreError> {
        self.store.history(row.id)
    }

    /// Writes into the history what changes nothing else.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn note(&self, id: IdentityId, field: &str, what: &str, by: By<'_>) -> Result<(), StoreError> {
        let _change = self.change.lock();
        self.store.commit(&[by.change(id, field, "", what)])
    }

    /// A document, by its name.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.document(name)
    }

    /// What a device has said of its libraries.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn reported(&self, id: IdentityId) -> Result<Option<Reported>, StoreError> {
        let bytes = self.store.document(&libraries_of(id))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// What devices say of themselves: fields, libraries, and whether they confirm that they have wiped themselves; in one
    /// commit. It is no change by an operator, so it does not count as use. Returns those that changed, and those that say what
    /// cannot be.
    ///
    /// # Errors
    /// The store's; nothing was changed.
    pub(crate) fn report(&self, words: &[Word], now: UnixMillis) -> Result<Vec<Written>, StoreError> {
        let _change = self.change.lock();
        let (mut ops, mut outcomes) = (Vec::new(), Vec::new());
        for Word { identity, fields, is_wiped, libraries } in words {
            let Some(before) = self.row(*identity) else { continue };
            let mut row = (*before).clone();
            if let Err(error) = fields.apply(&mut row) {
                outcomes.push(Err((row.name, error)));
                continue;
            }
            let by = By { actor: before.name.as_str(), reason: "its own report", at: now };
            let mut said = by.differences(Some(&before), &row);
            if let Some(libraries) = libraries {
                said.extend(self.put_libraries(&row, libraries, by)?);
            }
            ops.extend(said.into_iter().map(by_itself));
            // The answer to an operator's command stands with it.
            ops.extend(is_wiped.then(|| by.change(*identity, WIPE, ASKED, CONFIRMED)));
            ops.push(RegistryOp::PutIdentity(row.clone()));
            outcomes.push(Ok(Arc::new(row)));
        }
        self.store.commit(&ops)?;
        let mut state = self.state.write();
        state.identities.extend(outcomes.iter().flatten().map(|row| (row.id, Arc::clone(row))));
        Ok(outcomes)
    }

    fn put_libraries(
        &self,
        row: &IdentityRow,
        libraries: &[Component],
        by: By<'_>,
    ) -> Result<[RegistryOp; 2], StoreError> {
        let before = self.reported(row.id)?.unwrap_or_default();
        let after = Reported { firmware: row.firmware.clone(), libraries: libraries.to_vec() };
        // A map of plain values always has a JSON form.
        let bytes = serde_json::to_vec(&after).unwrap_or_default();
        let note = by.change(row.id, "libraries", &before.summary(), &after.summary());
        Ok([RegistryOp::PutDocument { name: libraries_of(row.id), bytes }, note])
    }
}
