//! Whom a TLS server lets through: test identities, each as far as the application.

use std::time::Duration;

use portreeve_assurance::evidence::{
    Outcome, Seen,
    mutual::{Credential, MutualAttempt, MutualTls},
    printable,
};
use portreeve_tls::{Credentials, inspecting_client_config};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::dial::{Dialer, Gap, is_end};

/// How long an application may think.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(2);

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

    pub(crate) fn is_answer(self, bytes: &[u8]) -> bool {
        match self {
            Self::Mqtt => bytes.first() == Some(&0x20),
            Self::Http => bytes.starts_with(b"HTTP/"),
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
        Ok(Ok(bytes)) if application.is_answer(&answer[..bytes]) => {
            Ok(Outcome { accepted: true, how: "the application answers".into() })
        }
        Ok(Ok(bytes)) => Err(Gap::Odd(format!("something else answers: {}", printable(&answer[..bytes])))),
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
