//! CoAP servers: what they show to strangers (IOTSF-2.4.7.14, CSA-SCN-11), and whom they let do what (IOTSF-2.4.7.1).

pub mod message;
mod session;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use aws_lc_rs::rand;
use portreeve_assurance::evidence::{
    Effort, Seen,
    coap::{CellAnswer, CoapAccessMatrix, CoapAnswer, CoapCell, CoapDiscovery, CoapMethod, DiscoveryWay, Way},
    printable,
};
use portreeve_tls::Credentials;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use self::{
    message::{Reply, Request, Response, links},
    session::{Exchanged, exchange},
};
use crate::{Dialer, Gap, Reach, mqtt::seen};

pub use session::Credential;

/// Where every server lists its resources (RFC 6690 section 4).
const WELL_KNOWN: &str = ".well-known/core";
/// All CoAP nodes of a network (RFC 7252 section 12.8).
const ALL_NODES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 1, 187)), 5683);
/// How long nodes of a group may wait before they answer (RFC 7252 section 8.2: LEISURE is 5 s by default).
const GROUP_WAIT: Duration = Duration::from_secs(6);
const GROUP_ANSWERS_MAX: usize = 64;
/// The name of a key that nobody has.
const STRANGER: &[u8] = b"portreeve-probe";

/// Where a server may be.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// For CoAP in clear; the port is that of the dialer's address.
    pub plain: Option<&'a Dialer>,
    /// For CoAP over DTLS.
    pub secured: Option<&'a Dialer>,
    /// The address of the interface by which all nodes are asked; nothing, if they are not.
    pub multicast: Option<Ipv4Addr>,
}

/// Somebody who may do something.
#[derive(Clone, Debug)]
pub struct CoapIdentity {
    /// Its name, for the report.
    pub name: String,
    /// As what it comes.
    pub credential: Credential,
}

/// Asks for the list of resources in every way.
pub async fn discovery(server: &Server<'_>, identity: Option<&CoapIdentity>) -> CoapDiscovery {
    let mut ways = Vec::new();
    if let Some(dialer) = server.plain {
        ways.push(DiscoveryWay { way: Way::Plain, answer: list(dialer, &Credential::Plain).await });
    }
    if let (Some(dialer), Some(interface)) = (server.plain, server.multicast) {
        ways.push(DiscoveryWay { way: Way::Multicast, answer: seen(group(dialer, interface).await) });
    }
    if let Some(dialer) = server.secured {
        ways.push(DiscoveryWay { way: Way::Stranger, answer: stranger(dialer).await });
        if let Some(identity) = identity {
            ways.push(DiscoveryWay { way: Way::Identity, answer: list(dialer, &identity.credential).await });
        }
    }
    let dialers = server.plain.into_iter().chain(server.secured);
    let effort = dialers.map(Dialer::effort).reduce(|one, other| Effort {
        connections: one.connections + other.connections,
        elapsed_ms: one.elapsed_ms.max(other.elapsed_ms),
    });
    CoapDiscovery { ways, effort: effort.unwrap_or_default() }
}

const TOO_LONG: &str = "a path that is too long";

/// A message id and a token that nobody guesses.
fn numbers() -> Result<(u16, [u8; 4]), Gap> {
    let mut bytes = [0; 6];
    rand::fill(&mut bytes).map_err(|_| Gap::Odd("no random numbers".into()))?;
    let [high, low, token @ ..] = bytes;
    Ok((u16::from_be_bytes([high, low]), token))
}

fn request(method: CoapMethod, path: &str) -> Result<Request, Gap> {
    let (message_id, token) = numbers()?;
    Request::new(method, path, message_id, token).ok_or(Gap::Odd(TOO_LONG.into()))
}

/// The answer to one question for the list.
async fn list(dialer: &Dialer, credential: &Credential) -> Seen<CoapAnswer> {
    let asked = async {
        let request = request(CoapMethod::Get, WELL_KNOWN)?;
        Ok(match exchange(dialer, credential, &request).await? {
            Exchanged::Response(response) => answer(&response),
            Exchanged::Refused(how) => CoapAnswer::Refused { how },
            Exchanged::Silent => CoapAnswer::Silent,
        })
    };
    seen(asked.await)
}

