//! Appending, sealing, and finding again what was appended.

use std::io;

use portreeve_ledger::{
    BundleError, BundleId, Checkpoint, CheckpointError, FullTile, Hash, Reader, Resources, RightEdge, TILE_WIDTH,
    TileId, Truncation, TruncationError, VerifierKey, entries, push_entry,
};

use crate::{
    CHECKPOINT, TRUNCATION, Volume,
    tail::{self, Record},
};

/// Most entries between two heads; more are refused until the next is signed. They are in memory until then.
pub const UNSEALED_ENTRIES_MAX: u64 = 65_536;
/// Most bytes of entries between two heads.
pub const UNSEALED_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a tail beyond which the next seal begins another.
const TAIL_BYTES_MAX: u64 = 4 << 20;

/// Most files of entries that one call of [`LedgerFiles::remove`] removes: whoever waits to append does not wait long.
pub const REMOVED_BUNDLES_MAX: u64 = 64;

const TAILS: &str = "tail";

/// Why a ledger cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("the ledger cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The head is not one that this key signed.
    #[error("the ledger's checkpoint is not to be believed: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// What says which entries were let go is not signed by this key.
    #[error("the ledger's truncation is not to be believed: {0}")]
    Truncation(#[from] TruncationError),
    /// There is no ledger.
    #[error("no ledger was begun here")]
    Empty,
    /// There are files and no head.
    #[error("the ledger's checkpoint is missing")]
    NoCheckpoint,
    /// A file is not what the head was signed for.
    #[error("{0} is missing or damaged: the ledger does not go on from there")]
    Damaged(String),
}

/// An Ed25519 signature, or why there is none.
pub type Signed = Result<[u8; 64], String>;

/// Why something was not appended or sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The disk refused; it may be tried again.
    #[error("the ledger cannot be written: {0}")]
    Io(#[from] io::Error),
    /// An entry is too long.
    #[error(transparent)]
    Entry(#[from] BundleError),
    /// Too many entries wait for a signed head, or too long ones.
    #[error(
        "no more than {UNSEALED_ENTRIES_MAX} entries of {UNSEALED_BYTES_MAX} bytes in all may wait for a signature"
    )]
    Unsealed,
    /// The signer gave no signature, or not that of the ledger's key.
    #[error("the checkpoint was not signed: {0}")]
    Signer(String),
    /// The hashes of what is to be let go are not those of the head.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
}

/// A ledger that is appended to. One process has it.
#[derive(Debug)]
pub struct LedgerFiles<V> {
    volume: V,
    key: VerifierKey,
    edge: RightEdge,
    /// Entries that the signed head covers.
    sealed: u64,
    /// Bytes of entries that were taken since it was opened, and of those that the head covers.
    taken_bytes: u64,
    sealed_bytes: u64,
    /// The entries of the bundle that is not full.
    bundle: Vec<u8>,
    /// Files that are complete and wait for the next seal.
    complete: Vec<(String, Vec<u8>)>,
    /// Files that the present head needs and the next one replaces.
    partial: Vec<String>,
    tail: Tail,
    /// Files of before, which go when a head covers what is in them.
    old_tails: Vec<OldTail>,
    /// Bundles whose entries were let go, and how many of them are removed.
    let_go: u64,
    removed: u64,
}

/// A file that is not written any more.
#[derive(Debug)]
struct OldTail {
    path: String,
    /// As many entries as a head has that covers it.
    until: u64,
}

