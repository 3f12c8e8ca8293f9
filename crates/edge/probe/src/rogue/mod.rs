//! The rogue server: the auditor listens, a device is pointed at it, and it comes forward with one face after another, of which
//! the device should accept one (ISVS-4.1.3, ISVS-4.1.6, IIITA-DI3).

mod hand;
mod mint;
mod offer;
pub mod said;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use portreeve_assurance::evidence::{
    Effort, printable,
    rogue::{ClientOffer, Face, Reaction, RogueServer, Trial},
};
use portreeve_tls::{Credentials, TlsError, inspecting_server_config};
use rustls_pki_types::UnixTime;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::{
    hand::NoChoice,
    mint::{Kind, Mint},
};
use crate::{
    Gap,
    dial::is_end,
    tls::{
        client::{ClientEvent, ClientHello, ClientReader},
        records::Alert,
    },
};

pub use mint::Authority;
pub use offer::offer;

/// What is read of a device's first words behind a handshake, bytes.
const WORDS_BYTES_MAX: usize = 8 * 1024;
/// What is read of a request for a list of revoked certificates, bytes.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
const TLS_1_3: u16 = 0x0304;
const ECDSA_SECP256R1_SHA256: u16 = 0x0403;

/// Why no rogue server can be made.
#[derive(Debug, thiserror::Error)]
pub enum RogueError {
    /// Of the CA that the device trusts.
    #[error(transparent)]
    Pem(#[from] TlsError),
    /// There is no certificate of a CA.
    #[error("no certificate of a CA was given")]
    NoCertificate,
    /// A certificate or key that cannot be used, or a name that no certificate can have.
    #[error("cannot make certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate that was just made cannot be read.
    #[error("cannot make certificates: {0}")]
    Der(#[from] der::Error),
    /// The library refuses.
    #[error("cannot sign")]
    Crypto,
}

/// How long to wait for devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RogueLimits {
    /// How long one face is offered; devices come again at their own pace.
    pub face_time: Duration,
    /// How long a device may take for its part of one connection.
    pub reaction_time: Duration,
    /// Connections on which one face is shown, until one of them decides.
    pub attempts_max: u32,
    /// Connections in all, those of strangers among them.
    pub connections_max: u32,
}

impl Default for RogueLimits {
    fn default() -> Self {
        Self {
            face_time: Duration::from_secs(120),
            reaction_time: Duration::from_secs(10),
            attempts_max: 5,
            connections_max: 1000,
        }
    }
}

/// Where the list of revoked certificates is.
#[derive(Debug)]
pub struct CrlPoint {
    /// Who asks comes here.
    pub listener: TcpListener,
    /// How certificates name it: a URL by which the device reaches the listener.
    pub url: String,
}

/// What to play, and to whom.
#[derive(Debug)]
pub struct Plan {
    /// The names by which the device knows its server: host names and addresses.
    pub names: Vec<String>,
    /// The devices. Nobody else is served.
    pub devices: Vec<IpAddr>,
    /// The server's true certificate. Without it, one is made by `authority`.
    pub good: Option<Credentials>,
    /// A CA that the device trusts; without it, only faces that need none are shown.
    pub authority: Option<Authority>,
    /// Where revocation is announced; without it, that face is not shown.
    pub crl: Option<CrlPoint>,
    /// For how long.
    pub limits: RogueLimits,
}

/// One port, and the faces that are shown there, one after another.
#[derive(Debug)]
pub struct Post {
    /// The port.
    pub listener: TcpListener,
    /// What is shown there.
    pub faces: Vec<Face>,
}

impl Post {
    /// Every face on one port.
    #[must_use]
    pub fn with_all(listener: TcpListener) -> Self {
        Self { listener, faces: Face::ALL.to_vec() }
    }
}

struct Rogue {
    devices: BTreeSet<IpAddr>,
    names: Vec<String>,
    good: Option<Credentials>,
    mint: Mint,
    limits: RogueLimits,
    hello: Mutex<Option<ClientOffer>>,
    strangers: AtomicU32,
    connections: AtomicU32,
    crl_fetches: AtomicU32,
}

/// Plays the server at each of the posts, until every face was shown or its time is over.
///
/// # Errors
/// [`RogueError`], if the certificates cannot be made.
pub async fn serve(plan: Plan, posts: Vec<Post>, now: UnixTime) -> Result<RogueServer, RogueError> {
    let started = Instant::now();
    let (crl_listener, crl_url) = plan.crl.map_or((None, None), |crl| (Some(crl.listener), Some(crl.url)));
    let now = time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    let mint = Mint::new(plan.names.clone(), now, plan.authority, crl_url)?;
    let rogue = Rogue {
        devices: plan.devices.into_iter().map(|device| device.to_canonical()).collect(),
        names: plan.names,
        good: plan.good,
        mint,
        limits: plan.limits,
        hello: Mutex::default(),
        strangers: AtomicU32::new(0),
        connections: AtomicU32::new(0),
        crl_fetches: AtomicU32::new(0),
    };
    let shown = join_all(posts.into_iter().map(|post| rogue.man(post)));
    let trials = match crl_listener.filter(|_| rogue.mint.has_authority()) {
        None => shown.await,
        Some(listener) => {
            let crl = rogue.mint.crl()?;
            tokio::select! {
                trials = shown => trials,
                () = rogue.publish(&listener, &crl) => Vec::new(),
            }
        }
    };
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut trials: Vec<Trial> = trials.into_iter().flatten().collect();
    trials.sort_by_key(|trial| trial.face);
    Ok(RogueServer {
        names: rogue.names.iter().map(|name| printable(name.as_bytes())).collect(),
        trials,
        hello: rogue.hello.into_inner().unwrap_or_else(PoisonError::into_inner),
        strangers: rogue.strangers.into_inner(),
        crl_fetches: rogue.crl_fetches.into_inner(),
        effort: Effort { connections: rogue.connections.into_inner(), elapsed_ms },
    })
}

fn unclear(why: impl Into<String>) -> Reaction {
    Reaction::Unclear { why: why.into() }
}

impl Rogue {
    /// Shows the faces of one post.
    async fn man(&self, post: Post) -> Vec<Trial> {
        let (mut trials, mut is_gone) = (Vec::new(), false);
        for face in post.faces {
            let mut trial = Trial {
                face,
                attempts: 0,
                server_name: None,
                source: None,
                reaction: unclear("the device does not connect"),
            };
            if let Some(why) = self.lacks(face) {
                trial.reaction = Reaction::NotTried { why: why.to_owned() };
            } else if !is_gone {
                self.show(&post.listener, &mut trial).await;
                // Who did not come within the whole time of one face does not come any more.
                is_gone = trial.attempts == 0;
            }
            trials.push(trial);
        }
        trials
    }

