//! Records by which people vouch for what no program can see: a document, an inspection or a contract for one row of the catalogue.
//!
//! The hub keeps who vouches, who approved, until when, the answers to the row's questions, and the document's SHA-256, name and size.
//! The document itself stays with its owner.
//!
//! *Invariants*
//! - Nobody approves what they added or answer for.
//! - For a row and a check at most one record waits and at most one counts: who adds another renews it.
//! - What ended stays to be read until its room is needed; its entries in the ledger stay longer.

mod admin;
mod record;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use portreeve_store::RegistryOp;
use portreeve_types::UnixMillis;

use crate::AdminError;

pub use record::{DocumentSeal, RecordDraft, RecordFilter, RecordState};
use record::{End, Record, Review, checked_text};

/// Where they lie among the registry's blobs; behind it stands the number.
const PREFIX: &str = "attestation/";
/// The first number that was never given out.
const NEXT_BLOB: &str = "attestations/next";
/// Records that are kept. As two of a row and check can be open, there is always one that ended and can go.
const RECORDS_MAX: usize = 1_000;
/// Longest time to the next review: two years, one of them a leap year.
const NEXT_REVIEW_MAX: Duration = Duration::from_secs(731 * 86_400);

/// All records.
#[derive(Debug)]
pub(crate) struct Attestations {
    book: Mutex<Book>,
}

impl Attestations {
    /// Those that were stored. One that cannot be read decides nothing.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        Self { book: Mutex::new(Book::resume(blobs)) }
    }
}

/// All records, by number.
#[derive(Clone, Debug)]
struct Book {
    records: BTreeMap<u64, Record>,
    next: u64,
}

/// What became of a record, and what was the word for it.
type Changed = (u64, &'static str);

impl Book {
    fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let stored = blobs.iter().filter_map(|(name, bytes)| {
            let number = name.strip_prefix(PREFIX)?;
            let read = number.parse().ok().zip(serde_json::from_slice(bytes).ok());
            if read.is_none() {
                tracing::warn!(number, "a stored attestation cannot be read and decides nothing");
            }
            read
        });
        let records: BTreeMap<u64, Record> = stored.collect();
        let next = blobs.iter().find(|(name, _)| name == NEXT_BLOB);
        let next = next.and_then(|(_, bytes)| bytes.as_slice().try_into().ok()).map_or(1, u64::from_be_bytes);
        let next = records.last_key_value().map_or(next, |(number, _)| next.max(number + 1));
        Self { records, next }
    }

    fn find(&self, number: u64) -> Result<&Record, AdminError> {
        let unknown = || format!("there is no record {number}; `portreeve attest list --all` shows all");
        self.records.get(&number).ok_or_else(|| AdminError::Refused(unknown()))
    }

    /// Puts a record before whoever may approve it, in place of one of the same row and check that waits.
    fn add(&mut self, draft: RecordDraft, by: &str, now: UnixMillis) -> Result<Vec<Changed>, AdminError> {
        let record = Record::new(draft, by, now)?;
        let number = self.next;
        let mut changed = self.supersede(&record, number, by, now, |state| state == RecordState::Proposed);
        self.next += 1;
        self.records.insert(number, record);
        changed.insert(0, (number, "proposed"));
        Ok(changed)
    }

    /// Somebody else approves a record, which then takes the place of the one that counted, or rejects it.
    fn review(
        &mut self,
        number: u64,
        approved: bool,
        remark: &str,
        by: &str,
        now: UnixMillis,
    ) -> Result<Vec<Changed>, AdminError> {
        let remark = checked_text("the remark", remark)?;
        let record = self.find(number)?;
        record.expect_reviewer(number, by, now)?;
        if approved && record.next_review() <= now {
            let text = format!("the next review of record {number} is not in the future any more; add it anew");
            return Err(AdminError::Refused(text));
        }
        let mut reviewed = record.clone();
        reviewed.review = Some(Review { approved, by: by.to_owned(), at: now, remark });
        let counts = |state| matches!(state, RecordState::Approved | RecordState::Overdue);
        let mut changed = if approved { self.supersede(&reviewed, number, by, now, counts) } else { Vec::new() };
        self.records.insert(number, reviewed);
        changed.insert(0, (number, if approved { "approved" } else { "rejected" }));
        Ok(changed)
    }

    /// Withdraws a record that waits or counts, at once.
    fn expire(&mut self, number: u64, reason: &str, by: &str, now: UnixMillis) -> Result<Vec<Changed>, AdminError> {
        let reason = checked_text("the reason", reason)?;
        if reason.is_empty() {
            return Err(AdminError::Invalid("say why it is withdrawn: the reason is kept".into()));
        }
        let state = self.find(number)?.state(now);
        if state.is_over() {
            return Err(AdminError::Refused(format!("record {number} is {state} already")));
        }
        if let Some(record) = self.records.get_mut(&number) {
            record.end = Some(End { by: by.to_owned(), at: now, reason, successor: None });
        }
        Ok(vec![(number, "expired")])
    }

    /// Ends those of the same row and check that `which` names.
    fn supersede(
        &mut self,
        record: &Record,
        number: u64,
        by: &str,
        now: UnixMillis,
        which: impl Fn(RecordState) -> bool,
    ) -> Vec<Changed> {
        let end = End { by: by.to_owned(), at: now, reason: String::new(), successor: Some(number) };
        let same = self.records.iter_mut().filter(|(other, old)| **other != number && old.is_for_same(record));
        let same = same.filter(|(_, old)| which(old.state(now)));
        same.map(|(other, old)| {
            old.end = Some(end.clone());
            (*other, "superseded")
        })
        .collect()
    }

    /// Lets those go that ended first, until there is room.
    fn make_room(&mut self, now: UnixMillis) -> Vec<u64> {
        let excess = self.records.len().saturating_sub(RECORDS_MAX);
        let over = self.records.iter().filter(|(_, record)| record.state(now).is_over());
        let gone: Vec<u64> = over.map(|(number, _)| *number).take(excess).collect();
        gone.iter().for_each(|number| drop(self.records.remove(number)));
        gone
    }

    /// What keeps these records, and lets those that are gone go.
    fn ops(&self, changed: impl IntoIterator<Item = u64>, gone: &[u64]) -> Vec<RegistryOp> {
        let records = changed.into_iter().filter_map(|number| Some((number, self.records.get(&number)?)));
        // A struct of plain values always has a JSON form.
        let bytes = |record: &Record| serde_json::to_vec(record).unwrap_or_default();
        let puts = records
            .map(|(number, record)| RegistryOp::PutBlob { name: blob_name(number), bytes: bytes(record) })
            .chain([RegistryOp::PutBlob { name: NEXT_BLOB.into(), bytes: self.next.to_be_bytes().to_vec() }]);
        puts.chain(gone.iter().map(|number| RegistryOp::DeleteBlob { name: blob_name(*number) })).collect()
    }

    /// Those that became overdue and were not told of; they are, when this returns.
    fn newly_overdue(&mut self, now: UnixMillis) -> Vec<u64> {
        let due = self.records.iter_mut().filter(|(_, record)| record.state(now) == RecordState::Overdue);
        let untold = due.filter(|(_, record)| !record.overdue_told);
        untold
            .map(|(number, record)| {
                record.overdue_told = true;
                *number
            })
            .collect()
    }
}

fn blob_name(number: u64) -> String {
    format!("{PREFIX}{number:010}")
}
