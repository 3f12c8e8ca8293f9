//! Retention: entries that are older than the configuration wants them go, under a signature.

use portreeve_events::{Datum, Entry, Event, Kind as EventKind};
use portreeve_ledger::{AuditError, BundleId, Reader, TILE_WIDTH, VerifierKey};
use portreeve_ledger_files::{PageError, Snapshot};
use portreeve_types::UnixMillis;

use super::LedgerPlace;
use crate::Hub;

const DAY_MS: u64 = 86_400_000;

/// What is read of the ledger to find what is too old.
type Read<'a> = Reader<'a, Snapshot>;

impl Hub {
    /// Lets go of entries that are too old: of one day at most, for the clock may be wrong and what is gone is gone. One file of
    /// entries goes in any case. That it is done is an entry first.
    pub(crate) fn let_old_entries_go(&self, now: UnixMillis) {
        let days = self.config().ledger.keep_days;
        if days == 0 {
            return;
        }
        let before = UnixMillis(now.0.saturating_sub(days * DAY_MS));
        let Ok((place, key)) = self.ledger_place() else { return };
        let first = match first_to_keep(&place, &key, before) {
            Ok(Some(first)) => first,
            Ok(None) => return,
            Err(error) => {
                return tracing::warn!(%error, "the ledger was not looked at for old entries; it is tried again");
            }
        };
        let data = [("first_kept", Datum::Plain(&first))];
        let recorded =
            self.record(&Event::new(EventKind::LedgerTruncated, format_args!("older than {days} days")).with(&data));
        match recorded {
            Ok(_) => self.recorder.let_go(first, now),
            Err(error) => tracing::warn!(%error, "old entries of the ledger stay; it is tried again"),
        }
    }
}

/// The first entry that stays, if any goes that was made before this time.
pub(super) fn first_to_keep(
    place: &LedgerPlace,
    key: &VerifierKey,
    before: UnixMillis,
) -> Result<Option<u64>, PageError> {
    let ledger = Snapshot::take(place.files(), key)?;
    let reader = Reader::open(&ledger, ledger.head())?;
    let (oldest, full) = (ledger.first() / TILE_WIDTH, ledger.head().size / TILE_WIDTH);
    if oldest >= full {
        return Ok(None);
    }
    let (begin, last) = times(&reader, oldest)?;
    if last >= before {
        return Ok(None);
    }
    let before = before.min(UnixMillis(begin.0.saturating_add(DAY_MS)));
    // The first file of which something stays; the oldest has gone already.
    let (mut low, mut high) = (oldest + 1, full);
    while low < high {
        let middle = low.midpoint(high);
        if times(&reader, middle)?.1 < before { low = middle + 1 } else { high = middle }
    }
    Ok(Some(low * TILE_WIDTH))
}

/// When the first and the last entry of a file were made. One that cannot be read counts as new.
fn times(reader: &Read<'_>, index: u64) -> Result<(UnixMillis, UnixMillis), PageError> {
    let size = reader.head().size;
    let bundle = BundleId::of_tree(index, size).ok_or(AuditError::<std::io::Error>::Beyond { size })?;
    let entries = reader.entries(bundle)?;
    let time = |entry: Option<&Vec<u8>>| {
        let entry = entry.and_then(|bytes| Entry::from_bytes(bytes).ok());
        entry.map_or(UnixMillis(u64::MAX), |entry| entry.at_ms)
    };
    Ok((time(entries.first()), time(entries.last())))
}
