//! The client's socket: TCP, mutual TLS, and the loop that feeds the [`Protocol`].

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use portreeve_mqtt::Version;
use portreeve_tls::certificates_from_pem;
use rustls::AlertDescription;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    explained,
    persist::{Ending, may_pass},
    protocol::{Answer, Event, Options, Protocol},
    seconds,
};
use crate::{cli::Connection, enrol::DeviceKey, failure::Failure};

/// Longest wait for TCP, for TLS and for CONNACK, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for the hub to take our goodbye.
const FAREWELL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_S: u16 = 60;
const READ_BYTES: usize = 64 * 1024;

/// An open connection, past CONNACK.
pub(super) struct Link {
    stream: TlsStream<TcpStream>,
    pub(super) protocol: Protocol,
    events: VecDeque<Event>,
    buffer: Vec<u8>,
    /// For messages.
    bundle: String,
    version: Version,
    /// Whether the hub had kept the session.
    pub(super) present: bool,
}

impl Link {
    /// Connects with a bundle's certificate, and waits for the hub's consent. `taken`: see [`Options::taken`].
    pub(super) async fn open(args: &Connection, taken: BTreeSet<u16>) -> Result<Self, Ending> {
        let config = tls(&args.bundle)?;
        let (host, port) = (args.host.as_str(), args.port);
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::Unreachable(format!(
                "cannot reach the hub at {host}:{port}: {why}; does it run there? (--host, --port)"
            ))
        };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| Failure::Usage(format!("--host {host}: {error}")))?;
        let tcp = timeout(PATIENCE, TcpStream::connect((host, port))).await;
        let tcp = tcp.map_err(|_| unreachable(&"no answer"))?.map_err(|error| unreachable(&error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let bundle = args.bundle.display().to_string();
        let handshake = timeout(PATIENCE, TlsConnector::from(config).connect(name, tcp)).await;
        let stream = handshake.map_err(|_| unreachable(&"no TLS handshake"))?.map_err(|error| {
            certificate_refused(&error, &bundle).unwrap_or_else(|| {
                Failure::Unreachable(format!(
                    "what answers at {host}:{port} is not the hub that made {bundle}: {error}"
                ))
            })
        })?;
        let version = args.version();
        let options = Options {
            client_id: &args.client_id,
            keep_alive_s: KEEP_ALIVE_S,
            keep_session_s: args.keep_session.map(seconds),
            taken,
        };
        let protocol = Protocol::connect(version, options).map_err(|error| Failure::Usage(error.to_string()))?;
        let (events, buffer) = (VecDeque::new(), vec![0; READ_BYTES]);
        let mut link = Self { stream, protocol, events, buffer, bundle, version, present: false };
        let answer = timeout(PATIENCE, link.next()).await;
        match answer.map_err(|_| unreachable(&"no answer to CONNECT"))?? {
            Event::Connected(answer) if answer.reason.is_error() => Err(refused(&answer)),
            Event::Connected(answer) => {
                link.present = answer.present;
                Ok(link)
            }
            Event::Disconnected(reason, why) => Err(super::ended(reason, why)),
            _ => Err(Failure::Unreachable("the hub did not begin with CONNACK".into()).into()),
        }
    }

    /// The next thing that the hub does. Writes what is to be written, and pings while it is quiet. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Event, Ending> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if let Err(error) = self.write().await {
                return Err(self.broken(error).await);
            }
            let quiet = Duration::from_secs(u64::from(self.protocol.keep_alive_s.max(2)) / 2);
            tokio::select! {
                read = self.stream.read(&mut self.buffer) => match read {
                    Ok(0) => return Err(self.hung_up()),
                    Ok(count) => {
                        let events = self.protocol.receive(&self.buffer[..count]);
                        let broken = |why| Failure::Unreachable(format!("the hub does not speak MQTT as it should: {why}"));
                        self.events.extend(events.map_err(broken)?);
                    }
                    Err(error) => return Err(self.lost(&error)),
                },
                () = sleep(quiet) => self.protocol.ping(),
            }
        }
    }

    /// Says goodbye and sends all that is left.
    pub(super) async fn close(mut self) -> Result<(), Ending> {
        self.protocol.disconnect();
        let farewell = async {
            self.write().await?;
            self.stream.shutdown().await
        };
        match timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(error).await),
            Err(_) => Err(Failure::Unreachable("the hub does not take what was sent".into()).into()),
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        while !self.protocol.output.is_empty() {
            let count = self.stream.write(&self.protocol.output).await?;
            self.protocol.output.drain(..count);
        }
        self.stream.flush().await
    }

    /// A write failed: what the hub said before it hung up may still be read, and is the better reason.
    async fn broken(&mut self, error: io::Error) -> Ending {
        match timeout(Duration::from_secs(1), self.stream.read(&mut self.buffer)).await {
            Ok(Ok(count)) if count > 0 => {
                let events = self.protocol.receive(&self.buffer[..count]).unwrap_or_default();
                let end = events.into_iter().find_map(|event| match event {
                    Event::Disconnected(reason, why) => Some(super::ended(reason, why)),
                    _ => None,
                });
                end.unwrap_or_else(|| self.lost(&error))
            }
            Ok(Err(better)) => self.lost(&better),
            _ => self.lost(&error),
        }
    }

    fn lost(&self, error: &io::Error) -> Ending {
        if let Some(refused) = certificate_refused(error, &self.bundle) {
            return refused.into();
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => self.hung_up(),
            _ => Failure::Unreachable(format!("the connection broke: {error}")).into(),
        }
    }

    fn hung_up(&self) -> Ending {
        let hint = if self.version == Version::V311 {
            "; MQTT 3.1.1 has no way to say why, without --v311 it has"
        } else {
            ""
        };
        Ending::ForNow(Failure::Refused(format!("the hub closed the connection{hint}; its log tells the reason")), None)
    }
}

