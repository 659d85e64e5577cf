//! Memory registered with a ring, so that the kernel does not pin and unpin it for every operation.

use reactors::{Arena, Core};

use crate::limits;

/// The memory that buffers of `core` come from: one region for all cores, which stays as long as they do.
///
/// Nothing else is registered. Operations carry pool buffers only, and the memory of a RAM disk would stay pinned
/// after the disk is gone.
pub(super) fn pool_memory(core: &mut Core, arena: &Arena) -> Option<(usize, usize)> {
    let buf = core.pools.take(1)?;
    let address = buf.as_ptr().addr();
    core.pools.give(buf);
    arena.regions().iter().find(|region| region.contains(address, 1)).map(|region| (region.addr, region.len))
}

/// The pieces of memory registered with one ring, by rising address.
#[derive(Debug, Default)]
pub(super) struct FixedBuffers {
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    start: usize,
    bytes: usize,
}

impl FixedBuffers {
    /// Cuts regions (address and length) into what the kernel takes as one buffer. Regions that exceed the number of
    /// buffers are left out: operations on them work, only slower.
    pub fn new(regions: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut pieces: Vec<_> = regions.into_iter().flat_map(|(start, bytes)| cut(start, bytes)).collect();
        pieces.truncate(limits::URING_FIXED_BUFFERS);
        pieces.sort_unstable_by_key(|piece| piece.start);
        Self { pieces }
    }

    pub fn iovecs(&self) -> Vec<libc::iovec> {
        let iovec =
            |p: &Piece| libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(p.start), iov_len: p.bytes };
        self.pieces.iter().map(iovec).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The registered buffer that holds all of `memory`, if one does.
    pub fn index_of(&self, memory: *const u8, bytes: usize) -> Option<u16> {
        let start = memory.addr();
        let after = self.pieces.partition_point(|piece| piece.start <= start);
        let at = after.checked_sub(1)?;
        let piece = self.pieces.get(at)?;
        let inside = start - piece.start;
        let fits = inside <= piece.bytes && bytes <= piece.bytes - inside;
        fits.then(|| u16::try_from(at).ok()).flatten()
    }
}

fn cut(start: usize, bytes: usize) -> impl Iterator<Item = Piece> {
    (0..bytes)
        .step_by(limits::URING_FIXED_BYTES)
        .map(move |offset| Piece { start: start + offset, bytes: (bytes - offset).min(limits::URING_FIXED_BYTES) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addr: usize) -> *const u8 {
        std::ptr::without_provenance(addr)
    }

    #[test]
    fn memory_is_found_only_where_one_buffer_holds_all_of_it() {
        let fixed = FixedBuffers::new([(0x20_0000, 0x1000), (0x10_0000, 0x2000)]);
        assert_eq!(fixed.index_of(at(0x10_0000), 0x2000), Some(0));
        assert_eq!(fixed.index_of(at(0x20_0fff), 1), Some(1));
        for (addr, bytes) in [(0x0f_ffff, 1), (0x10_0001, 0x2000), (0x10_2000, 1), (0x20_1000, 1), (usize::MAX, 1)] {
            assert_eq!(fixed.index_of(at(addr), bytes), None, "{addr:#x}+{bytes:#x}");
        }
        assert_eq!(FixedBuffers::default().index_of(at(0), 0), None);
    }

    #[test]
    fn large_regions_are_cut_and_the_number_is_bounded() {
        let gib = limits::URING_FIXED_BYTES;
        let fixed = FixedBuffers::new([(gib, 2 * gib + 4096)]);
        let lens: Vec<_> = fixed.iovecs().iter().map(|v| v.iov_len).collect();
        assert_eq!(lens, [gib, gib, 4096]);
        assert_eq!(fixed.index_of(at(2 * gib - 1), 2), None, "across two buffers");
        let many = FixedBuffers::new((1..=limits::URING_FIXED_BUFFERS + 5).map(|i| (i * 8192, 4096)));
        assert_eq!(many.iovecs().len(), limits::URING_FIXED_BUFFERS);
    }
}
