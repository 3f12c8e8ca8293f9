//! TLS records, as anybody may send them to an open port.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use portreeve_pki::Authority;
use portreeve_tls::{ClientKeys, Credentials, GateRefusal, LeafGate, PARTIAL_BYTES_MAX, Records, ServerTls};
use rustls::{ServerConfig, server::UnbufferedServerConnection};

/// What a hub may say in answer to a stranger, bytes: its flight, or an alert.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

struct Nobody;

impl LeafGate for Nobody {
    fn check(&self, _: &[u8]) -> Result<(), GateRefusal> {
        Err(GateRefusal { identity: None, reason: "unknown-key" })
    }
}

// A hub like any other; if it cannot be made, fuzzing it is pointless.
#[allow(clippy::expect_used)]
static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let now = SystemTime::now().into();
    let authority = Authority::create(now).expect("a CA");
    let pair = portreeve_pki::generate_key().expect("a key");
    let lifetime = Duration::from_secs(24 * 60 * 60);
    let issued = authority.issue_hub(&["localhost".into()], &pair.public, now, lifetime).expect("a certificate");
    let hub = Credentials::from_pem("cert", issued.chain_pem.as_bytes(), "key", pair.pkcs8_pem.as_bytes());
    let (anchors, hub) = (authority.device_anchors(), hub.expect("a pair"));
    let tls = ServerTls::new(&anchors, hub, Arc::new(Nobody), ClientKeys::EcdsaOrRsa, &[b"mqtt"]);
    tls.expect("a configuration").config()
});

/// The first byte says in which portions the rest arrives. Nobody gets through without a certificate, nothing is
/// decrypted, and neither the answer nor what is kept grows without bound.
pub fn tls_records(bytes: &[u8]) {
    let Some((&portion, bytes)) = bytes.split_first() else { return };
    let Ok(side) = UnbufferedServerConnection::new(Arc::clone(&CONFIG)) else { return };
    let (mut server, mut answer) = (Records::new(side), Vec::new());
    let portion_bytes = 1 + usize::from(portion) * 8;
    let mut buffer = vec![0; PARTIAL_BYTES_MAX + portion_bytes];
    for part in bytes.chunks(portion_bytes) {
        let kept = server.fill(&mut buffer);
        buffer[kept..kept + part.len()].copy_from_slice(part);
        let received = server.receive(&mut buffer[..kept + part.len()], &mut answer, &mut |record| {
            panic!("{} bytes from a stranger", record.len());
        });
        assert!(answer.len() <= ANSWER_BYTES_MAX && server.common().is_handshaking());
        if received.is_err() {
            return;
        }
    }
}
