//! A client's TLS connection as a byte stream, in buffers that belong to the thread.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::IpAddr,
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
    /// Handshakes, in turn with other sources' connections. A peer that is refused is sent its alert.
    ///
    /// # Errors
    /// Why it came to nothing; a TLS error is wrapped as it is.
    pub(crate) async fn accept(tcp: TcpStream, source: IpAddr, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut stream = Self::new(tcp, config)?;
        while stream.tls.common().is_handshaking() {
            poll_fn(|cx| stream.poll_unsent(cx)).await?;
            stream.tcp.readable().await?;
            handshake_turn(source).await;
            poll_fn(|cx| stream.poll_step(cx)).await?;
            if stream.state == State::Ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within the handshake"));
            }
        }
        poll_fn(|cx| stream.poll_unsent(cx)).await?;
        Ok(stream)
    }

    /// The certificate that the peer proved to hold the key of.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.peer_chain().first()
    }

    /// The same, and those that it sent behind it.
    #[must_use]
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        self.tls.common().peer_certificates().unwrap_or_default()
    }

    fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = Records::new(UnbufferedServerConnection::new(config).map_err(io::Error::other)?);
        let (unread, unsent) = (Vec::new(), Vec::new());
        Ok(Self { tcp, tls, unread, read: 0, unsent, sent: 0, state: State::Open, closed: false })
    }

    /// Takes a step of the handshake if the peer has sent something, and is over in either case: a socket that was just accepted
    /// counts as readable before anything is there, and who waits for the rest of a step would take it out of turn.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_records(cx, &mut ReadBuf::new(&mut [])) {
            Poll::Pending => Poll::Ready(Ok(())),
            stepped => stepped,
        }
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        time::Duration,
    };

    use portreeve_config::{Config, Role};
    use portreeve_hub::{Actor, AdminRequest, Bundle, Fields, Hub};
    use portreeve_tls::Credentials;
    use portreeve_types::Kind;
    use rustls::{ClientConnection, StreamOwned};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    type Peer = StreamOwned<ClientConnection, std::net::TcpStream>;

    /// A hub's configuration and one of a device that it knows.
    fn configs() -> (Arc<ServerConfig>, Arc<rustls::ClientConfig>) {
        let data = tempfile::tempdir().unwrap();
        let hub = Hub::open(&data.path().join("hub"), Config::default(), crate::now().wall).unwrap();
        let (name, fields) = ("lamp".parse().unwrap(), Fields::default());
        let add = AdminRequest::DeviceAdd { name, kind: Kind::Device, fields, bundle: true, days: None };
        let outcome = hub.administer(&Actor { name: "test".into(), role: Role::Administrator }, add).unwrap();
        let bundle: Bundle = serde_json::from_value(outcome.result["bundle"].clone()).unwrap();
        let anchors = portreeve_tls::certificates_from_pem("ca", bundle.ca_pem.as_bytes()).unwrap();
        let own = Credentials::from_pem("cert", bundle.cert_pem.as_bytes(), "key", bundle.key_pem.as_bytes()).unwrap();
        (hub.tls().config(), portreeve_tls::client_config(&anchors, own).unwrap())
    }

    /// A crowd that connects, waits, and then speaks all at once has no more steps in a round than others.
    #[test]
    fn a_step_without_a_message_is_over() {
        let (server, _) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _silent = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut stream = TlsStream::new(TcpStream::from_std(tcp).unwrap(), server).unwrap();
            for _ in 0..3 {
                let step = tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| stream.poll_step(cx))).await;
                step.expect("waits for the peer").unwrap();
            }
            assert!(stream.tls.common().is_handshaking());
        });
    }

    /// Both ends of a connection on loopback, each in its own world: ours in a runtime, the peer's on a thread.
    fn connected<F: Future<Output = ()>>(peer: impl FnOnce(Peer) + Send + 'static, ours: impl FnOnce(TlsStream) -> F) {
        let (server, client) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let tls = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
            let tcp = std::net::TcpStream::connect(address).unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            peer(StreamOwned::new(tls, tcp));
        });
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let stream =
                TlsStream::accept(TcpStream::from_std(tcp).unwrap(), [127, 0, 0, 1].into(), server).await.unwrap();
            assert!(stream.peer_certificate().is_some());
            tokio::time::timeout(Duration::from_secs(10), ours(stream)).await.unwrap();
        });
        thread.join().unwrap();
    }

    fn pattern(count: usize) -> Vec<u8> {
        (0..count).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect()
    }

    /// What a reader has no room for is kept in order, and nothing is kept once it is read.
    #[test]
    fn a_reader_of_small_portions_gets_everything() {
        let bytes = pattern(300_000);
        let sent = bytes.clone();
        connected(
            move |mut peer| {
                peer.write_all(&sent).unwrap();
                peer.conn.send_close_notify();
                peer.flush().unwrap();
                assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "our close_notify");
            },
            |mut stream| async move {
                let (mut got, mut portion) = (Vec::new(), [0; 77]);
                loop {
                    match stream.read(&mut portion).await.unwrap() {
                        0 => break,
                        read => got.extend_from_slice(&portion[..read]),
                    }
                }
                assert_eq!(got, bytes);
                assert_eq!(stream.unread.capacity(), 0);
                stream.shutdown().await.unwrap();
            },
        );
    }

    /// A peer that does not read: what is sealed for it stays bounded, what it says is heard, and all arrives later.
    #[test]
    fn a_peer_that_does_not_read_blocks_the_writer_and_not_the_reader() {
        const COUNT: usize = 16 << 20;
        let (go, wait) = std::sync::mpsc::channel();
        connected(
            move |mut peer| {
                peer.write_all(b"deaf").unwrap();
                wait.recv().unwrap();
                let mut got = vec![0; COUNT];
                peer.read_exact(&mut got).unwrap();
                assert_eq!(got, pattern(COUNT));
                assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
            },
            |mut stream| async move {
                let (bytes, mut written) = (pattern(COUNT), 0);
                let blocked = Duration::from_millis(300);
                while let Ok(count) = tokio::time::timeout(blocked, stream.write(&bytes[written..])).await {
                    written += count.unwrap();
                    assert!(stream.unsent.len() <= PLAIN_BYTES_MAX + 4096, "{} bytes wait", stream.unsent.len());
                }
                assert!(written < COUNT, "the socket took it all");
                let mut said = [0; 4];
                stream.read_exact(&mut said).await.unwrap();
                assert_eq!(&said, b"deaf");
                go.send(()).unwrap();
                stream.write_all(&bytes[written..]).await.unwrap();
                stream.shutdown().await.unwrap();
                assert_eq!(stream.unsent.capacity(), 0);
                assert!(stream.write(b"more").await.is_err(), "after close_notify");
            },
        );
    }

    /// Bytes that are no record end the connection once and for all.
    #[test]
    fn after_a_broken_record_nothing_is_read_or_written() {
        connected(
            |mut peer| {
                peer.write_all(b"whole").unwrap();
                peer.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
                peer.sock.write_all(&[0; 40]).unwrap();
                let heard = peer.read(&mut [0; 1]).unwrap_err();
                assert!(heard.to_string().contains("BadRecordMac"), "{heard}");
            },
            |mut stream| async move {
                let (mut got, mut failed) = (Vec::new(), false);
                for _ in 0..4 {
                    match stream.read_buf(&mut got).await {
                        Ok(_) => assert!(!failed),
                        Err(error) => failed = error.kind() == io::ErrorKind::InvalidData,
                    }
                }
                assert!(failed && (got.is_empty() || got == b"whole"));
                assert!(stream.write(b"x").await.is_err());
            },
        );
    }
}
