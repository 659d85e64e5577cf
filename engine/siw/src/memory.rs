//! Memory that the device knows: for local use, and exposed to every peer.

use crate::limits::{EXPOSED, REGIONS};
use crate::random::Random;
use crate::window::Denied;
use primitives::IndexQueue;
use rdma::{Access, Memory, Refused, Stag};

/// So many regions are looked through one after the other.
const FEW: usize = 4;

/// The regions for local use, by address. They never overlap.
#[derive(Debug, Default)]
pub(crate) struct Regions(Vec<Memory>);

impl Regions {
    pub fn add(&mut self, memory: Memory) -> Result<(), Refused> {
        if self.0.len() >= REGIONS {
            return Err(Refused::Limit { what: "memory regions", limit: REGIONS });
        }
        let at = self.0.partition_point(|m| m.addr < memory.addr);
        let neighbours = at.saturating_sub(1)..self.0.len().min(at + 1);
        if self.0[neighbours].iter().any(|m| m.overlaps(&memory) || m.addr == memory.addr) {
            return Err(Refused::InUse);
        }
        self.0.insert(at, memory);
        Ok(())
    }

    pub fn remove(&mut self, memory: Memory) -> Result<(), Refused> {
        let at = self.0.iter().position(|m| *m == memory).ok_or(Refused::Gone)?;
        self.0.remove(at);
        Ok(())
    }

    pub fn has(&self, memory: Memory) -> bool {
        self.0.contains(&memory)
    }

    /// Whether these bytes lie in one region. None do anywhere.
    #[inline]
    pub fn knows(&self, addr: usize, len: usize) -> bool {
        // Those of a process are few, and sooner looked through than searched; without bytes it is the same where.
        len == 0
            || if self.0.len() <= FEW { self.0.iter().any(|m| m.contains(addr, len)) } else { self.find(addr, len) }
    }

    fn find(&self, addr: usize, len: usize) -> bool {
        let after = self.0.partition_point(|m| m.addr <= addr);
        after.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|m| m.contains(addr, len))
    }
}

#[derive(Clone, Copy, Debug)]
struct Exposure {
    stag: u32,
    memory: Memory,
    read: bool,
    write: bool,
}

/// STags of exposures have this bit, those of windows have it not: neither is ever taken for the other.
const EXPOSURE: u32 = 1 << 31;
const INDEX: u32 = EXPOSED as u32 - 1;

/// Regions that every peer of the device may use, until they are concealed.
#[derive(Debug)]
pub(crate) struct Exposures {
    slots: Vec<Option<Exposure>>,
    free: IndexQueue,
}

impl Exposures {
    pub fn new() -> Self {
        Self { slots: Vec::new(), free: IndexQueue::new(EXPOSED) }
    }

