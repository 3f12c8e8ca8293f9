//! CoAP messages (RFC 7252): requests, and what a response says.

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use portreeve_assurance::evidence::{
    coap::{CoapMethod, LINKS_MAX},
    printable,
};

use crate::wire::Malformed;

/// Longest path of a request, bytes (RFC 7252 section 5.10.1: each part has at most 255).
pub const PATH_BYTES_MAX: usize = 1024;
/// What is written to resources.
const PAYLOAD: &[u8] = b"portreeve-probe";

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Class and detail, such as 205; 0 for a reset.
    pub code: u16,
    /// Whether it has Observe (RFC 7641 section 2).
    pub is_observing: bool,
    /// Its payload, as far as one message has it.
    pub payload: Vec<u8>,
}

impl Response {
    /// The code as people write it.
    #[must_use]
    pub fn dotted(&self) -> String {
        format!("{}.{:02}", self.code / 100, self.code % 100)
    }
}

/// What a datagram means for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The response; and the message that acknowledges it, if it wants one (RFC 7252 section 5.2.2).
    Response(Response, Option<Vec<u8>>),
    /// The request has arrived, and the response comes separately.
    Acknowledged,
    /// It belongs to something else.
    Other,
}

/// A confirmable request.
#[derive(Clone, Debug)]
pub struct Request {
    message_id: u16,
    token: [u8; 4],
    bytes: Vec<u8>,
}

impl Request {
    /// Makes one; nothing, if the path is too long.
    #[must_use]
    pub fn new(method: CoapMethod, path: &str, message_id: u16, token: [u8; 4]) -> Option<Self> {
        Self::with(method, path, message_id, token, MessageType::Confirmable)
    }

    /// One for a group, which nobody acknowledges (RFC 7252 section 8.1).
    #[must_use]
    pub fn for_group(path: &str, message_id: u16, token: [u8; 4]) -> Option<Self> {
        Self::with(CoapMethod::Get, path, message_id, token, MessageType::NonConfirmable)
    }

    fn with(method: CoapMethod, path: &str, message_id: u16, token: [u8; 4], kind: MessageType) -> Option<Self> {
        if path.len() > PATH_BYTES_MAX || path.split('/').any(|part| part.len() > 255) {
            return None;
        }
        let mut packet = Packet::new();
        packet.header.set_type(kind);
        packet.header.message_id = message_id;
        packet.set_token(token.to_vec());
        packet.header.code = MessageClass::Request(match method {
            CoapMethod::Get | CoapMethod::Observe => RequestType::Get,
            CoapMethod::Put => RequestType::Put,
            CoapMethod::Post => RequestType::Post,
            CoapMethod::Delete => RequestType::Delete,
        });
        for part in path.split('/').filter(|part| !part.is_empty()) {
            packet.add_option(CoapOption::UriPath, part.as_bytes().to_vec());
        }
        if method == CoapMethod::Observe {
            packet.set_observe_value(0);
        }
        if matches!(method, CoapMethod::Put | CoapMethod::Post) {
            packet.payload = PAYLOAD.to_vec();
        }
        Some(Self { message_id, token, bytes: packet.to_bytes().ok()? })
    }

    /// On the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a datagram means for it.
    ///
    /// # Errors
    /// [`Malformed`], if it is no CoAP.
    pub fn reply(&self, datagram: &[u8]) -> Result<Reply, Malformed> {
        const NO_COAP: Malformed = Malformed("not CoAP");
        let packet = Packet::from_bytes(datagram).map_err(|_| NO_COAP)?;
        if packet.header.get_version() != 1 {
            return Err(NO_COAP);
        }
        let (kind, is_mine) = (packet.header.get_type(), packet.header.message_id == self.message_id);
        let code = u8::from(packet.header.code);
        match kind {
            MessageType::Acknowledgement if is_mine && code == 0 => return Ok(Reply::Acknowledged),
            MessageType::Reset if is_mine => {
                let reset = Response { code: 0, is_observing: false, payload: Vec::new() };
                return Ok(Reply::Response(reset, None));
            }
            _ if code >> 5 < 2 || packet.get_token() != self.token => return Ok(Reply::Other),
            _ => {}
        }
        let acknowledgement = (kind == MessageType::Confirmable).then(|| {
            let [high, low] = packet.header.message_id.to_be_bytes();
            vec![0x60, 0, high, low]
        });
        let response = Response {
            code: u16::from(code >> 5) * 100 + u16::from(code & 0x1f),
            is_observing: packet.get_option(CoapOption::Observe).is_some(),
            payload: packet.payload,
        };
        Ok(Reply::Response(response, acknowledgement))
    }
}

/// The paths in a list of links (RFC 6690 section 2): what stands between angle brackets, outside quotes. A list that ends early,
/// as that of the first block does, gives those before its end.
#[must_use]
pub fn links(list: &[u8]) -> Vec<String> {
    let (mut links, mut link, mut is_quoted) = (Vec::new(), None::<Vec<u8>>, false);
    for byte in list {
        match (byte, &mut link) {
            (b'"', None) => is_quoted = !is_quoted,
            (b'<', None) if !is_quoted => link = Some(Vec::new()),
            (b'>', Some(path)) => {
                links.push(printable(path));
                link = None;
            }
            (_, Some(path)) => path.push(*byte),
            _ => {}
        }
        if links.len() == LINKS_MAX {
            break;
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"\x64\x45\x00\x07tokn\xc1\x28\xff</time>;title=\"a, <b>\",</>";

    #[test]
    fn answers_are_told_from_other_messages_at_every_length() {
        let Some(request) = Request::new(CoapMethod::Get, "/a//b", 7, *b"tokn") else { panic!() };
        assert_eq!(request.bytes(), b"\x44\x01\x00\x07tokn\xb1a\x01b");
        let Ok(Reply::Response(response, None)) = request.reply(ANSWER) else { panic!() };
        assert_eq!((response.dotted().as_str(), links(&response.payload)), ("2.05", vec!["/time".into(), "/".into()]));
        for length in 0..ANSWER.len() {
            // Cut inside its head it is no CoAP; behind it, the same with less.
            let reply = request.reply(&ANSWER[..length]);
            assert_eq!(reply.is_err(), length < 8 || length == 9, "{length}: {reply:?}");
        }
        assert_eq!(request.reply(b"\x60\x00\x00\x07"), Ok(Reply::Acknowledged));
        assert_eq!(request.reply(b"\x64\x45\x00\x07tokm"), Ok(Reply::Other));
        let Ok(Reply::Response(_, Some(acknowledgement))) = request.reply(b"\x44\x45\x12\x34tokn") else { panic!() };
        assert_eq!(acknowledgement, [0x60, 0, 0x12, 0x34]);
        assert!(Request::new(CoapMethod::Get, &"a".repeat(256), 7, *b"tokn").is_none());
    }

    #[test]
    fn lists_of_links_are_bounded() {
        assert_eq!(links(&b"<a>,".repeat(1000)).len(), LINKS_MAX);
        assert_eq!(links(b"<\x1b>;\"<no>\""), ["\\x1b"]);
        assert_eq!(links(&[b'<'; 5000]), [""; 0]);
    }
}
