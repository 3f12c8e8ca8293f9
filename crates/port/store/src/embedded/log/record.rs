//! One commit as it stands in a log, and the blocks at the head of the file.
//!
//! A record starts on a block of its own and fills it up with zeros, so that no later write touches a block that holds
//! something acknowledged. All its tags are keyed with the random key of the file's generation: neither what an earlier
//! generation left in the file nor what a peer puts into a message can pass for a record.
//!
//! ```text
//!  0 tag of everything below, 16 bytes     24 length of the operations     40 number of operations, 4 bytes
//! 16 tag of the header below, 8 bytes      32 sequence in the generation   44 1 if the last of its generation, else 0
//! 48 the operations
//! ```

use siphasher::sip128::SipHasher13;
use uuid::Uuid;

use crate::{
    codec::{BadRow, Encode, read_ops},
    rows::SessionOp,
};

/// Records start on multiples of this: what file systems and disks write at once.
pub(super) const BLOCK_BYTES: usize = 4096;
pub(super) const HEADER_BYTES: usize = 48;
/// A buffer that grew beyond this for one large commit is given back after it.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// One filling of a log file. Generations alternate between the files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) key: [u8; 16],
}

impl Generation {
    /// A generation whose key nobody could know when what is in the file now was written.
    pub(super) fn new(number: u64) -> Self {
        Self { number, key: Uuid::new_v4().into_bytes() }
    }

    fn tag(&self, bytes: &[u8]) -> [u8; 16] {
        SipHasher13::new_with_key(&self.key).hash(bytes).as_bytes()
    }
}

/// What a record says of itself.
#[derive(Clone, Copy)]
pub(super) struct Header {
    body_bytes: u64,
    pub(super) sequence: u64,
    pub(super) ops: u32,
    pub(super) last: bool,
}

impl Header {
    fn write(&self, out: &mut [u8]) {
        out[24..32].copy_from_slice(&self.body_bytes.to_be_bytes());
        out[32..40].copy_from_slice(&self.sequence.to_be_bytes());
        out[40..44].copy_from_slice(&self.ops.to_be_bytes());
        out[44..48].copy_from_slice(&u32::from(self.last).to_be_bytes());
    }

    /// `None` if it was not written in this generation, or not whole.
    pub(super) fn read(bytes: &[u8; HEADER_BYTES], generation: &Generation) -> Option<Self> {
        let last = match number32(&bytes[44..]) {
            0 => false,
            1 => true,
            _ => return None,
        };
        let whole = generation.tag(&bytes[24..HEADER_BYTES])[..8] == bytes[16..24];
        whole.then(|| Self {
            body_bytes: number(&bytes[24..]),
            sequence: number(&bytes[32..]),
            ops: number32(&bytes[40..]),
            last,
        })
    }

    /// Length of the whole record; `None` if it is beyond all bounds.
    pub(super) fn record_bytes(&self) -> Option<u64> {
        self.body_bytes.checked_add(HEADER_BYTES as u64)?.checked_next_multiple_of(BLOCK_BYTES as u64)
    }

    /// Whether these bytes, as long as [`Self::record_bytes`], are the record that was written.
    pub(super) fn vouches_for(&self, record: &[u8], generation: &Generation) -> bool {
        let Some((covered, padding)) = self.end().and_then(|end| record.split_at_checked(end)) else { return false };
        padding.iter().all(|&byte| byte == 0) && generation.tag(&covered[16..]) == covered[..16]
    }

    /// Reads the operations of a record that [`Self::vouches_for`].
    pub(super) fn read_ops(&self, record: &[u8], ops: &mut Vec<SessionOp>) -> Result<(), BadRow> {
        read_ops(self.end().and_then(|end| record.get(HEADER_BYTES..end)).unwrap_or_default(), self.ops, ops)
    }

    fn end(&self) -> Option<usize> {
        usize::try_from(self.body_bytes).ok()?.checked_add(HEADER_BYTES)
    }
}

/// The record being written; one buffer for all.
#[derive(Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    body_bytes: u64,
    ops: u32,
}

impl Record {
    /// Takes the operations of a commit.
    pub(super) fn fill(&mut self, ops: &[SessionOp]) {
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_BYTES_KEPT);
        self.bytes.resize(HEADER_BYTES, 0);
        ops.iter().for_each(|op| op.write(&mut self.bytes));
        self.body_bytes = (self.bytes.len() - HEADER_BYTES) as u64;
        // Four billion operations do not fit into memory; if they did, the count would not match at reading.
        self.ops = u32::try_from(ops.len()).unwrap_or(u32::MAX);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn ops(&self) -> u32 {
        self.ops
    }

    /// The whole record for its place in the log.
    pub(super) fn finish(&mut self, generation: &Generation, sequence: u64, last: bool) -> &[u8] {
        let header = Header { body_bytes: self.body_bytes, sequence, ops: self.ops, last };
        header.write(&mut self.bytes);
        let tag = generation.tag(&self.bytes[24..HEADER_BYTES]);
        self.bytes[16..24].copy_from_slice(&tag[..8]);
        let end = header.end().unwrap_or(self.bytes.len());
        let tag = generation.tag(&self.bytes[16..end]);
        self.bytes[..16].copy_from_slice(&tag);
        &self.bytes
    }
}

/// The tag of a block at the head of a file: it guards against damage, not against forgery.
pub(super) fn plain_tag(bytes: &[u8]) -> [u8; 16] {
    SipHasher13::new().hash(bytes).as_bytes()
}

/// Big-endian from the first eight bytes, of which there are as many.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn number32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, &byte| number << 8 | u32::from(byte))
}
