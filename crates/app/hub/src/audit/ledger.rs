//! The ledger, verified as `ledger verify` does (CSA-SCN-09, CSA-IMT-01, CSA-CLS-13).

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use portreeve_assurance::evidence::{
    Seen,
    hub::{Cosigner, HubLedger},
    printable,
};
use portreeve_events::{Entry, Event, Kind as EventKind};
use portreeve_ledger::{BundleId, Checkpoint, Note, Reader, TILE_WIDTH, VerifierKey, audit};
use portreeve_ledger_files::{PageError, Snapshot, witnessed_by};
use portreeve_types::UnixMillis;

use crate::{
    Actor, AdminError, Hub,
    ledger::{FOLDER, LedgerPlace, OPENINGS_FOLDER},
};

/// Entries that are read; of a longer ledger the last ones are, and the rest is for `ledger verify`.
const ENTRIES_MAX: u64 = 1_000_000;
/// Files that are looked at for their permissions.
const FILES_MAX: usize = 20_000;
/// Who is not the hub's user may read.
const OTHERS_READ: u32 = 0o044;
/// Who is not the hub's user may write.
const OTHERS_WRITE: u32 = 0o022;
/// How long the signature is awaited that covers all that happened before.
const SIGNATURE_WAIT: Duration = Duration::from_secs(5);

/// What was read.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<String, u64>,
    unreadable: u64,
}

impl Tally {
    fn add(&mut self, bytes: &[u8]) {
        let entry = Entry::from_bytes(bytes).ok();
        match entry.as_ref().and_then(|entry| EventKind::find(&entry.kind)) {
            Some(kind) => *self.kinds.entry(kind.as_str().to_owned()).or_default() += 1,
            None => self.unreadable += 1,
        }
    }
}

impl Hub {
    /// That it was read is an entry, and on the disk first: whatever happened before it has to be found in what was read.
    pub(super) fn ledger_facts(&self, actor: &Actor, now: UnixMillis) -> Result<HubLedger, AdminError> {
        let happened: Vec<EventKind> =
            EventKind::ALL.iter().copied().filter(|kind| self.events.count(*kind) > 0).collect();
        let number = self
            .record(&Event::new(EventKind::LedgerRead, format_args!("all of it, to be verified")).by(&actor.name))
            .map_err(|error| AdminError::Refused(error.to_string()))?;
        self.recorder.await_signed(number, SIGNATURE_WAIT);
        let (place, key) = self.ledger_place()?;
        let (state, config) = (self.ledger(), self.config());
        let mut facts = HubLedger {
            unrecorded: state.unrecorded,
            trouble: state.trouble,
            keep_days: config.ledger.keep_days,
            personal_days: config.ledger.personal_days,
            ..HubLedger::default()
        };
        let permissions = Permissions::of(&[self.data.join(FOLDER), self.data.join(OPENINGS_FOLDER)]);
        facts.files = permissions.files;
        facts.all_files = permissions.is_all;
        facts.readable = permissions.readable.iter().map(|path| shown(path, &self.data)).collect();
        facts.writable = permissions.writable.iter().map(|path| shown(path, &self.data)).collect();
        match Snapshot::take(place.files(), &key) {
            Ok(ledger) => self.verify(&mut facts, &ledger, &key, &place, now),
            Err(error) => facts.damage = Some(printable(error.to_string().as_bytes())),
        }
        facts.unsigned = (number + 1).saturating_sub(facts.entries);
        let missing = happened.iter().map(|kind| kind.as_str()).filter(|word| !facts.kinds.contains_key(*word));
        facts.missing = missing.map(str::to_owned).collect();
        if let Some(damage) = &facts.damage {
            self.tell(&Event::new(EventKind::LedgerTampered, format_args!("{damage}")));
        }
        Ok(facts)
    }