    fn lacks(&self, face: Face) -> Option<&'static str> {
        let is_given = face == Face::Good && self.good.is_some();
        self.mint.lacks(face).filter(|_| !is_given)
    }

    /// Shows one face until somebody's reaction decides.
    async fn show(&self, listener: &TcpListener, trial: &mut Trial) {
        let until = Instant::now() + self.limits.face_time;
        while trial.attempts < self.limits.attempts_max {
            let Ok(accepted) = timeout_at(until, self.accept(listener)).await else { return };
            let Some((stream, source)) = accepted else {
                trial.reaction = unclear(format!("{} connections are enough", self.limits.connections_max));
                return;
            };
            trial.attempts += 1;
            trial.source = Some(source.to_string());
            let deadline = Instant::now() + self.limits.reaction_time;
            trial.reaction = self.meet(stream, trial, deadline).await;
            if !matches!(trial.reaction, Reaction::Unclear { .. }) {
                return;
            }
        }
    }

    /// The next connection of a device; nothing, when there were enough.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, IpAddr)> {
        loop {
            if self.connections.load(Ordering::Relaxed) + self.strangers.load(Ordering::Relaxed)
                >= self.limits.connections_max
            {
                return None;
            }
            let Ok((stream, from)) = listener.accept().await else {
                // What failed is one connection, or there are no descriptors now.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let source = from.ip().to_canonical();
            if self.devices.contains(&source) {
                self.connections.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                return Some((stream, source));
            }
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One connection: reads the hello and shows the face.
    async fn meet(&self, mut stream: TcpStream, trial: &mut Trial, deadline: Instant) -> Reaction {
        let (hello, bytes) = match timeout_at(deadline, read_hello(&mut stream)).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(gap)) => return unclear(gap.to_string()),
            Err(_) => return unclear("no ClientHello comes"),
        };
        trial.server_name = hello.server_name.as_deref().map(printable);
        *self.hello.lock().unwrap_or_else(PoisonError::into_inner) = Some(offer(&hello));
        let face = trial.face;
        let shown = match face {
            Face::OldVersion | Face::WeakSuite | Face::StaticRsa | Face::WeakKey => {
                self.by_hand(stream, face, &hello, deadline).await
            }
            _ => self.by_library(stream, face, &hello, &bytes, deadline).await,
        };
        shown.unwrap_or_else(|error| Reaction::NotTried { why: printable(error.to_string().as_bytes()) })
    }

