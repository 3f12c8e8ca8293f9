use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What a block covers: one IPv4 address, or the IPv6 addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Source {
    address: IpAddr,
    prefix_bits: u8,
}

/// A text that is no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an IPv4 address nor an IPv6 prefix")]
pub struct NotASource;

impl Source {
    /// The source that an address belongs to. An IPv4 address in IPv6 clothing counts as the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr, ipv6_prefix_bits: u8) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Self { address: v4, prefix_bits: 32 },
            IpAddr::V6(v6) => {
                let prefix_bits = ipv6_prefix_bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
                Self { address: Ipv6Addr::from_bits(v6.to_bits() & mask).into(), prefix_bits }
            }
        }
    }

    /// The lowest address of it.
    #[must_use]
    pub fn first_address(self) -> IpAddr {
        self.address
    }

    /// The highest address of it.
    #[must_use]
    pub fn last_address(self) -> IpAddr {
        match self.address {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let host_bits = u128::MAX.checked_shr(u32::from(self.prefix_bits)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() | host_bits).into()
            }
        }
    }

    /// The prefix length, if it is an IPv6 prefix.
    pub(crate) fn ipv6_prefix_bits(self) -> Option<u8> {
        self.address.is_ipv6().then_some(self.prefix_bits)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/{}", self.prefix_bits),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl TryFrom<String> for Source {
    type Error = NotASource;
    fn try_from(text: String) -> Result<Self, NotASource> {
        text.parse()
    }
}

impl FromStr for Source {
    type Err = NotASource;

    /// Only the form that it prints, so that each has one key.
    fn from_str(text: &str) -> Result<Self, NotASource> {
        let (address, bits) = text.split_once('/').unwrap_or((text, "128"));
        let address: IpAddr = address.parse().map_err(|_| NotASource)?;
        let source = Self::of(address, bits.parse().map_err(|_| NotASource)?);
        (source.to_string() == text).then_some(source).ok_or(NotASource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, bits: u8) -> String {
        Source::of(text.parse().unwrap(), bits).to_string()
    }

    #[test]
    fn addresses_of_one_subscriber_are_one_source() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 64), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 128), "2001:db8:1:2:3:4:5:6/128");
        assert_eq!(of("2001:db8:1:2::1", 0), "::/0");
        assert_eq!(of("192.0.2.7", 64), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7", 64), "192.0.2.7");
    }

    #[test]
    fn a_source_is_a_range_of_addresses() {
        let range = |text: &str, bits| {
            let source = Source::of(text.parse().unwrap(), bits);
            [source.first_address(), source.last_address()].map(|address| address.to_string())
        };
        assert_eq!(range("2001:db8:1:2::7", 64), ["2001:db8:1:2::", "2001:db8:1:2:ffff:ffff:ffff:ffff"]);
        assert_eq!(range("2001:db8::7", 128), ["2001:db8::7"; 2]);
        assert_eq!(range("192.0.2.7", 64), ["192.0.2.7"; 2]);
    }

    #[test]
    fn only_the_printed_form_is_read() {
        for good in ["192.0.2.7", "2001:db8::/64", "::1/128"] {
            assert_eq!(good.parse::<Source>().unwrap().to_string(), good);
        }
        for bad in
            ["", "192.0.2.7/32", "::1", "2001:db8::1/64", "::ffff:1.2.3.4/128", "2001:DB8::/64", "::/129", "x/64"]
        {
            assert_eq!(bad.parse::<Source>(), Err(NotASource), "{bad}");
        }
    }
}
