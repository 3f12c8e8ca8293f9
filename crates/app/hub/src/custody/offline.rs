//! What is done to the keys of a hub from outside of it, on its data directory, as its owner.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use portreeve_config::{KeyCustody, Keys};
use portreeve_keys::{Custody, FileCustody, Kdf, KeyError, KeyName, PassphraseSource, SigningKey};
use portreeve_pki::{CaName, CaRole, PkiError, SubjectPublicKey, leaf_facts};
use portreeve_store::RedbStore;

use super::{CustodyError, Door, KeyAccess};
use crate::{OpenError, bootstrap::io_error, ca_files::CaFiles};

/// Memory for a store that is opened only to keep others out.
const CACHE_BYTES: usize = 1 << 20;

/// A copy of the root that was made, or would be.
#[derive(Clone, Debug)]
pub struct RootExport {
    /// The key's file.
    pub key: PathBuf,
    /// The certificate's file.
    pub certificate: PathBuf,
    /// Whether the original is gone.
    pub removed: bool,
}

/// Copies certificate and key of the root, of the newest one, into another directory, checks the copy, and with `remove` ends the original.
/// A hub that runs meanwhile does not notice until an issuing CA is to be replaced: it opens that key for nothing else.
///
/// # Errors
/// [`OpenError`]; [`OpenError::NoExport`] for keys that cannot be copied. Whatever fails, the original is there.
pub fn export_root(
    data: &Path,
    config: &Keys,
    to: &Path,
    remove: bool,
    dry_run: bool,
) -> Result<RootExport, OpenError> {
    let pki = data.join("pki");
    let files = key_files(&pki, config)?;
    let failed = refusal(config);
    let root = CaFiles::read(&pki)?.newest(CaRole::Root);
    let file = &root.certificate_file();
    let name: KeyName = root.to_string().parse().map_err(&failed)?;
    let pem = read(&pki.join(file))?;
    check_pair(&files.open(&name).map_err(&failed)?, root, &pem, &pki)?;
    let export =
        RootExport { key: to.join(format!("{name}.key")), certificate: to.join(file), removed: remove && !dry_run };
    if dry_run {
        return Ok(export);
    }
    let copy = files.copy_to(&name, to).map_err(&failed)?;
    write_new(&export.certificate, &pem)?;
    // What counts is what was written, read back.
    check_pair(&copy.open(&name).map_err(&failed)?, root, &read(&export.certificate)?, to)?;
    if remove {
        files.destroy(&name).map_err(&failed)?;
    }
    Ok(export)
}

/// Whether the root's certificate is that of the key.
fn check_pair(key: &Arc<dyn SigningKey>, root: CaName, pem: &[u8], place: &Path) -> Result<(), OpenError> {
    let (name, file) = (root.to_string(), root.certificate_file());
    let certificates = portreeve_tls::certificates_from_pem(&file, pem)?;
    let bad = |source| OpenError::Pki { path: place.to_owned(), source };
    let certified = certificates.first().map(|der| leaf_facts(der)).transpose().map_err(bad)?;
    let held = SubjectPublicKey::from_spki_der(key.public().spki_der()).map_err(bad)?;
    if certified.is_some_and(|facts| facts.key == held.hash()) {
        return Ok(());
    }
    Err(bad(PkiError::KeyMismatch { key: name, certificate: file }))
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    fs::read(path).map_err(io_error("read", path))
}

fn refusal(config: &Keys) -> impl Fn(KeyError) -> OpenError {
    let custody = config.custody;
    move |error| CustodyError::new(custody, error).into()
}

/// A public file, safe on disk, never in place of another.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), OpenError> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o644).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(io_error("write", path))
}

/// What the keys of a data directory are to become.
#[derive(Clone, Debug)]
pub enum ProtectionChange {
    /// Files that their permissions protect.
    File,
    /// Files sealed under a passphrase that comes from there.
    Sealed(PassphraseSource),
}

/// Seals the keys of a hub that does not run, under a first or another passphrase, or unseals them. Returns the names of
/// the keys. An interrupted change is completed by the same call.
///
/// # Errors
/// [`OpenError`]; [`OpenError::NoExport`] for keys that are in no file.
pub fn change_protection(
    data: &Path,
    config: &Keys,
    to: &ProtectionChange,
    dry_run: bool,
) -> Result<Vec<String>, OpenError> {
    // A hub that runs, or starts meanwhile, would be left with what it no longer can open.
    let _lock = RedbStore::open(data, CACHE_BYTES)?;
    let files = key_files(&data.join("pki"), config)?;
    let failed = refusal(config);
    let listed = files.list().map_err(&failed)?;
    let names = listed.into_iter().map(|facts| facts.name.to_string()).collect();
    if dry_run {
        return Ok(names);
    }
    let seal = match to {
        ProtectionChange::File => None,
        ProtectionChange::Sealed(source) => {
            Some((source.read_new("the keys of the CA").map_err(&failed)?, Kdf::default()))
        }
    };
    files.change_protection(seal).map_err(failed)?;
    Ok(names)
}

/// The custody of keys that are in files.
fn key_files(pki: &Path, config: &Keys) -> Result<FileCustody, OpenError> {
    if !pki.is_dir() {
        return Err(OpenError::NotADataDirectory(pki.parent().unwrap_or(pki).to_owned()));
    }
    if matches!(config.custody, KeyCustody::Pkcs11 | KeyCustody::Tpm) {
        return Err(OpenError::NoExport(config.custody.as_str()));
    }
    let files = match KeyAccess::gather(config, false)?.door {
        Door::Sealed(passphrase) => FileCustody::sealed(pki, passphrase, Kdf::default()),
        Door::File | Door::Pkcs11(_) | Door::Tpm(..) => FileCustody::unsealed(pki),
    };
    files.map_err(refusal(config))
}
