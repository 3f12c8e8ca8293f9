//! This hub as a witness of other hubs' ledgers: it remembers the last head of each and cosigns none that does not continue it.

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use portreeve_events::{Event, Kind as EventKind};
use portreeve_keys::SigningKey;
use portreeve_ledger::{
    KeyError, SignatureKind, VerifierKey,
    witness::{AddCheckpoint, Refusal},
};
use portreeve_ledger_files::{Folder, MemoryError, Witness, WitnessError};
use portreeve_types::UnixMillis;

use crate::Hub;

/// What was seen of others' ledgers, within the data directory.
const FOLDER: &str = "witness";
/// Ledgers that one hub watches.
const LEDGERS_MAX: usize = 64;

/// Why others' ledgers cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum CosignerError {
    /// Not a key of a ledger.
    #[error("ledger.watches: {0}: {1}")]
    Key(String, KeyError),
    /// The key is one of a witness.
    #[error("ledger.watches: {0} is the key of a witness, not of a ledger")]
    NoLedger(String),
    /// More than a hub watches.
    #[error("ledger.watches: at most {LEDGERS_MAX} are possible")]
    TooMany,
    /// The key that heads are cosigned with is not one.
    #[error("the key `witness` cannot cosign: {0}")]
    Unfit(String),
    /// What was seen cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// A witness with its key.
#[derive(Debug)]
pub(crate) struct Cosigner {
    /// A head is compared, kept and signed in one go: of two that come together, one is the later.
    witness: Mutex<Witness<Folder>>,
    own: VerifierKey,
    key: Arc<dyn SigningKey>,
}

/// The ledgers of these keys.
///
/// # Errors
/// Which is none, or that there are too many.
pub(crate) fn watched(keys: &[String]) -> Result<Vec<VerifierKey>, CosignerError> {
    if keys.len() > LEDGERS_MAX {
        return Err(CosignerError::TooMany);
    }
    keys.iter()
        .map(|text| {
            let key: VerifierKey = text.parse().map_err(|error| CosignerError::Key(text.clone(), error))?;
            if key.kind() == SignatureKind::Ed25519 { Ok(key) } else { Err(CosignerError::NoLedger(text.clone())) }
        })
        .collect()
}

impl Cosigner {
    /// Goes on with what was seen of these ledgers; `ledger` is this hub's own, after which its witness is named.
    pub(crate) fn open(
        data: &Path,
        logs: Vec<VerifierKey>,
        ledger: &VerifierKey,
        key: Arc<dyn SigningKey>,
    ) -> Result<Self, CosignerError> {
        let unfit = |why: &dyn std::fmt::Display| CosignerError::Unfit(why.to_string());
        let public = key.public().raw().try_into().map_err(|_| unfit(&"it is not an Ed25519 key"))?;
        let name = format!("{}/witness", ledger.name().trim_end_matches("/ledger"));
        let own = VerifierKey::new(&name, SignatureKind::Cosignature, public).map_err(|error| unfit(&error))?;
        let witness = Witness::open(Folder::new(&data.join(FOLDER)), own.clone(), logs)?;
        Ok(Self { witness: Mutex::new(witness), own, key })
    }

    /// What its cosignatures are verified with.
    pub(crate) const fn key(&self) -> &VerifierKey {
        &self.own
    }

    fn add(&self, body: &[u8], now: UnixMillis) -> Result<String, WitnessError> {
        self.witness.lock().add(body, now.seconds(), |message| {
            let signature = self.key.sign(message).map_err(|error| error.to_string())?;
            signature.try_into().map_err(|_| "not an Ed25519 key".to_owned())
        })
    }
}

impl Hub {
    /// Considers a head of another hub's ledger, the body of `add-checkpoint`. Returns the line of this hub's cosignature, or
    /// nothing where it watches no ledgers. Two heads that its ledger signed and that exclude each other are the event
    /// `witnessed_fork`. Waits for the disk.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn cosign(&self, body: &[u8], now: UnixMillis) -> Option<Result<String, WitnessError>> {
        let cosigner = self.cosigner.as_ref()?;
        let answer = cosigner.add(body, now);
        if let Err(WitnessError::Refused(refusal @ Refusal::Fork { .. })) = &answer {
            // It is signed by one of the ledgers that are watched, or it would be no fork.
            let origin = AddCheckpoint::parse(str::from_utf8(body).unwrap_or_default()).map(|request| request.origin());
            let origin = origin.unwrap_or_default();
            self.tell(&Event::new(EventKind::WitnessedFork, format_args!("{origin}: {refusal}")));
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ledgers_are_watched_and_not_too_many() {
        let key = |name: &str, kind| VerifierKey::new(name, kind, [7; 32]).unwrap().to_string();
        let ledger = key("a/ledger", SignatureKind::Ed25519);
        assert_eq!(watched(std::slice::from_ref(&ledger)).unwrap()[0].name(), "a/ledger");
        assert!(watched(&[]).unwrap().is_empty());
        assert!(matches!(watched(&[key("w", SignatureKind::Cosignature)]), Err(CosignerError::NoLedger(_))));
        assert!(matches!(watched(&["nonsense".into()]), Err(CosignerError::Key(..))));
        assert!(matches!(watched(&vec![ledger; LEDGERS_MAX + 1]), Err(CosignerError::TooMany)));
    }
}
