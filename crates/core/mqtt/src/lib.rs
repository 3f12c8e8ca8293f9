//! MQTT 3.1.1 and 5.0 without I/O: the codec, bytes to borrowed packets and back, and the session's state machines.
//!
//! [`frame`] finds the first whole packet in what arrived, [`decode`] (or [`decode_connect`], for the packet that
//! opens a connection) turns it into a [`Packet`], and the functions of [`encode`] write packets to a buffer.
//! Whatever breaks a specification is a [`Violation`]: the reason code the peer is owed, the clause it broke, and
//! what may be said to it before the connection closes.
//!
//! Beside the codec stand the two halves of a server's session, as pure state: [`Outbound`] and its [`Link`] (what is owed
//! to a client), and [`Received`], [`InboundAliases`] and [`ReceiveQuota`] (what is remembered of what it sent).
//! [`provisioning`] is a whole session, of the one kind that strangers may have.
//!
//! *Invariants*
//! - Sans-I/O: bytes are arguments; no clock, no randomness, no allocation while decoding but for lists: the
//!   filters of SUBSCRIBE and UNSUBSCRIBE, the codes of their acknowledgements, a CONNACK's user properties, more than
//!   two subscription identifiers.
//! - Strict: a packet that either specification calls malformed or a protocol error does not decode. What needs the
//!   connection's history (a second CONNECT, an unknown topic alias, an exceeded receive maximum) is the session's
//!   to judge; what depends on policy is the hub's.
//! - No input panics, and a packet that decodes encodes to one that decodes equal.
//! - A declared length is checked against the cap before any of the body is waited for.
//!
//! Clauses are numbered as in MQTT 5.0; a rule that only 3.1.1 has says `of 3.1.1`.

mod connect;
mod decode;
pub mod encode;
mod inbound;
mod outbound;
mod packet;
mod properties;
pub mod provisioning;
mod reason;
mod violation;
mod wire;

pub use decode::{Sender, decode, decode_connect, decode_publish, decode_publish_to, frame, is_connect};
pub use encode::{AckKind, EncodeError, PublishHeader};
pub use inbound::{InboundAliases, REPEATS_MAX, ReceiveQuota, Received, Taken};
pub use outbound::{
    Acked, Deliverable, Delivery, Link, Outbound, Overflow, Pumped, QueueLimits, Queued, Removed, packet_id,
};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, MessageProperties, Packet, Publish, RETRY_AFTER, RetainHandling, SubAck,
    Subscribe, SubscriptionOptions, SubscriptionRequest, Unsubscribe, Version, Will,
};
pub use properties::UserProperties;
pub use reason::Reason;
pub use violation::{Answer, Violation};
