//! The loop that drives all connections of an attack.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use portreeve_bench::{BenchError, Buffers, Channel, Clock, Fault, Files, Pattern, Poller, TlsVersion, Wardrobe};
use portreeve_mqtt::{Connect, MessageProperties, Packet, Reason, Sender, Version, Will, decode, encode, frame};
use portreeve_tls::Flow;
use portreeve_types::Qos;
use rustix::event::epoll::EventFlags;
use rustls::{ClientConfig, client::UnbufferedClientConnection};
use rustls_pki_types::ServerName;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{
    Attack, Options,
    actors::{self, Actor, Next},
    hello,
    tally::{Stage, Tally, describe, describe_raw},
};

/// The longest wait of the loop.
const TURN: Duration = Duration::from_millis(1);
/// Connections begun in one turn of the loop.
const BEGUN_PER_TURN: u64 = 64;
/// Larger packets than any hub sends here.
const PACKET_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// How long an honest client that began last may take.
const GRACE_NS: u64 = 5_000_000_000;
/// How long a refused connection of a herd waits.
const HERD_PAUSE_NS: u64 = 200_000_000;
/// How long a herd may take to gather and to be called.
const GATHER_NS: u64 = 120 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;

enum Link {
    None,
    Opening(Socket),
    /// TCP, and how much of what there is to say was said.
    Raw(TcpStream, usize),
    Tls(Box<Channel<UnbufferedClientConnection>>),
}

struct Slot {
    link: Link,
    stage: Stage,
    actor: Box<dyn Actor>,
    since_ns: u64,
    attempts: u32,
    interest: EventFlags,
    inbox: Vec<u8>,
}

/// What is said over TCP.
enum Opening {
    /// These bytes, and nothing else.
    Bytes(Vec<u8>),
    Tls,
    Anonymous(Arc<ClientConfig>),
}

/// All connections of an attack.
pub(crate) struct Engine<'a> {
    options: &'a Options,
    target: SocketAddr,
    name: ServerName<'static>,
    opening: Opening,
    wardrobe: Wardrobe,
    poller: Poller,
    clock: Clock,
    slots: Vec<Slot>,
    /// Who is to connect, and not before when.
    waiting: VecDeque<(u32, u64)>,
    /// Since when, and how many, for the rate.
    pacing: (u64, u64),
    buffers: Buffers,
    out: Vec<u8>,
    tally: Tally,
    /// In a herd: how many have a session.
    standing: u32,
}

impl<'a> Engine<'a> {
    pub(crate) fn new(options: &'a Options, target: SocketAddr) -> Result<Self, BenchError> {
        let usage = |error: &dyn std::fmt::Display| BenchError::Usage(error.to_string());
        let name = ServerName::try_from(options.host().to_owned()).map_err(|error| usage(&error))?;
        let ca = format!("{}/ca.pem", options.bundle.replace("{n}", "0"));
        let pattern = |file: &str| Pattern::new(&format!("{}/{file}", options.bundle)).map_err(|error| usage(&error));
        let files = Files { ca: pattern("ca.pem")?, cert: pattern("cert.pem")?, key: pattern("key.pem")? };
        let slot = |index| Slot {
            link: Link::None,
            stage: Stage::Opening,
            actor: actors::actor(options, index),
            since_ns: 0,
            attempts: 0,
            interest: EventFlags::empty(),
            inbox: Vec::new(),
        };
        Ok(Self {
            opening: opening(options.attack, &ca, &name)?,
            wardrobe: Wardrobe::new(&files, TlsVersion::Tls13, None),
            poller: Poller::new().map_err(|error| usage(&error))?,
            clock: Clock::start(),
            slots: (0..options.connections).map(slot).collect(),
            waiting: (0..options.connections).map(|index| (index, 0)).collect(),
            pacing: (0, 0),
            buffers: Buffers::default(),
            out: Vec::new(),
            tally: Tally::default(),
            standing: 0,
            options,
            target,
            name,
        })
    }

