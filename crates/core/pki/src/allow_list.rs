//! Zero-touch enrolment by a list: the maker of devices says which serial number has which key, and signs that.

use std::collections::{HashMap, HashSet};

use portreeve_types::{KeyHash, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    DocumentRefusal, PkiError, SignWith, SubjectPublicKey,
    bundle::pin,
    document::{DocumentKind, Span, open, seal},
};

/// Longest allow-list, as it is sent.
pub const ALLOW_LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many devices one list may name; a batch has fewer, and there may be many lists.
pub const ALLOW_LIST_DEVICES_MAX: usize = 15_000;
/// Longest serial number.
pub const SERIAL_CHARS_MAX: usize = 64;

/// How far the clock of the list's maker may be ahead.
const SKEW_MS: u64 = 60 * 60 * 1000;

const KIND: DocumentKind = DocumentKind { name: "portreeve-allow-list", bytes_max: ALLOW_LIST_BYTES_MAX };

/// One device that may enrol: it shows that it holds the key, and nothing else is needed. The key is its own, so no
/// claim is shared by a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    serial: String,
    key_sha256: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    version: u64,
    issued_s: u64,
    expires_s: u64,
    devices: Vec<Entry>,
}

/// A list whose signature, form and time are in order. It travels as a JWS (RFC 7515), ES256 or ES384.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    /// Rises with every edition of the list, so that an old one cannot be put back.
    pub version: u64,
    /// When it was made.
    pub issued: UnixMillis,
    /// Until when it admits anybody.
    pub expires: UnixMillis,
    devices: HashMap<String, KeyHash>,
}

/// Why a device was not admitted by a list. For the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefusal {
    /// The list's time is over.
    #[error("the allow-list has expired")]
    Expired,
    /// No such serial number.
    #[error("the serial number is not on the allow-list")]
    UnknownSerial,
    /// The serial number is there, with another key.
    #[error("the allow-list has another key for this serial number")]
    OtherKey,
}

/// Devices of a batch as their maker writes them down: a line each with serial number, comma and the SHA-256 of the public key in
/// hexadecimal. Empty lines and those that begin with `#` are passed over.
///
/// # Errors
/// The first line that is none of these, by its number; more than [`ALLOW_LIST_DEVICES_MAX`] devices.
pub fn allow_list_devices(text: &str) -> Result<Vec<(String, KeyHash)>, String> {
    let mut devices = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || format!("line {number}: serial number, comma, and 64 hexadecimal digits are expected");
        let (serial, hash) = line.split_once(',').ok_or_else(wrong)?;
        let mut key = [0; 32];
        hex::decode_to_slice(hash.trim(), &mut key).map_err(|_| wrong())?;
        devices.push((serial.trim().to_owned(), KeyHash(key)));
        if devices.len() > ALLOW_LIST_DEVICES_MAX {
            return Err(format!("more than {ALLOW_LIST_DEVICES_MAX} devices; make several groups"));
        }
    }
    Ok(devices)
}

impl AllowList {
    /// A list of these devices: serial number and hash of the public key.
    ///
    /// # Errors
    /// [`PkiError::BadDocument`] for too many or none, a serial number that is none, and anything that is there twice.
    pub fn new(
        version: u64,
        issued: UnixMillis,
        expires: UnixMillis,
        devices: impl IntoIterator<Item = (String, KeyHash)>,
    ) -> Result<Self, PkiError> {
        let devices = index(devices).map_err(PkiError::BadDocument)?;
        let span = Span::from_seconds(issued.seconds(), expires.seconds());
        let Span { issued, expires } = span.ok_or(PkiError::BadDocument("it ends before it begins"))?;
        Ok(Self { version, issued, expires, devices })
    }

    /// Signs it, as the maker of the devices does.
    ///
    /// # Errors
    /// What signing fails with.
    pub fn seal(&self, key: SignWith<'_>) -> Result<String, PkiError> {
        let entry = |(serial, key): (&String, &KeyHash)| Entry { serial: serial.clone(), key_sha256: key.to_string() };
        let mut devices: Vec<Entry> = self.devices.iter().map(entry).collect();
        devices.sort_by(|one, other| one.serial.cmp(&other.serial));
        let (issued_s, expires_s) = (self.issued.seconds(), self.expires.seconds());
        seal(&KIND, &Content { format: 1, version: self.version, issued_s, expires_s, devices }, key)
    }

