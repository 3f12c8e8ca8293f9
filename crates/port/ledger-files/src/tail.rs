//! Records of a tail: the entries of one append, in one piece.
//!
//! A record is the length of its entries (4 bytes), the number of the first (8), a hash over number and entries (32), and the
//! entries as in a bundle; numbers have their highest byte first.

use aws_lc_rs::digest::{Context, SHA256};
use portreeve_ledger::{BundleError, entries, push_entry};

use crate::UNSEALED_ENTRIES_MAX;

const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = 4 + 8 + HASH_BYTES;

/// Entries that were appended together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The number of the first.
    pub(crate) first: u64,
    pub(crate) entries: Vec<&'a [u8]>,
}

/// What a tail holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail<'a> {
    pub(crate) records: Vec<Record<'a>>,
    /// Bytes of whole records; what is behind them was never acknowledged.
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
pub(crate) fn encode(first: u64, entries: &[&[u8]]) -> Result<Vec<u8>, BundleError> {
    let mut bundle = Vec::new();
    entries.iter().try_for_each(|entry| push_entry(&mut bundle, entry))?;
    let length = u32::try_from(bundle.len()).map_err(|_| BundleError::TooLong)?;
    let mut record = length.to_be_bytes().to_vec();
    record.extend(first.to_be_bytes());
    record.extend(hash(first, &bundle));
    record.extend(bundle);
    Ok(record)
}

fn hash(first: u64, bundle: &[u8]) -> [u8; HASH_BYTES] {
    let mut context = Context::new(&SHA256);
    context.update(&first.to_be_bytes());
    context.update(bundle);
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Reads a tail up to where a power cut may have left it. Each record was written when the one before it was durable: so one
/// that is bad, or seems not to be all there, and has a good one somewhere behind it, was whole once.
///
/// # Errors
/// [`Damaged`].
pub(crate) fn read(bytes: &[u8]) -> Result<Tail<'_>, Damaged> {
    let mut tail = Tail { records: Vec::new(), whole_bytes: 0 };
    loop {
        let rest = &bytes[tail.whole_bytes..];
        let Some((record, length)) = split(rest) else { break };
        tail.records.push(record);
        tail.whole_bytes += length;
    }
    let behind = tail.whole_bytes + 1..bytes.len();
    let next = tail.records.last().map_or(0, |record| record.first.saturating_add(record.entries.len() as u64));
    if behind.into_iter().any(|at| may_begin(&bytes[at..], next) && split(&bytes[at..]).is_some()) {
        return Err(Damaged { at: tail.whole_bytes });
    }
    Ok(tail)
}

/// Whether a record that follows entry `next` may begin here, without hashing it.
fn may_begin(bytes: &[u8], next: u64) -> bool {
    let first = bytes.get(4..12).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    first.is_some_and(|first| first >= next && first - next <= UNSEALED_ENTRIES_MAX)
}

/// The first record and its bytes, if it is good and all there.
fn split(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (expected, rest) = rest.split_first_chunk::<HASH_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (bundle, first) = (rest.get(..length)?, u64::from_be_bytes(*first));
    if hash(first, bundle) != *expected {
        return None;
    }
    Some((Record { first, entries: entries(bundle).ok()? }, HEAD_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        [encode(7, &[b"one", b""]).unwrap(), encode(9, &[b"three"]).unwrap()].concat()
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let bytes = two();
        let tail = read(&bytes).unwrap();
        let records = [Record { first: 7, entries: vec![b"one", b""] }, Record { first: 9, entries: vec![b"three"] }];
        assert_eq!((tail.records.as_slice(), tail.whole_bytes), (&records[..], bytes.len()));
        assert_eq!(read(&[]).unwrap().whole_bytes, 0);
    }

    /// Wherever it is cut, what is whole is read; whatever is flipped in a record that has another behind it is told.
    #[test]
    fn a_torn_end_is_no_damage_and_damage_is_no_torn_end() {
        let bytes = two();
        let first = encode(7, &[b"one", b""]).unwrap().len();
        for cut in 0..bytes.len() {
            let tail = read(&bytes[..cut]).unwrap();
            assert_eq!((tail.records.len(), tail.whole_bytes), (cut / first, cut / first * first));
        }
        for at in 0..first {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(read(&flipped), Err(Damaged { at: 0 }), "byte {at}");
        }
    }
}
