//! `uring`: a file or block device through io_uring. SPDK's `bdev_uring` and `bdev_aio` both map here.
//!
//! Every core has a ring of its own. With direct I/O (where the file system has it) the page cache is passed by.
//! Completed writes may be volatile until a flush, which is an `fdatasync`: it covers every write completed before it,
//! whichever core's ring did it. Force unit access is `RWF_DSYNC` on the one write.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reactors::{Arena, Core, CpuId};

use crate::channel::Channel;
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::shape::{self, CreateError, Identity, Shape};
use crate::worker::Worker;

mod backing;
mod channel;
mod discard;
mod event;
mod fixed;
mod polled;
mod ring;
mod sysfs;
#[cfg(test)]
mod tests;
mod transfer;

use backing::{Backing, Unmap};
use channel::{Parts, UringChannel};
use event::Event;
use fixed::FixedBuffers;
use ring::Ring;
use transfer::Zeroes;

/// What a file-backed device is made of.
#[derive(Clone, Debug, Default)]
pub struct UringParams {
    /// Unique name.
    pub name: String,
    /// A regular file or a block device, which exists.
    pub filename: PathBuf,
    /// 512 or 4096 bytes; the block device's own, or 512, if not given. A rest smaller than a block is not used.
    pub block_size: Option<u32>,
    /// Drawn at random if not given.
    pub uuid: Option<[u8; 16]>,
    /// Refuse writes, and open the file so that others may read it too.
    pub read_only: bool,
    /// Go through the page cache even where direct I/O is possible.
    pub buffered: bool,
    /// Poll the device for completions where it can be polled, instead of taking interrupts.
    pub poll: bool,
}

/// The shared side of a file-backed device.
#[derive(Debug)]
pub struct Uring {
    id: Identity,
    medium: Arc<Medium>,
    poll: bool,
    /// Where a thread of the kernel's takes what the channels submit.
    thread: Option<CpuId>,
    discards: Option<Worker>,
    arena: Arena,
}

/// What all channels share.
#[derive(Debug)]
struct Medium {
    backing: Backing,
    shape: Shape,
    features: Features,
    zeroes: Zeroes,
    /// Calls of `io_uring_enter` by all channels.
    enters: AtomicU64,
}

impl Medium {
    fn block_size(&self) -> u32 {
        self.shape.get().block_size
    }
}

impl Uring {
    /// Opens a file or block device. Buffers that lie in `arena` need not be pinned for every operation.
    ///
    /// # Errors
    /// When a parameter is not acceptable, the file cannot be opened or is in use, or there is no io_uring.
    pub fn create(params: &UringParams, arena: &Arena) -> Result<Arc<Self>, CreateError> {
        Self::new(params, arena, None)
    }

    /// As [`Uring::create`], but every channel has a thread of the kernel's on `cpu` that submits and completes in its
    /// stead (SQPOLL): no system call while there is work. The thread spins; `cpu` must not be a reactor's.
    ///
    /// # Errors
    /// As [`Uring::create`].
    pub fn create_threaded(params: &UringParams, arena: &Arena, cpu: CpuId) -> Result<Arc<Self>, CreateError> {
        Self::new(params, arena, Some(cpu))
    }

    fn new(params: &UringParams, arena: &Arena, thread: Option<CpuId>) -> Result<Arc<Self>, CreateError> {
        let id = Identity::new(&params.name, params.uuid)?;
        // Now, and not when the first core opens a channel: the operator is still there to be told.
        make_ring(thread).map_err(ring::explain)?;
        let (backing, geometry) = Backing::open(params)?;
        let writable = !params.read_only;
        let features = Features {
            write: true,
            flush: true,
            fua: true,
            unmap: backing.unmap != Unmap::None,
            write_zeroes: true,
            lend: false,
            per_core: true,
        };
        let poll = params.poll && polled::works(&backing, geometry.block_size);
        let discards = match backing.unmap {
            Unmap::Discard if writable => Some(discard::start(&id.name, &backing, geometry.block_size)?),
            _ => None,
        };
        let (shape, zeroes, enters) = (Shape::new(geometry), Zeroes::new(), AtomicU64::new(0));
        let medium = Arc::new(Medium { backing, shape, features, zeroes, enters });
        Ok(Arc::new(Self { id, medium, poll, thread, discards, arena: arena.clone() }))
    }