fn answer(response: &Response) -> CoapAnswer {
    CoapAnswer::Response {
        code: response.dotted(),
        payload_bytes: u32::try_from(response.payload.len()).unwrap_or(u32::MAX),
        links: links(&response.payload),
    }
}

/// A stranger comes with a certificate of its own making, and with a key of its own making. What is worst counts.
async fn stranger(dialer: &Dialer) -> Seen<CoapAnswer> {
    let credentials = match self_made() {
        Ok(credentials) => credentials,
        Err(error) => return Seen::Unknown(Gap::odd(&error).to_string()),
    };
    let psk = Credential::Psk { identity: STRANGER.to_vec(), key: STRANGER.to_vec() };
    let by_certificate = list(dialer, &Credential::Certificate(credentials)).await;
    let by_key = list(dialer, &psk).await;
    let rank = |answer: &Seen<CoapAnswer>| match answer {
        Seen::Known(CoapAnswer::Response { .. }) => 3,
        Seen::Known(CoapAnswer::Refused { .. }) => 2,
        Seen::Known(CoapAnswer::Silent) => 1,
        Seen::Unknown(_) | Seen::NotTried => 0,
    };
    // A server that has no use for one of the two has nothing in common with it; a refusal of the other is then its word.
    if rank(&by_key) > rank(&by_certificate) { by_key } else { by_certificate }
}

fn self_made() -> Result<Credentials, rcgen::Error> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["portreeve-probe.invalid".to_owned()])?.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
    Ok(Credentials { chain: vec![certificate.der().clone()], key })
}

/// Asks all nodes, and hears the target.
async fn group(dialer: &Dialer, interface: Ipv4Addr) -> Result<CoapAnswer, Gap> {
    let (message_id, token) = numbers()?;
    let request = Request::for_group(WELL_KNOWN, message_id, token).ok_or(Gap::Odd(TOO_LONG.into()))?;
    let reach = Reach::Group(interface.into(), ALL_NODES);
    let answers = dialer.gather(reach, request.bytes(), GROUP_WAIT, GROUP_ANSWERS_MAX).await?;
    for (from, bytes) in answers {
        if from.ip() == dialer.address().ip()
            && let Reply::Response(response, _) = request.reply(&bytes)?
        {
            return Ok(answer(&response));
        }
    }
    Ok(CoapAnswer::Silent)
}

/// What somebody should, or should not, be able to do.
#[derive(Clone, Debug)]
pub struct CoapWish {
    /// Whose; an index of the identities.
    pub identity: usize,
    /// What. Writing leaves a payload behind, and deleting deletes: resources of a matrix are those that a test may have.
    pub method: CoapMethod,
    /// Path of the resource.
    pub path: String,
    /// Whether the declared policy allows it.
    pub is_declared: bool,
}

/// Tries each wish, in a session of its own.
pub async fn access_matrix(dialer: &Dialer, identities: &[CoapIdentity], wishes: &[CoapWish]) -> CoapAccessMatrix {
    let mut cells = Vec::new();
    for wish in wishes {
        let Some(identity) = identities.get(wish.identity) else { continue };
        cells.push(CoapCell {
            identity: printable(identity.name.as_bytes()),
            method: wish.method,
            path: printable(wish.path.as_bytes()),
            is_declared: wish.is_declared,
            answer: seen(cell(dialer, &identity.credential, wish).await),
        });
    }
    CoapAccessMatrix { cells, effort: dialer.effort() }
}

async fn cell(dialer: &Dialer, credential: &Credential, wish: &CoapWish) -> Result<CellAnswer, Gap> {
    let request = request(wish.method, &wish.path)?;
    match exchange(dialer, credential, &request).await? {
        Exchanged::Response(response) => {
            Ok(CellAnswer { code: Some(response.code), is_observing: response.is_observing })
        }
        Exchanged::Refused(_) => Ok(CellAnswer { code: None, is_observing: false }),
        Exchanged::Silent => Err(Gap::Odd("no answer".into())),
    }
}
