//! One TLS connection without I/O and without buffers: records in, records out, in memory that the caller lends.
//!
//! rustls's unbuffered interface, made safe to use: it has rules about which bytes must be shown to it again, and this
//! keeps them. A connection at rest owns nothing but the start of a record that has not arrived whole, so ten thousand
//! idle sessions share one thread's buffers.

use rustls::{
    CommonState, Error,
    client::{ClientConnectionData, UnbufferedClientConnection},
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};

/// What may wait for the rest of a record or of a handshake message, bytes. The longest record has 16 KiB (RFC 8446
/// §5.2); the rest is for a handshake message in several records, such as a long chain.
pub const PARTIAL_BYTES_MAX: usize = 64 * 1024;
/// Records without application data that a peer may send over a connection's life, the handshake's included. Each may
/// make new keys (RFC 8446 §4.6.3), which costs more than a message; who rekeys as often as its keys wear out sends a
/// few in a year.
const CONTROL_RECORDS_MAX: usize = 1024;
/// Content type, version, length.
const HEADER_BYTES: usize = 5;
/// What a record adds to its plaintext at most: header, explicit nonce, content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Plaintext of one record (RFC 8446 §5.1).
const RECORD_PLAIN_BYTES: usize = 16 * 1024;

/// Either end of a TLS connection.
pub trait Side {
    /// rustls's name for this end.
    type Data;
    /// Runs rustls over what arrived.
    fn process<'c, 'i>(&'c mut self, arrived: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    /// What both ends have.
    fn common(&self) -> &CommonState;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, arrived: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(arrived)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, arrived: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(arrived)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

/// Whether more may come from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It may.
    Open,
    /// The peer has said that nothing follows (close_notify).
    Closed,
}

/// A TLS connection, either side.
#[derive(Debug)]
pub struct Records<S> {
    side: S,
    /// The start of a record or of a handshake message. rustls holds places in it.
    partial: Vec<u8>,
    /// Where in what is received next the next record begins.
    next_record: usize,
    /// Records that came, without those that held application data.
    control_records: usize,
}

impl<S: Side> Records<S> {
    /// A connection on which nothing was said yet.
    pub fn new(side: S) -> Self {
        Self { side, partial: Vec::new(), next_record: 0, control_records: 0 }
    }

    /// What was negotiated, and the peer's certificate.
    pub fn common(&self) -> &CommonState {
        self.side.common()
    }

    /// Begins the handshake, where it is ours to begin: appends to `out` what is to be sent.
    ///
    /// # Errors
    /// rustls's.
    pub fn start(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.advance(&mut [], out, &mut |_| {}).map(|_| ())
    }

    /// Puts what waits for its rest at the start of `buffer` and returns its length: new bytes go behind it, and all of
    /// them to [`Self::receive`]. At most [`PARTIAL_BYTES_MAX`].
    pub fn fill(&self, buffer: &mut [u8]) -> usize {
        buffer[..self.partial.len()].copy_from_slice(&self.partial);
        self.partial.len()
    }

    /// Takes what [`Self::fill`] began and the peer continued. Decrypted bytes go to `take` record by record; what is to
    /// be sent in answer — handshake, key update, or the alert that explains an error — is appended to `out`.
    ///
    /// # Errors
    /// What is wrong with the peer's bytes, or with the peer. Send `out` then, and nothing more.
    pub fn receive(
        &mut self,
        arrived: &mut [u8],
        out: &mut Vec<u8>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Flow, Error> {
        self.count(arrived);
        let (used, flow) = self.advance(arrived, out, take)?;
        if self.control_records > CONTROL_RECORDS_MAX {
            return Err(Error::General("too many records without data".into()));
        }
        self.next_record -= used.min(self.next_record);
        let rest = &arrived[used..];
        if rest.len() > PARTIAL_BYTES_MAX {
            return Err(Error::General("a handshake message of too many bytes".into()));
        }
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
        Ok(flow)
    }

    /// Counts the records that begin in what arrived. Before rustls decrypts them, in place.
    fn count(&mut self, arrived: &[u8]) {
        while let Some(&[_, _, _, high, low]) = arrived.get(self.next_record..self.next_record + HEADER_BYTES) {
            self.next_record += HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
            self.control_records += 1;
        }
    }

    /// Runs rustls until it wants more input; how much it used.
    fn advance(
        &mut self,
        arrived: &mut [u8],
        out: &mut Vec<u8>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(usize, Flow), Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.side.process(&mut arrived[used..]);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.explain(&mut arrived[used + discard..], out);
                    return Err(error);
                }
            };
            let end = match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        take(record?.payload);
                        self.control_records = self.control_records.saturating_sub(1);
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(out, 0, |room| data.encode(room))?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => Some(Flow::Closed),
                // No side asks for early data.
                _ => Some(Flow::Open),
            };
            used += discard;
            if let Some(flow) = end {
                return Ok((used, flow));
            }
        }
    }

    /// The alert for the peer, where there is one. Only what waits to be sent is asked for: rustls would look at the input
    /// again otherwise, and it panics at an error that comes twice.
    fn explain(&mut self, arrived: &mut [u8], out: &mut Vec<u8>) {
        while self.side.common().wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) = self.side.process(arrived).state else { return };
            if append(out, 0, |room| data.encode(room)).is_err() {
                return;
            }
        }
    }

    /// Appends `plain` to `out` as records.
    ///
    /// # Errors
    /// The handshake is not over, the connection is closed, or its keys are used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let records = plain.len() / RECORD_PLAIN_BYTES + 1;
        let room_bytes = plain.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(out, |traffic, out| append(out, room_bytes, |room| traffic.encrypt(plain, room)))
    }

    /// Appends the close_notify alert (RFC 8446 §6.1) to `out`. Afterwards nothing can be sealed.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(out, |traffic, out| append(out, RECORD_OVERHEAD_BYTES, |room| traffic.queue_close_notify(room)))
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        put: impl FnOnce(&mut rustls::unbuffered::WriteTraffic<'_, S::Data>, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            // With what waits for its rest: rustls may hold places in it. Whole records are not among it, so nothing of it
            // is used up here.
            match self.side.process(&mut self.partial).state? {
                ConnectionState::WriteTraffic(mut traffic) => return put(&mut traffic, out),
                // A key update of the peer's that is to be answered.
                ConnectionState::EncodeTlsData(mut data) => append(out, 0, |room| data.encode(room))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                // Said once; sending is still possible.
                ConnectionState::PeerClosed => {}
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }
}

/// Lets `put` write behind `out`'s end: into `room_bytes`, or into as many as it asks for then.
fn append<E: RoomError>(
    out: &mut Vec<u8>,
    room_bytes: usize,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + room_bytes, 0);
    let put = put(&mut out[start..]).or_else(|error| match error.required_bytes() {
        Some(required) => {
            out.resize(start + required, 0);
            put(&mut out[start..])
        }
        None => Err(error),
    });
    match put {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(_) => {
            out.truncate(start);
            Err(Error::EncryptError)
        }
    }
}

trait RoomError {
    fn required_bytes(&self) -> Option<usize>;
}

impl RoomError for EncodeError {
    fn required_bytes(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl RoomError for EncryptError {
    fn required_bytes(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}
