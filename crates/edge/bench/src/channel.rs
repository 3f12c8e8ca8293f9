//! TLS over a non-blocking socket, with buffers that belong to the thread and not to the connection.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use portreeve_tls::{Flow, PARTIAL_BYTES_MAX, Records, Side};
use rustix::event::epoll::EventFlags;
use rustls::CommonState;

use crate::fault::Fault;

/// Bytes read in one system call.
const READ_BYTES: usize = 192 * 1024;
/// Bytes of plaintext sealed and written in one system call.
pub(crate) const PLAIN_BYTES_MAX: usize = 64 * 1024;
/// With more than this unsent, nothing is read: what is read asks to be answered.
const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// One thread's buffers, used by one connection at a time.
pub struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { input: vec![0; PARTIAL_BYTES_MAX + READ_BYTES], output: Vec::with_capacity(PLAIN_BYTES_MAX + 4096) }
    }
}

/// A TLS connection on a socket.
pub struct Channel<T> {
    socket: TcpStream,
    tls: Records<T>,
    /// Records that the socket did not take.
    backlog: Vec<u8>,
    backlog_written: usize,
}

impl<T: Side> Channel<T> {
    /// Over a connected, non-blocking socket.
    pub fn new(socket: TcpStream, tls: T) -> Self {
        Self { socket, tls: Records::new(tls), backlog: Vec::new(), backlog_written: 0 }
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
        !self.tls().is_handshaking()
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
        buffers.output.clear();
        self.tls.start(&mut buffers.output)?;
        self.write(&buffers.output)
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
        let kept = self.tls.fill(&mut buffers.input);
        let read = match self.socket.read(&mut buffers.input[kept..]) {
            Ok(0) => return Ok(Flow::Closed),
            Ok(read) => read,
            Err(error) if is_transient(&error) => return Ok(Flow::Open),
            Err(error) => return Err(error.into()),
        };
        buffers.output.clear();
        let mut taken = Ok(());
        let received = self.tls.receive(&mut buffers.input[..kept + read], &mut buffers.output, &mut |plain| {
            if taken.is_ok() {
                taken = take(plain);
            }
        });
        if !buffers.output.is_empty() {
            self.write(&buffers.output)?;
        }
        let flow = received?;
        taken.map(|()| flow)
    }

    /// Seals and writes; what the socket does not take is kept.
    ///
    /// # Errors
    /// The connection is over, or the socket's.
    pub fn send(&mut self, buffers: &mut Buffers, plain: &[u8]) -> Result<(), Fault> {
        for chunk in plain.chunks(PLAIN_BYTES_MAX) {
            buffers.output.clear();
            self.tls.seal(chunk, &mut buffers.output)?;
            self.write(&buffers.output)?;
        }
        Ok(())
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