    pub fn add(&mut self, memory: Memory, read: bool, write: bool, random: &mut Random) -> Result<Stag, Refused> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None if self.slots.len() < EXPOSED => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return Err(Refused::Limit { what: "exposed regions", limit: EXPOSED }),
        };
        let stag = EXPOSURE | random.next() & !INDEX | index as u32;
        self.slots[index] = Some(Exposure { stag, memory, read, write });
        Ok(Stag(stag))
    }

    pub fn remove(&mut self, stag: Stag) -> Result<(), Refused> {
        let index = stag.0 & INDEX;
        let slot = self.slots.get_mut(index as usize).filter(|s| s.is_some_and(|e| e.stag == stag.0));
        *slot.ok_or(Refused::Gone)? = None;
        // There is room for every index there is.
        let _ = self.free.push(index);
        Ok(())
    }

    /// Closes an exposure to all peers, as one of them asks by a Send with Invalidate. Removing it is still up to its
    /// owner.
    pub fn invalidate(&mut self, stag: Stag) -> bool {
        let slot = self.slots.get_mut((stag.0 & INDEX) as usize).and_then(Option::as_mut);
        let Some(exposure) = slot.filter(|e| e.stag == stag.0) else { return false };
        (exposure.read, exposure.write) = (false, false);
        true
    }

    pub fn overlaps(&self, memory: &Memory) -> bool {
        self.slots.iter().flatten().any(|e| e.memory.overlaps(memory))
    }

    /// The `len` bytes at `va`, if a peer may have `access` to them.
    pub fn reach(&self, stag: u32, va: u64, len: u32, access: Access) -> Result<*mut u8, Denied> {
        let exposure = self.slots.get((stag & INDEX) as usize).and_then(Option::as_ref);
        let exposure = exposure.filter(|e| e.stag == stag).ok_or(Denied::Stag)?;
        let allowed = if access == Access::RemoteRead { exposure.read } else { exposure.write };
        if !allowed {
            return Err(Denied::Rights);
        }
        let addr = usize::try_from(va).map_err(|_| Denied::Bounds)?;
        if !exposure.memory.contains(addr, len as usize) {
            return Err(Denied::Bounds);
        }
        // All that is known of the memory is its address: its owner exposed it in this sense as well.
        Ok(std::ptr::with_exposed_provenance_mut(addr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(addr: usize, len: usize) -> Memory {
        Memory { addr, len }
    }

    #[test]
    fn regions_are_found_by_address_and_never_overlap() {
        let mut regions = Regions::default();
        assert!(regions.knows(7, 0) && !regions.knows(7, 1));
        for addr in [500, 100, 300] {
            regions.add(at(addr, 100)).unwrap();
        }
        for wrong in [at(100, 100), at(150, 1), at(0, 101), at(199, 2), at(250, 51), at(0, usize::MAX), at(100, 0)] {
            assert_eq!(regions.add(wrong), Err(Refused::InUse), "{wrong:?}");
        }
        assert!(regions.knows(100, 100) && regions.knows(599, 1) && regions.knows(350, 50) && regions.knows(1, 0));
        assert!(!regions.knows(99, 2) && !regions.knows(199, 2) && !regions.knows(250, 1) && !regions.knows(599, 2));
        assert!(!regions.knows(usize::MAX, 2) && !regions.knows(350, usize::MAX));
        regions.add(at(200, 100)).unwrap();
        assert!(!regions.knows(199, 2), "what spans two regions is in neither");
        assert_eq!(regions.remove(at(300, 99)), Err(Refused::Gone));
        regions.remove(at(300, 100)).unwrap();
        assert!(!regions.knows(350, 1) && !regions.has(at(300, 100)) && regions.has(at(200, 100)));
        for more in 0..=FEW {
            regions.add(at(1000 + 100 * more, 50)).unwrap();
            assert!(regions.knows(1000 + 100 * more, 50) && regions.knows(100, 100), "few or many: it is the same");
            assert!(!regions.knows(1049 + 100 * more, 2) && !regions.knows(350, 1) && !regions.knows(99, 1));
        }
    }

    #[test]
    fn exposures_have_bounds_rights_and_an_end() {
        let (mut exposures, mut random) = (Exposures::new(), Random::new());
        let stag = exposures.add(at(1000, 100), true, false, &mut random).unwrap();
        let check = |e: &Exposures, stag: u32, va, len, access| e.reach(stag, va, len, access).map(|at| at.addr());
        assert_eq!(check(&exposures, stag.0, 1000, 100, Access::RemoteRead), Ok(1000));
        assert_eq!(check(&exposures, stag.0, 1000, 100, Access::RemoteWrite), Err(Denied::Rights));
        for (va, len) in [(999, 1), (1000, 101), (1100, 1), (u64::MAX, 2), (0, 1)] {
            assert_eq!(check(&exposures, stag.0, va, len, Access::RemoteRead), Err(Denied::Bounds));
        }
        for flip in [1, 0x1000, 1 << 30, 1 << 31] {
            assert_eq!(check(&exposures, stag.0 ^ flip, 1000, 1, Access::RemoteRead), Err(Denied::Stag));
        }
        assert!(exposures.overlaps(&at(1099, 5)) && !exposures.overlaps(&at(1100, 5)));
        assert!(!exposures.invalidate(Stag(stag.0 ^ 0x1000)) && exposures.invalidate(stag));
        assert_eq!(check(&exposures, stag.0, 1000, 1, Access::RemoteRead), Err(Denied::Rights));
        exposures.remove(stag).unwrap();
        assert_eq!(exposures.remove(stag), Err(Refused::Gone));
        assert_eq!(check(&exposures, stag.0, 1000, 1, Access::RemoteRead), Err(Denied::Stag));
        let next = exposures.add(at(1000, 100), true, true, &mut random).unwrap();
        assert_eq!(next.0 & INDEX, stag.0 & INDEX, "the place is used again");
        for _ in 1..EXPOSED {
            exposures.add(at(0, 1), true, true, &mut random).unwrap();
        }
        assert!(matches!(exposures.add(at(0, 1), true, true, &mut random), Err(Refused::Limit { .. })));
    }
}
