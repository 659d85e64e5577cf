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
    /// The generation and the regions [`Self::changes`] told of.
    reported: Option<(u64, Arc<[Extent]>)>,
}

/// Regions that came and went. Those removed are unmapped already, and new ones may lie where they lay.
#[derive(Debug)]
pub struct RegionChanges {
    /// Regions that are gone.
    pub removed: Vec<Extent>,
    /// Regions that are new.
    pub added: Vec<Extent>,
}

impl RegionCache {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        let (generation, regions) = ledger.snapshot();
        Self { ledger, generation, regions, last: 0, reported: None }
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

    /// What appeared and disappeared since this was asked last; regions that were there when the cache was made count
    /// as having appeared since. `None`, for the price of one load, when nothing did.
    #[inline]
    pub fn changes(&mut self) -> Option<RegionChanges> {
        let reported = self.reported.as_ref().map_or(0, |(generation, _)| generation + 1);
        (self.ledger.generation() + 1 != reported).then(|| self.report())
    }

    /// All regions that [`Self::changes`] has told of, as if they were new.
    #[must_use]
    pub fn all(&self) -> RegionChanges {
        let added = self.reported.as_ref().map(|(_, regions)| regions.to_vec()).unwrap_or_default();
        RegionChanges { removed: Vec::new(), added }
    }

    #[cold]
    fn report(&mut self) -> RegionChanges {
        self.refresh();
        let (_, old) = self.reported.replace((self.generation, self.regions.clone())).unwrap_or_default();
        let missing = |of: &[Extent], in_: &[Extent]| {
            of.iter().filter(|extent| !in_.contains(extent)).copied().collect::<Vec<_>>()
        };
        RegionChanges { removed: missing(&old, &self.regions), added: missing(&self.regions, &old) }
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
