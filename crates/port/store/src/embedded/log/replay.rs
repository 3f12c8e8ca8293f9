//! Reading a generation back.

use super::{
    file::{End, LogFile},
    record::{BLOCK_BYTES, Generation, HEADER_BYTES, Header},
};
use crate::{StoreError, rows::SessionOp};

/// Reads the records of a generation one by one, verifying each.
///
/// The end is where no whole record stands. If one of the same generation stands behind that, something that was
/// acknowledged is damaged: a record is only begun when the one before it is durable.
pub(super) struct Replay<'a> {
    file: &'a LogFile,
    generation: &'a Generation,
    length_bytes: u64,
    end: End,
    /// The record that is being read; one buffer for all.
    record: Vec<u8>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(file: &'a LogFile, generation: &'a Generation) -> Result<Self, StoreError> {
        let length_bytes = file.len_bytes()?;
        Ok(Self { file, generation, length_bytes, end: End::START, record: Vec::new() })
    }

    /// Puts the operations of the next record behind those in `ops`. `false` if there is none.
    pub(super) fn read(&mut self, ops: &mut Vec<SessionOp>) -> Result<bool, StoreError> {
        if self.end.sealed {
            return Ok(false);
        }
        let Some(header) = self.record()? else {
            self.expect_nothing_behind()?;
            return Ok(false);
        };
        header.read_ops(&self.record, ops).map_err(|bad| {
            self.file.corrupt(format!("generation {}, record {}: {bad}", self.generation.number, self.end.records))
        })?;
        self.end = self.end.after(self.record.len() as u64, header.ops, header.last);
        Ok(true)
    }

    /// Where what was read so far ends.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Reads the whole record that stands at the end of what was read, if one does.
    fn record(&mut self) -> Result<Option<Header>, StoreError> {
        let position_bytes = self.end.position_bytes;
        let Some(header) = self.header(position_bytes)? else { return Ok(None) };
        let room_bytes = self.length_bytes - position_bytes;
        let Some(record_bytes) = header.record_bytes().filter(|&bytes| bytes <= room_bytes) else { return Ok(None) };
        let Ok(record_bytes) = usize::try_from(record_bytes) else { return Ok(None) };
        self.record.resize(record_bytes, 0);
        self.file.read(position_bytes, &mut self.record)?;
        let whole = header.sequence == self.end.records && header.vouches_for(&self.record, self.generation);
        Ok(whole.then_some(header))
    }

    fn header(&self, position_bytes: u64) -> Result<Option<Header>, StoreError> {
        if position_bytes.saturating_add(HEADER_BYTES as u64) > self.length_bytes {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.file.read(position_bytes, &mut bytes)?;
        Ok(Header::read(&bytes, self.generation))
    }

    fn expect_nothing_behind(&self) -> Result<(), StoreError> {
        for position_bytes in (self.end.position_bytes..self.length_bytes).step_by(BLOCK_BYTES) {
            let header = self.header(position_bytes)?;
            // The record that was being written, if its head has arrived, bears just this sequence.
            if header.is_some_and(|header| header.sequence != self.end.records) {
                let (number, record) = (self.generation.number, self.end.records);
                let detail = format!("generation {number}, record {record} is damaged, and others follow");
                return Err(self.file.corrupt(detail));
            }
        }
        Ok(())
    }
}
