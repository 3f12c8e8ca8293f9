//! What TLS 1.3 encrypts, seen by finishing handshakes with a library.

use std::time::Duration;

use portreeve_assurance::evidence::{Code, Listing, Seen, tls::SealedFacts};
use portreeve_tls::{Credentials, Inspected, inspecting_client_config};
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsConnector;

use super::{ask::Asker, scan::Target};
use crate::dial::{Dialer, Gap, is_end};

/// How long to wait for session tickets, which come behind the handshake or not at all.
const TICKETS_WAIT: Duration = Duration::from_millis(300);

/// What came of the handshakes.
pub(crate) struct Sealed {
    pub(crate) facts: Seen<SealedFacts>,
    pub(crate) signatures: Listing,
}

/// Takes the signature schemes apart, by whole handshakes without a client certificate. Chains go to `asker`.
pub(crate) async fn look(target: &Target, asker: &Asker<'_>, schemes: &[u16]) -> Sealed {
    let (mut rest, mut signatures, mut facts) = (schemes.to_vec(), Listing::default(), Seen::NotTried);
    while !rest.is_empty() {
        let (inspected, outcome) = handshake(target, asker.dialer, &rest, signatures.found.is_empty()).await;
        asker.keep(&inspected.chain.iter().map(|certificate| certificate.to_vec()).collect::<Vec<_>>());
        if let (Seen::NotTried | Seen::Unknown(_), Ok(End::Finished)) = (&facts, &outcome) {
            let Inspected { client_certificate, tickets, early_data_bytes, .. } = inspected;
            facts = Seen::Known(SealedFacts { client_certificate, tickets, early_data_bytes });
        }
        // What it signed with it accepts, whatever came of it.
        if let Some(scheme) = inspected.scheme.filter(|scheme| rest.contains(scheme)) {
            rest.retain(|other| *other != scheme);
            signatures.found.push(Code::signature(scheme));
            continue;
        }
        match outcome {
            Ok(End::Refused) => break,
            Ok(End::Finished) => signatures.gap = Some("it signed with what was not offered".into()),
            Err(gap) => signatures.gap = Some(gap.to_string()),
        }
        break;
    }
    if facts == Seen::NotTried {
        facts = Seen::Unknown(signatures.gap.clone().unwrap_or_else(|| "no handshake came to its end".into()));
    }
    Sealed { facts, signatures }
}

enum End {
    /// On our side; the server may not like us yet.
    Finished,
    /// With an alert, or by closing.
    Refused,
}

async fn handshake(
    target: &Target,
    dialer: &Dialer,
    schemes: &[u16],
    waits_for_tickets: bool,
) -> (Inspected, Result<End, Gap>) {
    let (config, inspector) = match inspecting_client_config(None::<Credentials>, schemes) {
        Ok(made) => made,
        Err(error) => return (Inspected::default(), Err(Gap::odd(&error))),
    };
    let name = target.name.clone().unwrap_or_else(|| ServerName::from(target.address.ip()));
    let outcome = async {
        let (stream, turn) = dialer.open().await?.into_parts();
        let mut tls = match turn.within(TlsConnector::from(config).connect(name, stream)).await? {
            Ok(tls) => tls,
            Err(error) if is_end(error.kind()) => return Ok(End::Refused),
            Err(error) => {
                let tls_error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
                let is_alert = matches!(tls_error, Some(rustls::Error::AlertReceived(_)));
                return if is_alert { Ok(End::Refused) } else { Err(Gap::odd(&error)) };
            }
        };
        if waits_for_tickets {
            let mut nothing = [0];
            // A ticket makes no bytes to read; an alert or the end does.
            let _ = tokio::time::timeout(TICKETS_WAIT, turn.within(tls.read(&mut nothing))).await;
        }
        Ok(End::Finished)
    };
    let outcome = outcome.await;
    (inspector.seen(), outcome)
}
