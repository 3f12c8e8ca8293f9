//! DTLS servers, asked as TLS servers are, in datagrams.
//!
//! Silence is how many of them refuse. It counts as a refusal only from a server that answers a good hello before and after.

use std::time::Duration;

use futures_util::future::join_all;
use portreeve_assurance::evidence::{
    Seen,
    dtls::{DtlsScan, DtlsVersion, FirstAnswer},
    tls::{Version, VersionFacts},
};
use rustls_pki_types::UnixTime;
use tokio::time::{Instant, timeout_at};

use super::{
    ask::{Asker, Carrier, give_up},
    datagrams::{DatagramReader, hello_datagram},
    records::Progress,
    scan::{Found, Scanner, Target, groups_for, is_likely, signatures_for, sni, suites_for},
};
use crate::dial::{Dialer, Gap};

/// How long what comes for one hello is counted.
const COUNTED: Duration = Duration::from_secs(1);

/// Scans one UDP port.
pub async fn scan(target: &Target, dialer: &Dialer, random: [u8; 32], now: UnixTime) -> DtlsScan {
    let scanner = Scanner { asker: Asker::new(dialer, Carrier::Udp), server_name: sni(target), random };
    let mut found = join_all(DtlsVersion::ALL.map(|version| scanner.version(version.tls()))).await;
    scanner.doubt_closed(&mut found).await;
    let best = found.iter().rev().find(|(facts, _)| facts.accepted.is_true()).map(|(facts, _)| facts.version);
    let first_answer = match best {
        None => Seen::Unknown("no version is accepted".into()),
        Some(version) => {
            first_answer(&scanner, version).await.map_or_else(|gap| Seen::Unknown(gap.to_string()), Seen::Known)
        }
    };
    let client_certificate = client_certificate(&found);
    let (chains, _) = scanner.chains(target, now);
    let versions =
        DtlsVersion::ALL.into_iter().zip(found).map(|(version, (facts, _))| renamed(version, facts)).collect();
    DtlsScan { versions, first_answer, client_certificate, chains, effort: dialer.effort() }
}

fn renamed(version: DtlsVersion, facts: VersionFacts) -> VersionFacts<DtlsVersion> {
    let VersionFacts { accepted, refusal, suites, order, groups, mut signatures, dh_bits_min, .. } = facts;
    if version == DtlsVersion::Dtls13 && accepted.is_true() {
        signatures.gap = Some("it signs behind its encryption, which is not read here".into());
    }
    VersionFacts { version, accepted, refusal, suites, order, groups, signatures, dh_bits_min }
}

/// DTLS 1.3 asks behind its encryption; handshakes without certificates cannot ask.
fn client_certificate(found: &[Found]) -> Seen<bool> {
    let with_chain =
        found.iter().rev().filter_map(|(_, first)| first.as_ref()).find(|(_, flight)| !flight.certificates.is_empty());
    match with_chain {
        Some((_, flight)) => Seen::Known(flight.requests_certificate),
        None => Seen::Unknown("no handshake shows it in clear".into()),
    }
}

/// Sends one hello without a cookie and counts what comes.
async fn first_answer(scanner: &Scanner<'_>, version: Version) -> Result<FirstAnswer, Gap> {
    let (groups, signatures) = (groups_for(version), signatures_for(version));
    let suites: Vec<u16> = suites_for(version).into_iter().filter(|suite| is_likely(*suite)).collect();
    let base = scanner.base(version, &groups, &signatures);
    let datagram = hello_datagram(&super::hello::Hello { suites: &suites, ..base }, &[], 0);
    let dialer = scanner.asker.dialer;
    let socket = dialer.socket(dialer.address().port()).await?;
    let turn = dialer.turn().await?;
    let failed = |error: std::io::Error| Gap::Unreachable(error.kind());
    socket.send(&datagram).await.map_err(failed)?;
    let (mut reader, mut bytes, mut answer_bytes, mut is_cookie) =
        (DatagramReader::new(0), vec![0; 64 * 1024], 0, None);
    let until = Instant::now() + COUNTED;
    while let Ok(received) = turn.within(timeout_at(until, socket.recv(&mut bytes))).await? {
        let length = received.map_err(failed)?;
        answer_bytes += length;
        if answer_bytes > turn.answer_bytes_max() {
            return Err(Gap::Large(turn.answer_bytes_max()));
        }
        if is_cookie.is_none() {
            is_cookie = Some(reader.push(&bytes[..length])? == Progress::Complete && reader.is_cookie());
        }
    }
    give_up(&socket).await;
    let is_cookie = is_cookie.ok_or(Gap::Silent(COUNTED))?;
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    Ok(FirstAnswer { is_cookie, request_bytes: size(datagram.len()), answer_bytes: size(answer_bytes) })
}
