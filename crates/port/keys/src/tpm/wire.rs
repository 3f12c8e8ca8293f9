//! The little of the TPM's command language that is needed here (TCG TPM 2.0 Library, parts 2 and 3).

use zeroize::Zeroizing;

/// Longest command or answer of a TPM.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;
pub(crate) const HEADER_BYTES: usize = 10;

pub(crate) mod handle {
    pub(crate) const OWNER: u32 = 0x4000_0001;
    pub(crate) const NULL: u32 = 0x4000_0007;
    pub(crate) const PASSWORD: u32 = 0x4000_0009;
    pub(crate) const ENDORSEMENT: u32 = 0x4000_000b;
    #[cfg(test)]
    pub(crate) const PLATFORM: u32 = 0x4000_000c;
}

pub(crate) mod alg {
    pub(crate) const RSA: u16 = 0x0001;
    pub(crate) const AES: u16 = 0x0006;
    pub(crate) const SHA256: u16 = 0x000b;
    pub(crate) const SHA384: u16 = 0x000c;
    pub(crate) const NULL: u16 = 0x0010;
    pub(crate) const ECDSA: u16 = 0x0018;
    pub(crate) const ECC: u16 = 0x0023;
    pub(crate) const CFB: u16 = 0x0043;
}

pub(crate) mod curve {
    pub(crate) const P256: u16 = 0x0003;
    pub(crate) const P384: u16 = 0x0004;
}

pub(crate) mod attribute {
    pub(crate) const FIXED_TPM: u32 = 1 << 1;
    pub(crate) const FIXED_PARENT: u32 = 1 << 4;
    pub(crate) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub(crate) const USER_WITH_AUTH: u32 = 1 << 6;
    pub(crate) const ADMIN_WITH_POLICY: u32 = 1 << 7;
    pub(crate) const NO_DA: u32 = 1 << 10;
    pub(crate) const RESTRICTED: u32 = 1 << 16;
    pub(crate) const DECRYPT: u32 = 1 << 17;
    pub(crate) const SIGN: u32 = 1 << 18;
}

/// What a TPM is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    #[cfg(test)]
    HierarchyChangeAuth = 0x129,
    #[cfg(test)]
    NvDefineSpace = 0x12a,
    CreatePrimary = 0x131,
    #[cfg(test)]
    NvWrite = 0x137,
    ActivateCredential = 0x147,
    NvRead = 0x14e,
    PolicySecret = 0x151,
    Create = 0x153,
    Load = 0x157,
    Sign = 0x15d,
    FlushContext = 0x165,
    NvReadPublic = 0x169,
    StartAuthSession = 0x176,
}

impl Code {
    /// Whether the answer begins with a handle.
    fn gives_handle(self) -> bool {
        matches!(self, Self::CreatePrimary | Self::Load | Self::StartAuthSession)
    }
}

/// How a command shows that it may use an object.
pub(crate) enum Auth<'a> {
    Password(&'a [u8]),
    /// A policy session, which ends with the command.
    Policy(u32),
}

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;

/// Puts a message together, in a buffer that is wiped.
#[derive(Default)]
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        // So that it does not move while it grows.
        Self(Zeroizing::new(Vec::with_capacity(MESSAGE_BYTES_MAX)))
    }

    #[must_use]
    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    #[must_use]
    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    #[must_use]
    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    #[must_use]
    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// Bytes with their length before them (`TPM2B`). All of ours are short.
    #[must_use]
    pub(crate) fn sized(self, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.u16(length).bytes(&value[..usize::from(length)])
    }

    pub(crate) fn done(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// Takes a message apart. Every step ends in nothing when the bytes do.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// What was read must have been all.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Part 1 §18, part 3 §5.2.
pub(crate) fn command(code: Code, handles: &[u32], auths: &[Auth<'_>], parameters: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut area = Writer::new();
    for auth in auths {
        area = match auth {
            Auth::Password(value) => area.u32(handle::PASSWORD).sized(&[]).u8(0).sized(value),
            Auth::Policy(session) => area.u32(*session).sized(&[]).u8(0).sized(&[]),
        };
    }
    let area = area.done();
    let mut body = handles.iter().fold(Writer::new(), |body, handle| body.u32(*handle));
    if !auths.is_empty() {
        body = body.u32(length(&area)).bytes(&area);
    }
    let body = body.bytes(parameters).done();
    let tag = if auths.is_empty() { NO_SESSIONS } else { SESSIONS };
    let size = length(&body) + length(&[0; HEADER_BYTES]);
    Writer::new().u16(tag).u32(size).u32(code as u32).bytes(&body).done()
}

fn length(bytes: &[u8]) -> u32 {
    // Messages are of at most some kilobytes.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// How long the answer is that begins like this; nothing if it makes no sense.
pub(crate) fn answer_bytes(header: &[u8]) -> Option<usize> {
    let mut reader = Reader(header);
    reader.u16()?;
    let size = usize::try_from(reader.u32()?).ok()?;
    (HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&size).then_some(size)
}

/// An answer that says that all went well.
pub(crate) struct Answer {
    /// 0 where the command gives none.
    pub(crate) handle: u32,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}

/// Reads a whole answer: what it holds, or the TPM's response code; nothing if it makes no sense.
pub(crate) fn answer(code: Code, message: &[u8]) -> Option<Result<Answer, u32>> {
    let mut reader = Reader(message);
    let tag = reader.u16()?;
    if usize::try_from(reader.u32()?).ok()? != message.len() {
        return None;
    }
    let response = reader.u32()?;
    if response != 0 {
        return Some(Err(response));
    }
    let handle = if code.gives_handle() { reader.u32()? } else { 0 };
    let parameters = match tag {
        NO_SESSIONS => reader.0,
        SESSIONS => {
            let length = reader.u32()?;
            reader.take(usize::try_from(length).ok()?)?
        }
        _ => return None,
    };
    Some(Ok(Answer { handle, parameters: Zeroizing::new(parameters.to_vec()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_published_form() {
        let flush = command(Code::FlushContext, &[], &[], &[0x80, 0, 0, 1]);
        assert_eq!(hex::encode(&*flush), "80010000000e0000016580000001");
        let load = command(Code::Load, &[0x8000_0000], &[Auth::Password(b"pw")], &[0, 0]);
        assert_eq!(hex::encode(&*load), "80020000001f00000157800000000000000b40000009000000000270770000");
    }

    #[test]
    fn answers_cut_anywhere_make_no_sense() {
        let whole = hex::decode("8002000000150000000080000001000000020000").unwrap();
        let whole = [whole.as_slice(), &[0]].concat();
        let read = answer(Code::Load, &whole).unwrap().ok().unwrap();
        assert_eq!((read.handle, read.parameters.as_slice()), (0x8000_0001, [0, 0].as_slice()));
        for length in 0..whole.len() {
            assert!(answer(Code::Load, &whole[..length]).is_none(), "{length}");
        }
        let refused = hex::decode("80010000000a0000098e").unwrap();
        assert_eq!(answer(Code::Load, &refused).unwrap().err(), Some(0x98e));
        assert_eq!(answer_bytes(&refused), Some(10));
        assert_eq!(answer_bytes(&hex::decode("8001ffffffff00000000").unwrap()), None);
        assert_eq!(answer_bytes(&hex::decode("80010000000900000000").unwrap()), None);
    }
}
