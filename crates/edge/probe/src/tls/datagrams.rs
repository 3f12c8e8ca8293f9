//! DTLS's record layer and fragments (RFC 6347 section 4, RFC 9147 section 4): a server's first flight from datagrams.

use std::collections::BTreeMap;

use portreeve_assurance::evidence::tls::Version;

use super::{
    flight::{Flight, ServerHello},
    hello::{Hello, Transport, extension, legacy_version, wire_version},
    records::{Alert, MESSAGE_BYTES_MAX, Progress},
};
use crate::wire::{Malformed, Reader, sized};

/// Messages of a flight that wait for one before them, and pieces of each.
const WAITING_MAX: usize = 16;
const FRAGMENTS_MAX: usize = 512;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// The datagram of a hello; `sequence` counts hellos of one handshake.
#[must_use]
pub fn hello_datagram(hello: &Hello<'_>, cookie: &[u8], sequence: u8) -> Vec<u8> {
    let mut body = Vec::new();
    hello.put_body(&mut body, Transport::Datagram { cookie });
    let mut out = vec![22];
    // RFC 6347 section 4.2.1 and RFC 9147 section 5.3: what the record says matters little, and DTLS 1.0 is always right at first.
    let record = if cookie.is_empty() { Version::Tls11 } else { legacy_version(hello.version) };
    out.extend(wire_version(record, true).to_be_bytes());
    out.extend([0, 0, 0, 0, 0, 0, 0, sequence]);
    sized::<2>(&mut out, |out| {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        out.push(1);
        out.extend(&length[1..]);
        out.extend([0, sequence, 0, 0, 0]);
        out.extend(&length[1..]);
        out.extend(&body);
    });
    out
}

/// Puts a flight together from datagrams in any order.
#[derive(Debug, Default)]
pub struct DatagramReader {
    flight: Flight,
    /// The cookie of a HelloVerifyRequest.
    cookie: Option<Vec<u8>>,
    /// The number of the next message; the first that comes says where the flight begins.
    next: u16,
    waiting: BTreeMap<u16, Message>,
}

#[derive(Debug)]
struct Message {
    kind: u8,
    body: Vec<u8>,
    /// Which bytes have come: start and end of each piece.
    pieces: Vec<(usize, usize)>,
}

impl DatagramReader {
    /// For the answer to the hello of this number.
    #[must_use]
    pub fn new(first_message: u16) -> Self {
        Self { next: first_message, ..Self::default() }
    }

    /// The cookie that the server wants to see, if it does.
    #[must_use]
    pub fn cookie(&self) -> Option<&[u8]> {
        self.cookie.as_deref()
    }

    /// Whether a cookie is all that came: HelloVerifyRequest, or HelloRetryRequest with one (RFC 9147 section 5.1).
    #[must_use]
    pub fn is_cookie(&self) -> bool {
        let is_retry = |hello: &ServerHello| hello.is_retry && hello.has(extension::COOKIE);
        self.cookie.is_some() || self.flight.hello.as_ref().is_some_and(is_retry)
    }

    /// What was put together so far.
    #[must_use]
    pub fn into_flight(self) -> Flight {
        self.flight
    }

    /// Takes a datagram. A cookie is [`Progress::Complete`] too.
    ///
    /// # Errors
    /// What about it no DTLS server sends.
    pub fn push(&mut self, datagram: &[u8]) -> Result<Progress, Malformed> {
        let mut rest = Reader(datagram);
        if datagram.is_empty() {
            return Err(Malformed("an empty datagram"));
        }
        while !rest.is_empty() {
            let kind = rest.u8()?;
            // What is encrypted is of no use here.
            if kind & 0xe0 == 0x20 {
                return Ok(Progress::More);
            }
            let (major, _minor, epoch) = (rest.u8()?, rest.u8()?, rest.u16()?);
            rest.take(6)?;
            let body = rest.field16()?;
            if major != 0xfe {
                return Err(Malformed("not DTLS"));
            }
            match (kind, epoch) {
                (21, 0) => {
                    let &[1 | 2, description] = body else { return Err(Malformed("an alert of other than two bytes")) };
                    let alert = Alert { description };
                    if alert != Alert::UNRECOGNIZED_NAME {
                        return Ok(Progress::Refused(alert));
                    }
                }
                (22, 0) => self.take_fragments(body)?,
                (20..=26, _) => {}
                _ => return Err(Malformed("not DTLS")),
            }
            if self.cookie.is_some() || self.flight.is_complete {
                return Ok(Progress::Complete);
            }
        }
        Ok(Progress::More)
    }

    fn take_fragments(&mut self, record: &[u8]) -> Result<(), Malformed> {
        let mut rest = Reader(record);
        while !rest.is_empty() {
            let (kind, length, number) = (rest.u8()?, rest.u24()?, rest.u16()?);
            let (start, bytes) = (rest.u24()?, rest.field24()?);
            let end = start + bytes.len();
            if length > MESSAGE_BYTES_MAX || end > length {
                return Err(Malformed("a fragment outside its message"));
            }
            if number < self.next {
                continue;
            }
            if usize::from(number - self.next) >= WAITING_MAX {
                return Err(Malformed("a message far ahead of its flight"));
            }
            let message = self.waiting.entry(number).or_insert_with(|| Message {
                kind,
                body: vec![0; length],
                pieces: Vec::new(),
            });
            if message.kind != kind || message.body.len() != length || message.pieces.len() == FRAGMENTS_MAX {
                return Err(Malformed("fragments that do not belong together"));
            }
            message.body[start..end].copy_from_slice(bytes);
            message.pieces.push((start, end));
            self.take_whole()?;
        }
        Ok(())
    }

    fn take_whole(&mut self) -> Result<(), Malformed> {
        while !self.flight.is_complete && self.cookie.is_none() {
            let Some(message) = self.waiting.get_mut(&self.next) else { return Ok(()) };
            if !message.is_whole() {
                return Ok(());
            }
            if message.kind == HELLO_VERIFY_REQUEST {
                let mut body = Reader(&message.body);
                body.u16()?;
                self.cookie = Some(body.field8()?.to_vec());
            } else {
                self.flight.take(message.kind, &message.body)?;
            }
            self.waiting.remove(&self.next);
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }
}

impl Message {
    fn is_whole(&mut self) -> bool {
        self.pieces.sort_unstable();
        let reached = self
            .pieces
            .iter()
            .fold(0, |reached, (start, end)| if *start <= reached { reached.max(*end) } else { reached });
        reached == self.body.len()
    }
}
