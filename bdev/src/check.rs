//! Bounds and shape checks of operations: one place for every device.

use crate::device::{Features, Geometry};
use crate::io::{Io, Op, Status};

/// The bytes of the medium an operation covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes; 0 for a flush.
    pub bytes: u64,
}

/// Checks `io` against a device, before anything is touched.
///
/// # Errors
/// The status the operation has to complete with:
/// * [`Status::Unsupported`]: the device does not do this operation;
/// * [`Status::ReadOnly`]: it would change a read-only medium;
/// * [`Status::OutOfRange`]: a block lies beyond the end;
/// * [`Status::Failed`] with `EINVAL`: a bug of the caller: no blocks, or memory that is missing, too small, not
///   filled (write) or lent by another device.
pub fn check(io: &Io, geometry: &Geometry, features: Features) -> Result<Extent, Status> {
    if !supported(io.op, features) {
        return Err(Status::Unsupported);
    }
    if io.op == Op::Flush {
        return Ok(Extent::default());
    }
    if geometry.read_only && io.op != Op::Read {
        return Err(Status::ReadOnly);
    }
    let extent = extent(geometry, io.lba, io.blocks)?;
    if matches!(io.op, Op::Read | Op::Write) {
        check_memory(io, extent.bytes, features)?;
    }
    Ok(extent)
}

/// The bytes of `blocks` blocks from `lba`.
///
/// # Errors
/// [`Status::OutOfRange`] when a block lies beyond the end, [`Status::Failed`] with `EINVAL` for no blocks at all.
pub fn extent(geometry: &Geometry, lba: u64, blocks: u64) -> Result<Extent, Status> {
    let end = lba.checked_add(blocks).ok_or(Status::OutOfRange)?;
    if end > geometry.blocks {
        return Err(Status::OutOfRange);
    }
    if blocks == 0 {
        return Err(INVALID);
    }
    // Cannot overflow: the whole medium is at most MEDIUM_BYTES long, see `shape::check_size`.
    let size = u64::from(geometry.block_size);
    Ok(Extent { offset: lba * size, bytes: blocks * size })
}

const INVALID: Status = Status::Failed(libc::EINVAL);

fn supported(op: Op, features: Features) -> bool {
    match op {
        Op::Read => true,
        Op::Write => features.write,
        Op::Flush => features.flush,
        Op::Unmap => features.unmap,
        Op::WriteZeroes => features.write_zeroes,
    }
}

fn check_memory(io: &Io, bytes: u64, features: Features) -> Result<(), Status> {
    let data = io.data.as_ref().ok_or(INVALID)?;
    let lent = data.is_lent();
    if lent && !features.lend {
        return Err(INVALID);
    }
    // A datamover places into lent memory without going through the handle, so its length says nothing.
    let room = if io.op == Op::Write && !lent { data.len() } else { data.capacity() };
    if (room as u64) < bytes { Err(INVALID) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