/// A head that is to be signed, and the files that go with it.
#[derive(Debug)]
pub struct Head {
    text: String,
    size: u64,
    taken_bytes: u64,
    /// How many of the complete files it needs.
    complete: usize,
    partial: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// What the ledger's key signs, with Ed25519.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Entries that it covers.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// What says that entries are let go, to be signed.
#[derive(Debug)]
pub struct Cut {
    text: String,
    first: u64,
}

impl Cut {
    /// What the ledger's key signs, with Ed25519.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// The file that is appended to.
#[derive(Debug)]
struct Tail {
    path: String,
    /// `None` while there is no file.
    key: Option<tail::Key>,
    /// Of the key and whole records.
    bytes: u64,
    /// There may be a part of a record behind them.
    is_torn: bool,
}

impl Tail {
    fn new(first: u64) -> Self {
        // Sorted by name they are in order.
        Self { path: format!("{TAILS}/{first:020}"), key: None, bytes: 0, is_torn: false }
    }
}

impl<V: Volume> LedgerFiles<V> {
    /// Begins a ledger: the head without entries is the first file. So one that is missing later was not lost in a crash.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn create(mut volume: V, key: &VerifierKey, sign: impl FnOnce(&[u8]) -> Signed) -> Result<(), SealError> {
        let text = head_text(&RightEdge::default(), key);
        let signature = sign(&key.message(&text, 0)).map_err(SealError::Signer)?;
        let signed = signed_note(&text, key, &signature)?;
        Ok(volume.write(CHECKPOINT, signed.as_bytes())?)
    }

    /// The ledger in this place. `key` is that of its head.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Empty`] where none was begun.
    pub fn open(volume: V, key: VerifierKey) -> Result<Self, OpenError> {
        let tails = volume.list(TAILS)?;
        let Some(signed) = volume.read(CHECKPOINT)? else {
            let is_empty = tails.is_empty() && volume.list("tile")?.is_empty();
            return Err(if is_empty { OpenError::Empty } else { OpenError::NoCheckpoint });
        };
        let edge = resume(&volume, &Checkpoint::open(&signed, &key)?)?;
        let sealed = edge.size();
        let bundle = open_bundle(&volume, &edge)?;
        let first = read_truncation(&volume, &key)?;
        if first > sealed {
            return Err(OpenError::Damaged(CHECKPOINT.into()));
        }
        let let_go = first / TILE_WIDTH;
        let mut ledger = Self {
            removed: first_bundle(&volume, let_go)?,
            let_go,
            partial: partial_files(&edge),
            tail: Tail::new(sealed),
            old_tails: Vec::new(),
            complete: Vec::new(),
            volume,
            key,
            edge,
            sealed,
            taken_bytes: 0,
            sealed_bytes: 0,
            bundle,
        };
        ledger.read_tails(&tails)?;
        Ok(ledger)
    }

    /// What its heads are verified with.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Entries so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Entries that the signed head covers.
    #[must_use]
    pub fn sealed(&self) -> u64 {
        self.sealed
    }

    /// The first entry that is kept; those before were let go.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.let_go * TILE_WIDTH
    }

    /// Where it is.
    #[must_use]
    pub fn volume(&self) -> &V {
        &self.volume
    }

    /// Appends entries, all or none, durably; the number of the first.
    ///
    /// # Errors
    /// [`SealError`]; nothing was appended.
    pub fn append(&mut self, entries: &[&[u8]]) -> Result<u64, SealError> {
        let first = self.edge.size();
        let bytes: u64 = entries.iter().map(|entry| entry.len() as u64).sum();
        let (count, bytes) = (entries.len() as u64 + first - self.sealed, bytes + self.taken_bytes - self.sealed_bytes);
        if count > UNSEALED_ENTRIES_MAX || bytes > UNSEALED_BYTES_MAX {
            return Err(SealError::Unsealed);
        }
        if self.tail.is_torn {
            self.volume.truncate(&self.tail.path, self.tail.bytes)?;
        }
        let record = tail::encode(&self.tail_key()?, first, entries)?;
        self.tail.is_torn = true;
        self.volume.append(&self.tail.path, &record)?;
        self.tail.is_torn = false;
        self.tail.bytes += record.len() as u64;
        entries.iter().try_for_each(|entry| self.take(entry))?;
        Ok(first)
    }

