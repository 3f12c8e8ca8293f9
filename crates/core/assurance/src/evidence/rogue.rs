//! What a device does when somebody who is not its server answers it.

use serde::{Deserialize, Serialize};

use super::{Code, Effort, Facts, tls::Version};

/// A device that was pointed at a server of the auditor, which had a different face for each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RogueServer {
    /// The names that its certificates were for, but for those with a wrong one.
    pub names: Vec<String>,
    /// Each face that was shown or should have been, once, in order.
    pub trials: Vec<Trial>,
    /// What the device offered when it last connected.
    pub hello: Option<ClientOffer>,
    /// Connections from addresses that are no device of this audit, which were closed.
    pub strangers: u32,
    /// How often the list of revoked certificates was fetched.
    pub crl_fetches: u32,
    /// What it took; connections are those that the device opened.
    pub effort: Effort,
}

impl Facts for RogueServer {
    const KIND: &'static str = "rogue-server/1";
}

/// With what a server comes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Face {
    /// A certificate that the device should accept: without it, that a device refuses everything shows nothing.
    Good,
    /// Its certificate is signed by itself.
    SelfSigned,
    /// Signed by a CA that nobody knows.
    UnknownCa,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It is for another name.
    WrongName,
    /// It is a CA's own.
    CaAsLeaf,
    /// It is for clients only.
    WrongUsage,
    /// It is revoked, as a list says that it names.
    Revoked,
    /// It is signed over SHA-1.
    WeakSignature,
    /// Its key is of RSA with 1024 bits.
    WeakKey,
    /// TLS 1.0 or 1.1 is spoken.
    OldVersion,
    /// A suite is chosen that protects nothing: NULL, export, DES, RC4, or without authentication.
    WeakSuite,
    /// A suite without forward secrecy is chosen. Recorded; it is no question of validation.
    StaticRsa,
    /// Good in all respects, by a CA that the device trusts, but not the one that it knows its server by.
    Unpinned,
}

impl Face {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 15] = [
        Self::Good,
        Self::SelfSigned,
        Self::UnknownCa,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongName,
        Self::CaAsLeaf,
        Self::WrongUsage,
        Self::Revoked,
        Self::WeakSignature,
        Self::WeakKey,
        Self::OldVersion,
        Self::WeakSuite,
        Self::StaticRsa,
        Self::Unpinned,
    ];

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "a good certificate",
            Self::SelfSigned => "a self-signed certificate",
            Self::UnknownCa => "a certificate of an unknown CA",
            Self::Expired => "an expired certificate",
            Self::NotYetValid => "a certificate that is not valid yet",
            Self::WrongName => "a certificate for another name",
            Self::CaAsLeaf => "the certificate of a CA",
            Self::WrongUsage => "a certificate for clients",
            Self::Revoked => "a revoked certificate",
            Self::WeakSignature => "a certificate signed over SHA-1",
            Self::WeakKey => "a key of 1024 RSA bits",
            Self::OldVersion => "an old version",
            Self::WeakSuite => "a weak suite",
            Self::StaticRsa => "a suite without forward secrecy",
            Self::Unpinned => "a good certificate that is not the pinned one",
        }
    }
}

/// One face, and what the device did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Which.
    pub face: Face,
    /// Connections on which it was shown.
    pub attempts: u32,
    /// The name that the device asked for by SNI, the last time.
    pub server_name: Option<String>,
    /// The address that it came from, the last time.
    pub source: Option<String>,
    /// What came of it.
    pub reaction: Reaction,
}

/// What a device does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reaction {
    /// It ended the connection before it had finished the handshake.
    Refused {
        /// The alert, or without one.
        how: String,
    },
    /// It finished the handshake, and then ended the connection without a word.
    Left {
        /// What was agreed on.
        how: String,
    },
    /// It finished the handshake and stayed or spoke; in a handshake made by hand, it sent its part of the key.
    WentOn {
        /// What was agreed on.
        how: String,
        /// What it said.
        said: Option<Said>,
    },
    /// It does not offer what would be accepted, so there is nothing to refuse.
    NotOffered {
        /// What it lacks.
        what: String,
    },
    /// It could not be tried.
    NotTried {
        /// Why.
        why: String,
    },
    /// It was tried, and what came decides nothing.
    Unclear {
        /// What came.
        why: String,
    },
}

/// What a device said to a server that it had let through. Never the words themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// In which protocol.
    pub protocol: Spoken,
    /// Whether a password, a token or a cookie was among it.
    pub credentials: bool,
}

/// What is spoken inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spoken {
    /// MQTT CONNECT.
    Mqtt,
    /// An HTTP/1 request.
    Http,
    /// Something else.
    Other,
}

/// A ClientHello, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientOffer {
    /// Versions, oldest first.
    pub versions: Vec<Version>,
    /// Cipher suites, in order, without values that mean nothing (RFC 8701).
    pub suites: Vec<Code>,
    /// Groups, in order.
    pub groups: Vec<Code>,
    /// Signature schemes, in order.
    pub signatures: Vec<Code>,
    /// The name that it asks for.
    pub server_name: Option<String>,
    /// Application protocols (RFC 7301).
    pub protocols: Vec<String>,
    /// Types of its extensions, in order.
    pub extensions: Vec<u16>,
    /// The same for all hellos of one program: newest version, how many suites and extensions, and the start of a digest of these
    /// without regard to their order.
    pub shape: String,
}
