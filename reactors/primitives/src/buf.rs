//! `Buf`: an affine handle to DMA-able memory.
//!
//! A `Buf` moves into an operation and comes back in its completion, so whoever holds it is the only one who may
//! touch the memory, be it this core, the kernel or an adapter. It has no `Drop`: memory a device may still write
//! to is never freed by going out of scope. Pools count what they lent out, and tests check that it all returns.
#![allow(unsafe_code)]

use core::ptr::NonNull;

/// Who takes a buffer back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// A pool: its number, and the buffer's number in it.
    Pool {
        /// The pool's number, unique in the process.
        pool: u16,
        /// The buffer's number in the pool.
        index: u32,
    },
    /// Memory of a block device's own store, lent for one operation. Other operations may be lent the same bytes at
    /// the same time, as with DMA to one page; so no reference to it is ever formed, bytes are only copied.
    Lent,
}

/// A handle to `capacity` bytes of pinned memory, of which the first `len` are meaningful.
#[derive(Debug)]
#[must_use = "a Buf that is dropped is lost to its pool; give it back"]
pub struct Buf {
    ptr: NonNull<u8>,
    capacity: u32,
    len: u32,
    /// [`Home`] in one word: a handle is moved often, and an enum in it makes that costly.
    home: u64,
}

/// The words of [`Home::Lent`], from this one on; that of a pool has only 48 bits.
const LENT: u64 = u64::MAX - 1;
/// Lent memory of which little is in a cache.
const LENT_COLD: u64 = u64::MAX;

// SAFETY: a Buf is the only handle to its memory (pool) or to memory that is only ever accessed by raw copies (lent);
// nothing in it is bound to a thread.
unsafe impl Send for Buf {}

impl Buf {
    /// Makes a handle.
    ///
    /// # Safety
    /// `ptr` must be valid and initialised for reads and writes of `capacity` bytes for as long as the handle and its
    /// successors exist. Unless `home` is [`Home::Lent`], no other handle may cover any of these bytes.
    pub const unsafe fn from_raw(ptr: NonNull<u8>, capacity: u32, home: Home) -> Self {
        let home = match home {
            Home::Pool { pool, index } => (pool as u64) << 32 | index as u64,
            Home::Lent => LENT,
        };
        Self { ptr, capacity, len: 0, home }
    }

    /// Makes a handle to lent memory that is part of so much that a cache rarely holds any of it: what is copied there
    /// goes [past the cache](crate::copy_past_cache).
    ///
    /// # Safety
    /// As for [`Buf::from_raw`]. And whoever copies into it calls [`settle_copies`](crate::settle_copies) before
    /// another thread is told that the data is there.
    pub const unsafe fn from_cold(ptr: NonNull<u8>, capacity: u32) -> Self {
        Self { ptr, capacity, len: 0, home: LENT_COLD }
    }

    /// Its home is [`Home::Lent`].
    #[must_use]
    #[inline]
    pub const fn is_lent(&self) -> bool {
        self.home >= LENT
    }

    /// It was made by [`Buf::from_cold`].
    #[must_use]
    #[inline]
    pub const fn is_cold(&self) -> bool {
        self.home == LENT_COLD
    }

