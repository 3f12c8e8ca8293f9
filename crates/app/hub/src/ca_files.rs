//! What `pki/` says of the CAs, read as of one moment.

use std::{collections::BTreeMap, fs, path::Path};

use portreeve_pki::{CaName, CaRole, PkiError, Withdrawal, cas_of, certifying_root, newest_ca, used_from};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;

use crate::{
    OpenError,
    bootstrap::{io_error, read_file},
};

/// How the names of such files end.
const SUFFIXES: [&str; 4] = [".pem", ".withdrawn", ".from", ".crl"];

/// The CAs' public files. One that is there and cannot be read is an error, and never taken for one that is not: else a
/// disk that fails would bring back a CA that was withdrawn, or have one made that is there.
pub(crate) struct CaFiles(BTreeMap<String, Vec<u8>>);

impl CaFiles {
    /// # Errors
    /// [`OpenError::Io`].
    pub(crate) fn read(pki: &Path) -> Result<Self, OpenError> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(pki).map_err(io_error("read", pki))? {
            let Ok(name) = entry.map_err(io_error("read", pki))?.file_name().into_string() else { continue };
            let is_of_ca = CaRole::ALL.iter().any(|role| name.starts_with(role.as_str()));
            if !is_of_ca || !SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
                continue;
            }
            // It may have gone meanwhile.
            if let Some(bytes) = read_file(&pki.join(&name))? {
                files.insert(name, bytes);
            }
        }
        Ok(Self(files))
    }

    /// The content of a file; `None` where there is none.
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.get(name).cloned()
    }

    pub(crate) fn newest(&self, role: CaRole) -> CaName {
        newest_ca(role, |file| self.get(file))
    }

    pub(crate) fn all_of(&self, role: CaRole) -> impl Iterator<Item = CaName> {
        cas_of(role, |file| self.get(file))
    }

    /// The root that certifies now.
    pub(crate) fn certifying_root(&self, now: UnixMillis) -> CaName {
        certifying_root(now, |file| self.get(file))
    }

    /// From when on a root certifies.
    pub(crate) fn used_from(&self, root: CaName) -> UnixMillis {
        used_from(root, |file| self.get(file))
    }

    /// How a CA was withdrawn, if it was.
    ///
    /// # Errors
    /// [`PkiError::BadFile`].
    pub(crate) fn withdrawal(&self, name: CaName) -> Result<Option<Withdrawal>, PkiError> {
        Withdrawal::read(name, |file| self.get(file))
    }

    /// # Errors
    /// [`PkiError::Missing`], or what is wrong with the PEM.
    pub(crate) fn certificate(&self, name: CaName, pki: &Path) -> Result<CertificateDer<'static>, OpenError> {
        let file = name.certificate_file();
        let read = self.0.get(&file).map(|bytes| portreeve_tls::certificates_from_pem(&file, bytes)).transpose()?;
        let certificate = read.and_then(|certificates| certificates.into_iter().next());
        certificate.ok_or_else(|| OpenError::Pki { path: pki.to_owned(), source: PkiError::Missing { file } })
    }
}

#[cfg(test)]
mod tests {
    use portreeve_config::Config;

    use super::*;
    use crate::Hub;

    /// Whatever cannot be read is not taken for what is not there.
    #[test]
    fn a_file_that_cannot_be_read_is_not_a_missing_one() {
        let data = tempfile::tempdir().unwrap();
        let (path, now) = (data.path().join("hub"), UnixMillis::from(std::time::SystemTime::now()));
        drop(Hub::open(&path, Config::default(), now).unwrap());
        // A folder of that name: the simplest thing that is there and that nobody can read.
        for name in ["devices.withdrawn", "hub.withdrawn", "devices-2.pem", "root-2.pem", "root.from"] {
            let file = path.join("pki").join(name);
            fs::create_dir(&file).unwrap();
            let refused = Hub::open(&path, Config::default(), now).map(drop).unwrap_err();
            assert!(matches!(&refused, OpenError::Io { path, .. } if *path == file), "{name}: {refused}");
            fs::remove_dir(&file).unwrap();
        }
        Hub::open(&path, Config::default(), now).unwrap();
    }
}
