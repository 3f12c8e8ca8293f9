//! The record layer of a server's first flight: bytes in, messages or an alert out.

use std::fmt;

use super::flight::Flight;
use crate::wire::{Malformed, Reader};

/// Longest handshake message that is waited for, bytes. A chain of a few certificates has some thousand.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Longest record: what TLS 1.2 allows for encrypted ones (RFC 5246 section 6.2.3).
const RECORD_BYTES_MAX: usize = 16 * 1024 + 2048;
/// Messages of one flight; a server has seven at most.
const MESSAGES_MAX: u32 = 16;

/// An alert, RFC 8446 section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its number.
    pub description: u8,
}

impl Alert {
    /// No version in common.
    pub const PROTOCOL_VERSION: Self = Self { description: 70 };
    /// No suite, group or signature in common.
    pub const HANDSHAKE_FAILURE: Self = Self { description: 40 };
    /// The fallback was not needed (RFC 7507).
    pub const INAPPROPRIATE_FALLBACK: Self = Self { description: 86 };
    /// A message that may not come now.
    pub const UNEXPECTED_MESSAGE: Self = Self { description: 10 };
    /// Not an error: SNI names nobody, and the handshake goes on (RFC 6066 section 3).
    pub const UNRECOGNIZED_NAME: Self = Self { description: 112 };
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.description {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            other => return write!(f, "alert {other}"),
        };
        write!(f, "alert {name}")
    }
}

/// How far a flight has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    More,
    /// The server waits for the client, or goes on encrypted.
    Complete,
    /// The server ended it.
    Refused(Alert),
}

/// Puts a server's flight together from what a stream brings.
#[derive(Debug, Default)]
pub struct FlightReader {
    /// What came and is no whole record yet.
    records: Vec<u8>,
    /// What came and is no whole message yet.
    messages: Vec<u8>,
    count: u32,
    flight: Flight,
}

impl FlightReader {
    /// What was put together so far.
    #[must_use]
    pub fn into_flight(self) -> Flight {
        self.flight
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What about them no TLS server sends.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, Malformed> {
        self.records.extend(bytes);
        loop {
            let mut rest = Reader(&self.records);
            let Some(&[kind, major, _, high, low]) = rest.0.first_chunk() else {
                return check_start(&self.records).map(|()| Progress::More);
            };
            check_start(&[kind, major])?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > RECORD_BYTES_MAX {
                return Err(Malformed("a record of more than 18 KiB"));
            }
            let Ok(record) = rest.take(5 + length) else { return Ok(Progress::More) };
            let body = record[5..].to_vec();
            self.records.drain(..5 + length);
            let progress = self.take_record(kind, &body)?;
            if progress != Progress::More {
                return Ok(progress);
            }
        }
    }

    fn take_record(&mut self, kind: u8, body: &[u8]) -> Result<Progress, Malformed> {
        match kind {
            21 => return take_alert(body),
            22 if !body.is_empty() => self.messages.extend(body),
            // A server of TLS 1.3 may send ChangeCipherSpec for middleboxes; nothing else comes before the flight is complete.
            20 => {}
            _ => return Err(Malformed("a record out of place")),
        }
        self.take_messages()
    }

    fn take_messages(&mut self) -> Result<Progress, Malformed> {
        loop {
            let mut rest = Reader(&self.messages);
            let (Ok(kind), Ok(length)) = (rest.u8(), rest.u24()) else { return Ok(Progress::More) };
            if length > MESSAGE_BYTES_MAX {
                return Err(Malformed("a handshake message of more than 128 KiB"));
            }
            let Ok(body) = rest.take(length) else { return Ok(Progress::More) };
            self.count += 1;
            if self.count > MESSAGES_MAX {
                return Err(Malformed("too many handshake messages"));
            }
            self.flight.take(kind, body)?;
            self.messages.drain(..4 + length);
            if self.flight.is_complete {
                return Ok(Progress::Complete);
            }
        }
    }
}

/// Whether bytes can be the start of a record: handshake, alert or ChangeCipherSpec of SSL 3.0 or TLS.
fn check_start(start: &[u8]) -> Result<(), Malformed> {
    let is_kind = start.first().is_none_or(|kind| matches!(kind, 20..=22));
    let is_version = start.get(1).is_none_or(|major| *major == 3);
    if is_kind && is_version { Ok(()) } else { Err(Malformed("not TLS")) }
}

fn take_alert(body: &[u8]) -> Result<Progress, Malformed> {
    let &[level, description] = body else { return Err(Malformed("an alert of other than two bytes")) };
    let alert = Alert { description };
    match level {
        1 if alert == Alert::UNRECOGNIZED_NAME => Ok(Progress::More),
        1 | 2 => Ok(Progress::Refused(alert)),
        _ => Err(Malformed("an alert of unknown level")),
    }
}
