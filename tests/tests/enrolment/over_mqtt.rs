//! Enrolment over a provisioning session of MQTT, for devices without an HTTP client.

use std::{fs, io::Read as _, sync::Arc};

use portreeve_mqtt::Version;
use portreeve_tests::{
    Client, Hub, Login, Message, V4, V5,
    hub::{TlsStream, client_config, dial_address},
};
use rustls::ClientConfig;

use crate::{
    EMPTY_SUBJECT,
    machine::{Machine, code, done, expected, openssl, state},
    vouched::Acme,
};

const LISTEN: &str = "mqtt.provisioning_listen=127.0.0.1:0";
const ALL: &str = "$provisioning/#";
const REQUEST: &str = "$provisioning/request";
const CERTIFICATE: &str = "$provisioning/certificate";
const NAME: &str = "$provisioning/name";
const REFUSED: &str = "$provisioning/refused";

const NOT_AUTHORIZED: u8 = 0x87;
const ADMINISTRATIVE_ACTION: u8 = 0x98;
const PATIENT: &str = "limits.enrolment_failures_per_source_per_min=1000";

/// A connection of whoever has this certificate, or none.
fn dial(hub: &Hub, credentials: Option<(&[u8], &[u8])>) -> TlsStream {
    let root = fs::read(hub.data().join("pki/root.pem")).unwrap();
    dial_as(hub, client_config(&root, credentials))
}

fn dial_as(hub: &Hub, tls: Arc<ClientConfig>) -> TlsStream {
    dial_address(hub.address("mqtt_provisioning"), tls).unwrap()
}

/// A stranger's session, with a code if it has one, that hears everything there is.
fn stranger(hub: &Hub, version: Version, credentials: Option<(&str, &str)>) -> Client {
    let login = Login::new(version, "stranger");
    let login = credentials.iter().fold(login, |login, (name, code)| login.credentials(name, code));
    listening(login.open_on(dial(hub, None)))
}

fn listening(mut client: Client) -> Client {
    client.subscribe(ALL, 0);
    client
}

/// The request that curl would post, as it is in DER, and in PEM.
fn request(machine: &Machine<'_>, name: &str) -> (Vec<u8>, Vec<u8>) {
    let base64 = fs::read_to_string(machine.request(name, &EMPTY_SUBJECT)).unwrap();
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{base64}-----END CERTIFICATE REQUEST-----\n");
    (fs::read(machine.path("csr.der")).unwrap(), pem.into_bytes())
}

/// Asks, and is told.
fn ask(client: &mut Client, csr: &[u8]) -> Message {
    assert_eq!(client.try_publish(REQUEST, csr, 1, false, ""), 0);
    let message = client.message();
    assert_eq!((message.qos, message.retain), (0, false));
    message
}

/// Asks, and must not get a certificate.
fn refused(client: &mut Client, csr: &[u8]) -> String {
    let message = ask(client, csr);
    assert_eq!(message.topic, REFUSED);
    message.text().to_owned()
}

/// Asks, and must get a certificate; returns the name and the chain.
fn granted(client: &mut Client, csr: &[u8]) -> (String, Vec<u8>) {
    let name = ask(client, csr);
    assert_eq!(name.topic, NAME, "{}", name.text());
    let certificate = client.message();
    assert_eq!(certificate.topic, CERTIFICATE);
    (name.text().to_owned(), certificate.payload)
}

