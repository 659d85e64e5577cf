//! `Region`: owned, pinned, zeroed memory, and `Part`: an exclusive piece of one.

use super::arena::Ledger;
use super::map::Mapping;
use std::ptr::NonNull;
use std::sync::Arc;

/// Names a region; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionId(pub u64);

/// Where a region lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The region.
    pub id: RegionId,
    /// Its address.
    pub addr: usize,
    /// Its bytes.
    pub len: usize,
}

impl Extent {
    /// Whether `len` bytes at `addr` lie in the region.
    #[inline]
    #[must_use]
    pub const fn contains(&self, addr: usize, len: usize) -> bool {
        // Written without sums that could overflow.
        addr >= self.addr && addr - self.addr <= self.len && len <= self.len - (addr - self.addr)
    }
}

/// Memory of an [`super::Arena`], zeroed when handed out, freed (after the registrars were told) when dropped. Its
/// owner may share it as `Arc<Region>`; who may touch which bytes when is theirs to settle.
#[derive(Debug)]
pub struct Region {
    extent: Extent,
    mapping: Mapping,
    ledger: Arc<Ledger>,
}

impl Region {
    pub(super) fn new(extent: Extent, mapping: Mapping, ledger: Arc<Ledger>) -> Self {
        Self { extent, mapping, ledger }
    }

    /// The region's name.
    #[must_use]
    pub const fn id(&self) -> RegionId {
        self.extent.id
    }

    /// Its first byte, aligned to a huge page.
    #[must_use]
    pub const fn as_ptr(&self) -> NonNull<u8> {
        self.mapping.as_ptr()
    }

    /// Its bytes: what was asked for, rounded up to whole huge pages.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub const fn len(&self) -> usize {
        self.extent.len
    }

    /// Where it lies.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// Whether it is made of huge pages.
    #[must_use]
    pub const fn is_huge(&self) -> bool {
        self.mapping.is_huge()
    }

    /// Cuts the region into `n` exclusive parts of equal size, each aligned like the region itself where that leaves
    /// them at least one unit; the rest is not used.
    #[must_use]
    pub fn split(self, n: usize) -> Vec<Part> {
        let (addr, each) = (self.as_ptr(), part_size(self.len(), n));
        let region = Arc::new(self);
        let part = |i| {
            // SAFETY: `n` parts of `each` bytes fit the region, see `part_size`.
            let addr = unsafe { addr.add(i * each) };
            Part { addr, len: each, region: region.clone() }
        };
        (0..n).map(part).collect()
    }
}

/// Bytes of each of `n` equal parts of `len` bytes: whole huge pages if there is one for each, else whole pages.
pub(super) fn part_size(len: usize, n: usize) -> usize {
    let each = len / n.max(1);
    let unit = if each >= super::map::HUGE { super::map::HUGE } else { super::map::PAGE };
    each / unit * unit
}

impl Drop for Region {
    fn drop(&mut self) {
        self.ledger.remove(self.extent);
    }
}

/// An exclusive piece of a region: no two parts overlap, and a part is never duplicated.
#[derive(Debug)]
pub struct Part {
    addr: NonNull<u8>,
    len: usize,
    region: Arc<Region>,
}

// SAFETY: a part is the only handle to its bytes; nothing about them is bound to a thread.
unsafe impl Send for Part {}

impl Part {
    /// Its first byte.
    #[must_use]
    pub const fn as_ptr(&self) -> NonNull<u8> {
        self.addr
    }

    /// Its bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// It has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The region it is a piece of. Gives up exclusivity to whoever remembers the address: for one who cuts it
    /// further.
    #[must_use]
    pub fn into_region(self) -> Arc<Region> {
        self.region
    }
}
