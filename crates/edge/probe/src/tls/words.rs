//! What a server says behind its first flight, record by record.

use std::time::Duration;

use super::records::Alert;
use crate::{
    dial::{Connection, Gap, Received},
    wire::Reader,
};

/// Kinds of records that a description names, the same in a row being one.
const RECORDS_NAMED_MAX: usize = 4;

/// What came until the server ended the connection, or said nothing for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Whether the server has ended the connection; else it fell silent.
    pub is_ended: bool,
}

/// Listens until the end, or until nothing comes for `silence`.
pub(crate) async fn listen(connection: &mut Connection<'_>, silence: Duration) -> Result<Words, Gap> {
    let mut words = Words::default();
    loop {
        match tokio::time::timeout(silence, connection.receive()).await {
            Err(_) => return Ok(words),
            Ok(Ok(Received::Bytes(bytes))) => words.bytes.extend(bytes),
            Ok(Ok(Received::End)) => return Ok(Words { is_ended: true, ..words }),
            Ok(Err(gap)) => return Err(gap),
        }
    }
}

impl Words {
    /// Whole records: type and body.
    pub fn records(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = Reader(&self.bytes);
        std::iter::from_fn(move || {
            let kind = rest.u8().ok()?;
            rest.u16().ok()?;
            Some((kind, rest.field16().ok()?))
        })
    }

    /// One line, of our words only.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut said: Vec<String> = self.records().map(describe).collect();
        said.dedup();
        said.truncate(RECORDS_NAMED_MAX);
        if said.is_empty() && !self.bytes.is_empty() {
            said.push("something other than TLS".into());
        }
        said.push(if self.is_ended { "closed the connection" } else { "silence" }.into());
        said.join(", ")
    }
}

fn describe((kind, body): (u8, &[u8])) -> String {
    match (kind, body) {
        (21, &[_, description]) => Alert { description }.to_string(),
        (21, _) => "an encrypted alert".into(),
        (20, _) => "ChangeCipherSpec".into(),
        (22, _) => "a handshake record".into(),
        (23, _) => "application data".into(),
        (24, _) => "a heartbeat".into(),
        _ => "an unknown record".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_is_one_line() {
        let say = |bytes: &[u8], is_ended| Words { bytes: bytes.to_vec(), is_ended }.describe();
        assert_eq!(say(b"", false), "silence");
        assert_eq!(say(b"", true), "closed the connection");
        let alert = b"\x15\x03\x03\x00\x02\x02\x14";
        assert_eq!(say(alert, true), "alert bad_record_mac, closed the connection");
        for length in 1..alert.len() {
            assert_eq!(say(&alert[..length], true), "something other than TLS, closed the connection");
        }
        assert_eq!(say(&alert.repeat(1000), false), "alert bad_record_mac, silence");
        let mixed = [&alert[..], b"\x17\x03\x03\x00\x00"].concat().repeat(1000);
        assert_eq!(say(&mixed, false).split(", ").count(), RECORDS_NAMED_MAX + 1);
        assert_eq!(say(b"\x18\x03\x03\x00\x00\x15\x03\x03\xff\xff", false), "a heartbeat, silence");
    }
}
