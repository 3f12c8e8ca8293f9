//! The loop between a byte stream and a [`Connection`].

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use portreeve_hub::{Connection, Hub, Now};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::yield_now,
    time::{Instant, Sleep, sleep},
};

use crate::{
    now,
    turns::{Called, session_turn},
};

/// Bytes read, and bytes written, in one step. One buffer of each a thread; a connection keeps only what is left over.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Steps before a busy connection lets others run. Few: what a publisher brings has to leave through its receivers before
/// the caches forget it.
const STEPS_MAX: usize = 2;
/// Reads before what they brought is answered: the second finds, without a system call, that there is no more.
const READS_MAX: usize = 2;
/// How long a refused peer may take to read the last word, and how much it may still send meanwhile.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How long what is already written for a connection that is over may take to leave, milliseconds.
const FLUSH_MS: u64 = 5000;
const LINGER_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
    /// Lent to the connection that writes.
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Moves bytes between `stream` and `connection` until either ends, then closes the stream in order.
pub async fn drive<S: AsyncRead + AsyncWrite + Unpin>(stream: S, connection: Connection, hub: Arc<Hub>) {
    let start = now();
    let mut driver = Driver {
        stream,
        connection,
        hub,
        input: Vec::new(),
        output: Vec::new(),
        written: 0,
        unflushed: false,
        wrote_ms: start.mono_ms,
        timer: Box::pin(sleep(Duration::ZERO)),
        timer_ms: 0,
        eof: false,
        flush_by_ms: None,
        turn: None,
    };
    poll_fn(|cx| driver.poll(cx)).await;
    let linger = driver.connection.ended().is_some_and(|ended| ended.linger);
    // A peer that is gone makes this fail, and that is all there is to say about it.
    let _ = tokio::time::timeout(LINGER, poll_fn(|cx| driver.poll_close(cx, linger))).await;
}