    /// Attacks, and says what came of it.
    pub(crate) fn run(mut self) -> Result<Value, BenchError> {
        self.load_credentials()?;
        if self.options.attack == Attack::Herd {
            self.gather()?;
        }
        let start_ns = self.clock.now_ns();
        let end_ns = start_ns + self.options.duration_s * SECOND_NS;
        self.pacing = (start_ns, 0);
        let is_probe = self.options.attack == Attack::Probe;
        let grace_ns = if is_probe { GRACE_NS } else { 0 };
        loop {
            let now_ns = self.clock.now_ns();
            let over = now_ns >= end_ns;
            let idle = self.slots.iter().all(|slot| matches!(slot.link, Link::None));
            let finished = self.slots.iter().all(|slot| slot.actor.is_finished());
            if now_ns >= end_ns + grace_ns || (over && idle) || finished || self.is_back() {
                break;
            }
            self.turn(!over)?;
        }
        let seconds = self.clock.now_ns().saturating_sub(start_ns) as f64 / 1e9;
        self.count_standing();
        Ok(self.tally.report(self.options.connections, seconds))
    }

    /// Reads every key before the clock runs, and has the cryptography gather its first randomness, which takes long.
    fn load_credentials(&mut self) -> Result<(), BenchError> {
        let ca = format!("{}/ca.pem", self.options.bundle.replace("{n}", "0"));
        hello::client_hello(&ca, &self.name)?;
        if matches!(self.opening, Opening::Tls) {
            for number in 0..self.options.identities.max(1) {
                self.wardrobe.config(number, number)?;
            }
        }
        Ok(())
    }

    /// Connects everybody, and waits until the hub is back.
    fn gather(&mut self) -> Result<(), BenchError> {
        self.pacing = (self.clock.now_ns(), 0);
        let all = self.options.connections;
        while self.standing < all && self.clock.now_ns() < GATHER_NS / 2 {
            self.turn(true)?;
        }
        // Whoever waits for this line and is gone has no use for the rest either.
        let said = writeln!(io::stderr(), "{} of {all} stand", self.standing);
        while said.is_ok()
            && self.clock.now_ns() < GATHER_NS
            && !self.options.after.as_ref().is_some_and(|f| f.exists())
        {
            self.turn(false)?;
        }
        let now_ns = self.clock.now_ns();
        self.tally = Tally::default();
        self.standing = 0;
        self.waiting = (0..all).map(|index| (index, now_ns)).collect();
        for slot in &mut self.slots {
            slot.link = Link::None;
            slot.since_ns = now_ns;
        }
        Ok(())
    }

    /// Whether a herd is complete again.
    fn is_back(&self) -> bool {
        self.options.attack == Attack::Herd && self.standing == self.options.connections
    }

    fn turn(&mut self, begins: bool) -> Result<(), BenchError> {
        let now_ns = self.clock.now_ns();
        if begins {
            self.begin_more(now_ns);
        }
        let mut busy = false;
        for index in (0_u32..).take(self.slots.len()) {
            busy |= self.slots[index as usize].stage == Stage::Mqtt && self.act(index, now_ns);
        }
        let timeout = if busy { Duration::ZERO } else { TURN };
        self.poller.wait(timeout).map_err(|error| BenchError::Usage(error.to_string()))?;
        for at in 0..self.poller.len() {
            let (index, flags) = self.poller.event(at);
            let now_ns = self.clock.now_ns();
            match self.event(index, flags, now_ns) {
                Ok(Flow::Open) => {}
                Ok(Flow::Closed) => self.lost(index, &Fault::Closed, now_ns),
                Err(fault) => self.lost(index, &fault, now_ns),
            }
        }
        Ok(())
    }

    fn begin_more(&mut self, now_ns: u64) {
        let (start_ns, begun) = self.pacing;
        let elapsed_ns = u128::from(now_ns.saturating_sub(start_ns));
        let due = u64::try_from(elapsed_ns * u128::from(self.options.rate) / u128::from(SECOND_NS)).unwrap_or(u64::MAX);
        for _ in begun..(due + 1).min(begun + BEGUN_PER_TURN) {
            let Some(&(index, not_before_ns)) = self.waiting.front() else { return };
            if not_before_ns > now_ns {
                return;
            }
            self.waiting.pop_front();
            self.pacing.1 += 1;
            self.tally.begun += 1;
            if let Err(error) = self.connect(index, now_ns) {
                self.lost(index, &error.into(), now_ns);
            }
        }
    }

