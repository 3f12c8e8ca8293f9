//! Keys in a TPM 2.0, and proof that a key is in a certain one.
//!
//! [`TpmCustody`] keeps signing keys; [`TpmCustody::endorsement`] and [`TpmCustody::activate`] are a device's part of
//! enrolment by endorsement key, [`TpmKeyArea`] and [`Challenge`] the hub's part, which needs no TPM.
//!
//! The TPM is spoken to directly, in its own published language, so that nothing has to be installed to build this.
//!
//! *Limits.* ECDSA on P-256 and, where the TPM has it, P-384; the owner and endorsement hierarchies have no password, as
//! they are found on most machines; the passphrase goes to the TPM in the clear, so somebody with a probe on the wires
//! between processor and a separate TPM could see it (it is of no use without that very TPM).

mod area;
mod challenge;
mod device;
mod key_file;
#[cfg(test)]
mod tests;
mod wire;

use std::{fmt, path::Path, sync::Arc};

use aws_lc_rs::digest;
use parking_lot::Mutex;
use zeroize::Zeroizing;

pub use area::{EndorsementKind, TpmKeyArea};
pub use challenge::{CHALLENGE_SECRET_BYTES_MAX, Challenge};
pub use device::TpmAddress;
use device::{Fault, Tpm, response};
use key_file::KeyFile;
use wire::alg;

use crate::{
    Custody, KeyAlgorithm, KeyError, KeyFacts, KeyName, Passphrase, Protection, PublicKey, SigningKey, folder::Folder,
    public::ecdsa_signature,
};

/// Longest secret that a TPM compares as it is: the length of its name digest.
const AUTH_BYTES_MAX: usize = 32;

/// What a TPM is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    /// The endorsement key as `SubjectPublicKeyInfo`.
    pub spki_der: Vec<u8>,
    /// The manufacturer's certificate of it in DER, if the TPM brings one.
    pub certificate_der: Option<Vec<u8>>,
}

/// The endorsement key of a TPM and its certificate, where no key of one's own is needed.
///
/// # Errors
/// Those of the device.
pub fn endorsement(address: TpmAddress, kind: EndorsementKind) -> Result<Endorsement, KeyError> {
    Chip::at(address, None).endorsement(kind)
}

/// Keys that a TPM makes and that only it can use; what it has encrypted of them lies in files, `NAME.tpm`.
///
/// With a passphrase, the TPM asks for it at each use and locks itself after some wrong ones.
#[derive(Debug)]
pub struct TpmCustody {
    folder: Folder,
    chip: Arc<Chip>,
}

impl TpmCustody {
    /// Opens the TPM, and the directory for the files, which is made if it is missing.
    ///
    /// # Errors
    /// [`KeyError::Device`] for a TPM that is not there or not usable.
    pub fn open(address: TpmAddress, directory: &Path, passphrase: Option<&Passphrase>) -> Result<Self, KeyError> {
        let folder = Folder::open(directory, "tpm")?;
        let chip = Chip::at(address, passphrase);
        chip.run(&chip.place, |_| Ok(()))?;
        Ok(Self { folder, chip: Arc::new(chip) })
    }

    /// The endorsement key of the TPM and its certificate.
    ///
    /// # Errors
    /// Those of the device.
    pub fn endorsement(&self, kind: EndorsementKind) -> Result<Endorsement, KeyError> {
        self.chip.endorsement(kind)
    }

    /// What a hub needs to know of a key to make a [`Challenge`].
    ///
    /// # Errors
    /// Those of reading its file.
    pub fn key_area(&self, name: &KeyName) -> Result<TpmKeyArea, KeyError> {
        Ok(self.load(name)?.area)
    }

    /// The secret of a challenge that was made for this TPM and this key.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] for one that was made for another TPM or another key, or was changed.
    pub fn activate(&self, name: &KeyName, challenge: &Challenge) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let file = self.load(name)?;
        let auth = self.chip.auth_for(&file, &self.what(name))?;
        self.chip.run("the challenge", |tpm| {
            tpm.with_key(file.area.as_bytes(), &file.private, |tpm, key| {
                tpm.activate(challenge.kind(), key, auth, &challenge.credential, &challenge.encrypted_secret)
            })
        })
    }

    fn load(&self, name: &KeyName) -> Result<KeyFile, KeyError> {
        KeyFile::parse(&self.what(name), &self.folder.read(name)?)
    }

    fn what(&self, name: &KeyName) -> String {
        self.folder.path(name).display().to_string()
    }

    fn key(&self, name: &KeyName, file: KeyFile) -> Arc<dyn SigningKey> {
        Arc::new(TpmKey { chip: Arc::clone(&self.chip), what: self.what(name), file })
    }
}

