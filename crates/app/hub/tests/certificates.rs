//! Certificates that give way to others while the hub runs: its own, and those of its CAs.

#![allow(clippy::unwrap_used)] // in tests, helpers included, a panic is the report

mod common;

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, time::Duration};

use common::{Bench, connect};
use portreeve_events::Kind as EventKind;
use portreeve_hub::{AdminRequest, Bundle, EnrolRequest, IssuingCa, PublicationError};
use portreeve_pki::{TrustBundle, is_issued_by, leaf_facts};
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
    for step in ["key", "certificate", "names"] {
        let mut bench = Bench::made_ago(61 * DAY, |_| {});
        let bundle = bench.bundle("lamp-1", Kind::Device);
        let read = |file| fs::read(bench.pki(file)).unwrap();
        let (old, old_key) = (read("server.pem"), read("server.key"));
        bench.advance(MINUTE);
        assert!(!bench.pki("server.key").exists() && bench.pki("server-2.key").exists());
        // Whatever was done last: the former key was not ended yet.
        let mut file = fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(bench.pki("server.key")).unwrap();
        file.write_all(&old_key).unwrap();
        match step {
            "key" => fs::write(bench.pki("server.pem"), old).unwrap(),
            "certificate" => fs::write(bench.pki("server.names"), "old.example").unwrap(),
            _ => {}
        }
        let bench = bench.reopen();
        let (shown, until) = served(&bench);
        assert!(until > bench.wall(), "{step}");
        assert_eq!(Wire::open(&bench, &bundle).unwrap().shown(), shown, "{step}");
    }
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Whether the CA in this file has issued the bundle's certificate.
fn is_of(bench: &Bench, bundle: &Bundle, file: &str) -> bool {
    let ca = certificates_from_pem(file, &fs::read(bench.pki(file)).unwrap()).unwrap();
    let chain = certificates_from_pem("cert.pem", bundle.cert_pem.as_bytes()).unwrap();
    is_issued_by(&chain[0], &ca[0])
}

/// CSA-CRD-02, CSA-CRD-10: in time, by itself, and nobody who is enrolled notices.
#[test]
fn an_issuing_ca_is_followed_before_it_ends() {
    let mut bench = Bench::made_ago(4 * YEAR + DAY, |_| {});
    let old = bench.bundle("old", Kind::Device);
    assert!(is_of(&bench, &old, "devices.pem"));
    let identity = bench.device("online");
    let mut online = bench.connect(&identity, connect("online"));
    bench.advance(MINUTE);
    assert_eq!(bench.count(EventKind::CaRotated), 1, "the hub's CA has time: its certificates live shorter");
    let new = bench.bundle("new", Kind::Device);
    assert!(is_of(&bench, &new, "devices-2.pem") && !is_of(&bench, &new, "devices.pem"));
    for bundle in [&old, &new] {
        assert!(Wire::open(&bench, bundle).unwrap().carries());
    }
    online.recv(&bench);
    assert!(!online.is_over());
    assert_eq!(bench.hub.enrolment_anchors().len(), 3, "the root and both");
    let lists = ["devices", "devices-2"].map(|ca| bench.hub.crl(ca, bench.wall()).unwrap());
    assert_ne!(lists[0], lists[1]);
    for none in ["devices-3", "devices-1", "hub", "root-2", ""] {
        assert!(matches!(bench.hub.crl(none, bench.wall()), Err(PublicationError::NoSuchCa)), "{none}");
    }
    // A year later the last certificate of the old one has ended: it is trusted no more, and has no list.
    drop(online);
    let mut bench = bench.reopen();
    assert_eq!(bench.hub.enrolment_anchors().len(), 3);
    bench.advance(YEAR + DAY);
    assert_eq!(bench.hub.enrolment_anchors().len(), 2);
    assert!(matches!(bench.hub.crl("devices", bench.wall()), Err(PublicationError::NoSuchCa)));
    assert!(Wire::open(&bench, &old).is_err());
    assert_eq!(bench.count(EventKind::CaRotated), 1, "the hub's CA, which was due meanwhile");
}

