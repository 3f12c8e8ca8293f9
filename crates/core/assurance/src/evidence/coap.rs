//! What a CoAP server shows to whom, and lets whom do.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Seen};

/// What strangers learn of a CoAP server (RFC 7252, RFC 6690).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoapDiscovery {
    /// Each way once.
    pub ways: Vec<DiscoveryWay>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for CoapDiscovery {
    const KIND: &'static str = "coap-discovery/1";
}

/// One way to ask for `/.well-known/core`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryWay {
    /// Which.
    pub way: Way,
    /// What came.
    pub answer: Seen<CoapAnswer>,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// In clear, to its address.
    Plain,
    /// In clear, to the group of all CoAP nodes (RFC 7252 section 12.8).
    Multicast,
    /// Over DTLS by somebody without a certificate or key that the server knows.
    Stranger,
    /// Over DTLS by a test identity.
    Identity,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CoapAnswer {
    /// A response.
    Response {
        /// Its code, such as "2.05".
        code: String,
        /// Bytes of its payload in the first block.
        payload_bytes: u32,
        /// Paths of the links in it (RFC 6690), at most [`LINKS_MAX`].
        links: Vec<String>,
    },
    /// No CoAP: the handshake was refused, or the target says that nobody listens.
    Refused {
        /// In words.
        how: String,
    },
    /// Nothing came, though it was asked several times.
    Silent,
}

/// Links of one answer that are kept.
pub const LINKS_MAX: usize = 64;

/// Who may do what with which resource, as declared and as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoapAccessMatrix {
    /// Each cell once.
    pub cells: Vec<CoapCell>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for CoapAccessMatrix {
    const KIND: &'static str = "coap-access-matrix/1";
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoapMethod {
    /// GET.
    Get,
    /// GET with Observe: whether the registration is taken (RFC 7641).
    Observe,
    /// PUT.
    Put,
    /// POST.
    Post,
    /// DELETE.
    Delete,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoapCell {
    /// Name of the test identity.
    pub identity: String,
    /// What.
    pub method: CoapMethod,
    /// Path of the resource.
    pub path: String,
    /// Whether the declared policy allows it.
    pub is_declared: bool,
    /// What the server answers: the code, and for observations whether they are taken.
    pub answer: Seen<CellAnswer>,
}

/// What a server answers to a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellAnswer {
    /// Class and detail of the response code (RFC 7252 section 5.9), such as 205 or 403; nothing, if the handshake was refused.
    pub code: Option<u16>,
    /// Whether the response has Observe.
    pub is_observing: bool,
}
