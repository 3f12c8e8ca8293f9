//! The byte form of rows: a version, fixed-width big-endian numbers, and lengths as LEB128. Decoding is strict: a row
//! has one encoding, and a cut, extended or altered shape is refused rather than guessed at.

mod ops;

use std::{net::IpAddr, sync::Arc};

pub(crate) use ops::read_ops;
use portreeve_types::{ClientId, IdentityId, KeyHash, Kind, LifecycleState, Qos, TopicFilter, TopicName, UnixMillis};
use uuid::Uuid;

use crate::rows::{
    ChangeRow, CredentialRow, IdentityRow, MessageId, MessageRow, QueueRow, SessionRow, SubscriptionRow, WillRow,
};

/// First byte of every row.
const VERSION: u8 = 1;

/// Why bytes are no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadRow(&'static str);

/// A row that has a byte form.
pub(crate) trait Encode: Sized {
    /// Appends the body, without the version.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads the body.
    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow>;

    /// Replaces the content of `out` by the whole row.
    fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(VERSION);
        self.write(out);
    }

    /// Reads a whole row.
    fn decode(bytes: &[u8]) -> Result<Self, BadRow> {
        let mut input = Reader(bytes);
        if input.u8()? != VERSION {
            return Err(BadRow("unknown row version"));
        }
        let row = Self::read(&mut input)?;
        if input.0.is_empty() { Ok(row) } else { Err(BadRow("bytes behind the end of the row")) }
    }
}

