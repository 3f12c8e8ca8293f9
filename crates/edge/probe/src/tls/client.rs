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
