//! What is stored, and the operations that change it.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use portreeve_types::{
    ClientId, IdentityId, IdentityName, KeyHash, Kind, LifecycleState, Qos, TopicFilter, TopicName, UnixMillis,
};

/// One registered device, gateway or application (IIITA-N4: every networked device is identified).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRow {
    /// Opaque key, never reused.
    pub id: IdentityId,
    /// Unique name; may change.
    pub name: IdentityName,
    /// What it is.
    pub kind: Kind,
    /// Group that policies refer to; empty for none.
    pub group: String,
    /// Who answers for it.
    pub owner: String,
    /// Where it is installed.
    pub location: String,
    /// Model.
    pub model: String,
    /// Firmware version last reported.
    pub firmware: String,
    /// Free text.
    pub notes: String,
    /// Where it stands in its life.
    pub state: LifecycleState,
    /// Why it is in that state.
    pub state_reason: String,
    /// When it was registered.
    pub created: UnixMillis,
    /// When this row last changed by an operator or by a change of state.
    pub changed: UnixMillis,
    /// When it was last connected.
    pub last_seen: Option<UnixMillis>,
}

/// One certificate that the hub issued or accepted for an identity. A key belongs to one identity for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    /// The key of the certificate.
    pub key: KeyHash,
    /// Whose it is.
    pub identity: IdentityId,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// The number of the CA that issued it, among those that issue to devices.
    pub issuer: u32,
    /// Begin of validity.
    pub not_before: UnixMillis,
    /// End of validity.
    pub not_after: UnixMillis,
    /// When it was issued or accepted.
    pub issued: UnixMillis,
    /// When it was revoked, if it was.
    pub revoked: Option<UnixMillis>,
    /// When somebody first connected with it, if anybody did.
    pub used: Option<UnixMillis>,
}

/// The first half of the hash of a key that was certified once and whose certificate is forgotten: enough to know it again.
/// Whoever finds another key of the same half has found one that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpentKey(pub u128);

impl From<KeyHash> for SpentKey {
    fn from(key: KeyHash) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&key.0[..16]);
        Self(u128::from_be_bytes(half))
    }
}

/// One change to an identity: what an auditor asks for years later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// When.
    pub at: UnixMillis,
    /// Who did it, as the hub knows them.
    pub actor: String,
    /// What changed: a field of [`IdentityRow`], or `certificate`.
    pub field: String,
    /// Its value before; empty for none.
    pub before: String,
    /// Its value since.
    pub after: String,
    /// Why, if somebody said.
    pub reason: String,
}

/// Changes that are kept of one identity; the oldest go.
pub const CHANGES_PER_IDENTITY_MAX: usize = 256;
/// Changes that an identity reported itself, which are kept beside those; the oldest go. So none of its reports takes the place
/// of what an operator did.
pub const OWN_CHANGES_PER_IDENTITY_MAX: usize = 64;

/// A change to the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryOp {
    /// Adds or replaces the identity with this id.
    PutIdentity(IdentityRow),
    /// Removes an identity that has no credentials, with its changes; nothing happens if there is none.
    DeleteIdentity {
        /// Which.
        id: IdentityId,
    },
    /// Adds or replaces the credential with this key.
    PutCredential(CredentialRow),
    /// Forgets the credential of a key, and for ever not that the key was certified.
    SpendKey {
        /// Which.
        key: KeyHash,
    },
    /// Notes a change to an identity behind those noted before, of which [`CHANGES_PER_IDENTITY_MAX`] are kept.
    Note {
        /// Whose.
        identity: IdentityId,
        /// What changed.
        change: ChangeRow,
    },
    /// The same for a change that the identity reported itself, of which [`OWN_CHANGES_PER_IDENTITY_MAX`] are kept.
    NoteOwn {
        /// Whose.
        identity: IdentityId,
        /// What changed.
        change: ChangeRow,
    },
    /// Adds or replaces a named blob (policy text, certificates, …).
    PutBlob {
        /// Its name.
        name: String,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Removes a blob; nothing happens if there is none.
    DeleteBlob {
        /// Its name.
        name: String,
    },
    /// Adds or replaces a named document: like a blob, but read when somebody asks for it and not at every start.
    PutDocument {
        /// Its name.
        name: String,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Removes a document; nothing happens if there is none.
    DeleteDocument {
        /// Its name.
        name: String,
    },
}

/// Everything in the registry: identities by id, credentials by key, spent keys, blobs by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryContents {
    /// All identities.
    pub identities: Vec<IdentityRow>,
    /// All credentials.
    pub credentials: Vec<CredentialRow>,
    /// All keys whose credentials are forgotten.
    pub spent: Vec<SpentKey>,
    /// All blobs: name and content.
    pub blobs: Vec<(String, Vec<u8>)>,
}

/// Key of a stored message body. Allocated by the hub in ascending order and never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// Key of a session. Allocated by the hub in ascending order and never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A message body, shared by every queue and retained slot that refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Where it was published.
    pub topic: TopicName,
    /// Who published it; `None` for the hub itself.
    pub publisher: Option<IdentityId>,
    /// As published.
    pub qos: Qos,
    /// As published.
    pub retain: bool,
    /// The properties that are forwarded to receivers, encoded.
    pub forwarded: Arc<[u8]>,
    /// The application message.
    pub payload: Arc<[u8]>,
    /// When it is void (message expiry).
    pub expires: Option<UnixMillis>,
    /// When the hub received it.
    pub received: UnixMillis,
}

