//! What operators do with the inventory: list, export, import.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_store::IdentityRow;
use portreeve_types::{IdentityName, Kind, LifecycleState, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{COLUMNS, PAGE_ROWS_MAX, read_good, write::cells};
use crate::{
    Actor, AdminError, Hub,
    admin::identity_json,
    registry::{By, Effect, ImportError, Step},
    sbom::parse_query,
};

/// Identities that a dry run names; beyond that it counts.
const NAMED_MAX: usize = 500;

/// What is told of a file's name, characters.
const NAME_CHARS_TOLD: usize = 80;

/// Which identities are meant: those that pass all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// In this group; empty for those in none.
    pub group: Option<String>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// In this state.
    pub state: Option<LifecycleState>,
    /// With this library, by the SBOM of its firmware or by its own word: a name, with or without a version, or a package URL.
    pub library: Option<String>,
    /// Not connected, and last so that many seconds ago or longer, or never.
    pub unused_s: Option<u64>,
}

/// A part of the identities, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Which.
    pub filter: Filter,
    /// The name behind which it begins.
    pub after: Option<IdentityName>,
    /// How many at most; never more than [`PAGE_ROWS_MAX`].
    pub rows_max: Option<usize>,
}

/// A file of identities, by value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListFile {
    /// What its owner calls it, for events.
    pub name: String,
    /// CSV or JSON.
    pub text: String,
}

/// Rows, and the name to go on behind if there are more.
type Rows = (Vec<Arc<IdentityRow>>, Option<IdentityName>);

impl Filter {
    fn passes(&self, row: &IdentityRow) -> bool {
        self.group.as_ref().is_none_or(|group| *group == row.group)
            && self.kind.is_none_or(|kind| kind == row.kind)
            && self.state.is_none_or(|state| state == row.state)
    }
}

impl Hub {
    pub(crate) fn device_list(&self, page: &Page, now: UnixMillis) -> Result<Value, AdminError> {
        let (rows, next) = self.page(page, now)?;
        let rows: Vec<_> = rows.iter().map(|row| identity_json(self, row)).collect();
        Ok(json!({ "identities": rows, "next": next }))
    }

    pub(crate) fn device_export(&self, page: &Page, now: UnixMillis) -> Result<Value, AdminError> {
        let (rows, next) = self.page(page, now)?;
        let rows: Vec<_> = rows.iter().map(|row| cells(row, self.registry.last_seen(row))).collect();
        Ok(json!({ "columns": COLUMNS, "rows": rows, "next": next }))
    }

    fn page(&self, page: &Page, now: UnixMillis) -> Result<Rows, AdminError> {
        let Page { filter, after, rows_max } = page;
        let rows_max = rows_max.unwrap_or(PAGE_ROWS_MAX).clamp(1, PAGE_ROWS_MAX);
        let library = filter.library.as_deref().map(parse_query).transpose()?;
        let found = library.map(|query| self.find_library(&query)).transpose()?;
        let passes = |row: &IdentityRow| filter.passes(row) && found.as_ref().is_none_or(|found| found.has(row));
        let Some(unused_s) = filter.unused_s else {
            return Ok(self.registry.page(after.as_ref(), rows_max, passes));
        };
        let (unused, fresh) = (Duration::from_secs(unused_s), self.registry.fresh_contacts());
        let is_unused = |row: &IdentityRow| {
            let last = fresh.get(&row.id).copied().max(row.last_seen);
            last.is_none_or(|last| now.since(last) >= unused)
        };
        let (mut rows, next) = self.registry.page(after.as_ref(), rows_max, |row| passes(row) && is_unused(row));
        // Whoever is connected is in use, however long ago it came.
        rows.retain(|row| !self.is_connected(row.id));
        Ok((rows, next))
    }

    /// All that the file says, or nothing.
    pub(crate) fn device_import(
        &self,
        actor: &Actor,
        file: &ListFile,
        update: bool,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let (list, problems) = read_good(&file.text);
        let steps = self
            .registry
            .import(&list.entries, problems, update, dry_run, By { actor: &actor.name, reason: "import", at: now })
            .map_err(|error| match error {
                ImportError::Problems(problems) => refusal(&problems),
                ImportError::Store(error) => AdminError::Store(error),
            })?;
        let count = |wanted: fn(&Effect) -> bool| steps.iter().filter(|step| wanted(&step.effect)).count();
        let added = count(|effect| matches!(effect, Effect::Added));
        let updated = count(|effect| matches!(effect, Effect::Updated(_)));
        let unchanged = steps.len() - added - updated;
        if !dry_run {
            self.obey(&steps, now);
            self.tell_import(
                actor,
                file,
                &steps,
                format_args!("{added} added, {updated} updated, {unchanged} unchanged"),
            );
        }
        let mut result = json!({
            "added": added,
            "updated": updated,
            "unchanged": unchanged,
            "passed_over": list.passed_over,
            "dry_run": dry_run,
        });
        if dry_run {
            result["changes"] = changes(&steps);
        }
        Ok(result)
    }

    /// One event for the list, with what the file can be recognised by, and one for each change, of a kind of their own: many
    /// of them do not keep the log from telling other changes.
    fn tell_import(&self, actor: &Actor, file: &ListFile, steps: &[Step], counts: std::fmt::Arguments<'_>) {
        let (who, sha256) = (actor.name.as_str(), hex::encode(digest(&SHA256, file.text.as_bytes())));
        let called: String = file.name.chars().take(NAME_CHARS_TOLD).collect();
        let data = [("file_sha256", Datum::Plain(&sha256))];
        let detail = format_args!("{counts}, from {called:?}");
        self.tell(&Event::new(EventKind::InventoryImported, detail).by(who).with(&data));
        for step in steps {
            let what = match &step.effect {
                Effect::Added => "registered".to_owned(),
                Effect::Updated(fields) => format!("{} changed", fields.join(", ")),
                Effect::Unchanged => continue,
            };
            let detail = format_args!("{what}");
            let event = Event::new(EventKind::IdentityImported, detail);
            self.tell(&event.by(who).about(step.name.as_str()));
        }
    }

    /// Policy may look at what was changed: what was decided for live sessions is decided again.
    fn obey(&self, steps: &[Step], now: UnixMillis) {
        for step in steps.iter().filter(|step| matches!(step.effect, Effect::Updated(_))) {
            let sessions = self.renew_decisions(step.id);
            self.reauthorize(&sessions, now);
        }
    }
}

fn refusal(problems: &super::Problems) -> AdminError {
    let count = problems.len();
    let what = if count == 1 { "there is a problem".into() } else { format!("there are {count} problems") };
    AdminError::Invalid(format!("nothing was imported, for {what}:\n{problems}"))
}

fn changes(steps: &[Step]) -> Value {
    let changed = steps.iter().filter(|step| step.effect != Effect::Unchanged);
    let row = |step: &Step| match &step.effect {
        Effect::Updated(fields) => {
            json!({ "line": step.line, "name": step.name, "effect": "updated", "fields": fields })
        }
        _ => json!({ "line": step.line, "name": step.name, "effect": "added", "fields": [] }),
    };
    changed.take(NAMED_MAX).map(row).collect()
}
