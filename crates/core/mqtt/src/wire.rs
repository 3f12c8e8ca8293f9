//! The data types of §1.5: integers, text, binary data, the variable byte integer.

use crate::{Reason, Violation};

/// The largest value of a variable byte integer, and so the longest remaining length, §1.5.5.
pub(crate) const VARINT_MAX: usize = 268_435_455;

const TRUNCATED: Violation = Violation::malformed("", "the packet ends inside a field");

/// Takes fields off the front of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        self.chunk().map(|[byte]: [u8; 1]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Violation> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u32, Violation> {
        let (value, used) = varint(self.0)?.ok_or(TRUNCATED)?;
        self.0 = &self.0[used..];
        Ok(value)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }

    /// §1.5.6
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let bytes = self.u16()?;
        self.take(usize::from(bytes))
    }

    /// §1.5.4
    pub(crate) fn text(&mut self) -> Result<&'a str, Violation> {
        self.binary().and_then(text)
    }

    /// §2.2.2.1: a property length and the block it counts.
    pub(crate) fn property_block(&mut self) -> Result<&'a [u8], Violation> {
        let bytes = self.varint()?;
        // A u32 fits: there is no smaller usize on the platforms this runs on, and `take` bounds it anyway.
        self.take(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may follow a packet's content.
    pub(crate) fn finish(self) -> Result<(), Violation> {
        if self.is_empty() { Ok(()) } else { Err(Violation::malformed("", "bytes follow the content of the packet")) }
    }
}

/// §1.5.5: the value and how many bytes encode it; `None` if more bytes are needed.
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Violation> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte >= 0x80 {
            continue;
        }
        // The shortest encoding is the only one: a last byte of zero adds nothing.
        if byte == 0 && at > 0 {
            return Err(Violation::malformed("MQTT-1.5.5-1", "a length is not encoded in the fewest bytes"));
        }
        return Ok(Some((value, at + 1)));
    }
    if bytes.len() < 4 {
        return Ok(None);
    }
    Err(Violation::malformed("", "a length is encoded in more than four bytes"))
}

/// How many bytes [`put_varint`] writes.
pub(crate) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// §1.5.5: the fewest bytes. The value must be at most [`VARINT_MAX`].
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        // The mask leaves seven bits.
        #[allow(clippy::cast_possible_truncation)]
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)]
    out.push(value as u8);
}

/// Eight equal bytes.
const fn lanes(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Not zero exactly if a byte of the word is less than `bound`, which is at most 0x80.
const fn any_below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(lanes(bound)) & !word & lanes(0x80)
}

/// Whether eight bytes hold none of: a control character of ASCII, `+`, `#`, a byte beyond ASCII.
const fn is_plain(word: u64) -> bool {
    let beyond_ascii = word & lanes(0x80);
    let control = any_below(word, 0x20) | any_below(word ^ lanes(0x7f), 1);
    // `+` and `#` differ in one bit.
    let wildcard = any_below((word | lanes(b'+' ^ b'#')) ^ lanes(b'+'), 1);
    beyond_ascii | control | wildcard == 0
}

/// Whether text needs no second look: nearly every topic is plain. Eight bytes at a time, the last eight again if
/// there is a remainder.
fn all_plain(bytes: &[u8]) -> bool {
    let (words, _) = bytes.as_chunks::<8>();
    let Some(last) = bytes.last_chunk::<8>() else {
        let mut word = [b'a'; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        return is_plain(u64::from_ne_bytes(word));
    };
    words.iter().chain([last]).all(|word| is_plain(u64::from_ne_bytes(*word)))
}

fn check_characters(text: &str) -> Result<(), Violation> {
    // [MQTT-1.5.4-2]
    if text.contains('\0') {
        return Err(Violation::malformed("MQTT-1.5.4-2", "text holds U+0000"));
    }
    // §1.5.4 leaves it to the receiver whether text with U+0001..U+001F or U+007F..U+009F is malformed. Here it is:
    // no terminal, log line or file name downstream has to defend itself against control characters.
    if text.contains(char::is_control) {
        return Err(Violation::malformed("", "text holds a control character"));
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<&str, Violation> {
    // [MQTT-1.5.4-1] covers the surrogates, which are not UTF-8. U+FEFF stays where it is [MQTT-1.5.4-3].
    std::str::from_utf8(bytes).map_err(|_| Violation::malformed("MQTT-1.5.4-1", "text is not UTF-8"))
}

/// §1.5.4
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Violation> {
    let text = utf8(bytes)?;
    if !all_plain(bytes) {
        check_characters(text)?;
    }
    Ok(text)
}

/// §4.7: text without wildcards. It may be empty: whether it may be here is the packet's rule.
pub(crate) fn topic(bytes: &[u8], wildcard: Violation) -> Result<&str, Violation> {
    let topic = utf8(bytes)?;
    if all_plain(bytes) {
        return Ok(topic);
    }
    check_characters(topic)?;
    if topic.contains(['+', '#']) { Err(wildcard) } else { Ok(topic) }
}

/// The packet is larger than this side said it accepts.
pub(crate) const TOO_LARGE: Violation =
    Violation::new(Reason::PACKET_TOO_LARGE, "MQTT-3.2.2-15", "the packet is larger than the receiver's maximum");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_told_from_not_plain_at_every_place_of_every_length() {
        let is_plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_control() && byte != b'+' && byte != b'#';
        for length in 0..=25 {
            let mut text = vec![b'/'; length];
            assert!(all_plain(&text), "{length}");
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    text[at] = byte;
                    assert_eq!(all_plain(&text), is_plain(byte), "{byte:02x} at {at} of {length}");
                }
                text[at] = b'/';
            }
        }
    }

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, VARINT_MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(varint(&out), Ok(Some((u32::try_from(value).unwrap(), out.len()))));
        }
    }
}
