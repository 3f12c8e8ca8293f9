//! Connections to one target, within bounds on their number, rate, time and bytes.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use portreeve_assurance::evidence::{Effort, printable};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use crate::wire::Malformed;

/// What is read from a connection at once, bytes.
const READ_BYTES: usize = 16 * 1024;
/// Longest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// What looking at one target may cost it and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at one time.
    pub parallel_max: usize,
    /// Connections in all; for UDP, datagrams.
    pub connections_max: u32,
    /// Connections begun in a second.
    pub connections_per_s: u32,
    /// How long one connection may take, from its first packet to its last.
    pub connection_time: Duration,
    /// How long all of them may take.
    pub total_time: Duration,
    /// Bytes taken from one connection.
    pub answer_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parallel_max: 8,
            connections_max: 1000,
            connections_per_s: 200,
            connection_time: Duration::from_secs(5),
            total_time: Duration::from_secs(60),
            answer_bytes_max: 256 * 1024,
        }
    }
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// Nobody listens there, or nobody is there.
    #[error("cannot connect: {0}")]
    Unreachable(ErrorKind),
    /// Nothing, or not all, came in time.
    #[error("no whole answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// More came than an answer has.
    #[error("the answer goes on behind {0} bytes")]
    Large(usize),
    /// What came is not the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// What came is the protocol, but no answer to the question; one line.
    #[error("{0}")]
    Odd(String),
    /// The bound on connections is reached.
    #[error("the {0} connections that one target gets are used up")]
    Connections(u32),
    /// The bound on time is reached.
    #[error("the {} s that one target gets are over", .0.as_secs())]
    Time(Duration),
}

impl Gap {
    /// Somebody else's words for what went wrong, which may hold the target's.
    pub(crate) fn odd(error: &dyn std::fmt::Display) -> Self {
        Self::Odd(printable(error.to_string().as_bytes()))
    }
}

/// Opens connections to one address.
#[derive(Debug)]
pub struct Dialer {
    address: SocketAddr,
    limits: Limits,
    started: Instant,
    opened: AtomicU32,
    slots: Semaphore,
    next_start: Mutex<Instant>,
}

impl Dialer {
    /// For one address; the time begins now.
    #[must_use]
    pub fn new(address: SocketAddr, limits: Limits) -> Self {
        let now = Instant::now();
        let slots = Semaphore::new(limits.parallel_max.clamp(1, Semaphore::MAX_PERMITS));
        Self { address, limits, started: now, opened: AtomicU32::new(0), slots, next_start: Mutex::new(now) }
    }

    /// Whom.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Within what.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it took so far.
    pub fn effort(&self) -> Effort {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Effort { connections: self.opened.load(Ordering::Relaxed), elapsed_ms }
    }

    /// Waits for its turn.
    ///
    /// # Errors
    /// [`Gap::Connections`] and [`Gap::Time`], when there is none left.
    pub async fn turn(&self) -> Result<Turn<'_>, Gap> {
        let end = self.started + self.limits.total_time;
        let over = |_| Gap::Time(self.limits.total_time);
        let permit = timeout_at(end, self.slots.acquire()).await.map_err(over)?;
        // The semaphore is never closed.
        let permit = permit.map_err(|_| Gap::Time(self.limits.total_time))?;
        timeout_at(end, self.pace()).await.map_err(over)?;
        let spent = self.opened.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |opened| {
            (opened < self.limits.connections_max).then_some(opened + 1)
        });
        spent.map_err(|_| Gap::Connections(self.limits.connections_max))?;
        let deadline = Instant::now() + self.limits.connection_time;
        Ok(Turn { limits: &self.limits, deadline: deadline.min(end), is_last: end < deadline, _permit: permit })
    }

    async fn pace(&self) {
        let mut next = self.next_start.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + Duration::from_secs(1) / self.limits.connections_per_s.max(1);
    }

    /// Opens a connection, when it is its turn.
    ///
    /// # Errors
    /// As [`Self::turn`]; [`Gap::Unreachable`] and [`Gap::Silent`].
    pub async fn open(&self) -> Result<Connection<'_>, Gap> {
        self.open_port(self.address.port()).await
    }

    /// The same, to another port of the target.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_port(&self, port: u16) -> Result<Connection<'_>, Gap> {
        let turn = self.turn().await?;
        let stream = turn.within(TcpStream::connect((self.address.ip(), port))).await?;
        let stream = stream.map_err(|error| Gap::Unreachable(error.kind()))?;
        // Each message is sent in one piece anyway.
        let _ = stream.set_nodelay(true);
        Ok(Connection { stream, turn, received_bytes: 0 })
    }
}

