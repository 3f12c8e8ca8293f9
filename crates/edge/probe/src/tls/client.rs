//! What a client says in clear: ClientHello, and its answer to a handshake made by hand.

use super::{
    hello::extension,
    records::{Alert, MESSAGE_BYTES_MAX},
};
use crate::wire::{Malformed, Reader};

/// Longest record in clear (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Extensions of one hello that are read.
const EXTENSIONS_MAX: usize = 64;
/// Numbers of one list that are read: suites, groups, signature schemes, versions.
pub const CODES_MAX: usize = 512;
/// Application protocols that are read.
pub const PROTOCOLS_MAX: usize = 32;
const ALPN: u16 = 16;

/// A ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The version where TLS 1.2 and older look for it.
    pub legacy_version: u16,
    /// Its random.
    pub random: [u8; 32],
    /// Suites, in order.
    pub suites: Vec<u16>,
    /// What supported_versions lists, in order.
    pub versions: Vec<u16>,
    /// Groups, in order.
    pub groups: Vec<u16>,
    /// Signature schemes, in order.
    pub signatures: Vec<u16>,
    /// The name of SNI, as it came.
    pub server_name: Option<Vec<u8>>,
    /// Application protocols, as they came.
    pub protocols: Vec<Vec<u8>>,
    /// Types of its extensions, in order.
    pub extensions: Vec<u16>,
}

