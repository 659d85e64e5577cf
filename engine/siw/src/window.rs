//! The windows of one queue pair.

use primitives::IndexQueue;
use rdma::{Access, Memory, Remote, Sge, Stag};

/// Why a peer may not have what it reaches for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denied {
    /// The STag is none, or none of this connection, or closed.
    Stag,
    /// The bytes are not all in it.
    Bounds,
    /// The end of the bytes has no address.
    Wrap,
    /// It is open for the other direction.
    Rights,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No memory in it.
    Free,
    /// Its bind is posted and not executed.
    Binding,
    /// The peer may use it.
    Live,
    /// Closed by its owner, who has not been told.
    Closing,
    /// Closed, its memory not reclaimed.
    Dead,
}

#[derive(Debug)]
struct Window {
    stag: u32,
    phase: Phase,
    access: Access,
    sge: Option<Sge>,
}

/// Windows by STag: the low bits are the place in this table, all above but the highest bit are random and change with
/// every use. An STag of another connection finds nothing here, as does a stale or a guessed one.
#[derive(Debug)]
pub(crate) struct WindowTable {
    windows: Box<[Window]>,
    free: IndexQueue,
    /// Those that are closing, in the order in which their owner will be told.
    closing: IndexQueue,
    mask: u32,
}

/// Not in any STag of a window: see [`crate::memory::Exposures`].
const HIGHEST: u32 = 1 << 31;

impl WindowTable {
    pub fn new(count: u16) -> Self {
        let window = |_| Window { stag: 0, phase: Phase::Free, access: Access::RemoteRead, sge: None };
        let mut free = IndexQueue::new(usize::from(count));
        for i in 0..u32::from(count) {
            // There is room for every index there is.
            let _ = free.push(i);
        }
        let closing = IndexQueue::new(usize::from(count));
        let mask = u32::from(count).next_power_of_two() - 1;
        Self { windows: (0..count).map(window).collect(), free, closing, mask }
    }

    /// Puts `sge` into a free window; the memory comes back when there is none.
    pub fn open(&mut self, sge: Sge, access: Access, random: u32) -> Result<Remote, Sge> {
        let Some(index) = self.free.pop() else { return Err(sge) };
        let window = &mut self.windows[index as usize];
        let mut stag = (random & !HIGHEST & !self.mask) | index;
        while stag == window.stag || stag == 0 {
            // Further, so that neither the last one nor "none" comes out.
            stag = stag.wrapping_add(self.mask + 1) & !HIGHEST;
        }
        let remote = Remote { stag: Stag(stag), va: sge.addr() as u64 };
        *window = Window { stag, phase: Phase::Binding, access, sge: Some(sge) };
        Ok(remote)
    }

    /// Its bind is executed.
    pub fn bound(&mut self, stag: Stag) {
        if let Some(window) = self.find(stag).filter(|w| w.phase == Phase::Binding) {
            window.phase = Phase::Live;
        }
    }

    /// Whether the peer may use it.
    pub fn is_live(&mut self, stag: Stag) -> bool {
        self.find(stag).is_some_and(|w| w.phase == Phase::Live)
    }

    /// Closes a live window, whose owner is [told](Self::told) later.
    pub fn close(&mut self, stag: Stag) {
        if let Some(window) = self.find(stag).filter(|w| w.phase == Phase::Live) {
            window.phase = Phase::Closing;
            // There is room for every index there is.
            let _ = self.closing.push(stag.0 & self.mask);
        }
    }

    /// The owner has been told of the oldest that it closed and was not told of.
    pub fn told(&mut self) {
        let closed = self.closing.pop().and_then(|index| self.windows.get_mut(index as usize));
        if let Some(window) = closed.filter(|w| w.phase == Phase::Closing) {
            window.phase = Phase::Dead;
        }
    }

    /// Closes a live window, for the peer; `false` if there is none of that name.
    pub fn invalidate(&mut self, stag: Stag) -> bool {
        let window = self.find(stag).filter(|w| w.phase == Phase::Live);
        window.map(|w| w.phase = Phase::Dead).is_some()
    }

    /// The `len` bytes at `va` of a live window, if the peer may have `access` to them.
    pub fn reach(&self, stag: u32, va: u64, len: u32, access: Access) -> Result<*mut u8, Denied> {
        let window = self.windows.get((stag & self.mask) as usize);
        let window = window.filter(|w| w.stag == stag && w.phase == Phase::Live).ok_or(Denied::Stag)?;
        let sge = window.sge.as_ref().ok_or(Denied::Stag)?;
        if window.access != access {
            return Err(Denied::Rights);
        }
        let addr = usize::try_from(va).map_err(|_| Denied::Bounds)?;
        let bytes = Memory { addr: sge.addr(), len: sge.len as usize };
        if !bytes.contains(addr, len as usize) {
            return Err(Denied::Bounds);
        }
        Ok(sge.buf.as_ptr().with_addr(addr))
    }

