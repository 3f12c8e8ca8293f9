//! Many identities at once, all or none: a list is compared with the registry, and what it changes is one commit.

use std::sync::Arc;

use hashbrown::HashMap;
use portreeve_config::Inventory;
use portreeve_store::{IdentityRow, RegistryOp, StoreError};
use portreeve_types::{IdentityId, IdentityName, Kind, UnixMillis};

use super::{
    By, Registry,
    naming::{check_group, check_name},
    pending,
};
use crate::inventory::{Entry, Problems};

/// Rows that become visible under one hold of the lock that handshakes wait for.
const PUBLISHED_AT_ONCE: usize = 2048;

/// What a list does to one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is registered, and pending.
    Added,
    /// These fields get other values.
    Updated(Vec<&'static str>),
    /// It is as the list says.
    Unchanged,
}

/// One entry of a list, compared with the registry.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Where it stands in the file.
    pub(crate) line: u64,
    /// Whom it is about.
    pub(crate) id: IdentityId,
    /// Under what name.
    pub(crate) name: IdentityName,
    /// What becomes of it.
    pub(crate) effect: Effect,
}

/// Why a list was not taken; nothing of it was.
#[derive(Debug)]
pub(crate) enum ImportError {
    /// What is wrong with it.
    Problems(Problems),
    /// The store could not keep it.
    Store(StoreError),
}

impl Registry {
    /// Registers and edits what the entries say, all of them in one commit, or none if there is a problem with any of them or was
    /// one with their file. Their names differ from each other.
    ///
    /// The commit of a large list takes its time, and other changes of the registry wait for it; handshakes and the hub's
    /// clock do not.
    ///
    /// # Errors
    /// [`ImportError`]; nothing was changed.
    pub(crate) fn import(
        &self,
        entries: &[Entry],
        problems: Problems,
        update: bool,
        dry_run: bool,
        by: By<'_>,
    ) -> Result<Vec<Step>, ImportError> {
        let _change = self.change.lock();
        // Looked up one by one, so that nobody waits for the lock meanwhile.
        let known = |name: &IdentityName| self.find(name).ok();
        let mut plan = Plan { problems, ..Plan::default() };
        plan.fill(known, &self.rules.load(), entries, update, by);
        if !plan.problems.is_empty() {
            plan.problems.sort();
            return Err(ImportError::Problems(plan.problems));
        }
        if !dry_run {
            self.store.commit(&plan.ops).map_err(ImportError::Store)?;
            self.publish(plan.ops);
        }
        Ok(plan.steps)
    }

    /// Committed rows into memory, some at a time, so that nobody waits long for the lock.
    fn publish(&self, ops: Vec<RegistryOp>) {
        let mut rows = ops.into_iter().filter_map(|op| match op {
            RegistryOp::PutIdentity(row) => Some(Arc::new(row)),
            _ => None,
        });
        loop {
            let some: Vec<_> = rows.by_ref().take(PUBLISHED_AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            let mut state = self.state.write();
            for row in some {
                state.names.insert(row.name.clone(), row.id);
                state.identities.insert(row.id, row);
            }
        }
        self.raise_revision();
    }

    /// The identities that pass, by name, behind `after`: at most `rows_max`, and the name to go on behind if there are more.
    pub(crate) fn page(
        &self,
        after: Option<&IdentityName>,
        rows_max: usize,
        passes: impl Fn(&IdentityRow) -> bool,
    ) -> (Vec<Arc<IdentityRow>>, Option<IdentityName>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let state = self.state.read();
        let names = state.names.range((after.map_or(Unbounded, Excluded), Unbounded));
        let mut found = names.filter_map(|(_, id)| state.identities.get(id)).filter(|row| passes(row));
        let rows: Vec<_> = found.by_ref().take(rows_max).cloned().collect();
        let next = found.next().and(rows.last()).map(|row| row.name.clone());
        (rows, next)
    }

    /// Whether nobody changes the registry just now.
    pub(crate) fn is_idle(&self) -> bool {
        !self.change.is_locked()
    }

    /// The contacts that are not in the store yet.
    pub(crate) fn fresh_contacts(&self) -> HashMap<IdentityId, UnixMillis> {
        self.seen.lock().clone()
    }
}

/// What a list comes to.
#[derive(Debug, Default)]
struct Plan {
    steps: Vec<Step>,
    ops: Vec<RegistryOp>,
    problems: Problems,
}

impl Plan {
    fn fill(
        &mut self,
        known: impl Fn(&IdentityName) -> Option<Arc<IdentityRow>>,
        rules: &Inventory,
        entries: &[Entry],
        update: bool,
        by: By<'_>,
    ) {
        for entry in entries {
            match known(&entry.name) {
                None => self.add(rules, entry, by),
                Some(row) if update => self.update(rules, entry, &row, by),
                Some(_) => self.problems.add(
                    entry.line,
                    "name",
                    format_args!("`{}` is registered already; with --update its fields are changed", entry.name),
                ),
            }
        }
    }