/// The CA of the listeners: their certificate is another at once, below the same root.
#[test]
fn the_ca_of_the_listeners_is_followed_too() {
    let mut bench = Bench::made_ago(5 * YEAR - 89 * DAY, |_| {});
    let bundle = bench.bundle("lamp-1", Kind::Device);
    bench.advance(MINUTE);
    let chain = bench.hub.tls().certificate();
    let ca = certificates_from_pem("hub-2.pem", &fs::read(bench.pki("hub-2.pem")).unwrap()).unwrap();
    assert_eq!(chain[1], ca[0]);
    assert!(Wire::open(&bench, &bundle).unwrap().carries());
    let bench = bench.reopen();
    assert_eq!(bench.hub.tls().certificate(), chain);
}

/// A person has to bring the root's key, and is told in time, and again, and what to do.
#[test]
fn without_the_roots_key_somebody_is_told_in_time() {
    let mut bench = Bench::made_ago(4 * YEAR - 91 * DAY, |_| {});
    let root = fs::read(bench.pki("root.key")).unwrap();
    fs::remove_file(bench.pki("root.key")).unwrap();
    let (due, rotated) = (EventKind::CaRotationDue, EventKind::CaRotated);
    bench.advance(MINUTE);
    assert_eq!(bench.count(due), 0, "it is early");
    bench.advance(2 * DAY);
    assert_eq!(bench.count(due), 1);
    bench.advance(6 * DAY);
    assert_eq!(bench.count(due), 1, "not every minute");
    bench.advance(2 * DAY);
    assert_eq!(bench.count(due), 2);
    for _ in 0..90 {
        bench.advance(DAY);
    }
    assert!(bench.count(due) >= 14 && bench.count(rotated) == 0);
    assert_eq!(bench.count(EventKind::CaRotationFailed), 0, "that nobody brought it is no failure of the hub");
    fs::write(bench.pki("root.key"), root).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(bench.pki("root.key"), mode).unwrap();
    bench.advance(2 * 60 * MINUTE);
    assert_eq!(bench.count(rotated), 1);
}

/// A stop between any two steps: the hub opens, everybody gets in, and the rotation is completed with the same key.
#[test]
fn a_rotation_that_is_broken_off_is_completed() {
    for step in ["key", "draft", "certificate", "former-key"] {
        let mut bench = Bench::made_ago(4 * YEAR + DAY, |_| {});
        let old = bench.bundle("old", Kind::Device);
        bench.advance(MINUTE);
        let key = fs::read(bench.pki("devices-2.key")).unwrap();
        match step {
            "key" => fs::remove_file(bench.pki("devices-2.pem")).unwrap(),
            "draft" => {
                let whole = fs::read(bench.pki("devices-2.pem")).unwrap();
                fs::remove_file(bench.pki("devices-2.pem")).unwrap();
                fs::write(bench.pki("devices-2.pem.new"), &whole[..100]).unwrap();
            }
            "former-key" => fs::remove_file(bench.pki("devices.key")).unwrap(),
            _ => {}
        }
        let mut bench = bench.reopen();
        assert!(Wire::open(&bench, &old).unwrap().carries(), "{step}");
        bench.advance(MINUTE);
        let new = bench.bundle("new", Kind::Device);
        assert!(is_of(&bench, &new, "devices-2.pem"), "{step}");
        assert!(!bench.pki("devices-3.pem").exists() && !bench.pki("devices-3.key").exists(), "{step}");
        assert_eq!(fs::read(bench.pki("devices-2.key")).unwrap(), key, "{step}");
        for bundle in [&old, &new] {
            assert!(Wire::open(&bench, bundle).unwrap().carries(), "{step}");
        }
    }
}

/// What fails is told once and tried again; and the key that was made for it is not made anew each time.
#[test]
fn a_rotation_that_fails_is_told_once() {
    let mut bench = Bench::made_ago(4 * YEAR + DAY, |_| {});
    let obstacle = bench.pki("devices-2.pem.new");
    fs::create_dir(&obstacle).unwrap();
    bench.advance(MINUTE);
    let key = fs::read(bench.pki("devices-2.key")).unwrap();
    for _ in 0..90 {
        bench.advance(MINUTE);
    }
    assert_eq!((bench.count(EventKind::CaRotationFailed), bench.count(EventKind::CaRotated)), (1, 0));
    let old = bench.bundle("old", Kind::Device);
    fs::remove_dir(&obstacle).unwrap();
    bench.advance(120 * MINUTE);
    assert_eq!((bench.count(EventKind::CaRotationFailed), bench.count(EventKind::CaRotated)), (1, 1));
    assert_eq!(fs::read(bench.pki("devices-2.key")).unwrap(), key);
    assert!(is_of(&bench, &old, "devices.pem"));
}

