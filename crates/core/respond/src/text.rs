/// Longest note, reason, finding's text or extract's description, bytes.
pub const TEXT_BYTES_MAX: usize = 2_000;
/// Longest name of somebody who acts, bytes.
pub const WHO_BYTES_MAX: usize = 128;

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing is said.
    #[error("say something here")]
    Empty,
    /// There is more than is kept.
    #[error("at most {0} bytes are kept here")]
    Long(usize),
    /// It could write to a terminal, or fake a line.
    #[error("control characters are not allowed here")]
    Control,
}

/// A text of somebody, unless it is empty, too long or not plain. Notes may have several lines.
pub(crate) fn check(text: &str, bytes_max: usize) -> Result<&str, TextError> {
    if text.trim().is_empty() {
        return Err(TextError::Empty);
    }
    if text.len() > bytes_max {
        return Err(TextError::Long(bytes_max));
    }
    if is_plain(text) { Ok(text) } else { Err(TextError::Control) }
}

/// The name of somebody, or of a thing, of one line.
pub(crate) fn check_name(text: &str) -> Result<&str, TextError> {
    let text = check(text, WHO_BYTES_MAX)?;
    if text.contains('\n') { Err(TextError::Control) } else { Ok(text) }
}

/// What the hub itself says, which may hold what devices chose: cut to `bytes_max`, control characters as spaces.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= bytes_max;
    let plain = |(_, c): (usize, char)| if c.is_control() { ' ' } else { c };
    text.char_indices().take_while(fits).map(plain).collect()
}

/// Whether nothing in it writes to a terminal; lines may end.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && c != '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_plain_and_bounded() {
        assert_eq!(check("one\ntwo", 7), Ok("one\ntwo"));
        assert_eq!(check("one\ntwo", 6), Err(TextError::Long(6)));
        assert_eq!(check(" \n", 9), Err(TextError::Empty));
        assert_eq!(check("\u{1b}[2J", 9), Err(TextError::Control));
        assert_eq!(check_name("a\nb"), Err(TextError::Control));
    }

    #[test]
    fn what_devices_chose_is_cut_between_characters() {
        assert_eq!(clean("aä\u{7}b", 4), "aä ");
        assert_eq!(clean("aä", 2), "a");
    }
}
