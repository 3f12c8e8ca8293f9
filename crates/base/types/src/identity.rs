use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::words::{UnknownWord, words};

/// The registry's own key for an identity: opaque, random, never reused, and free of personal or place data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentityId(pub Uuid);

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of a public key's DER `SubjectPublicKeyInfo`: what the registry looks a certificate up by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// Why a name was refused; the text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid name: use 1 to 64 of a-z A-Z 0-9 . _ - and begin with a letter or digit")]
pub struct NameError {
    given: String,
}

/// The name of a device, gateway or application: 1..=64 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit.
///
/// It holds neither `/ + # $` nor `:`, so it can stand as a topic level and before the `:` of a client identifier.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IdentityName(Arc<str>);

impl IdentityName {
    /// Longest accepted name.
    pub const BYTES_MAX: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdentityName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let valid = text.len() <= Self::BYTES_MAX
            && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && text.bytes().all(allowed);
        if valid { Ok(Self(text.into())) } else { Err(NameError { given: text.chars().take(80).collect() }) }
    }
}

impl<'de> Deserialize<'de> for IdentityName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

words!(
    /// What an identity is; decides certificate profile, client-id rule and session limit.
    Kind, "device, gateway, application" {
        /// A thing. Client id is its name or begins with `<name>:`.
        Device = "device",
        /// A device that speaks for others behind it. Client id as for a device.
        Gateway = "gateway",
        /// A program of the operator's. May use any client id and more sessions.
        Application = "application",
    }
);

words!(
    /// Where an identity stands in its life (IIITA-N4). `active` may hold a session; so may `quarantined`,
    /// for what is marked for remediation.
    LifecycleState, "pending, active, quarantined, disabled, revoked, retired" {
        /// Registered, never seen.
        Pending = "pending",
        /// In service.
        Active = "active",
        /// Confined, under suspicion.
        Quarantined = "quarantined",
        /// Switched off by an operator; can be enabled again.
        Disabled = "disabled",
        /// Its credentials are void for ever.
        Revoked = "revoked",
        /// Out of service at the end of its life.
        Retired = "retired",
    }
);

/// An MQTT client identifier: valid UTF-8 without U+0000, at most 65535 bytes; [`ClientId::BYTES_MAX`] here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Longest accepted identifier. The specification asks for at least 23 [MQTT-3.1.3-5].
    pub const BYTES_MAX: usize = 256;

    /// `None` when empty, too long, or holding a control character (identifiers reach logs and metrics).
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && text.len() <= Self::BYTES_MAX && !text.chars().any(char::is_control);
        valid.then(|| Self(text.into()))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an identity of this kind and name may use this client id: one identity cannot pose as another.
    #[must_use]
    pub fn belongs_to(&self, kind: Kind, name: &IdentityName) -> bool {
        let own = || self.0.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        kind == Kind::Application || own()
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("not a valid client id"))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl LifecycleState {
    /// Whether an identity in this state may connect at all. What it may do then is for policy to say.
    #[must_use]
    pub fn may_connect(self) -> bool {
        matches!(self, Self::Active | Self::Quarantined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_topics_files_and_client_ids() {
        for good in ["a", "lamp-1", "Plant_7.pump", "0", &"x".repeat(64)] {
            assert!(good.parse::<IdentityName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "-a", "a/b", "a+b", "#", "$SYS", "a:b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<IdentityName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_device_owns_its_name_and_what_follows_a_colon_only() {
        let name: IdentityName = "lamp-1".parse().unwrap();
        let belongs = |id: &str, kind| ClientId::new(id).unwrap().belongs_to(kind, &name);
        assert!(belongs("lamp-1", Kind::Device));
        assert!(belongs("lamp-1:debug", Kind::Gateway));
        for foreign in ["lamp-10", "lamp-2", "x:lamp-1", "LAMP-1"] {
            assert!(!belongs(foreign, Kind::Device), "{foreign}");
            assert!(belongs(foreign, Kind::Application), "{foreign}");
        }
    }

    #[test]
    fn words_round_trip_and_unknown_ones_list_the_choices() {
        for state in ["pending", "active", "quarantined", "disabled", "revoked", "retired"] {
            assert_eq!(state.parse::<LifecycleState>().unwrap().as_str(), state);
        }
        assert_eq!(
            "robot".parse::<Kind>().unwrap_err().to_string(),
            "`robot` is not one of: device, gateway, application"
        );
    }

    #[test]
    fn a_control_character_or_overlong_client_id_is_refused() {
        assert!(ClientId::new("a\nb").is_none());
        assert!(ClientId::new("").is_none());
        assert!(ClientId::new(&"a".repeat(ClientId::BYTES_MAX + 1)).is_none());
    }
}
