//! A ledger that is only read: this hub's, or files that came from anywhere.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use portreeve_ledger::{ENTRY_BYTES_MAX, Resources, TILE_WIDTH};

/// The signed head.
pub const CHECKPOINT: &str = "checkpoint";
/// What says which entries were let go; there only if some were.
pub const TRUNCATION: &str = "truncation";
/// The key that the head is signed with.
pub const VERIFIER_KEY: &str = "verifier.key";
/// The last head that witnesses have cosigned, with their signatures; there only if some have.
pub const WITNESSED: &str = "witnessed";
/// Most bytes of any of its files: a bundle of the longest entries.
pub const FILE_BYTES_MAX: u64 = TILE_WIDTH * (ENTRY_BYTES_MAX as u64 + 2);

/// A folder with the files of a ledger, of which nothing is believed.
#[derive(Clone, Debug)]
pub struct Copied(PathBuf);

impl Copied {
    /// The ledger at this place.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Resources for Copied {
    type Error = io::Error;

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(path)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {FILE_BYTES_MAX} bytes"),
            ));
        }
        Ok(Some(bytes))
    }
}
