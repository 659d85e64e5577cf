//! The file or block device under a `uring` device: opening it, and finding out what it can do.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use super::UringParams;
use super::sysfs::Queue;
use crate::device::Geometry;
use crate::shape::{self, CreateError};

/// How a range of the medium is deallocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unmap {
    /// `fallocate(PUNCH_HOLE)`: the range reads as zeroes afterwards.
    Punch,
    /// `ioctl(BLKDISCARD)`, on a thread as it has no asynchronous form before Linux 6.12; reads are undefined.
    Discard,
    /// Not at all.
    None,
}

/// How a range of the medium is zeroed, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Zero {
    /// `fallocate(ZERO_RANGE)`: space stays allocated, so that later writes cannot fail for lack of it.
    Range,
    /// `fallocate(PUNCH_HOLE)`: where the file system knows no zero range (tmpfs).
    Punch,
    /// By writing zeroes.
    Write,
}

impl Zero {
    const ALL: [Self; 3] = [Self::Range, Self::Punch, Self::Write];
}

/// An open file or block device.
#[derive(Debug)]
pub(super) struct Backing {
    pub path: PathBuf,
    /// Goes through the page cache: for memory that direct I/O refuses, and for everything when there is no `direct`.
    buffered: File,
    /// Goes past the page cache.
    direct: Option<File>,
    /// Alignment that direct I/O wants of memory, in bytes.
    mem_align: usize,
    /// Alignment that direct I/O wants of offsets and lengths, in bytes.
    offset_align: u64,
    pub unmap: Unmap,
    /// Index into [`Zero::ALL`]; rises when the system refuses a method.
    zero: AtomicU8,
}

impl Backing {
    /// Opens `params.filename` and finds the geometry.
    pub fn open(params: &UringParams) -> Result<(Self, Geometry), CreateError> {
        let path = params.filename.as_path();
        let buffered = open_claimed(path, params.read_only)?;
        let meta = buffered.metadata().map_err(|e| failed("looking at", path, e))?;
        let queue = meta.file_type().is_block_device().then(|| Queue::of(meta.rdev()));
        let logical = logical_block_size(&buffered, path, queue.is_some())?;
        let block_size = block_size(params.block_size, logical)?;
        let bytes = medium_bytes(&buffered).map_err(|e| failed("sizing", path, e))?;
        let direct = if params.buffered { None } else { direct_or_warn(path, params.read_only, block_size, bytes) };
        let (direct, mem_align) = direct.unzip();
        let backing = Self {
            path: path.to_owned(),
            direct,
            mem_align: mem_align.unwrap_or(1),
            offset_align: block_size.into(),
            unmap: find_unmap(&buffered, bytes, queue.as_ref(), params.read_only),
            zero: AtomicU8::new(0),
            buffered,
        };
        let geometry = backing.geometry(params, block_size, bytes, queue.as_ref(), meta.blksize());
        shape::check_size(geometry.blocks, block_size).map_err(|_| too_small(path, bytes, block_size))?;
        Ok((backing, geometry))
    }

    fn geometry(
        &self,
        params: &UringParams,
        block_size: u32,
        bytes: u64,
        queue: Option<&Queue>,
        st_blksize: u64,
    ) -> Geometry {
        let (physical, optimal, granularity) = match queue {
            Some(q) => (q.number("physical_block_size"), q.number("optimal_io_size"), q.number("discard_granularity")),
            None => (st_blksize, 0, st_blksize),
        };
        let in_blocks = |bytes: u64| u32::try_from(bytes / u64::from(block_size)).unwrap_or(0);
        let physical = u32::try_from(physical).unwrap_or(0);
        let sane = physical.is_power_of_two() && physical > block_size && physical <= 64 * 1024;
        Geometry {
            block_size,
            blocks: bytes / u64::from(block_size),
            physical_block_size: if sane { physical } else { block_size },
            optimal_io_blocks: in_blocks(optimal),
            unmap_granularity: if self.unmap == Unmap::None { 0 } else { in_blocks(granularity).max(1) },
            unmap_reads_zeroes: self.unmap == Unmap::Punch,
            write_cache: true,
            read_only: params.read_only,
            rotational: queue.is_some_and(|q| q.number("rotational") == 1),
        }
    }

    /// The present size in bytes.
    pub fn bytes(&self) -> io::Result<u64> {
        medium_bytes(&self.buffered)
    }

    /// The driver can poll for completions.
    pub fn has_poll_queues(&self) -> bool {
        let Ok(meta) = self.buffered.metadata() else { return false };
        let device = if meta.file_type().is_block_device() { meta.rdev() } else { meta.dev() };
        Queue::of(device).number("io_poll") == 1
    }

    /// A descriptor of its own for another thread.
    pub fn duplicate(&self) -> io::Result<File> {
        self.buffered.try_clone()
    }

