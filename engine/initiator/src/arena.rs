//! Memory for commands' data and for messages: buffers of one size, handed out as affine [`Buf`]s.

use std::ptr::NonNull;

use primitives::{Buf, Home};
use rdma::Memory;

const PAGE: usize = 4096;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// A fixed number of equal buffers.
///
/// A [`Buf`] has no `Drop`; an arena that is dropped while some are still out leaks its memory rather than free what
/// somebody may yet write to.
pub struct Arena {
    memory: NonNull<[Page]>,
    free: Vec<Buf>,
    count: usize,
    bytes: usize,
}

// SAFETY: the memory is the arena's own, and only ever reached through its buffers, which are Send themselves.
unsafe impl Send for Arena {}

impl Arena {
    /// `count` zeroed buffers of `bytes` each, rounded up to pages.
    #[must_use]
    pub fn new(count: usize, bytes: usize) -> Self {
        Self::carved(count, bytes.div_ceil(PAGE).max(1) * PAGE)
    }

    /// `count` zeroed buffers of exactly `bytes` each, one behind the other.
    pub(crate) fn packed(count: usize, bytes: usize) -> Self {
        Self::carved(count, bytes)
    }

    fn carved(count: usize, bytes: usize) -> Self {
        let memory = vec![Page([0; PAGE]); (count * bytes).div_ceil(PAGE)].into_boxed_slice();
        let memory = NonNull::from(Box::leak(memory));
        let carve = |index: usize| {
            let home = Home::Pool { pool: 0, index: index as u32 };
            // SAFETY: the chunks lie inside the allocation, are disjoint and initialised, and live until every handle
            // is back (see Drop); the arena itself forms no reference to the memory meanwhile.
            unsafe { Buf::from_raw(memory.cast::<u8>().add(index * bytes), bytes as u32, home) }
        };
        // Reversed, so that the first buffer is handed out first.
        let free = (0..count).rev().map(carve).collect();
        Self { memory, free, count, bytes }
    }

    /// Takes a buffer, of no meaningful bytes.
    pub fn take(&mut self) -> Option<Buf> {
        let mut buf = self.free.pop()?;
        buf.set_len(0);
        Some(buf)
    }

    /// Gives a buffer of this arena back.
    pub fn give(&mut self, buf: Buf) {
        debug_assert!(self.free.len() < self.count, "a buffer of another arena");
        self.free.push(buf);
    }

    /// Where all its buffers lie.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory { addr: self.memory.as_ptr().addr(), len: self.memory.len() * PAGE }
    }

    /// Bytes of one buffer.
    #[must_use]
    pub const fn buffer_bytes(&self) -> usize {
        self.bytes
    }

    /// Buffers that are out.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.count - self.free.len()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.outstanding() == 0 {
            // SAFETY: it came from Box::leak, and no buffer that points into it is left in anybody's hands.
            drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
        }
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("count", &self.count).field("outstanding", &self.outstanding()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_disjoint_and_run_out() {
        let mut arena = Arena::new(2, 5000);
        let (mut a, mut b) = (arena.take().unwrap(), arena.take().unwrap());
        assert!(arena.take().is_none());
        assert_eq!((a.capacity(), a.as_ptr() as usize % PAGE), (8192, 0));
        a.storage().fill(1);
        b.storage().fill(2);
        assert!(a.storage().iter().all(|x| *x == 1));
        a.set_len(10);
        arena.give(a);
        assert_eq!((arena.outstanding(), arena.take().unwrap().len()), (1, 0));
        arena.give(b);
    }

    #[test]
    fn memory_outlives_an_arena_dropped_early() {
        let mut arena = Arena::new(1, 1);
        let mut buf = arena.take().unwrap();
        drop(arena);
        buf.storage().fill(7);
        assert_eq!(buf.storage()[4095], 7);
    }
}
