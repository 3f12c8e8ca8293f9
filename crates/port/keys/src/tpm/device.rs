use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    str::FromStr,
    thread,
    time::Duration,
};

use pkcs8::der::{Decode as _, Encode as _, Header, SliceReader, Tag};
use zeroize::Zeroizing;

use super::{
    area::{self, EndorsementKind},
    wire::{self, Answer, Auth, Code, MESSAGE_BYTES_MAX, Reader, Writer, alg, handle},
};
use crate::{KeyAlgorithm, KeyError};

/// Where a TPM listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmAddress {
    /// A device of the kernel with its resource manager: `/dev/tpmrm0`.
    Device(PathBuf),
    /// A socket on which a software TPM takes commands, as swtpm's `--server type=unixio`.
    Socket(PathBuf),
}

impl FromStr for TpmAddress {
    type Err = KeyError;

    /// `device:PATH` or `swtpm:path=PATH`, as other TPM programs name their command transmission interface (TCTI).
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let path = |prefix| text.strip_prefix(prefix).map(PathBuf::from).filter(|path| path.is_absolute());
        let address = path("device:").map(Self::Device).or_else(|| path("swtpm:path=").map(Self::Socket));
        address.ok_or_else(|| KeyError::Unsupported {
            place: "this program".into(),
            what: format!("the TPM interface {text:?}; write device:/dev/tpmrm0 or swtpm:path=/run/swtpm/socket"),
        })
    }
}

impl TpmAddress {
    /// The device or socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Device(path) | Self::Socket(path) => path,
        }
    }
}

/// Making an RSA key takes a slow TPM a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// A TPM that is busy with itself says so, and wants to be asked again.
const BUSY_RETRIES_MAX: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Longest certificate in a TPM's memory, and how much is read of it at a time: what every TPM can do.
const CERTIFICATE_BYTES_MAX: u16 = 8 * 1024;
const NV_CHUNK_BYTES: u16 = 512;

/// What went wrong between a TPM and us.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    /// The TPM's own response code.
    Code(u32),
    /// An answer that makes no sense.
    Nonsense,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Response codes (part 2 §6.6.3) that mean something to us. Those of the first format come with the number of a handle,
/// parameter or session, which is left out here.
pub(crate) mod response {
    pub(crate) const VALUE: u32 = 0x084;
    pub(crate) const HANDLE: u32 = 0x08b;
    pub(crate) const AUTH_FAIL: u32 = 0x08e;
    pub(crate) const SIZE: u32 = 0x095;
    pub(crate) const INSUFFICIENT: u32 = 0x09a;
    pub(crate) const INTEGRITY: u32 = 0x09f;
    pub(crate) const BAD_AUTH: u32 = 0x0a2;
    pub(crate) const CURVE: u32 = 0x0a6;
    pub(crate) const YIELDED: u32 = 0x908;
    pub(crate) const TESTING: u32 = 0x90a;
    pub(crate) const REFERENCE_H0: u32 = 0x910;
    pub(crate) const NV_RATE: u32 = 0x920;
    pub(crate) const LOCKOUT: u32 = 0x921;
    pub(crate) const RETRY: u32 = 0x922;

