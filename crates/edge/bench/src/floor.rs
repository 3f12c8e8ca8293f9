//! The least that a relay of MQTT over mutual TLS can do: terminate TLS, copy packets to fixed receivers.
//!
//! There is no policy, no subscription, no queue, no limit. Who receives whose messages follows from the numbers at the end
//! of the client identifiers, as [`crate::run`] gives them out. It shows how much of a broker's cost is the machine's, and
//! is of no other use: it trusts every client of its CA with everything, so it listens on loopback only.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use portreeve_mqtt::{
    AckKind, ConnAck, Packet, Reason, Sender, SubAck, Version, decode, decode_connect, decode_publish, encode, frame,
};
use portreeve_tls::{Credentials, Flow, certificates_from_pem, provider};
use portreeve_types::Qos;
use rustix::event::epoll::EventFlags;
use rustls::{
    RootCertStore, ServerConfig,
    server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use crate::{
    BenchError,
    channel::{Buffers, Channel},
    fault::Fault,
    poller::Poller,
};

const PACKET_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// Connections at the same time.
const CONNECTIONS_MAX: usize = 20_000;
const LISTENER: u32 = u32::MAX;
const TURN: Duration = Duration::from_millis(100);

/// Who receives whose messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// 2n to 2n + 1
    Pairs,
    /// 0 to all others
    Fanout,
    /// all others to 0
    Fanin,
}

/// A relay that is ready to run.
pub struct Floor {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    shape: Shape,
}

