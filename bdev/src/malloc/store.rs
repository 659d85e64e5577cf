//! The memory of a RAM disk, and the handles to it that are lent.

use std::ptr::NonNull;
use std::sync::Arc;

use primitives::{Buf, Home};
use reactors::Region;

use crate::check::Extent;
use crate::limits;

/// Memory that all channels of one device, on any core, and datamovers, read and write at the same time. As with DMA
/// to one page nobody orders them but the initiators; so no reference to it is ever formed, bytes are only copied.
#[derive(Debug)]
pub(crate) struct Store {
    region: Region,
    bytes: u64,
}

impl Store {
    /// The first `bytes` of `region`, which is at least that long.
    pub fn new(region: Region, bytes: u64) -> Self {
        assert!(bytes <= region.len() as u64, "a medium of {bytes} bytes in a region of {}", region.len());
        Self { region, bytes }
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A handle to the extent, if one can be that long. See [`Lender`], which counts them.
    fn lend(&self, extent: Extent) -> Option<Buf> {
        let capacity = u32::try_from(extent.bytes).ok()?;
        let ptr = self.at(extent);
        // SAFETY: the bytes lie in the region, which was zeroed; the lender keeps the store alive until they have come
        // back (see its `Drop`), and lent memory may be shared. Copies are settled by whoever ends the write: with the
        // flush of a connection, or the message to another thread.
        Some(unsafe {
            if self.is_cold() { Buf::from_cold(ptr, capacity) } else { Buf::from_raw(ptr, capacity, Home::Lent) }
        })
    }

    /// `buf` is what [`Store::lend`] gave for the extent.
    pub fn is_lent(&self, extent: Extent, buf: &Buf) -> bool {
        buf.is_lent() && buf.as_ptr() == self.at(extent).as_ptr()
    }

    /// Copies the extent to offset `at` of `buf`.
    pub fn read(&self, extent: Extent, buf: &mut Buf, at: u64) {
        let (at, n) = inside(buf, at, extent.bytes);
        // SAFETY: both ranges were checked, and pool memory never overlaps a store. The bytes may change under the
        // copy as they may under DMA; any mix of old and new is a legal result of concurrent writes.
        unsafe { std::ptr::copy_nonoverlapping(self.at(extent).as_ptr(), buf.as_ptr().add(at), n) };
    }

    /// Copies from offset `at` of `buf` to the extent.
    pub fn write(&self, extent: Extent, buf: &Buf, at: u64) {
        let (at, n) = inside(buf, at, extent.bytes);
        let (from, to) = (buf.as_ptr().wrapping_add(at), self.at(extent).as_ptr());
        // SAFETY: as in `read`; settled as what is lent.
        unsafe {
            if self.is_cold() {
                primitives::copy_past_cache(from, to, n);
            } else {
                std::ptr::copy_nonoverlapping(from, to, n);
            }
        }
    }

    /// Too large for a cache.
    fn is_cold(&self) -> bool {
        self.bytes >= limits::MALLOC_COLD_BYTES
    }

    /// Fills the extent with zeroes.
    pub fn zero(&self, extent: Extent) {
        // SAFETY: the range was checked by `at`.
        unsafe { self.at(extent).write_bytes(0, extent.bytes as usize) };
    }

    fn at(&self, extent: Extent) -> NonNull<u8> {
        let end = extent.offset.checked_add(extent.bytes).filter(|end| *end <= self.bytes);
        assert!(end.is_some(), "{extent:?} is not in a store of {} bytes", self.bytes);
        // SAFETY: the offset is inside the region, which is at least `bytes` long.
        unsafe { self.region.as_ptr().add(extent.offset as usize) }
    }
}

fn inside(buf: &Buf, at: u64, bytes: u64) -> (usize, usize) {
    let end = at.checked_add(bytes).filter(|end| *end <= buf.capacity() as u64);
    assert!(end.is_some(), "{bytes} bytes at {at} are not in a buffer of {}", buf.capacity());
    (at as usize, bytes as usize)
}

/// One channel's handle to a store: counts what it lent.
#[derive(Debug)]
pub(crate) struct Lender {
    store: Arc<Store>,
    /// Buffers lent and not come back.
    lent: usize,
}

impl Lender {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, lent: 0 }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A handle to the extent whose first bytes, so many, are filled; if one can be that long.
    pub fn lend(&mut self, extent: Extent, filled: u64) -> Option<Buf> {
        let mut buf = self.store.lend(extent)?;
        // Not more than the extent, which fits.
        buf.set_len(filled as usize);
        self.lent += 1;
        Some(buf)
    }

    pub fn give_back(&mut self, buf: Buf) {
        debug_assert!(buf.is_lent());
        self.lent = self.lent.saturating_sub(1);
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        if self.lent > 0 {
            tracing::error!(buffers = self.lent, "memory of a block device is still lent; it is never freed");
            // An adapter may still write to it.
            std::mem::forget(self.store.clone());
        }
    }
}
