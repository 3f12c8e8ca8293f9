//! Exchanges with a CoAP server, in clear or over DTLS.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::{Config, Dtls, DtlsCertificate, Error, Output, PskResolver, SecurityError};
use portreeve_tls::Credentials;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::message::{Reply, Request, Response};
use crate::{
    dial::{Dialer, Gap, Turn},
    tls::records::Alert,
};

/// How often a request is sent, and how long each time is waited for an answer (RFC 7252 section 4.2, shorter).
const TRIES: u32 = 3;
const TRY_WAIT: Duration = Duration::from_millis(700);
/// A server that has acknowledged a request may think longer.
const SEPARATE_WAIT: Duration = Duration::from_secs(2);
/// Datagrams that are read for one session.
const DATAGRAMS_MAX: u32 = 256;
/// What servers say who have nothing in common with a client.
const NOTHING_IN_COMMON: [&str; 3] =
    ["alert handshake_failure", "alert protocol_version", "alert insufficient_security"];
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// As what somebody comes.
#[derive(Clone)]
pub enum Credential {
    /// In clear.
    Plain,
    /// With a certificate: the leaf only, of ECDSA.
    Certificate(Credentials),
    /// With a key that both sides know (RFC 4279).
    Psk {
        /// The name of the key.
        identity: Vec<u8>,
        /// The key.
        key: Vec<u8>,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Certificate(_) => "Certificate",
            Self::Psk { .. } => "Psk",
        })
    }
}

struct Known(Vec<u8>);

impl PskResolver for Known {
    fn resolve(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }
}

/// What became of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exchanged {
    /// An answer.
    Response(Response),
    /// The handshake was refused, or nobody listens.
    Refused(String),
    /// Nothing came at all.
    Silent,
}

/// One request as somebody, in a session of its own.
///
/// # Errors
/// What decides nothing.
pub(super) async fn exchange(dialer: &Dialer, credential: &Credential, request: &Request) -> Result<Exchanged, Gap> {
    let asked = async { Session::open(dialer, credential).await?.ask(request).await };
    asked.await.map_or_else(ended, |response| Ok(Exchanged::Response(response)))
}

/// What a gap says of a server.
fn ended(end: End) -> Result<Exchanged, Gap> {
    match end {
        End::Refused(how) => Ok(Exchanged::Refused(how)),
        End::Gap(Gap::Unreachable(std::io::ErrorKind::ConnectionRefused)) => {
            Ok(Exchanged::Refused("nobody listens".into()))
        }
        End::Gap(Gap::Silent(_)) => Ok(Exchanged::Silent),
        End::Gap(gap) => Err(gap),
    }
}

/// Why a session is over.
enum End {
    Refused(String),
    Gap(Gap),
}

impl From<Gap> for End {
    fn from(gap: Gap) -> Self {
        Self::Gap(gap)
    }
}

/// One session, in clear or not.
struct Session<'a> {
    turn: Turn<'a>,
    socket: UdpSocket,
    dtls: Option<Dtls>,
    /// When DTLS wants to be woken.
    wake: Instant,
    is_connected: bool,
    /// Whether the server has shown its certificate.
    is_server_seen: bool,
    /// What came decrypted.
    inbox: Vec<Vec<u8>>,
    datagrams: u32,
}

impl<'a> Session<'a> {
    async fn open(dialer: &'a Dialer, credential: &Credential) -> Result<Self, End> {
        let dtls = client(credential)?;
        let turn = dialer.turn().await?;
        let socket = dialer.socket(dialer.address().port()).await?;
        let mut session = Self {
            turn,
            socket,
            is_connected: dtls.is_none(),
            is_server_seen: false,
            dtls,
            wake: Instant::now(),
            inbox: Vec::new(),
            datagrams: 0,
        };
        session.wake_up()?;
        let until = Instant::now() + TRY_WAIT * TRIES;
        while !session.is_connected {
            match session.step(until).await {
                Ok(()) => {}
                // A server that went on behind its cookie, and then drops what a wrong key makes, has refused (RFC 6347 section
                // 4.1.2.7).
                Err(End::Gap(Gap::Silent(_))) if session.datagrams > 1 => {
                    return Err(End::Refused("does not finish the handshake".into()));
                }
                Err(end) => return Err(session.doubted(end)),
            }
        }
        Ok(session)
    }

    /// A handshake that fails before the server has shown itself may only lack something in common: our suites are few.
    fn doubted(&self, end: End) -> End {
        match end {
            End::Refused(how) if !self.is_server_seen && NOTHING_IN_COMMON.contains(&how.as_str()) => {
                Gap::Odd(format!("{how}, perhaps for want of a suite in common")).into()
            }
            end => end,
        }
    }