impl Custody for TpmCustody {
    fn protection(&self) -> Protection {
        Protection::Tpm
    }

    fn create(&self, name: &KeyName, algorithm: KeyAlgorithm) -> Result<Arc<dyn SigningKey>, KeyError> {
        self.folder.check_free(name)?;
        let place = &self.chip.place;
        let unsupported = || KeyError::unsupported(place, algorithm);
        if area::signing_template(algorithm).is_none() {
            return Err(unsupported());
        }
        let auth = self.chip.auth.as_ref().map_or([].as_slice(), |auth| auth.as_slice());
        let made = self.chip.run_coded(|tpm| tpm.create(algorithm, auth));
        let (area, private) = match made {
            // The TPM's own words for a curve that it lacks.
            Err(Failure::Code(response::CURVE | response::VALUE)) => return Err(unsupported()),
            made => made.map_err(|failure| self.chip.explain(place, failure))?,
        };
        let area = TpmKeyArea::parse(&area).ok_or_else(|| self.chip.error("made another key than it was asked for"))?;
        let file = KeyFile { is_open: self.chip.auth.is_none(), area, private };
        self.folder.add(name, self.folder.draft(&file.to_text()?)?)?;
        Ok(self.key(name, file))
    }

    fn open(&self, name: &KeyName) -> Result<Arc<dyn SigningKey>, KeyError> {
        let file = self.load(name)?;
        let key = TpmKey { chip: Arc::clone(&self.chip), what: self.what(name), file };
        // That this TPM can load it, and that the passphrase is right, is better known now than later.
        key.sign(b"")?;
        Ok(Arc::new(key))
    }

    fn list(&self) -> Result<Vec<KeyFacts>, KeyError> {
        let facts = |name| Ok(KeyFacts { public: self.load(&name)?.area.public().clone(), name });
        self.folder.names()?.into_iter().map(facts).collect()
    }

    fn destroy(&self, name: &KeyName) -> Result<(), KeyError> {
        self.folder.remove(name)
    }
}

struct TpmKey {
    chip: Arc<Chip>,
    /// For messages.
    what: String,
    file: KeyFile,
}

impl fmt::Debug for TpmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmKey").field("what", &self.what).field("chip", &self.chip).finish_non_exhaustive()
    }
}

impl SigningKey for TpmKey {
    fn public(&self) -> &PublicKey {
        self.file.area.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let auth = self.chip.auth_for(&self.file, &self.what)?;
        let algorithm = self.public().algorithm();
        let hash = if algorithm == KeyAlgorithm::EcdsaP384 { alg::SHA384 } else { alg::SHA256 };
        let digest = algorithm.digest(message).ok_or(KeyError::Crypto)?;
        let (r, s) = self.chip.run(&self.what, |tpm| {
            tpm.with_key(self.file.area.as_bytes(), &self.file.private, |tpm, key| {
                tpm.sign(key, auth, hash, digest.as_ref())
            })
        })?;
        let signature = ecdsa_signature(&r, &s).ok_or_else(|| self.chip.error("made no signature"))?;
        self.public().checked(&self.chip.place, message, signature)
    }
}

/// The TPM, used by one caller at a time.
struct Chip {
    address: TpmAddress,
    /// For messages.
    place: String,
    auth: Option<Zeroizing<Vec<u8>>>,
    is_kept_open: bool,
    connection: Mutex<Option<Tpm>>,
}

impl fmt::Debug for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chip").field(&self.place).finish()
    }
}

/// Why nothing came of an action.
enum Failure {
    /// A response code, without the number of what it is about.
    Code(u32),
    Other(KeyError),
}

impl Chip {
    fn at(address: TpmAddress, passphrase: Option<&Passphrase>) -> Self {
        Self {
            place: format!("TPM at {}", address.path().display()),
            // A software TPM serves one connection at a time, and keeps what the last one left in it.
            is_kept_open: matches!(address, TpmAddress::Device(_)),
            address,
            auth: passphrase.map(auth_value),
            connection: Mutex::default(),
        }
    }

