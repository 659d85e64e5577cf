//! Stamped blocks: every write fills its logical blocks with what they are and when they were written, and every read
//! checks that the last write is what comes back.

use std::fmt;

/// Bytes of one stamp. A block is filled with them; each says where in the block it is, too.
const STAMP: usize = 16;

/// What a stamp says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Of the run, mixed with the place in the block.
    pub seed: u32,
    /// The how-manieth write of the connection; 0 is never used.
    pub sequence: u32,
    /// Of the logical block.
    pub lba: u64,
}

impl Stamp {
    fn bytes(self, place: usize) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        bytes[..4].copy_from_slice(&(self.seed ^ place as u32).to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..].copy_from_slice(&self.lba.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8], place: usize) -> Self {
        let word = |at: usize| primitives::span::be32(bytes, at).unwrap_or_default();
        Self {
            seed: word(0) ^ place as u32,
            sequence: word(4),
            lba: primitives::span::be64(bytes, 8).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {:08x}, write {}, LBA {}", self.seed, self.sequence, self.lba)
    }
}

/// A block that was not what had been written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Miscompare {
    /// The logical block.
    pub lba: u64,
    /// Where in the block, in bytes, the first difference is.
    pub offset: usize,
    /// What was written.
    pub expected: Stamp,
    /// What was read, taken for a stamp.
    pub found: Stamp,
    /// What was read, as it is.
    pub found_bytes: Vec<u8>,
}

impl fmt::Display for Miscompare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LBA {} byte {}: expected ({}), found ({}) = ", self.lba, self.offset, self.expected, self.found)?;
        self.found_bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Fills `data`, whole logical blocks from `lba` on.
pub(super) fn stamp(data: &mut [u8], block_bytes: usize, seed: u32, sequence: u32, lba: u64) {
    for (block, lba) in data.chunks_exact_mut(block_bytes).zip(lba..) {
        let stamp = Stamp { seed, sequence, lba };
        for (place, bytes) in block.chunks_mut(STAMP).enumerate() {
            bytes.copy_from_slice(&stamp.bytes(place)[..bytes.len()]);
        }
    }
}

/// Checks `data`, whole logical blocks from `lba` on.
pub(super) fn check(data: &[u8], block_bytes: usize, seed: u32, sequence: u32, lba: u64) -> Result<(), Miscompare> {
    for (block, lba) in data.chunks_exact(block_bytes).zip(lba..) {
        let expected = Stamp { seed, sequence, lba };
        for (place, bytes) in block.chunks(STAMP).enumerate() {
            if *bytes != expected.bytes(place)[..bytes.len()] {
                let (found, found_bytes) = (Stamp::read(bytes, place), bytes.to_vec());
                return Err(Miscompare { lba, offset: place * STAMP, expected, found, found_bytes });
            }
        }
    }
    Ok(())
}

/// A unit with an I/O under way; what it holds is not known until that ends.
const BUSY: u32 = 1 << 31;

/// What a connection has written to each unit of its part of the region, and which are in use.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Sequence of the last write, 0 when not known, with [`BUSY`].
    units: Box<[u32]>,
    next_sequence: u32,
}

impl Ledger {
    pub fn new(units: usize) -> Self {
        Self { units: vec![0; units].into_boxed_slice(), next_sequence: 1 }
    }

    /// Takes `unit`, or the first one behind it that is not in use. `None`: all are.
    pub fn take(&mut self, unit: u64) -> Option<u64> {
        let start = unit as usize;
        let (before, after) = self.units.split_at(start);
        let free = |unit: &u32| unit & BUSY == 0;
        let at = after.iter().position(free).map(|i| start + i).or_else(|| before.iter().position(free))?;
        self.units[at] |= BUSY;
        Some(at as u64)
    }

    /// The sequence of a write that is about to begin.
    pub fn sequence(&mut self) -> u32 {
        let sequence = self.next_sequence;
        self.next_sequence = if sequence == BUSY - 1 { 1 } else { sequence + 1 };
        sequence
    }

    /// What the last write to `unit`, taken, was; `None` when not known.
    pub fn last(&self, unit: u64) -> Option<u32> {
        let last = self.units[unit as usize] & !BUSY;
        (last != 0).then_some(last)
    }

    /// Gives `unit` back after a read.
    pub fn release(&mut self, unit: u64) {
        self.units[unit as usize] &= !BUSY;
    }

    /// Gives `unit` back after a write, which succeeded with this sequence or failed with who knows what.
    pub fn written(&mut self, unit: u64, sequence: Option<u32>) {
        self.units[unit as usize] = sequence.unwrap_or(0);
    }
}
