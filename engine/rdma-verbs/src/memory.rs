//! Which memory is registered, and how much of it is in use.

use crate::limits::REGIONS;
use crate::pinned::Pinned;
use crate::sys::{Domain, Region};
use rdma::{Memory, Refused, Sge, Why};
use std::sync::Arc;

#[derive(Debug)]
struct Known {
    memory: Memory,
    /// Requests and windows in it.
    used: u32,
}

/// The regions that were added, by address.
#[derive(Debug, Default)]
pub struct Regions {
    known: Vec<Known>,
    /// Where the last look-up ended: the next one is mostly there, too.
    last: usize,
}

impl Regions {
    /// Where `memory` belongs.
    ///
    /// # Errors
    /// [`Refused::InUse`] if it overlaps another, [`Refused::Limit`].
    fn place(&self, memory: &Memory) -> Result<usize, Refused> {
        if self.known.len() >= REGIONS {
            return Err(Refused::Limit { what: "memory regions", limit: REGIONS });
        }
        if self.known.iter().any(|known| known.memory.overlaps(memory)) {
            return Err(Refused::InUse);
        }
        Ok(self.known.partition_point(|known| known.memory.addr < memory.addr))
    }

    /// The number of the region that `len` bytes at `addr` lie in; valid until regions come or go.
    pub fn number(&self, addr: usize, len: usize) -> Option<usize> {
        let at = self.known.partition_point(|known| known.memory.addr <= addr).checked_sub(1)?;
        self.known[at].memory.contains(addr, len).then_some(at)
    }

    fn find(&mut self, addr: usize, len: usize) -> Option<usize> {
        let holds = |known: &Known| known.memory.contains(addr, len);
        if self.known.get(self.last).is_some_and(holds) {
            return Some(self.last);
        }
        self.last = self.number(addr, len)?;
        Some(self.last)
    }

    /// One more use of the bytes; the region's number.
    ///
    /// # Errors
    /// [`Why::Unregistered`].
    pub fn hold(&mut self, addr: usize, len: usize) -> Result<usize, Why> {
        let at = self.find(addr, len).ok_or(Why::Unregistered)?;
        self.known[at].used += 1;
        Ok(at)
    }

    /// One use less.
    pub fn release(&mut self, addr: usize, len: usize) {
        if let Some(at) = self.find(addr, len) {
            self.known[at].used = self.known[at].used.saturating_sub(1);
        }
    }

    /// One use less of each of these.
    pub fn release_all<'a>(&mut self, sges: impl Iterator<Item = &'a Sge>) {
        for sge in sges {
            let (addr, len) = extent(sge);
            self.release(addr, len);
        }
    }

    /// The regions, by rising address.
    fn list(&self) -> impl Iterator<Item = Memory> {
        self.known.iter().map(|known| known.memory)
    }
}

/// What of its buffer an element holds: from the first byte on, so that not even an element without bytes lies between
/// two regions.
pub fn extent(sge: &Sge) -> (usize, usize) {
    let end = (sge.start as usize).saturating_add(sge.len as usize);
    (sge.buf.as_ptr().addr(), end.max(1))
}

/// A protection domain with the regions registered in it.
#[derive(Debug)]
pub struct Registered {
    /// In the order of [`Regions`]; dropped before their domain.
    regions: Vec<Arc<Region>>,
    pinned: Arc<Pinned>,
}

impl Registered {
    /// A domain that knows nothing yet.
    pub const fn new(pinned: Arc<Pinned>) -> Self {
        Self { regions: Vec::new(), pinned }
    }

    /// A domain that knows all of `regions`.
    ///
    /// # Errors
    /// The device's error number.
    pub fn with(pinned: Arc<Pinned>, regions: &Regions) -> Result<Self, i32> {
        let known = regions.list().map(|memory| pinned.region(memory)).collect::<Result<_, _>>()?;
        Ok(Self { regions: known, pinned })
    }

    pub fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    pub fn domain(&self) -> &Domain {
        self.pinned.domain()
    }

    /// The region of a number from [`Regions::hold`].
    pub fn region(&self, at: usize) -> &Region {
        &self.regions[at]
    }
}

/// Adds a region to all of `domains`, or to none.
///
/// # Errors
/// As [`rdma::Provider::add_memory`].
pub fn add(regions: &mut Regions, domains: &mut [&mut Registered], memory: Memory) -> Result<(), Refused> {
    let at = regions.place(&memory)?;
    for n in 0..domains.len() {
        match domains[n].pinned.region(memory) {
            Ok(region) => domains[n].regions.insert(at, region),
            Err(errno) => {
                domains[..n].iter_mut().for_each(|domain| drop(domain.regions.remove(at)));
                return Err(Refused::System(errno));
            }
        }
    }
    regions.known.insert(at, Known { memory, used: 0 });
    Ok(())
}

/// Removes a region from all of `domains`.
///
/// # Errors
/// As [`rdma::Provider::remove_memory`].
pub fn remove(regions: &mut Regions, domains: &mut [&mut Registered], memory: Memory) -> Result<(), Refused> {
    let at = regions.known.iter().position(|known| known.memory == memory).ok_or(Refused::Gone)?;
    if regions.known[at].used > 0 {
        return Err(Refused::InUse);
    }
    domains.iter_mut().for_each(|domain| drop(domain.regions.remove(at)));
    regions.known.remove(at);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(addr: usize) -> Memory {
        Memory { addr, len: 100 }
    }

    #[test]
    fn regions_are_found_by_address_and_kept_while_in_use() {
        let mut regions = Regions::default();
        for addr in [3000, 1000, 2000] {
            add(&mut regions, &mut [], memory(addr)).unwrap();
        }
        assert_eq!(add(&mut regions, &mut [], memory(2099)), Err(Refused::InUse));
        assert_eq!(add(&mut regions, &mut [], memory(2001)), Err(Refused::InUse));
        assert_eq!((regions.hold(1000, 100), regions.hold(3099, 1), regions.hold(2050, 1)), (Ok(0), Ok(2), Ok(1)));
        for (addr, len) in [(999, 1), (1000, 101), (1100, 1), (5000, 1), (0, usize::MAX), (usize::MAX, 1)] {
            assert_eq!(regions.hold(addr, len), Err(Why::Unregistered), "{addr} + {len}");
        }
        assert_eq!(remove(&mut regions, &mut [], memory(3000)), Err(Refused::InUse));
        regions.release(3099, 1);
        assert_eq!(remove(&mut regions, &mut [], memory(3000)), Ok(()));
        assert_eq!(remove(&mut regions, &mut [], memory(3000)), Err(Refused::Gone));
        assert_eq!(regions.hold(3000, 1), Err(Why::Unregistered), "the last hit is no longer there");
        assert_eq!(remove(&mut regions, &mut [], Memory { addr: 1000, len: 50 }), Err(Refused::Gone));
    }
}
