//! Attacks that are known, in the form that does least harm: what they would bring is counted and thrown away.

use std::{sync::Arc, time::Duration};

use portreeve_assurance::evidence::{
    Outcome, Seen,
    attacks::{Fault, HeartbeatAnswer, Resumption, ResumptionAttempt, RobotAnswer, TlsAttacks},
    tls::{TlsScan, Version},
};
use portreeve_tls::{Credentials, Inspector, inspecting_client_config_for};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    client::Resumption as Store,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;

use super::{
    ask::{Asker, Carrier, read_flight},
    flight::Flight,
    hello::{Hello, wire_version},
    premaster::RsaKey,
    records::Alert,
    scan::{Scanner, Target, groups_for, signatures_for, sni},
    sealing::RecordKey,
    session::{Heard, Session},
    words::{Words, listen},
};
use crate::{
    dial::{Connection, Dialer, Gap},
    mutual::{ANSWER_WAIT, Application},
    wire::{Reader, sized},
};

/// How long a server may think about an attack.
const SILENCE: Duration = Duration::from_millis(1200);
/// Bytes that a heartbeat claims to have: enough to be told from silence, too few to be worth anything.
const CLAIMED_BYTES: u8 = 16;
/// Certificate with an empty list (RFC 5246 section 7.4.6).
const NO_CERTIFICATE: [u8; 7] = [11, 0, 0, 3, 0, 0, 0];
/// Sessions that are kept to be resumed.
const SESSIONS_MAX: usize = 4;

/// What to attack, and with what.
#[derive(Debug)]
pub struct Attack<'a> {
    /// Whom.
    pub target: &'a Target,
    /// Who opens connections to it.
    pub dialer: &'a Dialer,
    /// What it was seen to accept: what it does not accept is not attacked.
    pub scan: &'a TlsScan,
    /// A test identity that it lets in, if it asks for one.
    pub identity: Option<&'a Credentials>,
    /// What is spoken inside.
    pub application: Application,
    /// Whether Heartbleed and ROBOT may be tried. They may end a server that is weak, and read (and throw away) a few bytes of
    /// its memory: only with its owner's word.
    pub is_intrusive: bool,
    /// Random of our hellos.
    pub random: [u8; 32],
}

/// Makes the attacks that the scan gives reason for (IOTSF-2.4.7.13). What was not allowed, or has no ground, is not tried.
pub async fn attacks(attack: &Attack<'_>) -> TlsAttacks {
    let mut found = TlsAttacks {
        renegotiation: attack.renegotiation().await,
        resumption: vec![attack.resumption(Version::Tls12).await, attack.resumption(Version::Tls13).await],
        early_data: attack.early_data().await,
        ..TlsAttacks::default()
    };
    if attack.is_intrusive {
        found.heartbeat = attack.heartbeat().await;
        found.robot = attack.robot().await;
    }
    found.resumption.retain(|attempt| attack.accepts(attempt.version));
    found.effort = attack.dialer.effort();
    found
}

fn seen<T>(result: Result<T, Gap>) -> Seen<T> {
    result.map_or_else(|gap| Seen::Unknown(gap.to_string()), Seen::Known)
}

impl<'a> Attack<'a> {
    fn accepts(&self, version: Version) -> bool {
        self.scan.accepted().any(|found| found.version == version)
    }

