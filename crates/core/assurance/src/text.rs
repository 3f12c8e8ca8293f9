use std::borrow::Cow;

/// Longest line of what was seen or expected, of a reason or of a name, bytes.
pub const LINE_BYTES_MAX: usize = 1_000;
/// What stands at the end of a line that was cut.
const CUT: char = '…';

/// A line that may hold what a target chose: cut to [`LINE_BYTES_MAX`], what does not print as spaces.
pub(crate) fn line(text: &str) -> String {
    let plain = |c: char| if is_printed(c) { c } else { ' ' };
    if text.len() <= LINE_BYTES_MAX {
        return text.chars().map(plain).collect();
    }
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() + CUT.len_utf8() <= LINE_BYTES_MAX;
    text.char_indices().take_while(fits).map(|(_, c)| plain(c)).chain([CUT]).collect()
}

/// Whether a text stands in one line as it is: nothing in it ends the line, hides, or turns the direction of writing.
#[must_use]
pub fn is_one_line(text: &str) -> bool {
    text.chars().all(is_printed)
}

/// Whether a character shows itself and leaves its neighbours where they are. The format characters that hide, or turn the
/// direction of writing, do not (Unicode Technical Report 36, section 2.5).
fn is_printed(c: char) -> bool {
    let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !hides
}

/// Text in HTML or XML, in an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) && text.chars().all(is_printed) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_printed(c) => out.push(c),
            // XML 1.0 has no form at all for most of them.
            _ => out.push(' '),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_bounded_and_printable() {
        assert_eq!(line("a\u{1b}[2J\nb\u{202e}c"), "a [2J b c");
        assert!(is_one_line("ä, b") && !is_one_line("a\nb") && !is_one_line("a\u{202e}b"));
        let long = line(&"ä".repeat(LINE_BYTES_MAX));
        assert!(long.len() <= LINE_BYTES_MAX && long.ends_with("ä…"));
        assert_eq!(line(&"a".repeat(LINE_BYTES_MAX)).len(), LINE_BYTES_MAX);
    }

    #[test]
    fn markup_of_others_is_text() {
        assert_eq!(escape("<a b='\"&\u{0}"), "&lt;a b=&#39;&quot;&amp; ");
        assert!(matches!(escape("plain"), Cow::Borrowed("plain")));
    }
}
