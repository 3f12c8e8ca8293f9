//! One question to a TLS server: a hello out, its choice back.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portreeve_assurance::evidence::{Code, Listing};
use tokio::net::UdpSocket;

use super::{
    datagrams::{DatagramReader, hello_datagram},
    flight::{Flight, ServerHello},
    hello::Hello,
    records::{Alert, FlightReader, Progress},
};
use crate::{
    dial::{Connection, Dialer, Gap, Received, Turn},
    wire::Malformed,
};

/// Different chains of one server that are kept.
pub(crate) const CHAINS_MAX: usize = 8;
/// How long a DTLS server may think before it is taken to say nothing.
const SILENCE: Duration = Duration::from_millis(1500);

/// What a server makes of a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It chose.
    Chosen(ServerHello, Flight),
    /// It refused, and how.
    Refused(Refusal),
}

/// Over what hellos go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    Udp,
}

/// How a hello is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Alert(Alert),
    /// Without a word. That may be a refusal, or a server that is gone or has enough of us.
    Closed,
    /// The same over UDP.
    Silent,
    /// It wants to go on with another version.
    Version(&'static str),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alert(alert) => alert.fmt(f),
            Self::Closed => f.write_str("closed the connection"),
            Self::Silent => f.write_str("no answer"),
            Self::Version(version) => write!(f, "chose {version}"),
        }
    }
}

/// Which list of a hello is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Suites,
    Groups,
    Signatures,
}

impl Part {
    fn put<'a>(self, hello: Hello<'a>, list: &'a [u16]) -> Hello<'a> {
        match self {
            Self::Suites => Hello { suites: list, ..hello },
            Self::Groups => Hello { groups: list, ..hello },
            Self::Signatures => Hello { signatures: list, ..hello },
        }
    }

    fn chosen(self, hello: &ServerHello, flight: &Flight) -> Option<u16> {
        match self {
            Self::Suites => Some(hello.suite),
            Self::Groups => hello.group.or(flight.key_exchange.group),
            Self::Signatures => flight.key_exchange.signature,
        }
    }

    fn name(self, code: u16) -> Code {
        match self {
            Self::Suites => Code::suite(code),
            Self::Groups => Code::group(code),
            Self::Signatures => Code::signature(code),
        }
    }
}

/// What taking a list apart brought.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) listing: Listing,
    /// The first flight.
    pub(crate) first: Option<(ServerHello, Flight)>,
    /// How the rest was refused; `None`, if nothing was left to refuse.
    pub(crate) refusal: Option<Refusal>,
    /// The smallest finite-field prime that was seen, bits.
    pub(crate) dh_bits_min: Option<u32>,
}

impl Taken {
    /// The codes.
    pub(crate) fn codes(&self) -> Vec<u16> {
        self.listing.found.iter().map(|code| code.code).collect()
    }
}

/// Asks one server.
#[derive(Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) dialer: &'a Dialer,
    carrier: Carrier,
    /// Over UDP one handshake at a time: small servers have room for one peer.
    alone: tokio::sync::Mutex<()>,
    /// Chains that came along, by leaf.
    chains: Mutex<BTreeMap<Vec<u8>, Vec<Vec<u8>>>>,
    /// Whether anything was refused without a word.
    pub(crate) is_in_doubt: AtomicBool,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(dialer: &'a Dialer, carrier: Carrier) -> Self {
        Self {
            dialer,
            carrier,
            alone: tokio::sync::Mutex::default(),
            chains: Mutex::default(),
            is_in_doubt: AtomicBool::new(false),
        }
    }

    /// The chains that came along, leaf first.
    pub(crate) fn chains(&self) -> Vec<Vec<Vec<u8>>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Keeps a chain, unless there are enough.
    pub(crate) fn keep(&self, chain: &[Vec<u8>]) {
        let Some(leaf) = chain.first() else { return };
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.len() < CHAINS_MAX {
            chains.entry(leaf.clone()).or_insert_with(|| chain.to_vec());
        }
    }

    /// Sends a hello and reads the answer. A server that says nothing is asked once more.
    pub(crate) async fn ask(&self, hello: &Hello<'_>) -> Result<Answer, Gap> {
        match self.ask_once(hello).await? {
            Answer::Refused(Refusal::Closed | Refusal::Silent) => {
                self.is_in_doubt.store(true, Ordering::Relaxed);
                self.ask_once(hello).await
            }
            answer => Ok(answer),
        }
    }

    async fn ask_once(&self, hello: &Hello<'_>) -> Result<Answer, Gap> {
        let answer = match self.carrier {
            Carrier::Tcp => {
                let mut connection = self.dialer.open().await?;
                connection.send(&hello.to_record()).await?;
                read_flight(&mut connection).await?
            }
            Carrier::Udp => {
                let _alone = self.alone.lock().await;
                exchange(self.dialer, hello).await?
            }
        };
        match answer {
            Ok(flight) => self.weigh(hello, flight),
            Err(refusal) => Ok(Answer::Refused(refusal)),
        }
    }

    fn weigh(&self, asked: &Hello<'_>, flight: Flight) -> Result<Answer, Gap> {
        self.keep(&flight.certificates);
        // A complete flight begins with one.
        let hello = flight.hello.clone().ok_or(Malformed("no ServerHello"))?;
        match hello.version {
            Some(version) if version == asked.version => {}
            Some(version) => return Ok(Answer::Refused(Refusal::Version(version.name()))),
            None => return Err(Gap::Odd("it chose a version that does not exist".into())),
        }
        if !asked.suites.contains(&hello.suite) {
            return Err(Gap::Odd(format!("it chose {}, which was not offered", Code::suite(hello.suite).name)));
        }
        Ok(Answer::Chosen(hello, flight))
    }

    /// Takes a list apart: what is chosen is not offered again, until the rest is refused.
    pub(crate) async fn take_apart(&self, base: Hello<'_>, part: Part, list: &[u16]) -> Taken {
        let mut rest = list.to_vec();
        let mut taken = Taken { listing: Listing::default(), first: None, refusal: None, dh_bits_min: None };
        while !rest.is_empty() {
            let (hello, flight) = match self.ask(&part.put(base, &rest)).await {
                Ok(Answer::Chosen(hello, flight)) => (hello, flight),
                Ok(Answer::Refused(refusal)) => {
                    taken.refusal = Some(refusal);
                    break;
                }
                Err(gap) => {
                    taken.listing.gap = Some(gap.to_string());
                    break;
                }
            };
            let chosen = part.chosen(&hello, &flight).filter(|code| rest.contains(code));
            taken.dh_bits_min = taken.dh_bits_min.into_iter().chain(flight.key_exchange.dh_bits).min();
            if taken.first.is_none() {
                taken.first = Some((hello, flight));
            }
            let Some(code) = chosen else {
                taken.listing.gap = Some("it went on without any of what was offered".into());
                break;
            };
            rest.retain(|other| *other != code);
            taken.listing.found.push(part.name(code));
        }
        taken
    }
}