    /// The descriptors to register with a ring: first the one for most operations, then the fallback.
    pub fn descriptors(&self) -> [RawFd; 2] {
        let buffered = self.buffered.as_raw_fd();
        [self.direct.as_ref().map_or(buffered, AsRawFd::as_raw_fd), buffered]
    }

    /// Index into [`Backing::descriptors`] for a transfer: direct I/O refuses memory that is not aligned, and the
    /// rest of a short transfer may begin anywhere.
    pub fn descriptor_for(&self, memory: *const u8, offset: u64, bytes: u64) -> u32 {
        let aligned = memory.addr().is_multiple_of(self.mem_align)
            && offset.is_multiple_of(self.offset_align)
            && bytes.is_multiple_of(self.offset_align);
        u32::from(!aligned)
    }

    pub fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    pub fn zero(&self) -> Zero {
        Zero::ALL[usize::from(self.zero.load(Ordering::Relaxed)).min(Zero::ALL.len() - 1)]
    }

    /// The system refused `method`: the next one from now on.
    pub fn downgrade_zero(&self, method: Zero) {
        self.zero.fetch_max(method as u8 + 1, Ordering::Relaxed);
    }
}

/// Opens the file and claims it, so that no second device, in this process or another, writes to it too.
fn open_claimed(path: &Path, read_only: bool) -> Result<File, CreateError> {
    // Looked at before it is opened: opening a FIFO or a tape would wait, or do something.
    let kind = path.metadata().map_err(|e| failed("opening", path, e))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let expected = "the path of a regular file or a block device";
        return Err(CreateError::invalid("filename", path.display(), expected));
    }
    // On a block device O_EXCL fails while it is mounted or part of an array.
    let exclusive = if kind.is_block_device() && !read_only { libc::O_EXCL } else { 0 };
    let file = open(path, read_only, exclusive).map_err(|e| failed("opening", path, e))?;
    let locked = if read_only { file.try_lock_shared() } else { file.try_lock() };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CreateError::System {
            what: "locking",
            subject: path.display().to_string(),
            error: io::Error::from_raw_os_error(libc::EBUSY),
            advice: "; another block device or process uses it".to_owned(),
        }),
        // Not every file system has locks; they only guard against mistakes.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn open(path: &Path, read_only: bool, flags: libc::c_int) -> io::Result<File> {
    OpenOptions::new().read(true).write(!read_only).custom_flags(flags).open(path)
}

/// A second descriptor for direct I/O and the alignment it wants of memory, if a block can be read that way.
fn direct_or_warn(path: &Path, read_only: bool, block_size: u32, bytes: u64) -> Option<(File, usize)> {
    let probed = open(path, read_only, libc::O_DIRECT).and_then(|file| probe_direct(file, block_size, bytes));
    match probed {
        Ok(direct) => Some(direct),
        Err(error) => {
            tracing::warn!(path = %path.display(), block_size, %error,
                "direct I/O is not possible, using the page cache: slower, and memory is used twice");
            None
        }
    }
}

/// Memory the largest page-aligned probe reads into.
#[repr(align(4096))]
struct Page([u8; 4096]);

fn probe_direct(file: File, block_size: u32, bytes: u64) -> io::Result<(File, usize)> {
    let mut page = Page([0; 4096]);
    let length = block_size as usize;
    if bytes >= u64::from(block_size) {
        file.read_at(&mut page.0[..length], 0)?;
    }
    let aligns = dio_alignment(&file).filter(|(memory, _)| memory.is_power_of_two());
    if aligns.is_some_and(|(_, offset)| offset > block_size) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // What was just read into was aligned to a page; anything less is only known from statx.
    Ok((file, aligns.map_or(size_of::<Page>(), |(memory, _)| memory as usize)))
}

/// `statx(STATX_DIOALIGN)`, Linux 6.1: alignment of memory and of offsets.
fn dio_alignment(file: &File) -> Option<(u32, u32)> {
    // SAFETY: all-zero is a valid statx.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: an empty path with AT_EMPTY_PATH means the descriptor itself; `stat` is valid to write to.
    let failed = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &raw mut stat)
    };
    let known = failed == 0 && stat.stx_mask & libc::STATX_DIOALIGN != 0 && stat.stx_dio_mem_align != 0;
    known.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align))
}

