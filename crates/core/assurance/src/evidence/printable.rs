/// Longest line that a target's words make in evidence, characters.
pub const LINE_CHARS_MAX: usize = 300;

/// What a target sent, as one line of at most [`LINE_CHARS_MAX`] characters that no terminal obeys: whatever is not printable
/// ASCII is escaped.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let mut line: String = bytes.escape_ascii().map(char::from).take(LINE_CHARS_MAX + 1).collect();
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
        assert_eq!(printable(&[0xff; 10_000]).len(), LINE_CHARS_MAX);
        assert_eq!(printable(&[b'a'; LINE_CHARS_MAX]).len(), LINE_CHARS_MAX);
        assert!(printable(&[b'a'; LINE_CHARS_MAX + 1]).ends_with("a..."));
    }
}
