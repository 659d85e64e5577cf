//! State that a device and everything made from it share, without a lock.

use crate::config::Use;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

const NOBODY: usize = 0;

/// A number of this thread that no other thread of the process ever has.
#[inline]
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(NOBODY + 1);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(NOBODY) });
    NUMBER.with(|number| {
        if number.get() == NOBODY {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// A value that one thread at a time may use. Which, is checked at every use: the price of being `Send` without a lock.
pub(crate) struct Shared<T> {
    owner: AtomicUsize,
    borrowed: Cell<bool>,
    used_by: Use,
    value: UnsafeCell<T>,
}

// SAFETY: `value` and `borrowed` are only touched by the thread whose number is in `owner` (`try_borrow`), which gets
// there by an acquiring exchange from `NOBODY`, so after whatever an earlier one did before its releasing store.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; a reference alone lets nobody else near the value.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(value: T, used_by: Use) -> Self {
        let owner = AtomicUsize::new(NOBODY);
        Self { owner, borrowed: Cell::new(false), used_by, value: UnsafeCell::new(value) }
    }

    /// The value, to this thread alone.
    ///
    /// # Panics
    /// If it is another thread's (a bug of the device's owner) or used already (a bug of this crate).
    #[inline]
    pub fn borrow(&self) -> Guard<'_, T> {
        self.try_borrow().expect("a soft-iWARP device is used by two threads")
    }

    /// The value, unless it is not this thread's now.
    #[inline]
    pub fn try_borrow(&self) -> Option<Guard<'_, T>> {
        let me = this_thread();
        let mine = self.used_by == Use::OneThread && self.owner.load(Ordering::Relaxed) == me;
        if !mine {
            self.owner.compare_exchange(NOBODY, me, Ordering::Acquire, Ordering::Relaxed).ok()?;
        }
        // From here on no other thread passes the line above, or is past it.
        if self.borrowed.replace(true) {
            return None;
        }
        Some(Guard(self, PhantomData))
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// The value while it is borrowed; bound to its thread.
pub(crate) struct Guard<'a, T>(&'a Shared<T>, PhantomData<*const ()>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one (`borrowed`), on the owning thread.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.borrowed.set(false);
        if self.0.used_by == Use::Locked {
            self.0.owner.store(NOBODY, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn one_thread_keeps_it() {
        let shared = Arc::new(Shared::new(1, Use::OneThread));
        let other = Arc::clone(&shared);
        std::thread::spawn(move || *other.borrow() += 1).join().unwrap();
        assert!(shared.try_borrow().is_none(), "the thread that came first has it for good");
    }

    #[test]
    fn it_goes_from_hand_to_hand() {
        let shared = Arc::new(Shared::new(0, Use::Locked));
        for _ in 0..3 {
            let other = Arc::clone(&shared);
            std::thread::spawn(move || *other.borrow() += 1).join().unwrap();
            *shared.borrow() += 1;
        }
        assert_eq!(*shared.borrow(), 6);
        let guard = shared.borrow();
        std::thread::scope(|s| assert!(s.spawn(|| shared.try_borrow().is_none()).join().unwrap()));
        drop(guard);
    }

    #[test]
    fn nobody_borrows_twice() {
        for used_by in [Use::OneThread, Use::Locked] {
            let shared = Shared::new((), used_by);
            let guard = shared.borrow();
            assert!(shared.try_borrow().is_none());
            drop(guard);
            assert!(shared.try_borrow().is_some());
        }
    }
}
