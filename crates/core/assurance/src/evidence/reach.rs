//! How a target was found.

use serde::{Deserialize, Serialize};

use super::Facts;

/// What a name led to when it was visited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// The name or address that was declared.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The one that was visited.
    pub visited: String,
}

impl Facts for Reach {
    const KIND: &'static str = "reach/1";
}