    /// The key of the tail, which is made when there is none yet.
    fn tail_key(&mut self) -> io::Result<tail::Key> {
        if let Some(key) = &self.tail.key {
            return Ok(key.clone());
        }
        let key = tail::Key::random().ok_or_else(|| io::Error::other("there is no entropy"))?;
        self.volume.write(&self.tail.path, key.header())?;
        self.tail.bytes = key.header().len() as u64;
        self.tail.key = Some(key.clone());
        Ok(key)
    }

    /// An entry that is durable.
    fn take(&mut self, entry: &[u8]) -> Result<(), BundleError> {
        push_entry(&mut self.bundle, entry)?;
        self.taken_bytes += entry.len() as u64;
        let mut full = Vec::new();
        self.edge.append(Hash::of_leaf(entry), &mut full);
        let size = self.edge.size();
        if size.is_multiple_of(TILE_WIDTH)
            && let Some(id) = BundleId::of_tree(size / TILE_WIDTH - 1, size)
        {
            self.complete.push((id.to_string(), std::mem::take(&mut self.bundle)));
        }
        let files = full.into_iter().map(|FullTile { id, hashes }| (id.to_string(), bytes_of(&hashes)));
        self.complete.extend(files);
        Ok(())
    }

    /// The head of all entries so far, to be signed; nothing when nothing came since the last one. Signing may take its time:
    /// what is appended meanwhile is for the next head.
    #[must_use]
    pub fn next_head(&self) -> Option<Head> {
        let size = self.edge.size();
        if size == self.sealed {
            return None;
        }
        let tiles = self.edge.partial_tiles().map(|(tile, hashes)| (tile.to_string(), bytes_of(hashes)));
        let bundle = partial_bundle(size).map(|id| (id.to_string(), self.bundle.clone()));
        Some(Head {
            text: head_text(&self.edge, &self.key),
            size,
            taken_bytes: self.taken_bytes,
            complete: self.complete.len(),
            partial: tiles.chain(bundle).collect(),
        })
    }

    /// Writes what auditors read, and the head with its signature. Nothing is done for a head that is not newer than the present.
    ///
    /// # Errors
    /// [`SealError`]; what was sealed before stays, and the head may be tried again.
    pub fn seal_as(&mut self, head: Head, signature: &[u8; 64]) -> Result<(), SealError> {
        if head.size <= self.sealed {
            return Ok(());
        }
        let signed = signed_note(&head.text, &self.key, signature)?;
        let complete = &self.complete[..head.complete.min(self.complete.len())];
        for (path, bytes) in complete.iter().chain(&head.partial) {
            self.volume.write(path, bytes)?;
        }
        self.volume.write(CHECKPOINT, signed.as_bytes())?;
        self.sealed = head.size;
        self.sealed_bytes = head.taken_bytes;
        self.complete.drain(..head.complete.min(self.complete.len()));
        self.tidy(head.partial.into_iter().map(|(path, _)| path).collect());
        Ok(())
    }

    /// Has the head of all entries signed and written. `sign` makes the Ed25519 signature of a message.
    ///
    /// # Errors
    /// [`SealError`]; what was sealed before stays, and the next call begins anew.
    pub fn seal(&mut self, sign: impl FnOnce(&[u8]) -> Signed) -> Result<(), SealError> {
        let Some(head) = self.next_head() else { return Ok(()) };
        let signature = sign(head.message()).map_err(SealError::Signer)?;
        self.seal_as(head, &signature)
    }

