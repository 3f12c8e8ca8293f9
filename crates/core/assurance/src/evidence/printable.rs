/// Longest line that a target's words make in evidence, characters.
pub const LINE_CHARS_MAX: usize = 300;

/// What a target sent, as one line of at most [`LINE_CHARS_MAX`] characters that no terminal obeys: whatever is not printable
/// ASCII is escaped, and so is the backslash that escapes.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    // Quotes stand as they are: rules look for words in them.
    let escaped = |byte: &u8| match byte {
        b'\'' | b'"' => char::from(*byte).to_string(),
        byte => byte.escape_ascii().to_string(),
    };
    let mut line: String = bytes.iter().take(LINE_CHARS_MAX + 1).map(escaped).collect();
    if line.len() > LINE_CHARS_MAX {
        line.truncate(LINE_CHARS_MAX - 3);
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_targets_are_short_and_plain() {
        assert_eq!(printable(b"Mosquitto\r\n\x1b[2J\xff"), "Mosquitto\\r\\n\\x1b[2J\\xff");
        assert_eq!(printable(br#"'self' "a\b""#), r#"'self' "a\\b""#);
        assert_eq!(printable(&[0xff; 10_000]).len(), LINE_CHARS_MAX);
        assert_eq!(printable(&[b'a'; LINE_CHARS_MAX]).len(), LINE_CHARS_MAX);
        assert!(printable(&[b'a'; LINE_CHARS_MAX + 1]).ends_with("a..."));
    }
}
