//! What a device says behind a handshake, and what it would have given away. The words themselves are not kept.

use portreeve_assurance::evidence::rogue::{Said, Spoken};

use crate::wire::{Malformed, Reader};

/// Header lines that are looked at.
const HEADERS_MAX: usize = 64;
/// Header fields that carry credentials (RFC 9110 section 11, RFC 6265), and one that many devices have.
const SECRET_FIELDS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
const USERNAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;

/// What to answer, so that the device goes on; and what it said.
#[must_use]
pub fn read(bytes: &[u8]) -> (Said, &'static [u8]) {
    if let Ok((level, flags)) = connect(bytes) {
        let said = Said { protocol: Spoken::Mqtt, credentials: flags & (USERNAME | PASSWORD) != 0 };
        // CONNACK: accepted.
        return (said, if level == 5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] });
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(bytes).is_ok() && request.version.is_some() {
        let is_secret =
            |header: &httparse::Header<'_>| SECRET_FIELDS.iter().any(|field| header.name.eq_ignore_ascii_case(field));
        let said = Said { protocol: Spoken::Http, credentials: request.headers.iter().any(is_secret) };
        return (said, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    (Said { protocol: Spoken::Other, credentials: false }, b"")
}

/// Protocol level and flags of a CONNECT (MQTT 3.1.1 and 5.0, section 3.1).
fn connect(bytes: &[u8]) -> Result<(u8, u8), Malformed> {
    const OTHER: Malformed = Malformed("no CONNECT");
    let mut rest = Reader(bytes);
    if rest.u8()? != 0x10 {
        return Err(OTHER);
    }
    // The length: seven bits a byte, four bytes at most.
    let mut ends = 0;
    while rest.u8()? & 0x80 != 0 {
        ends += 1;
        if ends == 4 {
            return Err(OTHER);
        }
    }
    match rest.field16()? {
        b"MQTT" | b"MQIsdp" => Ok((rest.u8()?, rest.u8()?)),
        _ => Err(OTHER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_are_told_apart_and_their_secrets_are_only_counted() {
        let cases: [(&[u8], Spoken, bool); 8] = [
            (b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05probe", Spoken::Mqtt, false),
            (b"\x10\x1c\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x01a\x00\x04user\x00\x06secret", Spoken::Mqtt, true),
            (b"\x10\x0c\x00\x06MQIsdp\x03\x42", Spoken::Mqtt, true),
            (b"\x10\xff\xff\xff\xff\x7f\x00\x04MQTT\x04\x02", Spoken::Other, false),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Spoken::Http, false),
            (b"GET / HTTP/1.1\r\nauthorization: Basic eA==\r\n\r\n", Spoken::Http, true),
            (b"POST /x HTTP/1.1\r\nCookie: a=b\r\nContent-Le", Spoken::Http, true),
            (b"hello", Spoken::Other, false),
        ];
        for (bytes, protocol, credentials) in cases {
            assert_eq!(read(bytes).0, Said { protocol, credentials }, "{}", bytes.escape_ascii());
            // Half of it is at most as much.
            assert!((0..bytes.len()).all(|length| !read(&bytes[..length]).0.credentials || credentials));
        }
        assert_eq!(read(b"\x10\x1c\x00\x04MQTT\x05\xc2").1.len(), 5);
    }
}