/// CONNACK said no. (In 3.1.1 one code, server unavailable, stands for much that passes and some that does not.)
fn refused(answer: &Answer) -> Ending {
    let why = answer.why.as_deref().map(|why| format!(": {}", super::harmless(why))).unwrap_or_default();
    let failure = Failure::Refused(format!("the hub refused the connection: {}{why}", explained(answer.reason)));
    if may_pass(answer.reason) { Ending::ForNow(failure, answer.retry_after) } else { Ending::ForGood(failure) }
}

fn tls(bundle: &Path) -> Result<Arc<rustls::ClientConfig>, Failure> {
    let read = |file: &str| {
        let path = bundle.join(file);
        let bytes = fs::read(&path).map_err(|error| {
            let hint = "; `portreeve device add NAME --out DIR` makes a bundle";
            Failure::Usage(format!("cannot read {}: {error}{hint}", path.display()))
        })?;
        Ok::<_, Failure>((path.display().to_string(), bytes))
    };
    let ((ca_file, ca), (cert_file, cert)) = (read("ca.pem")?, read("cert.pem")?);
    let key = DeviceKey::of_bundle(bundle)?;
    let config =
        certificates_from_pem(&ca_file, &ca).and_then(|anchors| key.client_config(&anchors, &cert_file, &cert));
    config.map_err(|error| Failure::Usage(error.to_string()))
}

/// The failure if the peer ended TLS because of our certificate.
fn certificate_refused(error: &io::Error, bundle: &str) -> Option<Failure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::AlertReceived(alert) = error else { return None };
    let about_us = !matches!(alert, AlertDescription::CloseNotify | AlertDescription::UserCanceled);
    about_us.then(|| {
        Failure::Refused(format!(
            "the hub did not accept the certificate in {bundle} ({alert:?}): is the identity active \
             (`portreeve device show NAME`), is the certificate still valid, is it this hub's? Its log tells the reason"
        ))
    })
}
