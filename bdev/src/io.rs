//! One block operation and its completion.

use primitives::{Buf, Tag};

/// What a block operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Fill `data` (which comes with room for the blocks) from the medium.
    Read,
    /// Put `data` onto the medium.
    Write,
    /// Make every write completed before this was submitted durable (`fdatasync`).
    Flush,
    /// Deallocate the blocks; they read as zeroes afterwards where the geometry says so.
    Unmap,
    /// Make the blocks read as zeroes, by any means.
    WriteZeroes,
}

/// One operation on a contiguous range of blocks.
#[derive(Debug)]
#[must_use = "an Io carries its buffer; submit it or take the buffer back"]
pub struct Io {
    /// Comes back in [`Done`].
    pub tag: Tag,
    /// What to do.
    pub op: Op,
    /// Force unit access: the write is durable before it completes. Ignored for other operations.
    pub fua: bool,
    /// First block.
    pub lba: u64,
    /// Number of blocks; zero only for [`Op::Flush`].
    pub blocks: u64,
    /// The memory of a read or write, at least `blocks` × block size long; comes back in [`Done`].
    /// Memory lent by [`crate::Channel::lend`] marks an operation that has no copy left to make.
    pub data: Option<Buf>,
}

/// How an operation ended. Each maps to one SCSI sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Done in full.
    Ok,
    /// The blocks lie beyond the end (LBA OUT OF RANGE).
    OutOfRange,
    /// The medium could not be read or written at `lba`.
    MediumError {
        /// First block that failed, if known; otherwise the operation's first.
        lba: u64,
    },
    /// No space left on a thin device (SPACE ALLOCATION FAILED WRITE PROTECT).
    NoSpace,
    /// The device is read-only.
    ReadOnly,
    /// The device does not do this operation.
    Unsupported,
    /// The device is being removed or its owner is gone.
    Removed,
    /// Aborted by [`crate::Channel::abort`] before it took effect.
    Aborted,
    /// Any other failure; the number is the system's errno.
    Failed(i32),
}

impl Io {
    /// Whether its memory was lent by the device.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.is_lent())
    }

    /// Ends the operation. A read's buffer says how much of it is meaningful: all of the blocks after success, nothing
    /// otherwise, so that no stale byte leaves the house.
    pub fn done(mut self, status: Status, block_size: u32) -> Done {
        self.finish(status, block_size);
        Done { tag: self.tag, status, data: self.data }
    }

    /// The same where it is.
    #[inline]
    pub(crate) fn finish(&mut self, status: Status, block_size: u32) {
        if self.op == Op::Read
            && let Some(data) = &mut self.data
        {
            // In range after success, see `check`; whatever a bug would claim is cut to the capacity.
            let bytes = self.blocks.saturating_mul(block_size.into()).min(data.capacity() as u64);
            data.set_len(if status == Status::Ok { bytes as usize } else { 0 });
        }
    }
}

/// The end of one operation.
#[derive(Debug)]
#[must_use = "a Done carries its buffer; take it back"]
pub struct Done {
    /// As given in the [`Io`].
    pub tag: Tag,
    /// How it ended.
    pub status: Status,
    /// The buffer given in the [`Io`]; after a successful read its meaningful length covers the blocks.
    pub data: Option<Buf>,
}
