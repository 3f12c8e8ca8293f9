//! The PROXY protocol, version 2 (binary): how a balancer names the client it forwards. Accepted from listed addresses only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
/// Longest accepted header, addresses and extensions included.
pub const HEADER_BYTES_MAX: usize = 536;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// PROXY: the connection is on behalf of this address.
    Client(IpAddr),
    /// LOCAL: the balancer itself, such as a health check.
    Balancer,
}

/// Why a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It does not begin with the version 2 signature.
    #[error("no PROXY protocol version 2 header")]
    Signature,
    /// Version, command or family that version 2 does not define, or that carries no IP address.
    #[error("a PROXY header of an unknown version, command or address family")]
    Unsupported,
    /// Longer than [`HEADER_BYTES_MAX`], or too short for its addresses.
    #[error("a PROXY header of impossible length")]
    Length,
}

/// Reads a header from the start of `bytes`: what it says and its length, or `None` if more bytes are needed.
///
/// # Errors
/// [`ProxyError`] as soon as no further byte could make it a header.
pub fn parse(bytes: &[u8]) -> Result<Option<(Origin, usize)>, ProxyError> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(ProxyError::Signature);
    }
    let Some(head) = bytes.first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > HEADER_BYTES_MAX {
        return Err(ProxyError::Length);
    }
    let local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Unsupported),
    };
    let Some(addresses) = bytes.get(FIXED_BYTES..length) else { return Ok(None) };
    if local {
        return Ok(Some((Origin::Balancer, length)));
    }
    let source = match head[13] {
        // TCP over IPv4: source, destination, two ports.
        0x11 if addresses.len() >= 12 => addresses.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        0x21 if addresses.len() >= 36 => addresses.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
        0x11 | 0x21 => return Err(ProxyError::Length),
        _ => return Err(ProxyError::Unsupported),
    };
    let source = source.ok_or(ProxyError::Length)?;
    Ok(Some((Origin::Client(source), length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn ipv4_ipv6_and_local_are_understood() {
        let v4 = header(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4]);
        assert_eq!(parse(&v4), Ok(Some((Origin::Client("192.0.2.1".parse().unwrap()), 28))));
        let mut addresses = [0; 36];
        addresses[15] = 1;
        assert_eq!(parse(&header(0x21, 0x21, &addresses)), Ok(Some((Origin::Client("::1".parse().unwrap()), 52))));
        assert_eq!(parse(&header(0x20, 0, &[])), Ok(Some((Origin::Balancer, 16))));
    }

    #[test]
    fn extensions_are_skipped() {
        let bytes = header(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4, 0x04, 0, 1, 9]);
        assert_eq!(parse(&bytes).unwrap().unwrap().1, 32);
    }

    #[test]
    fn every_prefix_asks_for_more() {
        let bytes = header(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4]);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_early() {
        assert_eq!(parse(b"\x16\x03\x01"), Err(ProxyError::Signature));
        assert_eq!(parse(b"PROXY TCP4"), Err(ProxyError::Signature));
        assert_eq!(parse(&header(0x31, 0x11, &[0; 12])), Err(ProxyError::Unsupported));
        assert_eq!(parse(&header(0x22, 0x11, &[0; 12])), Err(ProxyError::Unsupported));
        assert_eq!(parse(&header(0x21, 0x12, &[0; 12])), Err(ProxyError::Unsupported));
        assert_eq!(parse(&header(0x21, 0x31, &[0; 216])), Err(ProxyError::Unsupported));
        assert_eq!(parse(&header(0x21, 0x11, &[0; 11])), Err(ProxyError::Length));
        let mut long = header(0x21, 0x11, &[0; 12]);
        long[14] = 0xff;
        assert_eq!(parse(&long), Err(ProxyError::Length));
    }
}