    /// What lets go of sealed entries before `first`, as far as whole bundles go, to be signed; nothing if they are gone already.
    /// `at_ms` is of the Unix epoch.
    ///
    /// # Errors
    /// [`SealError::Io`], [`SealError::Damaged`].
    pub fn next_cut(&self, first: u64, at_ms: u64) -> Result<Option<Cut>, SealError> {
        let first = first.min(self.sealed) / TILE_WIDTH * TILE_WIDTH;
        if first <= self.first() {
            return Ok(None);
        }
        let damaged = |error: &dyn std::fmt::Display| SealError::Damaged(error.to_string());
        let signed = self.volume.read(CHECKPOINT)?.unwrap_or_default();
        let head = Checkpoint::open(&signed, &self.key).map_err(|error| damaged(&error))?;
        let root = Reader::open(self, &head).and_then(|reader| reader.root_of(first));
        let root = root.map_err(|error| damaged(&error))?;
        let text = Truncation { origin: self.key.name().to_owned(), first, root, at_ms }.to_string();
        Ok(Some(Cut { text, first }))
    }

    /// Lets entries go: what says so is durable when this returns. [`Self::remove`] then removes them.
    ///
    /// # Errors
    /// [`SealError`]; nothing was let go.
    pub fn cut_as(&mut self, cut: &Cut, signature: &[u8; 64]) -> Result<(), SealError> {
        let signed = format!("{}\n{}", cut.text, self.key.line(0, signature));
        // What nobody could verify is not given out.
        Truncation::open(signed.as_bytes(), &self.key).map_err(|error| SealError::Signer(error.to_string()))?;
        if cut.first > self.first() {
            self.volume.write(TRUNCATION, signed.as_bytes())?;
            self.let_go = cut.first / TILE_WIDTH;
        }
        Ok(())
    }

    /// Removes some of what was ever let go, at most [`REMOVED_BUNDLES_MAX`] files; whether that was all.
    ///
    /// # Errors
    /// The disk refused; the next call goes on from there.
    pub fn remove(&mut self) -> io::Result<bool> {
        // In order, so that after a crash it is found how far this came.
        let until = self.let_go.min(self.removed + REMOVED_BUNDLES_MAX);
        while self.removed < until {
            self.volume.remove(&full_bundle(self.removed))?;
            self.removed += 1;
        }
        Ok(self.removed == self.let_go)
    }

    /// Removes what the head does not need. Whatever of it fails is left for the next time: it is in nobody's way.
    fn tidy(&mut self, needed: Vec<String>) {
        if self.tail.bytes > TAIL_BYTES_MAX && !self.tail.is_torn {
            let next = Tail::new(self.edge.size());
            let full = std::mem::replace(&mut self.tail, next);
            self.old_tails.push(OldTail { path: full.path, until: self.edge.size() });
        }
        let stale = std::mem::replace(&mut self.partial, needed);
        let stale = stale.into_iter().filter(|path| !self.partial.contains(path));
        let stale: Vec<_> = stale.map(|path| OldTail { path, until: 0 }).collect();
        for old in stale.into_iter().chain(std::mem::take(&mut self.old_tails)) {
            if old.until > self.sealed || self.volume.remove(&old.path).is_err() {
                self.old_tails.push(old);
            }
        }
    }

    /// What was appended and not sealed before a crash.
    fn read_tails(&mut self, names: &[String]) -> Result<(), OpenError> {
        for (number, name) in names.iter().enumerate() {
            let path = format!("{TAILS}/{name}");
            let damaged = || OpenError::Damaged(path.clone());
            let bytes = self.volume.read(&path)?.ok_or_else(damaged)?;
            let read = tail::read(&bytes).map_err(|_| damaged())?;
            let is_last = number + 1 == names.len();
            let is_torn = read.whole_bytes < bytes.len();
            if is_torn && !is_last {
                return Err(damaged());
            }
            read.records.iter().try_for_each(|record| self.take_again(record)).map_err(|()| damaged())?;
            if is_last {
                self.tail = Tail { path, key: Some(read.key), bytes: read.whole_bytes as u64, is_torn };
            } else {
                self.old_tails.push(OldTail { path, until: self.edge.size() });
            }
        }
        Ok(())
    }

