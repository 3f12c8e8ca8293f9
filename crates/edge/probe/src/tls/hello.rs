//! ClientHellos made by hand, down to SSL 3.0: what no TLS library offers any more, and what a server must refuse.
//!
//! No handshake that begins with one is ever finished. So there are no key shares: a server of TLS 1.3 asks for one
//! (HelloRetryRequest), which says what it chose, and costs neither side any work.

use portreeve_assurance::evidence::tls::Version;

use crate::wire::{put_u16s, sized};

/// Signals secure renegotiation without an extension (RFC 5746 section 3.3).
pub(crate) const RENEGOTIATION_SCSV: u16 = 0x00ff;
/// Signals that a newer version was refused before (RFC 7507).
pub(crate) const FALLBACK_SCSV: u16 = 0x5600;

/// Extension types: IANA "TLS ExtensionType Values".
pub(crate) mod extension {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const SUPPORTED_GROUPS: u16 = 10;
    pub(crate) const EC_POINT_FORMATS: u16 = 11;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const HEARTBEAT: u16 = 15;
    pub(crate) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(crate) const SESSION_TICKET: u16 = 35;
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
    pub(crate) const COOKIE: u16 = 44;
    pub(crate) const KEY_SHARE: u16 = 51;
    pub(crate) const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// Over what a hello goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// TCP.
    Stream,
    /// UDP: DTLS 1.0, 1.2 and 1.3 stand for TLS 1.1, 1.2 and 1.3 here.
    Datagram {
        /// What the server gave in HelloVerifyRequest; empty at first.
        cookie: &'a [u8],
    },
}

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The one version.
    pub version: Version,
    /// Cipher suites, in order.
    pub suites: &'a [u16],
    /// Groups for key exchange, in order.
    pub groups: &'a [u16],
    /// Signature schemes, in order. Sent from TLS 1.2 on.
    pub signatures: &'a [u16],
    /// Name for SNI.
    pub server_name: Option<&'a str>,
    /// Offers DEFLATE too.
    pub compression: bool,
    /// Random of the client.
    pub random: [u8; 32],
    /// What its last Finished said, if this handshake is inside another (RFC 5746 section 3.5); else empty.
    pub verify_data: &'a [u8],
}

/// The version's number on the wire.
pub(crate) const fn wire_version(version: Version, is_datagram: bool) -> u16 {
    match (version, is_datagram) {
        (Version::Ssl30, _) => 0x0300,
        (Version::Tls10, _) => 0x0301,
        (Version::Tls11, false) => 0x0302,
        (Version::Tls12, false) => 0x0303,
        (Version::Tls13, false) => 0x0304,
        (Version::Tls11, true) => 0xfeff,
        (Version::Tls12, true) => 0xfefd,
        (Version::Tls13, true) => 0xfefc,
    }
}

/// The version that stands where TLS 1.2 and older look for it (RFC 8446 section 4.1.2).
pub(crate) fn legacy_version(version: Version) -> Version {
    version.min(Version::Tls12)
}

impl Hello<'_> {
    /// The record to send over TCP.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        let mut out = vec![22];
        // RFC 8446 section 5.1: the first record names TLS 1.0, for the sake of old servers.
        out.extend(wire_version(self.version.min(Version::Tls10), false).to_be_bytes());
        sized::<2>(&mut out, |out| out.extend(self.to_message()));
        out
    }

    /// The message that is in it.
    #[must_use]
    pub fn to_message(&self) -> Vec<u8> {
        let mut out = vec![1];
        sized::<3>(&mut out, |out| self.put_body(out, Transport::Stream));
        out
    }

    /// The message's body, RFC 8446 section 4.1.2, RFC 6347 section 4.2.1.
    pub fn put_body(&self, out: &mut Vec<u8>, transport: Transport<'_>) {
        let is_datagram = matches!(transport, Transport::Datagram { .. });
        out.extend(wire_version(legacy_version(self.version), is_datagram).to_be_bytes());
        out.extend(self.random);
        // Middleboxes want to see a session id in TLS 1.3 (RFC 8446 appendix D.4); DTLS 1.3 has none.
        let needs_id = self.version == Version::Tls13 && !is_datagram;
        sized::<1>(out, |out| out.extend(needs_id.then_some(self.random).into_iter().flatten()));
        if let Transport::Datagram { cookie } = transport {
            sized::<1>(out, |out| out.extend(cookie));
        }
        sized::<2>(out, |out| {
            put_u16s(out, self.suites);
            if self.version == Version::Ssl30 {
                put_u16s(out, &[RENEGOTIATION_SCSV]);
            }
        });
        sized::<1>(out, |out| out.extend(if self.compression { &[1, 0][..] } else { &[0] }));
        if self.version > Version::Ssl30 {
            sized::<2>(out, |out| self.put_extensions(out, is_datagram));
        }
    }

    fn put_extensions(&self, out: &mut Vec<u8>, is_datagram: bool) {
        if let Some(name) = self.server_name {
            put(out, extension::SERVER_NAME, |out| {
                sized::<2>(out, |out| {
                    out.push(0);
                    sized::<2>(out, |out| out.extend(name.as_bytes()));
                });
            });
        }
        put(out, extension::SUPPORTED_GROUPS, |out| sized::<2>(out, |out| put_u16s(out, self.groups)));
        if self.version >= Version::Tls12 {
            put(out, extension::SIGNATURE_ALGORITHMS, |out| sized::<2>(out, |out| put_u16s(out, self.signatures)));
        }
        if self.version == Version::Tls13 {
            let version = wire_version(Version::Tls13, is_datagram);
            put(out, extension::SUPPORTED_VERSIONS, |out| sized::<1>(out, |out| put_u16s(out, &[version])));
            put(out, extension::KEY_SHARE, |out| sized::<2>(out, |_| {}));
            return;
        }
        put(out, extension::EC_POINT_FORMATS, |out| out.extend([1, 0]));
        put(out, extension::HEARTBEAT, |out| out.push(1));
        put(out, extension::EXTENDED_MASTER_SECRET, |_| {});
        put(out, extension::SESSION_TICKET, |_| {});
        put(out, extension::RENEGOTIATION_INFO, |out| sized::<1>(out, |out| out.extend(self.verify_data)));
    }
}

fn put(out: &mut Vec<u8>, kind: u16, data: impl FnOnce(&mut Vec<u8>)) {
    out.extend(kind.to_be_bytes());
    sized::<2>(out, data);
}
