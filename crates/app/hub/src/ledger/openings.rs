//! What opens the personal values of entries: files beside the ledger, one for each day, from which values can be deleted.

use std::io;

use portreeve_events::{Commitment, Opening};
use portreeve_ledger_files::{Folder, Volume as _};
use portreeve_types::UnixMillis;

const DAY_MS: u64 = 86_400_000;

/// The files `<yyyy-mm-dd>.jsonl` of `DIR/ledger-personal`.
#[derive(Debug)]
pub(crate) struct Openings {
    folder: Folder,
}

impl Openings {
    pub(crate) fn new(folder: Folder) -> Self {
        Self { folder }
    }

    /// Keeps them, durably, in the file of this day.
    pub(super) fn keep(&mut self, openings: &[Opening], now: UnixMillis) -> io::Result<()> {
        if openings.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for opening in openings {
            serde_json::to_writer(&mut lines, opening)?;
            lines.push(b'\n');
        }
        // A part of a line that a power cut left ends here, and is no line.
        lines.insert(0, b'\n');
        self.folder.append(&file_of(now), &lines)
    }

    /// Deletes whole days that are over for so long. Returns how many.
    pub(crate) fn forget_before(&mut self, before: UnixMillis) -> io::Result<usize> {
        let old = self.days_before(before)?;
        old.iter().try_for_each(|name| self.folder.remove(name))?;
        Ok(old.len())
    }

    /// The files of days that are over for so long.
    pub(crate) fn days_before(&self, before: UnixMillis) -> io::Result<Vec<String>> {
        let first_kept = file_of(before);
        Ok(self.folder.list("")?.into_iter().filter(|name| *name < first_kept).collect())
    }

    /// How many there are of this value.
    pub(crate) fn count(&self, value: &str) -> io::Result<usize> {
        let names = self.folder.list("")?;
        let count = |name: &String| {
            let bytes = self.folder.read(name)?.unwrap_or_default();
            Ok(openings(&bytes).filter(|opening| opening.value == value).count())
        };
        names.iter().map(count).sum()
    }

    /// Deletes every opening of this value. Returns how many.
    pub(crate) fn erase(&mut self, value: &str) -> io::Result<usize> {
        let mut erased = 0;
        for name in self.folder.list("")? {
            let bytes = self.folder.read(&name)?.unwrap_or_default();
            let (gone, kept): (Vec<_>, Vec<_>) = openings(&bytes).partition(|opening| opening.value == value);
            if gone.is_empty() {
                continue;
            }
            let mut lines = Vec::new();
            for opening in &kept {
                serde_json::to_writer(&mut lines, opening)?;
                lines.push(b'\n');
            }
            self.folder.write(&name, &lines)?;
            erased += gone.len();
        }
        Ok(erased)
    }

    /// Which of these commitments can still be opened, among those of the days from `from` to `until`.
    pub(crate) fn open(
        &self,
        wanted: &hashbrown::HashSet<Commitment>,
        from: UnixMillis,
        until: UnixMillis,
    ) -> io::Result<Vec<Opening>> {
        let (from, until) = (file_of(from), file_of(until));
        let mut found = Vec::new();
        for name in self.folder.list("")?.iter().filter(|name| (&from..=&until).contains(name)) {
            let bytes = self.folder.read(name)?.unwrap_or_default();
            found.extend(openings(&bytes).filter(|opening| wanted.contains(&opening.sha256)));
        }
        Ok(found)
    }
}

/// Those of a file that are what they say; a line that is none was torn by a power cut or is somebody's who has the disk.
fn openings(bytes: &[u8]) -> impl Iterator<Item = Opening> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| serde_json::from_slice::<Opening>(line).ok()).filter(Opening::is_true)
}

/// The file of a day, UTC. By name they are in order.
fn file_of(at: UnixMillis) -> String {
    let days = i64::try_from(at.0 / DAY_MS).unwrap_or(i64::MAX);
    let date = time::OffsetDateTime::from_unix_timestamp(days.saturating_mul(86_400));
    // The year 9999 is the last that has a date.
    date.map_or_else(|_| "9999-12-31.jsonl".into(), |date| format!("{}.jsonl", date.date()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(value: &str, salt: u8) -> Opening {
        Opening::new(value, [salt; 16])
    }

    #[test]
    fn what_was_kept_opens_until_it_is_erased() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Openings::new(Folder::new(folder.path()));
        let (first, second) = (UnixMillis(86_400_000 * 20_000), UnixMillis(86_400_000 * 20_001));
        let [alice, bob, again] = [opening("alice", 1), opening("bob", 2), opening("alice", 3)];
        kept.keep(&[alice.clone(), bob.clone()], first).unwrap();
        kept.keep(std::slice::from_ref(&again), second).unwrap();
        assert_eq!(file_of(first), "2024-10-04.jsonl");
        let all = [&alice, &bob, &again].map(|opening| opening.sha256.clone()).into_iter().collect();
        let open = |kept: &Openings| kept.open(&all, first, second).unwrap();
        assert_eq!(open(&kept).len(), 3);
        assert_eq!(kept.open(&all, second, second).unwrap(), [again]);
        // A torn line and a forged one open nothing, and spoil no other.
        let path = folder.path().join("2024-10-05.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{}", &text[..30])).unwrap();
        let carol = opening("carol", 4);
        kept.keep(std::slice::from_ref(&carol), second).unwrap();
        assert_eq!(open(&kept).len(), 3);
        assert_eq!(kept.open(&[carol.sha256].into_iter().collect(), second, second).unwrap().len(), 1);
        assert_eq!((kept.count("alice").unwrap(), kept.count("mallory").unwrap()), (2, 0));
        assert_eq!(kept.erase("alice").unwrap(), 2);
        assert_eq!(open(&kept), std::slice::from_ref(&bob));
        kept.keep(std::slice::from_ref(&alice), second).unwrap();
        assert_eq!(open(&kept).len(), 2, "what comes after an erasure is not lost with it");
        assert_eq!(kept.erase("alice").unwrap(), 1);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("alice"));
        assert_eq!(kept.forget_before(second).unwrap(), 1);
        assert!(open(&kept).is_empty());
    }
}