/// Whom a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A port of the target.
    Target(u16),
    /// Everybody who listens to a group on the network of an interface, which is named by its own address.
    Group(IpAddr, SocketAddr),
}

/// The right to one exchange, and the time for it.
#[derive(Debug)]
pub struct Turn<'a> {
    limits: &'a Limits,
    deadline: Instant,
    /// Whether it ends with the time of all, which is our bound and no silence of the target.
    is_last: bool,
    _permit: SemaphorePermit<'a>,
}

impl Turn<'_> {
    /// Bytes that are taken of one exchange.
    pub const fn answer_bytes_max(&self) -> usize {
        self.limits.answer_bytes_max
    }

    /// Waits for something until the time of this exchange is over.
    ///
    /// # Errors
    /// [`Gap::Silent`]; [`Gap::Time`], if the time of all was over before this exchange had its own.
    pub async fn within<T>(&self, wait: impl Future<Output = T>) -> Result<T, Gap> {
        let over = || match self.is_last {
            true => Gap::Time(self.limits.total_time),
            false => Gap::Silent(self.limits.connection_time),
        };
        timeout_at(self.deadline, wait).await.map_err(|_| over())
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection<'a> {
    stream: TcpStream,
    turn: Turn<'a>,
    received_bytes: usize,
}

/// What reading brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// The target ended the connection.
    End,
}

impl<'a> Connection<'a> {
    /// Sends bytes. That the target has closed already shows when its answer is read.
    ///
    /// # Errors
    /// [`Gap::Silent`], if it takes none of them.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Gap> {
        match self.turn.within(self.stream.write_all(bytes)).await? {
            Err(error) if !is_end(error.kind()) => Err(Gap::Unreachable(error.kind())),
            _ => Ok(()),
        }
    }

    /// Reads what comes next.
    ///
    /// # Errors
    /// [`Gap::Silent`]; [`Gap::Large`]; [`Gap::Unreachable`], if the network fails.
    pub async fn receive(&mut self) -> Result<Received, Gap> {
        let mut bytes = vec![0; READ_BYTES];
        let read = match self.turn.within(self.stream.read(&mut bytes)).await? {
            Ok(read) => read,
            Err(error) if is_end(error.kind()) => 0,
            Err(error) => return Err(Gap::Unreachable(error.kind())),
        };
        if read == 0 {
            return Ok(Received::End);
        }
        self.received_bytes += read;
        if self.received_bytes > self.turn.limits.answer_bytes_max {
            return Err(Gap::Large(self.turn.limits.answer_bytes_max));
        }
        bytes.truncate(read);
        Ok(Received::Bytes(bytes))
    }

    /// Gives what comes next less time than the limits do.
    pub fn hurry(&mut self, wait: Duration) {
        let sooner = Instant::now() + wait;
        if sooner < self.turn.deadline {
            (self.turn.deadline, self.turn.is_last) = (sooner, false);
        }
    }

    /// The stream, and the time that is left for it.
    pub fn into_parts(self) -> (TcpStream, Turn<'a>) {
        (self.stream, self.turn)
    }
}

impl Dialer {
    /// Opens a UDP socket to a port of the target. It hears the target's word that nobody listens there, and nobody else.
    ///
    /// # Errors
    /// [`Gap::Unreachable`], if there is no way to the target.
    pub async fn socket(&self, port: u16) -> Result<UdpSocket, Gap> {
        let failed = |error: std::io::Error| Gap::Unreachable(error.kind());
        let socket = UdpSocket::bind((self.unspecified(), 0)).await.map_err(failed)?;
        socket.connect((self.address.ip(), port)).await.map_err(failed)?;
        Ok(socket)
    }

