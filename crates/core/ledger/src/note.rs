//! Signed notes: a text for people and, below it, lines that say who signed it.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Most bytes of a note that is read.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// Most signatures of a note that is read. The specification asks for 16 at least.
const SIGNATURES_MAX: usize = 64;
const PUBLIC_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
/// What begins a line of a signature.
const DASH: &str = "\u{2014} ";

/// What a signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// That this is the text (signed-note, type 1).
    Ed25519,
    /// That at a stated time this continued all that its signer had seen of this ledger (tlog-cosignature, type 4).
    Cosignature,
}

impl SignatureKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// Whom to believe: a name and an Ed25519 key; in text `<name>+<id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    kind: SignatureKind,
    public: [u8; PUBLIC_BYTES],
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `<name>+<id>+<base64>`.
    #[error("not a verifier key: <name>+<8 hexadecimal digits>+<base64>")]
    Malformed,
    /// A name that is empty, or holds spaces, a plus or control characters.
    #[error("the name of a key has no spaces, no plus and no control characters")]
    Name,
    /// A key of a kind that is not Ed25519.
    #[error("not an Ed25519 key")]
    Kind,
    /// The id is not that of name and key: one of the three was changed.
    #[error("the id is not that of this name and key")]
    Id,
}

impl VerifierKey {
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str, kind: SignatureKind, public: [u8; PUBLIC_BYTES]) -> Result<Self, KeyError> {
        let is_good = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if name.is_empty() || !name.chars().all(is_good) {
            return Err(KeyError::Name);
        }
        Ok(Self { name: name.to_owned(), kind, public })
    }

    /// What its owner is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures say.
    #[must_use]
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// Its Ed25519 key.
    #[must_use]
    pub fn public(&self) -> [u8; PUBLIC_BYTES] {
        self.public
    }

    /// The four bytes that, with the name, tell which key signed.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let bytes = [self.name.as_bytes(), b"\n", &[self.kind.byte()], &self.public].concat();
        let mut id = [0; 4];
        id.copy_from_slice(&digest(&SHA256, &bytes).as_ref()[..4]);
        id
    }

    /// What its owner has to sign with Ed25519. `seconds`, of the Unix epoch, are for cosignatures alone.
    #[must_use]
    pub fn message(&self, text: &str, seconds: u64) -> Vec<u8> {
        match self.kind {
            SignatureKind::Ed25519 => text.as_bytes().to_vec(),
            SignatureKind::Cosignature => format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes(),
        }
    }

    /// The line that goes below the text, with the signature of [`Self::message`].
    #[must_use]
    pub fn line(&self, seconds: u64, signature: &[u8; SIGNATURE_BYTES]) -> String {
        let mut bytes = self.id().to_vec();
        if self.kind == SignatureKind::Cosignature {
            bytes.extend(seconds.to_be_bytes());
        }
        bytes.extend(signature);
        format!("{DASH}{} {}\n", self.name, STANDARD.encode(bytes))
    }

    /// The time of a signature that is this key's, and right.
    fn verify(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (seconds, signature) = match self.kind {
            SignatureKind::Ed25519 => (0, signature),
            SignatureKind::Cosignature => {
                let (seconds, signature) = signature.split_first_chunk()?;
                (u64::from_be_bytes(*seconds), signature)
            }
        };
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        key.verify(&self.message(text, seconds), signature).ok().map(|()| seconds)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[self.kind.byte()], &self.public[..]].concat());
        write!(f, "{}+{:08x}+{key}", self.name, u32::from_be_bytes(self.id()))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
        let (_, key) = rest.split_once('+').ok_or(KeyError::Malformed)?;
        let key = STANDARD.decode(key).map_err(|_| KeyError::Malformed)?;
        let (&kind, public) = key.split_first().ok_or(KeyError::Malformed)?;
        let kind = [SignatureKind::Ed25519, SignatureKind::Cosignature].into_iter().find(|known| known.byte() == kind);
        let public = public.try_into().map_err(|_| KeyError::Kind)?;
        let parsed = Self::new(name, kind.ok_or(KeyError::Kind)?, public)?;
        // Its id is checked, and that there is one form of each key.
        if parsed.to_string() == text { Ok(parsed) } else { Err(KeyError::Id) }
    }
}

/// Why a note is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is larger than is read.
    #[error("a note has at most {NOTE_BYTES_MAX} bytes and {SIGNATURES_MAX} signatures")]
    TooLarge,
    /// It is none.
    #[error("not a signed note")]
    Malformed,
    /// There is a signature of this key, and it is wrong.
    #[error("the signature of {0} is wrong")]
    BadSignature(String),
    /// There is no signature of this key.
    #[error("there is no signature of {0}")]
    Unsigned(String),
}

/// A note as it was read. Nothing of it is to be believed before [`Note::signed_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    text: &'a str,
    /// Name, key id and signature of each line.
    signatures: Vec<(&'a str, [u8; 4], Vec<u8>)>,
}

impl<'a> Note<'a> {
    /// # Errors
    /// [`NoteError::TooLarge`], [`NoteError::Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::Malformed)?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed);
        }
        // The last empty line; what is before it keeps its own newline.
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, below) = note.split_at(at + 1);
        let lines = below.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n')).ok_or(NoteError::Malformed)?;
        if lines.split('\n').count() > SIGNATURES_MAX {
            return Err(NoteError::TooLarge);
        }
        let signatures = lines.split('\n').map(signature_line).collect::<Option<_>>();
        Ok(Self { text, signatures: signatures.ok_or(NoteError::Malformed)? })
    }

    /// The text, if this key signed it, and when (0 for what is not a cosignature).
    ///
    /// # Errors
    /// [`NoteError::BadSignature`], [`NoteError::Unsigned`].
    pub fn signed_by(&self, key: &VerifierKey) -> Result<(&'a str, u64), NoteError> {
        let mut found = None;
        for (name, id, signature) in &self.signatures {
            if *name != key.name || *id != key.id() {
                continue;
            }
            let seconds = key.verify(self.text, signature);
            found = Some(seconds.ok_or_else(|| NoteError::BadSignature(key.name.clone()))?);
        }
        let seconds = found.ok_or_else(|| NoteError::Unsigned(key.name.clone()))?;
        Ok((self.text, seconds))
    }
}

fn signature_line(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
    let is_good = |c: char| !c.is_whitespace() && c != '+';
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, signature) = bytes.split_first_chunk()?;
    (!name.is_empty() && name.chars().all(is_good)).then(|| (name, *id, signature.to_vec()))
}
