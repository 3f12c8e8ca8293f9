//! Reading a ledger while it grows: its head is replaced, and the files that only this head needed go.

use std::{collections::BTreeMap, io, thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_ledger::{
    AuditError, BundleId, Checkpoint, CheckpointError, Reader, Recorded, Resources, TILE_WIDTH, Truncation,
    TruncationError, VerifierKey,
};
use serde::{Deserialize, Serialize};

use crate::{CHECKPOINT, Copied, TRUNCATION};

/// Most files of entries in a page.
pub const PAGE_BUNDLES_MAX: u64 = 16;
/// Bytes of entries beyond which a page ends; it has one file of entries at least.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// How often a ledger that changes while it is read is read again, and how long after.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// Why a ledger cannot be read, or is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// There is no head.
    #[error("{CHECKPOINT} is missing")]
    NoCheckpoint,
    /// A file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The head is not one that this key signed.
    #[error("{CHECKPOINT} is not to be believed: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// What says which entries were let go is not signed by this key.
    #[error("{TRUNCATION} is not to be believed: {0}")]
    Truncation(#[from] TruncationError),
    /// Something is missing or damaged.
    #[error("{0}")]
    Damaged(String),
}

impl<E: std::error::Error + 'static> From<AuditError<E>> for PageError {
    fn from(error: AuditError<E>) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// What a ledger was at one moment: its head, and the files that the next head makes superfluous.
#[derive(Debug)]
pub struct Snapshot {
    files: Copied,
    kept: BTreeMap<String, Vec<u8>>,
    /// As it is signed.
    signed: Vec<u8>,
    signed_truncation: Option<Vec<u8>>,
    head: Checkpoint,
    truncation: Option<Truncation>,
}

impl Snapshot {
    /// # Errors
    /// [`PageError`], after as many attempts as a growing ledger may need.
    pub fn take(files: &Copied, key: &VerifierKey) -> Result<Self, PageError> {
        again(|| Self::try_take(files, key))
    }

    fn try_take(files: &Copied, key: &VerifierKey) -> Result<Self, PageError> {
        let signed = files.read(CHECKPOINT)?.ok_or(PageError::NoCheckpoint)?;
        let head = Checkpoint::open(&signed, key)?;
        // Behind the head: what is let go, is let go of a head that is there.
        let signed_truncation = files.read(TRUNCATION)?;
        let truncation = signed_truncation.as_ref().map(|signed| Truncation::open(signed, key)).transpose()?;
        let recorded = Recorded::new(files);
        Reader::open(&recorded, &head)?;
        if let Some(last) = BundleId::of_tree(head.size / TILE_WIDTH, head.size) {
            let path = last.to_string();
            recorded.read(&path)?.ok_or_else(|| PageError::Damaged(format!("{path} is missing")))?;
        }
        let kept = recorded.into_files();
        Ok(Self { files: files.clone(), kept, signed, signed_truncation, head, truncation })
    }

    /// The head that everything is compared with.
    #[must_use]
    pub fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// The head, as it is signed.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// Which entries were let go.
    #[must_use]
    pub fn truncation(&self) -> Option<&Truncation> {
        self.truncation.as_ref()
    }

    /// The first entry that is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.truncation.as_ref().map_or(0, |truncation| truncation.first)
    }
}

impl Resources for Snapshot {
    type Error = io::Error;

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.kept.get(path) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.files.read(path),
        }
    }
}

/// Entries of a ledger with all that proves them, as it goes from one process to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The signed head.
    checkpoint: String,
    /// Which entries were let go, signed.
    #[serde(default)]
    truncation: Option<String>,
    /// The first file of entries, and how many there are.
    start: u64,
    count: u64,
    /// The files that prove them, base64, by path.
    files: BTreeMap<String, String>,
}

/// Entries that a signed head commits to.
#[derive(Debug)]
pub struct Proved {
    /// The head.
    pub head: Checkpoint,
    /// The same, as it is signed.
    pub signed: String,
    /// Which entries were let go.
    pub truncation: Option<Truncation>,
    /// The number of the first entry here.
    pub first: u64,
    /// Entries, in order.
    pub entries: Vec<Vec<u8>>,
    /// All files that a [`Reader`] of these entries needs.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Page {
    /// Reads entries from the one of number `from`, or the last ones, as far as whole files go, and proves them. What was let go is
    /// passed over.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn read(files: &Copied, key: &VerifierKey, from: Option<u64>, bundles: u64) -> Result<Self, PageError> {
        again(|| Self::try_read(&Snapshot::try_take(files, key)?, from, bundles))
    }

    fn try_read(ledger: &Snapshot, from: Option<u64>, bundles: u64) -> Result<Self, PageError> {
        let last = ledger.head.size.saturating_sub(1);
        let start = from.unwrap_or(last).max(ledger.first()) / TILE_WIDTH;
        let recorded = Recorded::new(ledger);
        let reader = Reader::open(&recorded, &ledger.head)?;
        let (mut count, mut bytes) = (0, 0);
        while count < bundles.min(PAGE_BUNDLES_MAX)
            && bytes < PAGE_BYTES_MAX
            && let Some(bundle) = BundleId::of_tree(start + count, ledger.head.size)
        {
            bytes += reader.entries(bundle)?.iter().map(Vec::len).sum::<usize>();
            count += 1;
        }
        let files = recorded.into_files().into_iter().map(|(path, bytes)| (path, STANDARD.encode(bytes))).collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let truncation = ledger.signed_truncation.as_deref().map(text);
        Ok(Self { checkpoint: text(&ledger.signed), truncation, start, count, files })
    }

    /// The entries, if everything is as the head says that this key signed.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn prove(&self, key: &VerifierKey) -> Result<Proved, PageError> {
        let head = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        let truncation = self.truncation.as_ref().map(|signed| Truncation::open(signed.as_bytes(), key)).transpose()?;
        let decode = |(path, text): (&String, _)| Some((path.clone(), STANDARD.decode(text).ok()?));
        let files: Option<BTreeMap<_, _>> = self.files.iter().map(decode).collect();
        let files = files.ok_or_else(|| PageError::Damaged("a file is not base64".into()))?;
        let mut entries = Vec::new();
        let reader = Reader::open(&files, &head)?;
        for index in self.start..self.start.saturating_add(self.count.min(PAGE_BUNDLES_MAX)) {
            let bundle = BundleId::of_tree(index, head.size);
            entries.extend(reader.entries(bundle.ok_or(AuditError::<io::Error>::Beyond { size: head.size })?)?);
        }
        let first = self.start.saturating_mul(TILE_WIDTH);
        Ok(Proved { head, signed: self.checkpoint.clone(), truncation, first, entries, files })
    }
}

/// Tries what may fail because the ledger has changed meanwhile.
fn again<T>(attempt: impl Fn() -> Result<T, PageError>) -> Result<T, PageError> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(PageError::NoCheckpoint) => return Err(PageError::NoCheckpoint),
            Err(_) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    attempt()
}
