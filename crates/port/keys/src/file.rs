use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use zeroize::Zeroizing;

use crate::{
    Custody, Kdf, KeyAlgorithm, KeyError, KeyFacts, KeyName, Passphrase, Protection, PublicKey, SigningKey,
    folder::Folder,
    private::PrivateKey,
    sealed::{self, Sealed},
};

/// Keys in a directory of their own, one file each: `NAME.key`, mode 0600, sealed or not.
///
/// One file each rather than one for all, because each is then what `openssl` and other programs know, the root's can be
/// carried offline by itself, and damage to one leaves the others. All files of a directory are protected alike: a file
/// that is not as the custody was opened is refused.
#[derive(Debug)]
pub struct FileCustody {
    folder: Folder,
    seal: Option<Seal>,
}

#[derive(Debug)]
struct Seal {
    passphrase: Passphrase,
    kdf: Kdf,
    /// The passphrase has opened or made a key here, so a new one may be sealed with it.
    is_proven: AtomicBool,
}

/// A key file as read.
enum Stored {
    Plain(PrivateKey),
    Sealed(Sealed),
}

impl Stored {
    fn public(&self) -> &PublicKey {
        match self {
            Self::Plain(private) => private.public(),
            Self::Sealed(sealed) => &sealed.public,
        }
    }
}

impl FileCustody {
    /// Keys that the permissions of their files alone protect.
    ///
    /// # Errors
    /// [`KeyError::Io`], or [`KeyError::TooOpen`] for a directory that others can enter. One that is missing is made.
    pub fn unsealed(directory: &Path) -> Result<Self, KeyError> {
        Self::at(directory, None)
    }

    /// Keys that are encrypted under a passphrase. It is tried when the first key is opened or made.
    ///
    /// # Errors
    /// As [`Self::unsealed`].
    pub fn sealed(directory: &Path, passphrase: Passphrase, kdf: Kdf) -> Result<Self, KeyError> {
        Self::at(directory, Some(Seal { passphrase, kdf, is_proven: AtomicBool::new(false) }))
    }

    fn at(directory: &Path, seal: Option<Seal>) -> Result<Self, KeyError> {
        Ok(Self { folder: Folder::open(directory, "key")?, seal })
    }

    /// Seals all keys here under another passphrase, or with none unseals them, and returns the custody that opens
    /// them from then on. This one no longer does.
    ///
    /// Each file is replaced in one step, after all new ones are on disk. After an interruption between two steps the
    /// same call completes the work: files that are already as they are to be stay. Blocks of storage that held an
    /// unsealed file may still do: keys that others could have read are to be replaced, not sealed.
    ///
    /// # Errors
    /// Those of opening and writing keys; [`KeyError::WeakPassphrase`].
    pub fn change_protection(&self, seal: Option<(Passphrase, Kdf)>) -> Result<Self, KeyError> {
        let next = match seal {
            Some((passphrase, kdf)) => {
                passphrase.check_strength()?;
                Self::sealed(self.folder.directory(), passphrase, kdf)?
            }
            None => Self::unsealed(self.folder.directory())?,
        };
        let mut drafts = Vec::new();
        for name in self.folder.names()? {
            match self.unlock(&name) {
                Ok(private) => {
                    let draft = self.folder.draft(&next.text(&name, &private)?)?;
                    drafts.push((name, draft));
                }
                // As an earlier, interrupted change has left it; if not, the first error is the one to tell.
                Err(error) if next.unlock(&name).is_err() => return Err(error),
                Err(_) => {}
            }
        }
        self.folder.replace(drafts)?;
        Ok(next)
    }

    /// Copies a key into another directory, protected as it is here, and returns the custody of that directory.
    ///
    /// # Errors
    /// Those of reading and writing keys; [`KeyError::Exists`] if there is such a key already.
    pub fn copy_to(&self, name: &KeyName, directory: &Path) -> Result<Self, KeyError> {
        let seal = self.seal.as_ref().map(|seal| Seal {
            passphrase: seal.passphrase.clone(),
            kdf: seal.kdf,
            is_proven: AtomicBool::new(false),
        });
        let other = Self::at(directory, seal)?;
        other.folder.add(name, other.folder.draft(&self.folder.read(name)?)?)?;
        Ok(other)
    }

    fn load(&self, name: &KeyName) -> Result<Stored, KeyError> {
        let text = self.folder.read(name)?;
        let what = self.what(name);
        if text.contains(sealed::LABEL) {
            Ok(Stored::Sealed(Sealed::parse(&what, &text)?))
        } else {
            Ok(Stored::Plain(sealed::parse_plain(&what, &text)?))
        }
    }

    fn unlock(&self, name: &KeyName) -> Result<PrivateKey, KeyError> {
        let what = self.what(name);
        match (self.load(name)?, &self.seal) {
            (Stored::Plain(private), None) => Ok(private),
            (Stored::Sealed(sealed), Some(seal)) => {
                let private = sealed.open(&what, &seal.passphrase)?;
                seal.is_proven.store(true, Ordering::Relaxed);
                Ok(private)
            }
            (Stored::Plain(_), Some(_)) => Err(KeyError::NotSealed(what)),
            (Stored::Sealed(_), None) => Err(KeyError::PassphraseNeeded(what)),
        }
    }

    fn text(&self, name: &KeyName, private: &PrivateKey) -> Result<Zeroizing<String>, KeyError> {
        match &self.seal {
            Some(seal) => Ok(Zeroizing::new(sealed::seal(name, private, &seal.passphrase, seal.kdf)?)),
            None => sealed::plain(private),
        }
    }

    /// Before a key is sealed with a passphrase that was never tried: a mistyped one must not lock the new key away.
    fn prove_passphrase(&self) -> Result<(), KeyError> {
        let Some(seal) = self.seal.as_ref().filter(|seal| !seal.is_proven.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        match self.folder.names()?.first() {
            Some(name) => self.unlock(name).map(drop),
            None => seal.passphrase.check_strength(),
        }
    }

    /// For messages.
    fn what(&self, name: &KeyName) -> String {
        self.folder.path(name).display().to_string()
    }
}

impl Custody for FileCustody {
    fn protection(&self) -> Protection {
        if self.seal.is_some() { Protection::SealedFile } else { Protection::FilePermissions }
    }

    fn create(&self, name: &KeyName, algorithm: KeyAlgorithm) -> Result<Arc<dyn SigningKey>, KeyError> {
        self.folder.check_free(name)?;
        self.prove_passphrase()?;
        let private = PrivateKey::generate(algorithm)?;
        self.folder.add(name, self.folder.draft(&self.text(name, &private)?)?)?;
        if let Some(seal) = &self.seal {
            seal.is_proven.store(true, Ordering::Relaxed);
        }
        Ok(Arc::new(private))
    }

    fn open(&self, name: &KeyName) -> Result<Arc<dyn SigningKey>, KeyError> {
        Ok(Arc::new(self.unlock(name)?))
    }

    fn list(&self) -> Result<Vec<KeyFacts>, KeyError> {
        let facts = |name| Ok(KeyFacts { public: self.load(&name)?.public().clone(), name });
        self.folder.names()?.into_iter().map(facts).collect()
    }

    fn destroy(&self, name: &KeyName) -> Result<(), KeyError> {
        self.folder.remove(name)
    }
}