    /// Takes over the file's present size after it was grown or shrunk; returns the blocks there are now. Tell the
    /// registry afterwards.
    ///
    /// # Errors
    /// When the size cannot be had, or is less than a block.
    pub fn rescan(&self) -> Result<u64, CreateError> {
        let path = || self.medium.backing.path.display().to_string();
        let bytes = self.medium.backing.bytes().map_err(|error| CreateError::system("sizing", path(), error))?;
        let block_size = self.medium.block_size();
        let blocks = bytes / u64::from(block_size);
        shape::check_size(blocks, block_size)?;
        self.medium.shape.resize(blocks);
        Ok(blocks)
    }

    /// Whether direct I/O is used, past the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.medium.backing.is_direct()
    }

    /// Whether completions are polled from the device.
    #[must_use]
    pub fn is_polled(&self) -> bool {
        self.poll
    }

    /// The file.
    #[must_use]
    pub fn filename(&self) -> &std::path::Path {
        &self.medium.backing.path
    }

    /// System calls all channels have made to start or finish operations.
    #[must_use]
    pub fn enters(&self) -> u64 {
        self.medium.enters.load(Ordering::Relaxed)
    }

    fn failed(&self, what: &'static str) -> impl Fn(std::io::Error) -> OpenError + '_ {
        move |error| OpenError::System { name: self.id.name.clone(), what, error }
    }

    fn set_up(&self, ring: &Ring, fixed: &FixedBuffers) -> Result<bool, OpenError> {
        ring.register_files(&self.medium.backing.descriptors()).map_err(self.failed("registering its file"))?;
        if fixed.is_empty() {
            return Ok(false);
        }
        // SAFETY: the pools' memory exists until the core, and with it every channel, is gone; the kernel keeps the
        // pages on top of that.
        let registered = unsafe { ring.register_buffers(&fixed.iovecs()) };
        if let Err(error) = &registered {
            tracing::warn!(device = %self.id.name, %error,
                "cannot register buffers with io_uring, operations pin them one by one; raise the limit on locked \
                 memory (ulimit -l, LimitMEMLOCK=)");
        }
        Ok(registered.is_ok())
    }
}

/// The ring for everything that is not polled.
fn make_ring(thread: Option<CpuId>) -> std::io::Result<Ring> {
    thread.map_or_else(Ring::new, Ring::threaded)
}

impl Bdev for Uring {
    fn name(&self) -> &str {
        &self.id.name
    }

    fn product(&self) -> &'static str {
        "URING bdev"
    }

    fn uuid(&self) -> [u8; 16] {
        self.id.uuid
    }

    fn geometry(&self) -> Geometry {
        self.medium.shape.get()
    }

    fn features(&self) -> Features {
        self.medium.features
    }

    fn open(&self, core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        let mut fixed = FixedBuffers::new(fixed::pool_memory(core, &self.arena));
        let mut ring = make_ring(self.thread).map_err(self.failed("setting up io_uring"))?;
        let polled = match self.poll {
            true => Some(Ring::polled().map_err(self.failed("setting up a polled io_uring"))?),
            false => None,
        };
        let mut registered = self.set_up(&ring, &fixed)?;
        if let Some(polled) = &polled {
            registered &= self.set_up(polled, &fixed)?;
        }
        if !registered {
            fixed = FixedBuffers::default();
        }
        let event = Event::new().map_err(self.failed("creating an eventfd"))?;
        ring.register_event(event.fd()).map_err(self.failed("registering an eventfd"))?;
        let discards = self.discards.as_ref().map(Worker::open).transpose();
        let discards = discards.map_err(self.failed("reaching its thread for discards"))?;
        Ok(Box::new(UringChannel::new(Parts { medium: self.medium.clone(), ring, polled, discards, fixed, event })))
    }
}