    fn add(&mut self, rules: &Inventory, entry: &Entry, by: By<'_>) {
        let mut row = pending(&entry.name, entry.kind.unwrap_or(Kind::Device), by.at);
        row.state_reason = "registered by an import".into();
        if let Err(error) = check_name(rules, entry.name.as_str()) {
            self.problems.add(entry.line, "name", format_args!("{error}"));
        }
        if self.apply(entry, &mut row) {
            self.check_group(rules, entry, &row);
            // What it was registered with, the list says whose digest the event has.
            self.ops.push(by.change(row.id, "state", "", row.state.as_str()));
            self.put(entry, row, Effect::Added);
        }
    }

    fn update(&mut self, rules: &Inventory, entry: &Entry, before: &IdentityRow, by: By<'_>) {
        if let Some(kind) = entry.kind.filter(|kind| *kind != before.kind) {
            let (name, is) = (&entry.name, before.kind);
            let detail = format_args!("`{name}` is a {is} and cannot become a {kind}; register it under another name");
            self.problems.add(entry.line, "kind", detail);
        }
        let mut row = before.clone();
        if !self.apply(entry, &mut row) {
            return;
        }
        if row.group != before.group {
            self.check_group(rules, entry, &row);
        }
        let changed = differences(before, &row);
        if changed.is_empty() {
            let step = Step { line: entry.line, id: row.id, name: row.name, effect: Effect::Unchanged };
            return self.steps.push(step);
        }
        row.changed = by.at;
        self.ops.extend(by.differences(Some(before), &row));
        self.put(entry, row, Effect::Updated(changed));
    }

    fn apply(&mut self, entry: &Entry, row: &mut IdentityRow) -> bool {
        let applied = entry.fields.apply(row);
        if let Err(error) = &applied {
            self.problems.add(entry.line, "", format_args!("{error}"));
        }
        applied.is_ok()
    }

    fn check_group(&mut self, rules: &Inventory, entry: &Entry, row: &IdentityRow) {
        if let Err(error) = check_group(rules, entry.name.as_str(), &row.group) {
            self.problems.add(entry.line, "group", format_args!("{error}"));
        }
    }

    fn put(&mut self, entry: &Entry, row: IdentityRow, effect: Effect) {
        self.steps.push(Step { line: entry.line, id: row.id, name: row.name.clone(), effect });
        self.ops.push(RegistryOp::PutIdentity(row));
    }
}

/// The descriptive fields that are not the same.
fn differences(a: &IdentityRow, b: &IdentityRow) -> Vec<&'static str> {
    let pairs = [
        ("group", &a.group, &b.group),
        ("owner", &a.owner, &b.owner),
        ("location", &a.location, &b.location),
        ("model", &a.model, &b.model),
        ("firmware", &a.firmware, &b.firmware),
        ("notes", &a.notes, &b.notes),
    ];
    pairs.into_iter().filter(|(_, a, b)| a != b).map(|(name, ..)| name).collect()
}
