//! `RegionCache`: finds the region of an address without a lock.

use super::arena::Ledger;
use super::region::Extent;
use std::sync::Arc;

/// One core's copy of the list of regions. A look-up costs one load of a generation and a comparison with the region
/// found last; the lock is taken only after regions appeared or disappeared.
#[derive(Debug)]
pub struct RegionCache {
    ledger: Arc<Ledger>,
    generation: u64,
    regions: Arc<[Extent]>,
    last: usize,
}

impl RegionCache {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        let (generation, regions) = ledger.snapshot();
        Self { ledger, generation, regions, last: 0 }
    }

    /// The region that holds all of the `len` bytes at `addr`.
    #[inline]
    pub fn find(&mut self, addr: usize, len: usize) -> Option<Extent> {
        if self.ledger.generation() != self.generation {
            self.refresh();
        }
        if let Some(region) = self.regions.get(self.last).filter(|r| r.contains(addr, len)) {
            return Some(*region);
        }
        self.search(addr, len)
    }

    fn search(&mut self, addr: usize, len: usize) -> Option<Extent> {
        let at = self.regions.partition_point(|r| r.addr <= addr).checked_sub(1)?;
        let region = *self.regions.get(at)?;
        region.contains(addr, len).then(|| {
            self.last = at;
            region
        })
    }

    #[cold]
    fn refresh(&mut self) {
        (self.generation, self.regions) = self.ledger.snapshot();
        self.last = 0;
    }
}
