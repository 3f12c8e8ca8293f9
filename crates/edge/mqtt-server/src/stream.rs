//! A client's TLS connection as a byte stream, in buffers that belong to the thread.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use portreeve_tls::{Flow, PARTIAL_BYTES_MAX, Records};
use rustls::{ServerConfig, pki_types::CertificateDer, server::UnbufferedServerConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::turns::handshake_turn;

/// Bytes read in one system call. More would not cost fewer cycles a message: the queues of a saturating publisher then
/// outgrow the processor's cache.
const READ_BYTES: usize = 16 * 1024;
/// Plaintext sealed and written in one system call: four records.
const PLAIN_BYTES_MAX: usize = 64 * 1024;
/// With more than this unsent nothing is read, for what is read may ask to be answered.
const UNSENT_BYTES_MAX: usize = 128 * 1024;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

struct Buffers {
    arrived: Vec<u8>,
    records: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { arrived: vec![0; PARTIAL_BYTES_MAX + READ_BYTES], records: Vec::with_capacity(PLAIN_BYTES_MAX + 4096) }
    }
}

/// The server's end of a TLS connection whose handshake is over. At rest it holds no buffer: only what arrived in part,
/// what the socket did not take, and what its reader had no room for.
pub struct TlsStream {
    tcp: TcpStream,
    tls: Records<UnbufferedServerConnection>,
    /// Decrypted, not read yet.
    unread: Vec<u8>,
    read: usize,
    /// Sealed, not sent yet.
    unsent: Vec<u8>,
    sent: usize,
    state: State,
    /// close_notify is said.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The peer sends nothing more.
    Ended,
    /// rustls has refused the peer's bytes, and may not be asked again.
    Failed,
}

impl TlsStream {
    /// Handshakes. A peer that is refused is sent its alert.
    ///
    /// # Errors
    /// Why it came to nothing; a TLS error is wrapped as it is.
    pub(crate) async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = Records::new(UnbufferedServerConnection::new(config).map_err(io::Error::other)?);
        let (unread, unsent) = (Vec::new(), Vec::new());
        let mut stream = Self { tcp, tls, unread, read: 0, unsent, sent: 0, state: State::Open, closed: false };
        while stream.tls.common().is_handshaking() {
            poll_fn(|cx| stream.poll_unsent(cx)).await?;
            stream.tcp.readable().await?;
            handshake_turn().await;
            poll_fn(|cx| stream.poll_records(cx, &mut ReadBuf::new(&mut []))).await?;
            if stream.state == State::Ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within the handshake"));
            }
        }
        poll_fn(|cx| stream.poll_unsent(cx)).await?;
        Ok(stream)
    }

    /// The certificate that the peer proved to hold the key of.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.common().peer_certificates().and_then(<[_]>::first)
    }

    /// Reads from the socket once and decrypts into `plain`; what has no room there is kept for later.
    fn poll_records(&mut self, cx: &mut Context<'_>, plain: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        BUFFERS.with_borrow_mut(|buffers| {
            let kept = self.tls.fill(&mut buffers.arrived);
            let mut arriving = ReadBuf::new(&mut buffers.arrived[kept..kept + READ_BYTES]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut arriving))?;
            let read = arriving.filled().len();
            if read == 0 {
                self.state = State::Ended;
                return Poll::Ready(Ok(()));
            }
            buffers.records.clear();
            let unread = &mut self.unread;
            let received = self.tls.receive(&mut buffers.arrived[..kept + read], &mut buffers.records, &mut |record| {
                let fits = if unread.is_empty() { plain.remaining().min(record.len()) } else { 0 };
                plain.put_slice(&record[..fits]);
                unread.extend_from_slice(&record[fits..]);
            });
            let answered = self.send(cx, &buffers.records);
            match received {
                Ok(Flow::Open) => {}
                Ok(Flow::Closed) => self.state = State::Ended,
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
            Poll::Ready(answered)
        })
    }

    /// Sends records, or keeps what the socket does not take now.
    fn send(&mut self, cx: &mut Context<'_>, records: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while self.unsent.is_empty() && sent < records.len() {
            match Pin::new(&mut self.tcp).poll_write(cx, &records[sent..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.unsent.extend_from_slice(&records[sent..]);
        Ok(())
    }

    /// Ready when the socket has taken everything.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.unsent[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if self.sent > 0 {
            self.sent = 0;
            self.unsent = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Moves what was decrypted before into `plain`.
    fn take_unread(&mut self, plain: &mut ReadBuf<'_>) {
        let count = plain.remaining().min(self.unread.len() - self.read);
        plain.put_slice(&self.unread[self.read..self.read + count]);
        self.read += count;
        if self.read == self.unread.len() {
            self.read = 0;
            self.unread = Vec::new();
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, plain: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = plain.filled().len();
        loop {
            if !this.unread.is_empty() {
                this.take_unread(plain);
            }
            // A record may hold no plaintext; nothing at all means the end.
            if plain.filled().len() > before || this.state == State::Ended || plain.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.state == State::Failed {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if this.unsent.len() - this.sent > UNSENT_BYTES_MAX {
                ready!(this.poll_unsent(cx))?;
            }
            ready!(this.poll_records(cx, plain))?;
        }
    }
}

impl AsyncWrite for TlsStream {
    /// Takes bytes only when everything before them is with the socket: then a writer that waits is one that is not read.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        if self.state == State::Failed || self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = plain.len().min(PLAIN_BYTES_MAX);
        BUFFERS.with_borrow_mut(|buffers| {
            buffers.records.clear();
            self.tls.seal(&plain[..count], &mut buffers.records).map_err(io::Error::other)?;
            self.send(cx, &buffers.records)?;
            Poll::Ready(Ok(count))
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unsent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state != State::Failed && !self.closed {
            self.closed = true;
            // If it cannot be said, the socket is closed all the same.
            let mut alert = Vec::new();
            if self.tls.close(&mut alert).is_ok() {
                self.unsent.extend_from_slice(&alert);
            }
        }
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