/// The hub was off for years. With the root's key it starts, and without it says what is missing.
#[test]
fn a_hub_whose_cas_have_ended_starts_with_the_roots_key() {
    let bench = Bench::made_ago(5 * YEAR + DAY, |_| {});
    let (root, kept) = (bench.pki("root.key"), bench.pki("kept"));
    fs::rename(&root, &kept).unwrap();
    let (closed, refused) = bench.close_and_fail_to_open();
    let refused = refused.to_string();
    assert!(refused.contains("devices.pem has ended") && refused.contains("copy root.key back"), "{refused}");
    fs::rename(&kept, &root).unwrap();
    let bench = closed.open().unwrap();
    let bundle = bench.bundle("lamp-1", Kind::Device);
    assert!(is_of(&bench, &bundle, "devices-2.pem") && bench.pki("hub-2.pem").exists());
    assert!(Wire::open(&bench, &bundle).unwrap().carries());
}

/// A clock that is years ahead for a while has CAs made that nobody can use yet; they do not stand in the way.
#[test]
fn a_clock_that_was_ahead_leaves_a_hub_that_starts() {
    let mut bench = Bench::with(|config| config.lifecycle.unused_days_max = 0);
    let bundle = bench.bundle("lamp-1", Kind::Device);
    bench.advance(6 * YEAR);
    assert!(bench.pki("devices-2.pem").exists() && bench.pki("hub-2.pem").exists());
    set_back(&mut bench, 6 * YEAR);
    let bench = bench.reopen();
    assert!(Wire::open(&bench, &bundle).unwrap().carries());
    assert!(is_of(&bench, &bench.bundle("lamp-2", Kind::Device), "devices.pem"));
}

/// What is not the answer to a request of this hub is not taken, and changes nothing.
#[test]
fn only_what_was_asked_for_is_imported() {
    let bench = Bench::new();
    let import = |certificate_pem: String| bench.administer(AdminRequest::CaImport { certificate_pem, dry_run: false });
    let read = |file: &str| fs::read_to_string(bench.pki(file)).unwrap();
    for foreign in [String::new(), "hello".into(), read("root.pem"), read("devices.pem"), read("server.pem")] {
        assert_eq!(import(foreign.clone()).unwrap_err().exit_status(), 2, "{foreign}");
    }
    let asked = |ca| bench.administer(AdminRequest::CaRequest { ca }).unwrap().result;
    let first = asked(IssuingCa::Devices);
    assert_eq!(first["name"], "devices-2");
    assert_eq!(import(first["request_pem"].as_str().unwrap().into()).unwrap_err().exit_status(), 2);
    assert!(!bench.pki("devices-2.pem").exists());
    let key = fs::read(bench.pki("devices-2.key")).unwrap();
    assert_eq!(asked(IssuingCa::Hub)["name"], "hub-2");
    asked(IssuingCa::Devices);
    assert_eq!(fs::read(bench.pki("devices-2.key")).unwrap(), key, "the request is for one key");
}

/// At an operator's word, before it is due; and no more of them than may be.
#[test]
fn an_operator_may_replace_cas_at_any_time_and_not_without_end() {
    let mut bench = Bench::new();
    let old = bench.bundle("old", Kind::Device);
    let rotate = |bench: &Bench, ca, dry_run| bench.administer(AdminRequest::CaRotate { ca, dry_run });
    let told = rotate(&bench, None, true).unwrap().result;
    assert_eq!(told["names"], serde_json::json!(["devices-2", "hub-2"]));
    assert!(!bench.pki("devices-2.key").exists() && !bench.pki("devices-2.pem").exists());
    rotate(&bench, None, false).unwrap();
    bench.advance(MINUTE);
    assert_eq!(bench.count(EventKind::CaRotated), 2);
    assert_eq!(bench.count(EventKind::HubCertificateRenewed), 1, "its CA is another");
    let new = bench.bundle("new", Kind::Device);
    assert!(is_of(&bench, &new, "devices-2.pem"));
    for _ in 2..8 {
        rotate(&bench, Some(IssuingCa::Devices), false).unwrap();
    }
    let refused = rotate(&bench, None, false).unwrap_err();
    assert!(refused.exit_status() == 4 && refused.to_string().contains("8 CAs"), "{refused}");
    assert!(!bench.pki("hub-3.pem").exists(), "neither is done when one cannot be");
    for bundle in [&old, &new] {
        assert!(Wire::open(&bench, bundle).unwrap().carries());
    }
}

