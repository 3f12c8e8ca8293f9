//! The folder of a report: evidence while a run goes on, so that an interrupted one continues, and the report at its end.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use portreeve_assurance::{Attempt, Envelope, MANIFEST, Sha256, Store, evidence_file};
use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What is kept of a run that has not ended.
const RUN: &str = ".run";
/// Which run it is.
const HEAD: &str = "head.json";
/// Longest note of a visit, bytes.
const NOTE_BYTES_MAX: u64 = 16 << 20;

/// Of which scope, and when it began.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    scope: Sha256,
    started_ms: u64,
}

/// What one visit brought.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    attempts: Vec<Attempt>,
    evidence: Vec<Sha256>,
}

/// The folder of one run.
pub(super) struct Folder {
    path: PathBuf,
    /// When the run began; for one that is continued, then.
    pub(super) started: UnixMillis,
    /// How many visits are done.
    done: BTreeMap<usize, Note>,
}

impl Folder {
    /// When an interrupted run that left its folder here began.
    pub(super) fn begun(path: &Path) -> Option<UnixMillis> {
        let head: Head = serde_json::from_slice(&fs::read(path.join(RUN).join(HEAD)).ok()?).ok()?;
        Some(UnixMillis(head.started_ms))
    }

    /// Makes it, or goes on with what an interrupted run of the same scope left.
    pub(super) fn open(path: &Path, scope: Sha256, now: UnixMillis) -> Result<Self, Failure> {
        let shown = path.display();
        let unusable = |error: &dyn std::fmt::Display| Failure::Usage(format!("cannot use {shown}: {error}"));
        if path.join(MANIFEST).exists() {
            return Err(Failure::Usage(format!("{shown} holds a report already; name another folder with --out")));
        }
        let head_file = path.join(RUN).join(HEAD);
        match fs::read(&head_file) {
            Ok(bytes) => {
                let head: Head = serde_json::from_slice(&bytes).map_err(|error| unusable(&error))?;
                if head.scope != scope {
                    return Err(Failure::Usage(format!(
                        "{shown} holds an interrupted run of another scope; name another folder with --out, or remove this one"
                    )));
                }
                let done = notes(path).map_err(|error| unusable(&error))?;
                Ok(Self { path: path.to_owned(), started: UnixMillis(head.started_ms), done })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_used = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
                if is_used {
                    return Err(Failure::Usage(format!("{shown} is not empty; name a new folder with --out")));
                }
                let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
                make(&path.join(RUN)).map_err(|error| unusable(&error))?;
                make(&path.join("evidence")).map_err(|error| unusable(&error))?;
                let head = serde_json::to_vec(&Head { scope, started_ms: now.0 }).map_err(|error| unusable(&error))?;
                write(&head_file, &head).map_err(|error| unusable(&error))?;
                Ok(Self { path: path.to_owned(), started: now, done: BTreeMap::new() })
            }
            Err(error) => Err(unusable(&error)),
        }
    }

    /// What an earlier run brought of a visit: its attempts, and its evidence.
    pub(super) fn recall(&self, visit: usize) -> Option<(Vec<Attempt>, Vec<Envelope>)> {
        let note = self.done.get(&visit)?;
        // What is not as it was is looked at again.
        let read = |hash: &Sha256| {
            let bytes = fs::read(self.path.join(evidence_file(hash))).ok()?;
            (Sha256::of(&bytes) == *hash).then(|| Envelope::from_bytes(&bytes).ok())?
        };
        let evidence: Option<Vec<Envelope>> = note.evidence.iter().map(read).collect();
        Some((note.attempts.clone(), evidence?))
    }

    /// Keeps what a visit brought.
    pub(super) fn keep(&self, visit: usize, attempts: &[Attempt], evidence: &[Envelope]) -> Result<(), Failure> {
        let keep = || -> io::Result<()> {
            let mut hashes = Vec::new();
            for envelope in evidence {
                let bytes = envelope.to_bytes().map_err(io::Error::other)?;
                let hash = Sha256::of(&bytes);
                write(&self.path.join(evidence_file(&hash)), &bytes)?;
                hashes.push(hash);
            }
            let note = Note { attempts: attempts.to_vec(), evidence: hashes };
            write(&self.note_file(visit), &serde_json::to_vec(&note)?)
        };
        keep().map_err(|error| Failure::Refused(format!("cannot write to {}: {error}", self.path.display())))
    }

    fn note_file(&self, visit: usize) -> PathBuf {
        self.path.join(RUN).join(format!("{visit:05}.json"))
    }

    /// Writes the report, and ends the run.
    pub(super) fn finish(self, files: &BTreeMap<String, Vec<u8>>, store: &Store) -> Result<(), Failure> {
        let finish = || -> io::Result<()> {
            // The manifest comes last: with it, the report is whole.
            for (name, bytes) in files.iter().filter(|(name, _)| *name != MANIFEST) {
                write(&self.path.join(name), bytes)?;
            }
            self.drop_strays(store)?;
            if let Some(manifest) = files.get(MANIFEST) {
                write(&self.path.join(MANIFEST), manifest)?;
            }
            fs::remove_dir_all(self.path.join(RUN))
        };
        finish().map_err(|error| Failure::Refused(format!("cannot write to {}: {error}", self.path.display())))
    }

    /// Evidence of visits that were interrupted is nobody's.
    fn drop_strays(&self, store: &Store) -> io::Result<()> {
        let known: Vec<PathBuf> = store.files().map(|(hash, _)| self.path.join(evidence_file(&hash))).collect();
        for entry in fs::read_dir(self.path.join("evidence"))? {
            let path = entry?.path();
            if !known.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// What is there of visits. A note that was not written whole is none.
fn notes(path: &Path) -> io::Result<BTreeMap<usize, Note>> {
    let mut notes = BTreeMap::new();
    for entry in fs::read_dir(path.join(RUN))? {
        let entry = entry?;
        let number = entry.path().file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let (Some(number), true) = (number, entry.metadata()?.len() <= NOTE_BYTES_MAX) else { continue };
        if let Ok(note) = serde_json::from_slice(&fs::read(entry.path())?) {
            notes.insert(number, note);
        }
    }
    Ok(notes)
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}
