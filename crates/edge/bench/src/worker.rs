//! One thread's clients and the loop that drives them.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use portreeve_mqtt::encode;
use portreeve_tls::Flow;
use rustix::event::epoll::EventFlags;
use rustls::{ClientConfig, client::UnbufferedClientConnection};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};

use crate::{
    BenchError, Histogram, Negotiated, Scenario, Schedule,
    channel::{Buffers, Channel},
    fault::Fault,
    poller::{Clock, Poller},
    session::{Context, Findings, Role, Session, Speech, Stage},
};

/// Plaintext of one batch: what fits one TLS record.
const BATCH_BYTES: usize = 16 * 1024;
/// Longest wait for the next step of a client that connects.
const PATIENCE_NS: u64 = 10_000_000_000;
/// Longest wait for the broker to close after DISCONNECT.
const FAREWELL_NS: u64 = 1_000_000_000;
/// Longest wait of a thread: how soon it sees a new phase.
const TURN: Duration = Duration::from_millis(5);
/// How often deadlines are looked at.
const SWEEP_NS: u64 = 100_000_000;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Clients connect.
    Open,
    /// Traffic.
    Run,
    /// What is on its way may arrive.
    Drain,
    /// Everybody leaves.
    Stop,
}

/// What the threads share with the one that leads.
pub(crate) struct Control {
    phase: AtomicU8,
    /// Start of the traffic, start and end of what is measured; written before [`Phase::Run`].
    start_ns: AtomicU64,
    measured_from_ns: AtomicU64,
    measured_until_ns: AtomicU64,
    failure: Mutex<Option<BenchError>>,
    /// Why the first connection was lost after the start.
    first_loss: Mutex<Option<String>>,
    pub(crate) negotiated: Mutex<Option<Negotiated>>,
    /// Per publisher, if its window counts deliveries.
    pub(crate) delivered_of: Vec<AtomicU64>,
}

impl Control {
    pub(crate) fn new(delivered_of: usize) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Open as u8),
            start_ns: AtomicU64::new(0),
            measured_from_ns: AtomicU64::new(0),
            measured_until_ns: AtomicU64::new(0),
            failure: Mutex::new(None),
            first_loss: Mutex::new(None),
            negotiated: Mutex::new(None),
            delivered_of: std::iter::repeat_with(AtomicU64::default).take(delivered_of).collect(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(std::sync::atomic::Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Run,
            2 => Phase::Drain,
            _ => Phase::Stop,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, std::sync::atomic::Ordering::AcqRel);
    }

    /// Sets the times of the run and lets it begin.
    pub(crate) fn begin(&self, start_ns: u64, measured_ns: &Range<u64>) {
        self.start_ns.store(start_ns, Relaxed);
        self.measured_from_ns.store(measured_ns.start, Relaxed);
        self.measured_until_ns.store(measured_ns.end, Relaxed);
        self.enter(Phase::Run);
    }

    /// Ends the run; the first reason is kept.
    pub(crate) fn fail(&self, error: BenchError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.enter(Phase::Stop);
    }

    fn note_loss(&self, what: String) {
        self.first_loss.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }

    pub(crate) fn first_loss(&self) -> Option<String> {
        self.first_loss.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn failure(&self) -> Option<BenchError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What one thread has done so far; the thread writes, the leader reads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Clients that are ready now.
    pub(crate) ready: AtomicU64,
    /// Connections that ever became ready.
    pub(crate) connected: AtomicU64,
    /// Connections that failed or were lost.
    pub(crate) failed: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// Messages that wait for an acknowledgement.
    pub(crate) in_flight: AtomicU64,
}

