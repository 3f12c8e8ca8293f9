use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::{KeyError, KeyName};

/// Longest file of a key. One that this program writes is below 2 KiB.
const FILE_BYTES_MAX: usize = 16 * 1024;
/// Of files that are being written.
const DRAFT_SUFFIX: &str = ".new";

/// A directory of small secret files, `NAME.SUFFIX`, that nobody but their owner can read.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: PathBuf,
    suffix: &'static str,
}

impl Folder {
    /// Opens it, or makes it if it is missing.
    pub(crate) fn open(directory: &Path, suffix: &'static str) -> Result<Self, KeyError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory).map_err(KeyError::io("create", directory))?;
        check_private(directory, &fs::metadata(directory).map_err(KeyError::io("read", directory))?)?;
        Ok(Self { directory: directory.to_owned(), suffix })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, name: &KeyName) -> PathBuf {
        self.directory.join(format!("{name}.{}", self.suffix))
    }

    /// In order.
    pub(crate) fn names(&self) -> Result<Vec<KeyName>, KeyError> {
        let mut names = Vec::new();
        for path in self.entries()? {
            if path.extension() == Some(OsStr::new(self.suffix)) {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                names.push(stem.parse::<KeyName>()?);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Reads a file, into a buffer that never moves.
    pub(crate) fn read(&self, name: &KeyName) -> Result<Zeroizing<String>, KeyError> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.missing(name)),
            opened => opened.map_err(KeyError::io("read", &path))?,
        };
        check_private(&path, &file.metadata().map_err(KeyError::io("read", &path))?)?;
        let damaged = |reason| KeyError::Damaged { what: path.display().to_string(), reason };
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(KeyError::io("read", &path))?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(damaged("it is longer than any key"));
        }
        String::from_utf8(std::mem::take(&mut bytes)).map(Zeroizing::new).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            damaged("it is no text")
        })
    }

    /// Before work is done for a new file.
    pub(crate) fn check_free(&self, name: &KeyName) -> Result<(), KeyError> {
        let path = self.path(name);
        if path.try_exists().map_err(KeyError::io("read", &path))? {
            return Err(self.exists(name));
        }
        Ok(())
    }

    /// Writes text beside its place to be, safe on disk, mode 0600.
    pub(crate) fn draft(&self, text: &str) -> Result<NamedTempFile, KeyError> {
        let write = || {
            let mut draft = tempfile::Builder::new().prefix(".").suffix(DRAFT_SUFFIX).tempfile_in(&self.directory)?;
            draft.write_all(text.as_bytes())?;
            draft.as_file().sync_all()?;
            Ok(draft)
        };
        write().map_err(KeyError::io("write into", &self.directory))
    }

    /// Puts a draft where there is nothing yet.
    pub(crate) fn add(&self, name: &KeyName, draft: NamedTempFile) -> Result<(), KeyError> {
        draft.persist_noclobber(self.path(name)).map_err(|failed| match failed.error.kind() {
            io::ErrorKind::AlreadyExists => self.exists(name),
            _ => KeyError::io("write", &self.path(name))(failed.error),
        })?;
        self.sync()
    }

    /// Puts drafts where their former versions are, each in one step, and removes what earlier crashes have left:
    /// such a draft can hold a key less well protected than it is now.
    pub(crate) fn replace(&self, drafts: Vec<(KeyName, NamedTempFile)>) -> Result<(), KeyError> {
        for (name, draft) in drafts {
            let path = self.path(&name);
            draft.persist(&path).map_err(|failed| KeyError::io("write", &path)(failed.error))?;
        }
        self.sync()?;
        for path in self.entries()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') && name.ends_with(DRAFT_SUFFIX) {
                fs::remove_file(&path).map_err(KeyError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&self, name: &KeyName) -> Result<(), KeyError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.missing(name)),
            removed => removed.map_err(KeyError::io("remove", &path)).and_then(|()| self.sync()),
        }
    }

    fn entries(&self) -> Result<Vec<PathBuf>, KeyError> {
        let read = || fs::read_dir(&self.directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
        read().map_err(KeyError::io("read", &self.directory))
    }

    fn sync(&self) -> Result<(), KeyError> {
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(KeyError::io("sync", &self.directory))
    }

    fn missing(&self, name: &KeyName) -> KeyError {
        KeyError::Missing { name: name.clone(), place: self.directory.display().to_string() }
    }

    fn exists(&self, name: &KeyName) -> KeyError {
        KeyError::Exists { name: name.clone(), place: self.directory.display().to_string() }
    }
}

fn check_private(path: &Path, facts: &fs::Metadata) -> Result<(), KeyError> {
    let mode = facts.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { what: path.display().to_string(), mode });
    }
    Ok(())
}
