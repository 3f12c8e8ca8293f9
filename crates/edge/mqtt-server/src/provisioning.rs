//! `mqtt.provisioning_listen`: sockets for [`portreeve_mqtt::provisioning`], on a thread of their own, so that strangers
//! take nothing from sessions but the processor.

use std::{
    collections::hash_map::RandomState,
    future::{pending, poll_fn},
    hash::{BuildHasher as _, Hasher as _},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use portreeve_events::Kind;
use portreeve_hub::{Admissions, Close, EnrolRefusal, EnrolRequest, Enrolled, Guest, Hub, Presented};
use portreeve_mqtt::{
    Reason,
    provisioning::{Answer, Bounds, Event, Refused, Request, Session},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
    task::{LocalSet, spawn_blocking, spawn_local},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Admission, Arrival, Arrived, Clients, TlsDoor, TlsStream, drive::LINGER, now};

/// Requests that are decided at the same time; more wait. The registry takes one after the other anyway.
const DECISIONS_MAX: usize = 4;
/// Bytes read at once.
const READ_BYTES: usize = 4096;
/// What a session that is over may still send until its connection is closed.
const LINGER_BYTES_MAX: u64 = 1 << 20;
/// The longest sleep; then the clock is looked at again.
const SLEEP_MAX_MS: u64 = 3_600_000;

/// The provisioning listener and its thread.
#[derive(Debug)]
pub struct ProvisioningServer {
    address: SocketAddr,
    no_more: CancellationToken,
    end: CancellationToken,
    thread: JoinHandle<()>,
}

impl ProvisioningServer {
    /// Binds `mqtt.provisioning_listen` and starts to serve; `None` if there is to be none.
    ///
    /// # Errors
    /// The operating system's: an address in use, no thread.
    pub fn start(hub: &Arc<Hub>, admission: &Admission) -> io::Result<Option<Self>> {
        let Some(listen) = hub.config().mqtt.provisioning_listen else { return Ok(None) };
        let door = TlsDoor::bind(hub, admission, listen, &[b"mqtt"], Clients::Applicants, "mqtt provisioning")?;
        let address = door.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(DECISIONS_MAX).build()?;
        let (no_more, end) = (CancellationToken::new(), CancellationToken::new());
        let service = Service { hub: Arc::clone(hub), no_more: no_more.clone() };
        let ended = end.clone();
        let thread = thread::Builder::new().name("provisioning".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, service.run(door, &ended));
            // A request that still waits for the disk does not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Some(Self { address, no_more, end, thread }))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new sessions, and ends those that there are; a request that is being decided is answered.
    pub fn stop(&self) {
        self.no_more.cancel();
    }

    /// Stops, and waits until all have gone, `deadline` at most.
    pub fn join(self, deadline: Duration) {
        self.stop();
        let until = Instant::now() + deadline;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.end.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the provisioning thread ended in a panic");
        }
    }
}

#[derive(Clone)]
struct Service {
    hub: Arc<Hub>,
    no_more: CancellationToken,
}

impl Service {
    async fn run(self, door: TlsDoor, end: &CancellationToken) {
        let listener = match door.listener() {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the provisioning thread cannot listen"),
        };
        let sessions = TaskTracker::new();
        loop {
            let arrival = tokio::select! {
                biased;
                () = self.no_more.cancelled() => break,
                arrival = door.accept(&listener) => arrival,
            };
            let Ok(arrival) = arrival else { break };
            spawn_local(sessions.track_future(self.clone().attend(arrival)));
        }
        drop(listener);
        sessions.close();
        tokio::select! {
            () = sessions.wait() => {}
            () = end.cancelled() => {}
        }
    }

    /// One client, from its TLS handshake to its end.
    async fn attend(self, arrival: Arrival) {
        let arrived = tokio::select! {
            arrived = arrival.handshake() => arrived,
            () = self.no_more.cancelled() => None,
        };
        let Some(Arrived { stream, identity, peer, slot }) = arrived else { return };
        let began = now();
        // Whoever comes with a certificate is heard as long as that is good.
        let left_ms = identity.as_ref().map(|identity| identity.not_after().0.saturating_sub(began.wall.0));
        // And as long as it is admitted.
        let guest = identity.as_ref().map(|identity| self.hub.receive_guest(identity.id()));
        let bounds = self.bounds(left_ms.unwrap_or(u64::MAX));
        let presented = Presented::new(identity, stream.peer_chain(), peer.address);
        let session = Session::new(bounds, unused_client_id(), began.mono_ms);
        let (evicted, no_more) = (slot.evicted(), self.no_more);
        let (cut, input) = (None, Vec::new());
        let mut conversation = Conversation { hub: self.hub, presented, guest, cut, stream, session, input };
        if let Err(error) = conversation.run(&evicted, &no_more).await {
            tracing::debug!(%error, source = %peer.address, "a provisioning session was lost");
        }
        let lasted_s = now().mono_ms.saturating_sub(began.mono_ms) / 1000;
        conversation.mark(lasted_s);
        conversation.tell_of_cut();
        // A peer that is gone makes this fail, and that is all there is to say about it.
        let _ = timeout(LINGER, conversation.close()).await;
    }

    fn bounds(&self, lifetime_ms_max: u64) -> Bounds {
        let config = self.hub.config();
        let limits = &config.limits;
        Bounds {
            connect_bytes_max: u32::try_from(limits.connect_bytes).unwrap_or(u32::MAX),
            connect_timeout_ms: config.mqtt.connect_timeout_s * 1000,
            lifetime_ms: (limits.provisioning_session_s * 1000).min(lifetime_ms_max),
            packets_max: limits.provisioning_packets,
            bytes_max: limits.provisioning_bytes,
            requests_max: limits.provisioning_requests,
        }
    }
}

/// A client identifier for who has none. Nothing is kept under it; it only has to be nobody else's.
fn unused_client_id() -> String {
    format!("provisioning-{:016x}", RandomState::new().build_hasher().finish())
}

/// One session with its socket.
struct Conversation {
    hub: Arc<Hub>,
    presented: Presented,
    /// Its place among the connections of who it is, if that is somebody.
    guest: Option<Guest>,
    /// Why the hub ends it, if it does.
    cut: Option<Close>,
    stream: TlsStream,
    session: Session,
    /// The start of a packet that has not arrived whole, or packets behind a request.
    input: Vec<u8>,
}

impl Conversation {
    /// Until the session is over, or the connection.
    async fn run(&mut self, evicted: &CancellationToken, no_more: &CancellationToken) -> io::Result<()> {
        let mut output = Vec::new();
        loop {
            self.go_on(&mut output).await;
            self.write(&mut output).await?;
            if self.session.is_over() {
                return Ok(());
            }
            self.input.reserve(READ_BYTES);
            let now_ms = now().mono_ms;
            let wait_ms = self.session.deadline_ms().saturating_sub(now_ms).min(SLEEP_MAX_MS);
            tokio::select! {
                read = self.stream.read_buf(&mut self.input) => if read? == 0 { return Ok(()) },
                () = sleep(Duration::from_millis(wait_ms)) => self.session.tick(now().mono_ms, &mut output),
                close = closed(self.guest.as_ref()) => {
                    self.session.close(close.reason, &mut output);
                    self.cut = Some(close);
                }
                // Its place is needed for somebody else's handshake.
                () = evicted.cancelled() => self.session.close(Reason::SERVER_BUSY, &mut output),
                () = no_more.cancelled() => self.session.close(Reason::SERVER_SHUTTING_DOWN, &mut output),
            }
        }
    }

    /// Deals with what has arrived. A request is decided before anything behind it is looked at.
    async fn go_on(&mut self, output: &mut Vec<u8>) {
        loop {
            let used = self.session.receive(now().mono_ms, &self.input, output);
            self.input.drain(..used);
            let mut asked = None;
            while let Some(event) = self.session.poll_event() {
                match event {
                    Event::Requested(request) => asked = Some(request),
                    Event::Refused { what, why } => self.tell(what, &why),
                }
            }
            let Some(request) = asked else { return };
            let decided = self.decide(request).await;
            // From now on it is the session of who has the certificate.
            if let (None, Ok(enrolled)) = (&self.guest, &decided) {
                let row = self.hub.registry().find(&enrolled.name).ok();
                self.guest = row.map(|row| self.hub.receive_guest(row.id));
            }
            self.session.answer(now().mono_ms, answer(&decided), output);
        }
    }

    async fn decide(&self, Request { login, csr }: Request) -> Result<Enrolled, EnrolRefusal> {
        let (hub, presented) = (Arc::clone(&self.hub), self.presented.clone());
        let source = presented.source();
        let code = login.map(|login| (login.name, login.code));
        let Some(claim) = presented.claim(code, hub.has_allow_lists()) else {
            let detail = format_args!("nothing was shown that could entitle to a certificate");
            hub.emit(Kind::EnrolmentRefused, None, None, Some(source), detail);
            return Err(EnrolRefusal::NotEntitled);
        };
        let request = EnrolRequest { claim, csr: Ok(csr), source };
        // Signing and the disk take their time, which others on this thread do not wait for.
        let work = spawn_blocking(move || hub.enrol(&request, now()));
        // A panic, which has said so on its own.
        work.await.unwrap_or(Err(EnrolRefusal::Refused))
    }

    async fn write(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        let stall = Duration::from_secs(self.hub.config().mqtt.write_stall_s);
        let written = timeout(stall, async {
            self.stream.write_all(output).await?;
            self.stream.flush().await
        });
        let written = written.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        output.clear();
        written
    }

    fn tell(&self, what: Refused, why: &str) {
        let kind = match what {
            Refused::Connect => Kind::ConnectRefused,
            Refused::Will => Kind::WillDenied,
            Refused::Publish => Kind::PublishDenied,
            Refused::Subscribe => Kind::SubscribeDenied,
            Refused::Violation => Kind::ProtocolViolation,
            Refused::Limit => Kind::LimitReached,
            Refused::Silence => Kind::KeepAliveExpired,
        };
        let source: IpAddr = self.presented.source();
        let name = self.presented.name().map(|name| name.as_str());
        self.hub.emit(kind, name, None, Some(source), format_args!("provisioning: {why}"));
    }

    /// If the hub has ended it, says so.
    fn tell_of_cut(&self) {
        if let (Some(guest), Some(close)) = (&self.guest, &self.cut) {
            guest.gone(close, self.presented.source());
        }
    }

    /// Raises the high-water marks of what one session may do.
    fn mark(&self, lasted_s: u64) {
        let used = self.session.used();
        let Admissions {
            provisioning_session_s, provisioning_packets, provisioning_bytes, provisioning_requests, ..
        } = self.hub.admissions();
        provisioning_session_s.fetch_max(lasted_s, Relaxed);
        provisioning_packets.fetch_max(used.packets.into(), Relaxed);
        provisioning_bytes.fetch_max(used.bytes, Relaxed);
        provisioning_requests.fetch_max(used.requests.into(), Relaxed);
    }

    /// Closes in order, and lets the peer read the last word before the socket goes: a reset would take it away.
    async fn close(self) -> io::Result<u64> {
        let mut stream = self.stream;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
    }
}

/// Returns when the hub wants a guest to go. Whoever is none may stay.
async fn closed(guest: Option<&Guest>) -> Close {
    match guest {
        Some(guest) => poll_fn(|context| guest.poll_close(context)).await,
        None => pending().await,
    }
}

fn answer(decided: &Result<Enrolled, EnrolRefusal>) -> Answer<'_> {
    match decided {
        Ok(enrolled) => Answer::Issued { chain_pem: &enrolled.chain_pem, name: enrolled.name.as_str() },
        Err(EnrolRefusal::NotEntitled) => Answer::NotEntitled,
        Err(EnrolRefusal::Refused) => Answer::Refused,
        Err(EnrolRefusal::Waiting { retry_after_s }) => Answer::Waiting { retry_after_s: *retry_after_s },
        Err(EnrolRefusal::Busy { retry_after_s }) => Answer::Busy { retry_after_s: *retry_after_s },
    }
}