/// What all workers are told.
pub(crate) struct Orders<'a> {
    pub(crate) scenario: Scenario,
    pub(crate) address: SocketAddr,
    pub(crate) broker: &'a str,
    pub(crate) name: ServerName<'static>,
    pub(crate) speech: Speech,
    /// Connections that may be on their way at once, on this thread.
    pub(crate) concurrency: usize,
    /// Of messages, or of connections on this thread.
    pub(crate) rate_per_s: Option<u64>,
    pub(crate) publishers: u64,
    pub(crate) receivers_each: u64,
    pub(crate) clock: Clock,
    pub(crate) control: &'a Control,
}

/// A client to be.
pub(crate) struct Member {
    pub(crate) client_id: String,
    pub(crate) role: Role,
    pub(crate) config: Arc<ClientConfig>,
}

enum Link {
    /// Not connected.
    None,
    /// TCP is on its way.
    Opening(Socket),
    Open(Box<Channel<UnbufferedClientConnection>>),
}

struct Client {
    member: Member,
    link: Link,
    session: Session,
    interest: EventFlags,
    /// When it began to connect, or to leave.
    since_ns: u64,
}

/// What a publisher wants after its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Appetite {
    /// To go on at once.
    Hungry,
    /// To go on when the socket or the window lets it.
    Waiting,
    /// Nothing, until more is due.
    Sated,
}

/// One thread.
pub(crate) struct Worker<'a> {
    orders: &'a Orders<'a>,
    counters: &'a Counters,
    is_connect_run: bool,
    poller: Poller,
    clients: Vec<Client>,
    /// Clients that wait to be connected.
    waiting: VecDeque<u32>,
    /// Connections that are neither ready nor gone.
    unsettled: usize,
    /// Connections that were begun in the run, for their schedule.
    begun: u64,
    /// Publishers that may have something to send.
    eager: Vec<u32>,
    /// By number of the publisher: its client, if it is one of this thread's, and whether it is in `eager`.
    publishers: Vec<Option<(u32, bool)>>,
    /// Messages of the schedule that were handed to their publishers, all publishers of all threads together.
    handed_out: u64,
    sent: u64,
    findings: Findings,
    connect_ns: Histogram,
    buffers: Buffers,
    batch: Vec<u8>,
    swept_ns: u64,
    pings: u64,
    ready: u64,
    started: bool,
}

/// What a thread knows in the end.
pub(crate) struct Outcome {
    pub(crate) connect: Histogram,
    pub(crate) latency: Histogram,
    pub(crate) foreign: u64,
    /// Per publisher of this thread, how many it sent.
    pub(crate) sent: Vec<(u32, u64)>,
    pub(crate) receivers: Vec<crate::session::Receiver>,
    /// Messages that nobody acknowledged.
    pub(crate) unacknowledged: u64,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(orders: &'a Orders<'a>, counters: &'a Counters, members: Vec<Member>) -> io::Result<Self> {
        let client = |member: Member| Client {
            session: Session::new(&member.role, &orders.speech),
            member,
            link: Link::None,
            interest: EventFlags::empty(),
            since_ns: 0,
        };
        let clients: Vec<_> = members.into_iter().map(client).collect();
        let numbers = || (0_u32..).take(clients.len());
        let mut publishers = vec![None; usize::try_from(orders.publishers).unwrap_or(0)];
        let mut eager = Vec::new();
        for (index, client) in numbers().zip(&clients) {
            let Some(publisher) = &client.session.publisher else { continue };
            // Without a schedule everybody is eager all the time.
            let always = orders.rate_per_s.is_none();
            publishers[publisher.number as usize] = Some((index, always));
            eager.extend(always.then_some(index));
        }
        Ok(Self {
            orders,
            counters,
            is_connect_run: orders.scenario == Scenario::Connect,
            poller: Poller::new()?,
            waiting: numbers().collect(),
            eager,
            publishers,
            handed_out: 0,
            sent: 0,
            unsettled: 0,
            begun: 0,
            findings: Findings::default(),
            connect_ns: Histogram::default(),
            buffers: Buffers::default(),
            batch: Vec::with_capacity(BATCH_BYTES * 2),
            swept_ns: 0,
            pings: 0,
            ready: 0,
            started: false,
            clients,
        })
    }

