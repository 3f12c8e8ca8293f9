//! Asking witnesses to cosign the ledger: `add-checkpoint` of C2SP tlog-witness, from the ledger's side.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Uri,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use portreeve_config::Ledger;
use portreeve_hub::{Cosigning, Hub, WitnessAnswer};
use portreeve_ledger::{SignatureKind, VerifierKey};
use portreeve_ledger_files::WITNESSES_MAX;
use portreeve_tls::{certificates_from_pem, enrolment_client_config};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// Longest time that a witness gets.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 32 << 10;
/// Bytes of a file with CA certificates.
const CA_BYTES_MAX: u64 = 1 << 20;
const HTTPS: u16 = 443;
const OPERATION: &str = "add-checkpoint";

/// What is wrong with the configuration of witnesses.
#[derive(Debug, thiserror::Error)]
#[error("ledger.witnesses: {0}")]
pub struct WitnessSettingsError(String);

/// Who is asked, and how.
#[derive(Debug)]
pub struct WitnessClient {
    witnesses: Vec<Place>,
    tls: Arc<ClientConfig>,
}

/// One witness.
#[derive(Debug)]
struct Place {
    key: VerifierKey,
    host: String,
    port: u16,
    path: String,
}

impl Place {
    /// `https://HOST[:PORT][/PREFIX]`.
    fn parse(address: &str, key: &str) -> Result<Self, WitnessSettingsError> {
        let wrong = |why: &dyn std::fmt::Display| WitnessSettingsError(format!("{address}: {why}"));
        let key: VerifierKey = key.parse().map_err(|error| wrong(&error))?;
        if key.kind() != SignatureKind::Cosignature {
            return Err(wrong(&"the key is one of a ledger, not of a witness"));
        }
        let uri: Uri = address.parse().map_err(|error| wrong(&error))?;
        let is_plain =
            uri.query().is_none() && uri.authority().is_none_or(|authority| !authority.as_str().contains('@'));
        let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']').to_owned());
        let (Some("https"), Some(host), true) = (uri.scheme_str(), host, is_plain) else {
            return Err(wrong(&"https://HOST:PORT is expected"));
        };
        let path = format!("{}/{OPERATION}", uri.path().trim_end_matches('/'));
        Ok(Self { key, host, port: uri.port_u16().unwrap_or(HTTPS), path })
    }
}

impl WitnessClient {
    /// What the configuration says; nothing if there are no witnesses.
    ///
    /// # Errors
    /// [`WitnessSettingsError`].
    pub fn configured(config: &Ledger) -> Result<Option<Self>, WitnessSettingsError> {
        if config.witnesses.is_empty() {
            return Ok(None);
        }
        if config.witnesses.len() > WITNESSES_MAX {
            return Err(WitnessSettingsError(format!("at most {WITNESSES_MAX} are possible")));
        }
        let witnesses = config.witnesses.iter().map(|(address, key)| Place::parse(address, key));
        let witnesses = witnesses.collect::<Result<_, _>>()?;
        Ok(Some(Self { witnesses, tls: trust(&config.witness_ca)? }))
    }

    /// The TCP ports that are called.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.witnesses.iter().map(|witness| witness.port)
    }

    /// Asks each witness to cosign the newest head, and tells of those that are silent.
    pub fn ask_all(&self, hub: &Hub) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                for witness in &self.witnesses {
                    if let Err(error) = runtime.block_on(self.ask(hub, witness)) {
                        tracing::warn!(witness = witness.key.name(), %error, "the ledger was not cosigned");
                    }
                }
                // A look-up of a name that hangs does not hold up the next round.
                runtime.shutdown_background();
            }
            Err(error) => tracing::warn!(%error, "witnesses cannot be asked"),
        }
        hub.look_for_silent_witnesses(SystemTime::now().into());
    }

    /// Asks one, and once more from where it says that it stands.
    async fn ask(&self, hub: &Hub, witness: &Place) -> io::Result<()> {
        let now = SystemTime::now().into();
        let asked = hub.cosigning(&witness.key, now).map_err(io::Error::other)?;
        let answer = self.post(witness, &asked).await?;
        let Some(again) = hub.witness_answered(&asked, &answer, now).map_err(io::Error::other)? else { return Ok(()) };
        let answer = self.post(witness, &again).await?;
        match hub.witness_answered(&again, &answer, now).map_err(io::Error::other)? {
            Some(_) => Err(io::Error::other("it says twice that it knows another head")),
            None => Ok(()),
        }
    }

    async fn post(&self, witness: &Place, asked: &Cosigning) -> io::Result<WitnessAnswer> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        timeout(PATIENCE, self.exchange(witness, asked.body().to_owned())).await.map_err(late)?
    }

    async fn exchange(&self, witness: &Place, body: String) -> io::Result<WitnessAnswer> {
        let Place { host, port, path, .. } = witness;
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let tcp = TcpStream::connect((host.as_str(), *port)).await?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let request = Request::post(path).header(HOST, authority).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        connection.abort();
        Ok(WitnessAnswer { status, body: body.to_bytes().to_vec() })
    }
}

fn trust(file: &Path) -> Result<Arc<ClientConfig>, WitnessSettingsError> {
    let shown = file.display().to_string();
    if file.as_os_str().is_empty() {
        return Err(WitnessSettingsError(
            "ledger.witness_ca is needed: the CA of the witnesses' HTTPS certificates".into(),
        ));
    }
    let wrong = |error: &dyn std::fmt::Display| WitnessSettingsError(format!("ledger.witness_ca {shown}: {error}"));
    let mut pem = Vec::new();
    let read = File::open(file).and_then(|file| file.take(CA_BYTES_MAX).read_to_end(&mut pem));
    read.map_err(|error| wrong(&error))?;
    let anchors = certificates_from_pem(&shown, &pem).map_err(|error| wrong(&error))?;
    enrolment_client_config(&anchors).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_has_an_https_address_and_its_own_kind_of_key() {
        let key = |kind| VerifierKey::new("w", kind, [7; 32]).unwrap().to_string();
        let read = |address: &str| Place::parse(address, &key(SignatureKind::Cosignature));
        let place = read("https://w.example:8446/prefix/").unwrap();
        assert_eq!(
            (place.host.as_str(), place.port, place.path.as_str()),
            ("w.example", 8446, "/prefix/add-checkpoint")
        );
        let place = read("https://[::1]").unwrap();
        assert_eq!((place.host.as_str(), place.port, place.path.as_str()), ("::1", 443, "/add-checkpoint"));
        for bad in ["http://w", "w:1", "https://", "https://u@w", "https://w?x=1", "ftp://w", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(Place::parse("https://w", &key(SignatureKind::Ed25519)).is_err());
        assert!(Place::parse("https://w", "w").is_err());
        let config = |witnesses: &[(String, String)]| Ledger {
            witnesses: witnesses.iter().cloned().collect(),
            ..portreeve_config::Config::default().ledger
        };
        assert!(WitnessClient::configured(&config(&[])).unwrap().is_none());
        let one = ("https://w".to_owned(), key(SignatureKind::Cosignature));
        assert!(WitnessClient::configured(&config(std::slice::from_ref(&one))).is_err(), "a CA is needed");
        let many: Vec<_> = (0..=WITNESSES_MAX).map(|number| (format!("https://w{number}"), one.1.clone())).collect();
        assert!(WitnessClient::configured(&config(&many)).unwrap_err().to_string().contains("16"));
    }
}
