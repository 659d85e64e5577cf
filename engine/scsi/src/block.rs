//! The block operations commands turn into, and what a device's failure means to the initiator.

use crate::sense::Sense;
use crate::status::Outcome;

/// What to do with the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Read them to the initiator.
    Read,
    /// Write them from the initiator's data.
    Write,
    /// Write them, make them durable and verify that they can be read.
    WriteVerify {
        /// Compare what is read with the data (BYTCHK=01b).
        compare: bool,
    },
    /// Check that they can be read; nothing is transferred (BYTCHK=00b).
    Verify,
    /// Compare them with Data-Out of the same length (BYTCHK=01b).
    Compare,
    /// Compare each of them with one block of Data-Out (BYTCHK=11b).
    CompareRepeated,
    /// Make all completed writes of the range durable. Flushing more is always right.
    Flush {
        /// Answer when the flush has started, not when it has finished.
        immed: bool,
    },
    /// Unmap the ranges of the parameter list, which [`crate::UnmapRanges`] reads from the fetched Data-Out; `lba` is 0
    /// and `blocks` the sum.
    Unmap {
        /// Block descriptors in the list, empty ones included.
        descriptors: u16,
    },
    /// Write one block of data to each of them.
    WriteSame {
        /// They may be unmapped instead, if reading them back then gives the data: that is, when the data is zero and
        /// the medium says `unmap_zeroes`.
        unmap: bool,
        /// There is no Data-Out: the data is zero.
        ndob: bool,
    },
    /// Bring them into a cache if there is one.
    Prefetch {
        /// Answer when the operation has started.
        immed: bool,
    },
}

/// An operation on a range of logical blocks, checked against the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockOp {
    /// What to do.
    pub kind: BlockKind,
    /// First logical block.
    pub lba: u64,
    /// Number of logical blocks; never zero. It is bounded by the medium only for the kinds that transfer no data of
    /// that length (Verify, CompareRepeated, Flush, WriteSame, Prefetch), so these may have to be done in pieces.
    pub blocks: u64,
    /// Data must be on the medium (not in a volatile cache) before the operation ends: FUA, or a write with WCE=0.
    pub fua: bool,
}

impl BlockOp {
    /// Bytes the CDB sends to the initiator.
    #[must_use]
    pub const fn data_in(&self, block_size: u32) -> u64 {
        match self.kind {
            BlockKind::Read => self.blocks.saturating_mul(block_size as u64),
            _ => 0,
        }
    }

    /// Bytes the CDB wants from the initiator. The parameter list of UNMAP has been fetched already and counts as none.
    #[must_use]
    pub const fn data_out(&self, block_size: u32) -> u64 {
        match self.kind {
            BlockKind::Write | BlockKind::WriteVerify { .. } | BlockKind::Compare => {
                self.blocks.saturating_mul(block_size as u64)
            }
            BlockKind::CompareRepeated | BlockKind::WriteSame { ndob: false, .. } => block_size as u64,
            _ => 0,
        }
    }

    /// How the command ends when the operation succeeded.
    #[must_use]
    pub const fn success(&self) -> Outcome {
        match self.kind {
            BlockKind::Prefetch { .. } => Outcome::CONDITION_MET,
            _ => Outcome::GOOD,
        }
    }

    /// Refuses a transfer of `expected` bytes (what the transport announced) that cannot be met by doing less: a block
    /// to be written or compared many times must be there in full, and WRITE SAME takes exactly one. Reads and writes
    /// may move less and report a residual.
    #[must_use]
    pub const fn wrong_length(&self, block_size: u32, expected: u64) -> Option<Outcome> {
        let wanted = self.data_out(block_size);
        let wrong = match self.kind {
            BlockKind::WriteSame { ndob: false, .. } => expected != wanted,
            BlockKind::Compare | BlockKind::CompareRepeated => expected < wanted,
            _ => false,
        };
        if wrong { Some(Outcome::check(Sense::INVALID_FIELD_IN_INFORMATION_UNIT)) } else { None }
    }
}

/// Why a block operation failed, in words no device and no protocol owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFailure {
    /// The medium could not be read.
    MediumError {
        /// First block in error.
        lba: u64,
    },
    /// The medium could not be written.
    WriteFault {
        /// First block in error.
        lba: u64,
    },
    /// A thin-provisioned device has no room left.
    NoSpace,
    /// The device is there and will be ready later.
    NotReady,
    /// The device is gone for good.
    Removed,
    /// The device refuses writes.
    ReadOnly,
    /// The device is smaller than the medium claims.
    OutOfRange,
    /// The device cannot do this operation.
    Unsupported,
    /// Something broke that is nobody's fault.
    Internal,
    /// The device gave the operation up.
    Aborted,
    /// No resources now; trying again will help.
    Busy,
    /// The data compared is different.
    Miscompare {
        /// Byte offset of the first difference in the data.
        offset: u64,
    },
}

/// How a command ends when its block operation failed.
#[must_use]
pub const fn block_failure(failure: BlockFailure) -> Outcome {
    let sense = match failure {
        BlockFailure::MediumError { lba } => Sense::UNRECOVERED_READ_ERROR.with_information(lba),
        BlockFailure::WriteFault { lba } => Sense::WRITE_ERROR.with_information(lba),
        BlockFailure::NoSpace => Sense::SPACE_ALLOCATION_FAILED,
        BlockFailure::NotReady => Sense::BECOMING_READY,
        BlockFailure::Removed => Sense::LOGICAL_UNIT_NOT_SUPPORTED,
        BlockFailure::ReadOnly => Sense::WRITE_PROTECTED,
        BlockFailure::OutOfRange => Sense::LBA_OUT_OF_RANGE,
        BlockFailure::Unsupported => Sense::INVALID_OPERATION_CODE,
        BlockFailure::Internal => Sense::INTERNAL_TARGET_FAILURE,
        BlockFailure::Aborted => Sense::ABORTED,
        BlockFailure::Miscompare { offset } => Sense::MISCOMPARE.with_information(offset),
        BlockFailure::Busy => return Outcome::BUSY,
    };
    Outcome::check(sense)
}
