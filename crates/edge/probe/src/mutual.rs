//! Whom a TLS server lets through: test identities, each as far as the application. One that answers HTTP by saying that a certificate
//! is needed has let nobody through.

use std::time::Duration as StdDuration;

use portreeve_assurance::evidence::{
    Outcome, Seen,
    mutual::{Credential, MutualAttempt, MutualTls},
    printable,
};
use portreeve_tls::{Credentials, inspecting_client_config};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use time::{Duration, OffsetDateTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::dial::{Dialer, Gap, is_end};

/// How long an application may think.
pub(crate) const ANSWER_WAIT: StdDuration = StdDuration::from_secs(2);

/// Headers of an answer that are looked at.
const HEADERS_MAX: usize = 32;
/// By what HTTP says that nobody gets through without a good certificate: 401 and 403 (RFC 9110 section 15.5), and what nginx says inside.
const NEEDS_CERTIFICATE: [u16; 4] = [401, 403, 495, 496];
/// With what nginx explains a 400 to whoever came without a good certificate.
const CERTIFICATE_WORDS: &[u8] = b"SSL certificate";
/// How long the certificate of a stranger's CA is valid.
const STRANGER_DAYS: i64 = 30;

/// What is spoken inside TLS, and so what shows that somebody got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// MQTT: any CONNACK.
    Mqtt,
    /// HTTP: any response.
    Http,
}

impl Application {
    pub(crate) const fn question(self) -> &'static [u8] {
        match self {
            // MQTT 3.1.1 CONNECT, clean session, client id "probe".
            Self::Mqtt => b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05probe",
            Self::Http => b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        }
    }

    /// Whether an answer shows that somebody got through, and how; nothing, if it is no answer.
    fn outcome(self, answer: &[u8]) -> Option<Outcome> {
        let through = || Outcome { accepted: true, how: "the application answers".into() };
        match self {
            Self::Mqtt => (answer.first() == Some(&0x20)).then(through),
            Self::Http => {
                let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
                let mut response = httparse::Response::new(&mut headers);
                // What is too long to be read whole has a status all the same.
                let _ = response.parse(answer);
                let status = response.code.filter(|_| answer.starts_with(b"HTTP/"))?;
                let is_refused = NEEDS_CERTIFICATE.contains(&status)
                    || status == 400 && answer.windows(CERTIFICATE_WORDS.len()).any(|part| part == CERTIFICATE_WORDS);
                Some(if is_refused { Outcome { accepted: false, how: format!("HTTP {status}") } } else { through() })
            }
        }
    }
}

/// Tries each of the identities; [`Credential::Nothing`] needs none.
pub async fn mutual(
    dialer: &Dialer,
    name: &ServerName<'static>,
    application: Application,
    identities: &[(Credential, Credentials)],
) -> MutualTls {
    let mut attempts = Vec::new();
    let nothing = (Credential::Nothing, None);
    let all = identities.iter().map(|(credential, credentials)| (*credential, Some(credentials.clone())));
    for (credential, credentials) in std::iter::once(nothing).chain(all) {
        let outcome = match attempt(dialer, name, application, credentials).await {
            Ok(outcome) => Seen::Known(outcome),
            Err(gap) => Seen::Unknown(gap.to_string()),
        };
        attempts.push(MutualAttempt { credential, outcome });
    }
    MutualTls { attempts, effort: dialer.effort() }
}

/// A client's certificate of a CA that nobody knows, made here: what everybody could come with.
///
/// # Errors
/// There is no randomness.
pub fn stranger() -> Result<Credentials, rcgen::Error> {
    let now = OffsetDateTime::now_utc();
    let (ca_key, mut ca) = (KeyPair::generate()?, CertificateParams::default());
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    ca.distinguished_name.push(DnType::CommonName, "Portreeve audit: a CA that nobody knows");
    let (key, mut leaf) = (KeyPair::generate()?, CertificateParams::default());
    leaf.distinguished_name.push(DnType::CommonName, "portreeve-audit-stranger");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for params in [&mut ca, &mut leaf] {
        (params.not_before, params.not_after) = (now - Duration::days(1), now + Duration::days(STRANGER_DAYS));
    }
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Credentials { chain: vec![certificate.der().clone()], key })
}

async fn attempt(
    dialer: &Dialer,
    name: &ServerName<'static>,
    application: Application,
    credentials: Option<Credentials>,
) -> Result<Outcome, Gap> {
    let (config, _) = inspecting_client_config(credentials, &[]).map_err(|error| Gap::odd(&error))?;
    let (stream, turn) = dialer.open().await?.into_parts();
    let connected = turn.within(TlsConnector::from(config).connect(name.clone(), stream)).await?;
    let mut tls = match connected {
        Ok(tls) => tls,
        Err(error) => return refused(&error),
    };
    // In TLS 1.3 a client has finished before the server has looked at its certificate, so only an answer counts.
    let mut answer = [0; 1024];
    let exchange = async {
        tls.write_all(application.question()).await?;
        tls.flush().await?;
        tls.read(&mut answer).await
    };
    match turn.within(timeout(ANSWER_WAIT, exchange)).await? {
        Err(_) => Err(Gap::Silent(ANSWER_WAIT)),
        Ok(Err(error)) => refused(&error),
        Ok(Ok(0)) => Ok(Outcome { accepted: false, how: "closed the connection".into() }),
        Ok(Ok(bytes)) => application
            .outcome(&answer[..bytes])
            .ok_or_else(|| Gap::Odd(format!("something else answers: {}", printable(&answer[..bytes])))),
    }
}

/// How TLS refused; a gap, if something else went wrong.
pub(crate) fn refused(error: &std::io::Error) -> Result<Outcome, Gap> {
    let how = match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("TLS alert {}", printable(format!("{alert:?}").as_bytes()))
        }
        Some(error) => return Err(Gap::odd(error)),
        None if is_end(error.kind()) => "closed the connection".into(),
        None => return Err(Gap::Unreachable(error.kind())),
    };
    Ok(Outcome { accepted: false, how })
}
