//! CAs, a clock, a gate and a wire, all in memory.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use portreeve_tls::{ClientKeys, Credentials, GateRefusal, LeafGate, ServerTls, provider};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::Acceptor,
    sign::CertifiedKey,
    time_provider::TimeProvider,
};
use time::{Duration, OffsetDateTime};

pub(crate) const DAY_S: i64 = 24 * 60 * 60;
const START_S: i64 = 1_790_000_000;

/// What a leaf says that it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Client,
    Server,
}

pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What leads from here to an anchor.
    above: Vec<CertificateDer<'static>>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name, -365, 365);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn params(name: &str, from_day: i64, to_day: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let start = OffsetDateTime::from_unix_timestamp(START_S).unwrap();
    params.not_before = start + Duration::days(from_day);
    params.not_after = start + Duration::days(to_day);
    params
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(name, KeyPair::generate().unwrap())
    }

    pub(crate) fn of(name: &str, key: KeyPair) -> Self {
        let issuer = CertifiedIssuer::self_signed(ca_params(name), key).unwrap();
        Self { issuer, above: Vec::new() }
    }

    pub(crate) fn sub_ca(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(ca_params(name), key, &self.issuer).unwrap();
        Self { issuer, above: vec![self.issuer.der().clone()] }
    }

    pub(crate) fn anchors(&self) -> Vec<CertificateDer<'static>> {
        vec![self.issuer.der().clone()]
    }

    pub(crate) fn device(&self) -> Credentials {
        self.leaf(Usage::Client, -1, 1)
    }

    /// A leaf valid from one day to another, counted from the start of the test.
    pub(crate) fn leaf(&self, usage: Usage, from_day: i64, to_day: i64) -> Credentials {
        self.issue(usage, params("leaf", from_day, to_day), "localhost")
    }

    pub(crate) fn named(&self, name: &str) -> Credentials {
        self.issue(Usage::Server, params("leaf", -1, 1), name)
    }

    fn issue(&self, usage: Usage, mut params: CertificateParams, name: &str) -> Credentials {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
        params.extended_key_usages = match usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        self.certify(&params, KeyPair::generate().unwrap())
    }

    /// A device whose key is RSA.
    pub(crate) fn rsa_device(&self, size: RsaKeySize) -> Credentials {
        let mut params = params("leaf", -1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.certify(&params, KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap())
    }

    fn certify(&self, params: &CertificateParams, key: KeyPair) -> Credentials {
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = vec![leaf.into(), self.issuer.der().clone()];
        chain.extend(self.above.clone());
        Credentials { chain, key: PrivateKeyDer::from(key) }
    }

    /// The CA's own certificate and key, misused as a client's.
    pub(crate) fn credentials(&self) -> Credentials {
        let key = PrivateKeyDer::try_from(self.issuer.key().serialize_der()).unwrap();
        Credentials { chain: self.anchors(), key }
    }
}

#[derive(Debug)]
pub(crate) struct Clock(AtomicI64);

impl Clock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.unsigned_abs())))
    }
}

#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) asked: AtomicU64,
    reason: Mutex<Option<&'static str>>,
}

impl Gate {
    pub(crate) fn refuse(&self, reason: &'static str) {
        *self.reason.lock().unwrap() = Some(reason);
    }
}

impl LeafGate for Gate {
    fn check(&self, leaf_der: &[u8]) -> Result<(), GateRefusal> {
        assert!(!leaf_der.is_empty());
        self.asked.fetch_add(1, Ordering::Relaxed);
        match *self.reason.lock().unwrap() {
            Some(reason) => Err(GateRefusal { identity: None, reason }),
            None => Ok(()),
        }
    }
}