    /// A record of a tail, of which the head may cover a part. There is no gap between what is sealed and what follows.
    fn take_again(&mut self, record: &Record<'_>) -> Result<(), ()> {
        if record.first > self.edge.size() {
            return Err(());
        }
        for (number, entry) in (record.first..).zip(&record.entries) {
            if number >= self.edge.size() {
                self.take(entry).map_err(|_| ())?;
            }
        }
        Ok(())
    }
}

fn head_text(edge: &RightEdge, key: &VerifierKey) -> String {
    let origin = key.name().to_owned();
    Checkpoint { origin, size: edge.size(), root: edge.root(), extensions: Vec::new() }.to_string()
}

/// A signed head. What nobody could verify is not given out.
fn signed_note(text: &str, key: &VerifierKey, signature: &[u8; 64]) -> Result<String, SealError> {
    let signed = format!("{text}\n{}", key.line(0, signature));
    match Checkpoint::open(signed.as_bytes(), key) {
        Ok(_) => Ok(signed),
        Err(error) => Err(SealError::Signer(error.to_string())),
    }
}

/// The first entry that is kept.
fn read_truncation(volume: &impl Volume, key: &VerifierKey) -> Result<u64, OpenError> {
    match volume.read(TRUNCATION)? {
        Some(signed) => Ok(Truncation::open(&signed, key)?.first),
        None => Ok(0),
    }
}

/// The first bundle that is there, of so many that were let go: they are removed in order.
fn first_bundle(volume: &impl Volume, let_go: u64) -> io::Result<u64> {
    let (mut removed, mut there) = (0, let_go);
    while removed < there {
        let middle = removed.midpoint(there);
        match volume.read(&full_bundle(middle))? {
            Some(_) => there = middle,
            None => removed = middle + 1,
        }
    }
    Ok(removed)
}

/// The file of a full bundle.
fn full_bundle(index: u64) -> String {
    let end = (index + 1) * TILE_WIDTH;
    BundleId::of_tree(index, end).map(|id| id.to_string()).unwrap_or_default()
}

fn resume(volume: &impl Volume, head: &Checkpoint) -> Result<RightEdge, OpenError> {
    let read = |tile: TileId| {
        let path = tile.to_string();
        let hashes = volume.read(&path)?.and_then(|bytes| Hash::list(&bytes));
        hashes.ok_or(OpenError::Damaged(path))
    };
    let edge = RightEdge::resume(head.size, read)?.filter(|edge| edge.root() == head.root);
    edge.ok_or_else(|| OpenError::Damaged("tile".into()))
}

/// The bytes of the last bundle, which are those of its hashes.
fn open_bundle(volume: &impl Volume, edge: &RightEdge) -> Result<Vec<u8>, OpenError> {
    let Some(id) = partial_bundle(edge.size()) else { return Ok(Vec::new()) };
    let damaged = || OpenError::Damaged(id.to_string());
    let bytes = volume.read(&id.to_string())?.ok_or_else(damaged)?;
    let leaves: Vec<Hash> = entries(&bytes).map_err(|_| damaged())?.into_iter().map(Hash::of_leaf).collect();
    let tile = edge.partial_tiles().find(|(tile, _)| tile.level() == 0);
    if tile.is_some_and(|(_, hashes)| hashes == leaves) { Ok(bytes) } else { Err(damaged()) }
}

fn partial_bundle(size: u64) -> Option<BundleId> {
    BundleId::of_tree(size / TILE_WIDTH, size)
}

/// Files of the head of this tree that a longer one does not need.
fn partial_files(edge: &RightEdge) -> Vec<String> {
    let tiles = edge.partial_tiles().map(|(tile, _)| tile.to_string());
    tiles.chain(partial_bundle(edge.size()).map(|id| id.to_string())).collect()
}

fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

impl<V: Volume> Resources for LedgerFiles<V> {
    type Error = io::Error;

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.volume.read(path)
    }
}
