//! The key that signs reports.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};

use crate::{failure::Failure, output::remark};

/// Longest file that holds a key, bytes.
const KEY_BYTES_MAX: u64 = 4096;
/// The default key's place below the user's configuration folder.
const DEFAULT_PLACE: &str = "portreeve/auditor.key";

/// An auditor's key pair.
pub(super) struct AuditorKey {
    pair: Ed25519KeyPair,
    /// Where the public half lies.
    pub(super) public_file: PathBuf,
}

impl AuditorKey {
    /// Of the file that is named, or the user's own, which is made at its first use.
    pub(super) fn open(named: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = named {
            return Self::read(path);
        }
        let path = default_place()?;
        if !path.exists() && make(&path)? {
            remark(&format!(
                "A key to sign reports with was made: {}; its public half is {}",
                path.display(),
                public_file(&path).display()
            ));
        }
        Self::read(&path)
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let unusable = |why: &dyn std::fmt::Display| {
            Failure::Usage(format!(
                "{}: {why}; make a key with `openssl genpkey -algorithm ed25519 -out {}`, or leave --key out",
                path.display(),
                path.display()
            ))
        };
        let metadata = fs::metadata(path).map_err(|error| unusable(&error))?;
        if metadata.len() > KEY_BYTES_MAX {
            return Err(unusable(&"too long for an Ed25519 key"));
        }
        let text = zeroize::Zeroizing::new(fs::read(path).map_err(|error| unusable(&error))?);
        let block = pem::parse(&text).map_err(|error| unusable(&error))?;
        if block.tag() != "PRIVATE KEY" {
            return Err(unusable(&"not an unencrypted PKCS #8 private key"));
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(block.contents())
            .map_err(|_| unusable(&"not an Ed25519 key"))?;
        Ok(Self { pair, public_file: public_file(path) })
    }

    /// The public half.
    pub(super) fn public(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        bytes
    }

    /// A signature.
    pub(super) fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], io::Error> {
        let signature = self.pair.sign(bytes);
        signature.as_ref().try_into().map_err(io::Error::other)
    }
}

fn default_place() -> Result<PathBuf, Failure> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    base.map(|base| base.join(DEFAULT_PLACE))
        .ok_or_else(|| Failure::Usage("there is no home folder to keep a key in; name one with --key FILE".into()))
}

fn public_file(private: &Path) -> PathBuf {
    private.with_extension("pub.pem")
}

/// Makes a key, unless somebody else just has. It gets its name when it is whole, so that nobody reads half of one.
fn make(path: &Path) -> Result<bool, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Usage(format!("cannot make {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    let pair = Ed25519KeyPair::generate().map_err(|error| failed(&error))?;
    let pkcs8 = pair.to_pkcs8().map_err(|error| failed(&error))?;
    let private = zeroize::Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref())));
    let public = pair.public_key().as_der().map_err(|error| failed(&error))?;
    let public: &[u8] = public.as_ref();
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let named = write_new(&draft, private.as_bytes(), 0o600).and_then(|()| fs::hard_link(&draft, path));
    // It has its other name by now, or is of no use.
    let _ = fs::remove_file(&draft);
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => return Ok(false),
        named => named.map_err(|error| failed(&error))?,
    }
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", public));
    fs::write(public_file(path), public).map_err(|error| failed(&error))?;
    Ok(true)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
