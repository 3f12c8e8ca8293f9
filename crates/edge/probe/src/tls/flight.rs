//! What a server says in clear: its messages up to the point where it waits, or where TLS 1.3 turns to encryption.

use portreeve_assurance::evidence::{suites::SUITES, tls::Version};

use super::hello::{extension, wire_version};
use crate::wire::{Malformed, Reader};

/// Certificates of one chain that are read; a server sends a handful.
pub const CHAIN_CERTIFICATES_MAX: usize = 16;
/// Extensions of one ServerHello that are read.
const EXTENSIONS_MAX: usize = 64;

/// The random of a ServerHello that is a HelloRetryRequest: SHA-256 of that word (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// ServerHello or HelloRetryRequest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The version that was chosen; `None` for one that nobody knows.
    pub version: Option<Version>,
    /// Cipher suite.
    pub suite: u16,
    /// DEFLATE was chosen.
    pub compression: bool,
    /// A key share is asked for.
    pub is_retry: bool,
    /// The group of its key share, or of the one that it asks for.
    pub group: Option<u16>,
    /// Types of its extensions, in order.
    pub extensions: Vec<u16>,
}

impl ServerHello {
    /// Whether it has an extension.
    #[must_use]
    pub fn has(&self, kind: u16) -> bool {
        self.extensions.contains(&kind)
    }

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader(body);
        let legacy = body.u16()?;
        let random: [u8; 32] = body.chunk()?;
        if body.field8()?.len() > 32 {
            return Err(Malformed("a session id of more than 32 bytes"));
        }
        let suite = body.u16()?;
        let compression = match body.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("an unknown compression method")),
        };
        let is_retry = random == RETRY_RANDOM;
        let mut hello =
            Self { version: version_of(legacy), suite, compression, is_retry, group: None, extensions: Vec::new() };
        if !body.is_empty() {
            hello.take_extensions(body.field16()?)?;
        }
        if !body.is_empty() {
            return Err(Malformed("bytes behind the end of a ServerHello"));
        }
        Ok(hello)
    }

    fn take_extensions(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut list = Reader(bytes);
        while !list.is_empty() {
            let (kind, data) = (list.u16()?, list.field16()?);
            if self.has(kind) || self.extensions.len() == EXTENSIONS_MAX {
                return Err(Malformed("an extension twice, or too many"));
            }
            self.extensions.push(kind);
            match kind {
                extension::SUPPORTED_VERSIONS => self.version = version_of(Reader(data).u16()?),
                extension::KEY_SHARE => self.group = Some(Reader(data).u16()?),
                _ => {}
            }
        }
        Ok(())
    }
}

fn version_of(wire: u16) -> Option<Version> {
    // DTLS stands for the TLS that it is made of.
    let stands_for = |version: &Version| {
        wire_version(*version, false) == wire || (*version >= Version::Tls11 && wire_version(*version, true) == wire)
    };
    Version::ALL.into_iter().find(stands_for)
}

/// ServerKeyExchange: the part that says how strong it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyExchange {
    /// Named curve.
    pub group: Option<u16>,
    /// Size of the prime of a finite-field exchange, bits.
    pub dh_bits: Option<u32>,
    /// Signature scheme, TLS 1.2.
    pub signature: Option<u16>,
}

/// What a suite's key exchange looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyExchangeKind {
    Elliptic,
    FiniteField,
    /// Its message says nothing that is asked here, or there is none.
    Other,
}

/// Of a suite: the kind, whether it begins with a hint (PSK), and whether it is signed.
pub(crate) fn kind_of(suite: u16) -> (KeyExchangeKind, bool, bool) {
    let name = SUITES.iter().find(|(code, _)| *code == suite).map_or("", |(_, name)| *name);
    let exchange = name.strip_prefix("TLS_").unwrap_or(name).split("_WITH_").next().unwrap_or("");
    let has_hint = exchange.contains("PSK");
    let kind = if exchange.starts_with("ECDHE_") || exchange == "ECDH_anon" {
        KeyExchangeKind::Elliptic
    } else if exchange.starts_with("DHE_") || exchange.starts_with("DH_anon") || exchange == "PSK_DHE" {
        KeyExchangeKind::FiniteField
    } else {
        KeyExchangeKind::Other
    };
    (kind, has_hint, kind != KeyExchangeKind::Other && !has_hint && !exchange.contains("anon"))
}

impl KeyExchange {
    fn parse(suite: u16, version: Version, body: &[u8]) -> Result<Self, Malformed> {
        let (kind, has_hint, is_signed) = kind_of(suite);
        let mut body = Reader(body);
        let mut exchange = Self::default();
        if has_hint {
            body.field16()?;
        }
        match kind {
            KeyExchangeKind::Other => return Ok(exchange),
            KeyExchangeKind::Elliptic => {
                // RFC 8422 section 5.4: only named curves are left.
                if body.u8()? != 3 {
                    return Err(Malformed("a curve that has no name"));
                }
                exchange.group = Some(body.u16()?);
                body.field8()?;
            }
            KeyExchangeKind::FiniteField => {
                exchange.dh_bits = Some(bits(body.field16()?));
                body.field16()?;
                body.field16()?;
            }
        }
        if is_signed && version == Version::Tls12 {
            exchange.signature = Some(body.u16()?);
        }
        Ok(exchange)
    }
}

/// Significant bits of a number.
fn bits(number: &[u8]) -> u32 {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let Some((&first, rest)) = number[start..].split_first() else { return 0 };
    // A field has less than 64 KiB.
    u8::BITS - first.leading_zeros() + u32::try_from(rest.len() * 8).unwrap_or(u32::MAX)
}

/// The server's first messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flight {
    /// Its choice.
    pub hello: Option<ServerHello>,
    /// Its chain, leaf first, DER.
    pub certificates: Vec<Vec<u8>>,
    /// Its half of the key exchange.
    pub key_exchange: KeyExchange,
    /// Whether it asks for a client certificate.
    pub requests_certificate: bool,
    /// Whether it waits for the client, or goes on encrypted.
    pub is_complete: bool,
}

impl Flight {
    /// Takes one handshake message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, kind: u8, body: &[u8]) -> Result<(), Malformed> {
        if self.is_complete {
            return Err(Malformed("a message behind the end of the flight"));
        }
        match (kind, &self.hello) {
            (2, None) => {
                let hello = ServerHello::parse(body)?;
                self.is_complete = hello.is_retry || hello.version == Some(Version::Tls13);
                self.hello = Some(hello);
            }
            (11, Some(_)) => self.certificates = chain(body)?,
            (12, Some(hello)) => {
                let version = hello.version.unwrap_or(Version::Tls12);
                self.key_exchange = KeyExchange::parse(hello.suite, version, body)?;
            }
            (13, Some(_)) => self.requests_certificate = true,
            (14, Some(_)) => self.is_complete = true,
            // HelloRequest may come at any time and means nothing here; CertificateStatus follows a certificate.
            (0, _) | (22, Some(_)) => {}
            _ => return Err(Malformed("a handshake message out of place")),
        }
        Ok(())
    }
}

/// Certificate, RFC 5246 section 7.4.2.
fn chain(body: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut list = Reader(Reader(body).field24()?);
    let mut chain = Vec::new();
    while !list.is_empty() {
        if chain.len() == CHAIN_CERTIFICATES_MAX {
            return Err(Malformed("too many certificates"));
        }
        chain.push(list.field24()?.to_vec());
    }
    Ok(chain)
}