    fn name(&self) -> ServerName<'static> {
        self.target.name.clone().unwrap_or_else(|| ServerName::from(self.target.address.ip()))
    }

    /// The suites of a version.
    fn suites(&self, version: Version) -> Vec<u16> {
        let found = self.scan.accepted().filter(|found| found.version == version);
        found.flat_map(|found| &found.suites.found).map(|code| code.code).collect()
    }

    /// A hello in one version.
    fn with_hello<T>(&self, version: Version, suites: &[u16], verify_data: &[u8], put: impl Fn(&Hello<'_>) -> T) -> T {
        let asker = Asker::new(self.dialer, Carrier::Tcp);
        let scanner = Scanner { asker, server_name: sni(self.target), random: self.random };
        let (groups, signatures) = (groups_for(version), signatures_for(version));
        put(&Hello { suites, compression: false, verify_data, ..scanner.base(version, &groups, &signatures) })
    }

    /// A connection on which a server waits for our key exchange.
    async fn first_flight(&self, version: Version, suites: &[u16]) -> Result<(Connection<'a>, Flight), Gap> {
        let hello = self.with_hello(version, suites, &[], |hello| hello.to_record());
        let mut connection = self.dialer.open().await?;
        connection.send(&hello).await?;
        match read_flight(&mut connection).await? {
            Ok(flight) => Ok((connection, flight)),
            Err(refusal) => Err(Gap::Odd(refusal.to_string())),
        }
    }

    /// Heartbleed: in the middle of a handshake, where a server that has the fault answers already.
    async fn heartbeat(&self) -> Seen<HeartbeatAnswer> {
        let Some(classic) = self.scan.classic.known().filter(|classic| classic.heartbeat) else {
            return Seen::NotTried;
        };
        let answer = async {
            let (mut connection, _) = self.first_flight(classic.version, &self.suites(classic.version)).await?;
            let [high, low] = wire_version(classic.version, false).to_be_bytes();
            connection.send(&[24, high, low, 0, 3, 1, 0, CLAIMED_BYTES]).await?;
            let words = listen(&mut connection, SILENCE).await?;
            let heartbeat = words.records().find(|(kind, _)| *kind == 24);
            Ok(match heartbeat {
                Some((_, body)) => HeartbeatAnswer::Bytes(u32::try_from(body.len()).unwrap_or(u32::MAX)),
                None => HeartbeatAnswer::Nothing,
            })
        };
        seen(answer.await)
    }

    /// ROBOT: the five faults of Böck, Somorovsky and Young, with and without what comes behind the key exchange. If answers
    /// differ, the same must happen again.
    async fn robot(&self) -> Seen<Vec<RobotAnswer>> {
        let is_rsa = |suite: &u16| {
            let name = portreeve_assurance::evidence::Code::suite(*suite).name;
            name.starts_with("TLS_RSA_WITH_") && !name.contains("NULL")
        };
        let versions = self.scan.accepted().map(|found| found.version).filter(|version| *version < Version::Tls13);
        let newest = versions.filter(|version| self.suites(*version).iter().any(is_rsa)).max();
        let Some(version) = newest else { return Seen::NotTried };
        let suites: Vec<u16> = self.suites(version).into_iter().filter(is_rsa).collect();
        if let Err(gap) = self.reach_key_exchange(version, &suites).await {
            return Seen::Unknown(gap.to_string());
        }
        let mut answers = Vec::new();
        for is_whole in [true, false] {
            match self.faults(version, &suites, is_whole).await {
                Ok(found) => answers.extend(found),
                Err(gap) => return Seen::Unknown(gap.to_string()),
            }
        }
        Seen::Known(answers)
    }

    /// Who wants a client certificate looks at the key exchange only behind it, and some do so for those who have none.
    async fn reach_key_exchange(&self, version: Version, suites: &[u16]) -> Result<(), Gap> {
        let (mut connection, flight) = self.first_flight(version, suites).await?;
        if !flight.requests_certificate {
            return Ok(());
        }
        connection.send(&record(22, wire_version(version, false), &NO_CERTIFICATE)).await?;
        let words = listen(&mut connection, SILENCE).await?;
        if words == Words::default() {
            return Ok(());
        }
        let how = words.describe();
        Err(Gap::Odd(format!("whoever has no certificate does not get as far as the key exchange: {how}")))
    }

    async fn faults(&self, version: Version, suites: &[u16], is_whole: bool) -> Result<Vec<RobotAnswer>, Gap> {
        let first = self.each_fault(version, suites, is_whole).await?;
        let is_same = first.windows(2).all(|pair| pair[0].answer == pair[1].answer);
        if !is_same && self.each_fault(version, suites, is_whole).await? != first {
            return Err(Gap::Odd("its answers change from time to time".into()));
        }
        Ok(first)
    }

    async fn each_fault(&self, version: Version, suites: &[u16], is_whole: bool) -> Result<Vec<RobotAnswer>, Gap> {
        let mut answers = Vec::new();
        for fault in Fault::ALL {
            let words = self.fault(version, suites, is_whole, fault).await?;
            answers.push(RobotAnswer { fault, is_whole, answer: words.describe() });
        }
        Ok(answers)
    }

    async fn fault(&self, version: Version, suites: &[u16], is_whole: bool, fault: Fault) -> Result<Words, Gap> {
        let (mut connection, flight) = self.first_flight(version, suites).await?;
        let leaf = flight.certificates.first().ok_or_else(|| Gap::Odd("no certificate".into()))?;
        let wire = wire_version(version, false);
        let secret = RsaKey::of(leaf)?.encrypted(fault, wire);
        let mut message = vec![16];
        sized::<3>(&mut message, |out| {
            if version > Version::Ssl30 {
                sized::<2>(out, |out| out.extend(&secret));
            } else {
                out.extend(&secret);
            }
        });
        let mut out = if flight.requests_certificate { record(22, wire, &NO_CERTIFICATE) } else { Vec::new() };
        out.extend(record(22, wire, &message));
        if is_whole {
            out.extend(record(20, wire, &[1]));
            // A Finished that nobody can have encrypted: 64 bytes are whole blocks of every cipher.
            out.extend(record(22, wire, &[0x5a; 64]));
        }
        connection.send(&out).await?;
        listen(&mut connection, SILENCE).await
    }

    fn config(&self, version: &'static SupportedProtocolVersion) -> Result<(ClientConfig, Arc<Inspector>), Gap> {
        let made = inspecting_client_config_for(self.identity.cloned(), &[], &[version]);
        let (config, inspector) = made.map_err(|error| Gap::odd(&error))?;
        Ok((Arc::unwrap_or_clone(config), inspector))
    }

    /// What a client sees; who has no identity is not let in where one is asked for, which says nothing.
    fn as_client<T>(&self, result: Result<T, Gap>) -> Seen<T> {
        let asks = self.scan.classic.known().is_some_and(|classic| classic.client_certificate)
            || self.scan.sealed.known().is_some_and(|sealed| sealed.client_certificate);
        if result.is_err() && asks && self.identity.is_none() { Seen::NotTried } else { seen(result) }
    }

    fn refused(&self, how: &str) -> Gap {
        let whom = if self.identity.is_some() { "the test identity" } else { "whoever has no certificate" };
        Gap::Odd(format!("{whom} is refused: {how}"))
    }

    /// A second handshake inside the first. Its hello is sealed by hand, because no library of today sends one.
    async fn renegotiation(&self) -> Seen<Outcome> {
        if !self.accepts(Version::Tls12) {
            return match self.scan.classic {
                Seen::Known(_) => Seen::Unknown("it speaks no version in which we can finish a handshake".into()),
                _ => Seen::NotTried,
            };
        }
        self.as_client(self.renegotiate().await)
    }

    async fn renegotiate(&self) -> Result<Outcome, Gap> {
        let (mut config, _) = self.config(&TLS12)?;
        config.enable_secret_extraction = true;
        let mut session = Session::begin(self.dialer, &Arc::new(config), &self.name()).await?;
        session.handshake().await?.map_err(|how| self.refused(&how))?;
        let (mut connection, sent, secrets) = session.into_secrets()?;
        let odd = || Gap::Odd("its first handshake cannot be taken up".into());
        // The same keys open our own Finished, which is record 0 in our direction.
        let sequence = secrets.tx.0;
        let finished = finished(&sent).ok_or_else(odd)?;
        let mut ours = RecordKey::new(secrets.tx).ok_or_else(odd)?.at(0);
        let finished = ours.open(22, finished).ok_or_else(odd)?;
        let verify_data = finished.get(4..).ok_or_else(odd)?;
        let suites = self.suites(Version::Tls12);
        let hello = self.with_hello(Version::Tls12, &suites, verify_data, |hello| hello.to_message());
        let hello = ours.at(sequence).seal(22, &hello).ok_or_else(odd)?;
        connection.send(&hello).await?;
        let words = listen(&mut connection, SILENCE).await?;
        let mut theirs = RecordKey::new(secrets.rx).ok_or_else(odd)?;
        for (kind, body) in words.records() {
            let plain = theirs.open(kind, body).ok_or_else(|| Gap::Odd("its answer cannot be decrypted".into()))?;
            match (kind, &plain[..]) {
                (22, [2, ..]) => return Ok(Outcome { accepted: true, how: "ServerHello".into() }),
                (21, [_, description]) => {
                    let how = Alert { description: *description }.to_string();
                    return Ok(Outcome { accepted: false, how });
                }
                _ => {}
            }
        }
        if words.is_ended { Ok(Outcome { accepted: false, how: words.describe() }) } else { Err(Gap::Silent(SILENCE)) }
    }

    async fn resumption(&self, version: Version) -> ResumptionAttempt {
        let library = if version == Version::Tls12 { &TLS12 } else { &TLS13 };
        let outcome = if self.accepts(version) { self.as_client(self.resume(library).await) } else { Seen::NotTried };
        ResumptionAttempt { version, outcome }
    }

    /// A session, and another one with what the first one brought.
    async fn resume(&self, version: &'static SupportedProtocolVersion) -> Result<Resumption, Gap> {
        let (mut config, inspector) = self.config(version)?;
        config.resumption = Store::in_memory_sessions(SESSIONS_MAX);
        let config = Arc::new(config);
        self.visit(&config).await?.close().await?;
        let had_certificate = inspector.seen().client_certificate && self.identity.is_some();
        let second = self.visit(&config).await?;
        Ok(match (second.is_resumed(), had_certificate) {
            (true, true) => Resumption::ResumedWithoutCertificate,
            (true, false) => Resumption::Resumed,
            (false, _) => Resumption::WholeHandshake,
        })
    }

    /// A whole handshake, and a question to the application; tickets come with its answer.
    async fn visit(&self, config: &Arc<ClientConfig>) -> Result<Session<'a>, Gap> {
        let mut session = Session::begin(self.dialer, config, &self.name()).await?;
        session.handshake().await?.map_err(|how| self.refused(&how))?;
        session.send(self.application.question()).await?;
        match session.hear(ANSWER_WAIT).await? {
            Heard::End(how) => Err(self.refused(&how)),
            Heard::Data(_) | Heard::Nothing => Ok(session),
        }
    }

    /// Data before the handshake is over, if a ticket allows them.
    async fn early_data(&self) -> Seen<Outcome> {
        if !self.accepts(Version::Tls13) {
            return Seen::NotTried;
        }
        let outcome = async {
            let (mut config, _) = self.config(&TLS13)?;
            (config.resumption, config.enable_early_data) = (Store::in_memory_sessions(SESSIONS_MAX), true);
            let config = Arc::new(config);
            self.visit(&config).await?.close().await?;
            let mut session = Session::begin(self.dialer, &config, &self.name()).await?;
            if !session.write_early(self.application.question()) {
                return Ok(Outcome { accepted: false, how: "no ticket allows any".into() });
            }
            session.handshake().await?.map_err(|how| self.refused(&how))?;
            let accepted = session.is_early_accepted();
            Ok(Outcome { accepted, how: if accepted { "taken" } else { "refused" }.into() })
        };
        self.as_client(outcome.await)
    }
}

fn record(kind: u8, version: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(version.to_be_bytes());
    sized::<2>(&mut out, |out| out.extend(body));
    out
}

/// The first handshake record behind ChangeCipherSpec: Finished, encrypted.
fn finished(sent: &[u8]) -> Option<&[u8]> {
    let (mut records, mut is_encrypted) = (Reader(sent), false);
    loop {
        let (kind, _, body) = (records.u8().ok()?, records.u16().ok()?, records.field16().ok()?);
        match kind {
            20 => is_encrypted = true,
            22 if is_encrypted => return Some(body),
            _ => {}
        }
    }
}
