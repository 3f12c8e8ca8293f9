//! A WebSocket as a byte stream: MQTT 5.0 §6.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use portreeve_config::Limits;
use portreeve_mqtt_server::now;
use portreeve_types::{Bucket, Kind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// Bytes of one outgoing frame.
const FRAME_OUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes read from the socket at once.
const READ_BYTES: usize = 8 * 1024;

/// Reads from the socket, and messages without data, after which others have their turn.
const READS_AT_ONCE: usize = 8;
const MESSAGES_AT_ONCE: usize = 64;
/// Bytes of the longest frame head that a client needs for a packet.
const HEAD_BYTES_MAX: u64 = 14;

/// What a peer may send of what is no MQTT, for MQTT alone meets the hub's rates (CSA-COM-04).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameRates {
    /// Messages without data: pings, pongs, and empty ones.
    idle: Bucket,
    /// Bytes as they come: parts of messages may be empty too.
    bytes: Bucket,
}

impl FrameRates {
    /// As many messages without data as MQTT packets, and room for frames around all that these rates permit.
    pub(crate) fn new(kind: Kind, limits: &Limits, now_ms: u64) -> Self {
        let (messages_per_s, burst, bytes_per_s) = match kind {
            Kind::Device => (limits.device_messages_per_s, limits.device_messages_burst, limits.device_bytes_per_s),
            Kind::Gateway | Kind::Application => {
                (limits.application_messages_per_s, limits.application_messages_burst, limits.application_bytes_per_s)
            }
        };
        let (messages_per_s, burst) = (u64::from(messages_per_s), u64::from(burst));
        // Frames of as many bytes as their heads still pass.
        let framed = |bytes: u64, messages: u64| bytes.saturating_add(messages * HEAD_BYTES_MAX).saturating_mul(2);
        let most = bytes_per_s.max(limits.packet_bytes as u64);
        Self {
            idle: Bucket::new(messages_per_s, burst, now_ms),
            bytes: Bucket::new(framed(bytes_per_s, messages_per_s), framed(most, burst), now_ms),
        }
    }
}

/// A stream that gives way after some reads.
struct Sips<S> {
    stream: S,
    reads_left: usize,
    /// Bytes that were not charged yet.
    bytes: u64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Sips<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.reads_left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = out.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, out))?;
        this.reads_left -= 1;
        this.bytes += (out.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sips<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The payloads of binary frames, one after the other. Packets may be split over frames and share them [MQTT-6.0.0-2].
pub(crate) struct Frames<S> {
    socket: WebSocketStream<Sips<S>>,
    rates: FrameRates,
    rest: Bytes,
    /// Why the peer is going to be sent away.
    farewell: Option<CloseFrame>,
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The server's end of an upgraded connection. A message of more than `message_bytes_max` bytes closes it, and so does who
    /// sends more than `rates`.
    pub(crate) async fn accept(stream: S, message_bytes_max: usize, rates: FrameRates) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            // Frames go out at once; the loop above already gathers packets.
            .write_buffer_size(0)
            .max_write_buffer_size(4 * FRAME_OUT_BYTES_MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let stream = Sips { stream, reads_left: READS_AT_ONCE, bytes: 0 };
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Self { socket, rates, rest: Bytes::new(), farewell: None, closed: false }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Binary(bytes) if !bytes.is_empty() => self.rest = bytes,
            // [MQTT-6.0.0-1]
            Message::Text(_) => self.dismiss(CloseCode::Unsupported, "MQTT travels in binary frames"),
            // A ping is answered, and a close confirmed, by the next read.
            _ if self.rates.idle.take(1, now().mono_ms) => {}
            _ => self.dismiss(CloseCode::Policy, "too many frames without data"),
        }
    }

    /// Charges what was read.
    fn charge(&mut self) {
        let bytes = std::mem::take(&mut self.socket.get_mut().bytes);
        if !self.rates.bytes.take(bytes, now().mono_ms) {
            self.dismiss(CloseCode::Policy, "too many bytes that are no MQTT");
        }
    }

    fn fail(&mut self, error: &tungstenite::Error) {
        match error {
            tungstenite::Error::Capacity(_) => self.dismiss(CloseCode::Size, "the frame is too large"),
            tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_) => {
                self.dismiss(CloseCode::Protocol, "not the WebSocket protocol");
            }
            _ => self.closed = true,
        }
    }

    fn dismiss(&mut self, code: CloseCode, reason: &'static str) {
        self.farewell = Some(CloseFrame { code, reason: reason.into() });
    }

    /// Sends the reason, after which the stream counts as ended.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut socket = Pin::new(&mut self.socket);
        // Whether the peer hears it is the peer's business: an error here only means that it is gone.
        let sendable = ready!(socket.as_mut().poll_ready(cx)).is_ok();
        if let Some(frame) = self.farewell.take()
            && sendable
        {
            let _ = socket.as_mut().start_send(Message::Close(Some(frame)));
        }
        let _ = ready!(socket.poll_flush(cx));
        self.closed = true;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.socket.get_mut().reads_left = READS_AT_ONCE;
        let mut messages_left = MESSAGES_AT_ONCE;
        while this.rest.is_empty() && !this.closed {
            if this.farewell.is_some() {
                ready!(this.poll_farewell(cx));
                break;
            }
            if messages_left == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            messages_left -= 1;
            let next = Pin::new(&mut this.socket).poll_next(cx);
            this.charge();
            match next {
                Poll::Ready(Some(Ok(message))) => this.take(message),
                Poll::Ready(Some(Err(error))) => this.fail(&error),
                Poll::Ready(None) => this.closed = true,
                Poll::Pending if this.farewell.is_some() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        let count = this.rest.len().min(out.remaining());
        out.put_slice(&this.rest[..count]);
        this.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(io_error)?;
        let count = bytes.len().min(FRAME_OUT_BYTES_MAX);
        socket.start_send(Message::Binary(Bytes::copy_from_slice(&bytes[..count]))).map_err(io_error)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_some() {
            return self.poll_farewell(cx).map(Ok);
        }
        Pin::new(&mut self.socket).poll_close(cx).map_err(io_error)
    }
}

