//! A tail: a random key, and records, each the entries of one append, in one piece.
//!
//! The key is the tail's own, and durable before the first record: 32 bytes and their SHA-256. A record is a tag under that key of
//! what follows up to the entries (16 bytes), the length of the entries (4), the number of the first (8), the SHA-256 of the entries
//! (32), and the entries as in a bundle; numbers have their highest byte first. Nobody who writes entries knows the key, so
//! nothing in an entry passes for a record.

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use portreeve_ledger::{BundleError, entries, push_entry};

use crate::UNSEALED_ENTRIES_MAX;

const KEY_BYTES: usize = 32;
/// Of the key and its hash.
pub(crate) const HEADER_BYTES: usize = 2 * KEY_BYTES;
const TAG_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Of what the tag is of.
const FACTS_BYTES: usize = 4 + 8 + HASH_BYTES;
const HEAD_BYTES: usize = TAG_BYTES + FACTS_BYTES;

/// The key of a tail.
#[derive(Clone)]
pub(crate) struct Key {
    header: [u8; HEADER_BYTES],
    hmac: hmac::Key,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    pub(crate) fn new(secret: &[u8; KEY_BYTES]) -> Self {
        let mut header = [0; HEADER_BYTES];
        header[..KEY_BYTES].copy_from_slice(secret);
        header[KEY_BYTES..].copy_from_slice(digest(&SHA256, secret).as_ref());
        Self { header, hmac: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// One that nobody knows; nothing if there is no entropy.
    pub(crate) fn random() -> Option<Self> {
        let mut secret = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Some(Self::new(&secret))
    }

    /// What a tail begins with.
    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    fn read(tail: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = tail.first_chunk()?;
        let key = Self::new(header.first_chunk()?);
        (key.header == *header).then_some(key)
    }

    fn tag(&self, facts: &[u8]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hmac::sign(&self.hmac, facts).as_ref()[..TAG_BYTES]);
        tag
    }
}

/// Entries that were appended together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The number of the first.
    pub(crate) first: u64,
    pub(crate) entries: Vec<&'a [u8]>,
}

/// What a tail holds.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    pub(crate) key: Key,
    pub(crate) records: Vec<Record<'a>>,
    /// Bytes of the key and whole records; what is behind them was never acknowledged.
    pub(crate) whole_bytes: usize,
}

/// Why a tail cannot be read: something that was acknowledged is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record at byte {at} is damaged")]
pub(crate) struct Damaged {
    pub(crate) at: usize,
}

/// # Errors
/// An entry is too long.
pub(crate) fn encode(key: &Key, first: u64, entries: &[&[u8]]) -> Result<Vec<u8>, BundleError> {
    let mut bundle = Vec::new();
    entries.iter().try_for_each(|entry| push_entry(&mut bundle, entry))?;
    let length = u32::try_from(bundle.len()).map_err(|_| BundleError::TooLong)?;
    let mut facts = length.to_be_bytes().to_vec();
    facts.extend(first.to_be_bytes());
    facts.extend(digest(&SHA256, &bundle).as_ref());
    let mut record = key.tag(&facts).to_vec();
    record.extend(facts);
    record.extend(bundle);
    Ok(record)
}

/// Reads a tail up to where a power cut may have left it. Each record was written when the one before it was durable: so one
/// that is bad, or seems not to be all there, and has another begin somewhere behind it, was whole once.
///
/// # Errors
/// [`Damaged`].
pub(crate) fn read(bytes: &[u8]) -> Result<Tail<'_>, Damaged> {
    let key = Key::read(bytes).ok_or(Damaged { at: 0 })?;
    let (mut records, mut whole_bytes) = (Vec::new(), HEADER_BYTES);
    while let Some((record, length)) = split(&key, &bytes[whole_bytes..]) {
        records.push(record);
        whole_bytes += length;
    }
    let next = records.last().map_or(0, |record| record.first.saturating_add(record.entries.len() as u64));
    if (whole_bytes + 1..bytes.len()).any(|at| may_begin(&bytes[at..], next) && head(&key, &bytes[at..]).is_some()) {
        return Err(Damaged { at: whole_bytes });
    }
    Ok(Tail { key, records, whole_bytes })
}

