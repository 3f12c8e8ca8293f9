//! Certificates that give way to others while the hub runs: its own, and those of its CAs.

#![allow(clippy::unwrap_used)] // in tests, helpers included, a panic is the report

mod common;

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, time::Duration};

use common::{Bench, connect};
use portreeve_events::Kind as EventKind;
use portreeve_hub::Bundle;
use portreeve_pki::leaf_facts;
use portreeve_tls::{Credentials, certificates_from_pem, client_config};
use portreeve_types::{KeyHash, Kind, UnixMillis};
use rustls::{ClientConnection, ServerConnection};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

/// A TLS connection, both ends.
struct Wire {
    client: ClientConnection,
    server: ServerConnection,
}

impl Wire {
    /// Shakes hands on the machine's own clock.
    fn open(bench: &Bench, bundle: &Bundle) -> Result<Self, rustls::Error> {
        let anchors = certificates_from_pem("ca.pem", bundle.ca_pem.as_bytes()).unwrap();
        let (cert, key) = (bundle.cert_pem.as_bytes(), bundle.key_pem.as_bytes());
        let credentials = Credentials::from_pem("cert.pem", cert, "key.pem", key).unwrap();
        let client = client_config(&anchors, credentials).unwrap();
        let client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
        let mut wire = Self { client, server: ServerConnection::new(bench.hub.tls().config()).unwrap() };
        while wire.client.wants_write() || wire.server.wants_write() {
            wire.pass()?;
        }
        assert!(!wire.client.is_handshaking() && !wire.server.is_handshaking());
        Ok(wire)
    }

    /// What either end has to say reaches the other.
    fn pass(&mut self) -> Result<(), rustls::Error> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.server.read_tls(&mut rest).unwrap();
            self.server.process_new_packets()?;
        }
        bytes.clear();
        while self.server.wants_write() {
            self.server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    /// Whether something gets from the device to the hub.
    fn carries(&mut self) -> bool {
        use std::io::Read as _;
        self.client.writer().write_all(b"alive").unwrap();
        self.pass().unwrap();
        let mut read = [0; 5];
        self.server.reader().read_exact(&mut read).is_ok() && read == *b"alive"
    }

    /// The key that the hub has shown.
    fn shown(&self) -> KeyHash {
        leaf_facts(&self.client.peer_certificates().unwrap()[0]).unwrap().key
    }
}

/// The certificate that new handshakes get: its key, and its end.
fn served(bench: &Bench) -> (KeyHash, UnixMillis) {
    let facts = leaf_facts(&bench.hub.tls().certificate()[0]).unwrap();
    (facts.key, facts.not_after)
}

/// Handshakes go by the machine's clock, which the test's has to reach and not to pass.
fn set_back(bench: &mut Bench, by: Duration) {
    bench.now.wall = UnixMillis(bench.now.wall.0 - u64::try_from(by.as_millis()).unwrap());
}

/// CSA-CRD-10, CSA-CRD-02: at two thirds of its life, without a restart, a reload or the end of a session.
#[test]
fn the_hub_renews_its_own_certificate_while_it_runs() {
    let mut bench = Bench::made_ago(60 * DAY, |_| {});
    set_back(&mut bench, DAY);
    let bundle = bench.bundle("lamp-1", Kind::Device);
    let first = served(&bench);
    let mut session = Wire::open(&bench, &bundle).unwrap();
    assert_eq!(session.shown(), first.0);
    let lamp = bench.device("lamp-2");
    let mut client = bench.connect(&lamp, connect("lamp-2"));

    bench.advance(DAY - 10 * MINUTE);
    assert_eq!(served(&bench), first, "it is not two thirds yet");
    bench.advance(10 * MINUTE);
    let second = served(&bench);
    assert!(second.0 != first.0 && second.1 > first.1, "another key, for longer");
    assert_eq!(bench.count(EventKind::HubCertificateRenewed), 1);
    assert_eq!(Wire::open(&bench, &bundle).unwrap().shown(), second.0);
    assert!(session.carries(), "who is connected stays connected");
    client.recv(&bench);
    assert!(!client.is_over());
    bench.advance(DAY);
    assert_eq!(served(&bench), second, "once is enough");

    // What was served is what is on disk, and the key before it is gone.
    drop((session, client));
    assert_eq!(served(&bench.reopen()), second);
}

/// The failure is told once, however long it lasts, and tries come at growing intervals; then it goes on.
#[test]
fn a_renewal_that_fails_is_told_once_and_tried_again() {
    let mut bench = Bench::made_ago(61 * DAY, |_| {});
    set_back(&mut bench, 301 * MINUTE);
    let first = served(&bench);
    let bundle = bench.bundle("lamp-1", Kind::Device);
    // In the way of what is to be written.
    let obstacle = bench.pki("server.pem.new");
    fs::create_dir(&obstacle).unwrap();
    for _ in 0..240 {
        bench.advance(MINUTE);
    }
    assert_eq!(served(&bench), first);
    assert_eq!(bench.count(EventKind::HubCertificateFailed), 1);
    assert_eq!(bench.count(EventKind::HubCertificateRenewed), 0);
    assert_eq!(Wire::open(&bench, &bundle).unwrap().shown(), first.0, "the present one serves on");
    fs::remove_dir(&obstacle).unwrap();
    bench.advance(MINUTE);
    assert_eq!(served(&bench), first, "by now a try is an hour after the one before");
    bench.advance(60 * MINUTE);
    assert_ne!(served(&bench).0, first.0);
    assert_eq!(bench.count(EventKind::HubCertificateRenewed), 1);
    assert_eq!(Wire::open(&bench, &bundle).unwrap().shown(), served(&bench).0);
}

/// Between any two steps of a renewal: what is left opens, serves, and shows a certificate with its key.
#[test]
fn a_renewal_that_is_broken_off_leaves_a_hub_that_serves() {
    let steps: [&dyn Fn(&Bench, &[u8]); 3] = [
        // The key that follows was made, and no more.
        &|bench, old| {
            fs::write(bench.pki("server.pem"), old).unwrap();
        },
        // The certificate is there, its names are those of before.
        &|bench, _| {
            fs::write(bench.pki("server.names"), "old.example").unwrap();
        },
        // The former key was not ended.
        &|_, _| {},
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let mut bench = Bench::made_ago(61 * DAY, |_| {});
        let bundle = bench.bundle("lamp-1", Kind::Device);
        let old = fs::read(bench.pki("server.pem")).unwrap();
        let old_key = fs::read(bench.pki("server.key")).unwrap();
        bench.advance(MINUTE);
        assert!(!bench.pki("server.key").exists() && bench.pki("server-2.key").exists());
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(bench.pki("server.key")).unwrap();
        file.write_all(&old_key).unwrap();
        step(&bench, &old);
        let bench = bench.reopen();
        let (shown, until) = served(&bench);
        assert!(until > bench.wall(), "{number}");
        assert_eq!(Wire::open(&bench, &bundle).unwrap().shown(), shown, "{number}");
    }
}
