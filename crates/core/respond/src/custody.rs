use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

/// Most lines of one case's custody log.
pub const CUSTODY_LINES_MAX: usize = 1_024;
/// Lines that readings leave to exports, hand-overs and changes of state, so that nobody can use up a case by looking at it.
pub const CUSTODY_LINES_RESERVED: usize = 128;
/// Who reads what he read last, with nobody else in between, needs no further line for so long, milliseconds.
pub const READ_AGAIN_MS: u64 = 300_000;

/// A SHA-256; 64 hexadecimal digits in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl From<Sha256> for String {
    fn from(hash: Sha256) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Sha256 {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash).map_err(|_| "not a SHA-256 in hexadecimal digits")?;
        Ok(Self(hash))
    }
}

/// What was done with a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// The hub opened it.
    Opened,
    /// Somebody took it on.
    Acknowledged,
    /// Somebody read it.
    Read,
    /// Somebody took its evidence out.
    Exported,
    /// Somebody gave evidence to somebody else.
    HandedOver,
    /// Somebody closed it.
    Closed,
    /// Somebody opened it again.
    Reopened,
}

/// One line of a custody log: who did what with which bytes, and the hash of this and all lines before (CSA-IMT-02).
///
/// Its text is JSON with the fields in this order and without spaces. `hash` is SHA-256 over the `hash` of the line before, as
/// hexadecimal digits, a line feed, and the text of this line without `,"hash":"…"`. The first line's predecessor is the
/// SHA-256 of `portreeve case `, the case's number in decimal digits, a space, and the milliseconds at which it was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodyLine {
    /// From 1.
    pub line: u64,
    /// When.
    pub when: UnixMillis,
    /// Who.
    pub who: String,
    /// What.
    pub what: Use,
    /// The reason, or to whom it was handed over.
    pub text: String,
    /// Of what was read, exported or handed over.
    pub sha256: Option<Sha256>,
    /// Over the line before and this one.
    pub hash: Sha256,
}

/// What is hashed: a line without its hash.
#[derive(Serialize)]
struct Content<'a> {
    line: u64,
    when: UnixMillis,
    who: &'a str,
    what: Use,
    text: &'a str,
    sha256: Option<Sha256>,
}

impl CustodyLine {
    /// What follows from the line before and this one's content.
    fn expected_hash(&self, before: Sha256) -> Sha256 {
        let Self { line, when, who, what, text, sha256, hash: _ } = self;
        let content = Content { line: *line, when: *when, who, what: *what, text, sha256: *sha256 };
        // Plain values always have a JSON form.
        let content = serde_json::to_string(&content).unwrap_or_default();
        Sha256::of(format!("{before}\n{content}").as_bytes())
    }

    /// The line as it is stored, exported and hashed.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line; only the one form that [`Self::to_text`] gives.
    fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|line: &Self| line.to_text().as_bytes() == text)
    }
}

/// Where a custody log is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustodyProblem {
    /// What stands there is no line.
    #[error("line {0} of the custody log cannot be read")]
    Unreadable(usize),
    /// It was changed, or one before it was changed, removed or added.
    #[error("line {0} of the custody log does not follow from those before it")]
    Broken(usize),
    /// There are more than there can be.
    #[error("the custody log has more than {CUSTODY_LINES_MAX} lines")]
    TooLong,
}

/// Who had a case's evidence in hand: a chain of hashes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    genesis: Sha256,
    lines: Vec<CustodyLine>,
}

/// What is added to a custody log.
pub(crate) struct Handling<'a> {
    pub(crate) when: UnixMillis,
    pub(crate) who: &'a str,
    pub(crate) what: Use,
    pub(crate) text: &'a str,
    pub(crate) sha256: Option<Sha256>,
}

impl Custody {
    pub(crate) fn new(case: u64, opened: UnixMillis) -> Self {
        Self { genesis: Sha256::of(format!("portreeve case {case} {}", opened.0).as_bytes()), lines: Vec::new() }
    }

    /// Takes up lines that were stored or exported, and follows the chain.
    pub(crate) fn verify<'a>(
        case: u64,
        opened: UnixMillis,
        lines: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, CustodyProblem> {
        let mut custody = Self::new(case, opened);
        for (before, text) in lines.into_iter().enumerate() {
            if before >= CUSTODY_LINES_MAX {
                return Err(CustodyProblem::TooLong);
            }
            let line = CustodyLine::read(text).ok_or(CustodyProblem::Unreadable(before + 1))?;
            let is_next = line.line == before as u64 + 1 && line.hash == line.expected_hash(custody.head());
            if !is_next {
                return Err(CustodyProblem::Broken(before + 1));
            }
            custody.lines.push(line);
        }
        Ok(custody)
    }

    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> &[CustodyLine] {
        &self.lines
    }

    /// The hash over all lines: what a ledger keeps to show later that none was removed at the end.
    #[must_use]
    pub fn head(&self) -> Sha256 {
        self.lines.last().map_or(self.genesis, |line| line.hash)
    }

    /// Whether there is room for `lines` more.
    pub(crate) fn has_room(&self, lines: usize) -> bool {
        self.lines.len() + lines <= CUSTODY_LINES_MAX
    }

    /// Adds a line and returns it. The caller saw to the room.
    pub(crate) fn add(&mut self, handling: &Handling<'_>) -> CustodyLine {
        let before = self.head();
        let mut line = CustodyLine {
            line: self.lines.len() as u64 + 1,
            when: handling.when,
            who: handling.who.to_owned(),
            what: handling.what,
            text: handling.text.to_owned(),
            sha256: handling.sha256,
            hash: before,
        };
        line.hash = line.expected_hash(before);
        self.lines.push(line.clone());
        line
    }

    /// JSON, one line each.
    pub(crate) fn to_jsonl(&self) -> String {
        self.lines.iter().map(|line| line.to_text() + "\n").collect()
    }
}
