use serde::{Deserialize, Serialize};

/// Delivery guarantee, MQTT 5.0 §4.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Qos {
    /// Zero or one delivery.
    #[default]
    AtMostOnce = 0,
    /// One or more deliveries.
    AtLeastOnce = 1,
    /// One delivery.
    ExactlyOnce = 2,
}

impl Qos {
    /// `None` for 3, which both specifications forbid [MQTT-3.3.1-4], and for anything larger.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}