/// One persistent session, keyed by (identity, client id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose it is.
    pub identity: IdentityId,
    /// The identity's name for it.
    pub client_id: ClientId,
    /// Whether it last spoke MQTT 5 (otherwise 3.1.1).
    pub v5: bool,
    /// Seconds it outlives its connection; `u32::MAX` = for ever.
    pub expiry_s: u32,
    /// Whether a client was connected at the time of the commit.
    pub connected: bool,
    /// When the last connection ended.
    pub disconnected_at: Option<UnixMillis>,
    /// Queue entries below this sequence were sent on an earlier connection: their next delivery bears DUP [MQTT-3.3.1-1].
    pub sent_below: u64,
    /// Where its client was last connected from, and how: policies may depend on it.
    pub peer: Option<(IpAddr, String)>,
    /// When it began.
    pub created: UnixMillis,
}

/// One subscription of a session, keyed by its filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// What it asks for.
    pub filter: TopicFilter,
    /// The subscription options byte, MQTT 5.0 §3.8.3.1.
    pub options: u8,
    /// The subscription identifier, if one was given.
    pub subscription_id: Option<u32>,
}

/// One outgoing message in a session's queue, keyed by (session, sequence).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// The body.
    pub message: MessageId,
    /// At which it is delivered.
    pub qos: Qos,
    /// The retain flag it is delivered with.
    pub retain: bool,
    /// The subscription identifiers it is delivered with.
    pub subscription_ids: Vec<u32>,
    /// PUBREC came: the body is no longer needed and only the PUBREL handshake remains [MQTT-4.3.3-6].
    pub released: bool,
}

/// The will of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillRow {
    /// Where it goes.
    pub topic: TopicName,
    /// At which it is published.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// The properties that are forwarded to receivers, encoded.
    pub forwarded: Arc<[u8]>,
    /// The message.
    pub payload: Arc<[u8]>,
    /// Message expiry in seconds, counted from its publication.
    pub expiry_s: Option<u32>,
    /// Will delay in seconds.
    pub delay_s: u32,
    /// When it is to be published; `None` while the client is connected.
    pub due: Option<UnixMillis>,
}

/// A change to the session store. Each fixes the state of its key whatever was there before, so that a batch may be
/// committed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOp {
    /// Stores a body.
    PutMessage {
        /// Its key.
        id: MessageId,
        /// The body.
        row: Arc<MessageRow>,
    },
    /// Removes a body.
    DeleteMessage {
        /// Its key.
        id: MessageId,
    },
    /// Adds or replaces a session.
    PutSession {
        /// Its key.
        id: SessionId,
        /// The session.
        row: SessionRow,
    },
    /// Removes a session with its subscriptions, queue, inbound ids and will, but no message body.
    DeleteSession {
        /// Its key.
        id: SessionId,
    },
    /// Adds or replaces a subscription.
    PutSubscription {
        /// Whose.
        session: SessionId,
        /// The subscription.
        row: SubscriptionRow,
    },
    /// Removes a subscription.
    DeleteSubscription {
        /// Whose.
        session: SessionId,
        /// Its filter.
        filter: TopicFilter,
    },
    /// Puts a message into a session's queue.
    Enqueue {
        /// Whose.
        session: SessionId,
        /// Its place: ascending in a session.
        seq: u64,
        /// The entry.
        row: QueueRow,
    },
    /// Marks an entry as released (PUBREC received).
    Release {
        /// Whose.
        session: SessionId,
        /// Its place.
        seq: u64,
    },
    /// Removes an entry.
    Dequeue {
        /// Whose.
        session: SessionId,
        /// Its place.
        seq: u64,
    },
    /// Keeps a QoS 2 publish whose PUBREL is outstanding [MQTT-4.3.3-10].
    PutInbound {
        /// Whose.
        session: SessionId,
        /// The packet identifier.
        packet_id: u16,
        /// The body, published when PUBREL comes.
        message: MessageId,
    },
    /// Forgets such an id.
    DeleteInbound {
        /// Whose.
        session: SessionId,
        /// The packet identifier.
        packet_id: u16,
    },
    /// Adds or replaces a session's will.
    PutWill {
        /// Whose.
        session: SessionId,
        /// The will.
        row: Arc<WillRow>,
    },
    /// Removes a session's will.
    DeleteWill {
        /// Whose.
        session: SessionId,
    },
    /// Makes a stored body the retained message of a topic.
    PutRetained {
        /// The topic.
        topic: TopicName,
        /// The body.
        message: MessageId,
    },
    /// Removes the retained message of a topic, but not its body.
    DeleteRetained {
        /// The topic.
        topic: TopicName,
    },
}

/// A session with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Its key.
    pub id: SessionId,
    /// The session.
    pub row: SessionRow,
    /// By filter.
    pub subscriptions: Vec<SubscriptionRow>,
    /// By sequence.
    pub queue: Vec<(u64, QueueRow)>,
    /// QoS 2 publishes whose PUBREL is outstanding, by packet identifier.
    pub inbound: Vec<(u16, MessageId)>,
    /// Its will.
    pub will: Option<WillRow>,
}

/// Everything in the session store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionContents {
    /// Bodies that some queue or retained slot refers to.
    pub messages: HashMap<MessageId, Arc<MessageRow>>,
    /// By id.
    pub sessions: Vec<StoredSession>,
    /// By topic.
    pub retained: Vec<(TopicName, MessageId)>,
    /// The first message id that was never used, 1 in an empty store.
    pub next_message: u64,
    /// The first session id that was never used, 1 in an empty store.
    pub next_session: u64,
    /// Rows that nothing refers to (a body) or that refer to nothing (a queue entry without its body, unless it is
    /// released): they were deleted by the load.
    pub orphans_dropped: u64,
}