struct Driver<S> {
    stream: S,
    connection: Connection,
    hub: Arc<Hub>,
    /// The start of a packet that has not arrived whole, or packets that had to wait.
    input: Vec<u8>,
    /// What the socket did not take yet.
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// When the socket last took something, or the output was empty.
    wrote_ms: u64,
    timer: Pin<Box<Sleep>>,
    /// When `timer` fires; it is moved only forwards in time when it has fired, so messages cost no timer work.
    timer_ms: u64,
    eof: bool,
    /// When the last words of an ended connection are given up.
    flush_by_ms: Option<u64>,
    /// It has more to do, and waits until others who have, too, had their turn.
    turn: Option<Called>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// Ready when the connection is over and its last bytes are written.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(called) = &mut self.turn {
            // Ready also if the caller is gone, which is when the worker ends. Who is to end does not wait for a turn.
            if Pin::new(called).poll(cx).is_pending() && !self.connection.is_called_off(now()) {
                return Poll::Pending;
            }
            self.turn = None;
        }
        for _ in 0..STEPS_MAX {
            let now = now();
            match self.step(cx, now) {
                Ok(Step::Again) if self.connection.is_interrupted() || self.connection.is_searching() => break,
                Ok(Step::Again) => {}
                Ok(Step::Sleep) => return Poll::Pending,
                Ok(Step::Done) => return Poll::Ready(()),
                Err(error) => {
                    self.connection.lost(now, &error.to_string());
                    return Poll::Ready(());
                }
            }
        }
        self.come_again(cx)
    }

    /// Polls this task again when every other that is ready has been, and the sockets were looked at; where many are busy,
    /// when it is its turn.
    fn come_again(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut called) = session_turn(self.connection.identity().id()) else { return come_again(cx) };
        // Its receivers need not wait for that.
        self.connection.wake_receivers();
        if Pin::new(&mut called).poll(cx).is_ready() {
            return come_again(cx);
        }
        self.turn = Some(called);
        // Its time may be over before its turn comes.
        let now = now();
        let _ = self.sleep(cx, now, self.connection.ends_at_ms(now));
        Poll::Pending
    }

    /// Read, process, answer, write: each once, if it can be.
    ///
    /// Nothing is lost between the look and the sleep: the reader's waker stands since the read that found nothing, and
    /// [`Connection::transmit`] leaves its own before it looks.
    fn step(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<Step> {
        if !self.poll_write(cx, now)? {
            return self.step_blocked(cx, now);
        }
        if self.connection.ended().is_some() {
            return Ok(Step::Done);
        }
        let mut busy = false;
        for _ in 0..READS_MAX {
            busy = self.poll_input(cx, now)?;
            if !busy || self.connection.is_interrupted() || self.connection.ended().is_some() {
                break;
            }
        }
        self.borrow_output();
        let transmit = self.connection.transmit(now, cx.waker(), &mut self.output, OUTPUT_BYTES_MAX);
        // What was answered may make room for packets that had to wait.
        busy |= transmit.more || self.connection.is_interrupted() || self.connection.ended().is_some();
        busy |= !self.input.is_empty() && !self.output.is_empty();
        if self.output.is_empty() {
            self.return_output();
        }
        busy |= !self.poll_write(cx, now)?;
        if busy { Ok(Step::Again) } else { Ok(self.sleep(cx, now, transmit.deadline_ms)) }
    }

    /// The socket is full: acknowledgements and DISCONNECT must still be heard, or both sides could wait for ever. Nor
    /// does a socket that takes nothing keep its connection from ending.
    fn step_blocked(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<Step> {
        if self.connection.ended().is_some() {
            return Ok(self.sleep_until_flushed(cx, now));
        }
        let mut busy = self.output.len() - self.written < OUTPUT_BYTES_MAX && self.poll_input(cx, now)?;
        let deadline_ms = self.connection.attend(now, cx.waker(), &mut self.output);
        busy |= self.connection.ended().is_some();
        if busy { Ok(Step::Again) } else { Ok(self.sleep(cx, now, deadline_ms)) }
    }

    /// `true` when nothing is left to write.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<bool> {
        while self.written < self.output.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.unflushed = true;
                    self.wrote_ms = now.mono_ms;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    // Its own copy of the rest, and no larger buffer, for as long as the socket takes nothing.
                    let rest = self.output[self.written..].to_vec();
                    self.return_output();
                    self.output = rest;
                    return Ok(false);
                }
            }
        }
        if self.written > 0 {
            self.return_output();
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => return Ok(false),
            }
            self.unflushed = false;
            self.wrote_ms = now.mono_ms;
        }
        Ok(true)
    }

    fn borrow_output(&mut self) {
        if self.output.is_empty() {
            self.output = OUTPUT.take();
        }
    }

    /// A connection that has nothing to write keeps no buffer.
    fn return_output(&mut self) {
        self.written = 0;
        let mut output = std::mem::take(&mut self.output);
        if output.capacity() <= OUTPUT_KEPT_BYTES {
            output.clear();
            OUTPUT.set(output);
        }
    }

    /// Reads and processes once; `true` if something happened.
    fn poll_input(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<bool> {
        if (!self.input.is_empty() || self.connection.is_interrupted()) && self.receive_waiting(now) {
            return Ok(true);
        }
        if self.eof || self.input.len() > self.hub.config().limits.packet_bytes {
            return Ok(false);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending => return Ok(false),
                Poll::Ready(result) => result?,
            }
            let read = buf.filled();
            if read.is_empty() {
                self.eof = true;
                self.connection.lost(now, "the client closed the connection");
                return Ok(true);
            }
            if self.input.is_empty() {
                let used = self.connection.receive(now, read, &mut self.output);
                self.input.extend_from_slice(&read[used..]);
            } else {
                self.input.extend_from_slice(read);
                self.receive_waiting(now);
            }
            Ok(true)
        })
    }

    /// Goes on with what is whole in `input`, and with what was interrupted; `true` if there was anything.
    fn receive_waiting(&mut self, now: Now) -> bool {
        let interrupted = self.connection.is_interrupted();
        let used = self.connection.receive(now, &self.input, &mut self.output);
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        used > 0 || interrupted
    }

    /// The connection is over; its last words get a moment, however slowly the peer reads.
    fn sleep_until_flushed(&mut self, cx: &mut Context<'_>, now: Now) -> Step {
        let until_ms = *self.flush_by_ms.get_or_insert(now.mono_ms + FLUSH_MS);
        if now.mono_ms >= until_ms {
            return Step::Done;
        }
        self.sleep(cx, now, until_ms)
    }

    fn sleep(&mut self, cx: &mut Context<'_>, now: Now, deadline_ms: u64) -> Step {
        let stall_ms = if self.output.is_empty() && !self.unflushed {
            u64::MAX
        } else {
            self.wrote_ms + self.hub.config().mqtt.write_stall_s * 1000
        };
        if now.mono_ms >= stall_ms {
            self.connection.stalled(now);
            self.output = Vec::new();
            self.written = 0;
            return Step::Done;
        }
        let due_ms = deadline_ms.min(stall_ms);
        if self.timer_ms == 0 || due_ms < self.timer_ms || self.timer_ms <= now.mono_ms {
            self.timer_ms = due_ms;
            let wait_ms = due_ms.saturating_sub(now.mono_ms).clamp(1, TIMER_MAX_MS);
            self.timer.as_mut().reset(Instant::now() + Duration::from_millis(wait_ms));
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Step::Sleep,
            Poll::Ready(()) => {
                self.timer_ms = 0;
                Step::Again
            }
        }
    }

    /// Writes the TLS close, and lets a refused peer read why before the socket goes: a reset would take the last
    /// word from it.
    fn poll_close(&mut self, cx: &mut Context<'_>, linger: bool) -> Poll<()> {
        if ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err() || !linger || self.eof {
            return Poll::Ready(());
        }
        let mut left = LINGER_BYTES_MAX;
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                let mut buf = ReadBuf::new(scratch);
                match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                    Ok(()) if !buf.filled().is_empty() && left > 0 => left = left.saturating_sub(buf.filled().len()),
                    _ => return Poll::Ready(()),
                }
            }
        })
    }
}