    fn endorsement(&self, kind: EndorsementKind) -> Result<Endorsement, KeyError> {
        // TCG EK Credential Profile §2.2.1.4.
        let index = match kind {
            EndorsementKind::Rsa2048 => 0x01c0_0002,
            EndorsementKind::EccP256 => 0x01c0_000a,
        };
        let (area, certificate_der) =
            self.run(&self.place, |tpm| Ok((tpm.endorsement(kind)?, tpm.certificate(index)?)))?;
        let spki_der = area::endorsement_spki(kind, &area).ok_or_else(|| self.error("its endorsement key is odd"))?;
        Ok(Endorsement { spki_der, certificate_der })
    }

    /// Does something in a connection, and once more in a new one if the connection, or what it had in the TPM, is lost.
    fn run<T>(&self, what: &str, action: impl Fn(&mut Tpm) -> Result<T, Fault>) -> Result<T, KeyError> {
        self.run_coded(action).map_err(|failure| self.explain(what, failure))
    }

    fn run_coded<T>(&self, action: impl Fn(&mut Tpm) -> Result<T, Fault>) -> Result<T, Failure> {
        let mut connection = self.connection.lock();
        let kept = connection.take();
        let was_kept = kept.is_some();
        let mut tpm = match kept {
            Some(tpm) => tpm,
            None => self.connect()?,
        };
        let mut done = action(&mut tpm);
        if was_kept && done.as_ref().is_err_and(is_loss) {
            tpm.close();
            tpm = self.connect()?;
            done = action(&mut tpm);
        }
        if self.is_kept_open && !done.as_ref().is_err_and(is_loss) {
            *connection = Some(tpm);
        } else {
            tpm.close();
        }
        done.map_err(|fault| self.failure(fault))
    }

    fn connect(&self) -> Result<Tpm, Failure> {
        // What fails here is the TPM's own affair, whatever is to be done next.
        Tpm::connect(&self.address).map_err(|fault| Failure::Other(self.explain(&self.place, self.failure(fault))))
    }

    fn failure(&self, fault: Fault) -> Failure {
        match fault {
            Fault::Code(code) => Failure::Code(response::plain(code)),
            Fault::Io(source) => Failure::Other(KeyError::Io { what: format!("talk to the {}", self.place), source }),
            Fault::Nonsense => Failure::Other(self.error("gave an answer that makes no sense")),
        }
    }

    fn explain(&self, what: &str, failure: Failure) -> KeyError {
        let code = match failure {
            Failure::Other(error) => return error,
            Failure::Code(code) => code,
        };
        match code {
            response::AUTH_FAIL | response::BAD_AUTH if what == self.place => {
                self.error("its owner hierarchy has a password; use a TPM without one")
            }
            response::AUTH_FAIL | response::BAD_AUTH => KeyError::WrongPassphrase(what.to_owned()),
            response::LOCKOUT => KeyError::Locked(self.place.clone()),
            response::INTEGRITY | response::INSUFFICIENT | response::SIZE | response::VALUE => KeyError::Damaged {
                what: what.to_owned(),
                reason: "this TPM does not take it: it was made for another one, or changed",
            },
            code => self.error(&format!("response code {code:#05x}")),
        }
    }

    /// The secret for the use of a key.
    fn auth_for(&self, file: &KeyFile, what: &str) -> Result<&[u8], KeyError> {
        match &self.auth {
            _ if file.is_open => Ok(&[]),
            Some(auth) => Ok(auth),
            None => Err(KeyError::PassphraseNeeded(what.to_owned())),
        }
    }

    fn error(&self, reason: &str) -> KeyError {
        KeyError::Device { device: self.place.clone(), reason: reason.to_owned() }
    }
}

/// Part 1 §19.6.4.3: what is too long for a TPM is replaced by its digest, as other programs do too.
fn auth_value(passphrase: &Passphrase) -> Zeroizing<Vec<u8>> {
    let bytes = passphrase.expose();
    if bytes.len() <= AUTH_BYTES_MAX {
        return Zeroizing::new(bytes.to_vec());
    }
    Zeroizing::new(digest::digest(&digest::SHA256, bytes).as_ref().to_vec())
}

/// The other end is gone, or has forgotten the parent that was loaded in it.
fn is_loss(fault: &Fault) -> bool {
    match fault {
        Fault::Io(_) => true,
        Fault::Code(code) => matches!(response::plain(*code), response::HANDLE | response::REFERENCE_H0),
        Fault::Nonsense => false,
    }
}
