//! State that a device's handles share, without a lock: one thread at a time, checked at every use.
#![allow(unsafe_code)]

use crate::config::Use;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

const NOBODY: usize = 0;

/// A number that no other thread of the process ever has.
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

/// A value for one thread at a time: for good, or as long as each use takes ([`Use`]).
pub struct Share<T> {
    owner: AtomicUsize,
    borrowed: Cell<bool>,
    used_by: Use,
    value: UnsafeCell<T>,
}

// SAFETY: `value` and `borrowed` are touched only by the thread whose number is in `owner`. It came there by an
// acquiring exchange from `NOBODY`, and so after everything another thread did before its releasing store of `NOBODY`.
unsafe impl<T: Send> Send for Share<T> {}
// SAFETY: as above; holding a reference lets nobody near the value.
unsafe impl<T: Send> Sync for Share<T> {}

/// The value, while this thread has it.
pub struct Loan<'a, T> {
    share: &'a Share<T>,
    /// Keeps it on its thread.
    here: PhantomData<*const ()>,
}

impl<T> Share<T> {
    pub fn new(value: T, used_by: Use) -> Self {
        Self { owner: AtomicUsize::new(NOBODY), borrowed: Cell::new(false), used_by, value: UnsafeCell::new(value) }
    }

    /// The value, for this thread alone.
    ///
    /// # Panics
    /// If it is another thread's, which is its owner's bug.
    pub fn borrow(&self) -> Loan<'_, T> {
        self.try_borrow().expect("a Verbs is used by two threads")
    }

    /// The value, unless it is another thread's or on loan.
    pub fn try_borrow(&self) -> Option<Loan<'_, T>> {
        let me = this_thread();
        // Nobody but this thread can have stored its number.
        if self.owner.load(Ordering::Relaxed) != me {
            self.owner.compare_exchange(NOBODY, me, Ordering::Acquire, Ordering::Relaxed).ok()?;
        }
        if self.borrowed.replace(true) { None } else { Some(Loan { share: self, here: PhantomData }) }
    }
}

impl<T> Deref for Loan<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `borrowed` lets this be the only loan, and the owning thread is this one.
        unsafe { &*self.share.value.get() }
    }
}

impl<T> DerefMut for Loan<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the loan itself is borrowed mutably.
        unsafe { &mut *self.share.value.get() }
    }
}

impl<T> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        self.share.borrowed.set(false);
        if self.share.used_by == Use::OneAtATime {
            self.share.owner.store(NOBODY, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn elsewhere<R: Send + 'static>(share: &Arc<Share<u32>>, act: impl FnOnce(&Share<u32>) -> R + Send + 'static) -> R {
        let share = Arc::clone(share);
        std::thread::spawn(move || act(&share)).join().unwrap()
    }

    #[test]
    fn the_first_thread_keeps_it_or_each_has_it_for_a_while() {
        for used_by in [Use::OneThread, Use::OneAtATime] {
            let share = Arc::new(Share::new(0, used_by));
            elsewhere(&share, |share| *share.borrow() += 1);
            let mine = share.try_borrow().map(|loan| *loan);
            assert_eq!(mine, (used_by == Use::OneAtATime).then_some(1));
        }
    }

    #[test]
    fn nobody_has_it_beside_another() {
        for used_by in [Use::OneThread, Use::OneAtATime] {
            let share = Arc::new(Share::new(0, used_by));
            let loan = share.borrow();
            assert!(share.try_borrow().is_none(), "not even the same thread");
            assert!(elsewhere(&share, |share| share.try_borrow().is_none()));
            drop(loan);
            assert!(share.try_borrow().is_some());
        }
    }
}
