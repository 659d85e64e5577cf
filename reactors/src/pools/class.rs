//! Buffers of one size.

use crate::limits::{LARGE_BUFFER, SMALL_BUFFER};
use primitives::{Buf, Home};
use std::ptr::NonNull;

/// The two sizes of pool buffers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// [`SMALL_BUFFER`] bytes.
    Small,
    /// [`LARGE_BUFFER`] bytes.
    Large,
}

impl Class {
    /// The smallest class with room for `len` bytes.
    #[must_use]
    pub const fn for_len(len: usize) -> Option<Self> {
        if len <= SMALL_BUFFER {
            Some(Self::Small)
        } else if len <= LARGE_BUFFER {
            Some(Self::Large)
        } else {
            None
        }
    }

    /// Bytes of a buffer.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Small => SMALL_BUFFER,
            Self::Large => LARGE_BUFFER,
        }
    }
}

/// Counts of one class.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ClassStats {
    /// Buffers in all.
    pub capacity: usize,
    /// Buffers at hand.
    pub free: usize,
    /// Most buffers ever lent at once.
    pub high_water: usize,
    /// Buffers ever lent.
    pub taken: u64,
    /// Requests this class could not serve.
    pub exhausted: u64,
}

#[derive(Debug)]
pub(super) struct ClassPool {
    base: NonNull<u8>,
    size: usize,
    /// The home index of the first buffer.
    first: u32,
    /// Offsets from `first`; the last one, most recently used and so probably cached, is lent first.
    free: Box<[u32]>,
    at_hand: usize,
    least: usize,
    taken: u64,
    exhausted: u64,
}

impl ClassPool {
    pub(super) fn new(base: NonNull<u8>, size: usize, first: u32, count: u32) -> Self {
        let free: Box<[u32]> = (0..count).rev().collect();
        let at_hand = free.len();
        Self { base, size, first, free, at_hand, least: at_hand, taken: 0, exhausted: 0 }
    }

    #[inline]
    pub(super) fn take(&mut self, pool: u16) -> Option<Buf> {
        let Some(at_hand) = self.at_hand.checked_sub(1) else {
            self.exhausted += 1;
            return None;
        };
        self.at_hand = at_hand;
        self.least = self.least.min(at_hand);
        self.taken += 1;
        let offset = self.free[at_hand];
        let home = Home::Pool { pool, index: self.first + offset };
        // SAFETY: the offset was on the free list, so no other handle covers this buffer; its bytes lie in the pool's
        // region (see `Pools::with_counts`), which was zeroed and outlives what is lent (see `Drop for Pools`).
        Some(unsafe { Buf::from_raw(self.address(offset), self.size as u32, home) })
    }

    #[inline]
    pub(super) fn give(&mut self, index: u32, buf: &Buf) {
        let offset = index - self.first;
        debug_assert!(buf.as_ptr() == self.address(offset).as_ptr(), "a buffer's index and address disagree");
        debug_assert!(buf.capacity() == self.size);
        // A handle exists once, so there is always room.
        self.free[self.at_hand] = offset;
        self.at_hand += 1;
    }

    pub(super) fn fill_free(&mut self, byte: u8) {
        for &offset in &self.free[..self.at_hand] {
            // SAFETY: the buffer is on the free list: nobody else uses its `size` bytes.
            unsafe { self.address(offset).write_bytes(byte, self.size) };
        }
    }

    pub(super) const fn count(&self) -> u32 {
        self.free.len() as u32
    }

    pub(super) const fn free(&self) -> usize {
        self.at_hand
    }

    pub(super) const fn outstanding(&self) -> usize {
        self.free.len() - self.at_hand
    }

    pub(super) const fn stats(&self) -> ClassStats {
        let capacity = self.free.len();
        ClassStats {
            capacity,
            free: self.at_hand,
            high_water: capacity - self.least,
            taken: self.taken,
            exhausted: self.exhausted,
        }
    }

    #[inline]
    fn address(&self, offset: u32) -> NonNull<u8> {
        // SAFETY: `offset` < count, and count × size bytes lie at `base`.
        unsafe { self.base.add(offset as usize * self.size) }
    }
}