/// What is left to read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadRow> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(BadRow("row is cut short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRow> {
        self.take(N)?.try_into().map_err(|_| BadRow("row is cut short"))
    }

    fn u8(&mut self) -> Result<u8, BadRow> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, BadRow> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadRow> {
        self.array().map(u64::from_be_bytes)
    }

    fn varint(&mut self) -> Result<u64, BadRow> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 { Err(BadRow("number is not minimal")) } else { Ok(value) };
            }
        }
        Err(BadRow("number is too long"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], BadRow> {
        let length = usize::try_from(self.varint()?).map_err(|_| BadRow("length is too large"))?;
        self.take(length)
    }

    fn shared(&mut self) -> Result<Arc<[u8]>, BadRow> {
        let bytes = self.bytes()?;
        // The default is one empty slice for all: most messages forward no properties.
        Ok(if bytes.is_empty() { Arc::default() } else { Arc::from(bytes) })
    }

    fn text(&mut self) -> Result<&'a str, BadRow> {
        std::str::from_utf8(self.bytes()?).map_err(|_| BadRow("text is not UTF-8"))
    }

    fn string(&mut self) -> Result<String, BadRow> {
        self.text().map(str::to_owned)
    }

    fn flag(&mut self) -> Result<bool, BadRow> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRow("flag is neither 0 nor 1")),
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, BadRow>) -> Result<Option<T>, BadRow> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn millis(&mut self) -> Result<UnixMillis, BadRow> {
        self.u64().map(UnixMillis)
    }

    fn identity(&mut self) -> Result<IdentityId, BadRow> {
        self.array().map(|bytes| IdentityId(Uuid::from_bytes(bytes)))
    }

    fn topic(&mut self) -> Result<TopicName, BadRow> {
        TopicName::new(self.text()?).map_err(|_| BadRow("topic is not valid"))
    }

    fn subscription_id(&mut self) -> Result<u32, BadRow> {
        u32::try_from(self.varint()?).map_err(|_| BadRow("subscription identifier is too large"))
    }

    /// The one text form of an address.
    fn address(&mut self) -> Result<IpAddr, BadRow> {
        let text = self.text()?;
        let address: IpAddr = text.parse().map_err(|_| BadRow("address is not valid"))?;
        if address.to_string() == text { Ok(address) } else { Err(BadRow("address is not in its usual form")) }
    }

    /// Two bits of QoS and the flags above them.
    fn delivery<const FLAGS: usize>(&mut self) -> Result<(Qos, [bool; FLAGS]), BadRow> {
        let byte = self.u8()?;
        let qos = Qos::from_bits(byte & 3).ok_or(BadRow("QoS is 3"))?;
        if usize::from(byte >> 2) >= 1 << FLAGS {
            return Err(BadRow("unknown delivery flag"));
        }
        Ok((qos, std::array::from_fn(|index| byte & (4 << index) != 0)))
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, write: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

fn put_millis(out: &mut Vec<u8>, time: &UnixMillis) {
    out.extend_from_slice(&time.0.to_be_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: &u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_identity(out: &mut Vec<u8>, id: &IdentityId) {
    out.extend_from_slice(id.0.as_bytes());
}

fn put_delivery<const FLAGS: usize>(out: &mut Vec<u8>, qos: Qos, flags: [bool; FLAGS]) {
    let bits = flags.iter().enumerate().fold(qos as u8, |bits, (index, &flag)| bits | u8::from(flag) << (2 + index));
    out.push(bits);
}

/// Numbers on disk, apart from the order of the variants in memory.
const KINDS: [Kind; 3] = [Kind::Device, Kind::Gateway, Kind::Application];
const STATES: [LifecycleState; 6] = [
    LifecycleState::Pending,
    LifecycleState::Active,
    LifecycleState::Quarantined,
    LifecycleState::Disabled,
    LifecycleState::Revoked,
    LifecycleState::Retired,
];

const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Device => 0,
        Kind::Gateway => 1,
        Kind::Application => 2,
    }
}

const fn state_number(state: LifecycleState) -> u8 {
    match state {
        LifecycleState::Pending => 0,
        LifecycleState::Active => 1,
        LifecycleState::Quarantined => 2,
        LifecycleState::Disabled => 3,
        LifecycleState::Revoked => 4,
        LifecycleState::Retired => 5,
    }
}

impl Encode for IdentityRow {
    fn write(&self, out: &mut Vec<u8>) {
        put_identity(out, &self.id);
        put_bytes(out, self.name.as_str().as_bytes());
        out.push(kind_number(self.kind));
        for text in [&self.group, &self.owner, &self.location, &self.model, &self.firmware, &self.notes] {
            put_bytes(out, text.as_bytes());
        }
        out.push(state_number(self.state));
        put_bytes(out, self.state_reason.as_bytes());
        put_millis(out, &self.created);
        put_millis(out, &self.changed);
        put_option(out, self.last_seen.as_ref(), put_millis);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            id: input.identity()?,
            name: input.text()?.parse().map_err(|_| BadRow("name is not valid"))?,
            kind: *KINDS.get(usize::from(input.u8()?)).ok_or(BadRow("unknown kind"))?,
            group: input.string()?,
            owner: input.string()?,
            location: input.string()?,
            model: input.string()?,
            firmware: input.string()?,
            notes: input.string()?,
            state: *STATES.get(usize::from(input.u8()?)).ok_or(BadRow("unknown state"))?,
            state_reason: input.string()?,
            created: input.millis()?,
            changed: input.millis()?,
            last_seen: input.option(Reader::millis)?,
        })
    }
}

impl Encode for CredentialRow {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.0);
        put_identity(out, &self.identity);
        put_bytes(out, &self.serial);
        put_millis(out, &self.not_before);
        put_millis(out, &self.not_after);
        put_millis(out, &self.issued);
        put_option(out, self.revoked.as_ref(), put_millis);
        put_option(out, self.used.as_ref(), put_millis);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            key: KeyHash(input.array()?),
            identity: input.identity()?,
            serial: input.bytes()?.to_vec(),
            not_before: input.millis()?,
            not_after: input.millis()?,
            issued: input.millis()?,
            revoked: input.option(Reader::millis)?,
            used: input.option(Reader::millis)?,
        })
    }
}