/// Whether a record that follows entry `next` may begin here, by its number alone.
fn may_begin(bytes: &[u8], next: u64) -> bool {
    const NUMBER: usize = TAG_BYTES + 4;
    let first = bytes.get(NUMBER..NUMBER + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    first.is_some_and(|first| first >= next && first - next <= UNSEALED_ENTRIES_MAX)
}

/// The number of the first entry of a record that begins here, and the length and hash of the entries.
fn head<'a>(key: &Key, bytes: &'a [u8]) -> Option<(u64, usize, &'a [u8; HASH_BYTES])> {
    let (tag, rest) = bytes.split_first_chunk::<TAG_BYTES>()?;
    let facts: &[u8; FACTS_BYTES] = rest.first_chunk()?;
    if key.tag(facts) != *tag {
        return None;
    }
    let (length, rest) = facts.split_first_chunk()?;
    let (first, hash) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    Some((u64::from_be_bytes(*first), length, hash.first_chunk()?))
}

/// The first record and its bytes, if it is good and all there.
fn split<'a>(key: &Key, bytes: &'a [u8]) -> Option<(Record<'a>, usize)> {
    let (first, length, hash) = head(key, bytes)?;
    let bundle = bytes[HEAD_BYTES..].get(..length)?;
    if digest(&SHA256, bundle).as_ref() != hash {
        return None;
    }
    Some((Record { first, entries: entries(bundle).ok()? }, HEAD_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new(&[5; 32])
    }

    fn first() -> Vec<u8> {
        [key().header(), &encode(&key(), 7, &[b"one", b""]).unwrap()].concat()
    }

    fn two() -> Vec<u8> {
        [first(), encode(&key(), 9, &[b"three"]).unwrap()].concat()
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let bytes = two();
        let tail = read(&bytes).unwrap();
        let records = [Record { first: 7, entries: vec![b"one", b""] }, Record { first: 9, entries: vec![b"three"] }];
        assert_eq!((tail.records.as_slice(), tail.whole_bytes), (&records[..], bytes.len()));
        assert_eq!(read(key().header()).unwrap().whole_bytes, HEADER_BYTES);
    }

    /// Wherever it is cut, what is whole is read; whatever is flipped in a record that has another behind it is told, and so is
    /// what is flipped in the key, without which nothing could be read.
    #[test]
    fn a_torn_end_is_no_damage_and_damage_is_no_torn_end() {
        let (bytes, first) = (two(), first().len());
        for cut in HEADER_BYTES..bytes.len() {
            let tail = read(&bytes[..cut]).unwrap();
            let whole = if cut < first { HEADER_BYTES } else { first };
            assert_eq!((tail.records.len(), tail.whole_bytes), (cut / first, whole));
        }
        for at in 0..first {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            let damaged_at = if at < HEADER_BYTES { 0 } else { HEADER_BYTES };
            assert_eq!(read(&flipped).map(drop), Err(Damaged { at: damaged_at }), "byte {at}");
        }
        assert!(
            read(&bytes[..HEADER_BYTES - 1]).is_err() && read(&[]).is_err(),
            "the key was durable before any record"
        );
    }

    /// Who chooses what an entry says, and where the power fails, makes no damage of it: he does not know the key.
    #[test]
    fn an_entry_that_looks_like_a_record_is_none() {
        let forged = encode(&Key::new(&[6; 32]), 10, &[b"forged"]).unwrap();
        let torn = encode(&key(), 9, &[&forged, b"x"]).unwrap();
        let bytes = [&first()[..], &torn[..torn.len() - 1]].concat();
        let tail = read(&bytes).unwrap();
        assert_eq!((tail.records.len(), tail.whole_bytes), (1, first().len()));
    }

    /// Nor does he make the search long: each place costs as much as any other, whatever length it claims.
    #[test]
    fn many_numbers_that_may_begin_a_record_are_looked_at_in_one_pass() {
        // Half a megabyte of entries from number 9 on, over and over.
        let numbers = [&500_000_u32.to_be_bytes()[..], &9_u64.to_be_bytes()].concat().repeat(5000);
        let torn = encode(&key(), 9, &[&numbers[..]; 16]).unwrap();
        let bytes = [&first()[..], &torn[..torn.len() - 1]].concat();
        assert_eq!(read(&bytes).unwrap().records.len(), 1);
    }
}