    pub(crate) fn plain(code: u32) -> u32 {
        if code & 0x80 == 0 { code } else { code & 0xbf }
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to a TPM, and the parent of all keys loaded in it.
pub(crate) struct Tpm {
    stream: Box<dyn Stream>,
    storage: u32,
}

impl Tpm {
    pub(crate) fn connect(address: &TpmAddress) -> Result<Self, Fault> {
        let stream: Box<dyn Stream> = match address {
            TpmAddress::Device(path) => Box::new(OpenOptions::new().read(true).write(true).open(path)?),
            TpmAddress::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                Box::new(stream)
            }
        };
        let mut tpm = Self { stream, storage: 0 };
        tpm.storage = tpm.create_primary(handle::OWNER, &area::storage_template())?.0;
        Ok(tpm)
    }

    #[cfg(test)]
    pub(crate) fn storage_handle(&self) -> u32 {
        self.storage
    }

    /// Frees what the connection holds in the TPM. Without a resource manager nobody else would.
    pub(crate) fn close(mut self) {
        let storage = self.storage;
        self.flush(storage);
    }

    /// Makes a key: its public area and its private part, which only this TPM can load.
    pub(crate) fn create(&mut self, algorithm: KeyAlgorithm, auth: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        let template = area::signing_template(algorithm).ok_or(Fault::Code(response::CURVE))?;
        let parameters = creation(auth, &template);
        let made = self.execute(Code::Create, &[self.storage], &[Auth::Password(&[])], &parameters)?;
        let mut reader = Reader(&made.parameters);
        let (private, public) = reader.sized().zip(reader.sized()).ok_or(Fault::Nonsense)?;
        Ok((public.to_vec(), private.to_vec()))
    }

    /// Loads a key, does something with its handle, and unloads it.
    pub(crate) fn with_key<T>(
        &mut self,
        public: &[u8],
        private: &[u8],
        action: impl FnOnce(&mut Self, u32) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let parameters = Writer::new().sized(private).sized(public).done();
        let loaded = self.execute(Code::Load, &[self.storage], &[Auth::Password(&[])], &parameters)?.handle;
        let done = action(self, loaded);
        self.flush(loaded);
        done
    }

    /// An ECDSA signature over a digest, as two numbers.
    pub(crate) fn sign(
        &mut self,
        key: u32,
        auth: &[u8],
        hash: u16,
        digest: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        // A digest that the TPM did not make itself goes with a ticket that says so.
        const HASH_CHECK: u16 = 0x8024;
        let parameters = Writer::new().sized(digest).u16(alg::ECDSA).u16(hash);
        let parameters = parameters.u16(HASH_CHECK).u32(handle::NULL).sized(&[]).done();
        let signed = self.execute(Code::Sign, &[key], &[Auth::Password(auth)], &parameters)?;
        let mut reader = Reader(&signed.parameters);
        let head = reader.u16().zip(reader.u16());
        let numbers = reader.sized().zip(reader.sized());
        match (head, numbers) {
            (Some((alg::ECDSA, _)), Some((r, s))) => Ok((r.to_vec(), s.to_vec())),
            _ => Err(Fault::Nonsense),
        }
    }

    /// The endorsement key: its public area.
    pub(crate) fn endorsement(&mut self, kind: EndorsementKind) -> Result<Vec<u8>, Fault> {
        let (key, public) = self.create_primary(handle::ENDORSEMENT, &area::endorsement_template(kind))?;
        self.flush(key);
        Ok(public)
    }

    /// Opens a credential that was made for the endorsement key and the loaded key (part 1 §24).
    pub(crate) fn activate(
        &mut self,
        kind: EndorsementKind,
        key: u32,
        auth: &[u8],
        credential: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let (endorsement, _) = self.create_primary(handle::ENDORSEMENT, &area::endorsement_template(kind))?;
        let activated = self.policy_session().and_then(|session| {
            let parameters = Writer::new().sized(credential).sized(encrypted_secret).done();
            let auths = [Auth::Password(auth), Auth::Policy(session)];
            let activated = self.execute(Code::ActivateCredential, &[key, endorsement], &auths, &parameters);
            if activated.is_err() {
                // It ends by itself only with a command that succeeds.
                self.flush(session);
            }
            activated
        });
        self.flush(endorsement);
        let secret = Reader(&activated?.parameters).sized().ok_or(Fault::Nonsense)?.to_vec();
        Ok(Zeroizing::new(secret))
    }

    /// A certificate from the TPM's own memory, without what may fill the place behind it; nothing if there is none.
    pub(crate) fn certificate(&mut self, index: u32) -> Result<Option<Vec<u8>>, Fault> {
        let described = match self.execute(Code::NvReadPublic, &[], &[], &index.to_be_bytes()) {
            Err(Fault::Code(code)) if response::plain(code) == response::HANDLE => return Ok(None),
            described => described?,
        };
        let size = nv_bytes(&described.parameters).filter(|&size| size <= CERTIFICATE_BYTES_MAX);
        let size = size.ok_or(Fault::Nonsense)?;
        let mut certificate = Vec::new();
        let mut offset = 0;
        while offset < size {
            let length = NV_CHUNK_BYTES.min(size - offset);
            let parameters = Writer::new().u16(length).u16(offset).done();
            let read = self.execute(Code::NvRead, &[index, index], &[Auth::Password(&[])], &parameters)?;
            certificate.extend_from_slice(Reader(&read.parameters).sized().ok_or(Fault::Nonsense)?);
            offset += length;
        }
        certificate.truncate(der_bytes(&certificate).unwrap_or(0));
        Ok(Some(certificate).filter(|certificate| !certificate.is_empty()))
    }

    fn create_primary(&mut self, hierarchy: u32, template: &[u8]) -> Result<(u32, Vec<u8>), Fault> {
        let made = self.execute(Code::CreatePrimary, &[hierarchy], &[Auth::Password(&[])], &creation(&[], template))?;
        let public = Reader(&made.parameters).sized().ok_or(Fault::Nonsense)?;
        Ok((made.handle, public.to_vec()))
    }

    /// A session that fulfils the endorsement key's policy.
    fn policy_session(&mut self) -> Result<u32, Fault> {
        const POLICY: u8 = 1;
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Fault::Nonsense)?;
        let parameters = Writer::new().sized(&nonce).sized(&[]).u8(POLICY).u16(alg::NULL).u16(alg::SHA256).done();
        let session = self.execute(Code::StartAuthSession, &[handle::NULL, handle::NULL], &[], &parameters)?.handle;
        // Bound to neither nonce nor command, without a name, and without an end in time.
        let parameters = Writer::new().sized(&[]).sized(&[]).sized(&[]).u32(0).done();
        let handles = [handle::ENDORSEMENT, session];
        let fulfilled = self.execute(Code::PolicySecret, &handles, &[Auth::Password(&[])], &parameters);
        if let Err(fault) = fulfilled {
            self.flush(session);
            return Err(fault);
        }
        Ok(session)
    }