/// A hub, its CAs, and the clock that all go by.
pub(crate) struct World {
    pub(crate) devices_ca: Ca,
    pub(crate) hub_ca: Ca,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) server: ServerTls,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_clients_of(ClientKeys::Ecdsa)
    }

    pub(crate) fn with_clients_of(keys: ClientKeys) -> Self {
        let (devices_ca, hub_ca) = (Ca::new("devices"), Ca::new("hub"));
        let (gate, clock) = (Arc::new(Gate::default()), Arc::new(Clock(AtomicI64::new(START_S))));
        let hub = hub_ca.leaf(Usage::Server, -1, 9);
        let anchors = devices_ca.anchors();
        let (door, time) = (Arc::clone(&gate) as _, Arc::clone(&clock) as _);
        let server = ServerTls::with_time(&anchors, hub, door, keys, &[b"mqtt"], time).unwrap();
        Self { devices_ca, hub_ca, gate, clock, server }
    }

    pub(crate) fn device(&self) -> Credentials {
        self.devices_ca.device()
    }

    /// A client of this version with our algorithms, on the world's clock.
    pub(crate) fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        own: Option<Credentials>,
    ) -> Arc<ClientConfig> {
        self.client_of(CryptoProvider::clone(&provider()), &[version], own)
    }

    /// A client with algorithms of its own.
    pub(crate) fn client_of(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<Credentials>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.hub_ca.anchors());
        let builder = ClientConfig::builder_with_details(Arc::new(provider), Arc::clone(&self.clock) as _)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            Some(own) => builder.with_client_auth_cert(own.chain, own.key).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    /// A client that shows one certificate and signs with another's key.
    pub(crate) fn client_with_mismatched_key(
        &self,
        version: &'static SupportedProtocolVersion,
        credentials: Credentials,
    ) -> Arc<ClientConfig> {
        let key = provider().key_provider.load_private_key(credentials.key).unwrap();
        let mut config = ClientConfig::clone(&self.client(version, None));
        config.client_auth_cert_resolver = Arc::new(Always(Arc::new(CertifiedKey::new(credentials.chain, key))));
        Arc::new(config)
    }

    /// Our own client, as it is made, but for the clock.
    pub(crate) fn our_client(&self, trusted: &Ca) -> Arc<ClientConfig> {
        let config = portreeve_tls::client_config(&trusted.anchors(), self.device()).unwrap();
        let mut config = Arc::unwrap_or_clone(config);
        config.time_provider = Arc::clone(&self.clock) as _;
        Arc::new(config)
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// How a handshake failed, as each side sees it.
pub(crate) struct Outcome {
    pub(crate) client: Option<Error>,
    pub(crate) server: Option<Error>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {:?}, server {:?}", self.client, self.server)
    }
}

fn connect(config: Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap()
}

/// Carries bytes to and fro until both sides are through, or one has failed and the other has heard of it.
pub(crate) fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Box<Outcome>> {
    let mut client = Connection::Client(connect(client));
    let mut server = Connection::Server(ServerConnection::new(server).unwrap());
    let mut outcome = Outcome { client: None, server: None };
    // A full handshake with a retry takes four flights; the rest is for alerts.
    for _ in 0..6 {
        carry(&mut client, &mut server, &mut outcome.server);
        carry(&mut server, &mut client, &mut outcome.client);
    }
    match (client, server) {
        _ if outcome.client.is_some() || outcome.server.is_some() => Err(Box::new(outcome)),
        (Connection::Client(client), Connection::Server(server)) => {
            assert!(!client.is_handshaking() && !server.is_handshaking());
            Ok((client, server))
        }
        _ => unreachable!(),
    }
}

fn carry(from: &mut Connection, to: &mut Connection, failure: &mut Option<Error>) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = bytes.as_slice();
    while !bytes.is_empty() && failure.is_none() {
        to.read_tls(&mut bytes).unwrap();
        *failure = to.process_new_packets().err();
    }
}

/// A ClientHello of TLS 1.`minor - 1`, spelt out: rustls itself would not write an old one.
pub(crate) fn client_hello(minor: u8, extended_master_secret: bool) -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // supported_groups: secp256r1
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signature_algorithms: ecdsa_secp256r1_sha256
        if extended_master_secret { &[0, 23, 0, 0] } else { &[] },
        &[0, 16, 0, 7, 0, 5, 4, b'm', b'q', b't', b't'],
    ]
    .concat();
    let mut body = vec![3, minor];
    body.extend([7; 32]); // random
    body.push(0); // no session id
    body.extend([0, 2, 0xc0, 0x2b]); // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    body.extend([1, 0]); // no compression
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

/// What the server makes of a ClientHello; if nothing, its error and the bytes it answers with.
pub(crate) fn answer_to(config: &Arc<ServerConfig>, bytes: &[u8]) -> Result<(), (Error, Vec<u8>)> {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut &*bytes).unwrap();
    let answered = match acceptor.accept() {
        Ok(accepted) => accepted.expect("a whole ClientHello").into_connection(Arc::clone(config)).map(|_| ()),
        Err(failed) => Err(failed),
    };
    answered.map_err(|(error, mut alert)| {
        let mut answer = Vec::new();
        alert.write_all(&mut answer).unwrap();
        (error, answer)
    })
}
