//! The way in: TCP accept, PROXY header, TLS with client certificate, registry.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use portreeve_events::Kind;
use portreeve_hub::{DeviceIdentity, Hub, Peer};
use portreeve_tls::Refusal;
use portreeve_types::source_of;
use rustls::ServerConfig;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};

use crate::{
    admission::{Admission, Slot},
    now,
    proxy::{self, Origin},
    stream::TlsStream,
};

/// Connections that wait in the operating system's queue.
const BACKLOG: i32 = 4096;

/// Whom a door hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Those with a certificate that the registry admits.
    Identified,
    /// Also those who have none yet: enrolment begins so.
    OrStrangers,
    /// The same, for a door behind which nobody is more than an applicant: all go on counting as half-open, so that an
    /// identity does not get round the limit of its sessions here.
    Applicants,
}

/// A listening socket with admission control, TLS and identity behind it.
#[derive(Clone)]
pub struct TlsDoor {
    hub: Arc<Hub>,
    admission: Admission,
    listener: Arc<std::net::TcpListener>,
    config: Arc<ServerConfig>,
    clients: Clients,
    transport: &'static str,
}

/// A TCP connection that has not shown who it is.
pub struct Arrival {
    door: TlsDoor,
    tcp: TcpStream,
    /// `None` for a balancer's: it is counted under the address that its header tells.
    slot: Option<Slot>,
    address: IpAddr,
}

/// A peer past its handshake.
pub struct Arrived {
    /// The encrypted stream.
    pub stream: TlsStream,
    /// Whose it is. `None` for a stranger, whom not every door hears; he goes on counting as half-open, so that strangers
    /// cannot take the place of devices.
    pub identity: Option<DeviceIdentity>,
    /// Where from.
    pub peer: Peer,
    /// Keep it as long as the connection.
    pub slot: Slot,
}

