//! The pure crates, linked into a library that has no std. See `check` beside `Cargo.toml`.
#![no_std]

#[cfg(feature = "std-sneaks-in")]
extern crate std;

use core::alloc::{GlobalAlloc, Layout};

pub use {iscsi, iser, primitives, rdma, scsi};

struct NoMemory;

// SAFETY: it never hands out memory; null says so.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(feature = "clock-sneaks-in")]
mod clock {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn look_at_the_clock() -> i64 {
        let mut time = [0; 2];
        // SAFETY: `time` is as large as a timespec.
        unsafe { clock_gettime(1, &raw mut time) };
        time[0]
    }
}