fn io_error(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const CAP: usize = 100 * 1024;

    /// Rates that a test of anything else does not meet.
    fn lax() -> FrameRates {
        FrameRates::new(Kind::Application, &Limits::default(), now().mono_ms)
    }

    /// So many messages without data, and so many bytes, and no more ever.
    fn strict(idle: u64, bytes: u64) -> FrameRates {
        let [idle, bytes] = [idle, bytes].map(|burst| Bucket::new(0, burst, now().mono_ms));
        FrameRates { idle, bytes }
    }

    async fn pair_with(rates: FrameRates) -> (Frames<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (near, far) = duplex(1 << 20);
        let peer = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        (Frames::accept(near, CAP, rates).await, peer)
    }

    async fn pair() -> (Frames<DuplexStream>, WebSocketStream<DuplexStream>) {
        pair_with(lax()).await
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    }

    async fn close_code(peer: &mut WebSocketStream<DuplexStream>) -> u16 {
        loop {
            match peer.next().await.unwrap().unwrap() {
                Message::Close(Some(frame)) => return frame.code.into(),
                other => assert!(!other.is_text(), "{other:?}"),
            }
        }
    }

    /// [MQTT-6.0.0-2]: a packet may begin in one frame and end in the next, which may hold another one.
    #[test]
    fn frames_and_packets_have_nothing_to_do_with_each_other() {
        run(async {
            let (mut frames, mut peer) = pair().await;
            for part in [&b"ab"[..], b"", b"cdef", b"g"] {
                peer.send(Message::Binary(Bytes::copy_from_slice(part))).await.unwrap();
            }
            let mut got = [0; 7];
            frames.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"abcdefg");
        });
    }

    /// [MQTT-6.0.0-1]
    #[test]
    fn a_text_frame_closes_with_1003() {
        run(async {
            let (mut frames, mut peer) = pair().await;
            peer.send(Message::text("hello")).await.unwrap();
            assert_eq!(frames.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(close_code(&mut peer).await, 1003);
        });
    }

    #[test]
    fn a_message_beyond_the_cap_closes_with_1009() {
        run(async {
            let (mut frames, mut peer) = pair().await;
            peer.send(Message::Binary(vec![0; CAP + 1].into())).await.unwrap();
            assert_eq!(frames.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(close_code(&mut peer).await, 1009);
        });
    }

    #[test]
    fn a_ping_is_answered_while_nothing_else_happens() {
        run(async {
            let (mut frames, mut peer) = pair().await;
            peer.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
            peer.send(Message::Binary(Bytes::from_static(b"x"))).await.unwrap();
            let mut got = [0; 1];
            frames.read_exact(&mut got).await.unwrap();
            frames.flush().await.unwrap();
            assert_eq!(peer.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
        });
    }

    /// CSA-COM-04: what is no MQTT has rates as well.
    #[test]
    fn frames_without_data_close_with_1008_beyond_their_rate() {
        for idle in [Message::Ping(Bytes::new()), Message::Pong(Bytes::new()), Message::Binary(Bytes::new())] {
            run(async {
                let (mut frames, mut peer) = pair_with(strict(3, 1 << 20)).await;
                for _ in 0..3 {
                    peer.send(idle.clone()).await.unwrap();
                }
                peer.send(Message::Binary(Bytes::from_static(b"x"))).await.unwrap();
                assert_eq!(frames.read(&mut [0; 8]).await.unwrap(), 1, "as many as may be");
                peer.send(idle).await.unwrap();
                assert_eq!(frames.read(&mut [0; 8]).await.unwrap(), 0);
                assert_eq!(close_code(&mut peer).await, 1008);
            });
        }
    }

    /// A message that never ends, in parts without data, of which nobody hears but here.
    #[test]
    fn empty_parts_of_a_message_close_with_1008_beyond_their_rate() {
        run(async {
            let (near, mut far) = duplex(1 << 20);
            let mut frames = Frames::accept(near, CAP, strict(3, 1000)).await;
            let begin = [0x02, 0x80, 0, 0, 0, 0];
            let go_on = [0x00, 0x80, 0, 0, 0, 0];
            far.write_all(&[&begin[..], &go_on.repeat(200)].concat()).await.unwrap();
            assert_eq!(frames.read(&mut [0; 8]).await.unwrap(), 0);
            let mut peer = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
            assert_eq!(close_code(&mut peer).await, 1008);
        });
    }

    /// However much there is, one look at it is short.
    #[test]
    fn who_sends_frames_without_data_waits_for_others() {
        run(async {
            let (mut frames, mut peer) = pair().await;
            for _ in 0..=MESSAGES_AT_ONCE {
                peer.send(Message::Pong(Bytes::new())).await.unwrap();
            }
            peer.send(Message::Binary(Bytes::from_static(b"x"))).await.unwrap();
            let mut room = [0; 1];
            let mut room = ReadBuf::new(&mut room);
            let mut look = |cx: &mut Context<'_>| Pin::new(&mut frames).poll_read(cx, &mut room);
            let is_short = std::future::poll_fn(|cx| Poll::Ready(look(cx).is_pending())).await;
            assert!(is_short);
            std::future::poll_fn(|cx| look(cx)).await.unwrap();
            assert_eq!(room.filled(), b"x");
        });
    }

    /// [MQTT-6.0.0-3]: what the server sends is binary, and large output comes in bounded frames.
    #[test]
    fn output_is_binary_and_the_end_is_a_close_frame() {
        run(async {
            let (mut frames, mut peer) = pair().await;
            let sent = vec![7; 3 * FRAME_OUT_BYTES_MAX + 5];
            let sending = async {
                frames.write_all(&sent).await.unwrap();
                frames.shutdown().await.unwrap();
            };
            let receiving = async {
                let mut got = Vec::new();
                while let Some(Ok(message)) = peer.next().await {
                    match message {
                        Message::Binary(bytes) => {
                            assert!(bytes.len() <= FRAME_OUT_BYTES_MAX);
                            got.extend_from_slice(&bytes);
                        }
                        other => {
                            assert!(other.is_close(), "{other:?}");
                            break;
                        }
                    }
                }
                got
            };
            assert_eq!(tokio::join!(sending, receiving).1, sent);
        });
    }
}