    /// Takes the memory of a closed window, or of any when nothing can reach it any more.
    pub fn reclaim(&mut self, stag: Stag, unreachable: bool) -> Option<Sge> {
        let free = |w: &&mut Window| w.phase == Phase::Dead || (unreachable && w.phase != Phase::Free);
        let window = self.find(stag).filter(free)?;
        window.phase = Phase::Free;
        let sge = window.sge.take();
        // There is room for every index there is.
        let _ = self.free.push(stag.0 & self.mask);
        sge
    }

    /// What lies in windows.
    pub fn memory(&self) -> impl Iterator<Item = &Sge> {
        self.windows.iter().filter_map(|w| w.sge.as_ref())
    }

    fn find(&mut self, stag: Stag) -> Option<&mut Window> {
        self.windows.get_mut((stag.0 & self.mask) as usize).filter(|w| w.stag == stag.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use primitives::{Buf, Home};
    use std::ptr::NonNull;

    fn sge(memory: &mut [u8], start: u32, len: u32) -> Sge {
        let ptr = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the test's array outlives the handle and has no other user meanwhile.
        Sge::new(unsafe { Buf::from_raw(ptr, memory.len() as u32, Home::Lent) }, start, len)
    }

    #[test]
    fn exactly_its_bytes_its_direction_and_its_time() {
        let mut memory = [0u8; 64];
        let mut table = WindowTable::new(3);
        let remote = table.open(sge(&mut memory, 16, 32), Access::RemoteRead, 0xFFFF_FFFF).unwrap();
        let (stag, va) = (remote.stag.0, remote.va);
        assert_eq!(stag >> 31, 0, "the highest bit is that of exposures");
        let check =
            |t: &WindowTable, stag, va, len| t.reach(stag, va, len, Access::RemoteRead).map(|at| at.addr() as u64);
        assert_eq!(check(&table, stag, va, 32), Err(Denied::Stag), "its bind is not executed");
        table.bound(remote.stag);
        assert_eq!(check(&table, stag, va, 32), Ok(va));
        assert_eq!(check(&table, stag, va + 31, 1), Ok(va + 31));
        assert_eq!(table.reach(stag, va, 1, Access::RemoteWrite), Err(Denied::Rights));
        for (at, len) in [(va - 1, 1), (va, 33), (va + 32, 1), (va + 1, 32), (0, 1), (u64::MAX, 1), (va, u32::MAX)] {
            assert_eq!(check(&table, stag, at, len), Err(Denied::Bounds));
        }
        for bit in 0..32 {
            assert_eq!(check(&table, stag ^ 1 << bit, va, 1), Err(Denied::Stag));
        }
        assert!(table.reclaim(remote.stag, false).is_none(), "it is open");
        assert!(table.invalidate(remote.stag) && !table.invalidate(remote.stag));
        assert_eq!(check(&table, stag, va, 1), Err(Denied::Stag));
        assert!(table.reclaim(remote.stag, false).is_some() && table.reclaim(remote.stag, true).is_none());
        assert_eq!(table.memory().count(), 0);
    }

    #[test]
    fn memory_stays_until_its_owner_knows() {
        let mut memory = [0u8; 8];
        let mut table = WindowTable::new(2);
        let opened = [3, 5].map(|random| table.open(sge(&mut memory, 0, 8), Access::RemoteRead, random << 8).unwrap());
        for remote in opened {
            table.bound(remote.stag);
            table.close(remote.stag);
            assert!(!table.is_live(remote.stag) && !table.invalidate(remote.stag));
            assert_eq!(table.reach(remote.stag.0, remote.va, 1, Access::RemoteRead), Err(Denied::Stag));
        }
        assert!(table.reclaim(opened[0].stag, false).is_none());
        table.told();
        assert!(table.reclaim(opened[1].stag, false).is_none(), "they are told of in order");
        assert!(table.reclaim(opened[0].stag, false).is_some());
        table.told();
        assert!(table.reclaim(opened[1].stag, false).is_some());
        table.told();
    }

    #[test]
    fn no_use_has_the_stag_of_the_one_before() {
        let mut memory = [0u8; 8];
        for random in [0, 1, u32::MAX, 0x7FFF_FFFF, 0x8000_0000] {
            let mut table = WindowTable::new(1);
            let mut last = 0;
            for _ in 0..4 {
                let stag = table.open(sge(&mut memory, 0, 8), Access::RemoteWrite, random).unwrap().stag;
                assert!(stag.0 != last && stag.0 != 0 && stag.0 >> 31 == 0);
                assert!(table.open(sge(&mut memory, 0, 8), Access::RemoteWrite, random).is_err(), "there is but one");
                last = stag.0;
                assert!(table.reclaim(stag, true).is_some());
            }
        }
        assert!(WindowTable::new(0).open(sge(&mut memory, 0, 8), Access::RemoteRead, 9).is_err());
        assert_eq!(WindowTable::new(0).reach(0, 0, 1, Access::RemoteRead), Err(Denied::Stag));
    }
}