/// A code gives a certificate, in both versions, for requests in PEM and in DER, with QoS 0 and 1 (CSA-CRD-04,
/// IOTSF-2.4.7.8).
#[test]
fn a_code_gives_a_certificate() {
    let hub = Hub::start(&[LISTEN, PATIENT]);
    let machine = Machine::new(&hub);
    for (version, name) in [(V4, "lamp-4"), (V5, "lamp-5")] {
        let code_of_lamp = expected(&hub, name);
        let (der, pem) = request(&machine, name);
        let mut client = stranger(&hub, version, Some((name, &code_of_lamp)));
        let csr = if version == V4 { der } else { pem };
        client.publish_with(REQUEST, &csr, u8::from(version == V5), false, "");
        let told = client.message();
        assert_eq!((told.topic.as_str(), told.text()), (NAME, name), "{}", hub.log());
        let certificate = client.message();
        assert_eq!(certificate.topic, CERTIFICATE);
        let named = if version == V5 { vec![("portreeve-name".to_owned(), name.to_owned())] } else { Vec::new() };
        assert_eq!(certificate.user, named);
        assert_eq!(state(&hub, name), "active");

        // Others can check it: the leaf comes with the CA that issued it.
        let lamp = machine.keep_pem(name, &certificate.payload);
        let (chain, root) = (machine.path(&format!("{name}.pem")), hub.data().join("pki/root.pem"));
        let mut verify = openssl(&["verify", "-purpose", "sslclient", "-CAfile"]);
        done(verify.arg(root).arg("-untrusted").arg(&chain).arg(&chain));
        Login::new(V5, name).open_as(&hub, &lamp).publish(&format!("devices/{name}/telemetry/t"), "on", 1);

        // The session goes on; what it was entitled by is used up.
        client.alive();
        assert_eq!(refused(&mut client, &request(&machine, "more").1), "not-entitled");
        client.alive();
        client.disconnect();
    }
    // Who hears nothing but certificates is not told the name beside them.
    let code_of_lamp = expected(&hub, "quiet");
    let login = Login::new(V5, "x").credentials("quiet", &code_of_lamp);
    let mut client = login.open_on(dial(&hub, None));
    client.subscribe(CERTIFICATE, 0);
    assert_eq!(ask(&mut client, &request(&machine, "quiet").1).topic, CERTIFICATE);
    assert!(hub.metric("portreeve_provisioning_requests_used").unwrap() >= 2.0);
    assert_eq!(hub.metric("portreeve_provisioning_session_s_limit"), Some(600.0));
}

/// One word for whatever is wrong with a code, and a limit for trying; the right one is not used up by it.
#[test]
fn codes_cannot_be_tried() {
    let hub = Hub::start(&[LISTEN, "limits.enrolment_failures_per_source_per_min=6"]);
    let machine = Machine::new(&hub);
    let (mine, other) = (expected(&hub, "mine"), expected(&hub, "other"));
    let csr = request(&machine, "mine").1;
    for credentials in
        [("mine", "00000-00000-00000-00000"), ("mine", other.as_str()), ("nobody", mine.as_str()), ("$SYS/#", "x")]
    {
        assert_eq!(refused(&mut stranger(&hub, V5, Some(credentials)), &csr), "not-entitled", "{credentials:?}");
    }
    // Entitled, and asks for what is not certified.
    let mut client = stranger(&hub, V5, Some(("mine", &mine)));
    assert_eq!(refused(&mut client, b"no request"), "refused");
    assert_eq!(refused(&mut client, b""), "refused");
    let word = refused(&mut client, &csr);
    assert!(word.starts_with("busy "), "{word}: also with the right one");
    assert!(word["busy ".len()..].parse::<u32>().unwrap() > 0);
    assert_eq!(state(&hub, "mine"), "pending");
    // Whoever shows nothing at all.
    assert_eq!(refused(&mut stranger(&hub, V5, None), &csr), "not-entitled");
    assert!(hub.log().contains("nothing was shown"), "{}", hub.log());
}

/// A session reaches provisioning and nothing else, and nobody else's session reaches it.
#[test]
fn a_session_reaches_nothing_else() {
    let hub = Hub::open(&[LISTEN]);
    let mut witness = Client::connect(&hub, V5, "witness");
    witness.subscribe("#", 1);
    witness.subscribe(ALL, 1);
    for version in [V4, V5] {
        let mut client = stranger(&hub, version, None);
        let denied = if version == V5 { NOT_AUTHORIZED } else { 0x80 };
        for filter in ["#", "$SYS/#", "devices/+/telemetry/#", "$provisioning/request", "$provisioning/+"] {
            assert_eq!(client.try_subscribe(filter, 1), denied, "{filter}");
        }
        // What an application says there stays with those who are connected as it is.
        witness.publish(CERTIFICATE, "not for strangers", 1);
        assert_eq!(witness.message().text(), "not for strangers");
        client.silent();
        match version {
            V5 => {
                assert_eq!(client.try_publish("devices/lamp-1/telemetry/t", b"x", 1, false, ""), NOT_AUTHORIZED);
                assert_eq!(client.try_publish(CERTIFICATE, b"x", 1, false, ""), NOT_AUTHORIZED);
            }
            V4 => {
                client.send(&portreeve_tests::client::publish_bytes(V4, "devices/x/t", b"x", 1, false, 9, ""));
                client.closed();
            }
        }
    }
    for (qos, retain, reason) in [(2, false, 0x9b), (1, true, 0x9a), (0, false, NOT_AUTHORIZED)] {
        let mut client = stranger(&hub, V5, None);
        let topic = if reason == NOT_AUTHORIZED { "devices/lamp-1/telemetry/t" } else { REQUEST };
        let id = u16::from(qos > 0);
        client.send(&portreeve_tests::client::publish_bytes(V5, topic, b"x", qos, retain, id, ""));
        client.cut(reason);
    }
    // CONNECT twice, and more than a request can be long.
    let mut client = stranger(&hub, V5, None);
    client.send(&Login::new(V5, "again").bytes());
    client.cut(0x82);
    let mut client = stranger(&hub, V5, None);
    client.send(&portreeve_tests::client::publish_bytes(V5, REQUEST, &[b'x'; 20_000], 1, false, 1, ""));
    client.cut(0x95);
    // No will, and no session that stays.
    let will = Login::new(V5, "x").will(0, false, "devices/x/gone", "gone", "");
    assert_eq!(connack_code(&hub, &will), NOT_AUTHORIZED);
    assert_eq!(connack_code(&hub, &Login::new(V4, "x").resume()), 5);
    let mut kept = Login::new(V5, "x").expiry(60).resume().open_on(dial(&hub, None));
    assert!(!kept.present && kept.connack.windows(5).any(|bytes| bytes == [0x11, 0, 0, 0, 0]));
    kept.alive();
    witness.silent();
    let log = hub.log();
    for event in ["subscribe_denied", "publish_denied", "will_denied", "connect_refused", "protocol_violation"] {
        assert!(log.contains(event), "{event}: {log}");
    }
}