    /// Bytes of room.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Meaningful bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// No byte is meaningful.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Declares the first `len` bytes meaningful. What lies beyond is never sent to anybody.
    ///
    /// # Panics
    /// If `len` exceeds the capacity: a bug of the caller, never reachable from the wire.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "length {len} exceeds the buffer's {} bytes", self.capacity);
        self.len = len as u32;
    }

    /// Who takes it back.
    #[must_use]
    #[inline]
    pub const fn home(&self) -> Home {
        match self.home {
            LENT.. => Home::Lent,
            home => Home::Pool { pool: (home >> 32) as u16, index: home as u32 },
        }
    }

    /// The memory's address, for an iovec, an SQE or a scatter-gather element.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// The meaningful bytes.
    ///
    /// # Panics
    /// On lent memory, to which no reference may be formed; use [`Buf::copy_out`].
    #[must_use]
    #[inline]
    pub fn filled(&self) -> &[u8] {
        assert!(!self.is_lent(), "no reference to lent memory");
        // SAFETY: valid for `capacity` ≥ `len` initialised bytes, and this handle is the only one (from_raw).
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len as usize) }
    }

    /// All bytes of the buffer, to be written; follow with [`Buf::set_len`].
    ///
    /// # Panics
    /// On lent memory; use [`Buf::copy_in`].
    #[must_use]
    #[inline]
    pub fn storage(&mut self) -> &mut [u8] {
        assert!(!self.is_lent(), "no reference to lent memory");
        // SAFETY: as in `filled`, and `&mut self` excludes any other borrow.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.capacity as usize) }
    }

    /// Copies `bytes` to offset `at`, extending the meaningful length over them.
    ///
    /// # Panics
    /// If they do not fit.
    #[inline]
    pub fn copy_in(&mut self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len()).filter(|end| *end <= self.capacity());
        let end = end.expect("bytes do not fit the buffer");
        // SAFETY: `at + bytes.len()` ≤ capacity was checked; `bytes` is a Rust slice and so never pool or lent memory
        // reached through this handle. Who made a cold handle vouches for the rest.
        unsafe {
            let to = self.ptr.as_ptr().add(at);
            if self.is_cold() {
                crate::copy_past_cache(bytes.as_ptr(), to, bytes.len());
            } else {
                core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            }
        }
        self.len = self.len.max(end as u32);
    }

    /// Copies from offset `at` of the meaningful bytes into `out`; returns how many there were.
    #[must_use]
    #[inline]
    pub fn copy_out(&self, at: usize, out: &mut [u8]) -> usize {
        let n = self.len().saturating_sub(at).min(out.len());
        if n > 0 {
            // SAFETY: `at + n` ≤ len ≤ capacity; `out` is a distinct Rust slice.
            unsafe { core::ptr::copy_nonoverlapping(self.ptr.as_ptr().add(at), out.as_mut_ptr(), n) };
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(memory: &mut [u8], home: Home) -> Buf {
        let ptr = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the test's array outlives the handle and has no other user meanwhile.
        unsafe { Buf::from_raw(ptr, memory.len() as u32, home) }
    }

    #[test]
    fn only_what_was_written_is_seen() {
        let mut memory = [0xDBu8; 16];
        let mut buf = on(&mut memory, Home::Pool { pool: 0, index: 0 });
        assert!(buf.filled().is_empty());
        buf.copy_in(0, b"abcd");
        assert_eq!(buf.filled(), b"abcd");
        buf.storage()[4] = b'e';
        assert_eq!(buf.len(), 4);
        let mut out = [0u8; 8];
        assert_eq!(buf.copy_out(2, &mut out), 2);
        assert_eq!(&out[..2], b"cd");
        assert_eq!(buf.copy_out(9, &mut out), 0);
    }

    #[test]
    fn its_home_is_remembered() {
        let mut memory = [0u8; 1];
        let pool = |pool, index| Home::Pool { pool, index };
        for home in [pool(0, 0), pool(7, u32::MAX), pool(u16::MAX, 9), pool(u16::MAX, u32::MAX), Home::Lent] {
            assert_eq!(on(&mut memory, home).home(), home);
        }
    }

    #[test]
    fn a_cold_one_is_lent_and_copied_into() {
        let mut memory = [0u8; 200];
        // SAFETY: as in `on`; no other thread looks.
        let mut buf = unsafe { Buf::from_cold(NonNull::new(memory.as_mut_ptr()).unwrap(), 200) };
        assert!(buf.is_cold() && buf.home() == Home::Lent && !on(&mut [0], Home::Lent).is_cold());
        let bytes: [u8; 150] = core::array::from_fn(|i| i as u8);
        buf.copy_in(7, &bytes);
        let mut out = [0; 150];
        assert_eq!((buf.copy_out(7, &mut out), out), (150, bytes));
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn overlong_copies_are_refused() {
        let mut memory = [0u8; 4];
        on(&mut memory, Home::Lent).copy_in(1, b"abcd");
    }

    #[test]
    #[should_panic(expected = "lent memory")]
    fn lent_memory_is_never_referenced() {
        let mut memory = [0u8; 4];
        let _ = on(&mut memory, Home::Lent).filled();
    }
}
