//! One operation in the kernel's hands: the entry that starts its next step, and what a result means for it.

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use super::backing::{Backing, PUNCH, Unmap, ZERO_RANGE, Zero};
use super::fixed::FixedBuffers;
use crate::check::Extent;
use crate::io::{Io, Op, Status};
use crate::limits;

/// The kernel moves at most this much at once, and reports less as a short transfer.
const STEP_BYTES: u64 = 1 << 30;

/// An operation between submission and completion.
#[derive(Debug)]
pub(super) struct Transfer {
    pub io: Io,
    pub extent: Extent,
    /// Bytes done so far.
    moved: u64,
    retries: u8,
    /// How a write-zeroes is being done, as of its present step.
    zero: Zero,
    /// Somebody wants to cut it short.
    pub aborting: bool,
}

/// What to do next with a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Start another step: the transfer was short, interrupted, or needs another method.
    Again,
    /// Complete it.
    Finish(Status),
}

impl Transfer {
    pub fn new(io: Io, extent: Extent) -> Self {
        Self { io, extent, moved: 0, retries: 0, zero: Zero::Range, aborting: false }
    }

    /// A read, or a write without durability: what a polled ring can carry.
    pub fn is_plain(&self) -> bool {
        self.io.op == Op::Read || (self.io.op == Op::Write && !self.io.fua)
    }

    /// The entry for the next step. `polled` rings take direct I/O only.
    pub fn entry(&mut self, backing: &Backing, fixed: &FixedBuffers, zeroes: &Zeroes) -> Entry {
        let offset = self.extent.offset + self.moved;
        let left = self.extent.bytes - self.moved;
        match self.io.op {
            Op::Read | Op::Write => self.read_or_write(backing, fixed, offset, left.min(STEP_BYTES)),
            Op::Flush => opcode::Fsync::new(types::Fixed(0)).flags(types::FsyncFlags::DATASYNC).build(),
            Op::Unmap => fallocate(PUNCH, offset, left),
            Op::WriteZeroes => {
                self.zero = backing.zero().max(self.zero);
                match self.zero {
                    Zero::Range => fallocate(ZERO_RANGE, offset, left),
                    Zero::Punch => fallocate(PUNCH, offset, left),
                    Zero::Write => {
                        let bytes = left.min(limits::URING_ZERO_BYTES as u64);
                        let file = types::Fixed(backing.descriptor_for(zeroes.as_ptr(), offset, bytes));
                        opcode::Write::new(file, zeroes.as_ptr(), bytes as u32).offset(offset).build()
                    }
                }
            }
        }
    }

    fn read_or_write(&self, backing: &Backing, fixed: &FixedBuffers, offset: u64, bytes: u64) -> Entry {
        // `check` saw memory for all bytes of the extent.
        let base = self.io.data.as_ref().map_or(std::ptr::null_mut(), |data| data.as_ptr());
        let memory = base.wrapping_add(self.moved as usize);
        let file = types::Fixed(backing.descriptor_for(memory, offset, bytes));
        let (length, fua) = (bytes as u32, if self.io.fua { libc::RWF_DSYNC } else { 0 });
        match (self.io.op, fixed.index_of(memory, bytes as usize)) {
            (Op::Read, Some(index)) => opcode::ReadFixed::new(file, memory, length, index).offset(offset).build(),
            (Op::Read, None) => opcode::Read::new(file, memory, length).offset(offset).build(),
            (_, Some(i)) => opcode::WriteFixed::new(file, memory, length, i).offset(offset).rw_flags(fua).build(),
            (_, None) => opcode::Write::new(file, memory, length).offset(offset).rw_flags(fua).build(),
        }
    }

    /// Judges the result of a step: bytes moved, or a negative errno.
    pub fn advance(&mut self, result: i32, backing: &Backing, block_size: u32) -> Next {
        let Ok(moved) = u64::try_from(result) else { return self.failed(-result, backing, block_size) };
        let carries_data =
            matches!(self.io.op, Op::Read | Op::Write) || (self.io.op == Op::WriteZeroes && self.zero == Zero::Write);
        if !carries_data {
            return Next::Finish(Status::Ok);
        }
        if moved == 0 {
            // The file ends before its blocks do: somebody cut it short under us.
            return Next::Finish(Status::MediumError { lba: self.lba(block_size) });
        }
        self.moved = (self.moved + moved).min(self.extent.bytes);
        if self.moved == self.extent.bytes { Next::Finish(Status::Ok) } else { Next::Again }
    }

    fn failed(&mut self, errno: i32, backing: &Backing, block_size: u32) -> Next {
        match errno {
            libc::ECANCELED if self.aborting => Next::Finish(Status::Aborted),
            // EINTR and ECANCELED without being asked: the kernel's worker was disturbed.
            libc::EINTR | libc::EAGAIN | libc::ENOMEM | libc::ECANCELED if self.retries < limits::URING_RETRIES => {
                self.retries += 1;
                Next::Again
            }
            libc::EOPNOTSUPP | libc::ENOSYS if self.io.op == Op::WriteZeroes && self.zero != Zero::Write => {
                backing.downgrade_zero(self.zero);
                Next::Again
            }
            _ => Next::Finish(status_of(errno, self.lba(block_size))),
        }
    }

    /// The first block that is not done.
    fn lba(&self, block_size: u32) -> u64 {
        self.io.lba + self.moved / u64::from(block_size)
    }
}

/// What an errno of the medium means to SCSI.
pub(super) fn status_of(errno: i32, lba: u64) -> Status {
    match errno {
        libc::EIO | libc::ENODATA | libc::EILSEQ | libc::EREMOTEIO | libc::EBADMSG => Status::MediumError { lba },
        libc::ENOSPC | libc::EDQUOT => Status::NoSpace,
        libc::EROFS => Status::ReadOnly,
        libc::ENODEV | libc::ENXIO | libc::ESTALE => Status::Removed,
        libc::EOPNOTSUPP | libc::ENOSYS => Status::Unsupported,
        errno => Status::Failed(errno),
    }
}

/// Whether an unmap goes to the worker thread instead of the ring.
pub(super) fn needs_worker(io: &Io, backing: &Backing) -> bool {
    io.op == Op::Unmap && backing.unmap == Unmap::Discard
}

fn fallocate(mode: libc::c_int, offset: u64, bytes: u64) -> Entry {
    opcode::Fallocate::new(types::Fixed(0), bytes).offset(offset).mode(mode).build()
}

/// Page-aligned zeroes, the source of the write-zeroes fallback. Only ever read.
#[derive(Debug)]
pub(super) struct Zeroes(Box<[Page]>);

#[derive(Clone, Debug)]
#[repr(align(4096))]
#[expect(dead_code, reason = "only the kernel reads it")]
struct Page([u8; 4096]);

impl Zeroes {
    pub fn new() -> Self {
        Self(vec![Page([0; 4096]); limits::URING_ZERO_BYTES / size_of::<Page>()].into_boxed_slice())
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

#[cfg(test)]
mod tests;