/// The code of a CONNACK that refuses; the connection must then close.
fn connack_code(hub: &Hub, login: &Login) -> u8 {
    let version = if login.bytes()[8] == 5 { V5 } else { V4 };
    let mut client = Client::new(dial(hub, None), version);
    client.send(&login.bytes());
    let connack = client.packet();
    client.closed();
    connack[3]
}

/// CSA-CRD-08, CSA-CRD-09: a maker's certificate, shown in the handshake; consent is waited for on one connection.
#[test]
fn a_maker_vouches_and_consent_comes_on_the_same_connection() {
    let hub = Hub::start(&[LISTEN, PATIENT]);
    let (machine, acme) = (Machine::new(&hub), Acme::new(&hub, "acme"));
    let shown = |serial: &str| {
        let _ = acme.make(serial);
        [fs::read(acme.path(&format!("{serial}.pem"))).unwrap(), fs::read(acme.path(&format!("{serial}.key"))).unwrap()]
    };
    let open = |[cert, key]: &[Vec<u8>; 2]| {
        listening(Login::new(V5, "").open_on(dial(&hub, Some((cert.as_slice(), key.as_slice())))))
    };
    let device = shown("SN-1");
    let csr = request(&machine, "pump-SN-1").1;
    assert_eq!(refused(&mut open(&device), &csr), "not-entitled", "nobody trusts this maker yet");
    let ca = acme.shown("ca.pem");
    let group = ["enrolment", "group", "add", "pumps", "--maker-ca", &ca, "--names", "pump-{serial}", "--approval"];
    let _ = hub.succeed(&group);

    let mut client = open(&device);
    assert_eq!(refused(&mut client, &csr), "waiting 30");
    assert_eq!(refused(&mut client, &csr), "waiting 30", "the same question");
    let number = hub.json(&["approval", "list"])[0]["number"].to_string();
    let _ = hub.succeed(&["approval", "grant", &number]);
    assert_eq!(refused(&mut client, &request(&machine, "other").1), "waiting 30", "consent was to one key");
    let (name, chain) = granted(&mut client, &csr);
    assert_eq!((name.as_str(), state(&hub, "pump-SN-1").as_str()), ("pump-SN-1", "active"));
    let pump = machine.keep_pem("pump-SN-1", &chain);
    Login::new(V5, "pump-SN-1").open_as(&hub, &pump).publish("devices/pump-SN-1/telemetry/t", "wet", 1);
    client.alive();
    // The maker's certificate is good for that, and opens no other door.
    let root = fs::read(hub.data().join("pki/root.pem")).unwrap();
    let makers = client_config(&root, Some((&device[0], &device[1])));
    assert!(is_turned_away(hub.try_dial(makers)));
}

/// Whether a handshake was refused. In TLS 1.3 that comes with the first read.
fn is_turned_away(stream: std::io::Result<TlsStream>) -> bool {
    let read = stream.and_then(|mut stream| stream.read(&mut [0]));
    read.is_err_and(|error| error.to_string().contains("alert"))
}