impl ClientHello {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader(body);
        let (legacy_version, random) = (body.u16()?, body.chunk()?);
        if body.field8()?.len() > 32 {
            return Err(Malformed("a session id of more than 32 bytes"));
        }
        let suites = u16s(body.field16()?)?;
        if body.field8()?.is_empty() {
            return Err(Malformed("no compression method"));
        }
        let mut hello = Self { legacy_version, random, suites, ..Self::default() };
        if !body.is_empty() {
            hello.take_extensions(body.field16()?)?;
        }
        if !body.is_empty() {
            return Err(Malformed("bytes behind the end of a ClientHello"));
        }
        Ok(hello)
    }

    fn take_extensions(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut list = Reader(bytes);
        while !list.is_empty() {
            let (kind, data) = (list.u16()?, list.field16()?);
            if self.extensions.contains(&kind) || self.extensions.len() == EXTENSIONS_MAX {
                return Err(Malformed("an extension twice, or too many"));
            }
            self.extensions.push(kind);
            let mut data = Reader(data);
            match kind {
                extension::SERVER_NAME => self.server_name = server_name(data.field16()?)?,
                extension::SUPPORTED_GROUPS => self.groups = u16s(data.field16()?)?,
                extension::SIGNATURE_ALGORITHMS => self.signatures = u16s(data.field16()?)?,
                extension::SUPPORTED_VERSIONS => self.versions = u16s(data.field8()?)?,
                ALPN => self.protocols = protocols(data.field16()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it has an extension.
    #[must_use]
    pub fn has(&self, kind: u16) -> bool {
        self.extensions.contains(&kind)
    }
}

fn u16s(bytes: &[u8]) -> Result<Vec<u16>, Malformed> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > CODES_MAX {
        return Err(Malformed("a list of numbers that is odd, or too long"));
    }
    Ok(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
}

/// The first host name (RFC 6066 section 3).
fn server_name(list: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut list = Reader(list);
    while !list.is_empty() {
        let (kind, name) = (list.u8()?, list.field16()?);
        if kind == 0 {
            return Ok(Some(name.to_vec()));
        }
    }
    Ok(None)
}

fn protocols(list: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let (mut list, mut protocols) = (Reader(list), Vec::new());
    while !list.is_empty() {
        if protocols.len() == PROTOCOLS_MAX {
            return Err(Malformed("too many application protocols"));
        }
        protocols.push(list.field8()?.to_vec());
    }
    Ok(protocols)
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// It begins.
    Hello(Box<ClientHello>),
    /// It sends its part of the key (RFC 5246 section 7.4.7): it is content with the server's flight.
    KeyExchange,
    /// It ends the handshake.
    Alert(Alert),
}

/// Puts a client's messages together from what a stream brings, as long as they are in clear.
#[derive(Debug, Default)]
pub struct ClientReader {
    /// What came and is no whole record yet.
    records: Vec<u8>,
    /// What came and is no whole message yet.
    messages: Vec<u8>,
}

impl ClientReader {
    /// Takes the next bytes; what they are the end of, if it is one.
    ///
    /// # Errors
    /// What about them no TLS client sends.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<ClientEvent>, Malformed> {
        self.records.extend(bytes);
        loop {
            let Some(&[kind, major, _, high, low]) = self.records.first_chunk() else {
                return check_start(&self.records).map(|()| None);
            };
            check_start(&[kind, major])?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > RECORD_BYTES_MAX {
                return Err(Malformed("a record of more than 16 KiB"));
            }
            let Some(body) = self.records.get(5..5 + length) else { return Ok(None) };
            let body = body.to_vec();
            self.records.drain(..5 + length);
            if let Some(event) = self.take_record(kind, &body)? {
                return Ok(Some(event));
            }
        }
    }

    fn take_record(&mut self, kind: u8, body: &[u8]) -> Result<Option<ClientEvent>, Malformed> {
        match kind {
            21 => {
                let &[1 | 2, description] = body else { return Err(Malformed("an alert of other than two bytes")) };
                return Ok(Some(ClientEvent::Alert(Alert { description })));
            }
            22 if !body.is_empty() => self.messages.extend(body),
            _ => return Err(Malformed("a record out of place")),
        }
        let mut rest = Reader(&self.messages);
        let (Ok(kind), Ok(length)) = (rest.u8(), rest.u24()) else { return Ok(None) };
        if length > MESSAGE_BYTES_MAX {
            return Err(Malformed("a handshake message of more than 128 KiB"));
        }
        let Ok(body) = rest.take(length) else { return Ok(None) };
        let event = match kind {
            1 => ClientEvent::Hello(Box::new(ClientHello::parse(body)?)),
            16 => ClientEvent::KeyExchange,
            _ => return Err(Malformed("a handshake message out of place")),
        };
        self.messages.drain(..4 + length);
        Ok(Some(event))
    }
}

fn check_start(start: &[u8]) -> Result<(), Malformed> {
    let is_kind = start.first().is_none_or(|kind| matches!(kind, 21 | 22));
    let is_version = start.get(1).is_none_or(|major| *major == 3);
    if is_kind && is_version { Ok(()) } else { Err(Malformed("not TLS")) }
}

#[cfg(test)]
mod tests {
    use portreeve_assurance::evidence::tls::Version;

    use super::*;
    use crate::{tls::hello::Hello, wire::sized};

    fn record(version: Version) -> Vec<u8> {
        let (suites, groups, signatures) = ([0x1301, 0xc02b], [0x001d, 0x0017], [0x0403]);
        Hello {
            version,
            suites: &suites,
            groups: &groups,
            signatures: &signatures,
            server_name: Some("hub.example"),
            compression: false,
            verify_data: &[],
            random: [7; 32],
        }
        .to_record()
    }

    #[test]
    fn what_our_own_hello_says_is_read_and_half_of_it_is_nothing() {
        for version in [Version::Tls10, Version::Tls12, Version::Tls13] {
            let record = record(version);
            let Ok(Some(ClientEvent::Hello(hello))) = ClientReader::default().push(&record) else {
                panic!("{version}")
            };
            assert_eq!((hello.suites, hello.groups), (vec![0x1301, 0xc02b], vec![0x001d, 0x0017]));
            assert_eq!(hello.server_name.as_deref(), Some(&b"hub.example"[..]));
            assert_eq!(hello.versions, if version == Version::Tls13 { vec![0x0304] } else { Vec::new() });
            for length in 0..record.len() {
                assert_eq!(ClientReader::default().push(&record[..length]), Ok(None), "{length}");
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let record = record(Version::Tls12);
        // Whatever is cut from the message, and put right in the lengths of record and message, leaves a field that is too long.
        for length in 1..record.len() - 9 {
            let mut bytes = vec![22, 3, 1];
            sized::<2>(&mut bytes, |out| {
                out.push(1);
                sized::<3>(out, |out| out.extend(&record[9..9 + length]));
            });
            let read = ClientReader::default().push(&bytes);
            // Extensions may be missing altogether, behind the compression methods.
            let is_whole = matches!(read, Ok(Some(ClientEvent::Hello(ref hello))) if hello.extensions.is_empty());
            assert!(read.is_err() || is_whole, "{length}: {read:?}");
        }
    }
}
