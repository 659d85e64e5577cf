//! DMA-able memory: huge pages where there are any, pinned plain pages where not.
//!
//! An [`Arena`] hands out [`Region`]s: at start one for all buffer pools, later one per RAM disk. Whoever must know
//! of memory before a device may use it (RDMA providers, io_uring) is a [`Registrar`]. On the data path a region is
//! found by address with a per-core [`RegionCache`].

mod arena;
mod available;
mod lookup;
mod map;
mod region;
mod size;
#[cfg(test)]
mod tests;

pub use arena::{Arena, Hugepages, Registrar};
pub use lookup::{RegionCache, RegionChanges};
pub use region::{Extent, Part, Region, RegionId};
pub use size::{SizeError, format_size, parse_size};

use std::io;

/// Why there is no region.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Huge pages are required and there are too few.
    #[error(
        "{} of huge pages are required, but only {} are free; reserve more with `sysctl vm.nr_hugepages={pages}`, \
         or start with --hugepages auto", format_size(*.asked), format_size(*.free)
    )]
    NoHugePages {
        /// Bytes asked for.
        asked: usize,
        /// Bytes of free huge pages.
        free: usize,
        /// What to set `vm.nr_hugepages` to.
        pages: usize,
    },
    /// Huge pages are required and the kernel has none.
    #[error(
        "huge pages are required, but this kernel has no support for them (no Hugepagesize in /proc/meminfo); \
             start with --hugepages auto"
    )]
    Unsupported,
    /// There is too little memory, and touching more would end in the OOM killer.
    #[error(
        "{} are asked for, but {whose} has only {} to spare; ask for less or free some", format_size(*.asked),
        format_size(*.available)
    )]
    Short {
        /// Bytes asked for.
        asked: usize,
        /// Bytes there are beyond [`crate::limits::MEMORY_HEADROOM`].
        available: usize,
        /// Whose limit that is: the machine's, or a control group's.
        whose: String,
    },
    /// The kernel refused.
    #[error("the kernel refuses {} of memory: {why}", format_size(*.asked))]
    Kernel {
        /// Bytes asked for.
        asked: usize,
        /// The kernel's reason.
        why: io::Error,
    },
    /// A region of no bytes, or of more than the address space.
    #[error("a region of {asked} bytes cannot be made")]
    Size {
        /// Bytes asked for.
        asked: usize,
    },
    /// There are as many regions as there may be.
    #[error("there are {limit} memory regions already; remove a device first")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}