    /// A handle that cannot be freed is the TPM's to forget; there is nothing to be done about it here.
    fn flush(&mut self, handle: u32) {
        let _ = self.execute(Code::FlushContext, &[], &[], &handle.to_be_bytes());
    }

    pub(crate) fn execute(
        &mut self,
        code: Code,
        handles: &[u32],
        auths: &[Auth<'_>],
        parameters: &[u8],
    ) -> Result<Answer, Fault> {
        let command = wire::command(code, handles, auths, parameters);
        if command.len() > MESSAGE_BYTES_MAX {
            return Err(Fault::Code(response::SIZE));
        }
        let mut retries = 0;
        loop {
            let message = self.exchange(&command)?;
            match wire::answer(code, &message).ok_or(Fault::Nonsense)? {
                Ok(answer) => return Ok(answer),
                Err(code) if is_busy(code) && retries < BUSY_RETRIES_MAX => {
                    retries += 1;
                    thread::sleep(BUSY_PAUSE);
                }
                Err(code) => return Err(Fault::Code(code)),
            }
        }
    }

    fn exchange(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.stream.write_all(command)?;
        let mut message = Zeroizing::new(vec![0; MESSAGE_BYTES_MAX]);
        let mut length = 0;
        let mut expected = wire::HEADER_BYTES;
        while length < expected {
            // The kernel's device gives the whole answer to a single read, and loses what that does not take.
            let read = self.stream.read(&mut message[length..])?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            length += read;
            if length >= wire::HEADER_BYTES {
                expected = wire::answer_bytes(&message).ok_or(Fault::Nonsense)?;
            }
        }
        message.truncate(expected);
        Ok(message)
    }
}

/// Parameters of both commands that make keys: the new key's secret, what it is to be, nothing else.
fn creation(auth: &[u8], template: &[u8]) -> Zeroizing<Vec<u8>> {
    let sensitive = Writer::new().sized(auth).sized(&[]).done();
    Writer::new().sized(&sensitive).sized(template).sized(&[]).u32(0).done()
}

/// The size in `TPMS_NV_PUBLIC` (part 2 §13.5).
fn nv_bytes(parameters: &[u8]) -> Option<u16> {
    let mut reader = Reader(Reader(parameters).sized()?);
    let _index_digest_attributes = (reader.u32()?, reader.u16()?, reader.u32()?);
    let _policy = reader.sized()?;
    reader.u16()
}

/// The length of the DER sequence at the beginning; nothing if there is none that is whole.
fn der_bytes(bytes: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let header = Header::decode(&mut reader).ok().filter(|header| header.tag == Tag::Sequence)?;
    let total = usize::try_from((header.encoded_len().ok()? + header.length).ok()?).ok()?;
    (total <= bytes.len()).then_some(total)
}

fn is_busy(code: u32) -> bool {
    matches!(code, response::YIELDED | response::TESTING | response::NV_RATE | response::RETRY)
}