/// Without the root's key, or with another one in its place, nothing is begun.
#[test]
fn no_other_root_signs() {
    let bench = Bench::new();
    let rotate = |dry_run| bench.administer(AdminRequest::CaRotate { ca: None, dry_run }).unwrap_err().to_string();
    fs::copy(bench.pki("hub.key"), bench.pki("root.key")).unwrap();
    for dry_run in [true, false] {
        assert!(rotate(dry_run).contains("belongs to another certificate"), "{}", rotate(dry_run));
    }
    fs::remove_file(bench.pki("root.key")).unwrap();
    for dry_run in [true, false] {
        assert!(rotate(dry_run).contains("copy root.key back"), "{}", rotate(dry_run));
    }
    assert!(!bench.pki("devices-2.key").exists() && !bench.pki("devices-2.pem").exists());
}

/// ISVS-4.1.6, CSA-CRD-07: devices know the hub's next key before it is used, and each bundle follows from the one before.
#[test]
fn the_key_that_follows_is_announced_before_it_is_used() {
    let mut bench = Bench::made_ago(59 * DAY, |_| {});
    let document = bench.hub.trust_bundle(bench.wall()).unwrap();
    let bundle = TrustBundle::open_first(&document, Some(bench.wall())).unwrap();
    assert_eq!(bundle.pins[0], served(&bench).0);
    assert_eq!(bench.hub.trust_bundle(bench.wall()).unwrap(), document, "nothing changed");
    assert_eq!(
        bundle.successor(&document, None).map(drop).map_err(|why| why.to_string().contains("at hand")),
        Err(true)
    );
    bench.advance(2 * DAY);
    assert_eq!(served(&bench).0, bundle.pins[1]);
    let renewed = bench.hub.trust_bundle(bench.wall()).unwrap();
    let renewed = bundle.successor(&renewed, Some(bench.wall())).unwrap();
    assert!(renewed.pins[0] == bundle.pins[1] && !bundle.pins.contains(&renewed.pins[1]));
    // A restart, and an old copy of the registry with it, do not go back.
    let bench = bench.reopen();
    let again = bench.hub.trust_bundle(bench.wall()).unwrap();
    let again = renewed.successor(&again, Some(bench.wall())).unwrap();
    assert_eq!(again.pins, renewed.pins);
}

/// Withdraws a CA, or says why not.
fn revoke(bench: &Bench, name: &str, enrol_anew: bool) -> Result<serde_json::Value, portreeve_hub::AdminError> {
    let request =
        AdminRequest::CaRevoke { name: name.into(), reason: "its key was stolen".into(), enrol_anew, dry_run: false };
    bench.administer(request).map(|outcome| outcome.result)
}

fn leaf_of(bundle: &Bundle) -> Vec<u8> {
    certificates_from_pem("cert.pem", bundle.cert_pem.as_bytes()).unwrap()[0].to_vec()
}

/// Whether the holder of this bundle gets another certificate with it, as after a handshake at the enrolment door.
fn renews(bench: &Bench, bundle: &Bundle) -> bool {
    let chain = certificates_from_pem("cert.pem", bundle.cert_pem.as_bytes()).unwrap();
    let source = std::net::Ipv4Addr::LOCALHOST.into();
    let identity = bench.hub.authenticate(&chain[0]).ok();
    let presented = bench.hub.presented(identity, &chain, source, bench.wall());
    let claim = presented.claim(None, false);
    let key = portreeve_pki::generate_key().unwrap();
    let (csr, _) = portreeve_pki::make_csr(&key.pkcs8_pem, None).unwrap();
    let Some(claim) = claim else { return false };
    bench.hub.enrol(&EnrolRequest { claim, csr: Ok(csr), source }, bench.now).is_ok()
}

