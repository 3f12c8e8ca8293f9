//! What auditors read of the ledger, and what opens its personal values as long as it is there.

use std::{
    io,
    path::{Path, PathBuf},
};

use portreeve_events::{Commitment, Datum, Entry, Event, Kind as EventKind, Named, Opening};
use portreeve_ledger::{BundleId, Reader, TILE_WIDTH, VerifierKey};
use portreeve_ledger_files::{Copied, Folder, Page, PageError, Proved, Snapshot, VERIFIER_KEY};
use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Actor, AdminError, Hub, Outcome};

use super::{FOLDER, OPENINGS_FOLDER, Openings};

/// So much later than an entry is made may its openings be kept, milliseconds.
const KEPT_LATER_MS: u64 = 86_400_000;
/// Files of entries that one request checks.
const CHECKED_BUNDLES_MAX: u64 = 128;

/// Where a hub's ledger is.
#[derive(Clone, Debug)]
pub struct LedgerPlace {
    files: Copied,
    personal: PathBuf,
}

/// Which personal values are to be erased.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Erasure {
    /// This one, wherever it is.
    Value(String),
    /// All of the days that were over then.
    Before(UnixMillis),
}

/// Entries with what proves them, and what opens their personal values.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// The entries.
    pub page: Page,
    /// What opens them, as far as it was not erased.
    pub personal: Vec<Opening>,
}

impl LedgerPlace {
    /// That of the hub with this data directory.
    #[must_use]
    pub fn of_hub(data: &Path) -> Self {
        Self { files: Copied::at(&data.join(FOLDER)), personal: data.join(OPENINGS_FOLDER) }
    }

    /// The ledger's files.
    #[must_use]
    pub fn files(&self) -> &Copied {
        &self.files
    }

    /// The key that lies beside the ledger.
    ///
    /// # Errors
    /// There is none.
    pub fn key(&self) -> io::Result<VerifierKey> {
        let text = std::fs::read_to_string(self.files.folder().join(VERIFIER_KEY))?;
        text.trim_end().parse().map_err(io::Error::other)
    }

    /// Reads entries from the one of number `from`, or the last ones, as far as whole files go.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn read(&self, key: &VerifierKey, from: Option<u64>, bundles: u64) -> Result<(Extract, Proved), PageError> {
        let page = Page::read(&self.files, key, from, bundles)?;
        let proved = page.prove(key)?;
        let personal = self.openings(&proved.entries)?;
        Ok((Extract { page, personal }, proved))
    }

    /// What opens the commitments of these entries.
    fn openings(&self, entries: &[Vec<u8>]) -> io::Result<Vec<Opening>> {
        let entries: Vec<_> = entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok()).collect();
        let times = || entries.iter().map(|entry| entry.at_ms);
        let (Some(from), Some(until)) = (times().min(), times().max()) else { return Ok(Vec::new()) };
        let wanted = entries.iter().flat_map(commitments).cloned().collect();
        // They are kept when the entry is written, which may be later.
        let until = UnixMillis(until.0.saturating_add(KEPT_LATER_MS));
        Openings::new(Folder::new(&self.personal)).open(&wanted, from, until)
    }
}

/// The personal values that an entry commits to.
pub fn commitments(entry: &Entry) -> impl Iterator<Item = &Commitment> {
    let participants =
        [&entry.initiator, &entry.receiver].into_iter().filter_map(|participant| participant.name.as_ref());
    let others = [&entry.client_id, &entry.source].into_iter().flatten();
    participants.chain(others).chain(entry.data.values()).filter_map(|named| match named {
        Named::Personal { sha256 } => Some(sha256),
        Named::Plain(_) => None,
    })
}

impl From<PageError> for AdminError {
    fn from(error: PageError) -> Self {
        Self::Refused(format!("the ledger: {error}"))
    }
}

