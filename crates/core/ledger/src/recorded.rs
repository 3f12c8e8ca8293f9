//! Which files a proof needs: those that were read for it.

use std::{cell::RefCell, collections::BTreeMap, convert::Infallible};

use crate::Resources;

/// Reads a ledger and keeps what was read: a [`Reader`](crate::Reader) of nothing but these files proves the same.
#[derive(Debug)]
pub struct Recorded<'a, R> {
    files: &'a R,
    read: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl<'a, R> Recorded<'a, R> {
    /// Nothing was read yet.
    pub fn new(files: &'a R) -> Self {
        Self { files, read: RefCell::default() }
    }

    /// What was read, by path.
    #[must_use]
    pub fn into_files(self) -> BTreeMap<String, Vec<u8>> {
        self.read.into_inner()
    }
}

impl<R: Resources> Resources for Recorded<'_, R> {
    type Error = R::Error;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, R::Error> {
        let bytes = self.files.read(path)?;
        if let Some(bytes) = &bytes {
            self.read.borrow_mut().insert(path.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }
}

impl Resources for BTreeMap<String, Vec<u8>> {
    type Error = Infallible;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.get(path).cloned())
    }
}