/// CSA-CRD-02, CSA-MSU-01: from the word on nobody is admitted by the stolen CA, and another issues; also across a restart.
#[test]
fn a_stolen_ca_is_withdrawn_at_once() {
    let bench = Bench::new();
    let (old, other) = (bench.bundle("lamp-1", Kind::Device), bench.bundle("lamp-2", Kind::Device));
    let identity = bench.identity(&leaf_of(&old));
    let mut client = bench.connect(&identity, connect("lamp-1"));
    client.recv(&bench);
    let told = revoke(&bench, "devices", false).unwrap();
    assert_eq!(told["connections_closed"], 1, "{told}");
    assert_eq!((&told["successor"], &told["problems"]), (&"devices-2".into(), &serde_json::json!([])));
    client.recv(&bench);
    assert!(client.is_over());
    assert!(Wire::open(&bench, &old).is_err() && bench.hub.authenticate(&leaf_of(&old)).is_err());
    // Whoever was let in a moment before does not begin a session any more.
    let (late, _) = bench.try_connect(&identity, connect("lamp-1"));
    assert!(late.is_over());
    assert_eq!(bench.count(EventKind::CaWithdrawn), 1);
    let again = revoke(&bench, "devices", false).unwrap();
    assert_eq!((&again["connections_closed"], &again["successor"]), (&0.into(), &"devices-2".into()));
    assert!(!bench.pki("devices-3.pem").exists(), "once is enough");
    for none in ["devices-3", "root", "nonsense", "../devices"] {
        assert_eq!(revoke(&bench, none, false).unwrap_err().exit_status(), 4, "{none}");
    }
    let new = bench.bundle("new", Kind::Device);
    assert!(is_of(&bench, &new, "devices-2.pem") && Wire::open(&bench, &new).unwrap().carries());
    drop((client, late, identity));
    let bench = bench.reopen();
    assert!(Wire::open(&bench, &old).is_err() && Wire::open(&bench, &new).unwrap().carries());
    // A key that the registry knows is certified anew, before its time and once; whoever copied it is told apart later.
    assert!(renews(&bench, &old) && renews(&bench, &other));
}

/// What the thief makes with the CA's key is for keys that the registry does not know, or not what it knows of one.
#[test]
fn nothing_made_with_a_stolen_ca_is_renewed() {
    let bench = Bench::new();
    let bundle = bench.bundle("lamp-1", Kind::Device);
    let facts = leaf_facts(&leaf_of(&bundle)).unwrap();
    let ca = rcgen::KeyPair::from_pem(&fs::read_to_string(bench.pki("devices.key")).unwrap()).unwrap();
    let pem = fs::read(bench.pki("devices.pem")).unwrap();
    let ca_der = certificates_from_pem("devices.pem", &pem).unwrap()[0].clone();
    let thief = portreeve_pki::CaSigner::new(ca_der, &ca).unwrap();
    let id = facts.identity.unwrap();
    // His own key under the device's name and serial number; and the device's key, for longer.
    let stolen = portreeve_pki::generate_key().unwrap();
    let own = rcgen::KeyPair::from_pem(&bundle.key_pem).unwrap();
    let own =
        portreeve_pki::SubjectPublicKey::from_spki_der(&rcgen::PublicKeyData::subject_public_key_info(&own)).unwrap();
    let until = facts.not_after.plus(DAY);
    let forged = [(&stolen.public, facts.not_after), (&own, until)]
        .map(|(key, until)| thief.repeat_client(id, &facts.serial, key, (facts.not_before, until)).unwrap());
    let refused = |bench: &Bench| {
        for issued in &forged {
            let forged = Bundle { cert_pem: issued.chain_pem.clone(), ..bundle.clone() };
            assert!(bench.hub.authenticate(&issued.chain_der[0]).is_err());
            assert!(!renews(bench, &forged));
        }
    };
    refused(&bench);
    revoke(&bench, "devices", false).unwrap();
    refused(&bench);
    // Stricter afterwards: the registry itself is in doubt.
    revoke(&bench, "devices", true).unwrap();
    assert!(!renews(&bench, &bundle));
    assert!(revoke(&bench, "devices", false).is_err(), "and not the other way");
    let bench = bench.reopen();
    assert!(!renews(&bench, &bundle), "for ever");
}