    fn connect(&mut self, index: u32, now_ns: u64) -> io::Result<()> {
        let slot = &mut self.slots[index as usize];
        // Attempts of a herd count from when all wanted to be back.
        if self.options.attack != Attack::Herd || slot.since_ns == 0 {
            slot.since_ns = now_ns;
        }
        slot.stage = Stage::Opening;
        slot.inbox.clear();
        let turn = (index + slot.attempts) % self.options.sources.max(1);
        slot.attempts += 1;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.options.attack != Attack::Probe {
            // A reset at the end, so that no address runs out of ports.
            socket.set_linger(Some(Duration::ZERO))?;
            let source = Ipv4Addr::from(u32::from(self.options.source).wrapping_add(turn));
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        if let Err(error) = socket.connect(&self.target.into())
            && rustix::io::Errno::from_io_error(&error) != Some(rustix::io::Errno::INPROGRESS)
        {
            return Err(error);
        }
        self.poller.add(&socket, index, EventFlags::OUT)?;
        slot.interest = EventFlags::OUT;
        slot.link = Link::Opening(socket);
        Ok(())
    }

    fn event(&mut self, index: u32, flags: EventFlags, now_ns: u64) -> Result<Flow, Fault> {
        let slot = &mut self.slots[index as usize];
        let mut flow = Flow::Open;
        match &mut slot.link {
            Link::None => return Ok(Flow::Open),
            Link::Opening(_) => self.tcp_opened(index)?,
            Link::Raw(..) => flow = self.raw(index, now_ns)?,
            Link::Tls(channel) => {
                if flags.contains(EventFlags::OUT) {
                    channel.flush()?;
                }
                if flags.contains(EventFlags::IN) {
                    flow = self.readable(index, now_ns)?;
                } else if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
                    return Ok(Flow::Closed);
                }
            }
        }
        self.watch(index)?;
        Ok(flow)
    }

    fn tcp_opened(&mut self, index: u32) -> Result<(), Fault> {
        let slot = &mut self.slots[index as usize];
        let Link::Opening(socket) = std::mem::replace(&mut slot.link, Link::None) else { return Ok(()) };
        if let Some(error) = socket.take_error()? {
            return Err(error.into());
        }
        slot.stage = Stage::Tcp;
        let config = match &self.opening {
            Opening::Bytes(_) => {
                slot.link = Link::Raw(socket.into(), 0);
                return Ok(());
            }
            Opening::Anonymous(config) => Arc::clone(config),
            Opening::Tls => {
                let identity = index % self.options.identities.max(1);
                let config = self.wardrobe.config(identity, identity);
                config.map_err(|error| io::Error::other(error.to_string()))?
            }
        };
        let tls = UnbufferedClientConnection::new(config, self.name.clone())?;
        let mut channel = Box::new(Channel::new(socket.into(), tls));
        channel.start(&mut self.buffers)?;
        slot.link = Link::Tls(channel);
        Ok(())
    }

