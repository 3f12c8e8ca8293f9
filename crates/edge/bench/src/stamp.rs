//! What every payload carries, and what a receiver learns from it: was anything lost, did it come in order, how late.

/// The first bytes of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells this run's messages from those of another that runs beside it, or was retained.
    pub(crate) run: u32,
    /// Number of the publisher.
    pub(crate) publisher: u32,
    /// Position among the publisher's messages, from 0.
    pub(crate) sequence: u64,
    /// When it should have been sent.
    pub(crate) due_ns: u64,
}

impl Stamp {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.run.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.publisher.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..].copy_from_slice(&self.due_ns.to_le_bytes());
        bytes
    }

    /// `None` if the payload is too short.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (due_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u32::from_le_bytes(*run),
            publisher: u32::from_le_bytes(*publisher),
            sequence: u64::from_le_bytes(*sequence),
            due_ns: u64::from_le_bytes(*due_ns),
        })
    }
}

/// What one receiver has had of one publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The sequence number that should come next.
    next: u64,
    missing: u64,
    out_of_order: u64,
    duplicates: u64,
}

impl Tally {
    /// Counts a message; `true` if it is a new one.
    pub(crate) fn take(&mut self, sequence: u64) -> bool {
        if sequence == self.next {
            self.next += 1;
            return true;
        }
        if sequence > self.next {
            self.missing += sequence - self.next;
            self.next = sequence + 1;
            return true;
        }
        // Behind what came already: one of the missing, late, as long as there are any.
        if self.missing == 0 {
            self.duplicates += 1;
            return false;
        }
        self.missing -= 1;
        self.out_of_order += 1;
        true
    }

    /// Adds this receiver's account of a publisher that sent `sent` messages.
    pub(crate) fn settle(&self, sent: u64, integrity: &mut Integrity) {
        integrity.lost += self.missing + sent.saturating_sub(self.next);
        integrity.out_of_order += self.out_of_order;
        integrity.duplicates += self.duplicates;
    }
}

/// The sum over all receivers and publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Integrity {
    /// Sent and never delivered.
    pub lost: u64,
    /// Delivered after a later one of the same publisher.
    pub out_of_order: u64,
    /// Delivered more than once.
    pub duplicates: u64,
    /// Deliveries that this run did not send.
    pub foreign: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(sequences: &[u64], sent: u64) -> Integrity {
        let (mut tally, mut integrity) = (Tally::default(), Integrity::default());
        let fresh = sequences.iter().filter(|&&sequence| tally.take(sequence)).count();
        tally.settle(sent, &mut integrity);
        assert_eq!(fresh as u64 + integrity.duplicates, sequences.len() as u64);
        integrity
    }

    #[test]
    fn a_stamp_survives_its_journey() {
        let stamp = Stamp { run: 0xdead_beef, publisher: 7, sequence: 1 << 40, due_ns: u64::MAX - 3 };
        let mut payload = stamp.to_bytes().to_vec();
        payload.extend([0; 40]);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..Stamp::BYTES - 1]), None);
    }

    #[test]
    fn all_in_order() {
        assert_eq!(settled(&[0, 1, 2, 3], 4), Integrity::default());
    }

    #[test]
    fn losses_in_the_middle_and_at_the_end() {
        assert_eq!(settled(&[0, 2, 5], 8), Integrity { lost: 5, ..Integrity::default() });
        assert_eq!(settled(&[], 3), Integrity { lost: 3, ..Integrity::default() });
    }

    #[test]
    fn late_is_not_lost() {
        assert_eq!(settled(&[0, 2, 1, 3], 4), Integrity { out_of_order: 1, ..Integrity::default() });
    }

    #[test]
    fn twice_is_a_duplicate() {
        assert_eq!(settled(&[0, 1, 1, 0, 2], 3), Integrity { duplicates: 2, ..Integrity::default() });
    }
}
