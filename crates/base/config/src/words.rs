//! Values with a small vocabulary, and networks.

use crate::setting::{Listed, Setting, Shape, Tabled, Worded, expected};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use toml_edit::Value;

/// A word that is not in the vocabulary; shows the words that are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("allowed: {0}")]
pub struct NotAWord(&'static str);

macro_rules! words {
    ($(#[$meta:meta])* $Name:ident is $what:literal { $first:literal => $(#[$first_meta:meta])* $First:ident
        $(, $word:literal => $(#[$word_meta:meta])* $Word:ident)* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Name { $(#[$first_meta])* $First $(, $(#[$word_meta])* $Word)* }

        impl $Name {
            /// Every value, in order of declaration.
            pub const ALL: &'static [Self] = &[Self::$First $(, Self::$Word)*];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { Self::$First => $first $(, Self::$Word => $word)* }
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $Name {
            type Err = NotAWord;
            fn from_str(text: &str) -> Result<Self, NotAWord> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
                    .ok_or(NotAWord(concat!($first $(, ", ", $word)*)))
            }
        }

        impl Worded for $Name {
            const TYPE: &'static str = $what;
        }
    };
}

words! {
    /// What happens to a message for a session whose queue is full.
    QueueOverflow is "drop-oldest or reject" {
        "drop-oldest" => /// The oldest queued message makes room.
            DropOldest,
        "reject" => /// The new message is not queued, and its publisher is told so (0x97, quota exceeded).
            Reject,
    }
}

words! {
    /// What happens to an identity whose certificate seems to be held by two.
    CloneResponse is "alert or quarantine" {
        "alert" => /// It gets no certificate this time, and an event tells.
            Alert,
        "quarantine" => /// It is quarantined as well: both holders are cut off.
            Quarantine,
    }
}

words! {
    /// A kind of key that devices may have.
    DeviceKey is "ecdsa-p256, ecdsa-p384, rsa-3072 or rsa-4096" {
        "ecdsa-p256" => /// ECDSA on P-256.
            EcdsaP256,
        "ecdsa-p384" => /// ECDSA on P-384.
            EcdsaP384,
        "rsa-3072" => /// RSA of 3072 bits.
            Rsa3072,
        "rsa-4096" => /// RSA of 4096 bits.
            Rsa4096,
    }
}

impl Listed for DeviceKey {
    const LIST: &'static str = "list of ecdsa-p256, ecdsa-p384, rsa-3072 and rsa-4096";
}

words! {
    /// What happens when a device connects while it is connected from another address.
    TwoPlaces is "ignore, alert, refuse or quarantine" {
        "ignore" => /// Nothing: devices of this fleet move.
            Ignore,
        "alert" => /// An event tells.
            Alert,
        "refuse" => /// Whoever comes later is refused as well, until the other has gone.
            Refuse,
        "quarantine" => /// It is quarantined as well: both holders are cut off.
            Quarantine,
    }
}

words! {
    /// Where private keys are kept.
    KeyCustody is "file, sealed, pkcs11 or tpm" {
        "file" => /// In files that their permissions protect.
            File,
        "sealed" => /// In files that are encrypted under a passphrase.
            Sealed,
        "pkcs11" => /// In a token or hardware security module.
            Pkcs11,
        "tpm" => /// In a TPM 2.0.
            Tpm,
    }
}

words! {
    /// How much is logged.
    LogLevel is "log level" {
        "error" => /// Only what needs an operator now.
            Error,
        "warn" => /// Also what will need one.
            Warn,
        "info" => /// Also starts, stops, and changes.
            Info,
        "debug" => /// Also each connection.
            Debug,
        "trace" => /// Everything short of payloads and keys.
            Trace,
    }
}

words! {
    /// How a log line looks.
    LogFormat is "text or json" {
        "text" => /// For people.
            Text,
        "json" => /// One object a line, for programs.
            Json,
    }
}

words! {
    /// What a local user may do through the administration socket.
    Role is "role" {
        "administrator" => /// Everything.
            Administrator,
        "operator" => /// Devices and sessions.
            Operator,
        "key-manager" => /// Certificate authorities and keys.
            KeyManager,
        "release-signer" => /// Updates.
            ReleaseSigner,
        "auditor" => /// Reads everything, the ledger included; changes nothing.
            Auditor,
        "viewer" => /// Reads status.
            Viewer,
    }
}

impl Tabled for Role {
    const TABLE: &'static str = "table of user name to role";
}

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl Setting for Port {
    const TYPE: &'static str = "port";
    const SHAPE: Shape = Shape::Bare;

    /// A number; as text it comes from a list that is written without TOML quoting.
    fn read(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().or_else(|| value.as_str()?.parse().ok());
        let Some(number) = number else { return expected("a port", value) };
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        port.map(Self).ok_or_else(|| format!("{number} is out of range: allowed is 1 to 65535"))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Listed for Port {
    const LIST: &'static str = "list of ports";
}

/// One address, or all addresses with a common prefix (`192.0.2.0/24`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// A text that is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash is not an IP address.
    #[error("not an IP address")]
    Address,
    /// The part after the slash is not a prefix length of that address family.
    #[error("the prefix length is a number of bits, at most 32 (IPv4) or 128 (IPv6)")]
    Prefix,
    /// Bits beyond the prefix are set, so that it is unclear what was meant.
    #[error("bits beyond the prefix length are set")]
    HostBits,
}

impl Network {
    /// Whether the address belongs to this network. An IPv4 address in IPv6 clothing (`::ffff:192.0.2.1`, as a
    /// dual-stack socket reports it) counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs) = (self.address, address.to_canonical());
        ours.is_ipv4() == theirs.is_ipv4() && masked(theirs, self.prefix_bits) == bits(ours)
    }
}

/// The address as a number that starts at the highest bit, for either family.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(address: IpAddr, prefix_bits: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
    bits(address) & mask
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let address = if prefix.is_none() { address.to_canonical() } else { address };
        let widest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => widest,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= widest).ok_or(NetworkError::Prefix)?,
        };
        if masked(address, prefix_bits) != bits(address) {
            return Err(NetworkError::HostBits);
        }
        Ok(Self { address, prefix_bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl Worded for Network {
    const TYPE: &'static str = "address or network";
}

impl Listed for Network {
    const LIST: &'static str = "list of addresses and networks";
}