/// A file ends where it ends; a block device says so when asked for its end.
fn medium_bytes(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

fn logical_block_size(file: &File, path: &Path, block_device: bool) -> Result<Option<u32>, CreateError> {
    if !block_device {
        return Ok(None);
    }
    let mut size: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int.
    let failed = unsafe { libc::ioctl(file.as_raw_fd(), libc::BLKSSZGET, &raw mut size) };
    if failed < 0 {
        return Err(self::failed("asking for the block size of", path, io::Error::last_os_error()));
    }
    Ok(u32::try_from(size).ok())
}

/// The configured block size, which must suit the device's own; 512 if nobody says anything.
fn block_size(configured: Option<u32>, logical: Option<u32>) -> Result<u32, CreateError> {
    let size = configured.or(logical).unwrap_or(512);
    shape::check_block_size(size)?;
    match logical {
        Some(logical) if size < logical => {
            Err(CreateError::invalid("block_size", size, format!("at least the device's {logical}")))
        }
        _ => Ok(size),
    }
}

fn find_unmap(file: &File, bytes: u64, queue: Option<&Queue>, read_only: bool) -> Unmap {
    if read_only {
        return Unmap::None;
    }
    match queue {
        // A block device punches holes by zeroing with an offloaded command, which reads as zeroes for certain.
        Some(q) if q.number("write_zeroes_max_bytes") > 0 => Unmap::Punch,
        Some(q) if q.number("discard_max_bytes") > 0 => Unmap::Discard,
        Some(_) => Unmap::None,
        None if can_punch(file, bytes) => Unmap::Punch,
        None => Unmap::None,
    }
}

/// Tries it behind the end, where there is nothing to lose.
fn can_punch(file: &File, bytes: u64) -> bool {
    let Ok(end) = libc::off_t::try_from(bytes) else { return false };
    // SAFETY: fallocate takes no pointers.
    unsafe { libc::fallocate(file.as_raw_fd(), PUNCH, end, 4096) == 0 }
}

/// `fallocate` mode that deallocates and leaves the size alone.
pub(super) const PUNCH: libc::c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
/// `fallocate` mode that zeroes and leaves the size alone.
pub(super) const ZERO_RANGE: libc::c_int = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

fn failed(what: &'static str, path: &Path, error: io::Error) -> CreateError {
    let advice = match error.raw_os_error() {
        Some(libc::EBUSY) => "; it is mounted, or in use by something else",
        Some(libc::EROFS) => "; set readonly to export it read-only",
        _ => "",
    };
    CreateError::System { what, subject: path.display().to_string(), error, advice: advice.to_owned() }
}

fn too_small(path: &Path, bytes: u64, block_size: u32) -> CreateError {
    CreateError::invalid(
        "filename",
        format!("{} of {bytes} bytes", path.display()),
        format!("at least one block of {block_size} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_size_must_suit_the_device() {
        assert_eq!(block_size(None, None).unwrap(), 512);
        assert_eq!(block_size(None, Some(4096)).unwrap(), 4096);
        assert_eq!(block_size(Some(4096), Some(512)).unwrap(), 4096);
        assert!(block_size(Some(512), Some(4096)).unwrap_err().to_string().contains("at least the device's 4096"));
        assert!(block_size(Some(520), None).is_err());
    }

    #[test]
    fn zeroing_only_gets_simpler() {
        let file = tempfile::tempfile().unwrap();
        let backing = Backing {
            path: PathBuf::new(),
            buffered: file,
            direct: None,
            mem_align: 512,
            offset_align: 512,
            unmap: Unmap::None,
            zero: AtomicU8::new(0),
        };
        assert_eq!(backing.zero(), Zero::Range);
        backing.downgrade_zero(Zero::Punch);
        backing.downgrade_zero(Zero::Range);
        assert_eq!(backing.zero(), Zero::Write);
        backing.downgrade_zero(Zero::Write);
        assert_eq!(backing.zero(), Zero::Write);
        let at = |addr: usize| std::ptr::without_provenance::<u8>(addr);
        assert_eq!(backing.descriptor_for(at(4096), 512, 1024), 0);
        for (addr, offset, bytes) in [(4097, 0, 512), (4096, 1, 512), (4096, 0, 511)] {
            assert_eq!(backing.descriptor_for(at(addr), offset, bytes), 1);
        }
    }

    #[test]
    fn what_is_no_medium_is_refused_without_opening_it() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let c_path = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
        // SAFETY: a valid C string.
        assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
        for path in [fifo.as_path(), dir.path(), Path::new("/dev/null")] {
            assert_eq!(open_claimed(path, false).unwrap_err().errno(), libc::EINVAL, "{}", path.display());
        }
        assert_eq!(open_claimed(&dir.path().join("none"), false).unwrap_err().errno(), libc::ENOENT);
    }

    #[test]
    fn a_file_has_one_writer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = open_claimed(file.path(), false).unwrap();
        let second = open_claimed(file.path(), false).unwrap_err();
        assert_eq!(second.errno(), libc::EBUSY);
        assert!(second.to_string().contains("another block device"), "{second}");
        assert!(open_claimed(file.path(), true).is_err());
        drop(first);
        let _reader = open_claimed(file.path(), true).unwrap();
        assert!(open_claimed(file.path(), true).is_ok(), "readers share");
    }
}