    /// The same from a socket that hears every port of the target, for protocols that answer from another; it cannot hear that
    /// nobody listens.
    ///
    /// # Errors
    /// As [`Self::ask_datagram`].
    pub async fn ask_from_anywhere(&self, port: u16, datagram: &[u8], wait: Duration) -> Result<Vec<u8>, Gap> {
        let turn = self.turn().await?;
        let failed = |error: std::io::Error| Gap::Unreachable(error.kind());
        let socket = UdpSocket::bind((self.unspecified(), 0)).await.map_err(failed)?;
        socket.send_to(datagram, (self.address.ip(), port)).await.map_err(failed)?;
        let mut answer = vec![0; DATAGRAM_BYTES_MAX];
        let from_target = async {
            loop {
                let (bytes, from) = socket.recv_from(&mut answer).await.map_err(failed)?;
                if from.ip() == self.address.ip() {
                    return Ok::<usize, Gap>(bytes);
                }
            }
        };
        let received = turn.within(tokio::time::timeout(wait, from_target)).await?;
        let bytes = received.map_err(|_| Gap::Silent(wait))??;
        answer.truncate(bytes);
        Ok(answer)
    }

    /// Sends a datagram and gathers whatever comes back within `wait`, from the target only; or, to a group by the interface that has
    /// the address, from everybody there. At most `answers_max` answers.
    ///
    /// # Errors
    /// As [`Self::turn`]; [`Gap::Unreachable`], if it cannot be sent.
    pub async fn gather(
        &self,
        to: Reach,
        datagram: &[u8],
        wait: Duration,
        answers_max: usize,
    ) -> Result<Vec<(SocketAddr, Vec<u8>)>, Gap> {
        let turn = self.turn().await?;
        let failed = |error: std::io::Error| Gap::Unreachable(error.kind());
        let (from, to) = match to {
            Reach::Target(port) => (self.unspecified(), SocketAddr::new(self.address.ip(), port)),
            // A socket that is bound to an interface's address sends to groups by that interface.
            Reach::Group(interface, group) => (interface, group),
        };
        let is_group = to.ip() != self.address.ip();
        let socket = UdpSocket::bind((from, 0)).await.map_err(failed)?;
        socket.send_to(datagram, to).await.map_err(failed)?;
        let (until, mut answers) = (Instant::now() + wait, Vec::new());
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        while answers.len() < answers_max {
            let Ok(received) = turn.within(timeout_at(until, socket.recv_from(&mut bytes))).await? else { break };
            let (length, from) = received.map_err(failed)?;
            if is_group || from.ip() == self.address.ip() {
                answers.push((from, bytes.get(..length).unwrap_or_default().to_vec()));
            }
        }
        Ok(answers)
    }

    fn unspecified(&self) -> IpAddr {
        if self.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    }

    /// Sends a datagram, when it is its turn, and waits for one answer.
    ///
    /// # Errors
    /// As [`Self::turn`]; [`Gap::Unreachable`], if the target says that nobody listens; [`Gap::Silent`].
    pub async fn ask_datagram(&self, socket: &UdpSocket, datagram: &[u8], wait: Duration) -> Result<Vec<u8>, Gap> {
        let turn = self.turn().await?;
        let failed = |error: std::io::Error| Gap::Unreachable(error.kind());
        socket.send(datagram).await.map_err(failed)?;
        let mut answer = vec![0; DATAGRAM_BYTES_MAX];
        let received = turn.within(tokio::time::timeout(wait, socket.recv(&mut answer))).await?;
        let bytes = received.map_err(|_| Gap::Silent(wait))?.map_err(failed)?;
        answer.truncate(bytes);
        Ok(answer)
    }
}

/// Whether an error means that the target has ended the connection.
pub(crate) fn is_end(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
