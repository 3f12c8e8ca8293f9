//! A ledger that is only read: this hub's, or files that came from anywhere.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use portreeve_ledger::{ENTRY_BYTES_MAX, Resources, TILE_WIDTH, VerifierKey};

/// The signed head.
pub const CHECKPOINT: &str = "checkpoint";
/// What says which entries were let go; there only if some were.
pub const TRUNCATION: &str = "truncation";
/// The key that the head is signed with.
pub const VERIFIER_KEY: &str = "verifier.key";
/// The folder with the last head that each witness has cosigned.
pub const WITNESSED: &str = "witnessed";
/// Most witnesses of a ledger.
pub const WITNESSES_MAX: usize = 16;
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

    /// The heads that witnesses have cosigned, by path.
    ///
    /// # Errors
    /// They cannot be read, or are more than [`WITNESSES_MAX`].
    pub fn witnessed(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let entries = match fs::read_dir(self.0.join(WITNESSED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = format!("{WITNESSED}/{}", entry?.file_name().to_string_lossy());
            // One that is being replaced is not there yet, or no more.
            if let Some(bytes) = self.read(&path)?.filter(|_| !path.contains("/.")) {
                found.push((path, bytes));
            }
            if found.len() > WITNESSES_MAX {
                return Err(io::Error::other(format!("{WITNESSED} has more than {WITNESSES_MAX} files")));
            }
        }
        found.sort();
        Ok(found)
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

/// The file with the last head that this witness has cosigned, below its signature and the ledger's.
#[must_use]
pub fn witnessed_by(witness: &VerifierKey) -> String {
    format!("{WITNESSED}/{:08x}", u32::from_be_bytes(witness.id()))
}