    fn credentials(&self, face: Face, hello: &ClientHello) -> Result<Credentials, RogueError> {
        match &self.good {
            Some(good) if face == Face::Good => Ok(good.clone()),
            _ => self.mint.credentials(face, kind_for(hello)),
        }
    }

    /// A whole handshake.
    async fn by_library(
        &self,
        stream: TcpStream,
        face: Face,
        hello: &ClientHello,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<Reaction, RogueError> {
        let config = inspecting_server_config(self.credentials(face, hello)?)?;
        let (reader, writer) = stream.into_split();
        // What was read already comes first.
        let stream = tokio::io::join(bytes.chain(reader), writer);
        let accepted = timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await;
        Ok(match accepted {
            Err(_) => unclear("it does not answer a server's hello"),
            Ok(Err(error)) => ended(&error),
            Ok(Ok(tls)) => listen(tls, deadline).await,
        })
    }

    /// As far as the client's part of the key.
    async fn by_hand(
        &self,
        mut stream: TcpStream,
        face: Face,
        hello: &ClientHello,
        deadline: Instant,
    ) -> Result<Reaction, RogueError> {
        let choice = match hand::choose(face, hello) {
            Ok(choice) => choice,
            Err(NoChoice::NotOffered(what)) => return Ok(Reaction::NotOffered { what: what.to_owned() }),
            Err(NoChoice::NotTried(why)) => return Ok(Reaction::NotTried { why: why.to_owned() }),
        };
        let flight = choice.flight(face, hello, &self.mint)?;
        let exchange = async {
            stream.write_all(&flight).await.map_err(|error| Gap::Unreachable(error.kind()))?;
            read_event(&mut stream, &mut ClientReader::default()).await.map(|(event, _)| event)
        };
        Ok(match timeout_at(deadline, exchange).await {
            Err(_) => unclear(format!("it says nothing to {choice}")),
            Ok(Err(gap)) => unclear(gap.to_string()),
            Ok(Ok(Some(ClientEvent::KeyExchange))) => Reaction::WentOn { how: choice.to_string(), said: None },
            Ok(Ok(Some(ClientEvent::Hello(_)))) => unclear("a second ClientHello comes"),
            Ok(Ok(Some(ClientEvent::Alert(alert)))) if self.is_for(alert) => {
                Reaction::Refused { how: alert.to_string() }
            }
            Ok(Ok(None)) if self.mint.has_authority() => Reaction::Refused { how: CLOSED.to_owned() },
            // The certificate was unknown too, and that may be the reason.
            Ok(Ok(_)) => Reaction::NotTried { why: "no CA that the device trusts was given".into() },
        })
    }

    /// Whether an alert is about what is shown, and not about an unknown CA.
    const fn is_for(&self, alert: Alert) -> bool {
        matches!(alert.description, 40 | 47 | 70 | 71) || self.mint.has_authority()
    }

    /// Gives the list of revoked certificates to devices, for as long as it is waited for.
    async fn publish(&self, listener: &TcpListener, crl: &[u8]) {
        while let Some((stream, _)) = self.accept(listener).await {
            let given = timeout(self.limits.reaction_time, give(stream, crl)).await;
            if matches!(given, Ok(Ok(()))) {
                self.crl_fetches.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::future::pending().await
    }
}

const CLOSED: &str = "closed the connection";

/// Answers one request with the list (RFC 5280 section 4.2.1.13, RFC 2585 section 4).
async fn give(mut stream: TcpStream, crl: &[u8]) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        crl.len()
    );
    stream.write_all(&[head.as_bytes(), crl].concat()).await?;
    stream.shutdown().await
}

/// Which key a client takes; elliptic curves first.
fn kind_for(hello: &ClientHello) -> Kind {
    let signs = hello.signatures.is_empty() || hello.signatures.contains(&ECDSA_SECP256R1_SHA256);
    let suits =
        hello.versions.contains(&TLS_1_3) || hello.suites.iter().any(|suite| matches!(suite, 0xc02b | 0xc02c | 0xcca9));
    if signs && suits { Kind::Ec } else { Kind::Rsa }
}

/// The hello, and every byte that came with it.
async fn read_hello(stream: &mut TcpStream) -> Result<(ClientHello, Vec<u8>), Gap> {
    match read_event(stream, &mut ClientReader::default()).await? {
        (Some(ClientEvent::Hello(hello)), bytes) => Ok((*hello, bytes)),
        (None, _) => Err(Gap::Odd("it connects and says nothing".into())),
        _ => Err(Gap::Odd("something other than a ClientHello comes first".into())),
    }
}

/// The next thing that a client does, and the bytes of it; nothing, if it ends the connection. The reader has the bounds.
async fn read_event(stream: &mut TcpStream, reader: &mut ClientReader) -> Result<(Option<ClientEvent>, Vec<u8>), Gap> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Ok((None, bytes)),
            Err(error) if is_end(error.kind()) => return Ok((None, bytes)),
            Err(error) => return Err(Gap::Unreachable(error.kind())),
            Ok(_) => {}
        }
        if let Some(event) = reader.push(bytes.get(before..).unwrap_or_default())? {
            return Ok((Some(event), bytes));
        }
    }
}