    /// Drives the clients until the run is over.
    pub(crate) fn run(mut self) -> Outcome {
        loop {
            let phase = self.orders.control.phase();
            if phase == Phase::Stop {
                break;
            }
            let now_ns = self.orders.clock.now_ns();
            if phase >= Phase::Run && !self.started {
                self.start();
            }
            self.connect_more(now_ns, phase);
            let busy = phase == Phase::Run && self.publish(now_ns);
            self.sweep(now_ns);
            let timeout = if busy { Duration::ZERO } else { self.timeout(now_ns, phase) };
            if let Err(error) = self.turn(timeout) {
                self.orders.control.fail(BenchError::Usage(format!("cannot wait for sockets: {error}")));
            }
            self.report(phase);
        }
        self.finish()
    }

    fn start(&mut self) {
        self.started = true;
        let control = self.orders.control;
        self.findings.measured_ns = control.measured_from_ns.load(Relaxed)..control.measured_until_ns.load(Relaxed);
    }

    fn schedule(&self) -> Option<Schedule> {
        let publishers = if self.is_connect_run { 1 } else { self.orders.publishers };
        let start_ns = self.orders.control.start_ns.load(Relaxed);
        self.orders.rate_per_s.map(|rate_per_s| Schedule { start_ns, rate_per_s, publishers })
    }

    /// Until the next message or connection is due.
    fn timeout(&self, now_ns: u64, phase: Phase) -> Duration {
        let Some(schedule) = self.schedule().filter(|_| phase == Phase::Run) else { return TURN };
        let due_ns = if self.is_connect_run {
            schedule.due_ns(0, self.begun)
        } else {
            Schedule { publishers: 1, ..schedule }.due_ns(0, self.handed_out)
        };
        Duration::from_nanos(due_ns.saturating_sub(now_ns)).min(TURN)
    }

    fn connect_more(&mut self, now_ns: u64, phase: Phase) {
        let now = if self.is_connect_run { Phase::Run } else { Phase::Open };
        if phase != now {
            return;
        }
        let limit = match self.schedule().filter(|_| self.is_connect_run) {
            Some(schedule) => schedule.due_count(0, now_ns),
            None => u64::MAX,
        };
        while self.unsettled < self.orders.concurrency && self.begun < limit {
            let Some(index) = self.waiting.pop_front() else { return };
            self.unsettled += 1;
            let due_ns = self.schedule().filter(|_| self.is_connect_run).map(|schedule| schedule.due_ns(0, self.begun));
            self.begun += 1;
            self.clients[index as usize].since_ns = due_ns.unwrap_or(now_ns);
            if let Err(fault) = self.connect(index) {
                // Not at once again: what is short now may be there in the next turn.
                return self.lost(index, fault);
            }
        }
    }

    fn connect(&mut self, index: u32) -> Result<(), Fault> {
        let socket = Socket::new(Domain::for_address(self.orders.address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Err(error) = socket.connect(&self.orders.address.into())
            && rustix::io::Errno::from_io_error(&error) != Some(rustix::io::Errno::INPROGRESS)
        {
            return Err(error.into());
        }
        self.poller.add(&socket, index, EventFlags::OUT)?;
        let client = &mut self.clients[index as usize];
        client.interest = EventFlags::OUT;
        client.link = Link::Opening(socket);
        Ok(())
    }

    /// One wait, and what it brought.
    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        self.poller.wait(timeout)?;
        if self.poller.len() == 0 {
            return Ok(());
        }
        let now_ns = self.orders.clock.now_ns();
        for at in 0..self.poller.len() {
            let (index, flags) = self.poller.event(at);
            match self.event(index, flags, now_ns) {
                Ok(Flow::Open) => {}
                Ok(Flow::Closed) => self.closed(index),
                Err(fault) => self.lost(index, fault),
            }
        }
        Ok(())
    }

    fn event(&mut self, index: u32, flags: EventFlags, now_ns: u64) -> Result<Flow, Fault> {
        let client = &mut self.clients[index as usize];
        if let Link::Opening(_) = client.link {
            self.tcp_opened(index)?;
            return Ok(Flow::Open);
        }
        let Link::Open(channel) = &mut client.link else { return Ok(Flow::Open) };
        if flags.contains(EventFlags::OUT) {
            channel.flush()?;
        }
        let mut flow = Flow::Open;
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            flow = self.readable(index, now_ns)?;
        }
        self.watch(index)?;
        Ok(flow)
    }

