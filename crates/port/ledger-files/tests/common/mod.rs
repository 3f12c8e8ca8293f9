//! A disk that loses power, and a key that signs.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of these")]

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use portreeve_ledger::{Checkpoint, SignatureKind, Truncation, VerifierKey, audit};
use portreeve_ledger_files::{LedgerFiles, OpenError, SealError, Volume};

pub struct Signer(Ed25519KeyPair);

impl Signer {
    pub fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub fn key(&self) -> VerifierKey {
        let public = self.0.public_key().as_ref().try_into().unwrap();
        VerifierKey::new("hub.example/ledger", SignatureKind::Ed25519, public).unwrap()
    }

    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], String> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

/// Files in memory. After so many operations the power fails: in the middle of an append, before or after all others.
#[derive(Clone, Default)]
pub struct Disk(Rc<RefCell<State>>);

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    operations: usize,
    /// The operation that fails, and how many bytes of an append, or whether something else is done.
    fails: Option<(usize, usize)>,
    is_off: bool,
}

impl Disk {
    pub fn fail_at(&self, operation: usize, extent: usize) {
        let mut state = self.0.borrow_mut();
        state.operations = 0;
        state.fails = Some((operation, extent));
    }

    /// The power is there again.
    pub fn restart(&self) -> Self {
        let files = self.0.borrow().files.clone();
        Self(Rc::new(RefCell::new(State { files, ..State::default() })))
    }

    pub fn has_failed(&self) -> bool {
        self.0.borrow().is_off
    }

    pub fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    pub fn paths(&self) -> Vec<String> {
        self.0.borrow().files.keys().cloned().collect()
    }

    pub fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.borrow_mut().files.get_mut(path).unwrap());
    }

    pub fn delete(&self, path: &str) {
        self.0.borrow_mut().files.remove(path);
    }

    /// Does something, unless the power fails in it.
    fn operate(&self, torn: impl FnOnce(&mut State, usize), whole: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let number = state.operations;
        state.operations += 1;
        match state.fails {
            _ if state.is_off => return Err(io::Error::other("off")),
            Some((fails, extent)) if fails == number => {
                state.is_off = true;
                torn(&mut state, extent);
                return Err(io::Error::other("power cut"));
            }
            _ => whole(&mut state),
        }
        Ok(())
    }
}

impl Volume for Disk {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.borrow().files.get(path).cloned())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let (state, prefix) = (self.0.borrow(), format!("{folder}/"));
        Ok(state.files.keys().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let put = |state: &mut State, bytes: &[u8]| state.files.entry(path.to_owned()).or_default().extend(bytes);
        self.operate(|state, extent| put(state, &bytes[..extent.min(bytes.len())]), |state| put(state, bytes))
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let put = |state: &mut State| drop(state.files.insert(path.to_owned(), bytes.to_vec()));
        self.operate(
            |state, extent| {
                if extent % 2 == 1 {
                    put(state)
                }
            },
            put,
        )
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).unwrap();
        let cut = |state: &mut State| state.files.get_mut(path).unwrap().truncate(bytes);
        self.operate(
            |state, extent| {
                if extent % 2 == 1 {
                    cut(state)
                }
            },
            cut,
        )
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let remove = |state: &mut State| drop(state.files.remove(path));
        self.operate(
            |state, extent| {
                if extent % 2 == 1 {
                    remove(state)
                }
            },
            remove,
        )
    }
}

pub fn open<V: Volume>(volume: V) -> Result<LedgerFiles<V>, OpenError> {
    LedgerFiles::open(volume, Signer::new(7).key())
}

pub fn create(volume: impl Volume) -> Result<(), SealError> {
    LedgerFiles::create(volume, &Signer::new(7).key(), |message| Signer::new(7).sign(message))
}

impl Disk {
    /// With a ledger that was begun.
    pub fn with_ledger() -> Self {
        let disk = Self::default();
        create(disk.clone()).unwrap();
        disk
    }
}

pub fn seal<V: Volume>(ledger: &mut LedgerFiles<V>) -> Result<(), SealError> {
    ledger.seal(|message| Signer::new(7).sign(message))
}

pub fn truncate<V: Volume>(ledger: &mut LedgerFiles<V>, first: u64) -> Result<bool, SealError> {
    if let Some(cut) = ledger.next_cut(first, 1_893_456_000_000)? {
        let signature = Signer::new(7).sign(cut.message()).map_err(SealError::Signer)?;
        ledger.cut_as(&cut, &signature)?;
    }
    Ok(ledger.remove()?)
}

pub fn append<V: Volume>(ledger: &mut LedgerFiles<V>, entries: &[Vec<u8>]) -> Result<u64, SealError> {
    ledger.append(&entries.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// What an auditor reads.
pub fn audited(files: &impl Volume) -> Vec<Vec<u8>> {
    try_audit(files).unwrap()
}

/// The sealed entries, if every byte of their files follows from the signed head.
pub fn try_audit(files: &impl Volume) -> Result<Vec<Vec<u8>>, String> {
    struct Read<'a, V>(&'a V);
    impl<V: Volume> portreeve_ledger::Resources for Read<'_, V> {
        type Error = io::Error;
        fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
            self.0.read(path)
        }
    }
    let mut entries = Vec::new();
    let Some(signed) = files.read("checkpoint").unwrap() else { return Ok(entries) };
    let head = Checkpoint::open(&signed, &Signer::new(7).key()).map_err(|error| error.to_string())?;
    let truncation = files.read("truncation").unwrap().map(|signed| Truncation::open(&signed, &Signer::new(7).key()));
    let truncation = truncation.transpose().map_err(|error| error.to_string())?;
    let audited = audit(&Read(files), &head, truncation.as_ref(), |_, entry| entries.push(entry.to_vec()));
    audited.map(|()| entries).map_err(|error| error.to_string())
}
