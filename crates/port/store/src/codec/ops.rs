//! The byte form of session operations, one behind another as the log holds them: a number for the kind, then the keys,
//! then the row. Each tells its own end.

use std::sync::Arc;

use portreeve_types::{Qos, TopicFilter};

use super::{BadRow, Encode, Reader, put_bytes, put_varint};
use crate::rows::{MessageId, MessageRow, QueueRow, SessionId, SessionOp, SessionRow, SubscriptionRow, WillRow};

/// Numbers on disk, apart from the order of the variants in memory.
mod kind {
    pub(super) const PUT_MESSAGE: u8 = 1;
    pub(super) const DELETE_MESSAGE: u8 = 2;
    pub(super) const PUT_SESSION: u8 = 3;
    pub(super) const DELETE_SESSION: u8 = 4;
    pub(super) const PUT_SUBSCRIPTION: u8 = 5;
    pub(super) const DELETE_SUBSCRIPTION: u8 = 6;
    pub(super) const ENQUEUE: u8 = 7;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const DEQUEUE: u8 = 9;
    pub(super) const PUT_INBOUND: u8 = 10;
    pub(super) const DELETE_INBOUND: u8 = 11;
    pub(super) const PUT_WILL: u8 = 12;
    pub(super) const DELETE_WILL: u8 = 13;
    pub(super) const PUT_RETAINED: u8 = 14;
    pub(super) const DELETE_RETAINED: u8 = 15;
}

/// Reads `count` operations, which end where `bytes` end, and appends them to `ops`.
pub(crate) fn read_ops(bytes: &[u8], count: u32, ops: &mut Vec<SessionOp>) -> Result<(), BadRow> {
    let mut input = Reader(bytes);
    for _ in 0..count {
        ops.push(SessionOp::read(&mut input)?);
    }
    if input.0.is_empty() { Ok(()) } else { Err(BadRow("bytes behind the last operation")) }
}

impl Reader<'_> {
    fn session(&mut self) -> Result<SessionId, BadRow> {
        self.u64().map(SessionId)
    }

    fn message(&mut self) -> Result<MessageId, BadRow> {
        self.u64().map(MessageId)
    }

    fn packet_id(&mut self) -> Result<u16, BadRow> {
        self.array().map(u16::from_be_bytes)
    }

    fn filter(&mut self) -> Result<TopicFilter, BadRow> {
        TopicFilter::new(self.text()?).map_err(|_| BadRow("filter is not valid"))
    }

    /// Unlike the row on its own, with the number of subscription identifiers before it.
    fn queue_row(&mut self) -> Result<QueueRow, BadRow> {
        let count = self.varint()?;
        let (qos, [retain, released]): (Qos, _) = self.delivery()?;
        let message = self.message()?;
        let mut subscription_ids = Vec::new();
        for _ in 0..count {
            subscription_ids.push(self.subscription_id()?);
        }
        Ok(QueueRow { message, qos, retain, subscription_ids, released })
    }
}

fn put_kind(out: &mut Vec<u8>, kind: u8, id: u64) {
    out.push(kind);
    out.extend_from_slice(&id.to_be_bytes());
}

fn put_place(out: &mut Vec<u8>, kind: u8, session: SessionId, seq: u64) {
    put_kind(out, kind, session.0);
    out.extend_from_slice(&seq.to_be_bytes());
}

impl Encode for SessionOp {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::PutMessage { id, row } => {
                put_kind(out, kind::PUT_MESSAGE, id.0);
                row.write(out);
            }
            Self::DeleteMessage { id } => put_kind(out, kind::DELETE_MESSAGE, id.0),
            Self::PutSession { id, row } => {
                put_kind(out, kind::PUT_SESSION, id.0);
                row.write(out);
            }
            Self::DeleteSession { id } => put_kind(out, kind::DELETE_SESSION, id.0),
            Self::PutSubscription { session, row } => {
                put_kind(out, kind::PUT_SUBSCRIPTION, session.0);
                row.write(out);
            }
            Self::DeleteSubscription { session, filter } => {
                put_kind(out, kind::DELETE_SUBSCRIPTION, session.0);
                put_bytes(out, filter.as_str().as_bytes());
            }
            Self::Enqueue { session, seq, row } => {
                put_place(out, kind::ENQUEUE, *session, *seq);
                put_varint(out, row.subscription_ids.len() as u64);
                row.write(out);
            }
            Self::Release { session, seq } => put_place(out, kind::RELEASE, *session, *seq),
            Self::Dequeue { session, seq } => put_place(out, kind::DEQUEUE, *session, *seq),
            Self::PutInbound { session, packet_id, message } => {
                put_kind(out, kind::PUT_INBOUND, session.0);
                out.extend_from_slice(&packet_id.to_be_bytes());
                out.extend_from_slice(&message.0.to_be_bytes());
            }
            Self::DeleteInbound { session, packet_id } => {
                put_kind(out, kind::DELETE_INBOUND, session.0);
                out.extend_from_slice(&packet_id.to_be_bytes());
            }
            Self::PutWill { session, row } => {
                put_kind(out, kind::PUT_WILL, session.0);
                row.write(out);
            }
            Self::DeleteWill { session } => put_kind(out, kind::DELETE_WILL, session.0),
            Self::PutRetained { topic, message } => {
                put_kind(out, kind::PUT_RETAINED, message.0);
                put_bytes(out, topic.as_bytes());
            }
            Self::DeleteRetained { topic } => {
                out.push(kind::DELETE_RETAINED);
                put_bytes(out, topic.as_bytes());
            }
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        Ok(match input.u8()? {
            kind::PUT_MESSAGE => Self::PutMessage { id: input.message()?, row: Arc::new(MessageRow::read(input)?) },
            kind::DELETE_MESSAGE => Self::DeleteMessage { id: input.message()? },
            kind::PUT_SESSION => Self::PutSession { id: input.session()?, row: SessionRow::read(input)? },
            kind::DELETE_SESSION => Self::DeleteSession { id: input.session()? },
            kind::PUT_SUBSCRIPTION => {
                Self::PutSubscription { session: input.session()?, row: SubscriptionRow::read(input)? }
            }
            kind::DELETE_SUBSCRIPTION => {
                Self::DeleteSubscription { session: input.session()?, filter: input.filter()? }
            }
            kind::ENQUEUE => Self::Enqueue { session: input.session()?, seq: input.u64()?, row: input.queue_row()? },
            kind::RELEASE => Self::Release { session: input.session()?, seq: input.u64()? },
            kind::DEQUEUE => Self::Dequeue { session: input.session()?, seq: input.u64()? },
            kind::PUT_INBOUND => {
                Self::PutInbound { session: input.session()?, packet_id: input.packet_id()?, message: input.message()? }
            }
            kind::DELETE_INBOUND => Self::DeleteInbound { session: input.session()?, packet_id: input.packet_id()? },
            kind::PUT_WILL => Self::PutWill { session: input.session()?, row: Arc::new(WillRow::read(input)?) },
            kind::DELETE_WILL => Self::DeleteWill { session: input.session()? },
            kind::PUT_RETAINED => Self::PutRetained { message: input.message()?, topic: input.topic()? },
            kind::DELETE_RETAINED => Self::DeleteRetained { topic: input.topic()? },
            _ => return Err(BadRow("unknown kind of operation")),
        })
    }
}
