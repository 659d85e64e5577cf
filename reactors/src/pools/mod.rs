//! `Pools`: a core's DMA buffers, in two sizes.

mod carve;
mod class;
#[cfg(test)]
mod tests;
mod wait;

pub use carve::{Carving, PIECES};
pub use class::{Class, ClassStats};
pub use wait::{NoRoom, WaitQueue};

use crate::limits::{BUFFER_ALIGN, LARGE_BUFFER, SMALL_BUFFER, SMALL_PERCENT};
use crate::memory::{Arena, Hugepages, Part, Region};
use class::ClassPool;
use primitives::{Buf, Home};
use std::sync::Arc;

/// The byte returned buffers are filled with in poison mode. A run of it on the wire is a disclosure.
pub const POISON: u8 = 0xDB;

/// The buffers of one core. They are lent as affine [`Buf`]s and must all come back; [`Pools::outstanding`] says
/// whether they did. Taking and giving is a pop and a push.
#[derive(Debug)]
pub struct Pools {
    number: u16,
    small: ClassPool,
    large: ClassPool,
    poison: bool,
    foreign: u64,
    memory: Option<Arc<Region>>,
}

impl Pools {
    /// Cuts `part` into buffers: a quarter of it into small ones, the rest into large ones. `number` marks their
    /// home and must be unique among the pools that meet in the process; a fleet uses the core's.
    #[must_use]
    pub fn new(number: u16, part: Part) -> Self {
        let small = part.len() / 100 * SMALL_PERCENT / SMALL_BUFFER;
        Self::with_counts(number, part, small, usize::MAX)
    }

    /// Cuts `part` into up to `large` large buffers and up to `small` small ones: as many as fit, small ones first.
    #[must_use]
    pub fn with_counts(number: u16, part: Part, small: usize, large: usize) -> Self {
        let base = part.as_ptr();
        let skip = base.as_ptr().align_offset(BUFFER_ALIGN);
        let room = part.len().saturating_sub(skip);
        let small = small.min(room / SMALL_BUFFER);
        let large = large.min((room - small * SMALL_BUFFER) / LARGE_BUFFER);
        // Large ones lie first, so that with a part that starts on a huge page none of them straddles two.
        let split = skip + large * LARGE_BUFFER;
        let (small, large) = (small as u32, large as u32);
        // SAFETY: `skip + large * LARGE_BUFFER + small * SMALL_BUFFER` ≤ `part.len()`, so both stay inside the part,
        // or at its end when they are empty.
        let (at_large, at_small) = unsafe { (base.add(skip.min(part.len())), base.add(split.min(part.len()))) };
        Self {
            number,
            small: ClassPool::new(at_small, SMALL_BUFFER, 0, small),
            large: ClassPool::new(at_large, LARGE_BUFFER, small, large),
            poison: false,
            foreign: 0,
            memory: Some(part.into_region()),
        }
    }

    /// Pools of their own plain memory with this many buffers, poisoned: for tests.
    ///
    /// # Panics
    /// If the machine has no memory left.
    #[must_use]
    pub fn for_tests(number: u16, small: usize, large: usize) -> Self {
        let bytes = small * SMALL_BUFFER + large * LARGE_BUFFER;
        let region = Arena::new(Hugepages::Off).region(bytes.max(1)).expect("memory for a test");
        let part = region.split(1).pop().expect("one part");
        let mut pools = Self::with_counts(number, part, small, large);
        pools.poison();
        pools
    }

    /// Pools without a buffer.
    #[must_use]
    pub fn empty(number: u16) -> Self {
        let none = |size| ClassPool::new(std::ptr::NonNull::dangling(), size, 0, 0);
        let (small, large) = (none(SMALL_BUFFER), none(LARGE_BUFFER));
        Self { number, small, large, poison: false, foreign: 0, memory: None }
    }

    /// A buffer with room for `len` bytes, of length zero: a small one if that suffices and there is one, else a
    /// large one. `None` when there is none, or none is large enough.
    ///
    /// Its bytes are those of its last use; only what is declared written ([`Buf::set_len`]) may leave.
    #[inline]
    pub fn take(&mut self, len: usize) -> Option<Buf> {
        if len <= SMALL_BUFFER
            && let Some(buf) = self.small.take(self.number)
        {
            return Some(buf);
        }
        if len <= LARGE_BUFFER { self.large.take(self.number) } else { None }
    }

    /// A buffer of exactly this class.
    #[inline]
    pub fn take_class(&mut self, class: Class) -> Option<Buf> {
        let number = self.number;
        self.class_mut(class).take(number)
    }

    /// Takes a buffer back.
    ///
    /// # Panics
    /// In debug builds, if the buffer is not of this pool. In release builds such a buffer is logged, counted and
    /// lost: it may not be lent again by the wrong core.
    #[inline]
    pub fn give(&mut self, mut buf: Buf) {
        match buf.home() {
            Home::Pool { pool, index } if pool == self.number => {
                if self.poison {
                    buf.storage().fill(POISON);
                }
                let class = if index < self.small.count() { &mut self.small } else { &mut self.large };
                class.give(index, &buf);
            }
            home => self.refuse(home),
        }
    }

    #[cold]
    fn refuse(&mut self, home: Home) {
        debug_assert!(false, "pool {} was given a buffer of {home:?}", self.number);
        self.foreign += 1;
        tracing::error!(pool = self.number, ?home, "a buffer was given back to the wrong pool and is lost");
    }

    /// The number that marks this pool's buffers.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Whether [`Pools::take`] of `len` bytes would succeed now.
    #[must_use]
    pub fn can_take(&self, len: usize) -> bool {
        (len <= SMALL_BUFFER && self.small.free() > 0) || (len <= LARGE_BUFFER && self.large.free() > 0)
    }

    /// Buffers lent and not returned.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.small.outstanding() + self.large.outstanding()
    }

    /// Counts of one class.
    #[must_use]
    pub fn stats(&self, class: Class) -> ClassStats {
        match class {
            Class::Small => self.small.stats(),
            Class::Large => self.large.stats(),
        }
    }

    /// Buffers of other pools that were given back here and lost.
    #[must_use]
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// From now on fills every returned buffer with [`POISON`], and now those at hand, so that a test sees whatever
    /// leaves without having been written. Slow.
    pub fn poison(&mut self) {
        self.poison = true;
        for class in [Class::Small, Class::Large] {
            let pool = self.class_mut(class);
            pool.fill_free(POISON);
        }
    }

    fn class_mut(&mut self, class: Class) -> &mut ClassPool {
        match class {
            Class::Small => &mut self.small,
            Class::Large => &mut self.large,
        }
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        let outstanding = self.outstanding();
        if outstanding > 0 {
            // Somebody, perhaps a device, may still write there.
            std::mem::forget(self.memory.take());
            tracing::error!(pool = self.number, outstanding, "buffers are still out; their memory is never freed");
        }
    }
}
