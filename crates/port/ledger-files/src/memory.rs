//! What a witness remembers: the last head of each ledger that it watches, on disk before anybody gets its signature.

use std::{collections::BTreeMap, io};

use portreeve_ledger::{
    Checkpoint, CheckpointError, Hash, VerifierKey,
    witness::{AddCheckpoint, Head, Refusal},
};

use crate::{Signed, Volume};

const HEADS: &str = "heads";
const FORKS: &str = "forks";

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The operating system refused.
    #[error("what was seen cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A head is not one that its ledger signed: without it a roll-back would pass.
    #[error("{path}, the last head of {origin}, is damaged: {source}")]
    Damaged {
        /// The file.
        path: String,
        /// Whose.
        origin: String,
        /// How.
        source: CheckpointError,
    },
    /// Two keys for one ledger.
    #[error("there are two keys of {0}")]
    Twice(String),
}

/// Why a witness does not sign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The request is at fault, or the ledger.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk refused: what is not remembered is not signed.
    #[error("the head cannot be kept: {0}")]
    Io(#[from] io::Error),
    /// The witness's key gave no signature.
    #[error("the head was not signed: {0}")]
    Signer(String),
}

/// A witness of some ledgers. One process has its files.
#[derive(Debug)]
pub struct Witness<V> {
    volume: V,
    key: VerifierKey,
    logs: BTreeMap<String, Log>,
}

#[derive(Debug)]
struct Log {
    key: VerifierKey,
    last: Option<Head>,
}

impl<V: Volume> Witness<V> {
    /// A witness that signs with `key` for the ledgers of these keys, and what it saw of them before.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn open(volume: V, key: VerifierKey, logs: Vec<VerifierKey>) -> Result<Self, MemoryError> {
        let mut watched = BTreeMap::new();
        for log in logs {
            let (origin, path) = (log.name().to_owned(), file(HEADS, log.name()));
            let head = volume.read(&path)?.map(|signed| Checkpoint::open(&signed, &log)).transpose();
            let head = head.map_err(|source| MemoryError::Damaged { path, origin: origin.clone(), source })?;
            let last = head.map(|head| Head { size: head.size, root: head.root });
            if watched.insert(origin.clone(), Log { key: log, last }).is_some() {
                return Err(MemoryError::Twice(origin));
            }
        }
        Ok(Self { volume, key, logs: watched })
    }

    /// The ledgers that it watches, and the last size of each.
    pub fn logs(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.logs.iter().map(|(origin, log)| (origin.as_str(), log.last.map(|head| head.size)))
    }

    /// Considers the body of an `add-checkpoint`; the line of the cosignature. `seconds` are of the Unix epoch, `sign` makes the
    /// Ed25519 signature of a message. The head is durable before it is signed.
    ///
    /// # Errors
    /// [`WitnessError`]; a fork is kept as evidence.
    pub fn add(
        &mut self,
        body: &[u8],
        seconds: u64,
        sign: impl FnOnce(&[u8]) -> Signed,
    ) -> Result<String, WitnessError> {
        let body = str::from_utf8(body).map_err(|_| Refusal::Malformed)?;
        let request = AddCheckpoint::parse(body)?;
        let origin = request.origin();
        let log = self.logs.get_mut(origin);
        let considered = request.consider(log.as_ref().map(|log| &log.key), log.as_ref().and_then(|log| log.last));
        let head = match considered {
            Ok(head) => head,
            Err(refusal) => {
                // Anybody can bring a wrong proof along with a good head; two heads of one size speak for themselves.
                if matches!(refusal, Refusal::Fork { .. }) {
                    keep_evidence(&mut self.volume, origin, body)?;
                }
                return Err(refusal.into());
            }
        };
        let seen = Head { size: head.size, root: head.root };
        if let Some(log) = log.filter(|log| log.last != Some(seen)) {
            self.volume.write(&file(HEADS, origin), request.checkpoint.as_bytes())?;
            log.last = Some(seen);
        }
        let signature = sign(&self.key.message(&head.to_string(), seconds)).map_err(WitnessError::Signer)?;
        Ok(self.key.line(seconds, &signature))
    }
}

/// The first sign of another history; what follows may be the ledger's attempts to get away with it.
fn keep_evidence(volume: &mut impl Volume, origin: &str, body: &str) -> io::Result<()> {
    let path = file(FORKS, origin);
    if volume.read(&path)?.is_some() { Ok(()) } else { volume.write(&path, body.as_bytes()) }
}

/// A file of a ledger; its name may hold anything.
fn file(folder: &str, origin: &str) -> String {
    let hash: String = Hash::of_leaf(origin.as_bytes()).0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{folder}/{hash}")
}