    fn tcp_opened(&mut self, index: u32) -> Result<(), Fault> {
        let client = &mut self.clients[index as usize];
        let Link::Opening(socket) = std::mem::replace(&mut client.link, Link::None) else { return Ok(()) };
        if let Some(error) = socket.take_error()? {
            return Err(error.into());
        }
        let config = Arc::clone(&client.member.config);
        let tls = UnbufferedClientConnection::new(config, self.orders.name.clone())?;
        let mut channel = Box::new(Channel::new(socket.into(), tls));
        channel.start(&mut self.buffers)?;
        client.link = Link::Open(channel);
        self.watch(index)
    }

    fn readable(&mut self, index: u32, now_ns: u64) -> Result<Flow, Fault> {
        let client = &mut self.clients[index as usize];
        let Link::Open(channel) = &mut client.link else { return Ok(Flow::Open) };
        let before = client.session.stage;
        self.batch.clear();
        let mut context = Context {
            now_ns,
            speech: &self.orders.speech,
            findings: &mut self.findings,
            delivered_of: &self.orders.control.delivered_of,
            reply: &mut self.batch,
        };
        let session = &mut client.session;
        let flow = channel.receive(&mut self.buffers, &mut |plain| session.receive(plain, &mut context))?;
        if before == Stage::Opening && channel.is_established() {
            session.opened(&client.member.client_id, &self.orders.speech, &mut self.batch)?;
        }
        if !self.batch.is_empty() {
            channel.send(&mut self.buffers, &self.batch)?;
        }
        if before != Stage::Ready && session.stage == Stage::Ready {
            self.became_ready(index, now_ns)?;
        }
        Ok(flow)
    }

    fn became_ready(&mut self, index: u32, now_ns: u64) -> Result<(), Fault> {
        let client = &mut self.clients[index as usize];
        let Link::Open(channel) = &mut client.link else { return Ok(()) };
        self.counters.connected.fetch_add(1, Relaxed);
        let mut negotiated = self.orders.control.negotiated.lock().unwrap_or_else(PoisonError::into_inner);
        negotiated.get_or_insert_with(|| Negotiated::of(channel.tls()));
        drop(negotiated);
        if !self.is_connect_run {
            self.connect_ns.record(now_ns.saturating_sub(client.since_ns));
            self.unsettled -= 1;
            self.ready += 1;
            return Ok(());
        }
        if self.findings.measured_ns.contains(&client.since_ns) {
            self.connect_ns.record(now_ns.saturating_sub(client.since_ns));
        }
        client.since_ns = now_ns;
        self.batch.clear();
        client.session.leave(self.orders.speech.version, &mut self.batch);
        channel.send(&mut self.buffers, &self.batch)
    }

    /// Waits for what the connection needs now.
    fn watch(&mut self, index: u32) -> Result<(), Fault> {
        let client = &mut self.clients[index as usize];
        let Link::Open(channel) = &client.link else { return Ok(()) };
        let interest = channel.interest(true);
        if interest != client.interest {
            client.interest = interest;
            self.poller.modify(channel.socket(), index, interest)?;
        }
        Ok(())
    }

