//! `Bdev`: the shared side of a block device.

use std::any::Any;
use std::fmt;

use reactors::Core;
use thiserror::Error;

use crate::channel::Channel;

/// Shape and abilities of the medium. May change while open (resize); channels see the new values at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Bytes of a logical block: 512 or 4096.
    pub block_size: u32,
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes of a physical block, a power-of-two multiple of `block_size`.
    pub physical_block_size: u32,
    /// Preferred transfer size and alignment in blocks; 0 when it does not matter.
    pub optimal_io_blocks: u32,
    /// Preferred unmap granularity in blocks; 0 when unmap is not supported.
    pub unmap_granularity: u32,
    /// Unmapped blocks read as zeroes.
    pub unmap_reads_zeroes: bool,
    /// Completed writes may still be volatile until a flush.
    pub write_cache: bool,
    /// No writes.
    pub read_only: bool,
    /// Spinning medium.
    pub rotational: bool,
}

/// Operations a device has. Read is not listed: every device reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// [`crate::Op::Write`]
    pub write: bool,
    /// [`crate::Op::Flush`]
    pub flush: bool,
    /// Writes honour `fua` natively; otherwise the device flushes after such a write by itself.
    pub fua: bool,
    /// [`crate::Op::Unmap`]
    pub unmap: bool,
    /// [`crate::Op::WriteZeroes`]
    pub write_zeroes: bool,
    /// [`Channel::lend`] works.
    pub lend: bool,
    /// Every core may open a channel of its own that works locally. Without it the device belongs to one core and
    /// others reach it through `remote`.
    pub per_core: bool,
}

/// Why a channel could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The device is being deleted.
    #[error("block device {name} is being removed")]
    Removed {
        /// The device.
        name: String,
    },
    /// The system refused something the channel needs.
    #[error("cannot open a channel to block device {name}: {what}: {error}")]
    System {
        /// The device.
        name: String,
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        error: std::io::Error,
    },
}

/// A block device, shared by all cores. (`Any`, so that the control plane gets from a name to the kind of device and
/// what only that can do: [`crate::Registry::get_as`].)
pub trait Bdev: Any + Send + Sync + fmt::Debug {
    /// Unique name.
    fn name(&self) -> &str;

    /// SPDK's product name of the kind of device ("Malloc disk", "URING bdev", …).
    fn product(&self) -> &'static str;

    /// Universally unique, stable for the device's life.
    fn uuid(&self) -> [u8; 16];

    /// The present shape.
    fn geometry(&self) -> Geometry;

    /// What it can do.
    fn features(&self) -> Features;

    /// Opens this core's channel. Control path: may allocate, never blocks for long.
    ///
    /// # Errors
    /// When the device is going away or the system refuses.
    fn open(&self, core: &mut Core) -> Result<Box<dyn Channel>, OpenError>;
}