impl Floor {
    /// Listens on `address`, a loopback address, with the certificate and key of `bundle` (`cert.pem`, `key.pem`), for the
    /// clients of its `ca.pem`.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for another machine's reach, unusable files, and an address in use.
    pub fn bind(address: SocketAddr, bundle: &Path, shape: Shape) -> Result<Self, BenchError> {
        if !address.ip().is_loopback() {
            return Err(BenchError::Usage(format!("{address}: a relay without any checks listens on loopback only")));
        }
        let usage = |error: &dyn std::fmt::Display| BenchError::Usage(format!("{}: {error}", bundle.display()));
        let config = server_config(bundle).map_err(|error| usage(&error))?;
        let listener = TcpListener::bind(address).map_err(|error| usage(&error))?;
        listener.set_nonblocking(true).map_err(|error| usage(&error))?;
        Ok(Self { listener, config, shape })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Relays on this thread until `stop`.
    ///
    /// # Errors
    /// The operating system's, about waiting and accepting; what happens on one connection ends that connection.
    pub fn run(self, stop: &AtomicBool) -> io::Result<()> {
        let poller = Poller::new()?;
        poller.add(&self.listener, LISTENER, EventFlags::IN)?;
        let mut relay = Relay {
            floor: self,
            poller,
            peers: Vec::new(),
            vacant: Vec::new(),
            by_number: HashMap::new(),
            buffers: Buffers::default(),
        };
        while !stop.load(Relaxed) {
            relay.poller.wait(TURN)?;
            for at in 0..relay.poller.len() {
                let (slot, flags) = relay.poller.event(at);
                if slot == LISTENER {
                    relay.accept()?;
                } else {
                    relay.event(slot, flags);
                }
            }
        }
        Ok(())
    }
}

fn server_config(bundle: &Path) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let read = |file: &str| std::fs::read(bundle.join(file)).map_err(|error| format!("{file}: {error}"));
    let mut roots = RootCertStore::empty();
    for anchor in certificates_from_pem("ca.pem", &read("ca.pem")?)? {
        roots.add(anchor)?;
    }
    let credentials = Credentials::from_pem("cert.pem", &read("cert.pem")?, "key.pem", &read("key.pem")?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain, credentials.key)?;
    config.ignore_client_order = true;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// One connection.
struct Peer {
    channel: Channel<UnbufferedServerConnection>,
    inbox: Vec<u8>,
    version: Version,
    number: Option<u32>,
    interest: EventFlags,
    /// Receivers of this peer's messages that take no more for now: it is not read from meanwhile.
    blocked_receivers: usize,
    /// Whether its sources count it as blocked.
    counts_as_blocked: bool,
}

struct Relay {
    floor: Floor,
    poller: Poller,
    peers: Vec<Option<Peer>>,
    vacant: Vec<u32>,
    by_number: HashMap<u32, u32>,
    buffers: Buffers,
}

/// What a turn's packets lead to.
#[derive(Default)]
struct Yield {
    /// Whole PUBLISH packets, to be copied.
    copies: Vec<u8>,
    replies: Vec<u8>,
    connected: Option<u32>,
    leaves: bool,
}

impl Relay {
    fn accept(&mut self) -> io::Result<()> {
        let (socket, _) = match self.floor.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.peers.len() - self.vacant.len() >= CONNECTIONS_MAX {
            return Ok(());
        }
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let Ok(tls) = UnbufferedServerConnection::new(Arc::clone(&self.floor.config)) else { return Ok(()) };
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.peers.push(None);
            u32::try_from(self.peers.len() - 1).unwrap_or(LISTENER - 1)
        });
        self.poller.add(&socket, slot, EventFlags::IN)?;
        self.peers[slot as usize] = Some(Peer {
            channel: Channel::new(socket, tls),
            inbox: Vec::new(),
            version: Version::V5,
            number: None,
            interest: EventFlags::IN,
            blocked_receivers: 0,
            counts_as_blocked: false,
        });
        Ok(())
    }

    fn event(&mut self, slot: u32, flags: EventFlags) {
        let flow = self.try_event(slot, flags);
        if !matches!(flow, Ok(Flow::Open)) {
            self.close(slot);
        }
    }

    fn try_event(&mut self, slot: u32, flags: EventFlags) -> Result<Flow, Fault> {
        let Some(peer) = &mut self.peers[slot as usize] else { return Ok(Flow::Open) };
        if flags.contains(EventFlags::OUT) {
            peer.channel.flush()?;
        }
        let mut flow = Flow::Open;
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let mut yielded = Yield::default();
            let Peer { channel, inbox, version, .. } = peer;
            flow = channel.receive(&mut self.buffers, &mut |plain| take(plain, inbox, version, &mut yielded))?;
            if !yielded.replies.is_empty() {
                channel.send(&mut self.buffers, &yielded.replies)?;
            }
            if let Some(number) = yielded.connected {
                peer.number = Some(number);
                self.by_number.insert(number, slot);
            }
            if !yielded.copies.is_empty() {
                self.copy(slot, &yielded.copies);
            }
            if yielded.leaves {
                flow = Flow::Closed;
            }
        }
        self.watch(slot)?;
        Ok(flow)
    }

    fn copy(&mut self, from: u32, packets: &[u8]) {
        let Some(number) = self.peers[from as usize].as_ref().and_then(|peer| peer.number) else { return };
        for receiver in self.receivers(number) {
            let Some(slot) = self.by_number.get(&receiver).copied() else { continue };
            let Some(peer) = &mut self.peers[slot as usize] else { continue };
            if peer.channel.send(&mut self.buffers, packets).is_err() || self.watch(slot).is_err() {
                self.close(slot);
            }
        }
    }

    fn highest(&self) -> u32 {
        u32::try_from(self.peers.len()).unwrap_or(u32::MAX)
    }

    fn receivers(&self, number: u32) -> std::ops::Range<u32> {
        match self.floor.shape {
            Shape::Pairs if number.is_multiple_of(2) => number + 1..number + 2,
            Shape::Fanout if number == 0 => 1..self.highest() + 1,
            Shape::Fanin if number > 0 => 0..1,
            _ => 0..0,
        }
    }

    fn sources(&self, number: u32) -> std::ops::Range<u32> {
        match self.floor.shape {
            Shape::Pairs if !number.is_multiple_of(2) => number - 1..number,
            Shape::Fanout if number > 0 => 0..1,
            Shape::Fanin if number == 0 => 1..self.highest() + 1,
            _ => 0..0,
        }
    }

    /// Waits for what a connection needs, and stops reading from those who send to it while it takes no more.
    fn watch(&mut self, slot: u32) -> Result<(), Fault> {
        let Some(peer) = &mut self.peers[slot as usize] else { return Ok(()) };
        let interest = peer.channel.interest(peer.blocked_receivers == 0);
        if interest != peer.interest {
            peer.interest = interest;
            self.poller.modify(peer.channel.socket(), slot, interest)?;
        }
        let is_blocked = peer.channel.is_blocked();
        if is_blocked == peer.counts_as_blocked {
            return Ok(());
        }
        peer.counts_as_blocked = is_blocked;
        let Some(number) = peer.number else { return Ok(()) };
        for source in self.sources(number) {
            let Some(slot) = self.by_number.get(&source).copied() else { continue };
            let Some(peer) = &mut self.peers[slot as usize] else { continue };
            let change = if is_blocked { 1 } else { -1 };
            peer.blocked_receivers = peer.blocked_receivers.saturating_add_signed(change);
            let interest = peer.channel.interest(peer.blocked_receivers == 0);
            if interest != peer.interest {
                peer.interest = interest;
                self.poller.modify(peer.channel.socket(), slot, interest)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        let Some(peer) = self.peers[slot as usize].take() else { return };
        self.vacant.push(slot);
        let Some(number) = peer.number else { return };
        if self.by_number.get(&number) == Some(&slot) {
            self.by_number.remove(&number);
        }
    }
}

/// Decrypted bytes, however they are cut.
fn take(plain: &[u8], inbox: &mut Vec<u8>, version: &mut Version, yielded: &mut Yield) -> Result<(), Fault> {
    if inbox.is_empty() {
        let used = packets(plain, version, yielded)?;
        inbox.extend_from_slice(&plain[used..]);
        return Ok(());
    }
    inbox.extend_from_slice(plain);
    let used = packets(inbox, version, yielded)?;
    inbox.drain(..used);
    Ok(())
}

fn packets(bytes: &[u8], version: &mut Version, yielded: &mut Yield) -> Result<usize, Fault> {
    let mut used = 0;
    while let Some(length) = frame(&bytes[used..], PACKET_BYTES_MAX)? {
        packet(&bytes[used..used + length], version, yielded)?;
        used += length;
    }
    Ok(used)
}

fn packet(packet: &[u8], version: &mut Version, yielded: &mut Yield) -> Result<(), Fault> {
    let ack = |out: &mut Vec<u8>, kind, id| encode::ack(out, *version, kind, id, Reason::SUCCESS, None);
    match packet[0] >> 4 {
        1 => {
            let connect = decode_connect(packet)?;
            *version = connect.version;
            let digits = connect.client_id.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let number = connect.client_id[digits..].parse();
            yielded.connected = Some(number.map_err(|_| Fault::Unexpected("a client id without a number at its end"))?);
            encode::connack(&mut yielded.replies, *version, &ConnAck::default());
            return Ok(());
        }
        3 => {
            let publish = decode_publish(*version, Sender::Client, packet)?;
            yielded.copies.extend_from_slice(packet);
            match publish.qos {
                Qos::AtMostOnce => {}
                Qos::AtLeastOnce => ack(&mut yielded.replies, AckKind::PubAck, publish.packet_id),
                Qos::ExactlyOnce => ack(&mut yielded.replies, AckKind::PubRec, publish.packet_id),
            }
            return Ok(());
        }
        _ => {}
    }
    match decode(*version, Sender::Client, packet)? {
        Packet::Subscribe(subscribe) => {
            let reasons = subscribe.requests.iter().map(|request| Reason(request.options.qos as u8)).collect();
            let suback = SubAck { packet_id: subscribe.packet_id, reasons, reason_string: None };
            encode::suback(&mut yielded.replies, *version, &suback);
        }
        Packet::PubRec(received) => ack(&mut yielded.replies, AckKind::PubRel, received.packet_id),
        Packet::PubRel(released) => ack(&mut yielded.replies, AckKind::PubComp, released.packet_id),
        Packet::PingReq => encode::pingresp(&mut yielded.replies),
        Packet::Disconnect(_) => yielded.leaves = true,
        _ => {}
    }
    Ok(())
}
