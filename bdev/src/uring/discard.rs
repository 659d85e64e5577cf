//! Deallocation of blocks on devices that only know `ioctl(BLKDISCARD)`, which blocks.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::backing::Backing;
use super::transfer::status_of;
use crate::io::{Io, Status};
use crate::shape::CreateError;
use crate::worker::{Blocking, Worker};

/// `_IO(0x12, 119)`; libc lacks it.
const BLKDISCARD: libc::c_ulong = 0x1277;

struct Discard {
    file: File,
    block_size: u32,
}

impl Blocking for Discard {
    fn execute(&mut self, io: &mut Io) -> Status {
        // The channel checked the range against the capacity.
        let size = u64::from(self.block_size);
        let range: [u64; 2] = [io.lba * size, io.blocks * size];
        // SAFETY: BLKDISCARD reads two 64-bit numbers.
        let failed = unsafe { libc::ioctl(self.file.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) } < 0;
        let errno = || std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        if failed { status_of(errno(), io.lba) } else { Status::Ok }
    }
}

/// Starts the thread that discards.
pub(super) fn start(name: &str, backing: &Backing, block_size: u32) -> Result<Worker, CreateError> {
    let file =
        backing.duplicate().map_err(|error| CreateError::system("duplicating the descriptor of", name, error))?;
    let discard = Box::new(Discard { file, block_size });
    Worker::spawn("bdev-discard", block_size, discard)
        .map_err(|error| CreateError::system("starting a thread for", name, error))
}
