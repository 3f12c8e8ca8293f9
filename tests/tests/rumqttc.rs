//! A Rust client that others use, with bundles as `device add` writes them.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    sync::{Once, OnceLock},
    time::{Duration, Instant},
};

use portreeve_tests::{Hub, Identity, hub::PATIENCE, unique};
use rumqttc::{Transport, v5};

fn hub() -> &'static Hub {
    static HUB: OnceLock<Hub> = OnceLock::new();
    HUB.get_or_init(|| Hub::open(&[]))
}

/// The bundle's files, read as any program would: what is trusted, certificate, key.
fn bundle(identity: &Identity) -> [Vec<u8>; 3] {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Only a second call could fail.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    ["ca.pem", "cert.pem", "key.pem"].map(|file| fs::read(identity.bundle.join(file)).unwrap())
}

fn tls(identity: &Identity) -> Transport {
    let [ca, certificate, key] = bundle(identity);
    Transport::tls(ca, Some((certificate, key)), None)
}

fn wss(identity: &Identity) -> Transport {
    let [ca, certificate, key] = bundle(identity);
    Transport::wss(ca, Some((certificate, key)), None)
}

/// Events of a 3.1.1 connection until `wanted` sees what it waits for.
fn until<T>(connection: &mut rumqttc::Connection, mut wanted: impl FnMut(rumqttc::Packet) -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Ok(event) = connection.recv_timeout(Duration::from_millis(200))
            && let rumqttc::Event::Incoming(packet) = event.unwrap()
            && let Some(found) = wanted(packet)
        {
            return found;
        }
    }
    panic!("it did not come in {PATIENCE:?}");
}

/// The same for 5.0.
fn until_v5<T>(connection: &mut v5::Connection, mut wanted: impl FnMut(v5::Incoming) -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Ok(event) = connection.recv_timeout(Duration::from_millis(200))
            && let v5::Event::Incoming(packet) = event.unwrap()
            && let Some(found) = wanted(packet)
        {
            return found;
        }
    }
    panic!("it did not come in {PATIENCE:?}");
}

fn echo_at_every_qos(mut options: rumqttc::MqttOptions) {
    options.set_clean_session(true);
    let (client, mut connection) = rumqttc::Client::new(options, 10);
    let topic = unique("rumqttc");
    client.subscribe(&topic, rumqttc::QoS::ExactlyOnce).unwrap();
    until(&mut connection, |packet| matches!(packet, rumqttc::Packet::SubAck(_)).then_some(()));
    for qos in [rumqttc::QoS::AtMostOnce, rumqttc::QoS::AtLeastOnce, rumqttc::QoS::ExactlyOnce] {
        client.publish(&topic, qos, false, format!("{qos:?}")).unwrap();
        let message = until(&mut connection, |packet| match packet {
            rumqttc::Packet::Publish(publish) => Some(publish),
            _ => None,
        });
        assert_eq!((message.topic, message.qos), (topic.clone(), qos));
        assert_eq!(message.payload, format!("{qos:?}"));
    }
    client.disconnect().unwrap();
}

#[test]
fn v3_1_1_over_tls() {
    let mut options = rumqttc::MqttOptions::new(unique("rumqttc"), "localhost", hub().mqtt().port());
    options.set_transport(tls(hub().app()));
    echo_at_every_qos(options);
}

#[test]
fn v3_1_1_over_websocket() {
    let port = hub().address("device_https").port();
    let url = format!("wss://localhost:{port}/mqtt");
    let mut options = rumqttc::MqttOptions::new(unique("rumqttc"), url, port);
    options.set_transport(wss(hub().app()));
    echo_at_every_qos(options);
}

fn options_v5(id: &str) -> v5::MqttOptions {
    let mut options = v5::MqttOptions::new(id, "localhost", hub().mqtt().port());
    options.set_transport(tls(hub().app()));
    options
}

#[test]
fn v5_over_tls_with_aliases_and_properties() {
    use v5::mqttbytes::{QoS, v5::PublishProperties};
    let mut options = options_v5(&unique("rumqttc"));
    options.set_topic_alias_max(Some(5));
    let (client, mut connection) = v5::Client::new(options, 10);
    let topic = unique("rumqttc");
    client.subscribe(&topic, QoS::ExactlyOnce).unwrap();
    until_v5(&mut connection, |packet| matches!(packet, v5::Incoming::SubAck(_)).then_some(()));
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let properties = PublishProperties {
            user_properties: vec![("k".into(), format!("{qos:?}"))],
            content_type: Some("text/plain".into()),
            ..PublishProperties::default()
        };
        client.publish_with_properties(&topic, qos, false, "x", properties).unwrap();
        let message = until_v5(&mut connection, |packet| match packet {
            v5::Incoming::Publish(publish) => Some(publish),
            _ => None,
        });
        let properties = message.properties.unwrap();
        assert_eq!(properties.user_properties, [("k".to_owned(), format!("{qos:?}"))]);
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
        assert!(properties.topic_alias.is_some());
    }
    client.disconnect().unwrap();
}

#[test]
fn v5_resumes_its_session() {
    use v5::mqttbytes::QoS;
    let (id, topic) = (unique("rumqttc"), unique("rumqttc"));
    let options = || {
        let mut options = options_v5(&id);
        options.set_clean_start(false).set_session_expiry_interval(Some(300));
        options
    };
    let present = |connection: &mut v5::Connection| {
        until_v5(connection, |packet| match packet {
            v5::Incoming::ConnAck(connack) => Some(connack.session_present),
            _ => None,
        })
    };
    let (client, mut connection) = v5::Client::new(options(), 10);
    assert!(!present(&mut connection));
    client.subscribe(&topic, QoS::AtLeastOnce).unwrap();
    until_v5(&mut connection, |packet| matches!(packet, v5::Incoming::SubAck(_)).then_some(()));
    drop((client, connection));

    portreeve_tests::Client::connect(hub(), portreeve_tests::V5, &unique("sender")).publish(&topic, "kept", 1);
    let (_client, mut connection) = v5::Client::new(options(), 10);
    assert!(present(&mut connection));
    let message = until_v5(&mut connection, |packet| match packet {
        v5::Incoming::Publish(publish) => Some(publish),
        _ => None,
    });
    assert_eq!(message.payload, "kept");
}

#[test]
fn a_stranger_is_refused() {
    let stranger = hub().add("rumqttc-stranger", "device");
    hub().device("revoke", &stranger.name);
    let mut options = v5::MqttOptions::new("rumqttc-stranger", "localhost", hub().mqtt().port());
    options.set_transport(tls(&stranger));
    let (_client, mut connection) = v5::Client::new(options, 10);
    let event = connection.recv_timeout(PATIENCE).unwrap();
    assert!(event.is_err(), "{event:?}");
}
