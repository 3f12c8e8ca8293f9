use portreeve_assurance::evidence::printable;

use super::door::{Answered, basic_value};
use crate::{
    dial::{Dialer, Gap, Received},
    wire::Malformed,
};

/// Longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What an RTSP server says (RFC 2326 section 7, RFC 7826 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtsp {
    /// The status.
    pub status: u16,
    /// Whether it asks for Basic.
    pub is_basic_asked: bool,
}

/// The head of an answer; nothing, if it has not come yet.
///
/// # Errors
/// [`Malformed`], if it is none, or too long.
pub fn answer(bytes: &[u8]) -> Result<Option<Rtsp>, Malformed> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Malformed("a head that does not end")) } else { Ok(None) };
    };
    let (head, _) = bytes.split_at(end);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("RTSP/")).and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|digits| digits.parse().ok()).filter(|status| (100..600).contains(status));
    let is_basic_asked = lines.any(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("www-authenticate:").is_some_and(|value| value.trim_start().starts_with("basic"))
    });
    Ok(Some(Rtsp { status: status.ok_or(Malformed("not RTSP"))?, is_basic_asked }))
}

/// Asks for the description of a stream, which is what one may not have without a credential.
pub(super) async fn knock(dialer: &Dialer, path: &str, user: &str, secret: &str) -> Result<Answered, Gap> {
    let mut connection = dialer.open().await?;
    let request = format!(
        "DESCRIBE rtsp://{}{path} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: {}\r\nAccept: application/sdp\r\n\r\n",
        dialer.address(),
        basic_value(user, secret)
    );
    connection.send(request.as_bytes()).await?;
    let mut arrived = Vec::new();
    loop {
        if let Some(Rtsp { status, is_basic_asked }) = answer(&arrived)? {
            return match status {
                200 => Ok(Answered::let_in()),
                401 if is_basic_asked => Ok(Answered::refused("RTSP 401")),
                // Digest needs MD5, which nothing else here does.
                401 => Err(Gap::Odd("it asks for something other than Basic".into())),
                403 => Ok(Answered::refused("RTSP 403")),
                status => Err(Gap::Odd(format!("RTSP {status}"))),
            };
        }
        match connection.receive().await? {
            Received::Bytes(bytes) => arrived.extend(bytes),
            Received::End if arrived.is_empty() => return Err(Gap::Odd("it closed the connection".into())),
            Received::End => return Err(Gap::Odd(format!("it stopped after {}", printable(&arrived)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let whole = b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=\"cam\"\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(answer(&whole[..length]), Ok(None), "{length}");
        }
        assert_eq!(answer(whole), Ok(Some(Rtsp { status: 401, is_basic_asked: true })));
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"\r\n\r\n",
            b"RTSP/1.0 99999 x\r\n\r\n",
            b"RTSP/1.0\r\n\r\n",
            &[b'x'; 9000],
        ] {
            assert!(answer(bytes).is_err(), "{}", printable(bytes));
        }
    }
}
