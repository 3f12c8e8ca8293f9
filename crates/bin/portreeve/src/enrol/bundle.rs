//! The directory in which a device keeps its identity, and how a renewal changes it.
//!
//! ```text
//! DIR/  0700    ca.pem cert.pem key.pem   what a client is given; key.tpm if the key is in a TPM
//!               enrolment.json            where the certificate came from
//!               next/                     the key of a request that has not been answered, and the answer
//!               lock                      held by the one process that works on all this
//! ```
//!
//! A key is on the disk before the hub hears of it, so that an answer that was lost can be asked for again. A pair in
//! `next/` that is whole is moved into place by whoever finds it. Two processes would put one's key beside the other's
//! certificate, which locks the device out; so whoever comes second is turned away.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use portreeve_pki::generate_key;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{DeviceKey, TpmKey};
use crate::failure::Failure;

pub(super) const CA: &str = "ca.pem";
pub(super) const CERT: &str = "cert.pem";
pub(super) const KEY: &str = "key.pem";
/// In the place of [`KEY`]: what the TPM that has the key needs to find it.
pub(super) const TPM_KEY: &str = "key.tpm";
pub(super) const TRUST: &str = "trust.jws";
const ORIGIN: &str = "enrolment.json";
const NEXT: &str = "next";
const LOCK: &str = "lock";

/// Where a certificate came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The hub's device HTTPS listener.
    pub(super) hub: String,
    /// The registered name.
    pub(super) name: String,
    /// How the TPM that has the key is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tpm: Option<String>,
}

/// Where the certificate in a directory came from.
pub(super) fn origin(path: &Path) -> Option<Origin> {
    serde_json::from_slice(&fs::read(path.join(ORIGIN)).ok()?).ok()
}

/// A device's directory. No other process works on it while this lives.
pub(super) struct Folder {
    path: PathBuf,
    /// The operating system lets go of it when this process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Makes the directory for a first enrolment. One that holds a certificate already is left alone.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        private_directory(path)?;
        let folder = Self::lock(path)?;
        if path.join(CERT).symlink_metadata().is_ok() {
            let shown = path.display();
            return Err(Failure::Refused(format!(
                "{shown} holds a {CERT} already; `portreeve device renew {shown}` renews it, or choose another directory"
            )));
        }
        Ok(folder)
    }

    /// A directory that holds a certificate.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let none = || {
            let shown = path.display();
            Failure::Usage(format!("{shown} holds no {CERT}; `portreeve device enrol --out {shown}` makes one"))
        };
        if !path.is_dir() {
            return Err(none());
        }
        let folder = Self::lock(path)?;
        if path.join(CERT).is_file() { Ok(folder) } else { Err(none()) }
    }

    /// Takes the lock, or says that another has it, which passes: nobody waits here. What was interrupted is completed.
    fn lock(path: &Path) -> Result<Self, Failure> {
        let file = path.join(LOCK);
        let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
        let lock = lock.map_err(|error| unwritable(&file, &error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::Refused(format!(
                "another `portreeve device enrol` or `renew` is at work on {}; nothing was done",
                path.display()
            )),
            TryLockError::Error(error) => Failure::Refused(format!("cannot lock {}: {error}", file.display())),
        })?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.complete()?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>, Failure> {
        let path = self.path.join(file);
        fs::read(&path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
    }

    /// The trust bundle that was accepted last.
    pub(super) fn trust(&self) -> Result<Option<Vec<u8>>, Failure> {
        if self.path.join(TRUST).symlink_metadata().is_err() { Ok(None) } else { self.read(TRUST).map(Some) }
    }

    /// Keeps a trust bundle, and what it has to say about the CAs. The bundle last: while it is the old one, this is not
    /// done.
    pub(super) fn trusts(&self, ca_pem: &str, document: &[u8]) -> Result<(), Failure> {
        write(&self.path.join(CA), ca_pem.as_bytes(), 0o644)?;
        write(&self.path.join(TRUST), document, 0o644)
    }

    /// The key of the request that is to be made, in a file or in the TPM that is reached so: the one whose answer is missing,
    /// or a new one.
    pub(super) fn next_key(&self, tpm: Option<&str>) -> Result<DeviceKey, Failure> {
        let next = self.path.join(NEXT);
        private_directory(&next)?;
        sync_directory(&self.path).map_err(|error| unwritable(&self.path, &error))?;
        // An attempt of the other kind came to nothing; its key must not come along with this one's certificate.
        let other = next.join(if tpm.is_some() { KEY } else { TPM_KEY });
        match fs::remove_file(&other) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(&other, &error)),
            _ => {}
        }
        match tpm {
            Some(tcti) => TpmKey::make(tcti, &next).map(DeviceKey::Tpm),
            None => next_key_file(&next.join(KEY)).map(DeviceKey::File),
        }
    }

    /// Takes a key that was made before, for the first request.
    pub(super) fn take_key(&self, file: &Path) -> Result<(), Failure> {
        let read =
            fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
        let pem = Zeroizing::new(read);
        private_directory(&self.path.join(NEXT))?;
        write(&self.path.join(NEXT).join(KEY), &pem, 0o600)
    }

    /// Keeps what a first enrolment brought.
    pub(super) fn enrolled(&self, ca_pem: &str, cert_pem: &str, origin: &Origin) -> Result<(), Failure> {
        write(&self.path.join(CA), ca_pem.as_bytes(), 0o644)?;
        let origin = serde_json::to_vec_pretty(origin).map_err(|error| Failure::Usage(error.to_string()))?;
        write(&self.path.join(ORIGIN), &origin, 0o644)?;
        self.renewed(cert_pem)
    }

    /// Puts a certificate and the key that it is for into place.
    pub(super) fn renewed(&self, cert_pem: &str) -> Result<(), Failure> {
        write(&self.path.join(NEXT).join(CERT), cert_pem.as_bytes(), 0o644)?;
        self.complete()
    }

    /// The certificate is moved last, when the key is known to be in place: while it is in `next/`, this is not done.
    fn complete(&self) -> Result<(), Failure> {
        let next = self.path.join(NEXT);
        if !next.join(CERT).is_file() {
            return Ok(());
        }
        for file in [KEY, TPM_KEY, CERT] {
            let (from, to) = (next.join(file), self.path.join(file));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && file != CERT => {}
                moved => moved.map_err(|error| unwritable(&to, &error))?,
            }
            // Not every file system keeps the order of two renames over a power cut.
            sync_directory(&self.path).map_err(|error| unwritable(&self.path, &error))?;
        }
        // Empty now; if it stays, the next renewal uses it.
        let _ = fs::remove_dir(next);
        Ok(())
    }
}

