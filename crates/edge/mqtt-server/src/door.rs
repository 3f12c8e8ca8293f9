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
use rustls::ServerConfig;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    admission::{Admission, Slot},
    now,
    proxy::{self, Origin},
};

/// Connections that wait in the operating system's queue.
const BACKLOG: i32 = 4096;

/// A listening socket with admission control, TLS and identity behind it.
#[derive(Clone)]
pub struct TlsDoor {
    hub: Arc<Hub>,
    admission: Arc<Admission>,
    listener: Arc<std::net::TcpListener>,
    config: Arc<ServerConfig>,
    transport: &'static str,
}

/// A TCP connection that was admitted and has not shown who it is.
pub struct Arrival {
    hub: Arc<Hub>,
    /// Taken by the handshake.
    tcp: Option<TcpStream>,
    slot: Slot,
    address: IpAddr,
    config: Arc<ServerConfig>,
    transport: &'static str,
}

/// A peer whose certificate the registry admitted.
pub struct Arrived {
    /// The encrypted stream.
    pub stream: TlsStream<TcpStream>,
    /// Whose it is.
    pub identity: DeviceIdentity,
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
    pub fn bind(hub: &Arc<Hub>, address: SocketAddr, alpn: &[&[u8]], transport: &'static str) -> io::Result<Self> {
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
            admission: Admission::new(Arc::clone(hub), now()),
            listener: Arc::new(socket.into()),
            config: hub.tls().config_with_alpn(alpn),
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
            if let Some(delay_ms) = self.admission.accept_delay_ms(now()) {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                continue;
            }
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
            let Ok(slot) = self.admission.admit(address, now()) else { continue };
            let (hub, config) = (Arc::clone(&self.hub), Arc::clone(&self.config));
            return Ok(Arrival { hub, tcp: Some(tcp), slot, address, config, transport: self.transport });
        }
    }
}

impl Arrival {
    /// PROXY header where it is due, TLS, registry; all within the handshake deadline. `None` if the peer was refused:
    /// the event is emitted, the peer knows no more than that.
    pub async fn handshake(mut self) -> Option<Arrived> {
        let deadline = Duration::from_secs(self.hub.config().limits.handshake_deadline_s);
        let evicted = self.slot.evicted();
        let hub = Arc::clone(&self.hub);
        let address = self.address;
        let outcome = tokio::select! {
            outcome = timeout(deadline, self.try_handshake()) => outcome,
            () = evicted.cancelled() => {
                hub.emit(Kind::AdmissionRefused, None, None, Some(address), format_args!("half-open connection made room"));
                hub.admissions().handshakes_failed.fetch_add(1, Relaxed);
                return None;
            }
        };
        let done = match outcome {
            Ok(Ok(arrived)) => Some(arrived),
            Ok(Err(error)) => {
                report(&hub, address, &error);
                None
            }
            Err(_) => {
                hub.emit(
                    Kind::HandshakeTimeout,
                    None,
                    None,
                    Some(address),
                    format_args!("no handshake in {deadline:?}"),
                );
                None
            }
        };
        let counter =
            if done.is_some() { &hub.admissions().handshakes_done } else { &hub.admissions().handshakes_failed };
        counter.fetch_add(1, Relaxed);
        let (stream, identity) = done?;
        self.slot.opened();
        let peer = Peer { address: self.address, transport: self.transport };
        Some(Arrived { stream, identity, peer, slot: self.slot })
    }

    async fn try_handshake(&mut self) -> io::Result<(TlsStream<TcpStream>, DeviceIdentity)> {
        let mut tcp = self.tcp.take().ok_or(io::ErrorKind::NotConnected)?;
        tcp.set_nodelay(true)?;
        let idle = Duration::from_secs(self.hub.config().mqtt.tcp_keep_alive_s);
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle))?;
        let balancer = self.hub.config().mqtt.proxy_protocol_from.iter().any(|network| network.contains(self.address));
        if balancer && let Origin::Client(client) = read_proxy(&mut tcp).await? {
            self.address = client.to_canonical();
        }
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(tcp).await?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.ok_or_else(|| io::Error::other(Refusal::NoCertificate))?;
        // Once more after the handshake: the registry may have changed meanwhile.
        let identity = self.hub.authenticate(leaf).map_err(io::Error::other)?;
        Ok((stream, identity))
    }
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

fn report(hub: &Hub, address: IpAddr, error: &io::Error) {
    let refusal =
        Refusal::from_io(error).or_else(|| error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>().cloned()));
    let Some(refusal) = refusal else {
        return hub.emit(Kind::HandshakeRefused, None, None, Some(address), format_args!("{error}"));
    };
    let Refusal::Gate(gate) = &refusal else {
        return hub.emit(
            Kind::HandshakeRefused,
            None,
            None,
            Some(address),
            format_args!("{}: {refusal}", refusal.code()),
        );
    };
    let name = gate.identity.and_then(|id| hub.name_of(id));
    let name = name.as_ref().map(portreeve_types::IdentityName::as_str);
    hub.emit(Kind::IdentityRefused, name, None, Some(address), format_args!("{}", gate.reason));
}
