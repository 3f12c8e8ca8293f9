//! Where a ledger's files are.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A place for files with relative paths. What it is told to do is durable when it returns.
pub trait Volume {
    /// A file's bytes; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The names of the files in a folder, in order.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Puts bytes behind those of a file, which is made if there is none. If that fails, any part of them may be there.
    ///
    /// # Errors
    /// It cannot be written.
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes or replaces a file. If that fails, it is as before.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file off.
    ///
    /// # Errors
    /// It cannot be written.
    fn truncate(&mut self, path: &str, bytes: u64) -> io::Result<()>;

    /// Removes a file; one that is not there is removed already.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&mut self, path: &str) -> io::Result<()>;
}

/// A folder of the file system, private to its owner.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// The file that was appended to last.
    open: Option<(String, File)>,
}

impl Folder {
    /// The folder at `root`, which is made when something is written.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), open: None }
    }

    /// The folder that a file is in, and the file.
    fn place(&self, path: &str) -> (PathBuf, PathBuf) {
        let file = self.root.join(path);
        (file.parent().unwrap_or(&self.root).to_owned(), file)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Every folder that may be new, up to the one that was there.
        folder.ancestors().take_while(|above| above.starts_with(&self.root)).try_for_each(sync_folder)?;
        self.root.parent().filter(|above| above.is_dir()).map_or(Ok(()), sync_folder)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Volume for Folder {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.place(path).1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name =
            |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names = entries.map(name).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.open.take() {
            Some((open, file)) if open == path => file,
            _ => {
                let (folder, file) = self.place(path);
                self.make_folder(&folder)?;
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
                sync_folder(&folder)?;
                file
            }
        };
        file.write_all(bytes)?;
        file.sync_data()?;
        self.open = Some((path.to_owned(), file));
        Ok(())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (folder, file) = self.place(path);
        self.make_folder(&folder)?;
        let mut new = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder)?;
        new.write_all(bytes)?;
        new.as_file().sync_all()?;
        // What is appended to this path from now on is in this file.
        self.open = None;
        new.persist(file).map_err(|error| error.error)?;
        sync_folder(&folder)
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.place(path).1)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        // What is appended to this path from now on is another file.
        self.open = None;
        let (folder, file) = self.place(path);
        match fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        sync_folder(&folder)
    }
}

impl<V: Volume> Volume for &mut V {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        (**self).read(path)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        (**self).list(folder)
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        (**self).append(path, bytes)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        (**self).write(path, bytes)
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        (**self).truncate(path, bytes)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        (**self).remove(path)
    }
}
