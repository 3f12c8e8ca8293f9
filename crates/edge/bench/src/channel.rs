//! TLS over a non-blocking socket, with buffers that belong to the thread and not to the connection.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use rustix::event::epoll::EventFlags;
use rustls::{
    CommonState,
    client::{ClientConnectionData, UnbufferedClientConnection},
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};

use crate::fault::Fault;

/// Bytes read in one system call.
const INPUT_BYTES: usize = 256 * 1024;
/// Bytes of plaintext sealed and written in one system call.
pub(crate) const PLAIN_BYTES_MAX: usize = 64 * 1024;
/// Room for the records of [`PLAIN_BYTES_MAX`], and for a handshake flight before them.
const OUTPUT_BYTES: usize = PLAIN_BYTES_MAX + 16 * 1024;
/// With more than this unsent, nothing is read: what is read asks to be answered.
const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// One thread's buffers, used by one connection at a time.
pub struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { input: vec![0; INPUT_BYTES], output: vec![0; OUTPUT_BYTES] }
    }
}

/// Either end of a TLS connection.
pub trait Side {
    /// What rustls knows of a connection on this side.
    type Data;
    /// Runs the state machine on what arrived.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    /// What both sides know.
    fn common(&self) -> &CommonState;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
    fn common(&self) -> &CommonState {
        self
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
    fn common(&self) -> &CommonState {
        self
    }
}

/// Whether more may come from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Open,
    /// It said good-bye, or hung up.
    Closed,
}

/// A TLS connection: at rest it holds no buffer but the start of a record that has not arrived whole.
pub struct Channel<T> {
    socket: TcpStream,
    tls: T,
    partial: Vec<u8>,
    /// Records that the socket did not take.
    backlog: Vec<u8>,
    backlog_written: usize,
    established: bool,
}

impl<T: Side> Channel<T> {
    /// Over a connected, non-blocking socket.
    pub fn new(socket: TcpStream, tls: T) -> Self {
        Self { socket, tls, partial: Vec::new(), backlog: Vec::new(), backlog_written: 0, established: false }
    }

    /// What to wait on.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What was negotiated.
    pub fn tls(&self) -> &CommonState {
        self.tls.common()
    }

    /// Whether the handshake is over.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether the socket takes no more for now.
    pub fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// What to wait for.
    pub fn interest(&self, reads: bool) -> EventFlags {
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, reads && self.backlog.len() < BACKLOG_BYTES_MAX);
        interest.set(EventFlags::OUT, self.is_blocked());
        interest
    }

    /// Begins the handshake, where it is ours to begin.
    ///
    /// # Errors
    /// The socket's.
    pub fn start(&mut self, buffers: &mut Buffers) -> Result<(), Fault> {
        self.advance(&mut [], &mut buffers.output, &mut |_| Ok(())).map(|_| ())
    }

    /// Reads once and hands over what was in it, record by record.
    ///
    /// # Errors
    /// What the peer, the socket or `take` did wrong.
    pub fn receive(
        &mut self,
        buffers: &mut Buffers,
        take: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<Flow, Fault> {
        let kept = self.partial.len();
        buffers.input[..kept].copy_from_slice(&self.partial);
        let read = match self.socket.read(&mut buffers.input[kept..]) {
            Ok(0) => return Ok(Flow::Closed),
            Ok(read) => read,
            Err(error) if is_transient(&error) => return Ok(Flow::Open),
            Err(error) => return Err(error.into()),
        };
        self.partial.clear();
        let arrived = &mut buffers.input[..kept + read];
        let (used, flow) = self.advance(arrived, &mut buffers.output, take)?;
        self.partial.extend_from_slice(&arrived[used..]);
        Ok(flow)
    }

    /// Runs the state machine until it wants more input. Returns how much of the input it used.
    fn advance(
        &mut self,
        input: &mut [u8],
        output: &mut [u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(usize, Flow), Fault> {
        let (mut used, mut encoded) = (0, 0);
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process(&mut input[used..]);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.alert(&mut input[used + discard..], output);
                    return Err(error.into());
                }
            };
            let end = match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        take(record?.payload)?;
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encoded += data.encode(&mut output[encoded..]).map_err(no_room)?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    self.write(&output[..encoded])?;
                    encoded = 0;
                    None
                }
                ConnectionState::WriteTraffic(_) => {
                    self.established = true;
                    Some(Flow::Open)
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

    /// Tells the peer why the handshake failed, if it still listens. rustls wants to see the input it has seen before.
    fn alert(&mut self, input: &mut [u8], output: &mut [u8]) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process(&mut input[used..]);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            let Ok(encoded) = data.encode(output) else { return };
            used += discard;
            if self.write(&output[..encoded]).is_err() {
                return;
            }
        }
    }

    /// Seals and writes; what the socket does not take is kept.
    ///
    /// # Errors
    /// The connection is over.
    pub fn send(&mut self, buffers: &mut Buffers, plain: &[u8]) -> Result<(), Fault> {
        for chunk in plain.chunks(PLAIN_BYTES_MAX) {
            let sealed = self.seal(chunk, &mut buffers.output)?;
            self.write(&buffers.output[..sealed])?;
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], output: &mut [u8]) -> Result<usize, Fault> {
        let mut encoded = 0;
        loop {
            // With what waits for the rest of its record: rustls may hold places in it.
            match self.tls.process(&mut self.partial).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return Ok(encoded + traffic.encrypt(plain, &mut output[encoded..]).map_err(no_key)?);
                }
                // A key update of the peer that is to be answered.
                ConnectionState::EncodeTlsData(mut data) => {
                    encoded += data.encode(&mut output[encoded..]).map_err(no_room)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(Fault::Closed),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut written = 0;
        if self.backlog.is_empty() {
            written = match self.socket.write(bytes) {
                Ok(written) => written,
                Err(error) if is_transient(&error) => 0,
                Err(error) => return Err(error.into()),
            };
        }
        self.backlog.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what the socket did not take before.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self) -> Result<(), Fault> {
        match self.socket.write(&self.backlog[self.backlog_written..]) {
            Ok(written) => self.backlog_written += written,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if self.backlog_written == self.backlog.len() {
            self.backlog.clear();
            self.backlog_written = 0;
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The output holds every flight and batch, so this is a fault of the peer's: a flight without end.
fn no_room(error: EncodeError) -> Fault {
    io::Error::other(error).into()
}

fn no_key(error: EncryptError) -> Fault {
    io::Error::other(error).into()
}