impl Encode for ChangeRow {
    fn write(&self, out: &mut Vec<u8>) {
        put_millis(out, &self.at);
        for text in [&self.actor, &self.field, &self.before, &self.after, &self.reason] {
            put_bytes(out, text.as_bytes());
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            at: input.millis()?,
            actor: input.string()?,
            field: input.string()?,
            before: input.string()?,
            after: input.string()?,
            reason: input.string()?,
        })
    }
}

impl Encode for MessageRow {
    fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.topic.len() + self.forwarded.len() + self.payload.len() + 64);
        put_delivery(out, self.qos, [self.retain]);
        put_option(out, self.publisher.as_ref(), put_identity);
        put_option(out, self.expires.as_ref(), put_millis);
        put_millis(out, &self.received);
        put_bytes(out, self.topic.as_bytes());
        put_bytes(out, &self.forwarded);
        put_bytes(out, &self.payload);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        let (qos, [retain]) = input.delivery()?;
        Ok(Self {
            qos,
            retain,
            publisher: input.option(Reader::identity)?,
            expires: input.option(Reader::millis)?,
            received: input.millis()?,
            topic: input.topic()?,
            forwarded: input.shared()?,
            payload: input.shared()?,
        })
    }
}

impl Encode for SessionRow {
    fn write(&self, out: &mut Vec<u8>) {
        put_identity(out, &self.identity);
        put_bytes(out, self.client_id.as_str().as_bytes());
        out.push(u8::from(self.v5));
        put_u32(out, &self.expiry_s);
        out.push(u8::from(self.connected));
        put_option(out, self.disconnected_at.as_ref(), put_millis);
        out.extend(self.sent_below.to_be_bytes());
        put_option(out, self.peer.as_ref(), |out, (address, transport)| {
            put_bytes(out, address.to_string().as_bytes());
            put_bytes(out, transport.as_bytes());
        });
        put_millis(out, &self.created);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            identity: input.identity()?,
            client_id: ClientId::new(input.text()?).ok_or(BadRow("client id is not valid"))?,
            v5: input.flag()?,
            expiry_s: input.u32()?,
            connected: input.flag()?,
            disconnected_at: input.option(Reader::millis)?,
            sent_below: input.u64()?,
            peer: input.option(|input| Ok((input.address()?, input.string()?)))?,
            created: input.millis()?,
        })
    }
}

impl Encode for SubscriptionRow {
    fn write(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.filter.as_str().as_bytes());
        out.push(self.options);
        put_option(out, self.subscription_id.as_ref(), put_u32);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            filter: TopicFilter::new(input.text()?).map_err(|_| BadRow("filter is not valid"))?,
            options: input.u8()?,
            subscription_id: input.option(Reader::u32)?,
        })
    }
}

impl Encode for QueueRow {
    fn write(&self, out: &mut Vec<u8>) {
        put_delivery(out, self.qos, [self.retain, self.released]);
        out.extend_from_slice(&self.message.0.to_be_bytes());
        for &id in &self.subscription_ids {
            put_varint(out, u64::from(id));
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        let (qos, [retain, released]) = input.delivery()?;
        let message = MessageId(input.u64()?);
        let mut subscription_ids = Vec::new();
        while !input.0.is_empty() {
            subscription_ids.push(input.subscription_id()?);
        }
        Ok(Self { message, qos, retain, subscription_ids, released })
    }
}

impl Encode for WillRow {
    fn write(&self, out: &mut Vec<u8>) {
        put_delivery(out, self.qos, [self.retain]);
        put_option(out, self.expiry_s.as_ref(), put_u32);
        put_u32(out, &self.delay_s);
        put_option(out, self.due.as_ref(), put_millis);
        put_bytes(out, self.topic.as_bytes());
        put_bytes(out, &self.forwarded);
        put_bytes(out, &self.payload);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRow> {
        let (qos, [retain]) = input.delivery()?;
        Ok(Self {
            qos,
            retain,
            expiry_s: input.option(Reader::u32)?,
            delay_s: input.u32()?,
            due: input.option(Reader::millis)?,
            topic: input.topic()?,
            forwarded: input.shared()?,
            payload: input.shared()?,
        })
    }
}