    /// Sends a request, again if need be, and waits for its response.
    async fn ask(&mut self, request: &Request) -> Result<Response, End> {
        for _ in 0..TRIES {
            self.send(request.bytes()).await?;
            let mut until = Instant::now() + TRY_WAIT;
            loop {
                match self.step(until).await {
                    Ok(()) => {}
                    Err(End::Gap(Gap::Silent(_))) => break,
                    Err(end) => return Err(end),
                }
                while let Some(message) = self.inbox.pop() {
                    match request.reply(&message).map_err(Gap::from)? {
                        Reply::Response(response, acknowledgement) => {
                            if let Some(bytes) = acknowledgement {
                                self.send(&bytes).await?;
                            }
                            return Ok(response);
                        }
                        Reply::Acknowledged => until = Instant::now() + SEPARATE_WAIT,
                        Reply::Other => {}
                    }
                }
            }
        }
        Err(Gap::Silent(TRY_WAIT * TRIES).into())
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), End> {
        match &mut self.dtls {
            None => {
                self.socket.send(message).await.map_err(|error| Gap::Unreachable(error.kind()))?;
                Ok(())
            }
            Some(dtls) => {
                dtls.send_application_data(message).map_err(|error| failed(&error))?;
                self.drain().await
            }
        }
    }

    /// Waits for one datagram, or until DTLS has to send again, or until a time.
    async fn step(&mut self, until: Instant) -> Result<(), End> {
        self.drain().await?;
        if self.is_connected && !self.inbox.is_empty() {
            return Ok(());
        }
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        let pause = if self.dtls.is_some() { until.min(self.wake) } else { until };
        match self.turn.within(timeout_at(pause, self.socket.recv(&mut datagram))).await? {
            Err(_) if Instant::now() >= until => return Err(Gap::Silent(TRY_WAIT).into()),
            Err(_) => self.wake_up()?,
            Ok(Err(error)) => return Err(Gap::Unreachable(error.kind()).into()),
            Ok(Ok(length)) => {
                self.datagrams += 1;
                if self.datagrams > DATAGRAMS_MAX {
                    return Err(Gap::Odd(format!("more than {DATAGRAMS_MAX} datagrams come")).into());
                }
                datagram.truncate(length);
                self.take(datagram)?;
            }
        }
        self.drain().await
    }

    fn take(&mut self, datagram: Vec<u8>) -> Result<(), End> {
        match &mut self.dtls {
            None => self.inbox.push(datagram),
            Some(dtls) => dtls.handle_packet(&datagram).map_err(|error| failed(&error))?,
        }
        Ok(())
    }

    fn wake_up(&mut self) -> Result<(), End> {
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(Instant::now().into_std()).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Sends what DTLS has to send, and takes what it has for us.
    async fn drain(&mut self) -> Result<(), End> {
        let Some(dtls) = &mut self.dtls else { return Ok(()) };
        let mut buffer = vec![0; 4096];
        loop {
            let needed = match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => {
                    self.socket.send(packet).await.map_err(|error| Gap::Unreachable(error.kind()))?;
                    continue;
                }
                Output::BufferTooSmall { needed } => needed,
                Output::Timeout(at) => {
                    self.wake = Instant::from_std(at);
                    return Ok(());
                }
                Output::Connected => {
                    self.is_connected = true;
                    continue;
                }
                Output::ApplicationData(data) => {
                    self.inbox.push(data.to_vec());
                    continue;
                }
                Output::CloseNotify => return Err(End::Refused("alert close_notify".into())),
                Output::PeerCert(_) => {
                    self.is_server_seen = true;
                    continue;
                }
                _ => continue,
            };
            buffer.resize(needed.min(DATAGRAM_BYTES_MAX), 0);
        }
    }
}

/// How DTLS ended. An alert is the server's word; the rest is ours.
fn failed(error: &Error) -> End {
    match error {
        Error::SecurityError(SecurityError::FatalAlert { description }) => {
            End::Refused(Alert { description: *description }.to_string())
        }
        Error::Timeout(_) => Gap::Silent(TRY_WAIT * TRIES).into(),
        error => Gap::odd(error).into(),
    }
}

/// The client side of DTLS 1.2.
fn client(credential: &Credential) -> Result<Option<Dtls>, Gap> {
    let (now, builder) = (Instant::now().into_std(), Config::builder().handshake_timeout(TRY_WAIT * TRIES));
    let mut dtls = match credential {
        Credential::Plain => return Ok(None),
        Credential::Certificate(credentials) => {
            let config = builder.build().map_err(|error| Gap::odd(&error))?;
            Dtls::new_12(Arc::new(config), leaf(credentials)?, now)
        }
        Credential::Psk { identity, key } => {
            let builder = builder.with_psk_client(identity.clone(), Arc::new(Known(key.clone())));
            Dtls::new_12_psk(Arc::new(builder.build().map_err(|error| Gap::odd(&error))?), now)
        }
    };
    dtls.set_active(true);
    Ok(Some(dtls))
}

/// The leaf and its key, if they are of the one kind that DTLS takes here.
fn leaf(credentials: &Credentials) -> Result<DtlsCertificate, Gap> {
    let (certificate, key) = (credentials.chain.first(), credentials.key.secret_der());
    let fits = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
        .into_iter()
        .any(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, key).is_ok());
    match certificate {
        Some(certificate) if fits => {
            Ok(DtlsCertificate { certificate: certificate.to_vec(), private_key: key.to_vec() })
        }
        _ => Err(Gap::Odd("a test identity for DTLS needs a key of ECDSA, as PKCS #8".into())),
    }
}