/// The root is elsewhere: the CA is withdrawn all the same, nobody gets a certificate, and what is to be done is said.
#[test]
fn a_stolen_ca_is_withdrawn_without_the_roots_key() {
    let mut bench = Bench::new();
    let old = bench.bundle("lamp-1", Kind::Device);
    let root = fs::read(bench.pki("root.key")).unwrap();
    fs::remove_file(bench.pki("root.key")).unwrap();
    let told = revoke(&bench, "devices", false).unwrap();
    assert_eq!(told["successor"], serde_json::Value::Null);
    assert!(told["problems"][0].as_str().unwrap().contains("copy root.key back"), "{told}");
    let request = AdminRequest::DeviceCode { name: "lamp-1".parse().unwrap(), valid_s: None };
    bench.administer(request).unwrap();
    let add = AdminRequest::DeviceAdd {
        name: "new".parse().unwrap(),
        kind: Kind::Device,
        fields: portreeve_hub::Fields::default(),
        bundle: true,
        days: None,
    };
    assert!(bench.administer(add).unwrap_err().to_string().contains("was withdrawn"));
    bench.advance(MINUTE);
    assert!(bench.count(EventKind::CaRotationDue) >= 1);
    let mut bench = bench.reopen();
    assert!(Wire::open(&bench, &old).is_err() && !renews(&bench, &old));
    fs::write(bench.pki("root.key"), root).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(bench.pki("root.key"), mode).unwrap();
    for _ in 0..3 {
        bench.advance(60 * MINUTE);
    }
    assert_eq!(bench.count(EventKind::CaRotated), 1);
    assert!(renews(&bench, &old));
    set_back(&mut bench, 3 * 60 * MINUTE);
    let new = bench.bundle("later", Kind::Device);
    assert!(is_of(&bench, &new, "devices-2.pem") && Wire::open(&bench, &new).unwrap().carries());
}

