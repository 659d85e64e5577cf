//! `Counting`: an allocator that counts, for tests that prove a path allocates nothing.
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;
//!
//! let (result, counts) = reactors::guard::count(|| serve_one_read());
//! assert_eq!(counts.allocations, 0);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting per thread. A test binary installs it as its `#[global_allocator]`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counting;

/// What one thread allocated.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Allocations, and reallocations.
    pub allocations: u64,
    /// Deallocations.
    pub deallocations: u64,
    /// Bytes allocated.
    pub bytes: u64,
}

thread_local! {
    // Constant and without a destructor, so that touching it never allocates.
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { allocations: 0, deallocations: 0, bytes: 0 }) };
}

/// Runs `f` and counts what this thread allocates meanwhile.
///
/// # Panics
/// If [`Counting`] is not the process's allocator: it would count nothing, and every test would pass.
pub fn count<R>(f: impl FnOnce() -> R) -> (R, Counts) {
    let canary = COUNTS.get();
    drop(std::hint::black_box(Box::new(1u8)));
    assert!(COUNTS.get() != canary, "install reactors::guard::Counting as #[global_allocator] of this binary");
    let before = COUNTS.get();
    let result = f();
    let after = COUNTS.get();
    let counts = Counts {
        allocations: after.allocations - before.allocations,
        deallocations: after.deallocations - before.deallocations,
        bytes: after.bytes - before.bytes,
    };
    (result, counts)
}

fn note(allocations: u64, deallocations: u64, bytes: usize) {
    // A thread that is being torn down is nobody's test.
    let _ = COUNTS.try_with(|cell| {
        let mut counts = cell.get();
        counts.allocations += allocations;
        counts.deallocations += deallocations;
        counts.bytes += bytes as u64;
        cell.set(counts);
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(1, 0, new_size);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(0, 1, 0);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}
