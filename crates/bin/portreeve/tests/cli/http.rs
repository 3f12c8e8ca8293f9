use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use futures_util::{SinkExt as _, StreamExt as _};
use portreeve_mqtt::{Packet, Reason, Sender, Version, decode, frame};
use portreeve_tls::{Credentials, certificates_from_pem, client_config};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _, http::HeaderValue, http::Response},
};

use crate::support::{Place, http};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

#[test]
fn metrics_and_health_are_served_and_name_no_device() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let port = hub.port();
    let publish = ["client", "pub", "--bundle", "lamp-1", "--port", &port, "-m", "1", "-t"];
    place.ok(&[&publish[..], &["devices/lamp-1/telemetry/x"]].concat());
    assert_eq!(place.run(&[&publish[..], &["devices/lamp-2/x"]].concat()).status, 4);

    let at = hub.address("metrics");
    let (head, body) = http(at, "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"));
    assert!(!body.contains("lamp-1"));
    let figures: BTreeMap<&str, f64> = body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').map(|(name, value)| (name, value.parse().unwrap())).unwrap())
        .collect();
    assert_eq!(figures["portreeve_connects_total"], 2.0);
    assert_eq!(figures["portreeve_events_total{kind=\"publish_denied\"}"], 1.0);
    assert_eq!(figures["portreeve_identities"], 1.0);
    assert!(figures["process_start_time_seconds"] > 1.7e9);
    // Every limit of the reference has its pair.
    for key in portreeve_config::keys().iter().filter_map(|key| key.metric) {
        for suffix in ["limit", "used"] {
            assert!(figures.contains_key(format!("{key}_{suffix}").as_str()), "{key}_{suffix}");
        }
    }
    for path in ["/livez", "/readyz"] {
        assert!(http(at, "GET", path).0.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(http(at, "HEAD", "/metrics").1, "");
    assert!(http(at, "POST", "/metrics").0.starts_with("HTTP/1.1 405"));
    assert!(http(at, "GET", "/admin/v1").0.starts_with("HTTP/1.1 404"));
}

async fn tls(at: SocketAddr, bundle: &Path) -> TlsStream<TcpStream> {
    let read = |file: &str| std::fs::read(bundle.join(file)).unwrap();
    let anchors = certificates_from_pem("ca", &read("ca.pem")).unwrap();
    let credentials = Credentials::from_pem("cert", &read("cert.pem"), "key", &read("key.pem")).unwrap();
    let config = client_config(&anchors, credentials).unwrap();
    let tcp = TcpStream::connect(at).await.unwrap();
    TlsConnector::from(config).connect("localhost".try_into().unwrap(), tcp).await.unwrap()
}

/// Asks for a WebSocket with these header values.
async fn ask(
    at: SocketAddr,
    bundle: &Path,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Socket, Response<Option<Vec<u8>>>), tungstenite::Error> {
    let mut request = format!("wss://localhost:{}{path}", at.port()).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    client_async(request, tls(at, bundle).await).await
}

async fn refused(at: SocketAddr, bundle: &Path, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    match ask(at, bundle, path, headers).await {
        Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    }
}

async fn next_packet(socket: &mut Socket, buffer: &mut Vec<u8>) -> Vec<u8> {
    loop {
        if let Some(length) = frame(buffer, 1 << 20).unwrap() {
            return buffer.drain(..length).collect();
        }
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => buffer.extend_from_slice(&bytes),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

const CONNECT: &[u8] = b"\x10\x00\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";
const SUBSCRIBE: &[u8] = b"\x82\x00\x00\x01\x00\x00\x10devices/lamp-1/#\x01";
const PUBLISH: &[u8] = b"\x32\x00\x00\x10devices/lamp-1/x\x00\x02\x00hi";

/// The packet with its remaining length written.
fn sized(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[1] = (packet.len() - 2).try_into().unwrap();
    packet
}

/// MQTT 5.0 §6 over the real door: [MQTT-6.0.0-1] to [MQTT-6.0.0-4].
#[test]
fn mqtt_runs_over_websocket() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let (at, bundle) = (hub.address("device_https"), place.path("lamp-1"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut socket, answer) =
            ask(at, &bundle, "/mqtt", &[("sec-websocket-protocol", "mqttv3.1, mqtt")]).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
        let connect = sized(CONNECT);
        for half in [&connect[..5], &connect[5..]] {
            socket.send(Message::Binary(half.to_vec().into())).await.unwrap();
        }
        let mut buffer = Vec::new();
        let connack = next_packet(&mut socket, &mut buffer).await;
        let connack = decode(Version::V5, Sender::Server, &connack).unwrap();
        assert!(matches!(&connack, Packet::ConnAck(answer) if answer.reason == Reason::SUCCESS), "{connack:?}");

        socket.send(Message::Ping("still there?".into())).await.unwrap();
        let both = [sized(SUBSCRIBE), sized(PUBLISH)].concat();
        socket.send(Message::Binary(both.into())).await.unwrap();
        let mut got = (false, false, false);
        while got != (true, true, true) {
            let packet = next_packet(&mut socket, &mut buffer).await;
            match decode(Version::V5, Sender::Server, &packet).unwrap() {
                Packet::SubAck(ack) => {
                    assert_eq!(ack.reasons, [Reason::GRANTED_QOS_1]);
                    got.0 = true;
                }
                Packet::PubAck(ack) => {
                    assert!(!ack.reason.is_error(), "{ack:?}");
                    got.1 = true;
                }
                Packet::Publish(publish) => {
                    assert_eq!(publish.payload, b"hi");
                    got.2 = true;
                }
                other => panic!("{other:?}"),
            }
        }
        let shown = place.json(&["device", "show", "lamp-1"]);
        assert_eq!(shown["sessions"][0]["transport"], "websocket");
        socket.send(Message::text("text")).await.unwrap();
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => break assert_eq!(u16::from(frame.code), 1003),
                Some(Ok(_)) => {}
                end => panic!("no close frame: {end:?}"),
            }
        }
    });
}

#[test]
fn what_is_no_mqtt_websocket_is_refused() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    let (at, bundle) = (hub.address("device_https"), place.path("lamp-1"));
    let mqtt = ("sec-websocket-protocol", "mqtt");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(refused(at, &bundle, "/mqtt", &[]).await, 400);
        assert_eq!(refused(at, &bundle, "/mqtt", &[("sec-websocket-protocol", "mqttv3.1")]).await, 400);
        assert_eq!(refused(at, &bundle, "/other", &[mqtt]).await, 404);
        assert_eq!(refused(at, &bundle, "/mqtt", &[mqtt, ("origin", "https://evil.example")]).await, 403);
        assert_eq!(refused(at, &bundle, "/mqtt", &[mqtt, ("sec-websocket-version", "12")]).await, 426);
        assert_eq!(refused(at, &bundle, "/mqtt", &[mqtt]).await, 101);
    });
}
