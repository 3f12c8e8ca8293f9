//! What operators ask of records. Each step is an entry of the ledger with the document's SHA-256.

use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_types::UnixMillis;
use serde_json::{Value, json};

use super::{Book, Changed, Record, RecordDraft, RecordFilter};
use crate::{Actor, AdminError, Hub};

/// What an event tells of a record.
struct Told {
    number: u64,
    change: &'static str,
    what: String,
    sha256: String,
}

impl Told {
    fn of(number: u64, change: &'static str, record: &Record) -> Self {
        Self { number, change, what: record.what(), sha256: record.document().sha256.to_string() }
    }
}

impl Hub {
    /// Changes records: all of it is stored, and an entry, before anybody hears of it. Returns the first record that changed.
    fn with_records(
        &self,
        actor: &Actor,
        now: UnixMillis,
        work: impl FnOnce(&mut Book) -> Result<Vec<Changed>, AdminError>,
    ) -> Result<Value, AdminError> {
        let (told, shown) = {
            let mut book = self.attestations.book.lock();
            let mut next = book.clone();
            let changed = work(&mut next)?;
            let gone = next.make_room(now);
            self.registry.put_blobs(&next.ops(changed.iter().map(|(number, _)| *number), &gone))?;
            *book = next;
            let found = |(number, change): &Changed| Some(Told::of(*number, change, book.records.get(number)?));
            let shown = changed.first().and_then(|(number, _)| Some(book.records.get(number)?.to_json(*number, now)));
            (changed.iter().filter_map(found).collect::<Vec<_>>(), shown.unwrap_or_default())
        };
        for Told { number, change, what, sha256 } in &told {
            let data = [
                ("record", Datum::Plain(number) as Datum<'_>),
                ("change", Datum::Plain(change)),
                ("sha256", Datum::Plain(sha256)),
            ];
            let detail = format_args!("{what}");
            let event = Event::new(EventKind::AttestationChanged, detail);
            if let Err(error) = self.record(&event.by(&actor.name).with(&data)) {
                // It is done, and that it was asked for is on the disk.
                tracing::error!(%error, number, change, "what became of an attestation is not in the ledger");
            }
        }
        Ok(shown)
    }

    pub(crate) fn attest_add(&self, actor: &Actor, draft: RecordDraft, now: UnixMillis) -> Result<Value, AdminError> {
        actor.expect_to_be_known()?;
        self.with_records(actor, now, |book| book.add(draft, &actor.name, now))
    }

    pub(crate) fn attest_review(
        &self,
        actor: &Actor,
        number: u64,
        approve: bool,
        remark: &str,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        actor.expect_to_be_known()?;
        self.with_records(actor, now, |book| book.review(number, approve, remark, &actor.name, now))
    }

    pub(crate) fn attest_expire(
        &self,
        actor: &Actor,
        number: u64,
        reason: &str,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        if dry_run {
            let mut tried = self.attestations.book.lock().clone();
            tried.expire(number, reason, &actor.name, now)?;
            return Ok(tried.find(number)?.to_json(number, now));
        }
        self.with_records(actor, now, |book| book.expire(number, reason, &actor.name, now))
    }

    /// Records by number, without their answers.
    pub(crate) fn attest_list(&self, filter: &RecordFilter, now: UnixMillis) -> Value {
        let book = self.attestations.book.lock();
        let meant = book.records.iter().filter(|(_, record)| record.is_meant(filter, now));
        let heads = meant.map(|(number, record)| {
            let mut head = record.to_json(*number, now);
            head.as_object_mut().map(|head| head.remove("answers"));
            head
        });
        heads.collect()
    }

    pub(crate) fn attest_show(&self, number: u64, now: UnixMillis) -> Result<Value, AdminError> {
        Ok(self.attestations.book.lock().find(number)?.to_json(number, now))
    }

    /// What counts, and what is overdue, as facts for an audit.
    pub(crate) fn attest_export(&self, now: UnixMillis) -> Value {
        let book = self.attestations.book.lock();
        let facts: Vec<_> = book.records.values().filter_map(|record| record.evidence(now)).collect();
        json!({ "taken_ms": now.0, "records": facts })
    }

    /// Tells once of each record that has become overdue.
    pub(crate) fn look_at_attestations(&self, now: UnixMillis) {
        let overdue: Vec<Told> = {
            let mut book = self.attestations.book.lock();
            let numbers = book.newly_overdue(now);
            if numbers.is_empty() {
                return;
            }
            if let Err(error) = self.registry.put_blobs(&book.ops(numbers.iter().copied(), &[])) {
                tracing::warn!(%error, "that attestations are overdue could not be noted; after a restart it is told again");
            }
            let found = |number: &u64| Some(Told::of(*number, "overdue", book.records.get(number)?));
            numbers.iter().filter_map(found).collect()
        };
        for Told { number, what, sha256, .. } in &overdue {
            let data = [("record", Datum::Plain(number) as Datum<'_>), ("sha256", Datum::Plain(sha256))];
            let detail = format_args!("{what}, record {number}: `portreeve attest add` renews it");
            self.tell(&Event::new(EventKind::AttestationOverdue, detail).with(&data));
        }
    }
}