    /// Says what is left of the script, and notes what comes back.
    fn raw(&mut self, index: u32, now_ns: u64) -> Result<Flow, Fault> {
        let Opening::Bytes(script) = &self.opening else { return Ok(Flow::Open) };
        let slot = &mut self.slots[index as usize];
        let Link::Raw(socket, said) = &mut slot.link else { return Ok(Flow::Open) };
        if *said < script.len() {
            match socket.write(&script[*said..]) {
                Ok(written) => *said += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut bytes = [0; 4096];
        match socket.read(&mut bytes) {
            Ok(0) => return Ok(Flow::Closed),
            Ok(read) if slot.inbox.len() < 16 => slot.inbox.extend_from_slice(&bytes[..read.min(16)]),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Open),
            Err(error) => return Err(error.into()),
        }
        if self.options.attack == Attack::Handshakes {
            self.tally.stands(&describe_raw(&slot.inbox).unwrap_or_default());
            self.drop_link(index, now_ns);
        }
        Ok(Flow::Open)
    }

    fn readable(&mut self, index: u32, now_ns: u64) -> Result<Flow, Fault> {
        let slot = &mut self.slots[index as usize];
        let Link::Tls(channel) = &mut slot.link else { return Ok(Flow::Open) };
        self.out.clear();
        let before = slot.stage;
        let mut ears = Ears {
            now_ns,
            since_ns: slot.since_ns,
            is_probe: self.options.attack == Attack::Probe,
            stage: &mut slot.stage,
            actor: slot.actor.as_mut(),
            tally: &mut self.tally,
            out: &mut self.out,
        };
        let inbox = &mut slot.inbox;
        let flow = channel.receive(&mut self.buffers, &mut |plain| {
            inbox.extend_from_slice(plain);
            let used = ears.packets(inbox)?;
            inbox.drain(..used);
            Ok(())
        })?;
        if slot.stage == Stage::Tcp && channel.is_established() {
            slot.stage = Stage::Tls;
            first_words(self.options.attack, slot.actor.as_ref(), &mut self.out);
        }
        if before != Stage::Mqtt && slot.stage == Stage::Mqtt {
            self.standing += 1;
        }
        if !self.out.is_empty() {
            channel.send(&mut self.buffers, &self.out)?;
        }
        Ok(flow)
    }

    /// Lets a connected actor say something; `true` if it has more to say.
    fn act(&mut self, index: u32, now_ns: u64) -> bool {
        let slot = &mut self.slots[index as usize];
        let Link::Tls(channel) = &mut slot.link else { return false };
        if channel.is_blocked() {
            return false;
        }
        self.out.clear();
        let next = slot.actor.turn(now_ns, &mut self.out, &mut self.tally);
        if next == Next::Leave {
            encode::disconnect(&mut self.out, Version::V5, &portreeve_mqtt::Disconnect::default());
        }
        let sent = if self.out.is_empty() { Ok(()) } else { channel.send(&mut self.buffers, &self.out) };
        if let Err(fault) = sent.and_then(|()| self.watch(index)) {
            self.lost(index, &fault, now_ns);
            return false;
        }
        if next == Next::Drop || next == Next::Leave {
            self.tally.stands("served, then left");
            self.drop_link(index, now_ns);
        }
        next == Next::Again
    }

    fn watch(&mut self, index: u32) -> Result<(), Fault> {
        let slot = &mut self.slots[index as usize];
        let interest = match (&slot.link, &self.opening) {
            (Link::Raw(_, said), Opening::Bytes(script)) if *said < script.len() => EventFlags::IN | EventFlags::OUT,
            (Link::Raw(..), _) => EventFlags::IN,
            (Link::Tls(channel), _) => channel.interest(slot.stage != Stage::Mqtt || slot.actor.reads()),
            _ => return Ok(()),
        };
        if interest == slot.interest {
            return Ok(());
        }
        slot.interest = interest;
        match &slot.link {
            Link::Raw(socket, _) => self.poller.modify(socket, index, interest)?,
            Link::Tls(channel) => self.poller.modify(channel.socket(), index, interest)?,
            _ => {}
        }
        Ok(())
    }

    /// The hub ended a connection, or never let it in.
    fn lost(&mut self, index: u32, fault: &Fault, now_ns: u64) {
        let slot = &self.slots[index as usize];
        let lasted_ns = now_ns.saturating_sub(slot.since_ns);
        let how = match (fault, describe_raw(&slot.inbox)) {
            (Fault::Closed | Fault::Io(_), Some(said)) if matches!(slot.link, Link::Raw(..)) => said,
            _ => describe(fault, slot.stage),
        };
        self.tally.ended(how, lasted_ns);
        self.drop_link(index, now_ns);
    }

    fn drop_link(&mut self, index: u32, now_ns: u64) {
        let slot = &mut self.slots[index as usize];
        self.standing -= u32::from(slot.stage == Stage::Mqtt);
        slot.stage = Stage::Opening;
        slot.link = Link::None;
        let pause_ns = if self.options.attack == Attack::Herd { HERD_PAUSE_NS } else { 0 };
        if self.options.again || self.options.attack == Attack::Herd {
            self.waiting.push_back((index, now_ns + pause_ns));
        }
    }

    /// At the end: what is still there.
    fn count_standing(&mut self) {
        for slot in &self.slots {
            let how = match (&slot.link, slot.stage) {
                (Link::None, _) => continue,
                (Link::Opening(_), _) => "still waits for TCP",
                (Link::Raw(..), _) => "still open, no answer",
                (_, Stage::Mqtt) => "still connected",
                (_, Stage::Tls) => "still waits for CONNACK",
                _ => "still waits for TLS",
            };
            self.tally.stands(how);
        }
    }
}

/// Hears packets.
struct Ears<'e> {
    now_ns: u64,
    since_ns: u64,
    is_probe: bool,
    stage: &'e mut Stage,
    actor: &'e mut dyn Actor,
    tally: &'e mut Tally,
    out: &'e mut Vec<u8>,
}

