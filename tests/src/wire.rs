//! Packets in a readable notation.

use std::{iter::Peekable, str::Chars};

/// Bytes from tokens:
///
/// `30` or `0005` hexadecimal bytes; `'text'` its bytes; `s'text'` a length of two bytes and the text; `|` the
/// remaining length of what follows up to `;` or the end; `;` the end of a packet whose length `|` began; `( … )` a
/// property length and what it counts; `3*aa` a byte three times.
///
/// # Panics
/// If the notation is wrong.
#[must_use]
pub fn bytes(notation: &str) -> Vec<u8> {
    let mut chars = notation.chars().peekable();
    let mut out = Vec::new();
    loop {
        out.extend(sequence(&mut chars));
        match chars.next() {
            Some(';') => {}
            None => return out,
            Some(other) => panic!("unexpected `{other}` in {notation}"),
        }
    }
}

/// What stands before `)`, `;` or the end, which are left.
fn sequence(chars: &mut Peekable<Chars<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(&next) = chars.peek() {
        match next {
            ')' | ';' => return out,
            ' ' | '\n' => drop(chars.next()),
            '(' => {
                chars.next();
                out.extend(counted(&sequence(chars)));
                assert_eq!(chars.next(), Some(')'), "an open parenthesis");
            }
            '|' => {
                chars.next();
                out.extend(counted(&sequence(chars)));
            }
            's' => {
                chars.next();
                let text = quoted(chars);
                out.extend(u16::try_from(text.len()).expect("a text of up to 65535 bytes").to_be_bytes());
                out.extend(text.as_bytes());
            }
            '\'' => out.extend(quoted(chars).as_bytes()),
            _ => out.extend(hexadecimal(chars)),
        }
    }
    out
}

fn quoted(chars: &mut Peekable<Chars<'_>>) -> String {
    assert_eq!(chars.next(), Some('\''), "a quote");
    chars.by_ref().take_while(|&c| c != '\'').collect()
}

fn hexadecimal(chars: &mut Peekable<Chars<'_>>) -> Vec<u8> {
    let mut token = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_hexdigit() || *c == '*') {
        token.push(c);
    }
    assert!(!token.is_empty(), "no token starts with {:?}", chars.peek());
    if let Some((count, byte)) = token.split_once('*') {
        return from_hex(byte).repeat(count.parse().expect("a count"));
    }
    from_hex(&token)
}

fn from_hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "half a byte: {digits}");
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// The bytes behind their count, as a variable byte integer (§1.5.5).
#[must_use]
pub fn counted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut left = bytes.len();
    loop {
        let digit = u8::try_from(left % 128).expect("less than 128");
        left /= 128;
        out.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    out.extend(bytes);
    out
}

/// Takes the first whole packet off `buffer`.
///
/// # Panics
/// If the length is not a variable byte integer.
pub fn take_packet(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut length = 0_usize;
    for at in 0..4 {
        let byte = *buffer.get(1 + at)?;
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let end = 2 + at + length;
            return (buffer.len() >= end).then(|| buffer.drain(..end).collect());
        }
    }
    panic!("a remaining length of more than four bytes: {}", hex(buffer));
}

/// Bytes as they are shown in a failed test.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_means_what_it_says() {
        assert_eq!(bytes("c0 | ; e0 00"), [0xc0, 0, 0xe0, 0]);
        assert_eq!(bytes("82 | 0001 ( 0b 01 ) s'a b' 01"), [0x82, 11, 0, 1, 2, 0x0b, 1, 0, 3, b'a', b' ', b'b', 1]);
        assert_eq!(bytes("30 | s'a' 200*55")[..3], [0x30, 0xcb, 0x01]);
        let mut buffer = bytes("c0 | ; 40 | 0001 ; 30");
        assert_eq!(take_packet(&mut buffer), Some(vec![0xc0, 0]));
        assert_eq!(take_packet(&mut buffer), Some(vec![0x40, 2, 0, 1]));
        assert_eq!(take_packet(&mut buffer), None);
    }
}