/// Reads the first flight, or how the server refused.
pub(crate) async fn read_flight(connection: &mut Connection<'_>) -> Result<Result<Flight, Refusal>, Gap> {
    let (mut reader, mut is_empty) = (FlightReader::default(), true);
    loop {
        let Received::Bytes(bytes) = connection.receive().await? else {
            return if is_empty {
                Ok(Err(Refusal::Closed))
            } else {
                Err(Gap::Odd("it closed the connection in the middle of its answer".into()))
            };
        };
        is_empty = false;
        match reader.push(&bytes)? {
            Progress::More => {}
            Progress::Complete => return Ok(Ok(reader.into_flight())),
            Progress::Refused(alert) => return Ok(Err(Refusal::Alert(alert))),
        }
    }
}

/// One hello over UDP, and once more with the cookie that the server may want. A port is a handshake's own, so that the server
/// does not take one for another's continuation.
async fn exchange(dialer: &Dialer, hello: &Hello<'_>) -> Result<Result<Flight, Refusal>, Gap> {
    let turn = dialer.turn().await?;
    let socket = dialer.socket(dialer.address().port()).await?;
    let first = read_datagrams(&turn, &socket, &hello_datagram(hello, &[], 0), 0).await?;
    let cookie = first.as_ref().ok().and_then(|reader| reader.cookie().map(<[u8]>::to_vec));
    let Some(cookie) = cookie else {
        give_up(&socket).await;
        return Ok(first.map(DatagramReader::into_flight));
    };
    let second = read_datagrams(&turn, &socket, &hello_datagram(hello, &cookie, 1), 1).await?;
    give_up(&socket).await;
    Ok(second.map(DatagramReader::into_flight))
}

/// Tells a server that the handshake is over: it would wait for us otherwise, and small ones have room for one peer.
pub(crate) async fn give_up(socket: &UdpSocket) {
    // Whether it hears that changes nothing here.
    let _ = socket.send(&CANCELLED).await;
}

/// A fatal alert user_canceled, in clear.
const CANCELLED: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 2, 90];

/// Sends one datagram and reads until the flight is complete or nothing more comes.
async fn read_datagrams(
    turn: &Turn<'_>,
    socket: &UdpSocket,
    datagram: &[u8],
    first_message: u16,
) -> Result<Result<DatagramReader, Refusal>, Gap> {
    let failed = |error: std::io::Error| Gap::Unreachable(error.kind());
    socket.send(datagram).await.map_err(failed)?;
    let (mut reader, mut bytes, mut received_bytes) = (DatagramReader::new(first_message), vec![0; 64 * 1024], 0);
    loop {
        let wait = tokio::time::timeout(SILENCE, socket.recv(&mut bytes));
        let Ok(received) = turn.within(wait).await? else {
            return if received_bytes == 0 { Ok(Err(Refusal::Silent)) } else { Err(Gap::Silent(SILENCE)) };
        };
        let length = received.map_err(failed)?;
        received_bytes += length;
        if received_bytes > turn.answer_bytes_max() {
            return Err(Gap::Large(turn.answer_bytes_max()));
        }
        match reader.push(&bytes[..length])? {
            Progress::More => {}
            Progress::Complete => return Ok(Ok(reader)),
            Progress::Refused(alert) => return Ok(Err(Refusal::Alert(alert))),
        }
    }
}