    fn verify(
        &self,
        facts: &mut HubLedger,
        ledger: &Snapshot,
        key: &VerifierKey,
        place: &LedgerPlace,
        now: UnixMillis,
    ) {
        let (head, first) = (ledger.head(), ledger.first());
        facts.entries = head.size;
        facts.first_kept = first;
        facts.whole = head.size - first.min(head.size) <= ENTRIES_MAX;
        let mut tally = Tally::default();
        let read = if facts.whole {
            facts.verified_from = first;
            audit(ledger, head, ledger.truncation(), |_, entry| tally.add(entry)).map_err(PageError::from)
        } else {
            facts.verified_from = (head.size - ENTRIES_MAX).next_multiple_of(TILE_WIDTH);
            read_tail(ledger, facts.verified_from, &mut tally)
        };
        facts.kinds = tally.kinds;
        facts.unreadable = tally.unreadable;
        let witnessed = read.and_then(|()| self.witnesses_of(ledger, key, place, now));
        match witnessed {
            Ok(witnesses) => facts.witnesses = witnesses,
            Err(error) => facts.damage = Some(printable(error.to_string().as_bytes())),
        }
    }

    /// Who saw this ledger when. Whatever was cosigned has to be a beginning of what there is.
    fn witnesses_of(
        &self,
        ledger: &Snapshot,
        key: &VerifierKey,
        place: &LedgerPlace,
        now: UnixMillis,
    ) -> Result<Vec<Cosigner>, PageError> {
        let reader = Reader::open(ledger, ledger.head())?;
        let signed: BTreeMap<String, Vec<u8>> = place.files().witnessed()?.into_iter().collect();
        for (path, note) in &signed {
            let seen = Checkpoint::open(note, key)?;
            if seen.size > ledger.head().size || reader.root_of(seen.size)? != seen.root {
                return Err(PageError::Damaged(format!("{path}: what was cosigned is not a beginning of this ledger")));
            }
        }
        let config = self.config();
        let witness = |text: &String| {
            let witness: Option<VerifierKey> = text.parse().ok();
            let note = witness.as_ref().and_then(|witness| signed.get(&witnessed_by(witness)));
            let seconds = witness.as_ref().zip(note).and_then(|(witness, note)| {
                Note::parse(note).and_then(|note| note.signed_by(witness).map(|(_, seconds)| seconds)).ok()
            });
            let silent_s = seconds.map(|seconds| now.seconds().saturating_sub(seconds));
            Cosigner {
                name: printable(text.split('+').next().unwrap_or_default().as_bytes()),
                silent_s: silent_s.map_or(Seen::Unknown("has not cosigned it".into()), Seen::Known),
                late_s: config.ledger.witness_late_s,
            }
        };
        Ok(config.ledger.witnesses.values().map(witness).collect())
    }
}

/// The last entries, each proved by the tiles above it.
fn read_tail(ledger: &Snapshot, from: u64, tally: &mut Tally) -> Result<(), PageError> {
    let (reader, size) = (Reader::open(ledger, ledger.head())?, ledger.head().size);
    for bundle in (from / TILE_WIDTH..).map_while(|index| BundleId::of_tree(index, size)) {
        reader.entries(bundle)?.iter().for_each(|entry| tally.add(entry));
    }
    Ok(())
}

/// Which files others can get at.
#[derive(Default)]
struct Permissions {
    files: u64,
    is_all: bool,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
}

impl Permissions {
    fn of(folders: &[PathBuf]) -> Self {
        let mut permissions = Self { is_all: true, ..Self::default() };
        let mut open = Vec::new();
        for folder in folders {
            // A folder that nobody else may enter keeps all that is in it.
            if permissions.look(folder).is_ok_and(|mode| mode & (OTHERS_READ | OTHERS_WRITE | 0o011) != 0) {
                open.push(folder.clone());
            }
        }
        while let Some(folder) = open.pop() {
            if permissions.enter(&folder, &mut open).is_err() {
                permissions.is_all = false;
            }
        }
        permissions
    }

    fn enter(&mut self, folder: &Path, open: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            if self.files >= FILES_MAX as u64 {
                self.is_all = false;
                return Ok(());
            }
            let entry = entry?;
            self.look(&entry.path())?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
        Ok(())
    }

    fn look(&mut self, path: &Path) -> io::Result<u32> {
        let mode = std::fs::symlink_metadata(path)?.permissions().mode();
        self.files += 1;
        if mode & OTHERS_READ != 0 {
            self.readable.push(path.to_owned());
        }
        if mode & OTHERS_WRITE != 0 {
            self.writable.push(path.to_owned());
        }
        Ok(mode)
    }
}

fn shown(path: &Path, data: &Path) -> String {
    path.strip_prefix(data).unwrap_or(path).to_string_lossy().into_owned()
}
