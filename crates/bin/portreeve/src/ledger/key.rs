//! Which key to believe, and where it came from.

use std::{fs::File, io::Read as _, path::Path};

use portreeve_ledger::VerifierKey;

use crate::failure::Failure;

/// Most bytes of a file with a key.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// A key as it is given on the command line: itself, or a file whose one line it is.
pub(super) fn given(text: &str) -> Result<VerifierKey, Failure> {
    match text.parse() {
        Ok(key) => Ok(key),
        Err(_) if Path::new(text).exists() => in_file(Path::new(text)),
        Err(error) => Err(Failure::Usage(format!("{text}: {error}, and no file"))),
    }
}

/// The key in a file.
pub(super) fn in_file(path: &Path) -> Result<VerifierKey, Failure> {
    let shown = path.display();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| Failure::Usage(format!("cannot read the key {shown}: {error}")))?;
    text.trim_end().parse().map_err(|error| Failure::Usage(format!("{shown}: {error}")))
}