impl TlsDoor {
    /// Binds `address`. Nothing else may listen there: the socket is not shared with other processes.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub fn bind(
        hub: &Arc<Hub>,
        admission: &Admission,
        address: SocketAddr,
        alpn: &[&[u8]],
        clients: Clients,
        transport: &'static str,
    ) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` takes IPv4 clients as well.
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            hub: Arc::clone(hub),
            admission: admission.clone(),
            listener: Arc::new(socket.into()),
            config: match clients {
                Clients::Identified => hub.tls().config_with_alpn(alpn),
                Clients::OrStrangers | Clients::Applicants => hub.tls().enrolment_config(alpn),
            },
            clients,
            transport,
        })
    }

    /// Where it listens: the port that the system chose for port 0.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// This door's socket for the current runtime; several threads may accept from one door.
    ///
    /// # Errors
    /// The operating system's.
    pub fn listener(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.listener.try_clone()?)
    }

    /// The next admitted connection. Returns without waiting for its handshake: do that in its own task.
    ///
    /// # Errors
    /// Only those that accepting again cannot cure.
    pub async fn accept(&self, listener: &TcpListener) -> io::Result<Arrival> {
        loop {
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                // A peer that was gone before it was accepted, or descriptors that ran out: both pass.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let address = address.ip().to_canonical();
            let balancer = self.hub.config().mqtt.proxy_protocol_from.iter().any(|network| network.contains(address));
            // A listed balancer speaks for many: its clients are counted by their own addresses, once it told them.
            let slot = if balancer { None } else { self.admission.admit(address, now()).ok() };
            if slot.is_none() && !balancer {
                continue;
            }
            while let Some(delay_ms) = self.admission.handshake_delay_ms(now()) {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            }
            let door = self.clone();
            return Ok(Arrival { door, tcp, slot, address });
        }
    }
}

impl Arrival {
    /// PROXY header where it is due, TLS, registry; all within the handshake deadline. `None` if the peer was refused:
    /// the event is emitted, the peer knows no more than that.
    pub async fn handshake(self) -> Option<Arrived> {
        let Self { door, mut tcp, slot, mut address } = self;
        let hub = &door.hub;
        let deadline = Duration::from_secs(hub.config().limits.handshake_deadline_s);
        let until = Instant::now() + deadline;
        let late = |address| {
            let detail = format_args!("no handshake in {deadline:?}");
            hub.emit(Kind::HandshakeTimeout, None, None, Some(address), detail);
        };
        let mut slot = match slot {
            Some(slot) => slot,
            None => {
                match timeout_at(until, read_proxy(&mut tcp)).await {
                    Ok(Ok(Origin::Client(client))) => address = client.to_canonical(),
                    Ok(Ok(Origin::Balancer)) => {}
                    Ok(Err(error)) => return report(hub, address, &error),
                    Err(_) => return failed(hub, || late(address)),
                }
                door.admission.admit(address, now()).ok()?
            }
        };
        let evicted = slot.evicted();
        let outcome = tokio::select! {
            outcome = timeout_at(until, door.authenticate(tcp, address)) => outcome,
            () = evicted.cancelled() => return failed(hub, || {
                hub.emit(Kind::AdmissionRefused, None, None, Some(address), format_args!("half-open connection made room"));
            }),
        };
        let (stream, identity) = match outcome {
            Ok(Ok(authenticated)) => authenticated,
            Ok(Err(error)) => return report(hub, address, &error),
            Err(_) => return failed(hub, || late(address)),
        };
        hub.admissions().handshakes_done.fetch_add(1, Relaxed);
        let took_s =
            deadline.saturating_sub(until.saturating_duration_since(Instant::now())).as_millis().div_ceil(1000);
        hub.admissions().handshake_s.fetch_max(u64::try_from(took_s).unwrap_or(u64::MAX), Relaxed);
        if identity.is_some() && door.clients != Clients::Applicants {
            slot.opened();
        }
        Some(Arrived { stream, identity, peer: Peer { address, transport: door.transport }, slot })
    }
}

impl TlsDoor {
    async fn authenticate(&self, tcp: TcpStream, address: IpAddr) -> io::Result<(TlsStream, Option<DeviceIdentity>)> {
        tcp.set_nodelay(true)?;
        let idle = Duration::from_secs(self.hub.config().mqtt.tcp_keep_alive_s);
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle))?;
        let stream = TlsStream::accept(tcp, source_of(address), Arc::clone(&self.config)).await?;
        let hears_strangers = self.clients != Clients::Identified;
        let Some(leaf) = stream.peer_certificate() else {
            let refused = || io::Error::other(Refusal::NoCertificate);
            return if hears_strangers { Ok((stream, None)) } else { Err(refused()) };
        };
        if hears_strangers && !self.hub.tls().is_ours(leaf) {
            return Ok((stream, None));
        }
        // Once more after the handshake: the registry may have changed meanwhile.
        let identity = self.hub.authenticate(leaf).map_err(io::Error::other)?;
        Ok((stream, Some(identity)))
    }
}

fn failed(hub: &Hub, tell: impl FnOnce()) -> Option<Arrived> {
    hub.admissions().handshakes_failed.fetch_add(1, Relaxed);
    tell();
    None
}

/// Reads exactly the header, byte counts given by the header itself.
async fn read_proxy(tcp: &mut TcpStream) -> io::Result<Origin> {
    let mut bytes = Vec::with_capacity(64);
    loop {
        match proxy::parse(&bytes).map_err(io::Error::other)? {
            Some((origin, _)) => return Ok(origin),
            None => {
                // The first 16 bytes tell how many follow; nothing behind the header may be taken from the TLS layer.
                let wanted = match bytes.get(14..16) {
                    Some(length) => 16 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                    None => 16,
                };
                let missing = wanted.saturating_sub(bytes.len()).max(1);
                let start = bytes.len();
                bytes.resize(start + missing, 0);
                let read = tcp.read(&mut bytes[start..]).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes.truncate(start + read);
            }
        }
    }
}

/// Tells the log why a peer was refused.
fn report(hub: &Hub, address: IpAddr, error: &io::Error) -> Option<Arrived> {
    let inner = || error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>().cloned());
    failed(hub, || match Refusal::from_io(error).or_else(inner) {
        None => hub.emit(Kind::HandshakeRefused, None, None, Some(address), format_args!("{error}")),
        Some(Refusal::Gate(gate)) => hub.turned_away(&gate, address),
        Some(refusal) => {
            let detail = format_args!("{}: {refusal}", refusal.code());
            hub.emit(Kind::HandshakeRefused, None, None, Some(address), detail);
        }
    })
}
