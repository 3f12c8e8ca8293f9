//! §6 MQTT over WebSocket: the same protocol in binary frames (RFC 6455), spoken here frame by frame.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use portreeve_tests::{
    V5,
    hub::{TlsStream, dial_address},
    unique,
    wire::{bytes, hex},
};

use crate::hub;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;

/// The stream, and bytes of MQTT that were read and not asked for yet.
struct WebSocket(TlsStream, Vec<u8>);

impl WebSocket {
    /// The answer to an upgrade request, headers included, and the connection.
    fn ask(path: &str, protocol: &str) -> (String, Self) {
        let mut stream = dial_address(hub().address("device_https"), hub().app().tls()).unwrap();
        let protocol =
            if protocol.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocol}\r\n") };
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                break;
            }
            answer.push(byte[0]);
        }
        (String::from_utf8(answer).unwrap(), Self(stream, Vec::new()))
    }

    fn open() -> Self {
        let (answer, socket) = Self::ask("/mqtt", "mqtt");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        socket
    }

    /// A session of the hub's application.
    fn connected() -> Self {
        let mut socket = Self::open();
        let login = portreeve_tests::Login::new(V5, &unique("websocket")).bytes();
        socket.send(FINAL | BINARY, &login);
        assert_eq!(socket.bytes(4)[0], 0x20, "CONNACK");
        socket.bytes(12);
        socket
    }

    /// One masked frame, as clients must send them.
    fn send(&mut self, head: u8, payload: &[u8]) {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut frame = vec![head];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(FINAL | length),
            _ => {
                frame.push(FINAL | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).unwrap();
        self.0.flush().unwrap();
    }

    /// The next frame: its first byte and its payload; `None` at the end.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        self.0.sock.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).unwrap();
        Some((head[0], payload))
    }

    /// This many bytes of MQTT, in however many binary frames they come [MQTT-6.0.0-2].
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.1.len() < count {
            let (head, payload) = self.frame().expect("more of MQTT");
            assert_eq!(head, FINAL | BINARY, "[MQTT-6.0.0-1] binary frames");
            self.1.extend(payload);
        }
        self.1.drain(..count).collect()
    }

    fn hear(&mut self, notation: &str) {
        let expected = bytes(notation);
        assert_eq!(hex(&self.bytes(expected.len())), hex(&expected));
    }

    /// Nothing of MQTT comes any more: a close frame perhaps, then the end.
    fn closed(mut self) {
        while let Some((head, payload)) = self.frame() {
            assert_eq!(head, FINAL | CLOSE, "{}", hex(&payload));
        }
    }
}

#[test]
fn the_subprotocol_is_mqtt() {
    // [MQTT-6.0.0-3] [MQTT-6.0.0-4]
    for offered in ["mqtt", "mqttv3.1, mqtt", "mqtt, chat"] {
        let (answer, _) = WebSocket::ask("/mqtt", offered);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.to_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    }
    for (path, offered) in [("/mqtt", ""), ("/mqtt", "chat"), ("/mqtt", "MQTT5"), ("/other", "mqtt"), ("/", "mqtt")] {
        let (answer, _) = WebSocket::ask(path, offered);
        assert!(answer.starts_with("HTTP/1.1 4"), "{path} {offered}: {answer}");
    }
}

#[test]
fn packets_and_frames_are_independent() {
    // [MQTT-6.0.0-2]: several packets in a frame, a packet in several frames, in fragments of one message.
    let mut socket = WebSocket::connected();
    socket.send(FINAL | BINARY, &bytes("c0 | ; c0 | ; c0 |"));
    socket.hear("d0 | ; d0 | ; d0 |");
    for byte in bytes("32 | s'websocket/nobody' 0001 ( ) 'x'") {
        socket.send(FINAL | BINARY, &[byte]);
    }
    socket.hear("40 | 0001 10");
    socket.send(BINARY, &[0xc0]);
    socket.send(FINAL, &[0x00]);
    socket.hear("d0 |");
    socket.send(FINAL | BINARY, &[]);
    socket.send(FINAL | BINARY, &bytes("c0 |"));
    socket.hear("d0 |");
}

#[test]
fn a_text_frame_ends_the_connection() {
    // [MQTT-6.0.0-1]
    let mut socket = WebSocket::connected();
    socket.send(FINAL | TEXT, &bytes("c0 |"));
    socket.closed();
    let mut socket = WebSocket::open();
    socket.send(FINAL | TEXT, b"hello");
    socket.closed();
}

#[test]
fn frames_that_are_none_end_the_connection() {
    for frame in [
        &[FINAL | BINARY, 2, 0xc0, 0][..],                // not masked
        &[FINAL | 0x40 | BINARY, 0x82, 0, 0, 0, 0, 0, 0], // a reserved bit
        &[FINAL | 3, 0x80, 0, 0, 0, 0],                   // a reserved opcode
        &[FINAL, 0x80, 0, 0, 0, 0],                       // continues nothing
        &[FINAL | BINARY, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], // endless
        &[PING, 0x80, 0, 0, 0, 0],                        // a control frame in fragments
    ] {
        let mut socket = WebSocket::connected();
        socket.0.write_all(frame).unwrap();
        socket.closed();
    }
    // The others live.
    WebSocket::connected().send(FINAL | BINARY, &bytes("c0 |"));
}

#[test]
fn pings_of_the_transport_are_answered_and_are_no_sign_of_life_of_mqtt() {
    let mut socket = WebSocket::open();
    let login = portreeve_tests::Login::new(V5, &unique("websocket")).keep_alive(1).bytes();
    socket.send(FINAL | BINARY, &login);
    socket.bytes(16);
    socket.send(FINAL | PING, b"there?");
    assert_eq!(socket.frame(), Some((FINAL | PONG, b"there?".to_vec())));
    std::thread::sleep(Duration::from_millis(900));
    socket.send(FINAL | PING, b"");
    assert_eq!(socket.frame(), Some((FINAL | PONG, Vec::new())));
    // [MQTT-3.1.2-22]
    socket.hear("e0 | 8d");
    socket.closed();
}

#[test]
fn a_close_frame_is_the_end_and_publishes_the_will() {
    let topic = unique("websocket");
    let mut witness = portreeve_tests::Client::connect(hub(), V5, &unique("witness"));
    witness.subscribe(&topic, 0);
    let mut socket = WebSocket::open();
    let login = portreeve_tests::Login::new(V5, &unique("websocket")).will(0, false, &topic, "gone", "");
    socket.send(FINAL | BINARY, &login.bytes());
    socket.bytes(16);
    socket.send(FINAL | CLOSE, &[0x03, 0xe8]);
    assert_eq!(witness.take().text(), "gone");
    socket.closed();
}

#[test]
fn errors_are_told_as_over_tls() {
    let mut socket = WebSocket::connected();
    socket.send(FINAL | BINARY, &bytes("82 | 0001 ( ) s'a' 03"));
    socket.hear("e0 | 81");
    socket.closed();
    let mut socket = WebSocket::open();
    socket.send(FINAL | BINARY, &bytes("10 | s'MQTT' 63 02 003c ( ) s'new'"));
    socket.hear("20 | 00 84 ( )");
    socket.closed();
}