impl Ears<'_> {
    fn packets(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut used = 0;
        while let Some(length) = frame(&bytes[used..], PACKET_BYTES_MAX)? {
            self.packet(&decode(Version::V5, Sender::Server, &bytes[used..used + length])?)?;
            used += length;
        }
        Ok(used)
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), Fault> {
        match packet {
            Packet::ConnAck(connack) if connack.reason.is_error() => {
                return Err(Fault::Refused { what: "CONNACK", reason: connack.reason });
            }
            Packet::ConnAck(connack) => {
                *self.stage = Stage::Mqtt;
                self.tally.accepted += 1;
                self.tally.connect.record(self.now_ns.saturating_sub(self.since_ns));
                self.actor.admitted(connack, self.now_ns);
                return Ok(());
            }
            Packet::Disconnect(disconnect) => return Err(Fault::Disconnected(disconnect.reason)),
            Packet::Publish(_) => self.tally.messages_received += 1,
            Packet::PubAck(ack) => self.answers("PUBACK", &[ack.reason]),
            Packet::SubAck(suback) => self.answers("SUBACK", &suback.reasons),
            _ => {}
        }
        self.actor.heard(packet, self.out);
        Ok(())
    }

    /// Refusals; and of whoever is honest everything.
    fn answers(&mut self, what: &str, reasons: &[Reason]) {
        for &reason in reasons {
            if reason.is_error() || self.is_probe {
                self.tally.answer(what, reason);
            }
        }
    }
}

fn opening(attack: Attack, ca: &str, name: &ServerName<'static>) -> Result<Opening, BenchError> {
    let client_hello = || hello::client_hello(ca, name);
    Ok(match attack {
        Attack::Silent => Opening::Bytes(Vec::new()),
        Attack::Hello | Attack::Handshakes => Opening::Bytes(client_hello()?),
        Attack::HalfHello => {
            let mut bytes = client_hello()?;
            bytes.truncate(bytes.len() / 2);
            Opening::Bytes(bytes)
        }
        Attack::Noise => Opening::Bytes(noise()),
        // RFC 8446 §5.1: at most 2^14 + 256 bytes are allowed.
        Attack::HugeRecord => {
            Opening::Bytes([&[22, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xfb], [0x55; 600].as_slice()].concat())
        }
        Attack::Http => Opening::Bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        Attack::Anonymous => Opening::Anonymous(hello::anonymous(ca)?),
        _ => Opening::Tls,
    })
}

/// Bytes without sense, the same each time.
fn noise() -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(512).collect()
}

/// The first bytes inside TLS.
fn first_words(attack: Attack, actor: &dyn Actor, out: &mut Vec<u8>) {
    match attack {
        Attack::Mute | Attack::Anonymous => return,
        Attack::BadMqtt => return out.extend(noise()),
        _ => {}
    }
    let wish = actor.wish();
    let payload = wish.will.as_ref().map_or(0, |(_, bytes)| *bytes);
    let payload = vec![b'w'; payload];
    let will = wish.will.as_ref().map(|(topic, _)| Will {
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        payload: &payload,
        delay_s: 0,
        properties: MessageProperties::default(),
    });
    let connect = Connect {
        clean_start: !wish.keep,
        will,
        session_expiry_s: wish.keep.then_some(3600),
        ..Connect::new(Version::V5, &wish.client_id)
    };
    // The names are short enough; a connection without CONNECT would end by itself.
    let _ = encode::connect(out, &connect);
}