/// The key in a file, or a new one in it.
fn next_key_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(pem) => return Ok(Zeroizing::new(pem)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwritable(path, &error)),
    }
    let key = generate_key().map_err(|error| Failure::Refused(format!("no key could be made: {error}")))?;
    write(path, key.pkcs8_pem.as_bytes(), 0o600)?;
    Ok(Zeroizing::new(key.pkcs8_pem.as_bytes().to_vec()))
}

fn private_directory(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::Usage(format!("cannot make {}: {error}", path.display())))
}

/// Writes a file in one step.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let draft = path.with_added_extension("new");
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft);
    let written = written.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&draft, path));
    // The name has to last as well: the hub is told of a key only when it does.
    let lasting = placed.and_then(|()| sync_directory(path.parent().unwrap_or(Path::new("."))));
    lasting.map_err(|error| unwritable(path, &error))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Refused(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn origin() -> Origin {
        Origin { hub: "hub:8444".into(), name: "lamp-1".into(), tpm: None }
    }

    fn next_key(folder: &Folder) -> String {
        match folder.next_key(None).unwrap() {
            DeviceKey::File(pem) => String::from_utf8(pem.to_vec()).unwrap(),
            DeviceKey::Tpm(_) => panic!("there is no TPM"),
        }
    }

    fn text(folder: &Folder, file: &str) -> String {
        String::from_utf8(folder.read(file).unwrap()).unwrap()
    }

    #[test]
    fn a_first_enrolment_leaves_a_private_and_whole_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lamp");
        let folder = Folder::create(&path).unwrap();
        let key = next_key(&folder);
        drop(folder);
        assert!(matches!(Folder::open(&path), Err(Failure::Usage(_))), "there is no certificate yet");
        let folder = Folder::create(&path).unwrap();
        folder.enrolled("CA", "CERT", &origin()).unwrap();
        drop(folder);
        let folder = Folder::open(&path).unwrap();
        assert_eq!(
            (text(&folder, CA), text(&folder, CERT), text(&folder, KEY)),
            ("CA".into(), "CERT".into(), key.to_string())
        );
        assert_eq!(super::origin(&path).unwrap().name, "lamp-1");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(KEY))), (0o700, 0o600));
        assert!(!path.join(NEXT).exists());
        drop(folder);
        assert!(matches!(Folder::create(&path), Err(Failure::Refused(_))));
    }

    #[test]
    fn a_request_without_an_answer_keeps_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::create(directory.path()).unwrap();
        let key = next_key(&folder);
        assert_eq!(next_key(&folder), key);
        folder.renewed("CERT").unwrap();
        assert_ne!(next_key(&folder), key, "the next request has a key of its own");
    }

    /// A first attempt with the TPM failed, and the device enrols with a key in a file.
    #[test]
    fn the_key_of_another_kind_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::create(directory.path()).unwrap();
        next_key(&folder);
        write(&directory.path().join(NEXT).join(TPM_KEY), b"TPM", 0o600).unwrap();
        let key = next_key(&folder);
        folder.enrolled("CA", "CERT", &origin()).unwrap();
        assert_eq!(text(&folder, KEY), key);
        assert!(!directory.path().join(TPM_KEY).exists());
    }

    /// Whoever comes second changes nothing, not even what looks interrupted.
    #[test]
    fn a_directory_is_worked_on_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let first = Folder::create(directory.path()).unwrap();
        assert!(matches!(Folder::create(directory.path()), Err(Failure::Refused(_))));
        let key = next_key(&first);
        first.enrolled("CA", "OLD", &origin()).unwrap();
        next_key(&first);
        write(&directory.path().join(NEXT).join(CERT), b"NEW", 0o644).unwrap();
        assert!(matches!(Folder::open(directory.path()), Err(Failure::Refused(why)) if why.contains("another")));
        assert_eq!((text(&first, CERT), text(&first, KEY)), ("OLD".into(), key.to_string()));
        drop(first);
        assert_eq!(text(&Folder::open(directory.path()).unwrap(), CERT), "NEW");
    }

    /// What a power cut leaves, after each step of a renewal: the old pair or the new one, and a key that was told to the
    /// hub is the one that is told again.
    #[test]
    fn an_interrupted_renewal_leaves_a_whole_pair() {
        for steps in 0..=5 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            let folder = Folder::create(path).unwrap();
            let old = next_key(&folder);
            folder.enrolled("CA", "OLD", &origin()).unwrap();
            let next = path.join(NEXT);
            let mut new = None;
            let half = |file: &str| fs::write(next.join(file).with_added_extension("new"), "half").unwrap();
            for step in 0..steps {
                match step {
                    0 => {
                        private_directory(&next).unwrap();
                        half(KEY);
                    }
                    1 => new = Some(next_key(&folder)),
                    2 => half(CERT),
                    3 => write(&next.join(CERT), b"NEW", 0o644).unwrap(),
                    _ => fs::rename(next.join(KEY), path.join(KEY)).unwrap(),
                }
            }
            drop(folder);
            let folder = Folder::open(path).unwrap();
            let held = (text(&folder, CERT), text(&folder, KEY));
            match new {
                Some(new) if steps >= 4 => assert_eq!(held, ("NEW".into(), new.to_string()), "{steps} steps"),
                asked => {
                    assert_eq!(held, ("OLD".into(), old.to_string()), "{steps} steps");
                    let again = next_key(&folder);
                    assert!(asked.is_none_or(|asked| asked == again), "{steps} steps");
                }
            }
        }
    }

    /// The same for a first enrolment, whose code may be used up.
    #[test]
    fn an_interrupted_enrolment_goes_on_with_its_key() {
        for steps in 0..=2 {
            let directory = tempfile::tempdir().unwrap();
            let folder = Folder::create(directory.path()).unwrap();
            let key = next_key(&folder);
            for (file, text) in [(CA, "CA"), (ORIGIN, "{")].into_iter().take(steps) {
                write(&directory.path().join(file), text.as_bytes(), 0o644).unwrap();
            }
            drop(folder);
            let folder = Folder::create(directory.path()).unwrap();
            assert_eq!(next_key(&folder), key);
            folder.enrolled("CA", "CERT", &origin()).unwrap();
            assert_eq!((text(&folder, CERT), text(&folder, KEY)), ("CERT".into(), key.to_string()));
        }
    }
}