    /// Lets publishers send what may leave. `true` if one could send more at once.
    fn publish(&mut self, now_ns: u64) -> bool {
        if now_ns < self.orders.control.start_ns.load(Relaxed) {
            return false;
        }
        let schedule = self.schedule();
        if let Some(schedule) = schedule {
            self.hand_out(&schedule, now_ns);
        }
        let mut busy = false;
        let mut eager = std::mem::take(&mut self.eager);
        eager.retain(|&index| {
            let still = self.publish_one(index, now_ns, schedule.as_ref()).unwrap_or_else(|fault| {
                self.lost(index, fault);
                Appetite::Sated
            });
            busy |= still == Appetite::Hungry;
            still != Appetite::Sated
        });
        self.eager = eager;
        busy
    }

    /// Wakes the publishers whose messages have become due.
    fn hand_out(&mut self, schedule: &Schedule, now_ns: u64) {
        let due = Schedule { publishers: 1, ..*schedule }.due_count(0, now_ns);
        // Once for each publisher is enough, however long nobody looked.
        for position in self.handed_out..due.min(self.handed_out + schedule.publishers) {
            let number = usize::try_from(position % schedule.publishers).unwrap_or(usize::MAX);
            let Some(Some((index, is_eager))) = self.publishers.get_mut(number) else { continue };
            if !std::mem::replace(is_eager, true) {
                self.eager.push(*index);
            }
        }
        self.handed_out = due;
    }

    fn publish_one(&mut self, index: u32, now_ns: u64, schedule: Option<&Schedule>) -> Result<Appetite, Fault> {
        let client = &mut self.clients[index as usize];
        let (Link::Open(channel), Some(publisher)) = (&mut client.link, &mut client.session.publisher) else {
            return Ok(Appetite::Sated);
        };
        if channel.is_blocked() {
            return Ok(Appetite::Waiting);
        }
        let number = publisher.number as usize;
        let due = schedule.map_or(u64::MAX, |schedule| schedule.due_count(number as u64, now_ns));
        let limit = match (self.orders.control.delivered_of.get(number), self.orders.speech.window) {
            (Some(delivered), Some(window)) => delivered.load(Relaxed) / self.orders.receivers_each + u64::from(window),
            _ => u64::MAX,
        };
        let before = publisher.sent;
        self.batch.clear();
        publisher.fill(&mut self.batch, BATCH_BYTES, now_ns, schedule, due.min(limit));
        let sent = publisher.sent - before;
        let is_done = publisher.sent >= due;
        if sent > 0 {
            self.sent += sent;
            channel.send(&mut self.buffers, &self.batch)?;
        }
        let is_hungry = sent > 0 && !channel.is_blocked();
        self.watch(index)?;
        if is_done {
            if let Some(Some((_, is_eager))) = self.publishers.get_mut(number) {
                *is_eager = false;
            }
            return Ok(Appetite::Sated);
        }
        Ok(if is_hungry { Appetite::Hungry } else { Appetite::Waiting })
    }

    /// Deadlines and keep-alive, now and then.
    fn sweep(&mut self, now_ns: u64) {
        if now_ns < self.swept_ns + SWEEP_NS {
            return;
        }
        self.swept_ns = now_ns;
        for index in (0_u32..).take(self.clients.len()) {
            let client = &self.clients[index as usize];
            let waited_ns = now_ns.saturating_sub(client.since_ns);
            match (&client.link, client.session.stage) {
                (Link::None, _) | (_, Stage::Ready) => {}
                (_, Stage::Leaving) if waited_ns > FAREWELL_NS => self.closed(index),
                (_, Stage::Leaving) => {}
                _ if waited_ns > PATIENCE_NS => self.lost(index, Fault::Silent(PATIENCE_NS / 1_000_000_000)),
                _ => {}
            }
        }
        self.ping(now_ns);
    }

