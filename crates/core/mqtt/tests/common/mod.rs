//! Packets in a readable notation, and valid samples of every packet.

// Each test binary uses its part.
#![allow(dead_code, unreachable_pub)]

use portreeve_mqtt::{Packet, Sender, Version, Violation, decode, decode_connect, frame};

/// Bytes from a notation of tokens between spaces:
///
/// `30` or `0005` hexadecimal bytes; `'text'` its bytes; `s'text'` a length of two bytes and the text; `|` the
/// remaining length of all that follows; `{ … }` a property length and what it counts; `3*aa` a byte three times.
pub fn bytes(notation: &str) -> Vec<u8> {
    let mut tokens = notation.split_whitespace();
    let out = sequence(&mut tokens, false);
    assert!(tokens.next().is_none(), "unbalanced: {notation}");
    out
}

fn sequence<'a>(tokens: &mut impl Iterator<Item = &'a str>, inner: bool) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            "{" => out.extend(counted(sequence(tokens, true))),
            "}" if inner => return out,
            "|" => {
                out.extend(counted(sequence(tokens, inner)));
                return out;
            }
            _ => out.extend(plain(token)),
        }
    }
    out
}

fn plain(token: &str) -> Vec<u8> {
    if let Some((count, byte)) = token.split_once('*') {
        return plain(byte).repeat(count.parse().unwrap());
    }
    if let Some(text) = token.strip_prefix("s'").and_then(|text| text.strip_suffix('\'')) {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        return [&length, text.as_bytes()].concat();
    }
    if let Some(text) = token.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return text.as_bytes().to_vec();
    }
    assert!(token.len().is_multiple_of(2), "half a byte: {token}");
    (0..token.len()).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16).unwrap()).collect()
}

fn counted(bytes: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend(bytes);
    out
}

/// How a peer of this version and role is heard: its first packet by itself if it is a CONNECT.
pub fn hear(version: Version, from: Sender, packet: &[u8]) -> Result<Packet<'_>, Violation> {
    if packet.first().is_some_and(|first| first >> 4 == 1) {
        return decode_connect(packet).map(Packet::Connect);
    }
    decode(version, from, packet)
}

/// Frames and decodes the one packet that `buf` must be.
pub fn receive(version: Version, from: Sender, buf: &[u8]) -> Result<Packet<'_>, Violation> {
    let framed = frame(buf, u32::MAX)?;
    if framed.is_some_and(|bytes| bytes != buf.len()) {
        return Err(Violation::malformed("", "test: not one packet"));
    }
    hear(version, from, buf)
}

