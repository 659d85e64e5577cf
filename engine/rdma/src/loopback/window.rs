//! The windows of one queue pair.

use super::audit::Wrong;
use super::rng::Rng;
use crate::memory::{Access, Remote, Sge, Stag};
use alloc::boxed::Box;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No memory in it.
    Free,
    /// Its bind is posted and not executed.
    Binding,
    /// The peer may use it.
    Live,
    /// Closed, its memory not reclaimed.
    Dead,
}

#[derive(Debug)]
struct Window {
    stag: Stag,
    phase: Phase,
    access: Access,
    sge: Option<Sge>,
}

/// STags are a number unique in the world above a random key byte that changes with every use: a guess or a stale one
/// finds nothing, as with siw and real devices.
#[derive(Debug)]
pub(super) struct WindowTable(Box<[Window]>);

impl WindowTable {
    pub(super) fn new(count: u16, first: u32) -> Self {
        let window = |i| {
            let stag = Stag((first + u32::from(i)) << 8);
            Window { stag, phase: Phase::Free, access: Access::RemoteRead, sge: None }
        };
        Self((0..count).map(window).collect())
    }

    /// Puts `sge` into a free window; the memory comes back when there is none.
    pub(super) fn open(&mut self, sge: Sge, access: Access, rng: &mut Rng) -> Result<Remote, Sge> {
        let Some(window) = self.0.iter_mut().find(|w| w.phase == Phase::Free) else { return Err(sge) };
        let key = (window.stag.0 as u8).wrapping_add(1 + rng.below(255) as u8);
        window.stag = Stag(window.stag.0 & !0xFF | u32::from(key));
        let remote = Remote { stag: window.stag, va: sge.addr() as u64 };
        (window.phase, window.access, window.sge) = (Phase::Binding, access, Some(sge));
        Ok(remote)
    }

    /// Its bind is executed.
    pub(super) fn bound(&mut self, stag: Stag) {
        if let Some(window) = self.find(stag).filter(|w| w.phase == Phase::Binding) {
            window.phase = Phase::Live;
        }
    }

    /// Closes a live window.
    pub(super) fn invalidate(&mut self, stag: Stag) -> Result<(), Wrong> {
        match self.find(stag) {
            Some(window) if window.phase == Phase::Live => {
                window.phase = Phase::Dead;
                Ok(())
            }
            _ => Err(self.why_not(stag)),
        }
    }

    /// The memory of a live window and the offset in its buffer, if the peer may have `access` to `len` bytes of it.
    pub(super) fn reach(&mut self, remote: Remote, len: u32, access: Access) -> Result<(&mut Sge, usize), Wrong> {
        let missing = self.why_not(remote.stag);
        let window = self.find(remote.stag).filter(|w| w.phase == Phase::Live).ok_or(missing)?;
        if window.access != access {
            return Err(Wrong::Rights);
        }
        let sge = window.sge.as_mut().ok_or(missing)?;
        let offset = remote.va.checked_sub(sge.addr() as u64).ok_or(Wrong::Bounds)?;
        // The offset is compared first, so the difference cannot wrap.
        if offset > u64::from(sge.len) || u64::from(len) > u64::from(sge.len) - offset {
            return Err(Wrong::Bounds);
        }
        let at = sge.start as usize + offset as usize;
        Ok((sge, at))
    }

    /// Takes the memory of a closed window, or of any when nothing can reach it any more.
    pub(super) fn reclaim(&mut self, stag: Stag, unreachable: bool) -> Option<Sge> {
        let window = self.find(stag).filter(|w| w.phase == Phase::Dead || (unreachable && w.phase != Phase::Free))?;
        window.phase = Phase::Free;
        window.sge.take()
    }

    /// What lies in windows.
    pub(super) fn memory(&self) -> impl Iterator<Item = &Sge> {
        self.0.iter().filter_map(|w| w.sge.as_ref())
    }

    fn find(&mut self, stag: Stag) -> Option<&mut Window> {
        self.0.iter_mut().find(|w| w.stag == stag)
    }

    fn why_not(&self, stag: Stag) -> Wrong {
        let known = self.0.iter().any(|w| w.stag.0 >> 8 == stag.0 >> 8 && w.phase != Phase::Binding);
        if known { Wrong::Invalidated } else { Wrong::Unknown }
    }
}