    /// Reads a list that one of the group's keys has signed. Of a list that is known already, `known` is the version.
    ///
    /// # Errors
    /// The precise reason; the whole list or nothing is accepted.
    pub fn open(
        document: &[u8],
        signers: &[SubjectPublicKey],
        known: Option<u64>,
        now: UnixMillis,
    ) -> Result<Self, DocumentRefusal> {
        let list = Self::reopen(document, signers)?;
        Span { issued: list.issued, expires: list.expires }.check(Some(now), SKEW_MS)?;
        match known.filter(|&have| list.version <= have) {
            Some(have) => Err(DocumentRefusal::NotNewer { have, got: list.version }),
            None => Ok(list),
        }
    }

    /// Reads a list that was taken before, whatever the time is now: one that is over admits nobody ([`Self::admit`]), and its
    /// version still counts.
    ///
    /// # Errors
    /// As [`Self::open`], but for time and version.
    pub fn reopen(document: &[u8], signers: &[SubjectPublicKey]) -> Result<Self, DocumentRefusal> {
        let content: Content = open(&KIND, document, signers)?;
        let bad = |reason: &str| DocumentRefusal::Content(reason.to_owned());
        if content.format != 1 {
            return Err(bad("an unknown format"));
        }
        let span = Span::from_seconds(content.issued_s, content.expires_s).ok_or(bad("it ends before it begins"))?;
        if content.devices.len() > ALLOW_LIST_DEVICES_MAX {
            return Err(bad(COUNT));
        }
        let entries = content.devices.into_iter().map(|entry| Some((entry.serial, pin(&entry.key_sha256)?)));
        let entries: Option<Vec<_>> = entries.collect();
        let devices = index(entries.ok_or(bad("a key's hash is not 64 small hexadecimal digits"))?).map_err(bad)?;
        Ok(Self { version: content.version, issued: span.issued, expires: span.expires, devices })
    }

    /// How many devices it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Never: a list names at least one device.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Whether the device of this serial number, which has shown to hold this key, may enrol.
    ///
    /// # Errors
    /// The precise reason.
    pub fn admit(&self, serial: &str, key: &KeyHash, now: UnixMillis) -> Result<(), AdmissionRefusal> {
        if now >= self.expires {
            return Err(AdmissionRefusal::Expired);
        }
        match self.devices.get(serial) {
            None => Err(AdmissionRefusal::UnknownSerial),
            Some(listed) if listed != key => Err(AdmissionRefusal::OtherKey),
            Some(_) => Ok(()),
        }
    }
}

const COUNT: &str = "between 1 and 15,000 devices are needed";

fn index(devices: impl IntoIterator<Item = (String, KeyHash)>) -> Result<HashMap<String, KeyHash>, &'static str> {
    let (mut index, mut keys) = (HashMap::new(), HashSet::new());
    for (serial, key) in devices {
        if serial.is_empty() || serial.len() > SERIAL_CHARS_MAX || !serial.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a serial number is not 1 to 64 visible ASCII characters");
        }
        if !keys.insert(key) {
            return Err("two devices have the same key");
        }
        if index.insert(serial, key).is_some() {
            return Err("a serial number is there twice");
        }
    }
    if index.is_empty() || index.len() > ALLOW_LIST_DEVICES_MAX {
        return Err(COUNT);
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_batch_are_read_and_wrong_ones_are_named() {
        let hash = "ab".repeat(32);
        let text = format!("# batch 7\n\nSN-1,{hash}\n SN-2 , {}\n", "AB".repeat(32));
        let read = allow_list_devices(&text).unwrap();
        assert_eq!(read, [("SN-1".to_owned(), KeyHash([0xab; 32])), ("SN-2".to_owned(), KeyHash([0xab; 32]))]);
        for wrong in ["SN-1", "SN-1,", "SN-1,ab", &format!("SN-1;{hash}"), &format!("SN-1,{hash}00")] {
            let text = format!("# one\n{wrong}\n");
            assert!(allow_list_devices(&text).unwrap_err().starts_with("line 2"), "{wrong}");
        }
        let line = format!("SN,{hash}\n");
        assert_eq!(
            allow_list_devices(&line.repeat(ALLOW_LIST_DEVICES_MAX)).map(|list| list.len()),
            Ok(ALLOW_LIST_DEVICES_MAX)
        );
        assert!(allow_list_devices(&line.repeat(ALLOW_LIST_DEVICES_MAX + 1)).is_err());
    }
}
