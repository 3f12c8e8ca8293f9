use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Stands at the end of a text that was cut.
const CUT: char = '…';

/// Why a word was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid name: use 1 to 64 of a-z A-Z 0-9 . _ - and begin with a letter or digit")]
pub struct WordError {
    given: Line<80>,
}

/// The name of a kind of alert, of a channel, of a contact or of a number: 1..=64 of `a-z A-Z 0-9 . _ -`, beginning
/// with a letter or digit. It can stand in a header, in structured data and in a record's key as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Word(Arc<str>);

impl Word {
    /// Longest accepted word.
    pub const BYTES_MAX: usize = 64;

    /// The word as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let begins_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        let valid = text.len() <= Self::BYTES_MAX && begins_well && text.bytes().all(allowed);
        if valid { Ok(Self(text.into())) } else { Err(WordError { given: Line::new(text) }) }
    }
}

impl TryFrom<String> for Word {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        word.0.as_ref().to_owned()
    }
}

impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Text on one line, of at most `BYTES_MAX` bytes (at least 3): without control characters, and without those that
/// reorder what is written beside them. What is longer is cut and says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Line<const BYTES_MAX: usize>(Arc<str>);

impl<const BYTES_MAX: usize> Line<BYTES_MAX> {
    /// Makes a line of any text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut kept = String::with_capacity(text.len().min(BYTES_MAX));
        for c in text.chars().map(tame) {
            if kept.len() + c.len_utf8() > BYTES_MAX {
                while kept.len() + CUT.len_utf8() > BYTES_MAX && kept.pop().is_some() {}
                kept.push(CUT);
                break;
            }
            kept.push(c);
        }
        Self(kept.into())
    }

    /// The line as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn tame(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

impl<const BYTES_MAX: usize> From<String> for Line<BYTES_MAX> {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl<const BYTES_MAX: usize> From<Line<BYTES_MAX>> for String {
    fn from(line: Line<BYTES_MAX>) -> Self {
        line.0.as_ref().to_owned()
    }
}

impl<const BYTES_MAX: usize> fmt::Display for Line<BYTES_MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_plain() {
        for good in ["a", "7", "auth.five-failures_2", &"x".repeat(64)] {
            assert_eq!(good.parse::<Word>().map(|word| word.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", ".a", "-", "a b", "a\n", "ä", "a/b", "a\"", &"x".repeat(65)] {
            assert!(bad.parse::<Word>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_line_is_one_line_of_bounded_length() {
        assert_eq!(Line::<64>::new("a\r\nb\tc\u{1b}[0m\u{202e}d\0").as_str(), "a  b c\u{fffd}[0m\u{fffd}d\u{fffd}");
        assert_eq!(Line::<8>::new("12345678").as_str(), "12345678");
        assert_eq!(Line::<8>::new("123456789").as_str(), "12345…");
        assert_eq!(Line::<8>::new("ääääää").as_str(), "ää…");
        assert!(Line::<2048>::new(&"\u{1f512}".repeat(16_384)).as_str().len() <= 2048);
        // What was kept once stays as it is.
        let once = Line::<8>::new("ä\nö\u{7}ü123");
        assert_eq!(Line::<8>::new(once.as_str()), once);
    }
}