    /// Each client pings twice in its keep-alive [MQTT-3.1.2-20]; they take turns, so that idle load is even.
    fn ping(&mut self, now_ns: u64) {
        let keep_alive_s = self.clients.iter().map(|client| client.session.keep_alive_s).filter(|&s| s > 0).min();
        let Some(keep_alive_s) = keep_alive_s else { return };
        let interval_ns = u128::from(keep_alive_s) * 500_000_000;
        let due = u128::from(now_ns) * self.clients.len() as u128 / interval_ns;
        while u128::from(self.pings) < due {
            let index = u32::try_from(self.pings % self.clients.len() as u64).unwrap_or(0);
            self.pings += 1;
            if let Err(fault) = self.ping_one(index) {
                self.lost(index, fault);
            }
        }
    }

    fn ping_one(&mut self, index: u32) -> Result<(), Fault> {
        let client = &mut self.clients[index as usize];
        let (Link::Open(channel), Stage::Ready) = (&mut client.link, client.session.stage) else { return Ok(()) };
        self.batch.clear();
        encode::pingreq(&mut self.batch);
        channel.send(&mut self.buffers, &self.batch)?;
        self.watch(index)
    }

    /// The broker hung up: the end of a connect cycle, a loss in any other.
    fn closed(&mut self, index: u32) {
        if self.clients[index as usize].session.stage == Stage::Leaving {
            self.reopen(index);
        } else {
            self.lost(index, Fault::Closed);
        }
    }

    fn reopen(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        client.link = Link::None;
        client.session = Session::new(&client.member.role, &self.orders.speech);
        self.unsettled -= 1;
        self.waiting.push_back(index);
    }

    /// A connection failed. A run that never had a connection, or cannot begin without this one, ends.
    fn lost(&mut self, index: u32, fault: Fault) {
        let control = self.orders.control;
        self.counters.failed.fetch_add(1, Relaxed);
        let client = &mut self.clients[index as usize];
        let was_ready = client.session.stage == Stage::Ready;
        client.link = Link::None;
        let is_first = self.is_connect_run && self.counters.connected.load(Relaxed) == 0;
        if is_first || control.phase() == Phase::Open {
            control.fail(fault.of_client(&client.member.client_id, self.orders.broker));
        } else {
            control.note_loss(format!("client `{}`: {fault}", client.member.client_id));
        }
        if self.is_connect_run {
            self.reopen(index);
        } else if was_ready {
            self.ready -= 1;
            client.session.stage = Stage::Leaving;
        } else {
            self.unsettled -= 1;
        }
    }

    fn report(&self, phase: Phase) {
        self.counters.sent.store(self.sent, Relaxed);
        self.counters.delivered.store(self.findings.delivered, Relaxed);
        self.counters.ready.store(self.ready, Relaxed);
        if phase == Phase::Drain {
            let publishers = self.clients.iter().filter_map(|client| client.session.publisher.as_ref());
            let in_flight = publishers.map(|publisher| publisher.in_flight() as u64).sum();
            self.counters.in_flight.store(in_flight, Relaxed);
        }
    }

    /// Takes leave of the broker and hands over what was found.
    fn finish(mut self) -> Outcome {
        let version = self.orders.speech.version;
        for client in &mut self.clients {
            let (Link::Open(channel), Stage::Ready) = (&mut client.link, client.session.stage) else { continue };
            self.batch.clear();
            client.session.leave(version, &mut self.batch);
            // Whoever is gone already needs no farewell.
            let _ = channel.send(&mut self.buffers, &self.batch);
        }
        let publishers = self.clients.iter().filter_map(|client| client.session.publisher.as_ref());
        let sent = publishers.clone().map(|publisher| (publisher.number, publisher.sent)).collect();
        let unacknowledged = publishers.map(|publisher| publisher.in_flight() as u64).sum();
        Outcome {
            unacknowledged,
            connect: self.connect_ns,
            latency: self.findings.latency,
            foreign: self.findings.foreign,
            sent,
            receivers: self.clients.into_iter().filter_map(|client| client.session.receiver).collect(),
        }
    }
}
