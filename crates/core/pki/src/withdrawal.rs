//! That a CA was withdrawn, as it is kept.

use serde::{Deserialize, Serialize};

use crate::{CaName, PkiError};

/// That a CA was withdrawn before its end, because its key is no longer its owner's alone. Kept beside its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether those who hold a key that the registry knows may have it certified anew by the next CA. The thief of a CA's key
    /// holds none: his certificates are for keys that nobody has registered.
    pub known_may_renew: bool,
}

impl Withdrawal {
    /// That of a CA, if it was withdrawn. `lookup` finds files by their names.
    ///
    /// # Errors
    /// [`PkiError::BadFile`].
    pub fn read(name: CaName, mut lookup: impl FnMut(&str) -> Option<Vec<u8>>) -> Result<Option<Self>, PkiError> {
        let Some(bytes) = lookup(&name.withdrawal_file()) else { return Ok(None) };
        let bad = |_| PkiError::BadFile { file: name.withdrawal_file(), reason: "it is not a withdrawal" };
        serde_json::from_slice(&bytes).map(Some).map_err(bad)
    }
}