impl Hub {
    pub(crate) fn ledger_place(&self) -> Result<(LedgerPlace, VerifierKey), AdminError> {
        let place = LedgerPlace::of_hub(self.data());
        let key =
            place.key().map_err(|error| AdminError::Refused(format!("the ledger has no {VERIFIER_KEY}: {error}")))?;
        Ok((place, key))
    }

    /// The key that the ledger is signed with.
    pub(crate) fn ledger_key(&self) -> Result<Outcome, AdminError> {
        let witness = self.cosigner.as_ref().map(|cosigner| cosigner.key().to_string());
        Ok(Outcome::ok(json!({ "key": self.ledger_place()?.1.to_string(), "witness": witness })))
    }

    /// A page of the ledger for an auditor. That it was read is an entry (CSA-SCN-09, CSA-IMT-01).
    pub(crate) fn ledger_read(&self, actor: &Actor, from: Option<u64>, bundles: u64) -> Result<Outcome, AdminError> {
        let (place, key) = self.ledger_place()?;
        let (extract, proved) = place.read(&key, from, bundles)?;
        let until = proved.first.saturating_add(proved.entries.len() as u64);
        let detail = format_args!("entries {} to {}", proved.first, until.saturating_sub(1));
        // On the disk before anybody sees anything.
        let recorded = self.record(&Event::new(EventKind::LedgerRead, detail).by(&actor.name));
        recorded.map_err(|error| AdminError::Refused(error.to_string()))?;
        let result = serde_json::to_value(extract).map_err(|error| AdminError::Refused(error.to_string()))?;
        Ok(Outcome::ok(result))
    }

    /// Checks a part of the ledger, from the entry of this number on, and says where to go on. What is damaged is an entry of what
    /// follows.
    pub(crate) fn ledger_check(&self, from: u64) -> Result<Outcome, AdminError> {
        let (place, key) = self.ledger_place()?;
        let checked = Snapshot::take(place.files(), &key).and_then(|ledger| {
            let reader = Reader::open(&ledger, ledger.head())?;
            let (size, start) = (ledger.head().size, from.max(ledger.first()) / TILE_WIDTH);
            let bundles = (start..start.saturating_add(CHECKED_BUNDLES_MAX)).map_while(|index| BundleId::of_tree(index, size));
            let mut next = size;
            for bundle in bundles {
                reader.entries(bundle)?;
                next = bundle.start() + bundle.width();
            }
            let head = String::from_utf8_lossy(ledger.signed());
            Ok(json!({ "checkpoint": head, "next": next, "size": size, "first_kept": ledger.first(), "let_go_ms": ledger.truncation().map(|cut| cut.at_ms) }))
        });
        match checked {
            Ok(result) => Ok(Outcome::ok(result)),
            Err(error) => {
                self.tell(&Event::new(EventKind::LedgerTampered, format_args!("{error}")));
                Ok(Outcome { result: json!({ "damage": error.to_string() }), failed: true })
            }
        }
    }

    /// Deletes what opens personal values: all of one value, or whole days that are over. The entries stay, and still prove.
    pub(crate) fn ledger_erase(&self, actor: &Actor, what: &Erasure, dry_run: bool) -> Result<Outcome, AdminError> {
        let failed = |error: io::Error| AdminError::Refused(format!("personal values were not erased: {error}"));
        let erased = self.recorder.with_openings(|openings| match what {
            Erasure::Value(value) if dry_run => openings.count(value).map(|count| json!({ "values": count })),
            Erasure::Value(value) => openings.erase(value).map(|count| json!({ "values": count })),
            Erasure::Before(at) if dry_run => openings.days_before(*at).map(|days| json!({ "days": days.len() })),
            Erasure::Before(at) => openings.forget_before(*at).map(|count| json!({ "days": count })),
        });
        let erased = erased.map_err(failed)?;
        if !dry_run {
            let data = [("values", Datum::Plain(&erased))];
            self.tell(&Event::new(EventKind::PersonalDataErased, format_args!("")).by(&actor.name).with(&data));
        }
        Ok(Outcome::ok(erased))
    }
}
