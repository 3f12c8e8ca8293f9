//! Replies of a mail server.

/// Longest reply, bytes: a line has at most 512 (RFC 5321 §4.5.3.1.5), and no server needs more lines than these.
pub const REPLY_BYTES_MAX: usize = 16 * 1024;

/// A whole reply (RFC 5321 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// What stands behind the code in each line; never empty.
    pub lines: Vec<String>,
}

impl Reply {
    /// What a keyword of the answer to EHLO is followed by, if it is there.
    #[must_use]
    pub fn capability(&self, keyword: &str) -> Option<&str> {
        // The first line greets.
        self.lines.iter().skip(1).find_map(|line| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            word.eq_ignore_ascii_case(keyword).then_some(rest)
        })
    }
}

/// What no mail server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak SMTP")]
pub struct NotSmtp;

/// Reads a reply from the start of what arrived: the reply and its length, or nothing while its end is missing.
///
/// # Errors
/// [`NotSmtp`]: no code, several codes, more than [`REPLY_BYTES_MAX`].
pub fn read_reply(arrived: &[u8]) -> Result<Option<(Reply, usize)>, NotSmtp> {
    let (mut lines, mut code, mut used) = (Vec::new(), None, 0);
    while let Some(end) = arrived[used..].iter().position(|byte| *byte == b'\n') {
        let line = &arrived[used..used + end];
        used += end + 1;
        if used > REPLY_BYTES_MAX {
            return Err(NotSmtp);
        }
        let (line_code, is_last, text) = read_line(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(NotSmtp)?;
        if *code.get_or_insert(line_code) != line_code {
            return Err(NotSmtp);
        }
        lines.push(String::from_utf8_lossy(text).into_owned());
        if is_last {
            return Ok(Some((Reply { code: line_code, lines }, used)));
        }
    }
    if arrived.len() > REPLY_BYTES_MAX { Err(NotSmtp) } else { Ok(None) }
}

/// Code, whether it is the last line, and the text behind.
fn read_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (is_last, text) = match rest.split_first() {
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return None,
    };
    (200..600).contains(&code).then_some((code, is_last, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_with_its_last_line() {
        let whole = b"250-mail.example.org greets you\r\n250-STARTTLS\r\n250-AUTH LOGIN plain\r\n250 8BITMIME\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read_reply(&whole[..cut]), Ok(None), "{cut}");
        }
        let followed = [whole.as_slice(), b"220 more"].concat();
        let (reply, used) = read_reply(&followed).unwrap().unwrap();
        assert_eq!((reply.code, used, reply.lines.len()), (250, whole.len(), 4));
        assert_eq!(reply.capability("auth"), Some("LOGIN plain"));
        assert_eq!(reply.capability("STARTTLS"), Some(""));
        assert_eq!(reply.capability("mail.example.org"), None);
        assert_eq!(read_reply(b"220\n").unwrap().unwrap().0.lines, [""]);
    }

    #[test]
    fn what_no_mail_server_says_is_refused() {
        for bad in [
            b"HTTP/1.1 400\r\n".as_slice(),
            b"25\r\n",
            b"2500 x\r\n",
            b"250-a\r\n251 b\r\n",
            b"199 x\r\n",
            b"600 x\r\n",
            b"\r\n",
            b"+OK\r\n",
        ] {
            assert_eq!(read_reply(bad), Err(NotSmtp), "{bad:?}");
        }
        assert_eq!(read_reply(&b"250-x\r\n".repeat(3000)), Err(NotSmtp));
        assert_eq!(read_reply(&[b'2'; REPLY_BYTES_MAX + 1]), Err(NotSmtp));
        assert_eq!(read_reply(&[b'2'; REPLY_BYTES_MAX]), Ok(None));
    }
}