/// The word was written, and whatever broke off the rest has left it undone: it is done when it is said again.
#[test]
fn a_withdrawal_that_was_broken_off_is_done_again() {
    let bench = Bench::new();
    let old = bench.bundle("lamp-1", Kind::Device);
    let mut client = bench.connect(&bench.identity(&leaf_of(&old)), connect("lamp-1"));
    client.recv(&bench);
    fs::write(bench.pki("devices.withdrawn"), format!(r#"{{"at_ms":{},"known_may_renew":true}}"#, bench.wall().0))
        .unwrap();
    let told = revoke(&bench, "devices", false).unwrap();
    assert_eq!((&told["connections_closed"], &told["successor"]), (&1.into(), &"devices-2".into()), "{told}");
    client.recv(&bench);
    assert!(client.is_over() && bench.hub.authenticate(&leaf_of(&old)).is_err());
}

/// Whatever else is damaged: the CA is withdrawn, which is told, issues nothing more, and is followed when that is mended.
#[test]
fn a_withdrawal_needs_nothing_but_its_own_file() {
    let mut bench = Bench::new();
    let old = bench.bundle("lamp-1", Kind::Device);
    let good = fs::read(bench.pki("hub.pem")).unwrap();
    fs::write(bench.pki("hub.pem"), "damaged").unwrap();
    let told = revoke(&bench, "devices", false).unwrap();
    assert_eq!(told["successor"], serde_json::Value::Null);
    assert!(told["problems"][0].as_str().unwrap().contains("hub.pem"), "{told}");
    assert_eq!(bench.count(EventKind::CaWithdrawn), 1);
    assert!(bench.hub.authenticate(&leaf_of(&old)).is_err() && Wire::open(&bench, &old).is_err());
    assert!(!renews(&bench, &old), "nothing is issued by it");
    fs::write(bench.pki("hub.pem"), good).unwrap();
    for _ in 0..3 {
        bench.advance(60 * MINUTE);
    }
    assert_eq!(bench.count(EventKind::CaRotated), 1);
    assert!(renews(&bench, &old) && !bench.pki("devices-3.pem").exists());
}

/// A root whose key is elsewhere holds up no other root's list.
#[test]
fn a_list_that_cannot_be_made_stops_no_other() {
    let bench = Bench::new();
    bench.administer(AdminRequest::RootRotate { at_once: false, dry_run: false }).unwrap();
    for gone in ["root.key", "root-2.crl"] {
        fs::remove_file(bench.pki(gone)).unwrap();
    }
    let told = revoke(&bench, "devices", false).unwrap();
    assert!(told["problems"].to_string().contains("the root's list"), "{told}");
    assert!(bench.pki("root-2.crl").exists());
}

/// Whether a device that trusts what is in this bundle's `ca.pem` gets through to the hub.
fn reaches(bench: &Bench, bundle: &Bundle) -> bool {
    Wire::open(bench, bundle).is_ok_and(|mut wire| wire.carries())
}

/// CSA-CRD-07, CSA-CRD-02: announced, used, alone; and at each step who knows the old root only gets in, while it is trusted.
#[test]
fn a_root_is_followed_with_an_overlap() {
    let bench = Bench::made_ago(2 * YEAR, |_| {});
    let old = bench.bundle("old", Kind::Device);
    let first = bench.hub.trust_bundle(bench.wall()).unwrap();
    let first = TrustBundle::open_first(&first, Some(bench.wall())).unwrap();
    let rotate = |bench: &Bench, at_once| bench.administer(AdminRequest::RootRotate { at_once, dry_run: false });
    assert!(rotate(&bench, true).is_err(), "none waits");
    let told = rotate(&bench, false).unwrap().result;
    assert_eq!((&told["root"], &told["is_cross_certified"]), (&"root-2".into(), &true.into()));
    assert_eq!(bench.count(EventKind::RootAnnounced), 1);
    assert!(rotate(&bench, false).unwrap_err().to_string().contains("is announced"));
    // Announced, and not used: also after a restart.
    let mut bench = bench.reopen();
    let second = bench.hub.trust_bundle(bench.wall()).unwrap();
    let second = first.successor(&second, Some(bench.wall())).unwrap();
    assert_eq!((first.anchors.len(), second.anchors.len()), (1, 2));
    let both = bench.bundle("both", Kind::Device);
    assert_eq!(both.ca_pem.matches("BEGIN").count(), 2);
    assert!(reaches(&bench, &old) && reaches(&bench, &both));
    bench.advance(89 * DAY);
    assert!(!bench.pki("devices-2.pem").exists() && !bench.pki("hub-2.pem").exists());
    set_back(&mut bench, 89 * DAY);

    rotate(&bench, true).unwrap();
    bench.advance(MINUTE);
    assert!(bench.pki("devices-2.pem").exists() && bench.pki("hub-2.pem").exists());
    let root = |file: &str| certificates_from_pem(file, &fs::read(bench.pki(file)).unwrap()).unwrap()[0].clone();
    assert!(
        is_issued_by(&root("hub-2.pem"), &root("root-2.pem")) && !is_issued_by(&root("hub-2.pem"), &root("root.pem"))
    );
    let only_new = Bundle { ca_pem: portreeve_pki::to_pem(&root("root-2.pem")), ..old.clone() };
    for bundle in [&old, &both, &only_new] {
        assert!(reaches(&bench, bundle));
    }
    let mut bench = bench.reopen();
    for bundle in [&old, &both, &only_new] {
        assert!(reaches(&bench, bundle));
    }
    // A year and a month later nothing of the old root lives.
    bench.advance(YEAR + 31 * DAY);
    let third = bench.hub.trust_bundle(bench.wall()).unwrap();
    let third = second.successor(&third, Some(bench.wall())).unwrap();
    assert_eq!(third.anchors, [certificates_from_pem("", only_new.ca_pem.as_bytes()).unwrap()[0].clone()]);
    bench.advance(MINUTE);
    assert_eq!(bench.hub.tls().certificate().len(), 2, "no cross-certificate any more");
}

/// By itself after the overlap; a root that cannot be used for want of its key is told.
#[test]
fn an_announced_root_is_used_when_its_time_has_come() {
    let mut bench = Bench::with(|config| config.keys.root_overlap_days = 60);
    bench.administer(AdminRequest::RootRotate { at_once: false, dry_run: false }).unwrap();
    let key = fs::read(bench.pki("root-2.key")).unwrap();
    fs::remove_file(bench.pki("root-2.key")).unwrap();
    bench.advance(60 * DAY + MINUTE);
    assert!(!bench.pki("devices-2.pem").exists() && bench.count(EventKind::CaRotationDue) > 0);
    fs::write(bench.pki("root-2.key"), key).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(bench.pki("root-2.key"), mode).unwrap();
    bench.advance(2 * 60 * MINUTE);
    assert!(bench.pki("devices-2.pem").exists() && bench.pki("hub-2.pem").exists());
}

/// A stop between any two steps of an announcement leaves a hub that knows one root, and another try makes it two.
#[test]
fn an_announcement_that_is_broken_off_is_made_again() {
    for step in ["key", "cross", "use"] {
        let bench = Bench::new();
        let old = bench.bundle("old", Kind::Device);
        let rotate = |bench: &Bench| bench.administer(AdminRequest::RootRotate { at_once: false, dry_run: false });
        rotate(&bench).unwrap();
        fs::remove_file(bench.pki("root-2.pem")).unwrap();
        if step != "use" {
            fs::remove_file(bench.pki("root-2.from")).unwrap();
        }
        if step == "key" {
            fs::remove_file(bench.pki("root-2.cross.pem")).unwrap();
        }
        let bench = bench.reopen();
        assert!(reaches(&bench, &old), "{step}");
        assert_eq!(bench.bundle("one", Kind::Device).ca_pem.matches("BEGIN").count(), 1, "{step}");
        rotate(&bench).unwrap();
        assert_eq!(bench.bundle("two", Kind::Device).ca_pem.matches("BEGIN").count(), 2, "{step}");
        assert!(reaches(&bench, &old), "{step}");
    }
}

/// ISVS-4.1.6: a device follows from signer to signer, wherever it was left, and never to one that has handed over.
#[test]
fn the_signer_of_bundles_is_followed_through_links_only() {
    let mut bench = Bench::new();
    let read = |bench: &Bench| bench.hub.trust_bundle(bench.wall()).unwrap();
    let rotate = |bench: &Bench| bench.administer(AdminRequest::TrustRotate { dry_run: false }).unwrap();
    let document = read(&bench);
    let first = TrustBundle::open_first(&document, Some(bench.wall())).unwrap();
    let old_key = rcgen::KeyPair::from_pem(&fs::read_to_string(bench.pki("trust.key")).unwrap()).unwrap();
    rotate(&bench);
    assert!(bench.pki("trust-2.key").exists() && !bench.pki("trust.key").exists(), "it can sign nothing more");
    assert_eq!(bench.count(EventKind::TrustKeyChanged), 1);
    let second = first.successor(&read(&bench), Some(bench.wall())).unwrap();
    assert!(second.signers != first.signers && second.version > first.version);
    assert!(second.successor(&document, Some(bench.wall())).is_err(), "not back");
    // By the retired key, above every number so far: nothing for who has followed.
    let late = TrustBundle { version: second.version + 9, signers: first.signers.clone(), ..second.clone() };
    let late = late.seal(&old_key).unwrap();
    assert!(second.successor(late.as_bytes(), Some(bench.wall())).is_err());
    // The bundle alone, without the link: not for who knows the old signer only.
    let text = String::from_utf8(read(&bench).to_vec()).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(first.successor(text.lines().last().unwrap().as_bytes(), Some(bench.wall())).is_err());
    // Whoever was away meanwhile, for longer than a link would count, skips versions and follows; restarts change nothing.
    let mut bench = {
        bench.advance(200 * DAY);
        rotate(&bench);
        bench.reopen()
    };
    let third = first.successor(&read(&bench), Some(bench.wall())).unwrap();
    assert_eq!(third, second.successor(&read(&bench), Some(bench.wall())).unwrap());
    // An old answer is over, links or not.
    let stale = read(&bench);
    bench.advance(91 * DAY);
    assert!(first.successor(&stale, Some(bench.wall())).is_err());
    // Only so many links are kept: who knows none of them begins anew.
    for _ in 0..portreeve_pki::TRUST_LINKS_MAX {
        rotate(&bench);
    }
    assert!(first.successor(&read(&bench), Some(bench.wall())).is_err());
    third.successor(&read(&bench), Some(bench.wall())).unwrap();
    let again = read(&bench.reopen());
    assert_eq!(String::from_utf8(again.to_vec()).unwrap().lines().count(), portreeve_pki::TRUST_LINKS_MAX + 1);
}