/// Polls this task again when every other that is ready has been, and the sockets were looked at: a waker called here would
/// put it in front of what has arrived meanwhile.
fn come_again(cx: &mut Context<'_>) -> Poll<()> {
    pin!(yield_now()).poll(cx)
}

/// Bytes of packets made ready at once. One TLS record holds 16 KiB; several go out in one system call.
const OUTPUT_BYTES_MAX: usize = SCRATCH_BYTES;
/// A buffer that had to grow beyond this, for large packets, is not kept.
const OUTPUT_KEPT_BYTES: usize = 2 * OUTPUT_BYTES_MAX;
/// The longest a timer is set for; it is set again when it fires.
const TIMER_MAX_MS: u64 = 3_600_000;

enum Step {
    Again,
    Sleep,
    Done,
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, rc::Rc};

    use portreeve_config::{Config, Role};
    use portreeve_hub::{Actor, AdminRequest, Peer};
    use portreeve_mqtt::{Packet, Publish, Version, encode};
    use portreeve_types::{Kind, LifecycleState, Qos};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        runtime::Builder,
        task::{JoinHandle, LocalSet, spawn_local},
    };

    use super::*;

    fn administer(hub: &Hub, request: AdminRequest) -> serde_json::Value {
        hub.administer(&Actor { name: "test".into(), role: Role::Administrator }, request).unwrap().result
    }

    /// A registered device as the registry admits it.
    fn device(hub: &Arc<Hub>, name: &str) -> Connection {
        let (name, kind) = (name.parse().unwrap(), Kind::Device);
        let add = AdminRequest::DeviceAdd { name, kind, fields: Default::default(), bundle: true, days: None };
        let added = administer(hub, add);
        let pem = added["bundle"]["cert_pem"].as_str().unwrap();
        let chain = portreeve_tls::certificates_from_pem("cert.pem", pem.as_bytes()).unwrap();
        let identity = hub.authenticate(&chain[0]).unwrap();
        let peer = Peer { address: [127, 0, 0, 1].into(), transport: "mqtt" };
        Connection::new(Arc::clone(hub), identity, peer, now())
    }

    /// Whom an operator cuts off ends now, however many connections of the same owner wait for their turns before it.
    #[test]
    fn who_is_cut_off_does_not_wait_for_a_turn() {
        const CROWD: usize = 4000;
        const CONNACK: u8 = 2 << 4;
        const DISCONNECT: u8 = 14 << 4;
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.limits.device_messages_per_s = 100_000_000;
        config.limits.device_messages_burst = 100_000_000;
        config.limits.device_bytes_per_s = 1 << 40;
        let hub = Hub::open(&data.path().join("hub"), config, now().wall).unwrap();
        LocalSet::new().block_on(&Builder::new_current_thread().enable_all().build().unwrap(), async {
            let connection = device(&hub, "lamp");
            let identity = connection.identity().id();
            let (client, stream) = tokio::io::duplex(1 << 20);
            let (mut answers, mut client) = tokio::io::split(client);
            let mut hello = Vec::new();
            encode::any(&mut hello, Version::V5, &Packet::Connect(connect("lamp"))).unwrap();
            client.write_all(&hello).await.unwrap();
            let driven = spawn_local(drive(stream, connection, Arc::clone(&hub)));
            assert_eq!(answers.read_u8().await.unwrap(), CONNACK);
            let rest = answers.read_u8().await.unwrap();
            answers.read_exact(&mut vec![0; rest.into()]).await.unwrap();
            // It always has more to do than a step.
            let mut packets = Vec::new();
            for _ in 0..5000 {
                encode::any(&mut packets, Version::V5, &Packet::Publish(publish("devices/lamp/t"))).unwrap();
            }
            let flood = spawn_local(async move { while client.write_all(&packets).await.is_ok() {} });
            let steps = Rc::new(Cell::new(0));
            let crowd: Vec<_> = (0..CROWD)
                .map(|_| {
                    let steps = Rc::clone(&steps);
                    spawn_local(async move {
                        loop {
                            match session_turn(identity) {
                                Some(called) => drop(called.await),
                                None => yield_now().await,
                            }
                            steps.set(steps.get() + 1);
                        }
                    })
                })
                .collect();
            while steps.get() < 2 * CROWD {
                yield_now().await;
            }
            assert!(!driven.is_finished());
            let name = "lamp".parse().unwrap();
            let revoke =
                AdminRequest::DeviceState { name, to: LifecycleState::Revoked, reason: String::new(), dry_run: false };
            administer(&hub, revoke);
            let before = steps.get();
            assert_eq!(answers.read_u8().await.unwrap(), DISCONNECT);
            let waited = steps.get() - before;
            assert!(waited < 100, "{waited} steps of others first, of {CROWD} that wait");
            driven.abort();
            flood.abort();
            crowd.iter().for_each(JoinHandle::abort);
        });
    }

    fn connect(client_id: &str) -> portreeve_mqtt::Connect<'_> {
        portreeve_mqtt::Connect::new(Version::V5, client_id)
    }

    fn publish(topic: &str) -> Publish<'_> {
        Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: 0,
            topic_alias: None,
            properties: Default::default(),
            subscription_ids: Default::default(),
            payload: b"x",
        }
    }

    /// However many connections always have more to do, the sockets of the others are looked at after each of them once.
    #[test]
    fn busy_connections_come_again_behind_what_has_arrived() {
        const BUSY: usize = 4;
        const ROUNDS: usize = 100;
        LocalSet::new().block_on(&Builder::new_current_thread().enable_all().build().unwrap(), async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            let (polls, sent_at) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
            let busy = |first: bool| {
                let (polls, sent_at, near) = (Rc::clone(&polls), Rc::clone(&sent_at), near.try_clone().unwrap());
                spawn_local(poll_fn(move |cx| {
                    polls.set(polls.get() + 1);
                    // The reader sleeps until somebody looks at its socket.
                    if first && sent_at.get().is_none() {
                        (&near).write_all(b"x").unwrap();
                        sent_at.set(Some(polls.get()));
                    }
                    come_again(cx)
                }))
            };
            let busy: Vec<_> = (0..BUSY).map(|index| busy(index == 0)).collect();
            let reader = spawn_local(async move {
                let mut longest = 0;
                for _ in 0..ROUNDS {
                    far.read_exact(&mut [0; 1]).await.unwrap();
                    longest = longest.max(polls.get() - sent_at.take().unwrap());
                }
                longest
            });
            let longest = reader.await.unwrap();
            assert!(longest <= 4 * BUSY, "{longest} polls of busy connections before one look at the sockets");
            busy.iter().for_each(JoinHandle::abort);
        });
    }
}
