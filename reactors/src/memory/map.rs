//! Mappings: the system calls behind a region.

use super::available::MemInfo;
use crate::cpu::{self, CpuId};
use std::alloc::Layout;
use std::io;
use std::ptr::{NonNull, null_mut};

/// The huge page plain memory is aligned to, so that transparent huge pages can back it.
pub(super) const HUGE: usize = 2 << 20;
/// The smallest page of any machine this runs on.
pub(super) const PAGE: usize = 4096;

/// Anonymous private memory, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    addr: NonNull<u8>,
    len: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Huge(Layout),
    Plain,
}

// SAFETY: a mapping is plain memory, owned by this value, with no tie to a thread.
unsafe impl Send for Mapping {}
// SAFETY: a shared Mapping only tells where the memory is; touching it is up to the holder of a Region or Part.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of the kernel's reserved huge pages; `None` if it has too few.
    pub(super) fn huge(len: usize, info: &MemInfo) -> Option<Self> {
        // Asked first, since hugepage-rs panics on a kernel that has no huge page size.
        let size = info.huge_page_size.filter(|size| size.is_power_of_two())?;
        let len = len.checked_next_multiple_of(size)?;
        if info.huge_free() < len {
            return None;
        }
        let layout = Layout::from_size_align(len, PAGE).ok()?;
        // SAFETY: the layout is not of size zero: `len` is a positive multiple of the page size, see `Arena::map`.
        let addr = NonNull::new(unsafe { hugepage_rs::alloc(layout) })?;
        let mapping = Self { addr, len, kind: Kind::Huge(layout) };
        // A forked child must not get a copy-on-write view: the parent would move off the pages a device knows.
        mapping.advise(0, len, libc::MADV_DONTFORK).ok();
        Some(mapping)
    }

    /// `len` bytes of plain pages, aligned so that the kernel may back them with huge ones.
    pub(super) fn plain(len: usize) -> io::Result<Self> {
        let too_long = || io::Error::from_raw_os_error(libc::ENOMEM);
        let len = len.checked_next_multiple_of(HUGE).ok_or_else(too_long)?;
        let whole = len.checked_add(HUGE).ok_or_else(too_long)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(null_mut(), whole, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = base.cast::<u8>();
        let head = base.align_offset(HUGE);
        // SAFETY: head ≤ HUGE - 1 < whole, so all three pieces lie in the mapping just made; the two unmapped ones
        // are page aligned and used by nobody.
        let addr = unsafe {
            if head > 0 {
                libc::munmap(base.cast(), head);
            }
            libc::munmap(base.add(head + len).cast(), HUGE - head);
            NonNull::new_unchecked(base.add(head))
        };
        let mapping = Self { addr, len, kind: Kind::Plain };
        // Both are improvements the kernel may not have been built with.
        mapping.advise(0, len, libc::MADV_HUGEPAGE).ok();
        mapping.advise(0, len, libc::MADV_DONTFORK).ok();
        Ok(mapping)
    }

    /// Backs all of it with memory now, so that no I/O takes a page fault and a shortage shows here. With CPUs given,
    /// each backs an equal part from a thread of its own, so that the part lies at that CPU's node.
    pub(super) fn populate(&self, cpus: &[CpuId]) -> io::Result<()> {
        if cpus.is_empty() {
            return self.populate_range(0, self.len);
        }
        let each = super::region::part_size(self.len, cpus.len());
        std::thread::scope(|scope| {
            let work = |(i, cpu): (usize, &CpuId)| {
                let (cpu, start) = (*cpu, i * each);
                // The last one also takes the remainder.
                let len = if i + 1 == cpus.len() { self.len - start } else { each };
                std::thread::Builder::new().spawn_scoped(scope, move || {
                    // Unpinned it works too, only perhaps on the wrong node.
                    let _ = cpu::pin(cpu);
                    self.populate_range(start, len)
                })
            };
            let threads: Vec<_> = cpus.iter().enumerate().map(work).collect();
            let failed = || io::Error::other("a thread that touches memory failed");
            threads.into_iter().try_for_each(|t| t?.join().unwrap_or_else(|_| Err(failed())))
        })
    }

    fn populate_range(&self, start: usize, len: usize) -> io::Result<()> {
        match self.advise(start, len, libc::MADV_POPULATE_WRITE) {
            // Before Linux 5.14: touch each page by hand.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                for offset in (start..start + len).step_by(PAGE) {
                    // SAFETY: the offset lies in the mapping, which nobody else knows yet.
                    unsafe { self.addr.add(offset).write_volatile(0) };
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Keeps it from being swapped out. Huge pages never are.
    pub(super) fn lock(&self) -> io::Result<()> {
        if self.is_huge() {
            return Ok(());
        }
        // SAFETY: exactly this mapping.
        check(unsafe { libc::mlock(self.addr.as_ptr().cast(), self.len) })
    }

    fn advise(&self, start: usize, len: usize, advice: libc::c_int) -> io::Result<()> {
        debug_assert!(start + len <= self.len);
        // SAFETY: the range lies in this mapping; none of the advices used discards its content.
        check(unsafe { libc::madvise(self.addr.as_ptr().add(start).cast(), len, advice) })
    }

    pub(super) const fn as_ptr(&self) -> NonNull<u8> {
        self.addr
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_huge(&self) -> bool {
        matches!(self.kind, Kind::Huge(_))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        match self.kind {
            // SAFETY: allocated in `huge` with this layout, and nobody uses it any more.
            Kind::Huge(layout) => unsafe { hugepage_rs::dealloc(self.addr.as_ptr(), layout) },
            Kind::Plain => {
                // SAFETY: mapped in `plain` with this length, and nobody uses it any more.
                unsafe { libc::munmap(self.addr.as_ptr().cast(), self.len) };
            }
        }
    }
}
