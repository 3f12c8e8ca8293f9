//! Files that channels name.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use portreeve_tls::TlsError;
use zeroize::Zeroizing;

/// Longest file of certificates, bytes: a system's whole store has about 250 KiB.
const CERTIFICATES_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Longest secret, bytes.
const SECRET_BYTES_MAX: u64 = 4096;
/// Longest private key, bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// Why a channel cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else can read or change it.
    #[error("{}: mode {mode:04o}: only its owner may have access, and that is to be the hub's user or root (chmod 600)", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is too long, or no plain file.
    #[error("{}: not a file of {min} to {max} bytes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Fewest bytes.
        min: usize,
        /// Most bytes.
        max: u64,
    },
    /// What is in it cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// A host that no certificate can have.
    #[error("{0}: no host name or address that a certificate could have")]
    Host(String),
}

/// A file with certificates.
pub(crate) fn certificates(path: &Path) -> Result<Vec<u8>, OpenError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    let mut bytes = Vec::new();
    bounded(path, &file, CERTIFICATES_BYTES_MAX, &mut bytes)?;
    Ok(bytes)
}

/// A secret of at least `min` bytes, without the end of its line.
pub(crate) fn secret(path: &Path, min: usize) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut secret = private(path, SECRET_BYTES_MAX)?;
    for end in [b'\n', b'\r'] {
        if secret.last() == Some(&end) {
            secret.pop();
        }
    }
    if secret.len() < min {
        return Err(OpenError::Size { path: path.to_owned(), min, max: SECRET_BYTES_MAX });
    }
    Ok(secret)
}

pub(crate) fn key(path: &Path) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    private(path, KEY_BYTES_MAX)
}

/// What nobody but its owner can read. The mode is that of the file that was opened, not of one that came in its place.
fn private(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut options = File::options();
    // A pipe would keep us waiting.
    let options = options.read(true).custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0));
    let file = options.open(path).map_err(|source| io_error(path, source))?;
    let metadata = file.metadata().map_err(|source| io_error(path, source))?;
    let mode = metadata.mode() & 0o7777;
    let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    if mode & 0o077 != 0 || !is_ours {
        return Err(OpenError::TooOpen { path: path.to_owned(), mode });
    }
    // Room from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(max).unwrap_or(0) + 1));
    bounded(path, &file, max, &mut bytes)?;
    Ok(bytes)
}

fn bounded(path: &Path, file: &File, max: u64, bytes: &mut Vec<u8>) -> Result<(), OpenError> {
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if is_file {
        file.take(max + 1).read_to_end(bytes).map_err(|source| io_error(path, source))?;
    }
    let fits = is_file && u64::try_from(bytes.len()).is_ok_and(|length| length <= max);
    if fits { Ok(()) } else { Err(OpenError::Size { path: path.to_owned(), min: 0, max }) }
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}
