//! The memory of a RAM disk.

use std::ptr::NonNull;

use primitives::{Buf, Home};
use reactors::Region;

use crate::check::Extent;

/// Memory that all channels of one device, on any core, and datamovers, read and write at the same time. As with DMA
/// to one page nobody orders them but the initiators; so no reference to it is ever formed, bytes are only copied.
#[derive(Debug)]
pub(super) struct Store {
    region: Region,
    bytes: u64,
}

impl Store {
    /// The first `bytes` of `region`, which is at least that long.
    pub fn new(region: Region, bytes: u64) -> Self {
        assert!(bytes <= region.len() as u64, "a medium of {bytes} bytes in a region of {}", region.len());
        Self { region, bytes }
    }

    /// A handle to the extent, if one can be that long.
    pub fn lend(&self, extent: Extent) -> Option<Buf> {
        let capacity = u32::try_from(extent.bytes).ok()?;
        let ptr = self.at(extent);
        // SAFETY: the bytes lie in the region, which was zeroed; a channel that lent memory keeps the store alive
        // until it has come back (see its `Drop`), and lent memory may be shared.
        Some(unsafe { Buf::from_raw(ptr, capacity, Home::Lent) })
    }

    /// `buf` is what [`Store::lend`] gave for the extent.
    pub fn is_lent(&self, extent: Extent, buf: &Buf) -> bool {
        buf.home() == Home::Lent && buf.as_ptr() == self.at(extent).as_ptr()
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
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(buf.as_ptr().add(at), self.at(extent).as_ptr(), n) };
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