/// CSA-CRD-10; RFC 7030 §3.3.2 in the words of MQTT: the present certificate entitles to the next, as long as its holder is welcome.
#[test]
fn a_certificate_is_renewed() {
    let hub = Hub::start(&[LISTEN, PATIENT, "enrolment.renew_after_percent=0"]);
    let machine = Machine::new(&hub);
    let code_of_lamp = code_for(&hub, "lamp");
    let (_, chain) = granted(&mut stranger(&hub, V5, Some(("lamp", &code_of_lamp))), &request(&machine, "lamp").1);
    let lamp = machine.keep_pem("lamp", &chain);
    let mut client = listening(Login::new(V5, "x").open_on(dial_as(&hub, lamp.tls())));
    let same = fs::read(machine.path("csr.der")).unwrap();
    assert_eq!(refused(&mut client, &same), "refused", "each certificate has a key of its own");
    let next_csr = request(&machine, "next").1;
    let (name, chain) = granted(&mut client, &next_csr);
    assert_eq!(name, "lamp");
    let next = machine.keep_pem("next", &chain);
    let mut renewed = Login::new(V5, "lamp").open_as(&hub, &next);
    renewed.publish("devices/lamp/telemetry/t", "on", 1);
    // Whoever has a certificate is no stranger, and is let in no more once it is revoked; what it has open ends.
    let mut open = listening(Login::new(V5, "x").open_on(dial_as(&hub, next.tls())));
    hub.device("revoke", "lamp");
    open.cut(ADMINISTRATIVE_ACTION);
    client.cut(ADMINISTRATIVE_ACTION);
    renewed.cut(ADMINISTRATIVE_ACTION);
    assert_eq!(hub.metric("portreeve_cut_seconds_count"), Some(3.0));
    assert!(is_turned_away(dial_address(hub.address("mqtt_provisioning"), next.tls())));
}

/// CSA-MSU-01: a provisioning session ends with the connections of its identity, whoever that came to be, and no other does.
#[test]
fn whoever_is_cut_off_is_so_here_as_well() {
    let hub = Hub::start(&[LISTEN, PATIENT]);
    let machine = Machine::new(&hub);
    for (version, name, verb) in [(V4, "lamp-4", "disable"), (V5, "lamp-5", "quarantine"), (V5, "lamp-6", "retire")] {
        let code_of_lamp = expected(&hub, name);
        let mut enrolled = stranger(&hub, version, Some((name, &code_of_lamp)));
        let (_, chain) = granted(&mut enrolled, &request(&machine, name).1);
        let lamp = machine.keep_pem(name, &chain);
        let mut returned = Login::new(version, "x").open_on(dial_as(&hub, lamp.tls()));
        let mut other = stranger(&hub, version, None);
        hub.device(verb, name);
        enrolled.cut_off(ADMINISTRATIVE_ACTION);
        returned.cut_off(ADMINISTRATIVE_ACTION);
        other.alive();
    }
    assert_eq!(hub.metric("portreeve_cut_seconds_count"), Some(6.0));
    let log = hub.log();
    assert!(log.contains("session_cut") && log.contains("provisioning: retired"), "{log}");
}

fn code_for(hub: &Hub, name: &str) -> String {
    let first = expected(hub, name);
    let newer = code(hub, name);
    assert_ne!(first, newer);
    newer
}

/// However many hold provisioning sessions, with a certificate or without, a device gets in: the oldest makes room.
#[test]
fn applicants_do_not_take_the_places_of_devices() {
    let hub = Hub::open(&[LISTEN, "limits.half_open_connections=4", "limits.half_open_per_source=4"]);
    let mut oldest = Login::new(V5, "x").open_on(dial_as(&hub, hub.app().tls()));
    let mut younger: Vec<_> = (0..3).map(|_| stranger(&hub, V5, None)).collect();
    oldest.alive();
    Client::connect(&hub, V5, "device").alive();
    oldest.cut(0x89);
    younger.iter_mut().for_each(Client::alive);
}

/// A hub that stops says so, and one that was not told to listen does not.
#[test]
fn the_door_is_there_only_when_it_is_asked_for() {
    let mut hub = Hub::start(&[LISTEN]);
    let mut client = stranger(&hub, V5, None);
    assert!(hub.terminate().success());
    client.cut(0x8b);
    let hub = Hub::start(&[]);
    let listeners = hub.status()["listeners"].to_string();
    assert!(listeners.contains("\"mqtt\"") && !listeners.contains("provisioning"), "{listeners}");
}