/// How a handshake ended that did not come to its end.
fn ended(error: &std::io::Error) -> Reaction {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => {
            Reaction::Refused { how: Alert { description: u8::from(*alert) }.to_string() }
        }
        Some(error) => unclear(printable(error.to_string().as_bytes())),
        None if is_end(error.kind()) => Reaction::Refused { how: CLOSED.to_owned() },
        None => unclear(Gap::Unreachable(error.kind()).to_string()),
    }
}

/// What a device says that has finished the handshake.
async fn listen<S: AsyncRead + AsyncWrite + Unpin>(mut tls: TlsStream<S>, deadline: Instant) -> Reaction {
    let how = agreed(&tls);
    let mut words = vec![0; WORDS_BYTES_MAX];
    match timeout_at(deadline, tls.read(&mut words)).await {
        // It stays, and waits for the server to speak.
        Err(_) => Reaction::WentOn { how, said: None },
        Ok(Ok(bytes)) if bytes > 0 => {
            let (said, answer) = said::read(words.get(..bytes).unwrap_or_default());
            let goodbye = async {
                tls.write_all(answer).await?;
                tls.shutdown().await
            };
            // It has said what counts.
            let _ = timeout_at(deadline, goodbye).await;
            Reaction::WentOn { how, said: Some(said) }
        }
        Ok(_) => Reaction::Left { how },
    }
}

fn agreed<S>(tls: &TlsStream<S>) -> String {
    let (_, connection) = tls.get_ref();
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    let suite = connection.negotiated_cipher_suite().map(|suite| u16::from(suite.suite()));
    suite.map_or_else(
        || version.to_owned(),
        |suite| format!("{version}, {}", portreeve_assurance::evidence::Code::suite(suite).name),
    )
}