/// Valid packets: version, sender, notation.
pub const SAMPLES: &[(Version, Sender, &str)] = &[
    (V4, CLIENT, "10 | s'MQTT' 04 02 003c s'lamp-1'"),
    (V4, CLIENT, "10 | s'MQTT' 04 02 0000 s''"),
    (V4, CLIENT, "10 | s'MQTT' 04 f6 000a s'c' s'will' s'gone' s'user' 0003 00ff80"),
    (V4, CLIENT, "30 | s'a/b' 'payload'"),
    (V4, CLIENT, "31 | s'a'"),
    (V4, CLIENT, "3b | s'a' 0001 00"),
    (V4, CLIENT, "34 | s'a' ffff"),
    (V4, CLIENT, "40 | 0001"),
    (V4, CLIENT, "50 | 0001"),
    (V4, CLIENT, "62 | 0001"),
    (V4, CLIENT, "70 | 0001"),
    (V4, CLIENT, "82 | 0001 s'a/#' 02 s'b/+' 00 s'$share/g/c' 01"),
    (V4, CLIENT, "a2 | 0001 s'a/#' s'b'"),
    (V4, CLIENT, "c0 |"),
    (V4, CLIENT, "e0 |"),
    (V4, SERVER, "20 | 01 00"),
    (V4, SERVER, "20 | 00 05"),
    (V4, SERVER, "90 | 0001 00 01 02 80"),
    (V4, SERVER, "b0 | 0001"),
    (V4, SERVER, "d0 |"),
    (V4, SERVER, "30 | s'a' 200*55"),
    (V5, CLIENT, "10 | s'MQTT' 05 02 003c { } s'lamp-1'"),
    (V5, CLIENT, "10 | s'MQTT' 05 40 003c { } s'c' s'token'"),
    (
        V5,
        CLIENT,
        "10 | s'MQTT' 05 ee 003c { 11 ffffffff 21 000a 27 00010000 22 0005 19 01 17 00 26 s'k' s'v' 26 s'k' s'' \
         15 s'method' 16 s'data' } s'c' { 18 00000005 01 01 02 0000000a 03 s'text' 08 s'answer/to' 09 s'id' \
         26 s'w' s'1' } s'will' s'gone' s'user' s'secret'",
    ),
    (V5, CLIENT, "30 | s'a/b' { } 'payload'"),
    (V5, CLIENT, "3d | s'a' 0001 { 01 01 02 0000000a 03 s'text' 08 s'r' 09 s'id' 23 0001 26 s'k' s'v' } 'x'"),
    (V5, CLIENT, "30 | s'' { 23 000a } 'x'"),
    (V5, CLIENT, "32 | s'\u{feff}a/\u{2A6D4}/\u{fdd0}' 0001 { 26 s'b' s'2' 03 s'' 26 s'a' s'1' }"),
    (V5, CLIENT, "40 | 0001"),
    (V5, CLIENT, "40 | 0001 10"),
    (V5, CLIENT, "50 | 0001 87 { 1f s'no' 26 s'k' s'v' }"),
    (V5, CLIENT, "62 | 0001 92"),
    (V5, CLIENT, "70 | 0001 00 { }"),
    (V5, CLIENT, "82 | 0001 { 0b 01 26 s'k' s'v' } s'a' 2e s'$share/g/b' 11"),
    (V5, CLIENT, "82 | 0001 { 0b ffffff7f } s'a' 00"),
    (V5, CLIENT, "a2 | 0001 { 26 s'k' s'v' } s'a' s'b/+/#'"),
    (V5, CLIENT, "c0 |"),
    (V5, CLIENT, "e0 |"),
    (V5, CLIENT, "e0 | 04"),
    (V5, CLIENT, "e0 | 00 { 11 00000001 1f s'bye' 26 s'k' s'v' }"),
    (V5, CLIENT, "f0 | 18 { 15 s'm' 16 s'd' }"),
    (V5, CLIENT, "f0 | 19 { 15 s'm' 1f s'again' }"),
    (V5, SERVER, "20 | 00 00 { }"),
    (
        V5,
        SERVER,
        "20 | 01 00 { 11 00000001 21 0014 24 01 25 00 27 00010000 12 s'auto-1' 22 000a 1f s'hi' 26 s'k' s'v' \
         28 01 29 01 2a 01 13 003c 1a s'r' 1c s's' 15 s'm' 16 s'd' }",
    ),
    (V5, SERVER, "20 | 00 8c { }"),
    (V5, SERVER, "30 | s'a' { 0b 01 0b ffffff7f 02 00000001 } 'x'"),
    (V5, SERVER, "90 | 0001 { 1f s'no' } 00 01 02 87 8f"),
    (V5, SERVER, "b0 | 0001 { } 00 11"),
    (V5, SERVER, "d0 |"),
    (V5, SERVER, "e0 | 8e"),
    (V5, SERVER, "e0 | 9c { 1c s'other' 1f s'move' }"),
    (V5, SERVER, "f0 |"),
    (V5, SERVER, "f0 | 18 { 15 s'm' 16 s'd' }"),
];

pub const V4: Version = Version::V311;
pub const V5: Version = Version::V5;
pub const CLIENT: Sender = Sender::Client;
pub const SERVER: Sender = Sender::Server;

/// A seeded generator (SplitMix64), so that a failing run can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
